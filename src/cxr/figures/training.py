"""Figures of the training: what models saw, how they learned, what they have inside."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from cxr.figures import narrow
from cxr.figures.page import embedded
from cxr.figures.panels import entitle, finding_grid, outer_titles, series_legend
from cxr.figures.style import MUTED, PALETTE
from cxr.findings import FINDINGS, label

# Side of one activation map in a figure, and the gap to the next, in pixels.
_CELL, _GAP = 40, 2


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Loss, mean validation AUROC and learning rate by epoch, one colour a run.

    Args:
        histories: run name -> its `history.csv`.
    """
    panels = ("Loss", "Mean validation AUROC", "Learning rate at the epoch's start")
    figure = make_subplots(1, 3, subplot_titles=panels, horizontal_spacing=0.08)
    lines = (
        (1, "loss", "training loss", "dot"),
        (1, "val_loss", "validation loss", "solid"),
        (2, "val_auroc", "mean validation AUROC", "solid"),
        (3, "learning_rate", "learning rate", "solid"),
    )
    for number, (name, history) in enumerate(histories.items()):
        colour = PALETTE[number % len(PALETTE)]
        for panel, column, words, dash in lines:
            figure.add_trace(
                go.Scatter(
                    x=history["epoch"],
                    y=history[column],
                    name=name,
                    legendgroup=name,
                    showlegend=column == "val_loss",
                    mode="lines+markers",
                    line={"color": colour, "dash": dash},
                    marker={"size": 5},
                    hovertemplate=f"{words} %{{y:.4g}} in epoch %{{x}}<extra>{name}</extra>",
                ),
                row=1,
                col=panel,
            )
        best = history.loc[history["val_auroc"] == history["val_auroc"].max()].head(1)
        figure.add_trace(
            go.Scatter(
                x=best["epoch"],
                y=best["val_auroc"],
                legendgroup=name,
                showlegend=False,
                mode="markers",
                marker={"color": colour, "symbol": "star", "size": 14},
                hovertemplate=f"kept: epoch %{{x}}, AUROC %{{y:.3f}}<extra>{name}</extra>",
            ),
            row=1,
            col=2,
        )
    figure.update_xaxes(title="epoch", **_epochs(histories, ticks=8))
    figure.update_yaxes(title="binary cross-entropy", row=1, col=1)
    figure.update_yaxes(title="AUROC", row=1, col=2)
    figure.update_yaxes(rangemode="tozero", exponentformat="power", row=1, col=3)
    figure.update_layout(legend={"orientation": "h", "y": -0.25})
    narrow.columns(figure, 1)
    entitle(figure, "How the models learned", "Dotted: training loss. Star: the epoch kept.")
    return figure


