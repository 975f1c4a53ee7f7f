"""Figures of the training show every run, every finding and every layer."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr import figures
from cxr.findings import FINDINGS


def history(epochs, *, best, seed):
    """A run's history: its AUROC is highest in epoch `best`; no film shows Hernia."""
    random = np.random.default_rng(seed)
    number = np.arange(1, epochs + 1)
    frame = pd.DataFrame(
        {
            "epoch": number,
            "loss": 1 / number,
            "val_loss": 1.2 / number,
            "val_auroc": 0.8 - 0.01 * np.abs(number - best),
            "learning_rate": 0.001 / number,
            "seconds": 1.0,
            # A column that a later version may write changes nothing.
            "something_new": "x",
        }
    )
    for finding in FINDINGS:
        frame[f"val_auroc_{finding}"] = random.uniform(0.4, 0.9, epochs)
    return frame.assign(val_auroc_Hernia=np.nan)


@pytest.fixture
def histories():
    return {"small": history(5, best=3, seed=0), "large": history(9, best=9, seed=1)}


def texts(figure):
    return " ".join(
        [str(annotation.text) for annotation in figure.layout.annotations]
        + [str(figure.layout.title.text), str(figure.layout.title.subtitle.text)]
    )


def test_learning_curves_of_all_runs_share_panels_and_mark_the_epoch_kept(histories):
    figure = figures.learning_curves(histories)
    assert len(figure.data) == 2 * (4 + 1)
    kept = [trace for trace in figure.data if trace.marker.symbol == "star"]
    assert [(trace.x[0], trace.legendgroup) for trace in kept] == [(3, "small"), (9, "large")]
    colours = {trace.legendgroup: trace.line.color for trace in figure.data if trace.line.color}
    assert len(set(colours.values())) == 2
    assert "not a medical device" in texts(figure)


def test_a_run_without_estimable_findings_has_curves_but_no_kept_epoch():
    figure = figures.learning_curves({"run": history(3, best=2, seed=0).assign(val_auroc=np.nan)})
    (kept,) = [trace for trace in figure.data if trace.marker.symbol == "star"]
    assert len(kept.x) == 0


def test_each_finding_has_a_panel_in_which_the_runs_are_compared(histories):
    figure = figures.finding_curves(histories)
    panels = {}
    for trace in figure.data:
        if trace.x[0] is not None:
            panels.setdefault(trace.xaxis, []).append(trace)
    assert len(panels) == len(FINDINGS)
    for finding, traces in zip(FINDINGS, panels.values(), strict=True):
        assert [trace.legendgroup for trace in traces] == ["small", "large"]
        for trace, run in zip(traces, histories.values(), strict=True):
            np.testing.assert_array_equal(trace.y, run[f"val_auroc_{finding}"])
    guessing = [line for line in figure.layout.shapes if line.y0 == line.y1 == 0.5]
    assert len(guessing) == len(FINDINGS)
    assert texts(figure).count("not estimable") == 1
    assert "not a medical device" in texts(figure)


def picture_of(trace):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(trace.source.split(",")[1]))))


def test_activation_maps_show_the_channels_of_most_contrast_first():
    maps = {
        "film": np.arange(64.0).reshape(8, 8, 1),
        # Channel 0 is silent, 1 varies a little, 2 much and the other way round.
        "conv": np.stack([np.ones((8, 8)), np.eye(8), -9 * np.eye(8)], axis=2),
    }
    figure = figures.activation_maps(maps, "One film", channels=2)
    assert "film · 8 x 8" in texts(figure)
    assert "conv · 8 x 8 · 3 channels, 1 silent" in texts(figure)
    film, conv = (picture_of(trace) for trace in figure.data)
    assert film.shape == conv.shape == (40, 82)
    assert (film[:, 42:] == 255).all()  # one channel, and white where a second would be
    strongest, weaker = conv[:, :40], conv[:, 42:]
    assert strongest[0, 0] == 0 and strongest[0, 39] > 127
    assert weaker[0, 0] == 255 and weaker[0, 39] < 127


def test_a_network_of_a_hundred_layers_stays_a_small_page():
    random = np.random.default_rng(0)
    maps = {f"layer{n}": random.normal(size=(16, 16, 32)) for n in range(121)}
    figure = figures.activation_maps(maps, "One film")
    assert len(figure.data) == 121
    assert figure.layout.height < 3500
    assert len(figure.to_json()) < 1_000_000


def test_filters_share_one_scale_around_zero():
    filters = np.zeros((10, 3, 3))
    filters[7, 1, 1] = -0.5
    figure = figures.first_filters(filters, "Filters")
    assert len(figure.data) == 10
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-0.5, 0.5)


def test_films_stand_in_rows_with_their_captions():
    pictures = np.stack([np.full((8, 8), 30.0 * n) for n in range(6)])
    figure = figures.films(pictures, [f"film {n}" for n in range(6)], "Films", columns=4)
    assert [picture_of(trace)[0, 0] for trace in figure.data] == [0, 30, 60, 90, 120, 150]
    assert figure.layout.annotations[5].text == "film 5"
