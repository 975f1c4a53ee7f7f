"""What is said of films: on a page, in a table, as JSON, in a terminal and a notebook."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import toy_runs
from PIL import Image

import cxr
from cxr.__main__ import main
from cxr.errors import InputError
from cxr.evaluation import score_file
from cxr.findings import FINDINGS
from cxr.modelling import predict
from cxr.publish import browser, film_report

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with one run, and three films: good, good, and a text."""
    root = tmp_path_factory.mktemp("root")
    toy_runs.make(root / "runs" / "small-patient")
    (root / "films").mkdir()
    for n in (1, 2):
        Image.fromarray(toy_runs.film(n, side=200)).save(root / "films" / f"{n}.png")
    (root / "films" / "text.jpg").write_text("no film")
    return root


@pytest.fixture
def command(root, monkeypatch, capsys):
    """Run `cxr predict` on this root; gives its exit code and what it printed."""
    monkeypatch.setenv("CXR_ROOT", str(root))
    monkeypatch.setenv("CXR_PROFILE", "first_archive")

    def run(*arguments):
        code = main(["predict", *map(str, arguments)])
        return code, capsys.readouterr()

    return run


def test_one_film_is_told_in_full(command, root):
    code, said = command(root / "films" / "1.png")
    assert code == 0
    assert "Scored by small-patient (highest validation AUROC of 1 run(s), 0.700)" in said.out
    assert "not a medical device" in said.out and "1.png: scored." in said.out
    assert all(finding in said.out for finding in FINDINGS)


def test_a_folder_is_told_film_by_film_and_a_bad_one_shows_in_the_exit_code(command, root):
    code, said = command(root / "films")
    lines = [line for line in said.out.splitlines() if str(root) in line]
    assert code == 1 and len(lines) == 3
    assert "text.jpg: refused: It is neither PNG, JPEG nor DICOM." in lines[2]
    assert command(root / "films" / "*.png")[0] == 0


def test_a_folder_that_may_not_be_searched_is_named_and_counted(command, root, monkeypatch):
    closed = root / "films" / "closed"
    closed.mkdir()
    scandir = os.scandir

    def refusing(place):
        # As for a folder of another user's; who runs tests may be allowed everything.
        if os.fspath(place) == str(closed):
            raise PermissionError(13, "Permission denied", str(closed))
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refusing)
    code, said = command(root / "films" / "1.png", closed)
    closed.rmdir()
    assert code == 1
    assert f"{closed}: refused: It is not a file, but a folder that cannot be searched." in said.out
    assert "1.png: scored" in said.out


def test_the_untrained_twin_stands_beside_the_heatmap(command, root, tmp_path):
    page = tmp_path / "films.html"
    code, _ = command(root / "films" / "1.png", "--untrained-twin", "--html", page)
    html = page.read_text()
    assert code == 0 and html.count("data-twin=") == len(FINDINGS)
    assert "Where both heatmaps are alike, they show the film" in html
    command(root / "films" / "1.png", "--html", page)
    assert "twin" not in re.sub(r"<script>.*?</script>", "", page.read_text(), flags=re.DOTALL)
    code, said = command(root / "films" / "1.png", "--untrained-twin")
    assert code == 1 and "they need --html FILE" in said.err


def test_unsure_findings_are_named_in_page_table_and_json(command, root, tmp_path):
    toy_runs.make_ensemble(root / "runs" / "both")
    page, table, lines = (tmp_path / name for name in ("a.html", "a.csv", "a.jsonl"))
    command(
        root / "films" / "1.png", "--run", "both", "--html", page, "--csv", table, "--json", lines
    )
    doubted = [finding for finding in FINDINGS if finding != "Hernia"]
    assert pd.read_csv(table)["unsure"].tolist() == [", ".join(doubted)]
    record = json.loads(lines.read_text())
    assert [one["finding"] for one in record["findings"] if one["unsure"]] == doubted
    assert record["findings"][0]["members_low"] < record["findings"][0]["threshold"]
    assert page.read_text().count("1 of the ensemble") == len(doubted)
    shutil.rmtree(root / "runs" / "both")


def test_what_names_no_film_is_refused_in_a_sentence(command, root):
    for given in (root / "runs" / "*.png", root / "runs" / "small-patient" / "none*"):
        code, said = command(given)
        assert code == 1 and "names no film" in said.err
    code, said = command(root / "films", "--run", "none")
    assert code == 1 and "holds no run 'none'; it holds small-patient" in said.err


