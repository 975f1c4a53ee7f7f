"""Whether the scores serve women and men, young and old, every view, alike."""

import numpy as np
import pandas as pd

from cxr import bootstrap
from cxr.evaluation import estimable
from cxr.findings import FINDINGS

# A group in which a finding has fewer positives or negatives is not judged by it.
FEWEST_FILMS = 10

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


def evaluate(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    thresholds: pd.DataFrame,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """AUROC and sensitivity of every group, and their gaps to the attribute's largest group.

    The gaps come from the same resampled patients in both groups. The mean over findings
    takes those that are judged in the group and in the largest one, so that a gap never
    stems from other findings.

    Args:
        records: test films, with `patient_id`, what `groups` needs, and the findings.
        scores: rows as `records`.
        thresholds: columns finding and threshold, one row per finding: the operating point
            whose sensitivity (true positive rate) is compared; NaN where there is none.

    Returns:
        Columns attribute, group, films, patients, finding (or "Mean"), positives, then
        auroc, sensitivity, auroc_gap and sensitivity_gap, each with `_low` and `_high`.
        Gaps are group minus largest group, NaN for the largest. A finding with fewer than
        `FEWEST_FILMS` positives or negatives in a group, or from fewer than
        `bootstrap.FEWEST_PATIENTS` patients, is NaN there.
    """
    resamples = bootstrap.resample(records["patient_id"], replicates=replicates, seed=seed)
    threshold = thresholds.set_index("finding")["threshold"].reindex(FINDINGS).to_numpy()
    named = groups(records)
    tables = []
    for attribute in named:
        sizes = named[attribute].value_counts()
        measured = {
            group: _measure(
                records, scores, threshold, (named[attribute] == group).to_numpy(), resamples
            )
            for group in sizes.index
        }
        if not measured:
            continue
        largest_estimates, largest_samples = measured[sizes.index[0]]
        for group, (estimates, samples) in measured.items():
            members = records[named[attribute] == group]
            gap, gap_samples = estimates - largest_estimates, samples - largest_samples
            if group == sizes.index[0]:
                gap, gap_samples = gap * np.nan, gap_samples * np.nan
            # What is judged in both groups makes the mean, in the largest group what it has.
            in_both = ~np.isnan(estimates + largest_estimates)
            table = pd.DataFrame(
                {
                    "attribute": attribute,
                    "group": group,
                    "films": len(members),
                    "patients": members["patient_id"].nunique(),
                    "finding": [*FINDINGS, "Mean"],
                    "positives": [*members[list(FINDINGS)].sum(), pd.NA],
                }
            )
            columns = {
                "auroc": (estimates[0], samples[:, 0], in_both[0]),
                "sensitivity": (estimates[1], samples[:, 1], in_both[1]),
                "auroc_gap": (gap[0], gap_samples[:, 0], in_both[0]),
                "sensitivity_gap": (gap[1], gap_samples[:, 1], in_both[1]),
            }
            for name, (values, drawn, judged) in columns.items():
                _add(table, name, values, drawn, judged)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _measure(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    threshold: np.ndarray,
    member: np.ndarray,
    resamples: bootstrap.Resamples,
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC and sensitivity of one group: (2, findings) and (replicates, 2, findings)."""
    estimates = np.full((2, len(FINDINGS)), np.nan)
    samples = np.full((resamples.replicates, 2, len(FINDINGS)), np.nan)
    part, its = records[member], resamples.restricted(member)
    for finding in estimable(part, scores[member]):
        column = FINDINGS.index(finding)
        target = part[finding].to_numpy()
        fewest = min(target.sum(), len(target) - target.sum())
        if fewest < FEWEST_FILMS or not bootstrap.enough(target, its.patient):
            continue
        score = scores.loc[member, finding].to_numpy()
        ranking = bootstrap.Ranking(target, score, its)
        estimates[0, column] = ranking.estimate("auroc")
        samples[:, 0, column] = ranking.replicates("auroc", its)
        if not np.isnan(threshold[column]):
            found = np.column_stack([(score >= threshold[column]) & (target == 1), target == 1])
            sums = its.sums(found.astype(np.float64))
            estimates[1, column] = found[:, 0].sum() / found[:, 1].sum()
            samples[:, 1, column] = bootstrap.ratio(sums[:, 0], sums[:, 1])
    return estimates, samples


def _add(
    table: pd.DataFrame, name: str, values: np.ndarray, samples: np.ndarray, judged: np.ndarray
) -> None:
    """Add an estimate and its interval per finding, and the mean over the judged findings."""
    known = judged & ~np.isnan(values)
    mean = values[known].mean() if known.any() else np.nan
    means = bootstrap.mean_replicates(np.where(known, values, np.nan), samples)
    low, high = bootstrap.interval(np.column_stack([samples, means]))
    table[name] = [*values, mean]
    table[f"{name}_low"], table[f"{name}_high"] = low, high
