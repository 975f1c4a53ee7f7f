"""What a reader's browser draws, wherever the notebooks are read.

A headless Chromium opens pages from the disk, and every request to a network is answered
here: the CDN of plotly.js serves exactly one file, everything else is refused and remembered.
"""

import contextlib
import importlib.resources
import io
import itertools
import re
import shutil

import nbconvert
import nbformat
import pandas as pd
import plotly.graph_objects as go
import plotly.offline
import pytest
from PIL import Image

from cxr import config, figures
from cxr.errors import InputError
from cxr.figures import film_viewer, in_words, threshold
from cxr.figures.display import PLOTLY_TYPE, PLOTLY_URL
from cxr.figures.page import NOTICE, page
from cxr.publish import browser, deck, notebooks, results, site

pytestmark = pytest.mark.skipif(
    not browser.path(), reason="no Chromium is installed: figures are not looked at"
)

COMMITTED = [config.PROJECT / name for name in notebooks.STAGES.values()]

# What matters of RequireJS: it offers `define.amd`, so that a library may register itself
# there instead of on the page; it completes names by ".js"; and it complains of an anonymous
# `define` that no `require` asked for.
REQUIRE = """
(() => {
  const waiting = [], modules = {};
  window.define = (...given) => { waiting.push(given); };
  window.define.amd = {};
  window.requirejs = window.require = (names, done, failed) => {
    if (waiting.some((given) => typeof given[0] !== "string"))
      throw new Error("Mismatched anonymous define() module");
    Promise.all(names.map((name) => modules[name] ??= new Promise((loaded, refused) => {
      const script = document.createElement("script");
      script.src = name + ".js";
      script.onload = () => {
        const given = waiting.shift();
        loaded(given && given.at(-1)());
      };
      script.onerror = () => refused(new Error("Script error for " + name));
      document.head.append(script);
    }))).then((found) => done && done(...found), (error) => {
      if (failed) failed(error); else throw error;
    });
  };
  window.requirejs.config = () => {};
})();
"""

# Of each figure, the elements that stand for data: lines, bars, markers, boxes, pictures.
MARKS = """(box) => {
  // The layers of data, beside those of grids, axes and legends.
  const layers = [...box.querySelectorAll(".plot, .overplot")];
  const drawn = layers.flatMap((layer) => [...layer.querySelectorAll("path, image, rect, canvas")]);
  return drawn.filter((mark) => {
    const place = mark.getBoundingClientRect();
    return place.width > 0 || place.height > 0;
  }).length;
}"""

# The figures are drawn: their boxes hold what plotly.js makes, and nothing is under way.
DRAWN = """(number) => {
  const boxes = [...document.querySelectorAll(".cxr-figure")];
  return boxes.length === number && boxes.every((box) => box.querySelector(".plot, .overplot"));
}"""


@pytest.fixture(scope="module")
def chromium():
    with browser.opened() as opened:
        yield opened


class Reader:
    """A tab that remembers what it asked for and what went wrong."""

    def __init__(self, context, answers):
        self.asked, self.errors = [], []
        self._answers = answers
        context.route(re.compile("^https?://"), self._answer)
        self.tab = context.new_page()
        # A busy machine is no failure.
        self.tab.set_default_timeout(120_000)
        self.tab.on("pageerror", lambda error: self.errors.append(str(error)))
        self.tab.on("console", self._heard)

    def _answer(self, route):
        self.asked.append(route.request.url)
        if route.request.url in self._answers:
            route.fulfill(body=self._answers[route.request.url], content_type="text/javascript")
        else:
            route.fulfill(status=403, body="")

    def _heard(self, message):
        if message.type in ("error", "warning", "trace", "assert"):
            self.errors.append(message.text)

    def open(self, path, figures):
        """Open a page, wait until it has drawn so many figures, and return their marks."""
        self.tab.goto(path.as_uri())
        self.tab.wait_for_function(DRAWN, arg=figures)
        return [box.evaluate(MARKS) for box in self.tab.locator(".cxr-figure").all()]


