"""What a split lets a model know beforehand, and how well it is balanced."""

import warnings

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from cxr.findings import FINDINGS
from cxr.records.balancing import traits
from cxr.records.splits import NAMES, proportional_sizes


def leakage(records: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """How many films of each split show a patient that training shows, too.

    Returns:
        One row a split, in the order train, validation, test: `split`, `films`,
        `patients`, `films_per_patient`, and the `shared_patients` and `shared_films` that
        training also has, the films also as a share (`leaked`, 0 to 1; 0 for train).
    """
    patient = records["patient_id"].loc[split.index]
    known = patient.isin(patient[split == "train"].unique()) & (split != "train")
    by_split = pd.DataFrame({"split": split, "patient_id": patient, "known": known}).groupby(
        "split"
    )
    table = pd.DataFrame(
        {
            "films": by_split.size(),
            "patients": by_split["patient_id"].nunique(),
            "shared_patients": patient[known].groupby(split[known]).nunique(),
            "shared_films": by_split["known"].sum(),
        }
    )
    table = table.reindex(list(NAMES)).fillna(0).astype(int).reset_index(names="split")
    table.insert(3, "films_per_patient", table["films"] / table["patients"])
    return table.assign(leaked=table["shared_films"] / table["films"])


def balance(records: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """How far each split is from its share of everything, in films (or patients).

    Returns:
        One row a trait (see `traits`, then "Patients") and split: `trait`, `split`,
        `films` that have it, `expected` (the split's share of the films that take part,
        of all that have it), `deviation` (films - expected) and `prevalence` (films out
        of the split's, 0 to 1). For "Patients" and "Patients with <finding>", numbers of
        patients take the films' place.
    """
    records = records.loc[split.index]
    counts = traits(records).groupby(split).sum()
    everyone = counts.sum()
    patients = {"Patients": records["patient_id"]} | {
        f"Patients with {finding}": records.loc[records[finding] == 1, "patient_id"]
        for finding in FINDINGS
    }
    for trait, theirs in patients.items():
        counts[trait] = theirs.groupby(split.loc[theirs.index]).nunique()
        everyone[trait] = theirs.nunique()
    counts = counts.fillna(0)
    sizes = split.value_counts()
    rows = [
        {
            "trait": trait,
            "split": name,
            "films": int(counts.loc[name, trait]),
            "expected": everyone[trait] * sizes[name] / len(split),
            "prevalence": counts.loc[name, trait] / sizes[name],
        }
        for trait in counts
        for name in NAMES
    ]
    table = pd.DataFrame(rows)
    table.insert(4, "deviation", table["films"] - table["expected"])
    return table


def rival_splits(records: pd.DataFrame, *, seed: int) -> dict[str, pd.Series]:
    """The patient split as scikit-learn's two group splitters would make it.

    `GroupShuffleSplit` draws patients and ignores their films and findings;
    `StratifiedGroupKFold` balances label combinations over ten folds, of which five
    train, three validate and two test: the nearest to 49, 30 and 21 %.

    Args:
        records: the films that take part.
        seed: decides both.

    Returns:
        Name of the splitter to its split, as `splits.make_split` returns it. A splitter that
        cannot divide so few films or patients is left out: there is nothing to compare with.
    """
    rivals = {"GroupShuffleSplit": _shuffled, "StratifiedGroupKFold": _stratified}
    made = {}
    for name, divide in rivals.items():
        try:
            made[name] = divide(records, seed)
        except ValueError:
            # Too few patients for three parts, or no label combination on ten films.
            continue
    return made


def _shuffled(records: pd.DataFrame, seed: int) -> pd.Series:
    sizes = proportional_sizes(len(records))
    patients = records["patient_id"]
    shuffled = pd.Series("train", index=records.index, dtype=str)
    rest = records.index
    left = sum(sizes.values())
    for name in ("validation", "test"):
        cut = GroupShuffleSplit(n_splits=1, test_size=sizes[name] / left, random_state=seed)
        kept, drawn = next(cut.split(rest, groups=patients.loc[rest]))
        shuffled.loc[rest[drawn]] = name
        rest, left = rest[kept], left - sizes[name]
    return shuffled


def _stratified(records: pd.DataFrame, seed: int) -> pd.Series:
    folds = StratifiedGroupKFold(n_splits=10, shuffle=True, random_state=seed)
    fold = np.empty(len(records), dtype=np.int64)
    with warnings.catch_warnings():
        # Of combinations rarer than ten films, of which the whole data set has many.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for number, (_, films) in enumerate(
            folds.split(records, records["labels"], records["patient_id"])
        ):
            fold[films] = number
    names = np.repeat(["train", "validation", "test"], [5, 3, 2])
    return pd.Series(names[fold], index=records.index, dtype=str)
