"""Records, boxes and lists: fetched from the first mirror that answers, verified, kept."""

import contextlib
import dataclasses
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
import zlib
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.config import PROJECT, Config
from cxr.errors import InputError
from cxr.fetch import catalogue, http_transfer
from cxr.fetch.catalogue import WHEEL
from cxr.fetch.manifest import Manifest, data_settings, locked
from cxr.records import nih, sources
from cxr.records.splits import OFFICIAL_TEST_PATIENTS

# What reading a damaged file may end in, plain or packed.
_DAMAGED = (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile)

_SOURCE_NAMES = {
    "wheel": f"{WHEEL} (package registry)",
    "records": "the records and the official test patients' numbers",
}


@dataclasses.dataclass(frozen=True)
class Fetched:
    """A verified small file: where it lies, what it came from and when."""

    path: Path
    source: str
    sha256: str
    time: str


def path_of(name: str, *, folder: Path | None = None) -> Path:
    """Path of a small file, fetched from the first mirror that answers where it is absent.

    Args:
        name: "records", "boxes", "adjudicated", "train_val_list" or "test_list".
        folder: where copies are kept; the project's `.cache` by default.

    Raises:
        InputError: if no mirror answers with the right content; lists what each said.
    """
    return fetch(name, folder=folder).path


def fetch(name: str, *, folder: Path | None = None) -> Fetched:
    """As `path_of`, with the origin of the copy."""
    folder = PROJECT / ".cache" if folder is None else Path(folder)
    artifacts.sweep(folder)
    wanted = catalogue.SMALL_FILES[name]
    path = folder / wanted.file
    origin = path.with_name(path.name + ".json")
    failures = []
    if path.is_file():
        found = artifacts.read_json(origin) if origin.is_file() else {}
        if found.get("sha256") == artifacts.sha256(path):
            return Fetched(path, **found)
        # No other copy's checksum: perhaps somebody put the file here by hand.
        try:
            catalogue.verify(name, path.read_bytes())
            return _kept(path, "put there by hand")
        except ValueError as error:
            failures.append(f"{path}: {error}")
    mirrors = list(wanted.mirrors)
    if _wheel_path(folder).is_file() and "wheel" in mirrors:
        # What is here already needs no network, and no waiting for one that is not there.
        mirrors.sort(key="wheel".__ne__)
    for mirror in mirrors:
        try:
            content = _read_mirror(mirror, wanted.file, folder)
            catalogue.verify(name, content)
        except (http_transfer.TransferError, InputError, *_DAMAGED) as error:
            failures.append(f"{mirror}: {error}")
            continue
        with artifacts.atomic(path) as temporary:
            temporary.write_bytes(content)
        return _kept(path, _SOURCE_NAMES.get(mirror, mirror))
    raise InputError(
        f"{wanted.file} could not be had from any of {len(failures)} sources "
        f"({'; '.join(failures)}). Get it from {catalogue.HOME_PAGE} and save it as {path}, then "
        "run again."
    )


def _kept(path: Path, source: str) -> Fetched:
    """Note beside a verified file where it came from."""
    found = {"source": source, "sha256": artifacts.sha256(path), "time": artifacts.now()}
    artifacts.write_json(path.with_name(path.name + ".json"), found)
    return Fetched(path, **found)


def fetch_into_data(config: Config) -> pd.DataFrame:
    """Fetch records, boxes and lists into `data/`; the first thing that a run does.

    Returns:
        A table: file, source, bytes, sha256 (its first 12 digits). A file that no source
        gave is in it, with the reason; only the records are indispensable.

    Raises:
        InputError: if there are no records, or `data/` was made with other settings.
    """
    if config.source != "nih":
        return _source_records(config)
    if config.records is not None:
        # Before anything is written: records at fault leave no trace.
        nih.read_records(config.records)
    rows = []
    with locked(config.data):
        manifest = Manifest(config.data, data_settings(config))
        for name, wanted in catalogue.SMALL_FILES.items():
            file = wanted.kept_as
            path = config.data / file
            known = manifest.entry("files", file)
            if not path.is_file() or artifacts.sha256(path) != known.get("sha256"):
                try:
                    known = _put(name, path, config.records if name == "records" else None)
                except InputError as error:
                    if name == "records":
                        raise
                    known = {"source": f"absent: {error}", "bytes": 0, "sha256": ""}
                else:
                    manifest.note("files", file, **known)
            rows.append({"file": file} | known)
    table = pd.DataFrame(rows)[["file", "source", "bytes", "sha256"]]
    return table.assign(sha256=table["sha256"].str[:12])


