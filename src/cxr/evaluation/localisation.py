"""Where heatmaps point, judged by the boxes that radiologists drew."""

import collections
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage

from cxr.evaluation import intervals
from cxr.records.nih import BOX_SPACE
from cxr.records.rsna import OPACITY, Readings

# Heatmaps, scaled to 0-255, are cut at these levels; each connected region gives one box
# (Wang et al., CVPR 2017, section 4.2).
LEVELS = (60, 180)

# Overlaps from which a box counts as found; the same paper's tables.
IOU_THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)
IOBB_THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)

MEASURES = (
    "pointing game",
    *(f"IoU >= {threshold}" for threshold in IOU_THRESHOLDS),
    *(f"IoBB >= {threshold}" for threshold in IOBB_THRESHOLDS),
    *(f"false boxes at IoBB {threshold}" for threshold in IOBB_THRESHOLDS),
)

# What heatmaps have to beat to have found anything: see `most_covered`.
FIXED = "most covered point"

# Side to which heatmaps are enlarged before regions are cut out of them, in pixels.
_SIDE = 256

# Cells along a film's side, 8 pixels each, in which covering boxes are counted.
_CELLS = 128


class Prediction(NamedTuple):
    """One method's answer for one film and finding, in pixels of the 1024-px film.

    `point` is (x, y), NaN where the method has no answer; `boxes` is float (n, 4): x, y,
    width, height.
    """

    point: np.ndarray
    boxes: np.ndarray


class Case(NamedTuple):
    """A film, a finding and the boxes drawn for it: float (n, 4), as in `Prediction`."""

    film: str
    patient_id: int
    finding: str
    boxes: np.ndarray


def cases(boxes: pd.DataFrame, records: pd.DataFrame) -> list[Case]:
    """The films of `records` that have boxes, one case per film and finding.

    Args:
        boxes: as `nih.read_boxes` returns them.
        records: needs `film` and `patient_id`.
    """
    known = boxes.merge(records[["film", "patient_id"]], on="film")
    sides = ["x", "y", "width", "height"]
    return [
        Case(film, int(part["patient_id"].iloc[0]), finding, part[sides].to_numpy(float))
        for (film, finding), part in known.groupby(["film", "finding"], sort=True)
    ]


def drawn(boxes: pd.DataFrame, films: pd.Series, finding: str) -> list[np.ndarray]:
    """The boxes of one finding on each film, float (n, 4); none where none were drawn."""
    part = boxes[boxes["finding"] == finding]
    sides = ["x", "y", "width", "height"]
    return [part.loc[part["film"] == film, sides].to_numpy(float) for film in films]


def from_heatmap(heatmap: np.ndarray) -> Prediction:
    """The maximum of a heatmap, and boxes around its hot regions.

    Args:
        heatmap: float (height, width), at least 0; all zero if nothing speaks for the
            finding, which is no answer.
    """
    if not heatmap.max() > 0:
        return Prediction(np.full(2, np.nan), np.empty((0, 4)))
    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    large = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
    scale = BOX_SPACE / _SIDE
    row, column = np.unravel_index(np.argmax(large), large.shape)
    boxes = []
    spread = large * (255 / large.max())
    for level in LEVELS:
        regions, _ = ndimage.label(spread >= level)
        for rows, columns in ndimage.find_objects(regions):
            boxes.append(
                (columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start)
            )
    return Prediction(
        scale * np.array([column + 0.5, row + 0.5]), scale * np.array(boxes, dtype=float)
    )


def mean_box(all_cases: list[Case]) -> list[Prediction]:
    """Baseline: the mean box of the same finding on other patients' films.

    A finding that only one patient has boxes for gets no answer.
    """
    return [
        Prediction(np.full(2, np.nan), np.empty((0, 4)))
        if box is None
        else Prediction(box[:2] + box[2:] / 2, box[None])
        for box in _mean_boxes(all_cases)
    ]


def centre(all_cases: list[Case]) -> list[Prediction]:
    """Baseline: the centre of the film, with a box of the finding's mean size around it."""
    middle = np.full(2, BOX_SPACE / 2)
    return [
        Prediction(middle, np.empty((0, 4)))
        if box is None
        else Prediction(middle, np.concatenate([middle - box[2:] / 2, box[2:]])[None])
        for box in _mean_boxes(all_cases)
    ]


