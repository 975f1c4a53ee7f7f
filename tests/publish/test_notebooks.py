"""All four notebooks, executed on a tiny demo; and the shape of the committed ones."""

import base64
import concurrent.futures
import io
import json
import os
import re
import subprocess
import sys

import nbformat
import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image

from cxr import config, figures
from cxr.__main__ import main
from cxr.errors import InputError
from cxr.evaluation import judge
from cxr.fetch import download
from cxr.figures.display import PLOTLY_TYPE
from cxr.findings import FINDINGS
from cxr.publish import browser, notebooks
from cxr.records import nih

sys.path.insert(0, str(config.PROJECT / "benchmarks" / "accuracy"))
import real_films

# Stands in for a picture where a test does not look at it.
DOT = b"a dot"

COMMITTED = [config.PROJECT / name for name in notebooks.STAGES.values()]


def run(root, *arguments, **variables):
    """Run `python -m cxr` as a user would, on a tiny demo below `root`."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CXR_")}
    environment |= {
        "CXR_ROOT": str(root),
        "CXR_SAMPLE": "250",
        "CXR_EPOCHS": "2",
        **variables,
    }
    return subprocess.run(
        [sys.executable, "-m", "cxr", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    root = tmp_path_factory.mktemp("demo")
    answer = run(root, "run")
    assert answer.returncode == 0, answer.stderr
    return root


def texts(path):
    """Everything that a notebook's cells printed or showed as text."""
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    return "\n".join(
        output.get("text", "") or str(output.get("data", {}).get("text/plain", ""))
        for output in outputs
    )


@pytest.mark.slow
def test_one_command_leads_from_nothing_to_scored_models(executed):
    for name in ("train", "validation", "test"):
        frame = pd.read_csv(executed / "subset" / f"{name}.csv")
        assert {"film", "patient_id", *FINDINGS} <= set(frame.columns)
    for model in ("baseline", "mobilenet_small"):
        run_folder = executed / "runs" / f"{model}-patient"
        for file in ("config.json", "model.keras", "history.csv", "test_scores.csv"):
            assert (run_folder / file).exists(), file
        table = pd.read_csv(executed / f"presentation/tables/auroc_{model}-patient.csv")
        assert list(table.columns[:4]) == ["finding", "auroc", "low", "high"]
        assert table["finding"].iloc[-1] == "Mean"
    # Scores of drawn films say so, wherever their file is taken.
    for part in ("validation", "test"):
        scores = pd.read_csv(executed / f"runs/baseline-patient/{part}_scores.csv")
        assert (scores["phantom"] == 1).all()
    # What was measured on phantoms has no place among published results.
    assert not pd.read_csv(executed / "presentation/tables/published.csv")["ours"].any()
    log = (executed / "runs/notebooks/run.log").read_text()
    for name in notebooks.STAGES.values():
        assert f"{name}  done" in log


@pytest.mark.slow
def test_notebook_100_shows_the_numbers_of_the_real_records(executed):
    shown = texts(executed / "runs/notebooks" / notebooks.STAGES["100"])
    for number in ("112,120", "30,805", "836", "109,577", "53,692", "32,874", "23,011", "77.2"):
        assert number in shown, number


@pytest.mark.slow
def test_the_patients_of_the_splits_are_disjoint(executed):
    patients = [
        set(pd.read_csv(executed / "subset" / f"{name}.csv")["patient_id"])
        for name in ("train", "validation", "test")
    ]
    assert not patients[0] & patients[1]
    assert not patients[0] & patients[2]
    assert not patients[1] & patients[2]


@pytest.mark.slow
@pytest.mark.parametrize("last", ["200", pytest.param("300", marks=pytest.mark.soak)])
def test_a_second_run_reuses_what_the_first_finished(executed, last):
    model = executed / "runs/baseline-patient/model.keras"
    scores = executed / "runs/baseline-patient/test_scores.csv"
    stamps = model.stat().st_mtime_ns, scores.stat().st_mtime_ns
    answer = run(executed, "run", "--from", "200", "--to", last)
    assert answer.returncode == 0, answer.stderr
    assert (model.stat().st_mtime_ns, scores.stat().st_mtime_ns) == stamps


