"""Figures of how many films have each finding: of all, of those at hand, of those tested."""

from collections.abc import Collection, Mapping

import pandas as pd
import plotly.graph_objects as go

from cxr.figures.panels import LEGEND_ABOVE
from cxr.figures.style import MUTED, PALETTE
from cxr.findings import FINDINGS, NO_FINDING, label


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
        legend=LEGEND_ABOVE,
    )
    return figure


def arrived(records: pd.DataFrame, films: Collection[str]) -> go.Figure:
    """Films per finding: in all the records, and among the films at hand.

    Args:
        records: all of them, as `nih.read_records` returns them.
        films: names of the films that later stages can use.
    """
    targets = records[list(FINDINGS)].astype(bool)
    targets[NO_FINDING] = ~targets.any(axis=1)
    here = records["film"].isin(set(films))
    figure = positives(
        {
            f"in all records ({len(records):,} films)": targets.sum(),
            f"at hand ({int(here.sum()):,} films)": targets[here].sum(),
        }
    )
    return figure.update_layout(title="What is here: films per finding")
