"""A run of one source judged by another's films: what is compared, and what is named."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.config import SOURCES
from cxr.errors import InputError
from cxr.evaluation import calibration, external, ranking
from cxr.fetch import source_films
from cxr.findings import FINDINGS
from cxr.records import sources


def vindr(films=900, seed=1):
    """Made-up films of VinDr, two a patient, and scores that overstate what they know."""
    random = np.random.default_rng(seed)
    truth = random.uniform(size=(films, 14)) < 0.2
    frame = pd.DataFrame(truth.astype("int8"), columns=list(FINDINGS))
    frame["patient_id"] = 30_000_000 + np.arange(films) // 2
    mute = [f for f in FINDINGS if f not in sources.labelled("vindr")]
    frame[mute] = 0
    frame["uncertain"] = np.where(np.arange(films) % 10 == 0, "Effusion", "")
    frame.loc[frame["uncertain"] == "Effusion", "Effusion"] = 0
    frame["unlabelled"] = "|".join(mute)
    frame["source"] = "vindr"
    frame.index = pd.Index([f"{p}_{n % 2:03}.png" for n, p in enumerate(frame["patient_id"])])
    logit = random.normal(-1.4 + 1.4 * truth, 1)
    scores = pd.DataFrame(1 / (1 + np.exp(-(1.5 + 2 * logit))), frame.index, list(FINDINGS))
    return frame, scores


@pytest.fixture(scope="module")
def compared():
    frame, scores = vindr()
    local = external.draw_local(frame, films=300, seed=42)
    found = external.evaluate(frame, scores, local, trained_on="nih")
    return frame, scores, local, found


def test_whole_patients_recalibrate_and_they_judge_nothing(compared):
    frame, _, local, found = compared
    assert 300 <= local.sum() <= 301
    assert not set(frame["patient_id"][local]) & set(frame["patient_id"][~local])
    assert (found.local, found.scored) == (local.sum(), (~local).sum())
    again = external.draw_local(frame, films=300, seed=42)
    assert (again == local).all()
    assert (external.draw_local(frame, films=300, seed=43) != local).any()
    assert not external.draw_local(frame, films=0, seed=42).any()


def test_a_finding_is_judged_on_films_whose_label_is_certain(compared):
    frame, scores, local, found = compared
    row = found.table.set_index("finding").loc["Effusion"]
    certain = ~local & (frame["uncertain"] == "").to_numpy()
    assert row["films"] == certain.sum() and row["uncertain"] == (~local).sum() - certain.sum()
    # The films alone give the same numbers: nothing of the others leaks in.
    judged = ranking.Judged.of(frame[certain], scores[certain])
    alone = ranking.auroc_by_finding(judged).set_index("finding").loc["Effusion"]
    assert row["auroc"] == pytest.approx(alone["auroc"])
    brier = calibration.measures(judged).set_index("finding").loc["Effusion", "brier"]
    assert row["brier"] == pytest.approx(brier)
    # Counting the uncertain as negative would say something else.
    naive = ranking.Judged.of(frame[~local], scores[~local])
    assert ranking.auroc_by_finding(naive)["auroc"][2] != pytest.approx(alone["auroc"])


def test_local_films_mend_what_scores_mean_and_not_how_they_rank(compared):
    table = compared[3].table
    mended = table[table["recalibration"] == "recalibrated"]
    assert len(mended) >= 6
    assert (mended["brier_recalibrated"] < mended["brier"]).all()
    # Scores were made with an intercept of 1.5 too much and a slope twice too large.
    assert (mended["intercept_recalibrated"].abs() < mended["intercept"].abs()).all()
    assert (mended["slope"] < 0.9).all() and mended["slope_recalibrated"].median() > 0.9


def test_what_cannot_be_compared_is_named(compared):
    found = compared[3]
    remarks = found.table.set_index("finding")["remark"]
    assert remarks["Hernia"] == remarks["Edema"] == "not labelled by vindr"
    assert remarks["Mass"] == "not labelled by vindr"  # only "nodule or mass" is
    assert found.table.set_index("finding").loc["Hernia", "auroc":"slope"].isna().all()
    text = external.in_words(found, "baseline-patient", "vindr")
    assert "Not compared (not labelled by vindr): Mass, Nodule, Pneumonia" in text
    assert f"{found.scored:,} films of {found.scored_patients:,} patients judge" in text


def test_a_finding_that_the_runs_own_source_never_labels_is_not_compared():
    frame, scores = vindr(300)
    found = external.evaluate(frame, scores, np.zeros(300, bool), trained_on="chexpert")
    remarks = found.table.set_index("finding")["remark"]
    assert remarks["Infiltration"] == "not labelled by chexpert"
    assert remarks["Emphysema"] == "not labelled by chexpert and vindr"


def test_without_local_films_nothing_is_recalibrated():
    frame, scores = vindr(300)
    found = external.evaluate(frame, scores, np.zeros(300, bool), trained_on="nih")
    row = found.table.set_index("finding").loc["Infiltration"]
    assert row["recalibration"] == "none: too few patients among the local films"
    assert np.isnan(row["brier_recalibrated"]) and row["brier"] > 0


def test_the_same_source_is_no_external_validation():
    frame, scores = vindr(20)
    with pytest.raises(InputError, match="trained on vindr, too; 300 judges it"):
        external.evaluate(frame, scores, np.zeros(20, bool), trained_on="vindr")


def own_table(films=300):
    """Films of a table of one's own, which says nothing of Hernia."""
    frame, scores = vindr(films)
    frame["source"], frame["uncertain"], frame["unlabelled"] = "folder", "", "Hernia"
    return frame.assign(Hernia=0), scores


