"""What models make of a film: heatmaps for a finding, activation maps, first filters."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.evaluation import localisation
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import devices, inference
from cxr.modelling.tensors import jax, keras, tf
from cxr.records import rsna

# A map of fewer rows has cells larger than most nodules. Networks end in 7 x 7 at 224 px
# and in less on smaller films, so an earlier map is taken: of a sixteenth of the side, where
# that is 192 px or more. Chosen on boxes of training patients (`benchmarks/README.md`,
# "Heatmaps").
FEWEST_ROWS = 12

# The average film's feature map, in a run's folder; and how many films it is the mean of.
AVERAGE, AVERAGED = "average_map.npy", 128

# What notebook 300 found its heatmaps to be worth, in the same folder.
WORTH = "heatmaps.json"
# The same of its untrained twin, and what decides how the twin's weights are shuffled.
TWIN_AVERAGE, TWIN_SEED = "twin-average_map.npy", 0

# Films in one step: gradients are kept, so fewer than in prediction.
BATCH = 32

# Layers that answer to patterns: what the black box consists of.
CONVOLUTIONS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


def grad_cam(features: np.ndarray, gradient: np.ndarray, average: np.ndarray) -> np.ndarray:
    """Channels of a feature map, each weighed by its mean gradient (Selvaraju et al., ICCV 2017).

    Args:
        features: float (films, rows, columns, channels), what a layer makes of the films.
        gradient: the same shape, by how much each value raises the finding's logit.
        average: (rows, columns, channels), of an average film; not used here.

    Returns:
        float (films, rows, columns): what speaks for the finding, 0 where nothing does.
    """
    weighed = gradient.mean(axis=(1, 2), keepdims=True) * features
    return np.maximum(weighed.sum(axis=3), 0)


def evidence(features: np.ndarray, gradient: np.ndarray, average: np.ndarray) -> np.ndarray:
    """How the map differs from an average film's, weighed by the gradient cell by cell.

    As HiResCAM (Draelos and Carin 2020), but borders and bones, which are on every film and
    excite every channel, cancel out. A network that flattens its last map, whose gradient
    differs from cell to cell, is not averaged over. Arguments and result as of `grad_cam`.
    """
    return np.maximum((gradient * (features - average)).sum(axis=3), 0)


# The first one is what pages show.
METHODS = {"evidence": evidence, "grad_cam": grad_cam}


class Explainer:
    """Heatmaps of one model, by the methods of `METHODS`; of an ensemble, the members' mean.

    Args:
        model: takes films (n, size, size, 1) and gives a probability per finding.
        reference: uint8 films of that shape whose mean feature map stands for the average
            film; take validation films, a hundred or so.
        rows: the feature map has at least so many.
    """

    def __init__(self, model: keras.Model, reference: np.ndarray, *, rows: int = FEWEST_ROWS):
        self.model, self.size = model, model.input_shape[1]
        members = [one for one in _alone(model) if one is not model]
        self._members = [Explainer(member, reference, rows=rows) for member in members]
        if self._members:
            return
        network = _of_logits(model)
        self.layer = feature_layer(network, rows=rows)
        self._step = _map_and_gradient(network, self.layer)
        # Without a gradient, which takes several times as long to trace.
        features = inference.forward(keras.Model(network.inputs, self.layer.output))
        batches = (reference[n : n + BATCH] for n in range(0, len(reference), BATCH))
        maps = [features(batch).astype(np.float32) for batch in batches]
        self._average = np.concatenate(maps).mean(axis=0) if maps else np.zeros(1, np.float32)

    def save(self, folder: Path, average: str = AVERAGE) -> None:
        """Keep the average film's map with the run, for explaining where no films are."""
        for name, part in self._parts(average).items():
            with artifacts.atomic(folder / name) as temporary, temporary.open("wb") as file:
                np.save(file, part._average, allow_pickle=False)

    def _parts(self, average: str) -> dict[str, "Explainer"]:
        """The explainers that have an average map of their own, by the name of its file."""
        if not self._members:
            return {average: self}
        places = enumerate(self._members, start=1)
        return {of_member(place, average): one for place, one in places}

    @classmethod
    def twin_of_run(cls, model: keras.Model, folder: Path) -> "Explainer | None":
        """The explainer of the untrained twin that `keep` kept; otherwise as `of_run`."""
        return cls.of_run(randomised(model, seed=TWIN_SEED), folder, TWIN_AVERAGE)

    @classmethod
    def of_run(cls, model: keras.Model, folder: Path, average: str = AVERAGE) -> "Explainer | None":
        """The explainer that `save` kept; None for a run that was trained before there was one.

        Raises:
            InputError: if the file is damaged or another model's.
        """
        explainer = cls(model, np.empty((0, *model.input_shape[1:]), np.uint8))
        for name, part in explainer._parts(average).items():
            path = folder / name
            if not path.exists():
                return None
            anew = "run 200-modeling again: it makes it anew."
            try:
                with path.open("rb") as file:
                    kept = np.lib.format.read_array(file, allow_pickle=False)
            except (OSError, ValueError) as error:
                raise InputError(f"{path} cannot be read ({error}); {anew}") from None
            if kept.shape != part.layer.output.shape[1:]:
                raise InputError(f"{path} belongs to another model, or to earlier code; {anew}")
            if kept.dtype.kind != "f" or not np.isfinite(kept).all():
                raise InputError(f"{path} holds what is no number; {anew}")
            part._average = kept
        return explainer

    def heatmaps(
        self, pictures: np.ndarray, findings: np.ndarray, *, method: str = "evidence"
    ) -> np.ndarray:
        """What raises the score of a finding on each film.

        Args:
            pictures: uint8 (films, size, size, 1).
            findings: int (films,), the column of `FINDINGS` that each film is asked about.
            method: a key of `METHODS`.

        Returns:
            float32 (films, rows, columns), 0 to 1; the maximum of each map is 1, and a map
            in which nothing speaks for the finding is all 0.
        """
        if self._members:
            maps = [member.heatmaps(pictures, findings, method=method) for member in self._members]
            stacked = _on_one_grid(maps).mean(axis=0)
        else:
            stacked = np.concatenate(
                [
                    np.empty((0, *self.layer.output.shape[1:3]), dtype=np.float32),
                    *(
                        METHODS[method](features, gradient, self._average)
                        for features, gradient in self._batches(pictures, findings)
                    ),
                ]
            )
        highest = stacked.max(axis=(1, 2), keepdims=True)
        return np.divide(stacked, highest, out=np.zeros_like(stacked), where=highest > 0)

    def look(self, names: Sequence[str], finding: str, paths: Mapping[str, Path]) -> np.ndarray:
        """Read films at the model's size and ask about one finding: their `heatmaps`.

        Args:
            names: films, keys of `paths`.
        """
        pictures = read_films(names, paths, self.size)
        return self.heatmaps(pictures, np.full(len(pictures), FINDINGS.index(finding)))

    def locate(
        self,
        cases: Sequence[localisation.Case],
        paths: Mapping[str, Path],
        *,
        method: str = "evidence",
    ) -> list[localisation.Prediction]:
        """Where the model sees the finding of each case: point and boxes of its heatmap.

        Args:
            cases: films with boxes, and the finding that each is asked about.
            paths: film name -> file.
            method: a key of `METHODS`.
        """
        pictures = read_films([case.film for case in cases], paths, self.size)
        columns = np.array([FINDINGS.index(case.finding) for case in cases], dtype=int)
        maps = self.heatmaps(pictures, columns, method=method)
        return [localisation.from_heatmap(heatmap) for heatmap in maps]

    def _batches(self, pictures: np.ndarray, columns: np.ndarray):
        """Features and gradients, batch by batch: float32 (films, rows, columns, channels)."""
        for start in range(0, len(pictures), BATCH):
            asked = columns[start : start + BATCH].astype(np.int32)
            features, gradient = self._step(pictures[start : start + BATCH], asked)
            yield np.asarray(features), np.asarray(gradient)


