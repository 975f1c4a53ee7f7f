"""What a recipe may add, each by values worked out by hand."""

import dataclasses
import math

import keras
import numpy as np
import pandas as pd
import pytest
import test_training as toy
import toy_runs

from cxr import artifacts
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import inference, learning, models, pipeline, training

ALL = models.Recipe(
    mirror=True, ema=0.9, smoothing=0.1, frozen=0.34, backbone_rate=0.5, auxiliary=0.3
)


def one_weight(value):
    network = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    network.set_weights([np.array([[value]])])
    return network


def test_an_average_of_weights_forgets_its_start_first_and_then_as_much_as_it_is_told():
    network = one_weight(1.0)
    average = learning.MovingAverage(network, decay=0.15)
    found = []
    for value in (2.0, 4.0, 4.0):
        network.set_weights([np.array([[value]])])
        average(np.zeros((1, 1)))
        with average.in_place():
            found.append(network.get_weights()[0].item())
    # Kept are 1/10, then 2/11 and 3/12, of which 0.15 is the most.
    second = 0.15 * 1.9 + 0.85 * 4
    assert found == pytest.approx([0.1 * 1 + 0.9 * 2, second, 0.15 * second + 0.85 * 4])


def test_a_network_has_its_own_weights_back_whatever_happens_meanwhile():
    network = one_weight(1.0)
    average = learning.MovingAverage(network, decay=0.9)
    network.set_weights([np.array([[5.0]])])
    with pytest.raises(KeyboardInterrupt), average.in_place():
        assert network.get_weights()[0].item() == 1
        raise KeyboardInterrupt
    assert network.get_weights()[0].item() == 5


def test_batch_statistics_are_averaged_with_the_weights_that_they_belong_to():
    network = models.build("baseline", image_size=64)
    average = learning.MovingAverage(network, decay=0.9)
    statistics = network.get_layer("norm1").moving_mean
    statistics.assign(np.full(8, 10.0))
    average(np.zeros((1, 1)))
    with average.in_place():
        # A tenth of the 0 that it began with.
        assert statistics.numpy() == pytest.approx(np.full(8, 9.0))


def test_smoothed_labels_draw_certain_answers_back():
    wanted, scores = np.array([[1.0, 0.0]]), np.array([[0.8, 0.8]])
    smooth = learning.loss(models.Recipe(smoothing=0.1))(wanted, scores)
    # 1 becomes 0.95, 0 becomes 0.05.
    expected = -(0.95 + 0.05) * math.log(0.8) / 2 - (0.05 + 0.95) * math.log(0.2) / 2
    assert float(smooth) == pytest.approx(expected)
    plain = learning.loss(models.Recipe())(wanted, scores)
    assert float(plain) == pytest.approx(-(math.log(0.8) + math.log(0.2)) / 2)


def paced(steps, **options):
    """Where a head's and a backbone's variable lie after each step of gradient 1, from 0."""
    head, slow = (keras.Variable(0.0, name=name) for name in ("bias", "gamma"))
    optimizer = learning.PacedAdamW(0.01, **({"weight_decay": 0.0} | options))
    optimizer.build([head, slow], [slow])
    places = []
    for step in range(steps):
        at_rest = step < options["resting"]
        optimizer.apply([np.float32(1), None if at_rest else np.float32(1)], [head, slow])
        places.append((float(head), float(slow)))
    return np.array(places)


def test_a_backbone_rests_and_then_moves_at_its_own_pace():
    # Under a constant gradient Adam moves by its rate in every step, from its first on.
    places = paced(5, pace=0.1, resting=2)
    assert places[:, 0] == pytest.approx([-0.01, -0.02, -0.03, -0.04, -0.05], abs=1e-6)
    assert places[:, 1] == pytest.approx([0, 0, -0.001, -0.002, -0.003], abs=1e-6)


def test_weight_decay_keeps_the_pace_and_leaves_biases_alone():
    kernels = [keras.Variable(2.0, name="kernel") for _ in range(2)]
    bias = keras.Variable(2.0, name="bias")
    optimizer = learning.PacedAdamW(0.01, weight_decay=0.5, pace=0.1, resting=1)
    optimizer.build([*kernels, bias], kernels[1:])
    for slow in (2.0, 2 * (1 - 0.5 * 0.001)):
        optimizer.apply([np.float32(0)] * 3, [*kernels, bias])
        assert float(kernels[1]) == pytest.approx(slow)
    # Two steps of half of the rate, of what is there.
    assert float(kernels[0]) == pytest.approx(2 * (1 - 0.5 * 0.01) ** 2)
    assert float(bias) == 2


