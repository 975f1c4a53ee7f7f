"""From another hospital's files to the table, by the command that a user types."""

import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr import __main__, artifacts, config, figures
from cxr.errors import InputError
from cxr.evaluation import external, ranking
from cxr.films import reading
from cxr.findings import FINDINGS
from cxr.modelling import external_scores
from cxr.records import sources
from tests import made_up, toy_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    toy_runs.make(root / "runs" / "baseline-patient")
    random = np.random.default_rng(0)
    films, rows = root / "hospital", []
    for patient in range(30):
        (films / f"p{patient}").mkdir(parents=True)
        for number in range(2):
            path = films / f"p{patient}" / f"{number}.jpg"
            Image.fromarray(toy_runs.film(2 * patient + number, 96)).save(path)
            mass, nodule = random.integers(0, 2, 2)
            rows.append((f"p{patient}/{number}.jpg", f"p{patient}", mass, nodule))
    rows.append(("p0/gone.jpg", "p0", 1, 1))
    table = pd.DataFrame(rows, columns=["film", "patient_id", "Mass", "Nodule"])
    table.to_csv(root / "table.csv", index=False)
    return root


def run(root, monkeypatch, *more):
    monkeypatch.setenv("CXR_ROOT", str(root))
    monkeypatch.setenv("CXR_PROFILE", "first_archive")
    options = ["--source", "folder", "--records", str(root / "table.csv")]
    options += ["--images", str(root / "hospital"), *more]
    return __main__.main(["external", "baseline-patient", *options])


def test_the_command_judges_a_run_by_a_folder_of_films(root, monkeypatch, capsys):
    assert run(root, monkeypatch, "--local", "20") == 0
    said = capsys.readouterr().out
    films = "40 films of 20 patients judge, 20 films of 10"
    assert f"baseline-patient on folder-{root.name}-table: {films}" in said
    assert "Not compared (not labelled by folder): Atelectasis" in said
    assert f"Films of the table that are not in {root / 'hospital'}: 1." in said
    place = f"presentation/external/baseline-patient-on-folder-{root.name}-table"
    table = pd.read_csv(root / place / "external.csv")
    mass = table.set_index("finding").loc["Mass"]
    assert mass["films"] == 40 and 0 <= mass["low"] <= mass["auroc"] <= mass["high"] <= 1


def test_a_run_of_another_table_of_ones_own_is_judged_by_this_one(root, monkeypatch, capsys):
    path = root / "runs/baseline-patient/config.json"
    before = artifacts.read_json(path)
    learned = {"config": {"source": "folder"}, "unlearned": ["Mass"]}
    try:
        artifacts.write_json(path, before | learned | {"table": "another"})
        assert run(root, monkeypatch, "--local", "20") == 0
        said = capsys.readouterr().out
        assert "Not compared (on no film that the run learned from): Mass." in said
        assert "that no patient is in both is for you to make sure" in said
        # The run's own table, and a run that does not know its table.
        for table in (artifacts.sha256(root / "table.csv"), None):
            artifacts.write_json(path, before | learned | {"table": table})
            assert run(root, monkeypatch) == 1
            assert "the run was trained on folder, too" in capsys.readouterr().err
    finally:
        artifacts.write_json(path, before)


@pytest.fixture
def of_a_folder(root, monkeypatch):
    """The run, as if it had learned from another table of one's own; and its data folder."""
    monkeypatch.setenv("CXR_ROOT", str(root))
    data = config.load_config(profile="first_archive").data
    path = root / "runs/baseline-patient/config.json"
    before = artifacts.read_json(path)
    artifacts.write_json(path, before | {"config": {"source": "folder"}, "table": "another"})
    own = sources.read("folder", root / "table.csv")[0]
    sources.save(own, data / "records.csv")
    (data / "images").mkdir(parents=True)
    for number, film in enumerate(own["film"]):
        Image.fromarray(toy_runs.film(900 + number, 80)).save(data / "images" / film)
    yield data
    artifacts.write_json(path, before)
    shutil.rmtree(data)


