"""Stage 000: records and films into `data/`, whole, once, on a small disk."""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import itertools
import os
import re
import shutil
import threading
import urllib.parse
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path

import pandas as pd

from cxr import artifacts, progress
from cxr.config import Config
from cxr.errors import InputError
from cxr.fetch import catalogue, http_transfer, inventory, remote_zip, source_films, unpack
from cxr.fetch.manifest import Manifest, data_settings, locked
from cxr.fetch.patience import Hosts, Patience, Stopped, TransferError, Turns

_BY_MD5, _BY_CRC = "MD5", "CRC-32 of each film"
_BY_DECODING = "each film was decoded"

_TAR_GZ, _ZIP = b"\x1f\x8b", b"PK"

# Bytes per pixel of a reduced film: 0.50 at 256 px, somewhat more at smaller sizes.
_BYTES_PER_PIXEL = 0.6

# Seconds for which a source may fail and its part of an archive still counts.
_AWAY = 600.0

# Disks hand out space in blocks of 4 kB.
_BLOCK = 4096


def fetch_films(
    config: Config,
    archives: Sequence[catalogue.Archive],
    wanted: Sequence[str],
    *,
    patience: Patience | None = None,
) -> pd.DataFrame:
    """Fetch the films that are wanted and not there yet.

    Each archive is downloaded, verified, unpacked and removed before the next one needs the
    room; `config.parallel` of them at a time. A sample of real films is read out of the
    mirrors' zip archives instead, without fetching these. Called again after whatever
    interruption, it goes on.

    Args:
        archives: where the films are; empty for the user's own films.
        wanted: names of the films.
        patience: with the servers.

    Returns:
        A table, one row an archive: archive, films, bytes, source, verified, state.

    Raises:
        InputError: if the disk is too small or cannot be written, or if no source serves
            some archive; the others are there by then.
    """
    if config.source != "nih":
        with locked(config.data):
            return source_films.store(config)
    with locked(config.data):
        return _Stage(config, archives, wanted, patience).run()


def take_inventory(config: Config, wanted: Sequence[str]) -> pd.DataFrame:
    """Check all films against the records; see `inventory.take_inventory`."""
    with locked(config.data):
        manifest = Manifest(config.data, data_settings(config))
        return inventory.take_inventory(
            config.films,
            config.data,
            wanted,
            drawn=config.phantoms,
            refused=manifest.refused(),
        )


def available(config: Config, *, size: int | None = None) -> dict[str, Path]:
    """The films that later stages can use: name -> path, sorted by name.

    Args:
        size: side in pixels that each film must at least have.

    Raises:
        InputError: if stage 000 has not checked these films, they are not there, or most
            are smaller than `size`.
    """
    return inventory.available(config.films, config.data, size=size)


def left_out(config: Config, *, size: int | None = None) -> dict[str, str]:
    """The films on the disk that later stages do not use: name -> reason."""
    return inventory.left_out(config.films, config.data, size=size)


