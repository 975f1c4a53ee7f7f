"""The chest that every phantom shows, fitted to the person, the view and the boxes."""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from cxr.phantoms.canvas import LEFT, RIGHT, Body, Box, Canvas, around, ramp


class Sitter(NamedTuple):
    """What a record says about the person and the view."""

    age: float
    female: bool
    supine: bool


def build_body(sitter: Sitter, patient: np.random.Generator, film: np.random.Generator) -> Body:
    """A body for a film: the patient's own build, this film's position and breath."""
    supine = sitter.supine
    child = min(max((16 - sitter.age) / 16, 0.0), 1.0)
    width = patient.normal(0.352 if sitter.female else 0.372, 0.016)
    width *= 1.0 - 0.12 * child
    height = patient.normal(0.69, 0.03)
    lean = patient.normal(0, 0.012)
    ratio = patient.normal(0.45, 0.02) + 0.04 * child
    # In bed the breath is shallow and the beam comes from the front: a higher diaphragm,
    # a heart magnified by a tenth.
    if supine:
        height, ratio = height - film.uniform(0.04, 0.11), ratio * film.uniform(1.06, 1.16)
    apex = film.normal(0.17 if supine else 0.135, 0.015)
    base = min(apex + height + film.normal(0, 0.015), 0.93)
    dome = patient.normal(0.105, 0.012)
    half = ratio * width
    bottom = base - 0.02
    heart = Box(-0.70 * half, bottom - patient.uniform(0.32, 0.37), 1.30 * half, bottom)
    return Body(
        midline=0.5 + film.normal(0, 0.012 if not supine else 0.022),
        tilt=lean + film.normal(0, 0.01 if not supine else 0.025),
        width=width * film.normal(1, 0.012),
        apex=apex,
        base=base,
        dome=dome,
        raised=(0.02 + film.normal(0, 0.006), film.normal(0, 0.006)),
        heart=heart,
        aeration=film.normal(0.96 if supine else 1.0, 0.05),
        markings=patient.uniform(0.8, 1.2),
    )


def fit_boxes(body: Body, boxes: Mapping[str, list[Box]]) -> Body:
    """The body laid out so that its lungs hold the centres of the film's real boxes."""
    width, apex, base = body.width, body.apex, body.base
    for box in (box for of_finding in boxes.values() for box in of_finding):
        x, y = (box.left + box.right) / 2, (box.top + box.bottom) / 2
        width = max(width, min(abs(x - body.midline) + 0.03, 0.46))
        apex = max(min(apex, y - 0.06), 0.05)
        base = min(max(base, y + 0.06), 0.95)
    # Heart and free fluid rest on the diaphragm.
    for box in boxes["Cardiomegaly"] + boxes["Effusion"]:
        if box.bottom > apex + 0.45:
            base = min(box.bottom + 0.01, 0.95)
    lower = base - body.base
    heart = body.heart._replace(top=body.heart.top + lower, bottom=body.heart.bottom + lower)
    return dataclasses.replace(body, width=width, apex=apex, base=base, heart=heart)


