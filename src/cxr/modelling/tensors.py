"""TensorFlow, Keras and JAX, imported without TensorFlow's start-up chatter.

Keras computes with TensorFlow, or with JAX where KERAS_BACKEND asks for it; then TensorFlow
only hands the films on.

TensorFlow's libraries write about CPU features and absent CUDA drivers to standard error
before any setting could stop them, which would stand in every notebook. What matters of
it, whether there is a GPU, `devices.preflight` says.
"""

import contextlib
import importlib.util
import os
import sys
import tempfile
from typing import Any

from cxr.errors import InputError

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

BACKEND = os.environ.setdefault("KERAS_BACKEND", "tensorflow")

if BACKEND not in ("tensorflow", "jax"):
    raise InputError(f"KERAS_BACKEND={BACKEND} is not supported; set tensorflow or jax.")
if BACKEND == "jax":
    if importlib.util.find_spec("jax") is None:
        raise InputError(
            "KERAS_BACKEND=jax, but JAX is not installed; run `make jax` (`make jax CUDA=1` on a "
            "machine with an NVIDIA GPU), or unset KERAS_BACKEND."
        )
    # As TensorFlow is told in `devices`: the same on every run, and memory as it is needed.
    if "xla_gpu_deterministic_ops" not in (flags := os.environ.get("XLA_FLAGS", "")):
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true"
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")


@contextlib.contextmanager
def _quiet():
    """Hold back what is written to the process's standard error; show it after a failure."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as sink:
        os.dup2(sink.fileno(), 2)
        try:
            yield
        except BaseException:
            sink.seek(0)
            os.write(kept, sink.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


# The module where it is the backend, else None.
jax: Any = None

with _quiet():
    import keras
    import tensorflow as tf

    if BACKEND == "jax":
        import jax
        import jax.experimental.multihost_utils

        # The GPUs are JAX's.
        tf.config.set_visible_devices([], "GPU")

    # The first look at the devices is the last to be commented on.
    tf.config.list_physical_devices("GPU")
# TensorFlow warns of retracing where several networks are scored one after the other.
tf.get_logger().setLevel("ERROR")


def compiled(function):
    """`function` of tensors, compiled by XLA where TensorFlow runs it; JAX compiles the whole."""
    if jax:
        return function
    return tf.function(function, jit_compile=True)


__all__ = ["BACKEND", "compiled", "jax", "keras", "tf"]
