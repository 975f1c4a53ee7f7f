"""Evaluating anybody's scores: which films are judged, what is said, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.publish import foreign_scores
from cxr.records.splits import OFFICIAL_TEST_PATIENTS


@pytest.fixture(scope="module")
def study():
    """240 films of 120 patients in three parts, and scores that know something."""
    random = np.random.default_rng(0)
    films = 240
    records = pd.DataFrame(
        {
            "film": [f"{n:08d}_000.png" for n in range(films)],
            "patient_id": np.repeat(range(films // 2), 2),
            "age": pd.array(random.integers(20, 80, size=films), dtype="Int16"),
            "sex": random.choice(["F", "M"], size=films),
            "view": random.choice(["AP", "PA"], size=films),
            "follow_up": np.tile([0, 1], films // 2),
        }
    )
    targets = pd.DataFrame(random.random((films, 14)) < 0.25, columns=list(FINDINGS))
    records = pd.concat([records, targets.astype(np.int8)], axis=1)
    split = pd.Series(["train"] * 80 + ["validation"] * 80 + ["test"] * 80)
    logit = random.normal(size=(films, 14)) + 1.5 * targets.to_numpy() - 1
    scores = pd.DataFrame(1 / (1 + np.exp(-logit)), columns=list(FINDINGS)).round(4)
    scores.insert(0, "film", records["film"])
    return records, split, scores


def evaluate(study, scores, folder, *more, split=True, **options):
    """Judge `scores` (and `more`), written as someones.csv, with the study's split or none."""
    paths = [folder / f"{name}.csv" for name in ("someones", "anothers")[: 1 + len(more)]]
    for path, frame in zip(paths, (scores, *more), strict=True):
        frame.to_csv(path, index=False)
    if split:
        options |= {"split": study[1], "split_name": "patient"}
    return foreign_scores.evaluate(
        paths, study[0], folder / "evaluated", provenance="a test", **options
    )


def table(folder, kind, name="someones"):
    return pd.read_csv(folder / "evaluated" / "tables" / f"{kind}_{name}.csv")


def test_scores_of_test_and_validation_films_give_all_tables_and_pages(study, tmp_path):
    result = evaluate(study, study[2].iloc[80:], tmp_path)
    folder = tmp_path / "evaluated"
    tables = {path.name.removesuffix("_someones.csv") for path in (folder / "tables").iterdir()}
    assert tables >= {
        "auroc", "auprc", "roc", "precision_recall", "test_results", "published", "controls",
        "calibration", "recalibration", "reliability", "thresholds", "operating_points",
        "subgroups", "net_benefit", "flattened",
    }  # fmt: skip
    pages = {path.stem for path in (folder / "figures").iterdir()}
    assert {"roc", "auroc", "reliability_someones", "decision_curves", "controls"} <= pages
    auroc = table(tmp_path, "auroc")
    assert auroc["films"].iloc[-1] == 80 and auroc["auroc"].iloc[-1] > 0.75
    card = (folder / "model_card_someones.md").read_text()
    assert f"{auroc['auroc'].iloc[-1]:.3f}" in card and "not a medical device" in card
    assert "No patient has films in train and in test" not in card
    assert (folder / "checklist_someones.md").exists()
    assert "mean of 14 findings" in str(result)


def test_all_films_that_the_records_know_are_judged_unless_a_split_narrows_them(study, tmp_path):
    result = evaluate(study, study[2], tmp_path, split=False)
    assert result.auroc["someones"]["films"].iloc[-1] == 240
    assert any("nothing is chosen" in note for note in result.notes)
    assert not (tmp_path / "evaluated/tables/thresholds_someones.csv").exists()


def test_a_list_of_films_narrows_them(study, tmp_path):
    listed = study[2]["film"].iloc[100:220].tolist()
    result = evaluate(study, study[2], tmp_path, split=False, films=listed)
    assert result.auroc["someones"]["films"].iloc[-1] == 120
    assert any("120 scored film(s) are none on the list" in note for note in result.notes)


def test_the_aurocs_of_a_file_are_over_all_of_its_films(tmp_path):
    """Values known by hand: of ten films with Mass, nine score above all others."""
    films = [f"{n:08d}_000.png" for n in range(1, 101)]
    records = pd.DataFrame({"film": films, "patient_id": range(1, 101)})
    records = records.assign(age=50, sex="F", view="PA", follow_up=0)
    records = records.assign(**dict.fromkeys(FINDINGS, np.int8(0)))
    records.loc[:9, "Mass"] = 1
    scores = pd.DataFrame({"film": films, "Mass": 0.2})
    scores.loc[:8, "Mass"] = 0.9
    scores.loc[9, "Mass"] = 0.1
    result = evaluate((records, None, None), scores, tmp_path, split=False)
    row = result.auroc["someones"].set_index("finding").loc["Mass"]
    assert row["auroc"] == pytest.approx(9 / 10)
    assert (row["films"], row["positives"]) == (100, 10)


def test_films_of_nihs_training_list_are_counted_and_the_rest_is_judged_beside(study, tmp_path):
    records, _, scores = study
    official = sorted(OFFICIAL_TEST_PATIENTS)[:40]
    moved = records["patient_id"].map(dict(zip(range(80, 120), official, strict=True)))
    records = records.assign(patient_id=moved.fillna(records["patient_id"] + 900_000).astype(int))
    result = evaluate((records, None, scores), scores, tmp_path, split=False)
    text = " ".join(result.notes)
    assert "160 of the 240 judged films are on NIH's official training list" in text
    assert "the other 80 films, of NIH's official test list" in text
    assert table(tmp_path, "official_auroc")["films"].iloc[-1] == 80
    assert table(tmp_path, "auroc")["films"].iloc[-1] == 240