class _Stage:
    """One run of stage 000: what is missing, and the means to get it."""

    def __init__(self, config: Config, archives, wanted, patience):
        self.config = config
        self.manifest = Manifest(config.data, data_settings(config))
        self.folder, self.images = config.data / "archives", config.data / "images"
        # On the films' own disk, also where their folder is a link to another one.
        self.scratch = self.images / ".unpacking"
        self.stop = threading.Event()
        self.hosts = Hosts(patience, self.stop)
        # How many films of each archive have been unpacked in this call.
        self.unpacked: dict[str, int] = {}
        # How many bytes of each archive some source has brought.
        self.furthest: dict[str, int] = {}
        # A sample of real films is read out of remote archives, film by film.
        self.by_film = config.sample is not None and not config.phantoms
        self.wanted = {archive: set(wanted) & set(archive.contents) for archive in archives}
        # What an archive was found not to hold, or not whole, would not come a second time.
        refused = self.manifest.refused(for_good=not self.by_film)
        there = inventory.whole_films(config.data) | refused.keys() if archives else set()
        self.missing = {archive: films - there for archive, films in self.wanted.items()}

    def run(self) -> pd.DataFrame:
        """Get what is missing, several archives at a time; one row for each."""
        todo = [archive for archive, missing in self.missing.items() if missing]
        rows = {}
        for archive, films in self.wanted.items():
            if films and archive not in todo:
                self._remove(archive)
                rows[archive.name] = _brief(self._complete(archive)) | {"state": "was there"}
        if todo:
            self._check_space(todo)
            self._work(todo, rows)
        shutil.rmtree(self.scratch, ignore_errors=True)
        with contextlib.suppress(OSError):
            # Empty, unless archives are kept.
            self.folder.rmdir()
        columns = ["archive", "films", "bytes", "source", "verified", "state"]
        table = [{"archive": name, **rows[name]} for name in sorted(rows)]
        return pd.DataFrame(table, columns=columns).astype({"films": "Int64", "bytes": "Int64"})

    def _work(self, todo: Sequence[catalogue.Archive], rows: dict[str, dict]) -> None:
        """Get the films of `todo`; adds a row for each archive."""
        failures: dict[str, str] = {}
        with (
            progress.Bars() as bars,
            concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
            concurrent.futures.ThreadPoolExecutor(self.config.parallel) as workers,
        ):
            total = self._add_bar(bars, "all archives", todo)
            bar = {a: self._add_bar(bars, a.name, [a], within=total) for a in todo}
            jobs = {workers.submit(self._get, a, bar[a], pool): a for a in todo}
            try:
                for job in concurrent.futures.as_completed(jobs):
                    try:
                        rows[jobs[job].name] = job.result()
                    except Exception as error:
                        if not _of_source(error):
                            raise
                        # One archive's fault is not the others'.
                        failures[jobs[job].name] = str(error) or type(error).__name__
            except BaseException:
                # An interrupt, or a disk that is full: the others end, what arrived is kept.
                self.stop.set()
                workers.shutdown(cancel_futures=True)
                raise
        if failures:
            first, *others = sorted(failures)
            also = f"; also {', '.join(others)}" if others else ""
            raise InputError(
                f"{len(failures)} of {len(todo)} archives could not be had: {first} "
                f"({failures[first]}){also}. Run 000 again later: it resumes. Or download them "
                f"by hand from {catalogue.HOME_PAGE} into {self.folder}."
            )

    def _add_bar(self, bars: progress.Bars, label: str, archives, **options) -> progress.Bar:
        if self.by_film:
            films = sum(len(self.missing[archive]) for archive in archives)
            return bars.add(label, total=films, unit="films", **options)
        total = sum(archive.bytes for archive in archives)
        return bars.add(label, total=total, unit="B", **options)

    def _complete(self, archive: catalogue.Archive) -> dict:
        """The manifest's entry; a kill just behind the films' move leaves it without its end."""
        entry = self.manifest.entry("archives", archive.name)
        if "time" not in entry:
            by_hand = {"source": "films put there by hand", "verified": _BY_DECODING}
            entry = self._note(archive, {"refused": {}} | (entry or by_hand))
        return entry

    def _note(self, archive: catalogue.Archive, facts: dict) -> dict:
        """Note what is known of an archive whose films are there."""
        films = len(self.wanted[archive] - facts["refused"].keys())
        facts = facts | {"films": films, "time": artifacts.now()}
        self.manifest.note("archives", archive.name, **facts)
        return facts

    def _get(self, archive: catalogue.Archive, bar: progress.Bar, pool: Executor) -> dict:
        """Films of one archive onto the disk; what the manifest says about it."""
        bar.restart()
        get = self._read_films if self.by_film else self._fetch_archive
        try:
            facts = get(archive, bar, pool)
        except TransferError:
            if self._lacking(archive) is None:
                raise
            bar.finish("its mirror lacks the others, and NIH does not serve just now")
            return _brief(self._complete(archive)) | {"state": "was there"}
        bar.finish("done")
        return _brief(self._note(archive, facts)) | {"state": "fetched"}

    def _lacking(self, archive: catalogue.Archive) -> str | None:
        """The mirror that is known to lack all films that are missing; None if there is none."""
        entry = self.manifest.entry("archives", archive.name)
        lacks = self.missing[archive] <= entry.get("refused", {}).keys()
        return entry["source"] if lacks and entry.get("source") in archive.mirrors else None

    def _fetch_archive(
        self,
        archive: catalogue.Archive,
        bar: progress.Bar,
        pool: Executor,
        count: Callable | None = None,
    ) -> dict:
        """Download, verify, unpack and remove one archive; `count` is told what arrives."""
        count, lacking = self._stoppable(count or bar.advance), self._lacking(archive)
        sources = {source.url: source for source in self._sources(archive)}
        sources.pop(lacking or "", None)
        turns = Turns(list(sources), self.hosts, bar.say)
        take = functools.partial(self._take, archive, bar, pool)
        for place, facts in self._copies(archive, bar, count, turns):
            try:
                return take(place, facts)
            except (unpack.DamagedArchive, unpack.UnsafeArchive) as error:
                turns.failed(place, error)
                if isinstance(error, unpack.DamagedArchive):
                    if self._mark(place).exists():
                        place.unlink()
                    else:
                        # Somebody put it there: it is theirs to remove.
                        place.replace(place.with_name(f"{place.name}.damaged"))
        # What a mirror lacks is no reason to wait for hours.
        for url in itertools.islice(turns, None if lacking is None else len(sources)):
            bar.restart()
            bar.say(url.split("/")[2])
            counted = self._within_room(archive, sources[url].place, count, turns)
            try:
                return self._download(sources[url], counted, bar, take)
            except Exception as error:
                if not _of_source(error):
                    raise
                if isinstance(error, _NoRoom):
                    # The chunk that showed it is on the disk already.
                    os.truncate(_part(sources[url].place), error.room)
                turns.failed(url, error)
                bar.take_back()
        raise turns.error()

    def _download(self, source: "_Source", count: Callable, bar: progress.Bar, take) -> dict:
        """Films out of one source's archive; a damaged one is fetched once more."""
        with http_transfer.writable(self.scratch):
            self.scratch.mkdir(parents=True, exist_ok=True)
            self._mark(source.place).touch()
        for last in (source.original, True):
            came = http_transfer.download(
                source.url, source.place, **source.expected, advance=count, hosts=self.hosts
            )
            facts = {"source": source.url, "bytes": source.place.stat().st_size, "md5": came}
            try:
                taken = take(source.place, facts | {"verified": source.verified})
                self._mark(source.place).unlink(missing_ok=True)
                return taken
            except (unpack.DamagedArchive, unpack.UnsafeArchive) as error:
                source.place.unlink()
                if last or isinstance(error, unpack.UnsafeArchive):
                    raise TransferError(str(error)) from error
            bar.take_back()
        raise AssertionError

    def _mark(self, place: Path) -> Path:
        """What tells, until it is unpacked, that an archive was fetched here."""
        return self.scratch / f"{place.name}.fetched"

    def _take(
        self,
        archive: catalogue.Archive,
        bar: progress.Bar,
        pool: Executor,
        place: Path,
        facts: dict,
    ) -> dict:
        """Films out of a whole copy of an archive, which is removed then."""
        # Noted before the films are in place: then their source is known in any case.
        refused = self.manifest.entry("archives", archive.name).get("refused", {})
        self.manifest.note("archives", archive.name, **facts, refused=refused)
        found = unpack.unpack(
            place,
            self.images,
            scratch=self.scratch / archive.name,
            pool=pool,
            wanted=self.missing[archive],
            size=self.config.store_size,
            advance=self._unpacking(archive, bar),
            stop=self.stop,
        )
        # The films must be on the disk before what they came from goes.
        os.sync()
        self._remove(archive)
        absent = self.missing[archive] - set(found.films) - found.refused.keys()
        # What an earlier source lacked may have come with this one.
        known = {film: why for film, why in refused.items() if film not in found.films}
        now = found.refused | dict.fromkeys(absent, "not in its archive")
        return facts | {"refused": known | now}

    def _stoppable(self, count: Callable) -> Callable:
        """`count`, but that it ends a transfer, or the reading of a file, once told to stop."""

        def counted(amount: int, *, reused: bool = False) -> None:
            if self.stop.is_set():
                raise Stopped
            count(amount, reused=reused)

        return counted

    def _within_room(
        self, archive: catalogue.Archive, place: Path, count: Callable, turns: Turns
    ) -> Callable:
        """`count`, but that the parts of all sources never need more than one archive.

        Until they do, each is kept: this source may break off, and the other one go on. Then
        the larger one stays, or two sources that are up in turn would undo each other's work;
        unless its source has been away for long.
        """
        places = {_part(source.place): source.url for source in self._sources(archive)}
        names = (self.folder / name for name in _names(archive))
        others = [_part(path) for path in names if path != place and _part(path).exists()]
        reached, room = 0, archive.bytes - sum(other.stat().st_size for other in others)

        def counted(amount: int, *, reused: bool = False) -> None:
            nonlocal reached
            reached += amount
            count(amount, reused=reused)
            if not reused and reached > self.furthest.get(archive.name, 0):
                # What another source had brought already is no progress.
                self.furthest[archive.name] = reached
                turns.progressed()
            if others and reached > room:
                for other in others:
                    url = places.get(other, "")
                    if turns.hopes(url) and other.stat().st_size > reached:
                        host = self.hosts.of(url)
                        if host.failing() < _AWAY:
                            why = f"{host.name} has served more of it, and is waited for"
                            raise _NoRoom(why, room)
                for other in others:
                    other.unlink(missing_ok=True)
                    other.with_name(other.name + ".json").unlink(missing_ok=True)
                others.clear()

        return counted

    def _unpacking(self, archive: catalogue.Archive, bar: progress.Bar) -> Callable:
        """What says beside the bar how many films are unpacked."""
        films, total = len(self.missing[archive]), sum(map(len, self.missing.values()))
        self.unpacked[archive.name] = 0

        def advance(*_, **__) -> None:
            self.unpacked[archive.name] += 1
            bar.say(f"unpacking {self.unpacked[archive.name]:,} of {films:,} films")
            if bar.within is not None:
                bar.within.say(f"{sum(self.unpacked.values()):,} of {total:,} films")

        return advance

    def _remove(self, archive: catalogue.Archive) -> None:
        """Remove an archive whose films are there, and what is left of tries to get it."""
        if self.config.keep_archives or self.by_film:
            return
        for name in _names(archive):
            for ending in ("", ".part", ".part.json"):
                (self.folder / (name + ending)).unlink(missing_ok=True)

    def _copies(
        self, archive: catalogue.Archive, bar: progress.Bar, count: Callable, turns: Turns
    ) -> Iterator[tuple[Path, dict]]:
        """Copies of an archive that lie on this disk, with what is known of them."""
        path, *others = (self.folder / name for name in _names(archive))
        for place in (path, *others):
            if not place.exists() or place.suffix == ".zip":
                continue
            bar.say("verifying")
            if _md5(place, count) == archive.md5:
                known = {"source": str(place), "bytes": archive.bytes, "md5": archive.md5}
                yield place, known | {"verified": _BY_MD5}
            elif place.stat().st_size < archive.bytes and not _part(path).exists():
                # Perhaps a download by other means that was cut off: its MD5 will tell.
                place.replace(_part(path))
            else:
                turns.failed(place, TransferError(f"its MD5 is not {archive.md5}"))
            bar.take_back()
        for place in others:
            if place.exists() and zipfile.is_zipfile(place):
                bar.say("reading")
                known = {"source": str(place), "bytes": place.stat().st_size}
                known["md5"] = _md5(place, count)
                bar.take_back()
                yield place, known | {"verified": _BY_CRC}

    def _sources(self, archive: catalogue.Archive) -> Iterator["_Source"]:
        """Where a whole archive is served: NIH first, then the mirrors."""
        if self.by_film:
            return
        expected: dict = {"size": archive.bytes, "md5": archive.md5, "begins": _TAR_GZ}
        path = self.folder / archive.name
        yield _Source(archive.url, path, expected, _BY_MD5, original=True)
        for mirror in archive.mirrors:
            # A zip's own checksum is unknown: a damaged one shows when it is unpacked.
            place = path.with_name(mirror.rpartition("/")[2])
            yield _Source(mirror, place, {"begins": _ZIP}, _BY_CRC, original=False)

    def _read_films(self, archive: catalogue.Archive, bar: progress.Bar, pool: Executor) -> dict:
        """Single films out of one archive: from this disk if it lies there, or its mirrors."""
        if any((self.folder / name).exists() for name in _names(archive)):
            with contextlib.suppress(TransferError):
                # Bytes of an archive are not what this bar counts.
                return self._fetch_archive(archive, bar, pool, lambda amount, reused=False: None)
        if not archive.mirrors:
            raise TransferError("it has no mirror that serves films")
        entry = self.manifest.entry("archives", archive.name)
        facts: dict = {name: dict(entry.get(name, {})) for name in ("refused", "crc32")}
        facts["bytes"] = 0
        left = {film for film in self.missing[archive] if not (self.images / film).exists()}
        turns = Turns(archive.mirrors, self.hosts, bar.say)
        for mirror in turns:
            try:
                self._read_from(mirror, archive, left, facts, bar)
            except Exception as error:
                if not _of_source(error):
                    raise
                turns.failed(mirror, error)
                continue
            facts["refused"] |= dict.fromkeys(left, "not in its archive")
            return {"source": mirror, "verified": _BY_CRC} | facts
        raise turns.error()

    def _read_from(
        self,
        mirror: str,
        archive: catalogue.Archive,
        left: set[str],
        facts: dict,
        bar: progress.Bar,
    ) -> None:
        """Films out of one mirror's archive; takes them out of `left` and adds to `facts`."""
        scratch = self.scratch / archive.name
        with http_transfer.writable(self.images):
            scratch.mkdir(parents=True, exist_ok=True)
            with http_transfer.Connection(self.hosts) as connection:
                packed = remote_zip.RemoteZip(mirror, connection)
                for film, content in packed.read(left & packed.films):
                    facts["bytes"] += len(content)
                    facts["crc32"][film] = f"{zlib.crc32(content):08x}"
                    left.discard(film)
                    bar.advance()
                    try:
                        unpack.store(content, scratch / film, self.config.store_size)
                    except ValueError as error:
                        facts["refused"][film] = str(error)
                    else:
                        (scratch / film).replace(self.images / film)

    def space(self, todo: Sequence[catalogue.Archive]) -> tuple[int, int, int]:
        """Bytes of disk for films, for the archives that lie there at one time, for the cache."""
        films = sum(len(self.missing[archive]) * self._film_bytes(archive) for archive in todo)
        archives = sorted((self._still_to_come(archive) for archive in todo), reverse=True)
        wanted = sum(map(len, self.wanted.values()))
        there = sum(file.stat().st_size for file in (self.config.data / "cache").glob("*/*"))
        cache = max(wanted * self.config.image_size**2 - there, 0)
        if self.by_film:
            return films, 0, cache
        at_once = len(archives) if self.config.keep_archives else self.config.parallel
        return films, sum(archives[:at_once]), cache

    def _check_space(self, todo: Sequence[catalogue.Archive]) -> None:
        """Refuse to start what the disk cannot hold.

        Raises:
            InputError: with the bytes needed and free.
        """
        films, archives, cache = self.space(todo)
        # The cache is made when the archives are gone, unless they are kept.
        peak = films + (archives + cache if self.config.keep_archives else max(archives, cache))
        free = shutil.disk_usage(self.config.data).free
        if peak > free:
            raise InputError(
                f"{self.config.data} needs {progress.quantity(peak, 'B')} of disk "
                f"space ({progress.quantity(films, 'B')} for films, "
                f"{progress.quantity(archives, 'B')} for archives on their way, "
                f"{progress.quantity(cache, 'B')} for the film cache after them), but "
                f"{progress.quantity(free, 'B')} are free. Make room, choose another disk with "
                "CXR_ROOT, or ask for less with CXR_STORE_SIZE=256, CXR_PARALLEL=1 or CXR_SAMPLE."
            )

    def _film_bytes(self, archive: catalogue.Archive) -> int:
        """Bytes that one of its films takes on the disk, about."""
        packed = archive.bytes // archive.films
        size = self.config.store_size
        return _BLOCK // 2 + (
            packed if size is None else min(packed, int(size**2 * _BYTES_PER_PIXEL))
        )

    def _still_to_come(self, archive: catalogue.Archive) -> int:
        path = self.folder / archive.name
        there = sum(place.stat().st_size for place in (path, _part(path)) if place.exists())
        return max(archive.bytes - there, 0)


