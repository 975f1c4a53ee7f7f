"""The model card and the checklist say what the tables say, and what is missing."""

import pandas as pd
import pytest

from cxr import claim, report
from cxr.findings import FINDINGS


@pytest.fixture
def presentation(tmp_path):
    rows = [*FINDINGS, "Mean"]
    auroc = pd.DataFrame(
        {"finding": rows, "auroc": 0.712, "low": 0.612, "high": 0.812, "positives": 1234,
         "films": 5000, "patients": 900}
    )  # fmt: skip
    auroc.loc[auroc["finding"] == "Hernia", ["auroc", "low", "high"]] = None
    auprc = auroc.rename(columns={"auroc": "auprc"}).assign(prevalence=0.081)
    report.save_tables(tmp_path, "auroc", {"net": auroc})
    report.save_tables(tmp_path, "auprc", {"net": auprc})
    return tmp_path


def setting(**changes):
    given = {
        "name": "net", "split": "patient", "split_films": 23_011, "shared_patients": 0,
        "phantoms": False, "provenance": "seed 42",
    }  # fmt: skip
    return report.Setting(**(given | changes))


def card(presentation, **changes):
    return report.write(presentation, setting(**changes))["model card"].read_text()


def test_the_card_quotes_the_tables(presentation):
    text = card(presentation)
    assert "Mean AUROC over 13 findings: **0.712 (0.612 to 0.812)**" in text
    assert "5,000 of the split's 23,011 test films" in text
    assert "| Pleural thickening | 1,234 | 0.712 (0.612 to 0.812) |" in text
    assert "| Hernia | 1,234 | not estimable | not estimable |" in text


def test_the_card_says_that_it_is_no_medical_device_before_any_number(presentation):
    text = card(presentation)
    assert text.index("not a medical device") < text.index("0.712")


def test_phantoms_and_leaking_splits_are_named(presentation):
    text = card(presentation, phantoms=True, shared_patients=77)
    assert "synthetic drawings" in text
    assert "77 test patients also have films in train" in text
    assert "synthetic drawings" not in card(presentation)


def test_what_was_not_evaluated_is_said(presentation):
    text = card(presentation)
    for missing in (
        "no validation scores to choose thresholds by",
        "no test film has labels that radiologists agreed on",
        "no test film has boxes",
        "Unknown: only its scores were given.",
    ):
        assert missing in text


def test_the_card_describes_the_run(presentation):
    run = {"model": "baseline", "parameters": 369_470, "image_size": 128, "weights": "none"}
    text = card(presentation, run=run)
    assert "- parameters: 369,470" in text and "- film size: 128 px" in text


def test_the_checklist_answers_or_says_why_not(presentation):
    path = report.write(presentation, setting(shared_patients=5))["checklist"]
    text = path.read_text()
    rows = [line for line in text.splitlines() if line.startswith("| ") and "item" not in line]
    assert [int(row.split("|")[1]) for row in rows] == list(range(1, 45))
    assert all(row.split("|")[3].strip() for row in rows)
    assert "{" not in text
    assert "by film only: 5 test patients are in train" in text
    assert "5,000 of 23,011 test films are present" in text


def test_the_checklist_has_every_item_once():
    numbers = [number for number, item, *_ in claim.ITEMS if item is not None]
    assert numbers == list(range(1, 45))


def test_captions_name_outcome_score_and_threshold():
    outcomes = pd.DataFrame({"outcome": ["miss"], "film": ["00000001_000.png"], "score": [0.1]})
    assert report.captions(outcomes, 0.25) == ["miss<br>0.100 (from 0.250)<br>00000001_000"]
