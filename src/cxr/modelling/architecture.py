"""What is trained, in a reader's words: the stages of a network, its schedule, its loss."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from cxr.config import PHANTOM_WEIGHTS
from cxr.modelling import checkpoint, explain, models, phantom_weights, training
from cxr.modelling.tensors import keras

_PREPARED = {
    "enlarge": "enlarged to {0} x {0} px",
    "standardise": "each centred and scaled to unit standard deviation",
    "rescale": "grey values scaled as networks of ImageNet's photographs take them",
}


def stages(network: keras.Model) -> pd.DataFrame:
    """A network from film to probabilities, one row per size of its maps.

    Returns:
        stage: such as "maps of 32 x 32"; layers: those with weights, normalisation left out;
        channels: at the stage's end; parameters: all of the stage's.
    """
    rows: dict[str, dict] = {}
    shapes = [layer.output.shape for layer in network.layers]
    last = max(place for place, shape in enumerate(shapes) if len(shape) == 4 and shape[1] > 1)
    stage = ""
    for place, (layer, shape) in enumerate(zip(network.layers, shapes, strict=True)):
        # What weighs the channels of a map (squeeze and excitation) belongs to its stage.
        if place > last or (len(shape) == 4 and shape[1] > 1):
            stage = f"maps of {shape[1]} x {shape[2]}" if len(shape) == 4 else "the whole film"
        row = rows.setdefault(stage, {"stage": stage, "layers": 0, "channels": 0, "parameters": 0})
        row["layers"] += isinstance(layer, (*explain.CONVOLUTIONS, keras.layers.Dense))
        row["channels"] = shape[-1]
        row["parameters"] += layer.count_params()
    # What only pads maps is no stage.
    return pd.DataFrame([r for r in rows.values() if r["layers"] or r["parameters"]])


def in_words(name: str, network: keras.Model, run: Mapping) -> str:
    """How films are prepared, and how the network learns, as Markdown.

    Args:
        name: what the run is called.
        network: as `inference.load_network` returns it.
        run: its `config.json`.
    """
    known = {layer.name: layer for layer in network.layers}
    prepared = [
        words.format(known[layer].output.shape[1])
        for layer, words in _PREPARED.items()
        if layer in known
    ]
    recipe = models.Recipe(**run["recipe"])
    start = "random weights" if run["weights"] == "none" else f"weights of `{run['weights']}`"
    if run["weights"] == PHANTOM_WEIGHTS:
        films = phantom_weights.origin(run["model"])["patients"]
        start = f"weights learned from {films:,} other drawings"
    also = [
        *(["swapped left and right half of the time"] if recipe.mirror else []),
        *(["blended in pairs"] if recipe.mixup else []),
    ]
    side = network.input_shape[1]
    return (
        f"- `{name}`: {network.count_params():,} parameters, from {start}. Films of {side} x "
        f"{side} px{', ' if prepared else ''}{', '.join(prepared)}"
        f"{'; in training, ' + ' and '.join(also) if also else ''}. Batches of "
        f"{run['batch_size']}; the learning rate climbs to {spelled(run['learning_rate'])} over "
        f"the first {100 * training.WARM_UP:.0f} % of all steps and falls to 0 along a cosine; "
        f"each step also draws weights towards 0 (weight decay "
        f"{spelled(recipe.weight_decay)}). {_ingredients(recipe, run['epochs'])}"
        f"At most {run['epochs']} epochs, "
        "fewer if the validation AUROC has not risen for "
        f"{checkpoint.PATIENCE}; {run['epochs_done']} were run, and epoch "
        f"{run['best_epoch']} was kept."
    )


def _ingredients(recipe: models.Recipe, epochs: int) -> str:
    """What a recipe adds to plain learning, a sentence each; empty for a plain one."""
    frozen = recipe.frozen_epochs(epochs)
    told = [
        (recipe.smoothing, f"Labels are smoothed by {spelled(recipe.smoothing)}. "),
        (
            recipe.ema,
            "What is validated and kept is a moving average of the weights, of which "
            f"{spelled(recipe.ema)} stays at each step. ",
        ),
        (frozen, f"Only the head learns in the first {frozen} epoch{'s' * (frozen != 1)}. "),
        (
            recipe.backbone_rate != 1,
            f"The backbone learns at {spelled(recipe.backbone_rate)} times this rate. ",
        ),
        (
            recipe.auxiliary,
            "In training a second head also tells view, sex and age, which weigh "
            f"{spelled(recipe.auxiliary)} in the loss. ",
        ),
    ]
    return "".join(words for used, words in told if used)


def spelled(value: float) -> str:
    """A small number without an exponent: 0.0001, not 1e-04."""
    return np.format_float_positional(value, trim="-")


def kept_start(network: keras.Model, run: Mapping) -> float:
    """How much of its first filters a network has from where it started.

    Args:
        network: trained.
        run: its `config.json`.

    Returns:
        Correlation of the first layer's filters with their initial values, random or learned
        from phantoms, -1 to 1; NaN for a network that started from other weights.
    """
    if run["weights"] not in ("none", PHANTOM_WEIGHTS):
        return float("nan")
    keras.utils.set_random_seed(run["seed"])
    start = models.build(run["model"], image_size=run["image_size"], weights=run["weights"])
    now, then = (explain.first_filters(one).ravel() for one in (network, start))
    return float(np.corrcoef(now, then)[0, 1])