@dataclasses.dataclass(frozen=True)
class _Source:
    """Where an archive is served.

    Attributes:
        place: where it goes.
        expected: what `http_transfer.download` is told of it.
        verified: how what comes is verified.
        original: whether its checksum is known, so that damage shows while it comes.
    """

    url: str
    place: Path
    expected: dict
    verified: str
    original: bool


class _NoRoom(TransferError):
    """Another source's larger part leaves this one `room` bytes for the time being."""

    def __init__(self, reason: str, room: int):
        super().__init__(reason, passing=True)
        self.room = max(room, 0)


def _of_source(error: Exception) -> bool:
    """Whether another source may help: not where this disk is at fault, or the user ends it."""
    ours = isinstance(error, InputError) and not isinstance(error, unpack.UnsafeArchive)
    return not (ours or isinstance(error, Stopped))


def _brief(facts: dict) -> dict:
    """Facts about an archive with its server's name only; the manifest has the address."""
    host = urllib.parse.urlsplit(facts.get("source", "")).hostname
    return facts | ({"source": host} if host else {})


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")


def _names(archive: catalogue.Archive) -> list[str]:
    """What an archive is called on the disk, whichever source it came from.

    NIH's own names have three digits: who fetched one by hand need not know ours.
    """
    by_hand = re.sub(r"_(\d\d)\.", r"_0\1.", archive.name)
    names = [archive.name, by_hand, *(mirror.rpartition("/")[2] for mirror in archive.mirrors)]
    return list(dict.fromkeys(names))


def _md5(path: Path, advance) -> str:
    """MD5 of a file, counting its bytes as there already."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(http_transfer.CHUNK):
            digest.update(chunk)
            advance(len(chunk), reused=True)
    return digest.hexdigest()
