"""Probabilities for films, by a trained network, without augmentation."""

import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, hosts
from cxr.modelling.tensors import jax, keras, tf

# Films in one step: no gradients are kept, so more fit than in training.
BATCH = 256


def load_network(folder: Path) -> keras.Model:
    """Load a run's model, in Keras's safe mode: it cannot bring code along.

    Raises:
        InputError: if there is no model, or the file is damaged.
    """
    path = verified_model(Path(folder))
    try:
        with devices.own_scope():
            return read_network(path)
    except Exception as error:
        raise InputError(f"{path} cannot be loaded ({error}); {_anew(folder)}") from error


def read_network(path: Path) -> keras.Model:
    """A model file, whichever backend wrote it, in Keras's safe mode."""
    if not jax:
        return keras.saving.load_model(path, compile=False, safe_mode=True)

    def as_jax_takes_it(config: dict) -> dict:
        # JAX's statistics are of all devices anyway, and it refuses the word.
        return config | {"synchronized": False} if config.get("synchronized") else config

    with zipfile.ZipFile(path) as parts:
        config = json.loads(parts.read("config.json"), object_hook=as_jax_takes_it)
    network = keras.saving.deserialize_keras_object(config, safe_mode=True)
    network.load_weights(path)
    return network


def read_run(folder: Path, *needed: str) -> dict:
    """What a run's config.json says: its name, whether it is finished, and what is needed.

    A run is its folder: copied or renamed, it goes by the folder's name.

    Raises:
        InputError: if it is missing, or not that of a run.
    """
    record = read_record(folder)
    if not {"name", "finished", *needed} <= record.keys():
        raise _no_record(folder)
    return record | {"name": folder.name}


def read_record(folder: Path) -> dict:
    """What a run's config.json says, whatever it is; see `read_run`.

    Raises:
        InputError: if it is missing, or tells no names and values.
    """
    record = artifacts.read_json(folder / "config.json", put_back(folder))
    if not isinstance(record, dict):
        raise _no_record(folder)
    return record


def _no_record(folder: Path) -> InputError:
    path = folder / "config.json"
    return InputError(f"{path} is not what the training wrote; {put_back(folder)}")


def verified_model(folder: Path) -> Path:
    """The model file of a run, which has to be the one that its training wrote.

    Raises:
        InputError: if it is not there, or has changed since.
    """
    path, recorded = folder / "model.keras", (folder / "config.json").exists()
    if not path.is_file():
        remedy = _anew(folder) if recorded else "run 200-modeling first."
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}; {remedy}")
    written = read_record(folder).get("model_checksum") if recorded else None
    if written not in (None, artifacts.sha256(path)):
        raise InputError(f"{path} is not the file that the training wrote; {_anew(folder)}")
    return path


def _anew(folder: Path) -> str:
    """What to do about a run that has lost something."""
    return f"remove {folder} and run 200-modeling again: it trains anew."


def put_back(folder: Path) -> str:
    """What to do about a record that is none; without one, a run is not trained over."""
    return f"put it back from a copy, or {_anew(folder)}"


def score_films(network: keras.Model, store: film_cache.Store, frame: pd.DataFrame) -> pd.DataFrame:
    """Score the films of `frame`; see `scorer` for scoring again and again.

    Args:
        network: a model of the registry.
        store: holds the films, at the network's size.
        frame: needs `film` and `patient_id`.

    Returns:
        `film`, `patient_id` and one probability per finding, rows as in `frame`.

    Raises:
        InputError: if the store's films have another size than the network's.
    """
    return scorer(network)(store, frame)


def forward(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The network's evaluation pass over all devices of this machine, traced once.

    Returns:
        A function from films, uint8 (n, size, size, 1), to probabilities, float32 (n, 14).
    """
    if jax:
        return _forward_by_jax(network)
    strategy, replicas = devices.strategy(), devices.replicas()

    def run(pictures):
        return network(tf.cast(pictures, tf.float32), training=False)

    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)]
    on_one = tf.function(run, input_signature=signature)
    on_all = tf.function(lambda parts: strategy.run(run, args=(parts,)))

    def probabilities(pictures: np.ndarray) -> np.ndarray:
        if replicas == 1:
            return on_one(tf.constant(pictures)).numpy()
        # Each device gets as many films; some are asked twice, where they do not divide.
        each = -(-len(pictures) // replicas)
        parts = np.split(pictures[np.resize(np.arange(len(pictures)), each * replicas)], replicas)
        placed = strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(parts[context.replica_id_in_sync_group])
        )
        results = strategy.experimental_local_results(on_all(placed))
        return np.concatenate([result.numpy() for result in results])[: len(pictures)]

    return probabilities


def _forward_by_jax(network: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    @jax.jit
    def run(values, pictures):
        pictures = keras.ops.cast(pictures, "float32")
        return network.stateless_call(*values, pictures, training=False)[0]

    def probabilities(pictures: np.ndarray) -> np.ndarray:
        filled = devices.on_own(filled_up(pictures, devices.replicas()))
        return np.asarray(run(devices.own_values(network), filled))[: len(pictures)]

    return probabilities


def filled_up(array: np.ndarray, times: int = 1) -> np.ndarray:
    """More rows, of zeros, up to a power of two `times` something.

    JAX compiles anew for each number of films: so there are few.
    """
    most = times * 2 ** max(0, (-(-len(array) // times) - 1).bit_length())
    return np.concatenate([array, np.zeros((most - len(array), *array.shape[1:]), array.dtype)])


def scorer(
    network: keras.Model,
) -> Callable[[film_cache.Store, pd.DataFrame], pd.DataFrame]:
    """`score_films` for one network, whose evaluation pass is traced once for all calls.

    Where several processes train, each scores its share of the films, `hosts.own`, and all
    get the scores of all; so the store needs to hold the share only.
    """
    side, run = network.input_shape[1], forward(network)
    batch = BATCH * devices.replicas()

    def score(store: film_cache.Store, frame: pd.DataFrame) -> pd.DataFrame:
        if side != store.size:
            raise InputError(
                f"the model takes films of {side} px, the cache holds {store.size} px; set "
                "CXR_IMAGE_SIZE to the model's size."
            )
        rows = store.rows(hosts.own(frame)["film"])
        own = np.empty((len(rows), len(FINDINGS)), dtype=np.float32)
        for start in range(0, len(rows), batch):
            pictures = store.take(rows[start : start + batch])
            own[start : start + len(pictures)] = run(pictures)
        probabilities = hosts.gathered(own, len(frame))
        scores = frame[["film", "patient_id"]].reset_index(drop=True)
        return pd.concat([scores, pd.DataFrame(probabilities, columns=list(FINDINGS))], axis=1)

    return score


def score_with_run(
    folder: Path, paths: Mapping[str, Path], frame: pd.DataFrame, cache: Path
) -> pd.DataFrame:
    """Score films with a run's model; see `score_films`.

    Args:
        folder: the run's folder.
        paths: film name -> file.
        frame: needs `film` and `patient_id`; every film must be in `paths`.
        cache: where film caches lie.
    """
    network = load_network(folder)
    store = film_cache.prepare(
        {film: paths[film] for film in frame["film"]}, cache, size=network.input_shape[1]
    )
    drawn = read_record(folder)["phantoms"]
    return marked(score_films(network, store, frame), drawn)


def marked(scores: pd.DataFrame, phantoms: bool) -> pd.DataFrame:
    """Scores of drawn films say so in a column `phantom`, wherever their file is taken."""
    columns = [*scores.columns[:2], "phantom", *scores.columns[2:]]
    return scores.assign(phantom=1)[columns] if phantoms else scores
