"""What is learned from boxes: by hand, and on films whose opacities are bright squares."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.evaluation import localisation
from cxr.modelling import locating
from cxr.modelling.tensors import keras
from cxr.records import rsna

SIDE, CELL = 20, 1024 / 20


def network_of():
    """A map of 10 x 10 cells of 2 x 2 pixels; its scores mean nothing here."""
    film = keras.Input((SIDE, SIDE, 1))
    cells = keras.layers.AveragePooling2D(2)(film)
    scores = keras.layers.Dense(14, activation="sigmoid")
    return keras.Model(film, scores(keras.layers.GlobalAveragePooling2D()(cells)))


@pytest.fixture(scope="module")
def network():
    return network_of()


@pytest.fixture(scope="module")
def readings_of_films(tmp_path_factory):
    """40 films of 20 patients; every second one has a bright square, and a box around it."""
    folder, random = tmp_path_factory.mktemp("films"), np.random.default_rng(3)
    rows, boxes, paths = [], [], {}
    for number in range(40):
        film = f"{number // 2 + 1:08d}_{number % 2:03d}.png"
        picture = random.integers(0, 60, (SIDE, SIDE), dtype=np.uint8)
        if number % 2:
            top, left = 2 * random.integers(0, 9, 2)
            picture[top : top + 4, left : left + 4] = 200
            boxes.append((film, left * CELL, top * CELL, 4 * CELL, 4 * CELL))
        paths[film] = folder / film
        Image.fromarray(picture).save(paths[film])
        rows.append((film, number // 2 + 1, "Lung Opacity" if number % 2 else "Normal"))
    films = pd.DataFrame(rows, columns=["film", "patient_id", "reading"])
    boxes = pd.DataFrame(boxes, columns=["film", "x", "y", "width", "height"])
    return rsna.Readings(films[["film", "reading"]], boxes), films, paths


def test_a_cells_share_of_a_box_by_hand():
    # The box fills the upper half of the left upper quarter, and a quarter of the right one's.
    box = np.array([[0, 0, 768, 256.0]])
    np.testing.assert_allclose(locating.cover(box, (2, 2)), [[0.5, 0.25], [0, 0]])
    # Of two boxes the one that takes more of the cell counts.
    both = np.array([[0, 0, 512, 512.0], [0, 0, 256, 512.0]])
    np.testing.assert_allclose(locating.cover(both, (2, 2)), [[1, 0], [0, 0]])
    assert not locating.cover(np.empty((0, 4)), (3, 2)).any()


def test_the_regression_recovers_log_odds():
    # Where the feature is 1, three of four cells lie in a box, where it is 0, one of four:
    # log odds of log 3 and -log 3, wherever on the film.
    told = np.array([1, 1, 1, 1, 0, 0, 0, 0], np.float32).reshape(8, 1, 1, 1)
    covered = np.array([1, 1, 1, 0, 1, 0, 0, 0], np.float32).reshape(8, 1, 1)
    weight, place = locating.learn(told, covered, penalty=0)
    assert weight == pytest.approx([2 * np.log(3)], rel=1e-2)
    assert place == pytest.approx(np.array([[-np.log(3)]]), rel=1e-2)


def test_a_place_with_more_boxes_is_expected_to_have_them():
    # The feature tells nothing: what is left is where boxes lie, drawn together by the penalty.
    told = np.ones((8, 1, 2, 1), np.float32)
    covered = np.zeros((8, 1, 2), np.float32)
    covered[:6, 0, 0] = covered[:2, 0, 1] = 1
    free = locating.learn(told, covered, penalty=1, place_penalty=0)[1]
    drawn = locating.learn(told, covered, penalty=1, place_penalty=10)[1]
    assert free[0, 0] - free[0, 1] == pytest.approx(2 * np.log(3), rel=1e-2)
    assert 0 < drawn[0, 0] - drawn[0, 1] < 1


def test_opacities_of_other_films_are_found(network, readings_of_films, monkeypatch):
    readings, films, paths = readings_of_films
    train, asked = films[films["patient_id"] <= 14], films[films["patient_id"] > 14]
    monkeypatch.setattr(locating, "FEWEST_PATIENTS", 14)
    locator = locating.fit(network, readings, train, paths, seed=1)
    cases = localisation.opacity_cases(readings, asked)
    judged = localisation.judge(cases, locator.locate(cases, paths))
    assert judged["pointing game"].tolist() == [1] * 6
    maps = locator.maps(np.zeros((2, SIDE, SIDE, 1), np.uint8))
    assert maps.shape == (2, 10, 10) and maps.dtype == np.float32
    assert maps.min() >= 0 and maps.max() <= 1


def test_too_few_patients_with_boxes_teach_nothing(network, readings_of_films):
    readings, films, paths = readings_of_films
    few = films[films["patient_id"] < locating.FEWEST_PATIENTS]
    assert locating.fit(network, readings, few, paths, seed=1) is None
    assert locating.fit(network, rsna.nothing("No folder"), films, paths, seed=1) is None


def test_of_many_films_half_have_a_box(network, readings_of_films, monkeypatch):
    readings, films, paths = readings_of_films
    seen = []
    monkeypatch.setattr(locating, "MOST_FILMS", 20)
    monkeypatch.setattr(
        locating, "learn", lambda told, covered: seen.append(covered) or (None, None)
    )
    locating.fit(network, readings, films, paths, seed=1)
    assert len(seen[0]) == 20
    assert seen[0].any(axis=(1, 2)).sum() == 10


def test_an_ensembles_cells_know_what_all_members_know(network):
    members = [network_of(), network_of()]
    for place, member in enumerate(members):
        member.name = f"member{place}"
    film = keras.Input((SIDE, SIDE, 1))
    ensemble = keras.Model(film, keras.layers.Average()([member(film) for member in members]))
    picture = np.random.default_rng(0).integers(0, 255, (2, SIDE, SIDE, 1), dtype=np.uint8)
    both, one = locating.features(ensemble, picture), locating.features(network, picture)
    np.testing.assert_allclose(both, np.concatenate([one, one], axis=-1), rtol=1e-6)
