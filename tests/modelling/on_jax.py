"""What JAX makes of the models and films that `test_backends.py` made with TensorFlow.

KERAS_BACKEND=jax python on_jax.py <folder> answers
KERAS_BACKEND=jax python on_jax.py <folder> train <options as JSON>
"""

import json
import sys
from pathlib import Path

import numpy as np


def answers(folder: Path) -> dict[str, np.ndarray]:
    """Scores and heatmaps of each saved model, activations of one, augmented films, by name."""
    from cxr.modelling import explain, inference, pipeline
    from cxr.modelling.tensors import keras

    films = np.load(folder / "films.npy")
    findings = np.arange(len(films)) % 14
    found = {}
    for path in sorted(folder.glob("*.keras")):
        network = inference.read_network(path)
        found[f"scores {path.stem}"] = inference.forward(network)(films)
        explainer = explain.Explainer(network, films)
        for method in explain.METHODS:
            maps = explainer.heatmaps(films, findings, method=method)
            found[f"{method} {path.stem}"] = maps
        if path.stem == "baseline":
            found["activations"] = list(explain.activations(network, films[0, ..., 0]).values())[-1]
    order = pipeline.Order(len(films), seed=7, epoch=2)
    found["order"] = order.rows()
    varied = pipeline.augment(films, order.draws(), mirror=True)
    found["augmented"] = keras.ops.convert_to_numpy(varied)
    found["examples"] = pipeline.examples(films[0, ..., 0], seed=7)
    return found


def train(folder: Path, options: dict) -> None:
    """Train as `test_training` does, from the weights in `start.keras` if there are any."""
    import pandas as pd
    import test_training as toy

    from cxr.modelling import inference, models

    if (start := folder / "start.keras").exists():
        models.build = lambda *name, **size: inference.read_network(start)
    frame = pd.read_csv(folder / "films.csv")
    paths = {film: folder / "films" / film for film in frame["film"]}
    splits = dict(iter(frame.groupby("split")))
    toy.train(folder / options.pop("root"), (splits, paths), **options)


if __name__ == "__main__":
    folder, task = Path(sys.argv[1]), sys.argv[2]
    if task == "answers":
        found = answers(folder)
        from cxr.modelling.tensors import BACKEND

        np.savez(folder / f"{BACKEND}.npz", **found)
    else:
        train(folder, json.loads(sys.argv[3]))
