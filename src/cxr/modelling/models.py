"""The models, by name: films of raw grey values in, 14 independent probabilities out."""

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cxr.config import PHANTOM_WEIGHTS
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling import phantom_weights
from cxr.modelling.tensors import BACKEND, keras

layers = keras.layers

# Of the running means in batch normalisation. Keras's 0.99 looks back over some 100 steps:
# on a few thousand films the statistics would trail behind the weights in every epoch.
_MOMENTUM = 0.9

# Batch statistics are taken over the batches of all devices. JAX does so anyway, and knows no
# such option.
_SYNCHRONIZED = BACKEND == "tensorflow"

# Means and standard deviations of ImageNet's colours (0 to 1), which DenseNet's weights
# were trained with (Keras: `imagenet_utils.preprocess_input`, mode "torch").
_IMAGENET_MEAN, _IMAGENET_SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# Kernels trained on photographs of some 200 px find less in films half that size: there,
# enlarging the films first scores better (benchmarks/README.md, "Recipes").
_IMAGENET_SIDE = 192


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model learns, beside the configuration; see benchmarks/README.md, "Recipes"."""

    # Swap left and right in half of the training films.
    mirror: bool = False
    # Blend pairs of training films, in shares drawn from Beta(mixup, mixup); 0: never.
    mixup: float = 0.0
    # Decoupled from the gradient, on all weights but biases and normalisation.
    weight_decay: float = 1e-4
    # Validate, keep and score a moving average of the weights, which keeps this share of
    # itself at each step, such as 0.999; 0: the weights themselves.
    ema: float = 0.0
    # Targets of 0 and 1 become smoothing / 2 and 1 - smoothing / 2.
    smoothing: float = 0.0
    # Share of the epochs, the first, in which only the head learns.
    frozen: float = 0.0
    # The backbone's learning rate, as a factor of the head's.
    backbone_rate: float = 1.0
    # Weight of view, sex and age, which a second head tells in training; 0: there is none.
    auxiliary: float = 0.0
    # Enlarge smaller films to this side first, 0: never; None: as the model does by itself.
    enlarge: int | None = None

    def __post_init__(self):
        """Refuse what cannot be meant."""
        for name, low, high in (
            ("mixup", 0, np.inf),
            ("weight_decay", 0, np.inf),
            ("ema", 0, 1),
            ("smoothing", 0, 1),
            ("frozen", 0, 1),
            ("backbone_rate", 0, np.inf),
            ("auxiliary", 0, np.inf),
        ):
            if not low <= (value := getattr(self, name)) < high:
                raise InputError(
                    f"a recipe's {name} is at least {low} and below {high}, not {value}."
                )
        if self.enlarge and not 64 <= self.enlarge <= 1024:
            raise InputError(f"films are enlarged to 64 to 1,024 px, not to {self.enlarge}.")

    @property
    def slow(self) -> bool:
        """Whether the backbone learns at another pace than the head."""
        return bool(self.frozen) or self.backbone_rate != 1

    def frozen_epochs(self, epochs: int) -> int:
        """How many of `epochs` only the head learns in: never all of them."""
        return min(round(self.frozen * epochs), epochs - 1)


@dataclasses.dataclass(frozen=True)
class Entry:
    """One model of the registry."""

    # Builds the network: (size of the films as stored, weights file or None, side that they
    # are enlarged to) -> model.
    build: Callable[[int, str | None, int], keras.Model]
    # Peak of the schedule for batches of 32.
    learning_rate: float
    # Keras's own file of ImageNet weights, or None for a model without any. MobileNet has
    # one for each of four sizes; other sizes take that for 224 px.
    imagenet_file: str | None = None
    recipe: Recipe = Recipe()
    # Smaller films are enlarged to this side, where the network starts from ImageNet weights.
    enlarged_to: int = 0
    # The layer that the head begins with; what comes before it is the backbone.
    head: str = "findings"

    def side(self, image_size: int, *, enlarge: int | None = None, pretrained: bool = True) -> int:
        """The side at which the network sees films; see `Recipe.enlarge`."""
        if enlarge is None:
            enlarge = self.enlarged_to if pretrained else 0
        return max(image_size, enlarge)

    def weights_file(self, side: int) -> str:
        """The name under which Keras stores the ImageNet weights for films of this side."""
        side = side if side in (128, 160, 192, 224) else 224
        return (self.imagenet_file or "").format(size=side)


def build(
    name: str,
    *,
    image_size: int,
    weights: str = "none",
    enlarge: int | None = None,
    empty: bool = False,
) -> keras.Model:
    """Build a model of the registry.

    Every model owns its normalisation, so what is saved takes films as they are stored.

    Args:
        name: a key of `MODELS`.
        image_size: side of the films in pixels.
        weights: "imagenet" (Keras downloads them), "phantoms" (learned from drawings, see
            `phantom_weights`), "none" (random), or a file. The small CNN has no pretrained
            weights and is always built from random ones.
        enlarge: see `Recipe.enlarge`.
        empty: the same network with random weights, for a checkpoint to fill.

    Returns:
        Model from (films, image_size, image_size, 1), values 0 to 255, to probabilities
        (films, 14) in the order of `FINDINGS`.

    Raises:
        InputError: for an unknown name, or weights that cannot be had, do not fit or are damaged.
    """
    entry = registered(name)
    if entry.imagenet_file is None:
        weights = "none"
    pretrained = _is_file_of_weights(weights) or weights == "imagenet"
    # Weights learned from drawings were learned at the films' own size.
    side = entry.side(image_size, enlarge=enlarge, pretrained=pretrained)
    if empty or not pretrained:
        network = entry.build(image_size, None, side)
        if weights == PHANTOM_WEIGHTS and not empty:
            phantom_weights.load(network, phantom_weights.file(name))
        return network
    try:
        network = entry.build(image_size, weights, side)
    except Exception as error:
        if weights == "imagenet":
            raise _without_imagenet_weights(name, imagenet_file(name, side), error) from error
        raise InputError(
            f"{weights} does not hold weights of {name} without its top ({error}). Set CXR_WEIGHTS "
            f"to such a file, as Keras's own {entry.weights_file(side)}, or to 'none' for random "
            "ones."
        ) from error
    for weight in network.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            file = imagenet_file(name, side) if weights == "imagenet" else weights
            raise InputError(
                f"{file} is damaged: not all values of {weight.path} are numbers. Remove it and "
                "get it again (Keras downloads its own), or set CXR_WEIGHTS=none for random ones."
            )
    return network


def _without_imagenet_weights(name: str, file: Path, error: Exception) -> InputError:
    what = f"could not be downloaded ({error}). Put the file {file.name} into {file.parent}"
    if file.is_file():
        what = f"in {file} cannot be used ({error}). Remove it and run again: Keras gets its own"
    return InputError(
        f"the ImageNet weights of {name} {what}, or set CXR_WEIGHTS to the path of such a file; "
        "CXR_WEIGHTS=none trains from random weights."
    )


def imagenet_file(name: str, side: int) -> Path:
    """Where Keras keeps the ImageNet weights of a model for films of this side."""
    # As Keras chooses it.
    own = Path("~").expanduser()
    base = own if os.access(own, os.W_OK) else Path("/tmp")
    home = Path(os.environ.get("KERAS_HOME", base / ".keras")).expanduser()
    return home / "models" / registered(name).weights_file(side)


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
            f"CXR_WEIGHTS={weights} is neither 'imagenet', '{PHANTOM_WEIGHTS}', 'none' nor a file"
            f"{', but a folder; name a file in it' if Path(weights).is_dir() else ''}."
        )
    return True


def _own_normalisation(network: keras.Model) -> keras.Model:
    """Normalise in a ready-made backbone as in our own networks.

    Its statistics follow the weights faster and are taken over the batches of all GPUs.
    """
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum, layer.synchronized = _MOMENTUM, _SYNCHRONIZED
    return network


def _films(image_size: int, side: int) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Films as they are stored, and as the network sees them: enlarged, where `side` is larger."""
    film = keras.Input((image_size, image_size, 1), name="film", dtype="float32")
    if side <= image_size:
        return film, film
    return film, layers.Resizing(side, side, dtype="float32", name="enlarge")(film)


