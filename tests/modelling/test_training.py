"""Training at toy size: 64 px drawings whose sign anybody could see."""

import itertools
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow.python.framework import kernels

from cxr import artifacts, config
from cxr.errors import InputError
from cxr.evaluation import ranking
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import checkpoint, devices, explain, inference, models, pipeline, training

pytestmark = pytest.mark.slow

SIZE = 64


def draw(folder, count, *, seed=0):
    """Films with a bright square where Mass is, a dark one where Nodule is, and noise."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    rows, paths = [], {}
    for number in range(count):
        targets = dict.fromkeys(FINDINGS, 0)
        picture = random.normal(120, 10, (SIZE, SIZE))
        if random.random() < 0.5:
            targets["Mass"] = 1
            picture[10:30, 10:30] += 60
        if random.random() < 0.5:
            targets["Nodule"] = 1
            picture[35:50, 35:50] -= 60
        film = f"{number // 2:08d}_{number % 2:03d}.png"
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / film)
        paths[film] = folder / film
        known = {"view": ("AP", "PA")[number % 2], "sex": "FM"[number // 2 % 2], "age": number}
        rows.append({"film": film, "patient_id": number // 2} | known | targets)
    return pd.DataFrame(rows), paths


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    frame, paths = draw(folder / "films", 96)
    return {"train": frame[:64], "validation": frame[64:]}, paths


def settings(root, **changes):
    values = {
        "root": root,
        "image_size": SIZE,
        "models": ("baseline",),
        "epochs": 3,
        "batch_size": 16,
        "profile": "first_archive",
    }
    return config.load_config({}, **(values | changes))


def train(root, drawn, recipe=None, **changes):
    splits, paths = drawn
    chosen = settings(root, **changes)
    devices.preflight(chosen)
    record = training.run(
        chosen.models[0], paths, splits, chosen, split_checksum="toy", recipe=recipe
    )
    return record, chosen.runs / chosen.run_name(chosen.models[0])


def tiny(name, **options):
    """With all that a training could get wrong: normalisation over a batch, and dropout."""
    layers = keras.layers
    film = keras.Input((options["image_size"], options["image_size"], 1))
    x = layers.AveragePooling2D(4)(layers.Rescaling(1 / 127.5, offset=-1)(film))
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(4, 3)(x))
    x = layers.Dropout(0.2)(layers.Flatten()(x))
    # By this name a recipe tells `baseline`'s backbone from its head.
    return keras.Model(film, layers.Dense(14, "sigmoid", name="dense1")(x))


@pytest.fixture
def small(monkeypatch):
    """A network that is traced in a second, where it does not matter which one learns."""
    monkeypatch.setattr(models, "build", tiny)


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    return train(tmp_path_factory.mktemp("finished"), drawn, epochs=4)


def test_a_run_folder_says_what_the_run_was(finished):
    record, folder = finished
    assert record == artifacts.read_json(folder / "config.json")
    assert record["train_films"] == 64
    assert record["validation_patients"] == 16
    assert record["versions"]["keras"] == keras.__version__
    assert record["finished"]
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert record["validation_auroc"] == pytest.approx(history["val_auroc"].max(), abs=1e-6)
    assert len((folder / "training.log").read_text().splitlines()) == 4
    assert list((folder / "tensorboard").rglob("events.*"))
    assert not (folder / "checkpoint.npz").exists()
    network = inference.load_network(folder)
    assert explain.Explainer.of_run(network, folder)._average.shape[0] >= explain.FEWEST_ROWS


def test_findings_without_positives_are_not_estimable_and_left_out_of_the_mean(finished):
    history = pd.read_csv(finished[1] / "history.csv")
    assert history["val_auroc_Hernia"].isna().all()
    pair = history[["val_auroc_Mass", "val_auroc_Nodule"]].mean(axis=1)
    assert history["val_auroc"].to_numpy() == pytest.approx(pair.to_numpy())


def test_a_saved_model_gives_the_scores_that_were_saved_with_it(finished, drawn):
    folder = finished[1]
    splits, paths = drawn
    saved = pd.read_csv(folder / "validation_scores.csv")
    again = inference.score_with_run(folder, paths, splits["validation"], folder / "cache")
    assert saved["film"].tolist() == splits["validation"]["film"].tolist()
    np.testing.assert_allclose(saved[list(FINDINGS)], again[list(FINDINGS)], atol=1e-6)


def test_validation_sees_the_films_without_augmentation_or_dropout(finished, drawn):
    splits, paths = drawn
    network = inference.load_network(finished[1])
    store = film_cache.prepare(paths, finished[1] / "cache", size=SIZE)
    first, second = (inference.score_films(network, store, splits["validation"]) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    row = store.rows(splits["validation"]["film"][:1])
    plain = network(store.take(row).astype(np.float32), training=False).numpy()[0]
    np.testing.assert_allclose(first.loc[0, list(FINDINGS)].astype(float), plain, atol=1e-5)


def test_augmentation_touches_the_training_films_and_no_others(drawn, tmp_path, monkeypatch):
    # An augmentation that blackens every film: nothing can be learned from such films, and
    # they differ from those that validation, which is not augmented, must see.
    shapes = []

    def blacken(pictures, draws, **options):
        shapes.append(pictures.shape)
        return tf.zeros(tf.shape(pictures))

    monkeypatch.setattr(pipeline, "augment", blacken)
    _, folder = train(tmp_path, drawn, epochs=1)
    assert shapes, "training did not augment"
    scores = pd.read_csv(folder / "validation_scores.csv")["Mass"].to_numpy()
    assert len(np.unique(scores.round(6))) > len(scores) / 2
    network = inference.load_network(folder)
    black = network(np.zeros((1, SIZE, SIZE, 1), np.float32)).numpy()
    assert np.abs(scores - black[0, FINDINGS.index("Mass")]).min() > 1e-6


def test_the_epoch_is_chosen_by_the_scores_that_the_saved_model_gives(finished, drawn):
    record, folder = finished
    splits, _ = drawn
    saved = pd.read_csv(folder / "validation_scores.csv")
    by_finding = ranking.auroc(
        splits["validation"][list(FINDINGS)].to_numpy(), saved[list(FINDINGS)].to_numpy()
    )
    assert record["validation_auroc"] == pytest.approx(np.nanmean(by_finding), abs=1e-6)
    history = pd.read_csv(folder / "history.csv").set_index("epoch")
    chosen = history.loc[record["best_epoch"], [f"val_auroc_{f}" for f in FINDINGS]]
    np.testing.assert_allclose(chosen.to_numpy(float), by_finding, atol=1e-6)


def test_a_finished_run_is_reused_and_other_settings_are_refused(finished, drawn):
    record, folder = finished
    root = folder.parents[1]
    stamp = (folder / "model.keras").stat().st_mtime_ns
    assert train(root, drawn, epochs=4)[0] == record
    assert (folder / "model.keras").stat().st_mtime_ns == stamp
    with pytest.raises(InputError) as caught:
        train(root, drawn, epochs=5)
    assert "epochs was 4, is now 5" in str(caught.value)


@pytest.mark.usefixtures("small")
def test_looking_at_the_loss_less_often_changes_nothing(drawn, tmp_path, monkeypatch):
    # 64 films in batches of 24 are three steps, so the second look comes early.
    always = train(tmp_path / "1", drawn, epochs=2, batch_size=24)
    monkeypatch.setattr(
        devices, "compiling", lambda: {"jit_compile": False, "steps_per_execution": 2}
    )
    often = train(tmp_path / "2", drawn, epochs=2, batch_size=24)
    for column in ("loss", "val_loss", "val_auroc"):
        curves = [
            pd.read_csv(folder / "history.csv")[column].to_numpy() for _, folder in (often, always)
        ]
        np.testing.assert_allclose(*curves, rtol=1e-5, err_msg=column)


def test_one_gpu_is_asked_for_nothing_that_keras_refuses(monkeypatch):
    # Keras warns of a network that is to be compiled, but cannot be; a warning is an error here.
    devices.preflight(config.load_config({}, profile="demo"))
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    assert devices.compiling()["steps_per_execution"] == 8
    settings = {"model": "baseline", "image_size": 64, "learning_rate": 1e-3}
    training.compiled_trainee(settings, models.Recipe(), weights="none", steps=8)


def test_the_same_seed_gives_the_same_run(drawn, tmp_path):
    scores = [
        pd.read_csv(train(tmp_path / str(trial), drawn, epochs=1)[1] / "validation_scores.csv")
        for trial in range(2)
    ]
    pd.testing.assert_frame_equal(*scores)


CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import keras
import test_training as toy


class Death(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (2, 1):
            os.kill(os.getpid(), signal.SIGKILL)


fit = keras.Model.fit
keras.Model.fit = lambda self, *data, callbacks=(), **options: fit(
    self, *data, callbacks=[*callbacks, Death()], **options
)
frame, paths = toy.draw(Path({films!r}), 96)
recipe = toy.models.Recipe(**{recipe!r})
splits = {{"train": frame[:64], "validation": frame[64:]}}
toy.train(Path({root!r}), (splits, paths), recipe, epochs=5)
"""

