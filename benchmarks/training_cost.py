"""What training on the full data set will cost: the tables of `docs/recipes.md`.

    python benchmarks/training_cost.py
    python benchmarks/training_cost.py --measure

Computed: the floating-point operations of each model, counted layer by layer, over a share
of what the maker says that a GPU can do, and the operations that a step has to start.
Measured (by `--measure`, on CPU cores, and noted below): how fast films come out of the
film cache, and how long one takes to get into it. Nothing here was measured on a GPU.
"""

import dataclasses
import math
import os
import sys
import tempfile
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np

from cxr.config import PROFILES, PROJECT, Config, load_config
from cxr.fetch import catalogue
from cxr.films import film_cache, png
from cxr.modelling import models, pipeline
from cxr.modelling.tensors import keras

# The official split, which published results use: films in training and validation.
TRAIN, VALIDATION = 75_708, 10_816
SIZES = (128, 224)

# A training step costs about three forward passes: one forward, and backward one for the
# gradient of the features and one for that of the weights.
PASSES = 3

# The share of its peak that a GPU reaches. These networks are small and move much memory
# for little arithmetic, so the share is low; the range is an assumption, wide on purpose.
SHARE = (0.02, 0.10)

# What a step takes however few films are in it: each operation has to be started. About
# three a layer forward, twice as many backward, and a dozen for each array of weights in
# the optimizer, at 5 to 10 microseconds; assumptions again.
STARTS_A_LAYER, STARTS_AN_ARRAY = 9, 12
START_SECONDS = (5e-6, 10e-6)

# On several GPUs each layer of batch normalisation waits for three sums over all of them
# forward and three backward, one after the other, 30 to 60 microseconds each; assumed, too.
SUMS_A_NORMALISATION = 6
SUM_SECONDS = (30e-6, 60e-6)

# Eight GPUs do not do eight times the work of one; also an assumption.
SCALING = (0.70, 0.95)

# Bytes that training keeps per value of a feature map until the backward pass has used it:
# half precision, its float32 copy inside batch normalisation, and some for the rest.
BYTES_PER_VALUE = 8

# Measured by `--measure` on one core of an AMD EPYC at 2026-11-25, the best of three, while
# other programs ran: films a second from the cache into batches of 32 at 224 px, and
# milliseconds to decode and shrink one film of so many pixels to 224.
FEED = 11_000
DECODE = {1024: 11.3, 256: 1.0}
CORES = (4, 12, 32)


@dataclasses.dataclass(frozen=True)
class Machine:
    """A machine that somebody may have."""

    name: str
    gpus: int
    # Peak of the tensor cores in half precision without sparsity, TFLOPS a GPU.
    peak: float
    # GB a GPU.
    memory: int
    precision: str
    # Films in a step over all GPUs, chosen so that DenseNet-121 at 224 px fits.
    batch_size: int


MACHINES = (
    Machine("one T4", 1, 65, 16, "mixed_float16", 32),
    Machine("one A100", 1, 312, 40, "mixed_bfloat16", 64),
    Machine("one H100", 1, 989, 80, "mixed_bfloat16", 128),
    Machine("eight A100", 8, 312, 40, "mixed_bfloat16", 256),
)


def operations(model: keras.Model) -> int:
    """Floating-point operations of one forward pass of one film.

    Convolution and dense layers only, the latter at every place of a map; a multiplication
    and an addition counted as two. What else there is (normalisation, activation, pooling) is
    bound by memory, not arithmetic.
    """
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            # Each value of the output looks at one channel.
            total += 2 * math.prod(layer.kernel.shape[:2]) * math.prod(layer.output.shape[1:])
        # Grouped kernels have as many input channels as a group.
        elif isinstance(layer, keras.layers.Conv2D):
            total += 2 * math.prod(layer.kernel.shape[:3]) * math.prod(layer.output.shape[1:])
        elif isinstance(layer, keras.layers.Dense):
            total += 2 * layer.kernel.shape[0] * math.prod(layer.output.shape[1:])
    return total


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one model asks of a machine."""

    # Floating-point operations of a forward pass of one film.
    forward: int
    # Values in all feature maps of one film.
    values: int
    # Operations started in a training step.
    starts: int
    # Sums over all GPUs in a training step.
    sums: int

    @classmethod
    def of(cls, model: keras.Model) -> "Cost":
        arrays = len(model.trainable_weights)
        starts = STARTS_A_LAYER * len(model.layers) + STARTS_AN_ARRAY * arrays
        values = sum(math.prod(layer.output.shape[1:]) for layer in model.layers)
        normalised = [
            layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        return cls(operations(model), values, starts, SUMS_A_NORMALISATION * len(normalised))

    def seconds(self, machine: Machine, epochs: int) -> tuple[float, float]:
        """The shortest and the longest time of a training.

        Args:
            machine: what it runs on.
            epochs: passes over the training films, each followed by one over the
                validation films.
        """
        found = []
        for share, scaling, start, pause in zip(
            SHARE[::-1], SCALING[::-1], START_SECONDS, SUM_SECONDS, strict=True
        ):
            together = machine.peak * 1e12 * share
            starts = self.starts * start
            if machine.gpus > 1:
                together *= machine.gpus * scaling
                starts += self.sums * pause
            # Arithmetic, starting operations and making batches go on side by side.
            step = max(
                PASSES * self.forward * machine.batch_size / together,
                starts,
                machine.batch_size / FEED,
            )
            # In validation the GPUs and the cache take turns.
            validate = VALIDATION * (self.forward / together + 1 / FEED)
            found.append(epochs * (math.ceil(TRAIN / machine.batch_size) * step + validate))
        return found[0], found[1]


def clock(value: float) -> str:
    """Seconds in minutes or hours, two digits, since more would feign knowledge."""
    if value < 90 * 60:
        return f"{max(1, round(value / 60))} min"
    return f"{value / 3600:.1f} h" if value < 10 * 3600 else f"{value / 3600:.0f} h"


def span(low: float, high: float) -> str:
    return clock(low) if clock(low) == clock(high) else f"{clock(low)} to {clock(high)}"


def rate(name: str, batch_size: int) -> str:
    """The model's learning rate for batches of this size, two digits."""
    own = models.registered(name).learning_rate
    return f"{own * math.sqrt(batch_size / Config.batch_size):.1e}".replace("e-0", "e-")


