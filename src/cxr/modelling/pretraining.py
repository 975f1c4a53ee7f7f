"""Learn weights from drawings of made-up patients, for models to start from in the demo."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, phantoms, progress
from cxr.evaluation import ranking
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, models, phantom_weights, training
from cxr.modelling.tensors import keras

# The demo draws NIH's records, whose patients are numbered from 1 to 30,805. These are nobody.
FIRST_PATIENT = 1_000_001

# Shares of made-up films with each finding, in AP view, and of women.
_POSITIVES, _AP, _WOMEN = 0.12, 0.4, 0.44

# Of the patients, those whose films tell how well it learned.
_VALIDATION = 0.1

# As the demo's films are drawn and seen.
_DRAWN, _SEEN = 256, 64


# With the dropout and the dense layer of the transfer models' own head a network of random
# weights learned next to nothing: validation AUROC .57 after 12 epochs, .70 after 2 without.
_HEAD = "the mean of each map, then the 14 findings"


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is learned from, and for how long."""

    # One film each.
    patients: int = 4000
    epochs: int = 14
    batch_size: int = 32
    # Peak of a cosine; high, since nothing is there to be lost.
    learning_rate: float = 1e-2
    # Another one than the demo's, 42: it draws other bodies.
    seed: int = 2017


def made_up(lesson: Lesson) -> pd.DataFrame:
    """Records of people who do not exist: one film each, findings independent of all else.

    Returns:
        film, patient_id, age (years), sex, view and the 14 findings, 0/1.
    """
    # A generator each, so that a longer lesson begins with the films of a shorter one.
    age, sex, view, findings = np.random.default_rng(lesson.seed).spawn(4)
    count = lesson.patients
    patient = FIRST_PATIENT + np.arange(count)
    shown = findings.random((count, len(FINDINGS))) < _POSITIVES
    return pd.DataFrame(
        {
            "film": [f"{number:08d}_000.png" for number in patient],
            "patient_id": patient,
            "age": age.normal(47, 17, count).clip(1, 95).round(),
            "sex": np.where(sex.random(count) < _WOMEN, "F", "M"),
            "view": np.where(view.random(count) < _AP, "AP", "PA"),
            **{name: shown[:, column].astype(int) for column, name in enumerate(FINDINGS)},
        }
    )


def learn(model: str, root: Path, to: Path, lesson: Lesson | None = None) -> dict:
    """Draw the films, train a network on them, and keep its backbone's weights.

    Weights that were learned from the same are kept, and so are films that an earlier call
    drew into `root`.

    Args:
        model: a key of `models.MODELS`.
        root: folder of the films.
        to: file of the weights, `.npz`; a `.json` beside it tells how they were made.
        lesson: what to learn from.

    Returns:
        What the `.json` holds.
    """
    lesson = lesson or Lesson()
    records = made_up(lesson)
    settings = {
        "model": model,
        **dataclasses.asdict(lesson),
        "head": _HEAD,
        "image_size": _SEEN,
        "records_sha256": artifacts.fingerprint(map(repr, records.to_dict("records"))),
    }
    if to.exists() and to.with_suffix(".json").exists():
        found = artifacts.read_json(to.with_suffix(".json"))
        if found.items() >= (settings | {"sha256": artifacts.sha256(to)}).items():
            return found
    # Of the code, before the weights become a change to it.
    commit = artifacts.commit()
    paths = _drawn(records, root / "films", seed=lesson.seed)
    store = film_cache.prepare(paths, root / "cache", size=_SEEN)
    held_out, taught = np.split(records.index, [round(_VALIDATION * len(records))])
    network = _taught(model, store, records.loc[taught], lesson)
    judged = records.loc[held_out].reset_index(drop=True)
    scores = inference.score_films(network, store, judged)[list(FINDINGS)]
    found = ranking.auroc(judged[list(FINDINGS)].to_numpy(), scores.to_numpy())
    phantom_weights.save(network, to)
    made = {
        "phantom": True,
        "what": "weights learned from synthetic drawings; they know nothing of real films",
        **settings,
        "patient_numbers": [int(records["patient_id"].min()), int(records["patient_id"].max())],
        "validation_films": len(judged),
        "validation_auroc": round(float(np.nanmean(found)), 4),
        "devices": devices.names(),
        "versions": artifacts.versions(),
        "commit": commit,
        "command": "make weights",
        "sha256": artifacts.sha256(to),
    }
    artifacts.write_json(to.with_suffix(".json"), made)
    return made


def _taught(
    model: str, store: film_cache.Store, records: pd.DataFrame, lesson: Lesson
) -> keras.Model:
    """A model's backbone under a plain head, trained on the films of `records`."""
    keras.utils.set_random_seed(lesson.seed)
    whole = models.build(model, image_size=_SEEN)
    maps = [layer.output for layer in whole.layers if len(layer.output.shape) == 4][-1]
    pooled = keras.layers.GlobalAveragePooling2D(name="pooled")(maps)
    answers = keras.layers.Dense(len(FINDINGS), activation="sigmoid", name="findings")(pooled)
    network = keras.Model(whole.input, answers)
    steps = math.ceil(len(records) / lesson.batch_size) * lesson.epochs
    rate = training.schedule(lesson.learning_rate, steps)
    network.compile(keras.optimizers.AdamW(rate, weight_decay=1e-4), "binary_crossentropy")
    films = store.take(store.rows(records["film"]))
    targets = records[list(FINDINGS)].to_numpy(np.float32)
    with progress.Bars() as bars:
        bar = bars.add(model, total=len(films) * lesson.epochs, unit="films")
        after = keras.callbacks.LambdaCallback(
            on_epoch_end=lambda epoch, logs: bar.advance(len(films))
        )
        network.fit(
            films,
            targets,
            batch_size=lesson.batch_size,
            epochs=lesson.epochs,
            verbose=0,
            callbacks=[after],
        )
    return network


def _drawn(records: pd.DataFrame, folder: Path, *, seed: int) -> dict[str, Path]:
    """The records' films as files; those that are there already are kept."""
    paths = {film: folder / film for film in records["film"]}
    with progress.Bars() as bars:
        bar = bars.add("phantoms", total=len(paths), unit="films")
        for record in records.to_dict("records"):
            path = paths[record["film"]]
            if not path.exists():
                image = phantoms.draw(record, size=_DRAWN, seed=seed)
                with artifacts.atomic(path) as temporary:
                    temporary.write_bytes(phantoms.encode(image))
            bar.advance()
    return paths
