import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from stand_in import QUICK, Ahead, Fault, archive, film_png, film_set, films_zip, serving, tar_gz

from cxr.config import load_config
from cxr.errors import InputError
from cxr.fetch import catalogue, download, small_files
from cxr.films import png


class Site:
    """Three archives of 10 films each on a server, and a project folder to fetch them to."""

    def __init__(self, server, root, *, films=30, side=64):
        self.server = server
        self.films = film_set(films, side=side)
        names = list(self.films)
        self.archives = []
        for number, start in enumerate(range(0, films, films // 3), start=1):
            part = {name: self.films[name] for name in names[start : start + films // 3]}
            described, files = archive(part, server.address, number)
            self.archives.append(described)
            server.files |= files
        self.config = load_config({}, profile="full", root=root, parallel=2, image_size=64)

    def fetch(self, wanted=None, **changes):
        config = dataclasses.replace(self.config, **changes)
        return download.fetch_films(
            config, self.archives, wanted or list(self.films), patience=QUICK
        )

    @property
    def images(self):
        return self.config.data / "images"

    def on_disk(self):
        return {path.name: path.read_bytes() for path in self.images.iterdir() if path.is_file()}

    def asked(self):
        return [name for name, _ in self.server.requests]


@pytest.fixture
def site(tmp_path):
    with serving() as server:
        yield Site(server, tmp_path)


def test_films_arrive_whole_and_archives_go(site):
    table = site.fetch()
    assert site.on_disk() == site.films
    assert sorted(path.name for path in site.config.data.iterdir()) == [
        ".lock",
        "images",
        "manifest.json",
    ]
    assert not (site.images / ".unpacking").exists()
    assert table["archive"].tolist() == [f"images_0{number}.tar.gz" for number in (1, 2, 3)]
    assert table["films"].tolist() == [10, 10, 10]
    assert table["verified"].unique().tolist() == ["MD5"]
    assert table["source"].unique().tolist() == ["127.0.0.1"]
    assert table["state"].unique().tolist() == ["fetched"]


def test_the_manifest_tells_what_came_from_where(site):
    site.fetch()
    kept = json.loads((site.config.data / "manifest.json").read_text())
    first = kept["archives"]["images_01.tar.gz"]
    assert first["source"] == f"{site.server.address}/images_01.tar.gz"
    assert first["bytes"] == site.archives[0].bytes
    assert first["md5"] == site.archives[0].md5
    assert first["time"].startswith("20")
    assert kept["settings"]["films"] == "NIH"


def test_a_second_run_asks_for_nothing(site):
    site.fetch()
    site.server.requests.clear()
    assert site.fetch()["state"].unique().tolist() == ["was there"]
    assert site.server.requests == []


def test_a_film_that_was_lost_brings_its_archive_again(site):
    site.fetch()
    (site.images / "00000015_000.png").unlink()
    site.server.requests.clear()
    site.fetch()
    assert site.asked() == ["images_02.tar.gz"]
    assert site.on_disk() == site.films


def test_what_a_kill_left_of_archives_goes_once_their_films_are_there(site):
    # Killed between the last film and the removal of its archive.
    site.fetch()
    by_hand(site, "images_01.tar.gz", site.server.files["images_01.tar.gz"])
    by_hand(site, "images_02.tar.gz.part", b"begun")
    site.fetch(keep_archives=True)
    assert len(list((site.config.data / "archives").iterdir())) == 2
    site.fetch()
    assert not (site.config.data / "archives").exists()


def test_archives_are_kept_on_request_and_used_without_a_server(site):
    site.fetch(keep_archives=True)
    folder = site.config.data / "archives"
    assert sorted(path.name for path in folder.iterdir()) == [a.name for a in site.archives]
    shutil.rmtree(site.images)
    site.server.requests.clear()
    site.fetch()
    assert site.server.requests == []
    assert site.on_disk() == site.films
    assert not folder.exists()


def by_hand(site, name, content):
    (site.config.data / "archives").mkdir(parents=True, exist_ok=True)
    (site.config.data / "archives" / name).write_bytes(content)


def test_archives_downloaded_by_hand_are_used(site):
    for name in ("images_01.tar.gz", "images_002.zip"):
        by_hand(site, name, site.server.files[name])
    site.fetch()
    assert site.asked() == ["images_03.tar.gz"]
    assert site.on_disk() == site.films


def test_a_download_by_hand_that_was_cut_off_is_continued(site):
    by_hand(site, "images_01.tar.gz", site.server.files["images_01.tar.gz"][:9000])
    site.fetch()
    assert ("images_01.tar.gz", "bytes=9000-") in site.server.requests
    assert site.on_disk() == site.films


@pytest.mark.parametrize("size", ["same", "longer"])
def test_a_wrong_archive_downloaded_by_hand_is_replaced(site, size):
    wrong = bytes(site.archives[0].bytes + (size == "longer"))
    by_hand(site, "images_01.tar.gz", wrong)
    site.fetch()
    assert ("images_01.tar.gz", "") in site.server.requests
    assert site.on_disk() == site.films


def test_films_that_lie_there_are_adopted_flat_or_nested(site):
    # Kaggle's layout for the first archive, flat for the second.
    names = list(site.films)
    for name, folder in [(n, "images_001/images") for n in names[:10]] + [
        (n, "images") for n in names[10:20]
    ]:
        (site.config.data / folder).mkdir(parents=True, exist_ok=True)
        (site.config.data / folder / name).write_bytes(site.films[name])
    site.fetch()
    assert site.asked() == ["images_03.tar.gz"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=404),
        Fault(status=403),
        Fault(body=b"<html>Sign in</html>", content_type="text/html"),
        Fault(body=b"<html>Sign in</html>"),
    ],
)
def test_where_the_original_is_gone_the_mirror_serves(site, fault):
    site.server.faults["images_02.tar.gz"].extend([fault] * 3)
    table = site.fetch().set_index("archive")
    assert site.on_disk() == site.films
    assert table.loc["images_02.tar.gz", "verified"] == "CRC-32 of each film"
    assert table.loc["images_01.tar.gz", "verified"] == "MD5"


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=403),
        Fault(status=404),
        Fault(body=b"<html>Sign in</html>", content_type="text/html"),
        Fault(body=b"<html>Sign in</html>"),
        Fault(body=b"\x1f\x8b of another size"),
    ],
)
def test_one_refusal_in_the_middle_costs_nothing(site, fault):
    # The first answer breaks off; the second refuses; the third goes on.
    half = site.archives[1].bytes // 2
    site.server.faults["images_02.tar.gz"] += [Fault(after=half), fault]
    table = site.fetch().set_index("archive")
    assert site.on_disk() == site.films
    assert table["verified"].unique().tolist() == ["MD5"]
    assert site.server.requests.count(("images_02.tar.gz", f"bytes={half}-")) == 2


