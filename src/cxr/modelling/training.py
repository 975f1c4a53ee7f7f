"""Train one model into one run folder, resumably, and score films with it."""

import contextlib
import dataclasses
import datetime
import functools
import json
import math
import os
import shutil
import subprocess
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, progress
from cxr.config import NEEDS_GPU, Config
from cxr.errors import InputError
from cxr.evaluation import ranking
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import models, pipeline
from cxr.modelling.tensors import keras, tf

# Training stops when the validation AUROC has not risen for so many epochs.
PATIENCE = 6
# Share of all steps in which the learning rate rises from zero, before the cosine.
WARM_UP = 0.05
# Films in one prediction step: no gradients are kept, so more fit than in training.
PREDICTION_BATCH = 256


def preflight(config: Config) -> str:
    """Prepare the devices and describe them in one sentence; call before any model is built.

    Sets memory growth (one open notebook does not starve the next), mixed precision on
    GPUs that have it, the seeds, and deterministic operations.

    Raises:
        InputError: if the profile needs a GPU and there is none.
    """
    models.check(config.models, config.weights)
    keras.utils.set_random_seed(config.seed)
    # Same seed, same device, same result; costs some speed on GPUs.
    tf.config.experimental.enable_op_determinism()
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        hint = _idle_gpu()
        if config.profile in NEEDS_GPU and not config.allow_cpu:
            raise InputError(
                f"profile '{config.profile}' expects a GPU and TensorFlow finds none. "
                + (hint or "Run it on a GPU machine, or set CXR_ALLOW_CPU=1 to take days on a CPU.")
            )
        keras.config.set_dtype_policy("float32")
        return f"No GPU: training on {os.cpu_count()} CPU cores in float32. {hint}".strip()
    with contextlib.suppress(RuntimeError):  # already running: growth was set then
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    capability = min(detail.get("compute_capability", (0, 0)) for detail in details)
    # Tensor cores came with 7.0 (Volta, T4); bfloat16, which needs no loss scaling, with 8.0.
    precision = "float32"
    if capability >= (7, 0):
        precision = "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"
    keras.config.set_dtype_policy(precision)
    names = ", ".join(detail.get("device_name", "GPU") for detail in details)
    return f"{len(gpus)} GPU(s): {_gpu_memory() or names}; precision {precision}."


def _gpu_memory() -> str:
    """GPU names and memory as the driver tells them; empty without a driver."""
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return "; ".join(answer.stdout.split("\n")).strip("; ") if answer.returncode == 0 else ""


def _idle_gpu() -> str:
    """A hint for a machine whose GPU TensorFlow cannot use."""
    names = _gpu_memory()
    if not names:
        return ""
    return f"The driver lists {names}: install TensorFlow's CUDA libraries with `make run CUDA=1`."


