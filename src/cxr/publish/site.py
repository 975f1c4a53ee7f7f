"""A site of a profile's results: its notebooks and cards as pages that need no network."""

import copy
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import nbconvert
import nbformat
import plotly.graph_objects as go
from pygments.formatters import HtmlFormatter

from cxr import artifacts, figures
from cxr.config import PROJECT, Config
from cxr.figures import threshold
from cxr.figures.display import PLOTLY_TYPE
from cxr.figures.page import page, templates
from cxr.findings import label
from cxr.publish import markdown, notebooks, results, stills
from cxr.wording import with_interval

TITLE = "Detection of 14 pathologies in chest X-rays"

# Of pygments' styles, one whose every colour can be read on the page's grey.
_CODE = f"""\
<style>
{HtmlFormatter(style="xcode").get_style_defs(".highlight")}
.highlight {{ background: var(--soft); border-radius: 4px; margin: 1rem 0 .5rem; }}
.highlight pre {{ margin: 0; }}
.output_area {{ margin: .5rem 0 1rem; }}
.output_area pre {{ background: none; border-left: 3px solid var(--line); border-radius: 0; }}
.prompt {{ display: none; }}
.code summary {{ color: var(--muted); font-size: .9rem; cursor: pointer; padding: .25rem 0; }}
@media print {{ .code {{ display: none; }} }}
</style>
<noscript><style>.cxr-figure > div:empty::after {{
  content: "This figure is interactive and needs JavaScript; its numbers are in the tables."; }}
</style></noscript>"""


def write(config: Config) -> Path:
    """Write the site into `<presentation>/site/`, and return its index page.

    The pages are the executed notebooks, the galleries of films, films in full, cards,
    checklists, the project's documents, and the slides if `<presentation>/deck.html` is there.
    Links are relative and plotly.js lies beside them, once, so that the folder can be moved,
    zipped, or opened from a disk.

    Raises:
        InputError: if a notebook was not executed yet.
    """
    executed = notebooks.executed(config)
    folder = config.presentation / "site"
    library = figures.write_library(folder)
    texts = {path.stem: path for path in sorted(config.presentation.glob("*.md"))}
    links = {"Results": "index.html"}
    links |= {f"{stage} {_title(book)}": _address(stage) for stage, book in executed.items()}
    cards = {_words(name): f"{name}.html" for name in texts}
    deck = config.presentation / "deck.html"
    if deck.exists():
        with artifacts.atomic(folder / "deck.html") as temporary:
            # The galleries lie beside the slides here.
            slides = deck.read_text(encoding="utf-8").replace(f'href="{stills.GALLERIES}', 'href="')
            temporary.write_text(slides, encoding="utf-8")
        cards["Slides"] = "deck.html"
    figure_pages = config.presentation / "figures"
    galleries = sorted((*figure_pages.glob("gallery_*.html"), *figure_pages.glob("films.html")))
    for path in galleries:
        with artifacts.atomic(folder / path.name) as temporary:
            shutil.copyfile(path, temporary)
    # Cards of models can be many, so only the first page lists those.
    links |= {
        words: link for words, link in cards.items() if link in ("data_card.html", "deck.html")
    }
    for stage, book in executed.items():
        body = notebook_page(book, library)
        _save(folder, _address(stage), f"{stage} {_title(book)}", body, links)
    for path in sorted((PROJECT / "docs").glob("*.md")):
        text = path.read_text(encoding="utf-8")
        title = text.partition("\n")[0].removeprefix("# ")
        cards[title] = _document(path.name)
        _save(folder, _document(path.name), title, _markdown(text), links)
    for name, path in texts.items():
        body = _markdown(path.read_text(encoding="utf-8"))
        _save(folder, f"{name}.html", _words(name), body, links)
    index = _index(config, executed, cards, [path.stem for path in galleries], library)
    return _save(folder, "index.html", TITLE, index, links)


def notebook_page(notebook: nbformat.NotebookNode, library: str) -> str:
    """HTML of an executed notebook; its figures take plotly.js from `library`."""
    notebook = copy.deepcopy(notebook)
    number = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if PLOTLY_TYPE in data:
                number += 1
                drawing = figures.fragment(
                    go.Figure(data[PLOTLY_TYPE]), f"figure-{number}", library=library
                )
                output.data = nbformat.from_dict({"text/html": drawing})
            elif "<table" in data.get("text/html", ""):
                data["text/html"] = markdown.scrolling(data["text/html"])
    # Headings keep their names, to which links lead, and lose the pilcrow beside them.
    text = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(notebook)[0]
    text = re.sub(r'<a class="anchor-link".*?</a>', "", text)
    return _linked(markdown.wide_tables(_folded(text)))


