"""Slides on one page: arrow keys on a large screen, scrolling on a phone, a page each in print."""

import dataclasses
import html

import plotly.graph_objects as go
import plotly.offline

from cxr.figures.display import PLOTLY_URL, fragment, spoken
from cxr.figures.page import page

# A printed slide, and a figure on it, in CSS pixels (96 an inch).
WIDTH, HEIGHT = 1280, 720
FIGURE = (WIDTH - 120, 480)

_STYLE = f"""\
html {{ font-size: clamp(16px, .55rem + .7vw, 26px); scroll-padding-top: 0; }}
main, footer {{ max-width: none; }}
main {{ padding: 0; }}
.slide {{ display: flex; flex-direction: column; gap: .6rem; padding: 1.2rem clamp(1rem, 4vw, 4rem);
  border-bottom: 1px solid var(--line); }}
.slide:focus {{ outline: none; }}
.slide h1, .slide h2 {{ margin: 0; }}
.slide h1 {{ font-size: 2.4rem; }}
.slide h2 {{ font-size: 1.7rem; }}
.slide p, .slide ul {{ max-width: 60rem; margin: 0; }}
.slide li {{ margin: .45rem 0; }}
.slide .body {{ flex: 1; min-height: 0; display: flex; flex-direction: column; gap: .8rem; }}
.slide .caption {{ font-weight: 600; font-size: .9rem; }}
.numbers {{ display: flex; flex-wrap: wrap; gap: .5rem 3rem; list-style: none; padding: 0; }}
.numbers b {{ display: block; font-size: 2.8rem; line-height: 1.2; color: var(--link); }}
/* The caption above says it, and breaks its lines on a phone. */
.figure .g-gtitle {{ display: none; }}
.slide .wide {{ margin: 0; }}
.slide .foot {{ display: flex; gap: 1rem; justify-content: space-between; max-width: none;
  color: var(--muted); font-size: .72rem; line-height: 1.4; margin-top: auto; }}
.slide .foot strong {{ color: var(--ink); }}
.slide .number {{ white-space: nowrap; }}
.slide table {{ font-size: 1em; }}
.slide .warning {{ padding: .3rem .8rem; background: var(--notice); max-width: none; }}
.findings {{ display: flex; flex-wrap: wrap; gap: .5rem; list-style: none; padding: 0; }}
.findings li {{ margin: 0; padding: .1rem .7rem; border: 1px solid; border-radius: 1rem; }}
.figure {{ overflow-x: auto; }}
.cxr-figure img {{ width: 100%; height: 100%; object-fit: contain; }}
.steps {{ position: fixed; right: .8rem; bottom: .6rem; z-index: 5; display: flex; gap: .3rem; }}
.steps button {{ font: inherit; font-size: .9rem; line-height: 1; padding: .45rem .7rem;
  color: var(--ink); background: var(--paper); border: 1px solid; border-radius: 4px; }}
@media screen and (min-width: 60rem) and (min-height: 40rem) {{
  html {{ scroll-snap-type: y proximity; }}
  .slide {{ height: 100vh; scroll-snap-align: start; border: 0; }}
  .slide .foot {{ padding-right: 8rem; }}
  .slide .body {{ padding-top: 5vh; font-size: 1.2rem; }}
  .slide .body p, .slide .body ul {{ max-width: 50em; }}
  .slide:first-child {{ padding-top: 14vh; }}
  .slide:first-child h1 {{ font-size: 3.2rem; }}
  .slide:first-child > p:not(.foot) {{ font-size: 1.3rem; }}
  .figure {{ flex: 1; min-height: 0; overflow: hidden; }}
  .figure .cxr-figure {{ height: 100% !important; }}
  body > .notice {{ display: none; }}
}}
@media screen and (max-width: 60rem) {{
  .figure .cxr-figure {{ min-width: var(--narrowest, 0); }}
  .steps {{ display: none; }}
}}
@page {{ size: {WIDTH}px {HEIGHT}px; margin: 0; }}
@media print {{
  html {{ font-size: 18px; }}
  body > .notice, footer, .steps {{ display: none; }}
  .slide {{ width: {WIDTH}px; height: {HEIGHT}px; padding: 28px 60px; border: 0; overflow: hidden;
    break-after: page; break-inside: avoid; }}
  .slide:last-child {{ break-after: auto; }}
  .slide .body {{ padding-top: 30px; font-size: 1.15rem; }}
  .slide:first-child {{ padding-top: 80px; }}
  .slide:first-child h1 {{ font-size: 2.8rem; }}
  .figure {{ overflow: hidden; flex: none; }}
  .figure .cxr-figure {{ height: {FIGURE[1]}px !important; width: {FIGURE[0]}px !important; }}
}}
"""

