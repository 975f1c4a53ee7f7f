"""TensorFlow and JAX: the same weights, films and seeds give the same answers."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import on_jax
import pandas as pd
import pytest
import test_training as toy

from cxr import artifacts
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import inference, models, training
from cxr.modelling.tensors import keras, tf

pytestmark = pytest.mark.slow

# One from day to day, two more and all large ones in the soak.
SMALL = ("baseline", "residual", "mobilenet_small")
DAILY = [pytest.param(name, marks=[] if name == "baseline" else pytest.mark.soak) for name in SMALL]


def by_jax(folder: Path, *task: str, devices: int = 1) -> None:
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    child = subprocess.run(
        [sys.executable, Path(on_jax.__file__), folder, *task],
        env=os.environ
        | {
            "KERAS_BACKEND": "jax",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert child.returncode == 0, child.stderr[-3000:]


def answered(folder: Path, names) -> dict[str, dict]:
    """What both backends make of models with the same weights."""
    random = np.random.default_rng(0)
    films = np.stack([toy_film(random) for _ in range(8)])
    np.save(folder / "films.npy", films)
    for name in names:
        keras.utils.set_random_seed(3)
        network = models.build(name, image_size=toy.SIZE)
        # As if trained a little: with statistics of such films, not 0 and 1, and kernels large
        # enough for the films to be seen through many layers.
        seen, updates = films, 20
        if name in SMALL:
            network.set_weights([w * (4 if w.ndim == 4 else 1) for w in network.get_weights()])
        else:
            # Through so many layers such kernels blow up whatever comes, until it is chaos; so do
            # statistics of 8 films, which are 32 pixels at the end: of EfficientNetV2-S
            # TensorFlow's own scores were then 2.2e-4 off those in float64, JAX's .9e-4.
            seen, updates = np.stack([toy_film(random) for _ in range(64)]), 3
            for layer in network._flatten_layers():
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.momentum = 0.0
        for _ in range(updates):
            network(seen.astype(np.float32), training=True)
        network.save(folder / f"{name}.keras")
    by_jax(folder, "answers")
    with np.load(folder / "jax.npz") as found:
        return {"jax": dict(found), "tensorflow": on_jax.answers(folder)}


def toy_film(random: np.random.Generator) -> np.ndarray:
    """Grey, with something smooth and something rough in it."""
    rows, columns = np.mgrid[: toy.SIZE, : toy.SIZE] / toy.SIZE
    a, b = random.uniform(3, 9, 2)
    picture = 120 + 70 * np.sin(a * rows) * np.cos(b * columns)
    picture += random.normal(0, 15, picture.shape)
    return picture.clip(0, 255).astype(np.uint8)[..., None]


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Name -> what both backends make of a small model, made when it is first asked for."""
    return functools.cache(lambda name: answered(tmp_path_factory.mktemp(name), [name]))


def scores_agree(both: dict[str, dict], name: str) -> None:
    ours, theirs = (both[backend][f"scores {name}"] for backend in ("tensorflow", "jax"))
    assert ours.shape == (8, 14)
    assert ours.std(axis=0).max() > 1e-3  # the films differ, so the scores do
    np.testing.assert_allclose(theirs, ours, atol=1e-4)


@pytest.mark.parametrize("name", DAILY)
def test_the_same_weights_give_the_same_scores(both, name):
    scores_agree(both(name), name)


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in models.MODELS if name not in SMALL])
def test_the_same_weights_of_large_models_give_the_same_scores(tmp_path, name):
    scores_agree(answered(tmp_path, [name]), name)


@pytest.mark.parametrize("name", DAILY)
@pytest.mark.parametrize("kind", ["evidence", "grad_cam"])
def test_what_a_model_looks_at_is_the_same(both, kind, name):
    ours, theirs = (both(name)[backend][f"{kind} {name}"] for backend in ("tensorflow", "jax"))
    assert ours.max() == 1
    # With MobileNet one film of eight differed by up to .1: presumably where rounding puts a value
    # on the other side of a kink of ReLU and so switches part of a gradient on or off.
    differing = np.abs(theirs - ours).max(axis=(1, 2))
    assert np.mean(differing < 1e-3) >= 0.75
    assert np.abs(theirs - ours).mean() < 2e-3


def test_activation_maps_are_the_same(both):
    ours, theirs = (both("baseline")[backend]["activations"] for backend in ("tensorflow", "jax"))
    assert ours.std() > 0
    np.testing.assert_allclose(theirs, ours, atol=1e-3 * np.abs(ours).max())


