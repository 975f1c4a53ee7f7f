"""Which ingredients of a recipe help, on real films, cross-validated by patient.

    make campaign          # goes on where it stopped; or: campaign.py STAGE ..., or cells' names

The test patients of the split `patient` take part in no choice: of the 3,601 patients at
hand the others make two folds. Half of them train (a tenth of these chooses the best epoch),
the films of the other half are scored once, and the other way round. Quoted are the films of
the unselected block only (patients 1336 to 3923), each scored by models that never saw its
patient: those of the folds, by which recipes are compared, and those of the test patients,
beside them, which confirm.

Stages: `seeds` trains one recipe six times, `screen` tries eight ingredients together in
sixteen cells, `finals` gives the few that are left three seeds each, `curve` trains the first
of them on fewer patients. How they are told apart: `recipe_judge.py`.

A fit's models and scores lie in `runs/campaign/`. What the judge needs of it is kept in
`benchmarks/accuracy/results/fits/`, with the fingerprint of the code that made it: fits of
another fingerprint are made anew, never compared. With FITS_OF=<fingerprint> nothing is
trained: the tables are those of the kept fits that such code made.
"""

import ast
import dataclasses
import functools
import itertools
import json
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import learning_curve
import numpy as np
import original
import pandas as pd
import recipe_judge

from cxr import artifacts
from cxr.config import PROJECT, Config, load_config
from cxr.errors import InputError
from cxr.evaluation import intervals
from cxr.evaluation.intervals import Estimate
from cxr.evaluation.ranking import Judged
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, models, training
from cxr.modelling.tensors import keras
from cxr.records import nih, splits

SEED, FOLDS = 42, 2
# Whose fits make the tables, where nothing is trained.
FITS_OF = os.environ.get("FITS_OF", "")
BLOCK = (1336, 3923)
RESULTS = Path(__file__).parent / "results"
RUNS = PROJECT / "runs" / "campaign"
BACK = "get it back from the repository."

# What decides a fit beside its settings; without comments and docstrings.
_DECIDES = (
    *(f"modelling/{name}" for name in ("checkpoint", "devices", "inference", "learning")),
    *("modelling/models", "modelling/pipeline", "modelling/tensors", "modelling/training"),
    *("films/film_cache", "films/png", "findings", "records/nih"),
    *("evaluation/intervals", "evaluation/ranking"),
)


@dataclasses.dataclass(frozen=True)
class Cell:
    """One way to train, at one film size."""

    name: str
    stage: str
    size: int
    # A key of the registry; None trains the original's way.
    model: str | None
    recipe: models.Recipe = dataclasses.field(default_factory=models.Recipe)
    epochs: int = 12
    batch_size: int = 32
    seeds: tuple[int, ...] = (SEED,)
    # Share of the training patients.
    patients: float = 1.0


@dataclasses.dataclass(frozen=True)
class Parts:
    """Films of one fold, whole patients each."""

    train: pd.DataFrame
    # These choose the epoch.
    choosing: pd.DataFrame
    held_out: pd.DataFrame
    # Test patients, the same in every fold.
    confirming: pd.DataFrame

    @functools.cached_property
    def judged(self) -> dict[str, tuple[str, np.ndarray]]:
        """Part that is judged -> fingerprint of its films, and its patients of the block."""
        return {
            part: (artifacts.fingerprint(_labelled(films)), np.unique(block(films)["patient_id"]))
            for part, films in (("held_out", self.held_out), ("confirming", self.confirming))
        }


PLAIN = models.Recipe(enlarge=0)
DEFAULT = models.MODELS["mobilenet_small"].recipe


@dataclasses.dataclass(frozen=True)
class Films:
    """What all fits share: where films lie, settings, and the findings that are judged."""

    paths: dict[str, Path]
    config: Config
    findings: list[str]


