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

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.evaluation import intervals
from cxr.evaluation.localisation import Case
from cxr.evaluation.ranking import Judged, against
from cxr.findings import FINDINGS, NO_FINDING
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


def read(folder: Path) -> Readings:
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
        absent = [name for name, path in wanted.items() if path is None or not path.is_file()]
        if absent:
            return nothing(f"{folder} holds no {' and no '.join(absent)}")
        path = boxes
        table = _joined(boxes, folder / CLASSES, folder / NAMES)
    return _checked(path, table)


def agreement(readings: Readings, frame: pd.DataFrame) -> pd.DataFrame:
    """How radiologists read the films that have each mined label.

    Args:
        readings: as `read` returns them.
        frame: records, as `nih.read` returns them.

    Returns:
        One row for "No Finding", each finding, and "any of the four opacities": label,
        films (read, with that mined label), patients, then the shares normal, opacity and
        neither, each with `_low` and `_high`; NaN for too few patients. RSNA drew its films
        by these labels, so the shares hold within a label only.
    """
    both = frame.merge(readings.films, on="film")
    mined = {NO_FINDING: both["labels"] == NO_FINDING}
    mined |= {finding: both[finding] == 1 for finding in FINDINGS}
    mined["any of the four opacities"] = both[list(OPACITY)].any(axis=1)
    rows = []
    for label, films in mined.items():
        part = both[films]
        row = {"label": label, "films": len(part), "patients": part["patient_id"].nunique()}
        for name, reading in zip(("normal", "opacity", "neither"), READINGS, strict=True):
            hit = (part["reading"] == reading).to_numpy()
            share = intervals.rate(hit, np.ones_like(hit), part["patient_id"].to_numpy())
            row |= dict(zip((name, f"{name}_low", f"{name}_high"), share, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def evaluate(readings: Readings, judged: Judged) -> pd.DataFrame:
    """AUROC against the readings, beside that against the mined labels of the same films.

    Lung Opacity is scored by each of `OPACITY` and by the largest of their scores; whether a
    film is not normal by the largest of all scores.

    Args:
        readings: as `read` returns them.
        judged: the test films, with their names as index.

    Returns:
        Columns reading ("Lung Opacity" or "not Normal"), score (whose), then as
        `ranking.against`.
    """
    known = readings.films.set_index("film")["reading"]
    part = judged.part(judged.targets.index.isin(known.index))
    reading = known.loc[part.targets.index]
    opacity, ill = (reading == "Lung Opacity").to_numpy(), (reading != "Normal").to_numpy()
    asked = [("Lung Opacity", finding, opacity, [finding]) for finding in OPACITY]
    asked += [
        ("Lung Opacity", "the largest of the four", opacity, OPACITY),
        ("not Normal", "the largest of the 14", ill, FINDINGS),
    ]
    return pd.DataFrame(
        [
            {"reading": name, "score": words} | against(part, truth, findings)
            for name, words, truth, findings in asked
        ]
    )


def cases(readings: Readings, frame: pd.DataFrame) -> list[Case]:
    """The boxed films of some records, for `localisation.judge`, as "Lung Opacity".

    Args:
        readings: as `read` returns them.
        frame: needs `film` and `patient_id`.
    """
    known = readings.boxes.merge(frame[["film", "patient_id"]], on="film")
    return [
        Case(film, int(part["patient_id"].iloc[0]), "Lung Opacity", part[_SIDES].to_numpy(float))
        for film, part in known.groupby("film", sort=True)
    ]


def opacity_finding(scores: pd.DataFrame) -> pd.Series:
    """Of each film, the one of `OPACITY` with the highest score."""
    return scores[list(OPACITY)].idxmax(axis=1)


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
