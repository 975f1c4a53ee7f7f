"""What the records alone give away: scores without a film, label noise, other splitters."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold

from cxr.evaluation import controls, ranking
from cxr.evaluation.adjudicated import MAPPING
from cxr.evaluation.adjudicated import agreement as agree
from cxr.findings import FINDINGS
from cxr.records import splits


def study(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> pd.DataFrame:
    """What scoring without a film reaches on the test films of each kind of split.

    The scores are those of `controls`, made from the training films.

    Args:
        records: as `nih.read` returns them.
        by_kind: kind of split -> as `splits.make` returns it.

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
                remembered = controls.patient_memory(train, test)
                scores = controls.prevalence(train, test) if remembered is None else remembered
            else:
                scores = controls.demographics(train, test)
            judged = ranking.Judged.of(test, scores)
            table[f"{way}, {kind}"] = [*judged.auroc.value, *judged.auroc.mean().value]
    return pd.DataFrame(table, index=[*FINDINGS, "Mean"])


def agreement(records: pd.DataFrame, adjudicated: pd.DataFrame) -> pd.DataFrame:
    """How NIH's text-mined labels fare against radiologists who saw the films.

    Args:
        records: as `nih.read` returns them; films without adjudication do not count.
        adjudicated: as `nih.read_adjudicated` returns them.

    Returns:
        One row for each label of `adjudicated.MAPPING`, which says what it is compared
        with: `label`, `films` compared, `labelled` by NIH, `confirmed` of these by the
        radiologists, `present` according to the radiologists, and what
        `adjudicated.agreement` measures.
    """
    both = records.merge(adjudicated.add_prefix("true "), left_on="film", right_on="true film")
    patients = both["patient_id"].to_numpy()
    rows = []
    for label, findings in MAPPING.items():
        mined = both[list(findings)].to_numpy().any(axis=1)
        true = both[f"true {label}"].to_numpy(dtype=bool)
        counts = {
            "label": label,
            "films": len(both),
            "labelled": int(mined.sum()),
            "confirmed": int((mined & true).sum()),
            "present": int(true.sum()),
        }
        rows.append(counts | agree(true, mined, patients))
    return pd.DataFrame(rows)


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
