"""The slides say what the tables say, and what they cannot say they say, too."""

import dataclasses
import re
import shutil

import pandas as pd
import pytest

from cxr import __main__, artifacts, config
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.publish import browser, deck, results, slides, stills

REAL = config.PROJECT / "presentation" / "results" / "images128"
ORDER = [
    "title",
    "problem",
    "data",
    "split",
    "models",
    "ranking",
    "roc",
    "controls",
    "calibration",
    "groups",
    "places",
    "films",
    "limits",
    "next",
]


@pytest.fixture(scope="module")
def known(real_records, real_splits):
    return deck.facts(real_records, real_splits)


@pytest.fixture
def copy(tmp_path):
    """The results on real films, to be changed."""
    folder = tmp_path / "results"
    shutil.copytree(REAL, folder, ignore=shutil.ignore_patterns("*.html", "*.js", "*.pdf"))
    return folder


def by_name(found, known):
    return {slide.name: slide for slide in deck.contents(found, known)}


def words(page):
    """What a reader can read: neither scripts nor styles nor the figures' pictures."""
    return " ".join(re.sub(r"<(script|style)\b.*?</\1>|<[^>]*>", " ", page, flags=re.S).split())


def test_the_story_is_told_in_order(known):
    assert [slide.name for slide in deck.contents(results.of_folder(REAL), known)] == ORDER


def test_data_and_leakage_are_those_of_the_real_records(known):
    told = by_name(results.of_folder(REAL), known)
    assert told["data"].title == "112,120 films of 30,805 patients"
    assert (
        "Infiltration is on 19,894 films, 87.6 times as many as Hernia (227)" in told["data"].lead
    )
    assert "77.2 %" in told["split"].lead and "mean AUROC of 0.703" in told["split"].lead
    assert "Divided by patient, 0 test films" in told["split"].lead
    assert "53,692 train, 32,874 validation, 23,011 test" in told["split"].foot


def test_records_that_allow_no_split_by_film_say_nothing_about_it(known, real_splits, real_records):
    few = deck.facts(real_records, {"patient": real_splits["patient"]})
    lead = by_name(results.of_folder(REAL), few)["split"].lead
    assert "Divided by patient, 0 test films" in lead and "%" not in lead


def test_every_slide_says_what_it_is_not_for_and_every_score_where_it_comes_from(known):
    found = results.of_folder(REAL)
    patients = f"{int(found.mean(found.best().name)['patients'])} patients"
    page = deck.build(found, known, script="")
    sections = re.findall(r'<section class="slide" id="(\w+)".*?</section>', page, re.S)
    assert sections == ORDER
    for name, section in zip(ORDER, re.findall(r"<section.*?</section>", page, re.S), strict=True):
        assert deck.NOTICE in section
        if re.search(r"AUROC|0\.\d\d\d", words(section)) and name not in ("problem", "split"):
            for fact in ("split patient", patients, "95 %", "seed 42", "make accuracy"):
                assert fact in section, (name, fact)


def test_scores_and_figures_follow_the_tables(copy, known):
    path = copy / "auroc_mobilenet_small-patient.csv"
    table = pd.read_csv(path)
    table.loc[table["finding"] == "Mean", ["auroc", "low", "high"]] = [0.811, 0.801, 0.821]
    table.loc[table["finding"] == "Mass", "auroc"] = 0.9111
    table.to_csv(path, index=False)
    told = by_name(results.of_folder(copy), known)
    assert "<b>0.811</b>(0.801 to 0.821)" in told["title"].body
    assert "mean AUROC of 0.811 (0.801 to 0.821)" in told["ranking"].lead
    drawn = [trace for trace in told["ranking"].figure.data if trace.name == "mobilenet_small"]
    assert 0.9111 in drawn[0].x


def test_each_curve_has_the_auroc_of_its_own_finding(known):
    figure = by_name(results.of_folder(REAL), known)["roc"].figure
    corners = [note.text for note in figure.layout.annotations if "span style" in note.text]
    tables = results.of_folder(REAL).tables("auroc")
    known_ones = tables["baseline"].dropna(subset=["auroc"])["finding"].drop(14)
    assert len(corners) == len(known_ones) == 13
    for corner, finding in zip(corners, known_ones, strict=True):
        for table in tables.values():
            row = table.set_index("finding").loc[finding]
            # The intervals stand on the slide before.
            assert f">{row['auroc']:.3f}<" in corner, finding


def test_the_run_that_validation_prefers_is_looked_at_whatever_the_test_says(copy, known):
    summary = artifacts.read_json(copy / "summary.json")
    for run in summary["runs"]:
        run["validation_auroc"] = 0.9 if run["run"] == "baseline-patient" else 0.1
    artifacts.write_json(copy / "summary.json", summary)
    found = results.of_folder(copy)
    mean = found.mean("baseline-patient")["auroc"]
    lead = by_name(found, known)["ranking"].lead
    assert f"baseline reaches a mean AUROC of {mean:.3f}" in lead


