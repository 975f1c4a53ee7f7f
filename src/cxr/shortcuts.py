"""What the records alone give away: scores without a film, label noise, other splitters."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr import controls, evaluation, splits
from cxr.adjudicated import MAPPING
from cxr.findings import FINDINGS


def patient_memory(records: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """Score each test film by the mean of its patient's training labels, with no image.

    A patient who is not in training gets the training prevalence, so a split without
    shared patients gives every film the same scores.

    Args:
        records: as `records.read` returns them.
        split: as `splits.make` returns it.

    Returns:
        Scores, 0 to 1, of shape (test films, 14); index as the test films of `records`.
    """
    train, test = (records.loc[split.index[split == name]] for name in ("train", "test"))
    remembered = controls.patient_memory(train, test)
    return controls.prevalence(train, test) if remembered is None else remembered


def view_age_sex(records: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """Score each test film by its view and its patient's age and sex, with no image.

    One logistic regression a finding, on the films of train and validation, with linear
    terms scaled to unit variance. A missing age counts as the median.

    Returns:
        As `patient_memory`; NaN for a finding that all or none of the films have.
    """
    known = pd.DataFrame(
        {
            "AP": records["view"] == "AP",
            "age": records["age"].astype("float64").fillna(records["age"].median()),
            "woman": records["sex"] == "F",
        }
    ).astype("float64")
    fitted, test = split.index[split != "test"], split.index[split == "test"]
    scores = pd.DataFrame(np.nan, index=test, columns=list(FINDINGS))
    for finding in FINDINGS:
        target = records.loc[fitted, finding]
        if target.nunique() == 2:
            model = make_pipeline(StandardScaler(), LogisticRegression())
            model.fit(known.loc[fitted], target)
            scores[finding] = model.predict_proba(known.loc[test])[:, 1]
    return scores


def study(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> pd.DataFrame:
    """What each way of scoring without a film reaches on each kind of split.

    Args:
        records: as `records.read` returns them.
        by_kind: kind of split -> as `splits.make` returns it.

    Returns:
        As `aurocs`, with the columns "patient memory, <kind>" and "view, age and sex,
        <kind>" for every kind.
    """
    ways = {"patient memory": patient_memory, "view, age and sex": view_age_sex}
    return aurocs(
        records,
        {
            f"{name}, {kind}": way(records, split)
            for name, way in ways.items()
            for kind, split in by_kind.items()
        },
    )


def aurocs(records: pd.DataFrame, scores: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AUROC per finding of each way of scoring, and the mean.

    Args:
        records: holds the true labels of the scored films.
        scores: name of the way to its scores.

    Returns:
        Index the 14 findings, then "Mean" over those that are estimable; a column for
        each way. NaN where a finding has no positive, no negative, or no score.
    """
    table = pd.DataFrame(index=[*FINDINGS, "Mean"], columns=list(scores), dtype="float64")
    for name, values in scores.items():
        estimable = evaluation.estimable(records.loc[values.index], values)
        table.loc[estimable, name] = evaluation.auroc(
            records.loc[values.index, estimable].to_numpy(), values[estimable].to_numpy()
        )
        table.loc["Mean", name] = table.loc[estimable, name].mean()
    return table


def agreement(records: pd.DataFrame, adjudicated: pd.DataFrame) -> pd.DataFrame:
    """How NIH's text-mined labels fare against radiologists who saw the films.

    Args:
        records: as `records.read` returns them; films without adjudication do not count.
        adjudicated: as `records.read_adjudicated` returns them.

    Returns:
        One row for each label of `adjudicated.MAPPING`, which says what it is compared
        with: `label`, `films` compared, `labelled` by NIH, `confirmed` of these by the
        radiologists, `present` according to the radiologists, `ppv` (confirmed /
        labelled) and `sensitivity` (confirmed / present), NaN where nothing is divided.
    """
    both = records.merge(adjudicated.add_prefix("true "), left_on="film", right_on="true film")
    rows = []
    for label, findings in MAPPING.items():
        mined, true = both[list(findings)].any(axis=1), both[f"true {label}"]
        rows.append(
            {
                "label": label,
                "films": len(both),
                "labelled": int(mined.sum()),
                "confirmed": int((mined & true).sum()),
                "present": int(true.sum()),
            }
        )
    table = pd.DataFrame(rows)
    return table.assign(
        ppv=table["confirmed"] / table["labelled"].where(table["labelled"] > 0),
        sensitivity=table["confirmed"] / table["present"].where(table["present"] > 0),
    )


def rival_splits(records: pd.DataFrame, *, seed: int) -> dict[str, pd.Series]:
    """The patient split as scikit-learn's two group splitters would make it.

    `GroupShuffleSplit` draws patients and ignores their films and findings;
    `StratifiedGroupKFold` balances label combinations over ten folds, of which five
    train, three validate and two test: the nearest to 49, 30 and 21 %.

    Args:
        records: the films that take part.
        seed: decides both.

    Returns:
        Name of the splitter to its split, as `splits.make` returns it.
    """
    sizes = splits.proportional_sizes(len(records))
    patients = records["patient_id"]

    shuffled = pd.Series("train", index=records.index, dtype=str)
    rest = records.index
    left = sum(sizes.values())
    for name in ("validation", "test"):
        cut = GroupShuffleSplit(n_splits=1, test_size=sizes[name] / left, random_state=seed)
        kept, drawn = next(cut.split(rest, groups=patients.loc[rest]))
        shuffled.loc[rest[drawn]] = name
        rest, left = rest[kept], left - sizes[name]

    folds = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=seed)
    fold = np.empty(len(records), dtype=np.int64)
    for number, (_, films) in enumerate(folds.split(records, records["labels"], patients)):
        fold[films] = number
    names = np.repeat(["train", "validation", "test"], [5, 3, 2])
    return {
        "GroupShuffleSplit": shuffled,
        "StratifiedGroupKFold": pd.Series(names[fold], index=records.index, dtype=str),
    }
