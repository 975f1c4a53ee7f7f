"""The original project's way of training its small CNN, for measuring against.

As described: Keras's `ImageDataGenerator`, one thread that decodes, resizes, standardises
and augments film by film in every epoch; validation films augmented like training films,
training films unshuffled; Adam at its default rate, `ReduceLROnPlateau` and the best
checkpoint by validation loss. Its dropout rates are not known: the layers are those of our
`baseline`, with Keras's own batch normalisation momentum.
"""

from pathlib import Path

import numpy as np
import pandas as pd

# The generator left the public interface in Keras 3, but still ships with it.
from keras.src.legacy.preprocessing.image import ImageDataGenerator

from cxr.findings import FINDINGS
from cxr.modelling import models
from cxr.modelling.tensors import keras

# It planned 30 epochs and stopped at 16 or 17.
EPOCHS = 17
BATCH_SIZE = 32


def generator(
    folder: Path, frame: pd.DataFrame, *, size: int, batch_size: int = BATCH_SIZE
) -> keras.utils.PyDataset:
    """Batches of augmented, standardised float32 films (n, size, size, 3) and targets (n, 14).

    Args:
        folder: where the films lie.
        frame: needs `film` and the finding columns.
    """
    return ImageDataGenerator(
        samplewise_center=True,
        samplewise_std_normalization=True,
        width_shift_range=0.1,
        height_shift_range=0.1,
        shear_range=0.1,
        zoom_range=0.15,
        rotation_range=5,
        fill_mode="reflect",
    ).flow_from_dataframe(
        frame[["film", *FINDINGS]],
        str(folder),
        x_col="film",
        y_col=list(FINDINGS),
        class_mode="raw",
        color_mode="rgb",
        target_size=(size, size),
        batch_size=batch_size,
        shuffle=False,
    )


def network(size: int) -> keras.Model:
    """The small CNN on standardised RGB films (n, size, size, 3)."""
    film = x = keras.Input((size, size, 3))
    ours = models.build("baseline", image_size=size)
    for layer in ours.layers[ours.layers.index(ours.get_layer("grey_to_rgb")) + 1 :]:
        settings = layer.get_config()
        if isinstance(layer, keras.layers.BatchNormalization):
            settings["momentum"] = 0.99
        x = type(layer).from_config(settings)(x)
    return keras.Model(film, x, name="original")


def fit(
    folder: Path,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    *,
    size: int,
    seed: int,
    checkpoint: Path,
    epochs: int = EPOCHS,
) -> keras.Model:
    """Train, and return the model with the weights of the lowest validation loss.

    Args:
        folder: where the films lie.
        train, validation: frames with `film` and the finding columns.
        checkpoint: where the best weights are kept, `.weights.h5`.
    """
    keras.utils.set_random_seed(seed)
    model = network(size)
    model.compile(optimizer=keras.optimizers.Adam(), loss="binary_crossentropy")
    model.fit(
        generator(folder, train, size=size),
        validation_data=generator(folder, validation, size=size),
        epochs=epochs,
        verbose=0,
        callbacks=[
            keras.callbacks.ReduceLROnPlateau(
                monitor="val_loss", factor=0.1, patience=3, min_lr=1e-5
            ),
            keras.callbacks.ModelCheckpoint(
                str(checkpoint), monitor="val_loss", save_best_only=True, save_weights_only=True
            ),
        ],
    )
    model.load_weights(checkpoint)
    return model


def predict(model: keras.Model, films: np.ndarray) -> np.ndarray:
    """Probabilities (n, 14) of 8-bit films (n, size, size, 1), standardised one by one."""
    grey = films.astype(np.float32)
    grey -= grey.mean(axis=(1, 2, 3), keepdims=True)
    grey /= grey.std(axis=(1, 2, 3), keepdims=True) + 1e-6
    return model.predict(np.repeat(grey, 3, axis=3), batch_size=256, verbose=0)
