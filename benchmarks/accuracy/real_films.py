"""Train and evaluate on 9,768 real films of 128 px, and keep the numbers.

Runs the four notebooks on the films of the folder SHARED_DIR (../shared by default), then
judges the films of the unselected block only: patients 1336 to 3923. The other films were
picked by their collectors; which of the two groups a film belongs to tells so much about its
labels that mixing them would flatter every model.

    make accuracy          # about half an hour on two CPU cores; goes on where it stopped
    make readme            # then: the README's table, its pictures and the slides
"""

import os
import sys
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.config import PROJECT, load_config
from cxr.evaluation import judge, localisation
from cxr.fetch import download
from cxr.modelling import explain, inference, locating, run_scores
from cxr.publish import notebooks
from cxr.publish import results as kept
from cxr.records import nih, rsna, split_files

BLOCK = (1336, 3923)
RESULTS = PROJECT / "presentation" / "results" / "images128"
COMMAND = "make accuracy"


def block(frame: pd.DataFrame) -> pd.DataFrame:
    """The films of the unselected block, with their names as index."""
    return frame[frame["patient_id"].between(*BLOCK)].set_index("film")


def read_scores(folder: Path) -> pd.DataFrame:
    """A run's scores of validation and test films, with the film names as index."""
    files = [
        run_scores.read_scores(folder / f"{part}_scores.csv") for part in ("validation", "test")
    ]
    return pd.concat(files).set_index("film").drop(columns="patient_id")


def judged(scores: dict[str, pd.DataFrame], cohort: judge.Cohort, folder: Path) -> dict:
    """Every table of the judge, kept in `folder` as notebook 300 keeps its own."""
    results = judge.judge_models(scores, cohort)
    judge.save(folder, results)
    differences = judge.differences(scores, cohort)
    artifacts.write_csv(folder / "comparison.csv", judge.rounded(differences))
    return results


def located(
    config, cohort: judge.Cohort, train: pd.DataFrame, scores: pd.DataFrame, name: str
) -> pd.DataFrame:
    """Where the best run's heatmaps, and what is learned from boxes, point on RSNA's films."""
    paths = download.available(config, size=config.image_size)
    network = inference.load_network(config.runs / name)
    size = network.input_shape[1]
    average = explain.read_films(cohort.validation.index[:128].to_series(), paths, size)
    explainers = {
        name: explain.Explainer(network, average),
        "shuffled": explain.Explainer(explain.randomised(network, seed=config.seed), average),
    }
    films = pd.concat([cohort.validation, cohort.test]).reset_index()
    locator = locating.fit(network, cohort.readings, train, paths, seed=config.seed)
    also = {f"{name}, learned from boxes": locator.locate} if locator else None
    return localisation.summarise(
        explain.opacities(
            cohort.readings,
            films,
            scores,
            explainers[name],
            explainers["shuffled"],
            paths,
            name,
            also,
        )
    )


def environment(shared: Path) -> dict[str, str]:
    """What the notebooks are told, to work on the real films of a folder."""
    return {
        "CXR_PROFILE": "first_archive",
        "CXR_ROOT": os.environ.get("CXR_ROOT", str(PROJECT / "runs" / "real")),
        "CXR_IMAGES": str(shared / "nih" / "images128"),
        "CXR_RECORDS": str(shared / "nih" / "Data_Entry_2017_v2020.csv"),
        "CXR_RSNA": str(shared / "nih"),
        "CXR_WEIGHTS": str(shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"),
        "CXR_MODELS": "baseline,residual,mobilenet_small",
        "CXR_IMAGE_SIZE": "128",
    }


def main() -> int:
    shared = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))
    if not (shared / "nih").is_dir():
        print(f"skipped: {shared} does not hold the real films; set SHARED_DIR.")
        return 0
    settings = environment(shared)
    config = load_config(settings)
    # Now: the tables that are written below would count as changes.
    commit = artifacts.commit()
    notebooks.execute(config, list(notebooks.STAGES), settings)
    wanted = split_files.settings_of(config)
    parts, _ = split_files.load_split(config.subset, settings=wanted)
    names = config.evaluated
    scores = {name: read_scores(config.runs / name) for name in names}
    # Nothing but films that were scored: the split has more than the folder.
    scored = {part: block(frame) for part, frame in parts.items()}
    known = scores[names[0]].index
    cohort = judge.Cohort(
        test=scored["test"][scored["test"].index.isin(known)],
        validation=scored["validation"][scored["validation"].index.isin(known)],
        train=scored["train"],
        agreed=nih.read_adjudicated(config.data / "adjudicated.csv"),
        readings=rsna.read_readings(config.rsna),
    )
    for old in (*RESULTS.glob("*.csv"), RESULTS / "summary.json"):
        old.unlink(missing_ok=True)
    results = judged(scores, cohort, RESULTS)
    best = judge.best(scores, cohort)
    found = located(config, cohort, parts["train"], scores[best], best)
    judge.save(RESULTS, {"localisation_rsna": {best: found}})
    summary = []
    for name in names:
        run = artifacts.read_json(config.runs / name / "config.json")
        mean = results["auroc"][name].iloc[-1]
        facts = (
            "model", "parameters", "devices", "train_films", "train_patients",
            "validation_films", "validation_patients", "validation_auroc", "epochs_done",
            "best_epoch", "train_seconds", "split", "seed", "image_size",
        )  # fmt: skip
        summary.append(
            {
                "run": name,
                "auroc": round(mean["auroc"], 4),
                "low": round(mean["low"], 4),
                "high": round(mean["high"], 4),
                "findings": mean["remark"],
                "test_films": len(cohort.test),
                "test_patients": cohort.test["patient_id"].nunique(),
            }
            | {key: run[key] for key in facts}
            # Of a file of weights only its name: where it lies tells a reader nothing.
            | {"weights": Path(run["weights"]).name}
        )
        print(results["auroc"][name].round(3).to_string(index=False))
    print(pd.DataFrame(summary).to_string(index=False))
    artifacts.write_json(
        RESULTS / "summary.json",
        {
            "films": "9,768 real films of 128 x 128 px; scores on the test patients "
            f"{BLOCK[0]} to {BLOCK[1]} only",
            "interval": kept.INTERVAL,
            "command": COMMAND,
            "commit": commit,
            "versions": artifacts.versions(),
            "best": best,
            "runs": summary,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
