"""Films out of archives, whichever way the archives came: safe, parallel, resumable."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import lzma
import os
import re
import shutil
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Collection, Generator, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from cxr.errors import InputError
from cxr.fetch import http_transfer
from cxr.films import png

# NIH's archives hold `images/<film>`; copies also nest or flatten them.
MEMBER = re.compile(r"(?:\./)?(?:images(?:_\d{3})?/){0,2}(?P<film>\d{8}_\d{3}\.png)")

# Bytes of the largest film: 1024 x 1024 pixels as uncompressed RGBA take 4 MB.
LARGEST = 16 << 20

# What a tar may need between two films: headers, padding, small other files, reading ahead.
_BETWEEN = 4 << 20

# Films are compressed already: an archive that grows tenfold is no archive of films.
_LARGEST_GROWTH = 10

_OTHERS = 1000

_BUFFER = 1 << 18


class DamagedArchive(Exception):
    """The archive cannot be read to its end: it is cut off, or its bytes were altered."""


class UnsafeArchive(InputError):
    """The archive holds something that an archive of films never does."""


@dataclasses.dataclass(frozen=True)
class Unpacked:
    """What an archive gave.

    Attributes:
        films: names of the films stored, in this call or an earlier one that was cut off.
        refused: film -> why it could not be stored.
        others: names of members that are no films; they were left out.
    """

    films: tuple[str, ...]
    refused: dict[str, str]
    others: tuple[str, ...]


def unpack(
    archive: Path,
    folder: Path,
    *,
    scratch: Path,
    pool: concurrent.futures.Executor,
    wanted: Collection[str] | None = None,
    size: int | None = None,
    advance: Callable[..., None] = lambda films, reused=False: None,
    stop: threading.Event | None = None,
) -> Unpacked:
    """Write an archive's films to `folder`: all of them or, if it is at fault, none.

    Films go to `scratch` first and move to `folder` once the archive was read to its end,
    checksums included. A call that was cut off goes on: films in `scratch` that are whole
    are not made again.

    Args:
        archive: `.tar.gz` or `.zip`.
        scratch: a folder of this archive's own, on the disk of `folder`.
        pool: threads that reduce and write; one that reads the archive is not among them.
        wanted: only these films; None takes all.
        size: reduce films to this many pixels (see `png.reduce`); None keeps them as they are.
        advance: told how many films were dealt with, and whether they were there already.
        stop: ends the call with `http_transfer.Stopped` once it is set.

    Raises:
        DamagedArchive: if the archive is cut off or altered.
        UnsafeArchive: if a member is a link or a device, points outside, comes twice or is
            huge.
        InputError: if the films cannot be written.
    """
    films: list[str] = []
    refused: dict[str, str] = {}
    others: list[str] = []
    jobs: collections.deque = collections.deque()

    def settle(most: int) -> None:
        # Only so many films wait in memory, however fast the archive is read.
        while len(jobs) > most:
            film, job = jobs.popleft()
            try:
                advance(1, reused=job.result())
                films.append(film)
            except ValueError as error:
                advance(1)
                refused[film] = str(error)

    with http_transfer.writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        scratch.mkdir(parents=True, exist_ok=True)
        try:
            with contextlib.closing(_films(archive, others)) as members:
                for film, content in members:
                    if stop is not None and stop.is_set():
                        raise http_transfer.Stopped
                    if wanted is None or film in wanted:
                        jobs.append((film, pool.submit(store, content, scratch / film, size)))
                        settle(2 * (os.cpu_count() or 1))
                settle(0)
        except (DamagedArchive, UnsafeArchive):
            _drop(jobs)
            shutil.rmtree(scratch)
            raise
        finally:
            _drop(jobs)
        for film in films:
            (scratch / film).replace(folder / film)
        for left in scratch.iterdir():
            left.unlink()
        scratch.rmdir()
    return Unpacked(tuple(films), refused, tuple(others))


def _drop(jobs) -> None:
    """Cancel what has not begun, and wait for what has."""
    for _, job in jobs:
        job.cancel()
    concurrent.futures.wait([job for _, job in jobs])


def store(content: bytes, path: Path, size: int | None) -> bool:
    """Write one film, reduced to `size` or as it is; True if it was there, whole.

    Raises:
        ValueError: if the film is not one that can be stored.
    """
    if size is None:
        if reason := png.fault(content):
            raise ValueError(reason)
        if path.exists() and path.read_bytes() == content:
            return True
        path.write_bytes(content)
        return False
    if png.is_whole(path):
        return True
    path.write_bytes(png.reduce(content, size))
    return False


def _films(archive: Path, others: list[str]) -> Generator[tuple[str, bytes]]:
    """The films of an archive, one after the other; other members' names go to `others`."""
    read = _zip_members if archive.suffix == ".zip" else _tar_members
    limit = _LARGEST_GROWTH * archive.stat().st_size + LARGEST
    seen: set[str] = set()
    try:
        for name, size, content in read(archive):
            if name.startswith("__MACOSX/"):
                # A Mac's own notes about each file.
                continue
            match = MEMBER.fullmatch(name)
            if match is None:
                others.append(name)
                if len(others) > _OTHERS:
                    raise UnsafeArchive(f"{archive} holds too many other files; remove it.")
                continue
            film = match["film"]
            limit -= size
            if film in seen or limit < 0:
                reason = f"{film} twice" if film in seen else "more than ten times its own size"
                raise UnsafeArchive(f"{archive} holds {reason}; remove it.")
            seen.add(film)
            yield film, _read(content)
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        # zipfile's words for an encrypted member or an unknown compression.
        NotImplementedError,
        RuntimeError,
        # Names that are no text, or nothing at all.
        ValueError,
        IndexError,
        lzma.LZMAError,
    ) as error:
        raise DamagedArchive(f"{archive.name} is damaged: {error}") from error


