"""The figure of what was fetched: which findings the films at hand can teach."""

from collections.abc import Collection

import pandas as pd
import plotly.graph_objects as go

from cxr.figures.style import MUTED, PALETTE, label
from cxr.findings import FINDINGS, NO_FINDING


def arrived(records: pd.DataFrame, films: Collection[str]) -> go.Figure:
    """Films per finding: in all the records, and among the films at hand.

    Args:
        records: all of them, as `nih.read` returns them.
        films: names of the films that later stages can use.
    """
    targets = records[list(FINDINGS)].astype(bool)
    targets[NO_FINDING] = ~targets.any(axis=1)
    here = records["film"].isin(set(films))
    counts = pd.DataFrame({"all": targets.sum(), "here": targets[here].sum()}).sort_values("all")
    names = [label(finding) for finding in counts.index]
    figure = go.Figure()
    for name, column, symbol, colour in (
        ("in all records", "all", "circle-open", MUTED),
        ("at hand", "here", "circle", PALETTE[0]),
    ):
        figure.add_scatter(
            # A logarithm knows no 0: a finding without a film at hand has no mark.
            x=counts[column].where(counts[column] > 0),
            y=names,
            mode="markers",
            name=f"{name} ({len(records) if column == 'all' else int(here.sum()):,} films)",
            marker={"symbol": symbol, "color": colour, "size": 11, "line": {"width": 2}},
            customdata=counts["all"],
            hovertemplate="%{y}: %{x:,} of %{customdata:,} films " + name + "<extra></extra>",
        )
    figure.update_layout(
        title="What is here: films per finding",
        height=560,
        xaxis={"title": "films (logarithmic)", "type": "log", "dtick": 1, "tickformat": ","},
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
    )
    return figure
