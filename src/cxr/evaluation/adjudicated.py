"""Scores against labels that radiologists agreed on (Majkowska et al., Radiology 2020)."""

import numpy as np
import pandas as pd

from cxr.evaluation import intervals
from cxr.evaluation.ranking import Judged, against

# The radiologists' label -> the findings that it covers. Fracture has no counterpart among
# the 14. That the four shadows make up "airspace opacity" is our reading, stated so that
# it can be disputed.
MAPPING = {
    "Pneumothorax": ("Pneumothorax",),
    "Nodule or mass": ("Nodule", "Mass"),
    "Airspace opacity": ("Consolidation", "Infiltration", "Pneumonia", "Edema"),
}


def evaluate(adjudicated: pd.DataFrame, judged: Judged) -> pd.DataFrame:
    """AUROC against the radiologists, beside that against the text-mined labels.

    A film's score for a label is the highest of the findings that it covers, and its
    text-mined label is whether any of them was mined.

    Args:
        adjudicated: as `nih.read_adjudicated` returns it.
        judged: the test films, with their names as index.

    Returns:
        One row per label: label, findings, then as `ranking.against` and `agreement`.
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
            | agreement(truth, mined, part.patients.to_numpy())
        )
    return pd.DataFrame(rows)


def agreement(truth: np.ndarray, mined: np.ndarray, patients: np.ndarray) -> dict:
    """How mined labels fare against radiologists who saw the films.

    Args:
        truth, mined: bool (films,).
        patients: the patient of each film.

    Returns:
        mined_ppv (mined films that are confirmed) and mined_sensitivity (films with it that
        were mined), each with `_low` and `_high`; NaN for too few patients.
    """
    row = {}
    for name, counted in (("ppv", mined), ("sensitivity", truth)):
        columns = (f"mined_{name}", f"mined_{name}_low", f"mined_{name}_high")
        row |= zip(columns, intervals.rate(truth & mined, counted, patients), strict=True)
    return row
