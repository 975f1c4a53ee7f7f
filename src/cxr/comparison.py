"""Models against each other, on the same patients, and against published results."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from cxr import bootstrap
from cxr.evaluation import auroc_replicates
from cxr.findings import FINDINGS

# Test films of the splits that others have published on.
TEST_FILMS = {"official": 25_596, "original": 23_011}

# Mean AUROC over the 14 findings as published. "patients apart" is some other split by
# patient: each has its own test films.
_MEANS = (
    # source, year, split, mean AUROC, remark
    ("Wang et al.", 2017, "official", 0.745, ""),
    ("Yao et al.", 2018, "official", 0.761, ""),
    ("Gündel et al. (DNetLoc)", None, "official", 0.807, ""),
    ("Hermoza et al.", None, "official", 0.821, ""),
    ("SwinCheX", None, "official", 0.810, ""),
    ("DenseNet121, ImageNet weights", 2026, "official", 0.811, ".801 to .822 by recipe"),
    ("Swin-B, self-supervised", None, "official", 0.8304, "926,000 films for pretraining"),
    ("AE-CNN", None, "official", 0.824, "others reproduce .807"),
    ("Ark-6", None, "official", 0.8305, "chosen on validation"),
    ("EVA-X-B", None, "official", 0.835, "chosen on the test set"),
    ("CheXNet", None, "patients apart", 0.8414, ""),
    ("arnoweng", None, "patients apart", 0.843, ""),
    ("zoogzog", None, "patients apart", 0.851, ""),
    ("reproduce-chexnet", None, "patients apart", 0.838, ""),
    ("MedMNIST+, DenseNet121, 64 px", None, "patients apart", 0.787, ""),
    ("MedMNIST+, DenseNet121, 128 px", None, "patients apart", 0.812, ""),
    ("MedMNIST+, DenseNet121, 224 px", None, "patients apart", 0.822, ""),
    ("The original project, small CNN", None, "original", 0.728, "shares patients"),
    ("The original project, MobileNet", None, "original", 0.801, "shares patients"),
)

# AUROC per finding on the official split, in the order of FINDINGS.
_BY_FINDING = {
    "Wang et al.": (
        0.700, 0.810, 0.759, 0.661, 0.693, 0.669, 0.658,
        0.799, 0.703, 0.805, 0.833, 0.786, 0.684, 0.872,
    ),
    "Gündel et al. (DNetLoc)": (
        0.767, 0.883, 0.828, 0.709, 0.821, 0.758, 0.731,
        0.846, 0.745, 0.835, 0.895, 0.818, 0.761, 0.896,
    ),
    "SwinCheX": (
        0.781, 0.875, 0.824, 0.701, 0.822, 0.780, 0.713,
        0.871, 0.748, 0.848, 0.914, 0.826, 0.778, 0.855,
    ),
    "DenseNet121, plain recipe": (
        0.770, 0.875, 0.828, 0.698, 0.809, 0.751, 0.727,
        0.856, 0.746, 0.836, 0.881, 0.816, 0.761, 0.854,
    ),
    "Swin-B, self-supervised": (
        0.791, 0.905, 0.847, 0.720, 0.846, 0.767, 0.744,
        0.878, 0.771, 0.861, 0.931, 0.852, 0.806, 0.916,
    ),
}  # fmt: skip


def between(
    targets: pd.DataFrame,
    scores: Mapping[str, pd.DataFrame],
    patients: pd.Series,
    *,
    replicates: int = 1000,
    seed: int = 42,
) -> pd.DataFrame:
    """Differences in AUROC of every two models, paired by resampling the same patients.

    The p value takes the difference over its bootstrap standard error as normal, two-sided.
    Over the 14 findings of a pair it is corrected by Holm's method (Scand J Stat 1979); the
    mean is one comparison of its own.

    Args:
        scores: model name -> scores; all rows as `targets`.

    Returns:
        Columns model, other, finding (or "Mean"), difference (model minus other), low,
        high, p, p_corrected; NaN where a finding is not estimable for both.
    """
    resamples = bootstrap.resample(patients, replicates=replicates, seed=seed)
    ranked = {name: auroc_replicates(targets, frame, resamples) for name, frame in scores.items()}
    tables = []
    for model, other in itertools.combinations(ranked, 2):
        difference = ranked[model][0] - ranked[other][0]
        samples = ranked[model][1] - ranked[other][1]
        means = bootstrap.mean_replicates(difference, samples)
        known = ~np.isnan(difference)
        values = np.append(difference, difference[known].mean() if known.any() else np.nan)
        drawn = np.column_stack([samples, means])
        low, high = bootstrap.interval(drawn)
        p = _p_values(values, drawn)
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "other": other,
                    "finding": [*FINDINGS, "Mean"],
                    "difference": values,
                    "low": low,
                    "high": high,
                    "p": p,
                    "p_corrected": np.append(holm(p[:-1]), p[-1]),
                }
            )
        )
    columns = ["model", "other", "finding", "difference", "low", "high", "p", "p_corrected"]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values; NaN are no comparisons and stay NaN."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def published(auroc: Mapping[str, pd.DataFrame], *, split: str) -> pd.DataFrame:
    """Mean AUROC of our models and of published ones, each with its split.

    Args:
        auroc: model name -> frame of `evaluation.auroc_by_finding`, on real films; empty
            for phantoms, which have no place among them.
        split: our split's name in the configuration.

    Returns:
        Columns source, year, split, test_films, auroc, low, high, remark, ours,
        comparable; best first. A published row is comparable if its test films are ours:
        the same split, all its films, all 14 findings.
    """
    rows, same_test = [], False
    for name, table in auroc.items():
        mean = table.set_index("finding").loc["Mean"]
        films, findings = int(mean["films"]), int(table["auroc"][:-1].notna().sum())
        complete = findings == len(FINDINGS) and films == TEST_FILMS.get(split)
        same_test |= complete
        rows.append(
            {
                "source": name,
                "split": split,
                "test_films": films,
                "auroc": mean["auroc"],
                "low": mean["low"],
                "high": mean["high"],
                "remark": "" if findings == len(FINDINGS) else f"mean of {findings} findings",
                "ours": True,
                "comparable": True,
            }
        )
    for source, year, its_split, value, remark in _MEANS:
        rows.append(
            {
                "source": source,
                "year": year,
                "split": its_split,
                "test_films": TEST_FILMS.get(its_split, pd.NA),
                "auroc": value,
                "remark": remark,
                "ours": False,
                "comparable": same_test and its_split == split,
            }
        )
    order = ["source", "year", "split", "test_films", "auroc", "low", "high"]
    table = pd.DataFrame(rows).reindex(columns=[*order, "remark", "ours", "comparable"])
    table = table.astype({"year": "Int64", "test_films": "Int64"})
    return table.sort_values("auroc", ascending=False, ignore_index=True)


def published_by_finding(auroc: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """AUROC per finding of our models beside published ones on the official split.

    Returns:
        Column finding, then one per model and source.
    """
    table = pd.DataFrame({"finding": FINDINGS})
    for name, frame in auroc.items():
        table[name] = frame.set_index("finding")["auroc"].reindex(FINDINGS).to_numpy()
    for source, values in _BY_FINDING.items():
        table[f"{source} (official)"] = values
    return table


def _p_values(values: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Two-sided p of each difference being zero; 1 where no replicate differs from another."""
    p = np.full(len(values), np.nan)
    for column, value in enumerate(values):
        if np.isnan(value):
            continue
        error = np.nanstd(samples[:, column], ddof=1)
        p[column] = 2 * stats.norm.sf(abs(value) / error) if error > 0 else float(value == 0)
    return p
