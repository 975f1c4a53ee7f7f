"""Conclusions of 200 and 300 follow their tables, in whichever direction these point."""

import shutil

import pandas as pd
import pytest

from cxr import __main__, config
from cxr.config import PHANTOM_WEIGHTS
from cxr.findings import FINDINGS
from cxr.modelling import phantom_weights
from cxr.publish import conclusions

RESULTS = config.PROJECT / "presentation" / "results" / "images128"


def test_a_run_ends_with_its_result_its_pages_and_the_next_command(tmp_path):
    tables = tmp_path / "presentation" / "tables"
    tables.mkdir(parents=True)
    shutil.copy(RESULTS / "auroc_baseline-patient.csv", tables)
    said = __main__._headline(config.load_config({}, profile="demo", root=tmp_path))
    assert "mean AUROC 0.671 (0.644 to 0.699)" in said
    assert "drawings" in said and str(tmp_path) in said and "make html PROFILE=demo" in said


@pytest.mark.parametrize(("after", "went"), [(0.3, "fell"), (0.5, "rose"), (0.4, "stayed")])
def test_recalibration_is_told_whichever_way_it_went(after, went):
    table = pd.DataFrame(
        {
            "finding": "Mean",
            "scores": ["as predicted", "recalibrated"],
            "brier": 0.1,
            "distance": [0.4, after],
        }
    )
    assert f"|slope - 1| {went}" in conclusions.recalibrated({"small": table})


def test_a_model_that_was_not_recalibrated_is_said_to_be_so():
    table = pd.DataFrame({"finding": ["Mean"], "scores": ["as predicted"]})
    assert conclusions.recalibrated({"small": table}) == "- `small` was not recalibrated."


def test_the_answer_on_real_films_claims_no_finding_whose_interval_reaches_chance():
    run = "residual-patient"
    tables = [pd.read_csv(RESULTS / f"{kind}_{run}.csv") for kind in ("auroc", "controls")]
    said = conclusions.answer(tables[0], run, tables[1], phantoms=False)
    surely, _, not_shown = said.partition("; for ")
    assert "Hernia" in not_shown and "Edema" in not_shown and "Effusion" in surely
    assert "cannot be used to diagnose" in said


def test_without_any_estimate_the_answer_says_that_there_is_none():
    table = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": None, "low": None})
    assert "Too few patients" in conclusions.answer(table, "small", pd.DataFrame(), phantoms=True)
    assert "Too few" in conclusions.widths(table.assign(high=None))


def test_a_distance_too_small_to_be_shown_is_no_change():
    assert conclusions._went(0.05221, 0.05219) == "stayed at 0.0522"


def test_a_model_that_is_nowhere_surely_better_than_chance_is_said_to_be_unproven():
    table = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": 0.55, "low": 0.4, "high": 0.7})
    said = conclusions.answer(table, "small", pd.DataFrame(), phantoms=False)
    assert "has not been shown to rank better than chance" in said
    assert "Hernia" not in said


def test_films_of_other_hospitals_that_judged_are_named_in_the_answer():
    table = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": 0.55, "low": 0.4, "high": 0.7})
    alone = conclusions.answer(table, "small", pd.DataFrame(), phantoms=False)
    assert alone.endswith("whom to treat; other hospitals were not tested.")
    beside = conclusions.answer(table, "small", pd.DataFrame(), {"padchest": 0}, phantoms=False)
    assert beside.endswith(
        "what it reaches on films of `padchest` stands above, and other hospitals were not tested."
    )


def test_findings_that_no_present_film_shows_are_named_with_what_follows():
    part = pd.DataFrame({"film": ["a", "b"], **{finding: [1, 1] for finding in FINDINGS}})
    part.loc[0, "Hernia"] = 0
    parts = {"train": part, "validation": part}
    assert "every finding" in conclusions.learnable(parts, {"a", "b"})
    # Only the film without Hernia is there.
    said = conclusions.learnable(parts, {"a"})
    assert said.startswith("No training film shows Hernia: no model can learn it.")
    assert "set `CXR_MIN_COMBINATION=0`" in conclusions.learnable(parts, set())


def test_recalibration_of_too_few_patients_is_not_told_as_a_change():
    nothing = pd.DataFrame(
        {
            "finding": "Mean",
            "scores": ["as predicted", "recalibrated"],
            "brier": None,
            "distance": None,
        }
    )
    assert "too few patients" in conclusions.recalibrated({"small": nothing})


def test_a_model_is_said_to_start_where_its_record_says():
    said = conclusions.starts(
        [
            {"name": "a", "model": "baseline", "weights": "none"},
            {"name": "b", "model": "mobilenet", "weights": "imagenet"},
        ]
    )
    assert said == (
        "- `a`: started from random weights.\n"
        "- `b`: started from weights of `imagenet`, learned elsewhere."
    )


def test_the_gain_that_is_told_is_the_one_that_was_measured():
    run = {"name": "c", "model": "mobilenet_small", "weights": PHANTOM_WEIGHTS}
    said = conclusions.starts([run])
    gain = phantom_weights.gain("mobilenet_small")
    assert len(gain) >= 2
    for row in gain.itertuples():
        where = "random weights" if row.weights == "none" else "these"
        assert f"{row.test_auroc:.3f} from {where}" in said and f"seed {row.seed}:" in said
    assert "know nothing of real films" in said
