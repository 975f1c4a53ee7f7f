"""Film cache, input pipeline, epoch and memory against the original project's way.

    python benchmarks/modelling.py                  # all; half an hour on two cores
    python benchmarks/modelling.py cache memory     # some of PARTS

Needs the real films of the folder SHARED_DIR (../shared by default). Every measurement runs
in a process of its own, both sides in turn, five times; quoted are medians of the ratios.
"""

import concurrent.futures
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from accuracy import original

from cxr.config import PROJECT, load_config
from cxr.films import film_cache, png
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, pipeline, training
from cxr.modelling.tensors import keras, tf

SHARED = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared")) / "nih"
SIZE, BATCH, ROUNDS = 128, 32, 5
# The original's test set, which it predicted as one batch of 4.5 GB.
TEST_FILMS = 23_011


def rows_of(folder: Path, count: int) -> tuple[pd.DataFrame, dict[str, Path]]:
    """`count` films with made-up targets and names of their own, from the files of a folder."""
    files = sorted(folder.glob("*.png"))
    chosen = [files[number % len(files)] for number in range(count)]
    frame = pd.DataFrame({"film": [f"{n:06d}-{path.name}" for n, path in enumerate(chosen)]})
    frame["file"], frame["patient_id"] = [path.name for path in chosen], np.arange(count)
    targets = np.random.default_rng(0).random((count, len(FINDINGS))) < 0.1
    frame[list(FINDINGS)] = targets.astype(int)
    return frame, dict(zip(frame["film"], chosen, strict=True))


def as_original(frame: pd.DataFrame) -> pd.DataFrame:
    """The same films under the names of their files."""
    return frame.assign(film=frame["file"])


def pipeline_original(count: int) -> float:
    """Films a second of the generator, decoding 1024-pixel PNGs."""
    frame, _ = rows_of(SHARED / "images1024", count)
    batches = original.generator(SHARED / "images1024", as_original(frame), size=SIZE)
    began = time.monotonic()
    seen = sum(len(batches[number][0]) for number in range(len(batches)))
    return seen / (time.monotonic() - began)


def pipeline_ours(count: int) -> float:
    """Films a second out of the shards, shuffled and augmented."""
    frame, paths = rows_of(SHARED / "images1024", count)
    with tempfile.TemporaryDirectory() as folder:
        store = film_cache.prepare(paths, Path(folder), size=SIZE)
        order = pipeline.Order(count, seed=0)
        batches = pipeline.batches(
            store,
            store.rows(frame["film"]),
            frame[list(FINDINGS)].to_numpy(),
            batch_size=BATCH,
            order=order,
        )
        first, _, _ = next(iter(batches))
        pipeline.augment(first["film"], first["draws"])
        seen, began = 0, time.monotonic()
        # Several passes: one takes a fraction of a second.
        for epoch in range(5):
            order.epoch = epoch
            for inputs, _, _ in batches:
                seen += len(pipeline.augment(inputs["film"], inputs["draws"]))
        return seen / (time.monotonic() - began)


def _films_a_second(resample, count: int) -> float:
    """How fast `count` films of noise are resampled, in batches, after a first one."""
    noise = np.random.default_rng(0).integers(0, 256, (BATCH, SIZE, SIZE, 1), np.uint8)
    pictures, draws = tf.constant(noise), tf.constant(pipeline.Order(BATCH, seed=0).draws())
    resample(pictures, draws)
    began = time.monotonic()
    for _ in range(count // BATCH):
        resample(pictures, draws).numpy()
    return count / (time.monotonic() - began)


def resampling_ours(count: int) -> float:
    return _films_a_second(pipeline.augment, count)


def resampling_kernel(count: int) -> float:
    """The same work by TensorFlow's kernel: every film turned by 3 degrees."""
    cosine, sine = np.cos(np.deg2rad(3)), np.sin(np.deg2rad(3))
    turn = tf.constant([[cosine, -sine, 4.0, sine, cosine, -3.0, 0.0, 0.0]] * BATCH, tf.float32)

    @tf.function
    def resample(pictures, draws):
        return tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.cast(pictures, tf.float32),
            transforms=turn,
            output_shape=(SIZE, SIZE),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )

    return _films_a_second(resample, count)


def decode_limit(count: int) -> float:
    """Films a second that all cores decode, doing nothing else."""
    _, paths = rows_of(SHARED / "images1024", count)

    def decode(path: Path) -> None:
        png.decode(path.read_bytes()).load()

    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(decode, paths.values()))
    return count / (time.monotonic() - began)


def cache_ours(count: int) -> float:
    """Films a second into the film cache: decoded, reduced, written and verified."""
    _, paths = rows_of(SHARED / "images1024", count)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        film_cache.prepare(paths, Path(folder), size=SIZE)
        return count / (time.monotonic() - began)


def _train_ours(source: Path, count: int, root: Path) -> pd.DataFrame:
    """History of two epochs of `baseline` on `count` films of a folder."""
    frame, paths = rows_of(source, count + 32)
    config = load_config(
        {}, profile="first_archive", root=root, models=("baseline",), epochs=2, batch_size=BATCH
    )
    devices.preflight(config)
    splits = {"train": frame.head(count), "validation": frame.tail(32)}
    training.run("baseline", paths, splits, config, split_checksum="benchmark")
    return pd.read_csv(config.runs / "baseline-patient" / "history.csv")


