"""A run as one file: the same answers elsewhere, and none from an altered one."""

import hashlib
import shutil
import zipfile

import numpy as np
import pytest
import toy_runs
from PIL import Image

from cxr import artifacts
from cxr.__main__ import main
from cxr.errors import InputError
from cxr.modelling import explain, exported, predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = toy_runs.make(tmp_path_factory.mktemp("runs") / "small")
    record = artifacts.read_json(folder / "config.json")
    record |= {"config": {"root": "/home/secret"}, "weights": "/home/secret/weights.h5"}
    artifacts.write_json(folder / "config.json", record)
    explain.keep_worth(folder, ["Its heatmaps find nothing."])
    return folder


@pytest.fixture(scope="module")
def file(run):
    path = run.parent / "small.cxr"
    card = run.parent / "card.md"
    card.write_text("# A card")
    exported.write(run, path, card)
    return path


def test_an_exported_run_gives_the_same_answers_elsewhere(run, file, tmp_path):
    Image.fromarray(toy_runs.film(1)).save(tmp_path / "film.png")
    here = predict.Model(run)
    there, why = predict.load(str(file), tmp_path / "none")
    assert there.name == "small" and why == f"from {file}"
    one, other = (next(iter(m.answers([tmp_path / "film.png"], pictures=1))) for m in (here, there))
    np.testing.assert_array_equal(one.findings["probability"], other.findings["probability"])
    assert one.findings["meaning"].tolist() == other.findings["meaning"].tolist()
    np.testing.assert_array_equal(one.heatmaps, other.heatmaps)
    twins = (next(iter(m.with_twin().answers([tmp_path / "film.png"], pictures=1))).twin
             for m in (here, there))  # fmt: skip
    np.testing.assert_array_equal(*twins)
    assert here.notes == there.notes and "Its heatmaps find nothing." in there.notes


def test_nothing_of_the_machine_is_exported(file):
    with zipfile.ZipFile(file) as packed:
        assert b"secret" not in packed.read("config.json")
        assert packed.read("model_card.md") == b"# A card"


def test_the_same_run_gives_the_same_file_and_its_checksum(run, file, tmp_path):
    checksum = exported.write(run, tmp_path / "again.cxr", run.parent / "card.md")
    assert (tmp_path / "again.cxr").read_bytes() == file.read_bytes()
    assert checksum == hashlib.sha256(file.read_bytes()).hexdigest()


def test_an_altered_file_is_refused_wherever_it_was_altered(file, tmp_path):
    content = file.read_bytes()
    altered = tmp_path / "altered.cxr"
    for place in np.linspace(0, len(content) - 1, 40).astype(int):
        changed = bytearray(content)
        changed[place] ^= 1
        altered.write_bytes(changed)
        with pytest.raises(InputError, match="altered"), exported.opened(altered):
            pass
    for cut in (b"", content[:100], content[:-1], b"text", content + b" "):
        altered.write_bytes(cut)
        with pytest.raises(InputError, match="altered"), exported.opened(altered):
            pass


def test_a_file_with_other_contents_is_refused_though_its_checksum_is_right(file, tmp_path):
    path = tmp_path / "more.cxr"
    with zipfile.ZipFile(path, "w") as packed:
        packed.writestr("../evil.py", "print()")
        packed.comment = b"0" * 64
    whole = path.read_bytes()[:-64]
    path.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
    with pytest.raises(InputError, match="holds what no exported run does"), exported.opened(path):
        pass
    assert not (tmp_path.parent / "evil.py").exists()


def test_an_unfinished_run_is_not_exported(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = artifacts.read_json(folder / "config.json") | {"finished": None}
    artifacts.write_json(folder / "config.json", record)
    with pytest.raises(InputError, match="not trained to the end"):
        exported.write(folder, tmp_path / "run.cxr")
    assert not (tmp_path / "run.cxr").exists()


def test_another_model_in_a_runs_folder_is_refused(run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    record = artifacts.read_json(folder / "config.json")
    record["model_checksum"] = artifacts.sha256(folder / "model.keras")
    artifacts.write_json(folder / "config.json", record)
    predict.Model(folder)
    toy_runs.make(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "model.keras", folder / "model.keras")
    with pytest.raises(InputError, match="not the file that the training wrote"):
        predict.Model(folder)
    with pytest.raises(InputError, match="not the file that the training wrote"):
        exported.write(folder, tmp_path / "run.cxr")


@pytest.mark.parametrize("content", ["{}", "[]"])
def test_a_run_whose_record_is_none_is_not_exported(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=r"config\.json is not what the training wrote"):
        exported.write(tmp_path, tmp_path / "run.cxr")


def test_a_run_that_is_named_as_a_folder_is_exported_under_its_name(run, tmp_path, monkeypatch):
    root = tmp_path / "root"
    shutil.copytree(run, root / "runs" / "small")
    (root / "presentation").mkdir()
    (root / "presentation" / "model_card_small.md").write_text("# A card")
    monkeypatch.setenv("CXR_ROOT", str(root))
    monkeypatch.chdir(tmp_path)
    assert main(["export", "small/", "--profile", "first_archive"]) == 0
    with zipfile.ZipFile(tmp_path / "small.cxr") as packed:
        assert packed.read("model_card.md") == b"# A card"


def packed_again(path, contents):
    """A file as `write` makes it, with other contents and the right checksum."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in contents:
            packed.writestr(name, content)
        packed.comment = b"0" * 64
    whole = path.read_bytes()[:-64]
    path.write_bytes(whole + hashlib.sha256(whole).hexdigest().encode())
    return str(path)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
@pytest.mark.parametrize("what", ["{}", "[]", "twice", "no model", "large card"])
def test_a_file_that_holds_no_whole_run_is_named_and_no_folder_of_ours(file, tmp_path, what):
    with zipfile.ZipFile(file) as packed:
        contents = [(name, packed.read(name)) for name in packed.namelist()]
    if what in ("{}", "[]"):
        contents = [(n, what if n == "config.json" else c) for n, c in contents]
    elif what == "twice":
        contents.append(("config.json", "{}"))
    elif what == "no model":
        contents = [(n, c) for n, c in contents if n != "model.keras"]
    else:
        contents = [(n, "#" * 10**8 if n == "model_card.md" else c) for n, c in contents]
    made = packed_again(tmp_path / "made.cxr", contents)
    with pytest.raises(InputError, match=r"made\.cxr holds") as raised:
        predict.load(made, tmp_path / "none")
    assert "/tmp/tmp" not in str(raised.value)


def test_a_stream_that_is_broken_or_encrypted_is_refused(file, tmp_path):
    for flag in (0, 1):
        content = bytearray(file.read_bytes()[:-64])
        start = content.index(b"PK\x01\x02")
        content[start + 8] |= flag
        if not flag:
            content[60:90] = bytes(30)
        path = tmp_path / f"broken{flag}.cxr"
        path.write_bytes(content + hashlib.sha256(content).hexdigest().encode())
        with pytest.raises(InputError, match="cannot be unpacked"):
            predict.load(str(path), tmp_path / "none")


def test_a_name_too_long_for_a_file_is_no_run(tmp_path):
    with pytest.raises(InputError, match="holds no run"):
        predict.load("x" * 5000, tmp_path)
