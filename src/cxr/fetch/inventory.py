"""Which films lie on the disk, and which of them are fit for use."""

import concurrent.futures
import hashlib
import itertools
import os
import re
import types
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr import artifacts, phantoms, progress
from cxr.errors import InputError
from cxr.films import png

_FILM = re.compile(r"\d{8}_\d{3}\.png")

# Standard deviation in grey levels (0 to 255) below which a film counts as almost blank.
# The flattest of 9,768 real films has 8.4, one in a thousand has less than 23.
FLATTEST = 4.0

# NIH's films are 8-bit grey or RGBA with three equal colours.
_USUAL_MODES = ("L", "RGBA")

# After so many films the findings are written, so that a check that is cut off goes on.
_BATCH = 8192

_COLUMNS = {
    "film": "str",
    "file": "str",
    "bytes": "int64",
    "modified": "int64",
    "mode": "str",
    "width": "int32",
    "height": "int32",
    "deviation": "float64",
    "phantom": "bool",
    "sha256": "str",
    "fault": "str",
    # Whether an earlier check found other content under this name.
    "changed": "bool",
}


def find_films(folder: Path) -> dict[str, Path]:
    """All films below `folder`, flat or nested as in Kaggle's copy, by name.

    Raises:
        InputError: if two different files have the same film's name.
    """
    found: dict[str, Path] = {}
    visited = set()
    for place, folders, files in os.walk(folder, followlinks=True):
        # Links to folders are followed, in a circle only once; hidden folders are ours.
        visited.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".")
            and os.path.realpath(os.path.join(place, name)) not in visited  # noqa: PTH118
        )
        for name in filter(_FILM.fullmatch, files):
            path = Path(place, name)
            if not path.exists():
                raise InputError(
                    f"{path} is a link to a file that does not exist; remove it, or mend it."
                )
            first = found.setdefault(name, path)
            if first is not path and first.stat().st_size != path.stat().st_size:
                raise InputError(
                    f"{first} and {path} are two different files of one film; move one of the "
                    "two folders elsewhere, or name the right one with CXR_IMAGES."
                )
    return found


def take_inventory(
    folder: Path,
    data: Path,
    wanted: Collection[str],
    *,
    drawn: bool,
    refused: Mapping[str, str] = types.MappingProxyType({}),
) -> pd.DataFrame:
    """Check every film below `folder` and write `inventory.csv` and `inventory.json` to `data`.

    Every film is read and decoded, unless its file is the one that was checked before.

    Args:
        folder: films, flat or nested; may be read-only.
        wanted: names of the films that should be there.
        drawn: whether the films should be phantoms; a mixture is refused.
        refused: films that could not be stored -> why.

    Returns:
        A table: check, films, examples, consequence. `inventory.json` holds the names of all
        films under each check; `left_out` those that later stages do not use, with the reason.

    Raises:
        InputError: if the folder is missing, holds no film or none that is wanted, or holds
            phantoms among real films.
    """
    paths = find_films(folder)
    _refuse_empty(folder, paths, wanted)
    films = _examine(folder, data, paths)
    odd = films[films["phantom"] != drawn]
    if len(odd[odd["fault"] == ""]):
        what = "no phantoms, but this is a demo" if drawn else "phantoms, drawn for a demo"
        raise InputError(
            f"{len(odd)} of the films in {folder} are {what} (the first is "
            f"{odd['film'].iloc[0]}); real films and phantoms need roots of their own (CXR_ROOT)."
        )
    report = _judge(folder, data, films, set(wanted), refused)
    artifacts.write_json(data / "inventory.json", report)
    return _table(report)


def available(folder: Path, data: Path, *, size: int | None = None) -> dict[str, Path]:
    """The films that can be used: name -> path, sorted by name.

    Args:
        folder: the folder that the films are read from, flat or nested.
        data: where `take_inventory` wrote its report.
        size: side in pixels that a film must at least have.

    Raises:
        InputError: if there is no inventory of these films yet, or the films are smaller
            than `size`.
    """
    report = read_report(folder, data)
    paths = find_films(folder)
    if artifacts.fingerprint(paths) != report["fingerprint"]:
        raise InputError(
            f"{folder} holds {len(paths):,} films, others than the {report['films']:,} that were "
            "checked; run 000-data_download again."
        )
    unfit = left_out(folder, data, size=size)
    return {film: paths[film] for film in sorted(paths) if film not in unfit}


