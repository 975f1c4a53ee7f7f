"""One file over HTTP: resumed where it broke off, verified, patient but not for ever."""

import contextlib
import dataclasses
import datetime
import email.utils
import hashlib
import random
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
import urllib3

from cxr import artifacts
from cxr.errors import InputError

# Large enough that Python's share of the work is small, small enough that a bar moves.
CHUNK = 1 << 20

# A try counts as progress once it brought the file this much further than any before.
_PROGRESS = 1 << 20

# Bytes a second; a connection below this is given up for a new one.
_TRICKLE = 1000

# A server that never answered at all gets this many tries: it is down, or there is no network.
_UNANSWERED_TRIES = 3

# A refusal is believed once it came so often in a row: what stands before a server (a
# balancer, a login page) may refuse what is served a moment later.
_REFUSALS = 3

# What a server answers when asking again later may help (RFC 9110, RFC 6585).
_PASSING = {408, 425, 429, 500, 502, 503, 504}

_BROKEN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    TimeoutError,
    ConnectionError,
    # An address to go on to that is no text.
    UnicodeError,
)


class TransferError(Exception):
    """This source does not serve the file; another one might.

    Attributes:
        passing: whether this one might, too, later: it did not answer, or broke off.
    """

    passing = False


class Failures:
    """What each source of one file said, to be told where none served it."""

    def __init__(self):
        self._said: list[str] = []
        self._passing = False

    def add(self, source: object, reason: object) -> None:
        """Note why a source did not serve."""
        self._said.append(f"{source}: {reason}")
        self._passing |= getattr(reason, "passing", False)

    def all(self) -> TransferError:
        """Everything that was said, as one error."""
        error = TransferError("; ".join(self._said))
        error.passing = self._passing
        return error


class Stopped(Exception):
    """The transfer was told to stop; what arrived is kept."""


