"""Patient-level intervals: 14 findings x 25,596 films, each of 2,797 patients left out.

Side by side, in one run: this project's exact leave-one-out, and the plain loop over
scikit-learn's `roc_auc_score`. The loop is timed on some patients and scaled up, since every
turn costs the same; both must give the same numbers. Then the whole judge: every table of
notebook 300 that needs no film.
"""

import resource
import time

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr.evaluation import judge
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS

# The official test list: 25,596 films of 2,797 patients, with these shares of positives.
FILMS, PATIENTS, REPLICATES, TIMED = 25_596, 2_797, 1_000, 20
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)


def made_up(random: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of the official test list's size, and scores of an AUROC of 0.80."""
    targets = np.zeros((FILMS, len(FINDINGS)), dtype=np.int8)
    for column, positives in enumerate(POSITIVES):
        targets[random.choice(FILMS, size=positives, replace=False), column] = 1
    logit = random.normal(size=targets.shape) + 1.2 * targets - 3
    films = pd.Index([f"{n:08d}_000.png" for n in range(FILMS)], name="film")
    records = pd.DataFrame(targets, columns=list(FINDINGS), index=films)
    records["patient_id"] = random.integers(PATIENTS, size=FILMS)
    records["age"] = pd.array(random.integers(1, 95, size=FILMS), dtype="Int16")
    records["sex"] = random.choice(["F", "M"], size=FILMS)
    records["view"] = random.choice(["AP", "PA"], size=FILMS)
    records["follow_up"] = random.integers(0, 9, size=FILMS)
    scores = pd.DataFrame(1 / (1 + np.exp(-logit)), columns=list(FINDINGS), index=films)
    return records, scores


def main() -> None:
    records, scores = made_up(np.random.default_rng(42))
    judged = Judged.of(records, scores)

    began = time.perf_counter()
    ours = judged.auroc
    seconds = time.perf_counter() - began

    began = time.perf_counter()
    loop = np.array(
        [
            [
                metrics.roc_auc_score(
                    judged.targets[finding][judged.codes != patient],
                    judged.scores[finding][judged.codes != patient],
                )
                for finding in FINDINGS
            ]
            for patient in range(TIMED)
        ]
    )
    turn = (time.perf_counter() - began) / TIMED
    difference = np.abs(ours.without[:TIMED] - loop).max()

    began = time.perf_counter()
    cohort = judge.Cohort(test=records, validation=records.iloc[:0], train=records)
    tables = judge.judge_model("made up", scores, cohort)
    everything = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    print(f"{len(FINDINGS)} findings x {FILMS:,} films x {judged.number:,} patients left out")
    print(f"  AUROC, every patient left out {seconds:8.2f} s")
    print(f"  roc_auc_score in a loop       {turn * judged.number:8.1f} s   (from {TIMED} turns)")
    print(f"  ratio                         {turn * judged.number / seconds:8.0f}     (needed: 10)")
    print(f"  the loop, {REPLICATES:,} times         {turn * REPLICATES:8.1f} s")
    print(f"  all {len(tables)} tables of the judge    {everything:8.1f} s   (needed: 15)")
    print(f"  peak memory                   {memory:8.2f} GB  (needed: 1)")
    print(f"  largest difference of a turn  {difference:8.1e}")


if __name__ == "__main__":
    main()
