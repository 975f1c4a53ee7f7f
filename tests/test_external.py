"""Evaluating anybody's scores: good files in any shape, bad ones in one sentence."""

import numpy as np
import pandas as pd
import pytest

from cxr import external
from cxr.errors import InputError
from cxr.findings import FINDINGS


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


def evaluate(study, scores, folder):
    path = folder / "someones.csv"
    scores.to_csv(path, index=False)
    return external.evaluate_scores(
        path,
        study[0],
        study[1],
        folder / "presentation",
        split_name="patient",
        provenance="a test",
        replicates=100,
    )


def test_scores_of_test_and_validation_films_give_all_tables_and_pages(study, tmp_path):
    result = evaluate(study, study[2].iloc[80:], tmp_path)
    folder = tmp_path / "presentation"
    tables = {path.name.removesuffix("_someones.csv") for path in (folder / "tables").iterdir()}
    assert tables == {
        "auroc", "auprc", "roc", "precision_recall", "test_results", "published", "controls",
        "calibration", "reliability", "operating_points", "subgroups", "net_benefit",
    }  # fmt: skip
    pages = {path.name.removesuffix("_someones.html") for path in (folder / "figures").iterdir()}
    assert {"roc", "auroc", "reliability", "operating_points", "decision_curves"} <= pages
    auroc = pd.read_csv(folder / "tables" / "auroc_someones.csv")
    assert auroc["films"].iloc[-1] == 80 and auroc["auroc"].iloc[-1] > 0.75
    card = (folder / "model_card_someones.md").read_text()
    assert f"{auroc['auroc'].iloc[-1]:.3f}" in card and "not a medical device" in card
    assert "only its scores were given" in card
    assert (folder / "checklist_someones.md").exists()
    assert result.notes == ()
    assert "Mean AUROC over 14 findings" in str(result)


def written(scores, folder):
    scores.to_csv(folder / "scores.csv", index=False)
    return folder / "scores.csv"


def test_prefixes_spellings_order_and_header_do_not_matter(study, tmp_path):
    plain, notes = external.read(written(study[2], tmp_path))
    names = {f: f"prob_{f.replace('_', ' ')}" for f in FINDINGS} | {"film": "Image Index"}
    odd = study[2].rename(columns=names)[list(names.values())[::-1]].iloc[::-1]
    again, _ = external.read(written(odd, tmp_path))
    assert notes == [] and list(plain.columns) == list(FINDINGS)
    pd.testing.assert_frame_equal(again.sort_index(), plain.sort_index())


def test_labels_beside_probabilities_are_not_taken_for_scores(study, tmp_path):
    records, _, scores = study
    both = scores.rename(columns={f: f"prob_{f}" for f in FINDINGS})
    both = both.merge(records[["film", *FINDINGS]], on="film")
    found, _ = external.read(written(both, tmp_path))
    pd.testing.assert_frame_equal(found, scores.set_index("film"))


def test_without_validation_films_thresholds_are_said_to_be_unknown(study, tmp_path):
    result = evaluate(study, study[2].iloc[160:], tmp_path)
    assert any("thresholds" in note and "not estimable" in note for note in result.notes)
    tables = tmp_path / "presentation" / "tables"
    assert pd.read_csv(tables / "operating_points_someones.csv")["threshold"].isna().all()
    card = (tmp_path / "presentation" / "model_card_someones.md").read_text()
    assert "no validation scores to choose thresholds by" in card


def test_missing_findings_and_films_are_counted(study, tmp_path):
    scores = study[2].drop(columns=["Hernia", "Mass"]).iloc[160:200]
    strange = scores.head(2).assign(film=["99999998_000.png", "99999999_000.png"])
    scores = pd.concat([scores, strange, study[2].drop(columns=["Hernia", "Mass"]).head(3)])
    result = evaluate(study, scores, tmp_path)
    text = " ".join(result.notes)
    assert "Without a column, so not estimable: Mass, Hernia." in text
    assert "2 scored film(s) are not in the records" in text
    assert "3 scored film(s) belong to the training part" in text
    assert "40 of 80 test films have no score" in text
    auroc = result.auroc.set_index("finding")["auroc"]
    assert auroc[["Mass", "Hernia"]].isna().all() and auroc["Mean"] > 0.7


def broken(scores, column, row, value):
    changed = scores.astype({column: object})
    changed.iloc[row, changed.columns.get_loc(column)] = value
    return changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: broken(s, "Mass", 170, np.nan), r"1 of 240 scores in the column 'Mass'.*empty"),
        (lambda s: broken(s, "Mass", 170, "high"), "not a number, first for 00000170_000.png"),
        (lambda s: broken(s, "Mass", 3, 1.2), "outside 0 to 1, first for 00000003_000.png"),
        (lambda s: s.assign(Mass=s["Mass"] * 8 - 5), "outside 0 to 1"),
        (lambda s: pd.concat([s, s.tail(2)]), r"2 film\(s\) more than once"),
        (lambda s: s.drop(columns="film"), "needs one column 'Image Index' or 'film'"),
        (lambda s: s[["film"]], "no column named after a finding"),
        (lambda s: s.head(0), "holds no film"),
        (lambda s: s.head(80), "scores none of the 80 test films"),
        (lambda s: s.assign(film="x" + s["film"]), "240 of its 240 films are not in the records"),
        (
            lambda s: s.rename(columns={"Mass": "net1_Mass"}).assign(net2_Mass=0.5),
            "several columns per finding",
        ),
        (lambda s: s.assign(mass=0.5), "two columns for Mass"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(study, tmp_path, change, message):
    with pytest.raises(InputError, match=message) as refusal:
        evaluate(study, change(study[2]), tmp_path)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "presentation").exists()


def test_only_one_class_is_refused(study, tmp_path):
    records, split, scores = study
    nobody = records.assign(**dict.fromkeys(FINDINGS, 0))
    with pytest.raises(InputError, match="no finding has both positive and negative films"):
        evaluate((nobody, split, scores), scores, tmp_path)


@pytest.mark.parametrize("content", [None, "", "\x00\x01\x02"])
def test_a_file_that_is_no_table_is_refused(tmp_path, content):
    path = tmp_path / "scores.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=r"scores\.csv"):
        external.read(path)
