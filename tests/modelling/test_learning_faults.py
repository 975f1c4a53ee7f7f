"""What goes wrong in learning, case by case: one sentence each that says what to do.

Settings, weights, labels, sizes, damaged and vanished files, memory, disks and devices. None
may end in a traceback, and what a sentence tells to remove has to be enough to go on.
"""

import errno
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import test_training as toy
from PIL import Image

from cxr import artifacts, config
from cxr.errors import InputError
from cxr.films import film_cache
from cxr.modelling import devices, ensemble, models, run_scores, training

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def quick():
    """`baseline` is a network here that is traced in a second: all else is as it is."""
    build = models.build
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            models,
            "build",
            lambda name, **given: (toy.tiny if name == "baseline" else build)(name, **given),
        )
        yield


class Begun(Exception):
    """Training would begin now."""


class Case:
    """A folder of runs with its films, in which something is broken."""

    def __init__(self, root: Path, drawn):
        splits, self.paths = drawn
        self.root, self.paths = root, dict(self.paths)
        self.splits = {name: frame.copy() for name, frame in splits.items()}
        self.run = root / "runs" / "baseline-patient"

    def train(self, **changes):
        return toy.train(self.root, (self.splits, self.paths), **({"epochs": 2} | changes))

    def label(self, split, value, finding="Mass"):
        frame = self.splits[split].astype({finding: object})
        frame.iloc[0, frame.columns.get_loc(finding)] = value
        self.splits[split] = frame
        self.train()

    def drop(self, split, column):
        self.splits[split] = self.splits[split].drop(columns=column)
        self.train()

    def film(self, change):
        """Break the first training film, in a copy of its own."""
        name = self.splits["train"]["film"].iloc[0]
        path = self.root / "films" / name
        path.parent.mkdir()
        shutil.copy(self.paths[name], path)
        self.paths[name] = path
        change(path)
        self.train()

    def write(self, name, content):
        """Replace a file of the run: by bytes, by a share of its own, a folder or nothing."""
        path = self.run / name
        if isinstance(content, float):
            content = path.read_bytes()[: int(content * path.stat().st_size)]
        path.unlink()
        if content is Path:
            path.mkdir()
        elif content is not None:
            path.write_bytes(content)
        self.train()

    def record(self, **changes):
        """Change values of the run's record; None takes one out."""
        record = json.loads((self.run / "config.json").read_text()) | changes
        for name in [name for name, value in changes.items() if value is None]:
            del record[name]
        self.write("config.json", json.dumps(record).encode())

    def checkpoint(self, change):
        """Change the arrays of the checkpoint."""
        path = self.run / "checkpoint.npz"
        with np.load(path) as saved:
            arrays = {name: saved[name] for name in saved.files}
        change(arrays)
        np.savez(path, **arrays)
        self.train()

    def state(self, **changes):
        def change(arrays):
            state = json.loads(str(arrays["state"])) | changes
            kept = {name: value for name, value in state.items() if value is not None}
            arrays["state"] = np.array(json.dumps(kept))

        self.checkpoint(change)

    def shard(self, ending, change):
        """Prepare the films, then change a file of the cache."""
        folder = self.root / "cache"
        film_cache.prepare(self.paths, folder, size=toy.SIZE)
        (path,) = folder.rglob(f"shard-0000{ending}")
        change(path)
        film_cache.prepare(self.paths, folder, size=toy.SIZE)

    def scores(self, change):
        """Change the validation scores, then read them as an ensemble and notebook 300 do."""
        path = self.run / "validation_scores.csv"
        changed = change(pd.read_csv(path))
        path.unlink()
        if changed is not None:
            changed.to_csv(path, index=False)
        run_scores.read_scores(path)

    def weights(self, content, name="w.weights.h5"):
        path = self.root / name
        path.write_bytes(content)
        models.build("mobilenet_small", image_size=64, weights=str(path))

    def weights_of(self, network, share=1.0):
        """Weights of a network, or the beginning of their file."""
        path = self.root / "other.weights.h5"
        network.save_weights(path)
        self.weights(path.read_bytes()[: int(share * path.stat().st_size)])

    def failing(self, error, **changes):
        settings = toy.settings(self.root, **changes)
        with training.explained(settings):
            raise error