@functools.cache
def strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine; made once, since a second one in a process fails."""
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def take_part(splits: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> pd.DataFrame:
    """How many films and patients of each split are present, train first.

    Raises:
        InputError: if no training film is.
    """
    rows = []
    for name, frame in splits.items():
        present = frame[frame["film"].isin(paths.keys())]
        rows.append(
            {
                "split": name,
                "films_present": len(present),
                "films_in_split": len(frame),
                "patients_present": present["patient_id"].nunique(),
                "findings_without_positive": ", ".join(
                    finding for finding in FINDINGS if not present[finding].any()
                )
                or "none",
            }
        )
    table = pd.DataFrame(rows)
    if not rows[0]["films_present"]:
        raise _no_training_films(rows[0]["films_in_split"])
    return table


def _no_training_films(wanted: int) -> InputError:
    return InputError(
        f"none of the {wanted:,} training films is present; run 000-data_download again, or set "
        "CXR_IMAGES to the folder that holds them."
    )


class Trainee(keras.Model):
    """A network in training: augments its films on the device, as part of the step."""

    def __init__(
        self,
        network: keras.Model,
        seed: int,
        *,
        augmented: bool = True,
        recipe: models.Recipe | None = None,
    ):
        super().__init__(name="trainee")
        self.network, self.augmented, self._seed = network, augmented, seed
        self._recipe = recipe or models.Recipe()
        # Counts steps, and so decides the augmentation; saved with the checkpoint.
        self.step = keras.Variable(
            0, dtype="int64", trainable=False, aggregation="only_first_replica", name="step"
        )

    def call(self, pictures, training=False):
        return self.network(pictures, training=training)

    def train_step(self, data):
        pictures, targets, weights = data
        if self.augmented:
            replica = tf.distribute.get_replica_context().replica_id_in_sync_group
            step = tf.cast(self.step.value, tf.int32)
            # Steps and devices draw from different streams of the same seed.
            seed = tf.stack([self._seed + 7919 * replica, step])
            pictures = pipeline.augment(pictures, seed, mirror=self._recipe.mirror)
            if self._recipe.mixup:
                pictures, targets = pipeline.blend(pictures, targets, seed, self._recipe.mixup)
        self.step.assign_add(1)
        return super().train_step((pictures, targets, weights))


def run(
    model: str,
    paths: Mapping[str, Path],
    splits: Mapping[str, pd.DataFrame],
    config: Config,
    *,
    split_checksum: str,
    recipe: models.Recipe | None = None,
) -> dict:
    """Train `model` into `config.runs/<name>`, go on where it stopped, or reuse it.

    Args:
        model: a key of `models.MODELS`.
        paths: film name -> file, for the films that are present.
        splits: "train" and "validation" frames with `film`, `patient_id` and the findings;
            films that are not in `paths` take no part.
        config: what to train with.
        split_checksum: identifies the split; saved with the run.
        recipe: how to train; the model's own by default.

    Returns:
        The run's `config.json`.

    Raises:
        InputError: if there is nothing to train on, the run was made with other settings,
            the loss stops being a number, or the batch does not fit the memory.
    """
    train, validation = (
        splits[name][splits[name]["film"].isin(paths.keys())].reset_index(drop=True)
        for name in ("train", "validation")
    )
    if train.empty:
        raise _no_training_films(len(splits["train"]))
    recipe = recipe or models.registered(model).recipe
    folder = config.runs / config.run_name(model)
    settings = {
        "model": model,
        "weights": config.weights if models.registered(model).imagenet_file else "none",
        "image_size": config.image_size,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate or models.registered(model).learning_rate,
        "seed": config.seed,
        "split": config.split,
        "split_checksum": split_checksum,
        "train_films": len(train),
        "train_patients": int(train["patient_id"].nunique()),
        "train_checksum": artifacts.fingerprint(train["film"]),
        "validation_films": len(validation),
        "validation_patients": int(validation["patient_id"].nunique()),
        "phantoms": config.phantoms,
        "recipe": dataclasses.asdict(recipe),
    }
    record = {"name": folder.name, "finished": None, **settings}
    if (folder / "config.json").exists():
        found = artifacts.read_json(folder / "config.json")
        artifacts.refuse_other_settings(
            folder,
            found,
            settings,
            f"Set CXR_TAG to train a variant beside it, or remove {folder}.",
        )
        if found["finished"]:
            return found
    wanted = pd.concat([train["film"], validation["film"]])
    store = film_cache.prepare(
        {film: paths[film] for film in wanted}, config.data / "cache", size=config.image_size
    )
    record |= {
        "config": {name: str(value) for name, value in vars(config).items()},
        "versions": artifacts.versions(),
        "commit": artifacts.commit(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "precision": keras.config.dtype_policy().name,
    }
    artifacts.write_json(folder / "config.json", record)
    with _explained(config):
        measured = _fit(folder, store, train, validation, settings, recipe)
    network = load(folder)
    scores = _marked(predict(network, store, validation), record["phantoms"])
    artifacts.write_csv(folder / "validation_scores.csv", scores)
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    record |= measured
    record["finished"] = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    artifacts.write_json(folder / "config.json", record)
    return record


def _fit(
    folder: Path,
    store: film_cache.Store,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    settings: dict,
    recipe: models.Recipe,
) -> dict:
    """Fit until the last epoch or until validation stops rising; the best model is on disk."""
    keras.utils.set_random_seed(settings["seed"])
    batch_size, epochs = settings["batch_size"], settings["epochs"]
    steps = math.ceil(len(train) / batch_size) * epochs
    warm_up = max(1, round(WARM_UP * steps))
    with strategy().scope():
        network = models.build(
            settings["model"], image_size=settings["image_size"], weights=settings["weights"]
        )
        trainee = Trainee(network, settings["seed"], recipe=recipe)
        optimizer = keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0,
                decay_steps=max(1, steps - warm_up),
                alpha=0.0,
                warmup_target=settings["learning_rate"],
                warmup_steps=warm_up,
            ),
            weight_decay=recipe.weight_decay,
        )
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
        trainee.compile(
            optimizer=optimizer,
            # The mean over the films of all devices: their weights average 1, see `batches`.
            loss=keras.losses.BinaryCrossentropy(),
            # The resampling of the augmentation has no XLA kernel.
            jit_compile=False,
            steps_per_execution=_steps_per_look(),
        )
        trainee.optimizer.build(network.trainable_variables)
    order = pipeline.Order(len(train), settings["seed"])
    devices = strategy().num_replicas_in_sync
    dataset = pipeline.batches(
        store,
        store.rows(train["film"]),
        train[list(FINDINGS)].to_numpy(),
        batch_size=batch_size,
        order=order,
        # The last batch is filled like the others: a few films alone would spoil the moving
        # statistics just before validation.
        multiple=math.ceil(batch_size / devices) * devices,
    )
    with progress.Bars() as bars:
        progress_of = _Progress(bars, settings, len(train), order)
        keeper = _Keeper(folder, store, validation, settings)
        first = keeper.restore(trainee)
        if first < epochs and not keeper.exhausted():
            progress_of.bar.advance(first * len(train), reused=True)
            trainee.fit(
                dataset,
                initial_epoch=first,
                epochs=epochs,
                verbose=0,
                shuffle=False,  # the order of films shuffles
                callbacks=[
                    progress_of,
                    keeper,
                    keras.callbacks.TensorBoard(
                        str(folder / "tensorboard"), write_graph=False, profile_batch=0
                    ),
                ],
            )
        progress_of.bar.finish(f"best val AUROC {keeper.best:.3f}")
    done = len(keeper.history)
    return {
        "epochs_done": done,
        "best_epoch": keeper.best_epoch,
        "validation_auroc": None if math.isnan(keeper.best) else round(keeper.best, 6),
        "parameters": network.count_params(),
        "train_seconds": round(keeper.seconds, 1),
        "films_per_second": round(done * len(train) / keeper.training_seconds, 1),
    }


def _steps_per_look() -> int:
    """Steps between two looks at the loss: each look waits until the device is done."""
    return 8 if tf.config.list_logical_devices("GPU") else 1


class _Progress(keras.callbacks.Callback):
    """Moves the bar, tells the epoch to the order of films, and stops at NaN."""

    def __init__(self, bars: progress.Bars, settings: dict, train_films: int, order):
        super().__init__()
        self._order, self._films, self._batch = order, train_films, settings["batch_size"]
        self._epochs = settings["epochs"]
        self._name = settings["model"]
        self.bar = bars.add(self._name, total=train_films * self._epochs, unit="films")

    def on_epoch_begin(self, epoch, logs=None):
        # Before the epoch's iterator is made, which asks for the order.
        self._order.epoch, self._seen = epoch, 0

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            raise InputError(
                f"training of {self._name} failed: the loss became {logs['loss']} in epoch "
                f"{self._order.epoch + 1}, step {batch + 1}. Lower CXR_LEARNING_RATE and run "
                "again."
            )
        # Several steps may have passed since the last look.
        seen = min((batch + 1) * self._batch, self._films)
        self.bar.advance(seen - self._seen)
        self._seen = seen

    def on_epoch_end(self, epoch, logs=None):
        self.bar.say(f"epoch {epoch + 1} of {self._epochs}")


class _Keeper(keras.callbacks.Callback):
    """Validates each epoch, keeps the best model, and writes all that a resumption needs."""

    def __init__(
        self, folder: Path, store: film_cache.Store, validation: pd.DataFrame, settings: dict
    ):
        super().__init__()
        self._folder, self._store, self._validation = folder, store, validation
        self._image_size = settings["image_size"]
        self._targets = validation[list(FINDINGS)].to_numpy()
        self.history: list[dict] = []
        self.best, self.best_epoch = math.nan, 0
        self.seconds = self.training_seconds = 0.0

    def exhausted(self) -> bool:
        """Whether the validation AUROC has not risen for `PATIENCE` epochs."""
        return bool(self.best_epoch) and len(self.history) - self.best_epoch >= PATIENCE

    def restore(self, trainee: Trainee) -> int:
        """Load the last checkpoint, if there is one; returns the epoch to go on with."""
        path = self._folder / "checkpoint.npz"
        if not path.exists():
            return 0
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:
                state = json.loads(str(saved["state"]))
                variables = _variables(trainee)
                for name, variable in variables.items():
                    variable.assign(saved[name])
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(
                f"{path} cannot be read ({error}); remove it and run again: training starts over."
            ) from error
        self.history, self.best = state["history"], float(state["best"])
        self.best_epoch, self.seconds = state["best_epoch"], state["seconds"]
        self.training_seconds = state["training_seconds"]
        return len(self.history)

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()
        # Before the step count moves on: the rate that the epoch starts with.
        self._rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        trained = time.monotonic()
        scores = predict(self.model.network, self._store, self._validation)
        probabilities = scores[list(FINDINGS)].to_numpy()
        by_finding = ranking.auroc(self._targets, probabilities)
        mean = float(np.nanmean(by_finding)) if np.isfinite(by_finding).any() else math.nan
        logs["val_auroc"] = mean
        logs["val_loss"] = _cross_entropy(self._targets, probabilities)
        logs["learning_rate"] = self._rate
        if math.isnan(mean) or not self.best_epoch or mean > self.best:
            # Without any estimable finding there is nothing to choose by: the last one stays.
            self.best, self.best_epoch = mean, epoch + 1
            with artifacts.atomic(self._folder / "model.keras") as temporary:
                self.model.network.save(temporary)
        self.training_seconds += trained - self._began
        self.seconds += time.monotonic() - self._began
        self.history.append(
            {
                "epoch": epoch + 1,
                "loss": logs["loss"],
                "val_loss": logs["val_loss"],
                "val_auroc": mean,
                "learning_rate": self._rate,
                "seconds": trained - self._began,
            }
            | {f"val_auroc_{f}": float(a) for f, a in zip(FINDINGS, by_finding, strict=True)}
        )
        self._save()
        self._log(logs)
        if self.exhausted():
            self.model.stop_training = True

    def _save(self) -> None:
        """One file for the whole state, so that no two parts of it can disagree."""
        state = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
        }
        arrays = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in _variables(self.model).items()
        }
        with artifacts.atomic(self._folder / "checkpoint.npz") as temporary:
            np.savez(temporary, state=np.array(json.dumps(state)), **arrays)
        artifacts.write_csv(self._folder / "history.csv", pd.DataFrame(self.history))

    def _log(self, logs: dict) -> None:
        """Append a line to the log, which outlives a closed browser."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        with (self._folder / "training.log").open("a", encoding="utf-8") as file:
            file.write(
                f"{now}  epoch {len(self.history)}  loss {logs['loss']:.4f}  "
                f"val_loss {logs['val_loss']:.4f}  val_auroc {logs['val_auroc']:.4f}\n"
            )