# The death falls into the first epoch in which the backbone learns, too.
ALL = {"ema": 0.9, "smoothing": 0.1, "frozen": 0.4, "backbone_rate": 0.5, "auxiliary": 0.3}


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param({}, id="plain"),
        pytest.param(ALL, id="all ingredients", marks=pytest.mark.soak),
    ],
)
def test_a_training_killed_in_the_middle_of_an_epoch_goes_on_to_the_same_result(
    drawn, tmp_path, recipe
):
    chosen = models.Recipe(**recipe)
    undisturbed, folder = train(tmp_path / "whole", drawn, chosen, epochs=5)
    code = CHILD.format(
        tests=str(Path(__file__).parent),
        films=str(tmp_path / "films"),
        root=str(tmp_path / "killed"),
        recipe=recipe,
    )
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()[-2000:]
    killed = tmp_path / "killed/runs/baseline-patient"
    assert len(pd.read_csv(killed / "history.csv")) == 2, "two epochs, and part of the third"
    record, _ = train(tmp_path / "killed", drawn, chosen, epochs=5)
    for name in ("validation_scores.csv", "history.csv"):
        whole, resumed = (
            pd.read_csv(path / name).drop(columns="seconds", errors="ignore")
            for path in (folder, killed)
        )
        pd.testing.assert_frame_equal(whole, resumed, rtol=1e-6)
    for name in ("best_epoch", "epochs_done", "validation_auroc"):
        assert record[name] == undisturbed[name]


