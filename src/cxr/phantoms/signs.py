"""The signs of the 14 findings: where radiology looks for each, and how it looks."""

import dataclasses
from collections.abc import Callable

import numpy as np

from cxr.phantoms.canvas import LEFT, RIGHT, Body, Box, Canvas, around, ramp

# --- findings that change the body ---------------------------------------------------


def _enlarge_heart(body: Body, chance: np.random.Generator, boxes: list[Box]) -> Body:
    """Cardiomegaly: a heart wider than half the thorax, or as wide as its box."""
    if boxes:
        box = boxes[0]
        heart = Box(box.left - body.midline, box.top, box.right - body.midline, box.bottom)
    else:
        half = chance.uniform(0.60, 0.75) * body.width
        top = body.heart.top - chance.uniform(0.01, 0.04)
        heart = Box(-0.66 * half, top, 1.34 * half, body.heart.bottom)
    return dataclasses.replace(body, heart=heart)


def _inflate(body: Body, chance: np.random.Generator, boxes: list[Box]) -> Body:
    """Emphysema: dark, long lungs, a flat diaphragm, few vessels and a narrow heart."""
    degree = chance.uniform(0.4, 1.0)
    heart, base = body.heart, min(body.base + 0.06 * degree, 0.95)
    return dataclasses.replace(
        body,
        base=base,
        dome=body.dome * (1 - 0.75 * degree),
        width=body.width * (1 + 0.05 * degree),
        aeration=body.aeration + 0.22 * degree,
        markings=body.markings * (1 - 0.55 * degree),
        heart=Box(
            heart.left * (1 - 0.2 * degree),
            heart.top + 0.02 * degree,
            heart.right * (1 - 0.2 * degree),
            base + 0.01,
        ),
    )


def _shrink(body: Body, chance: np.random.Generator, boxes: list[Box]) -> Body:
    """Fibrosis: stiff, small lungs."""
    return dataclasses.replace(body, base=body.base - chance.uniform(0.01, 0.04))


CHANGES: dict[str, Callable] = {
    "Cardiomegaly": _enlarge_heart,
    "Emphysema": _inflate,
    "Fibrosis": _shrink,
}


# --- findings that add to the film ---------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Sign:
    """How one finding looks: where it lies without a box, and how a box is painted."""

    place: Callable[[Body, np.random.Generator], list[Box]]
    paint: Callable[[Canvas, Box, np.random.Generator], None]


def _side(chance: np.random.Generator) -> int:
    return RIGHT if chance.random() < 0.5 else LEFT


def _sides(chance: np.random.Generator, both: float) -> tuple[int, ...]:
    """One side, or both with the given probability."""
    return (RIGHT, LEFT) if chance.random() < both else (_side(chance),)


def _place_effusion(body: Body, chance: np.random.Generator) -> list[Box]:
    """At the lung base, from the meniscus at the chest wall down to the angle."""
    boxes = []
    for side in _sides(chance, 0.4):
        height = chance.uniform(0.18, 0.42)
        inner, _ = body.point(side, 0.30, 0.9)
        outer, _ = body.point(side, 1.02, 0.9)
        top = body.base - height
        boxes.append(Box(min(inner, outer), top, max(inner, outer), body.base + 0.02))
    return boxes