def of(**environment):
    """A case that needs no folder: variables of the environment."""
    return lambda case: config.load_config({f"CXR_{k.upper()}": v for k, v in environment.items()})


def gone(path):
    path.unlink()


def empty(path):
    path.write_bytes(b"")


def page(path):
    path.write_bytes(b"<!DOCTYPE html><html>404</html>")


def folder(path):
    path.unlink()
    path.mkdir()


def flat(path):
    path.unlink()
    path.parent.rmdir()
    path.parent.touch()


def small(path):
    Image.fromarray(np.zeros((40, 64), np.uint8)).save(path)


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_films(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"films": "others"}))


def blocked(name):
    """A file lies where a folder of this name is to be made."""

    def block(case):
        shutil.rmtree(case.root / name, ignore_errors=True)
        (case.root / name).write_bytes(b"")
        case.train()

    return block


def members(**other):
    first = dict.fromkeys(ensemble._COMMON, 1) | {"name": "a"}
    settings = {"models": ("baseline",), "ensemble": 2}
    return lambda case: ensemble.combine(
        [first, first | {"name": "b"} | other],
        case.splits["validation"],
        toy.settings(case.root, **settings),
    )


def mobilenet(alpha):
    return keras.applications.MobileNet(
        weights=None, input_shape=(64, 64, 3), alpha=alpha, include_top=False
    )


FULL_DISK = OSError(errno.ENOSPC, "No space left on device")
WEIGHTS = r"does not hold weights of mobilenet_small .* Set CXR_WEIGHTS to such a file, as Keras's"
CHECKPOINT = r"checkpoint\.npz cannot be read \(.*\); remove it and run again"
AGAIN = "run 100-data_cleaning_eda again"
ANEW = "run 200-modeling again: it trains anew"
RESCORED = "remove it and run 200-modeling again: it scores these films anew"
PAGE = b"<!DOCTYPE html><html>404</html>"