def divided(network: keras.Model, name: str) -> tuple[keras.Model, keras.Model]:
    """A model of the registry as its backbone and its head, which share its layers."""
    features = network.get_layer(MODELS[name].head).input
    return keras.Model(network.input, features), keras.Model(features, network.output)


def _three_channels(film):
    """Repeat the grey channel: the networks were laid out for colour pictures."""
    return layers.Concatenate(name="grey_to_rgb")([film, film, film])


def _probabilities(features):
    # Findings co-occur, so each gets its own sigmoid rather than one softmax. Float32 also
    # under mixed precision: half precision rounds small probabilities to a few values.
    return layers.Dense(len(FINDINGS), activation="sigmoid", dtype="float32", name="findings")(
        features
    )


def _baseline(image_size: int, weights: str | None, side: int) -> keras.Model:
    """The original project's small CNN: 369,470 parameters at 128 px."""
    film, seen = _films(image_size, side)
    # Each film centred and scaled to unit standard deviation, as the original did.
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3, dtype="float32", name="standardise"
    )(seen)
    x = _three_channels(x)
    for block, filters in enumerate((8, 16, 32, 64, 128), start=1):
        x = layers.Conv2D(filters, 3, padding="same", activation="relu", name=f"conv{block}")(x)
        x = layers.BatchNormalization(
            momentum=_MOMENTUM, synchronized=_SYNCHRONIZED, name=f"norm{block}"
        )(x)
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


