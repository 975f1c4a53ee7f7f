import os
import subprocess
import sys

import pytest

from cxr import artifacts
from cxr.errors import InputError


def test_a_failed_write_leaves_the_old_file_and_no_part(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(RuntimeError), artifacts.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("power cut")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_unwritable_place_is_named(tmp_path):
    # A file where a folder should be: fails for every user, root included.
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written") as caught:
        artifacts.write_json(tmp_path / "file" / "config.json", {})
    assert "CXR_ROOT" in str(caught.value)
    table = artifacts.atomic(tmp_path / "file" / "table.csv", "--csv")
    with pytest.raises(InputError, match="with --csv"), table:
        pass


def test_a_reader_of_another_output_who_goes_away_is_no_fault_of_the_file(tmp_path):
    with pytest.raises(BrokenPipeError), artifacts.atomic(tmp_path / "table.csv"):
        raise BrokenPipeError
    assert list(tmp_path.iterdir()) == []


def test_a_fingerprint_names_a_set_of_films():
    assert artifacts.fingerprint(["b", "a"]) == artifacts.fingerprint(["a", "b"])
    assert artifacts.fingerprint(["a"]) != artifacts.fingerprint(["a", "b"])


def test_other_settings_are_refused_and_both_are_named(tmp_path):
    found = {"split": "patient", "seed": 1}
    artifacts.refuse_other_settings(tmp_path, found, {"split": "patient"}, "Remove it.")
    with pytest.raises(InputError) as caught:
        artifacts.refuse_other_settings(tmp_path, found, {"split": "official"}, "Remove it.")
    assert "split was 'patient', is now 'official'" in str(caught.value)
    assert "Remove it." in str(caught.value)


def test_damaged_json_is_named(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match="does not exist"):
        artifacts.read_json(path)
    path.write_text("{")
    with pytest.raises(InputError, match="not a readable JSON file"):
        artifacts.read_json(path)


def test_what_killed_writers_left_is_swept_and_nothing_else(tmp_path):
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    gone, runs = process.pid, os.getpid()
    kept = {f".{runs}-manifest.json", ".lock", ".notes-mine", "manifest.json", f"{gone}-mine"}
    (tmp_path / "deeper").mkdir()
    for name in (*kept, f".{gone}-manifest.json", f"deeper/.{gone}-films.csv"):
        (tmp_path / name).write_text("")
    artifacts.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == kept | {"deeper"}
    assert len(list((tmp_path / "deeper").iterdir())) == 1
    artifacts.sweep(tmp_path / "absent")
