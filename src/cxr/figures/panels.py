"""What the evaluation's figures share: titles, a grid with a panel per finding."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from cxr.figures.style import GRID, MUTED, PALETTE, label
from cxr.findings import FINDINGS

# Models take the palette's colours and these markers in order, so that neither colour nor
# shape alone has to tell them apart.
SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star")

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
    figure.update_xaxes(visible=False, row=3, col=5)
    figure.update_yaxes(visible=False, row=3, col=5)
    return figure


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
