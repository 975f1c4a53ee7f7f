import gzip
import hashlib
import re
import time

import pandas as pd
import pytest
from stand_in import Fault, serving

from cxr import artifacts
from cxr.config import load_config
from cxr.errors import InputError
from cxr.fetch import catalogue, selection, small_files
from cxr.fetch.archives import open_archives
from cxr.records import nih


@pytest.fixture(scope="module")
def contents():
    """The small files as the first source that answers here gives them."""
    return {name: small_files.path_of(name).read_bytes() for name in catalogue.SMALL_FILES}


@pytest.fixture
def server():
    with serving() as server:
        yield server


def use_mirrors(monkeypatch, name, *mirrors):
    changed = catalogue.dataclasses.replace(catalogue.SMALL_FILES[name], mirrors=mirrors)
    monkeypatch.setitem(catalogue.SMALL_FILES, name, changed)


def test_the_twelve_archives_add_up():
    # 45.1 GB, 112,120 films: NIH's own counts.
    assert len(catalogue.ARCHIVES) == 12
    assert sum(archive.films for archive in catalogue.ARCHIVES) == 112_120
    assert sum(archive.bytes for archive in catalogue.ARCHIVES) == 45_079_862_784
    assert len({archive.md5 for archive in catalogue.ARCHIVES}) == 12
    for number, archive in enumerate(catalogue.ARCHIVES, start=1):
        assert archive.name == f"images_{number:02d}.tar.gz"
        assert re.fullmatch(r"[0-9a-f]{32}", archive.md5)
        assert re.fullmatch(r"https://nihcc\.box\.com/shared/static/[a-z0-9]{32}\.gz", archive.url)
        assert archive.mirrors[0].endswith(f"/images/images_{number:03d}.zip")


def test_the_small_files_have_their_checksums(contents):
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    assert digests["train_val_list"] == catalogue.SMALL_FILES["train_val_list"].sha256
    assert digests["test_list"] == catalogue.SMALL_FILES["test_list"].sha256
    for name, content in contents.items():
        catalogue.verify(name, content)


def test_the_official_lists_follow_from_the_records_and_2797_numbers(contents, tmp_path):
    path = tmp_path / "Data_Entry_2017_v2020.csv"
    path.write_bytes(contents["records"])
    for name in ("train_val_list", "test_list"):
        file = catalogue.SMALL_FILES[name]
        content = small_files._official_list(file.file, path)
        assert hashlib.sha256(content).hexdigest() == file.sha256
        assert content == contents[name]


def test_another_save_of_the_records_is_accepted(contents):
    # Other order, other line ends, an index column: the content is the same.
    table = pd.read_csv(small_files.path_of("records"), dtype=str)
    other = table.sample(frac=1, random_state=1).to_csv(lineterminator="\r\n").encode()
    assert hashlib.sha256(other).hexdigest() != catalogue.SMALL_FILES["records"].sha256
    catalogue.verify("records", other)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("\n00000001_000.png,Cardiomegaly,", "\n00000001_000.png,No Finding,", "Cardiomegaly 2775"),
        ("\n00000001_000.png,", "\n00000001_001.png,", "films 112119"),
        (",0,1,57,M,PA,2682", ",0,2,57,M,PA,2682", "films of another patient 1"),
    ],
)
def test_records_with_other_content_are_refused(contents, old, new, words):
    text = contents["records"].decode()
    assert text.count(old) >= 1
    with pytest.raises(ValueError, match=words):
        catalogue.verify("records", text.replace(old, new, 1).encode())


@pytest.mark.parametrize(
    "name, old, new",
    [
        ("boxes", "00013118_008.png,Atelectasis", "00013118_008.png,Mass"),
        ("adjudicated", "00000013_008.png", "00000013_026.png"),
        ("test_list", "00000003_000.png\n", ""),
    ],
)
def test_other_small_files_with_other_content_are_refused(contents, name, old, new):
    changed = contents[name].decode().replace(old, new, 1).encode()
    assert changed != contents[name]
    with pytest.raises(ValueError, match="other content"):
        catalogue.verify(name, changed)


def test_lists_with_windows_line_ends_are_the_same_lists(contents):
    catalogue.verify("test_list", contents["test_list"].replace(b"\n", b"\r\n") + b"\r\n")