# Name -> what is done, and what the sentence says.
ANYWHERE = {
    "batch of none": (of(batch_size="0"), "CXR_BATCH_SIZE=0 is outside 1 to 65536"),
    "negative batch": (of(batch_size="-4"), "CXR_BATCH_SIZE=-4 is outside 1"),
    "batch in words": (of(batch_size="many"), "CXR_BATCH_SIZE='many' is not a whole number"),
    "half a batch": (of(batch_size="0.5"), "is not a whole number"),
    "endless batch": (of(batch_size="100000"), "outside 1 to 65536"),
    "size in words": (of(image_size="large"), "CXR_IMAGE_SIZE='large' is not a whole number"),
    "size too small": (of(image_size="63"), "outside 64 to 1024"),
    "size too large": (of(image_size="1025"), "outside 64 to 1024"),
    "no epochs": (of(epochs="0"), "CXR_EPOCHS=0 is outside 1 to 10000"),
    "negative seed": (of(seed="-1"), "CXR_SEED=-1 is outside 0 to"),
    "seed beyond 32 bits": (of(seed=str(2**32)), "is outside 0 to 4294967295"),
    "seed whose ensemble goes beyond 32 bits": (
        of(seed=str(2**32 - 1), ensemble="2"),
        "CXR_SEED=4294967295 is outside 0 to 4294967294",
    ),
    "no rate": (of(learning_rate="0"), r"CXR_LEARNING_RATE=0.0 is outside 1e-09 to 10"),
    "rate that is no number": (of(learning_rate="nan"), "CXR_LEARNING_RATE=nan is outside"),
    "endless rate": (of(learning_rate="inf"), "CXR_LEARNING_RATE=inf is outside"),
    "negative ensemble": (of(ensemble="-1"), "CXR_ENSEMBLE=-1 is outside 0 to 100"),
    "ensemble of one": (of(ensemble="1", models="baseline"), "set CXR_ENSEMBLE to 2 or more"),
    "misspelt setting": (of(batchsize="8"), "unknown variable CXR_BATCHSIZE; known are"),
    "unknown model": (
        lambda case: case.train(models=("resnet50",)),
        "unknown model 'resnet50' in CXR_MODELS; known are baseline, residual,",
    ),
    "misspelt weights": (
        lambda case: case.train(models=("mobilenet",), weights="imagnet"),
        "CXR_WEIGHTS=imagnet is neither 'imagenet', 'phantoms', 'none' nor a file",
    ),
    "weights that are a folder": (
        lambda case: case.train(models=("mobilenet",), weights=str(case.root)),
        "nor a file, but a folder; name a file in it",
    ),
    "weights for two": (
        lambda case: case.train(models=("mobilenet", "densenet121"), weights=__file__),
        "CXR_WEIGHTS=.* fits one transfer model, .* name exactly one",
    ),
    "weights for none": (
        lambda case: case.train(models=("baseline",), weights=__file__),
        "fits one transfer model, but CXR_MODELS names none",
    ),
    "empty weights": (lambda case: case.weights(b""), WEIGHTS),
    "page for weights": (lambda case: case.weights(PAGE), WEIGHTS),
    "weights of no known form": (lambda case: case.weights(b"0", "w.txt"), WEIGHTS),
    "weights of another width": (lambda case: case.weights_of(mobilenet(0.5)), WEIGHTS),
    "half of the weights": (lambda case: case.weights_of(mobilenet(0.25), 0.5), WEIGHTS),
    "weights of another network": (
        lambda case: case.weights_of(models.build("baseline", image_size=64)),
        WEIGHTS,
    ),
    "label of 2": (lambda case: case.label("train", 2), f"neither 0 nor 1, such as 2 .* {AGAIN}"),
    "negative label": (lambda case: case.label("train", -1), "neither 0 nor 1, such as -1"),
    "label in words": (lambda case: case.label("train", "yes"), "neither 0 nor 1, such as 'yes'"),
    "label between": (lambda case: case.label("train", 0.5), "neither 0 nor 1, such as 0.5"),
    "no label": (lambda case: case.label("train", np.nan), "neither 0 nor 1, such as nan"),
    "empty label": (lambda case: case.label("train", None), "neither 0 nor 1, such as None"),
    "endless label": (lambda case: case.label("train", np.inf), "neither 0 nor 1, such as inf"),
    "no label in validation": (
        lambda case: case.label("validation", np.nan, "Hernia"),
        "1 of 16 validation films have a label of Hernia that is neither 0 nor 1",
    ),
    "training without a finding": (
        lambda case: case.drop("train", "Edema"),
        rf"the train records lack the column\(s\) Edema; {AGAIN}",
    ),
    "validation without a finding": (
        lambda case: case.drop("validation", "Edema"),
        r"the validation records lack the column\(s\) Edema",
    ),
    "records without films": (lambda case: case.drop("train", "film"), r"column\(s\) film"),
    "records without patients": (
        lambda case: case.drop("train", "patient_id"),
        r"column\(s\) patient_id",
    ),
    "film that is gone": (lambda case: case.film(gone), "is no longer there; run 000"),
    "film of no bytes": (lambda case: case.film(empty), "cannot be used .* run 000"),
    "page for a film": (lambda case: case.film(page), "cannot be used .* run 000"),
    "half a film": (lambda case: case.film(cut), "cannot be used .* run 000"),
    "folder for a film": (lambda case: case.film(folder), "cannot be used .* run 000"),
    "film below a file": (
        lambda case: case.film(flat),
        "cannot be looked at .* whether its folder is one",
    ),
    "film smaller than asked for": (
        lambda case: case.film(small),
        "has 64 x 40 pixels, fewer than the 64 asked for; set CXR_IMAGE_SIZE to 40 or less",
    ),
    "altered shard": (lambda case: case.shard(".npy", page), "fails its checksum; remove"),
    "half a sidecar": (
        lambda case: case.shard(".json", cut),
        "is not a readable JSON file .*; remove it",
    ),
    "sidecar of something else": (
        lambda case: case.shard(".json", lambda path: path.write_bytes(b"[]")),
        "holds no names and values; remove it",
    ),
    "sidecar of other films": (
        lambda case: case.shard(".json", other_films),
        "does not hold the films that it should; remove",
    ),
    "cache that cannot be written": (blocked("data"), "cannot be written .* free some space"),
    "runs that cannot be written": (blocked("runs"), "cannot be written .* CXR_ROOT"),
    "members of other sizes": (
        members(image_size=2),
        "image_size was 2, is now 1.* learned from the same films; train them again",
    ),
    "members of other splits": (members(split_checksum=2), "split_checksum was 2, is now 1"),
    "members with other labels": (members(train_checksum=2), "train_checksum was 2, is now 1"),
    "a GPU out of memory": (
        lambda case: case.failing(tf.errors.ResourceExhaustedError(None, None, "OOM when")),
        "batches of 16 films of 64 px do not fit .* set CXR_BATCH_SIZE=8 and run again",
    ),
    "a compiler out of memory": (
        lambda case: case.failing(
            tf.errors.InternalError(None, None, "RESOURCE_EXHAUSTED: Out of memory")
        ),
        "set CXR_BATCH_SIZE=8 and run again",
    ),
    "a machine out of memory": (
        lambda case: case.failing(MemoryError("Unable to allocate 3 GiB")),
        "set CXR_BATCH_SIZE=8 and run again",
    ),
    "one film too large for the memory": (
        lambda case: case.failing(MemoryError(), batch_size=1),
        "set CXR_IMAGE_SIZE lower and run again",
    ),
    "TensorBoard on a full disk": (
        lambda case: case.failing(
            tf.errors.ResourceExhaustedError(None, None, "events; No space left on device")
        ),
        "the disk of .* is full .* free some space and run again: training goes on",
    ),
}

