"""Heatmaps against drawn boxes, by hand."""

import numpy as np
import pandas as pd
import pytest

from cxr.evaluation import localisation
from cxr.evaluation.localisation import Case, Prediction


def case(boxes, film="a.png", patient=1, finding="Mass"):
    return Case(film, patient, finding, np.array(boxes, dtype=float))


def judged(case_, point, boxes):
    prediction = Prediction(np.array(point, float), np.array(boxes, float).reshape(-1, 4))
    return localisation.judge([case_], [prediction]).iloc[0]


def test_overlaps_by_hand():
    # 10 x 10 and 10 x 10, shifted by (5, 0): 50 shared, 150 together.
    iou, iobb = localisation.overlaps(np.array([[0, 0, 10, 10.0]]), np.array([[5, 0, 10, 10.0]]))
    assert iou.item() == pytest.approx(50 / 150)
    assert iobb.item() == pytest.approx(50 / 100)


def test_iobb_divides_by_the_predicted_box():
    # A small predicted box inside a large drawn one: IoBB 1, IoU 1/100.
    iou, iobb = localisation.overlaps(np.array([[10, 10, 1, 1.0]]), np.array([[5, 5, 10, 10.0]]))
    assert (iou.item(), iobb.item()) == (pytest.approx(0.01), 1.0)


def test_boxes_apart_do_not_overlap():
    iou, iobb = localisation.overlaps(np.array([[0, 0, 1, 1.0]]), np.array([[5, 5, 1, 1.0]]))
    assert iou.item() == iobb.item() == 0


def test_the_pointing_game_takes_any_of_the_films_boxes():
    boxes = case([[0, 0, 10, 10], [100, 100, 10, 10]])
    assert judged(boxes, (105, 110), [])["pointing game"] == 1
    assert judged(boxes, (50, 50), [])["pointing game"] == 0


def test_no_answer_is_a_miss_and_not_an_error():
    row = judged(case([[0, 0, 10, 10]]), (np.nan, np.nan), [])
    assert row["pointing game"] == row["IoU >= 0.1"] == row["false boxes at IoBB 0.1"] == 0


def test_thresholds_and_false_boxes_by_hand():
    # IoBB 0.5 and 0: found up to T = 0.5; one false box up to there, two above.
    row = judged(case([[0, 0, 10, 10]]), (5, 5), [[5, 0, 10, 10], [50, 50, 10, 10]])
    assert [row[f"IoBB >= {t}"] for t in localisation.IOBB_THRESHOLDS] == [1, 1, 1, 0, 0]
    assert [row[f"false boxes at IoBB {t}"] for t in localisation.IOBB_THRESHOLDS] == [
        1,
        1,
        1,
        2,
        2,
    ]
    assert [row[f"IoU >= {t}"] for t in localisation.IOU_THRESHOLDS] == [1, 1, 1, 0, 0]


def test_a_hot_cell_becomes_a_point_and_a_box_around_it():
    heatmap = np.zeros((8, 8))
    heatmap[2, 5] = 0.3  # below, row 2 and column 5 of 8: y 256 to 384, x 640 to 768
    point, boxes = localisation.from_heatmap(heatmap)
    assert point == pytest.approx([704, 320], abs=8)
    assert len(boxes) == len(localisation.LEVELS)
    for x, y, width, height in boxes:
        assert x <= 704 <= x + width and y <= 320 <= y + height


def test_two_regions_give_two_boxes_per_level():
    heatmap = np.zeros((16, 16))
    heatmap[2, 2] = heatmap[12, 12] = 1.0
    assert len(localisation.from_heatmap(heatmap).boxes) == 2 * len(localisation.LEVELS)


def test_an_empty_heatmap_points_nowhere():
    point, boxes = localisation.from_heatmap(np.zeros((7, 7)))
    assert np.isnan(point).all() and boxes.shape == (0, 4)


def test_the_mean_box_leaves_the_patient_out():
    cases = [
        case([[0, 0, 10, 10]], "a.png", 1),
        case([[20, 20, 30, 30]], "b.png", 2),
        case([[40, 40, 50, 50]], "c.png", 1),
        case([[0, 0, 5, 5]], "d.png", 3, "Nodule"),
    ]
    predicted = localisation.mean_box(cases)
    np.testing.assert_array_equal(predicted[0].boxes, [[20, 20, 30, 30]])
    np.testing.assert_array_equal(predicted[1].boxes, [[20, 20, 30, 30]])  # of a and c
    assert np.isnan(predicted[3].point).all()  # nobody else has a Nodule
    np.testing.assert_array_equal(localisation.centre(cases)[0].boxes, [[497, 497, 30, 30]])


def test_cases_are_the_boxed_films_that_are_there():
    boxes = pd.DataFrame(
        {
            "film": ["a.png", "a.png", "b.png"],
            "finding": ["Mass", "Mass", "Mass"],
            "x": [1.0, 2, 3], "y": [1.0, 2, 3], "width": [1.0, 2, 3], "height": [1.0, 2, 3],
        }
    )  # fmt: skip
    records = pd.DataFrame({"film": ["a.png", "c.png"], "patient_id": [5, 6]})
    (only,) = localisation.cases(boxes, records)
    assert (only.film, only.patient_id, len(only.boxes)) == ("a.png", 5, 2)


