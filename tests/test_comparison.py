"""Models against each other and against published results."""

import numpy as np
import pandas as pd
import pytest

from cxr import adjudicated, comparison, evaluation
from cxr.findings import FINDINGS


@pytest.fixture
def films():
    random = np.random.default_rng(0)
    targets = pd.DataFrame(random.random((400, 14)) < 0.25, columns=list(FINDINGS)).astype(np.int8)
    targets["Hernia"] = 0
    good = pd.DataFrame(random.normal(size=(400, 14)) + targets, columns=list(FINDINGS))
    poor = good + 3 * random.normal(size=(400, 14))
    return targets, {"good": good, "poor": poor}, pd.Series(random.integers(150, size=400))


def test_the_better_model_wins_and_the_difference_is_of_their_aurocs(films):
    targets, scores, patients = films
    table = comparison.between(targets, scores, patients, replicates=200).set_index("finding")
    tables = {
        name: evaluation.auroc_by_finding(targets, frame, patients, replicates=200)
        for name, frame in scores.items()
    }
    expected = tables["good"]["auroc"] - tables["poor"]["auroc"]
    np.testing.assert_allclose(table["difference"], expected, atol=1e-12)
    assert table.loc["Mean", "p"] < 0.001
    assert 0 < table.loc["Mean", "low"] < table.loc["Mean", "high"]
    assert np.isnan(table.loc["Hernia", "difference"]) and np.isnan(table.loc["Hernia", "p"])


def test_a_model_does_not_differ_from_itself(films):
    targets, scores, patients = films
    same = {"one": scores["good"], "two": scores["good"]}
    table = comparison.between(targets, same, patients, replicates=100).dropna()
    assert (table["difference"] == 0).all() and (table["p_corrected"] == 1).all()


def test_pairing_is_narrower_than_two_independent_intervals(films):
    targets, scores, patients = films
    near = {"one": scores["good"], "two": scores["good"] + 0.1 * scores["poor"]}
    paired = comparison.between(targets, near, patients, replicates=200).iloc[-1]
    alone = evaluation.auroc_by_finding(targets, near["one"], patients, replicates=200).iloc[-1]
    assert paired["high"] - paired["low"] < alone["high"] - alone["low"]


def test_holm_by_hand():
    # Sorted: 0.01 x 3, 0.02 x 2, 0.04 x 1; a later one is never smaller than an earlier.
    corrected = comparison.holm(np.array([0.04, 0.01, np.nan, 0.02]))
    np.testing.assert_allclose(corrected, [0.04, 0.03, np.nan, 0.04])


def mean_table(films, auroc=0.8):
    return pd.DataFrame(
        {
            "finding": [*FINDINGS, "Mean"],
            "auroc": auroc,
            "low": auroc - 0.01,
            "high": auroc + 0.01,
            "films": films,
        }
    )


def test_published_results_compare_on_the_same_test_films_only():
    complete = {"ours": mean_table(25_596)}
    table = comparison.published(complete, split="official").set_index("source")
    assert table.loc["Wang et al.", "comparable"]
    assert not table.loc["CheXNet", "comparable"]
    assert table.index[table["auroc"].argmax()] == table.index[0]
    for other in (
        comparison.published(complete, split="patient"),
        comparison.published({"ours": mean_table(1000)}, split="official"),
        comparison.published({}, split="official"),
    ):
        assert not other.loc[~other["ours"], "comparable"].any()


def test_published_means_agree_with_their_findings():
    by_finding = comparison.published_by_finding({}).set_index("finding")
    means = comparison.published({}, split="official").set_index("source")["auroc"]
    # The recipe that was published per finding is the plainest of the DenseNets.
    means["DenseNet121, plain recipe"] = 0.801
    for source in by_finding:
        assert by_finding[source].mean() == pytest.approx(
            means[source.removesuffix(" (official)")], abs=0.001
        )


def test_adjudicated_labels_cover_several_findings():
    films = ["a.png", "b.png", "c.png", "d.png"]
    targets = pd.DataFrame(0, index=films, columns=list(FINDINGS), dtype=np.int8)
    targets.loc["a.png", "Nodule"] = targets.loc["b.png", "Mass"] = 1
    scores = pd.DataFrame(0.1, index=films, columns=list(FINDINGS))
    scores.loc["a.png", "Mass"], scores.loc["c.png", "Nodule"] = 0.9, 0.5
    agreed = pd.DataFrame({"film": [*films[:3], "elsewhere.png"]})
    for label in ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass"):
        agreed[label] = False
    agreed["Nodule or mass"] = [True, False, True, True]
    table = adjudicated.evaluate(
        agreed, targets, scores, pd.Series(range(4), index=films), replicates=100
    ).set_index("label")
    row = table.loc["Nodule or mass"]
    assert (row["films"], row["positives"]) == (3, 2)
    # The radiologists' two films score 0.9 and 0.5, the third 0.1.
    assert row["auroc"] == 1.0
    # Mined: a and b, of which a is right; of the two right ones, a was mined.
    assert (row["mined_ppv"], row["mined_sensitivity"]) == (0.5, 0.5)
    assert np.isnan(table.loc["Pneumothorax", "auroc"])


def test_text_mining_agrees_with_radiologists_as_published(
    real_records, real_splits, real_adjudicated
):
    # On official test films: Pneumothorax PPV .48, sensitivity .50; nodule or mass .57, .45.
    split = real_splits["official"]
    test = real_records.loc[split.index[split == "test"]].set_index("film")
    table = adjudicated.evaluate(
        real_adjudicated, test, test[[*FINDINGS]].astype(float), test["patient_id"], replicates=100
    ).set_index("label")
    agreement = table[["mined_ppv", "mined_sensitivity"]]
    assert agreement.loc["Pneumothorax"].tolist() == pytest.approx([0.48, 0.50], abs=0.006)
    assert agreement.loc["Nodule or mass"].tolist() == pytest.approx([0.57, 0.45], abs=0.006)


def test_no_adjudicated_test_film_is_not_estimable():
    films = pd.Index(["a.png"])
    targets = pd.DataFrame(0, index=films, columns=list(FINDINGS), dtype=np.int8)
    agreed = pd.DataFrame({"film": ["b.png"]} | {key: [True] for key in adjudicated.MAPPING})
    table = adjudicated.evaluate(
        agreed, targets, targets.astype(float), pd.Series([1], index=films), replicates=100
    )
    assert table["auroc"].isna().all() and (table["films"] == 0).all()
