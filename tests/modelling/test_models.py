import keras
import numpy as np
import pytest
import toy_runs
from keras.src.applications import convnext, densenet, efficientnet_v2, mobilenet

from cxr import config
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import models


@pytest.mark.parametrize(
    ("name", "parameters"),
    # The first two are the original project's; MobileNet at a quarter of its width has
    # 218,544 without its top, 256 x 512 + 512 in the head and 512 x 14 + 14 for the findings;
    # DenseNet-121 7,037,504 without its top and 1,024 x 14 + 14. The residual network has a
    # stem of 25 x 16, then a stage from c to f channels has 10 c f + 9 f f + 4 c + 4 f.
    # EfficientNetV2-B0 and -S have 1,280 features, ConvNeXt-T 768; with ImageNet's 1,000 classes
    # they have 7.2, 21.6 and 28.6 million parameters, as Keras and Liu et al. say.
    [
        ("baseline", 369_470),
        ("residual", 400 + 14_528 + 57_728 + 230_144 + 919_040 + 4 * 256 + 256 * 14 + 14),
        ("mobilenet", 3_760_846),
        ("mobilenet_small", 218_544 + 131_584 + 7_182),
        ("densenet121", 7_037_504 + 14_350),
        ("efficientnet_v2_b0", 7_200_312 - 1_281_000 + 1_281 * 14),
        pytest.param(
            "efficientnet_v2_s", 21_612_360 - 1_281_000 + 1_281 * 14, marks=pytest.mark.soak
        ),
        pytest.param("convnext_tiny", 28_589_128 - 769_000 + 769 * 14, marks=pytest.mark.soak),
    ],
)
def test_parameter_counts(name, parameters):
    assert models.build(name, image_size=128).count_params() == parameters


def test_the_baseline_has_the_original_maps():
    model = models.build("baseline", image_size=128)
    sides = [model.get_layer(f"pool{block}").output.shape[1] for block in range(1, 6)]
    assert sides == [64, 32, 16, 8, 2]
    assert model.get_layer("flatten").output.shape[1] == 512


@pytest.mark.parametrize("name", toy_runs.EVERY_MODEL)
def test_raw_films_give_fourteen_independent_probabilities(name):
    model = models.build(name, image_size=64)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 1), np.uint8)
    scores = model.predict(pictures, verbose=0)
    assert scores.shape == (3, len(FINDINGS))
    assert ((scores > 0) & (scores < 1)).all()
    # Sigmoids, not a softmax: rows need not add up to 1.
    assert not np.allclose(scores.sum(axis=1), 1)


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("mobilenet_small", keras.applications.mobilenet.preprocess_input),
        ("densenet121", keras.applications.densenet.preprocess_input),
    ],
)
def test_grey_films_meet_the_backbone_as_its_weights_expect(name, reference):
    model = models.build(name, image_size=64)
    film = np.linspace(0, 255, 64 * 64).reshape(1, 64, 64, 1).round().astype(np.uint8)
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    seen = keras.Model(model.input, first.input).predict(film, verbose=0)
    colour = np.repeat(film, 3, axis=-1).astype(np.float32)
    expected = reference(colour)
    # DenseNet pads its input before the first convolution.
    border = (seen.shape[1] - 64) // 2
    seen = seen[:, border : border + 64, border : border + 64]
    np.testing.assert_allclose(seen, expected, atol=1e-4)


APPLICATIONS = [
    pytest.param(name, application, marks=[pytest.mark.soak] if name in toy_runs.LARGE else [])
    for name, application in (
        ("efficientnet_v2_b0", keras.applications.EfficientNetV2B0),
        ("efficientnet_v2_s", keras.applications.EfficientNetV2S),
        ("convnext_tiny", keras.applications.ConvNeXtTiny),
    )
]