def own_scores(executed, name):
    """The scores of a run's validation and test films, as one table."""
    folder = executed / "runs" / name
    files = [folder / f"{part}_scores.csv" for part in ("validation", "test")]
    return pd.concat(map(pd.read_csv, files))


@pytest.mark.slow
def test_notebook_command_and_benchmark_give_the_same_tables_byte_for_byte(executed, tmp_path):
    name = "baseline-patient"
    own_scores(executed, name).to_csv(tmp_path / f"{name}.csv", index=False)
    answer = run(
        tmp_path, "evaluate", f"{tmp_path}/{name}.csv", "--split", "patient", "--to",
        f"{tmp_path}/evaluated",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert "not a medical device" in answer.stdout

    parts = {p: pd.read_csv(executed / f"subset/{p}.csv", dtype=nih.TYPES) for p in
             ("train", "validation", "test")}  # fmt: skip
    by_film = {p: frame.set_index("film") for p, frame in parts.items()}
    scores = real_films.read_scores(executed / "runs" / name)
    cohort = judge.Cohort(
        test=by_film["test"][by_film["test"].index.isin(scores.index)],
        validation=by_film["validation"][by_film["validation"].index.isin(scores.index)],
        train=by_film["train"],
        agreed=nih.read_adjudicated(executed / "data/adjudicated.csv"),
    )
    real_films.judged({name: scores}, cohort, tmp_path / "benchmark")

    ours = executed / "presentation/tables"
    kinds = {path.name for path in (tmp_path / "benchmark").glob(f"*_{name}.csv")}
    assert len(kinds) >= 15
    for kind in kinds:
        expected = (ours / kind).read_bytes()
        assert (tmp_path / "benchmark" / kind).read_bytes() == expected, kind
        assert (tmp_path / "evaluated/tables" / kind).read_bytes() == expected, kind


@pytest.mark.slow
def test_one_film_is_scored_from_the_command_line(executed):
    film = min((executed / "data/images").glob("*.png"))
    answer = run(executed, "predict", str(film))
    assert answer.returncode == 0, answer.stderr
    assert "knows nothing of real films" in answer.stdout
    assert "recalibrated, where that helped" in answer.stdout
    assert "highest validation AUROC of 2 run(s)" in answer.stdout


@pytest.mark.soak
def test_other_settings_are_refused_and_both_are_named(executed):
    answer = run(executed, "run", "--from", "200", "--to", "200", CXR_SPLIT="official")
    assert answer.returncode == 1
    assert "patient" in answer.stderr
    assert "official" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "stage", ["100", *(pytest.param(late, marks=pytest.mark.soak) for late in ("200", "300"))]
)
def test_a_stage_before_its_time_says_which_one_comes_first(stage, tmp_path):
    answer = run(tmp_path, "run", "--from", stage, "--to", stage)
    assert answer.returncode == 1
    assert "run 000" in answer.stderr or "notebook 000" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_the_command_line_refuses_bad_settings_in_one_sentence(tmp_path):
    for variables, words in (
        ({"CXR_PROFILE": "big"}, "unknown profile 'big'"),
        ({"CXR_EPOCS": "3"}, "unknown variable CXR_EPOCS"),
        ({"CXR_MODELS": "resnet"}, "unknown model 'resnet'"),
    ):
        answer = run(tmp_path, "run", **variables)
        assert answer.returncode == 1
        assert words in answer.stderr
        assert "Traceback" not in answer.stderr
        assert not list(tmp_path.iterdir())


HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROW = "00000001_000.png,Mass,0,1,57,M,PA,2682,2749,0.143,0.143"


AT_FAULT = {
    "empty": [],
    "patient_id is missing": [HEADER.replace("Patient ID,", ""), ROW.replace(",1,57", ",57")],
    "Masses": [HEADER, ROW.replace("Mass", "Masses")],
    "00000001_000.png": [HEADER, ROW, ROW],
}


