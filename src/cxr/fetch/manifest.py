"""What lies in `data/`, where it came from, and the settings that asked for it."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from cxr import artifacts
from cxr.config import Config
from cxr.errors import InputError
from cxr.records import sources


def data_settings(config: Config) -> dict:
    """The settings that decide which films and records `data/` holds."""
    if config.source != "nih":
        own = {"films": str(config.images), "source": config.source}
        # What the labels mean decides which films are kept, and so which number each has.
        own["mapping"] = artifacts.fingerprint(
            map("\t".join, sources.mapping(config.source).itertuples(index=False))
        )
        return own | {"store_size": config.store_size} | _records(config)
    if config.images is not None:
        return {"films": str(config.images)} | _records(config)
    drawn_by = {"seed": config.seed} if (config.sample or "").isdecimal() else {}
    return {
        "films": "phantoms" if config.phantoms else "NIH",
        # first_archive and full differ in how many films are there, not in which they are.
        "sample": config.sample,
        "store_size": config.store_size,
        **drawn_by,
        **_records(config),
    }


def _records(config: Config) -> dict:
    return {"records": "NIH" if config.records is None else artifacts.sha256(config.records)}


class Manifest:
    """`data/manifest.json`; every note is saved at once. Safe to use from several threads."""

    def __init__(self, data: Path, wanted: dict):
        """Open the manifest of `data`; it begins with its first note.

        Args:
            wanted: settings of this run, see `data_settings`.

        Raises:
            InputError: if `data` was made with other settings.
        """
        self.path = data / "manifest.json"
        self._lock = threading.Lock()
        self._content = {"settings": wanted, "files": {}, "archives": {}}
        if self.path.exists():
            self._content = artifacts.read_json(self.path)
            if not _is_manifest(self._content):
                raise InputError(
                    f"{self.path} is no manifest of this project; remove it, and run 000 again."
                )
            artifacts.refuse_other_settings(
                self.path,
                self._content["settings"],
                wanted,
                f"Remove {data} to start over, or choose another folder with CXR_ROOT.",
            )

    def entry(self, kind: str, name: str) -> dict:
        """What is known about a file ("files") or an archive ("archives"); {} if nothing."""
        return self._content[kind].get(name, {})

    def refused(self, *, for_good: bool = False) -> dict[str, str]:
        """Films that their archives do not hold whole: name -> reason.

        Args:
            for_good: leave out what a mirror lacks; NIH's own archive may hold it.
        """
        entries = self._content["archives"].values()
        return {
            film: why
            for entry in entries
            if not (for_good and entry.get("verified") != "MD5")
            for film, why in entry.get("refused", {}).items()
        }

    def note(self, kind: str, name: str, **facts) -> None:
        """Keep `facts` about a file or an archive."""
        with self._lock:
            self._content[kind][name] = facts
            artifacts.write_json(self.path, self._content)


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Keep a second process from filling the same folder meanwhile.

    The lock ends with the process, however that ends.

    Raises:
        InputError: if another process has it, or the folder cannot be written to.
    """
    with contextlib.ExitStack() as held:
        try:
            data.mkdir(parents=True, exist_ok=True)
            held.enter_context(artifacts.alone(data / ".lock", f"filling {data}"))
        except OSError as error:
            raise InputError(
                f"{data} cannot be written to ({error.strerror or error}); choose another folder "
                "with CXR_ROOT."
            ) from error
        for folder in (data, data / "archives"):
            artifacts.sweep(folder)
        yield


def _is_manifest(content: object) -> bool:
    """Whether a JSON text has the parts of a manifest."""
    if not isinstance(content, dict):
        return False
    parts = [content.get(name) for name in ("settings", "files", "archives")]
    entries = [entry for part in parts[1:] if isinstance(part, dict) for entry in part.values()]
    return all(isinstance(one, dict) for one in (*parts, *entries))
