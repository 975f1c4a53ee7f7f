"""Which films train, validate and test: four splits, their leakage, their files."""

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.model_selection import train_test_split

from cxr import artifacts
from cxr.config import SPLITS
from cxr.errors import InputError
from cxr.findings import FINDINGS, NO_FINDING
from cxr.records import nih

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

# Upper ends of the age bands that a balanced split keeps in proportion, in years.
AGE_BANDS = (17, 34, 49, 64)


def make(
    frame: pd.DataFrame,
    kind: str,
    *,
    min_combination: int = 21,
    seed: int = 42,
    lists: Path | None = None,
) -> pd.Series:
    """Assign every film that takes part to "train", "validation" or "test".

    - "patient": disjoint in patients, the original project's sizes to the film (in
      proportion where the records differ), balanced in findings (their films and their
      patients), "No Finding", view, sex, age, and films per patient. Films of rare label
      combinations are left out.
    - "official": NIH's test patients; of the others' films one eighth validates, cut by
      patient and balanced in the same way. All films take part.
    - "original": the original project's split, row for row. It divides films, not
      patients, so most test patients are known from training: for comparison only.
    - "community": the lists of most CheXNet reproductions, from the folder `lists`.

    Args:
        frame: records, as `nih.read` returns them.
        kind: one of the four.
        min_combination: see `nih.subset`; "official" and "community" use all films.
        seed: decides "patient" and the validation part of "official".
        lists: folder with train, validation and test lists of film names.

    Returns:
        Split name per film; the index is that of the rows of `frame` that take part.

    Raises:
        InputError: if the records do not allow the split; the message says why.
    """
    if kind == "patient":
        kept = _kept(frame, min_combination)
        return by_patient(kept, proportional_sizes(len(kept)), seed=seed)
    if kind == "official":
        return _official(frame, seed=seed)
    if kind == "original":
        return _original(_kept(frame, min_combination))
    if kind == "community":
        return _community(frame, lists)
    raise InputError(f"unknown split '{kind}'; known are {', '.join(SPLITS)}.")


def every(
    frame: pd.DataFrame,
    *,
    min_combination: int = 21,
    seed: int = 42,
    lists: Path | None = None,
    wanted: str = "patient",
) -> tuple[dict[str, pd.Series], dict[str, str]]:
    """Make every kind of split that the records allow, to compare them.

    Args:
        frame, min_combination, seed, lists: as for `make`.
        wanted: the kind that may not be missing.

    Returns:
        Kind of split to its split, and kind to the reason why it cannot be made.

    Raises:
        InputError: if the records do not allow the split that is wanted.
    """
    made, refused = {}, {}
    for kind in SPLITS:
        try:
            made[kind] = make(frame, kind, min_combination=min_combination, seed=seed, lists=lists)
        except InputError as error:
            if kind == wanted:
                raise
            refused[kind] = str(error)
    return made, refused


def proportional_sizes(films: int) -> dict[str, int]:
    """The sizes of the original's split for 109,577 films, otherwise in its proportions."""
    total = sum(SIZES.values())
    test, validation = (round(films * SIZES[name] / total) for name in ("test", "validation"))
    return {"train": films - validation - test, "validation": validation, "test": test}


def _kept(frame: pd.DataFrame, min_combination: int) -> pd.DataFrame:
    kept = nih.subset(frame, min_combination=min_combination)
    if kept.empty:
        raise InputError(
            f"none of the {len(frame):,} films has a label combination that occurs on "
            f"{min_combination} films or more; set CXR_MIN_COMBINATION=0 to keep them all."
        )
    return kept