@pytest.mark.slow
def test_what_the_training_would_fail_by_is_told_before_a_film_is_fetched(tmp_path):
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"no weights")
    answer = run(
        tmp_path / "root",
        *("run", "--to", "000", "--profile", "first_archive"),
        CXR_WEIGHTS=str(wrong),
        CXR_MODELS="mobilenet_small",
        CXR_IMAGE_SIZE="64",
    )
    assert answer.returncode == 1
    assert "the training that follows would fail" in answer.stderr
    assert "wrong.h5 does not hold weights of mobilenet_small" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not list((tmp_path / "root").rglob("*.png"))


@pytest.mark.slow
def test_bad_records_are_refused_in_one_sentence(tmp_path):
    (tmp_path / "films").mkdir()

    def refused(words):
        path = tmp_path / f"{words}.csv"
        path.write_text("\n".join(AT_FAULT[words]))
        given = {"CXR_RECORDS": str(path), "CXR_IMAGES": str(tmp_path / "films")}
        return run(tmp_path / "root" / words, "run", "--to", "000", **given)

    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for words, answer in zip(AT_FAULT, pool.map(refused, AT_FAULT), strict=True):
            assert answer.returncode == 1
            assert words in answer.stderr
            assert "Traceback" not in answer.stderr
            assert not (tmp_path / "root" / words / "data/records.csv").exists()


def folder_of(kind, folder):
    """A folder of films with something wrong about it."""
    folder.mkdir()
    if kind == "others":
        Image.new("L", (64, 64), 100).save(folder / "99999999_000.png")
    if kind == "cut":
        noise = np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
        for name in ("00000001_000.png", "00000001_001.png"):
            Image.fromarray(noise).save(folder / name)
        whole = (folder / "00000001_001.png").read_bytes()
        (folder / "00000001_001.png").write_bytes(whole[:2000])
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "words"), [("empty", "no film"), ("others", "none of")])
def test_a_folder_without_the_films_is_refused_in_one_sentence(tmp_path, kind, words):
    folder = folder_of(kind, tmp_path / "films")
    answer = run(tmp_path / "root", "run", "--to", "000", CXR_IMAGES=str(folder))
    assert answer.returncode == 1
    assert words in answer.stderr.lower()
    assert str(folder) in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.slow
def test_a_cut_off_film_is_listed_by_name_and_left_out(tmp_path):
    folder = folder_of("cut", tmp_path / "films")
    answer = run(tmp_path / "root", "run", "--to", "000", CXR_IMAGES=str(folder))
    assert answer.returncode == 0, answer.stderr
    assert "00000001_001.png" in (tmp_path / "root/data/inventory.json").read_text()
    chosen = config.load_config({}, root=tmp_path / "root", images=folder)
    assert list(download.available(chosen)) == ["00000001_000.png"]


def test_missing_records_or_films_are_named(tmp_path):
    for variable in ("CXR_RECORDS", "CXR_IMAGES"):
        answer = run(tmp_path, "run", "--to", "000", **{variable: str(tmp_path / "none")})
        assert answer.returncode == 1
        assert f"{variable}={tmp_path / 'none'} does not exist" in answer.stderr


def test_an_unwritable_root_is_named(tmp_path):
    (tmp_path / "file").touch()
    answer = run(tmp_path / "file" / "below", "run", "--to", "000")
    assert answer.returncode == 1
    assert "cannot be written" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_mistyped_option_is_refused_with_those_that_exist(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["run", "--form", "100"])
    assert caught.value.code == 2
    told = capsys.readouterr().err
    assert "unrecognized arguments: --form 100" in told
    assert "--from" in told


def test_help_answers_without_tensorflow():
    answer = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cxr", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "run" in answer.stdout
    assert "tensorflow" not in answer.stderr
    assert "pandas" not in answer.stderr


def test_stages_are_chosen_in_order():
    assert notebooks.stages() == ["000", "100", "200", "300"]
    assert notebooks.stages("100", "200") == ["100", "200"]
    with pytest.raises(InputError, match="unknown stage '400'"):
        notebooks.stages("400")
    with pytest.raises(InputError, match="no stage from 300 to 100"):
        notebooks.stages("300", "100")


def write(path, *cells):
    nbformat.write(nbformat.v4.new_notebook(cells=list(cells)), path)