def _source_records(config: Config) -> pd.DataFrame:
    """Write another hospital's records; the table says what was left out of them."""
    assert config.records is not None
    read, cleaning = sources.read(config.source, config.records)
    records = sources.certain(read)
    path, source = config.data / "records.csv", str(config.records)
    with locked(config.data):
        manifest = Manifest(config.data, data_settings(config))
        sources.save(records, path)
        known = {"source": source, "bytes": path.stat().st_size, "sha256": artifacts.sha256(path)}
        manifest.note("files", path.name, **known)
    rules = [*cleaning.itertuples(index=False)]
    rules.append(("not certain on every finding that the source labels", len(read) - len(records)))
    rules.append(("kept", len(records)))
    rows = [{"file": path.name} | known | {"sha256": str(known["sha256"])[:12]}]
    rows += [{"file": f"{rule}: {films:,} films", "source": source} for rule, films in rules]
    return pd.DataFrame(rows)


def _put(name: str, path: Path, given: Path | None) -> dict:
    """Put one small file at `path`; what the manifest says about it."""
    source, time = "put there by hand", artifacts.now()
    if given is not None:
        content, source = given.read_bytes(), str(given)
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    elif _is_right(name, path):
        content = path.read_bytes()
    else:
        fetched = fetch(name)
        content, source, time = fetched.path.read_bytes(), fetched.source, fetched.time
    with artifacts.atomic(path) as temporary:
        temporary.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return {"source": source, "bytes": len(content), "sha256": digest, "time": time}


def _is_right(name: str, path: Path) -> bool:
    """Whether a file that the manifest does not know has the content that it should."""
    try:
        catalogue.verify(name, path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _read_mirror(mirror: str, file: str, folder: Path) -> bytes:
    """The unpacked content of `file` as one mirror has it."""
    if mirror == "records":
        return _official_list(file, path_of("records", folder=folder))
    if mirror == "wheel":
        with zipfile.ZipFile(_wheel(folder)) as wheel:
            content = wheel.read(f"torchxrayvision/data/{file}.gz")
            return gzip.decompress(content)
    content = http_transfer.read_small(mirror, limit=64_000_000)
    return gzip.decompress(content) if mirror.endswith(".gz") else content


def _wheel_path(folder: Path) -> Path:
    return folder / f"{WHEEL.replace('==', '-')}-py3-none-any.whl"


def _wheel(folder: Path) -> Path:
    """The pinned package, through the registry that pip is set up for; kept in `folder`."""
    kept = _wheel_path(folder)
    if kept.is_file():
        with contextlib.suppress(*_DAMAGED), zipfile.ZipFile(kept) as packed:
            if packed.testzip() is None:
                return kept
    with tempfile.TemporaryDirectory() as scratch:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries=1"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--dest", scratch, WHEEL]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            reason = run.stderr.strip().splitlines()[-1:] or ["no reason given"]
            raise InputError(f"pip could not download {WHEEL} ({reason[0]})")
        (wheel,) = Path(scratch).glob("*.whl")
        with artifacts.atomic(kept) as temporary:
            temporary.write_bytes(wheel.read_bytes())
    return kept


def _official_list(file: str, records: Path) -> bytes:
    """One of the two official lists, from the records and the test patients' numbers.

    The official test list holds all films of 2,797 patients and no others.
    """
    films = pd.read_csv(records, usecols=["Image Index"])["Image Index"].sort_values()
    in_test = films.str[:8].astype(int).isin(OFFICIAL_TEST_PATIENTS)
    return "\n".join(films[in_test if file.startswith("test") else ~in_test]).encode()