def keep_worth(folder: Path, said: Sequence[str]) -> None:
    """Keep with the run what `localisation.in_words` says of its heatmaps; empty without boxes."""
    artifacts.write_json(Path(folder) / WORTH, [sentence for sentence in said if sentence])


def worth(folder: Path) -> str:
    """What a reader of a run's heatmaps must know of them.

    Raises:
        InputError: if the file that `keep_worth` wrote is damaged.
    """
    path = Path(folder) / WORTH
    if not path.exists():
        return "Nobody judged whether heatmaps of this run find anything: run 300-evaluation first."
    said = artifacts.read_json(path)
    if not isinstance(said, list) or not all(isinstance(one, str) for one in said):
        raise InputError(f"{path} is not what notebook 300 wrote; run 300-evaluation again.")
    return " ".join(said) or (
        "There were no boxes, or too few, to judge heatmaps of this run by: nobody knows whether "
        "they find anything."
    )


def keep(model: keras.Model, reference: np.ndarray, folder: Path) -> None:
    """Keep with a run what explains it and its untrained twin; see `Explainer`."""
    Explainer(model, reference).save(folder)
    Explainer(randomised(model, seed=TWIN_SEED), reference).save(folder, TWIN_AVERAGE)


def of_member(place: int, average: str) -> str:
    """The file of an ensemble's member's average map; the first member is 1."""
    return f"member{place}-{average}"