def most_covered(all_cases: list[Case], drawn_for: list[Case] | None = None) -> list[Prediction]:
    """Baseline: the point that boxes of the same finding cover most often.

    The best answer that knows nothing of the film. A mean of boxes in both lungs lies
    between these, where there are none.

    Args:
        all_cases: what is asked.
        drawn_for: whose boxes are counted, each patient's own left out; by default those of
            `all_cases`. A finding that has none gets no answer.
    """
    times: dict = collections.defaultdict(lambda: np.zeros((_CELLS, _CELLS), np.int16))
    for case in all_cases if drawn_for is None else drawn_for:
        times[case.finding] += (covered := _covered(case.boxes))
        times[case.finding, case.patient_id] += covered
    answers = []
    for case in all_cases:
        by_others = times[case.finding] - times[case.finding, case.patient_id]
        row, column = np.unravel_index(np.argmax(by_others), by_others.shape)
        point = (np.array([column, row]) + 0.5) * BOX_SPACE / _CELLS
        answers.append(
            Prediction(point if by_others.any() else np.full(2, np.nan), np.empty((0, 4)))
        )
    return answers


def _covered(boxes: np.ndarray) -> np.ndarray:
    """Whether the middle of each cell of a film lies in a box, 0/1 (`_CELLS`, `_CELLS`)."""
    middle = (np.arange(_CELLS) + 0.5) * BOX_SPACE / _CELLS
    left, top, width, height = boxes.T[:, :, None]
    columns = (left <= middle) & (middle <= left + width)
    rows = (top <= middle) & (middle <= top + height)
    return (rows[:, :, None] & columns[:, None, :]).any(axis=0).astype(np.uint8)


def judge(all_cases: list[Case], predictions: list[Prediction]) -> pd.DataFrame:
    """Compare predictions with the drawn boxes, case by case.

    Returns:
        Columns film, patient_id, finding, then 0/1 `pointing game` (the point lies in a
        box: Zhang et al., ECCV 2016, without tolerance), `IoU >= T` and `IoBB >= T` (some
        predicted box overlaps a drawn one so much), and `false boxes at IoBB T`, the
        number of predicted boxes that overlap none so much.
    """
    rows = []
    for case, prediction in zip(all_cases, predictions, strict=True):
        x, y = prediction.point
        left, top, width, height = case.boxes.T
        hit = (left <= x) & (x <= left + width) & (top <= y) & (y <= top + height)
        union, detected = overlaps(prediction.boxes, case.boxes)
        best_iou = union.max(initial=0.0)
        best_by_box = detected.max(axis=1, initial=0.0)
        rows.append(
            (
                case.film,
                case.patient_id,
                case.finding,
                int(hit.any()),
                *(int(best_iou >= threshold) for threshold in IOU_THRESHOLDS),
                *(int(best_by_box.max(initial=0) >= threshold) for threshold in IOBB_THRESHOLDS),
                *(int((best_by_box < threshold).sum()) for threshold in IOBB_THRESHOLDS),
            )
        )
    return pd.DataFrame(rows, columns=["film", "patient_id", "finding", *MEASURES])


