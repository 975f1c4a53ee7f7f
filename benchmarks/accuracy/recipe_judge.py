"""Whether two recipes differ, when the same recipe trained again differs, too.

A fit is one training: one recipe, one seed, one fold. What a fit reaches varies with the
patients who judge it and with its seed, and a bootstrap of patients knows the first only.
Both are taken apart as in studies of several readers who read the same cases (Obuchowski
and Rockette, Communications in Statistics 1995), with seeds for readers and patients for
cases; seeds are nested in a recipe, since the same number means nothing across recipes.

    python benchmarks/accuracy/recipe_judge.py 2000     # made-up campaigns, see `rejections`
"""

import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy import stats

from cxr.evaluation import intervals
from cxr.evaluation.intervals import LEVEL, Estimate

# Fold -> one estimate a seed, each of one column: the mean AUROC over the findings. The same
# place is the same seed on every fold, which may do the same to all of them.
Fits = Mapping[int, Sequence[Estimate]]


@dataclasses.dataclass(frozen=True)
class Seeds:
    """What another seed changes in a recipe's fits on all folds, beyond what patients would.

    Attributes:
        variance: of the AUROC of one seed, the mean over its folds; pooled over recipes. So it
            does not matter whether a seed does the same on every fold, or something else.
        freedom: of that variance: the seeds, less one for each recipe.
        whole: the variance before what patients account for is taken off, by which it is as
            unsure; the same where nothing was.
    """

    variance: float
    freedom: int
    whole: float | None = None

    @classmethod
    def of(cls, recipes: Mapping[str, Fits]) -> "Seeds":
        """From all recipes of a campaign.

        The variance among the seeds of one recipe on the same patients holds two parts: what
        seeds do to the model, and how differently such models do on these patients. The
        second is in the patients' own variance already, so it is taken off: half of what
        the jackknife gives for the difference of two such seeds.

        Raises:
            ValueError: if no recipe has two seeds on every fold.
        """
        total = shared = 0.0
        freedom = 0
        for recipe in recipes.values():
            seeds = [_mean(fits) for fits in zip(*recipe.values(), strict=False)]
            pairs = list(itertools.combinations(seeds, 2))
            if not pairs:
                continue
            free = len(seeds) - 1
            freedom += free
            total += free * np.var([seed.value[0] for seed in seeds], ddof=1)
            shared += free * np.mean([(a - b).error()[0] ** 2 / 2 for a, b in pairs])
        if not freedom:
            raise ValueError("the variance of seeds needs two seeds of a recipe on every fold")
        return cls(max(0.0, total - shared) / freedom, freedom, total / freedom)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """A value with its 95 % interval, and the standard errors that it is made of."""

    value: float
    low: float
    high: float
    error_patients: float
    error_seeds: float

    @property
    def differs(self) -> bool:
        """Whether the interval leaves out zero."""
        return not self.low <= 0 <= self.high


def mean(fits: Fits) -> Estimate:
    """The mean over folds of the mean over seeds: what one training reaches on average."""
    return _mean([_mean(seeds) for seeds in fits.values()])


def _mean(estimates: Sequence[Estimate]) -> Estimate:
    return Estimate(
        np.mean([one.value for one in estimates], axis=0),
        np.mean([one.without for one in estimates], axis=0),
    )


def level(fits: Fits, seeds: Seeds, *, averaged: int = 1) -> Verdict:
    """What a recipe reaches.

    Args:
        fits, seeds: of the recipe, and of the campaign.
        averaged: how many trainings' scores each fit is the mean of; seeds move it as much
            less as they move the mean of so many trainings.
    """
    return _verdict(mean(fits), seeds, _share(fits) / averaged)


def difference(fits: Fits, other: Fits, seeds: Seeds, *, averaged: int = 1) -> Verdict:
    """What a recipe reaches more than another, on the same patients.

    Args:
        fits, seeds, averaged: as for `level`.
        other: each fit one training's.
    """
    return _verdict(mean(fits) - mean(other), seeds, _share(fits) / averaged + _share(other))


