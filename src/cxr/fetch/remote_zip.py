"""Single films out of a zip archive that stays on its server, by HTTP Range."""

import io
import zipfile
import zlib
from collections.abc import Collection, Iterator

from cxr.fetch import http_transfer
from cxr.fetch.unpack import LARGEST, MEMBER

# The directory of 10,000 films takes about 1 MB at the archive's end: one request.
_TAIL = 1 << 21

# Films that lie closer than this come with one request: at 100 Mbit/s, 64 kB take 5 ms,
# a request of its own ten times as long.
_GAP = 1 << 16

# Bytes of one request, at most.
_SPAN = 8 << 20


class RemoteZip:
    """A zip archive on a server; only its directory and the films asked for are fetched.

    Attributes:
        films: names of the films that it holds.
    """

    def __init__(self, url: str, connection: http_transfer.Connection):
        """Read the archive's directory.

        Raises:
            transfer.TransferError: if there is no such archive or it cannot be read in parts.
        """
        self._window = _Window(url, connection)
        try:
            self._zip = zipfile.ZipFile(self._window)
        except zipfile.BadZipFile as error:
            raise http_transfer.TransferError(f"it is no zip archive ({error})") from error
        members = sorted(self._zip.infolist(), key=lambda member: member.header_offset)
        # A member ends where the next one, or the directory, starts.
        stops = [member.header_offset for member in members[1:]] + [self._zip.start_dir]
        self._members = {
            match["film"]: (member, stop)
            for member, stop in zip(members, stops, strict=True)
            if (match := MEMBER.fullmatch(member.filename)) and member.file_size <= LARGEST
        }
        self.films = frozenset(self._members)

    def read(self, films: Collection[str]) -> Iterator[tuple[str, bytes]]:
        """Yield (film, PNG bytes), each verified by its CRC-32, in the archive's order.

        Raises:
            transfer.TransferError: if a film fails its checksum or the server fails.
        """
        for group in self._groups(films):
            last = self._members[group[-1]][1]
            self._window.fetch(self._members[group[0]][0].header_offset, last)
            for film in group:
                try:
                    yield film, self._zip.read(self._members[film][0])
                except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
                    raise http_transfer.TransferError(f"{film} is damaged: {error}") from error

    def _groups(self, films: Collection[str]) -> Iterator[list[str]]:
        """Neighbouring films, so many that one request stays small."""
        group: list[str] = []
        for film in sorted(films, key=lambda film: self._members[film][0].header_offset):
            member, stop = self._members[film]
            if group:
                first = self._members[group[0]][0].header_offset
                gap = member.header_offset - self._members[group[-1]][1]
                if gap > _GAP or stop - first > _SPAN:
                    yield group
                    group = []
            group.append(film)
        if group:
            yield group


class _Window(io.RawIOBase):
    """A file on a server, of which one stretch at a time is held in memory."""

    def __init__(self, url: str, connection: http_transfer.Connection):
        self._url, self._connection = url, connection
        self._held, self._size, self._etag = connection.read_range(url, -_TAIL, _TAIL)
        self._start = self._size - len(self._held)
        self._place = 0

    def fetch(self, start: int, stop: int) -> None:
        """Hold the bytes from `start` to before `stop`."""
        self._held, _, _ = self._connection.read_range(
            self._url, start, stop - start, etag=self._etag
        )
        self._start = start

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        stop = self._size if size < 0 else min(self._place + size, self._size)
        if self._place >= stop:
            return b""
        if self._place < self._start or stop > self._start + len(self._held):
            self.fetch(self._place, stop)
        content = self._held[self._place - self._start : stop - self._start]
        self._place = stop
        return content
