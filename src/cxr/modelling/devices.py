"""GPUs and CPUs: found, described and prepared, and how training is spread over them."""

import contextlib
import functools
import os
import shutil
import subprocess

import numpy as np

from cxr.config import NEEDS_GPU, Config
from cxr.errors import InputError
from cxr.modelling import hosts, models
from cxr.modelling.tensors import jax, keras, tf

_LIBRARY = "JAX" if jax else "TensorFlow"


def preflight(config: Config) -> str:
    """Prepare the devices and describe them in one sentence; call before any model is built.

    Sets memory growth (one open notebook does not starve the next), mixed precision on
    GPUs that have it, the seeds, and deterministic operations.

    Raises:
        InputError: if the profile needs a GPU and there is none.
    """
    models.check(config.models, config.weights)
    keras.utils.set_random_seed(config.seed)
    if jax:
        _spread_by_jax()
    else:
        # Same seed, same device, same result; costs some speed on GPUs.
        tf.config.experimental.enable_op_determinism()
    found = _capabilities()
    if not found:
        hint = _idle_gpu()
        if config.profile in NEEDS_GPU and not config.allow_cpu:
            raise InputError(
                f"profile '{config.profile}' expects a GPU and {_LIBRARY} finds none. "
                + (hint or "Run it on a GPU machine, or set CXR_ALLOW_CPU=1 to take days on a CPU.")
            )
        keras.config.set_dtype_policy("float32")
        told = f"No GPU: training on {os.cpu_count()} CPU cores in float32. {hint}".strip()
        return told + _others()
    gpus()
    capability = min(capability for _, capability in found)
    # Tensor cores came with 7.0 (Volta, T4); bfloat16, which needs no loss scaling, with 8.0.
    precision = "float32"
    if capability >= (7, 0):
        precision = "mixed_bfloat16" if capability >= (8, 0) else "mixed_float16"
    keras.config.set_dtype_policy(precision)
    names = ", ".join(name for name, _ in found)
    return f"{len(found)} GPU(s): {_gpu_memory() or names}; precision {precision}." + _others()


def _others() -> str:
    """What is told of JAX and of other processes; nothing on TensorFlow."""
    if not jax:
        return ""
    among = f", process {hosts.number()} of {hosts.count()}" if hosts.count() > 1 else ""
    return f" Backend: JAX {jax.__version__}{among}."


def _capabilities() -> list[tuple[str, tuple[int, int]]]:
    """Name and compute capability of each GPU of this machine."""
    if jax:
        numbers = [(gpu, str(gpu.compute_capability).split(".")) for gpu in _jax_gpus()]
        return [(gpu.device_kind, (int(major), int(minor))) for gpu, (major, minor) in numbers]
    found = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
    return [
        (detail.get("device_name", "GPU"), detail.get("compute_capability", (0, 0)))
        for detail in details
    ]


def _jax_gpus() -> list:
    return [device for device in jax.local_devices() if device.platform == "gpu"]