class _TryAgain(Exception):
    """This try failed; `wait` is what the server asked for, in seconds.

    Attributes:
        refused: whether the server said no, and did not only fail.
    """

    def __init__(self, reason: str, wait: float = 0.0, *, refused: bool = False):
        super().__init__(reason)
        self.wait, self.refused = wait, refused


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for a server, and how often to ask again. Times in seconds."""

    connect: float = 10.0
    # Without a byte for this long, a connection counts as stalled.
    read: float = 60.0
    # So many tries in a row without progress end the transfer.
    tries: int = 8
    # The first pause; each one is twice the last, up to the longest.
    first_pause: float = 1.0
    longest_pause: float = 60.0
    # A server that asks for a longer pause than this has refused.
    longest_asked: float = 900.0
    # An archive that no source serves just now is tried again for so long: a night's outage
    # ends, and nobody is there to start anew.
    budget: float = 6 * 3600.0
    # The pause before all sources are tried again; doubled up to ten times as long.
    between_rounds: float = 30.0

    def pause(self, tries: int) -> float:
        """Exponential backoff with jitter, so that parallel transfers do not return at once."""
        longest = min(self.longest_pause, self.first_pause * 2 ** (tries - 1))
        return longest * random.uniform(0.5, 1.0)

    def round_pause(self, rounds: int) -> float:
        """Before another round of all sources, after so many that failed."""
        return self.between_rounds * min(10, 2 ** (rounds - 1)) * random.uniform(0.5, 1.0)


# For small files with several mirrors: the next mirror is the better second try.
BRIEF = Patience(connect=4.0, read=15.0, tries=2, first_pause=0.5)


class Connection:
    """A session with one server, and the patience to use it with. Not for several threads.

    Args:
        patience: when to wait and when to give up.
        stop: ends waits and transfers with `Stopped` once it is set.
    """

    def __init__(self, patience: Patience | None = None, stop: threading.Event | None = None):
        self.patience = patience or Patience()
        self.stop = stop or threading.Event()
        self._answered = False
        self._session = requests.Session()
        # An archive is kept as it is, and ranges count its own bytes: no encoding on the way.
        self._session.headers["Accept-Encoding"] = "identity"

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error) -> None:
        self._session.close()

    @contextlib.contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None) -> Iterator[requests.Response]:
        """One request; its body has not been read yet. 416 is left to the caller.

        Args:
            url: the file's address.
            headers: beside those of every request, such as "Range".

        Raises:
            TransferError: if it leads from https to http, where anybody could answer.
            _TryAgain: if the server refuses, or the connection fails, here or while the
                caller reads the body.
        """
        timeout = (self.patience.connect, self.patience.read)
        try:
            with self._session.get(url, headers=headers, stream=True, timeout=timeout) as response:
                self._answered, code = True, response.status_code
                if url.startswith("https:") and not response.url.startswith("https:"):
                    raise TransferError(f"it leads from https to {response.url[:100]}")
                if code in _PASSING:
                    raise _TryAgain(f"HTTP {code} {response.reason}", _retry_after(response))
                if code not in (200, 206, 416):
                    raise _TryAgain(f"HTTP {code} {response.reason}", refused=True)
                yield response
        except _BROKEN as error:
            raise _TryAgain(_plain(error)) from error

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives, undecoded."""
        since, arrived = time.monotonic(), 0
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            if self.stop.is_set():
                raise Stopped
            yield chunk
            arrived += len(chunk)
            # A socket's own limit is reset by every byte: a trickle would never end.
            if (seconds := time.monotonic() - since) > self.patience.read:
                if arrived < _TRICKLE * seconds:
                    raise _TryAgain(f"only {arrived:,} bytes in {seconds:.0f} s")
                since, arrived = time.monotonic(), 0

    def persist(self, attempt: Callable[[], bytes | None], reached: Callable[[], int]):
        """Call `attempt` until it succeeds or too many tries in a row made no progress.

        Args:
            attempt: one try; may raise `_TryAgain`.
            reached: how many bytes are there by now.
        """
        tries, refusals, furthest = 0, 0, reached()
        while True:
            try:
                return attempt()
            except _TryAgain as error:
                # A server that starts over each time makes no progress, however much it sends.
                if reached() >= furthest + _PROGRESS:
                    tries, furthest = 0, reached()
                tries, refusals = tries + 1, refusals + 1 if error.refused else 0
                if refusals == _REFUSALS:
                    raise TransferError(f"{error} ({refusals} times in a row)") from error
                most = self.patience.tries if self._answered else _UNANSWERED_TRIES
                if tries >= min(most, self.patience.tries):
                    given_up = TransferError(f"{error} ({tries} tries in a row)")
                    given_up.passing = True
                    raise given_up from error
                if error.wait > self.patience.longest_asked:
                    raise TransferError(f"{error}; asks to wait {error.wait:.0f} s") from error
                if self.stop.wait(max(error.wait, self.patience.pause(tries))):
                    raise Stopped from None

    def read_range(
        self, url: str, start: int, length: int, *, etag: str = ""
    ) -> tuple[bytes, int, str]:
        """Read `length` bytes from `start`; a negative `start` counts from the end.

        Args:
            etag: of the file that earlier ranges came from; "" for the first.

        Returns:
            The bytes (fewer at the file's end), the file's size, and its ETag.

        Raises:
            TransferError: if the server does not serve ranges, or the file has changed.
        """
        wanted = f"bytes={start}" if start < 0 else f"bytes={start}-{start + length - 1}"

        def attempt():
            with self.get(url, {"Range": wanted}) as response:
                if response.status_code != 206:
                    raise TransferError("it does not serve single ranges")
                first, last, size = _content_range(response)
                if size is None:
                    raise TransferError("it does not tell the file's size")
                expected = max(size + start, 0) if start < 0 else start
                if first != expected or last != min(expected + length, size) - 1:
                    raise _TryAgain(f"wrong Content-Range {first}-{last} for {wanted}")
                found = response.headers.get("ETag", "")
                if etag and found != etag:
                    raise TransferError("the file changed while it was read")
                content = bytearray()
                for chunk in self.chunks(response):
                    content += chunk
                    if len(content) > last - first + 1:
                        raise _TryAgain(f"more bytes than the range {wanted}")
                if len(content) != last - first + 1:
                    raise _TryAgain(f"{len(content)} bytes for the range {wanted}")
                return bytes(content), size, found

        return self.persist(attempt, lambda: 0)


