"""Models against each other and against published results."""

import numpy as np
import pandas as pd
import pytest

from cxr.evaluation import comparison, radiologists, ranking
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS


@pytest.fixture
def films():
    random = np.random.default_rng(0)
    targets = pd.DataFrame(random.random((400, 14)) < 0.25, columns=list(FINDINGS)).astype(np.int8)
    targets["Hernia"] = 0
    good = pd.DataFrame(random.normal(size=(400, 14)) + targets, columns=list(FINDINGS))
    poor = good + 3 * random.normal(size=(400, 14))
    patients = pd.Series(random.integers(150, size=400))
    return {"good": Judged(targets, good, patients), "poor": Judged(targets, poor, patients)}


def test_the_better_model_wins_and_the_difference_is_of_their_aurocs(films):
    table = comparison.between(films).set_index("finding")
    tables = {name: ranking.auroc_by_finding(one) for name, one in films.items()}
    expected = tables["good"]["auroc"] - tables["poor"]["auroc"]
    np.testing.assert_allclose(table["difference"], expected, atol=1e-12)
    assert table.loc["Mean", "p"] < 0.001
    assert 0 < table.loc["Mean", "low"] < table.loc["Mean", "high"]
    assert np.isnan(table.loc["Hernia", "difference"]) and np.isnan(table.loc["Hernia", "p"])
    assert table.loc["Hernia", "remark"] == "too few patients"
    assert table.loc["Mean", "remark"] == "mean of 13 findings"


def test_one_positive_film_decides_between_no_two_models(films):
    one = {}
    for name, judged in films.items():
        targets = judged.targets.copy()
        targets["Hernia"] = 0
        targets.iloc[7, targets.columns.get_loc("Hernia")] = 1
        one[name] = Judged(targets, judged.scores, judged.patients)
    hernia = comparison.between(one).set_index("finding").loc["Hernia"]
    assert hernia[["difference", "low", "high", "p", "p_corrected"]].isna().all()


def test_a_model_does_not_differ_from_itself(films):
    same = {"one": films["good"], "two": films["good"]}
    table = comparison.between(same).dropna()
    assert (table["difference"] == 0).all() and (table["p_corrected"] == 1).all()


def test_pairing_is_narrower_than_two_independent_intervals(films):
    good, poor = films["good"], films["poor"]
    near = {"one": good, "two": good.rescored(good.scores + 0.1 * poor.scores)}
    paired = comparison.between(near).iloc[-1]
    alone = ranking.auroc_by_finding(good).iloc[-1]
    assert paired["high"] - paired["low"] < alone["high"] - alone["low"]


def test_models_of_different_films_are_not_compared(films):
    some = films["poor"].part(np.arange(400) < 300)
    with pytest.raises(ValueError, match="different films"):
        comparison.between({"good": films["good"], "poor": some})


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


def test_published_means_are_over_the_same_findings_only():
    partly = mean_table(25_596)
    partly.loc[partly["finding"].isin(["Hernia", "Edema"]), ["auroc", "low", "high"]] = np.nan
    table = comparison.published({"ours": partly}, split="official").set_index("source")
    assert (table["findings"] == 12).all()
    by_finding = comparison.published_by_finding({}).set_index("finding")
    wang = by_finding["Wang et al. (official)"].drop(["Hernia", "Edema"]).mean()
    assert table.loc["Wang et al.", "auroc"] == pytest.approx(wang)
    assert table.loc["Wang et al.", "remark"] == "mean of the same 12 findings"
    assert "CheXNet" not in table.index  # only its mean over 14 is known here


def test_adjudicated_labels_cover_several_findings():
    films = [f"{n}.png" for n in range(20)]
    targets = pd.DataFrame(0, index=films, columns=list(FINDINGS), dtype=np.int8)
    # Mined: films 0 to 3 as Nodule, 4 to 7 as Mass.
    targets.iloc[:4, FINDINGS.index("Nodule")] = targets.iloc[4:8, FINDINGS.index("Mass")] = 1
    scores = pd.DataFrame(0.1, index=films, columns=list(FINDINGS))
    scores.iloc[0:3, FINDINGS.index("Mass")], scores.iloc[3:6, FINDINGS.index("Nodule")] = 0.9, 0.5
    agreed = pd.DataFrame({"film": [*films[:19], "elsewhere.png"]})
    for label in ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass"):
        agreed[label] = False
    # Radiologists: films 0 to 5 have it.
    agreed["Nodule or mass"] = [n < 6 for n in range(20)]
    judged = Judged(targets, scores, pd.Series(range(20), index=films))
    table = radiologists.evaluate_adjudicated(agreed, judged).set_index("label")
    row = table.loc["Nodule or mass"]
    assert (row["films"], row["positives"]) == (19, 6)
    # The radiologists' six films score 0.9 and 0.5, the others 0.1.
    assert row["auroc"] == 1.0 and row["low"] < 0.7
    # Of the eight mined films six are right; of the six right ones all were mined.
    assert (row["mined_ppv"], row["mined_sensitivity"]) == (0.75, 1.0)
    assert np.isnan(table.loc["Pneumothorax", "auroc"])


def test_text_mining_agrees_with_radiologists_as_published(
    real_records, real_splits, real_adjudicated
):
    # On official test films: Pneumothorax PPV .48, sensitivity .50; nodule or mass .57, .45.
    split = real_splits["official"]
    test = real_records.loc[split.index[split == "test"]].set_index("film")
    judged = Judged.of(test, test[[*FINDINGS]].astype(float))
    table = radiologists.evaluate_adjudicated(real_adjudicated, judged).set_index("label")
    agreement = table[["mined_ppv", "mined_sensitivity"]]
    assert agreement.loc["Pneumothorax"].tolist() == pytest.approx([0.48, 0.50], abs=0.006)
    assert agreement.loc["Nodule or mass"].tolist() == pytest.approx([0.57, 0.45], abs=0.006)


def test_no_adjudicated_test_film_is_too_few():
    films = pd.Index(["a.png"])
    targets = pd.DataFrame(0, index=films, columns=list(FINDINGS), dtype=np.int8)
    agreed = pd.DataFrame({"film": ["b.png"]} | {key: [True] for key in radiologists.MAPPING})
    judged = Judged(targets, targets.astype(float), pd.Series([1], index=films))
    table = radiologists.evaluate_adjudicated(agreed, judged)
    assert table["auroc"].isna().all() and (table["films"] == 0).all()