@pytest.fixture
def read(chromium):
    """Start a reader: on a desktop, or with `phone`; `answers` maps addresses to scripts."""
    with contextlib.ExitStack() as stack:

        def start(answers=None, *, phone=False, **options):
            if phone:
                options |= {"viewport": {"width": 390, "height": 844}, "has_touch": True}
                options |= {"is_mobile": True}
            else:
                options |= {"viewport": {"width": 1440, "height": 900}}
            context = chromium.new_context(**options)
            stack.callback(context.close)
            return Reader(context, answers or {})

        yield start


def drawn_in(path):
    """The figures of a notebook."""
    notebook = nbformat.read(path, as_version=4)
    return [
        go.Figure(output.data[PLOTLY_TYPE])
        for cell in notebook.cells
        for output in notebooks.figures_of(cell)
    ]


def fully_drawn(marks, drawn):
    """Whether each figure has a mark for each of its visible traces, or says why it has none."""
    visible = [
        sum(trace.visible is not False and bool(holds_data(trace)) for trace in figure.data)
        for figure in drawn
    ]
    silent = [
        not any("too few patients" in str(note.text) for note in figure.layout.annotations)
        for figure in drawn
    ]
    return all(
        number >= max(least, one) for number, least, one in zip(marks, visible, silent, strict=True)
    )


def holds_data(trace):
    """Whether a trace has anything to draw: those of legends have one empty point."""
    return any(
        value is not None and len(value) > 0 and not pd.isna(pd.Series(list(value))).all()
        for value in (trace[name] for name in ("x", "y", "z") if name in trace)
        if value is not None and not isinstance(value, dict)
    ) or trace.type in ("image", "heatmap")


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_figure_draws_in_exported_html(path, read, tmp_path):
    drawn = drawn_in(path)
    exporter = nbconvert.HTMLExporter()
    content, _ = exporter.from_filename(path)
    (tmp_path / "n.html").write_text(content, encoding="utf-8")
    # Beside plotly.js, nbconvert's page asks for RequireJS and MathJax from another CDN.
    others = {exporter.require_js_url: REQUIRE, exporter.mathjax_url: ""}
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()} | others)
    assert fully_drawn(reader.open(tmp_path / "n.html", len(drawn)), drawn)
    assert reader.errors == []
    assert set(reader.asked) <= {PLOTLY_URL, *others}
    # Once per page, not once per figure.
    assert reader.asked.count(PLOTLY_URL) == 1


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_figure_draws_on_a_page_like_nbviewers(path, read, tmp_path):
    drawn = drawn_in(path)
    # nbviewer puts nbconvert's bare page into its own, below RequireJS.
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_filename(path)
    content = f"<!doctype html><meta charset='utf-8'><script>{REQUIRE}</script><body>{body}"
    (tmp_path / "n.html").write_text(content, encoding="utf-8")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()})
    assert fully_drawn(reader.open(tmp_path / "n.html", len(drawn)), drawn)
    assert reader.errors == []
    assert reader.asked == [PLOTLY_URL]


