"""Validation after each epoch: the best model, and all that a resumption needs."""

import contextlib
import io
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.evaluation import ranking
from cxr.films import film_cache
from cxr.findings import FINDINGS
from cxr.modelling import hosts, inference
from cxr.modelling.tensors import keras

# A better model, until the checkpoint that knows its checksum is written.
_NEXT = "next.keras"

# Outlives a closed browser.
_LOG = "training.log"

# Training stops when the validation AUROC has not risen for so many epochs.
PATIENCE = 6


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep a second process from making the same run meanwhile.

    The lock, on the run's log, ends with the process, however that ends.

    Raises:
        InputError: if another process has it.
    """
    with contextlib.ExitStack() as held:
        # Where nothing can be written, what writes says so.
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            held.enter_context(artifacts.alone(folder / _LOG, f"making the run {folder}"))
        yield


class Keeper(keras.callbacks.Callback):
    """Validates each epoch, keeps the best model, and writes all that a resumption needs."""

    def __init__(
        self,
        folder: Path,
        store: film_cache.Store,
        validation: pd.DataFrame,
        *,
        frozen: int = 0,
    ):
        """`frozen`: epochs in which only the head learns, which do not count for patience."""
        super().__init__()
        self._folder, self._store, self._validation = folder, store, validation
        self._frozen = frozen
        self._targets = validation[list(FINDINGS)].to_numpy()
        self.history: list[dict] = []
        self.best, self.best_epoch = math.nan, 0
        self._checksum = ""
        self.seconds = self.training_seconds = 0.0

    def set_model(self, model: keras.Model) -> None:
        """Called by Keras before training: `model` is a `training.Trainee`."""
        super().set_model(model)
        self._score = inference.scorer(model.network)

    def exhausted(self) -> bool:
        """Whether the validation AUROC has not risen for `PATIENCE` epochs."""
        return bool(self.best_epoch) and (
            len(self.history) - max(self.best_epoch, self._frozen) >= PATIENCE
        )

    def restore(self, trainee: keras.Model) -> int:
        """Load the last checkpoint, if there is one; returns the epoch to go on with.

        Raises:
            InputError: if it cannot be read, or the best model is not the one that it knows.
        """
        path = self._folder / "checkpoint.npz"
        kept = hosts.told(path.read_bytes() if hosts.leads() and path.exists() else None)
        if kept is None:
            return 0
        try:
            with np.load(io.BytesIO(kept), allow_pickle=False) as saved:
                state = json.loads(str(saved["state"]))
                variables = _variables(trainee)
                arrays = {name: saved[name] for name in saved.files if name != "state"}
                shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
                if {name: array.shape for name, array in arrays.items()} != shapes:
                    raise ValueError("it belongs to another network")
                for name, variable in variables.items():
                    variable.assign(arrays[name])
            self.history, self.best = list(state["history"]), float(state["best"])
            self.best_epoch, self.seconds = int(state["best_epoch"]), float(state["seconds"])
            self.training_seconds = float(state["training_seconds"])
            # Checkpoints from before it was kept have none.
            self._checksum = str(state.get("model_checksum", ""))
        except Exception as error:
            # A damaged file fails in as many ways as there are places in it.
            raise InputError(
                f"{path} cannot be read ({error}); remove it and run again: training starts over."
            ) from error
        if hosts.leads():
            self._verify_best()
        return len(self.history)

    def _verify_best(self) -> None:
        """Refuse another model than the checkpoint's, after ending what a kill left half done."""
        best, coming = self._folder / "model.keras", self._folder / _NEXT
        if coming.exists():
            if artifacts.sha256(coming) == self._checksum:
                coming.replace(best)
            else:
                # Of an epoch that comes again.
                coming.unlink()
        anew = f"remove the folder {self._folder} and run again: training starts over."
        if not best.exists():
            raise InputError(
                f"{self._folder} holds a checkpoint but no longer the best model, model.keras; "
                f"{anew}"
            )
        if self._checksum not in ("", artifacts.sha256(best)):
            raise InputError(f"{best} is not the file that the training wrote; {anew}")

    def on_epoch_begin(self, epoch, logs=None):
        self._began = time.monotonic()
        # Before the step count moves on: the rate that the epoch starts with.
        self._rate = float(self.model.optimizer.learning_rate)

    def on_epoch_end(self, epoch, logs=None):
        trained = time.monotonic()
        with self.model.judged():
            scores = self._score(self._store, self._validation)
        probabilities = scores[list(FINDINGS)].to_numpy()
        by_finding = ranking.auroc(self._targets, probabilities)
        mean = float(np.nanmean(by_finding)) if np.isfinite(by_finding).any() else math.nan
        logs["val_auroc"] = mean
        logs["val_loss"] = _cross_entropy(self._targets, probabilities)
        logs["learning_rate"] = self._rate
        if risen := math.isnan(mean) or not self.best_epoch or mean > self.best:
            # Without any estimable finding there is nothing to choose by: the last one stays.
            self.best, self.best_epoch = mean, epoch + 1
            with self.model.judged():
                if hosts.leads():
                    with artifacts.atomic(self._folder / _NEXT) as temporary:
                        self.model.network.save(temporary)
                    self._checksum = artifacts.sha256(self._folder / _NEXT)
        self.training_seconds += trained - self._began
        self.seconds += time.monotonic() - self._began
        self.history.append(
            {
                "epoch": epoch + 1,
                "loss": logs["loss"],
                "val_loss": logs["val_loss"],
                "val_auroc": mean,
                "learning_rate": self._rate,
                "seconds": trained - self._began,
            }
            | {f"val_auroc_{f}": float(a) for f, a in zip(FINDINGS, by_finding, strict=True)}
        )
        if hosts.leads():
            self._save()
            if risen:
                # Not before the checkpoint knows it: a kill in between leaves both in step.
                (self._folder / _NEXT).replace(self._folder / "model.keras")
            self._log(logs)
        if self.exhausted():
            self.model.stop_training = True

    def _save(self) -> None:
        """One file for the whole state, so that no two parts of it can disagree."""
        state = {
            "history": self.history,
            "best": self.best,
            "best_epoch": self.best_epoch,
            "model_checksum": self._checksum,
            "seconds": self.seconds,
            "training_seconds": self.training_seconds,
        }
        arrays = {
            name: keras.ops.convert_to_numpy(variable)
            for name, variable in _variables(self.model).items()
        }
        with artifacts.atomic(self._folder / "checkpoint.npz") as temporary:
            np.savez(temporary, state=np.array(json.dumps(state)), **arrays)
        artifacts.write_csv(self._folder / "history.csv", pd.DataFrame(self.history))

    def _log(self, logs: dict) -> None:
        """Append a line to the log, which outlives a closed browser."""
        line = (
            f"{artifacts.now()}  epoch {len(self.history)}  loss {logs['loss']:.4f}  "
            f"val_loss {logs['val_loss']:.4f}  val_auroc {logs['val_auroc']:.4f}\n"
        )
        # A log that cannot be written is no reason to stop: `history.csv` has the same.
        with (
            contextlib.suppress(OSError),
            (self._folder / _LOG).open("a", encoding="utf-8") as file,
        ):
            file.write(line)


def _variables(trainee: keras.Model) -> dict[str, keras.Variable]:
    """Everything that changes in training: weights, statistics, random states, optimizer."""
    everything = [*trainee.variables, *trainee.optimizer.variables]
    return {f"{number:04d}": variable for number, variable in enumerate(everything)}


def _cross_entropy(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean binary cross-entropy over films and findings; NaN without films."""
    if not len(targets):
        return math.nan
    clipped = np.clip(probabilities.astype(np.float64), 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(targets, np.log(clipped), np.log1p(-clipped))))
