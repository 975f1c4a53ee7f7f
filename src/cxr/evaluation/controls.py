"""What can be scored without looking at a film: the least that a model must beat."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn import linear_model

from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS

# Years; the bands of the age in the demographic control.
AGE_EDGES = (10, 20, 30, 40, 50, 60, 70, 80)


def prevalence(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """Every test film gets the training prevalence of each finding: AUROC 0.5 by design.

    Returns:
        Scores, one column per finding, rows as `test`.
    """
    rates = train[list(FINDINGS)].mean()
    return pd.DataFrame(
        np.broadcast_to(rates, (len(test), len(FINDINGS))), index=test.index, columns=list(FINDINGS)
    )


def demographics(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """View, age and sex in a logistic regression fitted on the training films.

    Sicker patients are filmed lying (AP), and some findings come with age, so this is
    better than chance although it sees no film.

    Returns:
        Scores, rows as `test`; a finding that all or none of the training films have gets
        its prevalence.
    """
    scores = prevalence(train, test).copy()
    known, wanted = _describe(train), _describe(test)
    for finding in FINDINGS:
        if train[finding].nunique() == 2:
            model = linear_model.LogisticRegression(max_iter=1000).fit(known, train[finding])
            scores[finding] = model.predict_proba(wanted)[:, 1]
    return scores


def patient_memory(train: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame | None:
    """The mean of a patient's own training labels: what a split by film gives away.

    Returns:
        Scores, rows as `test`, training prevalence for patients who are not in `train`;
        None if no patient is in both, as it must be.
    """
    if not test["patient_id"].isin(train["patient_id"]).any():
        return None
    remembered = train.groupby("patient_id")[list(FINDINGS)].mean()
    scores = remembered.reindex(test["patient_id"]).set_axis(test.index)
    return scores.fillna(train[list(FINDINGS)].mean())


def score_controls(train: pd.DataFrame, test: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """All controls that apply, by the name that pages show.

    Args:
        train: records of the films whose labels and patients are known.
        test: records of the films to score.

    Returns:
        Name -> scores, one column per finding, rows as `test`.
    """
    memory = patient_memory(train, test)
    return {
        "prevalence only": prevalence(train, test),
        "view, age and sex": demographics(train, test),
    } | ({} if memory is None else {"patient memory (leakage)": memory})


def by_split(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> pd.DataFrame:
    """What scoring without a film reaches on the test films of each kind of split.

    The scores are those of `controls`, made from the training films.

    Args:
        records: as `nih.read_records` returns them.
        by_kind: kind of split -> as `splits.make_split` returns it.

    Returns:
        Index the 14 findings, then "Mean"; the columns "patient memory, <kind>" and "view,
        age and sex, <kind>" for every kind. NaN for too few patients, whom the mean leaves
        out. Where no patient is in both train and test, memory knows the prevalence only.
    """
    table = {}
    for way in ("patient memory", "view, age and sex"):
        for kind, split in by_kind.items():
            train, test = (records.loc[split.index[split == part]] for part in ("train", "test"))
            if way == "patient memory":
                remembered = patient_memory(train, test)
                scores = prevalence(train, test) if remembered is None else remembered
            else:
                scores = demographics(train, test)
            judged = Judged.of(test, scores)
            table[f"{way}, {kind}"] = [*judged.auroc.value, *judged.auroc.mean().value]
    return pd.DataFrame(table, index=[*FINDINGS, "Mean"])


def _describe(records: pd.DataFrame) -> np.ndarray:
    """View, sex and age band as 0/1, float64 (films, 3 + bands); a missing age is a band."""
    age = records["age"].astype("Float64")
    band = np.digitize(age.fillna(0).to_numpy(dtype=float), AGE_EDGES)
    band[age.isna().to_numpy()] = len(AGE_EDGES) + 1
    return np.column_stack(
        [records["view"] == "AP", records["sex"] == "F", np.eye(len(AGE_EDGES) + 2)[band]]
    ).astype(np.float64)
