"""Weights that a backbone learned from drawings: the demo's stand-in for ImageNet's.

They were learned from phantoms of made-up patients (`pretraining.learn`) and know nothing of
real films, so the configuration lets only a run on phantoms start from them.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.config import PHANTOM_WEIGHTS
from cxr.errors import InputError
from cxr.modelling.tensors import keras

# Beside the weights in their file, so that they cannot pass for others.
_MARK = "phantom"
_MARK_TEXT = "Learned from synthetic drawings; knows nothing of real films"

_FOLDER = Path(__file__).parent / "weights"
_ENDING = f"-{PHANTOM_WEIGHTS}.npz"


def file(model: str) -> Path:
    """Where the weights of a model lie; a `.json` beside them tells how they were made.

    Raises:
        InputError: if no such weights were learned for this model.
    """
    path = place(model)
    if not path.exists():
        known = sorted(found.name.removesuffix(_ENDING) for found in _FOLDER.glob(f"*{_ENDING}"))
        raise InputError(
            f"no weights of {model} were learned from phantoms (CXR_WEIGHTS={PHANTOM_WEIGHTS}), "
            f"only of {', '.join(known) or 'none'}; CXR_WEIGHTS=none trains from random weights."
        )
    return path


def place(model: str) -> Path:
    """Where the weights of a model belong."""
    return _FOLDER / f"{model}{_ENDING}"


def origin(model: str) -> dict:
    """How the weights of a model were made: see `pretraining.learn`."""
    return artifacts.read_json(file(model).with_suffix(".json"))


def gain(model: str) -> pd.DataFrame:
    """What the weights are worth on the demo's films, as `benchmarks/accuracy` measured it.

    Returns:
        One row a training: weights ("none" or "phantoms"), seed, validation_auroc, test_auroc
        (means over the findings), test_films, best_epoch.
    """
    # "none" is a word here.
    return pd.read_csv(file(model).with_suffix(".csv"), keep_default_na=False)


def save(network: keras.Model, path: Path) -> None:
    """Write a network's backbone in half precision, each array as `<layer>/<weight>`."""
    kept = {name: np.asarray(weight, np.float16) for name, weight in _backbone(network).items()}
    with artifacts.atomic(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{_MARK: np.array(_MARK_TEXT)}, **kept)


def load(network: keras.Model, path: Path) -> None:
    """Give a network's backbone the weights of `path`; its head stays as it is.

    Raises:
        ValueError: if the file lacks the mark, or holds other layers or shapes.
    """
    wanted = _backbone(network)
    with np.load(path, allow_pickle=False) as kept:
        if kept.keys() != {_MARK, *wanted}:
            other = sorted(kept.keys() ^ {_MARK, *wanted})
            raise ValueError(f"it holds other arrays, such as {other[0]}")
        for name, weight in wanted.items():
            weight.assign(kept[name].astype(np.float32))


def _backbone(network: keras.Model) -> dict[str, keras.Variable]:
    """The weights of the layers that answer with maps: those before the global pooling."""
    return {
        f"{layer.name}/{weight.name}": weight
        for layer in network.layers
        if len(layer.output.shape) == 4
        for weight in layer.weights
    }
