"""What a phone shows: fewer columns, letters as large as before."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from cxr import figures
from cxr.figures import narrow
from cxr.figures.style import PALETTE, PAPER, contrast, readable
from cxr.findings import FINDINGS


def histories():
    columns = {f"val_auroc_{finding}": [0.5, 0.7] for finding in FINDINGS}
    return {"m": pd.DataFrame({"epoch": [1, 2], **columns})}


def test_a_grid_of_fourteen_takes_two_columns_that_do_not_meet():
    figure = figures.finding_curves(histories())
    changes = narrow.reflowed(figure)
    x = [changes[f"xaxis{n or ''}.domain"] for n in ("", *range(2, 15))]
    y = [changes[f"yaxis{n or ''}.domain"] for n in ("", *range(2, 15))]
    assert {tuple(d) for d in x[::2]} == {tuple(x[0])} and x[0][1] < x[1][0]
    assert all(upper[0] > lower[1] for upper, lower in zip(y[::2], y[2::2], strict=False))
    assert all(0 <= low < high <= 1 for low, high in y)
    # Each panel's name goes with it: the second of 14 stands at the right.
    assert changes["annotations[1].x"] == pytest.approx(sum(x[1]) / 2, abs=1e-3)
    assert changes["annotations[2].y"] == pytest.approx(y[2][1])
    assert changes["yaxis3.showticklabels"] and not changes["yaxis4.showticklabels"]


def test_every_axis_title_has_room_above_the_next_panels_name():
    columns = ("epoch", "loss", "val_loss", "val_auroc", "learning_rate")
    history = pd.DataFrame({name: [1.0, 2.0] for name in columns})
    changes = narrow.reflowed(figures.learning_curves({"m": history}))
    plot = changes["height"] - changes["margin"]["t"] - changes["margin"]["b"]
    gap = (changes["yaxis.domain"][0] - changes["yaxis2.domain"][1]) * plot
    assert changes["xaxis.title.text"] == "epoch" and gap >= 65
    # The learning rate is no cross-entropy.
    assert changes["yaxis.title.text"] == "binary cross-entropy"
    assert changes["yaxis3.title.text"] == ""


def test_a_panel_without_a_curve_takes_its_place_among_the_others():
    curve = pd.DataFrame({"sensitivity": [0, 1], "precision": [1, 0.1], "threshold": 0.5})
    curves = pd.concat([curve.assign(finding=finding) for finding in FINDINGS[:13]])
    auprc = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auprc": 0.2, "low": 0.1, "high": 0.3})
    auprc["prevalence"] = 0.1
    figure = figures.precision_recall_grid({"m": curves}, {"m": auprc})
    changes = narrow.reflowed(figure)
    assert FINDINGS[13] == "Hernia"
    assert changes["xaxis14.domain"] == changes["xaxis12.domain"]
    assert changes["yaxis14.domain"] == changes["yaxis13.domain"]


def rows(*names):
    table = pd.DataFrame({"finding": [*names, "Mean"], "auroc": 0.7, "low": 0.6, "high": 0.8})
    return figures.ranked({"m": table}, title="AUROC", axis="AUROC", reference=0.5)


def test_rows_stand_whole_on_a_phone_unless_their_names_would_take_its_width():
    changes = narrow.reflowed(rows("Mass", "Pleural_Thickening"))
    assert changes["xaxis.domain"] == [0, 1]
    # Three rows of 30 pixels.
    plot = changes["height"] - changes["margin"]["t"] - changes["margin"]["b"]
    assert np.ptp(changes["yaxis.domain"]) * plot == pytest.approx(90, abs=1)
    assert narrow.reflowed(rows("Mass", "as it was read by three radiologists")) is None


def test_what_is_no_grid_keeps_its_layout():
    assert narrow.reflowed(go.Figure(go.Bar(x=[1], y=[1]), {"title": "One"})) is None


def test_pictures_stand_side_by_side_as_squares():
    pictures = np.zeros((8, 4, 4))
    changes = narrow.reflowed(figures.films(pictures, ["a"] * 8, "Films"))
    plot = changes["height"] - changes["margin"]["t"] - changes["margin"]["b"]
    high = np.ptp(changes["yaxis.domain"]) * plot
    wide = np.ptp(changes["xaxis.domain"]) * (narrow.WIDTH - 20)
    assert high == pytest.approx(wide, rel=0.1)


def test_long_titles_break_into_lines():
    figure = figures.films(np.zeros((1, 4, 4)), ["a"], "One training film " * 4)
    changes = narrow.reflowed(figure)
    assert changes["title.text"].count("<br>") == 1
    assert changes["margin"]["t"] > narrow.reflowed(figures.films(
        np.zeros((1, 4, 4)), ["a"], "One"))["margin"]["t"]  # fmt: skip


@pytest.mark.parametrize("colour", PALETTE)
def test_text_in_a_series_colour_can_be_read(colour):
    # Black on white is 21; the palette's orange alone would be 3.9.
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#D55E00", "#ffffff") == pytest.approx(3.87, abs=0.01)
    assert contrast(readable(colour), PAPER) >= 4.5