def draw_anatomy(
    canvas: Canvas, sitter: Sitter, patient: np.random.Generator, film: np.random.Generator
) -> None:
    """Everything that every chest shows."""
    body, x, y = canvas.body, canvas.x, canvas.y
    distance = np.abs(x)
    wall = body.half_width(y)

    # Soft tissue: neck, shoulders, trunk and upper arms.
    shoulder = body.apex - 0.12 + patient.normal(0, 0.012)
    beyond = np.maximum(distance - 0.09, 0)
    slope = shoulder + 0.30 * beyond + 0.75 * beyond * beyond
    below = ramp((y - slope) / 0.03)
    build = patient.uniform(0.05, 0.12)
    trunk = ramp((wall + build - distance) / 0.05 + 0.5) * below
    arm = 0.43 + 0.16 * np.maximum(y - 0.25, 0)
    arms = ramp((0.085 - np.abs(distance - arm)) / 0.06) * below
    shoulders = ramp((0.50 - distance) / 0.06) * ramp((0.46 - y) / 0.12) * below
    neck = ramp((0.105 - distance) / 0.03) * ramp((0.3 - y) / 0.1)
    soft = functools.reduce(np.maximum, (trunk, 0.9 * arms, shoulders, neck))
    # The wall is cut lengthwise beside the lungs: there it looks densest.
    rim = ramp(1 - np.abs(distance - wall) / 0.10)
    canvas.density += soft * (0.55 + 0.06 * rim) + 0.015 * canvas.cloud(film, 7) * soft

    # Lungs: between chest wall and mediastinum, from the apex to the diaphragm.
    across = distance / body.width
    top = body.apex + 0.8 * (across - 0.40) * (across - 0.40)
    near_top = np.clip(1 - (y - body.apex) / 0.15, 0, 1)
    medial = body.width * (0.13 + 0.12 * near_top * near_top)
    left = ramp(x / 0.2 + 0.5)
    floor = (1 - left) * body.diaphragm(x, RIGHT) + left * body.diaphragm(x, LEFT)
    canvas.lung = (
        ramp((wall - distance) / 0.02)
        * ramp((distance - medial) / 0.03)
        * ramp((floor - y) / 0.014)
        * ramp((y - top) / 0.025)
    )
    heart = _draw_heart(canvas, sitter, patient)
    _draw_abdomen(canvas, heart, floor, film)
    _draw_bones(canvas, sitter, patient)
    canvas.vessels = canvas.strokes(_vessels(body, patient), blur=0.0025) * body.markings
    for side in (RIGHT, LEFT):
        hilum = around(body.point(side, 0.27, 0.46 if side == RIGHT else 0.43), 0.08, 0.15)
        canvas.vessels += 0.45 * canvas.within(hilum, edge=1.0)
    # Small vessels and bronchi, too fine to draw.
    canvas.vessels += 0.10 * canvas.cloud(film, 60) + 0.08 * canvas.cloud(film, 20)

    # Breasts lie over the lower lungs, brightest at their lower fold.
    if sitter.female and sitter.age > 13:
        width, height = patient.uniform(0.27, 0.38), patient.uniform(0.60, 0.70)
        brightness = patient.uniform(0.06, 0.13)
        for side in (RIGHT, LEFT):
            breast = around(body.on_film(side * 0.60 * body.width, height), width, 1.05 * width)
            _, down = canvas.unit(breast)
            canvas.density += brightness * canvas.within(breast, edge=0.3) * (0.7 + 0.5 * down)


def _draw_abdomen(
    canvas: Canvas, heart: np.ndarray, floor: np.ndarray, film: np.random.Generator
) -> None:
    """What lies below the diaphragm (`floor`), often with air in the stomach."""
    body = canvas.body
    side = body.half_width(canvas.y) + 0.03 - np.abs(canvas.x)
    abdomen = ramp((canvas.y - floor + 0.014) / 0.02) * ramp(side / 0.07)
    bowel = 0.17 + 0.02 * canvas.cloud(film, 11)
    canvas.density += np.maximum(0.13 * heart, bowel * abdomen)
    if film.random() < 0.6:
        centre = body.on_film(0.45 * body.width, body.base - body.dome + film.uniform(0.05, 0.08))
        stomach = around(centre, film.uniform(0.08, 0.16), film.uniform(0.04, 0.07))
        canvas.density -= film.uniform(0.06, 0.2) * canvas.within(stomach, edge=0.6)


def _draw_heart(canvas: Canvas, sitter: Sitter, patient: np.random.Generator) -> np.ndarray:
    """Heart, great vessels, aortic knob and trachea; returns their silhouette, 0 to 1."""
    body, x, y = canvas.body, canvas.x, canvas.y
    heart = body.heart
    across = (x - (heart.left + heart.right) / 2) / ((heart.right - heart.left) / 2)
    down = (y - (heart.top + heart.bottom) / 2) / ((heart.bottom - heart.top) / 2)

    def ellipse(centre_x, centre_y, radius_x, radius_y, lean):
        dx, dy = across - centre_x, down - centre_y
        dx = (dx - lean * dy) / radius_x
        dy = dy / radius_y
        return ramp((1 - np.sqrt(dx * dx + dy * dy)) / 0.14)

    # The right atrium makes the right border, the left ventricle the apex.
    atrium = ellipse(-0.38, 0.08, 0.62, 0.85, 0.0)
    ventricle = ellipse(0.20, 0.20, 0.76, 0.88, 0.42)
    outflow = ellipse(-0.10, -0.42, 0.46, 0.62, 0.35)

    # With age the aorta widens and its arch stands out.
    old = min(max((sitter.age - 30) / 50, 0.0), 1.0)
    half = 0.058 + patient.normal(0, 0.005) + 0.012 * old
    bend = 0.010 * np.sin((y - body.apex) * 9)
    vessels = ramp((half - np.abs(x - bend)) / 0.04) * ramp((y - body.apex + 0.1) / 0.1)
    radius = 0.034 + 0.012 * old
    knob = canvas.within(
        around(body.on_film(0.048 + 0.012 * old, body.apex + 0.22), 2 * radius, 2.6 * radius),
        edge=0.5,
    )
    parts = (atrium, ventricle, outflow, 0.9 * vessels, 0.8 * knob)
    silhouette = functools.reduce(np.maximum, parts)
    canvas.lung *= 1 - 0.93 * silhouette
    trachea = ramp((0.022 - np.abs(x + 0.004)) / 0.014) * ramp((body.apex + 0.25 - y) / 0.05)
    canvas.density -= 0.09 * trachea
    return silhouette


