"""GPUs and CPUs: found, described and prepared, and how training is spread over them."""

import contextlib
import functools
import os
import shutil
import subprocess

from cxr.config import NEEDS_GPU, Config
from cxr.errors import InputError
from cxr.modelling import models
from cxr.modelling.tensors import keras, tf


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
    found = tf.config.list_physical_devices("GPU")
    if not found:
        hint = _idle_gpu()
        if config.profile in NEEDS_GPU and not config.allow_cpu:
            raise InputError(
                f"profile '{config.profile}' expects a GPU and TensorFlow finds none. "
                + (hint or "Run it on a GPU machine, or set CXR_ALLOW_CPU=1 to take days on a CPU.")
            )
        keras.config.set_dtype_policy("float32")
        return f"No GPU: training on {os.cpu_count()} CPU cores in float32. {hint}".strip()
    gpus()
    details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
    capability = min(detail.get("compute_capability", (0, 0)) for detail in details)
    # Tensor cores came with 7.0 (Volta, T4); bfloat16, which needs no loss scaling, with 8.0.
    precision = "float32"
    if capability >= (7, 0):
        precision = "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"
    keras.config.set_dtype_policy(precision)
    names = ", ".join(detail.get("device_name", "GPU") for detail in details)
    return f"{len(found)} GPU(s): {_gpu_memory() or names}; precision {precision}."


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


def gpus() -> int:
    """GPUs that TensorFlow uses; each grows its memory, for whichever model comes first."""
    with contextlib.suppress(RuntimeError):  # already running: growth was set then
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    return len(tf.config.list_logical_devices("GPU"))


@functools.cache
def strategy() -> tf.distribute.Strategy:
    """All GPUs of this machine; made once, since a second one in a process fails."""
    return tf.distribute.MirroredStrategy() if gpus() > 1 else tf.distribute.get_strategy()


def replicas() -> int:
    """Devices that a batch is divided among."""
    return strategy().num_replicas_in_sync


def compiling() -> dict:
    """How Keras puts a training step on the devices, as arguments of `compile`.

    One GPU takes eight steps between two looks of the host, each compiled by XLA as Keras
    does by default. Several take one: a loop of steps ends with "You must feed a value for
    placeholder tensor" under `MirroredStrategy` (keras issue 19246), and the sums over
    devices in batch normalisation cannot be compiled. On a CPU, XLA's convolutions are slow.
    """
    alone = gpus() == 1
    return {"jit_compile": alone, "steps_per_execution": 8 if alone else 1}
