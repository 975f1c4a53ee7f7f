"""A stand-in for NIH: small archives of films, and a server with faults to order."""

import collections
import contextlib
import dataclasses
import gzip
import hashlib
import http.server
import io
import re
import tarfile
import threading
import time
import zipfile

import numpy as np
from PIL import Image

from cxr.fetch import catalogue
from cxr.fetch.patience import Clock, Patience

# As patient as the real thing, in a thousandth of the time.
QUICK = Patience(
    connect=2.0,
    read=0.5,
    window=0.5,
    tries=5,
    first_pause=0.001,
    longest_pause=0.01,
    longest_asked=2.0,
    between_rounds=0.01,
    budget=0.5,
)


class Ahead(Clock):
    """A clock that runs ahead instead of waiting; `waits` are the seconds that it skipped."""

    def __init__(self):
        self.skipped, self.waits, self._lock = 0.0, [], threading.Lock()

    def now(self) -> float:
        return time.monotonic() + self.skipped

    def wait(self, event, seconds: float) -> bool:
        due = self.now() + seconds
        # Others may start to wait at the same moment; then one step is enough for all.
        time.sleep(0.001)
        with self._lock:
            self.waits.append(seconds)
            self.skipped += max(due - self.now(), 0.0)
        return event.is_set()


def film_png(number: int, *, side: int = 64, mode: str = "L") -> bytes:
    """A noisy grey square; its content depends on `number` only."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, "PNG")
    return buffer.getvalue()


def film_set(count: int, *, first_patient: int = 1, side: int = 64) -> dict[str, bytes]:
    """Films of `count` patients, one each; every eighth is RGBA, as some of NIH's are."""
    return {
        f"{number:08d}_000.png": film_png(
            number, side=side, mode="RGBA" if number % 8 == 0 else "L"
        )
        for number in range(first_patient, first_patient + count)
    }


def tar_gz(members) -> bytes:
    """A `.tar.gz` of (TarInfo or name, content) pairs."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile("", "wb", 1, buffer, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for member, content in members:
            if isinstance(member, str):
                member = tarfile.TarInfo(member)
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content) if content is not None else None)
    return buffer.getvalue()


def films_tar(films: dict[str, bytes]) -> bytes:
    folder = tarfile.TarInfo("images")
    folder.type = tarfile.DIRTYPE
    return tar_gz([(folder, None), *((f"images/{name}", png) for name, png in films.items())])


def films_zip(films: dict[str, bytes], prefix: str = "images/") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in films.items():
            packed.writestr(zipfile.ZipInfo(prefix + name), content)
    return buffer.getvalue()


def archive(films: dict[str, bytes], address: str, number: int = 1) -> tuple:
    """An `Archive` at `address`, and its files by name: the original and a zip mirror."""
    original, mirror = films_tar(films), films_zip(films)
    name, copy = f"images_{number:02d}.tar.gz", f"images_{number:03d}.zip"
    described = catalogue.Archive(
        name=name,
        url=f"{address}/{name}",
        bytes=len(original),
        md5=hashlib.md5(original).hexdigest(),
        films=len(films),
        mirrors=(f"{address}/{copy}",),
        contents=tuple(films),
    )
    return described, {name: original, copy: mirror}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What goes wrong with one answer. Each is used up by one request.

    Attributes:
        after: end the body after so many bytes, with the connection.
        status, retry_after: answer with an error.
        ignore_range: answer 200 with the whole file to a request for a part.
        shift: answer with a part that starts so many bytes off, and say so.
        content_type, body: answer with something else.
        announce: Content-Length is so much more than what is sent.
        flip: alter the byte at this position of the file.
        stall: stop sending after `after` bytes for so many seconds, then end.
        other_version: serve the file's other version, with another ETag.
        without_length: leave out the Content-Length and end with the connection.
        cap: answer a request for a part with so many bytes at most.
        sizeless: do not tell the whole size in Content-Range.
        headers: values that replace the right ones; bytes go out as they are.
    """

    after: int | None = None
    status: int | None = None
    retry_after: str = ""
    ignore_range: bool = False
    shift: int = 0
    content_type: str = "application/octet-stream"
    body: bytes | None = None
    announce: int = 0
    flip: int | None = None
    stall: float = 0.0
    other_version: bytes | None = None
    without_length: bool = False
    cap: int | None = None
    sizeless: bool = False
    headers: dict = dataclasses.field(default_factory=dict)


