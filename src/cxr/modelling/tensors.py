"""TensorFlow and Keras, imported without TensorFlow's start-up chatter.

TensorFlow's libraries write about CPU features and absent CUDA drivers to standard error
before any setting could stop them, which would stand in every notebook. What matters of
it, whether there is a GPU, `devices.preflight` says.
"""

import contextlib
import os
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


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


with _quiet():
    import keras
    import tensorflow as tf

    # The first look at the devices is the last to be commented on.
    tf.config.list_physical_devices("GPU")
# TensorFlow warns of retracing where several networks are scored one after the other.
tf.get_logger().setLevel("ERROR")


def compiled(function):
    """`function` of tensors, compiled by XLA where TensorFlow runs it; JAX compiles the whole."""
    if keras.backend.backend() != "tensorflow":
        return function
    return tf.function(function, jit_compile=True)


__all__ = ["compiled", "keras", "tf"]
