"""Scores and mined labels against radiologists who saw the films.

Two groups of them: the labels that several agreed on (Majkowska et al., Radiology 2020), and
the readings for RSNA's challenge of 2018 (`cxr.records.rsna`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from cxr.evaluation import intervals
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS, NO_FINDING, NOT_SCORED, TOO_FEW
from cxr.records.rsna import OPACITY, READINGS, Readings

# The radiologists' label -> the findings that it covers. Fracture has no counterpart among
# the 14. That the four shadows make up "airspace opacity" is our reading, stated so that
# it can be disputed.
MAPPING = {
    "Pneumothorax": ("Pneumothorax",),
    "Nodule or mass": ("Nodule", "Mass"),
    "Airspace opacity": ("Consolidation", "Infiltration", "Pneumonia", "Edema"),
}


def evaluate_adjudicated(adjudicated: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """AUROC against the radiologists, beside that against the text-mined labels.

    A film's score for a label is the highest of the findings that it covers, and its
    text-mined label is whether any of them was mined.

    Args:
        adjudicated: as `nih.read_adjudicated` returns it.
        judged: the test films, with their names as index.

    Returns:
        One row per label: label, findings, then as `against` and `mined_against`.
    """
    adjudicated = adjudicated.set_index("film")
    part = judged.part(judged.targets.index.isin(adjudicated.index))
    rows = []
    for label, covered in MAPPING.items():
        truth = adjudicated.loc[part.targets.index, label].to_numpy(dtype=bool)
        mined = part.targets[list(covered)].to_numpy().any(axis=1)
        rows.append(
            {"label": label, "findings": " or ".join(covered)}
            | against(part, truth, covered)
            | mined_against(truth, mined, part.patients.to_numpy())
        )
    return pd.DataFrame(rows)


def evaluate_readings(readings: Readings, judged: Judged) -> pd.DataFrame:
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
    asked = [
        *(("Lung Opacity", finding, opacity, (finding,)) for finding in OPACITY),
        ("Lung Opacity", "the largest of the four", opacity, OPACITY),
        ("not Normal", "the largest of the 14", ill, FINDINGS),
    ]
    return pd.DataFrame(
        [
            {"reading": name, "score": words} | against(part, truth, findings)
            for name, words, truth, findings in asked
        ]
    )


def against(judged: Judged, truth: np.ndarray, findings: Sequence[str]) -> dict:
    """How the largest of some findings' scores ranks films that people read, and mined labels.

    Args:
        judged: the films that were read.
        truth: bool (films,), what people read.
        findings: whose scores are taken; a film counts as mined if any of them was.

    Returns:
        films, positives, positive_patients (by the readers), auroc, low, high (against the
        readers), mined_auroc, mined_low, mined_high (against the mined labels of the same
        films) and remark, why `auroc` is NaN.
    """
    patients = judged.patients.to_numpy()
    # NaN where the scores lack one of the findings.
    score = judged.scores.reindex(columns=list(findings)).max(axis=1, skipna=False)
    scored = bool(score.notna().all())
    row: dict = {
        "films": len(truth),
        "positives": int(truth.sum()),
        "positive_patients": len(np.unique(patients[truth])),
    }
    mined = judged.targets[list(findings)].to_numpy().any(axis=1)
    for reference, prefix in ((truth, ""), (mined, "mined_")):
        values = (np.nan,) * 3
        if scored:
            values = intervals.auroc(reference, score.to_numpy(), patients)
        columns = (f"{prefix}auroc", f"{prefix}low", f"{prefix}high")
        row |= zip(columns, values, strict=True)
    few = TOO_FEW if np.isnan(row["auroc"]) else ""
    return row | {"remark": few if scored else NOT_SCORED}


def mined_against(truth: np.ndarray, mined: np.ndarray, patients: np.ndarray) -> dict:
    """How mined labels fare against radiologists who saw the films.

    Args:
        truth, mined: bool (films,).
        patients: the patient of each film.

    Returns:
        mined_ppv (mined films that are confirmed) and mined_sensitivity (films with it that
        were mined), each with `_low` and `_high`; NaN for too few patients.
    """
    row: dict = {}
    for name, counted in (("ppv", mined), ("sensitivity", truth)):
        columns = (f"mined_{name}", f"mined_{name}_low", f"mined_{name}_high")
        row |= zip(columns, intervals.rate(truth & mined, counted, patients), strict=True)
    return row


def label_noise(records: pd.DataFrame, adjudicated: pd.DataFrame) -> pd.DataFrame:
    """How NIH's text-mined labels fare against radiologists who saw the films.

    Args:
        records: as `nih.read_records` returns them; films without adjudication do not count.
        adjudicated: as `nih.read_adjudicated` returns them.

    Returns:
        One row for each label of `MAPPING`, which says what it is compared
        with: `label`, `films` compared, `labelled` by NIH, `confirmed` of these by the
        radiologists, `present` according to the radiologists, and what
        `mined_against` measures.
    """
    both = records.merge(adjudicated.add_prefix("true "), left_on="film", right_on="true film")
    patients = both["patient_id"].to_numpy()
    rows = []
    for label, findings in MAPPING.items():
        mined = both[list(findings)].to_numpy().any(axis=1)
        true = both[f"true {label}"].to_numpy(dtype=bool)
        counts = {
            "label": label,
            "films": len(both),
            "labelled": int(mined.sum()),
            "confirmed": int((mined & true).sum()),
            "present": int(true.sum()),
        }
        rows.append(counts | mined_against(true, mined, patients))
    return pd.DataFrame(rows)


def readings_by_label(readings: Readings, frame: pd.DataFrame) -> pd.DataFrame:
    """How radiologists read the films that have each mined label.

    Args:
        readings: as `read` returns them.
        frame: records, as `nih.read_records` returns them.

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
