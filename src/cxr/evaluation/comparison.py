"""Models against each other, on the same patients, and against published results."""

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS
from cxr.wording import mean_of

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


def between(judged: Mapping[str, Judged]) -> pd.DataFrame:
    """Differences in AUROC of every two models, paired by leaving out the same patients.

    The p value is that of Student's t for the difference over its jackknife standard error,
    two-sided. Over the findings of a pair it is corrected by Holm's method (Scand J Stat
    1979); the mean is one comparison of its own.

    Args:
        judged: model name -> its scores of the same films.

    Returns:
        Columns model, other, finding (or "Mean"), difference (model minus other), low,
        high, p, p_corrected, remark; NaN where either model has a remark.

    Raises:
        ValueError: if the films differ.
    """
    tables = []
    for (model, ours), (other, theirs) in itertools.combinations(judged.items(), 2):
        if not ours.targets.index.equals(theirs.targets.index):
            raise ValueError(f"{model} and {other} scored different films")
        difference = ours.auroc - theirs.auroc
        mean = difference.mean()
        low, high = difference.bounds(single=True, least=-1, most=1)
        mean_low, mean_high = mean.bounds(single=False, least=-1, most=1)
        p, mean_p = difference.p_values(), mean.p_values()
        remarks = [ours.remarks[f] or theirs.remarks[f] for f in FINDINGS]
        tables.append(
            pd.DataFrame(
                {
                    "model": model,
                    "other": other,
                    "finding": [*FINDINGS, "Mean"],
                    "difference": np.append(difference.value, mean.value),
                    "low": np.append(low, mean_low),
                    "high": np.append(high, mean_high),
                    "p": np.append(p, mean_p),
                    "p_corrected": np.append(holm(p), mean_p),
                    "remark": [*remarks, mean_of(remarks.count(""))],
                }
            )
        )
    columns = ["model", "other", "finding", "difference", "low", "high", "p", "p_corrected"]
    return (
        pd.concat(tables, ignore_index=True)
        if tables
        else pd.DataFrame(columns=[*columns, "remark"])
    )


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's step-down correction of p values; NaN are no comparisons and stay NaN."""
    corrected = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def published(auroc: Mapping[str, pd.DataFrame], *, split: str) -> pd.DataFrame:
    """Mean AUROC of some models and of published ones over the same findings.

    Args:
        auroc: model name -> frame of `ranking.auroc_by_finding`, on real films; empty
            for phantoms, which have no place among them.
        split: whose test films they are, in words; a name of a split where they are its.

    Returns:
        Columns source, year, split, findings (over how many the mean is taken), test_films,
        auroc, low, high, remark, ours, comparable; best first. Where our models miss a
        finding, published means are over the rest, and sources that published no value by
        finding are left out. A published row is comparable if its test films are ours: the
        same split, all its films.
    """
    rows, same_test = [], False
    judged = {
        name: set(table["finding"][table["auroc"].notna()]) - {"Mean"}
        for name, table in auroc.items()
    }
    shared = set(FINDINGS).intersection(*judged.values())
    for name, table in auroc.items():
        mean, known = table.set_index("finding").loc["Mean"], judged[name]
        same_test |= int(mean["films"]) == TEST_FILMS.get(split)
        rows.append(
            {
                "source": name,
                "split": split,
                "findings": len(known),
                "test_films": int(mean["films"]),
                "auroc": mean["auroc"],
                "low": mean["low"],
                "high": mean["high"],
                "remark": "" if len(known) == len(FINDINGS) else mean_of(len(known)),
                "ours": True,
                "comparable": True,
            }
        )
    by_finding = {
        source: float(np.mean([v for f, v in zip(FINDINGS, values, strict=True) if f in shared]))
        for source, values in _BY_FINDING.items()
        if shared
    }
    for source, year, its_split, value, remark in _MEANS:
        if len(shared) < len(FINDINGS):
            if source not in by_finding:
                continue
            value, remark = by_finding[source], f"mean of the same {len(shared)} findings"
        rows.append(
            {
                "source": source,
                "year": year,
                "split": its_split,
                "findings": len(shared),
                "test_films": TEST_FILMS.get(its_split, pd.NA),
                "auroc": value,
                "remark": remark,
                "ours": False,
                "comparable": same_test and its_split == split,
            }
        )
    order = ["source", "year", "split", "findings", "test_films", "auroc", "low", "high"]
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
