"""Test scores: made once per run, never mixed up."""

import numpy as np
import pandas as pd
import pytest

from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import run_scores


@pytest.fixture
def run(tmp_path):
    (tmp_path / "model.keras").write_bytes(b"a model")
    return tmp_path


@pytest.fixture
def films():
    return pd.DataFrame({"film": ["b.png", "a.png", "c.png"], "patient_id": [2, 1, 2]})


class Scorer:
    """Stands in for a model, and counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder, frame):
        self.calls += 1
        values = np.arange(len(frame) * 14, dtype=np.float32).reshape(-1, 14) / 100
        return pd.concat([frame, pd.DataFrame(values, columns=list(FINDINGS))], axis=1)


def test_films_are_scored_once_and_then_read(run, films):
    scorer = Scorer()
    first = run_scores.score_once(run, films, scorer)
    again = run_scores.score_once(run, films, scorer)
    assert scorer.calls == 1
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    assert list(first["film"]) == ["b.png", "a.png", "c.png"]


def test_saved_scores_come_back_in_the_order_of_the_films(run, films):
    first = run_scores.score_once(run, films, Scorer()).set_index("film")
    other = run_scores.score_once(run, films.iloc[::-1].reset_index(drop=True), Scorer())
    assert list(other["film"]) == ["c.png", "a.png", "b.png"]
    pd.testing.assert_frame_equal(other.set_index("film").loc[first.index], first)


def test_scores_of_other_films_are_refused(run, films):
    run_scores.score_once(run, films, Scorer())
    with pytest.raises(InputError, match="films was 3, is now 2"):
        run_scores.score_once(run, films.head(2), Scorer())


def test_scores_of_another_model_are_refused(run, films):
    run_scores.score_once(run, films, Scorer())
    (run / "model.keras").write_bytes(b"trained again")
    with pytest.raises(InputError, match="model_checksum"):
        run_scores.score_once(run, films, Scorer())


def test_scores_of_which_nothing_is_told_are_made_again_after_a_removal(run, films):
    scorer = Scorer()
    run_scores.score_once(run, films, scorer)
    (run / "test_scores.json").write_text("[]")
    with pytest.raises(InputError, match=r"test_scores\.json .* holds no names and values; remove"):
        run_scores.score_once(run, films, scorer)
    (run / "test_scores.json").unlink()
    with pytest.raises(InputError, match=r"json, which tells .* Remove .*scores\.csv to score"):
        run_scores.score_once(run, films, scorer)
    (run / "test_scores.csv").unlink()
    run_scores.score_once(run, films, scorer)
    assert scorer.calls == 2


def test_no_model_and_no_films_are_named(run, films):
    with pytest.raises(InputError, match="no test film is present"):
        run_scores.score_once(run, films.head(0), Scorer())
    (run / "model.keras").unlink()
    with pytest.raises(InputError, match="run 200-modeling first"):
        run_scores.score_once(run, films, Scorer())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop(columns="Mass"), r"lacks the column\(s\) Mass"),
        (lambda f: f.assign(Mass=[0.5, 1.5, 0.5]), "outside 0 to 1"),
        (lambda f: f.assign(Mass=[0.5, np.nan, 0.5]), "or empty ones"),
        (lambda f: f.assign(film=["a.png", "a.png", "b.png"]), r"1 film\(s\) twice"),
    ],
)
def test_spoiled_scores_are_refused(run, films, change, message):
    path = run / "validation_scores.csv"
    change(Scorer()(run, films)).to_csv(path, index=False)
    with pytest.raises(InputError, match=message):
        run_scores.read_scores(path)


def test_validation_scores_that_were_cut_off_are_refused_with_what_brings_them_back(run, films):
    path = run / "validation_scores.csv"
    (run / "config.json").write_text('{"validation_films": 3}')
    Scorer()(run, films).to_csv(path, index=False)
    lines = path.read_text().splitlines(keepends=True)
    assert len(run_scores.read_scores(path)) == 3
    again = "; remove it and run 200-modeling again: it scores these films anew"
    # At the end of a line, and within the last score, which would still be a number.
    for text, what in ("".join(lines[:3]), "2 of the 3 films"), ("".join(lines)[:-2], "cut off"):
        path.write_text(text)
        with pytest.raises(InputError, match=f"{path} .*{what}.*{again}"):
            run_scores.read_scores(path)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "".join(text.splitlines(keepends=True)[:3]),
        lambda text: text.replace("c.png", "d.png"),
        lambda text: "",
    ],
    ids=["cut at the end of a line", "another film", "empty"],
)
def test_damaged_test_scores_are_made_again_once_they_are_removed(run, films, change):
    path, scorer = run / "test_scores.csv", Scorer()
    first = run_scores.score_once(run, films, scorer)
    path.write_text(change(path.read_text()))
    with pytest.raises(InputError, match=f"{path} .*; remove it and run 300-evaluation again"):
        run_scores.score_once(run, films, scorer)
    path.unlink()
    pd.testing.assert_frame_equal(run_scores.score_once(run, films, scorer), first)
    assert scorer.calls == 2


def test_missing_scores_say_what_to_run(run):
    with pytest.raises(InputError, match="run 200-modeling first"):
        run_scores.read_scores(run / "validation_scores.csv")


def test_scores_meet_their_own_films_records(run, films):
    records = films.sort_values("film").reset_index(drop=True)
    records[list(FINDINGS)] = 0
    records.loc[records["film"] == "b.png", "Mass"] = 1
    made = Scorer()(run, films)
    paired, scores = run_scores.pair_with_records({"run": made}, records)
    assert list(paired.index) == list(scores["run"].index) == ["a.png", "b.png", "c.png"]
    assert paired.loc["b.png", "Mass"] == 1
    assert scores["run"].loc["b.png", "Mass"] == pytest.approx(
        made.set_index("film").loc["b.png", "Mass"]
    )


def test_scores_without_records_and_runs_on_other_films_are_refused(run, films):
    records = films.copy()
    records[list(FINDINGS)] = 0
    made = Scorer()(run, films)
    with pytest.raises(InputError, match=r"1 of 3 films that run scored"):
        run_scores.pair_with_records({"run": made}, records.head(2))
    with pytest.raises(InputError, match="same films only"):
        run_scores.pair_with_records({"one": made, "two": made.head(2)}, records)