# What is screened: name, and what switches it on in a cell.
INGREDIENTS: dict[str, dict] = {
    "mirrored": {"mirror": True},
    "averaged weights": {"ema": 0.99},
    "strong decay": {"weight_decay": 5e-2},
    "12 epochs instead of 6": {},
    "smoothed labels": {"smoothing": 0.1},
    "backbone frozen at first": {"frozen": 0.2},
    "slow backbone": {"backbone_rate": 0.3},
    "view, age and sex told, too": {"auxiliary": 0.2},
}


def screened(size: int = 128) -> list[Cell]:
    """The sixteen cells, each with a seed of its own."""
    cells = []
    for number, row in enumerate(recipe_judge.design()):
        on = [name for name, level in zip(INGREDIENTS, row, strict=True) if level > 0]
        changes = {key: value for name in on for key, value in INGREDIENTS[name].items()}
        recipe = dataclasses.replace(PLAIN, **changes)
        epochs = 12 if "12 epochs instead of 6" in on else 6
        cells.append(
            Cell(
                f"{number:02d}",
                "screen",
                size,
                "mobilenet_small",
                recipe,
                epochs,
                seeds=(100 + number,),
            )
        )
    return cells


THREE = (42, 43, 44)

# Of the split `patient` of all records, where the learning curve is read, too.
TRAINING_PATIENTS = 15_018

CELLS = [
    Cell("scratch", "seeds", 64, "baseline", PLAIN, seeds=tuple(range(42, 48))),
    *screened(),
    Cell("default", "finals", 128, "mobilenet_small", DEFAULT, seeds=THREE),
    Cell("view, age and sex told, too", "finals", 128, "mobilenet_small",
         dataclasses.replace(DEFAULT, auxiliary=0.2), seeds=THREE),
    *(
        Cell(f"default, {share:.0%} of patients", "curve", 128, "mobilenet_small", DEFAULT,
             seeds=THREE[:2], patients=share)
        for share in (0.125, 0.25, 0.5)
    ),
]  # fmt: skip


@functools.cache
def fingerprint() -> str:
    """Of the code and the packages that decide a fit; comments and docstrings do not.

    FITS_OF stands for code that is not here.
    """
    if FITS_OF:
        return FITS_OF
    parts = [f"{name} {version}" for name, version in artifacts.versions().items()]
    files = [PROJECT / "src" / "cxr" / f"{name}.py" for name in _DECIDES]
    for path in (*files, Path(original.__file__)):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            match getattr(node, "body", None):
                case [ast.Expr(ast.Constant(str())), *rest]:
                    node.body = rest or [ast.Pass()]
        parts.append(f"{path.name} {ast.unparse(tree)}")
    return artifacts.fingerprint(parts)[:12]


