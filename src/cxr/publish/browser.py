"""A headless Chromium: it draws static pictures of figures, and tests what readers see."""

import base64
import contextlib
import io
import os
import re
import shutil
import urllib.parse
from collections.abc import Iterator

import plotly.graph_objects as go
import plotly.offline
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from cxr.errors import InputError
from cxr.figures.style import TEMPLATE

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")

# Nothing but the page that was asked for.
_ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

# Pixels across, what GitHub gives a notebook's output; colours, enough for a figure.
WIDTH, COLOURS = 900, 64

# Bytes above which a picture of films is kept smaller, in fewer greys; lines stay sharp.
LARGE = 150_000


def path() -> str | None:
    """Where a Chromium or Chrome is installed; None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def require() -> str:
    """Where the browser is.

    Raises:
        InputError: where none is installed.
    """
    found = path()
    if found is None:
        raise InputError(
            f"no browser is installed ({', '.join(NAMES)}); it draws the static pictures of "
            "notebooks and README. On Debian: apt install chromium."
        )
    return found


@contextlib.contextmanager
def opened() -> Iterator[Browser]:
    """Start a headless browser with an empty profile of its own; it ends with the block.

    Raises:
        InputError: where no browser is installed.
    """
    found = require()
    with sync_playwright() as playwright:
        # The administrator, as in a container, cannot use Chromium's sandbox.
        sandbox = os.geteuid() != 0
        browser = playwright.chromium.launch(
            executable_path=found, args=list(_ARGUMENTS), chromium_sandbox=sandbox
        )
        try:
            yield browser
        finally:
            browser.close()


def pictures(figures: list[go.Figure]) -> list[bytes]:
    """Draw figures as PNG files, `WIDTH` pixels wide; the same figure gives the same bytes.

    Raises:
        InputError: where no browser is installed.
    """
    with opened() as browser:
        tab = _page(browser)
        return [
            _small(
                base64.b64decode(_image(tab, figure, "png", WIDTH)),
                films=any(trace.type == "image" for trace in figure.data),
            )
            for figure in figures
        ]


def vector(figure: go.Figure, width: int) -> str:
    """Draw a figure as SVG text, `width` pixels wide; the same figure gives the same text.

    Raises:
        InputError: where no browser is installed.
    """
    with opened() as browser:
        drawn = urllib.parse.unquote(_image(_page(browser), figure, "svg", width))
    # plotly names clip paths and traces by random numbers.
    return re.sub("(clip|defs-|legend|trace)[0-9a-f]{6}", r"\g<1>000000", drawn)


def _page(browser: Browser) -> Page:
    tab = browser.new_page()
    tab.add_script_tag(content=plotly.offline.get_plotlyjs())
    return tab


def _image(tab: Page, figure: go.Figure, kind: str, width: int) -> str:
    """What plotly.js draws, as the content of a `data:` address."""
    height = figure.layout.height or TEMPLATE.layout.height
    size = {"format": kind, "width": width, "height": height}
    address = tab.evaluate(
        "([figure, size]) => Plotly.toImage(JSON.parse(figure), size)", [figure.to_json(), size]
    )
    return address.partition(",")[2]


def _small(png: bytes, *, films: bool) -> bytes:
    """The same picture with a palette: a third of the bytes, and no difference to see.

    Args:
        films: whether it shows films, whose greys take many bytes.
    """
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as picture:
        whole, colours = picture.convert("RGB"), COLOURS
        if films and len(png) > LARGE:
            whole, colours = whole.resize((whole.width * 2 // 3, whole.height * 2 // 3)), 24
        reduced = whole.quantize(colours, dither=Image.Dither.NONE)
        reduced.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
