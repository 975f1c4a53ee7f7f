"""The 14 findings, defined once, and their 0/1 encoding."""

import numpy as np
import pandas as pd

from cxr.errors import InputError

# The order of the data set's paper (Wang et al., CVPR 2017, and its ChestX-ray14
# supplement), which most published checkpoints follow.
FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)

# What the reports' text mining wrote when it met none of the 14. It is not a
# class, and it does not mean that the film is normal.
NO_FINDING = "No Finding"

# Why nothing is said of a finding, in every table, figure and page.
TOO_FEW, NOT_SCORED = "too few patients", "not scored"

SEPARATOR = "|"


def encode(labels: pd.Series) -> pd.DataFrame:
    """Turn label strings such as "Mass|Nodule" into one 0/1 column per finding.

    Args:
        labels: strings of findings joined by "|", in any order, or "No Finding".

    Returns:
        int8 frame of shape (films, 14), columns in the order of `FINDINGS`, index as
        `labels`. "No Finding" is a row of zeros.

    Raises:
        InputError: if a label is missing, holds an unknown finding, names a finding
            twice, or joins "No Finding" with others.
    """
    # Of 112,120 films only 836 combinations differ: each string is parsed once.
    codes, unique = pd.factorize(labels, use_na_sentinel=True)
    if (codes < 0).any():
        films = int((codes < 0).sum())
        raise InputError(
            f"{films:,} label(s) are empty; a film without a finding is '{NO_FINDING}'."
        )
    table = np.zeros((len(unique), len(FINDINGS)), dtype=np.int8)
    column = {finding: position for position, finding in enumerate(FINDINGS)}
    for row, label in enumerate(unique):
        if label == NO_FINDING:
            continue
        for part in str(label).split(SEPARATOR):
            if part not in column:
                raise InputError(
                    f"unknown finding '{_short(part)}' in the label '{_short(label)}'; known are "
                    f"{', '.join(FINDINGS)}, or '{NO_FINDING}' alone."
                )
            if table[row, column[part]]:
                raise InputError(f"the label '{_short(label)}' names {part} twice.")
            table[row, column[part]] = 1
    return pd.DataFrame(table[codes], index=labels.index, columns=list(FINDINGS))


def _short(text: object) -> str:
    """So much of a value as a message can show."""
    shown = str(text)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def decode(targets: pd.DataFrame) -> pd.Series:
    """Turn 0/1 columns back into label strings; the inverse of `encode`.

    Args:
        targets: frame with the columns of `FINDINGS`, values 0 or 1.

    Returns:
        Label strings, findings joined by "|" in the order of `FINDINGS`, or
        "No Finding"; index as `targets`.
    """
    values = targets[list(FINDINGS)].to_numpy()
    if not np.isin(values, (0, 1)).all():
        raise InputError("targets hold values other than 0 and 1.")
    rows, inverse = np.unique(values.astype(np.int8), axis=0, return_inverse=True)
    names = np.array(FINDINGS, dtype=object)
    texts = [SEPARATOR.join(names[row == 1]) or NO_FINDING for row in rows]
    return pd.Series(np.array(texts, dtype=object)[inverse.ravel()], index=targets.index, dtype=str)


def label(name: str) -> str:
    """A finding's name in words: "Pleural_Thickening" reads "Pleural thickening"."""
    return name.replace("_", " ").capitalize() if "_" in name else name
