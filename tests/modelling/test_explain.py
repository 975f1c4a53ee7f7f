"""Heatmaps, maps and filters of every registered model, and of one known by hand."""

import numpy as np
import pandas as pd
import pytest
import toy_runs
from PIL import Image

from cxr.evaluation.localisation import Case, Prediction
from cxr.findings import FINDINGS
from cxr.modelling import explain, models
from cxr.modelling.tensors import keras
from cxr.records import rsna


@pytest.fixture(scope="module")
def bright_spot_model():
    """Its first finding is the mean brightness of 2 x 2 cells; the others are constant."""
    film = keras.Input((32, 32, 1))
    cells = keras.layers.AveragePooling2D(2, name="cells")(film)
    mean = keras.layers.GlobalAveragePooling2D()(cells)
    scores = keras.layers.Dense(14, activation="sigmoid")(mean)
    model = keras.Model(film, scores)
    weights = np.zeros((1, 14))
    weights[0, 0] = 0.01
    model.layers[-1].set_weights([weights, np.zeros(14)])
    return model


@pytest.fixture
def films():
    """Two films, dark but for a bright square; a faint stripe is on every film."""
    pictures = np.zeros((2, 32, 32, 1), dtype=np.uint8)
    pictures[:, :, 0:2] = 200
    pictures[0, 8:10, 20:22] = 150
    pictures[1, 24:26, 10:12] = 150
    return pictures


@pytest.fixture
def background():
    pictures = np.zeros((4, 32, 32, 1), dtype=np.uint8)
    pictures[:, :, 0:2] = 200
    return pictures


def hottest(heatmap):
    return np.unravel_index(np.argmax(heatmap), heatmap.shape)


def test_evidence_lies_where_the_film_differs_from_the_average(
    bright_spot_model, films, background
):
    explainer = explain.Explainer(bright_spot_model, background)
    maps = explainer.heatmaps(films, np.array([0, 0]))
    assert [hottest(heatmap) for heatmap in maps] == [(4, 10), (12, 5)]
    assert maps[0].sum() == 1  # that cell and no other


@pytest.mark.parametrize("bias", [-40.0, 40.0])
def test_a_model_that_is_very_sure_still_says_where(bright_spot_model, films, background, bias):
    expected = explain.Explainer(bright_spot_model, background).heatmaps(films, np.array([0, 0]))
    sure = keras.models.clone_model(bright_spot_model)
    kernel, offsets = bright_spot_model.get_weights()
    sure.set_weights([kernel, offsets + bias])
    assert set(np.round(sure.predict(films, verbose=0)[:, 0], 6)) == {float(bias > 0)}
    maps = explain.Explainer(sure, background).heatmaps(films, np.array([0, 0]))
    np.testing.assert_array_equal(maps, expected)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_explains_as_single_precision_does(precision):
    pictures = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1), np.uint8)
    keras.utils.set_random_seed(0)
    single = models.build("baseline", image_size=64, weights="none")
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(precision)
        half = models.build("baseline", image_size=64, weights="none")
    finally:
        keras.config.set_dtype_policy(before)
    half.set_weights(single.get_weights())
    assert any(layer.compute_dtype == precision.removeprefix("mixed_") for layer in half.layers)
    maps = [
        explain.Explainer(model, pictures).heatmaps(pictures, np.arange(8))
        for model in (single, half)
    ]
    np.testing.assert_array_equal(*maps)


def test_a_network_without_a_sigmoid_cannot_be_explained(bright_spot_model, background):
    film = keras.Input((32, 32, 1))
    other = keras.Model(film, keras.layers.Flatten()(keras.layers.AveragePooling2D(2)(film)))
    with pytest.raises(ValueError, match="has no sigmoid"):
        explain.Explainer(other, background)


def test_grad_cam_also_shows_what_is_on_every_film(bright_spot_model, films, background):
    explainer = explain.Explainer(bright_spot_model, background)
    maps = explainer.heatmaps(films, np.array([0, 0]), method="grad_cam")
    # The stripe, brighter than the square, fills the first column.
    assert hottest(maps[0])[1] == 0
    assert maps[0][4, 10] == pytest.approx(150 / 200)


def test_a_finding_that_the_film_does_not_move_has_an_empty_map(
    bright_spot_model, films, background
):
    explainer = explain.Explainer(bright_spot_model, background)
    assert not explainer.heatmaps(films, np.array([3, 3])).any()


def test_shuffled_weights_are_the_same_numbers_and_another_model(bright_spot_model):
    model = models.build("baseline", image_size=64)
    shuffled = explain.randomised(model, seed=1)
    for old, new in zip(model.get_weights(), shuffled.get_weights(), strict=True):
        np.testing.assert_array_equal(np.sort(old.ravel()), np.sort(new.ravel()))
    picture = np.random.default_rng(0).integers(0, 255, (1, 64, 64, 1)).astype(np.float32)
    assert not np.allclose(model(picture), shuffled(picture))


