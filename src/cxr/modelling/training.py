"""Train one model into one run folder, resumably."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxr import artifacts, progress
from cxr.config import Config
from cxr.errors import InputError
from cxr.films import abstention, film_cache
from cxr.findings import FINDINGS
from cxr.modelling import checkpoint, devices, explain, inference, models, pipeline
from cxr.modelling.tensors import keras, tf

# Share of all steps in which the learning rate rises from zero, before the cosine.
WARM_UP = 0.05


def take_part(splits: Mapping[str, pd.DataFrame], paths: Mapping[str, Path]) -> pd.DataFrame:
    """How many films and patients of each split are present, train first.

    Args:
        splits: name -> records of its films, "train" first.
        paths: film name -> file, for the films that are present.

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
    settings = _settings(model, train, validation, config, split_checksum, recipe)
    if (found := _found(folder, settings)) and found["finished"]:
        return found
    wanted = pd.concat([train["film"], validation["film"]])
    store = film_cache.prepare(
        {film: paths[film] for film in wanted}, config.data / "cache", size=config.image_size
    )
    record = {"name": folder.name, "finished": None, **settings}
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
    network = inference.load_network(folder)
    scores = inference.score_films(network, store, validation)
    scores = inference.marked(scores, record["phantoms"])
    artifacts.write_csv(folder / "validation_scores.csv", scores)
    record |= measured | _companions(folder, network, store, train, validation)
    (folder / "checkpoint.npz").unlink(missing_ok=True)
    record["model_sha256"] = artifacts.sha256(folder / "model.keras")
    record["finished"] = artifacts.now()
    artifacts.write_json(folder / "config.json", record)
    return record


def _companions(
    folder: Path,
    network: keras.Model,
    store: film_cache.Store,
    train: pd.DataFrame,
    validation: pd.DataFrame,
) -> dict:
    """Keep what answers about single films rest on, beside the model; see `predict`."""
    if validation.empty:
        return {}
    shown = store.take(store.rows(validation["film"]))[..., 0]
    explain.Explainer(network, shown[: explain.AVERAGED, ..., None]).save(folder)
    seed = int(artifacts.read_json(folder / "config.json")["seed"])
    some = train["film"].sample(min(len(train), abstention.MOST_FILMS), random_state=seed)
    seen = store.take(store.rows(some))[..., 0]
    made, worth = abstention.fit(seen, shown, validation["patient_id"].to_numpy(), seed=seed)
    if made is None:
        return {}
    made.save(folder)
    return {"abstention": worth}


def _settings(
    model: str,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    config: Config,
    split_checksum: str,
    recipe: models.Recipe,
) -> dict:
    """All that decides a run's result; a run is reused only where none of it differs."""
    entry = models.registered(model)
    return {
        "model": model,
        "weights": config.weights if entry.imagenet_file else "none",
        "image_size": config.image_size,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate or entry.learning_rate,
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


def _found(folder: Path, settings: dict) -> dict | None:
    """The record of an earlier call, if there is one; refused if it had other settings."""
    path = folder / "config.json"
    if not path.exists():
        return None
    found = artifacts.read_json(path)
    remedy = f"Set CXR_TAG to train a variant beside it, or remove {folder}."
    artifacts.refuse_other_settings(folder, found, settings, remedy)
    return found


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
    trainee = _trainee(settings, recipe, steps=math.ceil(len(train) / batch_size) * epochs)
    order = pipeline.Order(len(train), settings["seed"])
    replicas = devices.strategy().num_replicas_in_sync
    dataset = pipeline.batches(
        store,
        store.rows(train["film"]),
        train[list(FINDINGS)].to_numpy(),
        batch_size=batch_size,
        order=order,
        # The last batch is filled like the others: a few films alone would spoil the moving
        # statistics just before validation.
        multiple=math.ceil(batch_size / replicas) * replicas,
    )
    board = keras.callbacks.TensorBoard(
        str(folder / "tensorboard"), write_graph=False, profile_batch=0
    )
    with progress.Bars() as bars:
        progress_of = _Progress(bars, settings, len(train), order)
        keeper = checkpoint.Keeper(folder, store, validation)
        first = keeper.restore(trainee)
        if first < epochs and not keeper.exhausted():
            progress_of.bar.advance(first * len(train), reused=True)
            trainee.fit(
                dataset,
                initial_epoch=first,
                epochs=epochs,
                verbose=0,
                shuffle=False,  # the order of films shuffles
                callbacks=[progress_of, keeper, board],
            )
        progress_of.bar.finish(f"best val AUROC {keeper.best:.3f}")
    done = len(keeper.history)
    return {
        "epochs_done": done,
        "best_epoch": keeper.best_epoch,
        "validation_auroc": None if math.isnan(keeper.best) else round(keeper.best, 6),
        "parameters": trainee.network.count_params(),
        "train_seconds": round(keeper.seconds, 1),
        "films_per_second": round(done * len(train) / keeper.training_seconds, 1),
    }


def _trainee(settings: dict, recipe: models.Recipe, *, steps: int) -> Trainee:
    """The network on all devices, with its optimizer, whose rate is laid out for `steps`."""
    warm_up = max(1, round(WARM_UP * steps))
    with devices.strategy().scope():
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
            steps_per_execution=devices.steps_per_look(),
        )
        trainee.optimizer.build(network.trainable_variables)
    return trainee


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
