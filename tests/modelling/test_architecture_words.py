"""What 200 says of a network is read off the network and its settings."""

import numpy as np
import pytest

from cxr.modelling import architecture, explain, models
from cxr.modelling.tensors import keras


def run(model="baseline", **other):
    found = {"recipe": {"mirror": model != "baseline", "mixup": 0.0, "weight_decay": 1e-4}}
    found |= {"model": model, "weights": "none", "seed": 3, "image_size": 64, "batch_size": 32}
    found |= {"learning_rate": 0.002, "epochs": 16, "epochs_done": 9, "best_epoch": 3}
    return found | other


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(3)
    return models.build("baseline", image_size=64)


def test_the_stages_hold_every_parameter_and_become_smaller(network):
    table = architecture.stages(network)
    assert table["parameters"].sum() == network.count_params()
    assert list(table["stage"])[:5] == [f"maps of {n} x {n}" for n in (64, 32, 16, 8, 4)]
    # Five convolutions, three dense layers: the last ends in 14 probabilities.
    assert table["layers"].sum() == 8 and table["channels"].iloc[-1] == 14


def test_the_schedule_is_told_without_exponents(network):
    told = architecture.in_words("small", network, run())
    assert "climbs to 0.002 over the first 5 %" in told and "weight decay 0.0001" in told
    assert "centred and scaled" in told and "swapped" not in told
    assert "risen for 6; 9 were run, and epoch 3 was kept" in told
    assert "weights of `a.h5`" in architecture.in_words("small", network, run(weights="a.h5"))


def test_what_a_recipe_adds_is_told_and_what_it_leaves_out_is_not(network):
    added = {"ema": 0.99, "frozen": 0.25, "backbone_rate": 0.1, "auxiliary": 0.1}
    told = architecture.in_words("small", network, run(recipe=added))
    # A quarter of 16 epochs.
    assert "Only the head learns in the first 4 epochs. The backbone learns at 0.1 times" in told
    assert "average of the weights, of which 0.99 stays" in told
    assert "view, sex and age, which weigh 0.1 in the loss. At most 16 epochs" in told
    assert "smoothed" not in told
    plain = architecture.in_words("small", network, run())
    assert "weight decay 0.0001). At most 16 epochs" in plain


def test_filters_that_did_not_move_are_those_of_the_seed(network):
    assert architecture.kept_start(network, run()) == pytest.approx(1)
    assert architecture.kept_start(network, run(seed=4)) < 0.9
    assert np.isnan(architecture.kept_start(network, run(weights="a.h5")))


def test_a_start_from_drawings_is_told_and_compared_with():
    small = models.build("mobilenet_small", image_size=64, weights="phantoms")
    its = run("mobilenet_small", weights="phantoms")
    assert "from weights learned from 4,000 other drawings" in architecture.in_words(
        "s", small, its
    )
    assert architecture.kept_start(small, its) == pytest.approx(1)


def test_maps_too_small_to_see_anything_in_are_left_out():
    sides = (64, 32, 32, 8, 8, 2, 2)
    maps = {f"m{i}": np.zeros((side, side, 3)) for i, side in enumerate(sides)}
    assert list(explain.telling(maps)) == ["m0", "m1", "m2", "m4"]
