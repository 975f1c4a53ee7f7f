"""Train one model into one run folder, resumably."""

import contextlib
import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, progress
from cxr.config import Config
from cxr.errors import InputError
from cxr.films import abstention, film_cache
from cxr.findings import FINDINGS
from cxr.modelling import (
    checkpoint,
    devices,
    explain,
    hosts,
    inference,
    learning,
    models,
    pipeline,
    run_scores,
)
from cxr.modelling.tensors import BACKEND, jax, keras

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
    """A network in training: augments its films on the device, as part of the step.

    Takes the inputs of `pipeline.batches`; on every backend of Keras.
    """

    def __init__(
        self,
        network: keras.Model,
        recipe: models.Recipe | None = None,
        *,
        name: str = "",
        parts: int = 1,
    ):
        """`name`: the registry's, by which network and head are told apart where need be."""
        # Under mixed precision Keras would round the draws to half precision on their way in.
        super().__init__(name="trainee", autocast=False)
        self.network, self._recipe = network, recipe or models.Recipe()
        # Films are blended within what one device, or one part of the films, puts in a batch.
        self._blend = (parts if jax else 1) if self._recipe.mixup else 0
        self._frozen, self._average, self._auxiliary = False, None, None
        if self._recipe.slow or self._recipe.auxiliary:
            self.backbone, self._head = models.divided(network, name)
        if self._recipe.auxiliary:
            # Part of the training only: what is saved is the network.
            self._auxiliary = keras.layers.Dense(
                len(learning.AUXILIARY), activation="sigmoid", dtype="float32", name="auxiliary"
            )
            self._auxiliary.build(self.backbone.output.shape)
        if self._recipe.ema:
            self._average = learning.MovingAverage(network, self._recipe.ema)

    def freeze(self, frozen: bool) -> None:
        """Whether only the head learns, from the next `fit` on."""
        if frozen != self._frozen:
            # What was compiled has the backbone's part in it.
            self._frozen, self.train_function = frozen, None

    def judged(self) -> contextlib.AbstractContextManager:
        """While it lasts, the network has the weights that count: its own, or their average."""
        return self._average.in_place() if self._average else contextlib.nullcontext()

    def call(self, inputs, training=False):
        pictures = inputs["film"]
        if training:
            pictures = pipeline.augment(
                pictures,
                inputs["draws"],
                mirror=self._recipe.mirror,
                blend=self._blend,
            )
        if self._average and training:
            pictures = self._average(pictures)
        if not (self._frozen or self._auxiliary):
            return self.network(pictures, training=training)
        features = self.backbone(pictures, training=training and not self._frozen)
        if self._frozen:
            features = keras.ops.stop_gradient(features)
        scores = self._head(features, training=training)
        if self._auxiliary:
            scores = keras.ops.concatenate([scores, self._auxiliary(features)], axis=-1)
        return scores


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
        InputError: if there is nothing to train on, the run was made with other settings or
            is being made by another process, the loss stops being a number, or the batch does
            not fit the memory.
    """
    _refuse_missing_columns(splits)
    train, validation = (
        splits[name][splits[name]["film"].isin(paths.keys())].reset_index(drop=True)
        for name in ("train", "validation")
    )
    if train.empty:
        raise _no_training_films(len(splits["train"]))
    recipe = recipe or models.registered(model).recipe
    _refuse_bad_targets(train, validation)
    folder = config.runs / config.run_name(model)
    settings = _settings(model, train, validation, config, split_checksum, recipe)
    hosts.agree(settings)
    with checkpoint.alone(folder) if hosts.leads() else contextlib.nullcontext():
        return _made(folder, paths, train, validation, settings, config)


def _made(
    folder: Path,
    paths: Mapping[str, Path],
    train: pd.DataFrame,
    validation: pd.DataFrame,
    settings: dict,
    config: Config,
) -> dict:
    """The record of the run in `folder`: reused, gone on with, or begun."""
    found = hosts.told_record(_found(folder, settings) if hosts.leads() else None)
    if found and found["finished"]:
        return _reused(folder, found, paths, train, validation, config)
    settings["parts"] = _parts(len(train), found)
    if found:
        settings |= {name: found.get(name) for name in ("weights_checksum", "table")}
    # What this process reads.
    train_films = train["film"][_order(settings).is_mine()]
    wanted = pd.concat([train_films, hosts.own(validation)["film"]])
    store = film_cache.prepare(
        {film: paths[film] for film in wanted}, config.data / "cache", size=config.image_size
    )
    record = {"name": folder.name, "finished": None, **settings}
    record |= {
        "config": {name: str(value) for name, value in vars(config).items()},
        "versions": artifacts.versions(),
        "commit": artifacts.commit(),
        "devices": devices.names(),
        # What `external` asks of a run.
        "unlearned": [finding for finding in FINDINGS if not train[finding].any()],
    }
    with explained(config):
        measured = _fit(folder, store, train, validation, record, config.weights)
    network = _scored(folder, store, validation, record)
    if hosts.leads():
        record |= measured
        record |= _companions(
            folder, network, store, train[train["film"].isin(train_films)], hosts.own(validation)
        )
        record["model_checksum"] = artifacts.sha256(folder / "model.keras")
        record["finished"] = artifacts.now()
        artifacts.write_json(folder / "config.json", record)
        # Last: where the record could not be written, the training is still there.
        (folder / "checkpoint.npz").unlink(missing_ok=True)
    # The others wait until all is written.
    return hosts.told_record(record) or record


def _reused(
    folder: Path,
    found: dict,
    paths: Mapping[str, Path],
    train: pd.DataFrame,
    validation: pd.DataFrame,
    config: Config,
) -> dict:
    """The record of a finished run, of which what was lost or damaged is made anew."""
    path = folder / run_scores.VALIDATION
    lost = hosts.leads() and not run_scores.whole(path, validation["film"])
    if hosts.told(b"lost" if lost else None):
        own = {film: paths[film] for film in hosts.own(validation)["film"]}
        store = film_cache.Store((), config.image_size, ())
        if own:
            store = film_cache.prepare(own, config.data / "cache", size=config.image_size)
        _scored(folder, store, validation, found)
    if hosts.leads():
        # What a kill after the last write left behind.
        (folder / "checkpoint.npz").unlink(missing_ok=True)
        found |= _mended(folder, found, paths, train, validation, config)
    return hosts.told_record(found) or found


def _scored(
    folder: Path, store: film_cache.Store, validation: pd.DataFrame, record: Mapping
) -> keras.Model:
    """The network that a run came to, once its scores of the validation films are kept."""
    with hosts.told_file(folder / "model.keras") as path:
        network = inference.load_network(path.parent)
    scores = inference.score_films(network, store, validation)
    if hosts.leads():
        scores = inference.marked(scores, record["phantoms"])
        artifacts.write_csv(folder / run_scores.VALIDATION, scores)
    return network


def _parts(films: int, found: Mapping | None) -> int:
    """How many parts the films are in: those that a training began with, or one a process."""
    parts = found["parts"] if found else hosts.count()
    if parts % hosts.count():
        raise InputError(
            f"this training began with its films in {parts} parts, which {hosts.count()} processes "
            f"cannot share; start as many processes as divide {parts}."
        )
    if films < parts:
        raise InputError(
            f"{films:,} training films are too few for {hosts.count()} processes; start fewer."
        )
    return parts


def _order(settings: Mapping) -> pipeline.Order:
    """The order of the training films, of which this process takes its parts."""
    parts, share = settings["parts"], settings["parts"] // hosts.count()
    return pipeline.Order(
        settings["train_films"],
        settings["seed"],
        mixup=settings["recipe"]["mixup"],
        parts=parts,
        mine=tuple(range(hosts.number() * share, (hosts.number() + 1) * share)),
    )


def _mended(
    folder: Path,
    record: Mapping,
    paths: Mapping[str, Path],
    train: pd.DataFrame,
    validation: pd.DataFrame,
    config: Config,
) -> dict:
    """Make anew what answers about single films rest on, where a finished run's cannot be read.

    Returns:
        What that changes in the run's `config.json`; {} where all is there.
    """
    kept = {explain.AVERAGE, explain.TWIN_AVERAGE}
    network = inference.load_network(folder)
    try:
        whole = all((folder / name).exists() for name in kept)
        whole = whole and bool(explain.Explainer.of_run(network, folder))
        if "abstention" in record:
            whole = whole and abstention.load(folder) is not None
    except InputError:
        whole = False
    if whole or validation.empty:
        return {}
    films = pd.concat([train["film"], validation["film"]])
    store = film_cache.prepare(
        {film: paths[film] for film in films}, config.data / "cache", size=config.image_size
    )
    made = _companions(folder, network, store, train, validation)
    artifacts.write_json(folder / "config.json", {**record, **made})
    return made


def _companions(
    folder: Path,
    network: keras.Model,
    store: film_cache.Store,
    train: pd.DataFrame,
    validation: pd.DataFrame,
) -> dict:
    """Keep what answers about single films rest on, beside the model; see `predict`.

    Where several processes train, it rests on the first one's films.
    """
    if validation.empty:
        return {}
    shown = store.take(store.rows(validation["film"]))[..., 0]
    explain.keep(network, shown[: explain.AVERAGED, ..., None], folder)
    seed = int(artifacts.read_json(folder / "config.json")["seed"])
    some = train["film"].sample(min(len(train), abstention.MOST_FILMS), random_state=seed)
    seen = store.take(store.rows(some))[..., 0]
    made, worth = abstention.fit(seen, shown, validation["patient_id"].to_numpy(), seed=seed)
    if made is None:
        return {}
    made.save(folder)
    return {"abstention": worth}


def _table(config: Config) -> str | None:
    """The checksum of the user's own table of films, where there is one."""
    if config.records is None or not config.records.is_file():
        return None
    return artifacts.sha256(config.records)


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
    file = models.given_file(model, config.weights)
    return {
        "model": model,
        # By content: the same file in another folder is the same setting.
        "weights": Path(config.weights).name if entry.imagenet_file else "none",
        "weights_checksum": artifacts.sha256(file) if file else None,
        "precision": keras.config.dtype_policy().name,
        "image_size": config.image_size,
        "epochs": config.epochs,
        "batch_size": config.batch_size,
        "learning_rate": config.learning_rate or entry.learning_rate,
        "seed": config.seed,
        "split": config.split,
        "split_checksum": split_checksum,
        "train_films": len(train),
        "train_patients": int(train["patient_id"].nunique()),
        "train_checksum": _labelled(train),
        "validation_films": len(validation),
        "validation_patients": int(validation["patient_id"].nunique()),
        "validation_checksum": _labelled(validation),
        "phantoms": config.phantoms,
        "source": config.source,
        "table": _table(config),
        "recipe": dataclasses.asdict(recipe),
        "backend": BACKEND,
    } | _checksum_of_more(train, recipe)