# In a folder whose run is finished.
FINISHED = {
    "other epochs": (lambda case: case.train(epochs=3), "epochs was 2, is now 3.*CXR_TAG"),
    "other batches": (lambda case: case.train(batch_size=8), "batch_size was 16, is now 8"),
    "other seed": (lambda case: case.train(seed=7), "seed was 42, is now 7"),
    "other rate": (lambda case: case.train(learning_rate=0.1), "learning_rate was 0.002, is now"),
    "half a record": (
        lambda case: case.write("config.json", 0.5),
        f"config.json is not a readable JSON file .*; put it back from a copy, or .*{ANEW}",
    ),
    "record of something else": (
        lambda case: case.write("config.json", b"[]"),
        f"config.json is not what the training wrote; put it back.* {ANEW}",
    ),
    "lost record of a model": (
        lambda case: case.write("config.json", None),
        "holds model.keras, but no config.json .*; put that back .* or remove the folder",
    ),
    "recipe in words": (
        lambda case: case.record(recipe="mirror"),
        f"config.json holds no recipe, but 'mirror'; put it back .* or remove /.*{ANEW}",
    ),
    "lost model": (lambda case: case.write("model.keras", None), f"does not exist; .*{ANEW}"),
    "folder for a model": (
        lambda case: case.write("model.keras", Path),
        f"is a folder, not a file; .*{ANEW}",
    ),
    "half a model": (
        lambda case: case.write("model.keras", 0.5),
        f"is not the file that the training wrote; .*{ANEW}",
    ),
    "page for a model": (lambda case: case.write("model.keras", PAGE), f"wrote; .*{ANEW}"),
}

# Scores of a finished run, which its model gives again.
SCORES = {
    "lost scores": (lambda f: None, "does not exist; run 200-modeling first"),
    "no scores": (lambda f: f[[]], f"not a readable CSV file .*{RESCORED}"),
    "scores without a finding": (
        lambda f: f.drop(columns="Mass"),
        rf"lacks the column\(s\) Mass; .*{RESCORED}",
    ),
    "scores above 1": (
        lambda f: f.assign(Mass=1.5),
        f"outside 0 to 1, or empty ones; .*{RESCORED}",
    ),
    "scores in words": (
        lambda f: f.assign(Mass="high"),
        f"outside 0 to 1, or empty ones; .*{RESCORED}",
    ),
    "scores of a film twice": (
        lambda f: pd.concat([f, f[:1]]),
        f"1 film.* twice; .*{RESCORED}",
    ),
    "scores cut at the end of a line": (
        lambda f: f[:9],
        f"holds 9 of the 16 films that it is of; .*{RESCORED}",
    ),
}

