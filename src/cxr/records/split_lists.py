"""Lists of film names that say which films train, validate and test, in whatever form they come.

In circulation are three files of names, or of paths and 0/1 labels (`val_1.txt`,
`valid_list.csv`), with or without a leading index column, and one CSV with a column
`fold` or `split`.
"""

import re
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.errors import InputError

_FILM = re.compile(r"(?<!\d)\d{8}_\d{3}\.png")

# How the parts are called, in file names and in columns.
_PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

# How a column of parts is called.
_TITLES = ("split", "fold")

_ENDINGS = (".txt", ".csv", ".tsv")


def read(path: Path) -> pd.Series:
    """The part of every film that the lists name.

    Args:
        path: a folder of lists, or one file that names the part of each film. A file's
            parts are those that its lines name or, where they name none, its own name
            does; others in the folder are left alone.

    Returns:
        "train", "validation" or "test" per film, in the order of the files' names and lines.

    Raises:
        InputError: if a part has no film, a film comes twice, or a line names none.
    """
    path = Path(path)
    if path.is_file():
        files = [path]
    else:
        files = sorted(p for p in path.glob("*") if p.suffix.lower() in _ENDINGS and p.is_file())
    split: dict[str, str] = {}
    origin: dict[str, Path] = {}
    undecided = []
    for file in files:
        found = _read_file(file)
        if found is None:
            undecided.append(file.name)
            continue
        for film, part in found:
            if film in split:
                both = " and ".join(dict.fromkeys((origin[film].name, file.name)))
                raise InputError(f"the lists in {path} hold {film} more than once ({both}).")
            split[film], origin[film] = part, file
    missing = [part for part in ("train", "validation", "test") if part not in split.values()]
    if missing:
        left = f"; {', '.join(undecided[:5])} names no part, or several" if undecided else ""
        raise InputError(
            f"{path} holds no list for {', '.join(missing)}{left}. Give a file for each part, such "
            "as train.txt, val.txt and test.txt, or one CSV with a column 'split'."
        )
    return pd.Series(split, dtype=str)


def checksum(path: Path | None) -> str | None:
    """SHA-256 of which film is in which part, however it is written; None without lists.

    Raises:
        InputError: as `read`.
    """
    if path is None:
        return None
    return artifacts.fingerprint(f"{film} {part}" for film, part in read(path).items())


def _read_file(path: Path) -> list[tuple[str, str]] | None:
    """Films and their parts; None if neither the file's lines nor its name tell a part."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(f"{path} is no list of film names ({why}).") from None
    named = {_PARTS[word] for word in re.split(r"[^a-z]+", path.stem.lower()) if word in _PARTS}
    by_line = _part_column(lines)
    if by_line is None and len(named) != 1:
        return None
    films: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=1):
        names = set(_FILM.findall(line))
        if len(names) > 1 or (not names and films and line.strip()):
            what = "several films" if names else "no film such as 00000001_000.png"
            raise InputError(f"{path}, line {number:,} names {what}; give one a line.")
        if names:
            part = named if by_line is None else _parts_of(_fields(line)[by_line : by_line + 1])
            if len(part) != 1:
                raise InputError(
                    f"{path}, line {number:,} does not say whether {names.pop()} is for train, "
                    "validation or test."
                )
            films.append((names.pop(), *part))
    return films


def _part_column(lines: list[str]) -> int | None:
    """The column that the header calls so, or the first that names a part beside a film."""
    for line in lines:
        if not _FILM.search(line):
            titles = [field.lower() for field in _fields(line)]
            if found := [place for place, title in enumerate(titles) if title in _TITLES]:
                return found[0]
        else:
            fields = _fields(line)
            return next((place for place in range(len(fields)) if _parts_of([fields[place]])), None)
    return None


def _fields(line: str) -> list[str]:
    """A line's fields; none that matters here holds a comma, and all else is passed over."""
    mark = next((mark for mark in ",;\t" if mark in line), None)
    return [field.strip(" \t\"'") for field in line.split(mark)]


def _parts_of(fields: list[str]) -> set[str]:
    return {_PARTS[field.lower()] for field in fields if field.lower() in _PARTS}
