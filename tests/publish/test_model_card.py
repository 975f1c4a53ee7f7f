"""The model card and the checklist say what the tables say, what is missing, what is unknown."""

import numpy as np
import pandas as pd
import pytest
from made_up import people

from cxr.evaluation import judge
from cxr.findings import FINDINGS
from cxr.publish import claim_checklist, model_card

RUN = {"model": "baseline", "parameters": 369_470, "image_size": 128, "weights": "none"}


@pytest.fixture(scope="module")
def tables():
    """The judge's tables of 300 test films; nobody has Hernia, and Mass is not scored."""
    records = people([1, 2, 3] * 100).set_index("film")
    random = np.random.default_rng(0)
    targets = random.random((600, 14)) < 0.3
    records[list(FINDINGS)] = targets.astype(np.int8)
    records["Hernia"] = 0
    logit = random.normal(size=(600, 14)) + 2 * targets - 1
    scores = pd.DataFrame(1 / (1 + np.exp(-2 * logit)), index=records.index, columns=list(FINDINGS))
    cohort = judge.Cohort(
        test=records[:300], validation=records[300:450], train=records[450:].copy()
    )
    return judge.judge_model("net", scores.drop(columns="Mass"), cohort)


def setting(**changes):
    """One of our own runs; `run={}` makes it somebody else's."""
    given = {
        "name": "net", "films_are": "test films of the split `patient`", "split": "patient",
        "split_films": 23_011, "shared_patients": 0, "training_films": None, "phantoms": False,
        "provenance": "seed 42", "run": RUN,
    }  # fmt: skip
    return model_card.Setting(**(given | changes))


def test_what_heatmaps_are_worth_stands_in_the_card(tables, tmp_path):
    said = "So these heatmaps find less than a point that knows nothing of the film."
    looks = card(tables, tmp_path, setting(heatmaps=said)).partition("## Where it looks")[2]
    assert looks.startswith(f"\n\n{said}\n")
    points = {"method": ["net"], "finding": "All", "measure": "pointing game", "cases": 20}
    located = pd.DataFrame(points | {"value": 0.5, "low": 0.4, "high": 0.6})
    both = card({**tables, "localisation": located}, tmp_path, setting(heatmaps=said))
    looks = both.partition("## Where it looks")[2].partition("## Limits")[0]
    assert looks.index("| net | 20 |") < looks.index(said)


def foreign(**changes):
    unknown = {
        "films_are": "films of the file that the records know", "split": None, "split_films": None,
        "shared_patients": None, "training_films": 120, "run": {},
    }  # fmt: skip
    return setting(**(unknown | changes))


def card(tables, folder, its):
    return model_card.write(folder, its, tables)["model card"].read_text()


def checklist(tables, folder, its):
    return model_card.write(folder, its, tables)["checklist"].read_text()


def answers(text):
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")]
    return {int(row[1]): row[3].strip() for row in rows if row[1].strip().isdigit()}