def _share(fits: Fits) -> float:
    """The variance of the mean, for a variance of 1 of each seed."""
    return 1 / min(map(len, fits.values()))


def _verdict(estimate: Estimate, seeds: Seeds, share: float) -> Verdict:
    parts = np.array([estimate.error()[0] ** 2, seeds.variance * share])
    whole = parts.sum()
    # Satterthwaite's (1946) degrees of freedom of the sum.
    unsure = np.array([parts[0], share * (seeds.variance if seeds.whole is None else seeds.whole)])
    freedom = np.array([estimate.freedom(single=False)[0], seeds.freedom])
    free = max(1.0, whole**2 / (unsure**2 / freedom).sum()) if whole else 1
    half = stats.t.ppf((1 + LEVEL) / 2, free) * np.sqrt(whole)
    value = float(estimate.value[0])
    return Verdict(value, value - half, value + half, *(float(e) for e in np.sqrt(parts)))


# ---- screening ------------------------------------------------------------------------

# Defining words of the design with 16 cells for 8 factors: the first four are free, the
# others are products of three of them, so that no effect is mixed up with another or with
# the interaction of two (resolution IV; Box, Hunter and Hunter, Statistics for
# Experimenters, 2005, table 6.22).
_GENERATORS = ((0, 1, 2), (0, 1, 3), (0, 2, 3), (1, 2, 3))


def design() -> np.ndarray:
    """-1 and 1, int (16 cells, 8 factors)."""
    free = np.array(list(itertools.product((-1, 1), repeat=4)))[:, ::-1]
    return np.column_stack([free, *(free[:, list(word)].prod(axis=1) for word in _GENERATORS)])


def effects(reached: np.ndarray) -> pd.DataFrame:
    """The effect of each of 8 factors, from one fit a cell and fold.

    The seven contrasts that belong to no factor, but to interactions alone, tell the error of
    an effect: other seeds, and whatever else makes cells differ that are trained alike. Folds
    would not: a cell has the same seed on both, which may do the same to both.

    Args:
        reached: mean AUROC, float (16 cells, folds), cells as in `design`.

    Returns:
        One row a factor: `effect` (switched on less switched off, the mean over folds),
        `low`, `high`, `error`, `p`.
    """
    factors = design()
    free = factors[:, :4]
    # Words of one and of three letters are the factors.
    words = [w for size in (2, 4) for w in itertools.combinations(range(4), size)]
    idle = np.column_stack([free[:, list(word)].prod(axis=1) for word in words])
    mean_of_folds, half_of_cells = reached.mean(axis=1), len(factors) / 2
    effect = factors.T @ mean_of_folds / half_of_cells
    error = np.sqrt(((idle.T @ mean_of_folds / half_of_cells) ** 2).mean())
    half = stats.t.ppf((1 + LEVEL) / 2, len(words)) * error
    p = 2 * stats.t.sf(np.abs(effect) / error, len(words)) if error else np.where(effect, 0.0, 1.0)
    return pd.DataFrame(
        {"effect": effect, "low": effect - half, "high": effect + half, "error": error, "p": p}
    )