def left_out(folder: Path, data: Path, *, size: int | None = None) -> dict[str, str]:
    """The films on the disk that later stages do not use: name -> reason.

    Args:
        size: as in `available`.
    """
    report = read_report(folder, data)
    unfit = dict(report["left_out"])
    if size is not None:
        side = report["side"]
        if size > side:
            raise InputError(
                f"CXR_IMAGE_SIZE={size} asks for more than the {side} pixels that the films in "
                f"{folder} have; set it to {side} or less, or store larger films (CXR_STORE_SIZE) "
                "in another CXR_ROOT."
            )
        unfit |= {
            film: f"{width} x {height} pixels, fewer than {size}"
            for film, (width, height) in report["odd_size"].items()
            if min(width, height) < size
        }
    return unfit


def read_report(folder: Path, data: Path) -> dict:
    """The report that `take_inventory` wrote about `folder`.

    Raises:
        InputError: if there is none, or it is about another folder.
    """
    path = data / "inventory.json"
    if not path.exists():
        raise InputError(
            f"{path} does not exist: no films were checked yet. Run 000-data_download first."
        )
    report = artifacts.read_json(path)
    if (checked := data / report["folder"]) != folder:
        raise InputError(
            f"{path} is about the films in {checked}, not {folder}; run 000-data_download again."
        )
    return report


def _place(folder: Path, data: Path) -> str:
    """A folder as a report names it: below `data` from there, so that both can be copied."""
    return str(folder.relative_to(data) if folder.is_relative_to(data) else folder)


def whole_films(data: Path) -> set[str]:
    """Names of the films below `data` that are whole; each other one is set aside.

    A file that only has a film's name (empty, cut off, a JPEG) is renamed to
    `<name>.damaged`, so that the film can be fetched again and nothing is lost. Files are
    checked once: what was found is kept, by size and time.
    """
    paths = find_films(data)
    if not paths:
        return set()
    films = _examine(data, data, paths)
    for film in films.loc[films["fault"] != "", "film"]:
        paths[film].replace(paths[film].with_name(f"{film}.damaged"))
    return set(films.loc[films["fault"] == "", "film"])


def _refuse_empty(folder: Path, paths: dict[str, Path], wanted: Collection[str]) -> None:
    if not folder.is_dir():
        raise InputError(f"the folder of films {folder} does not exist; run 000-data_download.")
    if not paths:
        raise InputError(
            f"{folder} holds no film: no file below it is named like 00000001_000.png."
        )
    if paths.keys().isdisjoint(wanted):
        raise InputError(
            f"none of the {len(paths):,} films in {folder} (the first is {min(paths)}) is in the "
            "records; set CXR_RECORDS to the records of these films."
        )


