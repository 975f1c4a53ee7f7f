"""What more patients would bring: AUROC against training patients, extrapolated.

Two curves through the same points, since a few points cannot tell which one is true:

- *power law*, a - b n^-c: what a model lacks to its ceiling falls as a power of the number of
  patients (Figueroa et al., BMC Medical Informatics and Decision Making 2012);
- *logarithm*, a + b log n: no ceiling, so far out it promises too much.

Each is fitted by least squares, weighed by the errors of the points, to the points as they
are and to draws of what other patients who judge and other seeds would have made of them.
Neither knows what another choice of training patients would change, nor whether the curve
goes on as it began.
"""

import itertools

import numpy as np
import pandas as pd
from recipe_judge import Fits, Seeds, mean

from cxr.evaluation.intervals import LEVEL

# All patients of NIH ChestX-ray14.
ALL_PATIENTS = 30_805

DRAWS = 2_000

# How fast a power law may fall: c of 0.05 is hardly to be told from the logarithm, one of 2
# is done after a few hundred patients.
_POWERS = np.geomspace(0.05, 2.0, 60)

FORMS = ("power law", "logarithm")


def spread(points: list[Fits], seeds: Seeds) -> np.ndarray:
    """How unsure the points are, and how much of it they share, float64 (points, points).

    The same patients judge all points, so what is hard in them moves all alike (jackknife);
    seeds are each point's own.
    """
    without = np.concatenate([mean(fits).without for fits in points], axis=1)
    patients = len(without)
    shifts = without - without.mean(axis=0)
    luck = [seeds.variance / min(map(len, fits.values())) for fits in points]
    return (patients - 1) / patients * shifts.T @ shifts + np.diag(luck)


def predicted(
    form: str, patients: np.ndarray, reached: np.ndarray, errors: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """A curve through points, read at other numbers of patients.

    Args:
        form: one of `FORMS`.
        patients: float64 (points,), training patients.
        reached: float64 (draws, points), AUROC, 0 to 1.
        errors: float64 (points,), standard errors, by which points are weighed.
        at: float64 (places,), training patients.

    Returns:
        float64 (draws, places), no more than 1.
    """
    shapes = [np.log] if form == "logarithm" else [lambda n, c=c: -(n**-c) for c in _POWERS]
    weight = 1 / errors
    best = np.full(len(reached), np.inf)
    found = np.zeros((len(reached), len(at)))
    for shape in shapes:
        columns = np.column_stack([np.ones(len(patients)), shape(patients)])
        (level, slope), *_ = np.linalg.lstsq(
            columns * weight[:, None], (reached * weight).T, rcond=None
        )
        # More patients do no harm, and nothing ranks better than perfectly.
        slope = np.maximum(slope, 0.0)
        level = ((reached - slope[:, None] * columns[:, 1]) @ weight**2) / (weight**2).sum()
        missed = (reached - level[:, None] - slope[:, None] * columns[:, 1]) * weight
        lacking = (missed**2).sum(axis=1)
        better = lacking < best
        best[better] = lacking[better]
        found[better] = (level[:, None] + slope[:, None] * shape(at))[better]
    return np.minimum(found, 1.0)


def extrapolated(
    points: dict[float, Fits], seeds: Seeds, *, at: tuple[int, ...] = (ALL_PATIENTS,), seed: int
) -> pd.DataFrame:
    """What the curve promises, by each form.

    Args:
        points: training patients -> fits; at least three.
        seeds: what seeds change, pooled over the campaign.
        at: training patients at which it is read.
        seed: of the draws.

    Returns:
        One row a form and place: `form`, `points`, `train_patients`, `auroc`, `low`, `high`
        (95 %). The rows with one point less are the curve without the largest one, read
        there: what it would have promised, beside what was `reached`.

    Raises:
        ValueError: with fewer than three points, through which any curve goes.
    """
    if len(points) < 3:
        raise ValueError(f"a learning curve needs three points or more, not {len(points)}")
    patients = np.array(sorted(points), float)
    fits = [points[number] for number in sorted(points)]
    reached = np.array([mean(one).value[0] for one in fits])
    shared = spread(fits, seeds)
    drawn = np.random.default_rng(seed).multivariate_normal(
        reached, shared, size=DRAWS, method="eigh"
    )
    errors = np.sqrt(np.diag(shared))
    tail = 100 * (1 - LEVEL) / 2
    rows = []
    uses = [(len(patients), float(place)) for place in at]
    if len(patients) > 3:
        uses.insert(0, (len(patients) - 1, patients[-1]))
    for form, (used, place) in itertools.product(FORMS, uses):
        known = slice(None, used)
        args = patients[known], np.vstack([reached, drawn])[:, known], errors[known]
        curve = predicted(form, *args, np.array([place]))[:, 0]
        low, high = np.percentile(curve[1:], (tail, 100 - tail))
        rows.append(
            {
                "form": form,
                "points": used,
                "train_patients": int(place),
                "auroc": curve[0],
                "low": low,
                "high": high,
                "reached": reached[-1] if used < len(patients) else np.nan,
            }
        )
    return pd.DataFrame(rows)