# In a folder whose run stopped after its first epoch.
STOPPED = {
    "other epochs in the middle": (lambda case: case.train(epochs=9), "epochs was 2, is now 9"),
    "half a checkpoint": (lambda case: case.write("checkpoint.npz", 0.5), CHECKPOINT),
    "empty checkpoint": (lambda case: case.write("checkpoint.npz", b""), CHECKPOINT),
    "page for a checkpoint": (lambda case: case.write("checkpoint.npz", PAGE), CHECKPOINT),
    "checkpoint of a smaller network": (
        lambda case: case.checkpoint(lambda arrays: arrays.pop("0003")),
        "belongs to another network.*; remove it",
    ),
    "checkpoint of a larger network": (
        lambda case: case.checkpoint(lambda arrays: arrays.update({"9999": np.zeros(1)})),
        "belongs to another network.*; remove it",
    ),
    "checkpoint of a wider network": (
        lambda case: case.checkpoint(lambda arrays: arrays.update({"0000": np.zeros((9, 9))})),
        "belongs to another network.*; remove it",
    ),
    "checkpoint without its state": (
        lambda case: case.checkpoint(lambda arrays: arrays.pop("state")),
        CHECKPOINT,
    ),
    "checkpoint without its history": (lambda case: case.state(history=None), CHECKPOINT),
    "checkpoint with a state in words": (lambda case: case.state(best="good"), CHECKPOINT),
    "lost best model": (
        lambda case: case.write("model.keras", None),
        "holds a checkpoint but no longer the best model.* remove the folder",
    ),
    "half a best model": (
        lambda case: case.write("model.keras", 0.5),
        r"model\.keras is not the file that the training wrote; remove the folder",
    ),
    "record that tells no end": (
        lambda case: case.record(finished=None),
        f"config.json is not what the training wrote; put it back .* or remove /.*{ANEW}",
    ),
    "lost record": (
        lambda case: case.write("config.json", None),
        r"holds checkpoint\.npz, but no config.json .*; put that back .* or remove the folder",
    ),
    "half a record beside a checkpoint": (
        lambda case: case.write("config.json", 0.5),
        f"config.json is not a readable JSON file .* or remove /.*{ANEW}",
    ),
    "films in no parts": (
        lambda case: case.record(parts=0),
        f"config.json says that its films are in 0 parts; put it back .* or remove /.*{ANEW}",
    ),
    "films in unknown parts": (
        lambda case: case.record(parts="two"),
        f"config.json says that its films are in 'two' parts; .* remove /.*{ANEW}",
    ),
}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    films = tmp_path_factory.mktemp("drawn") / "films"
    frame, paths = toy.draw(films, 48)
    parts = {"train": frame[:32], "validation": frame[32:]}
    return {name: part.reset_index(drop=True) for name, part in parts.items()}, paths