def folds(frame: pd.DataFrame, tested: np.ndarray, *, share: float = 1.0) -> list[Parts]:
    """The films of every fold.

    Args:
        frame: records of all films.
        tested: the test patients, who neither train nor choose.
        share: of the training patients that train: the first so many of the same order, so
            that fewer are a part of more.
    """
    patients = np.random.default_rng(SEED).permutation(frame["patient_id"].unique())
    patients = patients[~np.isin(patients, tested)]
    divided = []
    for held_out in np.array_split(patients, FOLDS):
        others = patients[~np.isin(patients, held_out)]
        choosing, train = np.split(others, [len(others) // 10])
        train = train[: round(share * len(train))]
        chosen = (train, choosing, held_out, tested)
        divided.append(
            Parts(*(frame[frame["patient_id"].isin(c)].reset_index(drop=True) for c in chosen))
        )
    return divided


def test_patients(records: pd.DataFrame) -> np.ndarray:
    """Who tests in the split `patient` of all records."""
    split = splits.make_split(records, "patient")
    return records.loc[split[split == "test"].index, "patient_id"].unique()


def place(cell: Cell, fold: int, seed: int) -> Path:
    """The folder of one fit's model and scores; another way to train has another."""
    way = artifacts.fingerprint([json.dumps(_way(cell), sort_keys=True)])[:8]
    return RUNS / fingerprint() / cell.stage / f"{_slug(cell.name)}-{way}" / f"{fold}-{seed}"


# In place of a seed: all of a recipe's, their scores averaged.
MEAN = "mean"


def kept(cell: Cell, fold: int, seed: int | str) -> Path:
    """The file of what the judge needs of one fit, or of the mean of a recipe's."""
    return RESULTS / "fits" / f"{cell.stage}-{_slug(cell.name)}-{fold}-{seed}.npz"


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def judged_findings(divided: list[Parts]) -> list[str]:
    """The findings with enough patients of the block wherever a fit is judged."""
    judged = [block(films) for parts in divided for films in (parts.held_out, parts.confirming)]
    return [
        finding
        for finding in FINDINGS
        if all(intervals.enough(films[finding], films["patient_id"]) for films in judged)
    ]


def block(films: pd.DataFrame) -> pd.DataFrame:
    """Those of the unselected patients."""
    return films[films["patient_id"].between(*BLOCK)].reset_index(drop=True)


def settings(cell: Cell, fold: int, seed: int, parts: Parts, weights: str) -> dict:
    """What a fit was made from; it is made again where any of it differs."""
    return _way(cell) | {
        "fold": fold,
        "seed": seed,
        "films": {
            part.name: artifacts.fingerprint(_labelled(getattr(parts, part.name)))
            for part in dataclasses.fields(parts)
        },
        "weights": weights,
        "fingerprint": fingerprint(),
    }


def _way(cell: Cell) -> dict:
    return {key: v for key, v in dataclasses.asdict(cell).items() if key not in ("stage", "seeds")}


def _labelled(films: pd.DataFrame) -> pd.Series:
    """Each film's name with its patient and labels."""
    return films["film"].str.cat(
        [films[name].astype(str) for name in ("patient_id", *FINDINGS)], sep=" "
    )


def fit(cell: Cell, fold: int, seed: int, parts: Parts, films: Films) -> None:
    """Train one recipe with one seed on one fold and keep what it reaches, unless that is done."""
    weights = artifacts.sha256(Path(films.config.weights))
    wanted, target = settings(cell, fold, seed, parts, weights), kept(cell, fold, seed)
    if target.exists() and facts_of(target)["settings"] == json.loads(json.dumps(wanted)):
        return
    print(f"{artifacts.now()}  {cell.stage}: {cell.name}, fold {fold}, seed {seed}", flush=True)
    folder = place(cell, fold, seed)
    began, used = time.monotonic(), time.process_time()
    score = _trained(cell, seed, parts, films, folder)
    facts = {
        "settings": wanted,
        "commit": artifacts.commit(),
        "made": artifacts.now(),
        "train_films": len(parts.train),
        "train_patients": int(parts.train["patient_id"].nunique()),
        "seconds": round(time.monotonic() - began, 1),
        "cpu_seconds": round(time.process_time() - used, 1),
    }
    arrays = {}
    for part in ("held_out", "confirming"):
        judged = getattr(parts, part)
        paths = {film: films.paths[film] for film in judged["film"]}
        store = film_cache.prepare(paths, RUNS / "cache", size=cell.size)
        scores = score(store, judged)
        artifacts.write_csv(folder / f"{part}.csv", scores)
        arrays |= what_is_kept(part, judged, scores, films.findings)
    with artifacts.atomic(target) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)
    keras.backend.clear_session()


def average(cell: Cell, fold: int, parts: Parts, films: Films) -> None:
    """Keep what the mean of all seeds' scores reaches, where they lie in this checkout."""
    folders = [place(cell, fold, seed) for seed in cell.seeds]
    if len(folders) < 2 or not all((folder / "confirming.csv").exists() for folder in folders):
        return
    used = [facts_of(kept(cell, fold, seed)) for seed in cell.seeds]
    facts = used[0] | {"cpu_seconds": sum(fit["cpu_seconds"] for fit in used)}
    facts["settings"] = facts["settings"] | {"seed": list(cell.seeds)}
    arrays = {}
    for part in ("held_out", "confirming"):
        scores = [pd.read_csv(folder / f"{part}.csv") for folder in folders]
        mean = sum(one[list(FINDINGS)] for one in scores) / len(scores)
        arrays |= what_is_kept(part, getattr(parts, part), mean, films.findings)
    with artifacts.atomic(kept(cell, fold, MEAN)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, facts=np.array(json.dumps(facts)), **arrays)


def what_is_kept(
    part: str, judged: pd.DataFrame, scores: pd.DataFrame, findings: list[str]
) -> dict[str, np.ndarray]:
    """What the judge needs of one fit's scores, on films of the block.

    Returns:
        `<part>_auroc`, float64 (14,); `<part>_mean`, float64 (1,), over `findings`;
        `<part>_patients`, and `<part>_without`, the mean with each of them left out.
    """
    inside = judged["patient_id"].between(*BLOCK).to_numpy()
    scored = scores[list(FINDINGS)].reset_index(drop=True)[inside]
    found = Judged.of(judged.reset_index(drop=True)[inside], scored)
    columns = [FINDINGS.index(finding) for finding in findings]
    mean = found.auroc[columns].mean()
    return {
        f"{part}_auroc": found.auroc.value,
        f"{part}_mean": mean.value,
        f"{part}_patients": np.unique(found.patients),
        f"{part}_without": mean.without[:, 0],
    }


def _trained(cell: Cell, seed: int, parts: Parts, films: Films, folder: Path) -> Callable:
    """What scores films, (store, records) -> scores, after training."""
    if cell.model is None:
        source = next(iter(films.paths.values())).parent
        folder.mkdir(parents=True, exist_ok=True)
        network = original.fit(
            source,
            parts.train,
            parts.choosing,
            size=cell.size,
            seed=seed,
            checkpoint=folder / "best.weights.h5",
        )
        return lambda store, frame: _original_scores(network, store, frame)
    settled = dataclasses.replace(
        films.config,
        root=folder,
        image_size=cell.size,
        epochs=cell.epochs,
        batch_size=cell.batch_size,
        models=(cell.model,),
        seed=seed,
    )
    training.run(
        cell.model,
        films.paths,
        {"train": parts.train, "validation": parts.choosing},
        settled,
        split_checksum=artifacts.fingerprint(parts.train["film"]),
        recipe=cell.recipe,
    )
    network = inference.load_network(settled.runs / settled.run_name(cell.model))
    return lambda store, frame: inference.score_films(network, store, frame)


def _original_scores(network, store, frame: pd.DataFrame) -> pd.DataFrame:
    rows = store.rows(frame["film"])
    scores = [
        original.predict(network, store.take(rows[start : start + 1024]))
        for start in range(0, len(rows), 1024)
    ]
    return frame[["film", "patient_id"]].join(
        pd.DataFrame(np.concatenate(scores), columns=list(FINDINGS))
    )


def facts_of(path: Path) -> dict:
    """Settings, commit and times of a kept fit.

    Raises:
        InputError: if the file is damaged.
    """
    try:
        facts = json.loads(str(_arrays(path)["facts"]))
    except (KeyError, ValueError) as error:
        raise _damaged(path, error) from None
    if missing := {"settings", "commit", "train_patients", "cpu_seconds"} - set(facts):
        raise _damaged(path, f"it lacks {', '.join(sorted(missing))}")
    return facts


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """All that a file of a fit holds, decompressed and so checked against its CRC-32."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
            return {name: saved[name] for name in saved.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, why: object) -> InputError:
    return InputError(
        f"{path} is no fit that can be judged ({why}). Get it back from the repository, or remove "
        "it: the campaign makes it anew."
    )


def estimates(path: Path, patients: dict[str, np.ndarray]) -> dict[str, Estimate]:
    """The mean AUROC of a kept fit on `held_out` and on `confirming`, one column each.

    Args:
        path: as `kept` names it.
        patients: of the block, by part: all that are held out in any fold, and all that
            confirm; who is not judged by this fit changes nothing in it.
    """
    found = {}
    with np.load(path, allow_pickle=False) as saved:
        for part, everyone in patients.items():
            value = saved[f"{part}_mean"]
            without = np.full((len(everyone), 1), value[0])
            judged = np.searchsorted(everyone, saved[f"{part}_patients"])
            without[judged, 0] = saved[f"{part}_without"]
            found[part] = Estimate(value, without)
    return found


# ---- tables -----------------------------------------------------------------------------


def collected(
    divided: list[Parts], stage: str, part: str = "held_out"
) -> dict[str, recipe_judge.Fits]:
    """Cell -> fold -> its fits of this fingerprint; cells that lack a fold are left out."""
    everyone = {
        "held_out": np.unique(
            np.concatenate([block(parts.held_out)["patient_id"] for parts in divided])
        ),
        "confirming": np.unique(block(divided[0].confirming)["patient_id"]),
    }
    found: dict[str, recipe_judge.Fits] = {}
    for cell in CELLS:
        if cell.stage != stage:
            continue
        whole = {
            seed: [made_by_this(cell, fold, seed, parts) for fold, parts in enumerate(divided)]
            for seed in (*cell.seeds, MEAN)
        }
        _refuse_gaps(cell, whole)
        # A seed counts over its folds, so it takes part when all are there.
        seeds = [seed for seed in cell.seeds if all(whole[seed])]
        fits = {
            fold: [estimates(kept(cell, fold, seed), everyone)[part] for seed in seeds]
            for fold in range(FOLDS)
        }
        if all(fits.values()):
            found[cell.name] = fits
        if all(whole[MEAN]):
            found[_mean_of(cell)] = {
                fold: [estimates(kept(cell, fold, MEAN), everyone)[part]] for fold in range(FOLDS)
            }
    return found


def _refuse_gaps(cell: Cell, whole: dict[int | str, list[bool]]) -> None:
    """Where nothing is trained, a recipe of which some fits are missing is not judged by the rest.

    Args:
        whole: seed, or `MEAN` -> whether its fit is there, fold by fold.
    """
    if not FITS_OF or not any(any(fits) for fits in whole.values()):
        return
    for seed, fits in whole.items():
        for fold, made in enumerate(fits):
            if not made and (seed != MEAN or any(fits)):
                raise _damaged(kept(cell, fold, seed), f"missing, or not of fingerprint {FITS_OF}")


def _mean_of(cell: Cell) -> str:
    return f"{cell.name}, mean of {len(cell.seeds)} seeds"


def pairings(fits: recipe_judge.Fits, seeds: recipe_judge.Seeds) -> pd.DataFrame:
    """Every two seeds, and every two halves of the seeds, of one recipe against each other.

    No difference is true, so one in twenty may be called one; `patients_only` is what an
    interval without the seeds would say.
    """
    rows = []
    # Of a stage that was interrupted, as many as both folds have.
    numbers = range(min(map(len, fits.values())))
    half = len(numbers) // 2
    groups = [((a,), (b,)) for a, b in itertools.combinations(numbers, 2)]
    for some in itertools.combinations(numbers, half):
        # Each division once: the half with the first seed.
        if 0 in some:
            groups.append((some, tuple(n for n in numbers if n not in some)))
    for some, others in groups:
        one, other = (
            {fold: [of_fold[n] for n in chosen] for fold, of_fold in fits.items()}
            for chosen in (some, others)
        )
        verdict = recipe_judge.difference(one, other, seeds)
        bare = recipe_judge.difference(one, other, recipe_judge.Seeds(0.0, 1))
        rows.append(
            {
                "seeds_a_side": len(some),
                "difference": verdict.value,
                "low": verdict.low,
                "high": verdict.high,
                "differs": verdict.differs,
                "patients_only": bare.differs,
            }
        )
    return pd.DataFrame(rows)


def screening(divided: list[Parts]) -> pd.DataFrame | None:
    """The effect of each ingredient; None before all sixteen cells are done."""
    fits = collected(divided, "screen")
    if len(fits) < len(recipe_judge.design()):
        return None
    reached = np.array([[one.value[0] for (one,) in cell.values()] for cell in fits.values()])
    return pd.concat(
        [pd.Series(list(INGREDIENTS), name="ingredient"), recipe_judge.effects(reached)], axis=1
    )


def repetitions(divided: list[Parts]) -> pd.DataFrame | None:
    """`pairings` of the recipe that was trained again and again; None before it was."""
    fits = collected(divided, "seeds")
    if not fits or min(len(of_fold) for recipe in fits.values() for of_fold in recipe.values()) < 2:
        return None
    return pairings(next(iter(fits.values())), recipe_judge.Seeds.of(fits))


def levels(divided: list[Parts], stage: str) -> pd.DataFrame | None:
    """What each cell of a stage reaches, and how much more than the first, on both parts.

    None before any has two seeds.
    """
    rows = []
    for part in ("held_out", "confirming"):
        cells = collected(divided, stage, part)
        if not any(len(fits) > 1 for recipe in cells.values() for fits in recipe.values()):
            return None
        seeds = recipe_judge.Seeds.of(cells)
        first = next(iter(cells))
        for name, fits in cells.items():
            rows.append(_row(stage, name, part, fits, seeds))
            if name != first:
                cell, averaged = _of(stage, name)
                # The first one's own trainings, averaged: seeds are the same on both sides.
                luck = recipe_judge.Seeds(0.0, 1) if cell.name == first else seeds
                versus = recipe_judge.difference(fits, cells[first], luck, averaged=averaged)
                rows[-1] |= {
                    "against": first,
                    "difference": versus.value,
                    "difference_low": versus.low,
                    "difference_high": versus.high,
                }
    return pd.DataFrame(rows)


def extrapolation(
    divided: list[Parts], tables: dict[str, pd.DataFrame | None]
) -> pd.DataFrame | None:
    """What more patients would bring to the default; None before every share of them is done.

    The point of all training patients is the one of `finals`.

    Args:
        tables: of the stages `curve` and `finals`, as `levels` returns them.
    """
    cells = [cell for cell in CELLS if cell.stage == "curve"]
    fits = collected(divided, "curve") | collected(divided, "finals")
    whole = next(cell for cell in CELLS if cell.stage == "finals")
    few = any(cell.name not in fits for cell in (*cells, whole))
    if few or tables["curve"] is None or tables["finals"] is None:
        return None
    table = pd.concat([tables["curve"], tables["finals"]])
    patients = table.drop_duplicates("recipe").set_index("recipe")["train_patients"]
    points = {float(patients[cell.name]): fits[cell.name] for cell in (*cells, whole)}
    seeds = recipe_judge.Seeds.of(fits)
    return learning_curve.extrapolated(
        points, seeds, at=(TRAINING_PATIENTS, learning_curve.ALL_PATIENTS), seed=SEED
    )


def _of(stage: str, name: str) -> tuple[Cell, int]:
    """The cell of a row, and how many trainings' scores it is the mean of."""
    cell = next(c for c in CELLS if c.stage == stage and name in (c.name, _mean_of(c)))
    return cell, 1 if name == cell.name else len(cell.seeds)


def _row(stage: str, name: str, part: str, fits: recipe_judge.Fits, seeds) -> dict:
    cell, averaged = _of(stage, name)
    facts = [
        facts_of(kept(cell, fold, seed))
        for fold in range(FOLDS)
        for seed in (cell.seeds if averaged == 1 else [MEAN])
        if _is_of(kept(cell, fold, seed), cell)
    ]
    reached = recipe_judge.level(fits, seeds, averaged=averaged)
    return {
        "stage": stage,
        "recipe": name,
        "px": cell.size,
        "judged_by": part,
        "fits": sum(len(of_fold) for of_fold in fits.values()),
        "train_patients": round(np.mean([one["train_patients"] for one in facts])),
        "auroc": reached.value,
        "low": reached.low,
        "high": reached.high,
        "seeds_sd": np.sqrt(seeds.variance / averaged),
        "cpu_seconds": round(np.mean([one["cpu_seconds"] for one in facts])),
    }


def group_only(divided: list[Parts]) -> pd.DataFrame:
    """Scores that know one thing of a film: whether its patient is of the unselected block.

    Returns:
        `film` and, for each finding, its prevalence among the training films of that group.
    """
    scored = []
    for parts in divided:
        known = pd.concat([parts.train, parts.choosing])
        prevalence = known[list(FINDINGS)].groupby(known["patient_id"].between(*BLOCK)).mean()
        group = parts.held_out["patient_id"].between(*BLOCK)
        scores = prevalence.reindex(group.to_numpy()).set_axis(parts.held_out.index)
        scored.append(pd.concat([parts.held_out[["film", "patient_id"]], scores], axis=1))
    return pd.concat(scored, ignore_index=True)


def main(chosen: list[str]) -> int:
    try:
        return _main(chosen)
    except InputError as error:
        print(error)
        return 1


def _main(chosen: list[str]) -> int:
    """Train what is not trained yet, of the stages or cells named or of all; then the tables."""
    known = dict.fromkeys(name for cell in CELLS for name in (cell.stage, cell.name))
    if unknown := [name for name in chosen if name not in known]:
        print(f"no stage or cell is called {unknown[0]!r}; there are {', '.join(known)}.")
        return 2
    shared = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))
    if not (shared / "nih").is_dir():
        print(f"skipped: {shared} does not hold the real films; set SHARED_DIR.")
        return 0
    paths = {path.name: path for path in sorted((shared / "nih" / "images128").glob("*.png"))}
    records, _ = nih.read_records(shared / "nih" / "Data_Entry_2017_v2020.csv")
    frame = records[records["film"].isin(paths.keys())].reset_index(drop=True)
    tested = test_patients(records)
    weights = str(shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5")
    config = load_config({}, profile="first_archive", weights=weights, seed=SEED, allow_cpu=True)
    devices.preflight(config)
    divided = folds(frame, tested)
    films = Films(paths, config, judged_findings(divided))
    for cell in CELLS:
        if FITS_OF or (chosen and not {cell.stage, cell.name} & set(chosen)):
            continue
        # All seeds of a fold before the next: what averages seeds needs them together.
        for fold, parts in enumerate(folds(frame, tested, share=cell.patients)):
            for seed in cell.seeds:
                fit(cell, fold, seed, parts, films)
            average(cell, fold, parts, films)
    report(divided, films.findings, chosen)
    return 0


def report(divided: list[Parts], findings: list[str], chosen: list[str]) -> None:
    """Write and print the tables of the stages that this code has trained.

    A stage's table rests on fits of one fingerprint, which stands in `campaign.json`; the
    tables of other stages may rest on another one, and are never compared with it.
    """
    held_out = pd.concat([block(parts.held_out) for parts in divided])
    confirming = block(divided[0].confirming)
    for words, frame in (("compared", held_out), ("confirmed", confirming)):
        people = frame["patient_id"].nunique()
        print(f"{words} on {len(frame):,} films of {people:,} patients of the block")
    print(f"{len(findings)} findings: {', '.join(findings)}")
    made = {"finals": levels(divided, "finals"), "curve": levels(divided, "curve")}
    made |= {"screen": screening(divided), "seeds": repetitions(divided)}
    promised = extrapolation(divided, made)
    if FITS_OF and all(table is None for table in made.values()):
        raise InputError(f"no stage has all its fits of the fingerprint FITS_OF={FITS_OF}.")
    path = RESULTS / "campaign.json"
    facts = artifacts.read_record(path, BACK) if path.exists() else {}
    # Nothing is written before all is known to be good.
    tables = {
        stage: table
        for stage, table in made.items()
        if table is not None and (not chosen or stage in chosen)
    }
    for stage in tables:
        facts[stage] = {
            "command": f"python benchmarks/accuracy/campaign.py {stage}",
            "fingerprint": fingerprint(),
            "commits": sorted({facts_of(file)["commit"] for file in files(stage)}),
            "versions": _versions(facts),
            "findings": findings,
            "films": {"compared": len(held_out), "confirmed": len(confirming)},
            "patients": {
                "compared": int(held_out["patient_id"].nunique()),
                "confirmed": int(confirming["patient_id"].nunique()),
            },
        }
    if promised is not None and (not chosen or "curve" in chosen):
        tables["extrapolated"] = promised
    for stage, table in tables.items():
        artifacts.write_csv(RESULTS / f"{stage}.csv", table.round(5))
        print(f"\n{stage}\n{table.round(4).to_string(index=False)}")
    artifacts.write_json(path, facts)


def _versions(facts: dict) -> dict | None:
    """Versions are in the fingerprint; of other code only an earlier report can name them."""
    if not FITS_OF:
        return artifacts.versions()
    told = (stage.get("versions") for stage in facts.values() if stage["fingerprint"] == FITS_OF)
    return next(filter(None, told), None)


def files(stage: str) -> list[Path]:
    """The kept fits of a stage that this code made."""
    return [
        path
        for cell in CELLS
        if cell.stage == stage
        for fold in range(FOLDS)
        for seed in cell.seeds
        if _is_of(path := kept(cell, fold, seed), cell)
    ]


def _is_of(path: Path, cell: Cell) -> bool:
    """Whether a fit is kept, of this fingerprint, and trained as the cell says."""
    if not path.exists():
        return False
    found = facts_of(path)["settings"]
    wanted = json.loads(json.dumps(_way(cell))) | {"fingerprint": fingerprint()}
    return {key: found.get(key) for key in wanted} == wanted


def made_by_this(cell: Cell, fold: int, seed: int | str, parts: Parts) -> bool:
    """Whether a fit is kept that this code made, and holds what its name says.

    Args:
        seed: or `MEAN`.
        parts: of the fold.

    Raises:
        InputError: if it is damaged, or another fold's, seed's or other films'.
    """
    path = kept(cell, fold, seed)
    if not _is_of(path, cell):
        return False
    saved, settled = _arrays(path), facts_of(path)["settings"]
    told = {name: settled.get(name) for name in ("fold", "seed")}
    wanted = {"fold": fold, "seed": list(cell.seeds) if seed == MEAN else seed}
    if told != wanted:
        raise _damaged(path, f"it is of {told}, not of {wanted}")
    for part, (films, patients) in parts.judged.items():
        # Earlier code kept one fingerprint of all parts together; their patients are checked below.
        if isinstance(settled["films"], dict) and settled["films"].get(part) != films:
            raise _damaged(path, f"its films of {part} are others")
        arrays = {name: saved.get(f"{part}_{name}") for name in ("auroc", "mean", "without")}
        if not np.array_equal(saved.get(f"{part}_patients"), patients):
            raise _damaged(path, f"its patients of {part} are others")
        shapes = {"auroc": (len(FINDINGS),), "mean": (1,), "without": patients.shape}
        for name, array in arrays.items():
            if array is None or array.shape != shapes[name]:
                raise _damaged(path, f"{part}_{name} has not the shape {shapes[name]}")
            if not np.isfinite(array if name != "auroc" else 0).all():
                raise _damaged(path, f"{part}_{name} has values that are no numbers")
        if not 0 <= arrays["mean"][0] <= 1 or abs(arrays["without"] - arrays["mean"]).max() > 0.5:
            raise _damaged(path, f"the mean AUROC of {part} is {arrays['mean'][0]:.4g}")
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