def test_at_the_same_pace_it_is_kerass_own_adamw():
    random = np.random.default_rng(0)
    start, gradients = random.normal(size=(4, 3)), random.normal(size=(20, 4, 3))
    ours, kerass = (keras.Variable(start, name="kernel") for _ in range(2))
    paced = learning.PacedAdamW(0.01, weight_decay=0.1, pace=1, resting=0)
    paced.build([ours], [ours])
    plain = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    for gradient in gradients.astype(np.float32):
        paced.apply([gradient], [ours])
        plain.apply([gradient], [kerass])
    np.testing.assert_allclose(ours.numpy(), kerass.numpy(), rtol=1e-5)


def test_auxiliary_targets_are_view_sex_and_age_where_they_are_known():
    frame = pd.DataFrame(0, index=range(3), columns=list(FINDINGS))
    frame = frame.assign(view=["AP", "PA", None], sex=["F", "M", "M"])
    frame["age"] = pd.array([50, None, 104], dtype="Int16")
    found = learning.targets(frame, models.Recipe(auxiliary=1.0))
    nan = np.nan
    np.testing.assert_allclose(found[:, 14:], [[1, 0, 0.5], [0, 1, nan], [nan, 1, 1]])
    assert learning.targets(frame, models.Recipe()).shape == (3, 14)
    with pytest.raises(InputError, match="no column 'sex'; run 100-data_cleaning_eda again"):
        learning.targets(frame.drop(columns="sex"), models.Recipe(auxiliary=1.0))


def test_auxiliary_targets_weigh_what_the_recipe_says_and_unknown_ones_nothing():
    wanted, scores = np.zeros((2, 17), np.float32), np.full((2, 17), 0.5, np.float32)
    wanted[0, 14:], scores[0, 14:] = (1, 0, 0.5), (0.8, 0.8, 0.5)
    wanted[1, 14:] = np.nan
    each = learning.FindingsAndMore(weight=0.3, smoothing=0.0).call(wanted, scores)
    findings, more = math.log(2), (-math.log(0.8) - math.log(0.2) + math.log(2)) / 3
    assert np.array(each) == pytest.approx([findings + 0.3 * more, findings])
    # What is not known pulls nowhere.
    scores = keras.Variable(scores)
    with toy.tf.GradientTape() as tape:
        loss = learning.loss(ALL)(wanted, toy.tf.convert_to_tensor(scores.value))
    slopes = tape.gradient(loss, scores.value).numpy()
    assert np.isfinite(slopes).all()
    assert (slopes[1, 14:] == 0).all()
    assert slopes[0, 14] < 0 < slopes[0, 15]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"ema": 1.0}, "ema is at least 0 and below 1, not 1.0"),
        ({"smoothing": -0.1}, "smoothing is at least 0"),
        ({"frozen": 1.5}, "frozen is at least 0 and below 1"),
        ({"backbone_rate": math.nan}, "backbone_rate is at least 0"),
        ({"auxiliary": math.inf}, "auxiliary is at least 0"),
        ({"enlarge": 20_000}, "enlarged to 64 to 1,024 px, not to 20000"),
    ],
)
def test_a_recipe_that_cannot_be_meant_is_refused(change, sentence):
    with pytest.raises(InputError, match=sentence):
        models.Recipe(**change)


def test_a_share_of_the_epochs_is_frozen_but_never_all():
    recipe = models.Recipe(frozen=0.25)
    assert [recipe.frozen_epochs(epochs) for epochs in (1, 2, 4, 12)] == [0, 0, 1, 3]
    assert models.Recipe(frozen=0.9).frozen_epochs(3) == 2


