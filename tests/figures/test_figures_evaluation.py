"""Figures of the evaluation show what their frames hold, and say what they cannot show."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr import figures
from cxr.evaluation import (
    calibration,
    comparison,
    localisation,
    radiologists,
    ranking,
    subgroups,
    thresholding,
)
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS, label


@pytest.fixture(scope="module")
def films():
    random = np.random.default_rng(0)
    number = 300
    targets = pd.DataFrame(random.random((number, 14)) < 0.3, columns=list(FINDINGS))
    targets["Hernia"] = False
    records = pd.DataFrame(
        {
            "patient_id": np.repeat(range(number // 3), 3),
            "sex": random.choice(["F", "M"], size=number),
            "age": pd.array(random.integers(20, 70, size=number), dtype="Int16"),
            "view": random.choice(["AP", "PA"], size=number),
            "follow_up": np.tile([0, 1, 2], number // 3),
        }
    )
    return pd.concat([records, targets.astype(np.int8)], axis=1)


@pytest.fixture(scope="module")
def scores(films):
    random = np.random.default_rng(1)
    return {
        name: pd.DataFrame(
            1 / (1 + np.exp(1 - skill * films[[*FINDINGS]] - random.normal(size=(300, 14)))),
            columns=list(FINDINGS),
        )
        for name, skill in (("small", 0.5), ("large", 2.0))
    }


@pytest.fixture(scope="module")
def judged(films, scores):
    return {name: Judged.of(films, frame) for name, frame in scores.items()}


@pytest.fixture(scope="module")
def auroc(judged):
    return {name: ranking.auroc_by_finding(one) for name, one in judged.items()}


def texts(figure):
    return " ".join(
        [str(annotation.text) for annotation in figure.layout.annotations]
        + [str(figure.layout.title.text), str(figure.layout.title.subtitle.text)]
    )


def test_the_roc_grid_has_a_curve_per_model_and_finding_and_its_auroc(judged, auroc):
    curves = {name: ranking.roc_curves(one) for name, one in judged.items()}
    figure = figures.roc_grid(curves, auroc)
    drawn = [trace for trace in figure.data if trace.legendgroup and trace.x[0] is not None]
    assert len(drawn) == 2 * 13
    value = auroc["large"].set_index("finding").loc["Mass", "auroc"]
    assert f"{value:.3f}" in texts(figure)
    assert "too few patients" in texts(figure) and "not a medical device" in texts(figure)


def test_no_curve_can_reach_the_numbers_of_its_panel(judged, auroc):
    curves = {name: ranking.roc_curves(one) for name, one in judged.items()}
    figure = figures.roc_grid(curves, auroc)
    low, high = figure.layout.yaxis.range
    numbers = [note for note in figure.layout.annotations if note.xref == "x2"]
    assert [note.yanchor for note in numbers] == ["bottom"] and numbers[0].y == low
    # Two lines of 12 px below 0, in a panel of 0.267 of the height between the margins.
    panel = 0.267 * (figure.layout.height - 150)
    assert -low / (high - low) * panel > 2 * 1.3 * 12
    alone = figures.roc_grid(curves, auroc, intervals=False)
    assert -alone.layout.yaxis.range[0] < -low and "–" not in alone.layout.annotations[-2].text


def test_precision_recall_starts_at_reachable_points(judged):
    curves = {name: ranking.precision_recall_curves(one) for name, one in judged.items()}
    tables = {name: ranking.auprc_by_finding(one) for name, one in judged.items()}
    figure = figures.precision_recall_grid(curves, tables)
    assert len([t for t in figure.data if t.legendgroup and t.x[0] is not None]) == 2 * 13


def test_ranked_puts_the_best_finding_on_top_and_names_the_unknown(auroc):
    figure = figures.ranked(auroc, title="AUROC", axis="AUROC", reference=0.5)
    order = [text.split(" (")[0] for text in figure.layout.yaxis.ticktext]
    means = sum(table.set_index("finding")["auroc"] for table in auroc.values()) / 2
    assert order[-1] == label(means.drop("Mean").idxmax())
    assert order[0] == "<b>Mean of 13</b>"
    assert "too few patients" in texts(figure)
    for trace in figure.data:
        assert len(trace.x) == len(trace.y) == len(order)


def test_predicted_versus_actual_shows_rates_and_means(films, judged):
    tables = {n: ranking.predicted_versus_actual(one) for n, one in judged.items()}
    figure = figures.predicted_versus_actual(tables)
    labelled, *models = figure.data
    assert sorted(labelled.x) == pytest.approx(sorted(100 * films[[*FINDINGS]].mean()))
    assert [trace.name for trace in models] == ["mean score, small", "mean score, large"]


def test_differences_mark_what_survives_the_correction(judged):
    table = comparison.between(judged)
    figure = figures.differences(table)
    clear, unclear = figure.data
    assert "too few patients" in texts(figure)
    assert len(clear.x) == (table["p_corrected"] < 0.05).sum()
    assert len(clear.x) + len(unclear.x) == len(table)


def test_published_results_on_other_films_are_grey(auroc):
    table = comparison.published(auroc, split="patient")
    figure = figures.published(table)
    assert [trace.name for trace in figure.data] == ["judged here", "published, other test films"]
    grey = figure.data[1]
    assert len(grey.x) == (~table["ours"]).sum() and grey.marker.color == "#9aa5b1"


def test_subgroup_gaps_leave_out_the_reference(films, judged):
    thresholds = thresholding.choose(judged["large"]).query("rule == 'Youden'")
    table = subgroups.evaluate(judged["large"], films, thresholds)
    figure = figures.subgroup_gaps({"large": table})
    groups = table[["attribute", "group"]].drop_duplicates()
    attributes = groups["attribute"].nunique()
    assert len(figure.layout.yaxis.ticktext) == len(groups) - attributes


def test_the_ladder_shows_every_model_beside_the_controls(auroc):
    """A model below its control must be seen, whichever model is best."""
    guess = auroc["small"].assign(auroc=0.5, low=0.4, high=0.6)
    tables = {
        name: pd.concat({name: table, "view, age and sex": guess}, names=["scored_by"]).reset_index(
            "scored_by"
        )
        for name, table in auroc.items()
    }
    figure = figures.ladder(tables)
    assert [trace.name for trace in figure.data] == ["small", "large", "view, age and sex"]


def test_calibration_figures_draw_each_finding_with_enough_patients(judged):
    films = judged["large"]
    figure = figures.reliability_grid({"as predicted": calibration.reliability(films)}, "large")
    assert len([t for t in figure.data if t.mode == "lines+markers"]) == 14
    table = thresholding.apply(films, thresholding.choose(films))
    figure = figures.operating_points(table, "large")
    assert len(figure.data) == 3 * 3
    assert "Hernia (no threshold)" in figure.layout.yaxis.ticktext
    figure = figures.decision_grid({"large": thresholding.net_benefit(films)})
    assert len([t for t in figure.data if t.legendgroup == "large" and t.x[0] is not None]) == 13


def test_an_empty_chart_of_rates_keeps_to_shares_that_exist():
    table = pd.DataFrame({"label": ["Mass", "Edema"], "dx": 0.0, "pdx": float("nan")})
    axis = figures.predicted_versus_actual({"small": table}).layout.xaxis
    assert axis.type == "linear" and tuple(axis.range) == (0, 1)


def test_adjudicated_draws_both_references(films, scores):
    index = pd.Index([f"{n}.png" for n in range(len(films))])
    seen = (films["Mass"] == 1).to_numpy()
    agreed = pd.DataFrame({"film": index} | dict.fromkeys(radiologists.MAPPING, seen))
    by_film = Judged.of(films.set_index(index), scores["large"].set_index(index))
    table = radiologists.evaluate_adjudicated(agreed, by_film)
    figure = figures.adjudicated({"large": table})
    assert figure.layout.legend.yref == "container" and figure.layout.legend.yanchor == "bottom"
    names = [trace.name for trace in figure.data]
    assert names == ["large, against radiologists", "large, against text mining"]


def test_localisation_figures_say_when_there_are_no_boxes():
    empty = localisation.summarise({"method": localisation.judge([], [])})
    for draw in (figures.pointing, figures.overlap_curves):
        assert "No test film has boxes" in texts(draw(empty))


@pytest.mark.parametrize(
    ("findings", "rows"), [(["Mass"], ["Mass (2)"]), (["Mass", "Edema"], ["<b>All</b> (4)", *"ab"])]
)
def test_of_one_finding_alone_all_is_not_drawn_a_second_time(findings, rows):
    box = np.array([[0, 0, 512, 512.0]])
    cases = [
        localisation.Case(f"{finding}{n}.png", n, finding, box)
        for finding in findings
        for n in range(2)
    ]
    table = localisation.summarise({"it": localisation.judge(cases, localisation.centre(cases))})
    told = figures.pointing(table.assign(value=0.5, low=0.2, high=0.8)).layout.yaxis.ticktext
    assert len(told) == len(rows) and told[0] == rows[0]


def test_the_gallery_draws_films_boxes_and_says_synthetic(tmp_path):
    paths = []
    for number in range(3):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((200, 200), 60 * number, dtype=np.uint8)).save(paths[-1])
    figure = figures.gallery(
        paths,
        ["hit", "miss", "false alarm"],
        "Mass",
        heatmaps=np.ones((3, 4, 4)),
        boxes=[np.array([[0, 0, 512, 1024.0]]), np.empty((0, 4)), np.empty((0, 4))],
        note="The films are synthetic phantoms.",
    )
    assert len(figure.data) == 3
    (box,) = figure.layout.shapes
    assert (box.x1, box.y1) == (80, 160)  # half of the film's width, all of its height
    assert "synthetic phantoms" in texts(figure)


def test_an_empty_gallery_says_so():
    assert "no such film" in texts(figures.gallery([], [], "Mass"))


def test_a_saved_figure_needs_no_network_and_shares_the_library(tmp_path, auroc):
    figure = figures.ranked(auroc, title="AUROC", axis="AUROC")
    for name in ("one", "two"):
        assert figures.save(figure, tmp_path / f"{name}.html") is figure
    page = (tmp_path / "one.html").read_text()
    assert "plotly.min.js" in page and "cdn.plot.ly" not in page
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000
    assert (tmp_path / "two.html").stat().st_size < 100_000
