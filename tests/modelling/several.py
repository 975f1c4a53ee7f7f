"""One of several processes that train a toy model together; see `test_hosts.py`.

    python several.py <folder> <options as JSON> [--member]

Without `--member` it only watches over the one that trains, as `python -m cxr train` does.
"""

import json
import os
import signal
import sys
import threading
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
    # A network that JAX compiles in seconds, `test_training.tiny`, in place of the model.
    "tiny": False,
    # Epochs without a gain after which training ends; None: as many as ever.
    "patience": None,
    "settings": {},
}


def train(folder: Path, options: dict) -> None:
    import test_training as toy

    from cxr.modelling import checkpoint, hosts, models, training

    frame = pd.read_csv(folder.parent / "films.csv")
    paths = {film: folder.parent / "films" / film for film in frame["film"]}
    if options["tiny"]:
        models.build = toy.tiny
    if options["patience"]:
        checkpoint.PATIENCE = options["patience"]
    if options["parts"]:
        training._parts = lambda films, found: options["parts"]
    watch_films(folder / f"seen-{options['process']}.csv", options["dies"])
    place = launch.Place(*(options[name] for name in ("coordinator", "processes", "process")))
    with hosts.explained():
        if place.processes > 1:
            hosts.join(place)
        splits = {"train": frame[:61], "validation": frame[61:]}
        toy.train(folder, (splits, paths), **options["settings"])
        hosts.told(b"")


def watch_films(log: Path, dies: list[int] | None) -> None:
    """Write down each film that counts in training, with its epoch; die where told to."""
    from cxr.films import film_cache
    from cxr.modelling import pipeline
    from cxr.modelling.tensors import keras

    last, take, read_ahead = threading.local(), film_cache.Store.take, pipeline.read_ahead
    # Keras looks at a first batch before any epoch begins.
    epoch: list[int] = []

    def watched_take(self, rows):
        last.films = [self.films[row] for row in rows]
        return take(self, rows)

    def watched(load, parts):
        for batch, films in read_ahead(lambda part: (load(part), last.films), parts):
            with log.open("a") as file:
                for film, weight in zip(films, batch[2], strict=True):
                    if weight and epoch:
                        file.write(f"{epoch[-1]},{film}\n")
            yield batch

    class Watch(keras.callbacks.Callback):
        def on_epoch_begin(self, number, logs=None):
            epoch.append(number)

        def on_train_batch_end(self, batch, logs=None):
            if [epoch[-1], batch] == dies:
                os.kill(os.getpid(), signal.SIGKILL)

    fit = keras.Model.fit
    keras.Model.fit = lambda self, *data, callbacks=(), **given: fit(
        self, *data, callbacks=[*callbacks, Watch()], **given
    )
    film_cache.Store.take, pipeline.read_ahead = watched_take, watched


if __name__ == "__main__":
    if sys.argv[-1] == "--member":
        launch.end_with_parent()
        train(Path(sys.argv[1]), DEFAULTS | json.loads(sys.argv[2]))
    else:
        sys.exit(launch.watched([sys.executable, *sys.argv, "--member"]))