def test_plotlys_own_renderer_would_fail_here(read, tmp_path):
    # So the two tests above look at something that can go wrong.
    own = go.Figure(go.Bar(x=["Mass"], y=[3])).to_html(include_plotlyjs=False, full_html=False)
    script = f'<script>require(["{PLOTLY_URL.removesuffix(".min.js")}"], () => {{}})</script>'
    (tmp_path / "n.html").write_text(f"<script>{REQUIRE}</script>{script}{own}", encoding="utf-8")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()})
    reader.tab.goto((tmp_path / "n.html").as_uri())
    reader.tab.wait_for_timeout(200)
    assert any("Plotly is not defined" in error for error in reader.errors)
    assert reader.asked == [PLOTLY_URL.replace(".min.js", ".js")]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_without_scripts_every_figure_is_a_picture(path, read, tmp_path):
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_filename(path)
    (tmp_path / "n.html").write_text(f"<!doctype html><body>{body}", encoding="utf-8")
    reader = read(java_script_enabled=False)
    reader.tab.goto((tmp_path / "n.html").as_uri())
    pictures = reader.tab.locator(".cxr-figure img").all()
    drawn = drawn_in(path)
    assert len(pictures) == reader.tab.locator(".cxr-figure").count() == len(drawn) > 0
    for picture, figure in zip(pictures, drawn, strict=True):
        # What it finds, and not only what it is called.
        assert picture.get_attribute("alt") == in_words.described(figure)
        assert picture.bounding_box()["width"] > 300


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A root whose executed notebooks are the committed ones, its site, and that site's folder."""
    root = tmp_path_factory.mktemp("root")
    (root / "runs/notebooks").mkdir(parents=True)
    for path in COMMITTED:
        shutil.copy(path, root / "runs/notebooks")
    (root / "presentation/tables").mkdir(parents=True)
    findings = [*figures.FINDING_COLOURS][:14]
    for place, model in enumerate(("baseline", "residual")):
        auroc = [0.6 + 0.02 * i + 0.05 * place for i in range(14)]
        frame = pd.DataFrame({"finding": findings, "auroc": auroc})
        mean = pd.DataFrame({"finding": ["Mean"], "auroc": [frame["auroc"].mean()]})
        frame = pd.concat([frame, mean], ignore_index=True)
        frame = frame.assign(low=frame["auroc"] - 0.05, high=frame["auroc"] + 0.05)
        frame = frame.assign(positives=20, films=300, patients=200)
        frame.to_csv(root / f"presentation/tables/auroc_{model}-patient.csv", index=False)
        # Three points of a curve: nobody is flagged, half of the ill are, all are.
        curve = {"false_positive_rate": [0, 0.1, 1], "sensitivity": [0, 0.5, 1]}
        curve = pd.DataFrame(curve | {"threshold": [float("inf"), 0.7, 0.1]})
        curves = pd.concat([curve.assign(finding=finding) for finding in findings])
        curves.to_csv(root / f"presentation/tables/roc_{model}-patient.csv", index=False)
        card = (
            f"# Model card: {model}\n\n{NOTICE}\n\n| finding | AUROC |\n|---|---|\n| Mass | 0.7 |"
        )
        (root / f"presentation/model_card_{model}-patient.md").write_text(card)
    (root / "presentation/figures").mkdir()
    said = pd.DataFrame(
        {"finding": ["Mass"], "probability": 0.3, "threshold": 0.2, "reached": True}
    )
    said = said.assign(meaning="", with_it=0.8, without_it=0.2)
    viewer = film_viewer.viewer("film-1", "1.png", "scored", findings=said)
    whole = page("Films", f"<h1>Films</h1>{viewer}", head=film_viewer.head())
    (root / "presentation/figures/films.html").write_text(whole)
    (root / "presentation/data_card.md").write_text("# Data card\n\n112,120 films.")
    chosen = config.load_config({}, profile="demo", root=root)
    return chosen, site.write(chosen).parent


def test_every_figure_of_the_site_draws_without_a_network(published, read):
    _, folder = published
    reader = read(offline=True)
    for path in COMMITTED:
        drawn = drawn_in(path)
        assert fully_drawn(reader.open(folder / f"{path.stem}.html", len(drawn)), drawn), path.name
    reader.open(folder / "index.html", 1)
    assert reader.errors == []
    assert reader.asked == []