def toy(tmp_path, monkeypatch, source):
    """A project with one notebook that holds one code cell."""
    monkeypatch.setattr(notebooks, "STAGES", {"000": "toy.ipynb"})
    write(tmp_path / "toy.ipynb", nbformat.v4.new_code_cell(source, id="only"))
    chosen = config.load_config({}, root=tmp_path / "root")
    notebooks.execute(chosen, ["000"], {}, folder=tmp_path)
    return tmp_path / "root/runs/notebooks/toy.ipynb"


@pytest.mark.slow
def test_a_failing_cell_is_named_with_its_own_error(tmp_path, monkeypatch):
    with pytest.raises(notebooks.CellError) as caught:
        toy(tmp_path, monkeypatch, "films = 0\n1 / films")
    assert "toy.ipynb, code cell 1 failed" in str(caught.value)
    assert "ZeroDivisionError: division by zero" in str(caught.value)
    saved = tmp_path / "root/runs/notebooks/toy.ipynb"
    assert "ZeroDivisionError" in saved.read_text()
    assert "ZeroDivisionError" in (saved.parent / "run.log").read_text()


@pytest.mark.slow
def test_bad_input_inside_a_notebook_is_one_sentence(tmp_path, monkeypatch):
    source = "from cxr.errors import InputError\nraise InputError('no films in data/; run 000.')"
    with pytest.raises(notebooks.CellError) as caught:
        toy(tmp_path, monkeypatch, source)
    assert str(caught.value) == "toy.ipynb, code cell 1: no films in data/; run 000."


def figure_notebook():
    """An executed notebook as a user's run leaves it: a title, and one headline figure."""
    title = nbformat.v4.new_markdown_cell("# Title", id="title")
    cell = nbformat.v4.new_code_cell(
        "figures.show(figure)", execution_count=1, id="cell", metadata={"tags": ["headline"]}
    )
    bar = go.Figure(go.Bar(x=["Mass"], y=[3]), layout={"title": "Films with a Mass"})
    cell.outputs = [nbformat.v4.new_output("display_data", data=figures.bundle(bar, "figure-1"))]
    return nbformat.v4.new_notebook(cells=[title, cell])


def published(path):
    """The same as `make notebooks` leaves it, with a dot for a picture."""
    notebook = notebooks.clean(figure_notebook(), path.parent)
    notebooks.add_pictures(notebook, lambda drawn: [DOT for _ in drawn])
    nbformat.write(notebook, path)
    return notebook


# A committed notebook stays small enough to load at once and to compare in a review.
MAX_BYTES = 2_000_000


def faults(path):
    """What keeps a notebook from being publishable; empty where it is fine.

    It must start with a title, be executed top to bottom (1..n), as it stands, hold no
    error and no function definition, show its headline as a picture too, and stay small.
    """
    notebook = nbformat.read(path, as_version=4)
    found = []
    first = notebook.cells[0]
    if first.cell_type != "markdown" or not first.source.startswith("# "):
        found.append("the first cell is not a title")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    counts = [cell.execution_count for cell in code]
    if counts != list(range(1, len(code) + 1)):
        found.append(f"cells are numbered {counts}, not 1 to {len(code)}")
    if notebook.metadata.get("cxr", {}).get("executed_code_sha256") != notebooks.code_checksum(
        notebook
    ):
        found.append("the code cells are not those that made the outputs; run `make notebooks`")
    drawn = [output for cell in code for output in notebooks.figures_of(cell)]
    if not all("<img alt=" in output.data["text/html"] for output in drawn):
        found.append("a figure without a picture for readers whose viewer runs no scripts")
    headlines = [
        output
        for cell in code
        if notebooks.HEADLINE in cell.metadata.get("tags", [])
        for output in notebooks.figures_of(cell)
    ]
    if not headlines or not all("image/png" in output.data for output in headlines):
        found.append("no figure of a cell tagged as headline, or one without a static picture")
    for number, cell in enumerate(code, start=1):
        if any(o.get("execution_count", number) != number for o in cell.outputs):
            found.append(f"code cell {number} holds an output of another execution")
        if re.search(r"^\s*(def|class) ", cell.source, re.MULTILINE):
            found.append(f"code cell {number} defines a function or class")
        if any(output.output_type == "error" for output in cell.outputs):
            found.append(f"code cell {number} holds an error")
        if any(output.get("name") == "stderr" for output in cell.outputs):
            found.append(f"code cell {number} wrote to standard error")
    if path.stat().st_size > MAX_BYTES:
        found.append(f"{path.stat().st_size:,} bytes, more than {MAX_BYTES:,}")
    return found


