"""What a phantom is drawn on: the body's proportions and the layers of the film.

Lengths are shares of the film's side, origin at the upper left, as are boxes. Anatomy is
computed in body coordinates: `x` from the midline towards the patient's left (the viewer's
right), `y` downwards, both turned by the patient's slight tilt.
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

# The patient's sides, as signs of `x`.
RIGHT, LEFT = -1, 1


class Box(NamedTuple):
    """A rectangle on the film, in shares of its side."""

    left: float
    top: float
    right: float
    bottom: float


def around(centre: tuple[float, float], width: float, height: float) -> Box:
    """The box of a width and height around a point, in shares of the film's side."""
    x, y = centre
    return Box(x - width / 2, y - height / 2, x + width / 2, y + height / 2)


@dataclasses.dataclass(frozen=True)
class Body:
    """The proportions that the anatomy is drawn from."""

    midline: float  # where the spine crosses half the film's height
    tilt: float  # radians, clockwise on the film
    width: float  # half the inner width of the thorax at its widest
    apex: float  # top of the lungs
    base: float  # the costophrenic angles
    dome: float  # how far the diaphragm rises above them
    raised: tuple[float, float]  # further rise, right and left
    heart: Box  # the heart's extent, in body coordinates
    aeration: float  # darkness of the lungs; 1 is usual
    markings: float  # strength of the lung vessels; 1 is usual

    def half_width(self, y):
        """Inner half width of the thorax at a height."""
        below = 1.0 - np.clip((y - self.apex) / (self.base - self.apex), 0, 1)
        return self.width * (1.0 - 0.48 * below * below * below)

    def diaphragm(self, x, side: int):
        """Height of the diaphragm's upper surface at a distance from the midline."""
        across = np.clip((np.abs(x) / self.width - 0.42) / 0.58, -0.25, 1.1)
        rise = self.dome + self.raised[side > 0]
        return self.base - rise * (1.0 - across * across) + (0.012 if side == LEFT else 0.0)

    def point(self, side: int, across: float, level: float) -> tuple[float, float]:
        """A place in a lung on the film: 0 to 1 from midline to wall, and from apex to base."""
        y = self.apex + level * (self.base - self.apex)
        return self.on_film(side * across * self.half_width(y), y)

    def on_film(self, x: float, y: float) -> tuple[float, float]:
        """Body coordinates to film coordinates."""
        return self.midline + x - self.tilt * (y - 0.5), y + self.tilt * x


class Canvas:
    """The layers of one film while it is drawn, each of shape (size, size)."""

    def __init__(self, body: Body, size: int):
        self.body, self.size = body, size
        self.film_x, self.film_y = _grid(size)
        self.x = self.film_x - body.midline + body.tilt * (self.film_y - 0.5)
        self.y = self.film_y - body.tilt * (self.film_x - body.midline)
        self.lung = np.zeros((size, size), np.float32)  # 1 where the beam meets air
        self.density: np.ndarray = np.zeros(
            (size, size), np.float32
        )  # everything but the lungs' air
        self.ribs = np.zeros((size, size), np.float32)
        self.filled = np.zeros((size, size), np.float32)  # share of the air that is replaced
        self.vessels: np.ndarray = np.zeros((size, size), np.float32)

    def fill(self, opacity: np.ndarray) -> None:
        """Replace air by something denser; overlapping opacities do not add up beyond 1."""
        np.maximum(self.filled, opacity, out=self.filled)

    def strokes(self, lines: Sequence[tuple], *, blur: float = 0.0) -> np.ndarray:
        """Lines as an opacity map: (points on the film, width, brightness 0 to 1) each."""
        # Twice the size, then reduced: Pillow's lines have hard edges.
        side = 2 * self.size
        layer = Image.new("L", (side, side))
        pen = ImageDraw.Draw(layer)
        for points, width, brightness in lines:
            pen.line(
                [(x * side, y * side) for x, y in points],
                fill=int(255 * brightness),
                width=max(1, round(width * side)),
            )
        layer = layer.reduce(2)
        if blur:
            layer = layer.filter(ImageFilter.GaussianBlur(blur * self.size))
        return np.asarray(layer, np.float32) / 255

    def cloud(self, chance: np.random.Generator, cells: int) -> np.ndarray:
        """Smooth noise, mean 0 and standard deviation about 1, `cells` humps across."""
        small = Image.fromarray(1.4 * chance.standard_normal((cells, cells), np.float32))
        return np.asarray(small.resize((self.size, self.size), Image.Resampling.BICUBIC))

    def within(self, box: Box, *, edge: float, lobes: float = 0.0, turn: float = 0.0):
        """Soft ellipse inscribed in a box: 1 inside, falling to 0 at the border.

        `edge` is the soft border's share of the radius, `lobes` the depth of its lobulation.
        """
        across, down = self.unit(box)
        radius = across * across + down * down
        np.sqrt(radius, out=radius)
        if lobes:
            angle = np.arctan2(down, across)
            radius = radius * (1 + lobes * (1 + np.sin(3 * angle + turn)))
        return ramp((1 - radius) / edge)

    def side(self, box: Box) -> int:
        """Which lung a box lies in."""
        return LEFT if (box.left + box.right) / 2 > self.body.midline else RIGHT

    def unit(self, box: Box) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates that run from -1 to 1 across and down a box."""
        half_width, half_height = (box.right - box.left) / 2, (box.bottom - box.top) / 2
        across = (self.film_x - (box.left + half_width)) / np.float32(half_width)
        return across, (self.film_y - (box.top + half_height)) / np.float32(half_height)


@functools.lru_cache(maxsize=4)
def _grid(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Film coordinates of the pixels' centres: (1, size) and (size, 1)."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size
    return centres[None, :], centres[:, None]


def ramp(value):
    """Smooth step from 0 (at 0 and below) to 1 (at 1 and above)."""
    value = np.clip(value, 0, 1)
    # In place: a fresh array a factor would cost as much as the arithmetic.
    slope = value * -2
    slope += 3
    slope *= value
    slope *= value
    return slope
