"""Do scores mean what they say? Measures of calibration, and mending it per finding."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, bootstrap
from cxr.errors import InputError
from cxr.evaluation import estimable
from cxr.findings import FINDINGS

MEASURES = ["brier", "ece", "slope", "intercept"]

# Bins with the same number of films each: bins of equal width would hold nearly all films
# of a rare finding in the first.
BINS = 10

# With fewer positives, a slope fitted to them says more about chance than about the model.
FEWEST_POSITIVES = 10

# Scores of exactly 0 or 1 have no logit.
_SMALLEST = 1e-12


def reliability(
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Observed share of positives against the mean score, in bins of equally many films.

    Returns:
        Columns finding, bin, films, mean_score, observed, low, high (patient-level 95 %
        interval of observed); findings that are not estimable have no rows.
    """
    resamples = bootstrap.resample(patients, replicates=replicates, seed=seed)
    curves = []
    for finding in estimable(targets, scores):
        score, target = scores[finding].to_numpy(), targets[finding].to_numpy()
        sums, members = _bin_sums(score, target)
        samples = resamples.sums(members)
        bins = sums.shape[1]
        low, high = bootstrap.interval(bootstrap.ratio(samples[:, 2 * bins :], samples[:, :bins]))
        curves.append(
            pd.DataFrame(
                {
                    "finding": finding,
                    "bin": np.arange(1, bins + 1),
                    "films": sums[0].astype(int),
                    "mean_score": sums[1] / sums[0],
                    "observed": sums[2] / sums[0],
                    "low": low,
                    "high": high,
                }
            )
        )
    columns = ["finding", "bin", "films", "mean_score", "observed", "low", "high"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def measures(
    targets: pd.DataFrame,
    scores: pd.DataFrame,
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Brier score, calibration error, slope and intercept per finding, and their means.

    Returns:
        Columns finding, brier, ece, slope, intercept, and the bounds of their 95 %
        intervals with `_low` and `_high`:

        - brier: mean squared distance of score and label; interval from the patient
          bootstrap.
        - ece: expected calibration error, the mean distance of mean score and observed
          share over bins of equally many films (Nixon et al., CVPR workshops 2019). It has
          no interval: chance only ever adds to a distance, and resampling adds chance, so
          bootstrap intervals lie above their own estimate. Compare it between scores of the
          same films.
        - slope: of the label on the score's logit; 1 is right, below 1 the scores are too
          extreme. intercept: of the label with the score's logit as offset; 0 is right,
          below 0 the scores are too high (Van Calster et al., BMC Med 2019). Intervals
          from a variance that treats each patient's films as one cluster (Liang and Zeger,
          Biometrika 1986). Their means have no interval.

        NaN where a finding is not estimable; the last row, "Mean", leaves these out.
    """
    resamples = bootstrap.resample(patients, replicates=replicates, seed=seed)
    values = pd.DataFrame(np.nan, index=FINDINGS, columns=MEASURES)
    errors = values[["slope", "intercept"]].copy()
    samples = np.full((replicates, len(FINDINGS)), np.nan)
    for finding in estimable(targets, scores):
        score, target = scores[finding].to_numpy(), targets[finding].to_numpy()
        distance = (score - target) ** 2
        drawn = resamples.sums(np.column_stack([distance, np.ones(len(score))]))
        samples[:, FINDINGS.index(finding)] = bootstrap.ratio(drawn[:, 0], drawn[:, 1])
        (films, mean_score, observed), _ = _bin_sums(score, target)
        logit = _logit(score)
        _, slope, slope_error = _line(logit, target, resamples.patient)
        (shift,), (shift_error,) = _logistic(
            np.ones((len(logit), 1)), target, logit, resamples.patient
        )
        values.loc[finding] = [
            distance.mean(),
            np.abs(mean_score - observed).sum() / films.sum(),
            slope,
            shift,
        ]
        errors.loc[finding] = [slope_error, shift_error]
    means = bootstrap.mean_replicates(values["brier"].to_numpy(), samples)
    low, high = bootstrap.interval(np.column_stack([samples, means]))
    table = values.copy()
    table.loc["Mean"] = values.mean()
    table["brier_low"], table["brier_high"] = low, high
    for name in errors:
        spread = 1.959964 * errors[name]  # the normal distribution's 97.5 % point
        table[f"{name}_low"], table[f"{name}_high"] = table[name] - spread, table[name] + spread
    return table.rename_axis("finding").reset_index()


def fit(targets: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Fit a logistic recalibration per finding on validation films.

    probability = sigmoid(intercept + slope * logit(score)), with Platt's corrected targets
    (1999) against overconfidence. A slope that is not positive would turn the ranking
    around, and one from fewer than `FEWEST_POSITIVES` positives is chance: then only the
    intercept is fitted. Without a positive or a negative, scores stay as they are.

    Returns:
        Columns finding, intercept, slope, method ("intercept and slope", "intercept" or
        "none"), positives, films.
    """
    rows = []
    known = estimable(targets, scores)
    for finding in FINDINGS:
        positives, films = int(targets[finding].sum()), len(targets)
        if finding not in known:
            rows.append((finding, 0.0, 1.0, "none", positives, films))
            continue
        logit = _logit(scores[finding].to_numpy())
        # Platt: as if one more film of each kind had been seen, undecided.
        aims = np.where(
            targets[finding] == 1, (positives + 1) / (positives + 2), 1 / (films - positives + 2)
        )
        intercept, slope, method = np.nan, np.nan, "intercept and slope"
        if positives >= FEWEST_POSITIVES:
            intercept, slope, _ = _line(logit, aims)
        if not slope > 0:
            (intercept,), _ = _logistic(np.ones((films, 1)), aims, logit)
            slope, method = 1.0, "intercept"
        rows.append((finding, float(intercept), float(slope), method, positives, films))
    columns = ["finding", "intercept", "slope", "method", "positives", "films"]
    return pd.DataFrame(rows, columns=columns)


def apply(scores: pd.DataFrame, recalibration: pd.DataFrame) -> pd.DataFrame:
    """Recalibrated probabilities; the ranking of the films stays.

    Args:
        scores: one column per finding, 0 to 1; other columns are refused by name.
        recalibration: as `fit` or `load` return it.
    """
    by_finding = recalibration.set_index("finding")
    recalibrated = {}
    for finding in scores:
        row = by_finding.loc[finding]
        score = scores[finding].to_numpy(dtype=np.float64)
        recalibrated[finding] = (
            score
            if row["method"] == "none"
            else _sigmoid(row["intercept"] + row["slope"] * _logit(score))
        )
    return pd.DataFrame(recalibrated, index=scores.index)


def save(folder: Path, recalibration: pd.DataFrame) -> None:
    """Write `calibration.json` into a run's folder."""
    artifacts.write_json(folder / "calibration.json", recalibration.to_dict(orient="records"))


def load(folder: Path) -> pd.DataFrame:
    """Read a run's recalibration.

    Raises:
        InputError: if there is none, or it does not hold every finding once.
    """
    path = folder / "calibration.json"
    table = pd.DataFrame(artifacts.read_json(path))
    wanted = {"finding", "intercept", "slope", "method"}
    if not wanted <= set(table) or sorted(table["finding"]) != sorted(FINDINGS):
        raise InputError(f"{path} is not a recalibration of the 14 findings; run 300 again.")
    return table


def _bin_sums(score: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Films, scores and positives per bin: their sums (3, bins) and, per film, the summands.

    The summands are float (films, 3 * bins), so that any resample has its sums at once.
    Equal scores share a bin.
    """
    edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1]))
    which, place = np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)
    member = np.eye(len(which))[place]
    members = np.hstack([member, member * score[:, None], member * target[:, None]])
    return members.sum(axis=0).reshape(3, -1), members


def _line(logit: np.ndarray, target: np.ndarray, cluster=None) -> tuple[float, float, float]:
    """Intercept, slope and the slope's standard error of the label on the logit.

    NaN where all scores are the same.
    """
    # Scores that differ little would make the equations ill-conditioned.
    middle, spread = logit.mean(), logit.std()
    if spread < 1e-12:
        return np.nan, np.nan, np.nan
    design = np.column_stack([np.ones_like(logit), (logit - middle) / spread])
    (intercept, slope), (_, error) = _logistic(design, target, 0.0, cluster)
    slope = slope / spread
    return intercept - slope * middle, slope, error / spread


def _logistic(
    design: np.ndarray, target: np.ndarray, offset: np.ndarray | float, cluster=None
) -> tuple[np.ndarray, np.ndarray]:
    """Logistic regression by Newton's method, with standard errors that respect clusters.

    Args:
        design: (films, coefficients).
        target: 0 to 1, (films,).
        offset: added to the linear term.
        cluster: int (films,), the patient of each film; without it no standard errors.

    Returns:
        Coefficients and their standard errors; NaN where there is no finite solution (the
        scores separate the labels perfectly, or are all the same).
    """
    coefficients = np.zeros(design.shape[1])
    none = np.full(design.shape[1], np.nan)
    loss = _loss(design @ coefficients + offset, target)
    for _ in range(100):
        fitted = _sigmoid(design @ coefficients + offset)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(information) > 1e12:
            return none, none
        step = np.linalg.solve(information, design.T @ (target - fitted))
        # Far from the solution a full Newton step overshoots: it is halved until it helps.
        for _ in range(50):
            tried = _loss(design @ (coefficients + step) + offset, target)
            if tried <= loss:
                break
            step = step / 2
        coefficients, loss = coefficients + step, tried
        if np.abs(step).max() < 1e-10:
            break
    if cluster is None:
        return coefficients, none
    fitted = _sigmoid(design @ coefficients + offset)
    inverse = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    scores = np.zeros((cluster.max() + 1, design.shape[1]))
    np.add.at(scores, cluster, design * (target - fitted)[:, None])
    return coefficients, np.sqrt(np.diag(inverse @ (scores.T @ scores) @ inverse))


def _loss(logit: np.ndarray, target: np.ndarray) -> float:
    """Cross-entropy of targets 0 to 1, summed over films."""
    return float((np.logaddexp(0, logit) - target * logit).sum())


def _logit(score: np.ndarray) -> np.ndarray:
    clipped = np.clip(score.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
