"""What the evaluation's figures share: titles, a grid with a panel per finding."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.figures.narrow import columns
from cxr.figures.style import GRID, MUTED, PALETTE
from cxr.findings import FINDINGS, label

# Models take the palette's colours and these markers in order, so that neither colour nor
# shape alone has to tell them apart.
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")

# In one row between the title and the plot, at the right.
LEGEND_ABOVE = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 1, "xanchor": "right"}

# Letters of a row's name for which a phone has room beside the row.
LONGEST_NAME = 26

# Stands under the title of every figure that shows a score.
NOTE = "Research software, not a medical device."


def entitle(figure: go.Figure, title: str, note: str = "") -> None:
    """Give a figure its title, and below it a note and what scores are not for."""
    text = f"{note} {NOTE}".strip()
    figure.update_layout(
        title={"text": title, "subtitle": {"text": text, "font": {"size": 12, "color": MUTED}}},
        margin={"t": 100},
    )


def finding_grid() -> go.Figure:
    """Three rows of five panels, one per finding; the last is free for the legend."""
    figure = make_subplots(
        rows=3,
        cols=5,
        subplot_titles=[label(finding) for finding in FINDINGS],
        horizontal_spacing=0.035,
        vertical_spacing=0.1,
    )
    figure.update_annotations(font={"size": 13})
    figure.update_layout(height=720)
    columns(figure, 2)
    figure.update_xaxes(visible=False, row=3, col=5)
    figure.update_yaxes(visible=False, row=3, col=5)
    return figure


def cell(place: int) -> dict[str, int]:
    """Row and column of a panel of `finding_grid`, by the number of its finding."""
    return {"row": place // 5 + 1, "col": place % 5 + 1}


def axes(place: int) -> tuple[str, str]:
    """The same panel's axes, as shapes and annotations name them."""
    number = str(place + 1) if place else ""
    return f"x{number}", f"y{number}"


def series_legend(figure: go.Figure, names: Mapping[str, str], **lines) -> None:
    """One legend entry per series, in the grid's free panel.

    Args:
        names: legend group -> text.
        lines: legend group -> line that differs from the palette's.
    """
    for place, (name, text) in enumerate(names.items()):
        figure.add_trace(
            go.Scatter(
                x=[None],
                y=[None],
                mode="lines",
                name=text,
                legendgroup=name,
                line=lines.get(name, {"color": PALETTE[place % 7], "width": 3}),
            )
        )
    figure.update_layout(
        legend={"x": 0.81, "y": 0.2, "xanchor": "left", "yanchor": "top", "font": {"size": 12}}
    )


def outer_titles(figure: go.Figure, x: str, y: str, *, shared: bool = True) -> None:
    """Axis titles at the left and lower panels only; so are ticks, where axes are shared."""
    font = {"size": 12}
    for row in range(1, 4):
        figure.update_yaxes(title={"text": y, "font": font}, row=row, col=1)
        for column in range(2, 6):
            if shared:
                figure.update_yaxes(showticklabels=False, row=row, col=column)
    for column in range(1, 5):
        figure.update_xaxes(title={"text": x, "font": font}, row=3, col=column)


def diagonal(end: float = 1.0) -> go.Scatter:
    """The line from the origin on which both axes agree."""
    return go.Scatter(
        x=[0, end],
        y=[0, end],
        mode="lines",
        line={"color": GRID, "width": 2},
        hoverinfo="skip",
        showlegend=False,
    )


def number(value: float) -> str:
    """Three decimals, or "n/a"."""
    return "n/a" if pd.isna(value) else f"{value:.3f}"


def error_bars(value, low, high) -> dict:
    """An interval as plotly's `error_x` or `error_y`."""
    return {
        "type": "data",
        "symmetric": False,
        "array": high - value,
        "arrayminus": value - low,
        "thickness": 1.5,
        "width": 0,
    }


def add_intervals(
    figure: go.Figure,
    name: str,
    values: np.ndarray,
    y: np.ndarray,
    colour: int | None,
    *,
    symbol: str | None = None,
    showlegend: bool = True,
    **where,
) -> None:
    """Points with their intervals; `values` is (points, 3): value, low, high."""
    value, low, high = values.T
    paint = "#9aa5b1" if colour is None else PALETTE[colour % 7]
    figure.add_trace(
        go.Scatter(
            x=value,
            y=y,
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=showlegend,
            marker={
                "color": paint,
                "symbol": symbol or SYMBOLS[(colour or 0) % 7],
                "size": 9,
                "line": {"width": 1.5, "color": paint},
            },
            error_x=error_bars(value, low, high),
            customdata=[[number(a), number(b)] for a, b in zip(low, high, strict=True)],
            hovertemplate="%{x:.3f} (%{customdata[0]} to %{customdata[1]})"
            f"<extra>{name}</extra>",
        ),
        **where,
    )


def legend_below(figure: go.Figure) -> None:
    """The legend below the plot, one entry a line: names of runs may be long."""
    entries = sum(trace.showlegend is not False for trace in figure.data)
    below = 70 + 30 * entries
    figure.update_layout(
        height=figure.layout.height + below - 50,
        margin={"b": below},
        legend={
            "orientation": "v",
            "yref": "container",
            "y": 0.01,
            "yanchor": "bottom",
            "x": 0,
            "xanchor": "left",
        },
    )


def finish_rows(figure: go.Figure, names: Sequence[str], *, height: int = 30) -> None:
    """Name the rows, and give the figure the height that they need.

    On a phone it stands as it is, narrower, unless the names would leave no room for the rest.
    """
    figure.update_yaxes(
        tickvals=np.arange(len(names)), ticktext=list(names), range=[-0.7, len(names) - 0.3]
    )
    figure.update_layout(
        height=190 + height * len(names),
        legend=LEGEND_ABOVE,
    )
    if max(map(len, names), default=0) <= LONGEST_NAME:
        columns(figure, 1, panel=height * len(names))


def shift(place: int, of: int) -> float:
    """How far a series lies below its row's middle, so that series do not cover each other."""
    return 0.5 * ((place + 0.5) / of - 0.5)
