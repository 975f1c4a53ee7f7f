"""An ensemble is a run like any other: the mean of its members."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import test_training as toy

from cxr import artifacts
from cxr.config import load_config
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import checkpoint, ensemble, explain, inference, models, predict, training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two trainings of one model and their ensemble: config, splits, paths, members, record."""
    root = tmp_path_factory.mktemp("ensemble")
    frame, paths = toy.draw(root / "films", 48)
    splits = {"train": frame[:32], "validation": frame[32:]}
    config = toy.settings(root, epochs=2, ensemble=2)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(models, "build", toy.tiny)
        members = [
            training.run("baseline", paths, splits, setting, split_checksum="toy")
            for setting in config.trainings
        ]
    record = ensemble.combine(members, splits["validation"], config)
    return config, splits, paths, members, record


def test_trainings_differ_in_the_seed_and_have_names_of_their_own(made):
    config, _, _, members, record = made
    assert [member["name"] for member in members] == ["baseline-patient", "baseline-patient-seed43"]
    assert [member["seed"] for member in members] == [42, 43]
    assert record["name"] == "ensemble-patient"
    assert config.evaluated == ("baseline-patient", "ensemble-patient")
    assert load_config({}, profile="demo").evaluated == (
        "baseline-patient",
        "mobilenet_small-patient",
    )


def test_its_scores_are_the_mean_of_its_members(made):
    config, splits, paths, members, record = made
    findings = list(FINDINGS)
    apart = [
        pd.read_csv(config.runs / member["name"] / "validation_scores.csv") for member in members
    ]
    assert np.abs(apart[0][findings] - apart[1][findings]).to_numpy().max() > 0.01
    mean = (apart[0][findings] + apart[1][findings]) / 2
    folder = config.runs / record["name"]
    np.testing.assert_allclose(
        pd.read_csv(folder / "validation_scores.csv")[findings], mean, atol=1e-6
    )
    # The saved network, from the films.
    scored = inference.score_with_run(folder, paths, splits["validation"], folder / "cache")
    np.testing.assert_allclose(scored[findings], mean, atol=1e-5)


def test_it_answers_for_one_film_with_a_heatmap(made):
    config, splits, paths, _, record = made
    film = splits["validation"]["film"].iloc[0]
    (answer,) = predict.Model(config.runs / record["name"]).answers([paths[film]], pictures=1)
    saved = pd.read_csv(config.runs / record["name"] / "validation_scores.csv").iloc[0]
    for row in answer.findings.itertuples():
        assert row.probability == pytest.approx(saved[row.finding], abs=1e-5)
    assert answer.heatmaps.shape[0] == 14


def test_its_heatmap_is_the_mean_of_its_members_heatmaps(made):
    config, splits, paths, members, record = made
    films = splits["validation"]["film"].tolist()
    pictures = explain.read_films(films, paths, toy.SIZE)
    columns = np.full(len(films), FINDINGS.index("Mass"))
    apart = [
        explain.Explainer(inference.load_network(config.runs / member["name"]), pictures).heatmaps(
            pictures, columns
        )
        for member in members
    ]
    network = inference.load_network(config.runs / record["name"])
    together = explain.Explainer(network, pictures).heatmaps(pictures, columns)
    mean = np.mean(apart, axis=0)
    highest = mean.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(together, mean / np.where(highest > 0, highest, 1), atol=1e-4)
    # A twin that has forgotten everything explains otherwise.
    forgotten = explain.Explainer(explain.randomised(network, seed=1), pictures)
    assert np.abs(forgotten.heatmaps(pictures, columns) - together).max() > 0.1


def test_maps_of_different_size_meet_on_the_finest_grid():
    coarse, fine = np.ones((2, 4, 4), np.float32), np.zeros((2, 8, 8), np.float32)
    assert explain._on_one_grid([coarse, fine]).shape == (2, 2, 8, 8)
    assert explain._on_one_grid([coarse, fine]).mean() == pytest.approx(0.5)


def test_a_finished_ensemble_is_reused_and_other_members_are_refused(made):
    config, splits, _, members, record = made
    assert ensemble.combine(members, splits["validation"], config) == record
    changed = [members[0], members[1] | {"model_checksum": "0" * 64}]
    with pytest.raises(InputError, match=r"members was .* Set CXR_TAG"):
        ensemble.combine(changed, splits["validation"], config)