def _weights_checksum(settings: Mapping) -> str | None:
    """Of the weights that a run starts from, Keras's own among them, where they are there.

    It is no setting: processes that train together may have Keras fetch them one by one, and a
    finished run is reused without them.
    """
    if settings["weights"] != "imagenet" or settings["weights_checksum"]:
        return settings["weights_checksum"]
    file = _imagenet_file(settings)
    return artifacts.sha256(file) if file.is_file() else None


def _imagenet_file(settings: Mapping) -> Path:
    """Where Keras keeps the weights that a run starts from, if they are its own."""
    entry, enlarge = models.registered(settings["model"]), settings["recipe"]["enlarge"]
    side = entry.side(settings["image_size"], enlarge=enlarge)
    return models.imagenet_file(settings["model"], side)


def _checksum_of_more(train: pd.DataFrame, recipe: models.Recipe) -> dict:
    """The auxiliary targets of a recipe that has any, among the settings."""
    if not recipe.auxiliary:
        return {}
    more = learning.targets(train, recipe)[:, len(FINDINGS) :]
    films = zip(train["film"], more, strict=True)
    return {"auxiliary_checksum": artifacts.fingerprint(f"{film} {row}" for film, row in films)}


def _labelled(frame: pd.DataFrame) -> str:
    """A checksum of films together with their labels."""
    labels = frame[list(FINDINGS)].to_numpy(int).astype("U1")
    return artifacts.fingerprint(
        f"{film} {''.join(row)}" for film, row in zip(frame["film"], labels, strict=True)
    )


