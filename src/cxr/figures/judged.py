"""All figures of an evaluation whose films are not at hand."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from cxr.figures.calibration import decision_grid, operating_points, reliability_grid
from cxr.figures.evaluation import (
    adjudicated,
    against_readings,
    ladder,
    precision_recall_grid,
    predicted_versus_actual,
    published,
    ranked,
    roc_grid,
    subgroup_gaps,
)


def judged(results: Mapping[str, Mapping[str, pd.DataFrame]]) -> dict[str, go.Figure]:
    """The figures of notebook 300 that need no film, by the name of their file.

    Args:
        results: as `judge.every` returns them, and "published".
    """
    auroc, names = results["auroc"], list(results["auroc"])
    drawings = {
        "auroc": ranked(
            auroc, title="AUROC by finding", axis="AUROC (0.5: no skill)", reference=0.5
        ),
        "roc": roc_grid(results["roc"], auroc),
        "auprc": ranked(
            results["auprc"],
            "auprc",
            title="AUPRC by finding",
            axis="AUPRC",
            reference="prevalence",
        ),
        "precision_recall": precision_recall_grid(results["precision_recall"], results["auprc"]),
        "predicted_versus_actual": predicted_versus_actual(results["test_results"]),
        "published": published(results["published"][names[0]]),
        "subgroups": subgroup_gaps(results["subgroups"]),
    }
    if "controls" in results:
        drawings["controls"] = ladder(results["controls"])
    if "net_benefit" in results:
        drawings["decision_curves"] = decision_grid(results["net_benefit"])
    if "adjudicated" in results:
        drawings["adjudicated"] = adjudicated(results["adjudicated"])
    if "rsna" in results:
        drawings["rsna"] = against_readings(results["rsna"])
    for name in names:
        curves = dict(list(results["reliability"][name].groupby("scores", sort=False)))
        drawings[f"reliability_{name}"] = reliability_grid(curves, name)
        if "operating_points" in results:
            table = results["operating_points"][name]
            drawings[f"operating_points_{name}"] = operating_points(table, name)
    return drawings