HOLDER = """
import sys, time
from pathlib import Path
from cxr.modelling import checkpoint

with checkpoint.alone(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_run_is_made_by_one_process_at_a_time(finished, drawn):
    root, folder = finished[1].parents[1], finished[1]
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            with pytest.raises(InputError, match=f"another process is making the run {folder}"):
                train(root, drawn, epochs=4)
        finally:
            other.kill()
    # However it ended, nothing of it is in the way.
    assert train(root, drawn, epochs=4)[0] == finished[0]


@pytest.mark.parametrize(
    ("place", "epoch"), [("before the checkpoint", 2), ("after the checkpoint", 1)]
)
@pytest.mark.usefixtures("small")
def test_a_kill_beside_the_checkpoint_changes_nothing(
    drawn, whole, tmp_path, monkeypatch, epoch, place
):
    # Each epoch is better than the one before.
    monkeypatch.setattr(ranking, "auroc", rising())
    save = checkpoint.Keeper._save

    def killed(self):
        dies = len(self.history) == epoch
        if not dies or place == "after the checkpoint":
            save(self)
        if dies:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(checkpoint.Keeper, "_save", killed)
        train(tmp_path, drawn)
    record, folder = train(tmp_path, drawn)
    assert not (folder / "next.keras").exists()
    assert record["best_epoch"] == record["epochs_done"] == 3
    scores = [pd.read_csv(run / "validation_scores.csv") for run in (whole, folder)]
    pd.testing.assert_frame_equal(*scores, rtol=1e-6)


def rising():
    """Stands in for the AUROC, as if validation had never been so good."""
    calls = itertools.count(1)
    return lambda targets, scores: np.full(len(FINDINGS), 1 - 1 / (1 + next(calls)))


@pytest.fixture(scope="module")
def whole(drawn, tmp_path_factory):
    """A run of which each epoch was better than the one before."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ranking, "auroc", rising())
        patched.setattr(models, "build", tiny)
        return train(tmp_path_factory.mktemp("whole"), drawn)[1]


