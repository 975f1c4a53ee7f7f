"""Figures of the evaluation: how well scores rank, and against whom."""

from collections.abc import Mapping, Sequence
from typing import SupportsIndex

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.figures.narrow import columns
from cxr.figures.panels import (
    LEGEND_ABOVE,
    SYMBOLS,
    add_intervals,
    axes,
    cell,
    diagonal,
    entitle,
    finding_grid,
    finish_rows,
    legend_below,
    number,
    outer_titles,
    series_legend,
    shift,
)
from cxr.figures.style import INK, MUTED, PALETTE, readable
from cxr.findings import FINDINGS, TOO_FEW, label


def roc_grid(
    curves: Mapping[str, pd.DataFrame],
    auroc: Mapping[str, pd.DataFrame],
    *,
    intervals: bool = True,
) -> go.Figure:
    """One small ROC plot per finding, all models in each.

    Args:
        curves: model name -> frame of `ranking.roc_curves`.
        auroc: model name -> frame of `ranking.auroc_by_finding`; same names.
        intervals: beside each AUROC; without them, those of all models stand in one line.
    """
    figure = _curve_grid(curves, auroc, "auroc", intervals=intervals)
    for place in range(len(FINDINGS)):
        figure.add_trace(diagonal(), **cell(place))
    beside = " and 95 % interval" if intervals else ""
    entitle(figure, f"ROC curve of each finding, with its AUROC{beside}")
    return figure


def precision_recall_grid(
    curves: Mapping[str, pd.DataFrame], auprc: Mapping[str, pd.DataFrame]
) -> go.Figure:
    """One small precision-recall plot per finding, all models in each.

    Args:
        curves: model name -> frame of `ranking.precision_recall_curves`.
        auprc: model name -> frame of `ranking.auprc_by_finding`; same names.
    """
    figure = _curve_grid(curves, auprc, "auprc")
    prevalence = next(iter(auprc.values())).set_index("finding")["prevalence"]
    # All at once: plotly looks at every one again for each that is added.
    figure.layout.shapes = [
        {"type": "line", "line": {"color": MUTED, "dash": "dot", "width": 1}}
        | {"x0": 0, "x1": 1, "xref": f"{x} domain"}
        | {"y0": prevalence[finding], "y1": prevalence[finding], "yref": y}
        for finding, (x, y) in zip(FINDINGS, map(axes, range(len(FINDINGS))), strict=True)
    ]
    entitle(figure, "Precision and recall of each finding; dotted: its prevalence")
    return figure


def ranked(
    tables: Mapping[str, pd.DataFrame],
    metric: str = "auroc",
    *,
    title: str,
    axis: str,
    reference: float | str | None = None,
) -> go.Figure:
    """A metric per finding with its interval, best finding first, all models side by side.

    Args:
        tables: model name -> frame with `finding`, the metric, its bounds (`low` and
            `high`, or the metric's name with `_low` and `_high`), and, if there,
            `positives`.
        metric: the column to draw.
        title: what the figure shows.
        axis: the metric's name in words.
        reference: a value that no skill reaches, drawn as a line, or the name of a column
            that holds one per finding.
    """
    first = next(iter(tables.values())).set_index("finding")
    estimates = pd.concat([t.set_index("finding")[metric] for t in tables.values()], axis=1)
    order = estimates.mean(axis=1).drop("Mean").sort_values(na_position="first").index
    rows = ["Mean", *order]
    known = estimates.drop("Mean").notna().sum()
    judged = " to ".join(f"{number}" for number in sorted({known.min(), known.max()}))
    names = [f"<b>Mean of {judged}</b>"]
    for finding in order:
        count = f" ({int(first.loc[finding, 'positives']):,})" if "positives" in first else ""
        names.append(label(finding) + count)
    figure = go.Figure()
    if isinstance(reference, str):
        figure.add_trace(
            go.Scatter(
                x=first.loc[rows, reference].where(first.loc[rows, metric].notna()),
                y=np.arange(len(rows)),
                mode="markers",
                name=f"{reference} (no skill)",
                marker={"symbol": "line-ns", "size": 12, "line": {"width": 2, "color": MUTED}},
                hovertemplate=f"{reference} %{{x:.3f}}<extra></extra>",
            )
        )
    elif reference is not None:
        figure.add_vline(reference, line={"color": MUTED, "dash": "dot"})
    bounds = ("low", "high") if "low" in first else (f"{metric}_low", f"{metric}_high")
    for place, (name, table) in enumerate(tables.items()):
        part = table.set_index("finding").loc[rows]
        add_intervals(
            figure,
            name,
            part[[metric, *bounds]].to_numpy(float),
            np.arange(len(rows)) - shift(place, len(tables)),
            place,
        )
    for row in np.flatnonzero(estimates.loc[rows].isna().all(axis=1)):
        _say(figure, row, _why(first, rows[row]))
    finish_rows(figure, names)
    if len(tables) > 3:
        # More do not fit beside the title where a phone scrolls.
        legend_below(figure)
    entitle(figure, title)
    note = "; beside each finding the films with it" if "positives" in first else ""
    figure.update_xaxes(title=axis + note)
    return figure