def _refuse_missing_columns(splits: Mapping[str, pd.DataFrame]) -> None:
    """Refuse records without films, patients or findings."""
    for name in ("train", "validation"):
        columns = ("film", "patient_id", *FINDINGS)
        missing = [column for column in columns if column not in splits[name]]
        if missing:
            raise InputError(
                f"the {name} records lack the column(s) {', '.join(missing)}; run "
                "100-data_cleaning_eda again."
            )


def _refuse_bad_targets(train: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Refuse labels that are not 0 or 1, and films in both splits."""
    for name, frame in (("training", train), ("validation", validation)):
        for finding in FINDINGS:
            wrong = ~frame[finding].isin([0, 1])
            if wrong.any():
                film, value = frame.loc[wrong, ["film", finding]].iloc[0]
                raise InputError(
                    f"{int(wrong.sum()):,} of {len(frame):,} {name} films have a label of "
                    f"{finding} that is neither 0 nor 1, such as {value!r} of {film}; run "
                    "100-data_cleaning_eda again."
                )
        twice = frame["film"].duplicated()
        if twice.any():
            raise InputError(
                f"{int(twice.sum()):,} {name} films are listed twice, such as "
                f"{frame.loc[twice, 'film'].iloc[0]}; run 100-data_cleaning_eda again."
            )
    both = sorted(set(train["film"]) & set(validation["film"]))
    if both:
        raise InputError(
            f"{len(both):,} films are in training and in validation, such as {both[0]}; run "
            "100-data_cleaning_eda again."
        )


def _found(folder: Path, settings: dict) -> dict | None:
    """The record of an earlier call, if it left anything; refused if it had other settings.

    Before its first epoch has ended, a run binds nobody: wrong weights or a learning rate
    that was too high can be mended by the same command.
    """
    path = folder / "config.json"
    if not path.exists():
        for file in ("checkpoint.npz", "model.keras"):
            if (folder / file).exists():
                raise InputError(
                    f"{folder} holds {file}, but no config.json that tells what it was trained "
                    "with; put that back from a copy, or remove the folder and run again: training "
                    "starts over."
                )
        return None
    found = inference.read_record(folder)
    if not found.get("finished") and not (folder / "checkpoint.npz").exists():
        return None
    found = inference.read_run(folder)
    # Runs from before an ingredient existed did without it.
    found["recipe"] = found.get("recipe") or {}
    if not isinstance(found["recipe"], dict):
        recipe = f"no recipe, but {found['recipe']!r}"
        raise InputError(f"{path} holds {recipe}; {inference.put_back(folder)}")
    found["recipe"] = dataclasses.asdict(models.Recipe()) | found["recipe"]
    # Runs from before there was a choice, or before it was noted here.
    began = found["config"] if isinstance(found.get("config"), dict) else {}
    source = began.get("source", "nih")
    found = {"backend": "tensorflow", "parts": 1, "source": source, "table": None, **found}
    if found["finished"]:
        # Begun with one backend, a training goes on with it; what came out serves both.
        settings = settings | {"backend": found["backend"]}
    elif type(found["parts"]) is not int or found["parts"] < 1:
        parts = f"that its films are in {found['parts']!r} parts"
        raise InputError(f"{path} says {parts}; {inference.put_back(folder)}")
    if settings.get("weights") == "imagenet" and (kept := found.get("weights_checksum")):
        # Keras's own file may be gone; where it is there, it has to be the same.
        settings = settings | {"weights_checksum": _weights_checksum(settings) or kept}
    if settings["source"] == "nih" or found["table"] is None:
        # NIH's labels are what they are, in whichever table; their checksum is compared.
        settings = settings | {"table": found["table"]}
    artifacts.refuse_other_settings(folder, found, settings, _remedy(folder, found, settings))
    if found["finished"]:
        inference.verified_model(folder)
    return found


def _remedy(folder: Path, found: Mapping, settings: Mapping) -> str:
    """What to do about a run that was made with other settings."""
    remedy = f"Set CXR_TAG to train a variant beside it, or remove {folder}."
    for name, variable in (("backend", "KERAS_BACKEND"), ("source", "CXR_SOURCE")):
        if found[name] != settings[name]:
            return f"Set {variable}={found[name]} to go on. {remedy}"
    if found["table"] != settings["table"]:
        return f"Set CXR_RECORDS to the table that it began with to go on. {remedy}"
    if settings["weights"] == "imagenet" == found.get("weights"):
        # A run that knows their checksum needs them no more.
        changed = found.get("weights_checksum") != settings["weights_checksum"]
        return f"Remove {_imagenet_file(settings)} to go on. {remedy}" if changed else remedy
    return remedy


def _fit(
    folder: Path,
    store: film_cache.Store,
    train: pd.DataFrame,
    validation: pd.DataFrame,
    settings: dict,
    weights: str,
) -> dict:
    """Fit until the last epoch or until validation stops rising; the best model is on disk."""
    keras.utils.set_random_seed(settings["seed"])
    batch_size, epochs = settings["batch_size"], settings["epochs"]
    recipe, steps = models.Recipe(**settings["recipe"]), math.ceil(len(train) / batch_size) * epochs
    # A checkpoint brings its weights; those that it grew from may be gone.
    resumed = hosts.leads() and (folder / "checkpoint.npz").exists()
    empty = bool(hosts.told(b"resumed" if resumed else None))
    trainee = compiled_trainee(settings, recipe, weights=weights, steps=steps, empty=empty)
    order = _order(settings)
    rows = np.full(len(train), -1)
    rows[order.is_mine()] = store.rows(train["film"][order.is_mine()])
    callbacks: list[keras.callbacks.Callback] = []
    if hosts.leads():
        if not resumed:
            # Keras has its file by now.
            settings["weights_checksum"] = _weights_checksum(settings)
        # Not before the network could be built: weights that do not fit bind no later run.
        artifacts.write_json(folder / "config.json", settings)
        board = _Board(str(folder / "tensorboard"), write_graph=False, profile_batch=0)
        callbacks.append(board)
    dataset = pipeline.batches(
        store,
        rows,
        learning.targets(train, recipe),
        batch_size=batch_size,
        order=order,
        replicas=devices.replicas(),
    )
    with progress.Bars() as bars:
        progress_of = _Progress(bars, folder, settings, len(train), order)
        frozen = recipe.frozen_epochs(epochs)
        keeper = checkpoint.Keeper(folder, store, validation, frozen=frozen)
        first = keeper.restore(trainee)
        progress_of.bar.advance(first * len(train), reused=True)
        for head_only, end in ((True, frozen), (False, epochs)):
            first = len(keeper.history)
            if first < end and not keeper.exhausted():
                trainee.freeze(head_only)
                trainee.fit(
                    dataset,
                    initial_epoch=first,
                    epochs=end,
                    verbose=0,
                    shuffle=False,  # the order of films shuffles
                    callbacks=[progress_of, keeper, *callbacks],
                )
        note = f"best val AUROC {keeper.best:.3f}"
        if keeper.exhausted() and len(keeper.history) < epochs:
            # Nothing is left to do: the bar is full.
            progress_of.bar.total = progress_of.bar.done
            note += f"; ended after epoch {len(keeper.history)} of {epochs}, it rose no more"
        progress_of.bar.finish(note)
    done = len(keeper.history)
    return {
        "epochs_done": done,
        "best_epoch": keeper.best_epoch,
        "validation_auroc": None if math.isnan(keeper.best) else round(keeper.best, 6),
        "parameters": trainee.network.count_params(),
        "train_seconds": round(keeper.seconds, 1),
        "films_per_second": round(done * len(train) / keeper.training_seconds, 1),
    }


def compiled_trainee(
    settings: dict, recipe: models.Recipe, *, weights: str, steps: int, empty: bool = False
) -> Trainee:
    """The network on all devices, with its optimizer, whose rate is laid out for `steps`.

    Args:
        settings: "model", "image_size", "learning_rate"; "epochs" if some are frozen; "parts"
            of the films, if several.
        recipe: how to train.
        weights: "imagenet", "none" or a file, see `models.build`.
        steps: of the whole training.
        empty: see `models.build`.
    """
    with devices.scope():
        network = models.build(
            settings["model"],
            image_size=settings["image_size"],
            weights=weights,
            enlarge=recipe.enlarge,
            empty=empty,
        )
        trainee = Trainee(network, recipe, name=settings["model"], parts=settings.get("parts", 1))
        rate = schedule(settings["learning_rate"], steps)
        if recipe.slow:
            epochs = settings.get("epochs", 1)
            resting = steps // epochs * recipe.frozen_epochs(epochs)
            optimizer = learning.PacedAdamW(
                rate,
                weight_decay=recipe.weight_decay,
                pace=recipe.backbone_rate,
                resting=resting,
            )
            optimizer.build(trainee.trainable_variables, trainee.backbone.trainable_variables)
        else:
            optimizer = keras.optimizers.AdamW(rate, weight_decay=recipe.weight_decay)
            optimizer.exclude_from_weight_decay(var_names=list(learning.UNDECAYED))
        trainee.compile(
            optimizer=optimizer,
            # The mean over the films of all devices: their weights average 1, see `batches`.
            loss=learning.loss(recipe),
            **devices.compiling(),
        )
        trainee.optimizer.build(trainee.trainable_variables)
    return trainee


def schedule(peak: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """From zero to the peak in a straight line, then back along a cosine."""
    warm_up = max(1, round(WARM_UP * steps))
    return keras.optimizers.schedules.CosineDecay(
        0.0,
        decay_steps=max(1, steps - warm_up),
        alpha=0.0,
        warmup_target=peak,
        warmup_steps=warm_up,
    )


class _Board(keras.callbacks.TensorBoard):
    """TensorBoard, which needs nothing of a step before the epoch's end."""

    async_safe = True


class _Progress(keras.callbacks.Callback):
    """Moves the bar, tells the epoch to the order of films, and stops at NaN.

    It looks at the loss in a thread of its own, so that the host goes on handing steps to the
    device; a loss that is not a number is noticed some steps later.
    """

    async_safe = True

    def __init__(self, bars: progress.Bars, folder: Path, settings: dict, train_films: int, order):
        super().__init__()
        self._folder = folder
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
                f"{self._order.epoch + 1}, step {batch + 1}. Remove {self._folder}, lower "
                "CXR_LEARNING_RATE, and run again."
            )
        # Several steps may have passed since the last look.
        seen = min((batch + 1) * self._batch, self._films)
        self.bar.advance(seen - self._seen)
        self._seen = seen

    def on_epoch_end(self, epoch, logs=None):
        self.bar.say(f"epoch {epoch + 1} of {self._epochs}")


# In which words libraries say that there was not enough memory, or not enough disk.
_NO_MEMORY = ("OOM", "out of memory", "Out of memory", "RESOURCE_EXHAUSTED")
_NO_DISK = ("No space left on device", "Disk quota exceeded")


@contextlib.contextmanager
def explained(config: Config):
    """Say what to do when the device's memory does not suffice, or the disk."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        if any(words in str(error) for words in _NO_DISK):
            raise InputError(
                f"the disk of {config.runs} is full ({error}); free some space and run again: "
                "training goes on from its last epoch."
            ) from error
        exhausted = isinstance(error, MemoryError) or "ResourceExhausted" in type(error).__name__
        if not exhausted and not any(words in str(error) for words in _NO_MEMORY):
            raise
        remedy = f"set CXR_BATCH_SIZE={config.batch_size // 2} and run again"
        if config.batch_size == 1:
            remedy = "set CXR_IMAGE_SIZE lower and run again"
        raise InputError(
            f"batches of {config.batch_size} films of {config.image_size} px do not fit the "
            f"device's memory; {remedy}: training goes on from its last epoch only with the same "
            "settings, so remove the run's folder first."
        ) from error
