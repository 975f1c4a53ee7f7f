"""Whole patients into parts of exact sizes, with everything else in proportion."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.findings import FINDINGS, NO_FINDING

# Upper ends of the age bands that are kept in proportion, in years.
AGE_BANDS = (17, 34, 49, 64)


def by_patient(
    records: pd.DataFrame, sizes: Mapping[str, int], *, seed: int, exactly: bool = True
) -> pd.Series:
    """Give whole patients to the parts: exact sizes in films, all else in proportion.

    Patients with equally many films are drawn at random, as many for each part as
    keeps the films in proportion; the many patients with one film meet the sizes.
    Then patients with equally many films change places while that brings the
    findings, the patients who have them, views, sexes and ages closer to proportion;
    what is still far from it then counts more, in further turns.

    All sums are of whole numbers, so every machine gives the same split.

    Args:
        records: as `nih.read_records` returns them.
        sizes: name of each part, two or more, and its films; they add up to all films.
        seed: decides who goes where.
        exactly: refuse sizes that whole patients do not allow; else near ones are taken, which
            no patient's move to another part, or change of places with another, brings nearer.

    Returns:
        Name of the part per film, index as `records`.

    Raises:
        InputError: if there are fewer patients than parts, or a part of no film; with
            `exactly`, if no division into whole patients with these sizes was found.
    """
    patients, patient = np.unique(records["patient_id"], return_inverse=True)
    wanted = np.array(list(sizes.values()))
    if (wanted == 0).any() or len(patients) < len(wanted):
        raise InputError(
            f"{len(patients):,} patients with {len(records):,} films are too few to divide into "
            f"{', '.join(f'{films} for {name}' for name, films in sizes.items())}; use more "
            "records, or CXR_MIN_COMBINATION=0 to keep all films."
        )
    random = np.random.default_rng(seed)
    films = np.bincount(patient)
    drawn = _draw(films, wanted, random)
    met = (np.bincount(drawn, weights=films, minlength=len(wanted)) == wanted).all()
    part = drawn if met else _draw_exactly(films, wanted, random)
    if part is None and not exactly:
        part = _draw_nearest(films, wanted, random)
    if part is None:
        raise InputError(
            f"no choice of whole patients, out of {len(patients):,}, was found that gives exactly "
            f"{', '.join(f'{films:,} films for {name}' for name, films in sizes.items())}; "
            "use records with more patients."
        )
    counts = _counts_by_patient(records, patient)
    weights = np.ones(counts.shape[1], dtype=np.int64)
    for _ in range(_MOST_TURNS):
        _exchange(part, films, weights * counts, wanted, random)
        far = (np.abs(_deviation(part, counts, wanted)) > _FAR).any(axis=0)
        if not far.any():
            break
        # Swaps ended where films and patients of a finding pull in two directions.
        weights[far] *= 2
    names = np.array(list(sizes), dtype=object)
    return pd.Series(names[part[patient]], index=records.index, name="split", dtype=str)


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
    deviation = _deviation(part, values, wanted)
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


def _deviation(part: np.ndarray, counts: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """By how much each part's sums exceed their proportion, float64 (parts, sums)."""
    values = counts.astype(np.float64)
    target = np.rint(np.outer(wanted / wanted.sum(), values.sum(axis=0)))
    return np.stack([values[part == p].sum(axis=0) for p in range(len(wanted))]) - target


# Patients of either part that a round compares; rounds in all, and rounds in succession
# without a better pair, after which swapping ends.
_PAIRS, _MOST_ROUNDS, _PATIENCE = 200, 5_000, 100

# What misses by more films or patients than this counts double in a further turn.
_FAR, _MOST_TURNS = 8, 6


def _counts_by_patient(records: pd.DataFrame, patient: np.ndarray) -> np.ndarray:
    """What each patient adds to the sums that are balanced, int64 (patients, sums).

    The films with each of the `traits`; then, for each finding, 1 if the patient has any:
    intervals rest on patients, and a few patients have most films of a finding.
    """
    order = np.argsort(patient, kind="stable")
    first = np.flatnonzero(np.diff(patient[order], prepend=-1))
    films = np.add.reduceat(traits(records).to_numpy(np.int64)[order], first)
    return np.hstack([films, films[:, : len(FINDINGS)] > 0])


def traits(records: pd.DataFrame) -> pd.DataFrame:
    """What a balanced split keeps in proportion, as one 0/1 column each, by film.

    Returns:
        int8 frame, index as `records`: the 14 findings, "No Finding", "AP view", "Women",
        and the age bands, the last of which includes the films without an age.
    """
    # NaN sorts behind every number.
    band = np.searchsorted(AGE_BANDS, records["age"].to_numpy(dtype=float, na_value=np.nan))
    starts = (0, *(end + 1 for end in AGE_BANDS))
    ages = [f"Age {a}–{b}" for a, b in zip(starts, AGE_BANDS, strict=False)]
    by_film = {finding: records[finding] for finding in FINDINGS} | {
        NO_FINDING: records["labels"] == NO_FINDING,
        "AP view": records["view"] == "AP",
        "Women": records["sex"] == "F",
    }
    by_film |= {
        name: band == place for place, name in enumerate([*ages, f"Age {starts[-1]} and over"])
    }
    return pd.DataFrame(by_film, index=records.index).astype("int8")


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
            # All states, but along this axis those that the patient still fits, shifted.
            every = (slice(None),) * axis
            source = (*every, slice(None, most + 1 - films[patient]))
            goal = (*every, slice(films[patient], None))
            new = before[source] & ~reached[goal]
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


def _draw_nearest(films: np.ndarray, wanted: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Divide the patients so that the sizes are near `wanted`, where none meets it.

    From the draw in proportion on, single patients move to another part, or change places with
    one of it, while that fills an empty part or brings the sizes nearer; no part is left empty.
    Where all patients have equally many films, no other division is nearer.

    Returns:
        Part per patient, who are at least as many as the parts.
    """
    part = _draw(films, wanted, random)
    over = (np.bincount(part, weights=films, minlength=len(wanted)) - wanted).astype(int).tolist()
    # More than any sizes can gain.
    filling = 4 * int(films.sum()) ** 2
    while True:
        held = [np.unique(films[part == p]).tolist() for p in range(len(wanted))]
        several = np.bincount(part, minlength=len(wanted)) > 1
        # `size` films from a to b for `back` others, 0 for none, lower the squared deviations
        # by twice the gain.
        gain, size, back, a, b = max(
            (
                (size - back) * (over[a] - over[b] - size + back) + filling * (not held[b]),
                *(size, back, a, b),
            )
            for a, b in itertools.permutations(range(len(wanted)), 2)
            for size in held[a]
            for back in ([0, *held[b]] if several[a] else held[b])
        )
        if gain <= 0:
            return part
        there = np.flatnonzero((part == b) & (films == back))[:1]
        part[np.flatnonzero((part == a) & (films == size))[0]] = b
        part[there] = a
        over[a] += back - size
        over[b] += size - back


# About two seconds of searching.
_MOST_STEPS = 1_000_000_000
