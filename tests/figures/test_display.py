"""One way to show a figure, one look: colours that all readers tell apart."""

import itertools
import json

import numpy as np
import plotly.graph_objects as go
import pytest

from cxr import figures
from cxr.figures.display import PLOTLY_TYPE, PLOTLY_URL
from cxr.figures.page import page
from cxr.figures.style import FINDING_COLOURS, FINDING_DASHES, INK, MUTED, PALETTE, PAPER
from cxr.findings import FINDINGS
from cxr.wording import in_percent

# How the dichromat sees linear RGB: Machado, Oliveira and Fernandes (2009), severity 1.
SIGHT = {
    "all cones": np.eye(3),
    "no red cones": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green cones": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "no blue cones": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    value = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def perceived(colour, sight):
    """CIE L*a*b* of a colour, in which distances are differences to the eye."""
    relative = XYZ @ np.clip(sight @ linear(colour), 0, 1) / np.array([0.9505, 1, 1.089])
    root = np.where(relative > 0.008856, np.cbrt(relative), 7.787 * relative + 16 / 116)
    x, y, z = root
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def luminance(colour):
    return float(XYZ[1] @ linear(colour))


@pytest.mark.parametrize("cones", SIGHT)
def test_the_palette_is_told_apart_whatever_cones_a_reader_has(cones):
    # About 2.3 is just noticeable side by side; apart, in a legend, one needs far more.
    for one, other in itertools.combinations(PALETTE, 2):
        distance = np.linalg.norm(perceived(one, SIGHT[cones]) - perceived(other, SIGHT[cones]))
        assert distance > 15, (one, other)


def test_black_on_white_has_the_largest_contrast_and_text_enough():
    assert (luminance("#ffffff") + 0.05) / (luminance("#000000") + 0.05) == pytest.approx(21)
    for colour in (INK, MUTED):
        assert (luminance(PAPER) + 0.05) / (luminance(colour) + 0.05) >= 4.5


def test_no_two_findings_share_colour_and_dash():
    looks = {(FINDING_COLOURS[finding], FINDING_DASHES[finding]) for finding in FINDINGS}
    assert len(looks) == len(FINDINGS)


@pytest.fixture
def figure():
    title = "Films with a <b>Mass</b>"
    return go.Figure(go.Bar(x=["</script>"], y=[3]), layout={"title": title, "height": 300})


def test_a_figure_without_a_title_is_refused():
    with pytest.raises(ValueError, match="text for screen readers"):
        figures.fragment(go.Figure(), "one")


def test_a_screen_reader_says_the_title_without_markup(figure):
    assert 'role="group" aria-label="Films with a Mass. ' in figures.fragment(figure, "one")


@pytest.mark.parametrize(
    "share, words",
    [
        (0, "0 %"), (1.5e-7, "less than 0.01 %"), (0.0004, "0.04 %"), (0.001, "0.1 %"),
        (0.0013, "0.13 %"),
        (0.0131, "1.3 %"), (0.0997, "10 %"), (0.123, "12 %"), (0.986, "99 %"), (0.995, "99.5 %"),
        (0.999, "99.9 %"), (0.9996, "more than 99.9 %"), (1, "100 %"),
    ],
)  # fmt: skip
def test_a_share_is_spelled_as_a_reader_expects_it(share, words):
    assert in_percent(share) == words


def test_data_cannot_end_the_script(figure):
    assert figures.fragment(figure, "one").count("</script>") == 1


def test_the_library_is_the_cdns_exact_version_unless_another_is_named(figure):
    assert PLOTLY_URL.startswith("https://cdn.plot.ly/plotly-") and PLOTLY_URL.endswith(".min.js")
    assert PLOTLY_URL in figures.fragment(figure, "one")
    own = figures.fragment(figure, "one", library="plotly.min.js")
    assert PLOTLY_URL not in own and 'src = "plotly.min.js"' in own


def test_the_same_figure_gives_the_same_output(figure):
    again = go.Figure(json.loads(figure.to_json()))
    assert figures.bundle(figure, "one") == figures.bundle(again, "one")
    assert figures.bundle(figure, "one")[PLOTLY_TYPE]["data"][0]["y"] == [3]


def test_an_outdated_library_is_replaced(tmp_path):
    (tmp_path / "plotly.min.js").write_text("an older version")
    assert figures.write_library(tmp_path) == "plotly.min.js"
    assert (tmp_path / "plotly.min.js").stat().st_size > 1_000_000


def test_a_page_escapes_its_title_and_marks_where_one_is():
    links = {"Here & now": "a.html", "There": "b.html"}
    written = page("A < B", "<h1>x</h1>", links=links, current="b.html")
    assert "<title>A &lt; B</title>" in written
    assert '<a href="a.html">Here &amp; now</a>' in written
    assert '<a href="b.html" aria-current="page">There</a>' in written
    assert "http" not in written