def test_the_first_mirror_that_answers_rightly_serves(contents, server, monkeypatch, tmp_path):
    server.files["a.csv"] = contents["boxes"].replace(b"Atelectasis", b"Mass")
    server.files["b.csv.gz"] = gzip.compress(contents["boxes"])
    mirrors = [f"{server.address}/{name}" for name in ("none.csv", "a.csv", "b.csv.gz")]
    use_mirrors(monkeypatch, "boxes", *mirrors)
    fetched = small_files.fetch("boxes", folder=tmp_path)
    assert fetched.source == mirrors[2]
    assert fetched.path.read_bytes() == contents["boxes"]
    assert fetched.sha256 == hashlib.sha256(contents["boxes"]).hexdigest()
    # Once there, no mirror is asked again.
    server.requests.clear()
    assert small_files.fetch("boxes", folder=tmp_path) == fetched
    assert server.requests == []


def test_without_any_mirror_each_ones_answer_is_told(server, monkeypatch, tmp_path):
    server.faults["a.csv"].append(Fault(body=b"<html>", content_type="text/html"))
    server.files["a.csv"] = b""
    use_mirrors(monkeypatch, "boxes", f"{server.address}/none.csv", f"{server.address}/a.csv")
    with pytest.raises(InputError) as error:
        small_files.path_of("boxes", folder=tmp_path)
    assert "none.csv: HTTP 404" in str(error.value)
    assert f"save it as {tmp_path / 'BBox_List_2017.csv'}" in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_mirrors_that_cannot_be_reached_fail_within_seconds(monkeypatch, tmp_path):
    # Port 9 of this machine refuses; a name under .invalid is known nowhere (RFC 2606).
    use_mirrors(monkeypatch, "boxes", "http://127.0.0.1:9/a.csv", "https://nowhere.invalid/a.csv")
    start = time.monotonic()
    with pytest.raises(InputError, match="2 sources"):
        small_files.path_of("boxes", folder=tmp_path)
    assert time.monotonic() - start < 10


def test_a_file_saved_by_hand_is_verified_and_used(contents, monkeypatch, tmp_path):
    use_mirrors(monkeypatch, "boxes", "http://127.0.0.1:9/a.csv")
    path = tmp_path / "BBox_List_2017.csv"
    path.write_bytes(contents["boxes"] + b"\n")
    assert small_files.fetch("boxes", folder=tmp_path).source == "put there by hand"
    path.write_bytes(contents["boxes"][:1000])
    with pytest.raises(InputError, match="other content"):
        small_files.fetch("boxes", folder=tmp_path)


def test_a_copy_that_was_damaged_later_is_fetched_again(contents, server, monkeypatch, tmp_path):
    server.files["a.csv"] = contents["boxes"]
    use_mirrors(monkeypatch, "boxes", f"{server.address}/a.csv")
    path = small_files.path_of("boxes", folder=tmp_path)
    path.write_bytes(b"damaged")
    assert small_files.path_of("boxes", folder=tmp_path).read_bytes() == contents["boxes"]


def test_archives_hold_consecutive_films_whichever_records_are_given(tmp_path):
    table = nih.read_records(small_files.path_of("records"))[0]
    config = load_config({}, profile="full", root=tmp_path)
    for given in (table, table.head(100)):
        with open_archives(config, given, [], selection.boxes(tmp_path)) as archives:
            assert [len(archive.contents) for archive in archives] == [
                archive.films for archive in archives
            ]
            # As in Kaggle's copy of the second archive.
            second = archives[1].contents
            assert (second[0], second[-1]) == ("00001336_000.png", "00003923_013.png")


def test_a_users_own_films_need_no_archive(tmp_path):
    config = load_config({}, profile="full", root=tmp_path, images=tmp_path)
    with open_archives(config, pd.DataFrame({"film": []}), [], None) as archives:
        assert archives == ()


def test_a_demos_archives_are_described_as_they_are(tmp_path):
    table = nih.read_records(small_files.path_of("records"))[0]
    config = load_config({}, profile="demo", root=tmp_path)
    films = sorted(table["film"])[:6]
    with open_archives(config, table, films, selection.boxes(tmp_path)) as archives:
        assert [film for archive in archives for film in archive.contents] == films
        for archive in archives:
            path = tmp_path / ".phantoms" / archive.name
            assert archive.bytes == path.stat().st_size
            assert archive.md5 == hashlib.md5(path.read_bytes()).hexdigest()
    assert (
        artifacts.sha256(small_files.path_of("records")) == catalogue.SMALL_FILES["records"].sha256
    )
