"""Calibration measures, and recalibration that is saved with a run."""

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model, metrics

from cxr import calibration
from cxr.errors import InputError
from cxr.findings import FINDINGS


def made(films=4000, seed=0, slope=1.0, shift=0.0):
    """Scores whose logit is `slope` times the true one, plus `shift`; only Mass is there."""
    random = np.random.default_rng(seed)
    logit = random.normal(-2, 1.2, size=films)
    targets = pd.DataFrame(0, index=range(films), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = random.random(films) < 1 / (1 + np.exp(-logit))
    scores = pd.DataFrame({"Mass": 1 / (1 + np.exp(-(slope * logit + shift)))})
    return targets, scores, pd.Series(random.integers(films // 3, size=films))


def of_mass(table):
    return table.set_index("finding").loc["Mass"]


def test_the_brier_score_is_scikit_learns():
    targets, scores, patients = made()
    row = of_mass(calibration.measures(targets, scores, patients, replicates=100))
    expected = metrics.brier_score_loss(targets["Mass"], scores["Mass"])
    assert row["brier"] == pytest.approx(expected, abs=1e-12)
    assert row["brier_low"] < row["brier"] < row["brier_high"]


def test_true_probabilities_have_slope_1_and_intercept_0():
    row = of_mass(calibration.measures(*made(), replicates=100))
    assert row["slope_low"] < 1 < row["slope_high"]
    assert row["intercept_low"] < 0 < row["intercept_high"]


def test_slope_and_intercept_are_those_of_logistic_regression():
    targets, scores, patients = made(slope=2.0, shift=1.0)
    row = of_mass(calibration.measures(targets, scores, patients, replicates=100))
    logit = np.log(scores[["Mass"]] / (1 - scores[["Mass"]]))
    fitted = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    assert row["slope"] == pytest.approx(fitted.fit(logit, targets["Mass"]).coef_[0, 0], abs=1e-4)


def test_scores_that_are_too_high_have_a_negative_intercept():
    # Every logit is one too high, so the intercept that mends it is -1.
    row = of_mass(calibration.measures(*made(shift=1.0), replicates=100))
    assert row["intercept"] == pytest.approx(-1, abs=0.15)
    assert row["intercept_high"] < 0


def test_recalibration_comes_from_far_away():
    # Logits around -10: a full Newton step from zero would overshoot.
    targets, scores, _ = made(slope=3.0, shift=-4.0)
    fitted = calibration.fit(targets, scores).set_index("finding").loc["Mass"]
    assert fitted["slope"] == pytest.approx(1 / 3, rel=0.1)


def test_the_calibration_error_by_hand():
    # Ten bins of two films: the score says 0.5 everywhere, half of the bins are positive.
    targets = pd.DataFrame(0, index=range(20), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = [0] * 10 + [1] * 10
    scores = pd.DataFrame({"Mass": np.linspace(0.4, 0.6, 20)})
    table = calibration.measures(targets, scores, pd.Series(range(20)), replicates=100)
    # |mean score - share| is the mean score below, and 1 - mean score above.
    expected = np.mean(np.r_[scores["Mass"][:10], 1 - scores["Mass"][10:]])
    assert of_mass(table)["ece"] == pytest.approx(expected)


def test_findings_that_are_not_estimable_are_nan_and_left_out_of_the_mean():
    table = calibration.measures(*made(), replicates=100).set_index("finding")
    assert np.isnan(table.loc["Hernia", "brier"])
    assert table.loc["Mean", "brier"] == table.loc["Mass", "brier"]


def test_reliability_bins_hold_equally_many_films_and_equal_scores_stay_together():
    targets, scores, patients = made(films=1000)
    table = calibration.reliability(targets, scores, patients, replicates=100)
    assert table["films"].tolist() == [100] * 10
    constant = pd.DataFrame({"Mass": np.full(1000, 0.2)})
    table = calibration.reliability(targets, constant, patients, replicates=100)
    assert table["films"].tolist() == [1000]
    assert table["observed"].item() == pytest.approx(targets["Mass"].mean())


def test_recalibration_mends_scores_and_keeps_their_order():
    targets, scores, _ = made(slope=2.0, shift=1.5)
    recalibrated = calibration.apply(scores, calibration.fit(targets, scores))
    others, other_scores, patients = made(seed=1, slope=2.0, shift=1.5)
    fitted = calibration.fit(targets, scores)
    before, after = (
        of_mass(calibration.measures(others, values, patients, replicates=100))
        for values in (other_scores, calibration.apply(other_scores, fitted))
    )
    assert after["ece"] < before["ece"] / 3
    assert after["brier"] < before["brier"]
    assert (recalibrated["Mass"].rank() == scores["Mass"].rank()).all()


def test_scores_that_hardly_differ_are_spread():
    # A network that says nearly the same of every film, but ranks them rightly.
    targets, scores, _ = made(slope=1e-6, shift=-1.5)
    fitted = calibration.fit(targets, scores)
    assert fitted.set_index("finding").loc["Mass", "slope"] == pytest.approx(1e6, rel=0.1)
    mean = calibration.apply(scores, fitted)["Mass"][targets["Mass"] == 1].mean()
    assert mean > 1.5 * targets["Mass"].mean()


def test_a_finding_without_positives_keeps_its_scores():
    targets, scores, _ = made()
    scores["Hernia"] = 0.3
    fitted = calibration.fit(targets, scores)
    assert fitted.set_index("finding").loc["Hernia", "method"] == "none"
    assert (calibration.apply(scores, fitted)["Hernia"] == 0.3).all()


def test_a_ranking_is_never_turned_around():
    # Scores that fall where the finding is: the slope would be negative.
    targets, scores, _ = made()
    fitted = calibration.fit(targets, 1 - scores).set_index("finding").loc["Mass"]
    assert fitted["method"] == "intercept" and fitted["slope"] == 1


@pytest.mark.parametrize("score", [[0.0, 1.0, 0.0, 1.0], [0.2] * 4])
def test_scores_at_the_ends_or_all_the_same_do_not_break_it(score):
    targets = pd.DataFrame(0, index=range(4), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = [0, 1, 0, 1]
    scores = pd.DataFrame({"Mass": score})
    fitted = calibration.fit(targets, scores)
    assert calibration.apply(scores, fitted)["Mass"].between(0, 1).all()
    row = of_mass(calibration.measures(targets, scores, pd.Series(range(4)), replicates=100))
    assert 0 <= row["brier"] <= 1


def test_saved_and_loaded_recalibration_gives_the_same_probabilities(tmp_path):
    targets, scores, _ = made(slope=1.7)
    fitted = calibration.fit(targets, scores)
    calibration.save(tmp_path, fitted)
    again = calibration.apply(scores, calibration.load(tmp_path))
    pd.testing.assert_frame_equal(again, calibration.apply(scores, fitted), check_exact=True)


def test_a_foreign_file_is_no_recalibration(tmp_path):
    (tmp_path / "calibration.json").write_text('[{"finding": "Mass"}]')
    with pytest.raises(InputError, match="not a recalibration"):
        calibration.load(tmp_path)
