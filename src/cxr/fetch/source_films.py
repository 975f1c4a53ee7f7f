"""Films of other hospitals on the disk: which file is which record's."""

import os
from pathlib import Path

import pandas as pd

from cxr.errors import InputError

_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def find(folder: Path, records: pd.DataFrame) -> dict[str, Path]:
    """The files of the records that lie in a folder or below it.

    A file belongs to a record if its path ends like the record's `file`; the ending of its
    name may be another one, and Indiana's DICOM files lack the "CXR" in front.

    Args:
        folder: films as the source ships them, PNG, JPEG or DICOM.
        records: as `sources.read` returns them.

    Returns:
        `film` -> path, sorted; records without a file are not in it.

    Raises:
        InputError: if two files are one film's, or none of the folder's is a record's.
    """
    names = records["file"] if "file" in records else records["film"]
    wanted = {_parts(name): film for name, film in zip(names, records["film"], strict=True)}
    depths = sorted({len(parts) for parts in wanted}, reverse=True)
    found: dict[str, Path] = {}
    seen = 0
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(".") or (path.suffix and path.suffix.lower() not in _ENDINGS):
                continue
            seen += 1
            parts = _parts(path.relative_to(folder).as_posix())
            film = next((wanted[parts[-d:]] for d in depths if parts[-d:] in wanted), None)
            if film is None:
                continue
            if film in found:
                raise InputError(
                    f"{found[film]} and {path} are two files of one film; move one of them away."
                )
            found[film] = path
    if not found:
        raise InputError(
            f"none of the {seen:,} files in {folder} is a film of the table, whose first is "
            f"{names.iloc[0]}; name the folder and the table of one source."
        )
    return dict(sorted(found.items()))


def _parts(name: str) -> tuple[str, ...]:
    """A path without the ending of its name, as the tables spell it."""
    *folders, last = name.split("/")
    while last.lower().endswith(_ENDINGS):
        last = last.rpartition(".")[0]
    if "_IM-" in last and last[0].isdigit():
        last = f"CXR{last}"
    return (*folders, last)
