"""Which process of a training on several machines this is, and a watch over it.

Imports nothing heavy.
"""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

from cxr.errors import InputError

# What every process says when another one has gone.
LOST = (
    "another process of this training has ended, or cannot be reached; its own output says why. "
    "Finished epochs are kept: start all processes again, and training goes on."
)

# Slurm names no port: one that differs from job to job, above the usual services.
_PORTS, _FIRST_PORT = 10_000, 20_000


@dataclasses.dataclass(frozen=True)
class Place:
    """One process among those that train together."""

    # Address and port of process 0, such as "node1:7654".
    coordinator: str
    processes: int
    # From 0.
    process: int

    def arguments(self) -> list[str]:
        """Of `python -m cxr train`, for the process that trains."""
        places = f"--processes={self.processes}", f"--process={self.process}"
        return [f"--coordinator={self.coordinator}", *places, "--member"]


def place(
    coordinator: str | None,
    processes: int | None,
    process: int | None,
    environment: Mapping[str, str],
) -> Place | None:
    """The place of this process, as given, or else as Slurm or Kubernetes tell it.

    Args:
        coordinator, processes, process: as given; None where not.
        environment: of Slurm, SLURM_PROCID, SLURM_NTASKS, SLURM_JOB_ID and the list of nodes
            (the first one's process leads); of an indexed job of Kubernetes,
            JOB_COMPLETION_INDEX, which tells the process only.

    Returns:
        None where nothing asks for several processes.

    Raises:
        InputError: if something is missing or cannot be.
    """
    if coordinator is None and processes is None and process is None:
        # Also `sbatch` without `srun`, and one task alone, are one process; a job's second pod
        # is not.
        tasks = _number(environment, "SLURM_NTASKS") or 1
        stepped = {"SLURM_PROCID", "SLURM_STEP_ID"} <= environment.keys()
        if not (tasks > 1 and stepped) and not _number(environment, "JOB_COMPLETION_INDEX"):
            return None
    slurm = "SLURM_PROCID" in environment
    if process is None:
        process = _number(environment, "SLURM_PROCID" if slurm else "JOB_COMPLETION_INDEX")
    if processes is None and slurm:
        processes = _number(environment, "SLURM_NTASKS") or 1
    if coordinator is None and slurm:
        coordinator = _slurm_coordinator(environment)
    given = {"--coordinator": coordinator, "--processes": processes, "--process": process}
    if processes is not None and processes < 1:
        raise InputError(f"--processes {processes} is none; give 1 or more.")
    missing = [option for option, value in given.items() if value is None]
    if missing or coordinator is None or processes is None or process is None:
        raise InputError(
            f"training in several processes needs {' and '.join(missing)}, too: "
            "--coordinator HOST:PORT --processes N --process K, or Slurm's variables."
        )
    address = re.fullmatch(r"[^\s/]+:(\d{1,5})", coordinator)
    if not address or not 0 < int(address[1]) < 2**16:
        raise InputError(f"--coordinator {coordinator} is not HOST:PORT, such as node1:7654.")
    if not 0 <= process < processes:
        raise InputError(f"--process {process} is not among 0 to {processes - 1} (--processes).")
    return Place(coordinator, processes, process)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    """A scheduler's number; None where it gives none."""
    text = environment.get(name, "")
    if not text:
        return None
    if not re.fullmatch("[0-9]{1,18}", text):
        raise InputError(
            f"the variable {name} is {text!r}, which is no number; unset it, or say "
            "--coordinator HOST:PORT --processes N --process K."
        )
    return int(text)


def _slurm_coordinator(environment: Mapping[str, str]) -> str | None:
    """The first node of a list such as "gpu[007-009,12],r[1-2]n[3-4]", and the job's port."""
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = re.match(r"(?:[^,\[]|\[[^\]]*\])+", nodes)
    if not first:
        return None
    port = _FIRST_PORT + (_number(environment, "SLURM_JOB_ID") or 0) % _PORTS
    # Of each bracket the first number.
    node = re.sub(r"\[(\w+)[^\]]*\]", r"\1", first[0])
    return f"{node}:{port}"


def watched(command: Sequence[str]) -> int:
    """Run a command that trains in a process of its own, and say what ended it.

    JAX ends a process at once when others have gone, without a word that a user would
    understand; so another one has to watch.

    Returns:
        The exit code: 0, or 1 after an error.
    """
    environment = {"KERAS_BACKEND": "jax", **os.environ}
    child = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE)
    # A scheduler's word to end is for the child.
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    try:
        code = child.wait()
    except KeyboardInterrupt:
        # The child heard it, too.
        child.wait()
        raise
    if code < 0:
        lost = LOST if code == -signal.SIGABRT else f"the training was ended by signal {-code}."
        print(f"cxr: {lost}", file=sys.stderr)
    return min(abs(code), 1)


def end_with_parent() -> None:
    """End this process when the one that watches over it is gone: its pipe closes then."""

    def wait() -> None:
        # Not through `sys.stdin`, which Python could not close at its end.
        os.read(0, 1)
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
