"""Which films are wanted: one list of names decides what is fetched."""

import re
from pathlib import Path

import pandas as pd

from cxr import phantoms
from cxr.config import Config, names_file
from cxr.errors import InputError
from cxr.fetch import catalogue
from cxr.records import balancing, nih, splits


def wanted(config: Config, records: pd.DataFrame) -> list[str]:
    """Names of the films that this configuration works on, sorted.

    Args:
        records: all of them, as `nih.read_records` gives them.

    Raises:
        InputError: if `config.sample` cannot be met.
    """
    films = sorted(records["film"])
    if config.images is not None:
        return films
    if config.phantoms:
        # Chosen for the patient-wise split whichever one is asked for, so that several can
        # be compared on the same films.
        split = splits.make_split(records, "patient", seed=config.seed)
        return phantoms.choose(
            records, split, boxes(config.data), films=number(config.sample), seed=config.seed
        )
    if config.sample is None:
        first = catalogue.ARCHIVES[0].films
        return films[:first] if config.profile == "first_archive" else films
    if config.sample == "boxes":
        boxed = boxes(config.data)
        if boxed.empty:
            raise InputError(
                "CXR_SAMPLE=boxes needs the list of boxes, which no source gave; save "
                f"BBox_List_2017.csv as {config.data / 'boxes.csv'} and run again."
            )
        return sorted(set(boxed["film"]) & set(films))
    if names_file(config.sample):
        return listed(Path(config.sample), films)
    return by_patient(records, films=number(config.sample), seed=config.seed)


def boxes(data: Path) -> pd.DataFrame:
    """The finding boxes in `data`, or an empty frame with the same columns where absent."""
    path = data / "boxes.csv"
    if path.exists():
        return nih.read_boxes(path)
    return pd.DataFrame({name: [] for name in ("film", "finding", "x", "y", "width", "height")})


def number(sample: str | None) -> int:
    """The number of films that `CXR_SAMPLE` asks for.

    Raises:
        InputError: if it is none.
    """
    if sample is None or not re.fullmatch("[0-9]{1,9}", sample) or int(sample) == 0:
        told = (sample or "")[:60]
        raise InputError(
            f"CXR_SAMPLE={told} is neither a number of films nor 'boxes' nor a file of names."
        )
    return int(sample)


def listed(path: Path, films: list[str], *, setting: str = "CXR_SAMPLE") -> list[str]:
    """Film names from a file: one a line, or the first column of a CSV with a header.

    Args:
        path: the file.
        films: those that the records have.
        setting: what named the file, for the message.

    Raises:
        InputError: if it cannot be read, or names no film, or one that the records do not
            have.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "no UTF-8 text"
        raise InputError(
            f"{setting}={path} is no list of film names ({why}); give one name a line."
        ) from None
    fields = [line.split(",")[0].strip().strip('"') for line in text.splitlines()]
    names = [field for field in fields if field]
    if names and not re.search(r"\d", names[0]):
        names = names[1:]
    unknown = sorted(set(names) - set(films))
    if unknown or not names:
        what = f"{unknown[0]}, which the records do not have" if unknown else "no film"
        raise InputError(f"{setting}={path} names {what}; give one name such as {films[0]} a line.")
    return sorted(set(names))


def by_patient(records: pd.DataFrame, *, films: int, seed: int) -> list[str]:
    """Whole patients with exactly `films` films, in proportion in all that splits balance.

    Args:
        records: all of them.
        films: wanted.

    Returns:
        Film names, sorted.

    Raises:
        InputError: if the records have fewer films, or no such choice of patients.
    """
    if films > len(records):
        raise InputError(f"CXR_SAMPLE={films} asks for more films than the {len(records):,} known.")
    if films == len(records):
        return sorted(records["film"])
    # A sample is one part of a split in two.
    part = balancing.by_patient(records, {"sample": films, "rest": len(records) - films}, seed=seed)
    return sorted(records.loc[part == "sample", "film"])