@pytest.mark.parametrize(("name", "application"), APPLICATIONS)
def test_features_are_those_of_the_network_that_keras_ships(name, application, tmp_path):
    # With its own preprocessing, and weights that come from a file: of an odd size, too.
    keras.utils.set_random_seed(1)
    theirs = application(include_top=False, weights=None, input_shape=(65, 65, 3), pooling="avg")
    theirs.save_weights(tmp_path / "w.weights.h5")
    ours = models.build(name, image_size=65, weights=str(tmp_path / "w.weights.h5"), enlarge=0)
    assert not [layer for layer in ours.layers if isinstance(layer, keras.Model)]
    ours.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False, safe_mode=True)
    film = np.random.default_rng(0).integers(0, 256, (1, 65, 65, 1)).astype(np.float32)
    expected = theirs(np.repeat(film, 3, axis=-1)).numpy()
    assert expected.std() > 1e-3
    for network in (ours, loaded):
        found = models.divided(network, name)[0](film).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_the_baseline_standardises_each_film():
    model = models.build("baseline", image_size=64)
    film = np.random.default_rng(0).integers(50, 90, (2, 64, 64, 1), np.uint8)
    seen = keras.Model(model.input, model.get_layer("standardise").output).predict(film, verbose=0)
    assert seen.mean(axis=(1, 2, 3)) == pytest.approx([0, 0], abs=1e-4)
    assert seen.std(axis=(1, 2, 3)) == pytest.approx([1, 1], abs=1e-3)


@pytest.mark.parametrize("name", toy_runs.EVERY_MODEL)
def test_batch_normalisation_follows_fast_and_sees_the_films_of_all_devices(name, tmp_path):
    network = models.build(name, image_size=64)
    network.save(tmp_path / "model.keras")
    for model in (network, keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)):
        normalised = [
            layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
        ]
        # ConvNeXt normalises each film by itself.
        assert bool(normalised) == (name != "convnext_tiny")
        assert all(layer.synchronized and layer.momentum == 0.9 for layer in normalised)