def _on_one_grid(maps: Sequence[np.ndarray]) -> np.ndarray:
    """Heatmaps of several models, (films, rows, columns) each, at the finest one's resolution."""
    side = max(one.shape[1:] for one in maps)
    resized = [keras.ops.image.resize(one[..., None], side) for one in maps]
    return np.stack([keras.ops.convert_to_numpy(one)[..., 0] for one in resized])


def _of_logits(model: keras.Model) -> keras.Model:
    """The same network in single precision and without the last sigmoid.

    In bfloat16 gradients are too coarse for a map, in float16 they may vanish, and a
    probability that is rounded to 0 or 1 has no slope left.

    Raises:
        ValueError: if the last layer has no sigmoid.
    """
    last = model.outputs[0]._keras_history.operation

    def changed(layer: keras.layers.Layer) -> keras.layers.Layer:
        config = layer.get_config()
        if layer.compute_dtype in ("float16", "bfloat16"):
            config["dtype"] = "float32"
        if layer is last:
            if config.get("activation") != "sigmoid":
                raise ValueError(f"{model.name} ends in {layer.name}, which has no sigmoid")
            config["activation"] = "linear"
        return layer.__class__.from_config(config)

    with devices.own_scope():
        twin = keras.models.clone_model(model, clone_function=changed)
    twin.set_weights(model.get_weights())
    return twin


def _map_and_gradient(model: keras.Model, layer: keras.layers.Layer):
    """A function of films and columns: the layer's output, and the gradient of the logits.

    Args:
        model: gives logits.
    """
    if jax:
        return _map_and_gradient_by_jax(model, layer)
    inner = keras.Model(model.inputs, [layer.output, model.output])
    films = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)

    @tf.function(input_signature=[films, tf.TensorSpec((None,), tf.int32)])
    def step(pictures, columns):
        pictures = tf.cast(pictures, tf.float32)
        with tf.GradientTape() as tape:
            # Watching the films makes the tape record every layer between map and score,
            # also where no weights come before the map.
            tape.watch(pictures)
            features, logits = inner(pictures, training=False)
            asked = tf.gather(logits, columns, axis=1, batch_dims=1)
        gradient = tape.gradient(asked, features)
        return tf.cast(features, tf.float32), tf.cast(gradient, tf.float32)

    return step


class _Tap(keras.layers.Layer):
    """Adds `nudge` to what passes, by which JAX, knowing no tape, differentiates; and keeps it."""

    nudge: Any = 0.0

    def call(self, features):
        self.passed = features
        return features + self.nudge


def _map_and_gradient_by_jax(model: keras.Model, layer: keras.layers.Layer):
    tap = _Tap(dtype=layer.dtype_policy)
    tapped = keras.models.clone_model(
        model,
        clone_function=lambda one: one,
        call_function=lambda one, *given, **named: (
            tap(one(*given, **named)) if one is layer else one(*given, **named)
        ),
    )

    def logits(nudge, variables, pictures, columns):
        tap.nudge = nudge
        pictures = keras.ops.cast(pictures, "float32")
        answered, _ = tapped.stateless_call(*variables, pictures, training=False)
        asked = keras.ops.take_along_axis(answered, columns[:, None], axis=1)
        # Films do not see one another here, so the sum's gradient is each film's own.
        return keras.ops.sum(asked), tap.passed

    differentiated = jax.jit(jax.grad(logits, has_aux=True))

    def step(pictures, columns):
        films = len(pictures)
        pictures, columns = inference.filled_up(pictures), inference.filled_up(columns)
        nudge = np.zeros((len(pictures), *layer.output.shape[1:]), layer.compute_dtype)
        values = devices.own_values(tapped)
        gradient, features = differentiated(nudge, values, pictures, columns)
        return tuple(
            np.asarray(values, dtype=np.float32)[:films] for values in (features, gradient)
        )

    return step


def feature_layer(model: keras.Model, *, rows: int = FEWEST_ROWS) -> keras.Layer:
    """The deepest layer whose output still is a map of at least `rows` x `rows`.

    Raises:
        ValueError: if the model has none.
    """
    for layer in reversed(model.layers):
        # The film itself is nothing learned; MobileNet pads on two sides, which shifts a map.
        if isinstance(layer, keras.layers.InputLayer | keras.layers.ZeroPadding2D):
            continue
        shape: tuple = getattr(layer.output, "shape", ())
        if len(shape) == 4 and min(shape[1], shape[2]) >= rows:
            return layer
    raise ValueError(f"{model.name} has no feature map of {rows} x {rows} or more")


