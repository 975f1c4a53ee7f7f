"""How often nominal 95 % intervals hold the true value, and how often a null is rejected.

    python benchmarks/accuracy/coverage.py        # 2,000 repetitions a setting, minutes
    make soak                                     # the same, and the limits asserted

Test sets are drawn like the README's: 530 patients with 3.3 films each on average, few of
them positive, films of one patient alike. The truth is known, because it was drawn.
"""

import itertools
import multiprocessing
import sys
from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

from cxr.evaluation import intervals
from cxr.evaluation.comparison import between
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS

SEED, REPETITIONS = 42, 2000
PATIENTS, FILMS_EACH = 530, 3.3
POSITIVES = (3, 5, 6, 8, 10, 15, 20, 40)
CORRELATIONS = (0.0, 0.5, 0.9)
AUROCS = (0.55, 0.70, 0.85, 0.95)
RATES = (0.50, 0.75, 0.90, 0.97)

# Positive patients of each finding, as among the README's test films, and made-up AUROCs.
HAVE = (73, 25, 53, 102, 28, 41, 10, 30, 29, 6, 16, 29, 29, 1)
SKILL = (0.72, 0.75, 0.78, 0.65, 0.68, 0.60, 0.64, 0.72, 0.70, 0.85, 0.67, 0.65, 0.65, 0.70)


def films(random: np.random.Generator, patients: int) -> np.ndarray:
    """The patient of each film, from 0: most have one, a few have many."""
    return np.repeat(np.arange(patients), random.geometric(1 / FILMS_EACH, patients))


def positive_films(random: np.random.Generator, patient: np.ndarray, patients: int) -> np.ndarray:
    """Films with a finding: about half of those of so many patients, one each at least."""
    chosen = random.choice(patient.max() + 1, patients, replace=False)
    order = random.random(len(patient))
    first = np.full(patient.max() + 1, np.inf)
    np.minimum.at(first, patient, order)
    return np.isin(patient, chosen) & ((order < 0.5) | (order == first[patient]))


def noise(random: np.random.Generator, patient: np.ndarray, correlation: float) -> np.ndarray:
    """Standard normal, so correlated between the films of a patient."""
    own = random.normal(size=patient.max() + 1)[patient]
    return np.sqrt(correlation) * own + np.sqrt(1 - correlation) * random.normal(size=len(patient))


def shift(auroc: float | np.ndarray) -> np.ndarray:
    """How far positives lie above negatives, in standard deviations, for that AUROC."""
    return np.sqrt(2) * stats.norm.ppf(auroc)


def ranking(setting: tuple) -> dict:
    """Coverage of AUROC and AUPRC in one setting."""
    positives, correlation, auroc, repetitions = setting
    random = np.random.default_rng([SEED, positives, *_digits(correlation, auroc)])
    held = {"AUROC": [], "AUPRC": []}
    precision = _true_precision(_share(random, PATIENTS, positives), auroc)
    for _ in range(repetitions):
        patient = films(random, PATIENTS)
        target = positive_films(random, patient, positives)
        score = shift(auroc) * target + noise(random, patient, correlation)
        deciding = intervals.effective(target[:, None], patient, PATIENTS)
        for metric, truth in (("AUROC", auroc), ("AUPRC", precision)):
            estimate = intervals.ranking(metric.lower(), target, score, patient, PATIENTS)
            low, high = estimate.logit_bounds(deciding, single=True, limited=metric == "AUROC")
            held[metric].append(low[0] <= truth <= high[0])
    return {"positives": positives, "correlation": correlation, "truth": auroc} | {
        metric: np.mean(values) for metric, values in held.items()
    }


def rates(setting: tuple) -> dict:
    """Coverage of a rate over the positive films of so many patients."""
    positives, correlation, rate, repetitions = setting
    random = np.random.default_rng([SEED, positives, *_digits(correlation, rate)])
    held = []
    for _ in range(repetitions):
        patient = intervals.numbered(films(random, positives))
        hit = noise(random, patient, correlation) < stats.norm.ppf(rate)
        hit, everyone = hit[:, None], np.ones((len(hit), 1), dtype=bool)
        # Below the rule's minimum no rate is given; the interval is measured all the same.
        fewest, intervals.FEWEST_PATIENTS = intervals.FEWEST_PATIENTS, 1
        _, low, high = intervals.rates(hit, everyone, patient)
        intervals.FEWEST_PATIENTS = fewest
        held.append(low[0] - 1e-9 <= rate <= high[0] + 1e-9)
    return {
        "positives": positives,
        "correlation": correlation,
        "truth": rate,
        "rate": np.mean(held),
    }


def whole(setting: tuple) -> dict:
    """Coverage of the means over findings, and how often equal models are told apart."""
    patients, correlation, repetitions = setting
    random = np.random.default_rng([SEED, patients, *_digits(correlation)])
    held, precise, apart, mean_apart = [], [], [], []
    # Positive films grow with positive patients.
    share_each = _share(random, patients, 20) / 20
    for _ in range(repetitions):
        patient = films(random, patients)
        counts = [max(1, round(number * patients / PATIENTS)) for number in HAVE]
        counts = np.maximum(random.poisson(counts), 1)
        targets = np.column_stack([positive_films(random, patient, n) for n in counts])
        common = noise(random, patient, correlation)[:, None]
        both = _columns(random, patient, correlation)
        models = {
            name: shift(np.array(SKILL)) * targets
            + np.sqrt(0.3) * common
            + np.sqrt(0.7) * (np.sqrt(0.6) * both + np.sqrt(0.4) * own)
            for name, own in (
                ("one", _columns(random, patient, correlation)),
                ("other", _columns(random, patient, correlation)),
            )
        }
        judged = {
            name: Judged(
                pd.DataFrame(targets.astype(np.int8), columns=list(FINDINGS)),
                pd.DataFrame(scores, columns=list(FINDINGS)),
                pd.Series(patient),
            )
            for name, scores in models.items()
        }
        one = judged["one"]
        truth = np.mean([SKILL[FINDINGS.index(finding)] for finding in one.findings])
        low, high = one.auroc.mean().bounds(single=False)
        held.append(low[0] <= truth <= high[0])
        truth = np.mean(
            [
                _true_precision(share_each * counts[place], SKILL[place])
                for place in map(FINDINGS.index, one.findings)
            ]
        )
        low, high = one.auprc.mean().unbiased().bounds(single=False)
        precise.append(low[0] <= truth <= high[0])
        p = between(judged).set_index("finding")["p_corrected"]
        apart.append((p.drop("Mean") < 0.05).any())
        mean_apart.append(p["Mean"] < 0.05)
    return {
        "patients": patients,
        "correlation": correlation,
        "mean AUROC": np.mean(held),
        "mean AUPRC": np.mean(precise),
        "family-wise error": np.mean(apart),
        "error of the mean": np.mean(mean_apart),
    }


