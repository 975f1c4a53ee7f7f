"""One visual identity, and the one function that shows a figure."""

import hashlib
import html
import itertools
import json
from pathlib import Path

import plotly.graph_objects as go
import plotly.io
import plotly.offline
from IPython.display import display

from cxr import artifacts
from cxr.findings import FINDINGS, NO_FINDING

# Text and background meet WCAG AA contrast (4.5:1).
INK, MUTED, GRID, PAPER = "#1f2933", "#52606d", "#e4e7eb", "#ffffff"

# Splits, models and groups take these in order: Okabe and Ito's palette (2008), made
# to be told apart with every kind of colour blindness; its yellow is too pale on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")

SPLIT_COLOURS = {"train": PALETTE[0], "validation": PALETTE[5], "test": PALETTE[1]}

# Fourteen hues cannot all be told apart, so each finding also has a marker and a dash
# of its own: the seven colours twice, the second time with another shape.
FINDING_COLOURS = {f: PALETTE[i % 7] for i, f in enumerate(FINDINGS)} | {NO_FINDING: MUTED}
FINDING_DASHES = {f: ("solid", "dash")[i // 7] for i, f in enumerate(FINDINGS)}
FINDING_SYMBOLS = {f: ("circle", "diamond")[i // 7] for i, f in enumerate(FINDINGS)}

TEMPLATE = go.layout.Template(
    layout=go.Layout(
        font={"family": "Inter, Segoe UI, Helvetica, Arial, sans-serif", "size": 13, "color": INK},
        title={"font": {"size": 17}, "x": 0.01, "xanchor": "left"},
        paper_bgcolor=PAPER,
        plot_bgcolor=PAPER,
        colorway=list(PALETTE),
        colorscale={"sequential": "Viridis", "diverging": "RdBu"},
        xaxis={"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": MUTED, "automargin": True},
        yaxis={"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": MUTED, "automargin": True},
        legend={"bgcolor": "rgba(255,255,255,0.8)"},
        hoverlabel={"bgcolor": PAPER, "font": {"color": INK}},
        margin={"l": 60, "r": 30, "t": 60, "b": 50},
        height=480,
    )
)
plotly.io.templates["cxr"] = TEMPLATE
plotly.io.templates.default = "cxr"


def label(name: str) -> str:
    """A finding's name in words: "Pleural_Thickening" reads "Pleural thickening"."""
    return name.replace("_", " ").capitalize() if "_" in name else name


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


def show(figure: go.Figure) -> None:
    """Display a figure so that JupyterLab, VS Code, nbviewer and exported HTML draw it.

    The output holds plotly's own format, which JupyterLab and VS Code prefer, and HTML
    that loads plotly.js once per page, at the version that made the figure.

    Args:
        figure: needs a title, which is also what a screen reader says.
    """
    title = figure.layout.title.text
    if not title:
        raise ValueError("a figure needs a title: it is also its text for screen readers")
    content = figure.to_json()
    # The same notebook gives the same output: the number of the figure, not a random id.
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    page = _HTML.format(
        id=f"figure-{next(_shown)}-{digest}",
        title=html.escape(title, quote=True),
        height=figure.layout.height or TEMPLATE.layout.height,
        url=PLOTLY_URL,
        figure=content.replace("</", "<\\/"),
    )
    display({"application/vnd.plotly.v1+json": json.loads(content), "text/html": page}, raw=True)


def save(figure: go.Figure, path: Path) -> go.Figure:
    """Write a figure as an interactive page that needs no network, and return it.

    plotly.js (5 MB) is written once per folder, as `plotly.min.js`, for all its pages.
    """
    library = path.with_name("plotly.min.js")
    if not library.exists():
        artifacts.write_text(library, plotly.offline.get_plotlyjs())
    content = figure.to_html(include_plotlyjs="plotly.min.js", div_id=path.stem)
    artifacts.write_text(path, content)
    return figure
