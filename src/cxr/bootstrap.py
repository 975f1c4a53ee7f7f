"""Intervals that respect patients: the films of one patient are drawn together."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from scipy import sparse

# Replicates weighed at the same time: some 50 MB for 25,000 films.
BLOCK = 250

# With fewer patients on either side of a finding, resampling them says nothing about how
# other patients would have scored, so no interval is given.
FEWEST_PATIENTS = 5

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Resamples:
    """How often each patient is drawn in each replicate (the cluster bootstrap).

    Films of one patient resemble each other, so drawing films one by one gives intervals
    that are too narrow (Field and Welsh, J. R. Statist. Soc. B 2007).

    Attributes:
        patient: int (films,), the patient of each film, 0 to patients - 1.
        counts: uint8 (patients, replicates), how often each patient was drawn.
    """

    patient: np.ndarray
    counts: np.ndarray

    @property
    def replicates(self) -> int:
        return self.counts.shape[1]

    def blocks(self) -> Iterator[np.ndarray]:
        """Weights per patient for a block of replicates: float64 (patients, at most BLOCK)."""
        for start in range(0, self.replicates, BLOCK):
            yield self.counts[:, start : start + BLOCK].astype(np.float64)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sum of values over the films of every replicate.

        Whatever is a function of such sums (a sensitivity, a Brier score, a net benefit)
        has its replicates from one matrix product.

        Args:
            values: float (films, columns).

        Returns:
            float64 (replicates, columns).
        """
        films = np.arange(len(self.patient))
        per_patient = _incidence(self.patient, films, len(self.counts), len(films)) @ values
        return np.concatenate([block.T @ per_patient for block in self.blocks()])

    def restricted(self, films: np.ndarray) -> "Resamples":
        """The same draws, seen by some of the films (bool, (films,))."""
        return Resamples(self.patient[films], self.counts)


def resample(patients, *, replicates: int, seed: int) -> Resamples:
    """Draw as many patients as there are, with replacement, `replicates` times.

    Args:
        patients: the patient of each film, any hashable, (films,).
    """
    _, patient = np.unique(np.asarray(patients), return_inverse=True)
    number = int(patient.max()) + 1 if len(patient) else 0
    random = np.random.default_rng(seed)
    counts = np.empty((number, replicates), dtype=np.uint8)
    for replicate in range(replicates if number else 0):
        drawn = random.integers(number, size=number)
        # No patient is ever drawn 256 times: that has a probability below 1e-500.
        counts[:, replicate] = np.bincount(drawn, minlength=number)
    return Resamples(patient, counts)


