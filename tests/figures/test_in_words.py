"""What a figure's text says to who cannot see it: what it shows, and what it finds."""

import json

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest

from cxr import config, figures
from cxr.figures import in_words
from cxr.figures.display import PLOTLY_TYPE
from cxr.findings import FINDINGS
from cxr.publish import notebooks

COMMITTED = [config.PROJECT / name for name in notebooks.STAGES.values()]


def ranked(**auroc):
    frame = pd.DataFrame({"finding": [*auroc], "auroc": [*auroc.values()]})
    frame = frame.assign(low=frame["auroc"] - 0.1, high=frame["auroc"] + 0.1)
    return figures.ranked({"m": frame}, title="AUROC by finding", axis="AUROC", reference=0.5)


def test_the_best_and_the_worst_finding_are_named_with_their_values():
    figure = ranked(Mass=0.75, Nodule=0.55, Hernia=np.nan, Mean=0.65)
    assert in_words.found(figure) == "m: highest Mass: 0.75, lowest Nodule: 0.55"
    assert in_words.described(figure).startswith("AUROC by finding. Note: Research software")


def test_what_plotly_wrote_into_a_notebook_says_the_same():
    # Numbers lie there as bytes of a named type.
    figure = ranked(Mass=0.75, Nodule=0.55, Mean=0.65)
    again = go.Figure(json.loads(figure.to_json()))
    assert "bdata" in figure.to_json()
    assert in_words.found(again) == in_words.found(figure)


def test_of_a_table_in_colours_the_extreme_cells_are_named_as_they_are_written():
    records = pd.DataFrame(0, index=range(12), columns=list(FINDINGS))
    # Three films of twelve show both: 3 against an expected 3 * 3 / 12; a Mass is on four, one
    # of them with an Edema, as chance has it, and in two with a Pneumonia.
    records.loc[0:2, ["Edema", "Pneumonia"]] = 1
    records.loc[3, "Pneumonia"] = 1
    records.loc[[2, 3, 4, 5], "Mass"] = 1
    assert in_words.found(figures.cooccurrence(records)) == (
        "highest Pneumonia and Edema: 3.0, lowest Mass and Edema: 1.0"
    )


def test_of_a_grid_the_numbers_in_its_panels_are_told():
    curve = pd.DataFrame({"false_positive_rate": [0, 1], "sensitivity": [0, 1], "threshold": 0.5})
    auroc = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": np.linspace(0.5, 0.78, 15)})
    auroc = auroc.assign(low=0.4, high=0.9)
    curves = pd.concat([curve.assign(finding=finding) for finding in FINDINGS])
    assert in_words.found(figures.roc_grid({"m": curves}, {"m": auroc})) == (
        "m: mean 0.780: highest Hernia: 0.76, lowest Atelectasis: 0.5"
    )


def test_where_the_first_model_lacks_a_finding_no_other_speaks_for_it():
    curve = pd.DataFrame({"false_positive_rate": [0, 1], "sensitivity": [0, 1], "threshold": 0.5})
    auroc = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": np.linspace(0.5, 0.78, 15)})
    auroc = auroc.assign(low=0.4, high=0.9)
    whole = pd.concat([curve.assign(finding=finding) for finding in FINDINGS])
    some = auroc.assign(auroc=auroc["auroc"].where(auroc["finding"] != "Hernia"))
    figure = figures.roc_grid(
        {"a": whole[whole["finding"] != "Hernia"], "b": whole}, {"a": some, "b": auroc}
    )
    assert in_words.found(figure) == (
        "a: mean 0.780: highest Pleural thickening: 0.74, lowest Atelectasis: 0.5"
    )


def test_the_numbers_in_the_cells_are_ranked_whatever_their_colours_mean():
    figure = go.Figure(
        go.Heatmap(z=[[4.0, 1.0]], x=["late", "first"], y=["Edema"], text=[["9.5 %", "69.5 %"]]),
        layout={"title": "Prevalence"},
    )
    assert in_words.found(figure) == (
        "highest Edema and first: 69.5 %, lowest Edema and late: 9.5 %"
    )
    sizes = go.Figure(
        go.Heatmap(z=[[3.0, np.nan]], x=[2550, 2600], y=[2050]),
        layout={"title": "Sizes", "xaxis_title": "width", "yaxis_title": "height"},
    )
    sizes.data[0].customdata = sizes.data[0].z
    assert in_words.found(sizes).startswith("highest width 2,550 and height 2,050: 3")


def test_of_films_the_captions_are_counted():
    pictures = np.zeros((3, 4, 4))
    captions = ["hit<br>0.9", "hit<br>0.8", "miss<br>0.1"]
    assert in_words.found(figures.films(pictures, captions, "Films")) == "2 hit, 1 miss"


def test_a_figure_without_numbers_says_why():
    figure = go.Figure(layout={"title": "Localisation"})
    figure.add_annotation(text="No test film has boxes.", showarrow=False)
    assert in_words.found(figure) == "No test film has boxes."


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_figure_of_a_notebook_tells_a_finding(path):
    for cell in nbformat.read(path, as_version=4).cells:
        for output in notebooks.figures_of(cell):
            figure = go.Figure(output.data[PLOTLY_TYPE])
            said = in_words.found(figure)
            assert any(letter.isdigit() for letter in said) or "too few patients" in said
            # Not the title once more.
            assert said not in in_words.spoken(figure)