@pytest.mark.usefixtures("small")
def test_a_best_model_that_was_replaced_is_refused(finished, drawn, tmp_path, monkeypatch):
    stopped_after_an_epoch(drawn, tmp_path, monkeypatch)
    shutil.copy(finished[1] / "model.keras", tmp_path / "runs/baseline-patient/model.keras")
    with pytest.raises(InputError, match="not the file that the training wrote; remove"):
        train(tmp_path, drawn)


def stopped_after_an_epoch(drawn, root, monkeypatch, **changes):
    def cut(self, epoch, logs=None):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(keras.callbacks.TensorBoard, "on_epoch_end", cut)
        train(root, drawn, **changes)


@pytest.mark.usefixtures("small")
def test_a_damaged_checkpoint_is_named_with_its_remedy(drawn, tmp_path, monkeypatch):
    stopped_after_an_epoch(drawn, tmp_path, monkeypatch)
    checkpoint = tmp_path / "runs/baseline-patient/checkpoint.npz"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint\.npz cannot be read .* remove it"):
        train(tmp_path, drawn)


def test_what_answers_rest_on_is_made_again_where_it_is_lost_or_damaged(finished, drawn, tmp_path):
    shutil.copytree(finished[1].parents[1], tmp_path / "root")
    folder = tmp_path / "root" / finished[1].relative_to(finished[1].parents[1])
    names = (explain.TWIN_AVERAGE, explain.AVERAGE)
    before = {name: (folder / name).read_bytes() for name in names}
    network = inference.load_network(folder)
    blank = np.full_like(np.load(folder / names[1], allow_pickle=False), np.nan)
    np.save(tmp_path / "blank.npy", blank)
    np.save(tmp_path / "text.npy", blank.astype(str))
    others = [(tmp_path / f"{name}.npy").read_bytes() for name in ("blank", "text")]
    for left in (b"damaged", b"", before[names[1]][:200], *others):
        (folder / names[0]).unlink()
        (folder / names[1]).write_bytes(left)
        with pytest.raises(InputError, match="run 200-modeling again: it makes it anew"):
            explain.Explainer.of_run(network, folder)
        record, _ = train(tmp_path / "root", drawn, epochs=4)
        assert {name: (folder / name).read_bytes() for name in names} == before
        assert artifacts.read_json(folder / "config.json") == record


@pytest.mark.usefixtures("small")
def test_a_training_whose_last_record_could_not_be_written_is_not_lost(
    drawn, tmp_path, monkeypatch
):
    write, folder = artifacts.write_json, tmp_path / "runs" / "baseline-patient"

    def full(path, content):
        if content.get("finished"):
            raise OSError(28, "No space left on device")
        write(path, content)

    with monkeypatch.context() as patched, pytest.raises(OSError, match="No space left"):
        patched.setattr(artifacts, "write_json", full)
        train(tmp_path, drawn, epochs=1)
    train(tmp_path, drawn, epochs=1)
    assert len((folder / "training.log").read_text().splitlines()) == 1
    assert not (folder / "checkpoint.npz").exists()


