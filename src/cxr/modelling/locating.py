"""Where lung opacities lie: learned from the boxes that radiologists drew.

A network that learned labels was never told where anything lies, and maps made of it after
the fact hardly find it (`benchmarks/README.md`, "Heatmaps"). Where there are boxes, it can be
told: each cell of its last maps is asked, by one logistic regression, whether it lies in one.
Patches with boxes are taught so by Li et al. (CVPR 2018); here the network stays as it is, so
no score changes.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import optimize, special

from cxr.evaluation import localisation
from cxr.modelling import explain, inference
from cxr.modelling.tensors import keras
from cxr.records import nih, rsna

# The map has at least so many rows: cells of a tenth of the film, half a usual box.
FEWEST_ROWS = 10

# Of the squared weights, against the sum over cells, features having a standard deviation
# of 1; and of the squared differences between places. Chosen on boxes of training patients
# (`benchmarks/accuracy/heatmaps.py`).
PENALTY, PLACE_PENALTY = 3_000.0, 10.0

# Films to learn from: some 200 kB each while learning, for a small network.
MOST_FILMS = 2_000

# Fewer patients with boxes teach nothing that would hold on others.
FEWEST_PATIENTS = 20

# Films in one step.
BATCH = 32


@dataclasses.dataclass(frozen=True, eq=False)
class Locator:
    """One question asked of every cell of a network's map.

    Attributes:
        network: takes films (n, size, size, 1).
        weight: float32 (channels,), of the features in a cell.
        place: float32 (rows, columns), what is known before the film is seen.
    """

    network: keras.Model
    weight: np.ndarray
    place: np.ndarray

    def maps(self, pictures: np.ndarray) -> np.ndarray:
        """How likely each cell lies in a box around an opacity.

        Args:
            pictures: uint8 (films, size, size, 1).

        Returns:
            float32 (films, rows, columns), 0 to 1.
        """
        return special.expit(features(self.network, pictures) @ self.weight + self.place)

    def locate(
        self, cases: Sequence[localisation.Case], paths: Mapping[str, Path]
    ) -> list[localisation.Prediction]:
        """Where the opacity of each case lies: point and boxes of its map.

        Args:
            paths: film name -> file.
        """
        size = self.network.input_shape[1]
        pictures = explain.read_films([case.film for case in cases], paths, size)
        return [localisation.from_heatmap(one) for one in self.maps(pictures)]


def fit(
    network: keras.Model,
    readings: rsna.Readings,
    train: pd.DataFrame,
    paths: Mapping[str, Path],
    *,
    seed: int,
) -> Locator | None:
    """Learn from radiologists' readings of training films.

    Args:
        readings: as `rsna.read_readings` returns them.
        train: films that the network was trained on; needs `film` and `patient_id`.
        paths: film name -> file; films that are not there take no part.
        seed: decides which films are taken where there are more than `MOST_FILMS`.

    Returns:
        None where fewer than `FEWEST_PATIENTS` patients have a box.
    """
    read = train[train["film"].isin(readings.films["film"]) & train["film"].isin(paths.keys())]
    boxed = {case.film: case.boxes for case in localisation.opacity_cases(readings, read)}
    if read.loc[read["film"].isin(boxed.keys()), "patient_id"].nunique() < FEWEST_PATIENTS:
        return None
    if len(read) > MOST_FILMS:
        # Half of them with a box, or all that have one.
        order = read.sample(frac=1, random_state=seed)
        has = order["film"].isin(boxed.keys())
        some = order[has].head(MOST_FILMS // 2)
        read = pd.concat([some, order[~has].head(MOST_FILMS - len(some))])
    pictures = explain.read_films(read["film"].tolist(), paths, network.input_shape[1])
    told = features(network, pictures)
    covered = np.stack([cover(boxed.get(f, np.empty((0, 4))), told.shape[1:3]) for f in read.film])
    return Locator(network, *learn(told, covered))


def learn(
    told: np.ndarray,
    covered: np.ndarray,
    *,
    penalty: float = PENALTY,
    place_penalty: float = PLACE_PENALTY,
) -> tuple[np.ndarray, np.ndarray]:
    """The penalised logistic regression of all cells, with an intercept for each place.

    Args:
        told: float32 (films, rows, columns, channels), as `features` returns it.
        covered: float (films, rows, columns), 0 to 1: the share of the cell within boxes.
        penalty, place_penalty: see `PENALTY`.

    Returns:
        `weight` and `place` of a `Locator`.
    """
    films, *grid, channels = told.shape
    mean, spread = told.mean(axis=(0, 1, 2)), told.std(axis=(0, 1, 2)) + 1e-3
    cells = ((told - mean) / spread).reshape(-1, channels)
    target = covered.reshape(films, -1)

    def loss(guess: np.ndarray) -> tuple[float, np.ndarray]:
        weight, place = guess[:channels], guess[channels:]
        logit = (cells @ weight.astype(np.float32)).reshape(films, -1) + place
        off = place - place.mean()
        wrong = special.expit(logit) - target
        slope = np.concatenate(
            [
                wrong.ravel().astype(np.float32) @ cells + penalty * weight,
                wrong.sum(axis=0) + place_penalty * off,
            ]
        )
        entropy = (np.logaddexp(0, logit) - target * logit).sum()
        return entropy + (penalty * weight @ weight + place_penalty * off @ off) / 2, slope

    share = np.clip(target.mean(), 1e-6, 1 - 1e-6)
    start = np.concatenate([np.zeros(channels), np.full(target.shape[1], special.logit(share))])
    found = optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x
    # The standardising is folded in: features are asked as they come.
    weight = found[:channels] / spread
    place = found[channels:].reshape(grid) - mean @ weight
    return weight.astype(np.float32), place.astype(np.float32)


def cover(boxes: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """The share of each cell of a film that the largest of its overlaps with a box takes.

    Args:
        boxes: float (n, 4): x, y, width, height in pixels of the 1024-px film.
        grid: rows and columns.

    Returns:
        float32 of that shape, 0 to 1; 0 everywhere without boxes.
    """
    sides = []
    for start, length, number in ((1, 3, grid[0]), (0, 2, grid[1])):
        edge = np.linspace(0, nih.BOX_SPACE, number + 1)
        low, high = boxes[:, [start]], boxes[:, [start]] + boxes[:, [length]]
        shared = np.minimum(edge[1:], high) - np.maximum(edge[:-1], low)
        sides.append(np.clip(shared, 0, None) * number / nih.BOX_SPACE)
    rows, columns = sides
    return (rows[:, :, None] * columns[:, None, :]).max(axis=0, initial=0).astype(np.float32)


def features(network: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """What a network tells of each cell of films, float32 (films, rows, columns, channels).

    Args:
        pictures: uint8 (films, size, size, 1).
    """
    run = inference.forward(maps := maps_of(network))
    told = np.empty((len(pictures), *maps.output.shape[1:]), np.float32)
    for start in range(0, len(pictures), BATCH):
        told[start : start + BATCH] = run(pictures[start : start + BATCH])
    return told


def maps_of(network: keras.Model) -> keras.Model:
    """Films to the last map and the last of at least `FEWEST_ROWS` rows, on the latter's grid.

    Of an ensemble, those of all members, on the first one's grid.
    """
    members = [layer for layer in network.layers if isinstance(layer, keras.Model)] or [network]
    grid = None
    film = keras.Input(network.input_shape[1:])
    parts = []
    for member in members:
        fine = explain.feature_layer(member, rows=FEWEST_ROWS)
        last = explain.feature_layer(member, rows=1)
        grid = grid or fine.output.shape[1:3]
        layers = [fine] if last is fine else [fine, last]
        for part in keras.Model(member.inputs, [layer.output for layer in layers])(film):
            resize = keras.layers.Resizing(*grid, interpolation="bilinear", dtype="float32")
            parts.append(part if part.shape[1:3] == grid else resize(part))
    joined = parts[0] if len(parts) == 1 else keras.layers.Concatenate(dtype="float32")(parts)
    return keras.Model(film, joined)
