"""The benchmark of heatmaps: its maps and its head by hand, and what is quoted of it."""

import sys

import numpy as np
import pandas as pd
import pytest

from cxr.config import PROJECT
from cxr.evaluation.localisation import Case
from cxr.modelling import explain, models
from cxr.modelling.tensors import keras

sys.path.insert(0, str(PROJECT / "benchmarks" / "accuracy"))
import heatmaps

# One film, two cells side by side, two channels.
FEATURES = np.array([[1.0, 2.0], [3.0, 0.0]]).reshape(1, 1, 2, 2)
GRADIENT = np.array([[1.0, -1.0], [2.0, 0.0]]).reshape(1, 1, 2, 2)


def test_maps_after_the_fact_by_hand():
    average = np.zeros((1, 2, 2))
    # 1 * 1 - 1 * 2 = -1 is cut at 0; 2 * 3 = 6.
    assert heatmaps.hires_cam(FEATURES, GRADIENT, average).tolist() == [[[0, 6]]]
    # What speaks against is left out before the sum: 1 and 6.
    assert heatmaps.layer_cam(FEATURES, GRADIENT, average).tolist() == [[[1, 6]]]
    # First channel, whose values add up to 4: 1 / (2 + 4) * 1 + 4 / (8 + 32) * 2 = 11 / 30.
    # The second has no gradient that speaks for the finding.
    expected = np.array([[[1, 3]]]) * 11 / 30
    np.testing.assert_allclose(heatmaps.grad_cam_plus_plus(FEATURES, GRADIENT, average), expected)


def test_occlusion_is_hottest_where_the_score_falls_most():
    film = keras.Input((16, 16, 1))
    corner = keras.layers.Cropping2D(((0, 12), (12, 0)))(film)
    mean = keras.layers.GlobalAveragePooling2D()(corner)
    network = keras.Model(film, keras.layers.Dense(14, activation="sigmoid")(mean))
    network.layers[-1].set_weights([np.full((1, 14), 0.05), np.full(14, -1.0)])
    picture = np.zeros((1, 16, 16, 1), np.uint8)
    picture[0, :4, 12:] = 80
    (made,) = heatmaps.occlusion(network, picture, np.array([3]))
    assert made.shape == (9, 9)
    # The grey of the film is 80 / 16 = 5, so the logit falls from 4 to 0.25; next to the
    # corner half of it is hidden.
    assert np.unravel_index(made.argmax(), made.shape) == (1, 7)
    assert made[1, 7] == pytest.approx(0.05 * 75, rel=1e-3)
    assert made[1, 6] == pytest.approx(0.05 * 75 / 2, rel=1e-3)


