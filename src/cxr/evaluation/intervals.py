"""Patient-level 95 % intervals: each patient is left out in turn (the cluster jackknife).

Films of one patient resemble each other, so a patient's films are left out together.
Which interval is used for what was chosen by measured coverage: `benchmarks/coverage.py`.
"""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import sparse, special, stats

LEVEL = 0.95

# The one rule for few positives: a finding with fewer positive, or fewer negative, patients
# is "too few patients". It gets no estimate, threshold, curve or p value, and no mean
# includes it. From here on, nominal 95 % intervals cover 0.92 or more.
FEWEST_PATIENTS = 5

# Patients left out at the same time: some 50 MB for 6,000 positive films.
_BLOCK = 500


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Statistics of some films, and what they are with each patient left out.

    Differences and means of estimates keep the pairing of patients, so what is hard for
    both sides of a comparison cancels out.

    Attributes:
        value: float64 (columns,); NaN where not estimable.
        without: float64 (patients, columns).
    """

    value: np.ndarray
    without: np.ndarray

    def __sub__(self, other: "Estimate") -> "Estimate":
        return Estimate(self.value - other.value, self.without - other.without)

    def minus(self, constant: float) -> "Estimate":
        """The distance from a constant, such as from what guessing reaches."""
        return Estimate(self.value - constant, self.without - constant)

    def __getitem__(self, columns) -> "Estimate":
        return Estimate(self.value[columns], self.without[:, columns])

    def mean(self) -> "Estimate":
        """The mean over the columns that are estimable, as one column; NaN if none is."""
        known = ~np.isnan(self.value)
        if not known.any():
            return Estimate(np.array([np.nan]), np.full((len(self.without), 1), np.nan))
        part = self[known]
        return Estimate(part.value.mean(keepdims=True), part.without.mean(axis=1, keepdims=True))

    def unbiased(self) -> "Estimate":
        """With the jackknife's estimate of bias taken off (Quenouille, Biometrika 1956).

        Average precision is too high where there are few positives; one finding's interval
        is wide enough to hold that, the mean's is not.
        """
        patients = max(len(self.without), 1)
        bias = (patients - 1) * (self.without.sum(axis=0) / patients - self.value)
        return Estimate(self.value - bias, self.without - bias)

    def error(self) -> np.ndarray:
        """Standard errors, float64 (columns,): the jackknife's (Efron and Stein 1981)."""
        patients = max(len(self.without), 1)
        return np.sqrt((patients - 1) / patients * (self._shifts() ** 2).sum(axis=0))

    def freedom(self, *, single: bool) -> np.ndarray:
        """Degrees of freedom of the standard errors, float64 (columns,), at least 1.

        Satterthwaite's (1946) are twice the effective number of patients who make up the
        variance: few, where a few positives decide.

        Args:
            single: whether each column ranks one finding. Then value and error rest on the
                same few positives, and it takes half of them less one half to cover.
        """
        squares = self._shifts() ** 2
        effective = ratio(squares.sum(axis=0) ** 2, (squares**2).sum(axis=0))
        return np.fmax(effective - 0.5 if single else 2 * effective, 1)

    def bounds(
        self, *, single: bool, least: float = -np.inf, most: float = np.inf
    ) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper bounds on the scale of the values.

        Args:
            single: as in `freedom`.
            least, most: what such values can be.
        """
        half = self._quantile(single) * self.error()
        return np.clip(self.value - half, least, most), np.clip(self.value + half, least, most)

    def logit_bounds(
        self, patients: np.ndarray | float, *, single: bool, limited: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Bounds within 0 to 1, symmetric on the logit scale, but no wider than they can be.

        The variance of a rate, and of an AUROC (Birnbaum and Klose, Ann Math Stat 1957), is
        at most that of a proportion of as many independent patients as decide it. So bounds
        beyond Wilson's (JASA 1927) for so many are cut there, which matters where one
        patient makes up the jackknife's variance. At exactly 0 or 1, where nothing varies,
        Wilson's are taken.

        Args:
            patients: for each column, how many equal patients decide it: see `effective`.
            single: as in `freedom`.
            limited: whether the variance has that limit; that of an AUPRC has not.
        """
        value, z = self.value, stats.norm.ppf((1 + LEVEL) / 2)
        patients = np.maximum(np.broadcast_to(patients, value.shape).astype(float), 1e-9)
        middle = (value + z**2 / (2 * patients)) / (1 + z**2 / patients)
        reach = z * np.sqrt(value * (1 - value) / patients + z**2 / (4 * patients**2))
        reach /= 1 + z**2 / patients
        inside = (value > 0) & (value < 1)
        centre = np.where(inside, value, 0.5)
        half = self._quantile(single) * self.error() / (centre * (1 - centre))
        low, high = (special.expit(special.logit(centre) + side * half) for side in (-1, 1))
        cut = ~inside | limited
        low = np.where(cut, np.fmax(np.where(inside, low, 0), middle - reach), low)
        high = np.where(cut, np.fmin(np.where(inside, high, 1), middle + reach), high)
        unknown = np.isnan(value)
        return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)

    def p_values(self) -> np.ndarray:
        """Two-sided p of each column being zero, each of one finding; NaN where unknown."""
        error = self.error()
        distance = np.divide(
            np.abs(self.value), error, out=np.full(len(error), np.inf), where=error > 0
        )
        distance[self.value == 0] = 0
        p = 2 * stats.t.sf(distance, self.freedom(single=True))
        return np.where(np.isnan(self.value), np.nan, p)

    def _shifts(self) -> np.ndarray:
        shifts = self.without - self.value
        return np.where(np.isnan(shifts), 0, shifts)

    def _quantile(self, single: bool) -> np.ndarray:
        return stats.t.ppf((1 + LEVEL) / 2, self.freedom(single=single))