def test_the_threshold_is_tried_by_keyboard_on_a_thousand_people(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.tab.goto((folder / "index.html").as_uri())
    says, people = reader.tab.locator(".says"), reader.tab.locator(".people i")
    # 50 of 1,000 are ill: 25 found, 95 of the other 950 flagged; 25 of 120 are 21 %.
    assert "25 are found" in says.text_content() and "95 others" in says.text_content()
    assert "flagged, 21 % have it" in says.text_content()
    assert people.count() == 1000 and reader.tab.locator(".people .hit").count() == 25
    reader.tab.get_by_label("Threshold, from").press("End")
    assert "50 are found" in says.text_content() and "950 others" in says.text_content()
    reader.tab.get_by_label("People of 1,000").press("Home")
    assert "1,000 people 1 have it" in says.text_content()
    assert reader.errors == [] and reader.asked == []


def test_the_sliders_of_a_notebook_say_without_scripts_what_they_say_with_them(read, tmp_path):
    curve = {"false_positive_rate": [0, 0.1, 0.3, 1], "sensitivity": [0, 0.5, 0.9, 1]}
    curve = pd.DataFrame(curve | {"threshold": [float("inf"), 0.7, 0.25, 0.1], "finding": "Mass"})
    cell = nbformat.v4.new_code_cell("display(HTML(...))", id="cell", execution_count=1)
    data = {"text/html": threshold.sliders(curve)}
    cell.outputs = [nbformat.v4.new_output("display_data", data=data)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_notebook_node(notebook)
    page = f"<!doctype html><html lang=en><meta charset=utf-8><title>n</title><body>{body}"
    (tmp_path / "n.html").write_text(page, encoding="utf-8")
    said = []
    for scripts in (True, False):
        reader = read(java_script_enabled=scripts)
        reader.tab.goto((tmp_path / "n.html").as_uri())
        said.append(reader.tab.locator(".says").text_content())
        assert reader.tab.locator(".people img").count() == (not scripts)
        if scripts:
            assert reader.tab.locator(".people i").count() == 1000
            assert faults(reader.tab) == []
    assert said[0] == said[1] and said[0].startswith("At 0.25: sensitivity 90 %")


def test_every_page_of_the_site_is_reached_and_says_what_it_is_not(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.tab.goto((folder / "index.html").as_uri())
    links = "(links) => links.map((link) => link.getAttribute('href'))"
    addresses = set(reader.tab.locator("main a").evaluate_all(links))
    pages = {path.name for path in folder.glob("*.html")}
    assert addresses | {"index.html"} == pages
    documents = list((config.PROJECT / "docs").glob("*.md"))
    assert len(pages) == 1 + len(COMMITTED) + len(documents) + 4
    for name in sorted(pages):
        reader.tab.goto((folder / name).as_uri())
        assert NOTICE in reader.tab.locator("footer").inner_text()
        assert reader.tab.locator("html").get_attribute("lang") == "en"
        assert reader.tab.locator("h1").count() == 1
        for address in reader.tab.locator("a[href]").evaluate_all(links):
            if not address.startswith(("#", "https://")):
                assert (folder / address.partition("#")[0]).exists(), f"{name}: {address}"
        # Headings go down one step at a time.
        levels = reader.tab.locator("h1, h2, h3, h4").evaluate_all(
            "(all) => all.map((heading) => Number(heading.tagName[1]))"
        )
        assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))


def test_the_site_shows_what_is_said_of_single_films(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.tab.goto((folder / "index.html").as_uri())
    reader.tab.get_by_role("link", name="Single films, in full").click()
    assert reader.tab.locator(".film-row.flagged").inner_text().startswith("Mass")
    assert reader.errors == [] and reader.asked == []


def test_the_keyboard_skips_the_navigation(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.tab.goto((folder / "index.html").as_uri())
    reader.tab.keyboard.press("Tab")
    skip = reader.tab.locator(":focus")
    assert skip.inner_text() == "Skip to the content"
    assert skip.bounding_box()["x"] >= 0
    reader.tab.keyboard.press("Enter")
    assert reader.tab.evaluate("document.activeElement.id") == "main"


def test_no_page_of_the_site_is_wider_than_a_phone(published, read):
    _, folder = published
    reader = read(offline=True, phone=True)
    for path in sorted(folder.glob("*.html")):
        reader.tab.goto(path.as_uri())
        reader.tab.wait_for_load_state("load")
        assert reader.tab.evaluate("document.documentElement.scrollWidth") <= 390, path.name
    # Rows of findings stand there whole.
    reader.open(folder / "index.html", 1)
    box = reader.tab.locator(".cxr-figure")
    reader.tab.wait_for_function(f"() => ({LETTERS})() >= 9")
    assert box.evaluate("(box) => box.scrollWidth <= box.clientWidth")
    assert 300 < box.evaluate("(box) => box.clientWidth") < 390


def test_every_text_of_the_page_has_enough_contrast(published, read):
    _, folder = published
    reader = read(offline=True)
    for name in ("index.html", "100-data_cleaning_eda.html", "data_card.html"):
        reader.tab.goto((folder / name).as_uri())
        poorest = reader.tab.evaluate(CONTRAST)
        assert poorest["ratio"] >= 4.5, poorest


AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js")


def faults(tab, *, whole=False):
    """What axe finds serious or critical on the open page: rule and element of each.

    Args:
        whole: also within plotly's drawings, thousands of elements that are all made alike.
    """
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    where = {"include": [["body"]], "exclude": [] if whole else [[".main-svg"]]}
    found = tab.evaluate("(at) => axe.run(at, {resultTypes: ['violations']})", where)
    return [
        (fault["id"], node["target"][0])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
        for node in fault["nodes"]
    ]


# What nbconvert's own page does, by rule and element; nothing of ours may be among it.
NBCONVERTS_OWN = {
    # JupyterLab's theme: grey numbers beside the cells; in the code, on grey, purple words such as
    # `in`, and green numbers.
    "color-contrast": ".jp-InputPrompt, .jp-OutputPrompt, .highlight :is(.ow, .mi, .mf)",
    # Its links in a text are told by their colour alone.
    "link-in-text-block": ".jp-RenderedMarkdown a",
}


def all_drawn(tab):
    tab.wait_for_function(
        "() => [...document.querySelectorAll('.cxr-figure')].every("
        "(box) => box.querySelector('.plot, .overplot'))"
    )


# Pages of the site that are quick to look at; the notebooks with many figures are not.
BRIEF = "[!123]*.html"


def site_faults(reader, folder, pages="*.html", **options):
    """Page -> what axe finds on it, for all `pages` of a site where it finds anything."""
    found = {}
    for path in sorted(folder.glob(pages)):
        reader.tab.goto(path.as_uri())
        all_drawn(reader.tab)
        found[path.name] = faults(reader.tab, **options)
    # Index, a notebook, cards, films and documents.
    assert len(found) >= 6
    return {name: said for name, said in found.items() if said}


def test_axe_finds_nothing_serious_on_the_pages_of_the_site(published, read):
    _, folder = published
    assert site_faults(read(offline=True), folder, BRIEF) == {}


@pytest.mark.soak
@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious_on_any_page_or_figure_of_the_site(phone, published, read):
    _, folder = published
    assert site_faults(read(offline=True, phone=phone), folder, whole=True) == {}


def not_nbconverts(path, read, tmp_path, **options):
    """What axe finds on nbconvert's own page of a notebook that is not nbconvert's."""
    exporter = nbconvert.HTMLExporter()
    content, _ = exporter.from_filename(path)
    (tmp_path / "n.html").write_text(content, encoding="utf-8")
    others = {exporter.require_js_url: REQUIRE, exporter.mathjax_url: ""}
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()} | others)
    reader.open(tmp_path / "n.html", len(drawn_in(path)))
    matches = "([at, own]) => document.querySelector(at).matches(own)"
    return [
        (rule, at)
        for rule, at in faults(reader.tab, **options)
        if rule not in NBCONVERTS_OWN
        or not reader.tab.evaluate(matches, [at, NBCONVERTS_OWN[rule]])
    ]


def test_axe_finds_nothing_serious_in_our_cells_of_a_notebook(read, tmp_path):
    assert not_nbconverts(COMMITTED[0], read, tmp_path, whole=True) == []


@pytest.mark.soak
@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_axe_finds_nothing_serious_in_our_cells_of_any_notebook(path, read, tmp_path):
    assert not_nbconverts(path, read, tmp_path, whole=True) == []


def fresh_deck(folder, records_path):
    """A deck as `make deck` writes it, with all that it can hold."""
    kept = results.of_folder(config.PROJECT / "presentation/results/images128")
    (folder / "deck.html").write_text(deck.build(kept, deck.read_facts(records_path)))
    return folder / "deck.html"


@pytest.mark.parametrize("kind", ["kept", pytest.param("fresh", marks=pytest.mark.soak)])
def test_axe_finds_nothing_serious_on_any_slide(kind, read, tmp_path, records_path):
    path = config.PROJECT / "presentation/results/images128/deck.html"
    if kind == "fresh":
        path = fresh_deck(tmp_path, records_path)
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()}, reduced_motion="reduce")
    reader.tab.goto(path.as_uri())
    all_drawn(reader.tab)
    # All slides are there at once; turning them changes what has the focus and what is seen.
    assert faults(reader.tab, whole=kind == "fresh") == []
    reader.tab.keyboard.press("End")
    assert reader.tab.evaluate("location.hash") == "#next"
    assert faults(reader.tab) == []


