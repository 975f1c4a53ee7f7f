"""Write files whole or not at all, and tell which settings made them."""

import contextlib
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from cxr.errors import InputError


@contextlib.contextmanager
def atomic(path: Path, option: str = "CXR_ROOT") -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success.

    A reader sees the old file or the new one, never a part. On an exception the
    temporary file is removed and `path` stays as it was.

    Args:
        option: what names another place, for the message.

    Raises:
        InputError: if the folder cannot be made or written to.
    """
    path = Path(path)
    # The process number keeps two writers of one file from sharing a temporary one;
    # the ending stays, since some writers (Keras) choose the format by it.
    temporary = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BrokenPipeError:
        # Of another output, whose reader has seen enough: no fault of this file.
        raise
    except OSError as error:
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}); "
            f"free some space, or choose a folder that you may write to with {option}."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what `atomic` left in `folder` when a process was killed.

    Only temporary files by their name, only directly in this folder, and none of a process
    that runs.
    """
    for left in Path(folder).glob(".[0-9]*-*"):
        process, _, name = left.name[1:].partition("-")
        if process.isdecimal() and name and left.is_file() and not _runs(int(process)):
            left.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        # Another user's.
        return True
    return True


@contextlib.contextmanager
def new_folder(folder: Path, option: str) -> Iterator[Path]:
    """Yield a temporary folder beside `folder`; it takes that name on success.

    Args:
        folder: must not exist; its parents are made.
        option: what names another folder, for the message.

    Raises:
        InputError: if it exists, or cannot be written.
    """
    refuse_existing(folder, option)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        unfinished.chmod(0o755)
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}); give another with {option}."
        ) from error
    try:
        yield unfinished
        refuse_existing(folder, option)
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


@contextlib.contextmanager
def alone(path: Path, doing: str) -> Iterator[None]:
    """Hold a file's lock, which ends with the process, however that ends.

    Args:
        path: of the file, made where it is missing.
        doing: what the process that holds it does, for the message.

    Raises:
        InputError: if another process holds it.
        OSError: if the file cannot be written to.
    """
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"another process is {doing} just now; wait for it, or end it."
            ) from None
        except OSError:
            # Some network disks have no locks; what is written there is atomic all the same.
            pass
        yield


def refuse_existing(folder: Path, option: str) -> None:
    """Raise an InputError if there is such a folder: nothing in it is ever overwritten."""
    if folder.exists():
        raise InputError(
            f"{folder} exists already, and nothing is overwritten; remove it, or give another "
            f"with {option}."
        )


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON, atomically; paths become strings."""
    write_text(path, json.dumps(value, indent=2, default=str, allow_nan=False) + "\n")


def read_json(path: Path, remedy: str = "remove it."):
    """Read a JSON artifact.

    Args:
        remedy: what to do about one that cannot be read.

    Raises:
        InputError: if the file is missing or not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable JSON file ({error}); {remedy}") from None


def read_record(path: Path, remedy: str = "remove it.") -> dict:
    """Read a JSON artifact that tells names and values.

    Args:
        remedy: as for `read_json`.

    Raises:
        InputError: if the file is missing, not JSON, or holds something else.
    """
    found = read_json(path, remedy)
    if not isinstance(found, dict):
        raise InputError(f"{path} is a JSON file, but holds no names and values; {remedy}")
    return found


def write_csv(path: Path, frame: pd.DataFrame, **options) -> None:
    """Write `frame` without its index, atomically."""
    with atomic(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n", **options)


def sha256(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(names) -> str:
    """SHA-256 of the sorted names, joined by newlines: one value per set of films."""
    return hashlib.sha256("\n".join(sorted(names)).encode()).hexdigest()


def now() -> str:
    """The time, UTC, as in "2026-11-23T21:36:25+00:00"."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def refuse_other_settings(path: Path, found: dict, wanted: dict, remedy: str) -> None:
    """Compare the settings that made an artifact with those asked for now.

    Args:
        path: of the artifact, for the message.
        found: the settings that made it; may hold more than is asked for.
        wanted: the settings asked for.
        remedy: a sentence that says what to do.

    Raises:
        InputError: naming the artifact and both values of every setting that differs.
    """
    differing = {
        name: (found.get(name), wanted[name]) for name in wanted if found.get(name) != wanted[name]
    }
    if differing:
        changes = "; ".join(
            f"{name} was {old!r}, is now {new!r}" for name, (old, new) in differing.items()
        )
        raise InputError(f"{path} was made with other settings ({changes}). {remedy}")


def commit() -> str:
    """The project's commit, short, with "+" where files have changed; "unknown" outside git."""
    if not shutil.which("git"):
        return "unknown"
    here = Path(__file__).parent
    revision, changes = (
        subprocess.run(["git", *words], cwd=here, capture_output=True, text=True, check=False)
        for words in (("rev-parse", "--short", "HEAD"), ("status", "--porcelain", "-uno"))
    )
    if revision.returncode:
        return "unknown"
    return revision.stdout.strip() + ("+" if changes.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Versions of what decides a result, by package."""
    packages = ["tensorflow", "keras", "numpy", "pandas", "scikit-learn", "pillow", "plotly"]
    if os.environ.get("KERAS_BACKEND") == "jax":
        packages.append("jax")
    return {"python": platform.python_version()} | {
        package: importlib.metadata.version(package) for package in packages
    }
