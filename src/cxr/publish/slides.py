"""Slides on one page: arrow keys on a large screen, scrolling on a phone, a page each in print."""

import dataclasses
from collections.abc import Mapping

import plotly.graph_objects as go
import plotly.offline

from cxr.figures.display import PLOTLY_URL, fragment
from cxr.figures.in_words import spoken
from cxr.figures.page import page, templates

# A printed slide, and a figure on it, in CSS pixels (96 an inch).
WIDTH, HEIGHT = 1280, 720
FIGURE = (WIDTH - 120, 480)


@dataclasses.dataclass(frozen=True)
class Slide:
    """One slide.

    Attributes:
        name: its address on the page, `#name`.
        title: as plain text.
        lead: what it shows, in a sentence or two, as plain text.
        figure: interactive; needs a title.
        body: trusted HTML, where there is no figure or beside it.
        foot: what must be known beside a score, as plain text.
        narrowest: the figure's least width on a phone, where it scrolls, in CSS pixels.
    """

    name: str
    title: str
    lead: str = ""
    figure: go.Figure | None = None
    body: str = ""
    foot: str = ""
    narrowest: int = 0


_TEMPLATES = templates("cxr.publish")


def embedded() -> str:
    """HTML for the head of a page that brings plotly.js (5 MB) along."""
    library = plotly.offline.get_plotlyjs()
    return _TEMPLATES.get_template("plotly.html").render(library="", plotly=library)


def beside(library: str = "plotly.min.js") -> str:
    """HTML for the head of a page that loads plotly.js from its folder, or else from the CDN."""
    return _TEMPLATES.get_template("plotly.html").render(library=library, cdn=PLOTLY_URL)


def fitted(figure: go.Figure) -> go.Figure:
    """A copy that fills its slide, whatever the size, with letters to be read from afar.

    The title stands above it, as the slide's caption, and the note below it at the foot.
    """
    copy = go.Figure(figure.data, _larger(figure.layout.to_plotly_json(), 1.25))
    copy.layout.template.layout.height = None
    copy.update_layout(height=None, autosize=True, margin={"t": 50})
    copy.layout.title.subtitle = None
    return copy


def _larger(layout, factor: float):
    """The layout with every font enlarged."""
    if isinstance(layout, dict):
        return {
            key: value * factor
            if key == "size" and isinstance(value, int | float)
            else _larger(value, factor)
            for key, value in layout.items()
        }
    if isinstance(layout, list | tuple):
        return [_larger(value, factor) for value in layout]
    return layout


def deck(
    title: str,
    slides: list[Slide],
    *,
    script: str,
    notice: str,
    pictures: Mapping[str, bytes] | None = None,
    head: str = "",
) -> str:
    """The page of all slides; the first one's title is the page's heading.

    Args:
        script: `embedded()` or `beside()`.
        notice: opens the foot of every slide, as plain text.
        pictures: slide name -> PNG of its figure, for readers without scripts or plotly.js.
        head: more HTML for `<head>`.
    """
    known = pictures or {}
    sizes = {
        "width": WIDTH,
        "height": HEIGHT,
        "figure_width": FIGURE[0],
        "figure_height": FIGURE[1],
    }
    style, body, foot = (
        _TEMPLATES.get_template(name).render(
            sizes,
            slides=slides,
            notice=notice,
            spoken=spoken,
            drawn=lambda slide: fragment(slide.figure, slide.name, picture=known.get(slide.name)),
        )
        for name in ("deck.css", "deck.html", "deck_foot.html")
    )
    return page(title, body, head=f"<style>\n{style}</style>\n{head}\n{script}", footer=foot)
