"""Something to try: what a threshold does to 1,000 people, on any page and without a network.

Where scripts do not run, the first position of the sliders stands there in words and as a
picture.
"""

import numpy as np
import pandas as pd
from PIL import Image

from cxr.figures.page import embedded, templates
from cxr.figures.style import GRID, INK, MUTED, PALETTE, PAPER
from cxr.findings import label

# Of 1,000 people, how many have the finding before a reader says otherwise.
_ILL = 50

# Found, missed, flagged in error, and all others.
_COLOURS = (PALETTE[0], INK, PALETTE[1], GRID)

_TEMPLATE = templates("cxr.figures").get_template("threshold.html")


def sliders(curves: pd.DataFrame) -> str:
    """HTML with sliders for the threshold and the prevalence; "" without any curve.

    Args:
        curves: of one model, as `ranking.roc_curves` returns them.
    """
    columns = ["false_positive_rate", "sensitivity", "threshold"]
    # A curve's first point flags nobody, at an infinite threshold.
    finite = curves[np.isfinite(curves["threshold"])].round(4)
    # Positions that read alike are one, with all that it flags.
    finite = finite.drop_duplicates(["finding", "threshold"], keep="last")
    points = {
        name: part[columns].to_numpy().tolist()
        for name, part in finite.groupby("finding", sort=False)
    }
    if not points:
        return ""
    first = next(iter(points.values()))
    point = first[_rounded((len(first) - 1) / 3)]
    return _TEMPLATE.render(
        curves=points,
        ill=_ILL,
        says=_says(*point),
        picture=embedded(_people(*point[:2]), "PNG", optimize=True),
        label=label,
        found=_COLOURS[0],
        alarm=_COLOURS[2],
        ink=INK,
        muted=MUTED,
        grid=GRID,
        paper=PAPER,
    )


def _rounded(value: float) -> int:
    """As JavaScript rounds."""
    return int(value + 0.5)


def _counts(alarms: float, sensitivity: float) -> tuple[int, int]:
    """Of 1,000 people, how many are found, and how many flagged in error."""
    return _rounded(_ILL * sensitivity), _rounded((1000 - _ILL) * alarms)


def _says(alarms: float, sensitivity: float, threshold: float) -> str:
    """What the page's script writes at the same place of the sliders."""
    hit, alarm = _counts(alarms, sensitivity)
    flagged = hit + alarm
    ppv = f"{100 * hit / flagged:.0f} %" if flagged else "unknown"
    return (
        f"At {threshold:g}: sensitivity {100 * sensitivity:.0f} %, specificity "
        f"{100 * (1 - alarms):.0f} %. Of 1,000 people {_ILL} have it: {hit} are found (blue), "
        f"{_ILL - hit} missed (black); {alarm} others are flagged in error (orange). Of those "
        f"flagged, {ppv} have it (PPV)."
    )


def _people(alarms: float, sensitivity: float) -> Image.Image:
    """The 1,000 as squares, 50 a row: found, missed, flagged in error, then the others."""
    hit, alarm = _counts(alarms, sensitivity)
    kinds = np.repeat([0, 1, 2, 3], [hit, _ILL - hit, alarm, 1000 - _ILL - alarm])
    squares = np.kron(kinds.reshape(20, 50), np.ones((12, 12), int))
    edge = np.arange(squares.shape[1]) % 12 == 11
    squares[edge[: len(squares)]], squares[:, edge] = 4, 4
    picture = Image.fromarray(squares.astype(np.uint8))
    picture.putpalette(bytes.fromhex("".join(c[1:] for c in (*_COLOURS, PAPER))))
    return picture