# ---- made-up campaigns ----------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class MadeUp:
    """A campaign in which no recipe is better than another.

    A film's score is what it shows of the finding, what every model makes of it, what
    this recipe makes of it and what this fit makes of it; a fit is also better or worse as
    a whole, by its seed. Films of one patient share half of the first.

    Attributes:
        seeds: standard deviation among fits of how well positives are told, in parts of it.
        alike: whether a seed does so to its fits on all folds, or to each fit on its own.
        recipe, fit: standard deviations of a recipe's and a fit's own views of a film.
    """

    seeds: float
    alike: bool = False
    recipe: float = 0.5
    fit: float = 0.5
    recipes: int = 4
    trainings: int = 3
    folds: int = 2
    patients: int = 300
    findings: int = 3

    def drawn(self, generator: np.random.Generator) -> dict[str, Fits]:
        """One campaign: recipe -> its fits."""
        codes = np.repeat(
            np.arange(self.patients), 1 + generator.poisson(2.4, self.patients).astype(int)
        )
        films, fold = len(codes), codes % self.folds
        shape = (films, self.findings)
        ill = generator.uniform(size=(self.patients, self.findings)) < 0.3
        positive = ill[codes] & (generator.uniform(size=shape) < 0.5)
        seen = generator.normal(0, 0.7, (self.patients, self.findings))[codes]
        seen = seen + generator.normal(0, 0.7, shape)
        drawn: dict[str, Fits] = {}
        for recipe in range(self.recipes):
            own = seen + generator.normal(0, self.recipe, shape)
            luck = generator.normal(0, self.seeds, (self.folds, self.trainings))
            if self.alike:
                luck[:] = luck[0]
            drawn[str(recipe)] = {
                part: [
                    self._fit(generator, positive, own, codes, fold == part, 0.8 * (1 + lucky))
                    for lucky in luck[part]
                ]
                for part in range(self.folds)
            }
        return drawn

    def _fit(self, generator, positive, own, codes, here, strength) -> Estimate:
        scores = own[here] + generator.normal(0, self.fit, own[here].shape)
        scores += strength * positive[here]
        ranked = [
            intervals.ranking("auroc", target, score, codes[here], self.patients)
            for target, score in zip(positive[here].T, scores.T, strict=True)
        ]
        return Estimate(
            np.concatenate([one.value for one in ranked]),
            np.concatenate([one.without for one in ranked], axis=1),
        ).mean()


# From seeds that change nothing but single films, to seeds that decide all.
SETTINGS = {
    "seeds change single films only": MadeUp(seeds=0.0, fit=0.3),
    "seeds and patients weigh the same": MadeUp(seeds=0.06),
    "the same, alike on both folds": MadeUp(seeds=0.06, alike=True),
    "seeds decide": MadeUp(seeds=0.2, recipe=0.1, fit=0.2),
    "seeds decide, alike on both folds": MadeUp(seeds=0.2, recipe=0.1, fit=0.2, alike=True),
}


def rejections(campaigns: int, *, seed: int = 42) -> pd.DataFrame:
    """How often recipes that are equal are called different; 5 % is meant.

    Args:
        campaigns: made up for each of `SETTINGS`.
        seed: of their draws.

    Returns:
        One row a setting: `judge`, two recipes with three seeds each; `screening`, one of
        eight factors; `patients_only`, the jackknife of patients on one seed each, which is
        how recipes were compared before.
    """
    rows = []
    for number, (words, made_up) in enumerate(SETTINGS.items()):
        generator = np.random.default_rng((seed, number))
        found = np.array([_called_different(made_up, generator) for _ in range(campaigns)])
        rates = dict(zip(("judge", "screening", "patients_only"), found.mean(axis=0), strict=True))
        rows.append({"setting": words, "campaigns": campaigns, **rates})
    return pd.DataFrame(rows)


def _called_different(made_up: MadeUp, generator: np.random.Generator) -> tuple[bool, bool, bool]:
    recipes = made_up.drawn(generator)
    one, other = recipes["0"], recipes["1"]
    alone = [{fold: fits[:1] for fold, fits in recipe.items()} for recipe in (one, other)]
    cells = dataclasses.replace(made_up, recipes=16, trainings=1).drawn(generator)
    reached = np.array([[fit.value[0] for (fit,) in cell.values()] for cell in cells.values()])
    return (
        difference(one, other, Seeds.of(recipes)).differs,
        bool(effects(reached)["p"].iloc[0] < 1 - LEVEL),
        _verdict(mean(alone[0]) - mean(alone[1]), Seeds(0.0, 1), 0.0).differs,
    )


if __name__ == "__main__":
    print(rejections(int(sys.argv[1])).round(3).to_string(index=False))
