"""Do scores mean what they say? Measures of calibration, and mending it per finding."""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.evaluation import intervals
from cxr.evaluation.intervals import Estimate
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS

MEASURES = ["brier", "skill", "ece", "slope", "distance", "intercept"]

# What those that have a limit can be.
_LIMITS = {"brier": {"least": 0, "most": 1}, "skill": {"most": 1}}

# What scores are called before and after recalibration.
PREDICTED_AND_MENDED = ("as predicted", "recalibrated")

# Bins with the same number of films each: bins of equal width would hold nearly all films
# of a rare finding in the first.
BINS = 10

# Parts of the validation patients, each of which judges a recalibration fitted to the others.
FOLDS = 5

# Scores of exactly 0 or 1 have no logit.
_SMALLEST = 1e-12


def reliability(judged: Judged) -> pd.DataFrame:
    """Observed share of positives against the mean score, in bins of equally many films.

    Args:
        judged: films with labels, and scores that are taken for probabilities.

    Returns:
        Columns finding, bin, films, mean_score, observed, low, high (patient-level 95 %
        interval of observed); findings with a remark have no rows.
    """
    curves = []
    for finding in judged.findings:
        score, target = judged.scores[finding].to_numpy(), judged.targets[finding].to_numpy()
        member = _bins(score)
        positive = member & (target == 1)[:, None]
        observed, low, high = intervals.rates(positive, member, judged.codes)
        curves.append(
            pd.DataFrame(
                {
                    "finding": finding,
                    "bin": np.arange(1, member.shape[1] + 1),
                    "films": member.sum(axis=0),
                    "mean_score": score @ member / member.sum(axis=0),
                    "observed": observed,
                    "low": low,
                    "high": high,
                }
            )
        )
    columns = ["finding", "bin", "films", "mean_score", "observed", "low", "high"]
    return pd.concat(curves, ignore_index=True) if curves else pd.DataFrame(columns=columns)


def measures(judged: Judged) -> pd.DataFrame:
    """How far scores are from meaning what they say, per finding, and what can be averaged.

    Args:
        judged: films with labels, and scores that are taken for probabilities.

    Returns:
        Columns finding, then each of `MEASURES`, all but `ece` with the bounds of its 95 %
        interval with `_low` and `_high`:

        - brier: mean squared distance of score and label.
        - skill: 1 - brier / that of the prevalence as everybody's score; 1 is perfect,
          below 0 the scores are worse than knowing nothing of the film (Brier 1950).
        - ece: expected calibration error, the mean distance of mean score and observed
          share over bins of equally many films (Nixon et al., CVPR workshops 2019). Chance
          only ever adds to a distance, so intervals by resampling or leaving out lie above
          their own estimate: it has none. Compare it between scores of the same films.
        - slope: of the label on the score's logit; 1 is right, below 1 the scores are too
          extreme. distance: |slope - 1|. intercept: of the label with the score's logit as
          offset; 0 is right, below 0 the scores are too high (Van Calster et al., BMC Med
          2019).

        NaN where a finding has a remark. The last row, "Mean", is over the others; there,
        slope and intercept are NaN, since those of opposite signs would cancel out.
    """
    slots = len(FINDINGS)
    values = {name: np.full(slots, np.nan) for name in MEASURES}
    without = {name: np.full((judged.number, slots), np.nan) for name in MEASURES}
    for finding in judged.findings:
        score, target = judged.scores[finding].to_numpy(), judged.targets[finding].to_numpy()
        column, logit = FINDINGS.index(finding), _logit(score)
        both = np.column_stack([(score - target) ** 2, target])
        means = intervals.ratios(both, np.ones_like(both), judged.codes, judged.number)
        (brier, prevalence), others = means.value, means.without.T
        found = {
            "brier": (brier, others[0]),
            "skill": tuple(
                1 - intervals.ratio(b, p * (1 - p)) for b, p in ((brier, prevalence), others)
            ),
            "ece": (_calibration_error(score, target), np.nan),
        }
        line = _line(logit, target, judged.codes, judged.number)
        shift = _logistic(np.ones((len(logit), 1)), target, logit, judged.codes, judged.number)
        found["slope"] = line.value[1], line.without[:, 1]
        found["distance"] = tuple(np.abs(part - 1) for part in found["slope"])
        found["intercept"] = shift.value[0], shift.without[:, 0]
        for name, (value, others) in found.items():
            values[name][column], without[name][:, column] = value, others
    table = pd.DataFrame({"finding": [*FINDINGS, "Mean"]})
    for name in MEASURES:
        estimate = Estimate(values[name], without[name])
        mean = (
            estimate.mean()
            if name not in ("slope", "intercept")
            else Estimate(np.array([np.nan]), np.zeros((judged.number, 1)))
        )
        table[name] = np.append(estimate.value, mean.value)
        if name == "ece":
            continue
        bounds = estimate.bounds(single=True, **_LIMITS.get(name, {}))
        if name == "slope":
            slope_bounds = bounds
        if name == "distance":
            # What the slope's interval allows: from 0, if it holds 1.
            ends = [np.abs(bound - 1) for bound in slope_bounds]
            holds = (slope_bounds[0] <= 1) & (slope_bounds[1] >= 1)
            unknown = np.isnan(estimate.value)
            low, high = np.where(holds, 0, np.minimum(*ends)), np.maximum(*ends)
            bounds = np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)
        of_mean = mean.bounds(single=False, **_LIMITS.get(name, {}))
        if name == "distance":
            of_mean = (np.array([np.nan]),) * 2  # chance only adds to it, as to `ece`
        for ending, by_finding, one in zip(("_low", "_high"), bounds, of_mean, strict=True):
            table[name + ending] = np.append(by_finding, one)
    return table


