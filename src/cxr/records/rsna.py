"""What radiologists read on NIH's films for RSNA's challenge of 2018.

Shih et al., *Augmenting the National Institutes of Health Chest Radiograph Dataset with
Expert Annotations of Possible Pneumonia*, Radiology: Artificial Intelligence 2019. The films
are NIH's own and were drawn by NIH's labels: they are no other hospital, and no prevalence
among them is the hospital's.
"""

import dataclasses
import io
import json
import zipfile
from pathlib import Path

import pandas as pd

from cxr.errors import InputError
from cxr.records import nih

READINGS = ("Normal", "Lung Opacity", "No Lung Opacity / Not Normal")

# By our reading, stated so that it can be disputed, these four are lung opacities.
OPACITY = ("Pneumonia", "Consolidation", "Infiltration", "Edema")

# One file that is joined already, or three as they are distributed.
JOINED = "rsna2018.csv"
BOXES = ("kaggle_stage_2_train_labels.csv.zip", "stage_2_train_labels.csv")
CLASSES = "stage_2_detailed_class_info.csv"
NAMES = "pneumonia-challenge-dataset-mappings_2018.json"

_SIDES = ["x", "y", "width", "height"]


@dataclasses.dataclass(frozen=True)
class Readings:
    """The readings, as far as they are there.

    Attributes:
        films: film, reading (one of `READINGS`); one row a film.
        boxes: film, x, y, width, height, in pixels of the 1024-px film; one row a box
            around an opacity.
        missing: "", or a sentence that says what is missing.
    """

    films: pd.DataFrame
    boxes: pd.DataFrame
    missing: str = ""


def nothing(why: str) -> Readings:
    """No readings, for a reason."""
    empty = pd.DataFrame({"film": [], "reading": []}, dtype=str)
    boxes = pd.DataFrame({"film": pd.Series(dtype=str)} | dict.fromkeys(_SIDES, 0.0), index=[])
    return Readings(empty, boxes, f"{why}, so RSNA's readings of 2018 are not used.")


def read_readings(folder: Path) -> Readings:
    """Read the readings from a folder: `JOINED`, or `BOXES`, `CLASSES` and `NAMES`.

    Returns:
        The readings; none, with a sentence in `missing`, where a file is missing.

    Raises:
        InputError: if a file is not what it should be: a column is missing, a class is
            unknown, a film has two classes or two names, a box leaves the film, or lies on
            a film that is not read as Lung Opacity.
    """
    folder = Path(folder)
    if (folder / JOINED).is_file():
        path = folder / JOINED
        table = _table(path, ["film", "class", *_SIDES])
    else:
        boxes = next((folder / name for name in BOXES if (folder / name).is_file()), None)
        wanted = {BOXES[0]: boxes, CLASSES: folder / CLASSES, NAMES: folder / NAMES}
        absent = [name for name, file in wanted.items() if file is None or not file.is_file()]
        if absent or boxes is None:
            return nothing(f"{folder} holds no {' and no '.join(absent)}")
        path = boxes
        table = _joined(boxes, folder / CLASSES, folder / NAMES)
    return _checked(path, table)


def _table(path: Path, columns: list[str], content: bytes | None = None) -> pd.DataFrame:
    """Columns of a CSV as text, the index counting its lines."""
    try:
        source = path if content is None else io.BytesIO(content)
        table = pd.read_csv(source, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); fetch it again.") from None
    missing = [column for column in columns if column not in table]
    if missing:
        raise InputError(
            f"{path} lacks the column(s) {', '.join(missing)}, so it is not RSNA's; fetch it again."
        )
    return table[columns].set_axis(table.index + 2)


def _joined(boxes: Path, classes: Path, names: Path) -> pd.DataFrame:
    """The three distributed files as one table: film, class, x, y, width, height."""
    content = None
    if boxes.suffix == ".zip":
        try:
            with zipfile.ZipFile(boxes) as archive:
                inside = [name for name in archive.namelist() if name.endswith(".csv")]
                content = archive.read(inside[0]) if inside else b""
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{boxes} is no whole ZIP file ({error}); fetch it again.") from None
    table = _table(boxes, ["patientId", *_SIDES], content)
    read_as = _table(classes, ["patientId", "class"]).drop_duplicates()
    twice = read_as["patientId"].duplicated()
    if twice.any():
        raise InputError(
            f"{classes}, line {twice.idxmax():,}: {read_as['patientId'][twice].iloc[0]} has two "
            "classes; fetch it again."
        )
    try:
        listed = json.loads(names.read_text(encoding="utf-8"))
        film = {entry["subset_img_id"]: entry["img_id"] for entry in listed}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{names} is not RSNA's list of names ({error!r}); fetch it again."
        ) from None
    table = table.assign(
        film=table["patientId"].map(film),
        **{"class": table["patientId"].map(read_as.set_index("patientId")["class"])},
    )
    for column, source in (("film", names), ("class", classes)):
        lacking = table[column].isna()
        if lacking.any():
            raise InputError(
                f"{source} does not know {table['patientId'][lacking].iloc[0]}, which {boxes} "
                f"has ({lacking.sum():,} such rows); fetch both again."
            )
    one = table.drop_duplicates("patientId")["film"]
    if one.duplicated().any():
        raise InputError(
            f"{names} gives {one[one.duplicated()].iloc[0]} to two films of the challenge; fetch "
            "it again."
        )
    return table


def _checked(path: Path, table: pd.DataFrame) -> Readings:
    """Films and boxes of a joined table, or what is wrong with which of its lines."""

    def refuse(wrong: pd.Series, why: str) -> None:
        if wrong.any():
            line = wrong.idxmax()
            raise InputError(
                f"{path}, line {line:,}: {table['film'][line]} {why} ({wrong.sum():,} such "
                "line(s)); fetch it again."
            )

    refuse(~table["film"].str.fullmatch(r"\d{8}_\d{3}\.png"), "is no name of an NIH film")
    refuse(~table["class"].isin(READINGS), f"has a class that is none of {', '.join(READINGS)}")
    classes = table.groupby("film")["class"].transform("nunique")
    refuse(classes > 1, "has two classes")
    boxed = (table[_SIDES] != "").any(axis=1)
    refuse(boxed & (table["class"] != "Lung Opacity"), "has a box, but no Lung Opacity")
    refuse(~boxed & (table["class"] == "Lung Opacity"), "has Lung Opacity, but no box")
    boxes = table.loc[boxed, ["film", *_SIDES]]
    sides = boxes[_SIDES].apply(pd.to_numeric, errors="coerce")
    refuse(sides.isna().any(axis=1), "has a box whose sides are not all numbers")
    left, top, width, height = (sides[side] for side in _SIDES)
    outside = (left < 0) | (top < 0) | (left + width > nih.BOX_SPACE)
    outside |= (top + height > nih.BOX_SPACE) | (width <= 0) | (height <= 0)
    refuse(outside, f"has a box that is empty or leaves the film's {nih.BOX_SPACE} pixels")
    films = table[["film", "class"]].drop_duplicates().rename(columns={"class": "reading"})
    boxes = pd.concat([boxes["film"], sides.astype(float)], axis=1)
    return Readings(films.reset_index(drop=True), boxes.reset_index(drop=True))