def test_the_kept_deck_shows_every_figure_with_the_network_off(read, tmp_path):
    reader = read(offline=True)
    # Alone, as it was cloned: without the plotly.js that lies beside it where it was made.
    shutil.copy(config.PROJECT / "presentation/results/images128/deck.html", tmp_path)
    reader.tab.goto((tmp_path / "deck.html").as_uri())
    figures_of_deck = reader.tab.locator(".cxr-figure")
    assert figures_of_deck.count() >= 5
    for box in figures_of_deck.all():
        box.scroll_into_view_if_needed()
        whole = "(img) => img.complete && img.naturalWidth > 500 && img.clientHeight > 200"
        assert box.locator("img").evaluate(whole)
        assert "did not load" not in box.inner_text()


def test_code_is_folded_on_the_site_until_it_is_asked_for(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.tab.goto((folder / "000-data_download.html").as_uri())
    code, fold = reader.tab.locator(".highlight").first, reader.tab.locator("summary").first
    seen = "(code) => code.checkVisibility({contentVisibilityAuto: true})"
    assert not code.evaluate(seen)
    fold.focus()
    reader.tab.keyboard.press("Enter")
    assert code.evaluate(seen) and "import" in code.inner_text()


def test_axe_would_find_an_unnamed_button(read, tmp_path):
    (tmp_path / "n.html").write_text(
        "<!doctype html><html lang=en><title>n</title><button></button>"
    )
    reader = read()
    reader.tab.goto((tmp_path / "n.html").as_uri())
    assert faults(reader.tab) == [("button-name", "button")]


# The smallest letters of a page's figures on the screen, in pixels.
LETTERS = """() => Math.min(...[...document.querySelectorAll(".cxr-figure text")]
  .filter((text) => text.textContent.trim() && text.getBoundingClientRect().width > 0)
  .map((text) => {
    const scale = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(scale.a, scale.b);
  }))"""


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_on_a_phone_under_a_small_root_all_letters_of_a_notebook_can_be_read(path, read, tmp_path):
    # As on nbviewer, whose Bootstrap makes the root 10 px.
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_filename(path)
    head = "<meta charset='utf-8'><meta name=viewport content='width=device-width'>"
    style = "<style>html { font-size: 10px } body { margin: 15px }</style>"
    (tmp_path / "n.html").write_text(f"<!doctype html>{head}{style}<body>{body}", encoding="utf-8")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()}, phone=True)
    reader.open(tmp_path / "n.html", len(drawn_in(path)))
    # Grids take fewer columns after they were drawn.
    reader.tab.wait_for_function(f"() => ({LETTERS})() >= 9")