def test_films_that_a_run_learned_from_are_known_by_their_pictures(
    root, of_a_folder, monkeypatch, capsys
):
    # Another hospital's table may say the same of files of the same names.
    assert run(root, monkeypatch, "--local", "20") == 0
    assert "of the run's own films are here" not in capsys.readouterr().out
    mine = sorted((of_a_folder / "images").iterdir())[7]
    Image.fromarray(reading.read(root / "hospital/p9/0.jpg").square(80)).save(mine)
    # Whatever is said of them, and whatever they are called.
    table = pd.read_csv(root / "table.csv").assign(age=44, Mass=1)
    (root / "renamed").mkdir()
    shutil.copytree(root / "hospital", root / "renamed" / "films")
    table["film"] = "films/" + table["film"]
    table.to_csv(root / "renamed.csv", index=False)
    more = ["--records", str(root / "renamed.csv"), "--images", str(root / "renamed")]
    for options in ([], more):
        assert run(root, monkeypatch, "--local", "20", *options) == 1
        said = capsys.readouterr().err
        assert f"p9/0.jpg is one of the run's own films, {mine.name}, so it may have" in said


def test_what_could_not_be_compared_is_said(root, of_a_folder, monkeypatch, capsys):
    (of_a_folder / "images" / "10000001_000.png").unlink(missing_ok=True)
    first = min((of_a_folder / "images").iterdir())
    first.unlink()
    # One that is damaged is not compared either.
    second = min((of_a_folder / "images").iterdir())
    second.write_bytes(second.read_bytes()[:100])
    assert run(root, monkeypatch, "--local", "20") == 0
    here = len(list((of_a_folder / "images").iterdir())) - 1
    assert f"The pictures of {here} of the run's own films are here" in capsys.readouterr().out
    # Data of another table are not what the run learned from.
    facts = {"settings": {"records": "a third"}, "files": {}, "archives": {}}
    artifacts.write_json(of_a_folder / "manifest.json", facts)
    assert run(root, monkeypatch, "--local", "20") == 0
    assert "The pictures of 0 of the run's own films are here" in capsys.readouterr().out


def test_films_of_nih_are_known_by_their_names(root, monkeypatch, capsys):
    assert run(root, monkeypatch, "--local", "20") == 0
    assert "The names of 0 of the run's own films are here" in capsys.readouterr().out
    # Where the data are not here, the films that the run was validated on.
    scores = root / "runs/baseline-patient/validation_scores.csv"
    films = [f"{number:08}_000.png" for number in range(3)]
    frame = pd.DataFrame(0.5, index=range(3), columns=list(FINDINGS)).assign(patient_id=range(3))
    frame.insert(0, "film", films)
    frame.to_csv(scores, index=False)
    rows = [f"{film},{number},1" for number, film in enumerate(films)]
    (root / "nih.csv").write_text("\n".join(["film,patient_id,Mass", *rows]))
    (root / "hospital/00000001_000.png").write_bytes(b"")
    try:
        assert run(root, monkeypatch, "--records", str(root / "nih.csv")) == 1
        assert "00000001_000.png is one of the run's own films" in capsys.readouterr().err
    finally:
        scores.unlink()
        (root / "hospital/00000001_000.png").unlink()


def test_a_comparison_with_another_table_of_the_same_name_is_not_written_over(
    root, monkeypatch, capsys
):
    assert run(root, monkeypatch, "--local", "20") == 0
    other = root / "elsewhere" / root.name / "table.csv"
    other.parent.mkdir(parents=True)
    shutil.copy(root / "table.csv", other)
    capsys.readouterr()
    assert run(root, monkeypatch, "--records", str(other)) == 1
    said = capsys.readouterr().err
    assert f"holds the comparison with {root / 'table.csv'}, which has the same name" in said


