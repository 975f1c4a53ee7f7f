"""Train toy models on one or on two processors, as one or two GPUs; see `test_distribution.py`.

    python two_devices.py <number of devices> <folder> curves
    python two_devices.py <number of devices> <folder> train <model> <step to die at, or 0>

A process of its own, since devices must be divided before TensorFlow starts.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import test_training as toy

from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, models, pipeline, training
from cxr.modelling.tensors import keras, tf

# 33 films in batches of 16 leave one film for the last batch.
EVEN, UNEVEN = 64, 33


def pretend(number: int) -> None:
    """Divide the processor into devices that are taken for GPUs."""
    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(processor, parts)
    if number > 1:
        mirrored = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(number)])
        devices.strategy = lambda: mirrored
    tf.config.experimental.enable_op_determinism()
    # The settings that GPUs would get; nothing to be found out about their drivers.
    devices.gpus = lambda: number
    devices.preflight = lambda config: ""


def curves(root: Path) -> None:
    # What is random differs between devices: dropped features.
    built = models.build
    frame, paths = toy.draw(root / "films", 96)
    for tag, count, recipe, build in (
        ("even", EVEN, None, built),
        ("uneven", UNEVEN, None, toy.tiny),
        ("ingredients", EVEN, models.Recipe(**toy.ALL), built),
    ):
        models.build = lambda *name, build=build, **options: undropped(build(*name, **options))
        parts = {"train": frame[:count], "validation": frame[EVEN:]}
        toy.train(root, (parts, paths), recipe, tag=tag)
    # A batch of 64 films fills both devices, one of three leaves one of them a film short.
    for count in (64, 3):
        np.save(root / f"gradient-{count}.npy", gradient(frame[:count], paths, root / "cache"))


def undropped(network: keras.Model) -> keras.Model:
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    return network


def gradient(frame, paths, cache: Path) -> np.ndarray:
    """The gradient of one batch, for a network in which films do not see one another."""
    store = film_cache.prepare({film: paths[film] for film in frame["film"]}, cache, size=toy.SIZE)
    dataset = pipeline.batches(
        store,
        store.rows(frame["film"]),
        frame[list(FINDINGS)].to_numpy(),
        batch_size=len(frame),
        replicas=devices.replicas(),
    )
    keras.utils.set_random_seed(0)
    with devices.strategy().scope():
        film = keras.Input((toy.SIZE, toy.SIZE, 1))
        small = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(film))
        scores = keras.layers.Dense(14, "sigmoid")(keras.layers.Flatten()(small))
        trainee = training.Trainee(keras.Model(film, scores))
        # Steps of the gradient's own length: the way that the weights go is the gradient.
        trainee.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", **devices.compiling())
    before = [weights.copy() for weights in trainee.network.get_weights()]
    trainee.fit(dataset, verbose=0, shuffle=False)
    after = trainee.network.get_weights()
    return np.concatenate([(b - a).ravel() for b, a in zip(before, after, strict=True)])


def train(root: Path, model: str, last_step: int) -> None:
    """Two epochs of one model; killed in its step number `last_step`, unless that is 0."""
    seen = 0

    class Death(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            nonlocal seen
            seen += 1
            if seen == last_step:
                os.kill(os.getpid(), signal.SIGKILL)

    fit = keras.Model.fit
    keras.Model.fit = lambda self, *data, callbacks=(), **options: fit(
        self, *data, callbacks=[*callbacks, Death()], **options
    )
    frame, paths = toy.draw(root / "films", 36)
    parts = {"train": frame[:24], "validation": frame[24:]}
    toy.train(root, (parts, paths), models=(model,), weights="none", epochs=2, batch_size=7)


if __name__ == "__main__":
    pretend(int(sys.argv[1]))
    if sys.argv[3] == "curves":
        curves(Path(sys.argv[2]))
    else:
        train(Path(sys.argv[2]), sys.argv[4], int(sys.argv[5]))
