"""Figures of where models look: films with heatmaps and boxes, hits against baselines."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.colors
import plotly.graph_objects as go
from PIL import Image, ImageDraw
from plotly.subplots import make_subplots

from cxr.figures import narrow
from cxr.figures.page import embedded
from cxr.figures.panels import (
    SYMBOLS,
    add_intervals,
    entitle,
    error_bars,
    finish_rows,
    legend_below,
    shift,
)
from cxr.figures.style import MUTED, PALETTE
from cxr.films import film_cache
from cxr.findings import label

# Side of a film in a gallery, in pixels: enough to see, small enough for a notebook.
_SIDE = 160

# Radiologists' boxes: Okabe and Ito's sky blue, seen on black lungs and on hot colours.
_BOX = "#56B4E9"


def pointing(table: pd.DataFrame, measure: str = "pointing game") -> go.Figure:
    """One measure of localisation per finding, all methods side by side.

    Args:
        table: as `localisation.summarise` returns it.
        measure: one of its measures.
    """
    table = table[table["measure"] == measure]
    if table["value"].isna().all():
        return _without_boxes("Too few patients have boxes." if len(table) else "")
    sizes = table.drop_duplicates("finding").set_index("finding")["cases"]
    rows = ["All", *sizes.drop("All").sort_values().index]
    # Of one finding alone all are the same.
    rows = rows[1:] if len(rows) == 2 else rows
    methods = table["method"].unique()
    figure = go.Figure()
    for place, method in enumerate(methods):
        part = table[table["method"] == method].set_index("finding").loc[rows]
        values = part[["value", "low", "high"]].to_numpy(float)
        y = np.arange(len(rows)) - shift(place, len(methods))
        add_intervals(figure, method, values, y, place)
    names = [
        f"{'<b>All</b>' if finding == 'All' else label(finding)} ({sizes[finding]:,})"
        for finding in rows
    ]
    finish_rows(figure, names, height=42)
    legend_below(figure)
    figure.update_xaxes(title=f"share of boxed findings: {measure}", range=[-0.02, 1.02])
    entitle(figure, "Does the heatmap's maximum lie in the radiologist's box?")
    return figure


def overlap_curves(table: pd.DataFrame) -> go.Figure:
    """Share of boxed findings found, by the overlap asked for: IoBB and IoU, all findings.

    Args:
        table: as `localisation.summarise` returns it.
    """
    kinds = ("IoBB", "IoU")
    figure = make_subplots(1, 2, subplot_titles=[f"T({kind})" for kind in kinds])
    everything = table[table["finding"] == "All"]
    if everything.empty:
        return _without_boxes()
    for place, method in enumerate(everything["method"].unique()):
        for column, kind in enumerate(kinds, start=1):
            part = everything[
                (everything["method"] == method)
                & everything["measure"].str.startswith(f"{kind} >= ")
            ]
            figure.add_trace(
                go.Scatter(
                    x=part["measure"].str.split(" >= ").str[1].astype(float),
                    y=part["value"],
                    mode="lines+markers",
                    name=method,
                    legendgroup=method,
                    showlegend=column == 1,
                    line={"color": PALETTE[place % 7]},
                    marker={"symbol": SYMBOLS[place % 7], "size": 8},
                    error_y=error_bars(part["value"], part["low"], part["high"]),
                    hovertemplate=f"{kind} of %{{x}} or more: %{{y:.3f}}<extra>{method}</extra>",
                ),
                row=1,
                col=column,
            )
    figure.update_xaxes(title="overlap asked for", range=[0, 1])
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title="share of boxed findings", col=1)
    figure.update_layout(legend={"orientation": "h", "y": -0.24, "x": 0})
    narrow.columns(figure, 1)
    entitle(figure, "Do boxes around the heatmap meet the radiologist's?")
    return figure


def gallery(
    files: Sequence[Path],
    captions: Sequence[str],
    title: str,
    *,
    heatmaps: np.ndarray | None = None,
    boxes: Sequence[np.ndarray] | None = None,
    columns: int = 6,
    note: str = "",
) -> go.Figure:
    """Films with captions, their heatmaps laid over them, and drawn boxes.

    Args:
        files: the films'; drawn sharper than a small network sees them.
        captions: one a film; `<br>` breaks lines.
        title: of the figure.
        heatmaps: float (films, rows, columns), 0 to 1.
        boxes: per film float (n, 4): x, y, width, height in pixels of the 1024-px film.
        columns: films in a row.
        note: stands under the title, such as that the films are phantoms.
    """
    rows = max(1, -(-len(files) // columns))
    figure = make_subplots(
        rows, columns, subplot_titles=list(captions), horizontal_spacing=0.01,
        vertical_spacing=0.3 / rows,
    )  # fmt: skip
    figure.update_annotations(font={"size": 12})
    for place, file in enumerate(files):
        where = {"row": place // columns + 1, "col": place % columns + 1}
        heatmap = None if heatmaps is None else heatmaps[place]
        painted = embedded(_painted(file, heatmap, _SIDE), "JPEG", quality=70)
        figure.add_trace(go.Image(source=painted, hoverinfo="skip"), **where)
        for x, y, width, height in () if boxes is None else boxes[place]:
            corners = np.array([x, y, x + width, y + height]) * _SIDE / 1024
            figure.add_shape(
                type="rect",
                **dict(zip(("x0", "y0", "x1", "y1"), corners, strict=True)),
                line={"color": _BOX, "width": 2},
                **where,
            )
    if not len(files):
        figure.add_annotation(
            text="no such film", showarrow=False, font={"color": MUTED}, x=0.5, y=0.5,
            xref="paper", yref="paper",
        )  # fmt: skip
    figure.update_xaxes(visible=False, range=[-0.5, _SIDE - 0.5])
    figure.update_yaxes(visible=False, range=[_SIDE - 0.5, -0.5])
    figure.update_layout(height=140 + 245 * rows)
    narrow.columns(figure, 2)
    entitle(figure, title, note)
    figure.update_layout(margin={"l": 10, "r": 10, "b": 10, "t": 150})
    return figure


def _without_boxes(why: str = "") -> go.Figure:
    """What stands in for a figure of localisation where it cannot be judged."""
    figure = go.Figure()
    figure.add_annotation(
        text=why or "No test film has boxes.",
        showarrow=False,
        font={"color": MUTED, "size": 14},
    )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    entitle(figure, "Localisation")
    figure.update_layout(height=200)
    return figure


def still(file: Path, heatmap: np.ndarray, boxes: np.ndarray, *, side: int = 320) -> Image.Image:
    """A film with its heatmap and its drawn boxes as one picture, RGB, `side` pixels square.

    Args:
        heatmap: float (rows, columns), 0 to 1.
        boxes: float (n, 4): x, y, width, height in pixels of the 1024-px film.
    """
    picture = _painted(file, heatmap, side).convert("RGB")
    pen = ImageDraw.Draw(picture)
    for x, y, width, height in boxes * side / 1024:
        pen.rectangle([x, y, x + width, y + height], outline=_BOX, width=max(2, side // 100))
    return picture


def _painted(file: Path, heatmap: np.ndarray | None, side: int) -> Image.Image:
    """A film, `side` pixels square, with its heatmap blended in."""
    with Image.open(file) as film:
        read = min(side, *film.size)
    picture = film_cache.read_film(file, read)
    grey = Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR)
    if heatmap is not None:
        spread = Image.fromarray(heatmap.astype(np.float32))
        heat = np.asarray(spread.resize((side, side), Image.Resampling.BILINEAR)).clip(0, 1)
        shade = np.asarray(grey, dtype=np.float32)[..., None]
        # The hotter, the less of the film shows through; what is cold stays as it is.
        colours = _INFERNO[(heat * 255).astype(np.uint8)]
        weight = 0.6 * heat[..., None]
        grey = Image.fromarray((shade * (1 - weight) + colours * weight).astype(np.uint8))
    return grey


# Plotly's Inferno as 256 colours, float (256, 3), 0 to 255.
_INFERNO = np.array(
    [
        plotly.colors.unlabel_rgb(colour)
        for colour in plotly.colors.sample_colorscale("Inferno", np.linspace(0, 1, 256).tolist())
    ]
)
