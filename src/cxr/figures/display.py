"""The one way to show a figure: in a notebook, on a page, in a file."""

import base64
import hashlib
import html
import itertools
import json
from pathlib import Path

import plotly.graph_objects as go
import plotly.offline
from IPython.display import display

from cxr import artifacts
from cxr.figures.in_words import described, spoken
from cxr.figures.narrow import reflowed
from cxr.figures.page import page
from cxr.figures.style import MUTED, TEMPLATE

PLOTLY_URL = f"https://cdn.plot.ly/plotly-{plotly.offline.get_plotlyjs_version()}.min.js"

# plotly's own format, which JupyterLab and VS Code prefer to HTML.
PLOTLY_TYPE = "application/vnd.plotly.v1+json"

_shown = itertools.count(1)

# The page's first figure asks for plotly.js, all others wait for the same promise; a page
# that brings its own copy asks for nothing. A plain script element is used on purpose:
# under RequireJS (nbviewer) the name given to `require` loses its ending and fails.
# On a narrow screen a grid takes fewer columns; another figure keeps a width at which it can
# be read, and scrolls sideways, with a hint. A finger scrolls the page instead of zooming into
# the figure. The buttons are one tab stop; arrow keys go from one to the next.
_HTML = """\
<div id="{id}" class="cxr-figure" role="group" aria-label="{said}" \
style="height:{height}px;overflow:auto hidden">\
<div style="height:100%;min-width:var(--narrowest, 704px)">{picture}</div></div>
<script>
(() => {{
  window.cxrPlotly ??= window.Plotly ? Promise.resolve() : new Promise((loaded, failed) => {{
    const script = document.createElement("script");
    script.src = "{library}";
    script.onload = loaded;
    script.onerror = failed;
    document.head.append(script);
  }});
  const outer = document.getElementById("{id}"), box = outer.firstElementChild;
  const figure = {figure};
  const config = {config};
  const narrow = {narrow};
  if (matchMedia("(pointer: coarse)").matches) {{
    figure.layout.dragmode = false;
    config.displayModeBar = false;
  }}
  const phone = matchMedia("(max-width: 640px)"), hint = document.createElement("div");
  hint.textContent = "scroll sideways \\u2192";
  hint.style.cssText = "text-align:right;font-size:12px;color:{muted}";
  hint.ariaHidden = "true";
  outer.before(hint);
  const tell = () => {{
    const scrolls = outer.scrollWidth > outer.clientWidth;
    // On slides it is what holds the figure that scrolls.
    hint.hidden = !scrolls && outer.offsetWidth <= outer.parentElement.clientWidth;
    if (scrolls) outer.tabIndex = 0; else outer.removeAttribute("tabindex");
  }};
  const draw = () => {{
    const small = narrow && phone.matches, copy = structuredClone(figure);
    box.replaceChildren();
    if (narrow) {{
      outer.style.height = (small ? narrow.height : {height}) + "px";
      box.style.minWidth = small ? 0 : "";
      box.style.minWidth ||= "var(--narrowest, 704px)";
    }}
    return Plotly.newPlot(box, copy.data, copy.layout, config)
      // A screen that has been turned meanwhile is drawn anew already.
      .then(() => small && phone.matches && Plotly.relayout(box, narrow)).then(() => {{
        tell();
        const buttons = [...box.querySelectorAll(".modebar-btn")];
        buttons.forEach((button, place) => {{ button.tabIndex = place ? -1 : 0; }});
        box.onkeydown = (event) => {{
          const step = {{ArrowRight: 1, ArrowLeft: -1}}[event.key];
          const from = buttons.indexOf(event.target);
          if (from >= 0) buttons[from + step]?.focus();
        }};
      }});
  }};
  window.cxrPlotly.then(() => {{
    phone.addEventListener("change", draw);
    return draw();
  }}, () => {{
    if (!box.firstElementChild) box.append("This figure needs {library}, which did not load.");
    tell();
  }});
}})();
</script>"""

# The picture is what a reader sees where no script runs or none loads; the script replaces it.
_PICTURE = (
    '<img alt="{said}" src="data:image/png;base64,{data}" '
    'style="width:100%;height:100%;object-fit:contain;object-position:left top">'
)

_CONFIG = {"responsive": True, "displaylogo": False}


def fragment(
    figure: go.Figure, name: str, *, library: str = PLOTLY_URL, picture: bytes | None = None
) -> str:
    """HTML that draws a figure, to stand anywhere on a page.

    Args:
        figure: needs a title, which is also what a screen reader says.
        name: starts the element's id; one per figure of a page.
        library: where to load plotly.js from, if the page does not hold it: once per page.
        picture: a PNG of the figure, for readers whose viewer runs no scripts.
    """
    # The same figure gives the same output: keys in order, and a digest, not a random id.
    content = json.dumps(
        json.loads(figure.to_json()), sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )
    digest = hashlib.sha256(content.encode()).hexdigest()[:8]
    said = html.escape(described(figure), quote=True)
    data = base64.b64encode(picture).decode() if picture else ""
    return _HTML.format(
        id=f"{name}-{digest}",
        said=said,
        height=figure.layout.height or TEMPLATE.layout.height,
        picture=_PICTURE.format(said=said, data=data) if picture else "",
        library=library,
        figure=content.replace("</", "<\\/"),
        config=json.dumps(_CONFIG),
        narrow=json.dumps(reflowed(figure), ensure_ascii=False).replace("</", "<\\/"),
        muted=MUTED,
    )


def bundle(figure: go.Figure, name: str, *, picture: bytes | None = None) -> dict:
    """A figure in every format that a notebook's reader may look for, by MIME type.

    JupyterLab and VS Code take plotly's own, nbviewer and nbconvert the HTML, which also
    holds the picture; who reads neither finds the picture by itself.
    """
    formats = {
        PLOTLY_TYPE: json.loads(figure.to_json()) | {"config": _CONFIG},
        "text/html": fragment(figure, name, picture=picture),
    }
    if picture:
        formats["image/png"] = base64.b64encode(picture).decode()
    return formats


def show(figure: go.Figure) -> None:
    """Display a figure so that JupyterLab, VS Code, nbviewer and exported HTML draw it.

    plotly.js is loaded once per page, at the version that made the figure.

    Args:
        figure: needs a title, which is also what a screen reader says.
    """
    display(bundle(figure, f"figure-{next(_shown)}"), raw=True)


def save(figure: go.Figure, path: Path) -> go.Figure:
    """Write a figure as an interactive page that needs no network, and return it.

    plotly.js (5 MB) is written once per folder, as `plotly.min.js`, for all its pages.
    """
    drawing = fragment(figure, path.stem, library=write_library(path.parent))
    artifacts.write_text(path, page(spoken(figure), drawing))
    return figure


def write_library(folder: Path) -> str:
    """Put this version's plotly.js into `folder`, unless it lies there; return its name."""
    path = folder / "plotly.min.js"
    script = plotly.offline.get_plotlyjs()
    if not path.exists() or path.read_text(encoding="utf-8") != script:
        artifacts.write_text(path, script)
    return path.name
