"""All figures of an evaluation whose films are not at hand."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from cxr.figures import calibration, evaluation


def judged(results: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, go.Figure]:
    """The figures of notebook 300 that need no film, by the name of their file.

    Args:
        results: as `judge.judge_models` returns them, and "published".
    """
    auroc, names = results["auroc"], list(results["auroc"])
    drawings = {
        "auroc": evaluation.ranked(
            auroc, title="AUROC by finding", axis="AUROC (0.5: no skill)", reference=0.5
        ),
        "roc": evaluation.roc_grid(results["roc"], auroc),
        "auprc": evaluation.ranked(
            results["auprc"],
            "auprc",
            title="AUPRC by finding",
            axis="AUPRC",
            reference="prevalence",
        ),
        "precision_recall": evaluation.precision_recall_grid(
            results["precision_recall"], results["auprc"]
        ),
        "predicted_versus_actual": evaluation.predicted_versus_actual(results["test_results"]),
        "published": evaluation.published(results["published"][names[0]]),
        "subgroups": evaluation.subgroup_gaps(results["subgroups"]),
    }
    if "controls" in results:
        drawings["controls"] = evaluation.ladder(results["controls"])
    if "net_benefit" in results:
        drawings["decision_curves"] = calibration.decision_grid(results["net_benefit"])
    if "adjudicated" in results:
        drawings["adjudicated"] = evaluation.adjudicated(results["adjudicated"])
    if "rsna" in results:
        drawings["rsna"] = evaluation.against_readings(results["rsna"])
    for name in names:
        curves = dict(list(results["reliability"][name].groupby("scores", sort=False)))
        drawings[f"reliability_{name}"] = calibration.reliability_grid(curves, name)
        if "operating_points" in results:
            table = results["operating_points"][name]
            drawings[f"operating_points_{name}"] = calibration.operating_points(table, name)
    return drawings
