"""Figures of the records: what the data set holds, and what its splits give away."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.figures.panels import number
from cxr.figures.style import GRID, MUTED, PALETTE, SPLIT_COLOURS, readable
from cxr.findings import FINDINGS, NO_FINDING, label

_SPLIT_SYMBOLS = {"train": "circle", "validation": "diamond", "test": "square"}
_SPLIT_SIZES = {"train": 15, "validation": 10, "test": 5}
_SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")
# Pixels, for a figure with one row a finding.
_FINDING_ROWS = 560
# Off the data, wherever they lie.
_LEGEND_ABOVE = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"}


def alone_and_combined(records: pd.DataFrame) -> go.Figure:
    """Films per finding, split into those that show it alone and with others.

    Args:
        records: as `nih.read_records` returns them; so for all figures of this module.
    """
    targets = records[list(FINDINGS)]
    # One frame, so that values and names stay together whatever the order.
    counts = pd.DataFrame(
        {"films": targets.sum(), "alone": targets[targets.sum(axis=1) == 1].sum()}
    ).sort_values("films")
    counts["with others"] = counts["films"] - counts["alone"]
    figure = go.Figure()
    for name, colour in (("alone", PALETTE[0]), ("with others", PALETTE[5])):
        share = 100 * counts[name] / counts["films"].where(counts["films"] > 0)
        figure.add_bar(
            y=[label(f) for f in counts.index],
            x=counts[name],
            name=name,
            orientation="h",
            marker_color=colour,
            customdata=np.column_stack([counts["films"], share.round(1)]),
            hovertemplate="%{y}, " + name + ": %{x:,} of %{customdata[0]:,} films "
            "(%{customdata[1]:.0f} %)<extra></extra>",
        )
    figure.update_layout(
        title="Films per finding, alone and in combination",
        barmode="stack",
        height=_FINDING_ROWS,
        xaxis_title="films",
        legend={"x": 0.98, "y": 0.02, "xanchor": "right", "yanchor": "bottom"},
    )
    return figure


def cooccurrence(records: pd.DataFrame) -> go.Figure:
    """How much oftener two findings meet on a film than if they were independent."""
    targets = records[list(FINDINGS)].to_numpy(np.int64)
    together = targets.T @ targets
    films = np.diag(together)
    expected = np.outer(films, films) / max(len(targets), 1)
    lift = np.divide(together, expected, out=np.full(expected.shape, np.nan), where=(expected > 0))
    np.fill_diagonal(lift, np.nan)
    names = [label(f) for f in FINDINGS]
    # A factor and its inverse are equally far from 1: colour goes by the logarithm.
    log = np.log2(np.where(lift > 0, lift, np.nan))
    figure = go.Figure(
        go.Heatmap(
            z=log.round(2),
            x=names,
            y=names,
            customdata=np.dstack([together, expected.round(1), np.nan_to_num(lift).round(2)]),
            text=[["" if np.isnan(v) else f"{v:.1f}" for v in row] for row in lift],
            texttemplate="%{text}",
            zmin=-3,
            zmax=3,
            colorscale="RdBu_r",
            colorbar={
                "title": {"text": "lift"},
                "tickvals": [-3, -2, -1, 0, 1, 2, 3],
                "ticktext": ["1/8", "1/4", "1/2", "1", "2", "4", "8"],
            },
            hovertemplate="%{y} and %{x}: %{customdata[0]:,} films, %{customdata[1]:,} expected, "
            "lift %{customdata[2]}<extra></extra>",
        )
    )
    figure.update_layout(
        title="Lift: how much oftener two findings meet than by chance",
        height=680,
        yaxis={"autorange": "reversed", "showgrid": False},
        xaxis={"tickangle": -45, "showgrid": False},
    )
    return figure


def films_per_patient(records: pd.DataFrame) -> go.Figure:
    """The share of patients, and of all films, by how many films a patient has."""
    films = records.groupby("patient_id").size()
    edges = [0, 1, 2, 3, 5, 10, 20, 50, np.inf]
    names = ["1", "2", "3", "4–5", "6–10", "11–20", "21–50", "over 50"]
    bands = pd.cut(films, edges, labels=names)
    counts = films.groupby(bands, observed=False).agg(["size", "sum"])
    figure = go.Figure()
    for column, what, colour in (("size", "patients", PALETTE[0]), ("sum", "films", PALETTE[5])):
        share = 100 * counts[column] / counts[column].sum()
        figure.add_bar(
            x=names,
            y=share.round(2),
            name=f"share of {what}",
            marker_color=colour,
            customdata=counts[column],
            text=[f"{s:.0f} %" if s >= 1 else f"{s:.1f} %" for s in share],
            textposition="outside",
            hovertemplate="patients with %{x} film(s): %{customdata:,} " + what + ", %{y:.1f} % of "
            "all<extra></extra>",
        )
    figure.update_layout(
        title="Patients, and their films, by films per patient",
        xaxis={"title": "films of one patient", "type": "category"},
        yaxis={"title": "share (%)", "rangemode": "tozero"},
        legend={"x": 0.98, "y": 0.98, "xanchor": "right"},
    )
    return figure


def follow_up(records: pd.DataFrame) -> go.Figure:
    """How prevalent each finding is on first and on later films, against all films."""
    edges = [-1, 0, 1, 3, 7, 15, 31, np.inf]
    names = ["first", "second", "3rd–4th", "5th–8th", "9th–16th", "17th–32nd", "later"]
    bands = pd.cut(records["follow_up"], edges, labels=names)
    shown = records[list(FINDINGS)].assign(**{NO_FINDING: records["labels"] == NO_FINDING})
    prevalence = shown.groupby(bands, observed=False).mean()
    films = shown.groupby(bands, observed=False).size()
    overall = shown.mean()
    ratio = (prevalence / overall.where(overall > 0)).T
    # The findings that grow with follow-up stand together.
    ratio = ratio.loc[ratio[names[-1]].sort_values(ascending=False, na_position="last").index]
    percent = 100 * prevalence.T.loc[ratio.index]
    figure = go.Figure(
        go.Heatmap(
            z=np.log2(ratio.where(ratio > 0)).round(2),
            x=[f"{name}<br>{count:,} films" for name, count in films.items()],
            y=[label(f) for f in ratio.index],
            text=[["" if np.isnan(v) else f"{v:.1f} %" for v in row] for row in percent.to_numpy()],
            texttemplate="%{text}",
            customdata=ratio.round(2),
            zmin=-2,
            zmax=2,
            colorscale="RdBu_r",
            colorbar={
                "title": {"text": "against<br>all films"},
                "tickvals": [-2, -1, 0, 1, 2],
                "ticktext": ["1/4", "1/2", "same", "2 ×", "4 ×"],
            },
            hovertemplate="%{y}, %{x}: on %{text}, %{customdata} times the share of all films"
            "<extra></extra>",
        )
    )
    figure.update_layout(
        title="Prevalence by the film's place in its patient's follow-up",
        height=620,
        yaxis={"autorange": "reversed", "showgrid": False},
        xaxis={"showgrid": False, "side": "bottom"},
    )
    return figure


def age_by_finding(records: pd.DataFrame) -> go.Figure:
    """Ages of the patients with each finding, women and men apart, as box plots."""
    shown = records[list(FINDINGS)].assign(**{NO_FINDING: records["labels"] == NO_FINDING})
    age = records["age"].astype("float64")
    middle = pd.Series({finding: age[shown[finding] == 1].median() for finding in shown})
    order = list(middle.sort_values(na_position="first").index)
    figure = go.Figure()
    for sex, name, colour in (("F", "women", PALETTE[3]), ("M", "men", PALETTE[0])):
        ages = [age[(shown[f] == 1) & (records["sex"] == sex)].dropna() for f in order]
        levels = np.array(
            [
                np.quantile(a, [0.05, 0.25, 0.5, 0.75, 0.95]) if len(a) else [np.nan] * 5
                for a in ages
            ]
        ).T
        figure.add_trace(
            go.Box(
                name=name,
                y=[label(f) for f in order],
                lowerfence=levels[0],
                q1=levels[1],
                median=levels[2],
                q3=levels[3],
                upperfence=levels[4],
                orientation="h",
                marker_color=colour,
                line_width=1.5,
                hoverinfo="x+name",
            )
        )
    figure.update_layout(
        title="Age of the patients, by finding and sex",
        boxmode="group",
        height=720,
        xaxis={"title": "age (years); box: middle half, line: median, whiskers: 5 to 95 %"},
        legend={"x": 0.01, "y": 0.99, "bordercolor": GRID, "borderwidth": 1},
    )
    return figure


def view_by_finding(records: pd.DataFrame) -> go.Figure:
    """The share of each finding's films that were taken in AP view, mostly in bed."""
    shown = records[list(FINDINGS)].assign(**{NO_FINDING: records["labels"] == NO_FINDING})
    ap = records["view"] == "AP"
    films = shown.sum()
    share = (100 * shown[ap].sum() / films.where(films > 0)).sort_values()
    figure = go.Figure(
        go.Bar(
            y=[label(f) for f in share.index],
            x=share.round(2),
            orientation="h",
            marker_color=[MUTED if f == NO_FINDING else PALETTE[0] for f in share.index],
            customdata=films[share.index],
            text=[f"{s:.0f} %" for s in share],
            textposition="inside",
            insidetextanchor="start",
            textfont_color="white",
            hovertemplate="%{y}: %{x:.1f} % of %{customdata:,} films in AP view<extra></extra>",
        )
    )
    everyone = 100 * ap.mean()
    figure.add_vline(x=everyone, line={"color": PALETTE[1], "dash": "dash"})
    figure.add_annotation(
        x=everyone,
        y=0,
        yref="paper",
        yanchor="bottom",
        xanchor="left",
        xshift=6,
        text=f"all films: {everyone:.0f} %",
        font={"color": readable(PALETTE[1])},
        showarrow=False,
    )
    figure.update_layout(
        title="Share of films in AP view, by finding",
        height=_FINDING_ROWS,
        xaxis={"title": "films in AP view (%)", "range": [0, 100]},
    )
    return figure


