"""From another hospital's files to the table, by the command that a user types."""

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr import __main__, artifacts, figures
from cxr.errors import InputError
from cxr.evaluation import external, ranking
from cxr.findings import FINDINGS
from cxr.modelling import external_scores
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
    assert "baseline-patient on folder-table: 40 films of 20 patients judge, 20 films of 10" in said
    assert "Not compared (too few patients): Atelectasis" in said
    table = pd.read_csv(
        root / "presentation/external/baseline-patient-on-folder-table/external.csv"
    )
    mass = table.set_index("finding").loc["Mass"]
    assert mass["films"] == 40 and 0 <= mass["low"] <= mass["auroc"] <= mass["high"] <= 1


def test_300_finds_what_the_command_wrote_as_long_as_it_is_of_this_model(root, monkeypatch):
    run(root, monkeypatch, "--local", "20")
    folder, name = root / "presentation" / "external", "baseline-patient"
    models = {name: artifacts.sha256(root / "runs" / name / "model.keras")}
    found, remarks = external.kept(folder, models)
    kept = found[name]["folder-table"]
    assert (kept.local, kept.local_patients, kept.scored, kept.scored_patients) == (20, 10, 40, 20)
    assert remarks == [] and "40 films of 20 patients judge" in external.in_words(kept, name, "f")
    assert external.kept(folder, {"another": models[name]}) == ({}, [])
    anew, remarks = external.kept(folder, {name: "trained anew"})
    assert not anew and "before it was trained anew" in remarks[0]
    own = toy_auroc(root)
    drawn = figures.ranked(
        external.beside_own(own, found[name]), title="At home and elsewhere", axis="AUROC"
    )
    assert [trace.name for trace in drawn.data if trace.name] == ["own test films", "folder-table"]
    table = folder / f"{name}-on-folder-table" / "external.csv"
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