def test_the_summary_has_an_interval_where_there_are_patients_enough():
    cases = [case([[0, 0, 10, 10]], f"{n}.png", n) for n in range(20)]
    cases += [case([[0, 0, 10, 10]], "n.png", 99, "Nodule")]
    points = [Prediction(np.array([5.0 + 20 * (n % 2), 5.0]), np.empty((0, 4))) for n in range(21)]
    table = localisation.summarise({"method": localisation.judge(cases, points)})
    rows = table.query("measure == 'pointing game'").set_index("finding")
    assert rows.loc["Mass", "value"] == 0.5
    assert rows.loc["Mass", "low"] < 0.5 < rows.loc["Mass", "high"]
    assert rows.loc["Nodule", "cases"] == 1
    assert rows.loc["Nodule", ["value", "low", "high"]].isna().all()
    assert rows.loc["All", "cases"] == 21


def test_the_most_covered_point_lies_where_boxes_of_other_patients_overlap():
    # The second and third box share x and y from 300 to 400. For their own patients only
    # the others count.
    cases = [
        case([[0, 0, 100, 100]], "a.png", 1),
        case([[200, 200, 200, 200]], "b.png", 2),
        case([[300, 300, 200, 200]], "c.png", 3),
        case([[600, 600, 100, 100]], "d.png", 4, "Nodule"),
    ]
    first, second, third, alone = localisation.most_covered(cases)
    assert ((first.point >= 300) & (first.point <= 400)).all()
    assert first.boxes.shape == (0, 4)
    # Two boxes that nothing tells apart: the upper left one.
    assert ((second.point <= 100) & (third.point <= 100)).all()
    assert np.isnan(alone.point).all()
    # Counted on other films, as the boxes of training films are.
    (told,) = localisation.most_covered(cases[:1], cases[1:3])
    np.testing.assert_array_equal(told.point, first.point)


def test_a_film_with_two_boxes_counts_once_where_they_overlap():
    cases = [
        case([[0, 0, 100, 100], [0, 0, 100, 100]], "a.png", 1),
        case([[500, 500, 100, 100]], "b.png", 2),
        case([[500, 500, 100, 100]], "c.png", 3),
        case([[0, 0, 1, 1]], "d.png", 4),
    ]
    assert (localisation.most_covered(cases)[3].point >= 500).all()


@pytest.mark.parametrize(
    "ours, fixed, verdict",
    [
        ([1] * 10, [0] * 10, "find more than"),
        ([0] * 10, [1] * 10, "find less than"),
        ([1, 0] * 5, [0, 1] * 5, "are not shown to find more than"),
    ],
)
def test_words_beside_a_heatmap_follow_its_hits(ours, fixed, verdict):
    cases = [case([[0, 0, 10, 10]], f"{n}.png", n) for n in range(10)]

    def of(found):
        points = [np.array([5.0 if hit else 50.0] * 2) for hit in found]
        return localisation.judge(cases, [Prediction(p, np.empty((0, 4))) for p in points])

    said = localisation.in_words({"ours": of(ours), localisation.FIXED: of(fixed)}, "ours")
    assert f"So these heatmaps {verdict} a point" in said
    assert (
        f"on 10 films, the hottest point of the heatmap lies in a box for {10 * sum(ours)} %"
        in said
    )
    # Two findings of one film are one film; RSNA's boxes are told apart from NIH's.
    twice = {"ours": of(ours), localisation.FIXED: of(fixed)}
    twice = {name: frame.assign(film="0.png") for name, frame in twice.items()}
    assert "Of 10 findings that radiologists boxed on 1 film" in localisation.in_words(
        twice, "ours"
    )
    read = {name: frame.assign(finding="Lung Opacity") for name, frame in twice.items()}
    assert "that RSNA's radiologists boxed" in localisation.in_words(read, "ours")


def test_nothing_is_said_of_heatmaps_without_enough_boxes():
    nothing = localisation.judge([], [])
    assert localisation.in_words({"ours": nothing, localisation.FIXED: nothing}, "ours") == ""
    one = [case([[0, 0, 10, 10]])]
    single = localisation.judge(one, localisation.most_covered(one))
    assert localisation.in_words({"ours": single, localisation.FIXED: single}, "ours") == ""


def test_without_boxes_there_is_an_empty_summary():
    assert localisation.summarise({"method": localisation.judge([], [])}).empty


def test_the_advantage_is_paired_and_also_over_findings():
    # Ours finds all ten Mass boxes and no Nodule; the other one finds the five Nodules only.
    # One patient's box of Edema counts in "All" alone.
    cases = [case([[0, 0, 10, 10]], f"{n}.png", n) for n in range(10)]
    cases += [case([[0, 0, 10, 10]], f"{n}.png", n, "Nodule") for n in range(10, 15)]
    cases += [case([[0, 0, 10, 10]], "15.png", 15, "Edema")]
    hit, missed = (Prediction(np.array([x, 5.0]), np.empty((0, 4))) for x in (5.0, 50.0))
    judged = {
        "ours": localisation.judge(cases, [hit] * 10 + [missed] * 6),
        "other": localisation.judge(cases, [missed] * 10 + [hit] * 5 + [missed]),
    }
    table = localisation.advantage(judged, "ours").set_index("over")
    assert table.loc["All", "difference"] == pytest.approx((10 - 5) / 16)
    assert table.loc["mean over findings", "difference"] == pytest.approx((1 - 1) / 2)
    assert table.loc["All", "low"] <= 5 / 16 <= table.loc["All", "high"]
