"""What the sliders say before a reader moves one, and where no script runs."""

import base64
import io
import re

import numpy as np
import pandas as pd
from PIL import Image

from cxr.figures import threshold
from cxr.figures.style import GRID, INK, PALETTE


def curve(finding, *points):
    columns = ["false_positive_rate", "sensitivity", "threshold"]
    return pd.DataFrame([(0, 0, np.inf), *points], columns=columns).assign(finding=finding)


def test_the_first_position_is_told_in_words():
    # Of 50 ill people 25 are found; of the other 950, 95 are flagged: 25 of 120 are 21 %.
    page = threshold.sliders(curve("Mass", (0.1, 0.5, 0.7), (1, 1, 0.1)))
    said = re.findall('<p class="says" aria-live="polite">(.*?)</p>', page)
    assert said == [
        "At 0.7: sensitivity 50 %, specificity 90 %. Of 1,000 people 50 have it: 25 are found "
        "(blue), 25 missed (black); 95 others are flagged in error (orange). Of those flagged, "
        "21 % have it (PPV)."
    ]


def test_the_picture_has_a_square_for_each_of_a_thousand_people():
    page = threshold.sliders(curve("Mass", (0.1, 0.5, 0.7), (1, 1, 0.1)))
    (data,) = re.findall('src="data:image/png;base64,(.*?)"', page)
    with Image.open(io.BytesIO(base64.b64decode(data))) as picture:
        middles = np.asarray(picture.convert("RGB"))[5::12, 5::12].reshape(-1, 3)
    colours = ["#" + bytes(colour.tolist()).hex() for colour in middles]
    assert len(colours) == 1000
    expected = {PALETTE[0]: 25, INK: 25, PALETTE[1]: 95, GRID: 855}
    assert {c.lower(): colours.count(c.lower()) for c in expected} == {
        c.lower(): number for c, number in expected.items()
    }


def test_a_threshold_that_nobody_reaches_has_no_ppv():
    assert "Of those flagged, unknown have it" in threshold.sliders(curve("Mass", (0, 0, 0.9)))


def test_positions_that_read_alike_are_one():
    page = threshold.sliders(curve("Mass", (0.1, 0.5, 0.7), (0.2, 0.6, 0.00001), (1, 1, 0.000001)))
    assert "[1.0, 1.0, 0.0]" in page and "0.6" not in page


def test_findings_without_a_curve_are_not_offered():
    page = threshold.sliders(
        pd.concat([curve("Mass", (0.1, 0.5, 0.7)), curve("Hernia"), curve("Edema", (0, 1, 0.2))])
    )
    assert re.findall('<option value="(.*?)">', page) == ["Mass", "Edema"]
    assert threshold.sliders(curve("Hernia")) == ""


def test_the_styles_reach_nothing_outside():
    page = threshold.sliders(curve("Mass", (0.1, 0.5, 0.7)))
    (style,) = re.findall("<style>(.*?)</style>", page, re.S)
    assert all(rule.strip().startswith(".cxr-threshold") for rule in re.findall("(.*?){", style))
