"""RSNA's readings: read in both forms, held against labels, scores and heatmaps."""

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
from made_up import people

from cxr.errors import InputError
from cxr.evaluation import localisation, radiologists
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS, NO_FINDING
from cxr.records import rsna

ROWS = (
    ("00000001_000.png", "Normal", "", "", "", ""),
    ("00000002_000.png", "Lung Opacity", "10", "20", "100", "200"),
    ("00000002_000.png", "Lung Opacity", "500", "20", "100", "200"),
    ("00000003_000.png", "No Lung Opacity / Not Normal", "", "", "", ""),
)


def table(rows=ROWS):
    return pd.DataFrame(rows, columns=["film", "class", "x", "y", "width", "height"])


def as_distributed(folder, frame, *, zipped=True):
    """The three files that users have: boxes, classes, names."""
    sides = ["x", "y", "width", "height"]
    films = {film: f"id-{number}" for number, film in enumerate(frame["film"].unique())}
    patients = frame["film"].map(films)
    boxes = frame[sides].assign(Target=(frame["class"] == "Lung Opacity").astype(int))
    boxes.insert(0, "patientId", patients)
    if zipped:
        with zipfile.ZipFile(folder / rsna.BOXES[0], "w") as archive:
            archive.writestr("kaggle_stage_2_train_labels.csv", boxes.to_csv(index=False))
    else:
        boxes.to_csv(folder / rsna.BOXES[1], index=False)
    classes = pd.DataFrame({"patientId": patients, "class": frame["class"]})
    classes.to_csv(folder / rsna.CLASSES, index=False)
    # All films of the challenge have names, also those without labels.
    names = [{"subset_img_id": i, "img_id": film} for film, i in films.items()]
    names.append({"subset_img_id": "id-99", "img_id": "00000099_000.png"})
    (folder / rsna.NAMES).write_text(json.dumps(names))


def joined(folder, frame):
    frame.to_csv(folder / rsna.JOINED, index=False)


@pytest.mark.parametrize("zipped", [True, False])
def test_both_forms_hold_the_same_readings(tmp_path, zipped):
    one, three = tmp_path / "one", tmp_path / "three"
    one.mkdir(), three.mkdir()
    joined(one, table())
    as_distributed(three, table(), zipped=zipped)
    first, second = rsna.read_readings(one), rsna.read_readings(three)
    pd.testing.assert_frame_equal(first.films, second.films)
    pd.testing.assert_frame_equal(first.boxes, second.boxes)
    assert first.films["reading"].tolist() == ["Normal", "Lung Opacity", rsna.READINGS[2]]
    assert first.boxes["x"].tolist() == [10, 500] and first.missing == ""


@pytest.mark.parametrize("lacking", [rsna.BOXES[0], rsna.CLASSES, rsna.NAMES])
def test_a_missing_file_is_named_in_one_sentence_and_nothing_is_read(tmp_path, lacking):
    as_distributed(tmp_path, table())
    (tmp_path / lacking).unlink()
    readings = rsna.read_readings(tmp_path)
    assert lacking in readings.missing and readings.missing.count(".") <= 4
    assert readings.films.empty and readings.boxes.empty
    assert localisation.opacity_cases(readings, people([1])) == []


def changed(row, column, value):
    frame = table()
    frame.loc[row, column] = value
    return frame


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (changed(0, "film", "1.png"), "line 2: 1.png is no name of an NIH film"),
        (changed(0, "class", "Healthy"), "line 2: .* has a class that is none of Normal"),
        (changed(2, "class", "Normal"), "has two classes"),
        (changed(3, "x", "5"), "line 5: .* has a box, but no Lung Opacity"),
        (changed(1, "x", "wide"), "line 3: .* whose sides are not all numbers"),
        (changed(1, "x", "1000"), "line 3: .* leaves the film's 1024 pixels"),
        (changed(1, "width", "0"), "line 3: .* is empty or leaves"),
        (changed(0, "class", "Lung Opacity"), "line 2: .* has Lung Opacity, but no box"),
        (table().drop(columns="class"), "lacks the column"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, frame, words):
    joined(tmp_path, frame)
    with pytest.raises(InputError, match=words) as refusal:
        rsna.read_readings(tmp_path)
    assert "\n" not in str(refusal.value)


def test_faults_between_the_files_are_named(tmp_path):
    as_distributed(tmp_path, table())
    names = json.loads((tmp_path / rsna.NAMES).read_text())
    (tmp_path / rsna.NAMES).write_text(json.dumps(names[1:]))
    with pytest.raises(InputError, match=r"does not know id-0, which .*\(1 such rows\)"):
        rsna.read_readings(tmp_path)
    names[1]["img_id"] = names[0]["img_id"]
    (tmp_path / rsna.NAMES).write_text(json.dumps(names))
    with pytest.raises(InputError, match="to two films of the challenge"):
        rsna.read_readings(tmp_path)
    (tmp_path / rsna.NAMES).write_text("{")
    with pytest.raises(InputError, match="not RSNA's list of names"):
        rsna.read_readings(tmp_path)
    (tmp_path / rsna.BOXES[0]).write_bytes(b"PK cut")
    with pytest.raises(InputError, match="ZIP file"):
        rsna.read_readings(tmp_path)


