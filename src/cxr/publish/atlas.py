"""An atlas of the 14 findings: where each lies, how it looks, and with what it is confused.

Terms follow the Fleischner Society's glossary (Hansell et al., *Radiology* 2008; 246: 697-722),
the choice of findings Wang et al. (CVPR 2017). The pictures are phantoms: a sign is marked where
the drawing with it differs from the same drawing without it.
"""

import dataclasses

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
        anatomy: what happens in the body.
        look: how it looks on a film, and what it is taken for.
    """

    anatomy: str
    look: str


ENTRIES = {
    "Atelectasis": Entry(
        "A part of the lung has lost its air and collapsed.",
        "A pale band or wedge, with fissure, heart or diaphragm pulled towards it; taken for "
        "consolidation, which keeps its volume.",
    ),
    "Cardiomegaly": Entry(
        "The heart is enlarged, or seems so.",
        "On a PA film, a heart wider than half the chest; AP films, shallow breaths and fluid "
        "around the heart make it look large, too.",
    ),
    "Effusion": Entry(
        "Fluid has gathered between the lung and the chest wall.",
        "The sharp corner beside the diaphragm is filled, with a curved upper edge; in a patient "
        "who lies down it is only a veil, taken for consolidation or atelectasis.",
    ),
    "Infiltration": Entry(
        "An old word of reports for anything that fills the lung; the Fleischner Society advises "
        "against it.",
        "Any hazy or patchy shadow; it cannot be told from pneumonia, edema or consolidation, "
        "because it may mean each of them.",
    ),
    "Mass": Entry(
        "A lump of more than 3 cm in the lung, its covering or the middle of the chest.",
        "One dense, rounded shadow; taken for round pneumonia, or hidden behind heart and hilum.",
    ),
    "Nodule": Entry(
        "A rounded spot of up to 3 cm in the lung.",
        "A small coin, easily overlooked behind ribs and heart; taken for a nipple, a vessel seen "
        "end-on, or a healed rib.",
    ),
    "Pneumonia": Entry(
        "Germs have inflamed the lung, and its air spaces fill.",
        "A patchy shadow, often with pale streaks; the film shows only the filling; whether "
        "it is edema, bleeding or atelectasis, fever and blood tests help to tell.",
    ),
    "Pneumothorax": Entry(
        "Air lies between lung and chest wall, and the lung falls together.",
        "A fine white line with nothing but black beyond it; taken for a fold of skin. A film "
        "taken in bed may not show it, and a chest tube often gives a treated one away.",
    ),
    "Consolidation": Entry(
        "Air spaces are filled with fluid, pus, blood or cells.",
        "An even white area that hides vessels, with dark branches of air-filled bronchi; taken "
        "for atelectasis or effusion.",
    ),
    "Edema": Entry(
        "Fluid has left the vessels for the lung, mostly because the heart is too weak.",
        "Haze that spreads from both hila, with fine lines at the edges; taken for pneumonia on "
        "both sides.",
    ),
    "Emphysema": Entry(
        "Walls between air spaces are destroyed, and the lung stays too full of air.",
        "Dark, long lungs, few vessels, a flat diaphragm, a narrow heart; a deep breath or a dark "
        "film looks alike, and mild disease is not seen.",
    ),
    "Fibrosis": Entry(
        "Scars have made the lung stiff and small.",
        "A net of fine lines in lungs that have lost volume, low or high by its cause; taken "
        "for edema, which comes and goes.",
    ),
    "Pleural_Thickening": Entry(
        "The covering of lung or chest wall is thick with scars, as after infection or asbestos.",
        "A pale stripe along the chest wall or a blunt corner; taken for a little effusion, or "
        "for fat and muscle.",
    ),
    "Hernia": Entry(
        "Part of the stomach, seldom of the bowel, has slipped through the diaphragm.",
        "A round shadow behind the heart, often with a level of fluid under air; taken for a mass "
        "or an abscess.",
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


def sheet_address() -> str:
    """`sheet` as the address of an embedded picture."""
    return _address(sheet())


def table(records: pd.DataFrame) -> str:
    """HTML of the atlas: a picture, two sentences and the prevalence of each finding.

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
