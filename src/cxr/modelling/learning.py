"""What a recipe may add to plain learning: averaged weights, paces, targets that help."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.modelling.models import Recipe
from cxr.modelling.tensors import keras

ops = keras.ops

# Names of what weight decay leaves alone: biases, normalisation, and the scales of layers in
# ConvNeXt, to which Keras gives no name.
UNDECAYED = ("bias", "gamma", "beta", "variable")

# Targets beside the findings, where a recipe asks for them.
AUXILIARY = ("view", "sex", "age")


class MovingAverage(keras.layers.Layer):
    """An exponential moving average of a network's weights, batch statistics included.

    It keeps the share `decay` of itself at each step. The first steps count more, min(decay,
    (1 + n) / (10 + n)) after n of them, as in TensorFlow's `ExponentialMovingAverage`: else
    the random start would still be in the average after a thousand steps.
    """

    def __init__(self, network: keras.Model, decay: float):
        super().__init__(name="average", dtype="float32", trainable=False)
        self._decay = decay
        # Not as an attribute of its own, which Keras would take for this layer's weights.
        self._followed = lambda: network.weights
        options = {"trainable": False, "aggregation": "only_first_replica"}
        self._count = self.add_weight(shape=(), initializer="zeros", name="steps", **options)
        self._averages = [
            self.add_weight(shape=weight.shape, name=f"average{number}", **options)
            for number, weight in enumerate(network.weights)
        ]
        for average, weight in zip(self._averages, network.weights, strict=True):
            average.assign(weight)
        self.built = True

    def call(self, pictures):
        """Let a step's films pass, and take the weights that it starts with into the average.

        Called as a layer it sees them in full precision, whatever the network computes in.
        """
        count = ops.convert_to_tensor(self._count)
        kept = ops.minimum(self._decay, (1 + count) / (10 + count))
        for average, weight in zip(self._averages, self._followed(), strict=True):
            now = ops.convert_to_tensor(average)
            average.assign(now + (1 - kept) * (ops.convert_to_tensor(weight) - now))
        self._count.assign(count + 1)
        return pictures

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Let the network have the averages as its weights for a while; between steps."""
        own = [ops.convert_to_numpy(weight) for weight in self._followed()]
        try:
            for weight, average in zip(self._followed(), self._averages, strict=True):
                weight.assign(ops.convert_to_numpy(average))
            yield
        finally:
            for weight, value in zip(self._followed(), own, strict=True):
                weight.assign(value)


class PacedAdamW(keras.optimizers.Adam):
    """AdamW (Loshchilov and Hutter, ICLR 2019) with another pace for some variables.

    These rest for the first `resting` steps, then move at `pace` times the learning rate,
    their decay included. Adam's correction for empty averages starts with their own first
    step: counted from the first of all, it would make that step three times as long.
    """

    def __init__(self, learning_rate, *, weight_decay: float, pace: float, resting: int):
        super().__init__(learning_rate)
        self._decay, self._pace, self._resting = weight_decay, pace, resting

    def build(self, variables, slow: Sequence[keras.Variable] = ()) -> None:
        """`slow` are those of `variables` that rest first and have a pace of their own."""
        if self.built:
            return
        super().build(variables)
        self._slow = {self._get_variable_index(variable) for variable in slow}
        self._decayed = {
            number
            for number, variable in enumerate(variables)
            if not any(word in variable.name for word in UNDECAYED)
        }

    def apply(self, grads, trainable_variables=None):
        # Variables at rest have no gradient where the backend leaves out what is not needed.
        variables = self._trainable_variables if trainable_variables is None else None
        variables = list(trainable_variables) if variables is None else variables
        grads = [
            ops.zeros_like(variable) if gradient is None else gradient
            for gradient, variable in zip(grads, variables, strict=True)
        ]
        super().apply(grads, trainable_variables)

    def update_step(self, gradient, variable, learning_rate):
        number = self._get_variable_index(variable)
        rate, correction = ops.cast(learning_rate, variable.dtype), 1.0
        if number in self._slow:
            step = ops.cast(self.iterations + 1, variable.dtype)
            own = ops.maximum(step - self._resting, 1)
            rate = ops.where(step > self._resting, self._pace * rate, 0)
            correction = self._start(own) / self._start(step)
        if number in self._decayed:
            self.assign_sub(variable, variable * self._decay * rate)
        super().update_step(gradient, variable, rate * correction)

    def _start(self, step):
        """Adam's factor of the rate at a step, counted from 1."""
        return ops.sqrt(1 - self.beta_2**step) / (1 - self.beta_1**step)


class FindingsAndMore(keras.losses.Loss):
    """Cross-entropy of the findings, and `weight` times that of the auxiliary targets.

    The latter is the mean over `AUXILIARY`, in which what is not known (NaN) counts 0.
    """

    def __init__(self, *, weight: float, smoothing: float):
        super().__init__(name="findings_and_more")
        self._weight, self._smoothing = weight, smoothing

    def call(self, wanted, scores):
        """float (films, 17) each: the findings, then `AUXILIARY`; returns (films,)."""
        count = len(FINDINGS)
        loss = keras.losses.binary_crossentropy(
            wanted[:, :count], scores[:, :count], label_smoothing=self._smoothing
        )
        known = ops.logical_not(ops.isnan(wanted[:, count:]))
        target = ops.where(known, wanted[:, count:], 0.0)
        chance = ops.where(known, scores[:, count:], 0.5)
        chance = ops.clip(chance, 1e-7, 1 - 1e-7)
        each = -target * ops.log(chance) - (1 - target) * ops.log(1 - chance)
        each = ops.where(known, each, 0.0)
        return loss + self._weight * ops.mean(each, axis=-1)


def loss(recipe: Recipe) -> keras.losses.Loss:
    """What training makes small: the mean over the films of all devices."""
    if recipe.auxiliary:
        return FindingsAndMore(weight=recipe.auxiliary, smoothing=recipe.smoothing)
    return keras.losses.BinaryCrossentropy(label_smoothing=recipe.smoothing)


def targets(frame: pd.DataFrame, recipe: Recipe) -> np.ndarray:
    """What the network is to say of each film, in training.

    Args:
        frame: needs the findings; with auxiliary targets also `view` (AP or PA), `sex` (F or
            M) and `age` (years), any of which may be missing in some films.
        recipe: how to train.

    Returns:
        float32 (films, 14), 0 or 1; with auxiliary targets (films, 17): then also whether the
        film was taken AP, whether the patient is male, and the age in centuries, 0 to 1.
        NaN where that is not known.

    Raises:
        InputError: if a column is missing.
    """
    findings = frame[list(FINDINGS)].to_numpy(np.float32)
    if not recipe.auxiliary:
        return findings
    for column in AUXILIARY:
        if column not in frame:
            raise InputError(
                f"the recipe has {', '.join(AUXILIARY)} as auxiliary targets, but the records "
                f"have no column '{column}'; run 100-data_cleaning_eda again."
            )
    codes = {"view": {"PA": 0.0, "AP": 1.0}, "sex": {"F": 0.0, "M": 1.0}}
    more = [frame[column].map(code) for column, code in codes.items()]
    more.append(frame["age"].astype("Float64").clip(0, 100) / 100)
    columns = [one.to_numpy(np.float32, na_value=np.nan) for one in more]
    return np.column_stack([findings, *columns])
