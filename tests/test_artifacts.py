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