def _folded(text: str) -> str:
    """Fold code away until it is asked for: the page reads as an article."""
    return re.sub(
        r'<div class="highlight hl-\w+">.*?</pre>\s*</div>',
        lambda found: f'<details class="code"><summary>Code</summary>{found[0]}</details>',
        text,
        flags=re.DOTALL,
    )


def _document(name: str) -> str:
    """The page of a file of `docs/`; results may have a card of the same name."""
    return f"docs-{Path(name).stem}.html"


def _linked(text: str) -> str:
    """Lead links to a notebook or a document to its page, to other files to the repository.

    Until the repository has an address, what would lead there is words without a link.
    """

    def lead(found: re.Match) -> str:
        target, _, part = found[1].partition("#")
        name = target.removeprefix("docs/").removeprefix("../")
        if name in notebooks.STAGES.values():
            address = f"{Path(name).stem}.html"
        elif target and (PROJECT / "docs" / name).is_file():
            address = _document(name)
        elif target and (PROJECT / name).exists():
            repository = notebooks.repository()
            if repository is None:
                return found[2]
            address = f"{repository}/blob/main/{name}"
        else:
            return found[0]
        return f'<a href="{address}{"#" + part if part else ""}">{found[2]}</a>'

    return re.sub(r'<a href="([^":]*)">(.*?)</a>', lead, text, flags=re.DOTALL)


def _index(
    config: Config,
    executed: Mapping[str, nbformat.NotebookNode],
    cards: Mapping[str, str],
    galleries: list[str],
    library: str,
) -> str:
    """The first page: what was found, and where everything else is."""
    means, drawing, curves, best = {}, "", None, ""
    tables = config.presentation / "tables"
    if any(tables.glob("auroc_*.csv")):
        found = results.of_folder(tables)
        means = {words: found.mean(run) for run, words in found.named().items()}
        title = "AUROC by finding, with 95 % intervals"
        ranked = figures.ranked(found.tables("auroc"), title=title, axis="AUROC", reference=0.5)
        drawing = figures.fragment(ranked, "results", library=library)
        best = found.named()[found.best().name]
        curves = found.table("roc", found.best().name)
    return (
        templates("cxr.publish")
        .get_template("index.html")
        .render(
            title=TITLE,
            banner=_markdown(config.banner),
            means=means,
            with_interval=with_interval,
            drawing=drawing,
            best=best,
            sliders="" if curves is None else threshold.sliders(curves),
            films={_film_page(name): (f"{name}.html", "") for name in galleries},
            notebooks={
                f"{s} · {_title(b)}": (_address(s), _question(b)) for s, b in executed.items()
            },
            cards={words: (link, _purpose(link)) for words, link in cards.items()},
        )
    )


def _film_page(name: str) -> str:
    """A page of films in words: a finding's gallery, or what is said of single films."""
    return "Single films, in full" if name == "films" else label(name.removeprefix("gallery_"))


def _save(folder: Path, name: str, title: str, body: str, links: Mapping[str, str]) -> Path:
    content = page(title, body, links=links, current=name, head=_CODE)
    artifacts.write_text(folder / name, content)
    return folder / name


def _markdown(text: str) -> str:
    return _linked(markdown.trusted(text))


def _address(stage: str) -> str:
    return f"{Path(notebooks.STAGES[stage]).stem}.html"


def _title(notebook: nbformat.NotebookNode) -> str:
    """A notebook's title without its number."""
    return notebook.cells[0].source.splitlines()[0].split("·")[-1].strip("# ")


def _question(notebook: nbformat.NotebookNode) -> str:
    """The question that a notebook opens with, or else its first statement."""
    lead = notebook.cells[0].source.partition("\n")[2].strip()
    return re.findall("[^?.;]*[?.;]?", lead)[0].replace(";", ".")


def _words(name: str) -> str:
    """A file's name in words: "model_card_baseline-patient" is "Model card: baseline-patient"."""
    for kind in ("model_card", "checklist", "data_card"):
        if name.startswith(kind):
            run = name.removeprefix(kind).strip("_")
            return kind.replace("_", " ").capitalize() + (f": {run}" if run else "")
    return name.replace("_", " ")


def _purpose(address: str) -> str:
    purposes = {
        "model_card": "What to know before using this model for research, limits included.",
        "checklist": "What was done and what was not, item by item after CLAIM.",
        "data_card": "What the films and labels are, and what they are not.",
        "deck": "The results as slides.",
    }
    return next((text for kind, text in purposes.items() if address.startswith(kind)), "")
