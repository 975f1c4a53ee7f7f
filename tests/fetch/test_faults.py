"""A seeded campaign: sequences of faults, and kills, over tar and zip, reduced or not.

Kills are real: a child process ends itself with SIGKILL just before a drawn file operation
of its own. Outages last seconds to minutes by a clock that runs ahead.
"""

import collections
import dataclasses
import datetime
import itertools
import json
import multiprocessing
import os
import random
import signal
import sys

import pytest
from stand_in import QUICK, Ahead, Fault, archive, film_set, serving

from cxr import artifacts
from cxr.config import PROJECT, load_config
from cxr.errors import InputError
from cxr.fetch import download
from cxr.films import png

FILMS = film_set(30)
REDUCED = {name: png.reduce(content, 32) for name, content in FILMS.items()}
CASES = 100
PAGE = b"<html>Sign in</html>"
LEDGER: dict = collections.defaultdict(collections.Counter)


class World:
    """Three archives on two servers, NIH's and a mirror's, and a folder to fetch them to."""

    def __init__(self, nih, mirror, root, chance):
        self.servers, self.chance = (nih, mirror), chance
        names, self.archives = list(FILMS), []
        for number, start in enumerate((0, 10, 20), start=1):
            part = {name: FILMS[name] for name in names[start : start + 10]}
            described, files = archive(part, nih.address, number)
            zipped = described.mirrors[0].rpartition("/")[2]
            nih.files[described.name], mirror.files[zipped] = files.values()
            mirrors = (f"{mirror.address}/{zipped}",)
            self.archives.append(dataclasses.replace(described, mirrors=mirrors))
        size = chance.choice([None, 32])
        self.whole = FILMS if size is None else REDUCED
        self.config = load_config({}, profile="full", root=root, parallel=2, store_size=size)
        sizes = [len(content) for server in self.servers for content in server.files.values()]
        # Beside archives, a few small notes.
        self.most, self.bound = 0, 2 * max(sizes) + 2000
        for server in self.servers:
            server.sending = self._look
        if chance.random() < 0.5:
            # NIH is gone, as a night can begin: then zips have to do.
            nih.files.clear()

    def _look(self):
        folder = self.config.data / "archives"
        there = 0
        if folder.exists():
            for path in folder.iterdir():
                try:
                    there += path.stat().st_size
                except FileNotFoundError:
                    continue
        self.most = max(self.most, there)

    def spoil(self):
        """Draw faults for all files; names of the kinds."""
        chance, kinds = self.chance, []
        for server in self.servers:
            for name, content in server.files.items():
                for _ in range(chance.randrange(5)):
                    kind = chance.choice(list(KINDS))
                    kinds.append(kind)
                    server.faults[name].extend(KINDS[kind](chance, len(content)))
        return kinds

    def fetch(self, patience=QUICK):
        return download.fetch_films(self.config, self.archives, list(FILMS), patience=patience)

    def assert_whole(self):
        data = self.config.data
        tree = {path.name: path.read_bytes() for path in (data / "images").iterdir()}
        assert tree == self.whole
        # Films of an earlier run were checked: that is kept.
        there = {path.name for path in data.iterdir()} - {"inventory.csv"}
        assert there == {".lock", "images", "manifest.json"}
        assert self.most <= self.bound
        for entry in json.loads((data / "manifest.json").read_text())["archives"].values():
            assert entry["films"] == 10 and entry["time"] and entry["verified"] and entry["md5"]


