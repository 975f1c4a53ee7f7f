"""`python -m cxr fetch`: all of 000's work, watched from a terminal or a log."""

import os
import signal
import subprocess
import sys
import time
import zipfile

import pytest
from stand_in import archive, film_set, serving

from cxr import __main__ as command
from cxr.config import load_config
from cxr.fetch import archives, selection, small_files
from cxr.publish import notebooks


@pytest.fixture
def site(monkeypatch, tmp_path, real_records):
    """Two archives of films that NIH's records list, served here; small files are cached."""
    names = sorted(real_records["film"])[:20]
    films = dict(zip(names, film_set(20, side=64).values(), strict=True))
    with serving() as server:
        described = []
        for number, start in enumerate((0, 10), start=1):
            part = {name: films[name] for name in names[start : start + 10]}
            made, files = archive(part, server.address, number)
            described.append(made)
            server.files |= files
        monkeypatch.setattr(archives, "ARCHIVES", tuple(described))
        monkeypatch.setattr(archives, "FILMS", len(real_records))
        monkeypatch.setattr(selection, "wanted", lambda config, records: names)
        monkeypatch.setattr(notebooks, "rehearse", lambda config: "Rehearsed.")
        monkeypatch.setenv("CXR_ROOT", str(tmp_path))
        monkeypatch.setenv("CXR_PROFILE", "first_archive")
        monkeypatch.setenv("CXR_IMAGE_SIZE", "64")
        yield server


def test_one_command_does_all_of_the_first_notebooks_work(site, tmp_path, capsys):
    assert command.main(["fetch"]) == 0
    told = capsys.readouterr()
    assert "20 of 112,120 films are wanted" in told.out
    assert "MD5" in told.out and "records.csv" in told.out
    assert "all archives" in told.err and "20 of 20 films" in told.err
    assert "Next: make run PROFILE=first_archive" in told.out
    assert len(list((tmp_path / "data/images").glob("*.png"))) == 20
    assert not (tmp_path / "data/archives").exists()


def test_a_run_rehearses_once(site, monkeypatch):
    told = []
    monkeypatch.setattr(notebooks, "execute", lambda config, names, given: told.append(given))
    monkeypatch.setattr(notebooks, "rehearse", lambda config: "1,000 films/s, 3 h")
    assert command.main(["run", "--to", "000"]) == 0
    monkeypatch.undo()
    monkeypatch.setenv(notebooks.REHEARSED, told[0][notebooks.REHEARSED])
    config = load_config({}, profile="first_archive")
    # The pre-flight would need a process, and longer than this test may take.
    monkeypatch.setattr(notebooks.subprocess, "run", pytest.fail)
    assert notebooks.rehearse(config) == "1,000 films/s, 3 h"


def test_a_second_call_asks_for_nothing(site, capsys):
    assert command.main(["fetch"]) == 0
    asked = len(site.requests)
    assert command.main(["fetch"]) == 0
    assert len(site.requests) == asked
    assert "was there" in capsys.readouterr().out


def test_what_cannot_be_written_is_told_before_the_first_byte(site, tmp_path, capsys):
    (tmp_path / "subset").write_text("in the way")
    assert command.main(["fetch"]) == 1
    assert "subset cannot be written" in capsys.readouterr().err
    assert not site.requests and not (tmp_path / "data").exists()


# What a shell starts in the background is told to ignore interrupts, and so are its children.
CHILD = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from cxr import __main__ as command
from cxr.fetch import archives, catalogue, selection
from cxr.publish import notebooks
names = [f"{number:08}_000.png" for number in range(1, 4)]
made = catalogue.Archive("images_01.tar.gz", sys.argv[1] + "/images_01.tar.gz", 10**6, "0" * 32, 3,
                         contents=tuple(names))
archives.ARCHIVES, archives.FILMS = (made,), 112_120
selection.wanted = lambda config, records: names
notebooks.rehearse = lambda config: ""
sys.exit(command.main(["fetch"]))
"""


@pytest.mark.parametrize("trouble", ["silence", "away"])
def test_an_interrupt_ends_the_command_in_seconds_with_a_sentence(site, tmp_path, trouble):
    if trouble == "away":
        site.outage = lambda: True
    else:
        site.files["images_01.tar.gz"] = bytes(10**6)
        site.sending = lambda: site.ended.wait(60)
    environment = os.environ | {"CXR_ROOT": str(tmp_path / "root"), "CXR_PROFILE": "first_archive"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, site.address],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    latest = time.monotonic() + 60
    while not site.requests and time.monotonic() < latest:
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    _, told = child.communicate(timeout=20)
    site.ended.set()
    assert child.returncode == 130
    assert "run again, goes on where it stopped" in told and "Traceback" not in told


def test_a_kept_wheel_that_is_damaged_is_fetched_again(tmp_path, monkeypatch):
    kept = small_files._wheel_path(tmp_path)
    kept.write_bytes(b"PK no wheel")

    def pip(command, **options):
        scratch = command[command.index("--dest") + 1]
        with zipfile.ZipFile(f"{scratch}/new.whl", "w") as wheel:
            wheel.writestr("x", b"content")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(small_files.subprocess, "run", pip)
    with zipfile.ZipFile(small_files._wheel(tmp_path)) as wheel:
        assert wheel.read("x") == b"content"