def _gpu_memory() -> str:
    """GPU names and memory as the driver tells them; empty without a driver."""
    if not shutil.which("nvidia-smi"):
        return ""
    query = ["nvidia-smi", "--query-gpu=name,memory.total", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return "; ".join(answer.stdout.split("\n")).strip("; ") if answer.returncode == 0 else ""


def _idle_gpu() -> str:
    """A hint for a machine whose GPU the backend cannot use."""
    names = _gpu_memory()
    if not names:
        return ""
    if jax:
        return f"The driver lists {names}: install JAX's CUDA libraries with `make jax CUDA=1`."
    return f"The driver lists {names}: install TensorFlow's CUDA libraries with `make run CUDA=1`."


def gpus() -> int:
    """GPUs that are used; TensorFlow's grow their memory, for whichever model comes first."""
    if jax:
        return len(_jax_gpus())
    with contextlib.suppress(RuntimeError):  # already running: growth was set then
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
    return len(tf.config.list_logical_devices("GPU"))


def names() -> list[str]:
    """The devices that a training uses, on all machines."""
    if jax:
        return [str(device) for device in jax.devices()]
    return [device.name for device in tf.config.list_logical_devices()]


def peak_memory() -> int:
    """Bytes that the fullest GPU had in use at most; 0 without a GPU."""
    if jax:
        peaks = [gpu.memory_stats()["peak_bytes_in_use"] for gpu in _jax_gpus()]
    else:
        found = tf.config.list_logical_devices("GPU")
        info = tf.config.experimental.get_memory_info
        # TensorFlow lists "/device:GPU:0", and is asked for "GPU:0".
        peaks = [info(gpu.name.rpartition("device:")[2])["peak"] for gpu in found]
    return max(peaks, default=0)


@functools.cache
def strategy() -> tf.distribute.Strategy:
    """TensorFlow's GPUs of this machine; made once, since a second one in a process fails."""
    return tf.distribute.MirroredStrategy() if gpus() > 1 else tf.distribute.get_strategy()


def _spread_by_jax() -> None:
    """Spread what is built from now on over all devices, also those of other machines."""
    if jax.device_count() > 1:
        # Each process hands in its own share of a batch.
        spread = keras.distribution.DataParallel(auto_shard_dataset=False)
        keras.distribution.set_distribution(spread)


def scope():
    """Where a network is built to be trained: on all devices."""
    # JAX's were told to Keras once and for all.
    return contextlib.nullcontext() if jax else strategy().scope()


@contextlib.contextmanager
def own_scope():
    """Where a network is built to answer: on the devices of this machine."""
    if not jax:
        with strategy().scope():
            yield
        return
    spread = keras.distribution.distribution()
    if hosts.count() > 1:
        keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(spread)


def replicas() -> int:
    """Devices of this process that a batch is divided among."""
    return jax.local_device_count() if jax else strategy().num_replicas_in_sync


def compiling() -> dict:
    """How Keras puts a training step on the devices, as arguments of `compile`.

    JAX compiles every step, and hands it over without waiting for the last one.

    On TensorFlow, one GPU takes eight steps between two looks of the host. Several take one: a
    loop of steps ends with "You must feed a value for placeholder tensor" under
    `MirroredStrategy` (keras issue 19246). XLA compiles none: Keras 3.15 turns it off where
    operations are deterministic (`model_supports_jit`), as `preflight` asks for, and warns of
    every network that was to be compiled all the same.
    """
    if jax:
        return {"jit_compile": True, "steps_per_execution": 1}
    return {"jit_compile": False, "steps_per_execution": 8 if gpus() == 1 else 1}


@functools.cache
def _own_places() -> tuple:
    """JAX's devices of this process: to divide a batch among, to have all of a value each."""
    mesh = jax.sharding.Mesh(np.array(jax.local_devices()), ("batch",))
    divided, whole = (jax.sharding.PartitionSpec(*axes) for axes in (("batch",), ()))
    return jax.sharding.NamedSharding(mesh, divided), jax.sharding.NamedSharding(mesh, whole)


def on_own(films: np.ndarray):
    """A batch, divided among JAX's devices of this process; of as many films or a multiple."""
    return jax.device_put(films, _own_places()[0])


def own_values(network: keras.Model) -> list[list]:
    """A network's values, trainable and others, on JAX's devices of this process alone.

    What several processes train together is known to each, but computing with it would need
    all of them.
    """
    whole = _own_places()[1]

    def own(value):
        if value.is_fully_addressable:
            return jax.device_put(value, whole)
        parts = [part.data for part in value.addressable_shards]
        return jax.make_array_from_single_device_arrays(value.shape, whole, parts)

    kinds = network.trainable_variables, network.non_trainable_variables
    return [[own(variable.value) for variable in kind] for kind in kinds]
