"""Which ingredients of a recipe help, on real films, cross-validated by patient.

    make campaign          # goes on where it stopped

Two folds: half of the 3,601 patients train (a tenth of them chooses the best epoch), the
films of the other half are scored once, and the other way round. Ingredients are screened
one by one at 64 px, then the winners are confirmed at 128 px beside the original project's
recipe. Quoted are the films of the unselected block only (patients 1336 to 3923), each
scored by the model that never saw its patient; differences are paired, by film, with each
patient of both folds left out in turn.

Scores and models go to `runs/campaign/`, the tables to `benchmarks/accuracy/results/`.
"""

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import original
import pandas as pd

from cxr import artifacts
from cxr.config import PROJECT, Config, load_config
from cxr.evaluation import intervals
from cxr.evaluation.intervals import Estimate
from cxr.evaluation.ranking import Judged
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, models, training
from cxr.modelling.tensors import keras
from cxr.records import nih

SEED, FOLDS = 42, 2
BLOCK = (1336, 3923)
RESULTS = Path(__file__).parent / "results"
RUNS = PROJECT / "runs" / "campaign"


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to train, at one film size."""

    name: str
    stage: str
    size: int
    # A key of the registry; None trains the original's way.
    model: str | None
    # What it is compared with: another cell's name in the same stage.
    against: str | None = None
    epochs: int = 12
    batch_size: int = 32
    recipe: models.Recipe = dataclasses.field(default_factory=models.Recipe)


PLAIN = models.Recipe(mirror=False, mixup=0.0)
MIRROR = dataclasses.replace(PLAIN, mirror=True)
MIXUP = dataclasses.replace(PLAIN, mixup=0.2)

CELLS = [
    Cell("scratch", "screen", 64, "baseline", recipe=PLAIN),
    Cell("scratch + mirrored", "screen", 64, "baseline", "scratch", recipe=MIRROR),
    Cell("scratch + mixup", "screen", 64, "baseline", "scratch", recipe=MIXUP),
    Cell("scratch + residual network", "screen", 64, "residual", "scratch", recipe=PLAIN),
    Cell("transfer", "screen", 64, "as_they_are", recipe=PLAIN),
    Cell("transfer + mirrored", "screen", 64, "as_they_are", "transfer", recipe=MIRROR),
    Cell("transfer + mixup", "screen", 64, "as_they_are", "transfer", recipe=MIXUP),
    Cell("transfer + short head", "screen", 64, "short_head", "transfer", recipe=PLAIN),
    Cell("original", "confirm", 128, None, epochs=original.EPOCHS),
    Cell("scratch + residual network", "confirm", 128, "residual", "original", 16, recipe=PLAIN),
    Cell("transfer", "confirm", 128, "as_they_are", "original", recipe=PLAIN),
    Cell(
        "transfer + enlarged, mirrored",
        "confirm",
        128,
        "mobilenet_small",
        "transfer",
        recipe=MIRROR,
    ),
]


def _short_head(image_size: int, weights: str | None, side: int) -> keras.Model:
    """MobileNet with one dense layer on top instead of the original's two."""
    network = models.MODELS["as_they_are"].build(image_size, weights, side)
    pooled = network.get_layer("drop1").input
    x = keras.layers.Dropout(0.2)(pooled)
    x = keras.layers.Dense(len(FINDINGS), activation="sigmoid", name="findings")(x)
    return keras.Model(network.input, x)


def register() -> None:
    """Make the variants that exist only here known to the registry of this process."""
    entry = models.MODELS["mobilenet_small"]
    for name, build in (("as_they_are", entry.build), ("short_head", _short_head)):
        models.MODELS[name] = dataclasses.replace(entry, build=build, enlarged_to=0)


