"""How well scores rank and match the findings, with intervals that respect patients."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr import bootstrap
from cxr.findings import FINDINGS

# Points of a curve that is drawn: more would not show on a screen.
CURVE_POINTS = 200


def auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per column, ties counted half.

    Args:
        targets: 0/1, (films, findings).
        scores: float (films, findings), higher is more suspicious.

    Returns:
        float64 (findings,); NaN where there is no positive or no negative.
    """
    everyone = bootstrap.Resamples(np.zeros(len(targets), dtype=int), np.ones((1, 1), np.uint8))
    return np.array(
        [
            bootstrap.Ranking(target, score, everyone).estimate("auroc")
            for target, score in zip(np.transpose(targets), np.transpose(scores), strict=True)
        ]
    )


def auroc_by_finding(
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Area under the ROC curve per finding and their mean, with 95 % intervals.

    Args:
        targets: 0/1, one column per finding, one row a film.
        scores: one column per finding, higher is more suspicious; rows as `targets`. A
            finding without a column counts as not estimable.
        patients: the patient of each film, rows as `targets`.
        replicates: patients are resampled this often.
        seed: decides the resampling.

    Returns:
        Columns finding, auroc, low, high, positives, films, patients; one row per finding
        in the order of `FINDINGS`, then "Mean" over the findings that are estimable. NaN
        where a finding has no positive or no negative; no interval where fewer than
        `bootstrap.FEWEST_PATIENTS` patients are on either side.

    Raises:
        ValueError: if the rows do not belong together.
    """
    return _ranked_by_finding("auroc", targets, scores, patients, replicates, seed)


def auprc_by_finding(
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Average precision per finding beside its prevalence, which a random score reaches.

    Args, raises: as `auroc_by_finding`.

    Returns:
        Columns finding, auprc, low, high, prevalence, positives, films, patients.
    """
    table = _ranked_by_finding("auprc", targets, scores, patients, replicates, seed)
    prevalence = table["positives"] / table["films"]
    estimable = table["auprc"].notna() & table["finding"].ne("Mean")
    prevalence[table["finding"] == "Mean"] = prevalence[estimable].mean()
    table.insert(4, "prevalence", prevalence)
    return table


def auroc_replicates(
    targets: pd.DataFrame, scores: pd.DataFrame, resamples: bootstrap.Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """AUROC per finding, of all films and of every replicate.

    Two models that are given the same `resamples` are compared on the same patients.

    Args:
        targets, scores: as `auroc_by_finding`.

    Returns:
        Estimates (14,) and replicates (replicates, 14); NaN where not estimable.
    """
    return _ranked("auroc", targets, scores, resamples)


def roc_curves(targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """ROC curve per finding, thinned to what a screen can show.

    Returns:
        Columns finding, false_positive_rate, sensitivity, threshold (films at or above it
        are flagged); findings that are not estimable have no rows.
    """
    curves = []
    for finding in estimable(targets, scores):
        false_positive_rate, sensitivity, threshold = metrics.roc_curve(
            targets[finding], scores[finding]
        )
        curves.append(
            pd.DataFrame(
                {
                    "finding": finding,
                    "false_positive_rate": false_positive_rate,
                    "sensitivity": sensitivity,
                    "threshold": threshold,
                }
            ).iloc[_thin(false_positive_rate, sensitivity)]
        )
    columns = ["finding", "false_positive_rate", "sensitivity", "threshold"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def precision_recall_curves(targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Precision (PPV) against recall (sensitivity) per finding, thinned.

    Returns:
        Columns finding, sensitivity, precision, threshold; findings that are not estimable
        have no rows. The last point (sensitivity 0, precision 1) is left out: no threshold
        reaches it.
    """
    curves = []
    for finding in estimable(targets, scores):
        precision, sensitivity, threshold = metrics.precision_recall_curve(
            targets[finding], scores[finding], drop_intermediate=True
        )
        curve = pd.DataFrame(
            {
                "finding": finding,
                "sensitivity": sensitivity[:-1],
                "precision": precision[:-1],
                "threshold": threshold,
            }
        )
        curves.append(curve.iloc[_thin(curve["sensitivity"].to_numpy(), curve["precision"])])
    columns = ["finding", "sensitivity", "precision", "threshold"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def flattened_auc(targets: pd.DataFrame, scores: pd.DataFrame) -> dict[str, float]:
    """The one AUC over all films and findings together, and why it misleads.

    The original project reported it. Common findings get higher scores than rare ones, so
    a constant guess of each finding's prevalence, which cannot tell any two films apart,
    already scores far above 0.5.

    Returns:
        "flattened": of the scores; "constant": of the prevalences in `targets`, for every
        film the same. NaN if there are no positives or no negatives.
    """
    findings = [f for f in FINDINGS if f in scores and scores[f].notna().all()]
    truth = targets[findings].to_numpy()
    constant = np.broadcast_to(truth.mean(axis=0) if len(truth) else 0.0, truth.shape)
    return {
        name: float(auroc(truth.reshape(-1, 1), values.reshape(-1, 1))[0])
        for name, values in (("flattened", scores[findings].to_numpy()), ("constant", constant))
    }


def predicted_versus_actual(targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """How often each finding was labelled, and its mean score: the original's table.

    Returns:
        Columns label, dx (share of films with the label, percent) and pdx (mean score,
        percent), one row per finding that has scores.
    """
    findings = [f for f in FINDINGS if f in scores and scores[f].notna().all()]
    return pd.DataFrame(
        {
            "label": findings,
            "dx": 100 * targets[findings].mean().to_numpy(),
            "pdx": 100 * scores[findings].mean().to_numpy(),
        }
    )


def best(targets: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> str:
    """The run with the highest mean AUROC; the first one where none is estimable.

    Args:
        targets: of validation films: a choice made on test films flatters what it chose.
        scores: run name -> scores, rows as `targets`.
    """
    means = {}
    for name, frame in scores.items():
        known = estimable(targets, frame)
        values = auroc(targets[known].to_numpy(), frame[known].to_numpy())
        means[name] = values.mean() if known else -np.inf
    return max(means, key=means.get)


def estimable(targets: pd.DataFrame, scores: pd.DataFrame) -> list[str]:
    """The findings with scores, a positive and a negative, in the order of `FINDINGS`."""
    return [
        finding
        for finding in FINDINGS
        if finding in scores
        and scores[finding].notna().all()
        and 0 < targets[finding].sum() < len(targets)
    ]


def _ranked_by_finding(
    metric: str,
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    replicates: int,
    seed: int,
) -> pd.DataFrame:
    """The table of `auroc_by_finding` for a metric of `bootstrap.Ranking`."""
    if not (targets.index.equals(scores.index) and targets.index.equals(patients.index)):
        raise ValueError("targets, scores and patients must have the same rows")
    resamples = bootstrap.resample(patients, replicates=replicates, seed=seed)
    estimates, samples = _ranked(metric, targets, scores, resamples)
    low, high = bootstrap.interval(samples)
    for column, finding in enumerate(FINDINGS):
        if not bootstrap.enough(targets[finding].to_numpy(), resamples.patient):
            low[column] = high[column] = np.nan
    known = ~np.isnan(estimates)
    mean_low, mean_high = bootstrap.interval(bootstrap.mean_replicates(estimates, samples))
    positives = targets[list(FINDINGS)].sum().to_numpy()
    return pd.DataFrame(
        {
            "finding": [*FINDINGS, "Mean"],
            metric: [*estimates, estimates[known].mean() if known.any() else np.nan],
            "low": [*low, float(mean_low)],
            "high": [*high, float(mean_high)],
            "positives": [*positives, positives[known].sum()],
            "films": len(targets),
            "patients": patients.nunique(),
        }
    )


def _ranked(
    metric: str, targets: pd.DataFrame, scores: pd.DataFrame, resamples: bootstrap.Resamples
) -> tuple[np.ndarray, np.ndarray]:
    """A metric of `bootstrap.Ranking` per finding: estimates and replicates."""
    estimates = np.full(len(FINDINGS), np.nan)
    samples = np.full((resamples.replicates, len(FINDINGS)), np.nan)
    for finding in estimable(targets, scores):
        column = FINDINGS.index(finding)
        ranking = bootstrap.Ranking(
            targets[finding].to_numpy(), scores[finding].to_numpy(), resamples
        )
        estimates[column] = ranking.estimate(metric)
        samples[:, column] = ranking.replicates(metric, resamples)
    return estimates, samples


def _thin(x: np.ndarray, y: np.ndarray, *, points: int = CURVE_POINTS) -> np.ndarray:
    """Rows of a curve to keep: evenly spaced along its length, ends included."""
    if len(x) <= points:
        return np.arange(len(x))
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0, length[-1], points)
    return np.unique(np.r_[0, np.searchsorted(length, wanted).clip(0, len(x) - 1), len(x) - 1])
