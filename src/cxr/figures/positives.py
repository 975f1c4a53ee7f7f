"""The figure of how many films have each finding, and how many of them were tested."""

from collections.abc import Mapping

import pandas as pd
import plotly.graph_objects as go

from cxr.figures.style import MUTED, PALETTE, label


def positives(counts: Mapping[str, pd.Series]) -> go.Figure:
    """Films with each finding in one or two collections of films, on a logarithmic axis.

    Args:
        counts: what the collection is called -> finding -> films; the first sets the order.
    """
    first = next(iter(counts.values())).sort_values()
    figure = go.Figure()
    for (name, films), colour, symbol in zip(
        counts.items(), (MUTED, PALETTE[0]), ("circle-open", "circle"), strict=False
    ):
        ordered = films.reindex(first.index)
        figure.add_scatter(
            # A logarithm knows no 0: a finding without a film has no mark.
            x=ordered.where(ordered > 0),
            y=[label(finding) for finding in ordered.index],
            mode="markers",
            name=name,
            marker={"symbol": symbol, "color": colour, "size": 11, "line": {"width": 2}},
            hovertemplate="%{y}: %{x:,} films " + name + "<extra></extra>",
        )
    figure.update_layout(
        title="Films with each finding",
        height=520,
        xaxis={"title": "films (logarithmic)", "type": "log", "dtick": 1, "tickformat": ","},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
    )
    return figure
