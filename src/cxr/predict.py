"""One film in, a report out: probabilities, thresholds, and what they are worth."""

from pathlib import Path

import pandas as pd

from cxr import artifacts, calibration, films, training
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.tensors import tf

WARNING = (
    "Research software, not a medical device. The labels that the model learned were text-mined "
    "from reports of one hospital; a probability below every threshold does not mean 'normal'."
)


def report(folder: Path, film: Path) -> tuple[pd.DataFrame, str]:
    """Score one film with a run's model, recalibrated where notebook 300 has done so.

    Args:
        folder: a run's folder, `runs/<name>`.
        film: PNG, frontal chest film, at least as large as the model's films.

    Returns:
        table: finding, probability, and, after notebook 300, threshold (Youden's, chosen on
            validation films, for the score before recalibration) and whether it is reached.
        notes: what a reader must know, with the warning.

    Raises:
        InputError: if the run or the film cannot be used.
    """
    run = artifacts.read_json(Path(folder) / "config.json")
    if not run["finished"]:
        raise InputError(f"{folder} is not trained to the end; run 200-modeling again.")
    network = training.load(Path(folder))
    picture = films.read(Path(film), network.input_shape[1])
    scores = pd.DataFrame(
        network(tf.constant(picture[None, :, :, None], tf.float32), training=False).numpy(),
        columns=list(FINDINGS),
    )
    table = pd.DataFrame({"finding": FINDINGS, "probability": scores.iloc[0].to_numpy()})
    notes = [WARNING]
    if run["phantoms"]:
        notes.append("This model learned synthetic phantoms and knows nothing of real films.")
    if (Path(folder) / "calibration.json").exists():
        fitted = calibration.apply(scores, calibration.load(Path(folder)))
        table["probability"] = fitted.iloc[0].to_numpy()
        notes.append("Probabilities are recalibrated on the validation films.")
    else:
        notes.append("Probabilities are not recalibrated: run 300-evaluation first.")
    thresholds = Path(folder) / "thresholds.csv"
    if thresholds.exists():
        rules = pd.read_csv(thresholds)
        cuts = rules[rules["rule"] == "Youden"].set_index("finding")["threshold"]
        table["threshold"] = table["finding"].map(cuts)
        table["reached"] = scores.iloc[0].to_numpy() >= table["threshold"]
        notes.append("Thresholds (Youden, from validation films) apply to the raw score.")
    table = table.sort_values("probability", ascending=False, ignore_index=True)
    return table, "\n".join(notes)