def test_a_run_of_another_split_is_refused(finished, drawn):
    splits, paths = drawn
    chosen = settings(finished[1].parents[1], epochs=4)
    with pytest.raises(InputError, match="split_checksum was 'toy', is now 'foreign'"):
        training.run("baseline", paths, splits, chosen, split_checksum="foreign")
    fewer = splits | {"train": splits["train"][:60]}
    with pytest.raises(InputError, match="train_films was 64, is now 60"):
        training.run("baseline", paths, fewer, chosen, split_checksum="toy")


def test_a_model_can_learn_32_films_by_heart(drawn, tmp_path):
    splits, paths = drawn
    frame = splits["train"][:32]
    store = film_cache.prepare({film: paths[film] for film in frame["film"]}, tmp_path, size=SIZE)
    keras.utils.set_random_seed(1)
    trainee = training.Trainee(models.build("baseline", image_size=SIZE))
    trainee.compile(keras.optimizers.Adam(1e-3), "binary_crossentropy", jit_compile=False)
    targets = frame[list(FINDINGS)].to_numpy()
    dataset = pipeline.batches(store, store.rows(frame["film"]), targets, batch_size=8)
    trainee.fit(dataset, epochs=80, verbose=0, shuffle=False)
    scores = inference.score_films(trainee.network, store, frame)[list(FINDINGS)].to_numpy()
    wrong = np.abs(scores - targets)
    assert -np.log1p(-wrong).mean() < 0.02


def test_a_last_batch_of_one_film_trains(drawn, tmp_path):
    splits, paths = drawn
    odd = {"train": splits["train"][:33], "validation": splits["validation"]}
    record, _ = train(tmp_path, (odd, paths), epochs=1)
    assert record["train_films"] == 33


@pytest.mark.usefixtures("small")
def test_a_loss_that_is_not_a_number_stops_with_a_sentence_that_helps(drawn, tmp_path, monkeypatch):
    class Broken(keras.losses.BinaryCrossentropy):
        def call(self, wanted, scores):
            return super().call(wanted, scores) * np.nan

    with monkeypatch.context() as patched, pytest.raises(InputError) as caught:
        patched.setattr(keras.losses, "BinaryCrossentropy", Broken)
        train(tmp_path, drawn)
    assert "the loss became nan in epoch 1" in str(caught.value)
    assert f"Remove {tmp_path / 'runs/baseline-patient'}, lower CXR_LEARNING_RATE" in str(
        caught.value
    )
    # Nothing was learned, so nothing binds: a lower rate is taken without the removal, too.
    assert train(tmp_path, drawn, epochs=1, learning_rate=1e-4)[0]["finished"]


@pytest.mark.parametrize(
    ("split", "finding", "value"),
    [
        ("train", "Mass", 2),
        ("train", "Mass", np.nan),
        ("validation", "Nodule", np.nan),
        ("validation", "Nodule", -1),
        ("train", "Hernia", "yes"),
        ("train", "Hernia", 0.5),
    ],
)
def test_labels_other_than_0_and_1_are_refused(drawn, tmp_path, split, finding, value):
    splits, paths = drawn
    broken = splits[split].astype({finding: object})
    broken.iloc[3, broken.columns.get_loc(finding)] = value
    film = broken["film"].iloc[3]
    with pytest.raises(InputError, match=f"1 of .* label of {finding} .* of {film}"):
        train(tmp_path, (splits | {split: broken}, paths))


def test_a_film_in_training_and_in_validation_is_refused(drawn, tmp_path):
    splits, paths = drawn
    both = pd.concat([splits["validation"], splits["train"][:1]], ignore_index=True)
    with pytest.raises(InputError, match=r"1 films are in training and in validation, such as 0"):
        train(tmp_path, (splits | {"validation": both}, paths))
    twice = pd.concat([splits["train"], splits["train"][:2]], ignore_index=True)
    with pytest.raises(InputError, match="2 training films are listed twice"):
        train(tmp_path, (splits | {"train": twice}, paths))


