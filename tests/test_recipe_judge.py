"""The judge of recipes: seeds and patients both count, and neither twice."""

import itertools
import sys

import numpy as np
import pytest

from cxr import config
from cxr.evaluation.intervals import Estimate

sys.path.insert(0, str(config.PROJECT / "benchmarks" / "accuracy"))
import recipe_judge
from recipe_judge import Seeds


def fit(value: float, *shifts: float) -> Estimate:
    """A fit's AUROC, and how far leaving out each of its patients moves it."""
    without = value + np.array(shifts or (0.0, 0.0))
    return Estimate(np.array([value]), without[:, np.newaxis])


def test_seeds_vary_as_their_fits_do_on_the_same_patients():
    # Variances .0002 and .0008 with one degree of freedom each: .0005 of two.
    recipes = {"one": {0: [fit(0.70), fit(0.72)]}, "other": {0: [fit(0.70), fit(0.74)]}}
    seeds = Seeds.of(recipes)
    assert seeds.variance == pytest.approx(0.0005)
    assert seeds.freedom == 2


def test_a_seed_is_one_seed_on_all_folds():
    # What it does to both counts whole; what it gives on one and takes on the other, not.
    alike = {"one": {0: [fit(0.70), fit(0.74)], 1: [fit(0.80), fit(0.84)]}}
    assert Seeds.of(alike).variance == pytest.approx(0.0008)
    assert Seeds.of(alike).freedom == 1
    against = {"one": {0: [fit(0.70), fit(0.74)], 1: [fit(0.84), fit(0.80)]}}
    assert Seeds.of(against).variance == pytest.approx(0)


def test_what_patients_account_for_is_not_counted_for_seeds_too():
    # The difference of both fits moves by .01 and -.01 without the one or the other patient:
    # its jackknife variance is 1/2 (.0001 + .0001) = .0001, half of that is one fit's own.
    recipes = {"one": {0: [fit(0.70, 0.01, -0.01), fit(0.72)]}}
    assert Seeds.of(recipes).variance == pytest.approx(0.0002 - 0.00005)
    # Where patients account for more than there is, nothing is left, not less than nothing.
    recipes = {"one": {0: [fit(0.70, 0.1, -0.1), fit(0.72)]}}
    assert Seeds.of(recipes).variance == 0


def test_one_seed_a_recipe_says_nothing_about_seeds():
    with pytest.raises(ValueError, match="two seeds"):
        Seeds.of({"one": {0: [fit(0.7)], 1: [fit(0.8)]}})


def test_a_recipe_reaches_the_mean_of_its_folds():
    # Three seeds of one fold weigh as much as the one of the other.
    fits = {0: [fit(0.6), fit(0.7), fit(0.8)], 1: [fit(0.9)]}
    assert recipe_judge.mean(fits).value[0] == pytest.approx(0.8)


def test_a_difference_is_as_unsure_as_its_seeds():
    # Two seeds a side, the same on both folds: a variance of .0004 shrinks to .0002 a side,
    # .0004 of the difference: an error of .02, on 10 degrees of freedom (t = 2.2281).
    one = {0: [fit(0.75), fit(0.75)], 1: [fit(0.75), fit(0.75)]}
    other = {0: [fit(0.72), fit(0.72)], 1: [fit(0.72), fit(0.72)]}
    verdict = recipe_judge.difference(one, other, Seeds(0.0004, 10))
    assert verdict.value == pytest.approx(0.03)
    assert verdict.error_seeds == pytest.approx(0.02)
    assert verdict.error_patients == pytest.approx(0)
    assert verdict.low == pytest.approx(0.03 - 2.2281 * 0.02, abs=1e-5)
    assert verdict.high == pytest.approx(0.03 + 2.2281 * 0.02, abs=1e-5)
    assert not verdict.differs
    assert recipe_judge.difference(one, other, Seeds(0.00004, 10)).differs


def test_patients_who_are_hard_for_both_recipes_cancel_out():
    one, other = {0: [fit(0.75, 0.02, -0.02)]}, {0: [fit(0.72, 0.02, -0.02)]}
    verdict = recipe_judge.difference(one, other, Seeds(0.0, 2))
    assert verdict.error_patients == pytest.approx(0)
    assert recipe_judge.level(one, Seeds(0.0, 2)).error_patients == pytest.approx(0.02)


def test_no_effect_of_the_design_is_mixed_up_with_another_or_with_two_together():
    cells = recipe_judge.design()
    assert cells.shape == (16, 8) and set(np.unique(cells)) == {-1, 1}
    assert len(np.unique(cells, axis=0)) == 16
    products = cells.T @ cells
    assert (products == 16 * np.eye(8)).all()
    for a, b in itertools.combinations(range(8), 2):
        assert not (cells.T @ (cells[:, a] * cells[:, b])).any()


def test_screening_finds_the_effect_that_is_there():
    cells = recipe_judge.design()
    # The third factor adds .03; the fifth takes .01 away; the second helps only with the first,
    # which is .008 in one of the seven contrasts of no factor. Folds differ in level, and by
    # .006 about the sixth factor.
    reached = 0.7 + 0.015 * cells[:, 2] - 0.005 * cells[:, 4] + 0.004 * cells[:, 0] * cells[:, 1]
    folds = np.column_stack([reached, reached + 0.02 + 0.003 * cells[:, 5]])
    table = recipe_judge.effects(folds)
    expected = np.array([0, 0, 0.03, 0, -0.01, 0.003, 0, 0])
    assert table["effect"].to_numpy() == pytest.approx(expected, abs=1e-12)
    error = np.sqrt(0.008**2 / 7)
    assert table["error"].to_numpy() == pytest.approx(error)
    assert (table["high"] - table["effect"]).to_numpy() == pytest.approx(2.3646 * error, rel=1e-4)
    assert table["p"][2] < 0.001 and table["p"][0] == pytest.approx(1)


def test_a_variance_that_patients_mostly_account_for_is_unsure():
    # Half of a variance of .0002 on 4 degrees of freedom is the seeds': it is known as badly as
    # the whole, so on 4 x (1 / 2)^2 = 1 degree.
    one, other = {0: [fit(0.75)], 1: [fit(0.75)]}, {0: [fit(0.72)], 1: [fit(0.72)]}
    sure = recipe_judge.difference(one, other, Seeds(0.0001, 4))
    unsure = recipe_judge.difference(one, other, Seeds(0.0001, 4, 0.0002))
    assert sure.high - sure.value == pytest.approx(2.7764 * np.sqrt(0.0002), rel=1e-4)
    assert unsure.high - unsure.value == pytest.approx(12.7062 * np.sqrt(0.0002), rel=1e-4)


def test_equal_recipes_are_seldom_called_different_whatever_seeds_do():
    rates = recipe_judge.rejections(20, seed=7).set_index("setting")
    # Of 20 campaigns 1 is expected; 5 or more would come in 3 of 1,000 such samples.
    assert (rates["judge"] <= 4 / 20).all() and (rates["screening"] <= 4 / 20).all()
    # The way before: where seeds decide, it finds a difference nearly always.
    for words in ("seeds decide", "seeds decide, alike on both folds"):
        assert rates.loc[words, "patients_only"] > 0.5


@pytest.mark.soak
def test_one_in_twenty_campaigns_without_a_difference_finds_one():
    rates = recipe_judge.rejections(2000).set_index("setting")
    for judge in ("judge", "screening"):
        assert rates[judge].between(0.03, 0.07).all(), rates
