"""A run as one file that answers on another machine: written whole, refused when altered."""

import contextlib
import hashlib
import json
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from cxr import artifacts
from cxr.errors import InputError
from cxr.films import abstention
from cxr.modelling import inference
from cxr.modelling.explain import AVERAGE, TWIN_AVERAGE, WORTH, of_member

ENDING = ".cxr"

# What a run's answers rest on; the first two are never missing.
_PARTS = (
    "config.json",
    "model.keras",
    "calibration.json",
    "thresholds.csv",
    abstention.FILE,
    AVERAGE,
    WORTH,
    TWIN_AVERAGE,
    "model_card.md",
)

# Hexadecimal digits of SHA-256, which end the file: as the comment that a zip may end with.
_DIGITS = 64

_LARGEST = 2 * 2**30

# Parts that a reader could read, and what none of them is larger than, in bytes.
_TEXTS = ("config.json", "calibration.json", "thresholds.csv", WORTH, "model_card.md")
_LARGEST_TEXT = 10_000_000


def write(folder: Path, path: Path, card: Path | None = None) -> str:
    """Write a run's file: a zip whose comment is the SHA-256 of all before it.

    Args:
        folder: of a finished run.
        path: the file.
        card: the run's model card, if there is one.

    Returns:
        The file's SHA-256, to be handed on beside it.

    Raises:
        InputError: if the run is not finished, its model is not the one that was trained, or the
            file cannot be written.
    """
    record = inference.read_run(folder)
    inference.verified_model(folder)
    if not record["finished"]:
        raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
    # Where things lay on this machine tells nobody anything.
    record = {key: value for key, value in record.items() if key != "config"}
    record["weights"] = Path(str(record.get("weights", "none"))).name
    contents = {"config.json": json.dumps(record, indent=2).encode()}
    members = [
        of_member(place, average)
        for place in range(1, len(record.get("members", ())) + 1)
        for average in (AVERAGE, TWIN_AVERAGE)
    ]
    for name in (*_PARTS[1:], *members):
        source = card if name == "model_card.md" else folder / name
        if source is not None and source.exists():
            contents[name] = source.read_bytes()
    with artifacts.atomic(path, "--to") as temporary:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as packed:
            for name, content in contents.items():
                # A date of its own would make every export another file.
                packed.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
            packed.comment = b"0" * _DIGITS
        whole = temporary.read_bytes()[:-_DIGITS]
        temporary.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
    return artifacts.sha256(path)


def _known(member: zipfile.ZipInfo) -> bool:
    return member.filename in _PARTS or bool(
        re.fullmatch(rf"member\d+-(twin-)?{AVERAGE}", member.filename)
    )


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield a folder that holds the run of a file, for as long as the block runs.

    Raises:
        InputError: if the file is none of `write`, or was altered.
    """
    again = "get it again, and compare its SHA-256 with the one that `export` printed."
    try:
        if path.stat().st_size > _LARGEST:
            raise InputError(f"{path} is larger than 2 GB; no exported run is.")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    checksum = hashlib.sha256(content[:-_DIGITS]).hexdigest().encode()
    if not content.startswith(b"PK") or content[-_DIGITS:] != checksum:
        raise InputError(f"{path} is no exported run, or was altered; {again}")
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(path) as packed:
                members = packed.infolist()
                size = sum(member.file_size for member in members)
                known = all(map(_known, members)) and len({m.filename for m in members}) == len(
                    members
                )
                text = max((m.file_size for m in members if m.filename in _TEXTS), default=0)
                if size > _LARGEST or text > _LARGEST_TEXT or not known:
                    raise InputError(f"{path} holds what no exported run does; {again}")
                packed.extractall(folder)
        except (zipfile.BadZipFile, OSError, RuntimeError, zlib.error, EOFError) as error:
            raise InputError(f"{path} cannot be unpacked ({error}); {again}") from None
        yield Path(folder)
