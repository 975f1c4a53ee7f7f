"""How well scores rank and match the findings, with intervals that respect patients."""

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr.evaluation import intervals
from cxr.findings import FINDINGS, NOT_SCORED, TOO_FEW
from cxr.wording import mean_of

# Points of a curve that is drawn: more would not show on a screen.
CURVE_POINTS = 200


@dataclasses.dataclass(frozen=True, eq=False)
class Judged:
    """Scores of films beside what is known of them: what every evaluator takes.

    Attributes:
        targets: 0/1, one column per finding, one row a film.
        scores: 0 to 1, higher is more suspicious, one column per scored finding; rows as
            `targets`.
        patients: the patient of each film, rows as `targets`.
        codes, number: the patients numbered from 0, int (films,), and how many numbers
            there are. A part of the films keeps those of the whole, so that parts are
            compared patient by patient.

    Raises:
        ValueError: if the rows do not belong together.
    """

    targets: pd.DataFrame
    scores: pd.DataFrame
    patients: pd.Series
    # Both are filled in below where they are not given.
    codes: np.ndarray = None  # type: ignore[assignment]
    number: int = None  # type: ignore[assignment]

    def __post_init__(self):
        index = self.targets.index
        if not (index.equals(self.scores.index) and index.equals(self.patients.index)):
            raise ValueError("targets, scores and patients must have the same rows")
        if self.codes is None:
            object.__setattr__(self, "codes", intervals.numbered(self.patients))
            object.__setattr__(self, "number", int(self.codes.max(initial=-1)) + 1)

    @classmethod
    def of(cls, records: pd.DataFrame, scores: pd.DataFrame) -> "Judged":
        """From records with `patient_id` and the findings, and scores of the same rows."""
        return cls(records[list(FINDINGS)], scores, records["patient_id"])

    def part(self, films: np.ndarray) -> "Judged":
        """Some of the films, bool (films,)."""
        return Judged(
            self.targets[films],
            self.scores[films],
            self.patients[films],
            self.codes[films],
            self.number,
        )

    def rescored(self, scores: pd.DataFrame) -> "Judged":
        """Other scores of the same films."""
        return Judged(self.targets, scores, self.patients, self.codes, self.number)

    @functools.cached_property
    def remarks(self) -> dict[str, str]:
        """Finding -> "", or why nothing is said of it: `TOO_FEW` or `NOT_SCORED`."""
        remarks = {}
        for finding in FINDINGS:
            scored = finding in self.scores and self.scores[finding].notna().all()
            remarks[finding] = "" if scored else NOT_SCORED
            if scored and not intervals.enough(self.targets[finding], self.codes):
                remarks[finding] = TOO_FEW
        return remarks

    @property
    def findings(self) -> list[str]:
        """The findings that are scored and have enough patients."""
        return [finding for finding, remark in self.remarks.items() if not remark]

    @functools.cached_property
    def positive_patients(self) -> np.ndarray:
        """Patients with each finding, int (14,)."""
        positive = self.targets[list(FINDINGS)].to_numpy() == 1
        return (intervals.sums(positive, self.codes, self.number) > 0).sum(axis=0)

    @functools.cached_property
    def deciding(self) -> np.ndarray:
        """How many equal patients decide each finding's ranking, float (14,).

        Those who have it, or those who have it not, whichever are fewer.
        """
        positive = self.targets[list(FINDINGS)].to_numpy() == 1
        sides = (intervals.effective(s, self.codes, self.number) for s in (positive, ~positive))
        return np.fmin(*sides)

    @functools.cached_property
    def auroc(self) -> intervals.Estimate:
        """AUROC per finding, with and without each patient: 14 columns."""
        return self._ranked("auroc")

    @functools.cached_property
    def auprc(self) -> intervals.Estimate:
        """Average precision per finding, with and without each patient: 14 columns."""
        return self._ranked("auprc")

    def _ranked(self, metric: str) -> intervals.Estimate:
        value = np.full(len(FINDINGS), np.nan)
        without = np.full((self.number, len(FINDINGS)), np.nan)
        for finding in self.findings:
            column = FINDINGS.index(finding)
            ranked = intervals.ranking(
                metric,
                self.targets[finding].to_numpy(),
                self.scores[finding].to_numpy(),
                self.codes,
                self.number,
            )
            value[column], without[:, column] = ranked.value[0], ranked.without[:, 0]
        return intervals.Estimate(value, without)


