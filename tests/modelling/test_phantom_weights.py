"""The demo's weights were learned from drawings of people who do not exist, and say so."""

import numpy as np
import pandas as pd
import pytest

from cxr import artifacts, config
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import models, phantom_weights, pretraining

MODEL = "mobilenet_small"


def test_the_weights_are_those_whose_making_is_told():
    path, told = phantom_weights.file(MODEL), phantom_weights.origin(MODEL)
    assert told["sha256"] == artifacts.sha256(path)
    assert path.stat().st_size < 2_000_000
    assert told["phantom"] and "drawings" in told["what"]
    with np.load(path, allow_pickle=False) as kept:
        assert "synthetic drawings" in str(kept["phantom"])
        assert {array.dtype for name, array in kept.items() if name != "phantom"} == {
            np.dtype("float16")
        }


def test_the_records_that_they_were_learned_from_can_be_made_again():
    told = phantom_weights.origin(MODEL)
    lesson = pretraining.Lesson(**{name: told[name] for name in vars(pretraining.Lesson())})
    records = pretraining.made_up(lesson)
    assert told["records_sha256"] == artifacts.fingerprint(map(repr, records.to_dict("records")))
    assert told["patient_numbers"] == [records["patient_id"].min(), records["patient_id"].max()]


def test_no_patient_no_film_and_no_seed_is_the_demos(real_records):
    records = pretraining.made_up(pretraining.Lesson())
    assert records["patient_id"].min() > real_records["patient_id"].max()
    assert records["patient_id"].is_unique
    assert not set(records["film"]) & set(real_records["film"])
    assert pretraining.Lesson().seed != config.load_config({}).seed
    # Every finding is shown often enough to be learned.
    assert records[list(FINDINGS)].mean().between(0.09, 0.15).all()


def test_a_longer_lesson_begins_with_the_films_of_a_shorter_one():
    short, long = (pretraining.made_up(pretraining.Lesson(patients=n)) for n in (20, 50))
    pd.testing.assert_frame_equal(short, long[:20])


def test_a_backbone_takes_them_and_its_head_stays_its_own():
    learned = models.build(MODEL, image_size=64, weights=config.PHANTOM_WEIGHTS)
    # Seen at their own size, not enlarged as for ImageNet's weights.
    assert learned.get_layer("grey_to_rgb").output.shape == (None, 64, 64, 3)
    with np.load(phantom_weights.file(MODEL), allow_pickle=False) as kept:
        np.testing.assert_array_equal(
            learned.get_layer("conv1").kernel.numpy(), kept["conv1/kernel"].astype(np.float32)
        )
        assert not any(name.startswith(("dense", "findings")) for name in kept.files)
    # Models without pretrained weights start as ever.
    assert models.given_file("baseline", config.PHANTOM_WEIGHTS) is None
    assert models.given_file(MODEL, config.PHANTOM_WEIGHTS) == phantom_weights.file(MODEL)


def test_half_precision_changes_no_answer_that_is_shown(tmp_path):
    network = models.build(MODEL, image_size=64)
    films = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 1)).astype(np.float32)
    exact, kernel = network(films).numpy(), network.get_layer("conv_pw_13").kernel.numpy()
    phantom_weights.save(network, tmp_path / "kept.npz")
    phantom_weights.load(network, tmp_path / "kept.npz")
    assert not np.array_equal(network.get_layer("conv_pw_13").kernel.numpy(), kernel)
    assert np.abs(network(films).numpy() - exact).max() < 5e-4


def test_a_file_without_the_mark_is_not_taken_for_such_weights(tmp_path):
    with np.load(phantom_weights.file(MODEL), allow_pickle=False) as kept:
        arrays = {name: kept[name] for name in kept.files if name != "phantom"}
    np.savez(tmp_path / "other.npz", allow_pickle=False, **arrays)
    with pytest.raises(ValueError, match="other arrays, such as phantom"):
        phantom_weights.load(models.build(MODEL, image_size=64), tmp_path / "other.npz")


def test_only_a_run_on_drawings_may_start_from_them(tmp_path):
    assert config.load_config({}).weights == config.PHANTOM_WEIGHTS
    for profile in ("first_archive", "full"):
        assert config.load_config({}, profile=profile).weights == "imagenet"
        with pytest.raises(InputError, match="learned from drawings"):
            config.load_config({"CXR_WEIGHTS": "phantoms"}, profile=profile)
    # Films of one's own in the demo: random weights, as nothing else was asked for.
    assert config.load_config({"CXR_IMAGES": str(tmp_path)}).weights == "none"
    with pytest.raises(InputError, match="learned from drawings"):
        config.load_config({"CXR_IMAGES": str(tmp_path), "CXR_WEIGHTS": "phantoms"})


def test_a_model_that_learned_nothing_from_drawings_is_named_before_any_work():
    with pytest.raises(InputError, match="no weights of mobilenet were learned from phantoms"):
        models.check(("baseline", "mobilenet"), config.PHANTOM_WEIGHTS)
    models.check(("baseline", MODEL), config.PHANTOM_WEIGHTS)


def test_what_they_are_worth_was_measured_with_nothing_else_different():
    gain = phantom_weights.gain(MODEL)
    by_start = gain.pivot_table(index="seed", columns="weights", values="test_auroc")
    assert set(by_start.columns) == {"none", config.PHANTOM_WEIGHTS}
    assert by_start.notna().all(axis=None)
    # Each seed gains, and by more than seeds differ.
    difference = by_start[config.PHANTOM_WEIGHTS] - by_start["none"]
    assert difference.min() > 2 * by_start.std().fillna(0).max()
    assert difference.min() > 0.05


def test_the_benchmarks_page_tells_the_measured_gain():
    page = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    told = page.split("## Weights learned from drawings")[1]
    gain = phantom_weights.gain(MODEL).pivot_table(
        index="seed", columns="weights", values="test_auroc"
    )
    for row in gain[["none", config.PHANTOM_WEIGHTS]].itertuples():
        assert f"| {row[0]} | {row[1]:.3f} | {row[2]:.3f} |" in told
    assert f"reached {phantom_weights.origin(MODEL)['validation_auroc']:.3f}" in told


@pytest.mark.soak
def test_a_short_lesson_makes_weights_that_a_model_can_start_from(tmp_path):
    lesson = pretraining.Lesson(patients=800, epochs=6)
    made = pretraining.learn(MODEL, tmp_path, tmp_path / "weights.npz", lesson)
    assert made == artifacts.read_json(tmp_path / "weights.json")
    assert made["sha256"] == artifacts.sha256(tmp_path / "weights.npz")
    assert made["validation_films"] == 80 and made["validation_auroc"] > 0.53
    phantom_weights.load(models.build(MODEL, image_size=64), tmp_path / "weights.npz")
