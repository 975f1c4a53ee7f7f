"""Made-up records, for tests that need patients of a certain structure."""

import numpy as np
import pandas as pd

from cxr import findings
from cxr.findings import NO_FINDING
from cxr.records import nih

LABELS = (NO_FINDING, "Mass", "Mass|Nodule", "Effusion", "Hernia")


def people(films_per_patient, seed=0, first=1):
    """Made-up records: patients numbered from `first`, with these numbers of films."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(first, first + len(films_per_patient)), films_per_patient)
    number = np.concatenate([np.arange(n) for n in films_per_patient])
    films = len(patient)
    labels = pd.Series(random.choice(LABELS, films), dtype=str)
    frame = pd.DataFrame(
        {
            "film": [f"{p:08}_{n:03}.png" for p, n in zip(patient, number, strict=True)],
            "patient_id": patient,
            "age": pd.array(random.integers(0, 95, films), dtype="Int16"),
            "sex": random.choice(["F", "M"], films),
            "view": random.choice(["AP", "PA"], films),
            "follow_up": number,
            "width": 2500,
            "height": 2048,
            "pixel_spacing_x": 0.1,
            "pixel_spacing_y": 0.1,
            "labels": labels,
        }
    )
    return pd.concat([frame, findings.encode(labels)], axis=1).astype(nih.TYPES)


def shared_patients(frame, split):
    return int(split.groupby(frame["patient_id"].loc[split.index]).nunique().gt(1).sum())