def patiently(site, server_down, **changes):
    """Fetch by a clock that runs ahead, with a server that fails while `server_down(now)`."""
    clock = Ahead()
    begun = clock.now()
    patience = dataclasses.replace(QUICK, clock=clock, **changes)
    site.server.outage = lambda: server_down(clock.now() - begun)
    download.fetch_films(site.config, site.archives, list(site.films), patience=patience)
    return clock


REAL = {"tries": 8, "first_pause": 1.0, "longest_pause": 60.0, "between_rounds": 30.0}


def test_an_outage_of_all_sources_is_waited_for(site):
    clock = patiently(site, lambda now: now < 3600, budget=2 * 3600, **REAL)
    assert site.on_disk() == site.films
    # Waits grow to minutes, and are never longer than five.
    assert 120 < max(clock.waits) <= 300


def test_what_is_down_for_one_archive_is_known_down_for_all(site):
    # An hour: each archive by itself would ask some thirty times, from two sources.
    patiently(site, lambda now: now < 3600, budget=2 * 3600, **REAL)
    assert site.on_disk() == site.films
    assert len(site.server.requests) < 45


def test_an_outage_longer_than_the_budget_is_one_clear_error(site):
    with pytest.raises(InputError, match="3 of 3 archives could not be had"):
        patiently(site, lambda now: True, budget=3600, **REAL)


def test_a_refusal_of_minutes_by_all_is_waited_for(site):
    # A login page in front of everything, for half a minute.
    page = Fault(body=b"<html>Sign in</html>", content_type="text/html")
    for name in list(site.server.files):
        site.server.faults[name].extend([page] * 5)
    site.fetch()
    assert site.on_disk() == site.films


