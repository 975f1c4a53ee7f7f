"""The one page that every result is shown on: site, deck, figures; it asks no network."""

import base64
import io
from collections.abc import Mapping

import jinja2
from PIL import Image

from cxr.figures.style import GRID, INK, MUTED, PALETTE, PAPER

NOTICE = (
    "Research software, not a medical device. No score, threshold or picture from here may "
    "guide the care of a person."
)

LINK, ACCENT = PALETTE[0], PALETTE[1]


def templates(package: str) -> jinja2.Environment:
    """The templates in a package's folder `templates`; what they are given is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def embedded(image: Image.Image, kind: str, **options) -> str:
    """A picture as an address that holds it.

    Args:
        kind: "JPEG" or "PNG".
        options: of Pillow's writer.
    """
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


_PAGE = templates("cxr.figures").get_template("page.html")


def page(
    title: str,
    body: str,
    *,
    links: Mapping[str, str] | None = None,
    current: str = "",
    head: str = "",
    footer: str = "",
) -> str:
    """A whole HTML page: skip link, notice, navigation, main part, footer.

    Args:
        title: as plain text; the body brings its own `<h1>`.
        body: HTML that is trusted, for `<main>`.
        links: what the navigation shows, words to relative address; none where empty.
        current: the address in `links` that is this page.
        head: more HTML for `<head>`, such as a script or a further `<style>`.
        footer: HTML that follows the notice at the foot of the page.
    """
    # Every pair of text and background here meets WCAG AA (4.5:1); tests compute it.
    colours = {"ink": INK, "muted": MUTED, "grid": GRID, "paper": PAPER}
    return _PAGE.render(
        title=title,
        body=body,
        links=links or {},
        current=current,
        head=head,
        footer=footer,
        notice=NOTICE,
        link=LINK,
        accent=ACCENT,
        **colours,
    )
