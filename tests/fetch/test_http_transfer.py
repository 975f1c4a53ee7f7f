import contextlib
import email.utils
import hashlib
import random
import socketserver
import subprocess
import sys
import threading
import time

import pytest
from stand_in import QUICK, Fault, serving

from cxr.errors import InputError
from cxr.fetch import http_transfer
from cxr.fetch.patience import Hosts, Patience

CONTENT = b"\x1f\x8b" + random.Random(7).randbytes(300_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving() as server:
        server.files["film.tar.gz"] = CONTENT
        yield server


def fetch(server, folder, **options):
    """Download the film archive as stage 000 does."""
    options = {
        "size": len(CONTENT),
        "md5": MD5,
        "begins": b"\x1f\x8b",
        "hosts": Hosts(options.pop("patience", QUICK), options.pop("stop", None)),
    } | options
    path = folder / "film.tar.gz"
    http_transfer.download(f"{server.address}/film.tar.gz", path, **options)
    return path


def assert_whole(path):
    assert path.read_bytes() == CONTENT
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def drop_at(server, folder, offset):
    server.faults["film.tar.gz"].append(Fault(after=offset))
    server.requests.clear()
    assert_whole(fetch(server, folder))
    # Only what was missing is asked for again.
    second = f"bytes={offset}-" if offset else ""
    assert server.requests == [("film.tar.gz", ""), ("film.tar.gz", second)]


@pytest.mark.parametrize("offset", [0, 1, 150_000, len(CONTENT) - 1])
def test_a_dropped_connection_goes_on_where_it_broke_off(server, tmp_path, offset):
    drop_at(server, tmp_path, offset)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20))
def test_a_connection_dropped_anywhere_goes_on_there(server, tmp_path, seed):
    drop_at(server, tmp_path, random.Random(seed).randrange(len(CONTENT)))


def test_a_line_that_drops_again_and_again_gets_there(server, tmp_path):
    # Twelve drops, each after 20 kB: 240 of 300 kB, then the rest. More drops in a row than
    # tries, so each must be a step forward; the step is made smaller for a small file.
    server.faults["film.tar.gz"].extend([Fault(after=20_000)] * 4)
    assert_whole(fetch(server, tmp_path))
    assert len(server.requests) == 5


def test_progress_restores_the_tries(server, tmp_path, monkeypatch):
    monkeypatch.setattr(http_transfer, "_PROGRESS", 20_000)
    server.faults["film.tar.gz"].extend([Fault(after=20_000)] * 12)
    assert_whole(fetch(server, tmp_path))
    assert len(server.requests) == 13


def test_a_server_that_starts_over_each_time_is_given_up(server, tmp_path):
    # 200 for 206 and a drop half-way: much is sent, nothing is gained.
    server.faults["film.tar.gz"].extend([Fault(after=150_000, ignore_range=True)] * 50)
    with pytest.raises(http_transfer.TransferError, match="5 tries in a row"):
        fetch(server, tmp_path)
    assert len(server.requests) == QUICK.tries


def test_a_server_that_ignores_ranges_sends_the_whole_file(server, tmp_path):
    server.faults["film.tar.gz"] += [Fault(after=1000), Fault(ignore_range=True)]
    assert_whole(fetch(server, tmp_path))


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("shift", [-100, 7])
def test_a_part_from_another_place_is_not_appended(server, tmp_path, shift, known):
    # A mirror's MD5 is not known, so nothing else would notice there.
    server.faults["film.tar.gz"] += [Fault(after=1000), Fault(shift=shift)]
    assert_whole(fetch(server, tmp_path, **({} if known else {"size": None, "md5": None})))
    # It starts over, without a range that this server gets wrong.
    assert server.requests[-1] == ("film.tar.gz", "")


def test_a_part_longer_than_the_file_starts_over(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT + b"more")
    assert_whole(fetch(server, tmp_path))


