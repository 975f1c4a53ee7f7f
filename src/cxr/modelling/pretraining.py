"""Learn weights from drawings of made-up patients, for models to start from in the demo."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, phantoms, progress
from cxr.config import Config
from cxr.findings import FINDINGS
from cxr.modelling import inference, phantom_weights, training

# The demo draws NIH's records, whose patients are numbered from 1 to 30,805. These are nobody.
FIRST_PATIENT = 1_000_001

# Shares of made-up films with each finding, in AP view, and of women.
_POSITIVES, _AP, _WOMEN = 0.12, 0.4, 0.44

# Of the patients, those whose films choose the epoch.
_VALIDATION = 0.1

# As the demo's films are drawn and seen.
_DRAWN, _SEEN = 256, 64


@dataclasses.dataclass(frozen=True)
class Lesson:
    """What is learned from, and for how long."""

    # One film each.
    patients: int = 4000
    epochs: int = 12
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
    """Draw the films, train a model on them as any other, and keep its backbone's weights.

    What was interrupted goes on where it stopped.

    Args:
        model: a key of `models.MODELS`.
        root: folder of the films and the run.
        to: file of the weights, `.npz`; a `.json` beside it tells how they were made.
        lesson: what to learn from.

    Returns:
        What the `.json` holds.
    """
    lesson = lesson or Lesson()
    records = made_up(lesson)
    paths = _drawn(records, root / "films", seed=lesson.seed)
    held_out = round(_VALIDATION * len(records))
    config = Config(
        root=root,
        models=(model,),
        weights="none",
        image_size=_SEEN,
        epochs=lesson.epochs,
        seed=lesson.seed,
    )
    run = training.run(
        model,
        paths,
        {"train": records[held_out:], "validation": records[:held_out]},
        config,
        split_checksum=artifacts.fingerprint(records["film"]),
    )
    phantom_weights.save(inference.load_network(config.runs / run["name"]), to)
    made = {
        "phantom": True,
        "what": "weights learned from synthetic drawings; they know nothing of real films",
        "model": model,
        **dataclasses.asdict(lesson),
        "image_size": _SEEN,
        "patient_numbers": [int(records["patient_id"].min()), int(records["patient_id"].max())],
        "records_sha256": artifacts.fingerprint(map(repr, records.to_dict("records"))),
        **{name: run[name] for name in ("best_epoch", "validation_auroc", "devices", "versions")},
        "commit": run["commit"],
        "sha256": artifacts.sha256(to),
    }
    artifacts.write_json(to.with_suffix(".json"), made)
    return made


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