def folds(frame: pd.DataFrame) -> list[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Train, choose and held-out films of every fold, whole patients each."""
    patients = np.random.default_rng(SEED).permutation(frame["patient_id"].unique())
    parts = np.array_split(patients, FOLDS)
    divided = []
    for held_out in parts:
        others = patients[~np.isin(patients, held_out)]
        choosing = others[: len(others) // 10]
        training_patients = others[len(others) // 10 :]
        divided.append(
            tuple(
                frame[frame["patient_id"].isin(chosen)].reset_index(drop=True)
                for chosen in (training_patients, choosing, held_out)
            )
        )
    return divided


def _measured(work: Callable[[], object]) -> tuple[object, float, float]:
    """What `work` returns, the seconds that passed, and those that the processors worked."""
    began, used = time.monotonic(), time.process_time()
    answer = work()
    return answer, time.monotonic() - began, time.process_time() - used


def fold_of(frame: pd.DataFrame, divided: list[tuple[pd.DataFrame, ...]]) -> np.ndarray:
    """The fold in which each film is held out, int (films,)."""
    fold = {
        patient: number
        for number, (_, _, held_out) in enumerate(divided)
        for patient in held_out["patient_id"].unique()
    }
    return frame["patient_id"].map(fold).to_numpy()


def place(cell: Cell, fold: int) -> Path:
    """The folder of one cell's fold."""
    name = cell.name.replace(" + ", "-").replace(", ", "-").replace(" ", "_")
    return RUNS / f"{cell.size}px" / name / str(fold)


def train_cell(
    cell: Cell,
    fold: int,
    parts: tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame],
    paths: dict[str, Path],
    config: Config,
) -> None:
    """Train one cell on one fold and score its held-out films, unless that is done."""
    train, choosing, held_out = parts
    folder = place(cell, fold)
    settings = {
        "cell": {
            key: value
            for key, value in dataclasses.asdict(cell).items()
            if key not in ("stage", "against")
        },
        "films": artifacts.fingerprint(pd.concat([train["film"], held_out["film"]])),
    }
    path = folder / "result.json"
    if path.exists():
        artifacts.refuse_other_settings(
            path, artifacts.read_json(path)["settings"], settings, f"Remove {folder}."
        )
        return
    print(f"{cell.stage} {cell.size} px, {cell.name}, fold {fold + 1} of {FOLDS}", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    store = film_cache.prepare(
        {film: paths[film] for film in held_out["film"]}, RUNS / "cache", size=cell.size
    )
    if cell.model is None:
        source = next(iter(paths.values())).parent
        network, seconds, cpu_seconds = _measured(
            lambda: original.fit(
                source,
                train,
                choosing,
                size=cell.size,
                seed=SEED,
                checkpoint=folder / "best.weights.h5",
            )
        )
        rows = store.rows(held_out["film"])
        scores = np.concatenate(
            [
                original.predict(network, store.take(rows[start : start + 1024]))
                for start in range(0, len(rows), 1024)
            ]
        )
        scored = pd.concat(
            [held_out[["film", "patient_id"]], pd.DataFrame(scores, columns=list(FINDINGS))],
            axis=1,
        )
    else:
        settled = dataclasses.replace(
            config,
            root=folder,
            image_size=cell.size,
            epochs=cell.epochs,
            batch_size=cell.batch_size,
            models=(cell.model,),
        )
        _, seconds, cpu_seconds = _measured(
            lambda: training.run(
                cell.model,
                paths,
                {"train": train, "validation": choosing},
                settled,
                split_checksum=settings["films"],
                recipe=cell.recipe,
            )
        )
        network = inference.load_network(settled.runs / settled.run_name(cell.model))
        scored = inference.score_films(network, store, held_out)
        mirrored = inference.score_films(network, _Mirrored(store), held_out)
        mean = scored.copy()
        mean[list(FINDINGS)] = (scored[list(FINDINGS)] + mirrored[list(FINDINGS)]) / 2
        artifacts.write_csv(folder / "scores_both_ways.csv", mean)
    artifacts.write_csv(folder / "scores.csv", scored)
    artifacts.write_json(
        path,
        {
            "settings": settings,
            "seconds": round(seconds, 1),
            "cpu_seconds": round(cpu_seconds, 1),
            "train_films": len(train),
            "parameters": network.count_params(),
        },
    )
    keras.backend.clear_session()


class _Mirrored:
    """A film store that swaps left and right."""

    def __init__(self, store: film_cache.Store):
        self.size, self.rows, self._store = store.size, store.rows, store

    def take(self, rows: np.ndarray) -> np.ndarray:
        return self._store.take(rows)[:, :, ::-1]


def scores_of(cell: Cell, frame: pd.DataFrame, name: str = "scores.csv") -> pd.DataFrame | None:
    """Held-out scores of all folds, rows as `frame`; None before they are complete."""
    paths = [place(cell, fold) / name for fold in range(FOLDS)]
    if not all((path.parent / "result.json").exists() and path.exists() for path in paths):
        return None
    scored = pd.concat(map(pd.read_csv, paths)).set_index("film")
    return scored.loc[frame["film"], list(FINDINGS)].reset_index(drop=True)


def judged(frame: pd.DataFrame, scores: pd.DataFrame, fold: np.ndarray) -> Estimate:
    """AUROC by finding, the mean over the folds.

    Every fold has a model of its own, whose scores are ranked among themselves only.
    """
    whole = Judged.of(frame, scores)
    by_fold = [whole.part(fold == number).auroc for number in range(FOLDS)]
    return Estimate(
        _mean(np.array([one.value for one in by_fold])),
        _mean(np.array([one.without for one in by_fold])),
    )


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the folds in which a finding is estimable; NaN where it is in none."""
    return intervals.ratio(np.nansum(values, axis=0), np.isfinite(values).sum(axis=0))


def tables(frame: pd.DataFrame, fold: np.ndarray) -> pd.DataFrame:
    """One row a finished cell: mean AUROC, difference to what it is compared with, time."""
    found, rows = {}, []
    for cell in CELLS:
        scores = scores_of(cell, frame)
        if scores is None:
            continue
        found[cell.stage, cell.name] = judged(frame, scores, fold)
        row = {"stage": cell.stage, "px": cell.size, "recipe": cell.name} | _summary(
            found[cell.stage, cell.name]
        )
        both_ways = scores_of(cell, frame, "scores_both_ways.csv")
        if both_ways is not None:
            row["both_ways"] = _summary(judged(frame, both_ways, fold))["auroc"]
        other = found.get((cell.stage, cell.against))
        if other is not None:
            difference = _summary(found[cell.stage, cell.name] - other)
            row |= {
                "against": cell.against,
                "difference": difference["auroc"],
                "difference_low": difference["low"],
                "difference_high": difference["high"],
            }
        done = [artifacts.read_json(place(cell, n) / "result.json") for n in range(FOLDS)]
        row["parameters"] = done[0]["parameters"]
        for clock in ("seconds", "cpu_seconds"):
            row[f"{clock}_per_fold"] = round(np.mean([run[clock] for run in done]))
        rows.append(row)
    return pd.DataFrame(rows)


def group_only(divided: list[tuple[pd.DataFrame, ...]]) -> pd.DataFrame:
    """Scores that know one thing of a film: whether its patient is of the unselected block.

    Returns:
        `film` and, for each finding, its prevalence among the training films of that group.
    """
    scored = []
    for train, choosing, held_out in divided:
        known = pd.concat([train, choosing])
        prevalence = known[list(FINDINGS)].groupby(known["patient_id"].between(*BLOCK)).mean()
        group = held_out["patient_id"].between(*BLOCK)
        scores = prevalence.reindex(group.to_numpy()).set_axis(held_out.index)
        scored.append(pd.concat([held_out["film"], scores], axis=1))
    return pd.concat(scored, ignore_index=True)


def _summary(estimate: Estimate) -> dict:
    mean = estimate.mean()
    low, high = mean.bounds(single=False)
    return {"auroc": float(mean.value[0]), "low": float(low[0]), "high": float(high[0])}


def main(chosen: list[str]) -> int:
    """Train what is not trained yet, of the stages or cells named or of all; then the table."""
    shared = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))
    if not (shared / "nih").is_dir():
        print(f"skipped: {shared} does not hold the real films; set SHARED_DIR.")
        return 0
    paths = {path.name: path for path in sorted((shared / "nih" / "images128").glob("*.png"))}
    frame, _ = nih.read_records(shared / "nih" / "Data_Entry_2017_v2020.csv")
    frame = frame[frame["film"].isin(paths.keys())].reset_index(drop=True)
    config = load_config(
        {},
        profile="first_archive",
        weights=str(shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"),
        seed=SEED,
    )
    devices.preflight(config)
    register()
    divided = folds(frame)
    for cell in CELLS:
        if chosen and not {cell.stage, cell.name} & set(chosen):
            continue
        for number, parts in enumerate(divided):
            train_cell(cell, number, parts, paths, config)
    block = frame[frame["patient_id"].between(*BLOCK)].reset_index(drop=True)
    table = tables(block, fold_of(block, divided))
    blind = group_only(divided).set_index("film")[list(FINDINGS)]
    for words, films_of in (("all films", frame), ("the block", block)):
        scores = blind.loc[films_of["film"]].reset_index(drop=True)
        mean = judged(films_of, scores, fold_of(films_of, divided)).mean().value[0]
        print(f"group membership alone, on {words}: {mean:.3f}")
    artifacts.write_csv(RESULTS / "campaign.csv", table.round(4))
    print(f"{len(block):,} films of {block['patient_id'].nunique():,} patients")
    print(table.round(3).to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