def _read(content: Callable[[], bytes]) -> bytes:
    """A member's content; what bz2 says of damaged data is no failure of the disk."""
    try:
        return content()
    except OSError as error:
        if error.errno is None:
            raise EOFError(str(error)) from error
        raise


def _check(archive: Path, name: str, size: int, kind: str) -> None:
    """Refuse members that an archive of films never holds."""
    outside = name.startswith(("/", "\\")) or ".." in PurePosixPath(name).parts
    if outside or "\\" in name or ":" in name or "\0" in name:
        kind = "path that points outside"
    elif size > LARGEST:
        kind = f"member of {size:,} bytes"
    if kind:
        raise UnsafeArchive(
            f"{archive} holds a {kind} ({name[:100]!r}), which no archive of films does; "
            "nothing was unpacked from it. Remove it and run again."
        )


def _tar_members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and content of the regular members of a `.tar.gz`, in one pass."""
    with archive.open("rb") as file:
        stream = _Gunzip(file, archive)
        # All that tarfile asks of a stream is `read`.
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r|", bufsize=_BUFFER) as tar:
            while (member := tar.next()) is not None:
                # Sparse members are not plain files either: a few bytes stand for gigabytes.
                regular = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)
                kind = "" if regular or member.isdir() else "link, device or other special file"
                _check(archive, member.name, member.size, kind)
                stream.allowed = member.size + _BETWEEN
                if regular:
                    yield member.name, member.size, functools.partial(_tar_content, tar, member)
                # tarfile remembers every member; ten thousand are of no use here.
                tar.members.clear()  # type: ignore[attr-defined]
            # tarfile ends at the first header that it cannot read, without a word. And only
            # who reads to the end learns whether gzip's checksum holds.
            while rest := cast(IO[bytes], tar.fileobj).read(_BUFFER):
                if rest.strip(b"\0"):
                    raise tarfile.ReadError("something else than a tar follows a member")


def _tar_content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    content = cast(IO[bytes], tar.extractfile(member)).read()
    if len(content) != member.size:
        raise EOFError(f"it ends within {member.name}")
    return content


def _zip_members(archive: Path) -> Iterator[tuple[str, int, Callable[[], bytes]]]:
    """Name, size and content of the regular members of a `.zip`; reading checks the CRC-32."""
    with zipfile.ZipFile(archive) as packed:
        # The directory tells all of it before the first film is written.
        for member in packed.infolist():
            mode = stat.S_IFMT(member.external_attr >> 16)
            special = mode not in (0, stat.S_IFREG, stat.S_IFDIR)
            _check(archive, member.filename, member.file_size, "special file" if special else "")
        for member in packed.infolist():
            if member.filename and not member.is_dir():
                yield member.filename, member.file_size, functools.partial(packed.read, member)


class _Gunzip:
    """A gzip file's content as tarfile reads it; its checksum is verified at the end.

    Python's own reader hands out 8 kB at a time; this one keeps up with `gzip -d`.

    Attributes:
        allowed: bytes that may still be read. Headers come with a size too, and tarfile
            would read one of 2 GB into memory.
    """

    def __init__(self, file, archive: Path):
        self._file, self._archive = file, archive
        self._inflate, self._input = zlib.decompressobj(wbits=31), b""
        self.allowed = _BETWEEN

    def read(self, size: int) -> bytes:
        output = b""
        while not output:
            if self._inflate.eof:
                # Another gzip member may follow, and zeros as padding.
                self._input = self._inflate.unused_data or self._file.read(_BUFFER)
                if not self._input.strip(b"\0"):
                    return b""
                self._inflate = zlib.decompressobj(wbits=31)
            elif not self._input:
                self._input = self._file.read(_BUFFER)
                if not self._input:
                    raise EOFError("it is cut off")
            output = self._inflate.decompress(self._input, size)
            self._input = self._inflate.unconsumed_tail
        self.allowed -= len(output)
        if self.allowed < 0:
            raise UnsafeArchive(
                f"{self._archive} holds a header of more than {_BETWEEN:,} bytes, which no "
                "archive of films does; remove it and run again."
            )
        return output