def _variables(trainee: Trainee) -> dict[str, keras.Variable]:
    """Everything that changes in training: weights, statistics, random states, optimizer."""
    everything = [*trainee.variables, *trainee.optimizer.variables]
    return {f"{number:04d}": variable for number, variable in enumerate(everything)}


def _cross_entropy(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean binary cross-entropy over films and findings; NaN without films."""
    if not len(targets):
        return math.nan
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(targets, np.log(clipped), np.log1p(-clipped))))


@contextlib.contextmanager
def _explained(config: Config):
    """Say what to do when the device's memory does not suffice."""
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise InputError(
            f"batches of {config.batch_size} films of {config.image_size} px do not fit the "
            f"device's memory; set CXR_BATCH_SIZE={max(1, config.batch_size // 2)} and run again: "
            "training goes on from its last epoch only if the batch size is the same, so remove "
            "the run's folder first."
        ) from error


def load(folder: Path) -> keras.Model:
    """Load a run's model, in Keras's safe mode: it cannot bring code along.

    Raises:
        InputError: if there is no model, or the file is damaged.
    """
    path = Path(folder) / "model.keras"
    if not path.exists():
        raise InputError(f"{path} does not exist; run 200-modeling first.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        raise InputError(f"{path} cannot be loaded ({error}); train it again.") from error


def predict(network: keras.Model, store: film_cache.Store, frame: pd.DataFrame) -> pd.DataFrame:
    """Score the films of `frame`, without augmentation, streamed in batches.

    Args:
        network: a model of the registry.
        store: holds the films, at the network's size.
        frame: needs `film` and `patient_id`.

    Returns:
        `film`, `patient_id` and one probability per finding, rows as in `frame`.
    """
    if network.input_shape[1] != store.size:
        raise InputError(
            f"the model takes films of {network.input_shape[1]} px, the cache holds {store.size} "
            "px; set CXR_IMAGE_SIZE to the model's size."
        )
    scores = frame[["film", "patient_id"]].reset_index(drop=True)
    probabilities = np.empty((len(frame), len(FINDINGS)), dtype=np.float32)
    if len(frame):
        rows = store.rows(frame["film"])
        for start in range(0, len(rows), PREDICTION_BATCH):
            part = rows[start : start + PREDICTION_BATCH]
            probabilities[start : start + len(part)] = _forward(network)(
                tf.constant(store.take(part))
            )
    return pd.concat([scores, pd.DataFrame(probabilities, columns=list(FINDINGS))], axis=1)


def _forward(network: keras.Model):
    """The network's evaluation pass as one graph, traced once per network."""
    forward = getattr(network, "_cxr_forward", None)
    if forward is None:
        shape = (None, *network.input_shape[1:])
        signature = [tf.TensorSpec(shape, tf.uint8)]
        forward = tf.function(
            lambda pictures: network(tf.cast(pictures, tf.float32), training=False),
            input_signature=signature,
        )
        object.__setattr__(network, "_cxr_forward", forward)
    return forward


def score(
    folder: Path, paths: Mapping[str, Path], frame: pd.DataFrame, cache: Path
) -> pd.DataFrame:
    """Score films with a run's model; see `predict`.

    Args:
        folder: the run's folder.
        paths: film name -> file.
        frame: needs `film` and `patient_id`; every film must be in `paths`.
        cache: where film caches lie.
    """
    network = load(folder)
    store = film_cache.prepare(
        {film: paths[film] for film in frame["film"]}, cache, size=network.input_shape[1]
    )
    drawn = artifacts.read_json(folder / "config.json")["phantoms"]
    return _marked(predict(network, store, frame), drawn)


def _marked(scores: pd.DataFrame, phantoms: bool) -> pd.DataFrame:
    """Scores of drawn films say so in a column `phantom`, wherever their file is taken."""
    if phantoms:
        scores.insert(2, "phantom", 1)
    return scores