def test_a_lead_is_told_from_the_side_of_the_best_run(copy, known):
    # The table holds baseline minus mobilenet_small, -0.02; the better run is the second.
    pd.DataFrame(
        {
            "model": "baseline-patient", "other": "mobilenet_small-patient",
            "finding": [*FINDINGS, "Mean"], "difference": -0.02, "low": -0.05, "high": 0.01,
        }
    ).to_csv(copy / "comparison.csv", index=False)  # fmt: skip
    lead = by_name(results.of_folder(copy), known)["ranking"].lead
    assert "ahead of baseline: +0.020 (-0.010 to +0.050)" in lead


def test_boxes_that_are_missing_are_said_to_be(copy, known):
    (copy / "localisation_rsna_mobilenet_small-patient.csv").unlink()
    slide = by_name(results.of_folder(copy), known)["places"]
    assert slide.figure is None and "Not measured: no heatmap was held against boxes" in slide.body


def test_where_nih_drew_no_boxes_those_of_rsna_are_shown(known):
    slide = by_name(results.of_folder(REAL), known)["places"]
    table = results.of_folder(REAL).table("localisation_rsna", "mobilenet_small-patient")
    row = table.query("measure == 'pointing game' and finding == 'All'").iloc[0]
    assert "boxed opacities for RSNA" in slide.lead
    assert f"mobilenet_small {100 * row['value']:.0f} %" in slide.lead
    assert slide.figure.data[0].name == "mobilenet_small"


def kept(folder, **changes):
    """Say of the films in a folder of results what `changes` say."""
    path = folder / stills.NAME
    artifacts.write_json(path, [one | changes for one in artifacts.read_json(path)])


def test_beside_real_films_results_stand_drawings_that_say_so(known):
    slide = by_name(results.of_folder(REAL), known)["films"]
    assert slide.title == "A hit, a miss, a false alarm"
    assert "No real film is kept" in slide.lead and "drawings, read by the demo" in slide.lead
    assert re.findall('alt="(.*?);', slide.body) == [
        "Drawing of a chest film with a heatmap and a box",
        "Drawing of a chest film with a heatmap and a box",
        "Drawing of a chest film with a heatmap",
    ]
    assert len(slide.body) < 100_000


def test_films_of_ones_own_run_are_shown_as_such(copy, known):
    kept(copy, phantom=False, boxes=0)
    slide = by_name(results.of_folder(copy), known)["films"]
    assert "drawing" not in slide.lead + slide.body and "box" not in slide.lead + slide.body
    assert "passes them on, too" in slide.foot


def test_the_slide_of_films_leads_to_more_of_them_where_they_are(copy, known):
    finding = stills.read(copy / stills.NAME)[0].finding
    assert "href" not in by_name(results.of_folder(copy), known)["films"].body
    (copy / f"gallery_{finding}.html").write_text("films")
    body = by_name(results.of_folder(copy), known)["films"].body
    assert f'<a href="figures/gallery_{finding}.html">More films of {finding}</a>' in body


def test_without_films_there_is_no_slide_of_them(copy, known):
    (copy / stills.NAME).unlink()
    assert list(by_name(results.of_folder(copy), known)) == [n for n in ORDER if n != "films"]


def test_localisation_is_shown_where_it_was_judged(copy, known):
    methods = ["mobilenet_small-patient", "mean box"]
    pd.DataFrame(
        {
            "method": methods, "finding": "All", "measure": "pointing game",
            "value": [0.39, 0.27], "low": [0.31, 0.19], "high": [0.48, 0.35], "cases": 165,
        }
    ).to_csv(copy / "localisation_mobilenet_small-patient.csv", index=False)  # fmt: skip
    slide = by_name(results.of_folder(copy), known)["places"]
    assert "165 boxed findings" in slide.lead
    assert "mobilenet_small 39 % (31 to 48); mean box 27 % (19 to 35)" in slide.lead
    assert "a point that never moves would find was not asked" in slide.lead
    assert len(slide.figure.data) == 2


def test_scores_of_unknown_origin_make_a_deck_that_says_what_is_unknown(copy, known):
    for path in copy.iterdir():
        if path.name != "auroc_baseline-patient.csv":
            path.unlink()
    (copy / "auroc_baseline-patient.csv").rename(copy / "auroc_theirs.csv")
    told = by_name(results.of_folder(copy), known)
    assert list(told) == [name for name in ORDER if name != "films"]
    without = {name for name, slide in told.items() if slide.figure is None}
    assert without == set(ORDER) - {"films", "data", "split", "ranking"}
    assert "not stated" in told["models"].body and "split not stated" in told["ranking"].foot
    # Nobody said what these scores were learned from, or chosen by.
    page = " ".join(words(slide.body) + slide.lead for slide in told.values())
    assert "saw no film" not in page and "may have seen films" in page
    assert "alidation films chose" not in page and "Not NIH's official" not in page
    assert "nothing on these slides says how a model fares elsewhere" in page
    for name in ("roc", "controls", "calibration", "groups", "places"):
        assert words(told[name].body), name