def bootstrapped(setting: tuple) -> dict:
    """Coverage of rivals in one setting: percentile and BCa bootstrap of patients."""
    positives, correlation, auroc, repetitions = setting
    random = np.random.default_rng([SEED, positives, *_digits(correlation, auroc)])
    held = {"percentile": [], "BCa": []}
    for _ in range(repetitions):
        patient = films(random, PATIENTS)
        target = positive_films(random, patient, positives)
        score = shift(auroc) * target + noise(random, patient, correlation)
        samples = _resampled(random, target, score, patient, 500)
        samples = samples[np.isfinite(samples)]
        estimate = intervals.ranking("auroc", target, score, patient, PATIENTS)
        # Efron (JASA 1987): bias from the replicates, acceleration from leaving out.
        below = (samples < estimate.value[0]).mean() + (samples == estimate.value[0]).mean() / 2
        bias = stats.norm.ppf(np.clip(below, 1e-3, 1 - 1e-3))
        pull = estimate.without.mean() - estimate.without[:, 0]
        # Where every positive ranks first, nothing moves it.
        speed = (pull**3).sum() / (6 * (pull**2).sum() ** 1.5) if pull.any() else 0.0
        z = bias + stats.norm.ppf([0.025, 0.975])
        tails = {"percentile": [0.025, 0.975], "BCa": stats.norm.cdf(bias + z / (1 - speed * z))}
        for method, levels in tails.items():
            low, high = np.quantile(samples, levels)
            held[method].append(low <= auroc <= high)
    return {"positives": positives, "correlation": correlation, "truth": auroc} | {
        method: np.mean(values) for method, values in held.items()
    }


def measure(
    function: Callable[[tuple], dict], *grid: tuple, repetitions: int = REPETITIONS
) -> pd.DataFrame:
    """One row a setting, on all cores; the same rows on any number of them."""
    settings = [(*setting, repetitions) for setting in itertools.product(*grid)]
    with multiprocessing.get_context("spawn").Pool() as pool:
        return pd.DataFrame(pool.map(function, settings, chunksize=1))


def by_positives(table: pd.DataFrame) -> pd.DataFrame:
    """The smallest and the mean coverage over the settings of each number of positives."""
    measures = [c for c in table if c not in ("positives", "correlation", "truth")]
    grouped = table.groupby("positives")[measures]
    return pd.concat({"smallest": grouped.min(), "mean": grouped.mean()}, axis=1)


def _columns(random: np.random.Generator, patient: np.ndarray, correlation: float) -> np.ndarray:
    return np.column_stack([noise(random, patient, correlation) for _ in FINDINGS])


def _resampled(random, target, score, patient, replicates: int) -> np.ndarray:
    """AUROC of test sets of resampled patients; NaN where no positive was drawn."""
    order = np.argsort(score)
    target, patient = target[order], patient[order]
    weights = random.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=replicates)
    weights = weights[:, patient].astype(float)
    negatives = np.where(target, 0, weights)
    below = np.cumsum(negatives, axis=1)
    positives = np.where(target, weights, 0)
    return intervals.ratio((positives * below).sum(axis=1), positives.sum(axis=1) * below[:, -1])


def _share(random: np.random.Generator, patients: int, positives: int) -> float:
    """The share of positive films where so many patients of all have some."""
    drawn = (films(random, patients) for _ in range(400))
    return np.mean([positive_films(random, patient, positives).mean() for patient in drawn])


def _true_precision(share: float, auroc: float) -> float:
    """The AUPRC of endlessly many films, with that share of positives."""
    # Of the positives above a threshold over all films above it, averaged over positives.
    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000) + shift(auroc)
    hits, alarms = share * stats.norm.sf(z - shift(auroc)), (1 - share) * stats.norm.sf(z)
    return float((hits / (hits + alarms)).mean())


def _digits(*values: float) -> list[int]:
    return [round(100 * value) for value in values]


def main(repetitions: int = REPETITIONS) -> None:
    pd.set_option("display.width", 120)
    many = {"repetitions": repetitions}
    print(f"coverage of nominal 95 %, {repetitions:,} repetitions a setting, {PATIENTS} patients")
    for table in (
        by_positives(measure(ranking, POSITIVES, CORRELATIONS, AUROCS, **many)),
        by_positives(measure(rates, POSITIVES, CORRELATIONS, RATES, **many)),
        measure(whole, (300, 530), (0.2, 0.6), **many),
        by_positives(
            measure(
                bootstrapped, (5, 10, 20, 40), CORRELATIONS, AUROCS, repetitions=repetitions // 4
            )
        ),
    ):
        print(table.round(3).to_string(), "\n", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