def numbered(patients) -> np.ndarray:
    """The patient of each film as 0 to patients - 1, int (films,)."""
    return np.unique(np.asarray(patients), return_inverse=True)[1]


def enough(target: np.ndarray, patient: np.ndarray) -> bool:
    """Whether `FEWEST_PATIENTS` patients or more have a positive, and a negative, film."""
    return fewest(target, patient) >= FEWEST_PATIENTS


def fewest(target: np.ndarray, patient: np.ndarray) -> int:
    """Patients with a positive film, or with a negative one, whichever are fewer.

    Args:
        target: 0/1 (films,).
        patient: the patient of each film, (films,).
    """
    positive, patient = np.asarray(target) == 1, np.asarray(patient)
    return min(len(np.unique(patient[positive])), len(np.unique(patient[~positive])))


def effective(counted: np.ndarray, patient: np.ndarray, patients: int) -> np.ndarray:
    """As many patients with equally many films would decide as much (Kish 1965).

    Args:
        counted: bool (films, columns), the films that are counted.
        patient: as `numbered` returns it, of `patients` patients.

    Returns:
        float64 (columns,); NaN where no film is counted.
    """
    by_patient = sums(counted, patient, patients)
    return ratio(by_patient.sum(axis=0) ** 2, (by_patient**2).sum(axis=0))


# ---- statistics with each patient left out ----------------------------------------


def sums(values: np.ndarray, patient: np.ndarray, patients: int) -> np.ndarray:
    """Sum of values over the films of each patient: float64 (patients, columns).

    Args:
        values: (films, columns).
        patient: as `numbered` returns it.
    """
    films = np.arange(len(patient))
    return _incidence(patient, films, patients, len(films)) @ np.asarray(values, np.float64)


def ratios(above: np.ndarray, below: np.ndarray, patient: np.ndarray, patients: int) -> Estimate:
    """Ratio of two sums over the films, such as a sensitivity or a mean.

    Args:
        above, below: (films, columns).
        patient: as `numbered` returns it, of `patients` patients.
    """
    above, below = (sums(part, patient, patients) for part in (above, below))
    total = above.sum(axis=0), below.sum(axis=0)
    return Estimate(ratio(*total), ratio(total[0] - above, total[1] - below))


def ranking(
    metric: str, target: np.ndarray, score: np.ndarray, patient: np.ndarray, patients: int
) -> Estimate:
    """AUROC or AUPRC of one finding, exact with and without every patient.

    "auroc" counts ties half (Hanley and McNeil, Radiology 1982); "auprc" is the average
    precision: the precision at each step of the recall, weighted by the step.

    Args:
        target: 0/1, (films,).
        score: float (films,), higher is more suspicious.
        patient: as `numbered` returns it, of `patients` patients.

    Returns:
        One column; NaN where there is no positive or no negative.
    """
    positive, score = np.asarray(target) == 1, np.asarray(score, dtype=np.float64)
    known = 0 < positive.sum() < len(positive)
    if not known:
        return Estimate(np.array([np.nan]), np.full((patients, 1), np.nan))
    value, without = (_auroc if metric == "auroc" else _auprc)(positive, score, patient, patients)
    return Estimate(np.array([value]), without[:, None])


def auroc(target, score, patient) -> tuple[float, float, float]:
    """AUROC of one label with its 95 % interval; NaN for too few patients.

    Args:
        target: 0/1, (films,).
        score: float (films,), higher is more suspicious.
        patient: the patient of each film, (films,).
    """
    if not enough(target, patient):
        return np.nan, np.nan, np.nan
    patient, positive = numbered(patient), np.asarray(target)[:, None] == 1
    patients = patient.max() + 1
    estimate = ranking("auroc", target, score, patient, patients)
    decide = (effective(side, patient, patients) for side in (positive, ~positive))
    low, high = estimate.logit_bounds(np.minimum(*decide), single=True)
    return float(estimate.value[0]), float(low[0]), float(high[0])