def test_parts_of_two_sources_never_need_more_room_than_one_archive(site):
    # NIH breaks off at nine tenths and then refuses; the mirror's zip has to go somewhere.
    archive_ = site.archives[1]
    site.server.faults["images_02.tar.gz"] += [
        Fault(after=archive_.bytes * 9 // 10),
        *[Fault(status=404)] * 9,
    ]
    most, room = [], max(archive_.bytes, len(site.server.files["images_002.zip"]))
    folder = site.config.data / "archives"
    site.server.sending = lambda: most.append(
        sum(path.stat().st_size for path in folder.glob("images_*2.*") if path.exists())
    )
    site.server.rate = 4_000_000
    one = dataclasses.replace(site.config, parallel=1)
    # On a busy machine, refusals take longer than others' patience here.
    patient = dataclasses.replace(QUICK, budget=30.0)
    download.fetch_films(one, site.archives, list(site.films), patience=patient)
    assert site.on_disk() == site.films
    assert max(most) <= room + 200


def test_a_kill_just_behind_the_move_leaves_no_entry_without_its_end(site):
    site.fetch()
    path = site.config.data / "manifest.json"
    kept = json.loads(path.read_text())
    for name in ("films", "time"):
        del kept["archives"]["images_02.tar.gz"][name]
    path.write_text(json.dumps(kept))
    site.fetch()
    entry = json.loads(path.read_text())["archives"]["images_02.tar.gz"]
    assert entry["films"] == 10
    assert entry["time"].startswith("20")
    assert entry["verified"] == "MD5"


def test_what_a_mirror_lacked_is_not_fetched_from_that_mirror_again(site):
    del site.server.files["images_02.tar.gz"]
    site.server.files["images_002.zip"] = films_zip(dict(list(site.films.items())[10:19]))
    site.fetch()
    site.server.requests.clear()
    table = site.fetch().set_index("archive")
    assert "images_002.zip" not in site.asked()
    assert table.loc["images_02.tar.gz", "state"] == "was there"
    assert table.loc["images_02.tar.gz", "films"] == 9


def test_whatever_one_archive_does_the_others_arrive(site, monkeypatch):
    unpack = download.unpack.unpack

    def broken(place, *arguments, **options):
        if "2." in place.name:
            raise KeyError("a fault that nobody thought of")
        return unpack(place, *arguments, **options)

    monkeypatch.setattr(download.unpack, "unpack", broken)
    with pytest.raises(InputError, match="1 of 3 archives could not be had: images_02"):
        site.fetch()
    assert len(site.on_disk()) == 20


def test_a_server_that_names_each_answer_anew_is_resumed(site):
    # With a known MD5, an ETag decides nothing.
    site.server.etags = "changing"
    half = site.archives[0].bytes // 2
    site.server.faults["images_01.tar.gz"].append(Fault(after=half))
    site.fetch()
    assert site.on_disk() == site.films
    assert ("images_01.tar.gz", f"bytes={half}-") in site.server.requests


@pytest.mark.parametrize("step", [Fault(sizeless=True), Fault(cap=700)])
def test_a_part_that_ends_early_or_tells_no_size_is_a_step(site, step):
    half = site.archives[0].bytes // 2
    site.server.faults["images_01.tar.gz"] += [Fault(after=half), step]
    site.fetch()
    assert site.on_disk() == site.films
    asked = [asked for name, asked in site.server.requests if name == "images_01.tar.gz"]
    assert asked[1] == f"bytes={half}-"
    if step.cap:
        assert asked[2] == f"bytes={half + 700}-"


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "abc"},
        {"Content-Length": "12, 13"},
        {"Retry-After": b"\xb2"},
        {"Location": b"\xff\xfe"},
    ],
)
def test_nonsense_in_a_header_is_no_traceback(site, headers):
    status = 503 if "Retry-After" in headers else 302 if "Location" in headers else None
    site.server.faults["images_01.tar.gz"].append(Fault(headers=headers, status=status))
    site.fetch()
    assert site.on_disk() == site.films


def test_archives_fetched_by_hand_under_nihs_names_are_taken(site):
    for number in (1, 2, 3):
        content = site.server.files[f"images_0{number}.tar.gz"]
        by_hand(site, f"images_00{number}.tar.gz", content)
    table = site.fetch()
    assert site.server.requests == []
    assert site.on_disk() == site.films
    assert table["verified"].unique().tolist() == ["MD5"]