def activations(model: keras.Model, picture: np.ndarray) -> dict[str, np.ndarray]:
    """What every convolution layer makes of one film, first layer first.

    Args:
        model: takes films (n, size, size, 1).
        picture: uint8 (size, size).

    Returns:
        Layer name -> its output, float32 (rows, columns, channels). The film itself comes
        first, by the name of the model's input.
    """
    inner = [layer for layer in model.layers if isinstance(layer, CONVOLUTIONS)]
    network = keras.Model(model.inputs, [layer.output for layer in inner])
    film = picture[np.newaxis, :, :, np.newaxis].astype(np.float32)
    outputs = network(keras.ops.convert_to_tensor(film), training=False)
    maps = [keras.ops.convert_to_numpy(keras.ops.cast(output, "float32"))[0] for output in outputs]
    names = [layer.name for layer in inner]
    return {model.inputs[0].name: film[0]} | dict(zip(names, maps, strict=True))


def telling(maps: Mapping[str, np.ndarray], *, fewest: int = 8) -> dict[str, np.ndarray]:
    """Of a film's activation maps, those that a reader can see something in.

    Args:
        maps: as `activations` returns them.
        fewest: rows of a map below which it shows only where, and no longer what.

    Returns:
        The film, the first layer, and the last layer of each size of at least `fewest` rows.
    """
    names = list(maps)
    last = {layer.shape[0]: name for name, layer in maps.items() if layer.shape[0] >= fewest}
    chosen = {*names[:2], *last.values()}
    return {name: layer for name, layer in maps.items() if name in chosen}


def first_filters(model: keras.Model) -> np.ndarray:
    """The filters of the first convolution layer, as a grey film meets them.

    The networks repeat the grey channel three times, so a filter acts by the sum of its
    weights over the three. (DenseNet scales the three by factors that differ by 2 %.)

    Returns:
        float32 (filters, rows, columns), weights.
    """
    layer = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    kernel = keras.ops.convert_to_numpy(layer.kernel)  # rows, columns, channels, filters
    return kernel.sum(axis=2).transpose(2, 0, 1).astype(np.float32)


def randomised(model: keras.Model, *, seed: int) -> keras.Model:
    """A copy of a model that has forgotten everything: its weights are shuffled.

    Each array of weights keeps its values, in a random order, so activations stay in range.
    A heatmap that does not change would not depend on what the model learned (Adebayo et
    al., NeurIPS 2018). Of an ensemble, each member is shuffled as it would be alone.
    """
    # A process alone makes it where several train, and must not wait for the others.
    with devices.own_scope():
        copy = keras.models.clone_model(model)
    for twin, learned in zip(_alone(copy), _alone(model), strict=True):
        random, weights = np.random.default_rng(seed), learned.get_weights()
        twin.set_weights([random.permutation(w.ravel()).reshape(w.shape) for w in weights])
    return copy


def _alone(model: keras.Model) -> list[keras.Model]:
    """The members of an ensemble; of any other model, itself."""
    return [layer for layer in model.layers if isinstance(layer, keras.Model)] or [model]


def read_films(names: Sequence[str], paths: Mapping[str, Path], size: int) -> np.ndarray:
    """Films as uint8 (films, size, size, 1)."""
    pictures = np.empty((len(names), size, size, 1), dtype=np.uint8)
    for place, name in enumerate(names):
        pictures[place, :, :, 0] = film_cache.read_film(paths[name], size)
    return pictures


def opacities(
    readings: rsna.Readings,
    records: pd.DataFrame,
    scores: pd.DataFrame,
    explainer: Explainer,
    shuffled: Explainer,
    paths: Mapping[str, Path],
    name: str,
    also: Mapping[str, Callable] | None = None,
) -> dict[str, pd.DataFrame]:
    """Where heatmaps point on films with RSNA's boxes, beside chance.

    RSNA's boxes surround lung opacities. Of each film, the heatmap of the one of
    `rsna.OPACITY` with the highest score is asked.

    Args:
        readings: as `rsna.read_readings` returns them.
        records: of the films to ask, none of which a map was chosen on; needs `film` and
            `patient_id`.
        scores: of these films, film names as index.
        explainer, shuffled: of the model, and of its twin with shuffled weights.
        paths: film name -> file.
        name: what the model is called.
        also: method -> function of cases and `paths` to predictions, such as `Locator.locate`.

    Returns:
        Method -> frame of `localisation.judge`; empty where no film has a box.
    """
    cases = localisation.opacity_cases(readings, records)
    if not cases:
        return {}
    told = localisation.opacity_finding(scores)
    asked = [case._replace(finding=told[case.film]) for case in cases]
    answers = {
        name: explainer.locate(asked, paths),
        f"{name}, Grad-CAM": explainer.locate(asked, paths, method="grad_cam"),
        f"{name}, shuffled weights": shuffled.locate(asked, paths),
        **{method: locate(cases, paths) for method, locate in (also or {}).items()},
        localisation.FIXED: localisation.most_covered(cases),
        "mean box": localisation.mean_box(cases),
        "centre": localisation.centre(cases),
    }
    return {method: localisation.judge(cases, given) for method, given in answers.items()}
