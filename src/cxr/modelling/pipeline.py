"""From stored films to batches on the device; augmentation in the training step."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from cxr.films import film_cache
from cxr.modelling.tensors import tf

# The original project's augmentation: shifts of a tenth of the side, zoom 0.85 to 1.15,
# rotation of 5 degrees, and `shear_range=0.1`, which Keras reads as degrees.
SHIFT, ZOOM, ROTATION, SHEAR = 0.1, 0.15, np.deg2rad(5), np.deg2rad(0.1)


@dataclasses.dataclass
class Order:
    """The order of the training films: another one each epoch, decided by the seed.

    It depends on the seed and the epoch only, so an interrupted training that starts
    again at some epoch sees the same films in the same order.
    """

    films: int
    seed: int
    epoch: int = 0

    def rows(self) -> np.ndarray:
        """Positions 0..films-1, shuffled for the current epoch."""
        return np.random.default_rng((self.seed, self.epoch)).permutation(self.films)


def batches(
    store: film_cache.Store,
    rows: np.ndarray,
    targets: np.ndarray,
    *,
    batch_size: int,
    order: Order | None = None,
    multiple: int = 1,
) -> tf.data.Dataset:
    """Batches of films to train on, in order or shuffled; the last, short one is kept.

    Args:
        store: where the films lie.
        rows: their rows in the store, int (films,).
        targets: 0/1 (films, 14), row for row with `rows`.
        batch_size: films in a batch, over all devices.
        order: shuffles anew each time that the dataset is iterated; None keeps the order.
        multiple: batches are filled up to a multiple of this with films of the same epoch
            that weigh nothing; at least the number of devices, since one without a film fails.

    Returns:
        Dataset of uint8 films (n, size, size, 1), float32 targets (n, 14) and float32
        weights (n,): 0 for filling, and the same for every film, so that their mean is 1.
    """
    rows, targets = np.asarray(rows), np.asarray(targets)
    if len(targets) != len(rows):
        raise ValueError(f"{len(rows)} films but {len(targets)} rows of targets")

    def positions() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        shuffled = order.rows() if order else np.arange(len(rows))
        for start in range(0, len(shuffled), batch_size):
            batch = shuffled[start : start + batch_size]
            missing = -len(batch) % multiple
            # Real films as filling: blank ones would disturb batch normalisation.
            filled = np.concatenate([batch, np.resize(shuffled, missing)])
            # Weights average 1, so that each device's mean loss is its share of the whole.
            weights = np.r_[np.full(len(batch), len(filled) / len(batch)), np.zeros(missing)]
            yield filled, weights.astype(np.float32)

    def load(batch: np.ndarray):
        return store.take(rows[batch]), targets[batch].astype(np.float32)

    def as_tensors(batch, weights):
        pictures, labels = tf.numpy_function(load, [batch], (tf.uint8, tf.float32))
        pictures.set_shape((None, store.size, store.size, 1))
        labels.set_shape((None, targets.shape[1]))
        return pictures, labels, weights

    dataset = tf.data.Dataset.from_generator(
        positions,
        output_signature=(
            tf.TensorSpec((None,), tf.int64),
            tf.TensorSpec((None,), tf.float32),
        ),
    )
    # The number of batches is known: progress and schedules need it.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size)))
    options = tf.data.Options()
    # One process reads one machine's shards: nothing to divide between workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Nothing here is left to tune, and TensorFlow 2.21's tuner sleeps for 10 ms, 20 ms, 40 ms
    # and so on up to a minute: an epoch could end only when it woke up, up to twice as late.
    options.autotune.enabled = False
    return dataset.map(as_tensors).prefetch(2).with_options(options)


def augment(pictures: tf.Tensor, seed: tf.Tensor, *, mirror: bool = False) -> tf.Tensor:
    """Shift, zoom, rotate and shear each film at random, in one resampling.

    Args:
        pictures: (films, size, size, 1), values 0 to 255.
        seed: two int32; the same seed gives the same films.
        mirror: also swap left and right in about half of the films.

    Returns:
        float32 of the same shape, bilinear, borders reflected, values 0 to 255.
    """
    shape = tf.shape(pictures)
    count, side = shape[0], tf.cast(shape[1], tf.float32)
    draws = tf.random.stateless_uniform((7, count), seed, -1.0, 1.0)
    angle, shear = ROTATION * draws[0], SHEAR * draws[1]
    zoom_x, zoom_y = 1 + ZOOM * draws[2], 1 + ZOOM * draws[3]
    shift_x, shift_y = SHIFT * side * draws[4], SHIFT * side * draws[5]
    if mirror:
        zoom_x *= tf.where(draws[6] < 0, -1.0, 1.0)
    # Output pixel -> input pixel: rotation after shear after zoom, around the centre.
    a, b = tf.cos(angle) * zoom_x, -tf.sin(angle + shear) * zoom_y
    c, d = tf.sin(angle) * zoom_x, tf.cos(angle + shear) * zoom_y
    centre = (side - 1) / 2
    zeros = tf.zeros_like(a)
    transforms = tf.stack(
        [
            a,
            b,
            centre - a * centre - b * centre + shift_x,
            c,
            d,
            centre - c * centre - d * centre + shift_y,
            zeros,
            zeros,
        ],
        axis=1,
    )
    augmented = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pictures, tf.float32),
        transforms=transforms,
        output_shape=shape[1:3],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )
    # Known before the first batch, as layers that resize need it.
    augmented.set_shape(pictures.shape)
    return augmented


def blend(
    pictures: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, strength: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each film, and its targets, with another of the batch (mixup).

    Args:
        pictures, targets: a batch.
        seed: two int32.
        strength: the share of the other film is drawn from Beta(strength, strength), once
            a batch, as Zhang et al. (ICLR 2018) found to work as well as once a film.
    """
    gammas = tf.random.stateless_gamma((2,), seed + 1, strength)
    share = gammas[0] / tf.reduce_sum(gammas)
    pictures, targets = tf.cast(pictures, tf.float32), tf.cast(targets, tf.float32)
    return (
        share * pictures + (1 - share) * pictures[::-1],
        share * targets + (1 - share) * targets[::-1],
    )


def examples(picture: np.ndarray, *, seed: int, count: int = 7) -> np.ndarray:
    """A film as it is, then `count` augmented variants, to look at.

    Args:
        picture: uint8 (size, size).

    Returns:
        float32 (1 + count, size, size), 0 to 255.
    """
    repeated = np.repeat(picture[np.newaxis, :, :, np.newaxis], count, axis=0)
    variants = augment(tf.constant(repeated), tf.constant([seed % 2**31, 0])).numpy()
    return np.concatenate([picture[np.newaxis].astype(np.float32), variants[..., 0]])