def _draw_bones(canvas: Canvas, sitter: Sitter, patient: np.random.Generator) -> None:
    """Spine, ribs, clavicles, shoulder blades and upper arms."""
    body, x, y = canvas.body, canvas.x, canvas.y
    distance = np.abs(x)
    wall = body.half_width(y)
    strength = patient.uniform(0.8, 1.2)

    spacing = (body.base - body.apex) / 8.6
    vertebra = 0.5 + 0.5 * np.cos(2 * np.pi * y / (0.75 * spacing))
    spine = ramp((0.050 - distance) / 0.03)
    canvas.density += strength * spine * (0.06 + 0.025 * vertebra)

    cage = ramp((wall + 0.008 - distance) / 0.012) * ramp((y - body.apex + 0.035) / 0.02)
    # Heart and abdomen outshine the ribs.
    above = 0.35 + 0.65 * canvas.lung
    across = distance / body.width
    # Posterior ribs leave the spine level, then fall; the pattern repeats every space.
    fall = 0.05 - 0.10 * across + 0.26 * across * across
    phase = (y - body.apex - 0.62 * fall + 0.03) / spacing
    rib = _stripe(phase, 0.40) * ramp((across - 0.10) / 0.1)
    # Anterior ribs run the other way, fainter, and end before the midline.
    phase = (y - body.apex - 0.10 + 0.20 * across) / spacing
    anterior = _stripe(phase, 0.42) * ramp((across - 0.42) / 0.15) * ramp((y - 0.3) / 0.1)
    canvas.ribs = strength * cage * above * (0.060 * rib + 0.035 * anterior)

    lines = []
    rise = patient.uniform(0.01, 0.04) + 0.01 * sitter.supine
    for side in (RIGHT, LEFT):
        clavicle = [
            body.on_film(side * offset, body.apex + 0.065 - rise * drop)
            for offset, drop in ((0.045, 0), (0.10, 0.45), (0.17, 0.62), (0.25, 1.1), (0.36, 1.9))
        ]
        lines.append((clavicle, 0.022, 0.7))
        humerus = [
            body.on_film(side * offset, body.apex + drop)
            for offset, drop in ((0.42, 0.03), (0.44, 0.12), (0.48, 0.35), (0.53, 0.65))
        ]
        lines.append((humerus, 0.045, 0.4))
        # Arms forward turn the shoulder blades off the lungs; in bed they stay on them.
        inner = 0.64 if sitter.supine else 0.95
        blade = [
            body.on_film(side * offset * body.width, height)
            for offset, height in (
                (inner, body.apex + 0.07),
                (inner + 0.03, body.apex + 0.20),
                (inner + 0.16, body.apex + 0.36),
                (inner + 0.30, body.apex + 0.18),
                (inner + 0.36, body.apex + 0.06),
            )
        ]
        lines.append((blade, 0.012, 0.45))
    canvas.density += strength * 0.16 * canvas.strokes(lines, blur=0.006)


def _stripe(phase: np.ndarray, width: float) -> np.ndarray:
    """A band a period, `width` of it wide, brighter at both edges as cortical bone is."""
    offset = np.abs(phase - np.floor(phase) - 0.5) / (width / 2)
    return ramp((1 - offset) / 0.25) * (0.7 + 0.3 * offset)


def _vessels(body: Body, patient: np.random.Generator) -> list[tuple]:
    """The branching lung vessels, as strokes."""
    lines = []

    def grow(x, y, angle, length, width, depth):
        bend = angle + patient.normal(0, 0.15)
        middle = (x + 0.5 * length * math.cos(angle), y + 0.5 * length * math.sin(angle))
        end = (middle[0] + 0.5 * length * math.cos(bend), middle[1] + 0.5 * length * math.sin(bend))
        lines.append(([(x, y), middle, end], width, 0.20 + 0.12 * depth))
        if depth:
            for turn in (-0.40, 0.35):
                fork = bend + turn + patient.normal(0, 0.12)
                grow(*end, fork, length * patient.uniform(0.65, 0.9), width * 0.65, depth - 1)

    for side in (RIGHT, LEFT):
        for degrees in (-80, -50, -20, 10, 35, 55, 70, 85):
            x, y = body.point(side, patient.uniform(0.22, 0.30), patient.uniform(0.40, 0.52))
            angle = math.radians(degrees + patient.normal(0, 8))
            angle = angle if side == LEFT else math.pi - angle
            grow(x, y, angle, patient.uniform(0.05, 0.10), 0.010, 3)
    return lines