def test_a_film_that_has_gone_is_named(drawn, tmp_path):
    splits, paths = drawn
    film = splits["train"]["film"].iloc[0]
    with pytest.raises(InputError, match=f"{film} is no longer there; run 000"):
        train(tmp_path, (splits, paths | {film: tmp_path / film}))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_run_of_other_labels_is_refused(finished, drawn, split):
    splits, paths = drawn
    chosen = settings(finished[1].parents[1], epochs=4)
    other = splits[split].assign(Mass=1 - splits[split]["Mass"])
    with pytest.raises(InputError, match=f"{'train' if split == 'train' else split}_checksum was"):
        training.run("baseline", paths, splits | {split: other}, chosen, split_checksum="toy")


def test_a_run_in_another_precision_is_refused(finished, drawn):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        with pytest.raises(InputError, match="precision was 'float32', is now 'mixed_bfloat16'"):
            training.run(
                "baseline",
                drawn[1],
                drawn[0],
                settings(finished[1].parents[1], epochs=4),
                split_checksum="toy",
            )
    finally:
        keras.config.set_dtype_policy(before)


def test_a_model_that_was_lost_or_changed_is_trained_again_after_a_removal(finished, drawn):
    root = finished[1].parents[1]
    folder, kept = finished[1], (finished[1] / "model.keras").read_bytes()
    try:
        for damage in (None, kept[: len(kept) // 2], kept + b"more"):
            (folder / "model.keras").unlink(missing_ok=True)
            if damage is not None:
                (folder / "model.keras").write_bytes(damage)
            what = "does not exist" if damage is None else "is not the file that the training wrote"
            remedy = f"{what}; remove {folder} and run 200-modeling again"
            with pytest.raises(InputError, match=remedy):
                train(root, drawn, epochs=4)
            with pytest.raises(InputError, match=remedy):
                inference.load_network(folder)
    finally:
        (folder / "model.keras").write_bytes(kept)


@pytest.mark.usefixtures("small")
def test_a_checkpoint_without_its_best_model_is_named_with_its_remedy(drawn, tmp_path, monkeypatch):
    stopped_after_an_epoch(drawn, tmp_path, monkeypatch)
    (tmp_path / "runs/baseline-patient/model.keras").unlink()
    with pytest.raises(InputError, match=r"no longer the best model, .* remove the folder"):
        train(tmp_path, drawn)


def test_weights_that_do_not_fit_leave_nothing_behind(drawn, tmp_path, monkeypatch):
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"no weights")
    chosen = {"models": ("mobilenet_small",), "epochs": 1}
    with pytest.raises(InputError, match="does not hold weights of mobilenet_small"):
        train(tmp_path, drawn, weights=str(wrong), **chosen)
    folder = tmp_path / "runs/mobilenet_small-patient"
    assert not (folder / "config.json").exists()

    # The corrected setting is not refused, and the training begins.
    def begun(self, *data, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(keras.Model, "fit", begun)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, drawn, weights="none", **chosen)
    assert artifacts.read_json(folder / "config.json")["weights"] == "none"


@pytest.mark.usefixtures("small")
def test_without_validation_films_the_last_epoch_is_kept(drawn, tmp_path):
    splits, paths = drawn
    record, folder = train(
        tmp_path, ({"train": splits["train"], "validation": splits["validation"][:0]}, paths)
    )
    assert record["validation_auroc"] is None
    assert record["best_epoch"] == 3
    assert pd.read_csv(folder / "validation_scores.csv").empty


def test_nothing_to_train_on_is_refused(drawn, tmp_path):
    splits, _ = drawn
    with pytest.raises(InputError, match="none of the 64 training films is present"):
        train(tmp_path, (splits, {}))


def test_too_little_memory_names_the_batch_size_to_try(tmp_path):
    with (
        pytest.raises(InputError, match="set CXR_BATCH_SIZE=8"),
        training.explained(settings(tmp_path)),
    ):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")


def test_the_full_profile_refuses_a_machine_without_a_gpu():
    if tf.config.list_physical_devices("GPU"):
        pytest.skip("this machine has a GPU")
    full = config.load_config({"CXR_PROFILE": "full"})
    with pytest.raises(InputError, match="CXR_ALLOW_CPU=1"):
        devices.preflight(full)
    allowed = config.load_config({"CXR_PROFILE": "full", "CXR_ALLOW_CPU": "1"})
    assert "float32" in devices.preflight(allowed)


def test_a_model_of_another_film_size_is_refused(finished, drawn, tmp_path):
    splits, paths = drawn
    with pytest.raises(InputError, match="run 200-modeling first"):
        inference.load_network(tmp_path)
    (tmp_path / "model.keras").write_bytes(b"not a model")
    with pytest.raises(InputError, match=r"cannot be loaded .* remove .* run 200-modeling again"):
        inference.load_network(tmp_path)
    small = film_cache.prepare(paths, tmp_path, size=32)
    with pytest.raises(InputError, match="the model takes films of 64 px"):
        inference.score_films(inference.load_network(finished[1]), small, splits["validation"])


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((6, 1), "float32"), ((7, 5), "mixed_float16"), ((8, 0), "mixed_bfloat16")],
    ids=["P100", "T4", "A100"],
)
def test_the_preflight_names_the_gpus_their_memory_and_the_precision(
    monkeypatch, capability, precision
):
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["gpu0", "gpu1"])
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "set_memory_growth", lambda *given: grown.append(given))
    monkeypatch.setattr(
        experimental,
        "get_device_details",
        lambda gpu: {"device_name": "Made-up GPU", "compute_capability": capability},
    )
    monkeypatch.setattr(devices, "_gpu_memory", lambda: "Made-up GPU, 16384 MiB")
    before = keras.config.dtype_policy()
    try:
        told = devices.preflight(config.load_config({"CXR_PROFILE": "full"}))
        assert keras.config.dtype_policy().name == precision
    finally:
        keras.config.set_dtype_policy(before)
    assert told == f"2 GPU(s): Made-up GPU, 16384 MiB; precision {precision}."
    assert grown == [("gpu0", True), ("gpu1", True)]


