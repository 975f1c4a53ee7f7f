"""The conclusion says what the tables say, and nothing that they do not."""

import numpy as np
import pandas as pd
import pytest

from cxr.config import PROJECT
from cxr.findings import FINDINGS
from cxr.publish import conclusion, results


def table(**values):
    """AUROCs by finding, 0.7 (0.6 to 0.8) but for those given as (auroc, low, high)."""
    rows = [
        (finding, *values.get(finding, (0.7, 0.6, 0.8)), 200, 100)
        for finding in (*FINDINGS, "Mean")
    ]
    return pd.DataFrame(rows, columns=["finding", "auroc", "low", "high", "films", "patients"])


def conclude(auroc, phantoms=False, **tables):
    made = {kind: {"model": frame} for kind, frame in tables.items()} | {"auroc": {"model": auroc}}
    return conclusion.conclude("model", made, split="patient", phantoms=phantoms)


def test_findings_are_told_apart_by_their_whole_interval():
    nothing = (np.nan, np.nan, np.nan)
    text = conclude(table(Mass=(0.6, 0.49, 0.7), Nodule=(0.6, 0.501, 0.7), Hernia=nothing))
    assert "probability 0.700 (0.600 to 0.800), on average over 13 findings" in text
    assert "on 200 test films of 100 patients (split `patient`)" in text
    assert "Mass is not shown to be" in text
    assert "Hernia has too few patients: nothing is known of them" in text
    better = text.split("**Which findings?** ")[1].split(" ranked better")[0]
    assert "Nodule" in better and "Mass" not in better and "Hernia" not in better


@pytest.mark.parametrize(
    ("auroc", "words"),
    [
        ((0.7, 0.6, 0.8), "All 14 findings are ranked better than by chance"),
        ((0.5, 0.4, 0.6), "No finding is ranked better than by chance"),
    ],
)
def test_all_and_none_are_said_so(auroc, words):
    assert words in conclude(table(**dict.fromkeys(FINDINGS, auroc)))


def test_the_image_adds_what_the_blind_control_does_not_reach():
    blind = table(**dict.fromkeys(FINDINGS, (0.65, 0.59, 0.7)) | {"Edema": (0.5, 0.45, 0.55)})
    ladder = pd.concat({"model": table(), "view, age and sex": blind}, names=["scored_by"])
    text = conclude(table(), controls=ladder.reset_index("scored_by"))
    assert "add?** Edema is ranked better than view, age and sex rank them" in text


def test_probabilities_are_judged_before_and_after_recalibration():
    rows = [("as predicted", "Mean", -0.5, -0.6, -0.4), ("recalibrated", "Mean", 0.02, 0.01, 0.03)]
    measures = pd.DataFrame(rows, columns=["scores", "finding", "skill", "skill_low", "skill_high"])
    text = conclude(table(), calibration=measures)
    assert "as predicted -0.500 (-0.600 to -0.400); recalibrated 0.020 (0.010 to 0.030)" in text


def test_drawings_are_called_drawings():
    assert "these films are drawings" in conclude(table(), phantoms=True)
    assert "drawings" not in conclude(table())
    assert "200 phantom films" in conclude(table(), phantoms=True)


def test_the_headline_of_the_kept_results_is_their_mean():
    found = results.of_folder(PROJECT / "presentation" / "results" / "images128")
    mean = pd.read_csv(found.folder / f"auroc_{found.best().name}.csv").set_index("finding")
    assert f"{mean.loc['Mean', 'auroc']:.3f} (" in conclusion.headline(found)
    assert "1,707 test films of 528 patients" in conclusion.headline(found)