# In how many columns the captions of a figure's panels stand: the right ones start further on.
PANELS = """new Set([...document.querySelectorAll(".cxr-figure .annotation-text")]
  .map((text) => text.getBoundingClientRect())
  .map((place) => Math.round((place.left + place.right) / 60))).size"""


def grid():
    curve = pd.DataFrame({"false_positive_rate": [0, 1], "sensitivity": [0, 1]})
    names = [*figures.FINDING_COLOURS][:14]
    curves = pd.concat([curve.assign(finding=f, threshold=0.5) for f in names])
    auroc = pd.DataFrame({"finding": [*names, "Mean"], "auroc": 0.5, "low": 0.4, "high": 0.6})
    figure = figures.roc_grid({"model": curves}, {"model": auroc})
    # The names of the panels only.
    figure.layout.annotations = figure.layout.annotations[:14]
    return figure


def test_on_a_phone_a_grid_takes_two_columns_and_its_letters_stay(read, tmp_path):
    # nbviewer's root is 10 px: nothing may be measured in rem.
    drawing = figures.fragment(grid(), "roc")
    content = f"<!doctype html><style>html {{font-size: 10px}}</style><meta name=viewport \
content='width=device-width'><body style='margin:15px'>{drawing}"
    (tmp_path / "n.html").write_text(content, encoding="utf-8")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()}, phone=True)
    reader.open(tmp_path / "n.html", 1)
    outer = reader.tab.locator(".cxr-figure")
    reader.tab.wait_for_function(f"() => {PANELS} === 2")
    assert reader.tab.evaluate(LETTERS) >= 9
    assert outer.evaluate("(box) => box.scrollWidth <= box.clientWidth")
    assert reader.tab.get_by_text("scroll sideways").is_hidden()
    assert reader.errors == []


