"""One of several processes that train a toy model together; see `test_hosts.py`.

    python several.py <folder> <options as JSON> [--member]

Without `--member` it only watches over the one that trains, as `python -m cxr train` does.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd

from cxr.modelling import launch

DEFAULTS = {
    "coordinator": "127.0.0.1:7654",
    "processes": 2,
    "process": 0,
    # Parts that the films are in; None: one a process.
    "parts": None,
    # Epoch and step, from 0, after which this process dies.
    "dies": None,
    "train_films": 61,
    "settings": {},
}


def train(folder: Path, options: dict) -> None:
    import test_training as toy

    from cxr.modelling import hosts, training
    from cxr.modelling.tensors import keras

    frame = pd.read_csv(folder.parent / "films.csv")
    paths = {film: folder.parent / "films" / film for film in frame["film"]}
    count = options["train_films"]
    if options["parts"]:
        training._parts = lambda films, found: options["parts"]
    watch_films(folder / f"seen-{options['process']}.csv")

    class Death(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.epoch = epoch

        def on_train_batch_end(self, batch, logs=None):
            if [self.epoch, batch] == options["dies"]:
                os.kill(os.getpid(), signal.SIGKILL)

    fit = keras.Model.fit
    keras.Model.fit = lambda self, *data, callbacks=(), **given: fit(
        self, *data, callbacks=[*callbacks, Death()], **given
    )
    place = launch.Place(*(options[name] for name in ("coordinator", "processes", "process")))
    with hosts.explained():
        if place.processes > 1:
            hosts.join(place)
        splits = {"train": frame[:count], "validation": frame[61:]}
        toy.train(folder, (splits, paths), **options["settings"])
        hosts.told(b"")


def watch_films(log: Path) -> None:
    """Write down each film that counts in training: its epoch and its name."""
    from cxr.films import film_cache
    from cxr.modelling import pipeline

    taken, take, read_ahead = {}, film_cache.Store.take, pipeline.read_ahead

    def watched_take(self, rows):
        taken["films"] = [self.films[row] for row in rows]
        return take(self, rows)

    def watched(load, parts):
        # Keras asks for an iterator more than it uses: an epoch begins with its first batch.
        order = load.__closure__[load.__code__.co_freevars.index("order")].cell_contents

        def watched_load(part):
            batch, epoch = load(part), order.epoch
            with log.open("a") as file:
                for film, weight in zip(taken["films"], batch[2], strict=True):
                    if weight:
                        file.write(f"{epoch},{film}\n")
            return batch

        return read_ahead(watched_load, parts)

    film_cache.Store.take, pipeline.read_ahead = watched_take, watched


if __name__ == "__main__":
    if sys.argv[-1] == "--member":
        launch.end_with_parent()
        train(Path(sys.argv[1]), DEFAULTS | json.loads(sys.argv[2]))
    else:
        sys.exit(launch.watched([sys.executable, *sys.argv, "--member"]))