def test_the_same_seed_gives_the_same_order_and_the_same_augmentation(both):
    ours, theirs = (both("baseline")[backend] for backend in ("tensorflow", "jax"))
    assert theirs["order"].tolist() == ours["order"].tolist()
    for name in ("augmented", "examples"):
        assert ours[name].std() > 10
        np.testing.assert_allclose(theirs[name], ours[name], atol=1e-3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The same training by both, from the same weights and without dropout.

    By TensorFlow on one device, by JAX on two halves of the processor, as on two GPUs.
    """
    pytest.importorskip("jax", reason="JAX is not installed; run `make jax`")
    folder = tmp_path_factory.mktemp("trained")
    frame, paths = toy.draw(folder / "films", 92)
    frame["split"] = np.where(np.arange(92) < 61, "train", "validation")
    frame.to_csv(folder / "films.csv", index=False)
    keras.utils.set_random_seed(1)
    network = models.build("baseline", image_size=toy.SIZE)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    network.save(folder / "start.keras")
    settings = {"epochs": 3, "batch_size": 16}
    by_jax(folder, "train", json.dumps(settings | {"root": "jax"}), devices=2)
    parts = dict(iter(frame.groupby("split")))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "build", lambda *name, **size: network)
        toy.train(folder / "tensorflow", (parts, paths), **settings)
    return folder, parts, paths


@pytest.mark.soak
def test_the_same_start_gives_the_same_loss_curve(trained):
    ours, theirs = (
        pd.read_csv(trained[0] / name / "runs/baseline-patient/history.csv")
        for name in ("tensorflow", "jax")
    )
    assert ours["loss"].iloc[-1] < ours["loss"].iloc[0] / 3  # there is a curve to compare
    for column in ("loss", "val_loss"):
        assert theirs[column].to_numpy() == pytest.approx(ours[column].to_numpy(), rel=2e-3)
    assert theirs["val_auroc"].to_numpy() == pytest.approx(ours["val_auroc"].to_numpy(), abs=0.01)


@pytest.mark.soak
def test_a_run_trained_by_jax_is_scored_by_tensorflow(trained):
    folder, parts, paths = trained
    run = folder / "jax/runs/baseline-patient"
    record = artifacts.read_json(run / "config.json")
    assert record["backend"] == "jax" and record["versions"]["jax"]
    assert len(record["devices"]) == 2
    theirs = pd.read_csv(run / "validation_scores.csv")
    ours = inference.score_with_run(run, paths, parts["validation"], folder / "cache")
    assert ours["film"].tolist() == theirs["film"].tolist()
    np.testing.assert_allclose(ours[list(FINDINGS)], theirs[list(FINDINGS)], atol=1e-4)
    # Finished, it serves both; it would be trained the same way.
    found = toy.train(folder / "jax", (parts, paths), epochs=3, batch_size=16)[0]
    assert found == record


def test_a_training_goes_on_with_the_backend_that_it_began_with(tmp_path):
    folder = tmp_path / "run"
    settings = {"epochs": 3, "source": "nih", "table": None, "weights": "none"}
    begun = {"name": "run", "finished": None, "backend": "jax", "parts": 1, **settings}
    artifacts.write_json(folder / "config.json", begun)
    (folder / "checkpoint.npz").touch()
    words = r"backend was 'jax', is now 'tensorflow'\)\. Set KERAS_BACKEND=jax to go on\."
    with pytest.raises(InputError, match=words):
        training._found(folder, {**settings, "backend": "tensorflow"})
    # A run from before there was a choice.
    before = {"name": "run", "finished": None, "epochs": 3, "weights": "none"}
    artifacts.write_json(folder / "config.json", before)
    found = training._found(folder, {**settings, "backend": "tensorflow"})
    assert (found["backend"], found["parts"]) == ("tensorflow", 1)


@pytest.mark.soak
def test_both_reach_the_same_auroc_within_the_spread_of_seeds(tmp_path):
    # Fainter signs than elsewhere: nobody reaches 1.
    by_backend: dict[str, list[float]] = {"tensorflow": [], "jax": []}
    frame, paths = faint(tmp_path / "films", 600)
    frame.to_csv(tmp_path / "films.csv", index=False)
    parts = dict(iter(frame.groupby("split")))
    for seed in range(4):
        settings = {"epochs": 4, "seed": seed, "tag": str(seed)}
        by_jax(tmp_path, "train", json.dumps(settings | {"root": "jax"}))
        toy.train(tmp_path / "tensorflow", (parts, paths), **settings)
        for backend, reached in by_backend.items():
            run = tmp_path / backend / f"runs/baseline-patient-{seed}"
            reached.append(artifacts.read_json(run / "config.json")["validation_auroc"])
    ours, theirs = (np.array(by_backend[backend]) for backend in ("tensorflow", "jax"))
    assert 0.6 < ours.mean() < 0.99
    spread = max(np.ptp(ours), np.ptp(theirs))
    assert abs(ours.mean() - theirs.mean()) < spread


def faint(folder: Path, count: int):
    frame, paths = toy.draw(folder, count)
    random = np.random.default_rng(1)
    for path in paths.values():
        picture = np.asarray(toy.Image.open(path)).astype(float)
        noisy = 120 + 0.15 * (picture - 120) + random.normal(0, 25, picture.shape)
        toy.Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)
    return frame.assign(split=np.where(np.arange(count) < 400, "train", "validation")), paths


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("torch", "KERAS_BACKEND=torch is not supported"),
        ("jax", "KERAS_BACKEND=jax, but JAX is not installed; run"),
    ],
)
def test_a_backend_that_cannot_be_used_is_refused_in_words(backend, message):
    code = (
        "import importlib.util\nimportlib.util.find_spec = lambda name: None\n"
        "import cxr.modelling.tensors"
    )
    child = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"KERAS_BACKEND": backend},
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"InputError: {message}" in child.stderr


def test_tensorflow_is_the_backend_unless_another_one_is_asked_for():
    assert keras.backend.backend() == "tensorflow"
    assert tf.__version__ == artifacts.versions()["tensorflow"]
    assert "jax" not in artifacts.versions()
