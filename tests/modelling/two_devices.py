"""Train toy models on one or on two processors; started by `test_distribution.py`.

    python two_devices.py <number of devices> <folder>

A process of its own, since devices must be divided before TensorFlow starts.
"""

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


def main(number: int, root: Path) -> None:
    (processor,) = tf.config.list_physical_devices("CPU")
    parts = [tf.config.LogicalDeviceConfiguration()] * number
    tf.config.set_logical_device_configuration(processor, parts)
    if number > 1:
        mirrored = tf.distribute.MirroredStrategy([f"CPU:{n}" for n in range(number)])
        devices.strategy = lambda: mirrored
    # What is random differs between devices: augmentation, and dropped features.
    pipeline.augment = lambda pictures, seed, **options: tf.cast(pictures, tf.float32)
    built = models.build
    models.build = lambda *name, **options: undropped(built(*name, **options))

    frame, paths = toy.draw(root / "films", 96)
    for tag, count in (("even", EVEN), ("uneven", UNEVEN)):
        parts = {"train": frame[:count], "validation": frame[EVEN:]}
        toy.train(root, (parts, paths), tag=tag)
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
        multiple=devices.strategy().num_replicas_in_sync,
    )
    keras.utils.set_random_seed(0)
    with devices.strategy().scope():
        film = keras.Input((toy.SIZE, toy.SIZE, 1))
        small = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(film))
        scores = keras.layers.Dense(14, "sigmoid")(keras.layers.Flatten()(small))
        trainee = training.Trainee(keras.Model(film, scores), 0, augmented=False)
        # Steps of the gradient's own length: the way that the weights go is the gradient.
        trainee.compile(keras.optimizers.SGD(1.0), "binary_crossentropy", jit_compile=False)
    before = [weights.copy() for weights in trainee.network.get_weights()]
    trainee.fit(dataset, verbose=0, shuffle=False)
    after = trainee.network.get_weights()
    return np.concatenate([(b - a).ravel() for b, a in zip(before, after, strict=True)])


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
