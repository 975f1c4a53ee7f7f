"""All GPUs of one machine, played by two halves of the processor: what one device would learn."""

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr.findings import FINDINGS
from cxr.modelling import models

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Folders of the same trainings on one device and on two, by number of devices."""
    folders = {count: tmp_path_factory.mktemp(f"devices{count}") for count in (1, 2)}
    for count, folder in folders.items():
        run(count, folder, "curves")
    return folders


def run(number, folder, *task, ends=0):
    """Run `two_devices.py` in a process of its own."""
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("two_devices.py"), str(number), folder, *task],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert child.returncode == ends, child.stderr[-3000:]


def read(roots, name):
    return (pd.read_csv(roots[count] / "runs" / name) for count in (1, 2))


@pytest.mark.parametrize(("recipe", "fallen"), [("even", 5), ("ingredients", 1.2)])
def test_two_devices_learn_what_one_learns(roots, recipe, fallen):
    alone, shared = read(roots, f"baseline-patient-{recipe}/history.csv")
    assert len(alone) == 3
    assert alone["loss"].iloc[-1] < alone["loss"].iloc[0] / fallen  # there is a curve to compare
    for column in ("loss", "val_loss", "val_auroc", "val_auroc_Mass", "val_auroc_Nodule"):
        assert shared[column].to_numpy() == pytest.approx(alone[column].to_numpy(), rel=1e-3)
    alone, shared = read(roots, f"baseline-patient-{recipe}/validation_scores.csv")
    findings = list(FINDINGS)
    np.testing.assert_allclose(shared[findings], alone[findings], atol=1e-3)


def test_a_last_batch_of_one_film_trains_on_two_devices(roots):
    alone, shared = read(roots, "baseline-patient-uneven/history.csv")
    assert len(shared) == len(alone) == 3
    # The film that fills the last batch up weighs nothing in the loss, but batch normalisation
    # sees it: the same within a tenth, not to the last digit.
    assert shared["val_loss"].to_numpy() == pytest.approx(alone["val_loss"].to_numpy(), rel=0.1)


@pytest.mark.parametrize("films", [64, 3])
def test_a_batch_that_does_not_divide_gives_the_gradient_of_its_films_alone(roots, films):
    alone, shared = (np.load(roots[count] / f"gradient-{films}.npy") for count in (1, 2))
    assert np.abs(alone).max() > 0.01
    np.testing.assert_allclose(shared, alone, rtol=1e-4, atol=1e-6)


def learns_and_goes_on(model, tmp_path):
    """Two epochs on two devices, undisturbed and killed in the second: the same in the end."""
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run(2, whole, "train", model, "0")
    # Four steps are an epoch: six lie in the middle of the second.
    run(2, killed, "train", model, "6", ends=-signal.SIGKILL)
    assert len(pd.read_csv(killed / f"runs/{model}-patient/history.csv")) == 1
    run(2, killed, "train", model, "0")
    for name in ("validation_scores.csv", "history.csv"):
        expected, found = (
            pd.read_csv(root / f"runs/{model}-patient" / name).drop(
                columns="seconds", errors="ignore"
            )
            for root in (whole, killed)
        )
        pd.testing.assert_frame_equal(expected, found, rtol=1e-5)
    assert len(found) == 2


# From day to day the tests above, and kills of one device and of two processes, are enough.
@pytest.mark.soak
@pytest.mark.parametrize("model", models.MODELS)
def test_every_model_learns_on_two_devices_and_goes_on_after_a_kill(model, tmp_path):
    learns_and_goes_on(model, tmp_path)