def test_an_ensemble_of_copies_averages_the_copies(made, tmp_path):
    config, splits, paths, members, _ = made
    originals = [config.runs / member["name"] for member in members]
    copies = dataclasses.replace(config, root=tmp_path, tag="copy")
    for original, setting in zip(originals, copies.trainings, strict=True):
        shutil.copytree(original, setting.runs / setting.run_name("baseline"))
    # What stands where the copies were made from is another run by now.
    for original in originals:
        shutil.copytree(originals[1], tmp_path / "runs" / original.name)
    again = [
        training.run("baseline", paths, splits, setting, split_checksum="toy")
        for setting in copies.trainings
    ]
    record = ensemble.combine(again, splits["validation"], copies)
    names = ["baseline-patient-copy", "baseline-patient-copy-seed43"]
    assert list(record["members"]) == names
    network = inference.load_network(tmp_path / "runs" / "ensemble-patient-copy")
    low, high = ensemble.members(network)(np.zeros((1, toy.SIZE, toy.SIZE, 1)))[0]
    assert np.abs(low - high).max() > 1e-6


def test_lost_or_cut_scores_are_made_again_from_the_members_which_have_to_be_whole(made, tmp_path):
    config, splits, _, members, record = made
    copied = dataclasses.replace(config, root=shutil.copytree(config.root, tmp_path / "copy"))
    scores = copied.runs / record["name"] / "validation_scores.csv"
    before = scores.read_bytes()
    for left in (None, b"".join(before.splitlines(keepends=True)[:-3])):
        scores.unlink() if left is None else scores.write_bytes(left)
        ensemble.combine(members, splits["validation"], copied)
        assert scores.read_bytes() == before
    member = copied.runs / members[1]["name"] / "validation_scores.csv"
    whole = member.read_text()
    member.write_text("".join(whole.splitlines(keepends=True)[:-3]))
    with pytest.raises(InputError, match=f"{member} holds 13 of the 16 films .* run 200-modeling"):
        ensemble.combine(members, splits["validation"], copied)
    film = splits["validation"]["film"].iloc[-1]
    member.write_text(whole.replace(film, "another.png"))
    with pytest.raises(InputError, match=f"{member} holds scores of other films than .* run 200"):
        ensemble.combine(members, splits["validation"], copied)


def test_an_ensemble_is_made_by_one_process_at_a_time(made):
    config, splits, _, members, record = made
    folder = config.runs / record["name"]
    # A second opening of the log is as good as another process's.
    with (
        checkpoint.alone(folder),
        pytest.raises(InputError, match=f"another process is making the run {folder}"),
    ):
        ensemble.combine(members, splits["validation"], config)


@pytest.mark.parametrize("content", ["[]", "{}", "{"])
def test_a_record_that_is_none_is_named_and_made_again_after_a_removal(made, tmp_path, content):
    config, splits, _, members, record = made
    copied = dataclasses.replace(config, root=shutil.copytree(config.root, tmp_path / "copy"))
    folder = copied.runs / record["name"]
    (folder / "config.json").write_text(content)
    with pytest.raises(InputError, match=f"config.json .* or remove {folder}"):
        ensemble.combine(members, splits["validation"], copied)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"train_checksum": "other"}, "train_checksum was"),
        ({"image_size": 128}, "image_size was 128, is now 64"),
        ({"phantoms": True}, "phantoms was True, is now False"),
        ({"split": "official"}, "split was 'official'"),
    ],
)
def test_members_have_to_have_learned_from_the_same_films(made, change, told):
    config, splits, _, members, _ = made
    with pytest.raises(InputError, match=told):
        ensemble.combine([members[0], members[1] | change], splits["validation"], config)


def test_one_training_is_no_ensemble(made):
    config, splits, _, members, _ = made
    with pytest.raises(InputError, match="an ensemble of 1 training is none"):
        ensemble.combine(members[:1], splits["validation"], config)
    with pytest.raises(InputError, match="CXR_ENSEMBLE=1 averages one training"):
        toy.settings(config.root, ensemble=1)


def test_a_kill_between_model_and_record_makes_the_ensemble_again(made, tmp_path):
    config, splits, _, members, record = made
    folder = config.runs / record["name"]
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    try:
        (folder / "config.json").unlink()
        again = ensemble.combine(members, splits["validation"], config)
        assert again["members"] == record["members"]
        assert again["validation_auroc"] == record["validation_auroc"]
        assert artifacts.read_json(folder / "config.json") == again
    finally:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder)