def test_another_table_of_ones_own_may_be_another_hospitals():
    frame, scores = own_table()
    nobody = np.zeros(300, bool)
    with pytest.raises(InputError, match="trained on folder, too"):
        external.evaluate(frame, scores, nobody, trained_on="folder")
    found = external.evaluate(
        frame, scores, nobody, trained_on="folder", another_table=True, unlearned=["Mass"]
    )
    remarks = found.table.set_index("finding")["remark"]
    assert remarks["Effusion"] == ""
    assert remarks["Mass"] == "on no film that the run learned from"
    assert remarks["Hernia"] == "not labelled by the other folder"
    # Another source is the same source, whichever table.
    with pytest.raises(InputError, match="trained on vindr, too"):
        external.refuse_nothing(vindr(20)[0], trained_on="vindr", another_table=True)


def test_a_finding_that_no_film_of_the_table_labels_is_not_compared():
    frame, scores = own_table()
    found = external.evaluate(frame, scores, np.zeros(300, bool), trained_on="nih")
    assert found.table.set_index("finding").loc["Hernia", "remark"] == "not labelled by folder"


def test_films_that_the_run_knows_are_told_under_whatever_name():
    files = ["a/00000001_000.png", "a/00000002_000.png.jpg", "00000003_000"]
    records = pd.DataFrame({"film": ["1", "2", "3"], "file": files})
    nih = pd.DataFrame({"film": ["00000002_000.png", "00000003_000.png", "00000004_000.png"]})
    assert external.own_films(records, nih) == {"2": "00000002_000.png", "3": "00000003_000.png"}
    # NIH's own records name no other files.
    assert external.own_films(nih, records) == {}


def test_local_films_may_not_be_most_of_them():
    with pytest.raises(InputError, match="more than half of the 100 films"):
        external.draw_local(vindr(100)[0], films=60, seed=42)


def test_the_settings_know_the_sources_that_exist():
    assert ("nih", *sources.SOURCES) == SOURCES


# ---- which file is which record's -----------------------------------------------------------


@pytest.mark.parametrize(
    "file, lies",
    [
        ("patient00001/study1/view1.jpg", "small/train/patient00001/study1/view1.jpg"),
        ("patient00001/study1/view1.jpg", "patient00001/study1/view1.png"),
        ("2053_k6ga29.png", "0/2053_k6ga29.png"),
        ("50a418190bc3", "train/50a418190bc3.dicom"),
        ("50a418190bc3", "50a418190bc3.png"),
        ("CXR1_1_IM-0001-4001", "CXR1_1_IM-0001-4001.png"),
        ("CXR12_IM-0001-4001", "12/12_IM-0001-4001.dcm"),
        ("sub/a.png", "deep/er/sub/a.jpeg"),
    ],
)  # fmt: skip
def test_a_film_is_found_as_its_source_ships_it(tmp_path, file, lies):
    path = tmp_path / lies
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (8, 8)).save(path, format="PNG")
    (tmp_path / "readme.txt").touch()
    records = pd.DataFrame({"film": ["10000001_000.png"], "file": [file]})
    assert source_films.find(tmp_path, records) == {"10000001_000.png": path}


def test_views_of_the_same_name_belong_to_their_own_patients(tmp_path):
    files = [f"patient0000{p}/study1/view1_frontal.jpg" for p in (1, 2)]
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    records = pd.DataFrame({"film": ["b", "a"], "file": files})
    assert source_films.find(tmp_path, records) == {
        "a": tmp_path / files[1],
        "b": tmp_path / files[0],
    }


def test_two_files_of_one_film_are_refused(tmp_path):
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "x.png").touch()
    with pytest.raises(InputError, match="two files of one film"):
        source_films.find(tmp_path, pd.DataFrame({"film": ["a"], "file": ["x"]}))


def test_a_folder_without_its_films_is_refused(tmp_path):
    (tmp_path / "y.png").touch()
    with pytest.raises(InputError, match=r"none of the 1 files .* whose first is x"):
        source_films.find(tmp_path, pd.DataFrame({"film": ["a"], "file": ["x"]}))


def test_two_films_that_differ_in_their_ending_are_two(tmp_path):
    records = pd.DataFrame({"film": ["f1", "f2"], "file": ["a.png", "a.jpg"]})
    (tmp_path / "a.png").write_bytes(b"")
    assert source_films.find(tmp_path, records) == {"f1": tmp_path / "a.png"}
    (tmp_path / "a.jpg").write_bytes(b"")
    assert set(source_films.find(tmp_path, records)) == {"f1", "f2"}


def test_films_that_cannot_judge_are_refused_before_they_are_scored():
    records = vindr(20)[0].copy()
    records["unlabelled"], records["uncertain"] = "|".join(FINDINGS), ""
    with pytest.raises(InputError, match="nothing to judge by"):
        external.refuse_nothing(records, trained_on="nih")
    with pytest.raises(InputError, match="--local -5"):
        external.draw_local(records, films=-5, seed=1)
