"""Thresholds from validation films, their rates on test films, net benefit."""

import numpy as np
import pandas as pd
import pytest

from cxr.evaluation import calibration, thresholding
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS


def one_finding(target, score, finding="Mass"):
    targets = pd.DataFrame(0, index=range(len(target)), columns=list(FINDINGS), dtype=np.int8)
    targets[finding] = target
    return Judged(targets, pd.DataFrame({finding: score}), pd.Series(range(len(target))))


@pytest.fixture
def validation():
    # Ten positives from 0.55 to 1.00, ten negatives from 0.05 to 0.50 but for one at 0.75.
    positive, negative = np.arange(0.55, 1.01, 0.05), np.r_[np.arange(0.05, 0.46, 0.05), 0.72]
    return one_finding([1] * 10 + [0] * 10, np.round(np.r_[positive, negative], 2))


def test_thresholds_by_hand(validation):
    chosen = (
        thresholding.choose(validation).query("finding == 'Mass'").set_index("rule")["threshold"]
    )
    # At 0.55 all positives and one negative are flagged: Youden 0.9, nowhere higher.
    assert chosen["Youden"] == 0.55
    # Nine of ten positives lie at 0.60 or above.
    assert chosen["sensitivity 0.90"] == 0.60
    # One of ten negatives may be flagged; 0.45 would flag a second one.
    assert chosen["specificity 0.90"] == 0.55


def test_findings_without_positives_get_no_threshold(validation):
    chosen = thresholding.choose(validation)
    assert len(chosen) == 14 * 3
    assert chosen.query("finding != 'Mass'")["threshold"].isna().all()


def test_a_specificity_that_ties_forbid_flags_nothing():
    # Half of the negatives share the highest score.
    chosen = thresholding.choose(one_finding([1, 0] * 5, [0.9, 0.9, 0.9, 0.1] + [0.9] * 6))
    threshold = chosen.query("finding == 'Mass' and rule == 'specificity 0.90'")["threshold"]
    assert threshold.item() > 0.9


def test_rates_at_a_threshold_by_hand():
    films = one_finding([1] * 6 + [0] * 10, [0.9] * 4 + [0.1] * 2 + [0.6] * 2 + [0.2] * 8)
    thresholds = pd.DataFrame({"finding": ["Mass"], "rule": ["Youden"], "threshold": [0.5]})
    row = thresholding.apply(films, thresholds).iloc[0]
    counts = row[["true_positives", "false_positives", "false_negatives", "true_negatives"]]
    assert counts.tolist() == [4, 2, 2, 8]
    assert row["sensitivity"] == pytest.approx(4 / 6)
    assert row["specificity"] == pytest.approx(8 / 10)
    assert row["ppv"] == pytest.approx(4 / 6)
    assert row["npv"] == pytest.approx(8 / 10)
    assert row["flagged_per_1000"] == pytest.approx(375)
    assert row["sensitivity_low"] < row["sensitivity"] < row["sensitivity_high"]


def test_six_of_six_do_not_make_certain():
    films = one_finding([1] * 6 + [0] * 10, [0.9] * 6 + [0.2] * 10)
    thresholds = pd.DataFrame({"finding": ["Mass"], "rule": ["Youden"], "threshold": [0.5]})
    row = thresholding.apply(films, thresholds).iloc[0]
    assert row["sensitivity"] == row["sensitivity_high"] == 1
    # Clopper and Pearson's exact interval begins at 0.54, Wilson's at 0.61.
    assert row["sensitivity_low"] == pytest.approx(0.61, abs=0.01)


def test_a_rate_of_too_few_patients_is_missing_but_counted():
    films = one_finding([1] * 6 + [0] * 10, [0.9] * 3 + [0.1] * 3 + [0.2] * 10)
    thresholds = pd.DataFrame({"finding": ["Mass"], "rule": ["Youden"], "threshold": [0.5]})
    row = thresholding.apply(films, thresholds).iloc[0]
    assert row["true_positives"] == 3 and row["false_positives"] == 0
    assert np.isnan(row["ppv"])  # three flagged patients
    assert row["sensitivity"] == 0.5


