import time

import pytest

from cxr import progress


@pytest.fixture
def minute(monkeypatch):
    """A minute that is over at once."""
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0)


def test_a_log_gets_a_line_while_the_work_goes_on(minute, capsys):
    with progress.Bars() as bars:
        total = bars.add("all archives", total=2000, unit="B")
        bar = bars.add("images_01.tar.gz", total=2000, unit="B", within=total)
        bar.advance(1000)
        bar.say("unpacking 3 of 10 films")
        bars.refresh(force=True)
        lines = capsys.readouterr().err.splitlines()
    assert "50%" in lines[-1] and lines[-1].startswith("all archives")
    assert lines[-1].endswith("images_01.tar.gz: unpacking 3 of 10 films")


def test_a_log_is_told_of_work_that_waits(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_LOG_SECONDS", 0.5)
    with progress.Bars() as bars:
        bars.add("films", total=3).say("no source answers")
        # Nothing advances, as in an outage.
        time.sleep(1.6)
        assert "films" in capsys.readouterr().err


def test_less_than_a_minute_leaves_the_end_alone(capsys):
    with progress.Bars() as bars:
        bars.add("films", total=3).advance(3)
        assert not capsys.readouterr().err
    assert "100%" in capsys.readouterr().err


def test_another_log_hears_the_same(minute):
    heard = []
    with progress.logged(heard.append), progress.Bars() as bars:
        bars.add("films", total=3).advance(3)
        bars.refresh(force=True)
    assert "100%" in heard[-1]
    said = len(heard)
    with progress.Bars() as bars:
        bars.add("films", total=3)
        bars.refresh(force=True)
    assert len(heard) == said


def test_a_line_that_is_longer_than_the_terminal_is_cut(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    with progress.Bars() as bars:
        bars.add("films", total=3).say("a note that no terminal of forty columns holds")
    lines = capsys.readouterr().err.splitlines()
    assert lines and all(len(line.rpartition("\x1b[2K")[2]) < 40 for line in lines)


def test_a_reader_who_goes_away_does_not_end_the_work(minute, monkeypatch):
    class Gone:
        def write(self, text):
            raise BrokenPipeError

        def isatty(self):
            return False

        flush = write

    monkeypatch.setattr(progress.sys, "stderr", Gone())
    with progress.Bars() as bars:
        bar = bars.add("films", total=3)
        bar.advance(3)
        bars.refresh(force=True)
    assert bar.done == 3


def test_more_bars_than_lines_do_not_scroll(monkeypatch, capsys):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("LINES", "3")
    with progress.Bars() as bars:
        for number in range(9):
            bars.add(f"bar {number}", total=3)
    repaints = capsys.readouterr().err.split("\x1b[2A")
    assert len(repaints) > 5 and all(part.count("\n") <= 3 for part in repaints)
