"""One file over HTTP: resumed where it broke off, verified, patient but not for ever."""

import contextlib
import datetime
import email.utils
import hashlib
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import requests
import urllib3

from cxr import artifacts
from cxr.errors import InputError
from cxr.fetch.patience import BRIEF, Host, Hosts, Patience, Stopped, TransferError

# Large enough that Python's share of the work is small, small enough that a bar moves.
CHUNK = 1 << 20

# A try counts as progress once it brought the file this much further than any before.
_PROGRESS = 1 << 20

# How often a guard looks, in seconds.
_LOOK = 0.25

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


class _TryAgain(Exception):
    """This try failed; `wait` is what the server asked for, in seconds.

    Attributes:
        refused: whether the server said no, and did not only fail.
    """

    def __init__(self, reason: str, wait: float = 0.0, *, refused: bool = False):
        super().__init__(reason)
        self.wait, self.refused = wait, refused


class _Adapter(requests.adapters.HTTPAdapter):
    """Lets a guard see each socket before it connects, and end what blocks on it."""

    def __init__(self, guard: "_Guard"):
        super().__init__()
        self._guard = guard

    def get_connection_with_tls_context(self, *arguments, **options):
        pool = super().get_connection_with_tls_context(*arguments, **options)
        kind, guard = pool.ConnectionCls, self._guard
        if not hasattr(kind, "guard"):
            connect = {"guard": guard, "_new_conn": lambda line: _connected(line, guard)}
            pool.ConnectionCls = type(kind.__name__, (kind,), connect)
        return pool


def _connected(line, guard: "_Guard") -> socket.socket:
    """A socket to the server of an urllib3 connection, whichever of its addresses answers."""
    name, trouble = line._dns_host.strip("[]"), OSError("it has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        name, line.port, type=socket.SOCK_STREAM
    ):
        opened = socket.socket(family, kind, protocol)
        guard.opened(opened)
        try:
            for option in line.socket_options or ():
                opened.setsockopt(*option)
            opened.settimeout(line.timeout)
            opened.connect(address)
            return opened
        except OSError as error:
            opened.close()
            trouble = error
        if guard.ended():
            break
    raise trouble


