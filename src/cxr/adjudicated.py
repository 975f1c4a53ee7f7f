"""Scores against labels that radiologists agreed on (Majkowska et al., Radiology 2020)."""

import numpy as np
import pandas as pd

from cxr import intervals
from cxr.evaluation import Judged

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
        adjudicated: as `records.read_adjudicated` returns it.
        judged: the test films, with their names as index.

    Returns:
        One row per label: label, findings, films, positives, auroc, low, high (against the
        radiologists), mined_auroc, mined_low, mined_high (against the text mining, on the
        same films), mined_ppv and mined_sensitivity (of the text mining, against the
        radiologists), each with `_low` and `_high`. NaN for too few patients, or where a
        finding is not scored.
    """
    adjudicated = adjudicated.set_index("film")
    part = judged.part(judged.targets.index.isin(adjudicated.index))
    films, patients = part.targets.index, part.patients.to_numpy()
    rows = []
    for label, covered in MAPPING.items():
        truth = adjudicated.loc[films, label].to_numpy(dtype=bool)
        mined = part.targets[list(covered)].to_numpy().any(axis=1)
        # NaN where the scores lack one of the findings.
        score = part.scores.reindex(columns=list(covered)).max(axis=1, skipna=False)
        row = {
            "label": label,
            "findings": " or ".join(covered),
            "films": len(films),
            "positives": int(truth.sum()),
        }
        for reference, prefix in ((truth, ""), (mined, "mined_")):
            columns = (f"{prefix}auroc", f"{prefix}low", f"{prefix}high")
            values = (np.nan,) * 3
            if score.notna().all():
                values = intervals.auroc(reference, score.to_numpy(), patients)
            row |= zip(columns, values, strict=True)
        for name, counted in (("ppv", mined), ("sensitivity", truth)):
            columns = (f"mined_{name}", f"mined_{name}_low", f"mined_{name}_high")
            row |= zip(columns, intervals.rate(truth & mined, counted, patients), strict=True)
        rows.append(row)
    return pd.DataFrame(rows)
