"""Whether the scores serve women and men, young and old, every view, alike."""

import numpy as np
import pandas as pd

from cxr.evaluation import intervals
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS

AGE_BANDS = {"under 18": (0, 18), "18-39": (18, 40), "40-59": (40, 60), "60-79": (60, 80)}
OLDEST_BAND = "80 and over"


def groups(records: pd.DataFrame) -> pd.DataFrame:
    """Name the group of every film, by each attribute.

    Args:
        records: needs `sex`, `age`, `view` and `follow_up`.

    Returns:
        Columns sex, age, view, film; text, missing where the age is.
    """
    age = records["age"].astype("Float64")
    bands = pd.Series(OLDEST_BAND, index=records.index, dtype=object)
    for name, (low, high) in AGE_BANDS.items():
        bands[(age >= low) & (age < high)] = name
    return pd.DataFrame(
        {
            "sex": records["sex"].map({"F": "women", "M": "men"}),
            "age": bands.mask(age.isna()),
            "view": records["view"].astype(object),
            "film": np.where(records["follow_up"] == 0, "first film", "follow-up"),
        },
        index=records.index,
    )


def evaluate(judged: Judged, records: pd.DataFrame, thresholds: pd.DataFrame) -> pd.DataFrame:
    """AUROC and sensitivity of every group, and their gaps to the attribute's largest group.

    A gap leaves out the same patient on both sides. The mean over findings takes those that
    are judged in the group and in the largest one, so that a gap never stems from other
    findings.

    Args:
        judged: the test films.
        records: the same rows, with what `groups` needs.
        thresholds: columns finding and threshold, one row per finding: the operating point
            whose sensitivity (true positive rate) is compared; NaN where there is none.

    Returns:
        Columns attribute, group, films, patients, finding (or "Mean"), positives, then
        auroc, sensitivity, auroc_gap and sensitivity_gap, each with `_low` and `_high`.
        Gaps are group minus largest group, NaN for the largest. A finding with too few
        positive or negative patients in a group is NaN there.
    """
    threshold = thresholds.set_index("finding")["threshold"].reindex(FINDINGS).to_numpy()
    named = groups(records)
    tables = []
    for attribute in named:
        sizes = named[attribute].value_counts()
        parts = {
            group: judged.part((named[attribute] == group).to_numpy()) for group in sizes.index
        }
        if not parts:
            continue
        largest = parts[sizes.index[0]]
        for group, part in parts.items():
            table = pd.DataFrame(
                {
                    "attribute": attribute,
                    "group": group,
                    "films": len(part.targets),
                    "patients": part.patients.nunique(),
                    "finding": [*FINDINGS, "Mean"],
                    "positives": [*part.targets[list(FINDINGS)].sum(), pd.NA],
                }
            )
            for name, measure in (("auroc", _auroc), ("sensitivity", _sensitivity)):
                here, there = measure(part, threshold), measure(largest, threshold)
                in_both = ~np.isnan(here.value + there.value)
                low, high = here.logit_bounds(part.deciding, single=name == "auroc")
                _add(table, name, here, (low, high), in_both)
                gap = here - there
                if group == sizes.index[0]:
                    gap = intervals.Estimate(gap.value * np.nan, gap.without)
                _add(table, f"{name}_gap", gap, gap.bounds(single=True, least=-1, most=1), in_both)
            order = ["auroc", "sensitivity", "auroc_gap", "sensitivity_gap"]
            columns = [name + ending for name in order for ending in ("", "_low", "_high")]
            tables.append(table[[*table.columns[:6], *columns]])
    return pd.concat(tables, ignore_index=True)


def _auroc(part: Judged, threshold: np.ndarray) -> intervals.Estimate:
    return part.auroc


def _sensitivity(part: Judged, threshold: np.ndarray) -> intervals.Estimate:
    """Share of the positive films at or above the thresholds, of findings without a remark."""
    known = [remark == "" for remark in part.remarks.values()] & ~np.isnan(threshold)
    score = part.scores.reindex(columns=list(FINDINGS)).to_numpy()
    positive = part.targets[list(FINDINGS)].to_numpy() == 1
    hit = positive & (score >= threshold)
    found = intervals.ratios(hit, positive, part.codes, part.number)
    return intervals.Estimate(np.where(known, found.value, np.nan), found.without)


def _add(
    table: pd.DataFrame,
    name: str,
    estimate: intervals.Estimate,
    bounds: tuple[np.ndarray, np.ndarray],
    in_both: np.ndarray,
) -> None:
    """Add an estimate and its interval per finding, and the mean over the findings in both."""
    mean = estimate[in_both].mean()
    least = -1 if name.endswith("_gap") else 0
    table[name] = np.append(estimate.value, mean.value)
    for ending, by_finding, of_mean in zip(
        ("_low", "_high"), bounds, mean.bounds(single=False, least=least, most=1), strict=True
    ):
        table[name + ending] = np.append(by_finding, of_mean)
