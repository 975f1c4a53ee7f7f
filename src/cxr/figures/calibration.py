"""Figures of what scores mean: reliability, operating points, net benefit."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.figures.panels import (
    SYMBOLS,
    cell,
    diagonal,
    entitle,
    error_bars,
    finding_grid,
    outer_titles,
    series_legend,
    shift,
)
from cxr.figures.style import MUTED, PALETTE
from cxr.findings import FINDINGS, label


def reliability_grid(curves: Mapping[str, pd.DataFrame], name: str) -> go.Figure:
    """Observed share against mean score per finding; on the line, scores mean what they say.

    Args:
        curves: such as "before" and "after" -> frame of `calibration.reliability`.
        name: the model's.
    """
    figure = finding_grid()
    for place, finding in enumerate(FINDINGS):
        where = cell(place)
        parts = {n: curve[curve["finding"] == finding] for n, curve in curves.items()}
        highest = max(
            (part[["mean_score", "observed"]].max().max() for part in parts.values() if len(part)),
            default=1.0,
        )
        figure.add_trace(diagonal(1.1 * highest), **where)
        for colour, (text, part) in enumerate(parts.items()):
            figure.add_trace(
                go.Scatter(
                    x=part["mean_score"].round(5),
                    y=part["observed"].round(5),
                    mode="lines+markers",
                    legendgroup=text,
                    showlegend=False,
                    line={"color": PALETTE[colour], "width": 1.5},
                    marker={"size": 6, "symbol": SYMBOLS[colour]},
                    customdata=part[["low", "high", "films"]],
                    hovertemplate="mean score %{x:.3f}<br>observed %{y:.3f} (%{customdata[0]:.3f}"
                    " to %{customdata[1]:.3f})<br>%{customdata[2]:,} films"
                    f"<extra>{text}</extra>",
                ),
                **where,
            )
        figure.update_xaxes(range=[0, 1.1 * highest], nticks=4, **where)
        figure.update_yaxes(range=[0, 1.1 * highest], nticks=4, **where)
    series_legend(figure, {text: text for text in curves})
    outer_titles(figure, "mean score", "observed share", shared=False)
    entitle(
        figure,
        f"Reliability: {name}",
        "Ten bins of equally many films; each panel has its own scale.",
    )
    return figure


def operating_points(table: pd.DataFrame, name: str) -> go.Figure:
    """Sensitivity, specificity and PPV of every finding at the thresholds of each rule.

    Args:
        table: as `thresholding.apply` returns it.
        name: the model's.
    """
    rates = {"sensitivity": "sensitivity", "specificity": "specificity", "ppv": "PPV"}
    figure = make_subplots(1, 3, subplot_titles=list(rates.values()), horizontal_spacing=0.03)
    rules = table["rule"].unique()
    rows = list(reversed(FINDINGS))
    for place, rule in enumerate(rules):
        part = table[table["rule"] == rule].set_index("finding").reindex(rows)
        for column, rate in enumerate(rates, start=1):
            figure.add_trace(
                go.Scatter(
                    x=part[rate],
                    y=np.arange(len(rows)) - shift(place, len(rules)),
                    mode="markers",
                    name=rule,
                    legendgroup=rule,
                    showlegend=column == 1,
                    marker={"color": PALETTE[place], "symbol": SYMBOLS[place], "size": 7},
                    error_x=error_bars(*(part[rate + end] for end in ("", "_low", "_high"))),
                    customdata=part[["threshold", f"{rate}_low", f"{rate}_high"]],
                    hovertemplate="%{x:.3f} (%{customdata[1]:.3f} to %{customdata[2]:.3f})"
                    f"<br>threshold %{{customdata[0]:.4g}}<extra>{rule}</extra>",
                ),
                row=1,
                col=column,
            )
    unknown = set(table.loc[table["threshold"].isna(), "finding"])
    figure.update_yaxes(
        tickvals=np.arange(len(rows)),
        ticktext=[label(f) + (" (no threshold)" if f in unknown else "") for f in rows],
        range=[-0.6, len(rows) - 0.4],
    )
    figure.update_yaxes(showticklabels=False, col=2)
    figure.update_yaxes(showticklabels=False, col=3)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_layout(height=640, legend={"orientation": "h", "y": -0.06, "x": 0})
    entitle(figure, f"Test films at the thresholds that validation chose: {name}")
    return figure


def decision_grid(curves: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Net benefit per finding: each model, beside flagging all films (grey) or none (0).

    Args:
        curves: model name -> frame of `thresholding.net_benefit`.
    """
    figure = finding_grid()
    for place, finding in enumerate(FINDINGS):
        where = cell(place)
        parts = {name: curve[curve["finding"] == finding] for name, curve in curves.items()}
        drawn = [part for part in parts.values() if len(part)]
        if not drawn:
            figure.update_xaxes(range=[0, 0.5], **where)
            continue
        everyone = drawn[0]
        top = 1.15 * max(everyone["flag_all"].max(), *(p["net_benefit"].max() for p in drawn))
        figure.add_trace(
            go.Scatter(
                x=everyone["probability"].astype(np.float32),
                y=everyone["flag_all"].astype(np.float32),
                showlegend=False,
                legendgroup="all",
                line={"color": MUTED, "dash": "dot", "width": 1.5},
                hovertemplate="flagging all %{y:.4f}<extra></extra>",
            ),
            **where,
        )
        for colour, (name, part) in enumerate(parts.items()):
            figure.add_trace(
                go.Scatter(
                    x=part["probability"].astype(np.float32),
                    y=part["net_benefit"].astype(np.float32),
                    legendgroup=name,
                    showlegend=False,
                    line={"color": PALETTE[colour % 7], "width": 2},
                    hovertemplate="acting from %{x:.1%}<br>net benefit %{y:.4f}"
                    f"<extra>{name}</extra>",
                ),
                **where,
            )
        # Below no benefit at all there is nothing to choose; the interesting part fills the
        # panel, up to where even the most certain film would not be flagged.
        last = max(p.loc[p["net_benefit"] > 0, "probability"].max() for p in drawn)
        figure.update_yaxes(range=[-0.25 * top, top], nticks=4, **where)
        figure.update_xaxes(
            range=[0, np.clip(1.1 * np.nan_to_num(last), 0.05, 0.5)],
            nticks=4,
            tickformat=".0%",
            **where,
        )
    series_legend(
        figure,
        {name: name for name in curves} | {"all": "flagging all films"},
        all={"color": MUTED, "dash": "dot", "width": 2},
    )
    outer_titles(figure, "probability from which one acts", "net benefit", shared=False)
    entitle(figure, "Decision curves of the recalibrated scores", "Flagging none is worth 0.")
    return figure