def test_a_folder_without_results_is_refused_with_what_makes_them(tmp_path, copy):
    with pytest.raises(InputError, match=r"holds no auroc_<run>\.csv; give a folder"):
        results.of_folder(tmp_path)
    (copy / "auroc_baseline-patient.csv").unlink()
    with pytest.raises(InputError, match=r"holds no auroc_baseline-patient\.csv"):
        results.of_folder(copy)


@pytest.mark.parametrize(
    ("kind", "left"),
    [
        ("auroc", 5),
        ("auroc", 0),
        ("auroc", 1),
        ("subgroups", 1),
        ("controls", 40),
        ("calibration", 29),
        ("comparison", 20),
        ("roc", 1),
        ("roc", 900),
        ("roc", 1268),
    ],
)
def test_a_table_that_was_cut_is_named_and_shown_on_no_slide(copy, known, kind, left):
    run = "mobilenet_small-patient"
    path = copy / ("comparison.csv" if kind == "comparison" else f"{kind}_{run}.csv")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:left]))
    with pytest.raises(InputError, match=f"{path} .*; put back a copy, or evaluate again"):
        by_name(results.of_folder(copy), known)


@pytest.mark.parametrize("kind", ["reliability", "localisation_rsna"])
def test_a_table_of_nothing_that_could_be_estimated_makes_no_fault(copy, known, kind):
    path = copy / f"{kind}_mobilenet_small-patient.csv"
    path.write_text(path.read_text().splitlines(keepends=True)[0])
    assert by_name(results.of_folder(copy), known)


def test_a_table_cut_within_a_line_is_named(copy, known):
    path = copy / "roc_baseline-patient.csv"
    path.write_text(path.read_text()[:-3])
    with pytest.raises(InputError, match=f"{path} is cut off in its last line"):
        by_name(results.of_folder(copy), known)


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("summary.json", "[]", "holds no names and values; put back a copy, or evaluate again"),
        ("summary.json", "{", r"not a readable JSON file .*; put back a copy, or evaluate again"),
        ("summary.json", '{"runs": [1]}', "does not name its runs; put back a copy, or evaluate"),
        ("stills.json", "[1]", "something else than films; remove it, and the slides show no"),
        ("stills.json", "{}}", "not a readable JSON file .*; remove it, and the slides show no"),
    ],
)
def test_what_is_no_summary_and_no_films_is_named(copy, known, name, content, what):
    (copy / name).write_text(content)
    with pytest.raises(InputError, match=f"{copy / name} .*{what}"):
        by_name(results.of_folder(copy), known)


def test_few_films_are_counted_as_one_speaks(known):
    found = results.of_folder(REAL)

    def lead(**changes):
        return {slide.name: slide for slide in deck.contents(found, told(**changes))}["data"]

    def told(hernia, mass, **changes):
        positives = (0 * known.positives).astype(int)
        positives["Hernia"], positives["Mass"] = hernia, mass
        return dataclasses.replace(known, positives=positives, **changes)

    slide = lead(hernia=1, mass=1, films=1, patients=1, unlabelled=1)
    assert slide.title == "1 film of 1 patient"
    assert "is on 1 film; 1 film bears none of the findings." in slide.lead
    assert "Mass is on 41 films, hardly more than Hernia (40)" in lead(hernia=40, mass=41).lead
    assert "Mass is on 44 films, 1.1 times as many as" in lead(hernia=40, mass=44).lead


def test_a_profile_that_was_not_evaluated_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"run 300-evaluation first \(make run PROFILE=demo\)"):
        results.of_profile(config.load_config({}, profile="demo", root=tmp_path))


def test_the_demos_deck_says_that_its_films_are_drawn(tmp_path, known):
    profile = config.load_config({}, profile="demo", root=tmp_path)
    for name in ("baseline", "mobilenet_small"):
        shutil.copytree(REAL, profile.presentation / "tables", dirs_exist_ok=True)
        record = {"validation_auroc": 0.9, "split": "patient", "seed": 42, "model": name}
        artifacts.write_json(profile.runs / f"{name}-patient" / "config.json", record)
    told = by_name(results.of_profile(profile), known)
    for name in ("title", "limits"):
        assert re.search("phantoms|drawings", told[name].body), name
    assert "make run PROFILE=demo" in told["ranking"].foot


