"""Several trained models as one: the mean of their probabilities, in a run of its own."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.config import Config
from cxr.errors import InputError
from cxr.evaluation import ranking
from cxr.films import abstention
from cxr.findings import FINDINGS
from cxr.modelling import checkpoint, devices, explain, inference, run_scores
from cxr.modelling.tensors import keras

# What members must have in common, so that the mean of their scores is one.
_COMMON = (
    *("image_size", "split", "split_checksum", "phantoms"),
    *("train_films", "train_patients", "train_checksum"),
    *("validation_films", "validation_patients", "validation_checksum"),
)

# The layer that averages the members.
_MEAN = "mean"


def combine(runs: Sequence[Mapping], validation: pd.DataFrame, config: Config) -> dict:
    """Average finished runs into the run `config.ensemble_name`, or reuse it.

    Its `model.keras` takes films and gives probabilities like any other, so that it is
    scored, recalibrated and explained like any other.

    Args:
        runs: the members' records, as `training.run` returns them; two or more.
        validation: records of the validation films, with the findings.
        config: where runs lie.

    Returns:
        The run's `config.json`; "members" tells their names and their models' checksums.

    Raises:
        InputError: if there are no two members, they saw other films or sizes, or an earlier
            ensemble had other members or is being made by another process.
    """
    if len(runs) < 2:
        raise InputError(
            f"an ensemble of {len(runs)} training is none; set CXR_ENSEMBLE or CXR_MODELS higher."
        )
    first = runs[0]
    for run in runs[1:]:
        remedy = "An ensemble averages runs that learned from the same films; train them again."
        wanted = {name: first[name] for name in _COMMON}
        artifacts.refuse_other_settings(config.runs / run["name"], dict(run), wanted, remedy)
    settings = {name: first[name] for name in _COMMON} | {
        "model": "ensemble",
        "seed": first["seed"],
        "weights": ", ".join(sorted({run["weights"] for run in runs})),
        "members": {run["name"]: run["model_checksum"] for run in runs},
    }
    folder = config.runs / config.ensemble_name
    with checkpoint.alone(folder):
        return _made(folder, runs, validation, settings, config)


def _made(
    folder: Path,
    runs: Sequence[Mapping],
    validation: pd.DataFrame,
    settings: Mapping,
    config: Config,
) -> dict:
    """The record of the ensemble in `folder`: reused or made."""
    first = runs[0]
    if (folder / "config.json").exists():
        found = inference.read_run(folder)
        remedy = f"Set CXR_TAG to make another one beside it, or remove {folder}."
        artifacts.refuse_other_settings(folder, found, dict(settings), remedy)
        inference.verified_model(folder)
        scores = _mean_scores(runs, config)
        if not run_scores.whole(folder / run_scores.VALIDATION, scores["film"]):
            _write_scores(folder, scores, first)
        # A member's may have been made anew.
        _companions(folder, [config.runs / run["name"] for run in runs])
        return found
    network = _mean(
        {run["name"]: inference.load_network(config.runs / run["name"]) for run in runs}
    )
    scores = _mean_scores(runs, config)
    targets = validation.set_index("film").loc[scores["film"], list(FINDINGS)].to_numpy()
    by_finding = ranking.auroc(targets, scores[list(FINDINGS)].to_numpy())
    auroc = round(float(np.nanmean(by_finding)), 6) if np.isfinite(by_finding).any() else None
    with artifacts.atomic(folder / "model.keras") as temporary:
        network.save(temporary)
    _write_scores(folder, scores, first)
    _companions(folder, [config.runs / run["name"] for run in runs])
    record = {"name": folder.name, **settings, "validation_auroc": auroc}
    record |= {
        "parameters": network.count_params(),
        "config": first["config"],
        "devices": first["devices"],
        "table": first.get("table"),
        "unlearned": first.get("unlearned", []),
        "versions": artifacts.versions(),
        "commit": artifacts.commit(),
        "model_checksum": artifacts.sha256(folder / "model.keras"),
        "finished": artifacts.now(),
    }
    # Last: a run counts only with its record.
    artifacts.write_json(folder / "config.json", record)
    return record


def _companions(folder: Path, members: Sequence[Path]) -> None:
    """What answers about single films rest on, from the members; see `predict`.

    All learned from the same films, so the first one's knows them as well as any other's.
    """
    files = {members[0] / abstention.FILE: abstention.FILE}
    for place, member in enumerate(members, start=1):
        for average in (explain.AVERAGE, explain.TWIN_AVERAGE):
            files[member / average] = explain.of_member(place, average)
    for source, name in files.items():
        if source.exists():
            with artifacts.atomic(folder / name) as temporary:
                temporary.write_bytes(source.read_bytes())


def _mean(networks: Mapping[str, keras.Model]) -> keras.Model:
    """One network that asks all and averages; each keeps its own normalisation and size."""
    with devices.own_scope():
        film = keras.Input(next(iter(networks.values())).input_shape[1:], name="film")
        # Members of the same architecture have the same name; a layer's has to be its own.
        parts = [
            keras.Model(network.inputs, network.outputs[0], name=name.replace(".", "_"))(film)
            for name, network in networks.items()
        ]
        mean = keras.layers.Average(dtype="float32", name=_MEAN)(parts)
        return keras.Model(film, mean, name="ensemble")


def members(network: keras.Model) -> keras.Model:
    """A network that tells what each member of an ensemble says.

    Args:
        network: of a run, an ensemble's or one that stands alone.

    Returns:
        It takes the same films and gives probabilities (films, members, 14).
    """
    alone = not any(isinstance(layer, keras.Model) for layer in network.layers)
    asked = [network.outputs[0]] if alone else network.get_layer(_MEAN).input
    with devices.strategy().scope():
        return keras.Model(network.inputs[0], keras.ops.stack(asked, axis=1))  # noqa: PD013


def _mean_scores(runs: Sequence[Mapping], config: Config) -> pd.DataFrame:
    """The members' validation scores, averaged: what the mean network gives these films."""
    paths = [config.runs / run["name"] / run_scores.VALIDATION for run in runs]
    frames = [run_scores.read_scores(path) for path in paths]
    scores = frames[0].copy()
    for path, frame in zip(paths, frames, strict=True):
        if set(frame["film"]) != set(scores["film"]):
            raise InputError(
                f"{path} holds scores of other films than {paths[0]}; run 200-modeling again: it "
                "scores anew what is not of the run's validation films."
            )
    aligned = [frame.set_index("film").loc[scores["film"], list(FINDINGS)] for frame in frames]
    scores[list(FINDINGS)] = np.mean([frame.to_numpy() for frame in aligned], axis=0)
    return scores


def _write_scores(folder: Path, scores: pd.DataFrame, member: Mapping) -> None:
    path = folder / run_scores.VALIDATION
    artifacts.write_csv(path, inference.marked(scores, member["phantoms"]))
