"""From stored films to batches; augmentation, as a function of the device."""

import collections
import concurrent.futures
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from cxr.films import film_cache
from cxr.modelling.tensors import compiled, jax, keras, tf

ops = keras.ops

# The original project's augmentation: shifts of a tenth of the side, zoom 0.85 to 1.15,
# rotation of 5 degrees, and `shear_range=0.1`, which Keras reads as degrees.
SHIFT, ZOOM, ROTATION, SHEAR = 0.1, 0.15, float(np.deg2rad(5)), float(np.deg2rad(0.1))

# Numbers that decide how a film is varied: rotation, shear, zoom (2), shift (2), mirroring,
# and its share in a blend with another film.
DRAWS = 8

# Batches that are read while the device works.
_AHEAD = 3


@dataclasses.dataclass
class Order:
    """The order of the training films, and how each is varied: anew every epoch.

    Both depend on the seed and the epoch only, not on the devices or on what ran before: an
    interrupted training that starts again at some epoch sees the same films, varied the
    same way.
    """

    films: int
    seed: int
    epoch: int = 0
    # Films are blended in shares drawn from Beta(mixup, mixup); 0: never.
    mixup: float = 0.0
    # The films are in so many parts, dealt out like cards, which take turns in a batch; each
    # process reads those of its own parts only.
    parts: int = 1
    mine: tuple[int, ...] = (0,)

    def rows(self) -> np.ndarray:
        """Positions 0..films-1, shuffled for the current epoch, a film of each part in turn."""
        shuffled = np.random.default_rng((self.seed, self.epoch)).permutation(self.films)
        dealt = np.empty_like(shuffled)
        for part in range(self.parts):
            dealt[part :: self.parts] = shuffled[shuffled % self.parts == part]
        return dealt

    def is_mine(self) -> np.ndarray:
        """Which films this process reads, bool (films,)."""
        return np.isin(np.arange(self.films) % self.parts, self.mine)

    def draws(self) -> np.ndarray:
        """What `augment` needs for each film in the current epoch, float32 (films, `DRAWS`)."""
        generator = np.random.default_rng((self.seed, self.epoch, 1))
        return generator.uniform(-1, 1, (self.films, DRAWS)).astype(np.float32)

    def share(self, batch: int) -> float:
        """The share that films keep in a batch of the current epoch: 1, or less with mixup.

        One share a batch, as Zhang et al. (ICLR 2018) found to work as well as one a film.
        """
        if not self.mixup:
            return 1.0
        generator = np.random.default_rng((self.seed, self.epoch, 2, batch))
        return generator.beta(self.mixup, self.mixup)