def test_a_weights_file_is_loaded_and_one_of_another_architecture_refused(tmp_path):
    small = models.build("mobilenet_small", image_size=64)
    backbone = keras.applications.MobileNet(
        input_shape=(64, 64, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    file = tmp_path / "small.weights.h5"
    backbone.save_weights(file)
    loaded = models.build("mobilenet_small", image_size=64, weights=str(file))
    name = "conv1"
    np.testing.assert_array_equal(
        loaded.get_layer(name).kernel.numpy(), backbone.get_layer(name).kernel.numpy()
    )
    assert not np.array_equal(
        small.get_layer(name).kernel.numpy(), backbone.get_layer(name).kernel.numpy()
    )
    # Another network, and the same one at another width.
    for other in ("densenet121", "mobilenet"):
        with pytest.raises(InputError, match=f"does not hold weights of {other}"):
            models.build(other, image_size=64, weights=str(file))
    damaged = tmp_path / "damaged.h5"
    damaged.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(InputError, match="does not hold weights of mobilenet_small"):
        models.build("mobilenet_small", image_size=64, weights=str(damaged))
    with pytest.raises(InputError, match="neither 'imagenet', 'phantoms', 'none' nor"):
        models.build("mobilenet", image_size=64, weights="imagnet")


def test_pretrained_weights_see_small_films_enlarged(tmp_path):
    backbone = keras.applications.MobileNet(
        input_shape=(64, 64, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    file = tmp_path / "small.weights.h5"
    backbone.save_weights(file)
    for size, weights, side in ((64, str(file), 192), (224, str(file), 224), (64, "none", 64)):
        model = models.build("mobilenet_small", image_size=size, weights=weights)
        # The model takes films as they are stored; its backbone sees them at `side`.
        assert model.input_shape == (None, size, size, 1)
        assert model.get_layer("grey_to_rgb").output.shape == (None, side, side, 3)


def test_imagenet_weights_that_cannot_be_had_are_not_replaced(monkeypatch):
    def fails(*arguments, **options):
        raise OSError("no route")

    monkeypatch.setattr(keras.applications, "MobileNet", fails)
    with pytest.raises(InputError) as caught:
        models.build("mobilenet", image_size=128, weights="imagenet")
    assert "CXR_WEIGHTS" in str(caught.value)


# Keras tells that it takes the file for 224 px.
@pytest.mark.filterwarnings("ignore:`input_shape` is undefined")
@pytest.mark.parametrize(
    ("name", "size"),
    [pytest.param("densenet121", 128, marks=pytest.mark.soak)]
    + [("mobilenet", size) for size in (64, 128, 200, 224)]
    + [("mobilenet_small", size) for size in (100, 192, 300)]
    + [pytest.param(name, 64, marks=pytest.mark.soak) for name in toy_runs.LARGE],
)
def test_the_weights_that_are_named_are_those_that_keras_asks_for(
    monkeypatch, tmp_path, name, size
):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    asked = []

    def absent(file, *arguments, **options):
        asked.append(file)
        raise OSError("no route")

    for application in (mobilenet, densenet, efficientnet_v2, convnext):
        monkeypatch.setattr(application.file_utils, "get_file", absent)
    with pytest.raises(InputError) as caught:
        models.build(name, image_size=size, weights="imagenet")
    assert f"Put the file {asked[0]} into {tmp_path / 'models'}, or set" in str(caught.value)


def test_imagenet_weights_that_keras_has_but_cannot_read_are_to_be_removed(tmp_path, monkeypatch):
    file = tmp_path / "models" / "mobilenet_2_5_192_tf_no_top.h5"
    file.parent.mkdir()
    file.write_bytes(b"the beginning of")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(mobilenet.file_utils, "get_file", lambda *asked, **options: str(file))
    with pytest.raises(InputError, match=f"in {file} cannot be used .*Remove it and run") as caught:
        models.build("mobilenet_small", image_size=64, weights="imagenet")
    assert "downloaded" not in str(caught.value)


@pytest.mark.parametrize("size", [64, 65, 66, 67, 100, 111, 200, 300])
def test_the_residual_network_takes_films_of_any_size(size):
    scores = models.build("residual", image_size=size)(np.zeros((1, size, size, 1), np.float32))
    assert scores.shape == (1, 14)


def test_real_imagenet_weights_fit_the_small_mobilenet(shared):
    file = shared / "weights" / "mobilenet_2_5_224_tf_no_top.h5"
    model = models.build("mobilenet_small", image_size=128, weights=str(file))
    # Trained filters differ much more from one another than random ones.
    kernel = model.get_layer("conv1").kernel.numpy()
    assert kernel.shape == (3, 3, 3, 8)
    assert kernel.std() > 0.3


@pytest.mark.parametrize("weights", ["imagenet", "a file"])
def test_weights_that_are_no_numbers_are_called_damaged(tmp_path, monkeypatch, weights):
    file = broken_weights(tmp_path / "models" / "mobilenet_2_5_192_tf_no_top.h5")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(mobilenet.file_utils, "get_file", lambda *asked, **options: str(file))
    with pytest.raises(InputError, match=f"{file} is damaged: .* of conv1/kernel .* get it again"):
        models.build(
            "mobilenet_small",
            image_size=64,
            weights=weights if weights == "imagenet" else str(file),
        )


def broken_weights(path):
    """Weights as Keras keeps them, each NaN."""
    path.parent.mkdir(parents=True)
    network = keras.applications.MobileNet(
        weights=None, input_shape=(192, 192, 3), alpha=0.25, include_top=False
    )
    network.set_weights([np.full_like(weight, np.nan) for weight in network.get_weights()])
    network.save(path)
    return path


def test_unknown_models_and_weights_for_several_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown model 'resnet'"):
        models.check(("resnet",), "none")
    file = tmp_path / "w.h5"
    file.touch()
    models.check(("baseline", "mobilenet"), str(file))
    with pytest.raises(InputError, match="name exactly one"):
        models.check(("mobilenet", "densenet121"), str(file))
    with pytest.raises(InputError, match="name exactly one"):
        models.check(("baseline",), str(file))


def test_every_profile_names_models_of_the_registry():
    for values in config.PROFILES.values():
        models.check(values["models"], "none")
