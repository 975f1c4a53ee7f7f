"""Figures of the training: what models saw and how they learned."""

import base64
import io
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from cxr.figures.style import FINDING_COLOURS, FINDING_DASHES, PALETTE, label
from cxr.findings import FINDINGS


def learning_curves(histories: Mapping[str, pd.DataFrame]) -> go.Figure:
    """Loss, mean validation AUROC and learning rate by epoch, one colour a run.

    Args:
        histories: run name -> its `history.csv`.
    """
    panels = ("Loss", "Mean validation AUROC", "Learning rate at the epoch's start")
    figure = make_subplots(1, 3, subplot_titles=panels, horizontal_spacing=0.08)
    for number, (name, history) in enumerate(histories.items()):
        colour = PALETTE[number % len(PALETTE)]
        lines = (
            (1, "loss", "training loss", "dot"),
            (1, "val_loss", "validation loss", "solid"),
            (2, "val_auroc", "mean validation AUROC", "solid"),
            (3, "learning_rate", "learning rate", "solid"),
        )
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
                    hovertemplate=f"{words} %{{y:.4g}} in epoch %{{x}}<extra>{name}</extra>",
                ),
                row=1,
                col=panel,
            )
    figure.update_xaxes(title="Epoch", dtick=2)
    figure.update_yaxes(title="Binary cross-entropy (dotted: training)", row=1, col=1)
    figure.update_yaxes(title="AUROC", row=1, col=2)
    figure.update_layout(title="How the models learned", legend={"orientation": "h", "y": -0.2})
    return figure


def finding_curves(history: pd.DataFrame, name: str) -> go.Figure:
    """Validation AUROC of every finding by epoch, for one run.

    Args:
        history: a run's `history.csv`, with `val_auroc_<finding>` columns.
        name: the run's name.
    """
    figure = go.Figure()
    for finding in FINDINGS:
        values = history[f"val_auroc_{finding}"]
        if values.isna().all():
            continue
        figure.add_trace(
            go.Scatter(
                x=history["epoch"],
                y=values,
                name=label(finding),
                line={"color": FINDING_COLOURS[finding], "dash": FINDING_DASHES[finding]},
                hovertemplate=f"{label(finding)}: AUROC %{{y:.3f}} in epoch %{{x}}<extra></extra>",
            )
        )
    figure.update_layout(
        title=f"Validation AUROC of each finding: {name}",
        xaxis={"title": "Epoch", "dtick": 2},
        yaxis={"title": "Validation AUROC"},
    )
    return figure


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
    figure.update_layout(title=title, height=90 + 240 * rows)
    return figure


def _as_png(picture: np.ndarray) -> str:
    """A film as the address of an embedded PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
