import numpy as np
import pandas as pd
import pytest
from made_up import people, shared_patients

from cxr import controls, evaluation, shortcuts, splits
from cxr.findings import FINDINGS


def test_patient_memory_repeats_the_mean_of_a_patients_training_labels():
    # Patient 1 has Mass on one of two training films; patient 2 is unknown to training,
    # where Mass is on one of three films.
    frame = people([3, 1, 1])
    frame["Mass"] = [1, 0, 1, 0, 0]
    split = pd.Series(["train", "train", "test", "test", "train"])
    scores = shortcuts.patient_memory(frame, split)
    assert scores.index.tolist() == [2, 3] and list(scores) == list(FINDINGS)
    assert scores["Mass"].tolist() == pytest.approx([1 / 2, 1 / 3])


def test_patient_memory_knows_nothing_where_patients_are_kept_apart():
    frame = people([2] * 50 + [1] * 20)
    split = splits.make(frame, "patient", min_combination=0)
    scores = shortcuts.patient_memory(frame, split)
    assert scores.nunique().eq(1).all()
    assert shortcuts.aurocs(frame, {"memory": scores}).loc["Mean", "memory"] == 0.5


def test_view_age_and_sex_find_a_finding_that_follows_the_view():
    frame = people([1] * 300)
    frame["Edema"] = (frame["view"] == "AP").astype("int8")
    split = pd.Series(np.resize(["train", "validation", "test"], 300))
    scores = shortcuts.view_age_sex(frame, split)
    assert shortcuts.aurocs(frame, {"a": scores}).loc["Edema", "a"] == 1


def test_a_finding_without_positives_is_not_estimable_and_not_in_the_mean():
    frame = people([1] * 90)
    frame[list(FINDINGS)] = 0
    frame["Mass"] = np.resize([0, 1], 90)
    split = pd.Series(np.repeat(["train", "validation", "test"], 30))
    table = shortcuts.aurocs(frame, {"a": shortcuts.view_age_sex(frame, split)})
    assert table["a"].notna().sum() == 2
    assert table.loc["Mean", "a"] == table.loc["Mass", "a"]


def test_missing_ages_count_as_the_median():
    frame = people([1] * 90)
    frame.loc[::2, "age"] = pd.NA
    split = pd.Series(np.repeat(["train", "validation", "test"], 30))
    scores = shortcuts.view_age_sex(frame, split)
    assert scores["Mass"].notna().all()


def test_agreement_counts_confirmed_labels():
    # Nodule or mass: labelled on films 0 and 1, seen by the radiologists on films 1 and 2.
    frame = people([1] * 4)
    frame[list(FINDINGS)] = 0
    frame["Mass"], frame["Nodule"] = [1, 0, 0, 0], [0, 1, 0, 0]
    adjudicated = pd.DataFrame(
        {
            "film": frame["film"][:3],
            "Fracture": False,
            "Pneumothorax": False,
            "Airspace opacity": False,
            "Nodule or mass": [False, True, True],
        }
    )
    table = shortcuts.agreement(frame, adjudicated).set_index("label")
    row = table.loc["Nodule or mass"]
    assert row[["films", "labelled", "confirmed", "present"]].tolist() == [3, 2, 1, 2]
    assert row[["ppv", "sensitivity"]].tolist() == [0.5, 0.5]
    assert table.loc["Pneumothorax", ["ppv", "sensitivity"]].isna().all()


def test_the_rival_splitters_keep_patients_apart_but_miss_the_sizes():
    random = np.random.default_rng(0)
    frame = people(random.geometric(0.4, 200))
    for split in shortcuts.rival_splits(frame, seed=0).values():
        assert shared_patients(frame, split) == 0
        assert set(split) == set(splits.NAMES)
        assert split.value_counts().to_dict() != splits.proportional_sizes(len(frame))


# ---- the real records ----


def test_remembering_patients_scores_0_703_on_the_original_split(real_study):
    # A mean and a rank: no model is fitted, so the third decimal must hold.
    memory = real_study["patient memory, original"]
    assert round(memory["Mean"], 3) == 0.703
    assert round(memory["Pneumothorax"], 3) in (0.821, 0.822)
    apart = ["patient memory, patient", "patient memory, official"]
    assert real_study.loc["Mean", apart].eq(0.5).all()


def test_view_age_and_sex_score_0_602_on_the_official_split(real_study):
    # Fitted by an iterative solver, so 0.001 is allowed.
    controls_only = real_study["view, age and sex, official"]
    assert controls_only["Mean"] == pytest.approx(0.602, abs=0.001)
    assert controls_only["Hernia"] == pytest.approx(0.85, abs=0.01)
    assert controls_only["Edema"] == pytest.approx(0.70, abs=0.01)


def test_a_constant_guess_scores_0_759_where_findings_are_flattened(real_records, real_splits):
    split = real_splits["original"]
    train, test = (real_records.loc[split.index[split == name]] for name in ("train", "test"))
    constant = controls.prevalence(train, test)
    flattened = evaluation.flattened_auc(test[list(FINDINGS)], constant)["flattened"]
    assert round(flattened, 3) == 0.759


def test_radiologists_confirm_about_half_of_the_labels(real_records, real_splits, real_adjudicated):
    tested = real_records[real_splits["official"] == "test"]
    table = shortcuts.agreement(tested, real_adjudicated).set_index("label")
    assert table["films"].eq(1_962).all()
    assert table.loc["Pneumothorax", ["ppv", "sensitivity"]].tolist() == pytest.approx(
        [0.48, 0.50], abs=0.006
    )
    assert table.loc["Nodule or mass", ["ppv", "sensitivity"]].tolist() == pytest.approx(
        [0.57, 0.45], abs=0.006
    )