def _residual(image_size: int, weights: str | None, side: int) -> keras.Model:
    """A residual network from scratch, narrow enough for a CPU.

    Pre-activation blocks (He et al., ECCV 2016) of two 3x3 convolutions, one a stage.
    """
    film, seen = _films(image_size, side)
    x = layers.LayerNormalization(
        axis=(1, 2, 3), center=False, scale=False, epsilon=1e-3, dtype="float32", name="standardise"
    )(seen)
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
    x = layers.BatchNormalization(momentum=_MOMENTUM, synchronized=_SYNCHRONIZED, name=name)(x)
    return layers.Activation("relu", name=f"{name}_relu")(x)


def _mobilenet(alpha: float, name: str) -> Callable[[int, str | None, int], keras.Model]:
    """MobileNet with the original project's head: Dropout, Dense 512, Dropout, findings."""

    def build(image_size: int, weights: str | None, side: int) -> keras.Model:
        film, seen = _films(image_size, side)
        # MobileNet's ImageNet weights expect -1 to 1.
        x = layers.Rescaling(1 / 127.5, offset=-1, dtype="float32", name="rescale")(seen)
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


def _standardised() -> keras.Layer:
    """Grey values as weights expect them that were trained with ImageNet's mean and spread."""
    return layers.Rescaling(
        [1 / (255 * sd) for sd in _IMAGENET_SD],
        offset=[-mean / sd for mean, sd in zip(_IMAGENET_MEAN, _IMAGENET_SD, strict=True)],
        dtype="float32",
        name="rescale",
    )


def _minus_one_to_one() -> keras.Layer:
    """Grey values as EfficientNetV2-S expects them: -1 to 0.992, as its authors scaled them."""
    return layers.Rescaling(1 / 128, offset=-1, dtype="float32", name="rescale")