def auroc(targets: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Area under the ROC curve per column, ties counted half; for films of any patients.

    Args:
        targets: 0/1, (films, findings).
        scores: float (films, findings), higher is more suspicious.

    Returns:
        float64 (findings,); NaN where there is no positive or no negative.
    """
    nobody = np.zeros(len(targets), dtype=int)
    return np.array(
        [
            intervals.ranking("auroc", target, score, nobody, 1).value[0]
            for target, score in zip(np.transpose(targets), np.transpose(scores), strict=True)
        ]
    )


def auroc_by_finding(judged: Judged) -> pd.DataFrame:
    """Area under the ROC curve per finding and their mean, with 95 % intervals.

    Returns:
        Columns finding, auroc, low, high, positives, positive_patients, films, patients,
        remark; one row per finding in the order of `FINDINGS`, then "Mean" over the
        findings without a remark. NaN where there is one: see `Judged.remarks`.
    """
    return _ranking_table("auroc", judged)


def auprc_by_finding(judged: Judged) -> pd.DataFrame:
    """Average precision per finding beside its prevalence, which a random score reaches.

    Returns:
        Columns finding, auprc, low, high, prevalence, then as `auroc_by_finding`. The bounds
        of the mean allow for its bias: see `intervals.Estimate.unbiased`.
    """
    table = _ranking_table("auprc", judged)
    prevalence = table["positives"] / table["films"]
    prevalence[table["finding"] == "Mean"] = prevalence[:-1][table["auprc"][:-1].notna()].mean()
    table.insert(4, "prevalence", prevalence)
    return table


def roc_curves(judged: Judged) -> pd.DataFrame:
    """ROC curve per finding, thinned to what a screen can show.

    Returns:
        Columns finding, false_positive_rate, sensitivity, threshold (films at or above it
        are flagged); findings with a remark have no rows.
    """
    curves = []
    for finding in judged.findings:
        false_positive_rate, sensitivity, threshold = metrics.roc_curve(
            judged.targets[finding], judged.scores[finding]
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


def precision_recall_curves(judged: Judged) -> pd.DataFrame:
    """Precision (PPV) against recall (sensitivity) per finding, thinned.

    Returns:
        Columns finding, sensitivity, precision, threshold; findings with a remark have no
        rows. The last point (sensitivity 0, precision 1) is left out: no threshold reaches
        it.
    """
    curves = []
    for finding in judged.findings:
        precision, sensitivity, threshold = metrics.precision_recall_curve(
            judged.targets[finding], judged.scores[finding], drop_intermediate=True
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


def flattened_auc(judged: Judged) -> pd.DataFrame:
    """The one AUC over all films and findings together, and why it misleads.

    The original project reported it. Common findings get higher scores than rare ones, so
    a constant guess of each finding's prevalence, which cannot tell any two films apart,
    already scores far above 0.5.

    Returns:
        One row: `flattened` of the scores, `constant` of the prevalences in the targets,
        for every film the same, `mean_per_finding`. NaN if there are no positives or no
        negatives.
    """
    scored = [f for f, remark in judged.remarks.items() if remark != NOT_SCORED]
    truth = judged.targets[scored].to_numpy()
    return pd.DataFrame(
        {
            "flattened": [flat(truth, judged.scores[scored].to_numpy())],
            "constant": [flat(truth)],
            "mean_per_finding": judged.auroc.mean().value,
        }
    )


def flat(targets: np.ndarray, scores: np.ndarray | None = None) -> float:
    """One AUC over all cells (films, findings); without scores that of a constant guess."""
    if scores is None:
        scores = np.broadcast_to(targets.mean(axis=0) if len(targets) else 0.0, targets.shape)
    return float(auroc(targets.reshape(-1, 1), scores.reshape(-1, 1))[0])


def predicted_versus_actual(judged: Judged) -> pd.DataFrame:
    """How often each finding was labelled, and its mean score: the original's table.

    Returns:
        Columns label, dx (share of films with the label, percent) and pdx (mean score,
        percent), one row per finding that has scores.
    """
    scored = [f for f, remark in judged.remarks.items() if remark != NOT_SCORED]
    return pd.DataFrame(
        {
            "label": scored,
            "dx": 100 * judged.targets[scored].mean().to_numpy(),
            "pdx": 100 * judged.scores[scored].mean().to_numpy(),
        }
    )


def best(judged: Mapping[str, Judged]) -> str:
    """The run with the highest mean AUROC; the first one where none is estimable.

    Args:
        judged: run name -> validation films: a choice made on test films flatters what it
            chose.
    """
    means = {name: one.auroc.mean().value[0] for name, one in judged.items()}
    return max(means, key=lambda name: np.nan_to_num(means[name], nan=-np.inf))


def _ranking_table(metric: str, judged: Judged) -> pd.DataFrame:
    """The table of `auroc_by_finding` for a metric of `intervals.ranking`."""
    estimate = getattr(judged, metric)
    mean = estimate.mean()
    low, high = estimate.logit_bounds(judged.deciding, single=True, limited=metric == "auroc")
    corrected = mean.unbiased() if metric == "auprc" else mean
    mean_low, mean_high = corrected.bounds(single=False, least=0, most=1)
    positives = judged.targets[list(FINDINGS)].sum().to_numpy()
    known = len(judged.findings)
    return pd.DataFrame(
        {
            "finding": [*FINDINGS, "Mean"],
            metric: np.append(estimate.value, mean.value),
            "low": np.append(low, mean_low),
            "high": np.append(high, mean_high),
            "positives": [*positives, positives[~np.isnan(estimate.value)].sum()],
            "positive_patients": pd.array([*judged.positive_patients, pd.NA], dtype="Int64"),
            "films": len(judged.targets),
            "patients": judged.patients.nunique(),
            "remark": [*judged.remarks.values(), mean_of(known)],
        }
    )


def _thin(x: np.ndarray, y: np.ndarray, *, points: int = CURVE_POINTS) -> np.ndarray:
    """Rows of a curve to keep: evenly spaced along its length, ends included."""
    if len(x) <= points:
        return np.arange(len(x))
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0, length[-1], points)
    return np.unique(np.r_[0, np.searchsorted(length, wanted).clip(0, len(x) - 1), len(x) - 1])
