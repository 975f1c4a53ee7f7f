"""Leaving out each patient: exact statistics, and intervals that hold what they promise."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from cxr import config
from cxr.evaluation import intervals

sys.path.insert(0, str(config.PROJECT / "benchmarks" / "accuracy"))
import coverage


def ranked(metric, target, score, patient=None):
    patient = np.arange(len(target)) if patient is None else intervals.numbered(patient)
    return intervals.ranking(metric, target, score, patient, patient.max(initial=-1) + 1)


def test_auroc_counts_correctly_ranked_pairs():
    # Of the 2 x 2 positive-negative pairs, three are ranked correctly.
    assert ranked("auroc", [1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1]).value == pytest.approx([0.75])


def test_ties_count_half():
    assert ranked("auroc", [1, 0], [0.5, 0.5]).value == pytest.approx([0.5])


def test_average_precision_by_hand():
    # Falling scores: hit, miss, hit. Precision 1 at the first, 2/3 at the second hit.
    value = ranked("auprc", [1, 0, 1], [0.9, 0.5, 0.3]).value
    assert value == pytest.approx([(1 + 2 / 3) / 2])


@pytest.mark.parametrize("target", [[0, 0, 0], [1, 1, 1], []])
@pytest.mark.parametrize("metric", ["auroc", "auprc"])
def test_one_class_is_not_estimable(target, metric):
    assert np.isnan(ranked(metric, target, np.linspace(0, 1, len(target))).value).all()


@given(data=st.data(), films=st.integers(2, 60), levels=st.integers(1, 8))
def test_every_patient_left_out_gives_what_scikit_learn_gives_without_them(data, films, levels):
    # Few levels make many ties; a patient may have films of both kinds.
    target = data.draw(hnp.arrays(np.int8, films, elements=st.integers(0, 1)))
    score = data.draw(hnp.arrays(np.int8, films, elements=st.integers(0, levels))) / levels
    patient = intervals.numbered(data.draw(hnp.arrays(np.int64, films, elements=st.integers(0, 9))))
    functions = {"auroc": metrics.roc_auc_score, "auprc": metrics.average_precision_score}
    for metric, expected in functions.items():
        estimate = ranked(metric, target, score, patient)
        if len(np.unique(target)) < 2:
            assert np.isnan(estimate.value).all() and np.isnan(estimate.without).all()
            continue
        assert estimate.value == pytest.approx([expected(target, score)], abs=1e-12)
        for left_out in range(patient.max() + 1):
            rest = patient != left_out
            if len(np.unique(target[rest])) == 2:
                known = expected(target[rest], score[rest])
                assert estimate.without[left_out] == pytest.approx([known], abs=1e-12)


def test_ratios_leave_out_all_films_of_a_patient():
    above, below = np.array([[1.0], [0], [1], [1]]), np.ones((4, 1))
    estimate = intervals.ratios(above, below, np.array([0, 0, 1, 2]), 3)
    assert estimate.value == pytest.approx([3 / 4])
    assert estimate.without[:, 0] == pytest.approx([2 / 2, 2 / 3, 2 / 3])


def test_the_error_of_a_mean_of_single_films_is_the_textbooks():
    values = np.random.default_rng(0).normal(size=(50, 1))
    estimate = intervals.ratios(values, np.ones((50, 1)), np.arange(50), 50)
    assert estimate.error() == pytest.approx(values.std(ddof=1) / np.sqrt(50))


def test_a_difference_from_itself_has_no_error_and_the_mean_leaves_out_the_unknown():
    random = np.random.default_rng(1)
    value, without = np.array([0.6, np.nan, 0.8]), random.normal(size=(9, 3))
    estimate = intervals.Estimate(value, without)
    assert (estimate - estimate).error() == pytest.approx(0)
    assert (estimate - estimate).p_values()[0] == 1
    assert np.isnan((estimate - estimate).p_values()[1])
    mean = estimate.mean()
    assert mean.value == pytest.approx([0.7])
    assert mean.without[:, 0] == pytest.approx(without[:, [0, 2]].mean(axis=1))
    assert np.isnan(estimate[[1]].mean().value)


def test_the_bias_of_a_squared_mean_is_taken_off():
    # The square of a mean exceeds the squared mean by the variance over n, to first order.
    values = np.random.default_rng(0).normal(2, 1, size=(40, 1))
    mean = intervals.ratios(values, np.ones((40, 1)), np.arange(40), 40)
    squared = intervals.Estimate(mean.value**2, mean.without**2)
    expected = mean.value**2 - values.var(ddof=1) / 40
    assert squared.unbiased().value == pytest.approx(expected, abs=1e-12)
    assert squared.unbiased().error() == pytest.approx(squared.error())


def test_bounds_end_where_values_do():
    estimate = intervals.Estimate(np.array([0.98]), np.array([[0.9], [1.0], [0.95]]))
    low, high = estimate.bounds(single=False, least=0, most=1)
    assert 0 <= low[0] < 0.98 and high[0] == 1


def test_a_variance_that_few_patients_make_up_is_worth_few_degrees_of_freedom():
    even = intervals.Estimate(np.zeros(1), np.array([[1.0], [-1.0]] * 20))
    uneven = intervals.Estimate(np.zeros(1), np.array([[1.0], [-1.0]] + [[0.0]] * 38))
    assert even.freedom(single=False) == pytest.approx([80])
    assert uneven.freedom(single=False) == pytest.approx([4])
    assert uneven.freedom(single=True) == pytest.approx([1.5])


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_at_the_ends_wilsons_interval_stands_in(value):
    estimate = intervals.Estimate(np.array([value]), np.full((8, 1), value))
    low, high = (bound[0] for bound in estimate.logit_bounds(8, single=True))
    reach = 1.959964**2 / (8 + 1.959964**2)
    assert (low, high) == pytest.approx((0, reach) if value == 0 else (1 - reach, 1))


def test_one_patient_who_decides_alone_widens_an_interval_to_wilsons_and_no_further():
    # All of the variance is of one patient, worth one degree of freedom.
    without = np.full((30, 1), 0.85)
    without[0] = 0.6
    estimate = intervals.Estimate(np.array([0.85]), without)
    low, high = (bound[0] for bound in estimate.logit_bounds(6, single=True))
    # Wilson's interval of 0.85 for six patients.
    assert (low, high) == pytest.approx((0.4518, 0.9750), abs=5e-4)
    assert estimate.logit_bounds(1e9, single=True)[0] > low


def test_patients_with_many_films_count_for_fewer():
    counted = np.ones((12, 1), dtype=bool)
    assert intervals.effective(counted, np.arange(12), 12) == pytest.approx([12])
    assert intervals.effective(counted, np.repeat([0, 1], 6), 2) == pytest.approx([2])
    uneven = np.array([0] * 10 + [1, 2])
    assert intervals.effective(counted, uneven, 3) == pytest.approx([144 / 102])


def test_two_films_of_one_patient_promise_nothing():
    assert np.isnan(intervals.auroc([1, 0], [0.667, 0.1], [7, 7])).all()
    assert np.isnan(intervals.rate([True, True], [True, True], [7, 7])).all()


def test_few_patients_are_not_enough():
    # Ten positive films of four patients.
    target = np.array([1] * 10 + [0] * 10)
    patient = np.r_[np.arange(10) % 4, np.arange(10, 20)]
    assert not intervals.enough(target, patient)
    assert intervals.enough(target, np.arange(20))


# ---- what intervals promise: benchmarks/accuracy/coverage.py ------------------------


def test_a_sample_of_the_coverage_is_as_promised():
    """A true 0.95 falls below 0.88 in 200 repetitions about once in ten thousand seeds."""
    at_minimum = (intervals.FEWEST_PATIENTS, 0.5, 0.85, 200)
    ranked_ = coverage.ranking(at_minimum)
    assert ranked_["AUROC"] >= 0.88 and ranked_["AUPRC"] >= 0.88
    assert coverage.rates((10, 0.5, 0.90, 200))["rate"] >= 0.88
    whole = coverage.whole((300, 0.2, 60))
    assert whole["mean AUROC"] >= 0.85 and whole["mean AUPRC"] >= 0.85
    # Were it 0.06, more than nine of 60 would come once in a hundred seeds.
    assert whole["family-wise error"] <= 9 / 60


def test_settings_are_seeded():
    setting = (5, 0.5, 0.85, 5)
    assert coverage.ranking(setting) == coverage.ranking(setting)


@pytest.mark.soak
def test_intervals_cover_and_comparisons_do_not_cry_wolf():
    fewest = intervals.FEWEST_PATIENTS
    assert fewest <= 10
    counts = [n for n in coverage.POSITIVES if n >= fewest]
    ranked_ = coverage.measure(coverage.ranking, counts, coverage.CORRELATIONS, coverage.AUROCS)
    rates = coverage.measure(coverage.rates, counts, coverage.CORRELATIONS, coverage.RATES)
    whole = coverage.measure(coverage.whole, (300, 530), (0.2, 0.6))
    for table, measure, most in (
        (ranked_, "AUROC", 0.98),
        (ranked_, "AUPRC", 0.99),
        (rates, "rate", 0.98),
    ):
        print(coverage.by_positives(table).round(3).to_string())
        assert table[measure].min() >= 0.92, measure
        assert 0.94 <= table[measure].mean() <= most, measure
    print(whole.round(3).to_string(index=False))
    assert whole["mean AUROC"].between(0.93, 0.97).all()
    assert (whole["mean AUPRC"] >= 0.92).all()
    assert (whole["family-wise error"] <= 0.06).all()