def _official(frame: pd.DataFrame, *, seed: int) -> pd.Series:
    tested = frame["patient_id"].isin(OFFICIAL_TEST_PATIENTS)
    if tested.all() or not tested.any():
        raise InputError(
            f"the official split needs patients inside and outside NIH's test list, and "
            f"{'all' if tested.all() else 'none'} of the records' patients are on it; "
            "use all of NIH's records, or CXR_SPLIT=patient."
        )
    rest = frame[~tested]
    validation = round(len(rest) / 8)
    split = pd.Series("test", index=frame.index, name="split")
    split[rest.index] = by_patient(
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


def _community(frame: pd.DataFrame, lists: Path | None) -> pd.Series:
    wanted = ", ".join(f"{films:,} for {name}" for name, films in COMMUNITY_SIZES.items())
    if lists is None:
        raise InputError(
            "the community split comes from its own lists; set CXR_SPLIT_LISTS to a folder with "
            "train, validation and test lists of film names (such as train_list.txt)."
        )
    split = pd.concat(
        [pd.Series(name, index=_read_list(Path(lists), name), dtype=str) for name in NAMES]
    )
    if split.index.has_duplicates:
        film = split.index[split.index.duplicated()][0]
        raise InputError(f"the lists in {lists} hold {film} more than once.")
    if split.value_counts().to_dict() != COMMUNITY_SIZES:
        found = ", ".join(f"{(split == name).sum():,} for {name}" for name in NAMES)
        raise InputError(
            f"the lists in {lists} are not the community split: they hold {found}, "
            f"not {wanted} films."
        )
    split = frame["film"].map(split).rename("split").dropna()
    if len(split) < sum(COMMUNITY_SIZES.values()):
        raise InputError(
            f"{sum(COMMUNITY_SIZES.values()) - len(split):,} films of the lists in {lists} are not "
            "in the records; use all of NIH's records."
        )
    shared = split.groupby(frame["patient_id"]).nunique().gt(1).sum()
    if shared:
        raise InputError(f"the lists in {lists} share {shared:,} patients, so they leak.")
    return split


# What circulates: CheXNet reproductions say "val_list.txt", others "valid.csv" and so on.
_LIST_NAMES = {"train": ("train",), "validation": ("validation", "valid", "val"), "test": ("test",)}


def _read_list(folder: Path, name: str) -> list[str]:
    """The film names that begin the lines of one list, whatever follows them there."""
    paths = [
        folder / f"{stem}{ending}"
        for stem in _LIST_NAMES[name]
        for ending in (".txt", "_list.txt", ".csv", "_list.csv")
    ]
    for path in paths:
        if path.is_file():
            text = path.read_text(encoding="utf-8-sig", errors="replace")
            return re.findall(r"(?m)^\s*\"?(?:images/)?(\d{8}_\d{3}\.png)", text)
    raise InputError(
        f"{folder} holds no list for {name}; looked for {', '.join(path.name for path in paths)}."
    )


# ---- the balanced split ----------------------------------------------------------


def by_patient(frame: pd.DataFrame, sizes: Mapping[str, int], *, seed: int) -> pd.Series:
    """Give whole patients to the parts: exact sizes in films, all else in proportion.

    Patients with equally many films are drawn at random, as many for each part as
    keeps the films in proportion; the many patients with one film meet the sizes.
    Then patients with equally many films change places while that brings the
    findings, the patients who have them, views, sexes and ages closer to proportion.

    All sums are of whole numbers, so every machine gives the same split.

    Args:
        frame: records, as `nih.read` returns them.
        sizes: name of each part, two or more, and its films; they add up to all films.
        seed: decides who goes where.

    Returns:
        Name of the part per film, index as `frame`.

    Raises:
        InputError: if a part would be empty, or no division into whole patients with
            these sizes was found.
    """
    patients, patient = np.unique(frame["patient_id"], return_inverse=True)
    wanted = np.array(list(sizes.values()))
    if (wanted == 0).any() or len(patients) < len(wanted):
        raise InputError(
            f"{len(patients):,} patients with {len(frame):,} films are too few to divide into "
            f"{', '.join(f'{films} for {name}' for name, films in sizes.items())}; use more "
            "records, or CXR_MIN_COMBINATION=0 to keep all films."
        )
    random = np.random.default_rng(seed)
    films = np.bincount(patient)
    part = _draw(films, wanted, random)
    if (np.bincount(part, weights=films, minlength=len(wanted)) != wanted).any():
        part = _draw_exactly(films, wanted, random)
    if part is None:
        raise InputError(
            f"no choice of whole patients, out of {len(patients):,}, was found that gives exactly "
            f"{', '.join(f'{films:,} films for {name}' for name, films in sizes.items())}; "
            "use records with more patients."
        )
    _exchange(part, films, _counts_by_patient(frame, patient), wanted, random)
    names = np.array(list(sizes), dtype=object)
    return pd.Series(names[part[patient]], index=frame.index, name="split", dtype=str)


def _draw(films: np.ndarray, wanted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Draw a part for every patient, from those with most films to those with one.

    The films given out so far stay in proportion to `wanted` as closely as whole
    patients allow, so all parts get their share of the patients with many films, too.

    Args:
        films: number of films of each patient.
        wanted: films for each part; their sum is that of `films`.

    Returns:
        Part per patient. It meets `wanted` wherever enough patients have one film.
    """
    part = np.empty(len(films), dtype=np.int64)
    given = np.zeros(len(wanted), dtype=np.int64)
    for size in np.unique(films)[::-1]:
        group = random.permutation(np.flatnonzero(films == size))
        total = given.sum() + size * len(group)
        # What each part lacks, in patients of this size times the sum of `films`.
        lacks = np.maximum(wanted * total - given * films.sum(), 0)
        whole, rest = np.divmod(lacks, size * films.sum())
        for _ in range(len(group) - whole.sum()):
            whole[rest.argmax()] += 1
            rest[rest.argmax()] = -1
        part[group] = np.repeat(np.arange(len(wanted)), whole)[: len(group)]
        given += size * np.bincount(part[group], minlength=len(wanted))
    return part


def _exchange(
    part: np.ndarray,
    films: np.ndarray,
    counts: np.ndarray,
    wanted: np.ndarray,
    random: np.random.Generator,
) -> None:
    """Swap patients with equally many films while that lowers the squared deviations.

    Works in place on `part`. Each round compares up to 200 x 200 pairs at once: with
    d the deviations of the two parts and x what moves, the change is
    (d_a + x)^2 - d_a^2 + (d_b - x)^2 - d_b^2 = 2 x.(d_a - d_b + x), summed over the counts.
    """
    # Whole numbers held in floats: sums are exact in any order. `einsum` below, not `@`:
    # BLAS would wake its threads for each small product, and stall where cores are busy.
    values = counts.astype(np.float64)
    target = np.rint(np.outer(wanted / wanted.sum(), values.sum(axis=0)))
    deviation = np.stack([values[part == p].sum(axis=0) for p in range(len(wanted))]) - target
    pairs = [(a, b) for a in range(len(wanted)) for b in range(a)]
    without_gain = 0
    for _ in range(_MOST_ROUNDS):
        if without_gain == _PATIENCE:
            break
        without_gain += 1
        a, b = pairs[random.integers(len(pairs))]
        same = films == films[random.integers(len(films))]
        here, there = (random.permutation(np.flatnonzero(same & (part == p))) for p in (a, b))
        if not len(here) or not len(there):
            continue
        leaving, coming = values[here[:_PAIRS]], values[there[:_PAIRS]]
        slope = deviation[a] - deviation[b]
        change = (
            (coming @ slope + (coming**2).sum(axis=1))
            - (leaving @ slope - (leaving**2).sum(axis=1))[:, None]
            - 2 * np.einsum("ik,kj->ij", leaving, coming.T.copy())
        )
        i, j = np.unravel_index(change.argmin(), change.shape)
        if change[i, j] < 0:
            without_gain = 0
            deviation[a] += coming[j] - leaving[i]
            deviation[b] -= coming[j] - leaving[i]
            part[here[i]], part[there[j]] = b, a


# Patients of either part that a round compares; rounds in all, and rounds in succession
# without a better pair, after which swapping ends.
_PAIRS, _MOST_ROUNDS, _PATIENCE = 200, 5_000, 100


def _counts_by_patient(frame: pd.DataFrame, patient: np.ndarray) -> np.ndarray:
    """What each patient adds to the sums that are balanced, int64 (patients, sums).

    The films with each of the `traits`; then, for each finding, 1 if the patient has any:
    intervals rest on patients, and a few patients have most films of a finding.
    """
    order = np.argsort(patient, kind="stable")
    first = np.flatnonzero(np.diff(patient[order], prepend=-1))
    films = np.add.reduceat(traits(frame).to_numpy(np.int64)[order], first)
    return np.hstack([films, films[:, : len(FINDINGS)] > 0])


def traits(frame: pd.DataFrame) -> pd.DataFrame:
    """What a balanced split keeps in proportion, as one 0/1 column each, by film.

    Returns:
        int8 frame, index as `frame`: the 14 findings, "No Finding", "AP view", "Women",
        and the age bands, the last of which includes the films without an age.
    """
    # NaN sorts behind every number.
    band = np.searchsorted(AGE_BANDS, frame["age"].to_numpy(dtype=float, na_value=np.nan))
    starts = (0, *(end + 1 for end in AGE_BANDS))
    ages = [f"Age {a}–{b}" for a, b in zip(starts, AGE_BANDS, strict=False)]
    by_film = {finding: frame[finding] for finding in FINDINGS} | {
        NO_FINDING: frame["labels"] == NO_FINDING,
        "AP view": frame["view"] == "AP",
        "Women": frame["sex"] == "F",
    }
    by_film |= {
        name: band == place for place, name in enumerate([*ages, f"Age {starts[-1]} and over"])
    }
    return pd.DataFrame(by_film, index=frame.index).astype("int8")


def _draw_exactly(
    films: np.ndarray, wanted: np.ndarray, random: np.random.Generator
) -> np.ndarray | None:
    """Find some division of the patients that meets `wanted`, if there is one.

    For records with few patients of one film. Patient by patient, it notes which numbers
    of films the parts after the first can reach, and through whom (subset sum).

    Returns:
        Part per patient; None if there is no such division, or if the search is too long.
    """
    shape = tuple(wanted[1:] + 1)
    if len(films) * np.prod(shape) > _MOST_STEPS:
        return None
    reached = np.zeros(shape, dtype=bool)
    reached[(0,) * len(shape)] = True
    # The patient, and the part it went to, that reached a state first.
    through, into = np.full(shape, -1), np.zeros(shape, dtype=np.int8)
    order = random.permutation(len(films))
    for step, patient in enumerate(order):
        before = reached.copy()
        for axis, most in enumerate(wanted[1:]):
            if films[patient] > most:
                continue
            source, goal = ([slice(None)] * len(shape) for _ in range(2))
            source[axis] = slice(None, most + 1 - films[patient])
            goal[axis] = slice(films[patient], None)
            goal = tuple(goal)
            new = before[tuple(source)] & ~reached[goal]
            reached[goal] |= new
            through[goal][new], into[goal][new] = step, axis
    state = list(wanted[1:])
    if not reached[tuple(state)]:
        return None
    part = np.zeros(len(films), dtype=np.int64)
    while any(state):
        patient, axis = order[through[tuple(state)]], into[tuple(state)]
        part[patient] = axis + 1
        state[axis] -= films[patient]
    return part


# About two seconds of searching.
_MOST_STEPS = 1_000_000_000


# ---- what a split lets a model know ----------------------------------------------


def leakage(frame: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """How many films of each split show a patient that training shows, too.

    Returns:
        One row a split, in the order train, validation, test: `split`, `films`,
        `patients`, `films_per_patient`, and the `shared_patients` and `shared_films` that
        training also has, the films also as a share (`leaked`, 0 to 1; 0 for train).
    """
    patient = frame["patient_id"].loc[split.index]
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


def balance(frame: pd.DataFrame, split: pd.Series) -> pd.DataFrame:
    """How far each split is from its share of everything, in films (or patients).

    Returns:
        One row a trait (see `traits`, then "Patients") and split: `trait`, `split`,
        `films` that have it, `expected` (the split's share of the films that take part,
        of all that have it), `deviation` (films - expected) and `prevalence` (films out
        of the split's, 0 to 1). For "Patients" and "Patients with <finding>", numbers of
        patients take the films' place.
    """
    frame = frame.loc[split.index]
    counts = traits(frame).groupby(split).sum()
    everyone = counts.sum()
    patients = {"Patients": frame["patient_id"]} | {
        f"Patients with {finding}": frame.loc[frame[finding] == 1, "patient_id"]
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


# ---- the files in subset/ ----------------------------------------------------------


def settings(
    path: Path,
    kind: str,
    *,
    min_combination: int,
    seed: int,
    lists: Path | None = None,
) -> dict:
    """What decides a split; written with it, and compared before it is used.

    Args:
        path: the records file that the split is made from.
        kind, min_combination, seed, lists: as for `make`; what the kind of split does not
            depend on is noted as None, so that changing it makes no difference.

    Raises:
        InputError: if there are no records yet.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} does not exist; run notebook 000, which fetches it.")
    combinations = kind in ("patient", "original")
    return {
        "split": kind,
        "min_combination": min_combination if combinations else None,
        "seed": seed if kind in ("patient", "official") else None,
        "lists": str(lists) if kind == "community" else None,
        "records_sha256": artifacts.sha256(path),
    }


def save(frame: pd.DataFrame, split: pd.Series, folder: Path, *, settings: dict) -> bool:
    """Write one CSV a split and `split.json` to `folder`; reuse what is there already.

    Args:
        frame: records, as `nih.read` returns them.
        split: as `make` returns it.
        folder: the subset folder.
        settings: as the function `settings` returns them.

    Returns:
        True if the folder held this very split, so that nothing was written.

    Raises:
        InputError: if it holds a split made with other settings, or by a version of
            this code that divides differently.
    """
    parts = {name: frame.loc[split.index[split == name]] for name in NAMES}
    about = Path(folder) / "split.json"
    films = {name: artifacts.fingerprint(part["film"]) for name, part in parts.items()}
    if about.exists():
        info = artifacts.read_json(about)
        for part, now in (("settings", settings), ("films_sha256", films)):
            artifacts.refuse_other_settings(about, info.get(part, {}), now, _REMEDY)
        if not _changed(folder, info):
            return True
    for name, part in parts.items():
        artifacts.write_csv(Path(folder) / f"{name}.csv", part)
    # Last, so that a folder with a split.json is complete.
    artifacts.write_json(
        about,
        {
            "settings": settings,
            "counts": {
                name: {"films": len(part), "patients": int(part["patient_id"].nunique())}
                for name, part in parts.items()
            },
            "films_sha256": films,
            "files_sha256": {
                f"{name}.csv": artifacts.sha256(Path(folder) / f"{name}.csv") for name in NAMES
            },
            "versions": artifacts.versions(),
        },
    )
    return False


_REMEDY = "Remove that folder to divide anew (runs made from it no longer fit), or set CXR_ROOT."


def load(folder: Path, *, settings: dict | None = None) -> tuple[dict[str, pd.DataFrame], dict]:
    """Read the split that notebook 100 saved.

    Args:
        folder: the subset folder.
        settings: as the function `settings` returns them for what is wanted now; None
            takes whatever is there.

    Returns:
        parts: the records of "train", "validation" and "test", columns as `nih.TYPES`.
        info: what `split.json` says: settings, counts, checksums, versions.

    Raises:
        InputError: if there is none, if it was made with other settings or from other
            records, or if a file was changed or removed since.
    """
    about = Path(folder) / "split.json"
    if not about.exists():
        raise InputError(f"{folder} holds no split; run notebook 100 first.")
    info = artifacts.read_json(about)
    artifacts.refuse_other_settings(about, info.get("settings", {}), settings or {}, _REMEDY)
    changed = _changed(folder, info)
    if changed:
        raise InputError(
            f"{', '.join(changed)} in {folder} changed or vanished after notebook 100 wrote it; "
            "run 100 again."
        )
    parts = {name: pd.read_csv(Path(folder) / f"{name}.csv", dtype=nih.TYPES) for name in NAMES}
    return parts, info


def _changed(folder: Path, info: dict) -> list[str]:
    """The CSVs that are no longer as `split.json` describes them."""
    expected = info.get("files_sha256", {})
    paths = [Path(folder) / f"{name}.csv" for name in NAMES]
    return [
        path.name
        for path in paths
        if not path.is_file() or artifacts.sha256(path) != expected.get(path.name)
    ]