@pytest.fixture
def read_anew():
    """120 films of as many patients: 40 Normal, 40 opacities, 40 neither, in turn."""
    frame = people([1] * 120)
    frame[list(FINDINGS)] = 0
    frame["Pneumonia"] = (np.arange(120) % 3 == 1).astype(np.int8)  # on all opacities
    frame.loc[0, "Pneumonia"] = 1  # and on one Normal film
    frame["labels"] = np.where(frame["Pneumonia"] == 1, "Pneumonia", NO_FINDING)
    films = pd.DataFrame(
        {"film": frame["film"], "reading": [rsna.READINGS[n % 3] for n in range(120)]}
    )
    boxes = pd.DataFrame(
        {"film": [frame["film"][1]], "x": [1.0], "y": [2.0], "width": [3.0], "height": [4.0]}
    )
    return rsna.Readings(films, boxes), frame


def test_agreement_counts_the_readings_of_each_mined_label(read_anew):
    shares = radiologists.readings_by_label(*read_anew).set_index("label")
    assert shares.loc["Pneumonia", ["films", "patients"]].tolist() == [41, 41]
    assert shares.loc["Pneumonia", "opacity"] == pytest.approx(40 / 41)
    assert (
        shares.loc["Pneumonia", "opacity_low"] < 40 / 41 < shares.loc["Pneumonia", "opacity_high"]
    )
    assert shares.loc[NO_FINDING, ["normal", "neither"]].tolist() == pytest.approx(
        [39 / 79, 40 / 79]
    )
    assert np.isnan(shares.loc["Mass", "normal"])
    assert shares.loc["any of the four opacities", "films"] == 41


def test_scores_are_held_against_readings_and_mined_labels(read_anew):
    readings, frame = read_anew
    scores = pd.DataFrame(0.1, index=frame["film"], columns=list(FINDINGS))
    scores["Edema"] = np.where(np.arange(120) % 3 == 1, 0.9, 0.2)
    scores["Mass"] = np.where(np.arange(120) % 3 == 0, 0.0, 0.95)
    judged = Judged.of(frame.set_index("film"), scores)
    result = radiologists.evaluate_readings(readings, judged).set_index(["reading", "score"])
    edema = result.loc[("Lung Opacity", "Edema")]
    assert (edema["films"], edema["positives"], edema["positive_patients"]) == (120, 40, 40)
    assert edema["auroc"] == 1 and np.isnan(edema["mined_auroc"])  # nobody has Edema mined
    assert result.loc[("Lung Opacity", "Pneumonia"), "auroc"] == 0.5
    largest = result.loc[("Lung Opacity", "the largest of the four")]
    # Mined, one Normal film counts as positive: it ties with the 79 others.
    assert largest["auroc"] == 1
    assert largest["mined_auroc"] == pytest.approx((40 + 0.5) / 41)
    assert result.loc[("not Normal", "the largest of the 14"), "auroc"] == 1
    without = judged.rescored(scores.drop(columns="Edema"))
    result = radiologists.evaluate_readings(readings, without).set_index(["reading", "score"])
    row = result.loc[("Lung Opacity", "the largest of the four")]
    assert row[["auroc", "low", "high", "mined_auroc"]].isna().all()
    assert row["remark"] == "not scored"
    few = judged.part(np.arange(120) < 9)  # three of each reading
    assert set(radiologists.evaluate_readings(readings, few)["remark"]) == {"too few patients"}


def test_boxes_become_cases_that_the_highest_of_four_scores_is_asked_for(read_anew):
    readings, frame = read_anew
    (case,) = localisation.opacity_cases(readings, frame)
    assert case.finding == "Lung Opacity" and case.boxes.tolist() == [[1, 2, 3, 4]]
    inside = localisation.Prediction(np.array([2.0, 3.0]), np.empty((0, 4)))
    assert localisation.judge([case], [inside])["pointing game"].tolist() == [1]
    scores = pd.DataFrame({f: [0.1] for f in FINDINGS}, index=[case.film])
    scores["Mass"], scores["Consolidation"] = 0.9, 0.3
    assert localisation.opacity_finding(scores)[case.film] == "Consolidation"


def test_radiologists_call_five_of_eight_unlabelled_films_normal(shared, real_records):
    readings = rsna.read_readings(shared / "nih")
    assert (len(readings.films), len(readings.boxes)) == (25_872, 9_045)
    shares = radiologists.readings_by_label(readings, real_records).set_index("label")
    assert shares.loc[NO_FINDING, "films"] == 6_565
    assert shares.loc[NO_FINDING, ["normal", "opacity"]].tolist() == pytest.approx(
        [0.626, 0.081], abs=5e-4
    )
    assert shares.loc["Pneumonia", "films"] == 680
    assert shares.loc["Pneumonia", ["opacity", "normal"]].tolist() == pytest.approx(
        [0.447, 0.178], abs=5e-4
    )