def test_an_enlarged_network_has_the_same_weights_and_sees_the_film_larger():
    network = models.build("mobilenet_small", image_size=64, weights="none")
    other = heatmaps.enlarged(network, 192)
    for ours, theirs in zip(network.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert other.input_shape == network.input_shape == (None, 64, 64, 1)
    last, larger = (one.get_layer("conv_pw_13_relu").output.shape[1] for one in (network, other))
    assert (last, larger) == (2, 6)
    rows = explain.feature_layer(other).output.shape[1]
    assert f"evidence, {rows} x {rows}, 192 px" == heatmaps.PAGES


def test_pools_by_hand():
    told = np.zeros((1, 1, 2, 3), np.float16)
    logits = np.zeros((1, 1, 2, heatmaps.OPACITY + 1), np.float32)
    logits[0, 0, :, 0] = np.log(1 / 3), np.log(3)  # probabilities of 1/4 and 3/4
    film = {
        pool: 1 / (1 + np.exp(-float(heatmaps.Head(pool, told).pooled(logits)[0, 0])))
        for pool in heatmaps.POOLS
    }
    assert film["noisy-or"] == pytest.approx(1 - 3 / 4 * 1 / 4, rel=1e-5)
    assert film["mean"] == pytest.approx(1 / 2, rel=1e-5)
    # The mean of the odds, 1/3 and 3, is 5/3.
    assert film["soft maximum"] == pytest.approx(5 / 8, rel=1e-5)


def test_a_head_learns_where_from_the_films_that_were_read():
    random = np.random.default_rng(0)
    told = random.normal(size=(64, 3, 3, 2)).astype(np.float16)
    covered = (told[..., 0] > 1).astype(np.float32)
    labels = np.zeros((64, 14), np.float32)
    read = np.ones(64, np.float32)
    films = told, labels, covered, read
    _, maps = heatmaps.answered(heatmaps.taught("noisy-or", *films, epochs=150), told)
    assert maps[covered == 1].mean() > 1.3 * maps[covered == 0].mean()
    untold = heatmaps.taught("noisy-or", *films, epochs=1, boxes=False)
    assert np.ptp(heatmaps.answered(untold, told)[1]) == 0


def test_no_patients_boxes_teach_the_maps_that_they_judge():
    frame = pd.DataFrame(
        {"film": [f"{n}.png" for n in range(12)], "patient_id": np.arange(12) // 2}
    )
    cases = [
        Case(row.film, row.patient_id, "Lung Opacity", np.array([[0, 0, 512, 512.0]]))
        for row in frame.itertuples()
    ]

    def learn(known, asked):
        assert known.sum() + asked.sum() == 12
        assert not set(frame["patient_id"][known]) & set(frame["patient_id"][asked])
        maps = np.zeros((asked.sum(), 2, 2))
        maps[:, 0, 0] = 1
        return maps

    assert heatmaps.folded(frame, cases, learn) == (1, 1)


def test_what_is_quoted_is_what_was_measured():
    text = (PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    for kind in (*heatmaps.CHOOSING, *heatmaps.REPORTING):
        kept = {
            name: pd.read_csv(heatmaps.RESULTS / f"heatmaps_{name}_{kind}.csv")
            for name, kinds in heatmaps.NETWORKS.items()
            if kind in kinds
        }
        if kind in heatmaps.CHOOSING:
            lengths = {len(table) for table in kept.values()}
            kept = {"all": heatmaps.side_by_side(kind)}
            assert {len(kept["all"])} == lengths
        for name, table in kept.items():
            for line in heatmaps.quoted(kind, table):
                assert line in text, f"{name}, {kind}: {line}"


def test_the_sentences_beside_the_heatmaps_are_their_tables():
    text = (PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    found, control = (
        {
            name: pd.read_csv(heatmaps.RESULTS / f"heatmaps_{name}_{kind}.csv").set_index("method")
            for name, kinds in heatmaps.NETWORKS.items()
            if kind in kinds
        }
        for kind in ("found", "control")
    )
    fixed, (*trained, frozen) = heatmaps.BASELINES[0], found.values()
    page = f"map that pages show: {heatmaps.PAGES}"
    shuffled = "the same, shuffled weights"

    def three(row, column, form=".3f"):
        first, second, third = (f"{one.loc[row, column]:{form}}" for one in trained)
        return f"{first}, {second} and {third}"

    assert f"the locator {three('locator', fixed, '+.3f')} more often" in text
    assert f"{frozen.loc['locator', fixed]:+.3f} on frozen features" in text
    assert all(one.loc["locator", f"{fixed}, low"] > 0.1 for one in found.values())
    assert f"pages show hits {three(page, 'value')}, that" in text
    assert all(
        one.loc[page, f"{fixed}, low"] < 0 < one.loc[page, f"{fixed}, high"] for one in trained
    )
    assert f"that map hits {three(shuffled, 'value')}: what" in text
    low, value, high = (frozen.loc[page, f"centre{end}"] for end in (", low", "", ", high"))
    assert f"from the centre ({value:+.3f}, {low:+.3f} to {high:+.3f})" in text and low < 0 < high
    assert f"as they came ({frozen.loc['locator', 'value']:.3f})" in text
    assert f"training changed ({three('locator', 'value')})" in text
    assert frozen.loc["locator", "value"] > max(one.loc["locator", "value"] for one in trained)
    (point,) = {one.loc["locator, shuffled weights", "value"] for one in control.values()}
    assert f"That point hits {point:.3f}, more" in text
    assert f"{min(one.loc['locator', 'value'] for one in found.values()) - point:.2f}" == "0.19"
    assert 3.5 < trained[0].loc[fixed, "value"] / trained[0].loc["mean box", "value"] < 4.5

    run = "mobilenet_small-patient"
    judged = pd.read_csv(heatmaps.real_films.RESULTS / f"localisation_rsna_{run}.csv")
    judged = judged[(judged["finding"] == "All") & (judged["measure"] == "pointing game")]
    shares = judged.set_index("method")["value"]
    quoted = f"cover most often: {shares[run]:.3f} and {shares['most covered point']:.3f}."
    assert quoted in text

    chosen = heatmaps.side_by_side("chosen").set_index("map").iloc[:, :3]
    means, best = chosen.mean(axis=1), "layer_cam, 24 x 24, 192 px"
    assert means.idxmax() == heatmaps.PAGES
    for sentence, one in (
        ("in the mean of the three trainings, {}", heatmaps.PAGES),
        ("beside {} of LayerCAM at 24 x 24", best),
        ("{} of the fixed point", heatmaps.FIXED),
        ("and {} of `evidence` at 24 x 24", "evidence, 24 x 24, 192 px"),
    ):
        assert sentence.format(f"{means[one]:.3f}") in text
    assert f"{(chosen.max(axis=1) - chosen.min(axis=1)).max():.2f}" == "0.15"
    assert (chosen.loc[best] >= chosen.loc[heatmaps.PAGES]).sum() == 2

    located = heatmaps.side_by_side("located").set_index("learned").filter(like="pointing")
    assert (located.loc["locator, penalty 3,000"] == located.max()).all()
    heads = []
    for name in ("default", "frozen"):
        headed, ranked = (
            pd.read_csv(heatmaps.RESULTS / f"heatmaps_{name}_{kind}.csv")
            for kind in ("headed", "ranked")
        )
        heads.append(headed["value"].iloc[0])
        assert (ranked["difference"].iloc[1:] > 0).all()
    locators = [found[name].loc["locator", "value"] for name in ("default", "frozen")]
    quoted = "hits {:.2f} and {:.2f}, the locator {:.2f} and {:.2f}: it does not find more on both"
    assert quoted.format(*heads, *locators).replace("0.", ".") in text
    assert heads[0] > locators[0] and heads[1] < locators[1]