@pytest.mark.parametrize("content", [b"", "cut", "jpeg"])
def test_what_only_has_a_films_name_is_fetched_again_and_set_aside(site, content):
    site.fetch()
    film = site.images / "00000015_000.png"
    if content == "cut":
        content = film.read_bytes()[:500]
    elif content == "jpeg":
        buffer = io.BytesIO()
        Image.open(film).convert("L").save(buffer, "JPEG")
        content = buffer.getvalue()
    film.write_bytes(content)
    site.server.requests.clear()
    site.fetch()
    assert site.asked() == ["images_02.tar.gz"]
    kept = film.with_name(film.name + ".damaged")
    assert kept.read_bytes() == content
    kept.unlink()
    assert site.on_disk() == site.films


def test_what_a_mirror_lacked_is_asked_for_again_once_nih_is_back(site):
    lacking = dict(list(site.films.items())[10:19])
    original = site.server.files.pop("images_02.tar.gz")
    site.server.files["images_002.zip"] = films_zip(lacking)
    site.fetch()
    assert len(site.on_disk()) == 29
    site.server.files["images_02.tar.gz"] = original
    site.fetch()
    assert site.on_disk() == site.films


def test_the_films_folder_may_be_a_link_to_another_disk(site):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == site.config.root.stat().st_dev:
        pytest.skip("this machine has no second disk")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        site.config.data.mkdir(parents=True)
        site.images.symlink_to(other)
        site.fetch()
        assert site.on_disk() == site.films
        assert sorted(path.name for path in Path(other).iterdir()) == sorted(site.films)


NULLS = '{"settings": null, "files": {}, "archives": {}}'
ENTRY = '{"settings": {}, "files": {}, "archives": {"images_01.tar.gz": null}}'


def test_a_manifest_that_is_none_is_named(site):
    site.config.data.mkdir(parents=True)
    for content in ("{}", "[]", "3", '{"a": 1}', '{"settings": {}, "files": {}}', NULLS, ENTRY):
        (site.config.data / "manifest.json").write_text(content)
        with pytest.raises(InputError, match=r"manifest\.json is no manifest of this project"):
            site.fetch()


def test_a_damaged_mirror_is_fetched_once_more(site):
    del site.server.files["images_02.tar.gz"]
    middle = len(site.server.files["images_002.zip"]) // 2
    site.server.faults["images_002.zip"].append(Fault(flip=middle))
    site.fetch()
    assert site.asked().count("images_002.zip") == 2
    assert site.on_disk() == site.films


def test_an_archive_without_any_source_is_one_clear_error_and_the_others_arrive(site):
    original = site.server.files.pop("images_02.tar.gz")
    del site.server.files["images_002.zip"]
    with pytest.raises(InputError) as error:
        site.fetch()
    message = str(error.value)
    assert "images_02.tar.gz (http" in message
    assert "1 of 3 archives could not be had" in message
    assert message.count("HTTP 404") >= 2
    assert "Run 000 again" in message
    assert len(site.on_disk()) == 20
    site.server.files["images_02.tar.gz"] = original
    site.fetch()
    assert site.on_disk() == site.films


def test_every_fault_at_once_still_gives_whole_films(site):
    site.server.faults["images_01.tar.gz"] += [
        Fault(after=3000),
        Fault(status=503),
        Fault(ignore_range=True, after=9000),
        Fault(shift=5),
    ]
    site.server.faults["images_02.tar.gz"] += [Fault(flip=5000), Fault(status=429)]
    site.server.faults["images_03.tar.gz"] += [Fault(stall=9.0, after=100), Fault(status=416)]
    site.fetch()
    assert site.on_disk() == site.films


def test_films_are_stored_small_on_request(site):
    site.fetch(store_size=16)
    assert site.on_disk() == {name: png.reduce(film, 16) for name, film in site.films.items()}


def test_at_most_parallel_archives_lie_on_the_disk(site, monkeypatch):
    seen = []
    unpack = download.unpack.unpack

    def watch(*arguments, **options):
        seen.append(len(list((site.config.data / "archives").glob("*.tar.gz*"))))
        return unpack(*arguments, **options)

    monkeypatch.setattr(download.unpack, "unpack", watch)
    site.fetch(parallel=1)
    assert seen == [1, 1, 1]


def test_a_disk_that_is_too_small_is_told_before_the_first_byte(site, monkeypatch):
    usage = shutil._ntuple_diskusage(10**6, 10**6, 20_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match=r"needs [\d.]+ kB of disk space .* but 20.0 kB are free"):
        site.fetch()
    assert site.server.requests == []