def test_several_files_are_compared_on_the_films_that_all_of_them_score(study, tmp_path):
    scores = study[2]
    blunt = scores.assign(**{f: 0.5 + 0.1 * scores[f].round(1) for f in FINDINGS})
    result = evaluate(study, scores, tmp_path, blunt.iloc[40:], split=False)
    assert {name: t["films"].iloc[-1] for name, t in result.auroc.items()} == {
        "someones": 200, "anothers": 200,
    }  # fmt: skip
    assert any("40 film(s) of someones are not in every file" in note for note in result.notes)
    differences = pd.read_csv(tmp_path / "evaluated/tables/comparison.csv")
    assert set(differences["model"]) == {"someones"} and len(differences) == 15
    assert (tmp_path / "evaluated/figures/comparison_someones_and_anothers.html").exists()


def test_missing_findings_and_films_are_counted(study, tmp_path):
    scores = study[2].drop(columns=["Hernia", "Mass"]).iloc[160:200]
    strange = scores.head(2).assign(film=["99999998_000.png", "99999999_000.png"])
    scores = pd.concat([scores, strange, study[2].drop(columns=["Hernia", "Mass"]).head(3)])
    result = evaluate(study, scores, tmp_path)
    text = " ".join(result.notes)
    assert "2 film(s) of someones are not in the records" in text
    assert "3 scored film(s) are none of the test part" in text
    assert "40 of 80 films of the test part of the split 'patient' have no score" in text
    auroc = result.auroc["someones"].set_index("finding")
    assert (auroc.loc[["Mass", "Hernia"], "remark"] == "not scored").all()
    assert auroc.loc["Mean", "auroc"] > 0.7


def test_labels_as_scores_are_judged_with_a_warning(study, tmp_path):
    records, _, scores = study
    labels = pd.concat([scores["film"], records[list(FINDINGS)]], axis=1)
    result = evaluate(study, labels, tmp_path, split=False)
    warning = " ".join(note for note in result.notes if note.startswith("Warning"))
    assert "label" in warning


def test_scores_of_drawn_films_are_called_drawn(study, tmp_path):
    drawn = study[2].assign(phantom=1)
    evaluate(study, drawn, tmp_path)
    card = (tmp_path / "evaluated/model_card_someones.md").read_text()
    checklist = (tmp_path / "evaluated/checklist_someones.md").read_text()
    assert "phantom" in card.lower() and "phantom" in checklist.lower()
    # What was measured on drawings has no place among published results.
    assert not table(tmp_path, "published")["ours"].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.head(80), "score\\(s\\) none of the 80 films of the test part"),
        (lambda s: s.assign(film="9" + s["film"].str[1:]), "0 scored films are in the records"),
        (lambda s: s.iloc[:4].assign(film=s["film"].iloc[160:164].to_numpy()), "score more films"),
    ],
)
def test_files_without_films_to_judge_are_refused_in_one_sentence(study, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as refusal:
        evaluate(study, change(study[2]), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "evaluated").exists()
    assert not list(tmp_path.glob(".evaluated*"))


def test_an_earlier_evaluation_is_never_overwritten(study, tmp_path):
    evaluate(study, study[2], tmp_path)
    kept = (tmp_path / "evaluated/tables/auroc_someones.csv").read_bytes()
    with pytest.raises(InputError, match="exists already"):
        evaluate(study, study[2].iloc[::-1], tmp_path)
    assert (tmp_path / "evaluated/tables/auroc_someones.csv").read_bytes() == kept


@pytest.mark.parametrize(
    "names, words",
    [
        (("a/scores.csv", "b/scores.csv"), "2 files are called scores"),
        # Not every file system tells these apart.
        (("a/Scores.csv", "b/scores.tsv"), "2 files are called Scores"),
        (("a/.csv",), "no name that tables could be named after"),
        (("a/..csv.gz",), "no name that tables could be named after"),
    ],
)
def test_files_whose_tables_would_have_one_name_or_none_are_refused(study, tmp_path, names, words):
    paths = [tmp_path / name for name in names]
    with pytest.raises(InputError, match=words):
        foreign_scores.evaluate(paths, study[0], tmp_path / "to", provenance="a test")


def test_files_that_share_no_film_are_not_compared(study, tmp_path):
    with pytest.raises(InputError, match="someones and anothers score no film in common"):
        evaluate(study, study[2][:120], tmp_path, study[2][120:], split=False)
    assert not (tmp_path / "evaluated").exists()


def test_no_table_of_a_model_overwrites_one_of_another(study, tmp_path):
    """Tables are named kind_model, so no kind may be another one and a model's beginning."""
    records, _, scores = study
    records = records.assign(patient_id=[*OFFICIAL_TEST_PATIENTS][:40] * 3 + [*range(120)])
    for name in ("x", "official_x"):
        scores.to_csv(tmp_path / f"{name}.csv", index=False)
    paths = [tmp_path / "x.csv", tmp_path / "official_x.csv"]
    foreign_scores.evaluate(paths, records, tmp_path / "to", provenance="a test")
    tables = [path.name for path in (tmp_path / "to/tables").iterdir()]
    assert "official_auroc_official_x.csv" in tables
    assert len(tables) == 1 + 2 * sum(name.endswith("_official_x.csv") for name in tables)


def test_a_failure_while_writing_leaves_no_half_an_evaluation(study, tmp_path, monkeypatch):
    monkeypatch.setattr(foreign_scores.model_card, "write", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate(study, study[2], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"someones.csv"}


def test_names_leave_out_how_a_file_is_written():
    names = {
        foreign_scores.name_of(Path(f"x/net{end}"))
        for end in (".csv", ".csv.gz", ".tsv", ".parquet")
    }
    assert names == {"net"}
