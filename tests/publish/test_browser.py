"""What a reader's browser draws, wherever the notebooks are read.

A headless Chromium opens pages from the disk, and every request to a network is answered
here: the CDN of plotly.js serves exactly one file, everything else is refused and remembered.
"""

import contextlib
import importlib.resources
import importlib.util
import itertools
import re
import shutil

import nbconvert
import nbformat
import pandas as pd
import plotly.graph_objects as go
import plotly.offline
import pytest

from cxr import config, figures
from cxr.errors import InputError
from cxr.figures import film_viewer
from cxr.figures.display import PLOTLY_TYPE, PLOTLY_URL
from cxr.figures.page import NOTICE, page
from cxr.publish import browser, notebooks, site

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
        self.tab.set_default_timeout(15_000)
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
    assert len(pictures) == reader.tab.locator(".cxr-figure").count() > 0
    for picture in pictures:
        assert len(picture.get_attribute("alt")) > 20
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
        curve = pd.DataFrame(curve | {"threshold": [float("inf"), 0.7, 0.1], "finding": "Mass"})
        curve.to_csv(root / f"presentation/tables/roc_{model}-patient.csv", index=False)
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
    # A figure keeps a width at which it can be read, and scrolls by itself.
    reader.open(folder / "index.html", 1)
    box = reader.tab.locator(".cxr-figure")
    assert box.evaluate("(box) => box.scrollWidth") >= 700
    assert box.evaluate("(box) => box.clientWidth") < 390


def test_every_text_of_the_page_has_enough_contrast(published, read):
    _, folder = published
    reader = read(offline=True)
    for name in ("index.html", "100-data_cleaning_eda.html", "data_card.html"):
        reader.tab.goto((folder / name).as_uri())
        poorest = reader.tab.evaluate(CONTRAST)
        assert poorest["ratio"] >= 4.5, poorest


AXE = importlib.resources.files("axe_playwright_python").joinpath("axe.min.js")


def faults(tab, within="body"):
    """What axe finds serious or critical on the open page, and where first."""
    tab.evaluate(AXE.read_text(encoding="utf-8"))
    found = tab.evaluate("(at) => axe.run(at, {resultTypes: ['violations']})", within)
    return [
        (fault["id"], fault["nodes"][0]["html"][:200])
        for fault in found["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("phone", [False, True], ids=["desktop", "phone"])
def test_axe_finds_nothing_serious_on_the_site(phone, published, read):
    _, folder = published
    reader = read(offline=True, phone=phone)
    # On all notebooks axe takes a minute; their figures and tables are made alike.
    names = ("100-data_cleaning_eda.html",) if phone else ("index.html", "data_card.html")
    for name in names:
        reader.tab.goto((folder / name).as_uri())
        reader.tab.wait_for_function("() => [...document.querySelectorAll('.cxr-figure')].every("
            "(box) => box.querySelector('.plot, .overplot'))")  # fmt: skip
        assert faults(reader.tab) == [], name


def test_axe_finds_nothing_serious_in_the_kept_deck_and_in_a_notebooks_cells(read, tmp_path):
    reader = read({PLOTLY_URL: plotly.offline.get_plotlyjs()})
    reader.tab.goto((config.PROJECT / "presentation/results/images128/deck.html").as_uri())
    reader.tab.wait_for_selector(".cxr-figure .main-svg", state="attached")
    assert faults(reader.tab) == []
    body, _ = nbconvert.HTMLExporter(template_name="basic").from_filename(COMMITTED[2])
    page = f"<!doctype html><html lang=en><title>200</title><body>{body}"
    (tmp_path / "n.html").write_text(page, encoding="utf-8")
    reader.open(tmp_path / "n.html", len(drawn_in(COMMITTED[2])))
    # Our cells; what nbconvert makes around them is its own.
    assert faults(reader.tab, ".cxr-figure") == []


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
    assert [name for name, _ in faults(reader.tab)] == ["button-name"]


# The smallest letters of a page's figures on the screen, in pixels.
LETTERS = """() => Math.min(...[...document.querySelectorAll(".cxr-figure text")]
  .filter((text) => text.textContent.trim() && text.getBoundingClientRect().width > 0)
  .map((text) => {
    const scale = text.getScreenCTM();
    return parseFloat(getComputedStyle(text).fontSize) * Math.hypot(scale.a, scale.b);
  }))"""


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


def test_what_keeps_its_width_scrolls_with_a_hint_and_by_keyboard(published, read):
    _, folder = published
    reader = read(offline=True, phone=True)
    reader.open(folder / "index.html", 1)
    assert reader.tab.get_by_text("scroll sideways").is_visible()
    reader.tab.wait_for_selector(".cxr-figure[tabindex='0']")
    assert reader.tab.evaluate(LETTERS) >= 9


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


@pytest.mark.skipif(not importlib.util.find_spec("cxr.publish.deck"), reason="there is no deck yet")
def test_every_figure_of_the_deck_draws_without_a_network(read, tmp_path, records_path):
    from cxr.publish import deck, results

    kept = results.of_folder(config.PROJECT / "presentation/results/images128")
    (tmp_path / "deck.html").write_text(deck.build(kept, deck.read_facts(records_path)))
    reader = read(offline=True)
    reader.tab.goto((tmp_path / "deck.html").as_uri())
    number = reader.tab.locator(".cxr-figure").count()
    assert number >= 5
    assert all(reader.open(tmp_path / "deck.html", number))
    assert reader.errors == []
    assert reader.asked == []
