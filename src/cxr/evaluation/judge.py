"""One judge for every model: all tables of an evaluation, whoever made the scores."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.evaluation import (
    calibration,
    comparison,
    controls,
    radiologists,
    ranking,
    subgroups,
    thresholding,
)
from cxr.evaluation.ranking import Judged
from cxr.records import rsna

# Digits after the point in the saved tables: more than any interval can tell apart.
DIGITS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort:
    """The films that models are judged by, and what else is known of them.

    Attributes:
        test: records of the test films, with their names as index.
        validation: those of the films that choose thresholds and recalibration; empty where
            there are none.
        train: records of the training films, for the controls that see no film; empty where
            they are unknown.
        agreed: as `nih.read_adjudicated` returns it, if there is any.
        readings: as `rsna.read_readings` returns them, if there are any.
    """

    test: pd.DataFrame
    validation: pd.DataFrame
    train: pd.DataFrame
    agreed: pd.DataFrame | None = None
    readings: rsna.Readings | None = None


def judge_model(name: str, scores: pd.DataFrame, cohort: Cohort) -> dict[str, pd.DataFrame]:
    """Every table of one model's evaluation.

    Films of `cohort.validation` choose thresholds and the recalibration, films of
    `cohort.test` are judged with them; nothing is chosen on test films.

    Args:
        name: what the model is called among the controls.
        scores: one column of probabilities per scored finding, film names as index; all
            films of `cohort.test` and, for what is chosen, of `cohort.validation`.
        cohort: the films.

    Returns:
        Kind of table -> frame. Without validation films there are no thresholds, and so no
        table that rests on them.
    """
    judged = Judged.of(cohort.test, scores.loc[cohort.test.index])
    made = {
        "auroc": ranking.auroc_by_finding(judged),
        "auprc": ranking.auprc_by_finding(judged),
        "roc": ranking.roc_curves(judged),
        "precision_recall": ranking.precision_recall_curves(judged),
        "flattened": ranking.flattened_auc(judged),
        "test_results": ranking.predicted_versus_actual(judged),
    }
    shown, versions = judged, {"as predicted": judged}
    if len(cohort.validation):
        tuning = Judged.of(cohort.validation, scores.loc[cohort.validation.index])
        made["recalibration"] = fitted = calibration.fit(tuning)
        # From here on, probabilities are those that pages show.
        shown = judged.rescored(calibration.apply(judged.scores, fitted))
        tuning = tuning.rescored(calibration.apply(tuning.scores, fitted))
        versions["recalibrated"] = shown
        made["thresholds"] = thresholding.choose(tuning)
        made["operating_points"] = thresholding.apply(shown, made["thresholds"])
        made["net_benefit"] = thresholding.net_benefit(shown)
    for kind, measure in (
        ("calibration", calibration.measures),
        ("reliability", calibration.reliability),
    ):
        parts = {when: measure(version) for when, version in versions.items()}
        made[kind] = pd.concat(parts, names=["scores"]).reset_index("scores")
    youden = _youden(made.get("thresholds"))
    made["subgroups"] = subgroups.evaluate(shown, cohort.test, youden)
    if len(cohort.train):
        blind = controls.score_controls(cohort.train, cohort.test)
        ladder = {name: made["auroc"]} | {
            control: ranking.auroc_by_finding(judged.rescored(values))
            for control, values in blind.items()
        }
        made["controls"] = pd.concat(ladder, names=["scored_by"]).reset_index("scored_by")
    if cohort.agreed is not None:
        made["adjudicated"] = radiologists.evaluate_adjudicated(cohort.agreed, judged)
    if cohort.readings is not None and len(cohort.readings.films):
        made["rsna"] = radiologists.evaluate_readings(cohort.readings, judged)
    return made


def judge_models(
    scores: Mapping[str, pd.DataFrame], cohort: Cohort
) -> dict[str, dict[str, pd.DataFrame]]:
    """Judge several models by the same films; see `judge_model`.

    Args:
        scores: model -> scores, one column per finding, film names as index; more films
            than the cohort has may be there.
        cohort: the films, and what is known of them.

    Returns:
        Kind of table -> model -> frame.
    """
    made = {name: judge_model(name, frame, cohort) for name, frame in scores.items()}
    kinds = dict.fromkeys(kind for by_kind in made.values() for kind in by_kind)
    return {
        kind: {name: by_kind[kind] for name, by_kind in made.items() if kind in by_kind}
        for kind in kinds
    }


def differences(scores: Mapping[str, pd.DataFrame], cohort: Cohort) -> pd.DataFrame:
    """Every two models against each other on the test films: see `comparison.between`.

    Args:
        scores, cohort: as for `judge_models`.
    """
    return comparison.between(
        {n: Judged.of(cohort.test, s.loc[cohort.test.index]) for n, s in scores.items()}
    )


def best(scores: Mapping[str, pd.DataFrame], cohort: Cohort) -> str:
    """The model with the highest mean AUROC on validation films; the first without any.

    Args:
        scores, cohort: as for `judge_models`.
    """
    films = cohort.validation.index
    return ranking.best({n: Judged.of(cohort.validation, s.loc[films]) for n, s in scores.items()})


def save(folder: Path, results: Mapping[str, Mapping[str, pd.DataFrame]]) -> None:
    """Write `<kind>_<model>.csv` for all tables, as `judge_models` returns them."""
    for kind, by_model in results.items():
        for name, table in by_model.items():
            artifacts.write_csv(folder / f"{kind}_{name}.csv", rounded(table))


def rounded(table: pd.DataFrame) -> pd.DataFrame:
    """The table with numbers to `DIGITS`, as it is saved."""
    return table.round(DIGITS)


def _youden(thresholds: pd.DataFrame | None) -> pd.DataFrame:
    if thresholds is None:
        return pd.DataFrame({"finding": list(ranking.FINDINGS), "threshold": np.nan})
    return thresholds[thresholds["rule"] == thresholding.RULES[0]]