def test_416_starts_over(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT[:1000])
    server.faults["film.tar.gz"].append(Fault(status=416))
    assert_whole(fetch(server, tmp_path))
    assert server.requests == [("film.tar.gz", "bytes=1000-"), ("film.tar.gz", "")]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, tmp_path, status):
    server.faults["film.tar.gz"].append(Fault(status=status))
    assert_whole(fetch(server, tmp_path))


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(server, tmp_path, status):
    # QUICK alone would wait a hundredth of a second at most.
    server.faults["film.tar.gz"].append(Fault(status=status, retry_after="1"))
    start = time.monotonic()
    assert_whole(fetch(server, tmp_path))
    assert time.monotonic() - start >= 1.0


def test_retry_after_may_be_a_date(server, tmp_path):
    date = email.utils.formatdate(time.time() + 2, usegmt=True)
    server.faults["film.tar.gz"].append(Fault(status=503, retry_after=date))
    start = time.monotonic()
    assert_whole(fetch(server, tmp_path))
    # A date has whole seconds, so up to one is lost.
    assert time.monotonic() - start >= 0.9


def test_a_server_that_asks_for_too_long_a_pause_is_left(server, tmp_path):
    server.faults["film.tar.gz"].append(Fault(status=429, retry_after="86400"))
    with pytest.raises(http_transfer.TransferError, match="asks to wait 86400 s"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_dead_link_is_believed_when_it_says_so_three_times(server, tmp_path, status):
    server.faults["film.tar.gz"].extend([Fault(status=status)] * 9)
    with pytest.raises(http_transfer.TransferError, match=f"HTTP {status}.*3 times") as error:
        fetch(server, tmp_path)
    assert len(server.requests) == 3
    assert not error.value.passing


def test_refusals_count_only_in_a_row(server, tmp_path):
    no, half = Fault(status=403), Fault(status=503)
    server.faults["film.tar.gz"] += [no, no, half, no]
    assert_whole(fetch(server, tmp_path))


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/gzip"])
def test_a_page_is_not_taken_for_an_archive(server, tmp_path, content_type):
    page = b"<!doctype html><title>Sign in</title>".ljust(len(CONTENT))
    server.faults["film.tar.gz"].extend([Fault(body=page, content_type=content_type)] * 3)
    with pytest.raises(http_transfer.TransferError, match=r"page|no archive"):
        fetch(server, tmp_path)
    assert not (tmp_path / "film.tar.gz").exists()


def test_a_file_of_another_length_is_refused_before_it_is_read(server, tmp_path):
    server.files["film.tar.gz"] = CONTENT[:-1]
    with pytest.raises(http_transfer.TransferError, match="it has 300,001 bytes, not 300,002"):
        fetch(server, tmp_path)


def test_a_body_shorter_than_announced_is_completed(server, tmp_path):
    server.faults["film.tar.gz"].append(Fault(after=500, announce=0))
    assert_whole(fetch(server, tmp_path))


def test_a_body_without_length_is_measured(server, tmp_path):
    server.faults["film.tar.gz"] += [Fault(without_length=True, after=900), Fault()]
    assert_whole(fetch(server, tmp_path))


def test_an_endless_body_is_cut_off(server, tmp_path):
    endless = Fault(body=CONTENT + bytes(50_000_000), without_length=True)
    server.faults["film.tar.gz"].extend([endless] * 9)
    with pytest.raises(http_transfer.TransferError, match="more bytes arrived"):
        fetch(server, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_flipped_byte_costs_one_more_download(server, tmp_path):
    server.faults["film.tar.gz"].append(Fault(flip=123_456))
    assert_whole(fetch(server, tmp_path))
    assert len(server.requests) == 2


def test_a_byte_that_is_flipped_each_time_is_an_error(server, tmp_path):
    server.faults["film.tar.gz"].extend([Fault(flip=123_456)] * 2)
    with pytest.raises(http_transfer.TransferError, match="MD5"):
        fetch(server, tmp_path)
    assert not (tmp_path / "film.tar.gz").exists()
    assert_whole(fetch(server, tmp_path))


def test_a_byte_that_flipped_on_the_disk_is_noticed(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT[:1000] + b"\0" + CONTENT[1001:2000])
    assert_whole(fetch(server, tmp_path))


@pytest.mark.parametrize("known", [True, False])
def test_parts_of_two_versions_are_never_joined(server, tmp_path, known):
    # The file changes between two tries, with its ETag; mirrors have no known MD5.
    other = b"\x1f\x8b" + bytes(len(CONTENT) - 2)
    server.faults["film.tar.gz"].append(Fault(other_version=other, after=150_000))
    assert_whole(fetch(server, tmp_path, **({} if known else {"size": None, "md5": None})))


def test_a_part_of_unknown_origin_is_not_trusted_without_checksum(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(bytes(1000))
    assert_whole(fetch(server, tmp_path, size=None, md5=None))
    assert server.requests == [("film.tar.gz", "")]


def test_a_part_downloaded_by_other_means_is_continued(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT[:250_000])
    assert_whole(fetch(server, tmp_path))
    assert server.requests == [("film.tar.gz", "bytes=250000-")]


def test_a_whole_part_needs_no_request(server, tmp_path):
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT)
    assert_whole(fetch(server, tmp_path))
    assert server.requests == []


def test_a_stalled_connection_is_left_for_a_new_one(server, tmp_path):
    server.faults["film.tar.gz"].append(Fault(after=40_000, stall=30.0))
    start = time.monotonic()
    assert_whole(fetch(server, tmp_path))
    assert time.monotonic() - start < 10
    assert server.requests[1] == ("film.tar.gz", "bytes=40000-")


def test_a_trickle_counts_as_stalled(server, tmp_path):
    # Each byte would reset the socket's own limit.
    server.rate = 200_000
    patience = Patience(read=5, window=0.1, floor=1e12, tries=2, first_pause=0.001)
    with pytest.raises(http_transfer.TransferError, match="bytes in 0 s"):
        fetch(server, tmp_path, patience=patience)


def test_no_server_at_all_is_told_within_seconds(tmp_path):
    with pytest.raises(http_transfer.TransferError, match=r"refused.*3 tries"):
        http_transfer.download(
            "http://127.0.0.1:9/film.tar.gz", tmp_path / "film.tar.gz", hosts=Hosts(QUICK)
        )


def test_progress_adds_up_to_the_file_whatever_happened(server, tmp_path):
    done = {True: 0, False: 0}
    (tmp_path / "film.tar.gz.part").write_bytes(CONTENT[:1000])

    def advance(amount, *, reused=False):
        done[reused] += amount

    server.faults["film.tar.gz"] += [
        Fault(after=5000),
        Fault(ignore_range=True, after=300),
        Fault(),
    ]
    assert_whole(fetch(server, tmp_path, advance=advance))
    assert done == {True: 0, False: len(CONTENT)}


def test_stop_keeps_what_arrived(server, tmp_path):
    server.rate = 200_000
    stop = threading.Event()

    def advance(amount, *, reused=False):
        stop.set()

    with pytest.raises(http_transfer.Stopped):
        fetch(server, tmp_path, stop=stop, advance=advance)
    assert (tmp_path / "film.tar.gz.part").stat().st_size > 0
    server.rate = 0
    assert_whole(fetch(server, tmp_path))


def test_a_folder_that_cannot_be_made_is_named(server, tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises(InputError, match=r"data/archives/film.tar.gz cannot be written"):
        fetch(server, tmp_path / "data" / "archives")


LIMITED = """
import resource, sys
from pathlib import Path
from cxr.fetch import http_transfer
from cxr.fetch.patience import Hosts, Patience
from cxr.errors import InputError

resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    http_transfer.download(sys.argv[1], Path(sys.argv[2]), size=int(sys.argv[3]), md5=sys.argv[4])
except InputError as error:
    sys.exit(f"told: {error}")
"""


def test_a_full_disk_is_told_and_what_arrived_is_kept(server, tmp_path):
    # A limit on file sizes stands for the disk: it binds root too.
    path = tmp_path / "film.tar.gz"
    address = f"{server.address}/film.tar.gz"
    command = [sys.executable, "-c", LIMITED, address, str(path), str(len(CONTENT)), MD5]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "told:" in run.stderr and "cannot be written (File too large" in run.stderr
    assert "run again: it resumes" in run.stderr
    assert 0 < (tmp_path / "film.tar.gz.part").stat().st_size <= 100_000
    assert_whole(fetch(server, tmp_path))
    assert server.requests[-1][1].startswith("bytes=")


def test_ranges_are_read_and_checked(server):
    with http_transfer.Connection(Hosts(QUICK)) as connection:
        url = f"{server.address}/film.tar.gz"
        assert connection.read_range(url, 10, 5)[:2] == (CONTENT[10:15], len(CONTENT))
        assert connection.read_range(url, -5, 5)[0] == CONTENT[-5:]
        assert connection.read_range(url, len(CONTENT) - 3, 100)[0] == CONTENT[-3:]
        server.faults["film.tar.gz"] += [Fault(shift=3), Fault(after=2), Fault(status=503)]
        assert connection.read_range(url, 10, 5)[0] == CONTENT[10:15]
        with pytest.raises(http_transfer.TransferError, match="changed"):
            connection.read_range(url, 10, 5, etag='"another"')
        server.faults["film.tar.gz"].append(Fault(ignore_range=True))
        with pytest.raises(http_transfer.TransferError, match="single ranges"):
            connection.read_range(url, 10, 5)


def test_a_small_file_is_read_whole_or_not_at_all(server):
    server.files["records.csv"] = b"Image Index,Finding Labels\n"
    server.faults["records.csv"].append(Fault(after=5))
    url = f"{server.address}/records.csv"
    assert http_transfer.read_small(url, limit=1000, patience=QUICK) == server.files["records.csv"]
    with pytest.raises(http_transfer.TransferError, match="larger than 10 bytes"):
        http_transfer.read_small(url, limit=10, patience=QUICK)


def test_pauses_double_and_vary():
    patience = Patience(first_pause=1.0, longest_pause=8.0)
    for tries, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        pauses = [patience.pause(tries) for _ in range(50)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


@contextlib.contextmanager
def raw(answer):
    """A server that calls `answer(connection, stop)` once for each connection."""
    stop = threading.Event()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                self.request.recv(4096)
                answer(self.request, stop)

    class Listener(socketserver.ThreadingTCPServer):
        daemon_threads, block_on_close = True, False

    with Listener(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{listener.server_address[1]}/film.tar.gz"
        finally:
            stop.set()
            listener.shutdown()


def again_and_again(piece, pause=0.02):
    def answer(connection, stop):
        connection.sendall(b"HTTP/1.1 " if piece == b"x" else b"")
        while not stop.wait(pause):
            connection.sendall(piece)

    return answer


@pytest.mark.parametrize(
    "answer",
    [
        again_and_again(b"x"),
        again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda connection, stop: stop.wait(60),
    ],
    ids=["dripping headers", "endless 100 Continue", "silence"],
)
def test_an_answer_that_never_begins_is_given_up(answer, tmp_path):
    # Each byte resets the socket's own limit of 5 s; the guard counts from the request.
    patience = Patience(connect=0.2, read=0.3, tries=2, first_pause=0.001, between_rounds=0.01)
    start = time.monotonic()
    with raw(answer) as url, pytest.raises(http_transfer.TransferError) as error:
        http_transfer.download(url, tmp_path / "film.tar.gz", hosts=Hosts(patience))
    assert error.value.passing
    assert time.monotonic() - start < 5


@pytest.mark.parametrize(
    "answer",
    [
        again_and_again(b"x"),
        again_and_again(b"HTTP/1.1 100 Continue\r\n\r\n"),
        lambda connection, stop: stop.wait(60),
        lambda connection, stop: (
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n\x1f\x8b"),
            stop.wait(60),
        ),
    ],
    ids=["dripping headers", "endless 100 Continue", "silence", "a body that stalls"],
)
def test_a_stop_ends_whatever_waits(answer, tmp_path):
    # By the limits of the real thing, a minute each.
    hosts = Hosts(Patience())
    threading.Timer(0.3, hosts.stop.set).start()
    start = time.monotonic()
    with raw(answer) as url, pytest.raises(http_transfer.Stopped):
        http_transfer.download(url, tmp_path / "film.tar.gz", hosts=hosts)
    assert time.monotonic() - start < 5