def test_a_recipe_chooses_how_far_films_are_enlarged(tmp_path):
    backbone = keras.applications.MobileNet(
        input_shape=(64, 64, 3), alpha=0.25, include_top=False, weights=None, pooling="avg"
    )
    backbone.save_weights(tmp_path / "w.weights.h5")
    options = {"image_size": 64, "weights": str(tmp_path / "w.weights.h5")}
    for enlarge, side in ((None, 192), (0, 64), (96, 96), (65, 65)):
        model = models.build("mobilenet_small", enlarge=enlarge, **options)
        assert model.get_layer("grey_to_rgb").output.shape[1] == side
    # Also without pretrained weights, and for networks that are not enlarged by themselves.
    for name in ("baseline", "residual", "densenet121"):
        model = models.build(name, image_size=64, enlarge=100)
        assert model.input_shape[1] == 64
        assert model.get_layer("enlarge").output.shape[1] == 100


@pytest.mark.parametrize("name", toy_runs.EVERY_MODEL)
def test_backbone_and_head_are_the_whole_network(name):
    network = models.build(name, image_size=64)
    backbone, head = models.divided(network, name)
    assert backbone.count_params() + head.count_params() == network.count_params()
    assert head.count_params() >= len(FINDINGS)
    film = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1)).astype(np.float32)
    np.testing.assert_allclose(head(backbone(film)), network(film), atol=1e-6)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    frame, paths = toy.draw(folder / "films", 48)
    return {"train": frame[:32], "validation": frame[32:]}, paths


small = toy.small


def batch(count=8):
    random = np.random.default_rng(0)
    inputs = {
        "film": random.integers(0, 256, (count, 64, 64, 1)).astype(np.uint8),
        "draws": pipeline.Order(count, 1).draws(),
    }
    return inputs, random.integers(0, 2, (count, 17)).astype(np.float32)


def trainee(recipe, **options):
    keras.utils.set_random_seed(1)
    settings = {"model": "baseline", "image_size": 64, "learning_rate": 1e-3, "epochs": 2}
    made = training.compiled_trainee(settings, recipe, weights="none", steps=4)
    if options:
        made.compile(optimizer=made.optimizer, loss=learning.loss(recipe), **options)
    return made


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_frozen_backbone_keeps_weights_and_statistics_until_it_learns(precision):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        made = trainee(dataclasses.replace(ALL, frozen=0.5))
    finally:
        keras.config.set_dtype_policy(before)
    inputs, wanted = batch()

    def moved(frozen):
        start = made.backbone.get_weights(), made.network.get_layer("findings").kernel.numpy()
        made.freeze(frozen)
        made.fit(inputs, wanted, batch_size=4, verbose=0, shuffle=False)
        end = made.backbone.get_weights(), made.network.get_layer("findings").kernel.numpy()
        changed = [not np.array_equal(a, b) for a, b in zip(start[0], end[0], strict=True)]
        return changed, not np.array_equal(start[1], end[1])

    changed, head = moved(frozen=True)
    assert head
    assert not any(changed)
    changed, head = moved(frozen=False)
    assert head
    assert all(changed)


def test_the_second_head_answers_whenever_it_is_asked():
    # Keras asks in evaluation, too, before it trains on several devices.
    made, (inputs, _) = trainee(models.Recipe(auxiliary=0.3)), batch()
    assert made(inputs, training=True).shape == made(inputs, training=False).shape == (8, 17)


@pytest.mark.soak
def test_a_step_with_everything_compiles_and_gives_the_same(monkeypatch):
    # Keras compiles nothing once operations are deterministic, as other tests of this process
    # may have made them.
    monkeypatch.setattr("keras.src.trainers.trainer.model_supports_jit", lambda model: True)
    inputs, wanted = batch()
    losses = []
    for compiled in (False, True):
        made = trainee(dataclasses.replace(ALL, mirror=False), jit_compile=compiled)
        for layer in made.network.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.rate = 0.0
        losses.append(
            [made.train_on_batch(inputs, wanted, np.ones(8, np.float32)) for _ in range(3)]
        )
    assert losses[0][2] < losses[0][0]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-3)


