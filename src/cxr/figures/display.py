"""The one way to show a figure: in a notebook, on a page, in a file."""

import hashlib
import html
import itertools
import json
import re
from pathlib import Path

import plotly.graph_objects as go
import plotly.offline
from IPython.display import display

from cxr import artifacts
from cxr.figures.page import page
from cxr.figures.style import TEMPLATE

PLOTLY_URL = f"https://cdn.plot.ly/plotly-{plotly.offline.get_plotlyjs_version()}.min.js"

_shown = itertools.count(1)

# The page's first figure asks for plotly.js, all others wait for the same promise; a page
# that brings its own copy asks for nothing. A plain script element is used on purpose:
# under RequireJS (nbviewer) the name given to `require` loses its ending and fails.
_HTML = """\
<div id="{id}" class="cxr-figure" role="img" aria-label="{title}" \
style="width:100%;height:{height}px"></div>
<script>
(() => {{
  window.cxrPlotly ??= window.Plotly ? Promise.resolve() : new Promise((loaded, failed) => {{
    const script = document.createElement("script");
    script.src = "{url}";
    script.onload = loaded;
    script.onerror = failed;
    document.head.append(script);
  }});
  const box = document.getElementById("{id}");
  const figure = {figure};
  window.cxrPlotly.then(
    () => Plotly.newPlot(box, figure.data, figure.layout, {{responsive: true}}),
    () => {{ box.textContent = "This figure needs {url}, which did not load."; }});
}})();
</script>"""


def spoken(figure: go.Figure) -> str:
    """The figure's title without markup: what a screen reader says."""
    title = figure.layout.title.text
    if not title:
        raise ValueError("a figure needs a title: it is also its text for screen readers")
    return " ".join(re.sub("<[^>]*>", " ", title).split())


def fragment(figure: go.Figure, name: str) -> str:
    """HTML that draws a figure with the page's own plotly.js, or else with the CDN's.

    Args:
        figure: needs a title, which is also what a screen reader says.
        name: starts the element's id; one per figure of a page.
    """
    content = figure.to_json()
    # The same notebook gives the same output: a digest of the figure, not a random id.
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    return _HTML.format(
        id=f"{name}-{digest}",
        title=html.escape(spoken(figure), quote=True),
        height=figure.layout.height or TEMPLATE.layout.height,
        url=PLOTLY_URL,
        figure=content.replace("</", "<\\/"),
    )


def show(figure: go.Figure) -> None:
    """Display a figure so that JupyterLab, VS Code, nbviewer and exported HTML draw it.

    The output holds plotly's own format, which JupyterLab and VS Code prefer, and HTML
    that loads plotly.js once per page, at the version that made the figure.

    Args:
        figure: needs a title, which is also what a screen reader says.
    """
    shown = fragment(figure, f"figure-{next(_shown)}")
    content = json.loads(figure.to_json())
    display({"application/vnd.plotly.v1+json": content, "text/html": shown}, raw=True)


def save(figure: go.Figure, path: Path) -> go.Figure:
    """Write a figure as an interactive page that needs no network, and return it.

    plotly.js (5 MB) is written once per folder, as `plotly.min.js`, for all its pages.
    """
    library = path.with_name("plotly.min.js")
    if not library.exists():
        artifacts.write_text(library, plotly.offline.get_plotlyjs())
    script = '<script src="plotly.min.js"></script>'
    artifacts.write_text(path, page(spoken(figure), fragment(figure, path.stem), head=script))
    return figure
