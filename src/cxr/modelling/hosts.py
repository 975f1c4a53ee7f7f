"""Several processes that train one model together: joined, and told the same; by JAX.

A process alone, on either backend, is process 0 of one: then all functions return what they
were given.
"""

import json
import os
import socket
import sys
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn, TypeVar

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.modelling.launch import LOST, Place
from cxr.modelling.tensors import jax

# A process that has not been heard of for so long counts as dead. JAX's own 100 s would let
# the others wait for longer than a minute.
SILENCE = 20

# Processes may start so far apart, as schedulers let them.
ASSEMBLY = 600

_Rows = TypeVar("_Rows", pd.DataFrame, np.ndarray)


def join(place: Place) -> None:
    """Meet the other processes of a training; before anything else is asked of JAX.

    Raises:
        InputError: if the backend is another one, or not all come.
    """
    if not jax:
        raise InputError(
            "several processes train together on JAX only; set KERAS_BACKEND=jax, or leave it out."
        )
    if place.process == 0:
        _refuse_taken_port(place.coordinator)
    # Its service would catch SIGTERM, so that no scheduler could end a training.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        jax.distributed.initialize(
            place.coordinator,
            place.processes,
            place.process,
            # A process uses all GPUs that it sees: a scheduler that wants it otherwise hides some.
            cluster_detection_method="deactivate",
            heartbeat_timeout_seconds=SILENCE,
            initialization_timeout=ASSEMBLY,
        )
    except (RuntimeError, ValueError) as error:
        raise InputError(
            f"process {place.process} of {place.processes} did not meet the others at "
            f"{place.coordinator} ({str(error).splitlines()[0]}); start all of them, with the "
            "address of process 0, which the others must be able to reach."
        ) from error
    # Connections are made at the first exchange, which waits for 30 s only: now all are here.
    gathered(np.zeros((1, 1)), count())


def _refuse_taken_port(coordinator: str) -> None:
    """JAX would crash without a word."""
    port = int(coordinator.rpartition(":")[2])
    with socket.socket() as probe:
        # Not to wait for what an earlier training's connections left behind.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            raise InputError(
                f"process 0 cannot listen on port {port} of this machine ({error.strerror}); name "
                "another one to all processes: --coordinator HOST:PORT."
            ) from None


def _others():
    """JAX's exchange between processes, or None where there is but one."""
    return jax.experimental.multihost_utils if count() > 1 else None


def count() -> int:
    """Processes that train together."""
    return jax.process_count() if jax else 1


def number() -> int:
    """Which of them this one is, from 0."""
    return jax.process_index() if jax else 0


def leads() -> bool:
    """Whether this process, the first, writes what is kept."""
    return number() == 0


def own(rows: _Rows) -> _Rows:
    """Of rows that all processes have, those that this one works on: every n-th."""
    return rows[number() :: count()]


def gathered(own_rows: np.ndarray, total: int) -> np.ndarray:
    """What all processes made of their `own` rows, `total` of them, in order, on every one."""
    if not (others := _others()):
        return own_rows
    most = -(-total // count())
    filled = np.zeros((most, *own_rows.shape[1:]), own_rows.dtype)
    filled[: len(own_rows)] = own_rows
    everyones = np.asarray(others.process_allgather(filled))
    return np.swapaxes(everyones, 0, 1).reshape(-1, *own_rows.shape[1:])[:total]


def told(data: bytes | None) -> bytes | None:
    """What process 0 says, on every process; what the others say counts for nothing."""
    if not (others := _others()):
        return data
    length = int(others.broadcast_one_to_all(np.array(-1 if data is None else len(data))))
    if length < 0:
        return None
    said = np.frombuffer(data, np.uint8) if data and leads() else np.zeros(length, np.uint8)
    return np.asarray(others.broadcast_one_to_all(said)).tobytes()


def told_record(record: Mapping | None) -> dict | None:
    """As `told`, of what JSON can hold."""
    if not _others():
        return None if record is None else dict(record)
    said = told(json.dumps(record, default=str).encode() if leads() and record else None)
    return None if said is None else json.loads(said)


@contextmanager
def told_file(path: Path) -> Iterator[Path]:
    """Process 0's file: there itself, elsewhere a copy for as long as the block runs."""
    data = told(path.read_bytes() if leads() else None)
    if leads():
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / path.name
        copy.write_bytes(data or b"")
        yield copy


def agree(settings: Mapping) -> None:
    """Refuse a process that was told to do something else than process 0.

    Raises:
        InputError: naming every setting that differs, on each process that differs.
    """
    wanted = told_record(settings) or {}
    # As they come out of JSON, like the other side.
    found = json.loads(json.dumps(settings, default=str))
    differing = [
        f"{name} is {found.get(name)!r} here and {value!r} there"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
    if differing:
        raise InputError(
            f"process {number()} was started with other settings than process 0 "
            f"({'; '.join(differing)}); start all with the same films, settings and code."
        )


@contextmanager
def explained() -> Iterator[None]:
    """Say what it means when the others can no longer be reached, and end at once.

    Leaving Python the usual way would wait for them.
    """
    try:
        yield
    except InputError as error:
        _end(str(error))
    except KeyboardInterrupt:
        _end("interrupted; start all processes again to go on.")
    except Exception as error:
        # Of JAX's errors only the text tells the kind.
        if not any(word in str(error) for word in ("Gloo", "NCCL", "UNAVAILABLE")):
            traceback.print_exc()
            _end("this process failed, and the training with it.")
        print(error, file=sys.stderr)
        _end(LOST)


def _end(message: str) -> NoReturn:
    print(f"cxr: {message}", file=sys.stderr, flush=True)
    sys.stdout.flush()
    os._exit(1)