def read_small(url: str, *, limit: int, patience: Patience = BRIEF) -> bytes:
    """The whole of a small file.

    Raises:
        TransferError: if it cannot be had, or is larger than `limit` bytes.
    """

    def attempt():
        with connection.get(url) as response:
            if response.status_code != 200:
                raise TransferError(f"HTTP {response.status_code} {response.reason}")
            announced = _content_length(response)
            content = bytearray()
            for chunk in connection.chunks(response):
                content += chunk
                if len(content) > limit:
                    raise TransferError(f"it is larger than {limit:,} bytes")
            if announced is not None and len(content) != announced:
                raise _TryAgain(f"{len(content):,} of {announced:,} bytes arrived")
            return bytes(content)

    with Connection(patience) as connection:
        return connection.persist(attempt, lambda: 0)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    begins: bytes = b"",
    advance: Callable[..., None] = lambda amount, reused=False: None,
    patience: Patience | None = None,
    stop: threading.Event | None = None,
) -> str:
    """Download `url` to `path`, going on where an earlier call was cut off, however it was.

    Bytes arrive in `<path>.part`, beside `<path>.part.json` with the ETag of the file that
    they belong to. `path` itself appears once, whole and verified.

    Args:
        size, md5: expected; None where nobody has published them. Without an MD5 a part is
            continued only if the server can tell that its file is still the same.
        begins: the first bytes of this kind of file, so that a page is not taken for one.
        advance: told how many bytes have arrived since it was last called; negative when
            some had to be thrown away, `reused` for those of an earlier call.
        patience, stop: see `Connection`.

    Returns:
        The MD5 of the whole file.

    Raises:
        TransferError: if this source does not serve the file.
        Stopped: if `stop` was set.
        InputError: if it cannot be written.
    """
    with writable(path), _Part(path, size, md5, begins, advance) as part:
        with Connection(patience, stop) as connection:
            for _ in range(2):
                connection.persist(lambda: part.go_on(connection, url), lambda: part.reached)
                if md5 in (None, part.md5.hexdigest()):
                    return part.publish()
                # Bytes can be altered on the way or on the disk: once is chance, twice is not.
                part.discard()
        raise TransferError(f"its MD5 is not {md5}, twice")


class _Part:
    """The part of a file that has arrived, with its running checksum."""

    def __init__(self, path: Path, size: int | None, md5: str | None, begins: bytes, advance):
        self.path, self.size, self.begins, self.advance = path, size, begins, advance
        self._checked = md5 is not None
        self._note = path.with_name(path.name + ".part.json")
        self._part = path.with_name(path.name + ".part")
        self.md5, self.reached, self._reused = hashlib.md5(usedforsecurity=False), 0, 0
        self.validator, self._announced = "", size
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("a+b")
        if self._note.is_file():
            with contextlib.suppress(InputError, AttributeError):
                self.validator = artifacts.read_json(self._note).get("validator", "")
        if md5 is None and not self.validator:
            self._file.truncate(0)
        # The checksum of what is there comes from the disk, not from a note: a process
        # that was killed may have left anything.
        self._file.seek(0)
        while chunk := self._file.read(CHUNK):
            self._count(chunk, reused=True)
        if size is not None and self.reached > size:
            self.discard()

    def __enter__(self) -> "_Part":
        return self

    def __exit__(self, *error) -> None:
        self._file.close()
        if self._part.exists() and not self._part.stat().st_size:
            self._part.unlink()

    def _count(self, chunk: bytes, *, reused: bool = False) -> None:
        self.md5.update(chunk)
        self.reached += len(chunk)
        self._reused += len(chunk) if reused else 0
        self.advance(len(chunk), reused=reused)

    def discard(self) -> None:
        """Throw away what has arrived; the next try starts at the first byte."""
        self.advance(-self._reused, reused=True)
        self.advance(self._reused - self.reached)
        self._file.truncate(0)
        self.md5, self.reached, self._reused = hashlib.md5(usedforsecurity=False), 0, 0
        self.validator, self._announced = "", self.size
        self._note.unlink(missing_ok=True)

    def publish(self) -> str:
        """Give the whole file its name."""
        self._file.flush()
        self._part.replace(self.path)
        self._note.unlink(missing_ok=True)
        return self.md5.hexdigest()

    def go_on(self, connection: Connection, url: str) -> None:
        """One try to fetch what is missing."""
        if self.reached and self.reached == self._announced:
            return
        headers = {"Range": f"bytes={self.reached}-"} if self.reached else {}
        # Where the MD5 will tell, a server that changes its ETag with every answer does no harm.
        if headers and self.validator and not self._checked:
            headers["If-Range"] = self.validator
        with connection.get(url, headers) as response:
            self._accept(response)
            for chunk in connection.chunks(response):
                if self._announced is not None and self.reached + len(chunk) > self._announced:
                    self.discard()
                    raise _TryAgain("more bytes arrived than were announced")
                if not self.reached and not chunk.startswith(self.begins[: len(chunk)]):
                    raise _TryAgain(f"no archive: it begins with {chunk[:15]!r}", refused=True)
                self._file.write(chunk)
                self._count(chunk)
        if self._announced is not None and self.reached < self._announced:
            raise _TryAgain(f"the connection ended after {self.reached:,} bytes")

    def _accept(self, response: requests.Response) -> None:
        """Check that the answer continues the part, or start over with it."""
        validator = _validator(response)
        total: int | None
        if response.status_code == 416:
            self.discard()
            raise _TryAgain("HTTP 416: the part was longer than the file")
        if "text/html" in response.headers.get("Content-Type", ""):
            raise _TryAgain("it is a web page, not an archive", refused=True)
        partial = response.status_code == 206
        if partial:
            first, last, total = _content_range(response)
        else:
            total = _content_length(response)
        # What has arrived is kept for the next try: this may be somebody else's answer.
        if self.size is not None and total is not None and total != self.size:
            raise _TryAgain(f"it has {total:,} bytes, not {self.size:,}", refused=True)
        if partial:
            versions = self.validator and validator and self.validator != validator
            changed = versions and not self._checked
            # A part that ends early is one step; the next try asks for the rest.
            if first != self.reached or last < first or changed:
                self.discard()
                what = "the file changed" if changed else "wrong Content-Range"
                raise _TryAgain(f"{what}; it is fetched from the start")
        elif self.reached:
            # The server ignored the range, or the file is another one: this is its start.
            self.discard()
        self._announced = self.size if total is None else total
        if validator != self.validator or not self._note.is_file():
            self.validator = validator
            artifacts.write_json(self._note, {"url": response.url, "validator": validator})