def test_a_screen_that_is_turned_while_a_figure_draws_gets_what_suits_it(read, tmp_path):
    content = f"<!doctype html><body>{figures.fragment(grid(), 'roc')}"
    (tmp_path / "n.html").write_text(content, encoding="utf-8")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()})
    reader.open(tmp_path / "n.html", 1)
    for width in (390, 1440):
        reader.tab.set_viewport_size({"width": width, "height": 800})
    reader.tab.wait_for_function(f"() => {PANELS} === 5")
    # And nothing that was under way comes later.
    reader.tab.wait_for_timeout(500)
    assert reader.tab.evaluate(PANELS) == 5
    assert reader.errors == []


def test_what_keeps_its_width_scrolls_with_a_hint_and_by_keyboard(read, tmp_path):
    bars = go.Figure(go.Bar(x=["Mass", "Nodule"], y=[3, 1]), layout={"title": "Films"})
    head = "<!doctype html><meta name=viewport content='width=device-width'>"
    (tmp_path / "n.html").write_text(f"{head}<body>{figures.fragment(bars, 'bars')}")
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()}, phone=True)
    reader.open(tmp_path / "n.html", 1)
    assert reader.tab.get_by_text("scroll sideways").is_visible()
    reader.tab.wait_for_selector(".cxr-figure[tabindex='0']")
    box = reader.tab.locator(".cxr-figure")
    assert box.evaluate("(box) => box.scrollWidth") >= 700 > box.evaluate("(b) => b.clientWidth")
    assert reader.tab.evaluate(LETTERS) >= 9
    # On slides it is what holds the figure that scrolls.
    holder = "<div style='overflow:auto'><style>.cxr-figure { min-width: 640px }</style>"
    fragment = figures.fragment(bars.update_layout(title="Slide"), "slide")
    (tmp_path / "s.html").write_text(f"{head}<body>{holder}{fragment}</div>")
    reader.open(tmp_path / "s.html", 1)
    assert reader.tab.get_by_text("scroll sideways").is_visible()


def test_a_picture_whose_figure_does_not_load_is_shown_whole(read, tmp_path):
    bars = go.Figure(go.Bar(x=["Mass", "Nodule"], y=[3, 1]), layout={"title": "Films"})
    buffer = io.BytesIO()
    Image.new("L", (1408, 900)).save(buffer, "PNG")
    page = figures.fragment(bars, "bars", library="missing.js", picture=buffer.getvalue())
    (tmp_path / "n.html").write_text(f"<!doctype html><body>{page}")
    reader = read({})
    reader.tab.goto((tmp_path / "n.html").as_uri())
    reader.tab.get_by_text("scroll sideways").wait_for(state="hidden")
    shown, room = (reader.tab.locator(what).bounding_box() for what in ("img", ".cxr-figure"))
    assert shown["y"] + shown["height"] <= room["y"] + room["height"] + 1


