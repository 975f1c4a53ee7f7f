"""Which films train, validate and test: the four kinds of split."""

from importlib import resources
from pathlib import Path

import pandas as pd
from sklearn.model_selection import train_test_split

from cxr.config import SPLITS
from cxr.errors import InputError
from cxr.records import balancing, nih, split_lists

NAMES = ("train", "validation", "test")

# The sizes that the original project's two cuts gave, out of these 109,577 films.
SIZES = {"train": 53_692, "validation": 32_874, "test": 23_011}

# Every CheXNet reproduction and MedMNIST's ChestMNIST use these sizes, of all 112,120.
COMMUNITY_SIZES = {"train": 78_468, "validation": 11_219, "test": 22_433}

# The original project's `random_state`; no other gives its rows.
ORIGINAL_SEED = 42

# Patients of NIH's test_list.txt; it holds all their films and no others.
OFFICIAL_TEST_PATIENTS = frozenset(
    int(number)
    for number in resources.files("cxr.records")
    .joinpath("official_test_patients.txt")
    .read_text()
    .split()
)


# Patients of the community split's validation and test lists; the others' films train.
# The lists hold all films of these patients and no others.
COMMUNITY_PATIENTS = {
    block.split()[0]: frozenset(map(int, block.split()[1:]))
    for block in resources.files("cxr.records")
    .joinpath("community_patients.txt")
    .read_text()
    .split("\n\n")
}


def make_split(
    records: pd.DataFrame,
    kind: str,
    *,
    min_combination: int = 21,
    seed: int = 42,
    lists: Path | None = None,
) -> pd.Series:
    """Assign every film that takes part to "train", "validation" or "test".

    - "patient": disjoint in patients, the original project's sizes to the film (in
      proportion where the records differ; of another source's, as near to it as whole
      patients allow), balanced in findings (their films and their
      patients), "No Finding", view, sex, age, and films per patient. Films of rare label
      combinations are left out.
    - "official": NIH's test patients; of the others' films one eighth validates, cut by
      patient and balanced in the same way. All films take part.
    - "original": the original project's split, row for row. It divides films, not
      patients, so most test patients are known from training: for comparison only.
    - "community": that of most CheXNet reproductions and of MedMNIST, by their patients, or
      from `lists`. All films take part.

    Args:
        records: as `nih.read_records` returns them.
        kind: one of the four.
        min_combination: see `nih.keep_common`; "official" and "community" use all films.
        seed: decides "patient" and the validation part of "official".
        lists: train, validation and test lists of film names, for "community"; see
            `split_lists.read`.

    Returns:
        Split name per film; the index is that of the rows of `records` that take part.

    Raises:
        InputError: if the records do not allow the split; the message says why.
    """
    if kind == "patient":
        kept = _kept(records, min_combination)
        # A hospital may have two films of everybody; sizes to the film matter for NIH's only.
        sizes, own = proportional_sizes(len(kept)), "source" not in kept
        return balancing.by_patient(kept, sizes, seed=seed, exactly=own)
    if kind == "official":
        return _official(records, seed=seed)
    if kind == "original":
        return _original(_kept(records, min_combination))
    if kind == "community":
        return _community(records, lists)
    raise InputError(f"unknown split '{kind}'; known are {', '.join(SPLITS)}.")


def make_splits(
    records: pd.DataFrame,
    *,
    min_combination: int = 21,
    seed: int = 42,
    lists: Path | None = None,
    wanted: str = "patient",
    partial: bool = True,
) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Make every kind of split that the records allow, to compare them.

    Args:
        records, min_combination, seed, lists: as for `make_split`.
        wanted: the kind that may not be missing.
        partial: make NIH's own splits of a part of its records, too.

    Returns:
        Kind of split to its split, and kind to the reason why it cannot be made.

    Raises:
        InputError: if the records do not allow the split that is wanted.
    """
    made, refused = {}, {}
    for kind in SPLITS:
        try:
            if not partial:
                refuse_partial(records, kind)
            made[kind] = make_split(
                records, kind, min_combination=min_combination, seed=seed, lists=lists
            )
        except InputError as error:
            if kind == wanted:
                raise
            refused[kind] = str(error)
    return made, refused


def refuse_partial(records: pd.DataFrame, kind: str) -> None:
    """Refuse to call a part of NIH's records by the name of a split of all of them.

    A table that was cut off at a line's end is valid in every other way, and results on its
    "official" test films could be compared with nothing.

    Raises:
        InputError: for all but "patient", unless the records are whole.
    """
    if kind != "patient" and "source" in records:
        raise InputError(
            f"the split '{kind}' is one of NIH's films, and these are {nih.identify(records)}. "
            "Take CXR_SPLIT=patient."
        )
    if kind != "patient" and not nih.whole(records):
        raise InputError(
            f"the split '{kind}' is one of all of NIH's records, and these are "
            f"{nih.identify(records)}. Get the whole table, take CXR_SPLIT=patient, or set "
            "CXR_PARTIAL_RECORDS=1 to divide this part in the same way."
        )


def proportional_sizes(films: int) -> dict[str, int]:
    """The sizes of the original's split for 109,577 films, otherwise in its proportions."""
    total = sum(SIZES.values())
    test, validation = (round(films * SIZES[name] / total) for name in ("test", "validation"))
    return {"train": films - validation - test, "validation": validation, "test": test}


