"""Which films the demo draws: whole patients, enriched in findings."""

import itertools

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.findings import FINDINGS

# Shares of the sample. Test is larger than usual because the boxed films are in it.
_SHARES = {"train": 0.60, "validation": 0.15, "test": 0.25}

# Films per patient, at most: some have more than a hundred, and few people teach a model
# little. Samples of less than 900 films take fewer, so that they reach all findings.
_FILMS_PER_PATIENT = 3

# Positives wanted of each finding, as a share of a split's films. Findings co-occur, so 14
# times this share still leaves about half of the sample to films without a finding.
_POSITIVES = 0.06

# Largest share of the test films that boxed ones take: boxes mark 8 of the 14 findings.
_BOXED = 0.5

# Share of each split that only films without a finding may fill.
_WITHOUT = 0.2


def choose(
    records: pd.DataFrame,
    split: pd.Series,
    boxes: pd.DataFrame,
    *,
    films: int,
    seed: int,
) -> list[str]:
    """Choose about `films` films, patient by patient, that cover every finding in every split.

    First the test films with boxes, then patients for each finding, the rarest first, until
    6 % of each split show it; the rest are films without a finding. A chosen patient gives
    up to three films, those that the sample needs first; boxed films come on their own.

    Args:
        records: one row a film; needs `film`, `patient_id` and the finding columns.
        split: "train", "validation" or "test" for the films that take part, by the index
            of `records`. Patients may lie in several splits, as in the original project's.
        boxes: needs `film`. All of the test films with boxes are chosen where they fit into half
            of the test share, else as many as do.
        films: films wanted; never exceeded, and met where the records have enough.
        seed: decides which patients are taken.

    Returns:
        Film names, sorted.

    Raises:
        InputError: if `films` is too small for one film in each split, or no film of the
            records takes part.
    """
    shares = {name: round(films * share) for name, share in _SHARES.items()}
    shares["train"] = films - shares["validation"] - shares["test"]
    if min(shares.values()) < 1:
        raise InputError(f"a sample of {films} films has none for some split; ask for 10 or more.")
    if split.empty:
        raise InputError("no film takes part in the split, so none can be sampled.")
    # By film name, so that the sample does not depend on the order of the records file.
    table = records.loc[split.index].assign(split=split).sort_values("film", ignore_index=True)
    sample = _Sample(table, shares, limit=min(_FILMS_PER_PATIENT, max(1, films // 300)))
    order = np.random.default_rng(seed).permutation(len(table))
    targets = table[list(FINDINGS)].to_numpy(bool)
    without = ~targets.any(axis=1)

    boxed = table["film"].isin(boxes["film"]).to_numpy() & (sample.split == "test")
    for row in order[boxed[order]][: round(shares["test"] * _BOXED)]:
        sample.add(row)
    # Half of the wanted positives of every finding come before more of any.
    for part, (name, share) in itertools.product((0.5, 1.0), shares.items()):
        inside = sample.split == name
        wanted, kept_free = max(1, round(share * _POSITIVES * part)), round(share * _WITHOUT)
        for finding in np.argsort(targets[inside].sum(axis=0), kind="stable"):
            positive = inside & targets[:, finding]
            for row in order[positive[order]]:
                if sample.chosen[positive].sum() >= wanted or sample.free[name] <= kept_free:
                    break
                sample.add_patient(row, prefer=positive)
    # Films with a finding fill up only where those without one run out.
    for rows in (order[without[order]], order[~without[order]]):
        for row in rows:
            if not any(sample.free.values()):
                break
            sample.add_patient(row, prefer=without)
    return table["film"][sample.chosen].tolist()


class _Sample:
    """The films chosen so far, and how many each split still takes."""

    def __init__(self, table: pd.DataFrame, shares: dict[str, int], *, limit: int):
        self.split = table["split"].to_numpy(str)
        self.chosen = np.zeros(len(table), dtype=bool)
        self.free = dict(shares)
        self._limit = limit
        self._patient = table["patient_id"].to_numpy()
        self._films_of = table.groupby("patient_id").indices

    def add(self, row: int) -> None:
        """Choose one film, if it is new and its split has room."""
        name = self.split[row]
        if not self.chosen[row] and self.free[name]:
            self.chosen[row] = True
            self.free[name] -= 1

    def add_patient(self, row: int, *, prefer: np.ndarray) -> None:
        """Choose a film, then others of its patient, preferred ones first, up to the limit."""
        if self.chosen[row] or not self.free[self.split[row]]:
            return
        own = self._films_of[self._patient[row]]
        for film in sorted(own, key=lambda film: (film != row, not prefer[film])):
            if self.chosen[own].sum() < self._limit:
                self.add(film)
