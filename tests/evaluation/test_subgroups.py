"""Groups of patients and films, and the gaps between them."""

import numpy as np
import pandas as pd
import pytest
from sklearn import metrics

from cxr.evaluation import subgroups
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS


@pytest.fixture
def films():
    """600 films, every score sharper for women than for men; only Mass has positives."""
    random = np.random.default_rng(0)
    records = pd.DataFrame(
        {
            "patient_id": np.repeat(range(300), 2),
            "sex": np.where(np.repeat(range(300), 2) % 3 == 0, "F", "M"),
            "age": pd.array([17, 18, 40, 79, 80, None] * 100, dtype="Int16"),
            "view": ["AP", "PA"] * 300,
            "follow_up": [0, 1] * 300,
        }
    )
    targets = pd.DataFrame(0, index=records.index, columns=list(FINDINGS), dtype=np.int8)
    targets["Mass"] = random.random(600) < 0.3
    sharpness = np.where(records["sex"] == "F", 3.0, 0.5)
    scores = pd.DataFrame({"Mass": random.normal(size=600) + sharpness * targets["Mass"]})
    thresholds = pd.DataFrame({"finding": ["Mass"], "threshold": [1.0]})
    return pd.concat([records, targets], axis=1), scores, thresholds


def judge(records, scores, thresholds):
    return subgroups.evaluate(Judged.of(records, scores), records, thresholds)


def test_age_bands_meet_without_gap_or_overlap(films):
    bands = subgroups.groups(films[0])["age"].head(6)
    assert bands[:5].tolist() == ["under 18", "18-39", "40-59", "60-79", "80 and over"]
    assert pd.isna(bands[5])


def test_a_gap_is_group_minus_largest_group(films):
    records, scores, thresholds = films
    table = judge(records, scores, thresholds)
    mass = table.query("attribute == 'sex' and finding == 'Mass'").set_index("group")
    assert list(mass.index) == ["men", "women"]  # the largest group first
    for group, code in (("men", "M"), ("women", "F")):
        rows = records["sex"] == code
        expected = metrics.roc_auc_score(records.loc[rows, "Mass"], scores.loc[rows, "Mass"])
        assert mass.loc[group, "auroc"] == pytest.approx(expected, abs=1e-12)
        found = scores.loc[rows & (records["Mass"] == 1), "Mass"] >= 1.0
        assert mass.loc[group, "sensitivity"] == pytest.approx(found.mean())
    assert np.isnan(mass.loc["men", "auroc_gap"])
    gap = mass.loc["women", "auroc"] - mass.loc["men", "auroc"]
    assert mass.loc["women", "auroc_gap"] == pytest.approx(gap)
    assert 0 < mass.loc["women", "auroc_gap_low"] < gap < mass.loc["women", "auroc_gap_high"]
    # Only Mass can be judged, so it is the mean.
    mean = table.query("attribute == 'sex' and finding == 'Mean' and group == 'women'")
    assert mean["auroc_gap"].item() == pytest.approx(gap)


def test_small_groups_are_not_judged(films):
    records, scores, thresholds = films
    few = records["Mass"].where(records["sex"] == "M", 0)  # no woman has it
    table = judge(records.assign(Mass=few), scores, thresholds)
    women = table.query("group == 'women'")
    assert women["auroc"].isna().all() and women["auroc_gap"].isna().all()


def test_without_a_threshold_there_is_no_sensitivity(films):
    records, scores, thresholds = films
    table = judge(records, scores, thresholds.assign(threshold=np.nan)).query("finding == 'Mass'")
    assert table["sensitivity"].isna().all() and table["auroc"].notna().any()