KINDS = {
    "drop": lambda c, size: [Fault(after=c.randrange(size))],
    "flapping: drops in a row": lambda c, size: [Fault(after=c.randrange(99))] * c.randrange(2, 5),
    "busy (429, 5xx)": lambda c, size: [Fault(status=c.choice([429, 500, 502, 503, 504]))],
    "refused (401, 403, 404)": lambda c, size: (
        [Fault(status=c.choice([401, 403, 404]))] * c.randrange(1, 8)
    ),
    "page for an archive": lambda c, size: [Fault(body=PAGE, content_type="text/html")],
    "page without its type": lambda c, size: [Fault(body=PAGE)] * c.randrange(1, 4),
    "range ignored": lambda c, size: [Fault(after=size // 2), Fault(ignore_range=True)],
    "wrong range": lambda c, size: [Fault(after=size // 2), Fault(shift=c.choice([-50, 7]))],
    "capped range": lambda c, size: [Fault(after=size // 2), Fault(cap=700)],
    "range without a size": lambda c, size: [Fault(after=size // 2), Fault(sizeless=True)],
    "416": lambda c, size: [Fault(after=size // 2), Fault(status=416)],
    "wrong size": lambda c, size: [Fault(announce=c.choice([-9, 9]))],
    "no size": lambda c, size: [Fault(without_length=True, after=c.choice([None, size // 3]))],
    "altered byte": lambda c, size: [Fault(flip=c.randrange(size))],
}


@pytest.fixture
def world(tmp_path, seed):
    with serving() as nih, serving() as mirror:
        yield World(nih, mirror, tmp_path, random.Random(seed))


def until_whole(world, patience=QUICK):
    """Fetch as a user does: again after each sentence. How it ended."""
    for said in range(4):
        try:
            world.fetch(patience)
        except InputError as error:
            # One sentence, and no other words of a program.
            assert "could not be had" in str(error) and "Traceback" not in str(error)
        else:
            return f"same bytes after {said} sentences" if said else "same bytes at once"
        for server in world.servers:
            server.outage = lambda: False
    raise AssertionError("no end after four runs")


def faults_in_sequence(world):
    kinds, clock, chance = world.spoil(), Ahead(), world.chance
    begun = clock.now()
    for server in world.servers:
        count = chance.randrange(3)
        starts = [chance.uniform(0, 120) for _ in range(count)]
        spans = [(start, start + chance.uniform(2, 600)) for start in starts] if count else []
        server.outage = lambda spans=spans: any(a <= clock.now() - begun < b for a, b in spans)
        kinds += ["outage of 2 s to 10 min, from some moment on"] * count
    patience = dataclasses.replace(
        QUICK, clock=clock, tries=8, first_pause=1, longest_pause=60, between_rounds=30, budget=7200
    )
    outcome = until_whole(world, patience)
    world.assert_whole()
    for kind in kinds:
        LEDGER[kind][outcome] += 1


def dies(world_of, moment):
    """Fetch, and end by SIGKILL before the file operation number `moment`; for a child."""
    config, archives, wanted = world_of
    root, seen = str(config.data), itertools.count()
    watched = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate"}

    def hook(event, arguments):
        if event in watched and str(arguments[0]).startswith(root) and next(seen) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
    try:
        download.fetch_films(config, archives, wanted, patience=QUICK)
    except InputError:
        sys.exit(1)


def kill(world):
    kinds = world.spoil()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["cxr.fetch.download", "stand_in"])
    moment = world.chance.randrange(150)
    child = context.Process(
        target=dies, args=((world.config, world.archives, list(FILMS)), moment), daemon=True
    )
    child.start()
    child.join(60)
    code = child.exitcode
    assert code in (0, 1, -signal.SIGKILL)
    outcome = until_whole(world)
    world.assert_whole()
    kinds.append("kill -9 at a drawn file operation" if code < 0 else "kill drawn behind the end")
    for kind in kinds:
        LEDGER[kind][outcome] += 1


@pytest.mark.parametrize("seed", range(6))
def test_faults_in_sequence_end_in_the_same_bytes(world):
    faults_in_sequence(world)


@pytest.mark.parametrize("seed", [1000, 1001])
def test_a_kill_among_faults_ends_in_the_same_bytes(world):
    kill(world)


@pytest.fixture(scope="module")
def ledger():
    """Writes the table of faults, if all cases of the soak ended well."""
    LEDGER.clear()
    done = []
    yield done
    if len(done) == 2 * CASES:
        artifacts.write_text(PROJECT / "docs" / "faults.md", table())


def table() -> str:
    outcomes = sorted({outcome for counts in LEDGER.values() for outcome in counts})
    lines = [
        "# Faults tried",
        "",
        f"Written by `pytest -m soak tests/fetch/test_faults.py` (a part of `make soak`) on "
        f"{datetime.date.today()}: {CASES} sequences of faults (seeds 100 to {99 + CASES}) and "
        f"{CASES} kills among faults (seeds 2000 to {1999 + CASES}), over tar and zip, reduced "
        "or not. Each kill is a real SIGKILL of a child process. Each case ended in the same "
        "bytes, without leftovers, with no more on the disk than one archive a parallel "
        "download. A *sentence* is a run that ended in one clear error; run again, it went on. "
        "A fault counts where it was drawn; a source may have served before it came to it.",
        "",
        "| fault | drawn | " + " | ".join(outcomes) + " |",
        "| --- | --: |" + " --: |" * len(outcomes),
    ]
    for kind in sorted(LEDGER):
        counts = LEDGER[kind]
        cells = " | ".join(str(counts[outcome]) for outcome in outcomes)
        lines.append(f"| {kind} | {sum(counts.values())} | {cells} |")
    return "\n".join(lines) + "\n"


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(100, 100 + CASES))
def test_a_hundred_sequences_of_faults(ledger, world, seed):
    faults_in_sequence(world)
    ledger.append(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2000, 2000 + CASES))
def test_a_hundred_kills(ledger, world, seed):
    kill(world)
    ledger.append(seed)
