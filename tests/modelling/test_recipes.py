"""The recipe page says what its script computes, and the script counts as the papers do."""

import dataclasses
import importlib.util
import re

import pytest

from cxr import config
from cxr.modelling import models
from cxr.modelling.tensors import keras

PAGE = (config.PROJECT / "docs" / "recipes.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def cost():
    path = config.PROJECT / "benchmarks" / "training_cost.py"
    spec = importlib.util.spec_from_file_location("training_cost", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_operations_are_counted_layer_by_layer(cost):
    film = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(4, 3, padding="same")(film)  # 2 x 9 x 1 x 4 at 64 places
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)  # 2 x 9 x 4 at 64 places
    x = keras.layers.Flatten()(x)
    x = keras.layers.Dense(10)(x)  # 2 x 256 x 10
    assert cost.operations(keras.Model(film, x)) == 4608 + 4608 + 5120
    # As ConvNeXt has them: a dense layer at 64 places, and convolutions of one channel each.
    film = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 7, padding="same", groups=4)(film)  # 2 x 49 x 4 at 64 places
    x = keras.layers.Dense(16)(x)  # 2 x 4 x 16 at 64 places
    assert cost.operations(keras.Model(film, x)) == 25088 + 8192


def test_operations_are_those_of_the_papers(cost):
    # Howard et al. 2017, table 8: 569 million multiply-adds, of which 1 is the top for ImageNet.
    mobilenet = cost.operations(models.build("mobilenet", image_size=224))
    assert mobilenet / 2e6 == pytest.approx(568, rel=0.005)


def test_a_time_is_the_slowest_of_what_goes_on_side_by_side(cost):
    machine = cost.Machine("made up", 1, 1, 16, "float32", batch_size=100)
    # 10 % of 1 TFLOPS: a batch of 100 films of 1 GFLOP takes 3 x 100 / 100 = 3 s.
    by_arithmetic = cost.Cost(forward=10**9, values=1, starts=1, sums=0)
    best, worst = by_arithmetic.seconds(machine, epochs=2)
    steps, validation = 758, 10_816 * (0.01 + 1 / cost.FEED)
    assert best == pytest.approx(2 * (steps * 3 + validation))
    assert worst == pytest.approx(2 * (steps * 15 + 10_816 * (0.05 + 1 / cost.FEED)))
    # A network of almost no arithmetic waits for its operations to be started.
    by_starts = cost.Cost(forward=1, values=1, starts=100_000, sums=10_000)
    assert by_starts.seconds(machine, epochs=1)[0] == pytest.approx(
        steps * 0.5 + 10_816 / cost.FEED, rel=1e-6
    )
    # Two GPUs also wait for 10,000 sums of 30 microseconds.
    both = dataclasses.replace(machine, gpus=2)
    assert by_starts.seconds(both, epochs=1)[0] == pytest.approx(
        steps * 0.8 + 10_816 / cost.FEED, rel=1e-6
    )


@pytest.mark.slow
def test_the_page_holds_the_tables_that_the_script_computes(cost):
    for line in cost.tables(cost.USED).splitlines():
        assert line in PAGE, line


@pytest.mark.soak
def test_the_page_holds_the_lines_of_all_models(cost):
    for line in cost.tables().splitlines():
        assert line in PAGE, line


@pytest.mark.soak
@pytest.mark.parametrize(("name", "published"), [("convnext_tiny", 4.5e9), ("densenet121", 2.9e9)])
def test_operations_of_larger_networks_are_those_of_the_papers(cost, name, published):
    # Liu et al. 2022, table 1: 4.5 billion multiply-adds at 224 px; DenseNet-121: 2.9.
    counted = cost.operations(models.build(name, image_size=224)) / 2
    assert counted == pytest.approx(published, rel=0.03)


def test_the_page_names_the_assumptions_of_the_script(cost):
    low, high = cost.SHARE
    assert f"**assumed** {low * 100:.0f} % to {high * 100:.0f} %" in PAGE
    low, high = cost.SCALING
    assert f"**assumed** {low * 100:.0f} % to {high * 100:.0f} % of 8" in PAGE
    low, high = (1e6 * seconds for seconds in cost.START_SECONDS)
    assert f"**assumed** {low:.0f} to {high:.0f} microseconds" in PAGE
    low, high = (1e6 * seconds for seconds in cost.SUM_SECONDS)
    assert f"**assumed** {low:.0f} to {high:.0f} microseconds" in PAGE
    assert f"{cost.SUMS_A_NORMALISATION} sums" in PAGE
    assert f"{cost.STARTS_A_LAYER} a layer and {cost.STARTS_AN_ARRAY} an array" in PAGE
    assert f"{cost.FEED:,} at 224 px" in PAGE
    assert f"{cost.BYTES_PER_VALUE} bytes for each value" in PAGE
    for machine in cost.MACHINES:
        assert str(machine.peak) in PAGE


def test_the_commands_of_the_page_take_the_settings_of_its_table(cost):
    commands = re.findall(r"CXR_BATCH_SIZE=(\d+) \\\s+CXR_LEARNING_RATE=(\S+)", PAGE)
    for size, rate in commands:
        assert rate == cost.rate("densenet121", int(size))
    assert [int(size) for size, _ in commands] == [
        machine.batch_size for machine in cost.MACHINES[1:]
    ]
    full = config.load_config({"CXR_PROFILE": "full"})
    assert f"image size at {full.image_size} and the epochs at {full.epochs}" in PAGE
    assert f"{full.epochs} epochs on the official split" in PAGE


def test_the_official_split_has_the_films_that_the_times_are_for(cost, real_splits):
    counts = real_splits["official"].value_counts()
    assert (counts["train"], counts["validation"]) == (cost.TRAIN, cost.VALIDATION)
    assert f"{cost.TRAIN:,} training films, then {cost.VALIDATION:,} validation" in PAGE