def test_no_output_is_written_over_a_film_or_a_device(command, root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    film = next((root / "films").glob("*.png"))
    content = film.read_bytes()
    # Named as archives name DICOM files.
    (tmp_path / "IM0001").write_bytes(b"\0" * 128 + b"DICM")
    for given, said in (
        (("--html", film), "and it is a film"),
        (("--csv", tmp_path / "IM0001"), "and it is a film"),
        (("--csv", "-"), "--csv - prints nothing, only --json does"),
        (("--json", "-", "--html", "-"), "--html - prints nothing"),
        (("--csv", tmp_path), "is no file"),
        (("--csv", "/dev/full"), "is no file"),
        (("--csv", tmp_path / "x", "--json", tmp_path / "x"), "two outputs"),
    ):
        code, told = command(film, *given)
        assert code == 1 and said in told.err
    # The shell has put the films in the place of a name that was forgotten.
    code, told = command("--html", *sorted((root / "films").glob("*.png")))
    assert code == 1 and "and it is a film" in told.err
    assert film.read_bytes() == content and not (tmp_path / "-").exists()
    monkeypatch.setenv("CXR_PROFILE", "first_archive")
    assert main(["export", "small-patient", "--to", str(tmp_path / "IM0001")]) == 1


def test_what_cannot_be_written_shows_before_a_film_is_read(command, root, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(predict.Model, "answers", lambda *_, **__: pytest.fail("it was read"))
    for option in ("--html", "--csv", "--json"):
        code, said = command(root / "films", option, tmp_path / "file" / "out")
        assert code == 1 and said.err.rstrip().endswith(f"may write to with {option}.")
    code, said = command(root / "films", "--batch", "0")
    assert code == 1 and "a batch of 0 films is none" in said.err and not said.out


def test_who_interrupts_is_told_whether_the_command_goes_on(command, root, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(predict, "load", interrupted)
    code, said = command(root / "films")
    assert code == 130 and "the same command, run again, starts anew." in said.err


def test_without_thresholds_nothing_is_called_below_one(root, tmp_path):
    model = predict.Model(toy_runs.make(tmp_path / "run", judged=False))
    (answer,) = model.answers([root / "films" / "1.png"])
    assert film_report.brief(answer).endswith("1.png: scored: no finding has a threshold.")
    page = film_report.Report(model, (answer, answer)).html()
    assert page.count("no finding has a threshold") == 2
    assert "No threshold is known: run 300-evaluation first." in page
    # Nor is it known to be sure.
    findings = film_report.record(answer, model)["findings"]
    assert {one["unsure"] for one in findings} == {None}
    assert film_report.text(answer).count("unknown") == len(FINDINGS)
    assert film_report.row(answer, model)["unsure"] == ""


def test_films_of_one_name_are_told_apart_by_their_folders(root):
    def names(*files):
        refused = tuple(predict.Answer(str(file), predict.REFUSED) for file in files)
        return film_report._names(refused)

    assert names("/a/person/f1.png", "/a/person/sub/f1.png", "/a/person/f2.png") == (
        "f1.png", "sub/f1.png", "f2.png",
    )  # fmt: skip
    assert names("/a/person/f1.png") == ("f1.png",) and names() == ()


@pytest.mark.skipif(sys.platform == "darwin", reason="its file names are UTF-8")
def test_a_name_that_is_no_text_does_not_stop_a_folder(command, root, tmp_path):
    film = next((root / "films").glob("*.png")).read_bytes()
    for name in (b"a\xff.png", b"b.png"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:  # noqa: PTH118, PTH123
            file.write(film)
    code, _ = command(tmp_path, "--csv", tmp_path / "t.csv", "--html", tmp_path / "t.html")
    assert code == 0
    assert pd.read_csv(tmp_path / "t.csv")["film"].str.contains("a\ufffd.png").sum() == 1


def test_a_reader_who_has_seen_enough_gets_no_traceback(root, tmp_path):
    environment = os.environ | {"CXR_ROOT": str(root), "CXR_PROFILE": "first_archive"}
    told = subprocess.Popen(
        [sys.executable, "-m", "cxr", "predict", str(root / "films"), "--json", "-",
         "--csv", str(tmp_path / "t.csv")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip
    told.stdout.close()
    said = told.stderr.read()
    assert "Traceback" not in said and "cannot be written" not in said and told.wait() == 1
    told.stderr.close()


def test_json_is_a_line_a_film_and_nothing_else(command, root):
    _, said = command(root / "films", "--json", "-")
    records = [json.loads(line) for line in said.out.splitlines()]
    assert [record["verdict"] for record in records] == ["scored", "scored", "refused"]
    first = records[0]["findings"]
    assert [line["finding"] for line in first] == list(FINDINGS)
    assert first[-1]["threshold"] is None  # Hernia has none
    assert records[2]["findings"] == [] and "not a medical device" in records[2]["notes"][0]


def test_the_table_is_one_that_evaluate_takes(command, root, tmp_path):
    table, lines = tmp_path / "films.csv", tmp_path / "films.jsonl"
    code, said = command(root / "films", "--csv", table, "--json", lines)
    assert code == 1 and said.out.endswith("2 scored, 1 refused.\n")
    frame = pd.read_csv(table)
    assert list(frame["verdict"]) == ["scored", "scored", "refused"]
    records = [json.loads(line) for line in lines.read_text().splitlines()]
    for row, record in zip(frame.to_dict(orient="records"), records, strict=True):
        for line in record["findings"]:
            assert row[line["finding"]] == pytest.approx(line["probability"])
    read = score_file.read_scores(table)
    assert list(read.scores) == list(FINDINGS) and len(read.scores) == 2
    assert "1 film(s) that `cxr predict` refused have no scores and were left out" in read.notes[0]
    command(root / "films" / "text.jpg", "--csv", table)
    with pytest.raises(InputError, match="all its films were refused"):
        score_file.read_scores(table)


@pytest.mark.parametrize(
    ("told", "shares"),
    [
        (None, {}),
        ("0.05", dict.fromkeys(FINDINGS, 0.05)),
        (0.05, dict.fromkeys(FINDINGS, 0.05)),
        ("0.05,Mass=0.1", dict.fromkeys(FINDINGS, 0.05) | {"Mass": 0.1}),
        ("Mass=0.1, 0.05", dict.fromkeys(FINDINGS, 0.05) | {"Mass": 0.1}),
        ("Mass=0.03, Nodule = 0.1", {"Mass": 0.03, "Nodule": 0.1}),
    ],
)
def test_a_prevalence_is_for_all_findings_or_for_one(told, shares):
    assert film_report.prevalences(told) == shares


@pytest.mark.parametrize("told", ["5 %", "1.5", 0, "", "Masse=0.1", "Mass=", "nan"])
def test_a_prevalence_that_is_none_is_refused(told):
    with pytest.raises(InputError, match="neither a share between 0 and 1"):
        film_report.prevalences(told)


@pytest.mark.parametrize("told", ["0.1,0.2", "Mass=0.1,Mass=0.2"])
def test_two_prevalences_for_the_same_findings_are_refused(told):
    with pytest.raises(InputError, match=r"is the second share for (all findings|Mass); give one"):
        film_report.prevalences(told)


def test_a_notebook_shows_the_page(root, monkeypatch):
    monkeypatch.setenv("CXR_ROOT", str(root))
    with pytest.raises(InputError, match="no film is named"):
        cxr.predict(profile="first_archive")
    report = cxr.predict(root / "films", profile="first_archive", prevalence=0.05)
    assert list(report.table["verdict"]) == ["scored", "scored", "refused"]
    assert report._repr_html_().startswith("<iframe") and "srcdoc" in report._repr_html_()
    twin = cxr.predict(root / "films" / "1.png", profile="first_archive", untrained_twin=True)
    assert twin.html().count("data-twin=") == len(FINDINGS) > report.html().count("data-twin=")


def test_an_excerpt_for_a_notebook_is_small_and_says_the_same(root):
    model = predict.Model(root / "runs" / "small-patient")
    model.card = "# A card\n\nmany words"
    files = sorted((root / "films").glob("*.png"))
    answers = tuple(model.answers(files, pictures=2))
    whole = film_report.Report(model, answers, titles=("hit of Mass", "miss"))
    small = whole.excerpt(1)
    assert "A card" in whole.html() and "A card" not in small.html()
    assert ">hit of Mass</h2>" in small.html() and ">miss</h2>" in whole.html()
    assert [answer.picture.shape for answer in small.answers] == [(128, 128)]
    pd.testing.assert_frame_equal(small.answers[0].findings, whole.answers[0].findings)
    # Notebooks stay small: a phantom takes 36 kB, this noise a little more.
    assert len(small._repr_html_()) < 45_000
    assert repr(small) == "Report on 1 film(s) by small-patient"
    # Of two, the first is open; they share style, script and words around.
    both = whole.excerpt(2)
    assert both.html().count('<details name="films" open><summary>hit of Mass</summary>') == 1
    assert both.html().count('<details name="films"><summary>miss</summary>') == 1
    assert "<details name" not in small.html() + whole.html()
    assert len(both._repr_html_()) < 1.8 * len(small._repr_html_())


def test_further_films_stand_in_the_table_without_a_picture(root, monkeypatch):
    monkeypatch.setattr(film_report, "PICTURES", 1)
    model = predict.Model(root / "runs" / "small-patient")
    files = sorted((root / "films").glob("*.png"))
    page = film_report.Report(model, tuple(model.answers(files, pictures=1))).html()
    assert page.count('class="film-picture"') == 1
    assert "Pictures are shown of the first 1 films." in page and ">2.png<" in page


def test_a_file_name_is_text_on_the_page(root, tmp_path):
    name = tmp_path / "<img src=x onerror=alert(1)>.png"
    Image.fromarray(toy_runs.film(1)).save(name)
    model = predict.Model(root / "runs" / "small-patient")
    page = film_report.Report(model, tuple(model.answers([name, name], pictures=2))).html()
    assert "<img src=x" not in page and "&lt;img src=x" in page


@pytest.mark.skipif(not browser.path(), reason="no Chromium is installed")
def test_film_and_twin_are_enlarged_together(root, tmp_path):
    model = predict.Model(root / "runs" / "small-patient").with_twin()
    answers = tuple(model.answers([root / "films" / "1.png"], pictures=1))
    page = film_report.Report(model, answers).write(tmp_path / "films.html")
    with browser.opened() as opened:
        tab = opened.new_page(viewport={"width": 1440, "height": 850})
        tab.goto(page.as_uri())
        tab.locator("[data-control=zoom]").focus()
        tab.keyboard.press("End")
        frames = tab.locator(".film-frame")
        frames.last.evaluate("frame => frame.scrollTo(40, 30)")
        tab.wait_for_function("document.querySelector('.film-frame').scrollTop === 30")
        seen = frames.evaluate_all(
            "all => all.map(f => [f.scrollWidth, f.scrollLeft, f.scrollTop])"
        )
        assert seen[0] == seen[1] and seen[0][1:] == [40, 30]
        pictures = [picture.bounding_box() for picture in tab.locator(".film-picture").all()]
        assert pictures[0]["width"] == pytest.approx(pictures[1]["width"])


@pytest.mark.skipif(not browser.path(), reason="no Chromium is installed")
def test_the_page_works_offline_by_keyboard_and_on_a_phone(root, tmp_path):
    model = predict.Model(root / "runs" / "small-patient")
    files = sorted((root / "films").glob("*"))
    path = tmp_path / "films.html"
    film_report.Report(model, tuple(model.answers(files, pictures=3))).write(path)
    for width in (1440, 390):
        with browser.opened() as opened:
            tab = opened.new_page(viewport={"width": width, "height": 850})
            asked, faults = [], []
            tab.on("request", lambda request, asked=asked: asked.append(request.url))
            tab.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            tab.goto(path.as_uri())
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            film = tab.locator("#film-1")
            assert film.locator(".film-row").count() == 14
            assert "not a medical device" in film.locator(".verdict").inner_text()
            heat, picture = film.locator(".film-heat"), film.locator(".film-picture")
            assert picture.evaluate("image => image.naturalWidth") == 200
            # Another finding has another heatmap, chosen by an arrow key.
            before = heat.get_attribute("src"), film.locator(".film-shown b").inner_text()
            film.locator("input[type=radio]").first.focus()
            tab.keyboard.press("ArrowDown")
            after = heat.get_attribute("src"), film.locator(".film-shown b").inner_text()
            assert before[0] != after[0] and before[1] != after[1]
            # Sliders move by keys: the heatmap goes, the picture grows within its frame.
            film.locator("[data-control=heat]").focus()
            tab.keyboard.press("Home")
            assert heat.evaluate("image => getComputedStyle(image).opacity") == "0"
            frame = film.locator(".film-frame").bounding_box()["width"]
            film.locator("[data-control=zoom]").focus()
            tab.keyboard.press("End")
            assert picture.bounding_box()["width"] == pytest.approx(4 * frame, rel=0.05)
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            # A narrower window makes the picture harder.
            film.locator("[data-control=width]").focus()
            tab.keyboard.press("PageDown")
            assert float(film.locator("feFuncR").get_attribute("slope")) > 1
            film.get_by_role("button", name="Reset").press("Enter")
            assert float(film.locator("feFuncR").get_attribute("slope")) == 1
            refused = tab.locator("#film-3")
            assert "neither PNG, JPEG nor DICOM" in refused.inner_text()
            assert refused.locator(".film-row").count() == 0
            assert not faults and all(re.match("file:|data:", url) for url in asked)


def test_a_heatmap_lets_the_film_through_where_it_is_cold(root):
    model = predict.Model(root / "runs" / "small-patient")
    (answer,) = model.answers([root / "films" / "1.png"], pictures=1)
    assert answer.heatmaps.shape[0] == len(FINDINGS)
    assert np.isfinite(answer.heatmaps).all()