def test_each_word_of_the_glossary_is_linked_where_it_first_occurs():
    told = {
        path.name[:3]: [c.source for c in nbformat.read(path, 4).cells if c.cell_type == "markdown"]
        for path in COMMITTED
    }
    end = next(n for n, text in enumerate(told["300"]) if text.startswith("## The words"))
    words = re.findall(r"\*\*([^*]+)\*\*(?=[:,])", told["300"][end])
    assert len(words) >= 16
    before = {"300": "\n".join(told["300"][:end]), "200": "\n".join(told["200"])}
    for word in words:
        text = before["200" if word == "AdamW" else "300"]
        place = text.lower().find(word.lower())
        assert place >= 0, word
        link = re.compile(r"`?\]\((300-evaluation\.ipynb)?#The-words\)")
        assert link.match(text, place + len(word)), word


def test_a_published_notebook_has_no_faults(tmp_path):
    published(tmp_path / "n.ipynb")
    assert faults(tmp_path / "n.ipynb") == []


def test_faults_of_a_notebook_are_found(tmp_path):
    path = tmp_path / "n.ipynb"
    notebook = published(path)
    second = nbformat.v4.new_code_cell("def f():\n    pass", execution_count=7, id="second")
    second.outputs = [nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[])]
    second.outputs.append(nbformat.v4.new_output("stream", name="stderr", text="noise"))
    second.outputs.append(nbformat.v4.new_output("execute_result", data={}, execution_count=6))
    write(path, notebook.cells[1], second)
    assert [re.split("[,;]", fault)[0] for fault in faults(path)] == [
        "the first cell is not a title",
        "cells are numbered [1",
        "the code cells are not those that made the outputs",
        "code cell 2 holds an output of another execution",
        "code cell 2 defines a function or class",
        "code cell 2 holds an error",
        "code cell 2 wrote to standard error",
    ]


@pytest.mark.parametrize("edit", ["a changed cell", "a cell taken out", "cells exchanged"])
def test_code_that_did_not_make_the_outputs_is_a_fault(tmp_path, edit):
    path = tmp_path / "n.ipynb"
    notebook = figure_notebook()
    notebook.cells.append(nbformat.v4.new_code_cell("1 + 1", execution_count=2, id="sum"))
    notebook = notebooks.clean(notebook, tmp_path)
    notebooks.add_pictures(notebook, lambda drawn: [DOT for _ in drawn])
    cells = notebook.cells
    if edit == "a changed cell":
        cells[2].source = "1 + 2"
    elif edit == "a cell taken out":
        del cells[2]
    else:
        cells[1].source, cells[2].source = cells[2].source, cells[1].source
    nbformat.write(notebook, path)
    assert faults(path) == [
        "the code cells are not those that made the outputs; run `make notebooks`"
    ]


def test_a_headline_without_a_static_picture_is_a_fault(tmp_path):
    nbformat.write(notebooks.clean(figure_notebook(), tmp_path), tmp_path / "n.ipynb")
    (without, headline) = faults(tmp_path / "n.ipynb")
    assert "without a picture" in without and "static picture" in headline


def test_the_picture_stands_where_scripts_do_not_run():
    notebook = figure_notebook()
    notebooks.add_pictures(notebook, lambda drawn: [DOT for _ in drawn])
    (output,) = notebook.cells[1].outputs
    encoded = base64.b64encode(DOT).decode()
    # By itself, and inside the HTML, which some viewers prefer and rid of its scripts.
    assert output.data["image/png"] == encoded
    without_scripts = re.sub("<script>.*?</script>", "", output.data["text/html"], flags=re.DOTALL)
    assert (
        f'<img alt="Films with a Mass. Found: Mass: 3" src="data:image/png;base64,{encoded}"'
        in without_scripts
    )
    # The rest is as before: a reader with scripts gets the same figure.
    before = figure_notebook().cells[1].outputs[0].data
    assert output.data[PLOTLY_TYPE] == before[PLOTLY_TYPE]
    assert output.data["text/html"].split("<script>")[1] == before["text/html"].split("<script>")[1]