def _kept(records: pd.DataFrame, min_combination: int) -> pd.DataFrame:
    kept = nih.keep_common(records, min_combination=min_combination)
    if kept.empty:
        raise InputError(
            f"none of the {len(records):,} films has a label combination that occurs on "
            f"{min_combination} films or more; set CXR_MIN_COMBINATION=0 to keep them all."
        )
    return kept


def _official(records: pd.DataFrame, *, seed: int) -> pd.Series:
    tested = records["patient_id"].isin(OFFICIAL_TEST_PATIENTS)
    if tested.all() or not tested.any():
        raise InputError(
            f"the official split needs patients inside and outside NIH's test list, and "
            f"{'all' if tested.all() else 'none'} of the records' patients are on it; "
            "use all of NIH's records, or CXR_SPLIT=patient."
        )
    rest = records[~tested]
    validation = round(len(rest) / 8)
    split = pd.Series("test", index=records.index, name="split")
    split[rest.index] = balancing.by_patient(
        rest, {"train": len(rest) - validation, "validation": validation}, seed=seed
    )
    return split


def _original(kept: pd.DataFrame) -> pd.Series:
    # The original read the 2017 file, whose rows are in the order of the film names, and
    # cut 30 % twice. The same seed both times; labels exactly as NIH wrote them.
    labels = kept.sort_values("film")["labels"]
    split = pd.Series("train", index=kept.index, name="split")
    rest = labels
    for name in ("validation", "test"):
        try:
            rest, cut = train_test_split(
                rest, test_size=0.3, random_state=ORIGINAL_SEED, stratify=rest
            )
        except ValueError:
            # scikit-learn lists every such combination, which may be hundreds.
            raise InputError(
                f"the original split stratifies by label combination, and these {len(kept):,} "
                "films hold combinations that are too rare for it; set CXR_MIN_COMBINATION=21, "
                "or use all of NIH's records."
            ) from None
        split[cut.index] = name
    return split


def _community(records: pd.DataFrame, lists: Path | None) -> pd.Series:
    wanted = ", ".join(f"{films:,} for {name}" for name, films in COMMUNITY_SIZES.items())
    if lists is None:
        split = pd.Series("train", index=records.index, name="split")
        for name, patients in COMMUNITY_PATIENTS.items():
            split[records["patient_id"].isin(patients)] = name
        if split.nunique() < len(NAMES):
            raise InputError(
                "the community split needs patients of all its three parts, and these records "
                f"hold none of {', '.join(n for n in NAMES if not (split == n).any())}; use all "
                "of NIH's records, or CXR_SPLIT=patient."
            )
        return split
    split = split_lists.read(lists)
    if split.value_counts().to_dict() != COMMUNITY_SIZES:
        found = ", ".join(f"{(split == name).sum():,} for {name}" for name in NAMES)
        raise InputError(
            f"the lists in {lists} are not the community split: they hold {found}, "
            f"not {wanted} films."
        )
    split = records["film"].map(split).rename("split").dropna()
    if len(split) < sum(COMMUNITY_SIZES.values()):
        raise InputError(
            f"{sum(COMMUNITY_SIZES.values()) - len(split):,} films of the lists in {lists} are not "
            "in the records; use all of NIH's records."
        )
    shared = split.groupby(records["patient_id"]).nunique().gt(1).sum()
    if shared:
        raise InputError(f"the lists in {lists} share {shared:,} patients, so they leak.")
    return split