def table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# What the profiles train; the registry has more.
USED = {name for profile in PROFILES.values() for name in profile["models"]}


def tables(names: Collection[str] = tuple(models.MODELS)) -> str:
    """The tables of the page: settings, times of the models named, and making the cache."""
    full = load_config({"CXR_PROFILE": "full"})
    costs = {
        (name, size): Cost.of(models.build(name, image_size=size))
        for name in models.MODELS
        if name in names
        for size in SIZES
    }
    kept = BYTES_PER_VALUE * costs["densenet121", 224].values / 1e9
    settings = [
        ["`CXR_BATCH_SIZE`", *(str(machine.batch_size) for machine in MACHINES)],
        *(
            [f"`CXR_LEARNING_RATE` of `{name}`", *(rate(name, m.batch_size) for m in MACHINES)]
            for name in full.models
        ),
        ["precision (chosen by itself)", *(f"`{machine.precision}`" for machine in MACHINES)],
        ["memory of a GPU", *(f"{machine.memory} GB" for machine in MACHINES)],
        [
            "of it, for feature maps of `densenet121` at 224 px",
            *(f"{kept * machine.batch_size / machine.gpus:.0f} GB" for machine in MACHINES),
        ],
    ]
    times = [
        [
            f"`{name}`",
            f"{size} px",
            f"{cost.forward / 1e9:.2f}",
            f"{cost.starts:,}",
            *(span(*cost.seconds(machine, full.epochs)) for machine in MACHINES),
        ]
        for (name, size), cost in costs.items()
    ]
    caches = [
        [f"{size} px", f"{ms} ms", *(clock(catalogue.FILMS * ms / 1e3 / cores) for cores in CORES)]
        for size, ms in DECODE.items()
    ]
    names = [machine.name for machine in MACHINES]
    return "\n\n".join(
        [
            table(["", *names], settings),
            table(["model", "films", "GFLOP", "starts", *names], times),
            table(["films stored at", "a film, one core", *(f"{n} cores" for n in CORES)], caches),
        ]
    )


def measure() -> None:
    """Print what FEED and DECODE should say on this machine."""
    shared = Path(os.environ.get("SHARED_DIR") or PROJECT.parent / "shared")
    originals = sorted((shared / "nih" / "images1024").glob("*.png"))
    count, size = 4 * film_cache.SHARD_FILMS, 224
    with tempfile.TemporaryDirectory() as folder:
        random = np.random.default_rng(0)
        shards = []
        for number in range(count // film_cache.SHARD_FILMS):
            path = Path(folder) / f"{number}.npy"
            shape = (film_cache.SHARD_FILMS, size, size)
            np.save(path, random.integers(0, 256, shape, np.uint8), allow_pickle=False)
            shards.append(np.load(path, mmap_mode="r", allow_pickle=False))
        store = film_cache.Store([str(number) for number in range(count)], size, shards)
        feeds = []
        for epoch in range(3):
            batches = pipeline.batches(
                store,
                np.arange(count),
                np.zeros((count, 14)),
                batch_size=32,
                order=pipeline.Order(count, seed=0, epoch=epoch),
            )
            start = time.perf_counter()
            for _ in batches:
                pass
            feeds.append(count / (time.perf_counter() - start))
        print(f"feed at {size} px: {max(feeds):,.0f} films/s")
        if not originals:
            sys.exit("Decoding needs real originals in ../shared/nih/images1024 (or SHARED_DIR).")
        reduced = []
        for path in originals:
            reduced.append(Path(folder) / path.name)
            reduced[-1].write_bytes(png.reduce(path.read_bytes(), 256))
        for side, paths in ((1024, originals), (256, reduced)):
            rounds = []
            for _ in range(3):
                start = time.process_time()
                for path in paths:
                    film_cache.read_film(path, size)
                rounds.append((time.process_time() - start) / len(paths))
            print(f"decode at {side} px: {min(rounds) * 1e3:.1f} ms a film")


if __name__ == "__main__":
    if sys.argv[1:] == ["--measure"]:
        measure()
    else:
        print(tables())