def test_the_card_quotes_the_tables(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    mean = tables["auroc"].iloc[-1]
    interval = f"{mean['auroc']:.3f} ({mean['low']:.3f} to {mean['high']:.3f})"
    assert f"AUROC, mean of 12 findings: **{interval}**" in text
    assert "300 of the 23,011 test films of the split `patient`" in text
    row = tables["auroc"].set_index("finding").loc["Pleural_Thickening"]
    assert (
        f"| Pleural thickening | {row['positives']} | {row['positive_patients']} | "
        f"{row['auroc']:.3f} ({row['low']:.3f} to {row['high']:.3f}) |"
    ) in text
    assert "leaving out each patient in turn" in text


def test_the_card_tells_too_few_patients_from_no_scores(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    assert "| Hernia | 0 | 0 | too few patients | too few patients |" in text
    assert "| not scored | not scored |" in text


def test_no_cell_of_the_card_leaves_open_why_it_holds_no_number(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    assert "n/a" not in text and "| nan" not in text
    at_a_threshold = text.split("## At a threshold")[1].split("##")[0]
    assert "| Hernia | too few patients |" in at_a_threshold
    assert "| Mass | not scored |" in at_a_threshold


def test_radiologists_labels_of_unscored_findings_are_called_unscored(tables, tmp_path):
    columns = dict.fromkeys(("auroc", "low", "high", "mined_auroc"), 0.7) | {"remark": ""}
    seen = pd.DataFrame(
        {"label": ["Pneumothorax", "Nodule or mass"], "films": 90, "positives": 30,
         "findings": ["Pneumothorax", "Nodule or Mass"]} | columns
    )  # fmt: skip
    seen.loc[1, list(columns)] = [np.nan] * 4 + ["not scored"]
    read = pd.DataFrame(
        {"reading": ["Lung Opacity", "not Normal"], "films": 90, "positives": 30,
         "score": ["the largest of the four", "the largest of the 14"]} | columns
    )  # fmt: skip
    read.loc[1, list(columns)] = [np.nan] * 4 + ["not scored"]
    text = card(tables | {"adjudicated": seen, "rsna": read}, tmp_path, setting())
    assert "| Nodule or mass (Nodule or Mass) | 30 of 90 | not scored | not scored |" in text
    assert "| Lung Opacity, by the largest of the four | 30 of 90 | 0.700" in text
    assert "| not Normal, by the largest of the 14 | 30 of 90 | not scored | not scored |" in text


def test_thresholds_that_nobody_could_choose_are_not_claimed(tables, tmp_path):
    points = tables["operating_points"].assign(threshold=np.nan)
    answered = answers(checklist(tables | {"operating_points": points}, tmp_path, setting()))
    assert answered[38].startswith("not done")


def test_the_card_says_that_it_is_no_medical_device_before_any_number(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    assert text.index("not a medical device") < text.index("AUROC")


def test_what_recalibration_did_is_counted_in_the_card(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    parts = {
        when: part.set_index("finding") for when, part in tables["calibration"].groupby("scores")
    }
    before, after = (
        parts[w].drop("Mean")["distance"].dropna() for w in ("as predicted", "recalibrated")
    )
    assert f"the slope came nearer to 1 for {(after < before).sum()}" in text
    assert "skill, as predicted" in text and "slope, recalibrated" in text


def test_drawn_films_are_called_drawn_at_the_top_of_card_and_checklist(tables, tmp_path):
    for write in (card, checklist):
        for whose in (setting, foreign):
            text = write(tables, tmp_path, whose(phantoms=True))
            assert "synthetic drawings" in text[:900]
            assert "synthetic drawings" not in write(tables, tmp_path, whose())


def test_leaking_splits_are_named(tables, tmp_path):
    text = card(tables, tmp_path, setting(shared_patients=77))
    assert "77 test patients also have films in train" in text
    assert "No patient has films in train" not in text
    assert "No patient has films in train and in test." in card(tables, tmp_path, setting())


def test_what_only_its_authors_know_of_a_model_is_called_unknown(tables, tmp_path):
    text = card(tables, tmp_path, foreign())
    assert "Unknown: only its scores were given." in text
    assert "No patient has films in train" not in text
    assert "Which films and patients the model was trained on is unknown" in text
    assert "120 of the judged films are on NIH's official training list" in text
    answered = answers(checklist(tables, tmp_path, foreign()))
    for item in (9, 19, 22, 24, 25, 26, 27, 32, 33, 42, 43):
        assert answered[item] == claim_checklist.UNKNOWN, item
    assert "120 of the 300 judged films are on NIH's training list" in answered[20]
    assert answered[31] == "not done: only scores"
    assert "may be memory" not in card(tables, tmp_path, foreign(phantoms=True))
    # Nothing points at our training code.
    assert "models.py" not in str(answered) and "notebook 200" not in str(answered)


def test_the_checklist_answers_every_item_or_says_why_not(tables, tmp_path):
    for its in (setting(), foreign(), setting(shared_patients=5), foreign(training_films=0)):
        text = checklist(tables, tmp_path, its)
        answered = answers(text)
        assert list(answered) == list(range(1, 45))
        assert all(answered.values()) and "{" not in text
    assert (
        "by film only: 5 test patients"
        in answers(checklist(tables, tmp_path, setting(shared_patients=5)))[20]
    )
    assert "300 of 23,011 test films are present" in checklist(tables, tmp_path, setting())


def test_the_checklist_does_not_claim_what_was_not_done(tables, tmp_path):
    answered = answers(checklist(tables, tmp_path, setting()))
    assert (
        answered[18].startswith("not done") and "individual readers are published" in answered[18]
    )
    assert answered[33].startswith("not done")
    for item in (1, 3, 36, 39, 42):
        assert answered[item].startswith("in part"), item
    assert "trained models: not published" in answered[43]
    assert "test patients" in answered[26]
    assert answered[31] == "not done: no boxes"


def test_the_checklist_has_every_item_once():
    numbers = [number for number, item, *_ in claim_checklist.ITEMS if item is not None]
    assert numbers == list(range(1, 45))


def test_what_was_not_evaluated_is_said(tables, tmp_path):
    without = {k: t for k, t in tables.items() if k not in ("operating_points", "controls")}
    text = card(without, tmp_path, setting())
    for missing in (
        "no validation scores to choose thresholds by",
        "(Majkowska et al. 2020): none were given.",
        "no prevalence is the hospital's): none were given.",
        "none of these films has a box",
        "Not evaluated.",
    ):
        assert missing in text


def test_what_the_evaluation_noted_stands_in_the_card(tables, tmp_path):
    text = card(tables, tmp_path, foreign(notes=("5 films were left out.",)))
    assert "## Notes of the evaluation\n\n- 5 films were left out." in text
    assert "Notes of the evaluation" not in card(tables, tmp_path, setting())


def test_the_card_describes_the_run(tables, tmp_path):
    text = card(tables, tmp_path, setting())
    assert "- parameters: 369,470" in text and "- film size: 128 px" in text


def test_the_card_says_which_films_the_model_refuses_and_where_it_misses_them(tables, tmp_path):
    worth = {
        "patients": 499,
        "warned": 0.012,
        "refused": 0.0014,
        "found": {"upside down": 0.997, "too dark": 0.762},
    }
    text = card(tables, tmp_path, setting(run=RUN | {"abstention": worth}))
    assert "1.2 % of films are warned of and 0.1 % refused: validation films of 499" in text
    assert "upside down 100 %, too dark 76 %" in text
    assert "do not rely on it: too dark." in text
    assert "was not taught to tell" in card(tables, tmp_path, setting())
    assert "only scores were given" in card(tables, tmp_path, foreign())


def test_captions_name_outcome_score_and_threshold():
    outcomes = pd.DataFrame({"outcome": ["miss"], "film": ["00000001_000.png"], "score": [0.1]})
    assert model_card.captions(outcomes, 0.25) == ["miss<br>0.100 (from 0.250)<br>00000001_000"]