def test_the_memory_of_the_eleventh_gpu_is_asked_for_by_its_whole_name(monkeypatch):
    used = {f"GPU:{number}": 100 - number for number in range(11)} | {"GPU:10": 700}
    gpus = [tf.config.LogicalDevice(f"/device:{name}", "GPU") for name in used]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: gpus)
    experimental = tf.config.experimental
    monkeypatch.setattr(experimental, "get_memory_info", lambda name: {"peak": used[name]})
    assert devices.peak_memory() == 700


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_films_are_varied_in_full_precision(precision, monkeypatch):
    seen = []

    def watched(pictures, draws, **options):
        seen.append((pictures.dtype, draws.dtype))
        return tf.cast(pictures, tf.float32)

    monkeypatch.setattr(pipeline, "augment", watched)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        trainee = training.Trainee(models.build("baseline", image_size=SIZE))
        trainee.compile("adam", "binary_crossentropy")
        # Half precision has few numbers near zero: small gradients need a larger loss.
        scaled = isinstance(trainee.optimizer, keras.optimizers.LossScaleOptimizer)
        assert scaled == (precision == "mixed_float16")
    finally:
        keras.config.set_dtype_policy(before)
    inputs = {
        "film": np.zeros((2, SIZE, SIZE, 1), np.uint8),
        "draws": np.full((2, pipeline.DRAWS), 0.123456789, np.float32),
    }
    assert trainee(inputs, training=True).dtype == tf.float32
    assert seen == [(tf.uint8, tf.float32)]


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        ("baseline", "mixed_float16"),
        pytest.param("mobilenet_small", "mixed_bfloat16", marks=pytest.mark.soak),
        pytest.param("mobilenet_small", "float32", marks=pytest.mark.soak),
    ],
)
def test_every_operation_of_a_training_step_can_run_on_a_gpu(model, precision):
    # Without a kernel for its number format an operation goes to the CPU, silently, and the
    # films travel back and forth. TensorFlow lists its GPU kernels on any machine.
    if not tf.test.is_built_with_cuda():
        pytest.skip("this TensorFlow was built without kernels for GPUs")
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        trainee = training.Trainee(models.build(model, image_size=SIZE))
        trainee.compile(keras.optimizers.AdamW(1e-3), "binary_crossentropy", jit_compile=False)
        trainee.optimizer.build(trainee.trainable_variables)
    finally:
        keras.config.set_dtype_policy(before)
    batch = (
        {
            "film": tf.TensorSpec((8, SIZE, SIZE, 1), tf.uint8),
            "draws": tf.TensorSpec((8, pipeline.DRAWS)),
        },
        tf.TensorSpec((8, len(FINDINGS))),
        tf.TensorSpec((8,)),
    )
    step = tf.function(lambda *data: trainee.train_step(data)).get_concrete_function(*batch)
    graph = step.graph.as_graph_def()
    # What XLA compiles needs no kernels.
    parts = [part for part in graph.library.function if not part.attr["_XlaMustCompile"].b]
    assert len(parts) < len(graph.library.function)
    nodes = [*graph.node, *(node for part in parts for node in part.node_def)]
    assert "Conv2DBackpropFilter" in {node.op for node in nodes}
    assert not {node.op for node in nodes if not _has_gpu_kernel(node)}