def summarise(judged: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Means of `judge` per method and finding, with patient-level 95 % intervals.

    Args:
        judged: method -> frame of `judge`, all of the same cases.

    Returns:
        Columns method, finding (or "All"), measure, value, low, high, cases, patients.
        Empty without cases; NaN for too few patients.
    """
    tables = []
    for method, frame in judged.items():
        for finding in ["All", *sorted(frame["finding"].unique())] if len(frame) else []:
            part = frame if finding == "All" else frame[frame["finding"] == finding]
            patient, patients = intervals.numbered(part["patient_id"]), part["patient_id"].nunique()
            values = part[[*MEASURES]].to_numpy(dtype=np.float64)
            value, low, high = intervals.rates(values == 1, np.isfinite(values), patient)
            # Numbers of boxes are no shares: their means have symmetric intervals.
            counts = np.array([measure.startswith("false boxes") for measure in MEASURES])
            number = intervals.ratios(values, np.ones_like(values), patient, patients)
            if patients >= intervals.FEWEST_PATIENTS:
                bounds = number.bounds(single=False, least=0)
                value = np.where(counts, number.value, value)
                low, high = (
                    np.where(counts, a, b) for a, b in zip(bounds, (low, high), strict=True)
                )
            tables.append(
                pd.DataFrame(
                    {
                        "method": method,
                        "finding": finding,
                        "measure": MEASURES,
                        "value": value,
                        "low": low,
                        "high": high,
                        "cases": len(part),
                        "patients": patients,
                    }
                )
            )
    columns = ["method", "finding", "measure", "value", "low", "high", "cases", "patients"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def advantage(
    judged: Mapping[str, pd.DataFrame], method: str, *, measure: str = MEASURES[0]
) -> pd.DataFrame:
    """How much more often one method finds the boxes than each other method.

    Paired: all methods are judged on the same patients. "All" weighs every case alike;
    "mean over findings" every finding that enough patients have boxes for, so that one that
    always lies in the same place does not decide alone.

    Args:
        judged: method -> frame of `judge`, all of the same cases.
        method: the one that the others are taken from.

    Returns:
        Columns other, over ("All" or "mean over findings"), difference, low, high, cases;
        empty without cases, NaN for too few patients.
    """
    columns = ["other", "over", "difference", "low", "high", "cases"]
    cases = judged[method]
    patient, patients = intervals.numbered(cases["patient_id"]), cases["patient_id"].nunique()
    of_finding = cases.groupby("finding")["patient_id"].nunique()
    findings = of_finding.index[of_finding >= intervals.FEWEST_PATIENTS]
    rows = []
    for other, frame in judged.items() if len(cases) else ():
        if other == method:
            continue
        gain = (cases[measure] - frame[measure]).to_numpy(dtype=np.float64)[:, None]
        member = np.column_stack([cases["finding"] == f for f in ["", *findings]]).astype(float)
        member[:, 0] = 1
        gains = intervals.ratios(gain * member, member, patient, patients)
        for over, estimate in (
            ("All", gains[[0]]),
            ("mean over findings", gains[slice(1, None)].mean()),
        ):
            low, high = estimate.bounds(single=False, least=-1, most=1)
            row = [estimate.value[0], low[0], high[0]]
            if patients < intervals.FEWEST_PATIENTS:
                row = [np.nan] * 3
            rows.append((other, over, *row, len(cases)))
    return pd.DataFrame(rows, columns=columns)


def in_words(judged: Mapping[str, pd.DataFrame], method: str) -> str:
    """Whether a method's points find more than the point that never moves, for readers of maps.

    Args:
        judged: method -> frame of `judge`, all of the same cases; needs `FIXED`.
        method: whose maps are shown.

    Returns:
        Two sentences; "" where there are no cases, or too few patients to say.
    """
    table = summarise({name: judged[name] for name in (method, FIXED)})
    hits = table[(table["finding"] == "All") & (table["measure"] == MEASURES[0])]
    if hits["value"].isna().any() or hits.empty:
        return ""
    told = advantage({name: judged[name] for name in (method, FIXED)}, method)
    gain = told[told["over"] == "All"].iloc[0]
    cases = judged[method]
    films = f"{cases['film'].nunique():,} films"
    asked = f"Of {len(cases):,} findings that radiologists boxed on {films}"
    if (cases["finding"] == "Lung Opacity").all():
        asked = f"Of {films} with opacities that RSNA's radiologists boxed"
    own, fixed = (
        f"{100 * row.value:.0f} % ({100 * row.low:.0f} to {100 * row.high:.0f})"
        for row in hits.itertuples()
    )
    verdict = "are not shown to find more than"
    if gain["low"] > 0:
        verdict = "find more than"
    elif gain["high"] < 0:
        verdict = "find less than"
    return (
        f"{asked}, the hottest point of the heatmap lies in a box for {own}, a point that never "
        f"moves, where the boxes of other patients lie most often, for {fixed}. So these heatmaps "
        f"{verdict} a point that knows nothing of the film (difference "
        f"{100 * gain['difference']:+.0f} points, {100 * gain['low']:+.0f} to "
        f"{100 * gain['high']:+.0f})."
    )


def overlaps(predicted: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Overlap of every predicted with every drawn box.

    Args:
        predicted, drawn: float (n, 4) and (m, 4): x, y, width, height.

    Returns:
        Intersection over union, and intersection over the predicted ("detected") box,
        IoBB; each (n, m).
    """
    ends = (
        predicted[:, None, :2] + predicted[:, None, 2:],
        drawn[None, :, :2] + drawn[None, :, 2:],
    )
    sides = np.minimum(*ends) - np.maximum(predicted[:, None, :2], drawn[None, :, :2])
    shared = np.clip(sides, 0, None).prod(axis=2)
    areas = predicted[:, None, 2:].prod(axis=2), drawn[None, :, 2:].prod(axis=2)
    return shared / (areas[0] + areas[1] - shared), shared / np.broadcast_to(areas[0], shared.shape)


def _mean_boxes(all_cases: list[Case]) -> list[np.ndarray | None]:
    """Per case the mean box of its finding, its own patient left out."""
    means = []
    for case in all_cases:
        others = [
            other.boxes
            for other in all_cases
            if other.finding == case.finding and other.patient_id != case.patient_id
        ]
        means.append(np.concatenate(others).mean(axis=0) if others else None)
    return means


def opacity_cases(readings: Readings, frame: pd.DataFrame) -> list[Case]:
    """The boxed films of some records, for `judge`, as "Lung Opacity".

    Args:
        readings: as `read` returns them.
        frame: needs `film` and `patient_id`.
    """
    known = readings.boxes.merge(frame[["film", "patient_id"]], on="film")
    return [
        Case(
            film,
            int(part["patient_id"].iloc[0]),
            "Lung Opacity",
            part[["x", "y", "width", "height"]].to_numpy(float),
        )
        for film, part in known.groupby("film", sort=True)
    ]


def opacity_finding(scores: pd.DataFrame) -> pd.Series:
    """Of each film, the one of `OPACITY` with the highest score."""
    return scores[list(OPACITY)].idxmax(axis=1)
