import numpy as np
import pandas as pd
import pytest
from made_up import people

from cxr import figures
from cxr.evaluation import controls
from cxr.figures import records as drawn
from cxr.findings import FINDINGS, label
from cxr.records import split_checks, splits


@pytest.fixture(scope="module")
def frame():
    return people([1] * 40 + [2] * 20 + [7] * 3)


@pytest.fixture(scope="module")
def made(frame):
    return splits.make_splits(frame, min_combination=0)[0]


def of_records():
    return [
        drawn.alone_and_combined,
        drawn.cooccurrence,
        drawn.films_per_patient,
        drawn.follow_up,
        drawn.age_by_finding,
        drawn.view_by_finding,
        drawn.film_sizes,
    ]


def by_name(trace, values):
    """What a trace shows, by the label beside it."""
    return dict(zip(trace.y, values, strict=True))


@pytest.mark.parametrize("figure", of_records(), ids=lambda f: f.__name__)
@pytest.mark.parametrize("films", [1, 2, 5, 100])
def test_a_figure_can_be_drawn_of_any_number_of_films(frame, figure, films):
    # Warnings are errors: no mean of nothing, no division by 0.
    drawing = figure(frame.head(films))
    assert drawing.layout.title.text
    assert len(drawing.data) > 0


def test_every_figure_of_the_module_is_exported():
    public = {name for name, value in vars(drawn).items() if callable(value)}
    public = {name for name in public if getattr(drawn, name).__module__ == "cxr.figures.records"}
    public = {name for name in public if not name.startswith("_")}
    assert public <= set(figures.__all__)


def test_each_bar_stands_beside_its_own_finding(frame):
    # The original's chart paired sorted labels with unsorted values.
    alone, others = drawn.alone_and_combined(frame).data
    single = frame[list(FINDINGS)].sum(axis=1) == 1
    for finding in FINDINGS:
        name = label(finding)
        films = frame[finding].sum()
        assert by_name(alone, alone.x)[name] == (single & (frame[finding] == 1)).sum()
        assert by_name(alone, alone.x)[name] + by_name(others, others.x)[name] == films


def test_lift_is_1_for_findings_that_ignore_each_other():
    # Mass on half of the films, Nodule on half of these and half of the others.
    frame = people([1] * 4)
    frame[list(FINDINGS)] = 0
    frame["Mass"], frame["Nodule"], frame["Hernia"] = [1, 1, 0, 0], [1, 0, 1, 0], [1, 1, 0, 0]
    heat = drawn.cooccurrence(frame).data[0]
    place = {finding: number for number, finding in enumerate(FINDINGS)}
    text = np.array(heat.text)
    assert text[place["Mass"], place["Nodule"]] == "1.0"
    assert text[place["Mass"], place["Hernia"]] == "2.0"
    assert text[place["Nodule"], place["Nodule"]] == ""


def test_films_per_patient_adds_up_to_everything(frame):
    for trace in drawn.films_per_patient(frame).data:
        assert sum(trace.y) == pytest.approx(100, abs=0.1)
    patients, films = drawn.films_per_patient(frame).data
    # 40, 20 and 3 patients with one, two and seven films.
    assert list(patients.customdata)[:2] == [40, 20] and list(patients.customdata)[4] == 3
    assert list(films.customdata)[:2] == [40, 40] and list(films.customdata)[4] == 21


def test_the_share_of_ap_views_is_of_the_findings_own_films(frame):
    bars = drawn.view_by_finding(frame).data[0]
    ap = frame["view"] == "AP"
    expected = 100 * ap[frame["Mass"] == 1].mean()
    assert by_name(bars, bars.x)["Mass"] == pytest.approx(expected, abs=0.01)


def test_every_film_is_in_the_chart_of_sizes(frame):
    sizes = frame.assign(width=np.resize([1000, 2500, 2510], len(frame)))
    heat = drawn.film_sizes(sizes).data[0]
    assert np.nansum(np.asarray(heat.customdata, dtype=float)) == len(frame)


def test_prevalences_are_joined_to_their_findings_by_name(frame, made):
    balances = {kind: split_checks.balance(frame, split) for kind, split in made.items()}
    figure = drawn.prevalence_by_split(balances)
    assert len(figure.data) == 3 * len(made)
    traces = iter(figure.data)
    for split in made.values():
        for name in splits.NAMES:
            trace = next(traces)
            assert trace.name == name
            prevalence = 100 * frame.loc[split.index[split == name], "Hernia"].mean()
            assert by_name(trace, trace.x)["Hernia"] == pytest.approx(prevalence, abs=0.001)


def test_the_official_shift_shows_both_sides_of_the_list(frame, made):
    split = made["official"]
    elsewhere, test = drawn.official_shift(split_checks.balance(frame, split)).data
    tested = split == "test"
    for trace, films in ((elsewhere, ~tested), (test, tested)):
        share = 100 * frame.loc[films, "Effusion"].mean()
        assert by_name(trace, trace.x)["Effusion"] == pytest.approx(share, abs=0.001)


def test_the_balance_figure_shows_the_worst_of_the_three_splits(frame, made):
    balance = split_checks.balance(frame, made["original"])
    dots = drawn.split_balance({"original": balance}).data[0]
    worst = balance[balance["trait"] == "AP view"]["deviation"].abs().max()
    assert by_name(dots, dots.customdata)["AP view"] == pytest.approx(worst, abs=0.05)


def test_leaked_films_are_shown_for_validation_and_test(frame, made):
    figure = drawn.leaked(
        {kind: split_checks.leakage(frame, split) for kind, split in made.items()}
    )
    validation, test = figure.data
    assert (validation.name, test.name) == ("validation", "test")
    shown = dict(zip(test.y, test.x, strict=True))
    assert shown["patient"] == shown["official"] == 0 < shown["original"]


def test_the_controls_are_shown_with_their_mean(frame, made):
    study = controls.by_split(frame, {"patient": made["patient"]})
    figure = drawn.control_aurocs(study)
    assert [trace.name for trace in figure.data] == [
        f"{control} (mean {study.loc['Mean', control]:.3f})" for control in study
    ]
    low, high = figure.layout.xaxis.range
    assert low <= study.min().min() and study.max().max() <= high


def test_label_noise_writes_the_counts_on_its_bars():
    table = pd.DataFrame(
        {
            "label": ["Pneumothorax"],
            "films": [10],
            "labelled": [4],
            "confirmed": [1],
            "present": [2],
            "mined_ppv": [0.25],
            "mined_sensitivity": [0.5],
        }
    )
    ppv, sensitivity = drawn.label_noise({"all": table}).data
    assert (ppv.x[0], ppv.text[0]) == (25, "1 of 4")
    assert (sensitivity.x[0], sensitivity.text[0]) == (50, "1 of 2")


def test_the_figures_of_the_real_records_stay_small(real_records):
    # Twice in a notebook that must stay below 2 MB.
    total = sum(len(figure(real_records).to_json()) for figure in of_records())
    assert total < 300_000
