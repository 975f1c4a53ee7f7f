"""A rehearsal of the training on made-up films: what fails, and what it costs, in advance."""

import math
import resource
import time

import numpy as np
import pandas as pd

from cxr.config import Config
from cxr.fetch import catalogue, selection
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, learning, models, pipeline, training
from cxr.modelling.tensors import keras
from cxr.records import sources, splits

# Looks at the loss that are timed, after a first one that compiles the step.
_LOOKS = 4

# Films of each split's parts, for their shares. Lists of one's own for "community" have these
# sizes, too. A part of NIH's films divides nearly as all of them: the first archive has up to
# a twentieth more training films than its share.
_SIZES = {
    "patient": splits.SIZES,
    "original": splits.SIZES,
    "official": {"train": 75_708, "validation": 10_816, "test": 25_596},
    "community": splits.COMMUNITY_SIZES,
}


def rehearse(config: Config) -> pd.DataFrame:
    """Build every model of the run, and take some steps and a validation with each.

    With the real weights, batch, film size, precision and devices; the films are noise. Call
    after `devices.preflight`.

    Returns:
        One row a model: model, parameters, build_seconds (with fetching weights and compiling),
        training and validation speed (films/s), memory_gb (peak, of the fullest GPU, or of this
        process on a CPU), films (as `expected_films` says), hours (about: of all epochs of all
        its trainings, several in an ensemble, on so many films in the split's shares).

    Raises:
        InputError: as `training.run` does: for weights that cannot be had or do not fit, or a
            batch that does not fit the memory.
    """
    films = expected_films(config)
    return pd.DataFrame([_rehearsed(model, config, films) for model in config.models])


def summary(rows: pd.DataFrame, config: Config) -> str:
    """The rehearsal's result in words, one line a model."""
    several = len(config.trainings)
    trainings = f"{several} trainings of " if several > 1 else ""
    lines = [
        f"{row.model}: {row.parameters:,} parameters; {row.training:,.0f} films/s in training, "
        f"{row.validation:,.0f} in validation; {row.memory_gb:.1f} GB at the peak; "
        f"{trainings}{config.epochs} epochs take about {_duration(row.hours)}."
        for row in rows.itertuples()
    ]
    return "\n".join(
        [
            f"Rehearsed on made-up films of {config.image_size} px in batches of "
            f"{config.batch_size}, for {rows['films'].max():,} films at most:",
            *lines,
        ]
    )


def _duration(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{math.ceil(60 * hours)} min"


def expected_films(config: Config) -> int:
    """How many films this configuration works on at most, told before any is there.

    Raises:
        InputError: of another source, if its table cannot be read or trained on.
    """
    if config.source != "nih" and config.records is not None:
        films = len(sources.certain(sources.read(config.source, config.records)[0]))
        asked = selection.number(config.sample) if (config.sample or "").isdecimal() else films
        return min(films, asked)
    if (config.sample or "").isdecimal():
        return selection.number(config.sample)
    if config.sample is None and config.images is None and config.profile == "first_archive":
        return catalogue.ARCHIVES[0].films
    return sum(archive.films for archive in catalogue.ARCHIVES)


def _rehearsed(model: str, config: Config, films: int) -> dict:
    entry = models.registered(model)
    settings = {
        "model": model,
        "image_size": config.image_size,
        "learning_rate": config.learning_rate or entry.learning_rate,
    }
    keras.utils.set_random_seed(config.seed)
    steps = _LOOKS * devices.compiling()["steps_per_execution"]
    store, frame = _made_up(steps * config.batch_size, config)
    began = time.monotonic()
    with training.explained(config):
        trainee = training.compiled_trainee(
            settings, entry.recipe, weights=config.weights, steps=steps
        )
        dataset = pipeline.batches(
            store,
            np.arange(len(frame)),
            learning.targets(frame, entry.recipe),
            batch_size=config.batch_size,
            order=pipeline.Order(len(frame), config.seed, mixup=entry.recipe.mixup),
            replicas=devices.replicas(),
        )
        trainee.fit(dataset, verbose=0, shuffle=False)
        built = time.monotonic()
        trainee.fit(dataset, verbose=0, shuffle=False)
        trained = time.monotonic()
        score = inference.scorer(trainee.network)
        score(store, frame)
        warm = time.monotonic()
        score(store, frame)
        validated = time.monotonic()
    training_speed = len(frame) / (trained - built)
    validation_speed = len(frame) / (validated - warm)
    sizes = _SIZES[config.split]
    epoch = sizes["train"] / training_speed + sizes["validation"] / validation_speed
    epoch *= films / sum(sizes.values())
    return {
        "model": model,
        "parameters": trainee.network.count_params(),
        "build_seconds": built - began,
        "training": training_speed,
        "validation": validation_speed,
        "memory_gb": (devices.peak_memory() or _of_this_process()) / 1e9,
        "films": films,
        "hours": len(config.trainings) * config.epochs * epoch / 3600,
    }


def _made_up(films: int, config: Config) -> tuple[film_cache.Store, pd.DataFrame]:
    """Noise in place of films, each shard a view of the same few."""
    noise = np.random.default_rng(config.seed).integers(
        0, 256, (min(films, film_cache.SHARD_FILMS), config.image_size, config.image_size), np.uint8
    )
    names = [f"{number:08d}_000.png" for number in range(films)]
    store = film_cache.Store(names, config.image_size, [noise] * (films // len(noise) + 1))
    targets = np.random.default_rng(config.seed).integers(0, 2, (films, len(FINDINGS)))
    frame = pd.DataFrame(targets, columns=list(FINDINGS))
    return store, frame.assign(film=names, patient_id=range(films), view="PA", sex="F", age=50)


def _of_this_process() -> int:
    """Bytes of memory that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
