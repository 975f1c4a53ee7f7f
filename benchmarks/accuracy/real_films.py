"""Train and evaluate on 9,768 real films of 128 px, and keep the numbers.

Runs the four notebooks on the films of the folder SHARED_DIR (../shared by default), then
quotes the test patients of the unselected block only: patients 1336 to 3923. The other
films were picked by their collectors; which of the two groups a film belongs to tells so
much about its labels that mixing them would flatter every model.

    make accuracy          # about half an hour on two CPU cores; goes on where it stopped
    make readme            # then: the README's table, its pictures and the slides
"""

import os
import sys
import tempfile
from pathlib import Path

import pandas as pd

from cxr import artifacts, evaluation, external, notebooks, scoring, splits
from cxr.config import PROJECT, load_config
from cxr.findings import FINDINGS

BLOCK = (1336, 3923)
RESULTS = PROJECT / "presentation" / "results" / "images128"
COMMAND = "make accuracy"


def _keep_all_tables(config, name: str, parts: dict[str, pd.DataFrame]) -> None:
    """Every table of notebook 300, for the block's films only, as CSV."""
    frame = pd.concat(parts.values(), ignore_index=True)
    split = pd.Series([part for part, rows in parts.items() for _ in range(len(rows))])
    block = frame["patient_id"].between(*BLOCK)
    runs = [config.runs / name / f"{part}_scores.csv" for part in ("validation", "test")]
    scores = pd.concat(map(scoring.read, runs)).drop(columns="patient_id")
    scores = scores[scores["film"].isin(frame.loc[block, "film"])]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.csv"
        artifacts.write_csv(path, scores)
        external.evaluate_scores(
            path,
            frame[block],
            split[block],
            Path(folder),
            split_name=config.split,
            provenance=COMMAND,
            replicates=config.replicates,
            seed=config.seed,
        )
        for table in sorted((Path(folder) / "tables").glob("*.csv")):
            kept = pd.read_csv(table)
            artifacts.write_csv(RESULTS / table.name, kept.round(4))


def main() -> int:
    shared = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))
    if not (shared / "nih").is_dir():
        print(f"skipped: {shared} does not hold the real films; set SHARED_DIR.")
        return 0
    environment = {
        "CXR_PROFILE": "first_archive",
        "CXR_ROOT": os.environ.get("CXR_ROOT", str(PROJECT / "runs" / "real")),
        "CXR_IMAGES": str(shared / "nih" / "images128"),
        "CXR_RECORDS": str(shared / "nih" / "Data_Entry_2017_v2020.csv"),
        "CXR_WEIGHTS": str(shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"),
        "CXR_MODELS": "baseline,residual,mobilenet_small",
        "CXR_IMAGE_SIZE": "128",
    }
    config = load_config(environment)
    notebooks.execute(config, list(notebooks.STAGES), environment)
    wanted = splits.settings(
        config.data / "records.csv",
        config.split,
        min_combination=config.min_combination,
        seed=config.seed,
        lists=config.split_lists,
    )
    parts, _ = splits.load(config.subset, settings=wanted)
    block = parts["test"][parts["test"]["patient_id"].between(*BLOCK)]
    summary = []
    for model in config.models:
        name = config.run_name(model)
        run = artifacts.read_json(config.runs / name / "config.json")
        scored = scoring.read(config.runs / name / "test_scores.csv")
        scored = scored[scored["film"].isin(block["film"])]
        truth, scores = scoring.pair({name: scored}, block[block["film"].isin(scored["film"])])
        scores = scores[name]
        table = evaluation.auroc_by_finding(
            truth[list(FINDINGS)],
            scores,
            truth["patient_id"],
            replicates=config.replicates,
            seed=config.seed,
        )
        artifacts.write_csv(RESULTS / f"auroc_{name}.csv", table.round(4))
        curves = evaluation.roc_curves(truth[list(FINDINGS)], scores)
        artifacts.write_csv(RESULTS / f"roc_{name}.csv", curves.round(4))
        _keep_all_tables(config, name, parts)
        mean = table.iloc[-1]
        summary.append(
            {
                "run": name,
                "auroc": round(mean["auroc"], 4),
                "low": round(mean["low"], 4),
                "high": round(mean["high"], 4),
                "test_films": len(truth),
                "test_patients": truth["patient_id"].nunique(),
            }
            | {
                key: run[key]
                for key in (
                    "model",
                    "parameters",
                    "devices",
                    "train_films",
                    "train_patients",
                    "validation_films",
                    "validation_patients",
                    "validation_auroc",
                    "epochs_done",
                    "best_epoch",
                    "train_seconds",
                    "split",
                    "seed",
                    "image_size",
                )
            }
            # Of a file of weights only its name: where it lies tells a reader nothing.
            | {"weights": Path(run["weights"]).name}
        )
        print(table.round(3).to_string(index=False))
    print(pd.DataFrame(summary).to_string(index=False))
    artifacts.write_json(
        RESULTS / "summary.json",
        {
            "films": "9,768 real films of 128 x 128 px; scores on the test patients "
            f"{BLOCK[0]} to {BLOCK[1]} only",
            "interval": f"95 %, bootstrap of patients, {config.replicates:,} replicates",
            "command": COMMAND,
            "commit": artifacts.commit(),
            "versions": artifacts.versions(),
            "runs": summary,
        },
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