def epoch_original(count: int) -> float:
    """Films a second of the second epoch, from 1024-pixel PNGs, validation left out."""
    frame, _ = rows_of(SHARED / "images1024", count)
    model = original.network(SIZE)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    batches = original.generator(SHARED / "images1024", as_original(frame), size=SIZE)

    def fit() -> None:
        # One thread reads ahead, as it did in Keras 2; Keras 3 would wait for every batch.
        films = pipeline.read_ahead(batches.__getitem__, range(len(batches)))
        model.fit(films, steps_per_epoch=len(batches), verbose=0)

    fit()
    began = time.monotonic()
    fit()
    return count / (time.monotonic() - began)


def epoch_ours(count: int) -> float:
    """Films a second of the second epoch, from the film cache, validation left out."""
    with tempfile.TemporaryDirectory() as root:
        history = _train_ours(SHARED / "images1024", count, Path(root))
    return count / float(history["seconds"].iloc[-1])


def memory_original(count: int) -> float:
    """Trains some steps, then predicts the test films as one batch."""
    source = SHARED / "images128"
    frame, _ = rows_of(source, count)
    model = original.network(SIZE)
    model.compile(optimizer="adam", loss="binary_crossentropy")
    model.fit(original.generator(source, as_original(frame.head(640)), size=SIZE), verbose=0)
    everything = original.generator(source, as_original(frame), size=SIZE, batch_size=count)
    model.predict(everything[0][0], verbose=0)
    return peak()


def memory_ours(count: int) -> float:
    """Trains some steps, then predicts the test films as a stream."""
    frame, paths = rows_of(SHARED / "images128", count)
    with tempfile.TemporaryDirectory() as root:
        _train_ours(SHARED / "images128", 640, Path(root))
        folder = Path(root) / "runs" / "baseline-patient"
        inference.score_with_run(folder, paths, frame, Path(root) / "data" / "cache")
    return peak()


def growth(count: int) -> float:
    """Seconds of the second epoch; the peak memory is told beside it."""
    with tempfile.TemporaryDirectory() as root:
        history = _train_ours(SHARED / "images128", count, Path(root))
    return float(history["seconds"].iloc[-1])


def peak() -> float:
    """Peak memory of this process in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


MEASURES = {
    function.__name__: function
    for function in (
        pipeline_original,
        pipeline_ours,
        resampling_ours,
        resampling_kernel,
        decode_limit,
        cache_ours,
        epoch_original,
        epoch_ours,
        memory_original,
        memory_ours,
        growth,
    )
}


def measure(name: str, count: int) -> dict:
    """Run one measurement in a fresh process."""
    command = [sys.executable, "-W", "ignore", __file__, "measure", name, str(count)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise SystemExit(f"{name} failed:\n{answer.stderr}")
    return json.loads(answer.stdout.splitlines()[-1])


def compare(title: str, ours: str, other: str, count: int, unit: str, wanted: str) -> None:
    """Measure both sides in turn and print the medians and the ratio."""
    pairs = [(measure(other, count)["value"], measure(ours, count)["value"]) for _ in range(ROUNDS)]
    ratios = [mine / theirs for theirs, mine in pairs]
    theirs, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{title:<42}{theirs:>9,.1f}{mine:>9,.1f} {unit:<8}{statistics.median(ratios):>7.2f}"
        f"  ({min(ratios):.2f} to {max(ratios):.2f}; wanted {wanted})",
        flush=True,
    )


# What is compared: title, ours, the other, films, unit, wanted.
PARTS = {
    "pipeline": (
        "input pipeline, augmented", "pipeline_ours", "pipeline_original", 960, "films/s", "20",
    ),
    "resampling": (
        "resampling / TensorFlow's kernel", "resampling_ours", "resampling_kernel", 9_600,
        "films/s", "1",
    ),
    "cache": (
        "film cache / decoding on all cores", "cache_ours", "decode_limit", 960, "films/s", ".85",
    ),
    "epoch": ("an epoch of baseline", "epoch_ours", "epoch_original", 960, "films/s", "4"),
    "memory": (
        f"peak memory, predicting {TEST_FILMS:,}", "memory_ours", "memory_original", TEST_FILMS,
        "GB", "at most .25",
    ),
}  # fmt: skip


def grow() -> None:
    """Print how an epoch's time and the peak memory grow with the number of films."""
    print(f"\n{'films':>8}{'epoch (s)':>12}{'ms a film':>12}{'peak (GB)':>12}")
    for count in (1000, 2000, 4000, 8000):
        rounds = [measure("growth", count) for _ in range(ROUNDS)]
        seconds = statistics.median(one["value"] for one in rounds)
        memory = statistics.median(one["peak"] for one in rounds)
        print(
            f"{count:>8,}{seconds:>12.2f}{1000 * seconds / count:>12.2f}{memory:>12.2f}", flush=True
        )


def main(parts: list[str]) -> int:
    if unknown := set(parts) - {*PARTS, "growth"}:
        raise SystemExit(f"no part {', '.join(unknown)}; there are {', '.join(PARTS)}, growth.")
    if not SHARED.is_dir():
        print(f"skipped: {SHARED.parent} does not hold the real films; set SHARED_DIR.")
        return 0
    print(f"{os.cpu_count()} cores, {SIZE} px, batches of {BATCH}, {ROUNDS} rounds, medians")
    print(f"{'':<42}{'original':>9}{'ours':>9} {'':<8}{'ratio':>7}")
    for part in PARTS:
        if part in parts or not parts:
            compare(*PARTS[part])
    if "growth" in parts or not parts:
        grow()
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        keras.utils.set_random_seed(0)
        value = MEASURES[sys.argv[2]](int(sys.argv[3]))
        print(json.dumps({"value": value, "peak": peak()}))
    else:
        sys.exit(main(sys.argv[1:]))