def batches(
    store: film_cache.Store,
    rows: np.ndarray,
    targets: np.ndarray,
    *,
    batch_size: int,
    order: Order | None = None,
    replicas: int = 1,
) -> tf.data.Dataset:
    """Batches of films to train on, in order or shuffled, all of the same size.

    Args:
        store: where the films lie.
        rows: their rows in the store, int (films,); of films of other processes, anything.
        targets: 0/1 (films, 14), row for row with `rows`.
        batch_size: films in a batch, over all devices; no more than there are films.
        order: shuffles and varies anew each time that the dataset is iterated; None keeps
            the order, with draws of 0, which leave a film as it is.
        replicas: devices of this process that its share of a batch is divided among. It is
            filled up to a multiple with films that weigh nothing, since a device without a film
            fails; so is the last batch, since a few films alone would spoil the moving
            statistics.

    Returns:
        Dataset of (inputs, targets, weights), of this process's share of each batch: inputs
        "film", uint8 (n, size, size, 1), and "draws", float32 (n, `DRAWS`); float32 targets
        (n, 14); float32 weights (n,): 0 for filling, and the same for every film, so that
        their mean over all processes is 1.
    """
    rows, targets = np.asarray(rows), np.asarray(targets, np.float32)
    if len(targets) != len(rows):
        raise ValueError(f"{len(rows)} films but {len(targets)} rows of targets")
    batch_size = min(batch_size, len(rows))
    parts, mine = (order.parts, order.mine) if order else (1, (0,))
    # Places for each part's films: as many as the devices of a process divide.
    multiple = replicas // math.gcd(replicas, len(mine))
    places = -(-batch_size // parts // multiple) * multiple
    full = places * len(mine)
    # JAX blends within a part, TensorFlow on each device.
    blended = len(mine) if jax else replicas

    def epoch() -> Iterator[tuple]:
        shuffled = order.rows() if order else np.arange(len(rows))
        draws = order.draws() if order else np.zeros((len(rows), DRAWS), np.float32)

        def load(start: int) -> tuple:
            batch = shuffled[start : start + batch_size]
            taken = [batch[(part - start) % parts :: parts] for part in mine]
            # Real films as filling: blank ones would disturb batch normalisation.
            filled = np.concatenate(
                [
                    _filled(films, shuffled[part::parts], places)
                    for films, part in zip(taken, mine, strict=True)
                ]
            )
            counts = np.concatenate([np.arange(places) < len(films) for films in taken])
            # Weights average 1, so that each device's mean loss is its share of the whole.
            weights = counts * (places * parts / len(batch))
            labels, variation = targets[filled], draws[filled]
            variation[:, -1] = share = order.share(start // batch_size) if order else 1
            others = np.arange(full).reshape(blended, -1)[:, ::-1].ravel()
            labels = share * labels + (1 - share) * labels[others]
            inputs = {"film": store.take(rows[filled]), "draws": variation}
            return inputs, labels.astype(np.float32), weights.astype(np.float32)

        return read_ahead(load, range(0, len(rows), batch_size))

    films = tf.TensorSpec((full, store.size, store.size, 1), tf.uint8)
    inputs = {"film": films, "draws": tf.TensorSpec((full, DRAWS), tf.float32)}
    labels = tf.TensorSpec((full, targets.shape[1]), tf.float32)
    signature = (inputs, labels, tf.TensorSpec((full,), tf.float32))
    dataset = tf.data.Dataset.from_generator(epoch, output_signature=signature)
    # The number of batches is known: progress and schedules need it.
    dataset = dataset.apply(tf.data.experimental.assert_cardinality(-(-len(rows) // batch_size)))
    options = tf.data.Options()
    # One process reads one machine's shards: nothing to divide between workers.
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    # Nothing here is left to tune, and TensorFlow 2.21's tuner sleeps for 10 ms, 20 ms, 40 ms
    # and so on up to a minute: an epoch could end only when it woke up, up to twice as late.
    options.autotune.enabled = False
    return dataset.with_options(options)


def _filled(films: np.ndarray, others: np.ndarray, places: int) -> np.ndarray:
    """`films`, and as many of `others` as are missing."""
    return np.concatenate([films, np.resize(others[:places], places - len(films))])


def read_ahead(load: Callable, parts: Iterable) -> Iterator:
    """`load` each part in a thread of its own, a few parts before they are asked for.

    A dataset's own `prefetch` does nothing under deterministic operations where Python
    reads the films: the device would wait for every batch.
    """
    with concurrent.futures.ThreadPoolExecutor(max_workers=1) as reader:
        waiting: collections.deque[concurrent.futures.Future] = collections.deque()
        for part in parts:
            waiting.append(reader.submit(load, part))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


@compiled
def augment(pictures, draws, *, mirror: bool = False, blend: int = 0):
    """Shift, zoom, rotate and shear each film, in one resampling.

    Args:
        pictures: (films, size, size, 1), values 0 to 255.
        draws: float32 (films, `DRAWS`), -1 to 1, as `Order.draws` makes them; the last is the
            film's share in a blend, 0 to 1.
        mirror: also swap left and right where the seventh draw is negative.
        blend: in each of so many equal parts of the batch, mix each film with the one that
            stands as far from the part's end (mixup); 0: none.

    Returns:
        float32 of the same shape, bilinear, borders reflected, values 0 to 255.
    """
    side = pictures.shape[1]
    centre = (side - 1) / 2
    # One number a film, against its rows and columns of pixels.
    angle, shear, zoom_x, zoom_y, shift_x, shift_y, swap, share = (
        draws[:, number, None, None] for number in range(DRAWS)
    )
    angle, shear = ROTATION * angle, SHEAR * shear
    zoom_x, zoom_y = 1 + ZOOM * zoom_x, 1 + ZOOM * zoom_y
    if mirror:
        zoom_x = ops.where(swap < 0, -zoom_x, zoom_x)
    # Output pixel -> input pixel: rotation after shear after zoom, around the centre.
    along = ops.arange(side, dtype="float32") - centre
    x, y = zoom_x * along[None, None, :], zoom_y * along[None, :, None]
    column = ops.cos(angle) * x - ops.sin(angle + shear) * y + centre + SHIFT * side * shift_x
    row = ops.sin(angle) * x + ops.cos(angle + shear) * y + centre + SHIFT * side * shift_y
    moved = _bilinear(pictures, _reflected(row, side), _reflected(column, side))[..., None]
    if blend:
        share = share[..., None]
        moved = share * moved + (1 - share) * _opposite(moved, blend)
    return moved


def _opposite(rows, parts: int):
    """Rows in reversed order within each of `parts` equal parts."""
    shape = rows.shape[1:]
    return ops.reshape(ops.flip(ops.reshape(rows, (parts, -1, *shape)), axis=1), (-1, *shape))


def _reflected(place, side: int):
    """Pixel coordinates, brought between 0 and side - 1 as by mirrors at the outer edges."""
    place = ops.mod(place + 0.5, 2 * side)
    return ops.clip(side - ops.abs(place - side) - 0.5, 0, side - 1)


def _bilinear(pictures, row, column):
    """Grey values between pixels, (films, size, size).

    Gathered, not by TensorFlow's own resampling kernel: XLA has none, and compiled the
    gathering is faster than the kernel (`benchmarks/modelling.py`).
    """
    side = pictures.shape[1]
    flat = ops.reshape(pictures, (-1,))
    first = side * side * ops.arange(ops.shape(pictures)[0], dtype="int32")[:, None, None]

    def at(row, column):
        return ops.cast(ops.take(flat, first + row * side + column), "float32")

    top, left = ops.floor(row), ops.floor(column)
    down, right = row - top, column - left
    top, left = ops.cast(top, "int32"), ops.cast(left, "int32")
    below, beside = ops.minimum(top + 1, side - 1), ops.minimum(left + 1, side - 1)
    upper = at(top, left) * (1 - right) + at(top, beside) * right
    lower = at(below, left) * (1 - right) + at(below, beside) * right
    return upper * (1 - down) + lower * down


def examples(picture: np.ndarray, *, seed: int, count: int = 7) -> np.ndarray:
    """A film as it is, then `count` augmented variants, to look at.

    Args:
        picture: uint8 (size, size).

    Returns:
        float32 (1 + count, size, size), 0 to 255.
    """
    repeated = np.repeat(picture[np.newaxis, :, :, np.newaxis], count, axis=0)
    variants = augment(repeated, Order(count, seed).draws())
    variants = keras.ops.convert_to_numpy(variants)[..., 0]
    return np.concatenate([picture[np.newaxis].astype(np.float32), variants])
