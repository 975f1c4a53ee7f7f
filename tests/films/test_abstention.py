"""A verdict before any score: what is no upright, whole, usual chest film is told apart."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from toy_runs import chest

from cxr.errors import InputError
from cxr.films import abstention
from cxr.films.abstention import FAULTS, REFUSED, WARNED


@pytest.fixture(scope="module")
def films():
    """Schematic chests: 300 to learn from, 300 of 150 patients to set limits, 100 to judge."""
    random = np.random.default_rng(0)
    return [np.stack([chest(random) for _ in range(count)]) for count in (300, 300, 100)]


@pytest.fixture(scope="module")
def fitted(films):
    train, validation, _ = films
    return abstention.fit(train, validation, np.repeat(np.arange(150), 2), seed=1)


def share(made, films, verdicts=(WARNED, REFUSED)):
    return np.mean([verdict in verdicts for verdict, _ in made.judge(films)])


def test_usual_films_are_scored(fitted, films):
    made, worth = fitted
    assert share(made, films[2]) <= 0.08
    assert worth["patients"] == 75 and worth["warned"] + worth["refused"] <= 0.08


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoiled_film_is_warned_of_or_refused_by_its_fault(fitted, films, fault):
    made, worth = fitted
    spoiled = abstention.spoil(films[2], fault, np.random.default_rng(2))
    assert share(made, spoiled) >= 0.95 and worth["found"][fault] >= 0.9
    reasons = [reason for _, given in made.judge(spoiled) for reason in given]
    assert sum(fault in reason for reason in reasons) >= 90


def test_what_was_never_fitted_is_refused(fitted):
    made, _ = fitted
    random = np.random.default_rng(3)
    page = Image.new("L", (64, 64), 250)
    for line in range(4, 60, 8):
        ImageDraw.Draw(page).line((4, line, 60, line), fill=20, width=2)
    noise = random.integers(0, 256, (64, 64), dtype=np.uint8)
    empty = np.zeros((64, 64), np.uint8)
    for verdict, reasons in made.judge(np.stack([np.asarray(page), noise, empty])):
        assert verdict == REFUSED
        assert any("does not look like the chest films" in reason for reason in reasons)


def test_limits_are_reached_by_as_many_as_stated_by_all_questions_together():
    # 200 films of as many patients: of the first question, films 0 and 1 are the oddest, of
    # the second film 199, then film 0. Warning of 2 % in vain leaves room for four films.
    first, second = -np.arange(200.0), np.arange(200.0)
    second[0] = 198.5
    answers, weights = np.stack([first, second]), np.full(200, 1 / 200)
    limits = abstention._limits(answers, weights, 0.02, (0.5, 0.5))
    assert 3 <= (answers >= limits[:, None]).any(axis=0).sum() <= 4
    limits = abstention._limits(answers, weights, 0.005, (0.5, 0.5))
    assert (answers >= limits[:, None]).any(axis=0).sum() <= 1


def test_a_question_gets_as_many_of_the_warnings_in_vain_as_it_is_given():
    # 1,000 films, no film odd by two questions: of 20 stopped films, 5 by the first, 15 by the
    # second, and none by the third, which has no share.
    answers = np.stack([np.arange(1000.0), -np.arange(1000.0), np.arange(1000.0) % 7])
    limits = abstention._limits(answers, np.full(1000, 1 / 1000), 0.02, (0.25, 0.75, 0.0))
    assert (answers >= limits[:, None]).sum(axis=1) == pytest.approx([5, 15, 0], abs=1)


def test_the_gamma_that_a_film_was_given_is_estimated(fitted, films):
    made, _ = fitted
    usual = made.questions(films[2])[2]
    assert abs(usual).max() < np.log(1.5)
    for gamma in (0.4, 2.5):
        given = [abstention.expose(Image.fromarray(film), gamma) for film in films[2]]
        seems = made.questions(np.stack([np.asarray(film) for film in given]))[2]
        assert np.median(seems) == pytest.approx(np.log(gamma), abs=0.2)


def test_a_patient_with_many_films_sets_no_limit_alone():
    weights = abstention._by_patient(np.array([7, 7, 7, 8]))
    assert weights.tolist() == pytest.approx([1 / 6, 1 / 6, 1 / 6, 1 / 2])


def test_too_few_patients_set_no_limits(films):
    made, worth = abstention.fit(films[0], films[1][:99], np.arange(99), seed=1)
    assert made is None and worth == {}


def test_a_kept_judge_judges_the_same(fitted, films, tmp_path):
    assert abstention.load(tmp_path) is None
    fitted[0].save(tmp_path)
    assert abstention.load(tmp_path).judge(films[2]) == fitted[0].judge(films[2])
    path = tmp_path / abstention.FILE
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        abstention.load(tmp_path)


def test_films_are_looked_at_one_by_one(films):
    all_at_once = abstention.features(films[2][:20])
    np.testing.assert_allclose(all_at_once, abstention.features(films[2][:20], together=7))
    larger = np.stack([np.asarray(Image.fromarray(f).resize((150, 150))) for f in films[2][:3]])
    assert abstention.features(larger).shape[1] == all_at_once.shape[1] + 2  # one scale more