@pytest.fixture(scope="module")
def everything(drawn, tmp_path_factory):
    """A run with all ingredients, and how its network was trained in the end."""
    made, compiled = [], training.compiled_trainee

    def kept(*given, **options):
        made.append(compiled(*given, **options))
        return made[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(training, "compiled_trainee", kept)
        splits, paths = drawn
        alone = splits | {"validation": splits["validation"][:0]}
        root = tmp_path_factory.mktemp("everything")
        record, folder = toy.train(root, (alone, paths), recipe=ALL)
    return record, folder, made[0]


def test_the_averaged_weights_are_those_that_are_saved(everything):
    # Without validation films the last epoch is kept: the state in which training ended.
    record, folder, made = everything
    assert record["best_epoch"] == 3
    saved = inference.load_network(folder).get_weights()
    own = [weight.copy() for weight in made.network.get_weights()]
    with made.judged():
        averaged = made.network.get_weights()
    for one, other in zip(saved, averaged, strict=True):
        np.testing.assert_array_equal(one, other)
    assert max(np.abs(a - b).max() for a, b in zip(own, averaged, strict=True)) > 1e-3


def test_a_saved_model_has_the_findings_and_nothing_of_the_second_head(everything):
    record, folder, made = everything
    network = inference.load_network(folder)
    assert network.output_shape == (None, len(FINDINGS))
    assert network.count_params() == record["parameters"]
    assert network.count_params() == models.build("baseline", image_size=64).count_params()
    assert all(layer.trainable for layer in network.layers)
    # 64 px end as 1 x 1 x 128: three targets of so many features.
    assert made.trainable_variables[-2].shape == (128, 3)


@pytest.mark.usefixtures("small")
def test_the_epoch_is_chosen_by_the_scores_of_the_averaged_weights(drawn, tmp_path):
    record, folder = toy.train(tmp_path, drawn, recipe=ALL, epochs=2)
    splits, _ = drawn
    saved = pd.read_csv(folder / "validation_scores.csv")[list(FINDINGS)].to_numpy()
    wanted = splits["validation"][list(FINDINGS)].to_numpy()
    by_finding = toy.ranking.auroc(wanted, saved)
    assert record["validation_auroc"] == pytest.approx(np.nanmean(by_finding), abs=1e-6)
    chosen = pd.read_csv(folder / "history.csv").set_index("epoch").loc[record["best_epoch"]]
    clipped = np.clip(saved, 1e-7, 1 - 1e-7)
    entropy = -np.where(wanted, np.log(clipped), np.log(1 - clipped)).mean()
    assert chosen["val_loss"] == pytest.approx(entropy, rel=1e-4)


@pytest.mark.usefixtures("small")
def test_patience_begins_when_the_backbone_does(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(training.checkpoint, "PATIENCE", 1)
    # An AUROC that falls from epoch to epoch.
    falling = iter([0.9, 0.8, 0.7, 0.6, 0.5])
    monkeypatch.setattr(
        training.checkpoint.ranking, "auroc", lambda *given: np.full(14, next(falling))
    )
    recipe = models.Recipe(frozen=0.4)
    record, _ = toy.train(tmp_path, drawn, recipe=recipe, epochs=5)
    # Two frozen epochs, and one in which it did not rise.
    assert (record["epochs_done"], record["best_epoch"]) == (3, 1)


@pytest.mark.usefixtures("small")
def test_runs_from_before_an_ingredient_existed_are_reused_and_other_recipes_refused(
    drawn, tmp_path
):
    record, folder = toy.train(tmp_path, drawn, epochs=1)
    older = record | {"recipe": {"mirror": False, "mixup": 0.0, "weight_decay": 1e-4}}
    artifacts.write_json(folder / "config.json", older)
    assert toy.train(tmp_path, drawn, epochs=1)[0]["finished"] == record["finished"]
    with pytest.raises(InputError, match=r"recipe was .*'ema': 0.0.*, is now .*'ema': 0.9"):
        toy.train(tmp_path, drawn, epochs=1, recipe=ALL)


@pytest.mark.usefixtures("small")
def test_other_auxiliary_targets_are_another_training(drawn, tmp_path):
    recipe, (splits, paths) = models.Recipe(auxiliary=0.3), drawn
    toy.train(tmp_path, drawn, epochs=1, recipe=recipe)
    older = splits | {"train": splits["train"].assign(age=99)}
    with pytest.raises(InputError, match="auxiliary_checksum was"):
        toy.train(tmp_path, (older, paths), epochs=1, recipe=recipe)