def _examine(folder: Path, data: Path, paths: dict[str, Path]) -> pd.DataFrame:
    """One row a film, columns `_COLUMNS`; rows of unchanged files come from the last time."""
    cache = data / "inventory.csv"
    known = _last_check(cache)
    rows, todo = [], []
    for film, path in paths.items():
        status, file = path.stat(), str(path.relative_to(folder))
        row = known.get(film)
        state = (file, status.st_size, status.st_mtime_ns)
        if row is not None and (row.file, row.bytes, row.modified) == state:
            rows.append(tuple(row))
        else:
            todo.append((film, path, "" if row is None else row.sha256, *state))
    with (
        progress.Bars() as bars,
        # Threads suffice: Pillow, zlib and hashlib let go of the interpreter.
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = bars.add("checking films", total=len(paths), unit="films")
        bar.advance(len(rows), reused=True)
        for start in range(0, max(len(todo), 1), _BATCH):
            for row in pool.map(_examine_one, todo[start : start + _BATCH]):
                rows.append(row)
                bar.advance()
            frame = pd.DataFrame(rows, columns=list(_COLUMNS)).astype(_COLUMNS)
            artifacts.write_csv(cache, frame)
    return frame.sort_values("film", ignore_index=True)


def _last_check(cache: Path) -> dict:
    """Film -> its row of the last check; nothing of a table that is damaged."""
    if not cache.exists():
        return {}
    try:
        # A film that could not be decoded has no deviation; everything else is text or a number.
        last = pd.read_csv(
            cache, dtype=_COLUMNS, keep_default_na=False, na_values={"deviation": [""]}
        )
    except (ValueError, OSError):
        return {}
    if list(last) != list(_COLUMNS):
        return {}
    return {row.film: row for row in last.itertuples(index=False)}


def _examine_one(film_and_file: tuple) -> tuple:
    film, path, before, *state = film_and_file
    mode, width, height, deviation, phantom, digest, fault = "", 0, 0, np.nan, False, "", ""
    try:
        content = path.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        image = png.decode(content)
        mode, (width, height) = image.mode, image.size
        phantom = phantoms.is_phantom(image)
        deviation = grey_deviation(image)
    except (OSError, ValueError) as error:
        fault = str(error)
    changed = before not in ("", digest)
    facts = (mode, width, height, round(deviation, 3), phantom, digest, fault, changed)
    return film, *state, *facts


def grey_deviation(image: Image.Image) -> float:
    """Standard deviation of a film's pixels, in grey levels of 8 bits."""
    if image.mode.startswith("I"):
        # 16 bits: 65535 stands for 255.
        return float(np.asarray(image).std()) / 257
    grey = image if image.mode == "L" else image.convert("RGB").convert("L")
    # Counting first is ten times as fast as numpy's own passes over the pixels.
    counts, levels = np.array(grey.histogram(), dtype=np.float64), np.arange(256)
    mean = (counts * levels).sum() / counts.sum()
    return float(np.sqrt((counts * (levels - mean) ** 2).sum() / counts.sum()))


def _judge(
    folder: Path, data: Path, films: pd.DataFrame, wanted: set[str], refused: Mapping[str, str]
) -> dict:
    """The content of `inventory.json`."""
    readable = films[films["fault"] == ""]
    if readable.empty:
        raise InputError(
            f"none of the {len(films):,} films in {folder} can be read (the first: "
            f"{films['fault'].iloc[0]}); get them again."
        )
    width, height = readable[["width", "height"]].value_counts().index[0]
    odd_size = readable[(readable["width"] != width) | (readable["height"] != height)]
    odd_mode = readable[~readable["mode"].isin(_USUAL_MODES)]
    blank = readable[readable["deviation"] < FLATTEST]
    same = readable[readable.duplicated("sha256", keep=False)].groupby("sha256")["film"]
    damaged = films.loc[films["fault"] != "", ["film", "fault"]]
    unreadable = dict(damaged.itertuples(index=False)) | {
        film: why for film, why in refused.items() if film in wanted - set(films["film"])
    }
    unexpected = sorted(set(films["film"]) - wanted)
    return {
        "folder": _place(folder, data),
        "films": len(films),
        "fingerprint": artifacts.fingerprint(films["film"]),
        "side": int(min(width, height)),
        "missing": sorted(wanted - set(films["film"]) - unreadable.keys()),
        "unexpected": unexpected,
        "unreadable": unreadable,
        "odd_mode": dict(odd_mode[["film", "mode"]].itertuples(index=False)),
        "odd_size": {
            film: (int(width), int(height))
            for film, width, height in odd_size[["film", "width", "height"]].itertuples(index=False)
        },
        "duplicates": sorted(sorted(group) for _, group in same),
        "almost_blank": sorted(blank["film"]),
        "changed": sorted(readable.loc[readable["changed"], "film"]),
        "left_out": dict.fromkeys(unexpected, "not in the records, or not asked for")
        | dict.fromkeys(sorted(blank["film"]), "almost blank")
        | {film: f"unreadable: {fault}" for film, fault in unreadable.items()},
    }


def _table(report: dict) -> pd.DataFrame:
    """What the inventory found, for a reader."""
    consequences = {
        "missing": "the run goes on without them",
        "unexpected": "not in the records, or not asked for: left out",
        "unreadable": "left out",
        "odd_mode": "used; read as 8-bit grey",
        "odd_size": f"used, where not smaller than asked for; most have {report['side']} px",
        "duplicates": "used; the records list them as separate films",
        "almost_blank": "left out",
        "changed": "used; their content is another one than at an earlier check",
    }
    rows = [("on disk", report["films"], "", "")]
    for check, consequence in consequences.items():
        found = report[check]
        names = list(itertools.chain(*found)) if check == "duplicates" else list(found)
        examples = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        rows.append((check.replace("_", " "), len(names), examples, consequence if names else ""))
    return pd.DataFrame(rows, columns=["check", "films", "examples", "consequence"])