def film_sizes(records: pd.DataFrame) -> go.Figure:
    """Width and height of the films before NIH scaled them to 1024 x 1024."""
    step = 100
    corners = pd.DataFrame({side: records[side] // step * step for side in ("width", "height")})
    films = pd.crosstab(corners["height"], corners["width"]).replace(0, np.nan)
    # Without the empty bins, plotly would stretch the full ones over their place.
    films = films.reindex(
        index=range(films.index.min(), films.index.max() + step, step),
        columns=range(films.columns.min(), films.columns.max() + step, step),
    )
    figure = go.Figure(
        go.Heatmap(
            x=films.columns + step // 2,
            y=films.index + step // 2,
            z=np.log10(films).round(2),
            customdata=films,
            colorscale="Viridis_r",
            colorbar={
                "title": {"text": "films"},
                "tickvals": list(range(6)),
                "ticktext": ["1", "10", "100", "1,000", "10,000", "100,000"],
            },
            hoverongaps=False,
            hovertemplate=f"about %{{x}} × %{{y}} px (within {step // 2}): %{{customdata:,}} films"
            "<extra></extra>",
        )
    )
    low = min(films.index.min(), films.columns.min())
    high = max(films.index.max(), films.columns.max()) + step
    figure.add_shape(
        type="line", x0=low, y0=low, x1=high, y1=high, line={"color": MUTED, "dash": "dot"}
    )
    figure.add_annotation(
        x=high,
        y=high,
        text="square",
        showarrow=False,
        xanchor="right",
        xshift=-30,
        font={"color": MUTED},
    )
    figure.update_layout(
        title="Width and height of the films before they were scaled to 1024 × 1024",
        xaxis_title="width (pixels)",
        yaxis_title="height (pixels)",
        height=560,
    )
    return figure


def prevalence_by_split(balances: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Prevalence of every finding in train, validation and test, one panel a kind of split.

    Args:
        balances: kind of split -> frame of `split_checks.balance`.
    """
    kinds = list(balances)
    order = _by_prevalence(balances[kinds[0]])
    figure = make_subplots(
        cols=len(kinds), shared_yaxes=True, subplot_titles=kinds, horizontal_spacing=0.03
    )
    for column, kind in enumerate(kinds, start=1):
        for name, colour in SPLIT_COLOURS.items():
            rows = balances[kind].query("split == @name").set_index("trait").loc[order]
            figure.add_trace(
                go.Scatter(
                    x=(100 * rows["prevalence"]).round(3),
                    y=[label(f) for f in order],
                    mode="markers",
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    marker={
                        "color": colour,
                        "symbol": f"{_SPLIT_SYMBOLS[name]}-open",
                        # Concentric where they coincide.
                        "size": _SPLIT_SIZES[name],
                        "line": {"width": 2},
                    },
                    customdata=rows["films"],
                    hovertemplate="%{y}, " + name + " (" + kind + "): %{x:.2f} %, "
                    "%{customdata:,} films<extra></extra>",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(
        type="log", matches="x", tickvals=[0.1, 0.3, 1, 3, 10, 30, 60], title="prevalence (%)"
    )
    # An axis that matches itself makes plotly.js complain in the browser's console.
    figure.layout.xaxis.matches = None
    figure.update_layout(
        title="Prevalence in train, validation and test, by kind of split",
        height=620,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.07, "yanchor": "bottom"},
        margin={"t": 100},
    )
    return figure


def official_shift(balance: pd.DataFrame) -> go.Figure:
    """How much commoner each trait is on NIH's test films than on the others.

    Args:
        balance: frame of `split_checks.balance` for the official split.
    """
    films = balance.pivot_table(index="trait", columns="split", values="films")
    sizes = (balance["films"] / balance["prevalence"]).groupby(balance["split"]).max()
    rest = (films["train"] + films["validation"]) / (sizes["train"] + sizes["validation"])
    test = films["test"] / sizes["test"]
    traits = [*FINDINGS, NO_FINDING, "AP view"]
    order = sorted(traits, key=lambda trait: test[trait] / max(rest[trait], 1e-9))
    rest, test, names = 100 * rest[order], 100 * test[order], [label(t) for t in order]
    figure = go.Figure()
    for name, start, end in zip(names, rest, test, strict=True):
        figure.add_shape(
            type="line", x0=start, x1=end, y0=name, y1=name, line={"color": MUTED, "width": 2}
        )
    for values, name, colour, symbol in (
        (rest, "train and validation", SPLIT_COLOURS["train"], "circle"),
        (test, "test", SPLIT_COLOURS["test"], "square"),
    ):
        figure.add_scatter(
            x=values.round(3),
            y=names,
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 11},
            customdata=(test / rest).round(2),
            hovertemplate="%{y}, " + name + ": %{x:.2f} % of films; test is %{customdata} times "
            "the rest<extra></extra>",
        )
    figure.update_layout(
        title="The official split: share of films with each trait, in and outside the test list",
        height=620,
        xaxis={"type": "log", "title": "films (%)", "tickvals": [0.1, 0.3, 1, 3, 10, 30, 60]},
        legend=_LEGEND_ABOVE,
        margin={"t": 90},
    )
    return figure


def split_balance(balances: Mapping[str, pd.DataFrame]) -> go.Figure:
    """The largest deviation of any split from proportion, by trait and splitter.

    Args:
        balances: splitter -> frame of `split_checks.balance`.
    """
    figure = go.Figure()
    for (name, balance), colour, symbol in zip(balances.items(), PALETTE, _SYMBOLS, strict=False):
        worst = balance["deviation"].abs().groupby(balance["trait"], sort=False).max()[::-1]
        figure.add_scatter(
            # Below half a film, nothing can be told apart.
            x=worst.clip(lower=0.5).round(2),
            y=[label(trait) for trait in worst.index],
            mode="markers",
            name=name,
            marker={"color": colour, "symbol": symbol, "size": 10},
            customdata=worst.round(1),
            hovertemplate="%{y}, " + name + ": off by up to %{customdata:,} films<extra></extra>",
        )
    figure.update_layout(
        title="Largest deviation from proportion, by trait and splitter",
        height=960,
        xaxis={
            "type": "log",
            "title": "films too many or too few in some split (patients, in the lower rows)",
            "tickvals": [0.5, 1, 3, 10, 30, 100, 300, 1000],
            "ticktext": ["≤ 0.5", "1", "3", "10", "30", "100", "300", "1,000"],
        },
        legend=_LEGEND_ABOVE,
        margin={"t": 90},
    )
    return figure


def leaked(leakages: Mapping[str, pd.DataFrame]) -> go.Figure:
    """The share of validation and test films whose patient is also in training.

    Args:
        leakages: kind of split -> frame of `split_checks.leakage`.
    """
    figure = go.Figure()
    for name in ("validation", "test"):
        rows = pd.DataFrame(
            {kind: table.set_index("split").loc[name] for kind, table in leakages.items()}
        ).T
        share = 100 * rows["leaked"].astype(float)
        figure.add_bar(
            x=share.round(2),
            y=list(leakages),
            orientation="h",
            name=name,
            marker_color=SPLIT_COLOURS[name],
            text=[f"{s:.1f} %" if s else "0" for s in share],
            textposition="outside",
            customdata=rows[["shared_films", "films", "shared_patients"]].astype(int),
            hovertemplate="%{y}, " + name + ": %{customdata[0]:,} of %{customdata[1]:,} films, of "
            "%{customdata[2]:,} patients known from training<extra></extra>",
        )
    figure.update_layout(
        title="Films of patients whom training has seen, by kind of split",
        # Room for the numbers beside the bars.
        xaxis={"title": "films (%)", "range": [0, 112], "tickvals": list(range(0, 101, 20))},
        yaxis={"autorange": "reversed"},
        legend=_LEGEND_ABOVE,
        height=340,
    )
    return figure


def control_aurocs(table: pd.DataFrame) -> go.Figure:
    """AUROC per finding of scores that never saw a film.

    Args:
        table: as `controls.by_split` returns it.
    """
    order = [*table.drop(index="Mean").iloc[:, 0].sort_values().index, "Mean"]
    figure = go.Figure()
    for control, colour, symbol in zip(table, PALETTE, _SYMBOLS, strict=False):
        values = table[control].reindex(order)
        figure.add_scatter(
            x=values.round(4),
            y=[label(f) for f in order],
            mode="markers",
            name=f"{control} (mean {number(values['Mean'])})",
            marker={"color": colour, "symbol": symbol, "size": 11},
            hovertemplate="%{y}: AUROC %{x:.3f}<extra>" + control + "</extra>",
        )
    figure.add_vline(x=0.5, line={"color": MUTED, "dash": "dash"})
    figure.add_annotation(
        x=0.5,
        y=0,
        yref="paper",
        yanchor="bottom",
        xanchor="left",
        text="no information",
        showarrow=False,
        font={"color": MUTED},
    )
    figure.update_layout(
        title="AUROC on the test films without looking at any film",
        height=620,
        xaxis={
            "title": "AUROC",
            "range": [np.nanmin([0.45, table.min().min()]), np.nanmax([0.9, table.max().max()])],
        },
        legend=_LEGEND_ABOVE,
        margin={"t": 90},
    )
    return figure


def label_noise(tables: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Positive predictive value and sensitivity of NIH's labels against radiologists.

    Args:
        tables: group of films -> frame of `radiologists.label_noise`.
    """
    measures = {
        "mined_ppv": ("of NIH's labels confirmed", "confirmed", "labelled"),
        "mined_sensitivity": ("of the radiologists' in NIH's labels", "confirmed", "present"),
    }
    figure = make_subplots(
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.06,
        subplot_titles=["Positive predictive value", "Sensitivity"],
    )
    for column, (measure, (what, part, whole)) in enumerate(measures.items(), start=1):
        for (group, table), colour in zip(tables.items(), PALETTE, strict=False):
            figure.add_trace(
                go.Bar(
                    x=(100 * table[measure]).round(1),
                    y=table["label"],
                    orientation="h",
                    name=group,
                    legendgroup=group,
                    showlegend=column == 1,
                    marker_color=readable(colour),
                    text=[
                        f"{a:,} of {b:,}" for a, b in zip(table[part], table[whole], strict=True)
                    ],
                    textposition="inside",
                    insidetextanchor="start",
                    textfont_color="white",
                    hovertemplate="%{y}, " + group + ": %{x:.0f} % " + what + " (%{text})"
                    "<extra></extra>",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(range=[0, 100], title="%")
    figure.update_layout(
        title="NIH's text-mined labels against radiologists who saw the films",
        barmode="group",
        height=400,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1.1, "yanchor": "bottom"},
        margin={"t": 110},
    )
    return figure


def readings_of_labels(agreement: pd.DataFrame) -> go.Figure:
    """How radiologists read the films of each mined label, as shares of the label's films.

    Args:
        agreement: as `radiologists.readings_by_label` returns it.
    """
    table = agreement.iloc[::-1]
    names = [f"{label(row.label)} ({row.films:,})" for row in table.itertuples()]
    shares = {
        "normal": ("Normal", PALETTE[0]),
        "neither": ("neither normal nor an opacity", "#9aa5b1"),
        "opacity": ("Lung Opacity", PALETTE[1]),
    }
    figure = go.Figure()
    for column, (words, colour) in shares.items():
        figure.add_bar(
            x=(100 * table[column]).round(1),
            y=names,
            orientation="h",
            name=words,
            marker_color=colour,
            customdata=(100 * table[[f"{column}_low", f"{column}_high"]]).round(1),
            hovertemplate="%{y}: %{x:.0f} % (%{customdata[0]:.0f} to %{customdata[1]:.0f}) read as "
            + words
            + "<extra></extra>",
        )
    figure.update_layout(
        title="What radiologists read for RSNA, by the label that was mined",
        barmode="stack",
        height=_FINDING_ROWS,
        legend=_LEGEND_ABOVE | {"traceorder": "normal"},
        margin={"t": 90},
    )
    figure.update_xaxes(range=[0, 100], title="% of the label's films; in brackets how many")
    return figure


def _by_prevalence(balance: pd.DataFrame) -> list[str]:
    """The findings and "No Finding", the commonest last, as plotly draws upwards."""
    films = balance.groupby("trait")["films"].sum()
    return list(films[[*FINDINGS, NO_FINDING]].sort_values().index)