def fit(tuning: Judged) -> pd.DataFrame:
    """Fit a logistic recalibration per finding on validation films, where it helps.

    probability = sigmoid(intercept + slope * logit(score)). With few positives a slope says
    more about chance than about the model, so each is drawn towards what all findings have
    in common, the more the less certain it is (empirical Bayes, with the variance between
    findings after DerSimonian and Laird, 1986). Whether that helps is judged on validation
    patients that took no part in the fit, in `FOLDS` turns: where the log loss does not
    fall, the scores stay as they are.

    Args:
        tuning: the validation films. Test films must not be among them.

    Returns:
        Columns finding, intercept, slope, method ("recalibrated" or "as predicted"),
        loss_before and loss_after (mean log loss in the turns), positives, films; and
        variance_intercept, covariance and variance_slope of the label's line on the logit,
        each patient's films as one cluster: see `bounds`.
    """
    findings = tuning.findings
    logits = {finding: _logit(tuning.scores[finding].to_numpy()) for finding in findings}
    truth = {finding: tuning.targets[finding].to_numpy(dtype=np.float64) for finding in findings}
    everyone = np.ones(len(tuning.targets), dtype=bool)
    lines = _shrunk(logits, truth, everyone, tuning)
    before = {f: _loss(logits[f], truth[f]) / len(everyone) for f in findings}
    after = dict.fromkeys(findings, 0.0)
    fold = _folds(tuning)
    for turn in range(FOLDS):
        fitted = _shrunk(logits, truth, fold != turn, tuning)
        for finding, (intercept, slope) in fitted.items():
            held_out = fold == turn
            moved = intercept + slope * logits[finding][held_out]
            after[finding] += _loss(moved, truth[finding][held_out]) / len(everyone)
    rows = []
    for finding in FINDINGS:
        helps = finding in lines and after[finding] < before[finding]
        intercept, slope = lines[finding] if helps else (0.0, 1.0)
        rows.append(
            {
                "finding": finding,
                "intercept": float(intercept),
                "slope": float(slope),
                "method": "recalibrated" if helps else "as predicted",
                "loss_before": before.get(finding),
                "loss_after": after.get(finding),
                "positives": int(tuning.targets[finding].sum()),
                "films": len(tuning.targets),
                **_variances(tuning, finding, logits, truth),
            }
        )
    return pd.DataFrame(rows)


def _variances(tuning: Judged, finding: str, logits: dict, truth: dict) -> dict[str, float]:
    """How uncertain the line of a finding is, before it is drawn to the others' slope."""
    names = ("variance_intercept", "covariance", "variance_slope")
    if finding not in logits:
        return dict.fromkeys(names, np.nan)
    line = _line(logits[finding], truth[finding], tuning.codes, tuning.number)
    pulls = line.without - line.without.mean(axis=0)
    (intercept, both), (_, slope) = (tuning.number - 1) / tuning.number * pulls.T @ pulls
    return dict(zip(names, map(float, (intercept, both, slope)), strict=True))


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
            if row["method"] == "as predicted"
            else _sigmoid(row["intercept"] + row["slope"] * _logit(score))
        )
    return pd.DataFrame(recalibrated, index=scores.index)