class _Guard:
    """Ends a request that does not begin to answer in time, or once told to stop.

    A socket's own limit is reset by every byte, so headers that drip, or `100 Continue`
    without end, would never end.
    """

    def __init__(self, stop: threading.Event):
        self._stop, self._closed, self._lock = stop, threading.Event(), threading.Lock()
        self._line: socket.socket | None = None
        self._until = float("inf")
        self.late = False
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def opened(self, connection: socket.socket) -> None:
        """Watch this socket from now on, and no other."""
        with self._lock:
            self._forget()
            # A handle of its own: TLS takes the first one over.
            self._line = connection.dup()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Iterator[None]:
        """End what takes longer."""
        self.late, self._until = False, time.monotonic() + seconds
        try:
            yield
        finally:
            self._until = float("inf")

    @contextlib.contextmanager
    def ending_faults(self) -> Iterator[None]:
        """End what a fault leaves unread."""
        try:
            yield
        except BaseException:
            self.end()
            raise

    def ended(self) -> bool:
        """Whether no request may go on."""
        return self.late or self._stop.is_set()

    def end(self) -> None:
        """End whatever goes on over the socket."""
        with self._lock:
            if self._line is not None:
                with contextlib.suppress(OSError):
                    self._line.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Watch no more."""
        self._closed.set()
        self._thread.join()
        with self._lock:
            self._forget()

    def _forget(self) -> None:
        if self._line is not None:
            self._line.close()
            self._line = None

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK):
            self.late |= time.monotonic() > self._until
            if self.ended():
                self.end()


class Connection:
    """A session with servers, one request at a time. Not for several threads.

    Args:
        hosts: what is known of the servers, and how patient to be with them.
    """

    def __init__(self, hosts: Hosts | None = None):
        self.hosts = hosts or Hosts()
        self.patience, self.stop = self.hosts.patience, self.hosts.stop
        self._guard = _Guard(self.stop)
        self._session = requests.Session()
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(self._guard))
        # An archive is kept as it is, and ranges count its own bytes: no encoding on the way.
        self._session.headers["Accept-Encoding"] = "identity"
        self._host: Host | None = None

    def __enter__(self) -> "Connection":
        return self

    def __exit__(self, *error) -> None:
        self._session.close()
        self._guard.close()

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
        self._host = self.hosts.of(url)
        try:
            with self._guard.within(sum(timeout)):
                begun = self._session.get(url, headers=headers, stream=True, timeout=timeout)
            with begun as response, self._guard.ending_faults():
                self._host.answered()
                code = response.status_code
                if url.startswith("https:") and not response.url.startswith("https:"):
                    raise TransferError(f"it leads from https to {response.url[:100]}")
                if code in _PASSING:
                    raise _TryAgain(f"HTTP {code} {response.reason}", _retry_after(response))
                if code not in (200, 206, 416):
                    raise _TryAgain(f"HTTP {code} {response.reason}", refused=True)
                yield response
        except _BROKEN as error:
            if self.stop.is_set():
                raise Stopped from error
            late = f"no answer within {sum(timeout):.0f} s"
            raise _TryAgain(late if self._guard.late else _plain(error)) from error

    def chunks(self, response: requests.Response) -> Iterator[bytes]:
        """The body as it arrives, undecoded."""
        since, arrived, total = time.monotonic(), 0, 0
        while chunk := response.raw.read1(CHUNK, decode_content=False):
            if self.stop.is_set():
                break
            yield chunk
            arrived += len(chunk)
            # A socket's own limit is reset by every byte: a trickle would never end.
            if (seconds := time.monotonic() - since) > self.patience.window:
                if arrived < self.patience.floor * seconds:
                    raise _TryAgain(f"only {arrived:,} bytes in {seconds:.0f} s")
                since, arrived = time.monotonic(), 0
            total += len(chunk)
            if total >= _PROGRESS and self._host is not None:
                self._host.served()
                total = 0
        if self.stop.is_set():
            raise Stopped

    def persist(self, url: str, attempt: Callable[[], bytes | None], reached: Callable[[], int]):
        """Call `attempt` until it succeeds or too many tries in a row made no progress.

        Args:
            url: what it asks for.
            attempt: one try; may raise `_TryAgain`.
            reached: how many bytes are there by now.
        """
        host, patience = self.hosts.of(url), self.patience
        tries, refusals, furthest = 0, 0, reached()
        while True:
            asked = host.ask()
            try:
                result = attempt()
                host.served()
                return result
            except _TryAgain as error:
                if self.stop.is_set():
                    raise Stopped from error
                # A server that starts over each time makes no progress, however much it sends.
                if reached() >= furthest + _PROGRESS:
                    tries, furthest = 0, reached()
                tries, refusals = tries + 1, refusals + 1 if error.refused else 0
                if error.refused:
                    host.served()
                else:
                    host.failed(asked, error, error.wait)
                if refusals == _REFUSALS:
                    often = f"{error} ({refusals} times in a row)"
                    raise TransferError(often, refused=True) from error
                if error.wait > patience.longest_asked:
                    later = f"{error}; asks to wait {error.wait:.0f} s"
                    raise TransferError(later, passing=error.wait <= patience.budget) from error
                if tries >= patience.tries or host.down:
                    often = f"{error} ({tries} tries in a row)"
                    raise TransferError(often, passing=True) from error
                if patience.clock.wait(self.stop, patience.pause(tries)):
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

        return self.persist(url, attempt, lambda: 0)


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

    with Connection(Hosts(patience)) as connection:
        return connection.persist(url, attempt, lambda: 0)


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    md5: str | None = None,
    begins: bytes = b"",
    advance: Callable[..., None] = lambda amount, reused=False: None,
    hosts: Hosts | None = None,
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
        hosts: see `Connection`.

    Returns:
        The MD5 of the whole file.

    Raises:
        TransferError: if this source does not serve the file.
        Stopped: if `stop` was set.
        InputError: if it cannot be written.
    """
    with writable(path), _Part(path, size, md5, begins, advance) as part:
        with Connection(hosts) as connection:
            for _ in range(2):
                connection.persist(url, lambda: part.go_on(connection, url), lambda: part.reached)
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
        self._total: int | None = None
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._part.open("a+b")
        if self._note.is_file():
            with contextlib.suppress(InputError, AttributeError):
                self.validator = artifacts.read_json(self._note).get("validator", "")
        if md5 is None and not self.validator:
            self._file.truncate(0)
        # The checksum of what is there comes from the disk, not from a note: a process
        # that was killed may have left anything.
        try:
            self._file.seek(0)
            while chunk := self._file.read(CHUNK):
                self._count(chunk, reused=True)
            if size is not None and self.reached > size:
                self.discard()
        except BaseException:
            self._file.close()
            raise

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
            anew = self._accept(response)
            if not anew:
                self._begin(response)
            for chunk in connection.chunks(response):
                start = anew or not self.reached
                if start and not chunk.startswith(self.begins[: len(chunk)]):
                    raise _TryAgain(f"no archive: it begins with {chunk[:15]!r}", refused=True)
                if anew:
                    # The server ignored the range, or the file is another one.
                    self.discard()
                    self._begin(response)
                    anew = False
                if self._announced is not None and self.reached + len(chunk) > self._announced:
                    self.discard()
                    raise _TryAgain("more bytes arrived than were announced")
                self._file.write(chunk)
                self._count(chunk)
        if self._announced is not None and self.reached < self._announced:
            raise _TryAgain(f"the connection ended after {self.reached:,} bytes")

    def _accept(self, response: requests.Response) -> bool:
        """Check that the answer may be taken; whether it starts over what is there."""
        validator = _validator(response)
        total: int | None
        if response.status_code == 416:
            self.discard()
            raise _TryAgain("HTTP 416: the part was longer than the file")
        if "text/html" in response.headers.get("Content-Type", "").lower():
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
        self._total = total
        return not partial and self.reached > 0

    def _begin(self, response: requests.Response) -> None:
        """Note what the answer that is taken says of the file."""
        validator = _validator(response)
        self._announced = self.size if self._total is None else self._total
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
