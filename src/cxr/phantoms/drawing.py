"""Draw a phantom: a schematic chest film with the signs that its record names."""

import functools
import io
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from PIL.PngImagePlugin import PngInfo

from cxr.films import png
from cxr.findings import FINDINGS
from cxr.phantoms.anatomy import Sitter, build_body, draw_anatomy, fit_boxes
from cxr.phantoms.canvas import Box, Canvas
from cxr.phantoms.signs import CHANGES, SIGNS

MARK = png.PHANTOM
_MARK_TEXT = "Synthetic drawing by cxr.phantoms; shows no patient"

# The space of the boxes in BBox_List_2017.csv.
_BOX_SPACE = 1024


def draw(
    record: Mapping,
    boxes: Sequence[tuple] = (),
    *,
    size: int = 256,
    seed: int,
) -> Image.Image:
    """Draw the phantom of one record.

    The same record, boxes and seed give the same pixels. Films of one patient share their
    anatomy; position, exposure and noise differ from film to film. A finding adds its sign
    and changes nothing else.

    Args:
        record: film, patient_id, age (may be missing), sex, view and the finding columns.
        boxes: (finding, x, y, width, height) in the pixels of the 1024-px originals; the
            sign of a boxed finding lies in its box, others where radiology expects them.
        size: side in pixels.
        seed: decides everything that the record leaves open.

    Returns:
        8-bit grey image with "PHANTOM" written on it; `encode` makes a PNG file of it.
    """
    real: dict[str, list[Box]] = {finding: [] for finding in FINDINGS}
    for finding, x, y, width, height in boxes:
        corners = np.array((x, y, x + width, y + height)) / _BOX_SPACE
        real[finding].append(Box(*corners.tolist()))
    patient = np.random.default_rng((seed, int(record["patient_id"])))
    number = zlib.crc32(str(record["film"]).encode())
    film = np.random.default_rng((seed, number))
    # A generator for each finding, so that one sign does not move another.
    chance = {
        finding: np.random.default_rng((seed, number, 1 + position))
        for position, finding in enumerate(FINDINGS)
    }
    age = 50.0 if pd.isna(record["age"]) else float(record["age"])
    sitter = Sitter(age, female=record["sex"] == "F", supine=record["view"] == "AP")
    body = fit_boxes(build_body(sitter, patient, film), real)
    for finding, change in CHANGES.items():
        if record[finding]:
            body = change(body, chance[finding], real[finding])
    canvas = Canvas(body, size)
    draw_anatomy(canvas, sitter, patient, film)
    for finding, sign in SIGNS.items():
        if record[finding]:
            for box in real[finding] or sign.place(body, chance[finding]):
                sign.paint(canvas, box, chance[finding])
    image = _develop(canvas, sitter.supine, film)
    image.info[MARK] = _MARK_TEXT
    return image


def encode(image: Image.Image) -> bytes:
    """A phantom as a PNG file, with the text chunk that tells it from a real film."""
    text = PngInfo()
    text.add_text(MARK, image.info[MARK])
    file = io.BytesIO()
    image.save(file, "PNG", pnginfo=text, compress_level=1)
    return file.getvalue()


def is_phantom(film: Path | str | Image.Image) -> bool:
    """Whether a film (a file or an opened image) carries the mark; reads no pixels."""
    if isinstance(film, Image.Image):
        return MARK in film.info
    with Image.open(film) as image:
        return MARK in image.info


def _develop(canvas: Canvas, supine: bool, film: np.random.Generator) -> Image.Image:
    """Expose the film: contrast, gradient, noise, lettering."""
    filled = np.clip(canvas.filled, 0, 1)
    air = canvas.lung * (1 - 0.92 * filled) * canvas.body.aeration
    # What fills the air hides the vessels, and outshines the ribs.
    tissue = canvas.density + 0.05 * filled + (1 - 0.7 * filled) * canvas.ribs
    tissue += 0.16 * canvas.vessels * canvas.lung * (1 - filled)
    light = tissue - 0.32 * air
    gradient = film.normal(0, 0.05 if supine else 0.015) * (canvas.film_x - 0.5)
    gradient = gradient + film.normal(0, 0.06 if supine else 0.02) * (canvas.film_y - 0.5)
    contrast = film.normal(0.98 if supine else 1.10, 0.05)
    level = film.normal(0.52, 0.02)
    light = level + contrast * (light + gradient - 0.5)
    size = canvas.size
    grain = film.standard_normal((size, size), np.float32) * film.uniform(0.008, 0.02)
    image = Image.fromarray((255 * np.clip(light + grain, 0.01, 0.99)).astype(np.uint8))
    image = image.filter(ImageFilter.GaussianBlur(size / 512))
    _letter(image, supine)
    return image


def _letter(image: Image.Image, supine: bool) -> None:
    """The mark of the phantom, and those of a film: its side, and how it was taken."""
    size = image.width
    pen = ImageDraw.Draw(image)
    font = _font(size // 18)
    pen.text((size * 0.03, size * 0.985), "PHANTOM", fill=235, font=font, anchor="ls")
    pen.text((size * 0.97, size * 0.09), "L", fill=235, font=_font(size // 14), anchor="rs")
    if supine:
        pen.text((size * 0.03, size * 0.07), "AP", fill=235, font=font, anchor="ls")


@functools.lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)
