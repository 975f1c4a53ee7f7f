"""Patient-level intervals of AUROC: 14 findings x 25,596 films x 1,000 replicates.

Side by side, in one run: this project's sparse ranking, and the plain loop over
scikit-learn's `roc_auc_score` with bootstrap weights. The loop is timed on some replicates
and scaled up, since every replicate costs the same; both must give the same numbers.
"""

import resource
import time

import numpy as np
import pandas as pd
from sklearn import metrics

from cxr import bootstrap, evaluation
from cxr.findings import FINDINGS

# The official test list: 25,596 films of 2,797 patients, with these shares of positives.
FILMS, PATIENTS, REPLICATES, TIMED = 25_596, 2_797, 1_000, 20
POSITIVES = (3279, 1069, 4658, 6112, 1748, 1623, 555, 2665, 1815, 925, 1093, 435, 1143, 86)


def main() -> None:
    random = np.random.default_rng(42)
    patients = pd.Series(random.integers(PATIENTS, size=FILMS))
    targets = np.zeros((FILMS, len(FINDINGS)), dtype=np.int8)
    for column, positives in enumerate(POSITIVES):
        targets[random.choice(FILMS, size=positives, replace=False), column] = 1
    scores = (random.normal(size=targets.shape) + 1.2 * targets).astype(np.float32)
    targets, scores = (pd.DataFrame(v, columns=list(FINDINGS)) for v in (targets, scores))

    began = time.perf_counter()
    table = evaluation.auroc_by_finding(targets, scores, patients, replicates=REPLICATES, seed=1)
    ours = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6

    resamples = bootstrap.resample(patients, replicates=REPLICATES, seed=1)
    began = time.perf_counter()
    loop = np.array(
        [
            [
                metrics.roc_auc_score(
                    targets[finding],
                    scores[finding],
                    sample_weight=resamples.counts[resamples.patient, replicate],
                )
                for finding in FINDINGS
            ]
            for replicate in range(TIMED)
        ]
    )
    plain = (time.perf_counter() - began) * REPLICATES / TIMED
    _, replicates = evaluation.auroc_replicates(targets, scores, resamples)
    difference = np.abs(replicates[:TIMED] - loop).max()

    print(f"{len(FINDINGS)} findings x {FILMS:,} films x {REPLICATES:,} replicates")
    print(f"  sparse ranking          {ours:8.1f} s   peak memory {memory:.2f} GB")
    print(f"  roc_auc_score in a loop {plain:8.1f} s   (from {TIMED} replicates)")
    print(f"  ratio                   {plain / ours:8.1f}     (needed: 10)")
    print(f"  largest difference of a replicate {difference:.1e}")
    print(f"  mean AUROC {table['auroc'].iloc[-1]:.4f}")


if __name__ == "__main__":
    main()
