"""Thresholds chosen on validation films, and what they do on test films."""

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr import bootstrap
from cxr.evaluation import estimable
from cxr.findings import FINDINGS

# How a threshold is chosen; the first is the one that pages show where they show only one.
RULES = ("Youden", "sensitivity 0.90", "specificity 0.90")

# Probabilities at which somebody might want to act.
DECISIONS = np.round(np.r_[0.005, np.arange(0.01, 0.51, 0.01)], 3)

_RATES = ("sensitivity", "specificity", "ppv", "npv", "flagged_per_1000")
_COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


def choose(targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Choose a threshold per finding and rule; a film is flagged at or above it.

    "Youden" maximises sensitivity + specificity - 1 (Youden, Cancer 1950), "sensitivity
    0.90" is the highest threshold that still finds 90 % of the positives, "specificity
    0.90" the lowest that still leaves 90 % of the negatives alone.

    Args:
        targets, scores: of the validation films, one column per finding, same rows.

    Returns:
        Columns finding, rule, threshold; NaN for findings without a positive or a
        negative among these films.
    """
    rows = []
    known = estimable(targets, scores)
    for finding in FINDINGS:
        if finding not in known:
            rows += [(finding, rule, np.nan) for rule in RULES]
            continue
        false_positive_rate, sensitivity, threshold = metrics.roc_curve(
            targets[finding], scores[finding], drop_intermediate=False
        )
        # The curve starts above all scores, at infinity, which no file format likes.
        threshold[0] = np.nextafter(scores[finding].max(), np.inf)
        # Thresholds fall along the curve, so both rates rise: the first point that reaches
        # a sensitivity has the highest threshold, the last that keeps a specificity the
        # lowest. The slack lets 9 of 10 count as 0.90.
        chosen = (
            np.argmax(sensitivity - false_positive_rate),
            np.argmax(sensitivity >= 0.90 - 1e-12),
            np.flatnonzero(false_positive_rate <= 0.10 + 1e-12)[-1],
        )
        rows += [(finding, rule, threshold[at]) for rule, at in zip(RULES, chosen, strict=True)]
    return pd.DataFrame(rows, columns=["finding", "rule", "threshold"])


def apply(
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    thresholds: pd.DataFrame,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """What the thresholds do on test films, with patient-level 95 % intervals.

    Args:
        targets, scores, patients: of the test films, same rows.
        thresholds: as `choose` returns them.

    Returns:
        The thresholds' columns, the confusion counts, and sensitivity, specificity, ppv,
        npv and flagged_per_1000, each with `_low` and `_high`. A rate without films to
        count is NaN.
    """
    blocks = []
    for row in thresholds.itertuples():
        known = row.finding in scores and not np.isnan(row.threshold)
        flagged = scores[row.finding].to_numpy() >= row.threshold if known else np.nan
        positive = targets[row.finding].to_numpy() == 1
        blocks.append(
            np.column_stack(
                [flagged & positive, flagged & ~positive, ~flagged & positive, ~flagged & ~positive]
            )
            if known
            else np.full((len(targets), 4), np.nan)
        )
    counts = np.stack(blocks, axis=1).astype(np.float64)  # films, thresholds, 4
    resamples = bootstrap.resample(patients, replicates=replicates, seed=seed)
    samples = resamples.sums(counts.reshape(len(counts), -1)).reshape(replicates, -1, 4)
    total = counts.sum(axis=0)
    low, high = bootstrap.interval(_rates(samples))
    table = thresholds.reset_index(drop=True)
    for column, name in enumerate(_COUNTS):
        table[name] = pd.array(total[:, column], dtype="Int64")
    for column, name in enumerate(_RATES):
        table[name] = _rates(total)[:, column]
        table[f"{name}_low"], table[f"{name}_high"] = low[:, column], high[:, column]
    return table


def outcomes(
    target: pd.Series, score: pd.Series, threshold: float, *, films: int = 6
) -> pd.DataFrame:
    """The most telling films of each outcome at a threshold, for a gallery.

    Args:
        target, score: of one finding, with film names as index.
        threshold: films at or above it are flagged.
        films: of each outcome, at most.

    Returns:
        Columns outcome ("hit", "miss", "false alarm", "correctly left alone"), film, score;
        hits and false alarms with the highest scores first, the others with the lowest.
    """
    flagged, positive = score >= threshold, target == 1
    kinds = {
        "hit": (flagged & positive, False),
        "miss": (~flagged & positive, True),
        "false alarm": (flagged & ~positive, False),
        "correctly left alone": (~flagged & ~positive, True),
    }
    chosen = [
        pd.DataFrame(
            {"outcome": kind, "score": score[rows].sort_values(ascending=rising).head(films)}
        )
        for kind, (rows, rising) in kinds.items()
    ]
    table = pd.concat(chosen).rename_axis("film").reset_index()
    return table[["outcome", "film", "score"]]


def net_benefit(targets: pd.DataFrame, probabilities: pd.DataFrame) -> pd.DataFrame:
    """Decision curves: what flagging by the model is worth, beside flagging all or none.

    Net benefit counts a true positive as 1 and a false positive as the odds of the
    probability at which one would act (Vickers and Elkin, Med Decis Making 2006). It takes
    the scores at their word, so give it recalibrated probabilities.

    Returns:
        Columns finding, probability (at which one acts), net_benefit, flag_all; flagging
        none is worth 0. Findings that are not estimable have no rows.
    """
    curves = []
    odds = DECISIONS / (1 - DECISIONS)
    for finding in estimable(targets, probabilities):
        positive = targets[finding].to_numpy() == 1
        values = probabilities[finding].to_numpy()
        flagged_positive, flagged_negative = (
            len(part) - np.searchsorted(part, DECISIONS, side="left")
            for part in (np.sort(values[positive]), np.sort(values[~positive]))
        )
        prevalence = positive.mean()
        curves.append(
            pd.DataFrame(
                {
                    "finding": finding,
                    "probability": DECISIONS,
                    "net_benefit": (flagged_positive - odds * flagged_negative) / len(values),
                    "flag_all": prevalence - odds * (1 - prevalence),
                }
            )
        )
    columns = ["finding", "probability", "net_benefit", "flag_all"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def _rates(counts: np.ndarray) -> np.ndarray:
    """The rates of `_RATES` from counts in the order of `_COUNTS`, along the last axis."""
    hits, alarms, misses, rejections = np.moveaxis(counts, -1, 0)
    return np.stack(
        [
            bootstrap.ratio(hits, hits + misses),
            bootstrap.ratio(rejections, rejections + alarms),
            bootstrap.ratio(hits, hits + alarms),
            bootstrap.ratio(rejections, rejections + misses),
            1000 * bootstrap.ratio(hits + alarms, counts.sum(axis=-1)),
        ],
        axis=-1,
    )