@pytest.fixture(scope="module")
def finished(drawn, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    Case(root, drawn).train()
    return root


@pytest.fixture(scope="module")
def stopped(drawn, tmp_path_factory):
    root = tmp_path_factory.mktemp("stopped")
    toy.stopped_after_an_epoch(drawn, root, pytest.MonkeyPatch(), epochs=2)
    return root


@pytest.fixture
def no_training(monkeypatch):
    def begun(*given, **options):
        raise Begun

    monkeypatch.setattr(keras.Model, "fit", begun)


def told(do, case, sentence):
    """The one sentence with which a case ends."""
    with pytest.raises(InputError, match=sentence) as caught:
        do(case)
    said = str(caught.value)
    assert said.endswith("."), said
    assert not re.search(r"Traceback|<class|object at 0x", said), said
    return said


def sampled(cases):
    """Every fifth case from day to day, all of them in the soak: each trains."""
    return [
        pytest.param(*case, id=name, marks=pytest.mark.soak if place % 5 else ())
        for place, (name, case) in enumerate(cases.items())
    ]


@pytest.mark.parametrize(("do", "sentence"), ANYWHERE.values(), ids=ANYWHERE)
def test_what_cannot_work_is_refused_before_the_first_step(
    do, sentence, drawn, tmp_path, no_training
):
    told(do, Case(tmp_path, drawn), sentence)


@pytest.mark.parametrize(("do", "sentence"), sampled(FINISHED))
def test_a_finished_run_in_which_something_is_wrong_can_be_made_again(
    do, sentence, drawn, finished, tmp_path, no_training
):
    goes_on(do, sentence, Case(shutil.copytree(finished, tmp_path / "copy"), drawn))


@pytest.mark.parametrize(("change", "sentence"), SCORES.values(), ids=SCORES)
def test_a_finished_run_gets_its_scores_back_without_being_trained(
    change, sentence, drawn, finished, tmp_path, no_training
):
    case = Case(shutil.copytree(finished, tmp_path / "copy"), drawn)
    path = case.run / "validation_scores.csv"
    before = path.read_bytes()
    told(lambda case: case.scores(change), case, sentence)
    # Also without the removal, which ends as the first case does.
    case.train()
    assert path.read_bytes() == before


@pytest.mark.parametrize(("do", "sentence"), sampled(STOPPED))
def test_a_stopped_run_in_which_something_is_wrong_can_be_made_again(
    do, sentence, drawn, stopped, tmp_path, no_training
):
    goes_on(do, sentence, Case(shutil.copytree(stopped, tmp_path / "copy"), drawn))


def goes_on(do, sentence, case):
    """Follow the sentence's advice, as often as there is one: then training begins."""
    said = told(do, case, sentence)
    for _ in range(3):
        named = re.search(r"[Rr]emove (it|the folder|/\S+?)(?:[.:;]? |\.$)", said)[1]
        path = case.run if named != "it" else Path(re.search(r"/\S+", said)[0])
        assert path in (case.run, *case.run.iterdir()), said
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            case.train()
        except Begun:
            return
        except InputError as error:
            said = str(error)
    pytest.fail(f"still refused: {said}")


def test_at_least_fifty_cases_are_tried():
    assert len(ANYWHERE) + len(FINISHED) + len(SCORES) + len(STOPPED) >= 50


def test_a_training_goes_on_only_with_the_table_and_the_source_that_it_began_with(
    drawn, stopped, tmp_path, no_training
):
    case = Case(shutil.copytree(stopped, tmp_path / "copy"), drawn)
    path, (table, other) = case.run / "config.json", (tmp_path / "a.csv", tmp_path / "b.csv")
    table.write_text("one table")
    other.write_text("another")
    record = artifacts.read_json(path) | {"source": "folder", "table": artifacts.sha256(table)}
    artifacts.write_json(path, record)
    own = {"source": "folder", "images": tmp_path}
    told(
        lambda case: case.train(**own, records=other),
        case,
        "table was .* Set CXR_RECORDS to the table that it began with to go on. Set CXR_TAG",
    )
    nih = "source was 'folder', is now 'nih'.* Set CXR_SOURCE=folder to go on"
    told(lambda case: case.train(), case, nih)
    # Before records named it, their configuration did.
    old = record | {"config": record["config"] | {"source": "folder"}}
    del old["source"], old["table"]
    artifacts.write_json(path, old)
    told(lambda case: case.train(), case, nih)
    artifacts.write_json(path, record)
    with pytest.raises(Begun):
        case.train(**own, records=table)
    assert artifacts.read_json(path)["table"] == artifacts.sha256(table)


def test_a_table_of_nihs_that_comes_later_is_not_the_one_that_a_run_began_with(
    drawn, stopped, tmp_path, no_training
):
    case = Case(shutil.copytree(stopped, tmp_path / "copy"), drawn)
    (tmp_path / "nih.csv").write_text("the same labels")
    with pytest.raises(Begun):
        case.train(records=tmp_path / "nih.csv")
    assert artifacts.read_json(case.run / "config.json")["table"] is None


def test_a_full_disk_ends_a_training_with_a_sentence_and_it_goes_on(
    drawn, stopped, tmp_path, monkeypatch
):
    case = Case(shutil.copytree(stopped, tmp_path / "copy"), drawn)
    before = (case.run / "checkpoint.npz").read_bytes()

    def full(*given, **options):
        raise FULL_DISK

    with monkeypatch.context() as patched:
        patched.setattr(np, "savez", full)
        told(
            lambda case: case.train(),
            case,
            r"checkpoint\.npz cannot be written \(No space left on device\); free some space",
        )
    assert (case.run / "checkpoint.npz").read_bytes() == before
    assert not list(case.run.glob(".*"))
    assert case.train()[0]["epochs_done"] == 2


def test_a_log_that_cannot_be_written_does_not_stop_a_training(drawn, stopped, tmp_path):
    case = Case(shutil.copytree(stopped, tmp_path / "copy"), drawn)
    (case.run / "training.log").unlink()
    (case.run / "training.log").mkdir()
    assert case.train()[0]["finished"]


def test_imagenet_weights_are_the_file_that_keras_had(drawn, tmp_path, monkeypatch):
    case = Case(tmp_path, drawn)
    file = tmp_path / "models" / "mobilenet_2_5_192_tf_no_top.h5"
    file.parent.mkdir()
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def train():
        return case.train(models=("mobilenet_small",), weights="imagenet", epochs=1)[0]

    def fetched(*asked, **options):
        mobilenet(0.25).save(file)
        return str(file)

    monkeypatch.setattr(keras.src.applications.mobilenet.file_utils, "get_file", fetched)
    build = models.build
    # The weights are loaded; what learns is smaller.
    monkeypatch.setattr(
        models, "build", lambda name, **given: (build(name, **given), toy.tiny(name, **given))[1]
    )
    record = train()
    assert record["weights_checksum"] == artifacts.sha256(file)
    assert train() == record
    file.write_bytes(b"others")
    told(lambda _: train(), case, f"weights_checksum was .* Remove {file} to go on. Set CXR_TAG")
    # A finished run needs them no more.
    file.unlink()
    assert train() == record


def test_a_training_goes_on_without_the_weights_that_it_started_from(
    drawn, stopped, tmp_path, monkeypatch, no_training
):
    case = Case(shutil.copytree(stopped, tmp_path / "copy"), drawn)
    build, asked = models.build, []

    def watched(*given, **options):
        asked.append(options["empty"])
        return build(*given, **options)

    monkeypatch.setattr(models, "build", watched)
    for _ in range(2):
        with pytest.raises(Begun):
            case.train()
        (case.run / "checkpoint.npz").unlink(missing_ok=True)
    assert asked == [True, False]


def test_an_empty_network_is_the_same_one_and_needs_no_weights(tmp_path, monkeypatch):
    def absent(*asked, **options):
        raise OSError("no route")

    monkeypatch.setattr(keras.src.applications.mobilenet.file_utils, "get_file", absent)
    network = models.build("mobilenet_small", image_size=64, weights="imagenet", empty=True)
    # Enlarged as for ImageNet weights.
    assert network.get_layer("enlarge").output.shape == (None, 192, 192, 1)
    mobilenet(0.25).save_weights(tmp_path / "w.weights.h5")
    filled = models.build("mobilenet_small", image_size=64, weights=str(tmp_path / "w.weights.h5"))
    shapes = [[weight.shape for weight in one.weights] for one in (network, filled)]
    assert shapes[0] == shapes[1]


def test_weights_that_changed_are_other_weights(drawn, tmp_path, no_training):
    case = Case(tmp_path, drawn)
    (tmp_path / "w.weights.h5").write_bytes(b"some")
    chosen = toy.settings(
        tmp_path, models=("mobilenet_small",), weights=str(tmp_path / "w.weights.h5"), epochs=2
    )
    devices.preflight(chosen)
    train, validation = case.splits["train"], case.splits["validation"]
    one, other = (
        training._settings("mobilenet_small", train, validation, chosen, "toy", models.Recipe())
        for _ in range(2)
    )
    assert one == other
    (tmp_path / "w.weights.h5").write_bytes(b"others")
    changed = training._settings(
        "mobilenet_small", train, validation, chosen, "toy", models.Recipe()
    )
    assert {name for name in one if one[name] != changed[name]} == {"weights_checksum"}
