"""An atlas of the 14 findings: what each is, how it looks, and what looks alike.

Atelectasis, infiltrate, mass, nodule, pneumonia, pneumothorax, consolidation and emphysema are
terms of the Fleischner Society's glossary (Hansell et al., *Radiology* 2008; 246: 697-722), and
the sentences on them follow it; on the other six they say what textbooks of radiology agree on.
The chest tubes on films of Pneumothorax were counted by Oakden-Rayner et al. (CHIL 2020). No
sentence was reviewed by a radiologist. The pictures are phantoms: a sign is marked where the
drawing with it differs from the same drawing without it.
"""

import dataclasses
import functools

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw
from scipy import ndimage

from cxr import phantoms
from cxr.figures.page import embedded, templates
from cxr.findings import FINDINGS, label
from cxr.phantoms.signs import CHANGES

# Side of a picture, and of the drawing that it is reduced from, in pixels.
SIDE, _DRAWN = 96, 256

# Okabe and Ito's sky blue: seen on black lungs and on white bones.
_MARK = "#56B4E9"


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a reader should know of a finding, in plain words.

    Attributes:
        anatomy: what it is in the body.
        look: how it looks on a film.
        alike: what looks alike, so what it is taken for, or hidden by.
    """

    anatomy: str
    look: str
    alike: str


ENTRIES = {
    "Atelectasis": Entry(
        "A part of the lung holds too little air and has shrunk.",
        "A pale line, band or wedge; where much is lost, a fissure, the heart or the diaphragm is "
        "drawn towards it.",
        "Consolidation, which mostly keeps its volume.",
    ),
    "Cardiomegaly": Entry(
        "The heart is larger than normal.",
        "On an upright PA film of an adult, a heart wider than half the chest.",
        "A normal heart that an AP film, a shallow breath or a rotated chest makes look large, or "
        "one with fluid around it.",
    ),
    "Effusion": Entry(
        "Fluid has gathered between the lung and the chest wall.",
        "Upright, the sharp corner beside the diaphragm is filled, often with a curved upper edge; "
        "in a patient who lies down it may be no more than a veil.",
        "Consolidation, atelectasis, pleural thickening, or a diaphragm that stands high.",
    ),
    "Infiltration": Entry(
        "A word of reports for a shadow in the lung of whatever cause; the Fleischner Society no "
        "longer recommends it, since it means different things to different people.",
        "Any hazy, streaky or patchy shadow.",
        "Pneumonia, edema, consolidation and atelectasis: the word may mean each of them.",
    ),
    "Mass": Entry(
        "A shadow of more than 3 cm in the lung, its covering or the middle of the chest.",
        "Mostly dense and rounded, sharp or blurred; it can hide behind the heart, a hilum (where "
        "vessels enter the lung) or the diaphragm.",
        "Round pneumonia, a collapsed part of the lung, or fluid caught in a fissure.",
    ),
    "Nodule": Entry(
        "A rounded shadow of up to 3 cm in the lung.",
        "A small round spot, sharp or blurred, easily overlooked behind ribs and heart.",
        "A nipple, a vessel seen end-on, a healed rib, or something on the skin.",
    ),
    "Pneumonia": Entry(
        "The lung is inflamed, mostly by an infection: its air spaces, the tissue between them, "
        "or both.",
        "Consolidation, patches or streaks, from a part of a lobe to both lungs.",
        "Edema, bleeding, atelectasis; the film alone seldom tells, signs of an infection help.",
    ),
    "Pneumothorax": Entry(
        "Air has entered the space between lung and chest wall, and the lung falls together, in "
        "part or whole.",
        "The edge of the lung as a fine white line, without vessels beyond it; a film taken lying "
        "down may not show it. Many films with this label show the chest tube that treats it.",
        "A fold of skin, the edge of a shoulder blade, or a large air bubble within the lung.",
    ),
    "Consolidation": Entry(
        "Fluid, pus, blood or cells have taken the place of air in the air spaces.",
        "An even white area that hides the vessels, at times with dark branches: bronchi that "
        "still hold air.",
        "Atelectasis, which loses volume, or effusion.",
    ),
    "Edema": Entry(
        "Fluid has left the vessels for the lung, most often because the left side of the heart "
        "fails.",
        "Blurred vessels, fine lines at the edges of the lungs, or a haze around both hila, often "
        "with effusion.",
        "Pneumonia on both sides, or bleeding into the lung.",
    ),
    "Emphysema": Entry(
        "Walls between air spaces are destroyed, and too much air stays in the lung.",
        "Large dark lungs with few vessels, a flat diaphragm, often a narrow heart; mild disease "
        "does not show.",
        "Lungs that asthma or a deep breath has filled, or a film that is too dark.",
    ),
    "Fibrosis": Entry(
        "Scar tissue makes the lung stiff, and shrinks it.",
        "A net of fine or coarse lines in lungs that have lost volume; in which part depends on "
        "the cause.",
        "Edema, which comes and goes, or infection.",
    ),
    "Pleural_Thickening": Entry(
        "The covering of lung or chest wall is thickened, mostly by scars, as after infection, "
        "bleeding, or contact with asbestos.",
        "A pale stripe along the chest wall, a cap over the top of the lung, or a blunt corner "
        "beside the diaphragm.",
        "A little effusion, or fat and muscle of the chest wall.",
    ),
    "Hernia": Entry(
        "Something of the belly, mostly a part of the stomach, has slipped through the diaphragm.",
        "A round shadow behind the heart, at times with a level of fluid under air.",
        "A mass, an abscess, or a large vessel.",
    ),
}


def picture(finding: str, *, side: int = SIDE) -> Image.Image:
    """A phantom with one finding, its sign framed; RGB, `side` pixels square.

    The same finding gives the same picture.
    """
    healthy = {"film": "00000001_000.png", "patient_id": 1, "age": 50, "sex": "M", "view": "PA"}
    healthy |= dict.fromkeys(FINDINGS, 0)
    without, film = (
        phantoms.draw(record, size=_DRAWN, seed=42) for record in (healthy, healthy | {finding: 1})
    )
    changed = np.abs(np.asarray(film, np.float32) - np.asarray(without, np.float32))
    scale = side / _DRAWN
    small = film.resize((side, side), Image.Resampling.LANCZOS).convert("RGB")
    pen = ImageDraw.Draw(small)
    for rows, columns in _regions(changed, whole=finding in CHANGES):
        edges = [columns.start - 5, rows.start - 5, columns.stop + 4, rows.stop + 4]
        corners = np.clip(np.array(edges) * scale, 1, side - 2).round().tolist()
        pen.rectangle(corners, outline=_MARK, width=max(1, side // 96))
    return small


def _regions(changed: np.ndarray, *, whole: bool) -> list[tuple[slice, slice]]:
    """Where a sign lies: its parts, specks left out, or the `whole` of what has changed."""
    smooth = ndimage.gaussian_filter(changed, 2)
    if whole:
        return ndimage.find_objects((smooth > 8).astype(int))
    regions, _ = ndimage.label(smooth > max(8, smooth.max() / 4))
    sizes = np.bincount(regions.ravel())[1:]
    found = ndimage.find_objects(regions)
    return [part for part, size in zip(found, sizes, strict=True) if size > sizes.max() / 10]


def sheet(*, side: int = SIDE, columns: int = 7) -> Image.Image:
    """All 14 pictures with their names below them."""
    rows, line = -(-len(FINDINGS) // columns), side // 6
    whole = Image.new("RGB", (columns * (side + 4) - 4, rows * (side + line + 4)), "white")
    pen = ImageDraw.Draw(whole)
    for place, finding in enumerate(FINDINGS):
        left, top = place % columns * (side + 4), place // columns * (side + line + 4)
        whole.paste(picture(finding, side=side), (left, top))
        words = label(finding).replace("Pleural thickening", "Pleural thick.")
        pen.text(
            (left + side / 2, top + side + 2), words, fill="#1f2933", anchor="ma",
            font_size=line - 5,
        )  # fmt: skip
    return whole


@functools.cache
def sheet_address() -> str:
    """`sheet` as the address of an embedded picture."""
    return _address(sheet())


def table(records: pd.DataFrame) -> str:
    """HTML of the atlas: a picture, what is to know, and the prevalence of each finding.

    Args:
        records: as `nih.read_records` returns them.
    """
    share = 100 * records[list(FINDINGS)].mean()
    rows = [
        {
            "name": label(finding),
            "picture": _address(picture(finding)),
            "entry": ENTRIES[finding],
            "films": int(records[finding].sum()),
            "share": share[finding],
        }
        for finding in FINDINGS
    ]
    template = templates("cxr.publish").get_template("atlas.html")
    return template.render(rows=rows, side=SIDE, films=len(records))


def _address(image: Image.Image) -> str:
    return embedded(image, "JPEG", quality=72)
