"""Learn the demo's weights from drawings, and measure what they are worth there.

    make weights           # goes on where it stopped

Learns from drawings of 4,000 made-up patients, then trains `mobilenet_small` on the demo's
films from these weights and from random ones, with three seeds each and nothing else
different; `python -m cxr run --to 100` draws those films before. Drawings and runs go to
`runs/pretraining/`, the weights and what was measured to `src/cxr/modelling/weights/`.
"""

import dataclasses
import sys

import pandas as pd

from cxr import artifacts
from cxr.config import PHANTOM_WEIGHTS, PROJECT, load_config
from cxr.evaluation.ranking import Judged
from cxr.fetch import download
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference, phantom_weights, pretraining, training
from cxr.records import split_files

MODEL, SEEDS = "mobilenet_small", (42, 43, 44)
WORK = PROJECT / "runs" / "pretraining"


def main() -> int:
    demo = load_config({}, profile="demo")
    print(devices.preflight(dataclasses.replace(demo, models=(MODEL,), weights="none")))
    learned = pretraining.learn(MODEL, WORK, phantom_weights.place(MODEL))
    print(f"Learned: validation AUROC {learned['validation_auroc']:.3f}")
    wanted = split_files.settings_of(demo)
    parts, split = split_files.load_split(demo.subset, settings=wanted)
    paths = download.available(demo, size=demo.image_size)
    measured = []
    for seed in SEEDS:
        for weights in ("none", PHANTOM_WEIGHTS):
            # A root of its own beside the demo's, whose films it reads.
            config = dataclasses.replace(
                demo, root=WORK / "gain", weights=weights, seed=seed, tag=f"{weights}-seed{seed}"
            )
            run = training.run(
                MODEL, paths, parts, config, split_checksum=split["films_sha256"]["train"]
            )
            test = parts["test"][parts["test"]["film"].isin(paths.keys())]
            folder = config.runs / run["name"]
            scores = inference.score_with_run(folder, paths, test, config.data / "cache")
            judged = Judged.of(test.set_index("film"), scores.set_index("film")[list(FINDINGS)])
            measured.append(
                {
                    "weights": weights,
                    "seed": seed,
                    "validation_auroc": run["validation_auroc"],
                    "test_auroc": round(float(judged.auroc.mean().value[0]), 4),
                    "test_films": len(test),
                    "best_epoch": run["best_epoch"],
                }
            )
            print(measured[-1], flush=True)
        # After each pair, so that nothing is lost with a machine.
        table = pd.DataFrame(measured)
        artifacts.write_csv(phantom_weights.place(MODEL).with_suffix(".csv"), table)
    print(table.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
