"""JAX against TensorFlow in one process, and two processes against one on the same cores.

    python benchmarks/backends.py [models]     # half an hour on two cores

Needs JAX (`make jax`). The films are noise of 128 px, in batches of 32; every measurement
runs in a process of its own, both sides in turn, and quoted are medians.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time

import numpy as np

SIZE, BATCH, STEPS, ROUNDS = 128, 32, 12, 3
MODELS = ("baseline", "residual", "mobilenet_small")


def measure(options: dict) -> dict:
    """Seconds until the first step is done, and films a second in training and in scoring.

    Args:
        options: "model"; "processes", "process" and "coordinator" where there are several.
    """
    from cxr.config import load_config
    from cxr.findings import FINDINGS
    from cxr.modelling import (
        devices,
        hosts,
        inference,
        launch,
        models,
        pipeline,
        rehearsal,
        training,
    )

    place = launch.Place(*(options[name] for name in ("coordinator", "processes", "process")))
    if place.processes > 1:
        hosts.join(place)
    config = load_config({}, profile="first_archive", image_size=SIZE, batch_size=BATCH)
    devices.preflight(config)
    entry = models.registered(options["model"])
    settings = {"model": options["model"], "image_size": SIZE}
    settings |= {"learning_rate": entry.learning_rate, "parts": place.processes}
    store, frame = rehearsal._made_up(STEPS * BATCH, config)
    order = pipeline.Order(len(frame), 0, parts=place.processes, mine=(place.process,))

    def batches(films: int):
        return pipeline.batches(
            store,
            np.arange(len(frame))[:films],
            frame[list(FINDINGS)].to_numpy()[:films],
            batch_size=BATCH,
            order=pipeline.dataclasses.replace(order, films=films),
            replicas=devices.replicas(),
        )

    began = time.monotonic()
    trainee = training.compiled_trainee(settings, entry.recipe, weights="none", steps=STEPS)
    trainee.fit(batches(BATCH), verbose=0, shuffle=False)
    compiled = time.monotonic()
    trainee.fit(batches(len(frame)), verbose=0, shuffle=False)
    trained = time.monotonic()
    score = inference.scorer(trainee.network)
    score(store, frame)
    warm = time.monotonic()
    score(store, frame)
    scored = time.monotonic()
    hosts.told(b"")
    return {
        "first step": compiled - began,
        "training": len(frame) / (trained - compiled),
        "scoring": len(frame) / (scored - warm),
    }


def run(backend: str, model: str, processes: int = 1) -> dict:
    """What process 0 measured, of so many that share the cores of this one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        coordinator = f"127.0.0.1:{probe.getsockname()[1]}"
    cores = sorted(os.sched_getaffinity(0))
    children = []
    for process in range(processes):
        options = {"model": model, "coordinator": coordinator}
        options |= {"processes": processes, "process": process}
        share = cores[process::processes]
        children.append(
            subprocess.Popen(
                [sys.executable, "-W", "ignore", __file__, json.dumps(options)],
                env=os.environ | {"KERAS_BACKEND": backend},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda share=share: os.sched_setaffinity(0, share),
            )
        )
    answers = [child.communicate() for child in children]
    for child, (_, said) in zip(children, answers, strict=True):
        if child.returncode:
            raise SystemExit(f"{backend}, {model} failed:\n{said}")
    return json.loads(answers[0][0].splitlines()[-1])


def compare(title: str, sides: dict[str, tuple], model: str) -> None:
    """Both sides in turn; a line for each measure: medians, and the second over the first."""
    names = list(sides)
    rounds = [{name: run(*sides[name]) for name in names} for _ in range(ROUNDS)]
    for measure, unit in (("first step", "s"), ("training", "films/s"), ("scoring", "films/s")):
        pairs = [[one[name][measure] for name in names] for one in rounds]
        first, second = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratios = sorted(b / a for a, b in pairs)
        print(
            f"{model:<16}{title + ', ' + measure:<28}{first:>9,.1f}{second:>9,.1f} {unit:<8}"
            f"{statistics.median(ratios):>6.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f})",
            flush=True,
        )


def main(models: list[str]) -> None:
    print(f"{os.cpu_count()} cores, {SIZE} px, batches of {BATCH}, {ROUNDS} rounds, medians")
    print(f"{'':<44}{'first':>9}{'second':>9} {'':<8}{'ratio':>6}")
    for model in models:
        sides = {"tensorflow": ("tensorflow", model), "jax": ("jax", model)}
        compare("TensorFlow, JAX", sides, model)
    for model in models:
        sides = {"one": ("jax", model, 1), "two": ("jax", model, 2)}
        compare("one process, two", sides, model)


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):
        print(json.dumps(measure(json.loads(sys.argv[1]))))
    else:
        main(sys.argv[1:] or list(MODELS))
