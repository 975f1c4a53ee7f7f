"""One film in, a report out: probabilities, thresholds, and what they are worth."""

from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.evaluation import calibration
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import inference
from cxr.modelling.tensors import tf

WARNING = (
    "Research software, not a medical device. The labels that the model learned were text-mined "
    "from reports of one hospital; a probability below every threshold does not mean 'normal'."
)


def choose(runs: Path) -> tuple[str, str]:
    """The finished run with the highest validation AUROC among those that share no patients.

    A run of the split `original` is left out, however well it scores: its validation films
    show patients that it was trained on.

    Returns:
        Its name, and why it was taken.

    Raises:
        InputError: if there is none.
    """
    records = [artifacts.read_json(path) for path in sorted(runs.glob("*/config.json"))]
    finished = [record for record in records if record["finished"]]
    honest = [record for record in finished if record["split"] != "original"]
    if not honest:
        leaky = f"; {len(finished)} of the split `original` do not count" if finished else ""
        raise InputError(
            f"{runs} holds no finished run that keeps patients apart{leaky}; run 200-modeling, or "
            "name a run with --run."
        )
    best = max(honest, key=lambda record: record["validation_auroc"] or 0)
    left_out = len(finished) - len(honest)
    why = f"highest validation AUROC of {len(honest)} run(s), {best['validation_auroc'] or 0:.3f}"
    if left_out:
        why += f"; {left_out} of the split `original` left out, which shares patients"
    return best["name"], why


def report(folder: Path, film: Path) -> tuple[pd.DataFrame, str]:
    """Score one film with a run's model, recalibrated where notebook 300 has done so.

    Args:
        folder: a run's folder, `runs/<name>`.
        film: PNG, frontal chest film, at least as large as the model's films.

    Returns:
        table: finding, probability, and, after notebook 300, threshold (Youden's, chosen on
            validation films, on the same scale) and whether it is reached; "no threshold"
            where too few patients had the finding.
        notes: what a reader must know, with the warning.

    Raises:
        InputError: if the run or the film cannot be used.
    """
    run = artifacts.read_json(Path(folder) / "config.json")
    if not run["finished"]:
        raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
    network = inference.load_network(Path(folder))
    picture = film_cache.read_film(Path(film), network.input_shape[1])
    scores = pd.DataFrame(
        network(tf.constant(picture[None, :, :, None], tf.float32), training=False).numpy(),
        columns=list(FINDINGS),
    )
    notes = [WARNING]
    if run["phantoms"]:
        notes.append("This model learned synthetic phantoms and knows nothing of real films.")
    if (Path(folder) / "calibration.json").exists():
        scores = calibration.apply(scores, calibration.load(Path(folder)))
        notes.append("Probabilities are recalibrated, where that helped on validation films.")
    else:
        notes.append("Probabilities are not recalibrated: run 300-evaluation first.")
    table = pd.DataFrame({"finding": FINDINGS, "probability": scores.iloc[0].to_numpy()})
    thresholds = Path(folder) / "thresholds.csv"
    if thresholds.exists():
        rules = pd.read_csv(thresholds)
        cuts = rules[rules["rule"] == "Youden"].set_index("finding")["threshold"]
        table["threshold"] = table["finding"].map(cuts)
        reached = table["probability"] >= table["threshold"]
        table["reached"] = reached.astype(object).where(table["threshold"].notna(), "no threshold")
        notes.append("Thresholds (Youden, from validation films) are for these probabilities.")
    table = table.sort_values("probability", ascending=False, ignore_index=True)
    return table, "\n".join(notes)
