"""Tables of the evaluation: ranking, curves, the original's table."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from cxr.evaluation import calibration, comparison, intervals, ranking, thresholding
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS


@pytest.fixture
def films():
    """200 films of 60 patients; Hernia has no positive, Mass one, Edema only positives."""
    random = np.random.default_rng(0)
    targets = pd.DataFrame(random.random((200, 14)) < 0.2, columns=list(FINDINGS)).astype(np.int8)
    targets["Hernia"], targets["Edema"], targets["Mass"] = 0, 1, 0
    targets.loc[17, "Mass"] = 1
    scores = pd.DataFrame(
        np.round(0.6 * random.random((200, 14)) + 0.2 * targets.to_numpy(), 2),
        columns=list(FINDINGS),
    )
    return Judged(targets, scores, pd.Series(random.integers(60, size=200)))


def judged(targets, scores):
    """Every film of another patient; findings that are not named have no positive."""
    every = pd.DataFrame(0, index=targets.index, columns=list(FINDINGS), dtype=np.int8)
    every[targets.columns] = targets
    return Judged(every, scores, pd.Series(range(len(every)), index=every.index))


def test_each_finding_has_its_auroc_and_the_mean_leaves_out_the_unknown(films):
    table = ranking.auroc_by_finding(films)
    assert list(table.columns) == [
        "finding", "auroc", "low", "high", "positives", "positive_patients", "films",
        "patients", "remark",
    ]  # fmt: skip
    assert list(table["finding"]) == [*FINDINGS, "Mean"]
    table = table.set_index("finding")
    unknown = ["Hernia", "Edema", "Mass"]
    assert table.loc[unknown, "auroc"].isna().all()
    assert (table.loc[unknown, "remark"] == "too few patients").all()
    known = [f for f in FINDINGS if f not in unknown]
    expected = [metrics.roc_auc_score(films.targets[f], films.scores[f]) for f in known]
    np.testing.assert_allclose(table.loc[known, "auroc"], expected, atol=1e-12)
    mean = table.loc["Mean"]
    assert mean["auroc"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert mean["low"] < mean["auroc"] < mean["high"]
    assert mean["remark"] == "mean of 11 findings"
    assert table.loc["Effusion", "low"] < table.loc["Effusion", "high"]


@pytest.mark.parametrize("missing", [0, 1])
def test_one_rule_decides_everywhere_what_too_few_patients_are(missing):
    """Every table either judges Mass or does not; one patient makes the difference."""
    positives = intervals.FEWEST_PATIENTS - missing
    films = pd.Index(range(60))
    target = (films < positives).astype(np.int8)
    random = np.random.default_rng(0)
    scores = pd.DataFrame({"Mass": (random.random(60) + target) / 2}, index=films)
    one = judged(pd.DataFrame({"Mass": target}, index=films), scores)
    enough = not missing
    tables = {
        "auroc": ranking.auroc_by_finding(one)["auroc"],
        "auprc": ranking.auprc_by_finding(one)["auprc"],
        "threshold": thresholding.choose(one)["threshold"],
        "brier": calibration.measures(one)["brier"],
        "difference": comparison.between({"a": one, "b": one})["difference"],
        "p": comparison.between({"a": one, "b": one})["p_corrected"],
    }
    for name, values in tables.items():
        assert values.notna().any() == enough, name
    for curves in (
        ranking.roc_curves,
        ranking.precision_recall_curves,
        calibration.reliability,
        thresholding.net_benefit,
    ):
        assert (len(curves(one)) > 0) == enough, curves.__name__
    assert (calibration.fit(one)["loss_before"].notna()).any() == enough
    assert np.isfinite(intervals.auroc(target, scores["Mass"], films)).all() == enough


def test_many_films_of_few_patients_are_few(films):
    few = Judged(films.targets, films.scores, films.patients % 4)
    assert set(few.remarks.values()) == {"too few patients"}
    assert np.isnan(ranking.auroc_by_finding(few)["auroc"]).all()


def test_average_precision_stands_beside_the_prevalence(films):
    table = ranking.auprc_by_finding(films).set_index("finding")
    targets, scores = films.targets["Effusion"], films.scores["Effusion"]
    assert table.loc["Effusion", "auprc"] == pytest.approx(
        metrics.average_precision_score(targets, scores), abs=1e-12
    )
    assert table.loc["Effusion", "prevalence"] == targets.mean()


def test_a_finding_without_scores_is_not_scored(films):
    part = films.rescored(films.scores.drop(columns="Nodule"))
    table = ranking.auroc_by_finding(part).set_index("finding")
    assert np.isnan(table.loc["Nodule", "auroc"])
    assert table.loc["Nodule", "remark"] == "not scored"
    assert not np.isnan(table.loc["Effusion", "auroc"])


def test_rows_that_do_not_belong_together_are_refused(films):
    with pytest.raises(ValueError, match="same rows"):
        Judged(films.targets, films.scores.iloc[::-1], films.patients)


def test_a_part_keeps_the_numbers_of_its_patients(films):
    some = (films.patients < 30).to_numpy()
    part = films.part(some)
    assert part.number == films.number
    # Leaving out a patient who is not among these films changes nothing.
    elsewhere = np.setdiff1d(films.codes[~some], part.codes)
    column = FINDINGS.index("Effusion")
    here = part.auroc.without[elsewhere, column]
    np.testing.assert_allclose(here, part.auroc.value[column], atol=1e-12)


def test_a_constant_score_is_no_better_than_chance():
    targets = np.array([[1], [0], [1], [0], [0]])
    np.testing.assert_array_equal(ranking.auroc(targets, np.full((5, 1), 0.3)), [0.5])


def test_curves_are_those_of_scikit_learn(films):
    targets, scores = films.targets, films.scores
    curves = ranking.roc_curves(films)
    assert not set(curves["finding"]) & {"Hernia", "Edema"}
    curve = curves[curves["finding"] == "Effusion"]
    false_positive_rate, sensitivity, _ = metrics.roc_curve(targets["Effusion"], scores["Effusion"])
    np.testing.assert_array_equal(curve["false_positive_rate"], false_positive_rate)
    np.testing.assert_array_equal(curve["sensitivity"], sensitivity)


def test_a_thinned_curve_keeps_its_ends_and_its_area():
    random = np.random.default_rng(1)
    targets = pd.DataFrame({"Mass": random.random(20_000) < 0.3}).astype(np.int8)
    scores = pd.DataFrame({"Mass": random.normal(size=20_000) + targets["Mass"]})
    curve = ranking.roc_curves(judged(targets, scores))
    assert len(curve) <= ranking.CURVE_POINTS + 2
    assert curve[["false_positive_rate", "sensitivity"]].iloc[[0, -1]].to_numpy().tolist() == [
        [0, 0],
        [1, 1],
    ]
    area = metrics.auc(curve["false_positive_rate"], curve["sensitivity"])
    assert area == pytest.approx(metrics.roc_auc_score(targets, scores), abs=1e-3)


def test_precision_recall_points_are_reachable(films):
    targets, scores = films.targets, films.scores
    curve = ranking.precision_recall_curves(films).query("finding == 'Effusion'")
    for row in curve.itertuples():
        flagged = scores["Effusion"] >= row.threshold
        assert row.precision == pytest.approx(targets["Effusion"][flagged].mean())
        assert row.sensitivity == pytest.approx(
            targets["Effusion"][flagged].sum() / targets["Effusion"].sum()
        )


def test_the_flattened_auc_flatters_a_constant_guess():
    # Two findings, 3 of 4 and 1 of 4 films: the constant guess ranks 9 of 16 pairs
    # correctly and ties 6 more, although it cannot tell any two films apart.
    targets = pd.DataFrame({"Effusion": [1, 1, 1, 0], "Mass": [1, 0, 0, 0]}, dtype=np.int8)
    scores = pd.DataFrame({"Effusion": [0.5] * 4, "Mass": [0.5] * 4})
    result = ranking.flattened_auc(judged(targets, scores)).iloc[0]
    assert result["constant"] == pytest.approx((9 + 6 / 2) / 16)
    assert result["flattened"] == 0.5


def test_predicted_versus_actual_is_in_percent():
    targets = pd.DataFrame({"Effusion": [1, 0, 0, 0]}, dtype=np.int8)
    scores = pd.DataFrame({"Effusion": [0.5, 0.1, 0.1, 0.1]})
    table = ranking.predicted_versus_actual(judged(targets, scores))
    assert list(table.columns) == ["label", "dx", "pdx"]
    assert table.iloc[0].tolist() == ["Effusion", 25.0, pytest.approx(20.0)]


def test_the_best_run_is_chosen_by_its_mean_auroc():
    targets = pd.DataFrame({"Effusion": [1, 0] * 5}, dtype=np.int8)
    good, bad = (
        judged(targets, pd.DataFrame({"Effusion": pair * 5})) for pair in ([0.9, 0.1], [0.1, 0.9])
    )
    assert ranking.best({"bad": bad, "good": good}) == "good"
    few = np.arange(10) < 2
    assert ranking.best({"first": bad.part(few), "second": good.part(few)}) == "first"
