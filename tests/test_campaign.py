"""The campaign's arithmetic: whole patients held out, every fold ranked by itself."""

import sys

import made_up
import numpy as np
import pandas as pd
import pytest

from cxr import artifacts, config
from cxr.findings import FINDINGS

sys.path.insert(0, str(config.PROJECT / "benchmarks" / "accuracy"))
import campaign


@pytest.fixture
def frame():
    return made_up.people([1, 2, 3] * 40)


def test_every_film_is_held_out_once_by_a_model_that_never_saw_its_patient(frame):
    divided = campaign.folds(frame)
    held_out = pd.concat([parts[2] for parts in divided])
    assert sorted(held_out["film"]) == sorted(frame["film"])
    for train, choosing, tested in divided:
        assert len(train) + len(choosing) + len(tested) == len(frame)
        patients = [set(part["patient_id"]) for part in (train, choosing, tested)]
        assert not patients[0] & patients[1]
        assert not (patients[0] | patients[1]) & patients[2]


def test_folds_are_ranked_by_themselves(frame):
    # Perfect within each fold; the second fold's scores all lie above the first's, which
    # would spoil a ranking of both together.
    fold = np.arange(len(frame)) % 2
    scores = frame[list(FINDINGS)].astype(float) + 10 * fold[:, np.newaxis]
    estimate = campaign.judged(frame, scores, fold)
    present = ~np.isnan(estimate.value)
    assert present.any() and frame[list(FINDINGS)].any().to_numpy()[present].all()
    assert estimate.value[present] == pytest.approx(1)
    assert estimate.without[:, present] == pytest.approx(1)


def test_the_table_pairs_a_cell_with_the_one_that_it_is_compared_with(frame, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "RUNS", tmp_path)
    plain = campaign.Cell("plain", "toy", 64, "baseline")
    better = campaign.Cell("plain + luck", "toy", 64, "baseline", "plain")
    unfinished = campaign.Cell("plain + later", "toy", 64, "baseline", "plain")
    monkeypatch.setattr(campaign, "CELLS", [plain, better, unfinished])
    truth = frame[list(FINDINGS)].astype(float)
    fold = (frame["patient_id"] % 2).to_numpy()
    for cell, values in ((plain, 0 * truth), (better, truth)):
        for number in range(2):
            folder = campaign.place(cell, number)
            here = fold == number
            scored = pd.concat([frame[["film", "patient_id"]], values], axis=1)[here]
            artifacts.write_csv(folder / "scores.csv", scored)
            artifacts.write_json(
                folder / "result.json", {"parameters": 7, "seconds": 2.0, "cpu_seconds": 3.0}
            )
    table = campaign.tables(frame, fold).set_index("recipe")
    # Equal scores rank nothing: 0.5, against 1 for the truth itself.
    assert table["auroc"].tolist() == pytest.approx([0.5, 1.0])
    assert table.loc["plain + luck", "difference"] == pytest.approx(0.5)
    assert table.loc["plain + luck", "difference_low"] == pytest.approx(0.5)
    assert np.isnan(table.loc["plain", "difference"])


def test_group_membership_alone_ranks_nothing_within_the_block(frame, monkeypatch):
    monkeypatch.setattr(campaign, "BLOCK", (1, 60))
    divided = campaign.folds(frame)
    block = frame[frame["patient_id"] <= 60].reset_index(drop=True)
    scores = campaign.group_only(divided).set_index("film").loc[block["film"], list(FINDINGS)]
    fold = campaign.fold_of(block, divided)
    estimates = campaign.judged(block, scores.reset_index(drop=True), fold).value
    assert estimates[np.isfinite(estimates)] == pytest.approx(0.5)
    assert np.isfinite(estimates).any()
