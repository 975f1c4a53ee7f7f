"""Run folders as notebooks 200 and 300 leave them, without their hours of training."""

import numpy as np
import pandas as pd
import pytest

from cxr import artifacts
from cxr.evaluation import calibration
from cxr.findings import FINDINGS
from cxr.modelling import ensemble, explain, models

SIDE = 64

# The registry's models; what takes long to build is left to `make soak`.
LARGE = ("densenet121", "efficientnet_v2_b0", "efficientnet_v2_s", "convnext_tiny")
EVERY_MODEL = [
    pytest.param(name, marks=pytest.mark.soak) if name in LARGE else name for name in models.MODELS
]


def film(seed: int, side: int = SIDE) -> np.ndarray:
    """A grey picture with something in it."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    picture = (
        90 + 80 * np.sin(9 * rows + seed) * np.cos(7 * columns) + random.normal(0, 20, (side,) * 2)
    )
    return picture.clip(0, 255).astype(np.uint8)


def make(folder, *, phantoms: bool = False, judged: bool = True):
    """Write a run; its model has random weights. `judged` adds what notebook 300 does."""
    folder.mkdir(parents=True)
    network = models.build("baseline", image_size=SIDE)
    network.save(folder / "model.keras")
    explain.keep(network, np.stack([film(n) for n in range(8)])[..., None], folder)
    _record(folder, phantoms=phantoms)
    if judged:
        _judge(folder)
    return folder


def make_ensemble(folder):
    """Write the run of an ensemble of two, judged: one says .2 of everything, one .6."""
    folder.mkdir(parents=True)
    members = {}
    for name, share in (("low", 0.2), ("high", 0.6)):
        member = models.build("baseline", image_size=SIDE)
        *kernels, kernel, bias = member.get_weights()
        odds = np.full_like(bias, np.log(share / (1 - share)))
        member.set_weights([*kernels, np.zeros_like(kernel), odds])
        members[name] = member
    ensemble._mean(members).save(folder / "model.keras")
    _record(folder, phantoms=False)
    _judge(folder)
    return folder


def _record(folder, *, phantoms: bool) -> None:
    record = {
        "name": folder.name,
        "finished": artifacts.now(),
        "split": "patient",
        "phantoms": phantoms,
        "validation_auroc": 0.7,
    }
    artifacts.write_json(folder / "config.json", record)


def _judge(folder) -> None:
    same = pd.DataFrame({"finding": FINDINGS, "intercept": 0.0, "slope": 1.0})
    # An intercept of log(3) triples the odds.
    calibration.save(folder, same.assign(intercept=np.log(3), method="recalibrated"))
    # 100 test films, of which 10 have the finding; 8 of these and 18 others are flagged.
    cuts = pd.DataFrame({"finding": FINDINGS, "rule": "Youden", "threshold": 0.7})
    counts = {"true_positives": 8, "false_positives": 18}
    counts |= {"false_negatives": 2, "true_negatives": 72}
    cuts = cuts.assign(**counts, sensitivity=0.8, specificity=0.8)
    cuts.loc[cuts["finding"] == "Hernia", "threshold":] = np.nan
    cuts.to_csv(folder / "thresholds.csv", index=False)


def chest(random: np.random.Generator, side: int = SIDE) -> np.ndarray:
    """A schematic chest: body, two dark lungs, the heart on the right of the picture, noise."""
    down, across = np.mgrid[:side, :side] / side + random.normal(0, 0.02, (2, 1, 1))
    width, grey = random.uniform(0.9, 1.1), random.uniform(0.55, 0.7)
    picture = np.full((side, side), 0.08)
    for x, y, wide, high, value in (
        (0.5, 0.65, 0.45, 0.6, grey),
        (0.3, 0.42, 0.13, 0.27, 0.25),
        (0.7, 0.42, 0.13, 0.27, 0.25),
        (0.58, 0.55, 0.13, 0.12, grey + 0.1),
        (0.5, 0.95, 0.4, 0.2, grey + 0.2),
    ):
        inside = ((across - x) / (wide * width)) ** 2 + ((down - y) / high) ** 2 < 1
        picture[inside] = value
    picture = picture + random.normal(0, 0.03, picture.shape)
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