class Server(http.server.ThreadingHTTPServer):
    """Serves `files`; `faults[name]` is a queue, emptied one request after the other.

    Attributes:
        requests: (name, Range header or "") of every request.
        sent: bytes of bodies sent.
        rate: bytes a second at most, 0 for no limit.
        outage: whether connections end without an answer just now.
        sending: called before each piece of a body.
        etags: whether answers have an ETag; "changing" gives each another one.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.faults = collections.defaultdict(collections.deque)
        self.requests: list[tuple[str, str]] = []
        self.sent, self.rate, self.etags, self.lock = 0, 0, True, threading.Lock()
        self.ended = threading.Event()
        self.outage, self.sending = lambda: False, lambda: None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address) -> None:
        """A client that goes away is what these tests are about."""


@contextlib.contextmanager
def serving():
    """Run a `Server` for as long as the block runs."""
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.ended.set()
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, format, *args) -> None:
        pass

    def do_GET(self) -> None:
        name = self.path.removeprefix("/")
        asked = self.headers.get("Range", "")
        with self.server.lock:
            self.server.requests.append((name, asked))
            if self.server.outage():
                self.close_connection = True
                return
            queue = self.server.faults[name]
            self.fault = fault = queue.popleft() if queue else Fault()
        content = self.server.files.get(name)
        if fault.status or content is None:
            self.send_response(fault.status or 404)
            for header in ("Retry-After", "Location"):
                if (fault.retry_after and header == "Retry-After") or header in fault.headers:
                    self.send_header(header, fault.retry_after)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if fault.other_version is not None:
            content = fault.other_version
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        if self.server.etags == "changing":
            etag = f'"{len(self.server.requests)}"'
        if fault.body is not None:
            content, asked = fault.body, ""
        if fault.flip is not None:
            content = bytearray(content)
            content[fault.flip] ^= 0x10
            content = bytes(content)
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked)
        fresh = self.headers.get("If-Range", etag) == etag
        if match and fresh and not fault.ignore_range:
            size = len(content)
            start = int(match[1]) if match[1] else max(size - int(match[2]), 0)
            stop = min(int(match[2]) + 1, size) if match[1] and match[2] else size
            if start >= size:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{size}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = max(start + fault.shift, 0)
            stop = stop if fault.cap is None else min(stop, start + fault.cap)
            body = content[start:stop]
            self.send_response(206)
            told = "*" if fault.sizeless else size
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{told}")
        else:
            body = content
            self.send_response(200)
        self.send_header("Content-Type", fault.content_type)
        if self.server.etags:
            self.send_header("ETag", etag)
        if fault.without_length:
            self.close_connection = True
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(body) + fault.announce))
        self.end_headers()
        self._send(body if fault.after is None else body[: fault.after])
        if fault.stall:
            self.server.ended.wait(fault.stall)
        if fault.stall or fault.announce > 0 or fault.after is not None:
            self.close_connection = True

    def send_header(self, keyword, value) -> None:
        value = self.fault.headers.get(keyword, value)
        if isinstance(value, bytes):
            self._headers_buffer.append(keyword.encode() + b": " + value + b"\r\n")
        else:
            super().send_header(keyword, value)

    def _send(self, body: bytes) -> None:
        step = len(body) if not self.server.rate else max(self.server.rate // 200, 1)
        for start in range(0, len(body), step or 1):
            piece = body[start : start + step]
            self.server.sending()
            self.wfile.write(piece)
            self.server.sent += len(piece)
            if self.server.rate:
                time.sleep(len(piece) / self.server.rate)