def test_reliability_is_read_before_and_after_recalibration(copy):
    curves = results.of_folder(copy).reliability("baseline-patient")
    assert list(curves) == ["as predicted", "recalibrated"]
    (copy / "reliability_baseline-patient.csv").unlink()
    assert results.of_folder(copy).reliability("baseline-patient") == {}


def test_names_cannot_break_out_of_the_page(copy, known):
    summary = artifacts.read_json(copy / "summary.json")
    summary["films"] = "films of </script><b>a hospital</b>"
    artifacts.write_json(copy / "summary.json", summary)
    page = deck.build(results.of_folder(copy), known, script="")
    assert "<b>a hospital" not in page and "&lt;b&gt;a hospital" in page


def test_the_deck_needs_no_address_but_its_own(known):
    page = deck.build(results.of_folder(REAL), known, script="<script></script>")
    # The CDN's address stands in the figures for pages that bring no plotly.js; this one does.
    assert not re.findall(r'(?:src|href)="(?!data:|#)[^"]+"', page.replace("cdn.plot.ly", ""))
    assert "window.cxrPlotly = " in slides.embedded()
    assert len(slides.embedded()) > 1_000_000


def test_the_kept_deck_is_that_of_the_kept_tables(known):
    kept = (REAL / "deck.html").read_text(encoding="utf-8")
    found = results.of_folder(REAL)
    stale = "the tables have changed since: run make readme"
    assert f'content="{found.checksum()}"' in kept, stale
    assert words(kept) == words(deck.build(found, known, script="")), stale
    assert (REAL / "deck.html").stat().st_size < 1_000_000
    assert (REAL / "deck.pdf").stat().st_size < 1_000_000


def test_the_kept_deck_shows_pictures_where_nothing_is_drawn(known):
    kept = (REAL / "deck.html").read_text(encoding="utf-8")
    figures = [slide for slide in deck.contents(results.of_folder(REAL), known) if slide.figure]
    assert kept.count('src="data:image/png;base64,') == len(figures)


@pytest.fixture
def tab():
    if not browser.path():
        pytest.skip("no Chromium is installed: the deck is not looked at")
    with browser.opened() as chromium:
        opened = chromium.new_context(offline=True).new_page()
        opened.set_viewport_size({"width": 1440, "height": 900})
        yield opened


def test_keys_and_buttons_turn_the_slides_without_a_network(tab, known, tmp_path):
    path = tmp_path / "deck.html"
    artifacts.write_text(path, deck.build(results.of_folder(REAL), known))
    faults = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda line: faults.append(line.text) if line.type == "error" else None)
    tab.emulate_media(reduced_motion="reduce")
    tab.goto(path.as_uri())
    tab.wait_for_function(deck._DRAWN)

    def shown():
        return tab.evaluate("location.hash.slice(1)")

    for key, slide in (
        ("ArrowRight", "problem"),
        ("PageDown", "data"),
        ("ArrowLeft", "problem"),
        ("End", "next"),
        ("ArrowDown", "next"),
        ("Home", "title"),
    ):
        tab.keyboard.press(key)
        assert shown() == slide, key
    tab.get_by_label("Next slide").click()
    assert shown() == "problem"
    # Nothing of a slide lies below its end, where the next one would cover it.
    assert tab.evaluate(
        "[...document.querySelectorAll('.slide')].every((s) => s.scrollHeight <= s.clientHeight)"
    )
    assert not faults


def test_a_folders_deck_is_written_without_a_browser_too(copy, monkeypatch, capsys):
    monkeypatch.setattr(browser, "path", lambda: None)
    assert __main__.main(["deck", str(copy)]) == 0
    assert capsys.readouterr().out == f"{copy / 'deck.html'}\n"
    page = (copy / "deck.html").read_text(encoding="utf-8")
    # plotly.js lies beside the page, which asks for it there before it asks the CDN.
    assert (copy / "plotly.min.js").stat().st_size > 1_000_000 > len(page)
    assert '["plotly.min.js", "https://cdn.plot.ly/plotly-' in page


def test_a_folder_that_is_none_is_refused_in_one_sentence(tmp_path, capsys):
    assert __main__.main(["deck", str(tmp_path / "nowhere")]) == 1
    assert "holds no auroc_<run>.csv" in capsys.readouterr().err


def test_the_print_has_one_page_a_slide(known, tmp_path):
    if not browser.path():
        pytest.skip("no Chromium is installed: the deck is not printed")
    written = deck.write(results.of_folder(REAL), known, tmp_path / "deck.html")
    assert [path.name for path in written] == ["deck.html", "deck.pdf"]
    pages = re.findall(rb"/Type\s*/Page\b", written[1].read_bytes())
    assert len(pages) == len(ORDER)