def ladder(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """AUROC of every model beside what is reached without looking at a film.

    Args:
        tables: model name -> its table `controls` of `judge.judge_model`.
    """
    ways: dict[str, pd.DataFrame] = {}
    for table in tables.values():
        ways |= dict(list(table.groupby("scored_by", sort=False)))
    ordered = {name: ways[name] for name in tables} | ways
    title = "The models beside scores without an image"
    return ranked(ordered, title=title, axis="AUROC", reference=0.5)


def differences(table: pd.DataFrame) -> go.Figure:
    """Differences in AUROC of one pair of models; filled where they survive correction.

    Args:
        table: rows of one pair from `comparison.between`.
    """
    model, other = table[["model", "other"]].iloc[0]
    part = table.iloc[::-1]
    names = ["<b>Mean</b>" if f == "Mean" else label(f) for f in part["finding"]]
    figure = go.Figure()
    figure.add_vline(0, line={"color": MUTED, "dash": "dot"})
    y = np.arange(len(part))
    clear = (part["p_corrected"] < 0.05).to_numpy()
    for chosen, text, symbol in (
        (clear, "corrected p below 0.05", "circle"),
        (~clear, "not distinguishable", "circle-open"),
    ):
        rows = part[chosen]
        add_intervals(
            figure,
            text,
            rows[["difference", "low", "high"]].to_numpy(float),
            y[chosen],
            0 if symbol == "circle" else 6,
            symbol=symbol,
        )
    for place in np.flatnonzero(part["difference"].isna()):
        _say(figure, place, _why(part.set_index("finding"), part["finding"].iloc[place]))
    finish_rows(figure, names)
    entitle(figure, f"Difference in AUROC: {model} minus {other}")
    figure.update_xaxes(title=f"right: {model} ranks better; left: {other} does")
    return figure


def published(table: pd.DataFrame) -> go.Figure:
    """Mean AUROC of our models among published ones, grey where the test films differ.

    Args:
        table: as `comparison.published` returns it.
    """
    table = table.iloc[::-1].reset_index(drop=True)
    figure = go.Figure()
    groups = (
        (table["ours"], "judged here", 1, "diamond"),
        (~table["ours"] & table["comparable"], "published, same test films", 0, "circle"),
        (~table["ours"] & ~table["comparable"], "published, other test films", None, "circle"),
    )
    for chosen, name, colour, symbol in groups:
        rows = table[chosen]
        if rows.empty:
            continue
        add_intervals(
            figure,
            name,
            rows[["auroc", "low", "high"]].to_numpy(float),
            rows.index.to_numpy(),
            colour,
            symbol=symbol,
        )
    names = []
    for row in table.itertuples():
        year = "" if pd.isna(row.year) else f" {row.year}"
        text = f"{row.source}{year}: {row.split}" + (f"; {row.remark}" if row.remark else "")
        names.append(
            text if row.ours or row.comparable else f"<span style='color:{MUTED}'>{text}</span>"
        )
    finish_rows(figure, names, height=24)
    entitle(figure, "Mean AUROC beside published results, with the split of each")
    figure.update_xaxes(
        title="mean AUROC over the findings; grey: other test films, not comparable"
    )
    return figure


def subgroup_gaps(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Gap of every group to the largest of its attribute: AUROC and sensitivity.

    Args:
        tables: model name -> frame of `subgroups.evaluate`.
    """
    panels = {"auroc_gap": "AUROC", "sensitivity_gap": "sensitivity at the threshold"}
    figure = make_subplots(1, 2, subplot_titles=list(panels.values()), horizontal_spacing=0.04)
    first = next(iter(tables.values())).query("finding == 'Mean'")
    # The largest group of an attribute comes first in the table.
    reference = first.groupby("attribute", sort=False)["group"].first()
    shown = first[first["group"] != first["attribute"].map(reference)].iloc[::-1]
    names = [
        f"{row.group} − {reference[row.attribute]} ({row.films:,} films)"
        for row in shown.itertuples()
    ]
    for place, (name, table) in enumerate(tables.items()):
        means = table[table["finding"] == "Mean"].set_index(["attribute", "group"])
        part = means.loc[list(zip(shown["attribute"], shown["group"], strict=True))]
        for column, measure in enumerate(panels, start=1):
            add_intervals(
                figure,
                name,
                part[[measure, f"{measure}_low", f"{measure}_high"]].to_numpy(float),
                np.arange(len(shown)) - shift(place, len(tables)),
                place,
                row=1,
                col=column,
                showlegend=column == 1,
            )
            for missing in np.flatnonzero(part[measure].isna()) if place == 0 else ():
                _say(figure, missing, "too few patients, or no threshold", row=1, col=column)
    figure.add_vline(0, line={"color": MUTED, "dash": "dot"})
    finish_rows(figure, names)
    figure.update_yaxes(showticklabels=False, col=2)
    figure.update_xaxes(title="gap, mean over the findings")
    figure.update_layout(legend={"y": -0.28, "yanchor": "top", "x": 0, "xanchor": "left"})
    entitle(figure, "Gaps between groups of patients and films")
    return figure


def adjudicated(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """AUROC against radiologists (filled) and against text mining (open), same films.

    Args:
        tables: model name -> frame of `radiologists.evaluate_adjudicated`.
    """
    first = next(iter(tables.values()))
    names = [f"{row.label} ({row.positives:,} of {row.films:,})" for row in first.itertuples()]
    figure = _against(tables, names)
    entitle(figure, "AUROC against labels that radiologists agreed on")
    figure.update_xaxes(title="AUROC; beside each label its films, by the radiologists")
    return figure


def against_readings(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """AUROC against RSNA's readings (filled) and against text mining (open), same films.

    Args:
        tables: model name -> frame of `radiologists.evaluate_readings`.
    """
    first = next(iter(tables.values()))
    names = [
        f"{row.reading}, by {label(row.score)} ({row.positives:,} of {row.films:,})"
        for row in first.itertuples()
    ]
    figure = _against(tables, names)
    entitle(figure, "AUROC against what radiologists read for RSNA in 2018")
    figure.update_xaxes(title="AUROC; in brackets the films, by the radiologists")
    return figure


def _against(tables: Mapping[str, pd.DataFrame], names: Sequence[str]) -> go.Figure:
    """Rows of `auroc` (filled) beside rows of `mined_auroc` (open), all models."""
    figure = go.Figure()
    figure.add_vline(0.5, line={"color": MUTED, "dash": "dot"})
    for place, (name, table) in enumerate(tables.items()):
        rows = table.iloc[::-1]
        y = np.arange(len(rows)) - shift(place, len(tables))
        for prefix, text, suffix in (("", "radiologists", ""), ("mined_", "text mining", "-open")):
            columns = [f"{prefix}auroc", f"{prefix}low", f"{prefix}high"]
            add_intervals(
                figure,
                f"{name}, against {text}",
                rows[columns].to_numpy(float),
                y - (0.08 if prefix else 0),
                place,
                symbol=SYMBOLS[place % 7] + suffix,
            )
    unknown = pd.concat([t["auroc"].isna() for t in tables.values()], axis=1).all(axis=1)
    remarks = next(iter(tables.values()))["remark"].iloc[::-1]
    for row in np.flatnonzero(unknown[::-1]):
        _say(figure, row, remarks.iloc[row])
        # Above the row's marks: the text mining may have an estimate where readers have none.
        figure.layout.annotations[-1].yshift = 14
    finish_rows(figure, names[::-1], height=60)
    legend_below(figure)
    return figure


def predicted_versus_actual(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """How often each finding was labelled, beside the mean score of each model.

    Args:
        tables: model name -> frame of `ranking.predicted_versus_actual`.
    """
    first = next(iter(tables.values())).sort_values("dx")
    names = [label(finding) for finding in first["label"]]
    figure = go.Figure(
        go.Scatter(
            x=first["dx"],
            y=names,
            mode="markers",
            name="labelled",
            marker={"symbol": "line-ns", "size": 18, "line": {"width": 3, "color": INK}},
            hovertemplate="labelled in %{x:.2f} % of films<extra></extra>",
        )
    )
    for place, (name, table) in enumerate(tables.items()):
        table = table.set_index("label").loc[first["label"]]
        figure.add_trace(
            go.Scatter(
                x=table["pdx"],
                y=names,
                mode="markers",
                name=f"mean score, {name}",
                marker={
                    "color": PALETTE[place % 7],
                    "symbol": SYMBOLS[place % 7],
                    "size": 10,
                },
                hovertemplate=f"mean score %{{x:.2f}} %<extra>{name}</extra>",
            )
        )
    entitle(figure, "Predicted versus actual: mean score and rate of diagnosis")
    figure.update_layout(
        height=560,
        legend=LEGEND_ABOVE,
    )
    # Rates from 0.1 % to 20 %: on a linear axis the rare findings would lie on each other.
    figure.update_xaxes(
        type="log",
        title="percent of films (logarithmic)",
        tickvals=[0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50],
    )
    if not any((table[["dx", "pdx"]] > 0).any(axis=None) for table in tables.values()):
        figure.update_xaxes(type="linear", range=[0, 1])
    return figure


# Columns of the curves that a metric sums up, and their words: across, and up.
_AXES = {
    "auroc": (("false_positive_rate", "1 − specificity"), ("sensitivity", "sensitivity")),
    "auprc": (("sensitivity", "sensitivity (recall)"), ("precision", "PPV (precision)")),
}


def _curve_grid(
    curves: Mapping[str, pd.DataFrame],
    tables: Mapping[str, pd.DataFrame],
    metric: str,
    *,
    intervals: bool = True,
) -> go.Figure:
    """A panel per finding with one curve per model, and its metric beyond the curves."""
    x, y = _AXES[metric]
    lines = len(curves) if intervals else 1
    # Curves may go anywhere between 0 and 1, so the numbers stand outside: ROC curves end in
    # the upper corner, those of precision begin there.
    room = min(0.03 + 0.1 * lines, 0.5)
    ends = [1.01 - 1.01 / (1 - room), 1.01] if metric == "auroc" else [0, 1.01 / (1 - room)]
    figure = finding_grid()
    figure.update_layout(height=720 + 40 * lines)
    columns(figure, 2, panel=125 + 12 * lines)
    told = []
    for place, finding in enumerate(FINDINGS):
        where = cell(place)
        numbers = []
        for colour, (name, curve) in enumerate(curves.items()):
            part = curve[curve["finding"] == finding]
            table = tables[name].set_index("finding")
            if part.empty:
                numbers.append(_why(table, finding))
                continue
            row = table.loc[finding]
            bounds = f" ({row['low']:.2f}–{row['high']:.2f})"
            ink = readable(PALETTE[colour % 7])
            bounds = bounds if intervals and pd.notna(row["low"]) else ""
            numbers.append(f"<span style='color:{ink}'>{row[metric]:.3f}{bounds}</span>")
            figure.add_trace(
                go.Scatter(
                    mode="lines",  # plotly marks the points of short lines otherwise
                    # Half the bytes of a notebook, and more digits than are shown.
                    x=part[x[0]].astype(np.float32),
                    y=part[y[0]].astype(np.float32),
                    customdata=part["threshold"].astype(np.float32),
                    legendgroup=name,
                    showlegend=False,
                    line={"color": PALETTE[colour % 7], "width": 2},
                    hovertemplate=f"{x[1]} %{{x:.2f}}<br>{y[1]} %{{y:.2f}}"
                    f"<br>threshold %{{customdata:.3g}}<extra>{name}</extra>",
                ),
                **where,
            )
        told.append(
            {
                "text": ("<br>" if intervals else "&nbsp; ").join(dict.fromkeys(numbers)),
                "x": 0.98,
                "y": ends[0] if metric == "auroc" else 0.995 * ends[1],
                "xanchor": "right",
                "yanchor": "bottom" if metric == "auroc" else "top",
                "showarrow": False,
                "align": "right",
                "font": {"size": 12},
            }
            | dict(zip(("xref", "yref"), axes(place), strict=True))
        )
    # All at once: plotly looks at every one again for each that is added.
    figure.layout.annotations = [*figure.layout.annotations, *told]
    means = {n: t.set_index("finding").loc["Mean", metric] for n, t in tables.items()}
    series_legend(figure, {n: f"{n}: mean {number(value)}" for n, value in means.items()})
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=ends, tickvals=[0, 0.5, 1])
    outer_titles(figure, x[1], y[1])
    return figure


def _why(table: pd.DataFrame, row: str) -> str:
    """Why a row of a table, indexed by finding, has no estimate."""
    return (table["remark"].get(row) if "remark" in table else None) or TOO_FEW


def _say(figure: go.Figure, place: SupportsIndex, text: str = TOO_FEW, **where) -> None:
    """Say in a row why there is nothing to draw."""
    axis = where.get("col", 1)
    figure.add_annotation(
        text=text,
        x=0.01,
        xref="x domain" if axis == 1 else f"x{axis} domain",
        yref="y" if axis == 1 else f"y{axis}",
        xanchor="left",
        y=int(place),
        showarrow=False,
        font={"color": MUTED, "size": 12},
    )