def _one_layer_on(
    application: str, name: str, rescaling: Callable[[], keras.Layer] = _standardised, **options
) -> Callable[[int, str | None, int], keras.Model]:
    """A network of `keras.applications` with one dense layer on top, as CheXNet is laid out.

    Rajpurkar et al. 2017. `options` are arguments of the application.
    """

    def build(image_size: int, weights: str | None, side: int) -> keras.Model:
        film, seen = _films(image_size, side)
        backbone = getattr(keras.applications, application)(
            include_top=False,
            weights=weights,
            input_tensor=rescaling()(_three_channels(seen)),
            input_shape=(side, side, 3),
            pooling="avg",
            **options,
        )
        network = keras.Model(film, _probabilities(backbone.output), name=name)
        return _own_normalisation(_flat(network))

    return build


def _flat(network: keras.Model) -> keras.Model:
    """The same network without networks in it: ConvNeXt has its stem as one of its layers."""
    inner = [layer for layer in network.layers if isinstance(layer, keras.Sequential)]
    if not inner:
        return network

    def call(layer, x, *arguments, **options):
        if not isinstance(layer, keras.Sequential):
            return layer(x, *arguments, **options)
        for one in layer.layers:
            x = one.__class__.from_config(one.get_config())(x)
        return x

    flat = keras.models.clone_model(network, call_function=call)
    trained = {
        layer.name: layer
        for holder in (network, *inner)
        for layer in holder.layers
        if layer.weights and layer not in inner
    }
    for name, layer in trained.items():
        flat.get_layer(name).set_weights(layer.get_weights())
    return flat


MODELS: dict[str, Entry] = {
    "baseline": Entry(_baseline, learning_rate=2e-3, head="dense1"),
    "residual": Entry(_residual, learning_rate=2e-3, head="drop"),
    "mobilenet": Entry(
        _mobilenet(1.0, "mobilenet"),
        3e-4,
        imagenet_file="mobilenet_1_0_{size}_tf_no_top.h5",
        recipe=Recipe(mirror=True),
        enlarged_to=_IMAGENET_SIDE,
        head="drop1",
    ),
    "mobilenet_small": Entry(
        _mobilenet(0.25, "mobilenet_small"),
        1e-3,
        imagenet_file="mobilenet_2_5_{size}_tf_no_top.h5",
        recipe=Recipe(mirror=True),
        enlarged_to=_IMAGENET_SIDE,
        head="drop1",
    ),
    "densenet121": Entry(
        _one_layer_on("DenseNet121", "densenet121"),
        3e-4,
        imagenet_file="densenet121_weights_tf_dim_ordering_tf_kernels_notop.h5",
    ),
    # For fine-tuning Tan and Le (ICML 2021, section 4.3) take 1e-3 for batches of 512, which
    # are 2.5e-4 for batches of 32 by the square root. Not tried on films.
    "efficientnet_v2_b0": Entry(
        _one_layer_on("EfficientNetV2B0", "efficientnet_v2_b0", include_preprocessing=False),
        2.5e-4,
        imagenet_file="efficientnetv2-b0_notop.h5",
        enlarged_to=_IMAGENET_SIDE,
    ),
    "efficientnet_v2_s": Entry(
        _one_layer_on(
            "EfficientNetV2S", "efficientnet_v2_s", _minus_one_to_one, include_preprocessing=False
        ),
        2.5e-4,
        imagenet_file="efficientnetv2-s_notop.h5",
        enlarged_to=_IMAGENET_SIDE,
    ),
    # Liu et al. (CVPR 2022, appendix A) fine-tune with 5e-5, for batches of 512 and without a
    # new head; taken as it is. Not tried on films.
    "convnext_tiny": Entry(
        _one_layer_on("ConvNeXtTiny", "convnext_tiny", include_preprocessing=False),
        5e-5,
        imagenet_file="convnext_tiny_notop.h5",
        enlarged_to=_IMAGENET_SIDE,
    ),
}