def test_activation_maps_are_what_the_layers_compute():
    film = keras.Input((8, 8, 1), name="film")
    grey = keras.layers.Concatenate()([film, film, film])
    first = keras.layers.Conv2D(2, 3, padding="same", use_bias=False, name="first")
    each = keras.layers.DepthwiseConv2D(1, use_bias=False, name="each")
    model = keras.Model(film, keras.layers.Flatten()(each(first(grey))))
    # The first filter passes its pixel on, a third from each colour; the second answers with
    # its left neighbour, from one colour alone.
    weights = np.zeros((3, 3, 3, 2), np.float32)
    weights[1, 1, :, 0] = 1 / 3
    weights[1, 0, 2, 1] = 1
    first.set_weights([weights])
    each.set_weights([np.full((1, 1, 2, 1), -2, np.float32)])
    picture = np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)
    maps = explain.activations(model, picture)
    assert list(maps) == ["film", "first", "each"]
    np.testing.assert_array_equal(maps["film"][..., 0], picture)
    np.testing.assert_allclose(maps["first"][..., 0], picture, rtol=1e-6)
    np.testing.assert_allclose(maps["first"][:, 1:, 1], picture[:, :-1], rtol=1e-6)
    np.testing.assert_allclose(maps["each"], -2 * maps["first"])
    passes, shifts = explain.first_filters(model)
    assert passes.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert shifts.tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", toy_runs.EVERY_MODEL)
def test_every_layer_of_every_registered_model_has_maps(name):
    model = models.build(name, image_size=64)
    picture = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
    maps = explain.activations(model, picture)
    counted = sum("conv" in type(layer).__name__.lower() for layer in model.layers)
    assert len(maps) == 1 + counted
    for layer, values in maps.items():
        assert values.shape == model.get_layer(layer).output.shape[1:]
        assert np.isfinite(values).all()
    filters = explain.first_filters(model)
    assert len(filters) == list(maps.values())[1].shape[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", toy_runs.EVERY_MODEL)
def test_every_registered_model_can_be_explained(name):
    model = models.build(name, image_size=64)
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (3, 64, 64, 1), dtype=np.uint8)
    explainer = explain.Explainer(model, pictures)
    maps = explainer.heatmaps(pictures, np.array([0, 5, 13]))
    assert maps.shape[0] == 3 and min(maps.shape[1:]) >= explain.FEWEST_ROWS
    assert np.isfinite(maps).all() and maps.min() >= 0 and maps.max() == 1
    assert not isinstance(explainer.layer, keras.layers.ZeroPadding2D)


def test_films_are_located_in_their_own_space(bright_spot_model, films, background, tmp_path):
    paths = {}
    for name, picture in zip(("a.png", "b.png"), films, strict=True):
        paths[name] = tmp_path / name
        Image.fromarray(picture[..., 0]).save(paths[name])
    cases = [Case(name, 1, FINDINGS[0], np.zeros((1, 4))) for name in paths]
    explainer = explain.Explainer(bright_spot_model, background)
    first, second = explainer.locate(cases, paths)
    # Pixel 20 to 22 of 32 across, 8 to 10 down: times 32 in the 1024-px film.
    assert first.point == pytest.approx([21 * 32, 9 * 32], abs=16)
    assert second.point == pytest.approx([11 * 32, 25 * 32], abs=16)
    assert explainer.look(list(paths), FINDINGS[0], paths).shape == (2, 16, 16)


def test_opacities_are_asked_of_every_method_beside_points_that_know_no_film(
    bright_spot_model, films, background, tmp_path
):
    names = ["00000001_000.png", "00000002_000.png"]
    paths = {name: tmp_path / name for name in names}
    for name, picture in zip(names, films, strict=True):
        Image.fromarray(picture[..., 0]).save(paths[name])
    # Around the bright square of the first film, and where the second one is dark.
    boxes = pd.DataFrame(
        {"film": names, "x": [600.0, 0], "y": [200.0, 900], "width": 100.0, "height": 100.0}
    )
    read = pd.DataFrame({"film": names, "reading": "Lung Opacity"})
    records = pd.DataFrame({"film": names, "patient_id": [1, 2]})
    scores = pd.DataFrame(0.0, index=names, columns=list(FINDINGS)).assign(Pneumonia=1.0)
    explainer = explain.Explainer(bright_spot_model, background)

    def right(cases, given):
        return [Prediction(case.boxes[0, :2], np.empty((0, 4))) for case in cases]

    judged = explain.opacities(
        rsna.Readings(read, boxes), records, scores, explainer, explainer, paths, "net",
        {"net, learned": right},
    )  # fmt: skip
    assert list(judged) == [
        "net", "net, Grad-CAM", "net, shuffled weights", "net, learned",
        "most covered point", "mean box", "centre",
    ]  # fmt: skip
    assert judged["net, learned"]["pointing game"].tolist() == [1, 1]
    # The model's maps of Pneumonia are empty: it sees nothing but its first finding.
    assert judged["net"]["pointing game"].tolist() == [0, 0]
    nobody = rsna.nothing("No folder")
    assert explain.opacities(nobody, records, scores, explainer, explainer, paths, "net") == {}


def test_no_cases_are_no_error(bright_spot_model, background):
    explainer = explain.Explainer(bright_spot_model, background)
    assert explainer.locate([], {}) == []


def test_a_model_without_a_map_is_named():
    film = keras.Input((32, 32, 1))
    model = keras.Model(film, keras.layers.Dense(14)(keras.layers.Flatten()(film)), name="flat")
    with pytest.raises(ValueError, match="flat has no feature map"):
        explain.feature_layer(model)
