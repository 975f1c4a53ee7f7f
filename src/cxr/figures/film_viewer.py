"""One film to look at: its picture with window, zoom and heatmaps, and a bar per finding.

The same piece of HTML wherever a film is shown. It asks no network, works by keyboard and on
a phone, and without scripts it still shows picture, bars and words.
"""

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.colors
from PIL import Image

from cxr.figures.page import embedded, templates
from cxr.findings import label
from cxr.wording import in_percent

# Quality of the picture: no difference to see, at a third of a PNG's size.
_QUALITY = 92

# Probabilities of findings are small: on a root scale 1 % is a tenth of the bar.
_MARKS = (0.01, 0.1, 0.3, 0.6, 1.0)

_TEMPLATES = templates("cxr.figures")


def script() -> str:
    """The viewers' script, which is part of `head`, as it stands between its tags."""
    return re.findall("<script>(.*?)</script>", head(), re.DOTALL)[0]


def head() -> str:
    """HTML for the head of a page with viewers: their style and their script, once."""
    return _TEMPLATES.get_template("film_head.html").render()


def viewer(
    name: str,
    title: str,
    verdict: str,
    reasons: Sequence[str] = (),
    film: tuple[np.ndarray, np.ndarray | None, np.ndarray | None] | None = None,
    findings: pd.DataFrame | None = None,
) -> str:
    """HTML of one film, to stand anywhere on a page that has `head`.

    Args:
        name: starts the ids of the elements; one per film of a page.
        title: what the film is called, as plain text.
        verdict: "scored", "scored with a warning" or "refused".
        reasons: sentences, as plain text.
        film: the picture, uint8 (rows, columns), and twice float (14, rows, columns), 0 to 1: a
            heatmap for each row of `findings`, and the untrained twin's to stand beside it, if
            there are any.
        findings: finding, probability, threshold, reached, meaning, with_it and without_it.
    """
    rows = []
    if findings is not None:
        heats, twins = (
            [""] * len(findings) if maps is None else list(map(_heat, maps))
            for maps in ((None, None) if film is None else film[1:])
        )
        table = findings.assign(heat=heats, twin=twins, flagged=findings["reached"].eq(True))
        table = table.sort_values(["flagged", "probability"], ascending=False)
        rows = table.to_dict(orient="records")
    return _TEMPLATES.get_template("film_viewer.html").render(
        name=name,
        title=title,
        verdict=verdict,
        reasons=reasons,
        picture=""
        if film is None
        else embedded(Image.fromarray(film[0]), "JPEG", quality=_QUALITY),
        shape=(0, 0) if film is None else film[0].shape,
        rows=rows,
        heats=any(row["heat"] for row in rows),
        twins=any(row["twin"] for row in rows),
        prevalence=any(row["meaning"] for row in rows),
        marks=_MARKS,
        place=lambda share: f"{100 * np.sqrt(share):.2f}%",
        label=label,
        percent=in_percent,
        unknown=pd.isna,
    )


def _heat(heatmap: np.ndarray) -> str:
    """A heatmap as a small picture, the colder the clearer; the browser enlarges it."""
    level = np.rint((_LEVELS - 1) * np.clip(heatmap, 0, 1)).astype(np.uint8)
    image = Image.fromarray(level)
    image.putpalette(_INFERNO.tobytes())
    return embedded(image, "PNG", transparency=_CLEAR, optimize=True)


# Levels of a heatmap: the browser's enlarging smooths them, and a palette is half the bytes.
_LEVELS = 32

# Plotly's Inferno as so many colours, uint8 (32, 3), and how opaque each is.
_INFERNO = np.rint(
    [
        plotly.colors.unlabel_rgb(colour)
        for colour in plotly.colors.sample_colorscale(
            "Inferno", np.linspace(0, 1, _LEVELS).tolist()
        )
    ]
).astype(np.uint8)
_CLEAR = bytes(round(255 * level / (_LEVELS - 1)) for level in range(_LEVELS))