@contextlib.contextmanager
def writable(path: Path) -> Iterator[None]:
    """Turn a failing disk into a sentence."""
    try:
        yield
    except OSError as error:
        free = ""
        with contextlib.suppress(OSError):
            free = f", {shutil.disk_usage(path.parent).free / 1e9:.1f} GB free"
        raise InputError(
            f"{path} cannot be written ({error.strerror or error}{free}); make room or "
            "choose another folder with CXR_ROOT, then run again: it resumes."
        ) from error


def _validator(response: requests.Response) -> str:
    """What tells one version of a file from another; weak ETags cannot (RFC 9110, 13.1.5)."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified", "")


def _content_range(response: requests.Response) -> tuple[int, int, int | None]:
    """First byte, last byte and size from `Content-Range: bytes 0-9/100`; "*" is no size."""
    text = response.headers.get("Content-Range", "")
    match = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", text.strip(), re.ASCII)
    if not match:
        raise _TryAgain(f"wrong Content-Range '{text}'")
    first, last, size = match.groups()
    return int(first), int(last), None if size == "*" else int(size)


def _content_length(response: requests.Response) -> int | None:
    """Bytes that the body has, or None where the server says nothing of use."""
    text = response.headers.get("Content-Length", "").strip()
    return int(text) if re.fullmatch(r"\d+", text, re.ASCII) else None


def _retry_after(response: requests.Response) -> float:
    """Seconds that the server asks to wait: a number or a date (RFC 9110, 10.2.3)."""
    text = response.headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d+", text, re.ASCII):
        return float(text)
    with contextlib.suppress(ValueError, TypeError):
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:
            date = date.replace(tzinfo=datetime.UTC)
        return max(date.timestamp() - time.time(), 0.0)
    return 0.0


def _plain(error: Exception) -> str:
    """The innermost reason of a connection error, in a few words."""
    while (inner := getattr(error, "reason", None) or error.__context__) is not None:
        if not isinstance(inner, Exception) or inner is error:
            break
        error = inner
    return f"{type(error).__name__}: {error}"[:200]