def test_two_sources_that_are_up_in_turn_do_not_undo_each_others_work(site):
    # By turns of a time in which about half of an archive comes, one is up and the other away.
    with serving() as mirror:
        described = site.archives[0]
        copy = described.mirrors[0].rpartition("/")[2]
        mirror.files[copy] = site.server.files[copy]
        site.archives = [dataclasses.replace(described, mirrors=(f"{mirror.address}/{copy}",))]

        def away(place):
            return int(time.monotonic() / 0.2) % 2 != place

        def bring(place):
            if away(place):
                raise ConnectionResetError

        for place, server in enumerate((site.server, mirror)):
            server.rate = 5 * described.bytes // 2
            server.sending = lambda place=place: bring(place)
            server.outage = lambda place=place: away(place)
        patient = dataclasses.replace(QUICK, budget=30.0)
        wanted = list(described.contents)
        download.fetch_films(site.config, site.archives, wanted, patience=patient)
        assert set(site.on_disk()) == set(wanted)
        assert site.server.sent + mirror.sent < 5 * described.bytes


def test_a_damaged_zip_put_there_by_hand_is_set_aside_and_kept(site):
    name = site.archives[0].mirrors[0].rpartition("/")[2]
    damaged = bytearray(site.server.files[name])
    damaged[len(damaged) // 3] ^= 0x55
    by_hand(site, name, bytes(damaged))
    place = site.config.data / "archives" / name
    site.fetch()
    assert set(site.on_disk()) == set(site.films)
    assert place.with_name(f"{name}.damaged").read_bytes() == bytes(damaged)


@pytest.mark.parametrize("kind", ["application/json", "application/xhtml+xml", "Text/HTML"])
def test_another_answer_does_not_cost_what_has_arrived(site, kind):
    name = site.archives[0].name
    size = len(site.server.files[name])
    page = Fault(body=b"{}", content_type=kind, without_length=True)
    site.server.faults[name].extend([Fault(after=size // 2), page])
    site.fetch(list(site.archives[0].contents))
    asked = [span for file, span in site.server.requests if file == name]
    assert asked[-1].startswith("bytes=") and asked[-1] != "bytes=0-"
    assert site.server.sent < 1.2 * size


def test_a_link_that_leads_nowhere_is_named(site):
    site.fetch()
    name = next(iter(site.films))
    (site.images / name).unlink()
    (site.images / name).symlink_to(site.images / "gone.png")
    with pytest.raises(InputError, match=f"{name} is a link to a file that does not exist"):
        site.fetch()


def test_a_film_that_was_swapped_is_named(site):
    site.fetch()
    wanted = list(site.films)
    download.take_inventory(site.config, wanted)
    first, other = (site.images / name for name in wanted[:2])
    content = first.read_bytes()
    first.write_bytes(other.read_bytes())
    other.write_bytes(content)
    os.utime(first, (1, 1))
    os.utime(other, (1, 1))
    for _ in range(2):
        table = download.take_inventory(site.config, wanted).set_index("check")
        assert table.loc["changed", "films"] == 2
        assert table.loc["changed", "examples"] == ", ".join(wanted[:2])


@pytest.mark.parametrize("damage", ["empty", "cut", "older"])
def test_a_damaged_memory_of_films_is_made_anew(site, damage):
    site.fetch()
    wanted = list(site.films)
    before = download.take_inventory(site.config, wanted)
    path = site.config.data / "inventory.csv"
    text = path.read_text()
    left = {"empty": "", "cut": text[:-40], "older": text.replace("fault,changed", "fault")}
    path.write_text(left[damage])
    pd.testing.assert_frame_equal(download.take_inventory(site.config, wanted), before)
    assert path.read_text() == text


def test_the_space_needed_is_films_and_the_archives_on_their_way_or_the_cache(site):
    # Two archives at a time, all films: 30 x (packed size + half a block of 4096).
    stage = download._Stage(site.config, site.archives, list(site.films), QUICK)
    packed = [archive.bytes for archive in site.archives]
    films = sum(10 * (size // 10 + 2048) for size in packed)
    cache = 30 * 64 * 64
    assert stage.space(site.archives) == (films, sum(sorted(packed)[1:]), cache)


def test_wanted_films_decide_which_archives_are_fetched(site):
    wanted = ["00000003_000.png", "00000028_000.png"]
    table = site.fetch(wanted)
    assert sorted(site.asked()) == ["images_01.tar.gz", "images_03.tar.gz"]
    assert sorted(site.on_disk()) == wanted
    assert table["films"].tolist() == [1, 1]


def test_a_sample_is_read_out_of_the_mirrors_by_range(site):
    wanted = ["00000003_000.png", "00000004_000.png", "00000028_000.png"]
    site.fetch(wanted, sample="3")
    assert site.on_disk() == {name: site.films[name] for name in wanted}
    assert set(site.asked()) == {"images_001.zip", "images_003.zip"}
    assert all(asked for _, asked in site.server.requests)


def test_a_sample_goes_on_where_it_broke_off(site):
    wanted = list(site.films)[:9]
    site.fetch(wanted[:5], sample="9")
    sent = site.server.sent
    site.fetch(wanted, sample="9")
    assert sorted(site.on_disk()) == wanted
    # The directory and four films, not nine.
    assert site.server.sent - sent < 2 * sent


def test_a_sample_whose_mirror_lies_on_the_disk_needs_no_server(site):
    by_hand(site, "images_001.zip", site.server.files["images_001.zip"])
    site.fetch(["00000003_000.png"], sample="1")
    assert site.server.requests == []
    assert list(site.on_disk()) == ["00000003_000.png"]


def test_a_sample_without_a_mirror_says_so(site):
    del site.server.files["images_001.zip"]
    with pytest.raises(InputError, match=r"images_01.tar.gz \(.*images_001.zip: HTTP 404"):
        site.fetch(["00000003_000.png"], sample="1")


def test_a_film_that_its_archive_does_not_hold_whole_is_not_fetched_again(site):
    films = dict(site.films)
    films["00000003_000.png"] = film_png(3)[:500]
    del films["00000004_000.png"]
    content = tar_gz([(f"images/{n}", c) for n, c in list(films.items())[:9]])
    site.server.files["images_01.tar.gz"] = content
    site.archives[0] = dataclasses.replace(
        site.archives[0], bytes=len(content), md5=hashlib.md5(content).hexdigest()
    )
    site.fetch(store_size=16)
    site.server.requests.clear()
    table = site.fetch(store_size=16)
    assert site.server.requests == []
    assert table["films"].tolist() == [8, 10, 10]
    config = dataclasses.replace(site.config, store_size=16)
    found = download.take_inventory(config, list(site.films)).set_index("check")["films"]
    assert found["missing"] == 0
    assert found["unreadable"] == 2


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"store_size": 32}, "store_size was None, is now 32"),
        ({"sample": "boxes"}, "sample was None, is now 'boxes'"),
        ({"profile": "demo"}, "films was 'NIH', is now 'phantoms'"),
    ],
)
def test_other_settings_are_refused_and_both_named(site, changes, words):
    site.fetch()
    with pytest.raises(InputError, match=words):
        site.fetch(**changes)
    assert site.on_disk() == site.films


def test_two_processes_do_not_fill_one_folder(site):
    holder = (
        "import sys, time; from pathlib import Path; from cxr.fetch.manifest import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", holder, str(site.config.data)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(InputError, match="another process"):
            site.fetch()
        process.kill()
    site.fetch()
    assert site.on_disk() == site.films


def test_a_root_that_cannot_be_written_is_named(site, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be written to.*CXR_ROOT"):
        site.fetch(root=tmp_path / "file" / "root")


# Small files, the user's own records and films --------------------------------------


@pytest.fixture
def config(tmp_path):
    return load_config({}, profile="full", root=tmp_path / "root")


def test_small_files_land_under_the_names_that_later_stages_read(config):
    table = small_files.fetch_into_data(config).set_index("file")
    kept = json.loads((config.data / "manifest.json").read_text())["files"]
    for name, wanted in catalogue.SMALL_FILES.items():
        file = wanted.kept_as
        content = (config.data / file).read_bytes()
        assert content == small_files.path_of(name).read_bytes()
        assert kept[file]["sha256"] == hashlib.sha256(content).hexdigest()
        assert kept[file]["bytes"] == len(content) == table.loc[file, "bytes"]
        assert kept[file]["source"] == table.loc[file, "source"]


def test_small_files_that_are_there_are_not_fetched_again(config, monkeypatch):
    first = small_files.fetch_into_data(config)
    monkeypatch.setattr(small_files, "fetch", None)
    pd.testing.assert_frame_equal(small_files.fetch_into_data(config), first)
    # One that was altered meanwhile is.
    (config.data / "boxes.csv").write_text("altered")
    with pytest.raises(TypeError):
        small_files.fetch_into_data(config)


fetch_small = small_files.fetch


def refuse_all_but_records(name):
    if name != "records":
        raise InputError(f"{name} could not be had from any source")
    return fetch_small(name)


def test_what_no_source_gives_is_reported_and_the_run_goes_on(config, monkeypatch):
    monkeypatch.setattr(small_files, "fetch", refuse_all_but_records)
    table = small_files.fetch_into_data(config).set_index("file")
    assert table.loc["boxes.csv", "source"] == "absent: boxes could not be had from any source"
    assert not (config.data / "boxes.csv").exists()
    assert (config.data / "records.csv").exists()


def test_a_small_file_put_there_by_hand_is_verified_and_used(config, monkeypatch):
    content = small_files.path_of("boxes").read_bytes()
    monkeypatch.setattr(small_files, "fetch", refuse_all_but_records)
    config.data.mkdir(parents=True)
    (config.data / "boxes.csv").write_bytes(content.replace(b"\n", b"\r\n"))
    table = small_files.fetch_into_data(config).set_index("file")
    assert table.loc["boxes.csv", "source"] == "put there by hand"


@pytest.mark.parametrize("packed", [False, True])
def test_the_users_records_are_used_and_known_by_checksum(config, tmp_path, packed):
    lines = small_files.path_of("records").read_bytes().splitlines(keepends=True)[:500]
    mine = tmp_path / ("mine.csv.gz" if packed else "mine.csv")
    mine.write_bytes(gzip.compress(b"".join(lines)) if packed else b"".join(lines))
    config = dataclasses.replace(config, records=mine)
    table = small_files.fetch_into_data(config).set_index("file")
    assert (config.data / "records.csv").read_bytes() == b"".join(lines)
    assert table.loc["records.csv", "source"] == str(mine)
    mine.write_bytes(b"".join(lines[:400]))
    with pytest.raises(InputError, match=r"records was '[0-9a-f]{64}', is now '[0-9a-f]{64}'"):
        small_files.fetch_into_data(config)
    assert (config.data / "records.csv").read_bytes() == b"".join(lines)


@pytest.mark.parametrize("text", ["", "film,age\n1,2\n"])
def test_records_at_fault_leave_no_trace(config, tmp_path, text):
    (tmp_path / "mine.csv").write_text(text)
    with pytest.raises(InputError):
        small_files.fetch_into_data(dataclasses.replace(config, records=tmp_path / "mine.csv"))
    assert not config.data.exists()


def test_the_users_films_are_used_in_place(config, tmp_path):
    # In Kaggle's layout, two of three, one of them damaged; nothing is fetched or copied.
    films = film_set(2)
    folder = tmp_path / "kaggle" / "images_001" / "images"
    folder.mkdir(parents=True)
    (folder / "00000001_000.png").write_bytes(films["00000001_000.png"])
    (folder / "00000002_000.png").write_bytes(films["00000002_000.png"][:1000])
    config = dataclasses.replace(config, images=tmp_path / "kaggle")
    wanted = ["00000001_000.png", "00000002_000.png", "00000003_000.png"]
    assert download.fetch_films(config, (), wanted).empty
    found = download.take_inventory(config, wanted).set_index("check")["films"]
    assert (found["on disk"], found["missing"], found["unreadable"]) == (2, 1, 1)
    assert download.available(config) == {"00000001_000.png": folder / "00000001_000.png"}
    assert download.left_out(config) == {"00000002_000.png": "unreadable: cut off"}
    with pytest.raises(InputError, match="CXR_IMAGE_SIZE=224"):
        download.available(config, size=224)


def test_fetched_films_are_available_by_name(site):
    site.fetch()
    download.take_inventory(site.config, list(site.films))
    available = download.available(site.config)
    assert list(available) == sorted(site.films)
    assert all(path.read_bytes() == site.films[name] for name, path in available.items())


# Killed in the middle ---------------------------------------------------------------

RUN = """
import json, sys
from pathlib import Path
from cxr.fetch import catalogue, download
from cxr.config import load_config

order = json.loads(sys.stdin.read())
config = load_config({}, profile="full", root=Path(order["root"]), store_size=32, parallel=2)
archives = [
    catalogue.Archive(**{name: tuple(v) if type(v) is list else v for name, v in archive.items()})
    for archive in order["archives"]
]
wanted = [film for archive in archives for film in archive.contents]
download.fetch_films(config, archives, wanted)
"""


@pytest.fixture(scope="module")
def killing_site(tmp_path_factory):
    """Sixty films of 256 px, reduced to 32, so that unpacking takes a while."""
    with serving() as server:
        site = Site(server, tmp_path_factory.mktemp("undisturbed"), films=60, side=256)
        site.fetch(store_size=32)
        site.undisturbed = site.on_disk()
        yield site


def kill_when(site, root, condition):
    """Start stage 000 in a process of its own and kill it once `condition` holds."""
    order = {
        "root": str(root),
        "archives": [dataclasses.asdict(a) | {"contents": list(a.contents)} for a in site.archives],
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUN], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        process.stdin.write(json.dumps(order))
        process.stdin.close()
        deadline = time.monotonic() + 60
        while not condition() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.0005)
        process.send_signal(signal.SIGKILL)
        process.wait()
    return process.returncode


def check_after_kill(site, root):
    """What is in place is whole, and a rerun completes it."""
    images = root / "data" / "images"
    for path in images.glob("*"):
        if path.name == ".unpacking":
            continue
        assert site.undisturbed[path.name] == path.read_bytes()
    site.server.rate = 0
    site.fetch(root=root, store_size=32)
    tree = {path.name: path.read_bytes() for path in images.iterdir()}
    assert tree == site.undisturbed
    assert not (root / "data" / "archives").exists()


def kill_while_downloading(site, root, seed):
    total = sum(archive.bytes for archive in site.archives)
    moment = site.server.sent + random.Random(seed).randrange(total)
    site.server.rate = 4_000_000
    code = kill_when(site, root, lambda: site.server.sent >= moment)
    check_after_kill(site, root)
    return code


def kill_while_unpacking(site, root, seed):
    images = root / "data" / "images"
    films = random.Random(seed).randrange(1, 60)

    def reached():
        # os.walk shrugs off folders that vanish meanwhile.
        there = [files for _, _, files in os.walk(images)]
        return sum(map(len, there)) >= films

    code = kill_when(site, root, reached)
    check_after_kill(site, root)
    return code


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_while_downloading_a_rerun_completes(killing_site, tmp_path, seed):
    assert kill_while_downloading(killing_site, tmp_path, seed) == -signal.SIGKILL


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_while_unpacking_a_rerun_completes(killing_site, tmp_path, seed):
    assert kill_while_unpacking(killing_site, tmp_path, seed) in (0, -signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_twenty_moments_of_downloading(killing_site, tmp_path, seed):
    assert kill_while_downloading(killing_site, tmp_path, seed) == -signal.SIGKILL


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 120))
def test_killed_at_twenty_moments_of_unpacking(killing_site, tmp_path, seed):
    assert kill_while_unpacking(killing_site, tmp_path, seed) in (0, -signal.SIGKILL)


# A disk that is full ----------------------------------------------------------------


@contextlib.contextmanager
def small_disk(folder, options):
    """A disk in memory, mounted at `folder`."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this machine does not let tests mount a disk")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_read_only_disk_is_told_and_films_on_it_are_used(site, tmp_path):
    disk = tmp_path / "disk"
    with small_disk(disk, "size=8m"):
        (disk / "films").mkdir()
        for name, content in site.films.items():
            (disk / "films" / name).write_bytes(content)
        remount = ["mount", "-o", "remount,ro", "tmpfs", str(disk)]
        subprocess.run(remount, check=True, capture_output=True)
        with pytest.raises(InputError, match=r"cannot be written to \(Read-only file system\)"):
            site.fetch(root=disk)
        config = dataclasses.replace(site.config, images=disk / "films")
        download.take_inventory(config, list(site.films))
        assert list(download.available(config)) == sorted(site.films)


@pytest.mark.parametrize("kilobytes", [40, 120, 160])
def test_a_small_disk_fills_up_and_a_rerun_on_more_room_completes(site, tmp_path, kilobytes):
    disk = tmp_path / "disk"
    with small_disk(disk, f"size={kilobytes}k"):
        # The check beforehand is left out: another program may fill the disk meanwhile.
        with pytest.MonkeyPatch.context() as patch, pytest.raises(InputError, match="No space"):
            patch.setattr(download._Stage, "_check_space", lambda stage, todo: None)
            site.fetch(root=disk)
        subprocess.run(
            ["mount", "-o", "remount,size=8m", "tmpfs", str(disk)], check=True, capture_output=True
        )
        site.fetch(root=disk)
        films = {path.name: path.read_bytes() for path in (disk / "data" / "images").iterdir()}
        assert films == site.films
