"""Tables of the evaluation: ranking, curves, the original's table."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from cxr import evaluation
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
    return targets, scores, pd.Series(random.integers(60, size=200))


def test_each_finding_has_its_auroc_and_the_mean_leaves_out_the_unknown(films):
    targets, scores, patients = films
    table = evaluation.auroc_by_finding(targets, scores, patients, replicates=100)
    assert list(table.columns) == [
        "finding", "auroc", "low", "high", "positives", "films", "patients",
    ]  # fmt: skip
    assert list(table["finding"]) == [*FINDINGS, "Mean"]
    table = table.set_index("finding")
    assert table.loc[["Hernia", "Edema"], "auroc"].isna().all()
    known = [f for f in FINDINGS if f not in ("Hernia", "Edema")]
    expected = [metrics.roc_auc_score(targets[f], scores[f]) for f in known]
    np.testing.assert_allclose(table.loc[known, "auroc"], expected, atol=1e-12)
    assert table.loc["Mean", "auroc"] == pytest.approx(np.mean(expected), abs=1e-12)
    assert table.loc["Mean", "low"] < table.loc["Mean", "auroc"] < table.loc["Mean", "high"]
    assert table.loc["Effusion", "low"] < table.loc["Effusion", "high"]


def test_one_positive_has_an_auroc_but_no_interval(films):
    table = evaluation.auroc_by_finding(*films, replicates=100).set_index("finding")
    assert 0 <= table.loc["Mass", "auroc"] <= 1
    assert np.isnan(table.loc["Mass", "low"]) and np.isnan(table.loc["Mass", "high"])


def test_average_precision_stands_beside_the_prevalence(films):
    targets, scores, patients = films
    table = evaluation.auprc_by_finding(targets, scores, patients, replicates=100)
    table = table.set_index("finding")
    assert table.loc["Effusion", "auprc"] == pytest.approx(
        metrics.average_precision_score(targets["Effusion"], scores["Effusion"]), abs=1e-12
    )
    assert table.loc["Effusion", "prevalence"] == targets["Effusion"].mean()


def test_a_finding_without_scores_is_not_estimable(films):
    targets, scores, patients = films
    table = evaluation.auroc_by_finding(
        targets, scores.drop(columns="Nodule"), patients, replicates=100
    ).set_index("finding")
    assert np.isnan(table.loc["Nodule", "auroc"])
    assert not np.isnan(table.loc["Effusion", "auroc"])


def test_rows_that_do_not_belong_together_are_refused(films):
    targets, scores, patients = films
    with pytest.raises(ValueError, match="same rows"):
        evaluation.auroc_by_finding(targets, scores.iloc[::-1], patients)


def test_a_constant_score_is_no_better_than_chance():
    targets = np.array([[1], [0], [1], [0], [0]])
    np.testing.assert_array_equal(evaluation.auroc(targets, np.full((5, 1), 0.3)), [0.5])


def test_curves_are_those_of_scikit_learn(films):
    targets, scores, _ = films
    curves = evaluation.roc_curves(targets, scores)
    assert not set(curves["finding"]) & {"Hernia", "Edema"}
    curve = curves[curves["finding"] == "Effusion"]
    false_positive_rate, sensitivity, _ = metrics.roc_curve(targets["Effusion"], scores["Effusion"])
    np.testing.assert_array_equal(curve["false_positive_rate"], false_positive_rate)
    np.testing.assert_array_equal(curve["sensitivity"], sensitivity)


def test_a_thinned_curve_keeps_its_ends_and_its_area():
    random = np.random.default_rng(1)
    targets = pd.DataFrame({"Mass": random.random(20_000) < 0.3}).astype(np.int8)
    scores = pd.DataFrame({"Mass": random.normal(size=20_000) + targets["Mass"]})
    curve = evaluation.roc_curves(targets, scores)
    assert len(curve) <= evaluation.CURVE_POINTS + 2
    assert curve[["false_positive_rate", "sensitivity"]].iloc[[0, -1]].to_numpy().tolist() == [
        [0, 0],
        [1, 1],
    ]
    area = metrics.auc(curve["false_positive_rate"], curve["sensitivity"])
    assert area == pytest.approx(metrics.roc_auc_score(targets, scores), abs=1e-3)


def test_precision_recall_points_are_reachable(films):
    targets, scores, _ = films
    curve = evaluation.precision_recall_curves(targets, scores).query("finding == 'Effusion'")
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
    result = evaluation.flattened_auc(targets, scores)
    assert result["constant"] == pytest.approx((9 + 6 / 2) / 16)
    assert result["flattened"] == 0.5


def test_predicted_versus_actual_is_in_percent():
    targets = pd.DataFrame({"Effusion": [1, 0, 0, 0]}, dtype=np.int8)
    scores = pd.DataFrame({"Effusion": [0.5, 0.1, 0.1, 0.1]})
    table = evaluation.predicted_versus_actual(targets, scores)
    assert list(table.columns) == ["label", "dx", "pdx"]
    assert table.iloc[0].tolist() == ["Effusion", 25.0, pytest.approx(20.0)]


def test_the_best_run_is_chosen_by_its_mean_auroc():
    targets = pd.DataFrame({"Effusion": [1, 0]}, dtype=np.int8)
    good, bad = pd.DataFrame({"Effusion": [0.9, 0.1]}), pd.DataFrame({"Effusion": [0.1, 0.9]})
    assert evaluation.best(targets, {"bad": bad, "good": good}) == "good"
    assert evaluation.best(targets[:0], {"first": bad[:0], "second": good[:0]}) == "first"