def bounds(scores: pd.DataFrame, recalibration: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of the probabilities that `apply` gives: how well their scale is known.

    What validation films say of a score is itself uncertain, the more the fewer of them have
    the finding, and the farther the score is from theirs.

    Args:
        scores, recalibration: as for `apply`.

    Returns:
        Lower and upper bounds, float (films, findings); NaN where nothing is known.
    """
    middle = _logit(apply(scores, recalibration).to_numpy())
    raw = _logit(scores.to_numpy())
    by_finding = recalibration.set_index("finding").reindex(
        index=scores.columns, columns=["variance_intercept", "covariance", "variance_slope"]
    )
    intercept, both, slope = by_finding.to_numpy(dtype=float).T
    half = 1.96 * np.sqrt(np.maximum(intercept + 2 * raw * both + raw**2 * slope, 0))
    return _sigmoid(middle - half), _sigmoid(middle + half)


def verdict(table: pd.DataFrame) -> str:
    """Whether recalibration helped on the test films, in words.

    Args:
        table: the rows of `measures` "as predicted" and "recalibrated", told apart by the
            column `scores`, as `judge.judge_model` returns them.
    """
    parts = {when: part.set_index("finding") for when, part in table.groupby("scores")}
    if "recalibrated" not in parts:
        return "not recalibrated"
    before, after = (parts[w].drop("Mean").dropna(subset=["brier"]) for w in PREDICTED_AND_MENDED)
    if before.empty:
        return "too few patients of any finding to recalibrate"
    moved = before["intercept"].ne(after["intercept"])
    nearer = (after["distance"] < before["distance"])[moved].sum()
    better = (after["brier"] < before["brier"])[moved].sum()
    return (
        f"{moved.sum()} of {len(before)} findings recalibrated; of these, the slope came nearer "
        f"to 1 for {nearer}, the Brier score fell for {better}"
    )


def save(folder: Path, recalibration: pd.DataFrame) -> None:
    """Write `calibration.json` into a run's folder."""
    # JSON knows no NaN.
    rows = recalibration.astype(object).where(recalibration.notna(), None)
    artifacts.write_json(folder / "calibration.json", rows.to_dict(orient="records"))


def load(folder: Path) -> pd.DataFrame:
    """Read a run's recalibration.

    Raises:
        InputError: if there is none, or it does not hold every finding once.
    """
    path = folder / "calibration.json"
    rows = artifacts.read_json(path)
    whole = isinstance(rows, list) and all(map(_is_line, rows))
    if not whole or sorted(row["finding"] for row in rows) != sorted(FINDINGS):
        raise InputError(f"{path} is not a recalibration of the 14 findings; run 300 again.")
    return pd.DataFrame(rows)


def _is_line(row) -> bool:
    """Whether a value from a file tells the recalibration of something."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("finding"), str)
        and row.get("method") in PREDICTED_AND_MENDED
        and all(isinstance(row.get(name), int | float) for name in ("intercept", "slope"))
    )


def _bins(score: np.ndarray) -> np.ndarray:
    """Which bin each film is in: bool (films, bins). Equal scores share a bin."""
    edges = np.unique(np.quantile(score, np.linspace(0, 1, BINS + 1)[1:-1]))
    which, place = np.unique(np.searchsorted(edges, score, side="left"), return_inverse=True)
    return np.eye(len(which), dtype=bool)[place]


def _calibration_error(score: np.ndarray, target: np.ndarray) -> float:
    return float(np.abs((score - target) @ _bins(score)).sum() / len(score))


def _folds(tuning: Judged) -> np.ndarray:
    """The turn in which each film is held out, by patient: int (films,), 0 to FOLDS - 1.

    Patients with equally many findings are dealt out in turn, so that each part gets its
    share of those who have any.
    """
    have = np.zeros(tuning.number)
    np.maximum.at(have, tuning.codes, tuning.targets[list(FINDINGS)].sum(axis=1).to_numpy())
    order = np.lexsort([np.random.default_rng(0).random(tuning.number), have])
    turn = np.empty(tuning.number, dtype=int)
    turn[order] = np.arange(tuning.number) % FOLDS
    return turn[tuning.codes]


def _shrunk(
    logits: dict[str, np.ndarray], truth: dict[str, np.ndarray], films: np.ndarray, tuning: Judged
) -> dict[str, tuple[float, float]]:
    """Finding -> intercept and slope, the slopes drawn towards their common one."""
    slopes, variances = {}, {}
    for finding, logit in logits.items():
        line = _line(logit[films], truth[finding][films], tuning.codes[films], tuning.number)
        slopes[finding], variances[finding] = line.value[1], line.error()[1] ** 2
    known = [f for f in slopes if np.isfinite(slopes[f]) and 0 < variances[f] < np.inf]
    slope, variance = (np.array([part[f] for f in known]) for part in (slopes, variances))
    common, between = 1.0, 0.0
    if known:
        weight = 1 / variance
        common = weight @ slope / weight.sum()
        spread = weight.sum() - weight @ weight / weight.sum()
        excess = weight @ (slope - common) ** 2 - (len(known) - 1)
        between = max(0.0, excess / spread) if spread > 0 else 0.0
        weight = 1 / (variance + between)
        common = weight @ slope / weight.sum()
    common = common if common > 0 else 1.0
    fitted = {}
    for finding, logit in logits.items():
        drawn = common
        if finding in known:
            share = between / (between + variances[finding])
            drawn = share * slopes[finding] + (1 - share) * common
        # A slope that is not positive would turn the ranking around.
        drawn = drawn if drawn > 0 else common
        # Around their mean, where the intercept is not far from 0 whatever the slope is.
        middle = logit[films].mean()
        there, aims = drawn * (logit[films] - middle), truth[finding][films]
        shift = _logistic(np.ones((len(there), 1)), aims, there).value[0] - drawn * middle
        # Without a positive or a negative among these films there is nothing to fit to.
        fitted[finding] = (shift, drawn) if np.isfinite(shift) else (0.0, 1.0)
    return fitted


def _line(logit: np.ndarray, target: np.ndarray, codes: np.ndarray, patients: int) -> Estimate:
    """Intercept and slope of the label on the logit; NaN where all scores are the same."""
    # Scores that differ little would make the equations ill-conditioned.
    middle, spread = logit.mean(), logit.std()
    if spread < 1e-12:
        return Estimate(np.full(2, np.nan), np.full((patients, 2), np.nan))
    design = np.column_stack([np.ones_like(logit), (logit - middle) / spread])
    line = _logistic(design, target, 0.0, codes, patients)
    # Back to the scale of the logit.
    back = np.array([[1, 0], [-middle / spread, 1 / spread]])
    return Estimate(line.value @ back, line.without @ back)


def _logistic(
    design: np.ndarray,
    target: np.ndarray,
    offset: np.ndarray | float,
    codes: np.ndarray | None = None,
    patients: int = 0,
) -> Estimate:
    """Logistic regression by Newton's method, with each patient left out to first order.

    Args:
        design: (films, coefficients).
        target: 0 to 1, (films,).
        offset: added to the linear term.
        codes, patients: the patient of each film; without them nobody is left out.

    Returns:
        The coefficients; NaN where there is no finite solution (the scores separate the
        labels perfectly, or are all the same). Their errors are those of a variance that
        treats each patient's films as one cluster (Liang and Zeger, Biometrika 1986).
    """
    coefficients = np.zeros(design.shape[1])
    none = Estimate(coefficients * np.nan, np.full((patients, len(coefficients)), np.nan))
    loss = _loss(design @ coefficients + offset, target)
    for _ in range(100):
        fitted = _sigmoid(design @ coefficients + offset)
        information = design.T @ (design * (fitted * (1 - fitted))[:, None])
        if np.linalg.cond(information) > 1e12:
            return none
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
    if codes is None:
        return Estimate(coefficients, np.empty((0, len(coefficients))))
    fitted = _sigmoid(design @ coefficients + offset)
    inverse = np.linalg.inv(design.T @ (design * (fitted * (1 - fitted))[:, None]))
    pulls = intervals.sums(design * (target - fitted)[:, None], codes, patients)
    return Estimate(coefficients, coefficients - pulls @ inverse)


def _loss(logit: np.ndarray, target: np.ndarray) -> float:
    """Cross-entropy of targets 0 to 1, summed over films."""
    return float((np.logaddexp(0, logit) - target * logit).sum())


def _logit(score: np.ndarray) -> np.ndarray:
    clipped = np.clip(score.astype(np.float64), _SMALLEST, 1 - _SMALLEST)
    return np.log(clipped) - np.log1p(-clipped)


def _sigmoid(logit: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(logit, -700, 700)))
