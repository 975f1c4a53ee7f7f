"""Scores without a film, on the real records."""

import numpy as np
import pandas as pd
import pytest
from made_up import people

from cxr.evaluation import controls, ranking
from cxr.findings import FINDINGS


def parts(records, split):
    return (records.loc[split.index[split == name]] for name in ("train", "test"))


def mean_auroc(test, scores):
    return ranking.auroc(test[[*FINDINGS]].to_numpy(), scores[[*FINDINGS]].to_numpy()).mean()


def test_the_prevalence_cannot_tell_films_apart(real_records, real_splits):
    train, test = parts(real_records, real_splits["patient"])
    assert mean_auroc(test, controls.prevalence(train, test)) == 0.5


def test_view_age_and_sex_reach_what_others_measured(real_records, real_splits):
    # .602 with scaled linear terms, up to .606 with binned age, on the official test films.
    split = real_splits["official"].replace("validation", "train")
    train, test = parts(real_records, split)
    assert mean_auroc(test, controls.demographics(train, test)) == pytest.approx(0.604, abs=0.003)


def test_memory_of_patients_scores_where_the_split_leaks(real_records, real_splits):
    train, test = parts(real_records, real_splits["original"])
    assert mean_auroc(test, controls.patient_memory(train, test)) == pytest.approx(0.703, abs=5e-4)


def test_patient_memory_repeats_the_mean_of_a_patients_training_labels():
    # Patient 1 has Mass on one of two training films; patient 2 is unknown to training,
    # where Mass is on one of three films.
    frame = people([3, 1, 1])
    frame["Mass"] = [1, 0, 1, 0, 0]
    scores = controls.patient_memory(frame.iloc[[0, 1, 4]], frame.iloc[[2, 3]])
    assert scores.index.tolist() == [2, 3] and list(scores) == list(FINDINGS)
    assert scores["Mass"].tolist() == pytest.approx([1 / 2, 1 / 3])


def test_missing_ages_are_a_band_of_their_own():
    frame = people([1] * 90)
    frame.loc[::2, "age"] = pd.NA
    scores = controls.demographics(frame.head(60), frame.tail(30))
    assert scores["Mass"].notna().all()


def test_there_is_nothing_to_remember_where_patients_are_apart(real_records, real_splits):
    train, test = parts(real_records, real_splits["patient"])
    assert controls.patient_memory(train, test) is None
    assert list(controls.score_controls(train.head(500), test.head(500))) == [
        "prevalence only",
        "view, age and sex",
    ]


def test_a_finding_that_no_training_film_has_gets_its_prevalence():
    train = pd.DataFrame(0, index=range(6), columns=list(FINDINGS), dtype=np.int8)
    train["Mass"] = [0, 1, 0, 1, 0, 1]
    described = {"view": ["AP", "PA"] * 3, "sex": ["F", "M"] * 3, "age": [30] * 5 + [None]}
    train = pd.concat([train, pd.DataFrame(described)], axis=1)
    scores = controls.demographics(train, train)
    assert (scores["Hernia"] == 0).all()
    # All Mass films are PA.
    assert scores["Mass"][1] > scores["Mass"][0]