def test_300_finds_what_the_command_wrote_as_long_as_it_is_of_this_model(root, monkeypatch):
    run(root, monkeypatch, "--local", "20")
    folder, name = root / "presentation" / "external", "baseline-patient"
    models = {name: external_scores.shown_by(root / "runs" / name)}
    found, remarks = external.kept(folder, models)
    source = f"folder-{root.name}-table"
    kept = found[name][source]
    assert (kept.local, kept.local_patients, kept.scored, kept.scored_patients) == (20, 10, 40, 20)
    assert remarks == [] and "40 films of 20 patients judge" in external.in_words(kept, name, "f")
    assert external.kept(folder, {"another": models[name]}) == ({}, [])
    fitted = root / "runs" / name / "calibration.json"
    before = fitted.read_bytes()
    fitted.write_bytes(before + b" ")
    anew, remarks = external.kept(folder, {name: external_scores.shown_by(fitted.parent)})
    fitted.write_bytes(before)
    assert not anew and "before it was trained or recalibrated anew" in remarks[0]
    own = toy_auroc(root)
    drawn = figures.ranked(
        external.beside_own(own, found[name]), title="At home and elsewhere", axis="AUROC"
    )
    assert [trace.name for trace in drawn.data if trace.name] == ["own test films", source]
    table = folder / f"{name}-on-{source}" / "external.csv"
    table.write_text(table.read_text().replace("Mass", "Mess"))
    changed, remarks = external.kept(folder, models)
    assert not changed and "is not what `external` wrote" in remarks[0]


def toy_auroc(root) -> pd.DataFrame:
    """AUROC on made-up test films."""
    frame = made_up.people([1] * 60)
    scores = frame[list(FINDINGS)].astype(float)
    return ranking.auroc_by_finding(ranking.Judged.of(frame, scores))


def test_scores_are_those_that_the_run_shows(root):
    path = root / "hospital" / "p0" / "0.jpg"
    scores, refused = external_scores.score(root / "runs" / "baseline-patient", {"a": path})
    assert not refused
    (root / "plain").mkdir()
    for file in (root / "runs" / "baseline-patient").iterdir():
        if file.name != "calibration.json":
            (root / "plain" / file.name).write_bytes(file.read_bytes())
    plain, _ = external_scores.score(root / "plain", {"a": path})
    # The toy run's recalibration triples the odds.
    odds = scores / (1 - scores), plain / (1 - plain)
    assert (odds[0] / odds[1]).to_numpy() == pytest.approx(np.full((1, 14), 3), rel=1e-4)


def test_a_film_that_cannot_be_read_is_named_and_the_others_are_scored(root, tmp_path):
    (tmp_path / "cut.jpg").write_bytes((root / "hospital/p0/0.jpg").read_bytes()[:300])
    paths = {"a": tmp_path / "cut.jpg", "b": root / "hospital/p0/0.jpg"}
    scores, refused = external_scores.score(root / "runs" / "baseline-patient", paths)
    assert list(scores.index) == ["b"] and "JPEG" in refused["a"]
    with pytest.raises(InputError, match="none of the 1 films can be read"):
        external_scores.score(root / "runs" / "baseline-patient", {"a": paths["a"]})


def test_drawings_and_real_films_are_not_mixed(root, tmp_path):
    folder = root / "runs" / "baseline-patient"
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    record = artifacts.read_json(folder / "config.json") | {"phantoms": True}
    artifacts.write_json(tmp_path / "config.json", record)
    with pytest.raises(InputError, match="learned drawings, and these are real films"):
        external_scores.score(tmp_path, {"a": root / "hospital/p0/0.jpg"})


@pytest.mark.parametrize("name, said", [("rsna", "NIH's own films"), ("mimic", "unknown source")])
def test_other_names_are_refused(root, monkeypatch, capsys, name, said):
    assert run(root, monkeypatch, "--source", name) == 1
    assert said in capsys.readouterr().err


def test_a_run_that_is_not_there_is_said(root, monkeypatch, capsys):
    monkeypatch.setenv("CXR_ROOT", str(root / "elsewhere"))
    monkeypatch.setenv("CXR_PROFILE", "first_archive")
    options = ["--source", "folder", "--records", "x.csv", "--images", "y"]
    assert __main__.main(["external", "nothing", *options]) == 1
    assert "holds no run 'nothing'; it holds none yet" in capsys.readouterr().err