# Keys of presenters' remote controls are those of the page: PageUp and PageDown.
_SCRIPT = f"""\
<div class="steps"><button type="button" aria-label="Previous slide" data-step="-1">&#9650;</button>
<button type="button" aria-label="Next slide" data-step="1">&#9660;</button></div>
<script>
(() => {{
  const slides = [...document.querySelectorAll(".slide")];
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const at = () => slides.findLastIndex((slide) => slide.getBoundingClientRect().top < 9);
  const go = (place) => {{
    const slide = slides[Math.min(Math.max(place, 0), slides.length - 1)];
    slide.focus({{preventScroll: true}});
    slide.scrollIntoView({{behavior: still.matches ? "auto" : "smooth"}});
    history.replaceState(null, "", "#" + slide.id);
  }};
  const steps = {{ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1,
    ArrowLeft: -1, ArrowUp: -1, PageUp: -1}};
  const wide = matchMedia("(min-width: 60rem) and (min-height: 40rem)");
  addEventListener("keydown", (event) => {{
    // On a phone or a low window the keys scroll, as everywhere.
    if (!wide.matches || event.altKey || event.ctrlKey || event.metaKey) return;
    if (event.key === " " && event.target.closest("button, a")) return;
    const end = {{Home: 0, End: slides.length - 1}}[event.key];
    const step = event.shiftKey && event.key === " " ? -1 : steps[event.key];
    if (end === undefined && step === undefined) return;
    event.preventDefault();
    go(end ?? Math.max(at(), 0) + step);
  }});
  document.querySelectorAll("[data-step]").forEach((button) => button.addEventListener(
    "click", () => go(Math.max(at(), 0) + Number(button.dataset.step))));
  const figures = () => document.querySelectorAll(".js-plotly-plot");
  addEventListener("beforeprint", () => figures().forEach((figure) => Plotly.relayout(
    figure, {{width: {FIGURE[0]}, height: {FIGURE[1]}, autosize: false}})));
  addEventListener("afterprint", () => figures().forEach((figure) => Plotly.relayout(
    figure, {{width: null, height: null, autosize: true}})));
}})();
</script>"""

# Asks for the copy beside the page, and only where there is none for the CDN's.
_LOADER = """\
<script>
window.cxrPlotly = ["{beside}", "{cdn}"].reduce(
  (before, address) => before.catch(() => new Promise((loaded, failed) => {{
    const script = document.createElement("script");
    script.src = address;
    script.onload = loaded;
    script.onerror = failed;
    document.head.append(script);
  }})), Promise.reject());
</script>"""


# A figure that draws before its slide is whole would take the room of what follows it.
_WHOLE = """\
<script>
window.cxrPlotly = new Promise((whole) => addEventListener("DOMContentLoaded", whole));
</script>"""


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


def embedded() -> str:
    """HTML for the head of a page that brings plotly.js (5 MB) along."""
    return f"<script>{plotly.offline.get_plotlyjs()}</script>\n{_WHOLE}"


def beside(library: str = "plotly.min.js") -> str:
    """HTML for the head of a page that loads plotly.js from its folder, or else from the CDN."""
    return _LOADER.format(beside=library, cdn=PLOTLY_URL)


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
    pictures: dict[str, bytes] | None = None,
    head: str = "",
) -> str:
    """The page of all slides; the first one's title is the page's heading.

    Args:
        script: `embedded()` or `beside()`.
        notice: opens the foot of every slide, as plain text.
        pictures: slide name -> PNG of its figure, for readers without scripts or plotly.js.
        head: more HTML for `<head>`.
    """
    parts = []
    for place, slide in enumerate(slides, start=1):
        level = "h1" if place == 1 else "h2"
        content = slide.body
        if slide.figure is not None:
            drawing = fragment(slide.figure, slide.name, picture=(pictures or {}).get(slide.name))
            content = (
                f'<p class="caption">{html.escape(spoken(slide.figure))}</p>'
                f'<div class="figure" style="--narrowest: {slide.narrowest}px" tabindex="0" '
                f'role="group" aria-label="{html.escape(spoken(slide.figure))}">{drawing}</div>'
                f"{slide.body}"
            )
        else:
            content = f'<div class="body">{slide.body}</div>'
        lead = f"<p>{html.escape(slide.lead)}</p>" if slide.lead else ""
        parts.append(
            f'<section class="slide" id="{slide.name}" tabindex="-1" '
            f'aria-label="Slide {place} of {len(slides)}">\n'
            f"<{level}>{html.escape(slide.title)}</{level}>\n{lead}\n{content}\n"
            f'<p class="foot"><span><strong>{html.escape(notice)}</strong> '
            f'{html.escape(slide.foot)}</span><span class="number">{place} / {len(slides)}</span>'
            "</p>\n</section>"
        )
    styled = f"<style>\n{_STYLE}</style>\n{head}\n{script}"
    return page(title, "\n".join(parts), head=styled, footer=_SCRIPT)