def test_cleaning_takes_out_what_differs_from_run_to_run(tmp_path):
    def run_at(root, took, rate, commit):
        notebook = figure_notebook()
        cell = notebook.cells[1]
        cell.metadata["execution"] = {"iopub.execute_input": f"2026-11-25T19:34:{took}"}
        text = f"{root}/data: 58.9 MB  {rate} MB/s  {took} s\nseed 42  commit {commit}+\n"
        cell.outputs.append(nbformat.v4.new_output("stream", text=text))
        notebook.metadata["language_info"] = {"name": "python", "version": f"3.11.{took}"}
        return nbformat.writes(notebooks.clean(notebook, root))

    one = run_at(tmp_path / "one", 12, "3.4", "df7cd8a")
    two = run_at(tmp_path / "two", 34, "56.7", "17326460")
    assert one == two
    assert "demo/data: 58.9 MB" in one and "seed 42" in one


def test_cleaning_masks_the_columns_of_seconds_and_no_others():
    def cleaned(seconds, rate):
        frame = pd.DataFrame(
            {
                "name": ["baseline", "mobilenet"],
                "train_seconds": [seconds, 26.5],
                "films_per_second": [rate, 7.8],
                "auroc": [0.552, 0.536],
            }
        )
        data = {"text/html": frame._repr_html_(), "text/plain": str(frame)}
        cell = nbformat.v4.new_code_cell("frame", id="cell", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("execute_result", data=data, execution_count=1)]
        notebook = nbformat.v4.new_notebook(cells=[cell])
        return notebooks.clean(notebook, config.PROJECT).cells[0].outputs[0].data

    shown = cleaned(5.1, 39.2)
    assert shown == cleaned(123.4, 6.0)
    for text in shown.values():
        assert "baseline" in text and "0.552" in text and "0.536" in text
        assert "26.5" not in text and "7.8" not in text


def test_cleaning_joins_what_was_printed_in_pieces(tmp_path):
    def printed(*pieces):
        cell = nbformat.v4.new_code_cell("print(films)", id="cell", execution_count=1)
        cell.outputs = [nbformat.v4.new_output("stream", text=piece) for piece in pieces]
        notebook = nbformat.v4.new_notebook(cells=[cell])
        return nbformat.writes(notebooks.clean(notebook, tmp_path))

    assert printed("112,120 films\n30,805 patients\n") == printed(
        "112,120 films\n", "30,805 patients\n"
    )


@pytest.mark.skipif(not browser.path(), reason="no Chromium is installed")
def test_the_same_figure_gives_the_same_picture():
    figure = go.Figure(go.Bar(x=["Mass"], y=[3]), layout={"title": "Films with a Mass"})
    one, two = browser.pictures([figure]), browser.pictures([figure])
    assert one == two
    with Image.open(io.BytesIO(one[0])) as picture:
        assert picture.size == (900, 480)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(maxcolors=256)}
    # The bar is there, in the template's first colour.
    assert (0, 114, 178) in colours


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_the_committed_notebooks_are_publishable(path):
    assert faults(path) == []
    notebook = nbformat.read(path, as_version=4)
    # Executed on the demo, on no particular machine, at no particular commit.
    text = json.dumps(notebook)
    assert "phantom" in text
    assert str(config.PROJECT) not in text
    assert "/root/" not in text
    assert not re.search(r"commit [0-9a-f]{7}", text)
    for number, cell in enumerate(notebook.cells):
        assert not cell.id.isdecimal(), f"cell {number} needs a name"


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.name)
def test_every_figure_can_be_drawn_everywhere(path):
    notebook = nbformat.read(path, as_version=4)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    drawn = [output.data for output in outputs if PLOTLY_TYPE in output.get("data", {})]
    assert drawn
    for data in drawn:
        # plotly's own format for JupyterLab and VS Code, HTML for everything else.
        assert "Plotly.newPlot" in data["text/html"]
        assert "https://cdn.plot.ly/plotly-" in data["text/html"]
        assert 'role="group" aria-label="' in data["text/html"]
