"""Calibration measures, and recalibration that is saved with a run."""

import numpy as np
import pandas as pd
import pytest
from sklearn import linear_model, metrics

from cxr.errors import InputError
from cxr.evaluation import calibration
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS


def made(films=4000, seed=0, slope=1.0, shift=0.0):
    """Scores whose logit is `slope` times the true one, plus `shift`; only Mass is there."""
    random = np.random.default_rng(seed)
    logit = random.normal(-2, 1.2, size=films)
    targets = pd.DataFrame(0, index=range(films), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = random.random(films) < 1 / (1 + np.exp(-logit))
    scores = pd.DataFrame({"Mass": 1 / (1 + np.exp(-(slope * logit + shift)))})
    return Judged(targets, scores, pd.Series(random.integers(films // 3, size=films)))


def of_mass(table):
    return table.set_index("finding").loc["Mass"]


def test_the_brier_score_is_scikit_learns():
    films = made()
    row = of_mass(calibration.measures(films))
    expected = metrics.brier_score_loss(films.targets["Mass"], films.scores["Mass"])
    assert row["brier"] == pytest.approx(expected, abs=1e-12)
    assert row["brier_low"] < row["brier"] < row["brier_high"]


def test_skill_is_measured_against_the_prevalence():
    films = made()
    prevalence = films.targets["Mass"].mean()
    knowing_nothing = films.rescored(pd.DataFrame({"Mass": prevalence}, index=films.scores.index))
    assert of_mass(calibration.measures(knowing_nothing))["skill"] == pytest.approx(0, abs=1e-12)
    row = of_mass(calibration.measures(films))
    expected = 1 - row["brier"] / (prevalence * (1 - prevalence))
    assert row["skill"] == pytest.approx(expected) and row["skill_low"] > 0
    perfect = films.rescored(films.targets[["Mass"]].astype(float))
    assert of_mass(calibration.measures(perfect))["skill"] == pytest.approx(1)


def test_distance_has_no_sign_and_starts_at_0_where_the_slope_may_be_1():
    timid, bold = (of_mass(calibration.measures(made(slope=s))) for s in (0.5, 2.0))
    assert timid["distance"] == pytest.approx(timid["slope"] - 1)
    assert bold["distance"] == pytest.approx(1 - bold["slope"])
    assert bold["distance_low"] == pytest.approx(1 - bold["slope_high"])
    assert of_mass(calibration.measures(made()))["distance_low"] == 0


def test_the_mean_hides_no_errors_of_opposite_signs():
    timid, bold = made(slope=0.5), made(slope=2.0)
    both = timid.targets.assign(Nodule=bold.targets["Mass"])
    scores = timid.scores.assign(Nodule=bold.scores["Mass"])
    table = calibration.measures(Judged(both, scores, timid.patients)).set_index("finding")
    assert np.isnan(table.loc["Mean", "slope"]) and np.isnan(table.loc["Mean", "intercept"])
    distances = table.loc[["Mass", "Nodule"], "distance"]
    assert (
        table.loc["Mean", "distance"] == pytest.approx(distances.mean()) and (distances > 0.4).all()
    )


def test_true_probabilities_have_slope_1_and_intercept_0():
    row = of_mass(calibration.measures(made()))
    assert row["slope_low"] < 1 < row["slope_high"]
    assert row["intercept_low"] < 0 < row["intercept_high"]


def test_slope_and_intercept_are_those_of_logistic_regression():
    films = made(slope=2.0, shift=1.0)
    targets, scores = films.targets, films.scores
    row = of_mass(calibration.measures(films))
    logit = np.log(scores[["Mass"]] / (1 - scores[["Mass"]]))
    fitted = linear_model.LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000)
    assert row["slope"] == pytest.approx(fitted.fit(logit, targets["Mass"]).coef_[0, 0], abs=1e-4)


def test_scores_that_are_too_high_have_a_negative_intercept():
    # Every logit is one too high, so the intercept that mends it is -1.
    row = of_mass(calibration.measures(made(shift=1.0)))
    assert row["intercept"] == pytest.approx(-1, abs=0.15)
    assert row["intercept_high"] < 0


def test_recalibration_comes_from_far_away():
    # Logits around -10: a full Newton step from zero would overshoot.
    fitted = calibration.fit(made(slope=3.0, shift=-4.0)).set_index("finding").loc["Mass"]
    assert fitted["slope"] == pytest.approx(1 / 3, rel=0.1)


def test_the_calibration_error_by_hand():
    # Ten bins of two films: the score says 0.5 everywhere, half of the bins are positive.
    targets = pd.DataFrame(0, index=range(20), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = [0] * 10 + [1] * 10
    scores = pd.DataFrame({"Mass": np.linspace(0.4, 0.6, 20)})
    table = calibration.measures(Judged(targets, scores, pd.Series(range(20))))
    # |mean score - share| is the mean score below, and 1 - mean score above.
    expected = np.mean(np.r_[scores["Mass"][:10], 1 - scores["Mass"][10:]])
    assert of_mass(table)["ece"] == pytest.approx(expected)


def test_the_interval_of_a_probability_holds_what_the_score_means():
    # Scores that are logits doubled: a score of 0.8 means 2 to 1. Small sets vary.
    meant, held = 1 / (1 + np.exp(-np.log(4) / 2)), []
    asked = pd.DataFrame({"Mass": [0.8]})
    for seed in range(60):
        low, high = calibration.bounds(asked, calibration.fit(made(films=300, seed=seed, slope=2)))
        held.append(low[0, 0] < meant < high[0, 0])
    assert 0.85 <= np.mean(held) < 1
    wide, narrow = (
        np.subtract(*calibration.bounds(asked, calibration.fit(made(films=count))))
        for count in (300, 3000)
    )
    assert abs(wide) > 2 * abs(narrow)


def test_a_recalibration_of_earlier_runs_has_no_intervals(tmp_path):
    fitted = calibration.fit(made()).drop(columns=["variance_intercept", "covariance"])
    calibration.save(tmp_path, fitted)
    low, high = calibration.bounds(made().scores[["Mass"]], calibration.load(tmp_path))
    assert np.isnan(low).all() and np.isnan(high).all()


def test_findings_that_are_not_estimable_are_nan_and_left_out_of_the_mean():
    table = calibration.measures(made()).set_index("finding")
    assert np.isnan(table.loc["Hernia", "brier"])
    assert table.loc["Mean", "brier"] == table.loc["Mass", "brier"]


def test_reliability_bins_hold_equally_many_films_and_equal_scores_stay_together():
    films = made(films=1000)
    table = calibration.reliability(films)
    assert table["films"].tolist() == [100] * 10
    constant = pd.DataFrame({"Mass": np.full(1000, 0.2)})
    table = calibration.reliability(films.rescored(constant))
    assert table["films"].tolist() == [1000]
    assert table["observed"].item() == pytest.approx(films.targets["Mass"].mean())
    assert table["low"].item() < films.targets["Mass"].mean() < table["high"].item()


def test_recalibration_mends_scores_and_keeps_their_order():
    films, others = made(slope=2.0, shift=1.5), made(seed=1, slope=2.0, shift=1.5)
    fitted = calibration.fit(films)
    before, after = (
        of_mass(calibration.measures(others.rescored(values)))
        for values in (others.scores, calibration.apply(others.scores, fitted))
    )
    assert after["ece"] < before["ece"] / 3
    assert after["brier"] < before["brier"]
    recalibrated = calibration.apply(films.scores, fitted)
    assert (recalibrated["Mass"].rank() == films.scores["Mass"].rank()).all()


def test_scores_that_hardly_differ_are_spread():
    # A network that says nearly the same of every film, but ranks them rightly.
    films = made(slope=1e-6, shift=-1.5)
    fitted = calibration.fit(films)
    assert fitted.set_index("finding").loc["Mass", "slope"] == pytest.approx(1e6, rel=0.1)
    mean = calibration.apply(films.scores, fitted)["Mass"][films.targets["Mass"] == 1].mean()
    assert mean > 1.5 * films.targets["Mass"].mean()


def few(slope, seed):
    """Validation films on which all findings' logits are `slope` times too large.

    Pneumonia has some six positives; of the others, plenty.
    """
    random = np.random.default_rng(seed)
    rates = np.full(14, 0.1)
    rates[FINDINGS.index("Pneumonia")] = 0.006
    logit = random.normal(size=(900, 14)) + np.log(rates / (1 - rates))
    targets = pd.DataFrame(
        random.random((900, 14)) < 1 / (1 + np.exp(-logit)), columns=list(FINDINGS)
    ).astype(np.int8)
    scores = pd.DataFrame(1 / (1 + np.exp(-slope * logit)), columns=list(FINDINGS))
    return Judged(targets, scores, pd.Series(random.integers(450, size=900)))


def test_few_positives_borrow_their_slope_from_the_other_findings():
    own, drawn = [], []
    for seed in range(12):
        films = few(1.6, seed)
        if films.remarks["Pneumonia"]:
            continue
        alone = calibration.fit(films.rescored(films.scores[["Pneumonia"]]))
        together = calibration.fit(films)
        for fits, into in ((alone, own), (together, drawn)):
            row = fits.set_index("finding").loc["Pneumonia"]
            into.append(abs(row["slope"] - 1 / 1.6))
    assert len(drawn) > 5 and np.mean(drawn) < np.mean(own)


def test_recalibration_is_left_out_where_it_does_not_help():
    # The scores are the true probabilities, so whatever is fitted is chance.
    left_alone = [
        (calibration.fit(few(1.0, seed))["method"] == "as predicted").sum() for seed in range(5)
    ]
    assert np.mean(left_alone) > 6
    mended = [
        (calibration.fit(few(2.5, seed))["method"] == "recalibrated").sum() for seed in (1, 2)
    ]
    assert min(mended) > 11


def test_the_verdict_counts_what_helped():
    films = made(slope=2.0, shift=1.5)
    after = films.rescored(calibration.apply(films.scores, calibration.fit(films)))
    table = pd.concat(
        {"as predicted": calibration.measures(films), "recalibrated": calibration.measures(after)},
        names=["scores"],
    ).reset_index("scores")
    assert calibration.verdict(table) == (
        "1 of 1 findings recalibrated; of these, the slope came nearer to 1 for 1, the Brier "
        "score fell for 1"
    )
    assert calibration.verdict(table[table["scores"] == "as predicted"]) == "not recalibrated"


def test_a_finding_without_positives_keeps_its_scores():
    films = made()
    scores = films.scores.assign(Hernia=0.3)
    fitted = calibration.fit(films.rescored(scores))
    assert fitted.set_index("finding").loc["Hernia", "method"] == "as predicted"
    assert (calibration.apply(scores, fitted)["Hernia"] == 0.3).all()


def test_a_ranking_is_never_turned_around():
    # Scores that fall where the finding is: the slope would be negative.
    films = made()
    fitted = calibration.fit(films.rescored(1 - films.scores)).set_index("finding").loc["Mass"]
    assert fitted["slope"] == 1


@pytest.mark.parametrize("score", [[0.0, 1.0], [0.2, 0.2], [1.0, 0.0]])
def test_scores_at_the_ends_or_all_the_same_do_not_break_it(score):
    targets = pd.DataFrame(0, index=range(20), columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = [0, 1] * 10
    films = Judged(targets, pd.DataFrame({"Mass": score * 10}), pd.Series(range(20)))
    fitted = calibration.fit(films)
    assert calibration.apply(films.scores, fitted)["Mass"].between(0, 1).all()
    row = of_mass(calibration.measures(films))
    assert 0 <= row["brier"] <= 1


def test_saved_and_loaded_recalibration_gives_the_same_probabilities(tmp_path):
    films = made(slope=1.7)
    fitted = calibration.fit(films)
    calibration.save(tmp_path, fitted)
    again = calibration.apply(films.scores, calibration.load(tmp_path))
    expected = calibration.apply(films.scores, fitted)
    pd.testing.assert_frame_equal(again, expected, check_exact=True)


@pytest.mark.parametrize("content", ['[{"finding": "Mass"}]', '{"a": 1}', '"x"', "[1]", "null"])
def test_a_foreign_file_is_no_recalibration(tmp_path, content):
    (tmp_path / "calibration.json").write_text(content)
    with pytest.raises(InputError, match="not a recalibration"):
        calibration.load(tmp_path)