class Ranking:
    """The films of one finding, sorted by score once, then weighed in any number of ways.

    Only where the positives stand among the negatives matters to AUROC and average
    precision. So negatives are counted in bins between the positives' distinct scores and
    in bins tied with them; a sparse product with the patients' weights fills the bins of
    many replicates at once. Ties are exact.

    Args:
        target: 0/1, (films,).
        score: float (films,), higher is more suspicious.
        resamples: whose patients the films belong to.
    """

    def __init__(self, target: np.ndarray, score: np.ndarray, resamples: Resamples):
        positive = np.asarray(target) == 1
        score = np.asarray(score, dtype=np.float64)
        patients = len(resamples.counts)
        # Ascending distinct scores of positives; the even bins of the negatives lie
        # between them, the odd ones on them.
        steps = np.unique(score[positive])
        left = np.searchsorted(steps, score, side="left")
        right = np.searchsorted(steps, score, side="right")
        self._positives = _incidence(
            left[positive], resamples.patient[positive], len(steps), patients
        )
        self._negatives = _incidence(
            (left + right)[~positive], resamples.patient[~positive], 2 * len(steps) + 1, patients
        )

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """Area under the ROC curve, ties counted half (Hanley and McNeil, Radiology 1982).

        Args:
            weights: float64 (patients, columns).

        Returns:
            float64 (columns,); NaN where the weights leave no positive or no negative.
        """
        positives, negatives = self._positives @ weights, self._negatives @ weights
        below = np.cumsum(negatives, axis=0)
        won = below[:-1:2] + negatives[1::2] / 2
        return ratio((positives * won).sum(axis=0), positives.sum(axis=0) * below[-1])

    def auprc(self, weights: np.ndarray) -> np.ndarray:
        """Average precision: the precision at each step of the recall, weighted by the step.

        Args, returns: as `auroc`.
        """
        positives, negatives = self._positives @ weights, self._negatives @ weights
        below = np.cumsum(negatives, axis=0)
        hits = np.cumsum(positives[::-1], axis=0)[::-1]
        flagged = hits + below[-1] - below[:-1:2]
        precision = np.divide(hits, flagged, out=np.zeros_like(hits), where=flagged > 0)
        total = positives.sum(axis=0)
        # Without negatives every precision is 1, which says nothing.
        return ratio((positives * precision).sum(axis=0), np.where(below[-1] > 0, total, 0))

    def estimate(self, metric: str) -> float:
        """The metric ("auroc" or "auprc") with every patient counted once."""
        return float(getattr(self, metric)(np.ones((self._positives.shape[1], 1)))[0])

    def replicates(self, metric: str, resamples: Resamples) -> np.ndarray:
        """The metric in every replicate, float64 (replicates,)."""
        return np.concatenate([getattr(self, metric)(block) for block in resamples.blocks()])


def auroc(
    target: np.ndarray, score: np.ndarray, resamples: Resamples
) -> tuple[float, float, float]:
    """AUROC of one label with its 95 % interval; NaN as `Ranking.auroc` and `enough` say."""
    ranking = Ranking(target, score, resamples)
    low = high = np.nan
    if enough(target, resamples.patient):
        low, high = interval(ranking.replicates("auroc", resamples))
    return ranking.estimate("auroc"), float(low), float(high)


def enough(target: np.ndarray, patient: np.ndarray) -> bool:
    """Whether `FEWEST_PATIENTS` patients or more have a positive, and a negative, film."""
    positive = np.asarray(target) == 1
    fewest = min(len(np.unique(patient[positive])), len(np.unique(patient[~positive])))
    return fewest >= FEWEST_PATIENTS


def interval(replicates: np.ndarray, *, level: float = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """Percentile interval along the first axis; replicates that are NaN are left out.

    Returns:
        Lower and upper bound, each of the shape of one replicate; NaN where all are NaN.
    """
    shape = np.shape(replicates)[1:]
    columns = np.asarray(replicates, dtype=np.float64).reshape(len(replicates), -1)
    bounds = np.full((2, columns.shape[1]), np.nan)
    known = ~np.isnan(columns).all(axis=0)
    tail = (1 - level) / 2
    bounds[:, known] = np.nanquantile(columns[:, known], [tail, 1 - tail], axis=0)
    low, high = bounds.reshape(2, *shape)
    return low, high


def mean_replicates(estimates: np.ndarray, replicates: np.ndarray) -> np.ndarray:
    """Replicates of the mean over the findings that have an estimate.

    A finding whose few positives were not drawn keeps its estimate in that replicate:
    leaving it out would change what is averaged from one replicate to the next.

    Args:
        estimates: float (findings,), NaN where not estimable.
        replicates: float (replicates, findings).

    Returns:
        float (replicates,); NaN if no finding is estimable.
    """
    known = ~np.isnan(estimates)
    if not known.any():
        return np.full(len(replicates), np.nan)
    return np.where(np.isnan(replicates), estimates, replicates)[:, known].mean(axis=1)


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """Quotient, NaN where the denominator is zero."""
    undefined = np.full(np.shape(numerator), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)


def _incidence(rows: np.ndarray, columns: np.ndarray, height: int, width: int):
    """Sparse (height, width) matrix that counts the pairs of row and column."""
    ones = np.ones(len(rows))
    return sparse.csr_array((ones, (rows, columns)), shape=(height, width))
