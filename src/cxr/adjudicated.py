"""Scores against labels that radiologists agreed on (Majkowska et al., Radiology 2020)."""

import numpy as np
import pandas as pd

from cxr import bootstrap

# The radiologists' label -> the findings that it covers. Fracture has no counterpart among
# the 14. That the four shadows make up "airspace opacity" is our reading, stated so that
# it can be disputed.
MAPPING = {
    "Pneumothorax": ("Pneumothorax",),
    "Nodule or mass": ("Nodule", "Mass"),
    "Airspace opacity": ("Consolidation", "Infiltration", "Pneumonia", "Edema"),
}


def evaluate(
    adjudicated: pd.DataFrame,
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """AUROC against the radiologists, beside that against the text-mined labels.

    A film's score for a label is the highest of the findings that it covers, and its
    text-mined label is whether any of them was mined.

    Args:
        adjudicated: as `records.read_adjudicated` returns it.
        targets, scores, patients: of the test films, all with the film names as index.

    Returns:
        One row per label: label, findings, films, positives, auroc, low, high (against the
        radiologists), mined_auroc, mined_low, mined_high (against the text mining, on the
        same films), mined_ppv and mined_sensitivity (of the text mining, against the
        radiologists). NaN where not estimable.
    """
    adjudicated = adjudicated.set_index("film")
    films = targets.index.intersection(adjudicated.index, sort=False)
    resamples = bootstrap.resample(patients[films], replicates=replicates, seed=seed)
    rows = []
    for label, covered in MAPPING.items():
        truth = adjudicated.loc[films, label].to_numpy(dtype=np.int8)
        mined = targets.loc[films, list(covered)].max(axis=1).to_numpy(dtype=np.int8)
        # NaN where the scores lack one of the findings.
        score = scores.reindex(index=films, columns=list(covered)).max(axis=1, skipna=False)
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
                values = bootstrap.auroc(reference, score.to_numpy(), resamples)
            row |= zip(columns, values, strict=True)
        both = int((truth & mined).sum())
        row["mined_ppv"] = both / mined.sum() if mined.any() else np.nan
        row["mined_sensitivity"] = both / truth.sum() if truth.any() else np.nan
        rows.append(row)
    return pd.DataFrame(rows)