def test_a_missing_threshold_gives_missing_rates():
    films = one_finding([1, 0], [0.9, 0.1])
    thresholds = pd.DataFrame({"finding": ["Mass"], "rule": ["Youden"], "threshold": [np.nan]})
    row = thresholding.apply(films, thresholds).iloc[0]
    assert pd.isna(row["true_positives"]) and np.isnan(row["sensitivity"])


def test_thresholds_move_with_the_scale_and_flag_the_same_films(validation):
    fitted = calibration.fit(validation)
    fitted.loc[fitted["finding"] == "Mass", ["intercept", "slope", "method"]] = [
        -2.0, 0.4, "recalibrated",
    ]  # fmt: skip
    moved = validation.rescored(calibration.apply(validation.scores, fitted))
    before, after = (thresholding.choose(films).dropna() for films in (validation, moved))
    assert (after["threshold"] < before["threshold"]).all()
    flagged = [
        (films.scores["Mass"].to_numpy() >= cuts["threshold"].to_numpy()[:, None])
        for films, cuts in ((validation, before), (moved, after))
    ]
    np.testing.assert_array_equal(*flagged)


def test_net_benefit_by_hand():
    films = one_finding([1, 1, 0, 0, 0] * 3, [0.9, 0.3, 0.25, 0.1, 0.05] * 3)
    curve = thresholding.net_benefit(films).set_index("probability")
    # From 0.20 on: two true and one false positive of every five; odds 0.2 / 0.8 = 1/4.
    assert curve.loc[0.2, "net_benefit"] == pytest.approx((2 - 1 / 4) / 5)
    # Flagging all: prevalence 0.4, less 0.6 at the same odds.
    assert curve.loc[0.2, "flag_all"] == pytest.approx(0.4 - 0.6 / 4)


def test_outcomes_show_the_most_telling_films_first():
    target = pd.Series([1, 1, 1, 0, 0], index=list("abcde"))
    score = pd.Series([0.6, 0.9, 0.2, 0.7, 0.1], index=list("abcde"))
    table = thresholding.outcomes(target, score, 0.5, films=1)
    assert list(zip(table["outcome"], table["film"], strict=True)) == [
        ("hit", "b"),
        ("miss", "c"),
        ("false alarm", "d"),
        ("correctly left alone", "e"),
    ]


def test_no_false_alarm_among_few_films_does_not_say_that_there_is_none():
    row = {"sensitivity": 0.5, "specificity": 1.0}
    row |= {"true_positives": 10, "false_negatives": 10, "true_negatives": 49, "false_positives": 0}
    # Half a film of 50 without it: .5 x .001 of .5 x .001 + .01 x .999.
    assert thresholding.rates(row, True) == (0.5, 0.01)
    said = thresholding.in_words(row, True, 0.001)
    assert "of 100 films at or above it about 5 have it, where 0.1 % of films do" in said
    assert "caught 50 % of the test films with it" in said
    assert "where 99.9 % of films do" in thresholding.in_words(row, True, 0.999)


def test_doubt_names_each_reason_for_which_a_film_may_lie_on_either_side():
    assert thresholding.doubt(0.3, 0.1, 0.2) == ""
    # Where nothing is known, nothing is sure.
    assert thresholding.doubt(0.3, np.nan, np.nan) is None
    assert thresholding.doubt(np.nan, 0.1, 0.4, [0.1, 0.4]) is None
    assert "interval (20 to 99.6 %)" in thresholding.doubt(0.5, 0.2, 0.996)
    assert "interval (less than 0.01 to 67 %)" in thresholding.doubt(0.5, 3e-7, 0.67)
    assert thresholding.doubt(0.3, np.nan, np.nan, [0.3, 0.4, 0.9]) == ""
    assert thresholding.doubt(0.3, 0.1, 0.4, [0.2, 0.3, 0.4]) == (
        "unsure, since the probability's own interval (10 to 40 %) spans the threshold and "
        "2 of the ensemble's 3 members are above it"
    )