def test_the_buttons_of_a_figure_are_one_tab_stop(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.open(folder / "index.html", 1)
    buttons = reader.tab.locator(".cxr-figure .modebar-btn")
    buttons.first.wait_for()
    assert buttons.count() > 3
    assert reader.tab.locator(".modebar-btn[tabindex='0']").count() == 1
    buttons.first.focus()
    reader.tab.keyboard.press("ArrowRight")
    assert buttons.nth(1).evaluate("(button) => button === document.activeElement")


# The poorest contrast of any text, by WCAG 2's formula; figures are left to the template.
CONTRAST = """() => {
  const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const luminance = (colour) => numbers(colour).slice(0, 3).map((value) => {
    const part = value / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  }).reduce((sum, part, i) => sum + part * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = getComputedStyle(element).backgroundColor;
      if (numbers(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  let poorest = {ratio: 21};
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || element.closest("svg, script, style")) continue;
    const colours = [getComputedStyle(element).color, behind(element)];
    const [dark, light] = colours.map(luminance).sort((one, other) => one - other);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < poorest.ratio) poorest = {ratio, colours, text: walker.currentNode.data};
  }
  return poorest;
}"""


def test_hovering_tells_the_value_and_the_legend_hides_a_model(published, read):
    _, folder = published
    reader = read(offline=True)
    reader.open(folder / "index.html", 1)
    figure = reader.tab.locator(".cxr-figure")
    figure.scroll_into_view_if_needed()
    lines = figure.locator(".scatterlayer .trace:has(.points path)")
    both = lines.count()
    assert both == 2
    lines.first.locator(".points path").nth(3).hover(force=True)
    words = reader.tab.locator(".hoverlayer .hovertext")
    words.first.wait_for()
    assert re.search(r"0\.\d{3}", words.first.text_content())
    figure.locator(".legendtoggle").first.click()
    reader.tab.wait_for_function(
        "() => document.querySelectorAll('.scatterlayer .trace:has(.points path)').length === 1"
    )
    figure.locator(".legendtoggle").first.click()
    reader.tab.wait_for_function(
        "() => document.querySelectorAll('.scatterlayer .trace:has(.points path)').length === 2"
    )
    assert reader.errors == []


def test_a_figure_says_when_plotly_could_not_be_loaded(read, tmp_path):
    figure = go.Figure(go.Bar(x=["Mass"], y=[3]), layout={"title": "Films with a Mass"})
    drawing = figures.fragment(figure, "one")
    (tmp_path / "n.html").write_text(page("One", f"<h1>One</h1>{drawing}"), encoding="utf-8")
    reader = read()
    reader.tab.goto((tmp_path / "n.html").as_uri())
    reader.tab.get_by_text(f"This figure needs {PLOTLY_URL}, which did not load.").wait_for()


def test_a_saved_figure_draws_without_a_network(read, tmp_path):
    figure = go.Figure(go.Bar(x=["Mass"], y=[3]), layout={"title": "Films with a Mass"})
    figures.save(figure, tmp_path / "one.html")
    reader = read(offline=True)
    assert reader.open(tmp_path / "one.html", 1)[0] >= 1
    assert reader.errors == []
    assert reader.asked == []


def test_the_site_needs_executed_notebooks(tmp_path):
    with pytest.raises(InputError, match=r"000-data_download.ipynb does not exist; execute"):
        site.write(config.load_config({}, profile="demo", root=tmp_path))


def test_every_figure_of_the_deck_draws_without_a_network(read, tmp_path, records_path):
    path = fresh_deck(tmp_path, records_path)
    reader = read(offline=True)
    reader.tab.goto(path.as_uri())
    number = reader.tab.locator(".cxr-figure").count()
    assert number >= 5
    assert all(reader.open(path, number))
    assert reader.errors == []
    assert reader.asked == []
