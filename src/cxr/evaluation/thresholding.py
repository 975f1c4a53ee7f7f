"""Thresholds chosen on validation films, and what they do on test films."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr.evaluation import intervals
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS
from cxr.wording import in_percent

# How a threshold is chosen; the first is the one that pages show where they show only one.
RULES = ("Youden", "sensitivity 0.90", "specificity 0.90")

# Probabilities at which somebody might want to act.
DECISIONS = np.round(np.r_[0.005, np.arange(0.01, 0.51, 0.01)], 3)

_COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


def choose(tuning: Judged) -> pd.DataFrame:
    """Choose a threshold per finding and rule; a film is flagged at or above it.

    "Youden" maximises sensitivity + specificity - 1 (Youden, Cancer 1950), "sensitivity
    0.90" is the highest threshold that still finds 90 % of the positives, "specificity
    0.90" the lowest that still leaves 90 % of the negatives alone.

    Args:
        tuning: the validation films, with the probabilities that pages show.

    Returns:
        Columns finding, rule, threshold; NaN for findings with a remark.
    """
    rows = []
    for finding in FINDINGS:
        if finding not in tuning.findings:
            rows += [(finding, rule, np.nan) for rule in RULES]
            continue
        false_positive_rate, sensitivity, threshold = metrics.roc_curve(
            tuning.targets[finding], tuning.scores[finding], drop_intermediate=False
        )
        # The curve starts above all scores, at infinity, which no file format likes.
        threshold[0] = np.nextafter(tuning.scores[finding].max(), np.inf)
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


def apply(judged: Judged, thresholds: pd.DataFrame) -> pd.DataFrame:
    """What the thresholds do on test films, with patient-level 95 % intervals.

    Args:
        judged: the test films, scored on the thresholds' scale.
        thresholds: as `choose` returns them.

    Returns:
        The thresholds' columns, the confusion counts, and sensitivity, specificity, ppv,
        npv and flagged_per_1000, each with `_low` and `_high`. A rate of films of too few
        patients is NaN; so is every number where there is no threshold or no score.
    """
    table = thresholds.reset_index(drop=True)
    known = table["threshold"].notna() & table["finding"].isin(judged.scores.columns)
    rows = table[known]
    flagged = judged.scores[rows["finding"]].to_numpy() >= rows["threshold"].to_numpy()
    positive = judged.targets[rows["finding"]].to_numpy() == 1
    counts = (flagged & positive, flagged & ~positive, ~flagged & positive, ~flagged & ~positive)
    for name, films in zip(_COUNTS, counts, strict=True):
        table[name] = pd.Series(films.sum(axis=0), index=rows.index, dtype="Int64")
    for name, hit, counted in (
        ("sensitivity", flagged, positive),
        ("specificity", ~flagged, ~positive),
        ("ppv", positive, flagged),
        ("npv", ~positive, ~flagged),
        ("flagged_per_1000", flagged, np.ones_like(flagged)),
    ):
        scale = 1000 if name == "flagged_per_1000" else 1
        rates = intervals.rates(hit, counted, judged.codes)
        for ending, values in zip(("", "_low", "_high"), rates, strict=True):
            table[name + ending] = pd.Series(scale * values, index=rows.index)
    return table


def rates(row: Mapping, reached: bool) -> tuple[float, float]:
    """The shares of films with a finding, and without it, on a film's side of the threshold.

    Args:
        row: of `apply`.
        reached: whether the film's score is at or above the threshold.

    Returns:
        Two shares, 0 to 1; NaN where the row has none. Where not one of n films was there, half
        a film of n + 1: that none was seen among some does not say that there is none.
    """
    sensitivity, specificity = row.get("sensitivity", np.nan), row.get("specificity", np.nan)
    shares = (sensitivity, 1 - specificity) if reached else (1 - sensitivity, specificity)
    positive = row.get("true_positives", np.nan) + row.get("false_negatives", np.nan)
    negative = row.get("true_negatives", np.nan) + row.get("false_positives", np.nan)
    with_it, without_it = (
        0.5 / (films + 1) if share == 0 and films > 0 else share
        for share, films in zip(shares, (positive, negative), strict=True)
    )
    return with_it, without_it


def in_words(row: Mapping, reached: bool, prevalence: float | None = None) -> str:
    """What it means that a film reaches a threshold, or does not.

    Args:
        row: of `apply`; "" is returned where its rates are missing.
        reached: whether the film's score is at or above the threshold.
        prevalence: the share of films that have the finding where the film comes from; by
            default the share among the films that the rates were measured on.
    """
    share, false = rates(row, reached)
    if pd.isna(share) or pd.isna(false):
        return ""
    among = ""
    if prevalence is None:
        positive = row["true_positives"] + row["false_negatives"]
        prevalence = positive / sum(row[count] for count in _COUNTS)
        among = ", as among the test films"
    side = "above the threshold, which caught" if reached else "below the threshold, which missed"
    caught = row["sensitivity"] if reached else 1 - row["sensitivity"]
    opening = f"{side} {in_percent(caught)}"
    with_it = share * prevalence
    such = with_it + false * (1 - prevalence)
    counted = f"{100 * with_it / such:.0f}" if such else "none"
    where = "at or above" if reached else "below"
    return (
        f"{opening} of the test films with it; of 100 films {where} it about {counted} have it, "
        f"where {in_percent(prevalence)} of films do{among}"
    )


def doubt(
    threshold: float, low: float, high: float, members: Sequence[float] | np.ndarray = ()
) -> str | None:
    """Why it is not sure on which side of the threshold a film is.

    Args:
        threshold: NaN where there is none.
        low, high: 95 % interval of the probability; NaN where it is not known.
        members: probabilities by the members of an ensemble, on the threshold's scale.

    Returns:
        "" where it is sure, None where nothing is known: without a threshold, or with neither
        interval nor members.
    """
    if np.isnan(threshold) or (np.isnan(low) and not len(members)):
        return None
    reasons = []
    if low < threshold <= high:
        interval = f"{in_percent(low).removesuffix(' %')} to {in_percent(high)}"
        reasons.append(f"the probability's own interval ({interval}) spans the threshold")
    above = int((np.asarray(members) >= threshold).sum())
    if 0 < above < len(members):
        reasons.append(f"{above} of the ensemble's {len(members)} members are above it")
    return f"unsure, since {' and '.join(reasons)}" if reasons else ""


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


def net_benefit(judged: Judged) -> pd.DataFrame:
    """Decision curves: what flagging by the model is worth, beside flagging all or none.

    Net benefit counts a true positive as 1 and a false positive as the odds of the
    probability at which one would act (Vickers and Elkin, Med Decis Making 2006). It takes
    the scores at their word, so give it recalibrated probabilities.

    Returns:
        Columns finding, probability (at which one acts), net_benefit, flag_all; flagging
        none is worth 0. Findings with a remark have no rows.
    """
    curves = []
    odds = DECISIONS / (1 - DECISIONS)
    for finding in judged.findings:
        positive = judged.targets[finding].to_numpy() == 1
        values = judged.scores[finding].to_numpy()
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