def finding_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Validation AUROC by epoch, a panel per finding, one colour a run.

    Args:
        histories: run name -> its `history.csv`, with `val_auroc_<finding>` columns.
    """
    figure = finding_grid()
    columns = [f"val_auroc_{finding}" for finding in FINDINGS]
    values = pd.concat([history[columns] for history in histories.values()]).to_numpy(float)
    lowest = min(0.5, np.nanmin(values)) if np.isfinite(values).any() else 0.5
    for place, (finding, column) in enumerate(zip(FINDINGS, columns, strict=True)):
        where = {"row": place // 5 + 1, "col": place % 5 + 1}
        dotted = {"color": MUTED, "width": 1, "dash": "dot"}
        figure.add_hline(y=0.5, line=dotted, exclude_empty_subplots=False, **where)
        if all(history[column].isna().all() for history in histories.values()):
            figure.add_annotation(
                text="not estimable", showarrow=False, font={"color": MUTED}, x=0.5, y=0.5,
                xref="x domain", yref="y domain", **where,
            )  # fmt: skip
        for number, (name, history) in enumerate(histories.items()):
            figure.add_trace(
                go.Scatter(
                    x=history["epoch"],
                    y=history[column],
                    mode="lines",
                    legendgroup=name,
                    showlegend=False,
                    line={"color": PALETTE[number % len(PALETTE)]},
                    hovertemplate=f"{label(finding)}: AUROC %{{y:.3f}} in epoch %{{x}}"
                    f"<extra>{name}</extra>",
                ),
                **where,
            )
    figure.update_xaxes(**_epochs(histories, ticks=4))
    figure.update_yaxes(range=[lowest - 0.02, 1.02])
    outer_titles(figure, "epoch", "AUROC")
    series_legend(figure, {name: name for name in histories})
    entitle(figure, "Validation AUROC of each finding", "Dotted: 0.5, as good as guessing.")
    return figure


def _epochs(histories: Mapping[str, pd.DataFrame], *, ticks: int) -> dict:
    """An axis from the first to the last epoch of any run, with ticks at whole epochs."""
    longest = max(history["epoch"].max() for history in histories.values())
    return {"range": [0.5, longest + 0.5], "tick0": 1, "dtick": -(-longest // ticks)}


def films(pictures: np.ndarray, captions: list[str], title: str, *, columns: int = 4) -> go.Figure:
    """Films side by side.

    Args:
        pictures: (films, size, size), grey values 0 to 255.
        captions: one a film.
        title: of the figure.
        columns: films in a row.
    """
    rows = -(-len(pictures) // columns)
    figure = make_subplots(
        rows, columns, subplot_titles=captions, horizontal_spacing=0.02, vertical_spacing=0.3 / rows
    )
    for number, picture in enumerate(pictures):
        figure.add_trace(
            # A compressed picture instead of numbers keeps the notebook small.
            go.Image(source=_as_png(picture), hoverinfo="skip"),
            row=number // columns + 1,
            col=number % columns + 1,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    narrow.columns(figure, 2)
    figure.update_layout(title=title, height=90 + 240 * rows)
    return figure


def first_filters(filters: np.ndarray, title: str) -> go.Figure:
    """The filters of a first convolution layer, all on one scale.

    Args:
        filters: (filters, rows, columns), weights.
        title: of the figure.
    """
    columns = 8 if len(filters) <= 32 else 16
    rows = -(-len(filters) // columns)
    figure = make_subplots(rows, columns, horizontal_spacing=0.014, vertical_spacing=0.1 / rows)
    for number, weights in enumerate(filters):
        figure.add_trace(
            go.Heatmap(
                z=weights.round(4),
                coloraxis="coloraxis",
                hovertemplate=f"filter {number + 1}: weight %{{z:.3f}}<extra></extra>",
            ),
            row=number // columns + 1,
            col=number % columns + 1,
        )
    largest = float(np.abs(filters).max())
    figure.update_xaxes(visible=False, constrain="domain")
    figure.update_yaxes(visible=False, autorange="reversed", constrain="domain")
    for axis in figure.select_yaxes():
        # Square weights: each panel's two axes have one scale.
        axis.scaleanchor = axis.anchor
    figure.update_layout(
        height=150 + rows * (120 if columns == 8 else 64),
        coloraxis={
            "colorscale": "RdBu_r",
            "cmin": -largest,
            "cmax": largest,
            "colorbar": {"title": "weight", "thickness": 12},
        },
    )
    entitle(figure, title, "Red adds to the answer, blue takes from it.")
    return figure


def activation_maps(maps: Mapping[str, np.ndarray], title: str, *, channels: int = 8) -> go.Figure:
    """What every layer makes of a film: the channels with the most contrast, strongest first.

    Each map has its own scale: middle grey is its mean, black and white lie 2.5 standard
    deviations from it.

    Args:
        maps: layer -> (rows, columns, channels).
        title: of the figure.
        channels: maps drawn per layer, at most.
    """
    # Deep networks have more than a hundred layers: side by side, they fit a page.
    columns = 1 + (len(maps) > 8) + (len(maps) > 40)
    rows = -(-len(maps) // columns)
    strip = {1: 124, 2: 62, 3: 40}[columns]
    height = 160 + rows * (strip + 30)
    figure = make_subplots(
        rows,
        columns,
        subplot_titles=[_described(name, layer) for name, layer in maps.items()],
        horizontal_spacing=0.03,
        vertical_spacing=30 / height,
    )
    figure.update_annotations(font={"size": 11, "color": MUTED})
    for number, layer in enumerate(maps.values()):
        figure.add_trace(
            go.Image(source=_as_png(_strip(layer, channels)), hoverinfo="skip"),
            row=number // columns + 1,
            col=number % columns + 1,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    note = f"The {channels} channels of most contrast, strongest first, each on its own scale."
    entitle(figure, title, note)
    figure.update_layout(height=height, margin={"l": 10, "r": 10, "b": 10, "t": 120})
    return figure


def _described(name: str, layer: np.ndarray) -> str:
    """A layer in words: name, size of its maps, channels, and how many of them are silent."""
    rows, columns, channels = layer.shape
    silent = int((np.ptp(layer, axis=(0, 1)) == 0).sum())
    words = [name, f"{rows} x {columns}"]
    if channels > 1:
        words.append(f"{channels} channels" + (f", {silent} silent" if silent else ""))
    return " · ".join(words)


def _strip(layer: np.ndarray, channels: int) -> np.ndarray:
    """The maps of highest contrast side by side: uint8 (_CELL, width)."""
    layer = layer.astype(np.float64)
    mean, spread = layer.mean(axis=(0, 1)), layer.std(axis=(0, 1))
    # In units of standard deviations; a silent channel is grey.
    scaled = np.divide(layer - mean, spread, out=np.zeros_like(layer), where=spread > 0)
    grey = (127.5 + 51 * scaled).clip(0, 255).astype(np.uint8)
    side = _CELL + _GAP
    strip = np.full((_CELL, side * channels - _GAP), 255, dtype=np.uint8)
    for place, channel in enumerate(np.argsort(-spread, kind="stable")[:channels]):
        cell = Image.fromarray(grey[:, :, channel])
        larger = max(cell.size) > _CELL
        cell = cell.resize(
            (_CELL, _CELL), Image.Resampling.BOX if larger else Image.Resampling.NEAREST
        )
        strip[:, place * side : place * side + _CELL] = np.asarray(cell)
    return strip


def _as_png(picture: np.ndarray) -> str:
    """A film as the address of an embedded PNG."""
    return embedded(
        Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)), "PNG", optimize=True
    )
