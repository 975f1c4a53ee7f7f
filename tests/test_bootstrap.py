"""Ranking metrics under weights, and intervals that respect patients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn import metrics

from cxr import bootstrap


def one_patient_each(films: int) -> bootstrap.Resamples:
    return bootstrap.Resamples(np.arange(films), np.ones((films, 1), np.uint8))


def test_auroc_counts_correctly_ranked_pairs():
    # Of the 2 x 2 positive-negative pairs, three are ranked correctly.
    ranking = bootstrap.Ranking([1, 1, 0, 0], [0.9, 0.4, 0.6, 0.1], one_patient_each(4))
    assert ranking.estimate("auroc") == pytest.approx(0.75)


def test_ties_count_half():
    ranking = bootstrap.Ranking([1, 0], [0.5, 0.5], one_patient_each(2))
    assert ranking.estimate("auroc") == pytest.approx(0.5)


def test_average_precision_by_hand():
    # Falling scores: hit, miss, hit. Precision 1 at the first, 2/3 at the second hit.
    ranking = bootstrap.Ranking([1, 0, 1], [0.9, 0.5, 0.3], one_patient_each(3))
    assert ranking.estimate("auprc") == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize("target", [[0, 0, 0], [1, 1, 1], []])
@pytest.mark.parametrize("metric", ["auroc", "auprc"])
def test_one_class_is_not_estimable(target, metric):
    score = np.linspace(0, 1, len(target))
    assert np.isnan(
        bootstrap.Ranking(target, score, one_patient_each(len(target))).estimate(metric)
    )


@given(
    data=st.data(),
    films=st.integers(2, 60),
    levels=st.integers(1, 8),
)
def test_weighted_metrics_equal_scikit_learn(data, films, levels):
    # Few levels make many ties; weights of 0 leave patients out as a resample does.
    target = data.draw(hnp.arrays(np.int8, films, elements=st.integers(0, 1)))
    score = data.draw(hnp.arrays(np.int8, films, elements=st.integers(0, levels))) / levels
    patient = data.draw(hnp.arrays(np.int64, films, elements=st.integers(0, 9)))
    weights = data.draw(hnp.arrays(np.uint8, (10, 1), elements=st.integers(0, 4)))
    resamples = bootstrap.Resamples(patient, weights)
    film_weights = weights[patient, 0]
    kept = film_weights > 0
    ranking = bootstrap.Ranking(target, score, resamples)
    values = {metric: ranking.replicates(metric, resamples)[0] for metric in ("auroc", "auprc")}
    if len(np.unique(target[kept])) < 2:
        assert np.isnan(list(values.values())).all()
        return
    known = {"y_true": target[kept], "sample_weight": film_weights[kept]}
    expected = {
        "auroc": metrics.roc_auc_score(y_score=score[kept], **known),
        "auprc": metrics.average_precision_score(y_score=score[kept], **known),
    }
    assert values == pytest.approx(expected, abs=1e-12)


def test_a_patient_is_drawn_with_all_films_or_not_at_all():
    patients = np.array([7, 7, 7, 3, 3, 9])
    resamples = bootstrap.resample(patients, replicates=50, seed=1)
    films = resamples.sums(np.eye(6))  # how often each film counts in each replicate
    assert (films[:, 0] == films[:, 1]).all() and (films[:, 3] == films[:, 4]).all()
    assert (resamples.counts.sum(axis=0) == 3).all()


def test_sums_add_up_what_was_drawn():
    resamples = bootstrap.Resamples(np.array([0, 0, 1]), np.array([[2, 0], [1, 3]], np.uint8))
    # Films 1 and 2 belong to patient 0: drawn twice and never; film 3 once and three times.
    np.testing.assert_array_equal(
        resamples.sums(np.array([[1.0], [10.0], [100.0]])), [[122.0], [300.0]]
    )


def test_the_same_seed_draws_the_same_patients():
    first, second, other = (
        bootstrap.resample(range(30), replicates=20, seed=seed).counts for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert (first != other).any()


def test_the_interval_holds_the_middle_95_percent():
    low, high = bootstrap.interval(np.arange(1001.0))
    assert (float(low), float(high)) == pytest.approx((25, 975))


def test_the_interval_leaves_out_replicates_without_positives():
    low, high = bootstrap.interval(np.array([[np.nan, np.nan], [0.5, np.nan]]))
    np.testing.assert_array_equal(low, [0.5, np.nan])
    np.testing.assert_array_equal(high, [0.5, np.nan])


def test_the_mean_keeps_what_it_averages_in_every_replicate():
    # The second finding was not drawn in replicate 0 and keeps 0.9; the third never counts.
    estimates = np.array([0.6, 0.9, np.nan])
    replicates = np.array([[0.5, np.nan, np.nan], [0.7, 0.8, np.nan]])
    np.testing.assert_allclose(bootstrap.mean_replicates(estimates, replicates), [0.7, 0.75])


def test_few_patients_are_not_enough():
    # Ten positive films of four patients: no interval.
    target = np.array([1] * 10 + [0] * 10)
    patient = np.r_[np.arange(10) % 4, np.arange(10, 20)]
    assert not bootstrap.enough(target, patient)
    assert bootstrap.enough(target, np.arange(20))


def simulate(random: np.random.Generator, patients: int):
    """Films whose labels and scores both depend on the patient; three a patient on average."""
    patient = np.repeat(np.arange(patients), random.geometric(1 / 3, size=patients))
    illness = 1.2 * random.normal(size=patients)[patient]
    target = (illness + 0.6 * random.normal(size=len(patient)) > 1.9).astype(int)
    habit = 0.9 * random.normal(size=patients)[patient]
    return patient, target, target + habit + 0.5 * random.normal(size=len(patient))


def coverage(repetitions: int, seed: int) -> dict[str, float]:
    """Share of 95 % intervals that hold the true AUROC, resampling patients or films."""
    random = np.random.default_rng(seed)
    truth = metrics.roc_auc_score(*simulate(random, 400_000)[1:])
    covered = {"patient": 0, "film": 0}
    for repetition in range(repetitions):
        patient, target, score = simulate(random, 600)
        for unit, cluster in (("patient", patient), ("film", np.arange(len(patient)))):
            resamples = bootstrap.resample(cluster, replicates=300, seed=repetition)
            _, low, high = bootstrap.auroc(target, score, resamples)
            covered[unit] += low <= truth <= high
    return {unit: count / repetitions for unit, count in covered.items()}


def test_patient_intervals_cover_and_film_intervals_do_not():
    rates = coverage(120, seed=3)
    # 120 repetitions: a true rate of 0.95 falls below 0.88 about once in a thousand seeds.
    assert rates["patient"] >= 0.88
    assert rates["film"] < 0.88


@pytest.mark.soak
def test_coverage_is_nominal_over_many_repetitions():
    rates = coverage(2000, seed=11)
    print(f"coverage of nominal 95 % intervals: {rates}")
    assert rates["patient"] == pytest.approx(0.95, abs=0.02)
    assert rates["film"] < 0.85
