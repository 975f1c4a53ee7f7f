import re

import pytest
from stand_in import QUICK, Fault, film_set, films_tar, films_zip, serving

from cxr.fetch import http_transfer, remote_zip
from cxr.fetch.patience import Hosts

FILMS = film_set(40)


@pytest.fixture
def server():
    with serving() as server:
        server.files["images_001.zip"] = films_zip(FILMS)
        yield server


@pytest.fixture
def connection():
    with http_transfer.Connection(Hosts(QUICK)) as connection:
        yield connection


def test_single_films_are_read_and_little_else(server, connection, monkeypatch):
    # As if the archive were large: only a small tail is read ahead.
    monkeypatch.setattr(remote_zip, "_TAIL", 4096)
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    assert packed.films == FILMS.keys()
    wanted = {"00000002_000.png", "00000030_000.png"}
    server.requests.clear()
    monkeypatch.setattr(remote_zip, "_GAP", 0)
    assert dict(packed.read(wanted)) == {name: FILMS[name] for name in wanted}
    compressed = sum(packed._members[name][0].compress_size for name in wanted)
    ranges = [re.fullmatch(r"bytes=(\d+)-(\d+)", asked).groups() for _, asked in server.requests]
    assert (
        compressed <= sum(int(last) - int(first) + 1 for first, last in ranges) < compressed + 500
    )


def test_neighbours_come_with_one_request(server, connection):
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    server.requests.clear()
    assert dict(packed.read(FILMS)) == FILMS
    assert len(server.requests) == 1


def test_requests_stay_small(server, connection, monkeypatch):
    monkeypatch.setattr(remote_zip, "_SPAN", 10_000)
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    server.requests.clear()
    assert dict(packed.read(FILMS)) == FILMS
    total = len(server.files["images_001.zip"])
    assert total / 10_000 < len(server.requests) < total / 5_000


@pytest.mark.parametrize(
    "fault", [Fault(after=100), Fault(status=503), Fault(shift=9), Fault(stall=5, after=50)]
)
def test_faults_on_the_way_are_overcome(server, connection, fault):
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    server.faults["images_001.zip"].append(fault)
    assert dict(packed.read(FILMS)) == FILMS


def test_a_flipped_byte_fails_the_films_checksum(server, connection):
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    server.faults["images_001.zip"].append(Fault(flip=200))
    with pytest.raises(http_transfer.TransferError, match=r"00000001_000\.png is damaged"):
        list(packed.read(["00000001_000.png"]))


def test_an_archive_that_changed_is_not_read_on(server, connection):
    packed = remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
    server.files["images_001.zip"] = films_zip(film_set(40, first_patient=41))
    with pytest.raises(http_transfer.TransferError, match="changed"):
        list(packed.read(["00000001_000.png"]))


def test_what_is_no_zip_is_told(server, connection):
    server.files["images_001.zip"] = films_tar(FILMS)
    with pytest.raises(http_transfer.TransferError, match="no zip"):
        remote_zip.RemoteZip(f"{server.address}/images_001.zip", connection)