def _paint_effusion(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Fluid: white below a meniscus that climbs towards the chest wall."""
    across, down = canvas.unit(box)
    climb = np.clip((canvas.side(box) * across + 0.2) / 1.2, 0, 1)
    meniscus = 0.15 - 1.1 * climb * climb
    inside = ramp((1.03 - np.abs(across)) / 0.2) * ramp((1.03 - down) / 0.15)
    fluid = chance.uniform(0.8, 1.0) * inside * ramp((down - meniscus) / 0.25 + 0.3)
    # As dense as the abdomen, so that the diaphragm's outline is lost.
    canvas.density += 0.11 * fluid * canvas.lung
    canvas.fill(fluid)


def _place_atelectasis(body: Body, chance: np.random.Generator) -> list[Box]:
    """The lower zones, where plates of collapsed lung lie above the diaphragm."""
    return [
        around(
            body.point(side, chance.uniform(0.45, 0.62), chance.uniform(0.62, 0.74)),
            chance.uniform(0.22, 0.30),
            chance.uniform(0.11, 0.17),
        )
        for side in _sides(chance, 0.4)
    ]


def _paint_atelectasis(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Two or three oblique plates, in a haze."""
    width, height = box.right - box.left, box.bottom - box.top
    lines = []
    for _ in range(chance.integers(2, 4)):
        left, right = chance.uniform(0.1, 0.9, 2)
        ends = [(box.left + 0.04 * width, box.top + left * height)]
        ends.append((box.right - 0.04 * width, box.top + right * height))
        lines.append((ends, chance.uniform(0.022, 0.036), 1.0))
    strength = chance.uniform(0.6, 0.95)
    canvas.fill(strength * canvas.strokes(lines, blur=0.005) * canvas.within(box, edge=0.3))
    canvas.fill(0.6 * strength * canvas.within(box, edge=0.6))


def _place_patch(body: Body, chance: np.random.Generator) -> list[Box]:
    """Pneumonia: one middle or lower zone."""
    centre = body.point(_side(chance), chance.uniform(0.48, 0.66), chance.uniform(0.5, 0.72))
    return [around(centre, chance.uniform(0.17, 0.24), chance.uniform(0.18, 0.26))]


def _paint_patch(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Air-space patches: fluffy, ill-defined, in clumps."""
    clumps = ramp(0.62 + 0.38 * canvas.cloud(chance, 22))
    canvas.fill(chance.uniform(0.5, 0.9) * canvas.within(box, edge=0.7) * clumps)


def _place_lobe(body: Body, chance: np.random.Generator) -> list[Box]:
    """Consolidation: most of an upper or a lower lobe."""
    level = 0.30 if chance.random() < 0.4 else 0.66
    return [
        around(
            body.point(side, 0.58, level + chance.uniform(-0.04, 0.04)),
            chance.uniform(0.22, 0.28),
            chance.uniform(0.2, 0.3),
        )
        for side in _sides(chance, 0.25)
    ]


def _paint_lobe(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Dense and even, sharp where it ends at a fissure, with dark air bronchograms."""
    across, down = canvas.unit(box)
    radius = np.abs(across * across * across) + down * down + 0.16 * canvas.cloud(chance, 14)
    lobe = ramp((1 - radius) / 0.7) * ramp((0.85 - down + 0.15 * across) / 0.12)
    side = canvas.side(box)
    near, far = (box.left, box.right)[::side]
    width, height = far - near, box.bottom - box.top
    lines = []
    for level in (0.3, 0.5, 0.7):
        fork = (near + 0.5 * width, box.top + level * height)
        lines.append(([(near + 0.1 * width, box.top + 0.5 * height), fork], 0.009, 0.8))
        for turn in (-0.1, 0.1):
            tip = (near + 0.8 * width, box.top + (level + turn) * height)
            lines.append(([fork, tip], 0.006, 0.6))
    bronchi = canvas.strokes(lines, blur=0.003)
    canvas.fill(chance.uniform(0.65, 0.95) * lobe * (1 - 0.45 * bronchi))


def _place_haze(body: Body, chance: np.random.Generator) -> list[Box]:
    """Infiltration: large zones, often of both lungs."""
    return [
        around(
            body.point(side, 0.56, chance.uniform(0.42, 0.62)),
            chance.uniform(0.24, 0.30),
            chance.uniform(0.30, 0.42),
        )
        for side in _sides(chance, 0.6)
    ]


def _paint_haze(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """A thin, uneven veil with a fine grain: the lung vessels stay visible."""
    veil = canvas.within(box, edge=0.5)
    grain = 0.75 + 0.18 * canvas.cloud(chance, 64) + 0.15 * canvas.cloud(chance, 24)
    canvas.fill(chance.uniform(0.30, 0.55) * veil * np.clip(grain, 0, 1.5))


def _place_mass(body: Body, chance: np.random.Generator) -> list[Box]:
    """Anywhere in the lungs; more than 3 cm, of a thorax some 30 cm wide."""
    width = chance.uniform(0.13, 0.22)
    centre = body.point(_side(chance), chance.uniform(0.42, 0.75), chance.uniform(0.22, 0.72))
    return [around(centre, width, width * chance.uniform(0.85, 1.15))]


def _paint_mass(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """A round, slightly lobulated opacity with a clear border."""
    turn = chance.uniform(0, 2 * np.pi)
    mass = canvas.within(box, edge=0.35, lobes=0.05, turn=turn)
    canvas.fill(chance.uniform(0.7, 1.0) * mass)
    canvas.density += 0.10 * mass


def _place_nodules(body: Body, chance: np.random.Generator) -> list[Box]:
    """One to three small round shadows, less than 3 cm wide."""
    boxes = []
    for _ in range(chance.integers(1, 4)):
        centre = body.point(_side(chance), chance.uniform(0.45, 0.8), chance.uniform(0.2, 0.75))
        width = chance.uniform(0.06, 0.09)
        boxes.append(around(centre, width, width))
    return boxes


def _paint_nodule(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """A small disc with a clear border, often denser than its size suggests."""
    nodule = canvas.within(box, edge=0.5)
    canvas.fill(chance.uniform(0.75, 1.0) * nodule)
    canvas.density += 0.13 * nodule


def _place_pneumothorax(body: Body, chance: np.random.Generator) -> list[Box]:
    """Between the chest wall and the lung that fell from it, widest at the apex."""
    side = _side(chance)
    inner, _ = body.point(side, chance.uniform(0.2, 0.4), 0.5)
    outer, _ = body.point(side, 1.02, 0.7)
    top = body.apex - 0.01
    bottom = top + chance.uniform(0.45, 0.7)
    return [Box(min(inner, outer), top, max(inner, outer), bottom)]


def _paint_pneumothorax(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Black, empty space beyond the thin white line of the visceral pleura."""
    across, down = canvas.unit(box)
    outwards = canvas.side(box) * across
    level = np.clip((down + 1) / 2, 0, 1)
    edge = -0.9 + 1.5 * level * np.sqrt(level)
    inside = ramp((1.02 - np.abs(across)) / 0.05) * ramp((1 - np.abs(down)) / 0.08)
    beyond = inside * ramp((outwards - edge) / 0.08)
    pixel = 2 / canvas.size / (box.right - box.left)
    line = inside * np.clip(1.6 - np.abs(outwards - edge) / pixel, 0, 1)
    canvas.vessels *= 1 - beyond
    canvas.filled *= 1 - beyond
    canvas.density += 0.16 * line * canvas.lung
    canvas.lung *= 1 + chance.uniform(0.45, 0.80) * beyond
    # The collapsed lung holds less air.
    canvas.fill(chance.uniform(0.15, 0.30) * (inside - beyond))


def _place_bat_wings(body: Body, chance: np.random.Generator) -> list[Box]:
    """Edema: around both hila."""
    width, height = chance.uniform(0.20, 0.26), chance.uniform(0.34, 0.46)
    return [around(body.point(side, 0.44, 0.52), width, height) for side in (RIGHT, LEFT)]


def _paint_bat_wing(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Opacity that fades from the hilum outwards, and Kerley lines at the lung's border."""
    across, _ = canvas.unit(box)
    side = canvas.side(box)
    fade = np.clip(0.75 - 0.35 * side * across, 0, 1)
    wing = canvas.within(box, edge=0.8) * fade * (1 + 0.25 * canvas.cloud(chance, 24))
    strength = chance.uniform(0.6, 1.0)
    canvas.fill(strength * np.clip(wing, 0, 1))
    lines = []
    for level in (0.66, 0.69, 0.73, 0.76, 0.80, 0.83):
        start = canvas.body.point(side, chance.uniform(0.84, 0.90), level + 0.01)
        lines.append(([start, canvas.body.point(side, 0.98, level)], 0.003, 0.5 * strength))
    canvas.fill(canvas.strokes(lines))
    canvas.vessels *= 1.3


def _place_net(body: Body, chance: np.random.Generator) -> list[Box]:
    """Fibrosis: the periphery of both bases."""
    width, height = chance.uniform(0.18, 0.23), chance.uniform(0.32, 0.42)
    return [around(body.point(side, 0.70, 0.66), width, height) for side in (RIGHT, LEFT)]


def _paint_net(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """Honeycombing: a coarse net of scars around small round holes."""
    coarse, fine = np.abs(canvas.cloud(chance, 60)), np.abs(canvas.cloud(chance, 90))
    strands = np.clip(1.3 - 0.9 * np.minimum(coarse, fine) - 0.5 * coarse, 0, 1)
    canvas.fill(chance.uniform(0.5, 0.8) * strands * canvas.within(box, edge=0.45))


def _place_rind(body: Body, chance: np.random.Generator) -> list[Box]:
    """Pleural thickening: along the lateral chest wall."""
    boxes = []
    for side in _sides(chance, 0.4):
        inner, _ = body.point(side, chance.uniform(0.72, 0.82), 0.7)
        outer, _ = body.point(side, 1.02, 0.8)
        top = body.apex + chance.uniform(0.0, 0.2)
        bottom = body.base - chance.uniform(0.02, 0.12)
        boxes.append(Box(min(inner, outer), top, max(inner, outer), bottom))
    return boxes


def _paint_rind(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """A dense band that follows the inner chest wall."""
    side = canvas.side(box)
    depth = canvas.body.half_width(canvas.y) - side * canvas.x
    wave = 1 + 0.12 * np.sin(18 * canvas.y + chance.uniform(0, 6))
    thickness = (box.right - box.left) * chance.uniform(0.7, 0.95) * wave
    band = ramp((thickness - depth) / 0.02) * ramp(depth / 0.01)
    ends = ramp((canvas.film_y - box.top) / 0.06) * ramp((box.bottom - canvas.film_y) / 0.06)
    rind = chance.uniform(0.65, 1.0) * band * ends
    canvas.fill(rind)
    canvas.density += 0.10 * rind * canvas.lung


def _place_hernia(body: Body, chance: np.random.Generator) -> list[Box]:
    """Hiatal: behind the heart, just above the diaphragm."""
    centre = body.on_film(chance.uniform(0.0, 0.05), body.base - body.dome + 0.01)
    width = chance.uniform(0.20, 0.28)
    return [around(centre, width, 0.85 * width)]


def _paint_hernia(canvas: Canvas, box: Box, chance: np.random.Generator) -> None:
    """A round stomach with air above a fluid level."""
    _, down = canvas.unit(box)
    pouch = canvas.within(box, edge=0.15)
    air = canvas.within(box, edge=0.25) * ramp(-(down - chance.uniform(-0.2, 0.2)) / 0.05)
    strength = chance.uniform(0.7, 1.0)
    canvas.fill(0.8 * strength * pouch)
    canvas.density += strength * (0.06 * pouch - 0.30 * air)


SIGNS: dict[str, Sign] = {
    "Infiltration": Sign(_place_haze, _paint_haze),
    "Edema": Sign(_place_bat_wings, _paint_bat_wing),
    "Pneumonia": Sign(_place_patch, _paint_patch),
    "Consolidation": Sign(_place_lobe, _paint_lobe),
    "Fibrosis": Sign(_place_net, _paint_net),
    "Atelectasis": Sign(_place_atelectasis, _paint_atelectasis),
    "Mass": Sign(_place_mass, _paint_mass),
    "Nodule": Sign(_place_nodules, _paint_nodule),
    "Pleural_Thickening": Sign(_place_rind, _paint_rind),
    "Hernia": Sign(_place_hernia, _paint_hernia),
    # After the opacities of the lung: beyond its edge there is none.
    "Pneumothorax": Sign(_place_pneumothorax, _paint_pneumothorax),
    "Effusion": Sign(_place_effusion, _paint_effusion),
}
