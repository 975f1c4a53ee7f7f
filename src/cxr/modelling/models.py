"""The models, by name: films of raw grey values in, 14 independent probabilities out."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

from cxr.config import PHANTOM_WEIGHTS
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import phantom_weights
from cxr.modelling.tensors import keras

layers = keras.layers

# Of the running means in batch normalisation. Keras's 0.99 looks back over some 100 steps:
# on a few thousand films the statistics would trail behind the weights in every epoch.
_MOMENTUM = 0.9

# Means and standard deviations of ImageNet's colours (0 to 1), which DenseNet's weights
# were trained with (Keras: `imagenet_utils.preprocess_input`, mode "torch").
_IMAGENET_MEAN, _IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# Kernels trained on photographs of some 200 px find less in films half that size: there,
# enlarging the films first scores better (benchmarks/README.md, "Recipes").
_IMAGENET_SIDE = 192


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model learns, beside the configuration; what won in `make campaign` is on."""

    # Swap left and right in half of the training films.
    mirror: bool = False
    # Blend pairs of training films, in shares drawn from Beta(mixup, mixup); 0: never.
    mixup: float = 0.0
    # Decoupled from the gradient, on all weights but biases and normalisation.
    weight_decay: float = 1e-4


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the registry."""

    # Builds the network: (image_size, weights file or None) -> model without its head.
    build: Callable[[int, str | None], keras.Model]
    # Peak of the schedule for batches of 32.
    learning_rate: float
    # Keras's own file of ImageNet weights, or None for a model without any. MobileNet has
    # one for each of four sizes; other sizes take that for 224 px.
    imagenet_file: str | None = None
    recipe: Recipe = Recipe()
    # Smaller films are enlarged to this side, where the network starts from ImageNet weights.
    enlarged_to: int = 0

    def weights_file(self, image_size: int) -> str:
        """The name under which Keras stores the ImageNet weights for a film size."""
        side = max(image_size, self.enlarged_to)
        side = side if side in (128, 160, 192, 224) else 224
        return (self.imagenet_file or "").format(size=side)


def build(name: str, *, image_size: int, weights: str = "none") -> keras.Model:
    """Build a model of the registry.

    Every model owns its normalisation, so what is saved takes films as they are stored.

    Args:
        name: a key of `MODELS`.
        image_size: side of the films in pixels.
        weights: "imagenet" (Keras downloads them), "phantoms" (learned from drawings, see
            `phantom_weights`), "none" (random), or a file. The small CNN has no pretrained
            weights and is always built from random ones.

    Returns:
        Model from (films, image_size, image_size, 1), values 0 to 255, to probabilities
        (films, 14) in the order of `FINDINGS`.

    Raises:
        InputError: for an unknown name, or weights that cannot be had or do not fit.
    """
    entry = registered(name)
    if entry.imagenet_file is None:
        weights = "none"
    if not _is_file_of_weights(weights) and weights == "none":
        return entry.build(image_size, None)
    if not _is_file_of_weights(weights) and weights == PHANTOM_WEIGHTS:
        # At the films' own size: these weights were learned there.
        network = entry.build(image_size, None)
        phantom_weights.load(network, phantom_weights.file(name))
        return network
    try:
        return entry.build(image_size, weights)
    except Exception as error:
        if weights == "imagenet":
            raise InputError(
                f"the ImageNet weights of {name} could not be downloaded ({error}). Put the file "
                f"{entry.weights_file(image_size)} into ~/.keras/models, or set "
                "CXR_WEIGHTS to its path; "
                "CXR_WEIGHTS=none trains from random weights."
            ) from error
        raise InputError(
            f"{weights} does not hold weights of {name} without its top ({error})."
        ) from error


def registered(name: str) -> Entry:
    """The registry's entry of a model.

    Raises:
        InputError: for an unknown name.
    """
    if name not in MODELS:
        raise InputError(f"unknown model '{name}' in CXR_MODELS; known are {', '.join(MODELS)}.")
    return MODELS[name]


def check(models: tuple[str, ...], weights: str) -> None:
    """Refuse a choice of models and weights that cannot be trained, before any work.

    Raises:
        InputError: for an unknown model, a weights file with other than one backbone, or a
            backbone that learned nothing from phantoms where it should start from them.
    """
    backbones = [name for name in models if registered(name).imagenet_file]
    for name in backbones:
        given_file(name, weights)
    if _is_file_of_weights(weights) and len(backbones) != 1:
        raise InputError(
            f"CXR_WEIGHTS={weights} fits one transfer model, but CXR_MODELS names "
            f"{', '.join(backbones) or 'none'}; name exactly one."
        )


def given_file(name: str, weights: str) -> Path | None:
    """The file that a model starts from; None where it starts from none, or Keras's own.

    Raises:
        InputError: if `weights` is no choice, or the model learned nothing from phantoms.
    """
    if registered(name).imagenet_file is None:
        return None
    if _is_file_of_weights(weights):
        return Path(weights)
    return phantom_weights.file(name) if weights == PHANTOM_WEIGHTS else None


def _is_file_of_weights(weights: str) -> bool:
    """Whether `weights` names a file; refuses what is no choice at all."""
    if weights in ("imagenet", PHANTOM_WEIGHTS, "none"):
        return False
    if not Path(weights).is_file():
        raise InputError(
            f"CXR_WEIGHTS={weights} is neither 'imagenet', '{PHANTOM_WEIGHTS}', 'none' nor a file."
        )
    return True


def _own_normalisation(network: keras.Model) -> keras.Model:
    """Normalise in a ready-made backbone as in our own networks.

    Its statistics follow the weights faster and are taken over the batches of all GPUs.
    """
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum, layer.synchronized = _MOMENTUM, True
    return network


def _input(image_size: int) -> keras.KerasTensor:
    return keras.Input((image_size, image_size, 1), name="film", dtype="float32")


def _three_channels(film):
    """Repeat the grey channel: the networks were laid out for colour pictures."""
    return layers.Concatenate(name="grey_to_rgb")([film, film, film])


def _probabilities(features):
    # Findings co-occur, so each gets its own sigmoid rather than one softmax. Float32 also
    # under mixed precision: half precision rounds small probabilities to a few values.
    return layers.Dense(len(FINDINGS), activation="sigmoid", dtype="float32", name="findings")(
        features
    )


def _baseline(image_size: int, weights: str | None) -> keras.Model:
    """The original project's small CNN: 369,470 parameters at 128 px."""
    film = _input(image_size)
    # Each film centred and scaled to unit standard deviation, as the original did.
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3, dtype="float32", name="standardise"
    )(film)
    x = _three_channels(x)
    for block, filters in enumerate((8, 16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{block}")(x)
        x = layers.BatchNormalization(momentum=_MOMENTUM, synchronized=True, name=f"norm{block}")(x)
        # Halved four times, then quartered: 128 px end as 2 x 2.
        # The original dropped features after it, at a rate that is not known. On 4,184 films of
        # 64 px a rate of 0.05 validated .01 lower than none (single runs), so there is none.
        x = layers.MaxPooling2D(4 if block == 5 else 2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(256, activation="relu", name="dense1")(x)
    x = layers.Dropout(0.2, name="drop6")(x)
    x = layers.Dense(512, activation="relu", name="dense2")(x)
    x = layers.Dropout(0.2, name="drop7")(x)
    return keras.Model(film, _probabilities(x), name="baseline")


def _residual(image_size: int, weights: str | None) -> keras.Model:
    """A residual network from scratch, narrow enough for a CPU.

    Pre-activation blocks (He et al., ECCV 2016) of two 3x3 convolutions, one a stage.
    """
    film = _input(image_size)
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3, dtype="float32", name="standardise"
    )(film)
    x = layers.Conv2D(16, 5, strides=2, padding="same", use_bias=False, name="stem")(x)
    x = layers.MaxPooling2D(2, name="stem_pool")(x)
    for stage, filters in enumerate((32, 64, 128, 256), start=1):
        strides = 1 if stage == 1 else 2
        y = _normalised(x, f"stage{stage}_norm1")
        shortcut = y
        if strides > 1:
            # "same", as the convolutions beside it: films of any size pass.
            pool = layers.AveragePooling2D(2, padding="same", name=f"stage{stage}_pool")
            shortcut = pool(y)
        shortcut = layers.Conv2D(filters, 1, use_bias=False, name=f"stage{stage}_skip")(shortcut)
        y = layers.Conv2D(
            filters,
            3,
            strides=strides,
            padding="same",
            use_bias=False,
            name=f"stage{stage}_conv1",
        )(y)
        y = _normalised(y, f"stage{stage}_norm2")
        y = layers.Conv2D(filters, 3, padding="same", use_bias=False, name=f"stage{stage}_conv2")(y)
        x = layers.Add(name=f"stage{stage}_add")([shortcut, y])
    x = _normalised(x, "last_norm")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.3, name="drop")(x)
    return keras.Model(film, _probabilities(x), name="residual")


def _normalised(x, name: str):
    """Batch normalisation, then ReLU."""
    x = layers.BatchNormalization(momentum=_MOMENTUM, synchronized=True, name=name)(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _mobilenet(
    alpha: float, name: str, *, smallest: int = _IMAGENET_SIDE
) -> Callable[[int, str | None], keras.Model]:
    """MobileNet with the original project's head: Dropout, Dense 512, Dropout, findings.

    With pretrained weights, films below `smallest` pixels are enlarged to that side.
    """

    def build(image_size: int, weights: str | None) -> keras.Model:
        film = x = _input(image_size)
        side = image_size
        if weights and image_size < smallest:
            side = smallest
            x = layers.Resizing(side, side, dtype="float32", name="enlarge")(x)
        # MobileNet's ImageNet weights expect -1 to 1.
        x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="rescale")(x)
        backbone = keras.applications.MobileNet(
            input_shape=(side, side, 3),
            alpha=alpha,
            include_top=False,
            weights=weights,
            input_tensor=_three_channels(x),
            pooling="avg",
        )
        x = layers.Dropout(0.5, name="drop1")(backbone.output)
        x = layers.Dense(512, name="dense")(x)
        x = layers.Dropout(0.5, name="drop2")(x)
        return _own_normalisation(keras.Model(film, _probabilities(x), name=name))

    return build


def _densenet121(image_size: int, weights: str | None) -> keras.Model:
    """DenseNet-121 with one dense layer on top, as CheXNet (Rajpurkar et al. 2017)."""
    film = _input(image_size)
    x = layers.Rescaling(
        [1 / (255 * sd) for sd in _IMAGENET_SD],
        offset=[-mean / sd for mean, sd in zip(_IMAGENET_MEAN, _IMAGENET_SD, strict=True)],
        dtype="float32",
        name="rescale",
    )(_three_channels(film))
    backbone = keras.applications.DenseNet121(
        include_top=False,
        weights=weights,
        input_tensor=x,
        input_shape=(image_size, image_size, 3),
        pooling="avg",
    )
    return _own_normalisation(
        keras.Model(film, _probabilities(backbone.output), name="densenet121")
    )


MODELS: dict[str, Entry] = {
    "baseline": Entry(_baseline, learning_rate=2e-3),
    "residual": Entry(_residual, learning_rate=2e-3),
    "mobilenet": Entry(
        _mobilenet(1.0, "mobilenet"),
        3e-4,
        imagenet_file="mobilenet_1_0_{size}_tf_no_top.h5",
        recipe=Recipe(mirror=True),
        enlarged_to=_IMAGENET_SIDE,
    ),
    "mobilenet_small": Entry(
        _mobilenet(0.25, "mobilenet_small"),
        1e-3,
        imagenet_file="mobilenet_2_5_{size}_tf_no_top.h5",
        recipe=Recipe(mirror=True),
        enlarged_to=_IMAGENET_SIDE,
    ),
    "densenet121": Entry(
        _densenet121,
        3e-4,
        imagenet_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
}