def rate(hit, counted, patient) -> tuple[float, float, float]:
    """Share of the counted films that are hit, with its 95 % interval.

    Args:
        hit, counted: bool (films,).
        patient: the patient of each film, (films,).

    Returns:
        NaN, all three, if the counted films are of too few patients.
    """
    counted = np.asarray(counted, dtype=bool)
    hit = np.asarray(hit, dtype=bool) & counted
    value, low, high = rates(hit[:, None], counted[:, None], numbered(patient))
    return float(value[0]), float(low[0]), float(high[0])


def rates(
    hit: np.ndarray, counted: np.ndarray, patient: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares of the counted films that are hit, with their 95 % intervals.

    Args:
        hit, counted: bool (films, columns).
        patient: as `numbered` returns it.

    Returns:
        Values, lower and upper bounds, each (columns,); NaN where the counted films are of
        fewer than `FEWEST_PATIENTS` patients.
    """
    patients = int(patient.max(initial=-1)) + 1
    estimate = ratios(hit & counted, counted, patient, patients)
    low, high = estimate.logit_bounds(effective(counted, patient, patients), single=False)
    known = (sums(counted, patient, patients) > 0).sum(axis=0) >= FEWEST_PATIENTS
    value, low, high = (np.where(known, part, np.nan) for part in (estimate.value, low, high))
    return value, low, high


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is zero."""
    undefined = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    return np.divide(numerator, denominator, out=undefined, where=np.asarray(denominator) > 0)


def _auroc(
    positive: np.ndarray, score: np.ndarray, patient: np.ndarray, patients: int
) -> tuple[float, np.ndarray]:
    """Won pairs of a positive and a negative film, less those that a patient takes part in."""
    steps, place = np.unique(score, return_inverse=True)
    wins, losses = place[positive], place[~positive]
    owner = patient[positive], patient[~positive]
    below = _won(wins, np.sort(losses))
    # A negative loses against the positives above it, and half against those on it.
    above = len(wins) - _won(losses, np.sort(wins))
    # The same among each patient's own films: there, both would be subtracted twice.
    span = len(steps) + 1
    own_keys = np.sort(owner[1] * span + losses)
    own = _won(owner[0] * span + wins, own_keys) - np.searchsorted(own_keys, owner[0] * span)
    won = below.sum()
    counts = [np.bincount(films, minlength=patients) for films in owner]
    lost = np.bincount(owner[0], below - own, patients) + np.bincount(owner[1], above, patients)
    pairs = (len(wins) - counts[0]) * (len(losses) - counts[1])
    return won / (len(wins) * len(losses)), ratio(won - lost, pairs)


def _won(places: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """How many of the ordered lie below each place, those on it counted half."""
    return (np.searchsorted(ordered, places) + np.searchsorted(ordered, places, "right")) / 2


def _auprc(
    positive: np.ndarray, score: np.ndarray, patient: np.ndarray, patients: int
) -> tuple[float, np.ndarray]:
    # Descending distinct scores of positives; a film counts from the first step at or below it.
    steps = -np.unique(-score[positive])
    step = np.searchsorted(-steps, -score)
    seen = step < len(steps)
    hits = _incidence(step[positive], patient[positive], len(steps), patients).tocsc()
    films = _incidence(step[seen], patient[seen], len(steps), patients).tocsc()
    everyone = [np.asarray(part.sum(axis=1)).ravel()[:, None] for part in (hits, films)]
    value = _precision(*everyone)[0]
    without = [
        _precision(everyone[0] - hits[:, some].toarray(), everyone[1] - films[:, some].toarray())
        for some in _blocks(patients)
    ]
    return value, np.concatenate(without)


def _precision(hits: np.ndarray, films: np.ndarray) -> np.ndarray:
    """Average precision by column, from positives and films at each descending step."""
    precision = np.divide(
        np.cumsum(hits, axis=0), np.cumsum(films, axis=0), out=np.zeros_like(hits), where=films > 0
    )
    return ratio((hits * precision).sum(axis=0), hits.sum(axis=0))


def _blocks(patients: int) -> Iterator[slice]:
    return (slice(start, start + _BLOCK) for start in range(0, patients, _BLOCK))


def _incidence(rows: np.ndarray, columns: np.ndarray, height: int, width: int):
    """Sparse (height, width) matrix that counts the pairs of row and column."""
    ones = np.ones(len(rows))
    return sparse.csr_array((ones, (rows, columns)), shape=(height, width))