def _has_gpu_kernel(node):
    for kernel in kernels.get_registered_kernels_for_op(node.op).kernel:
        # "DEFAULT" are kernels for every kind of device.
        if kernel.device_type in ("GPU", "DEFAULT") and all(
            node.attr[constraint.name].type in constraint.allowed_values.list.type
            for constraint in kernel.constraint
        ):
            return True
    return False


def test_the_gpu_check_finds_what_has_no_kernel():
    node = tf.compat.v1.NodeDef(op="ImageProjectiveTransformV3")
    node.attr["dtype"].type = tf.bfloat16.as_datatype_enum
    assert not _has_gpu_kernel(node)
    node.attr["dtype"].type = tf.float32.as_datatype_enum
    assert _has_gpu_kernel(node) == tf.test.is_built_with_cuda()


def test_a_gpu_that_tensorflow_cannot_use_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: [])
    monkeypatch.setattr(devices, "_gpu_memory", lambda: "Made-up GPU, 16384 MiB")
    with pytest.raises(InputError, match="make run CUDA=1"):
        devices.preflight(config.load_config({"CXR_PROFILE": "full"}))


def test_scores_stand_in_the_rows_of_their_films(tmp_path, monkeypatch):
    monkeypatch.setattr(inference, "BATCH", 4)
    paths = {}
    for number in range(10):
        path = tmp_path / f"{number:08d}_000.png"
        Image.fromarray(np.full((SIZE, SIZE), 20 * number, np.uint8)).save(path)
        paths[path.name] = path
    store = film_cache.prepare(paths, tmp_path / "cache", size=SIZE)
    # A network that says how bright a film is: its number times 20 in 255.
    film = keras.Input((SIZE, SIZE, 1))
    mean = keras.layers.GlobalAveragePooling2D()(film)
    network = keras.Model(film, keras.layers.Dense(14, "linear", kernel_initializer="ones")(mean))
    wanted = [7, 0, 9, 3, 3, 1, 8]
    frame = pd.DataFrame({"film": [f"{n:08d}_000.png" for n in wanted], "patient_id": wanted})
    scores = inference.score_films(network, store, frame)
    assert scores["Hernia"].tolist() == pytest.approx([20 * n for n in wanted])
    assert scores["patient_id"].tolist() == wanted
