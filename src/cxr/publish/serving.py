"""A page that reads films: dropped into a browser, answered, and kept nowhere.

The server holds a model and no film. A film's bytes come with one request, the answer to that
request is its whole report, and both are gone when it is sent; what a visitor sees lives in
that visitor's browser only. Every request needs a token that is drawn anew at each start.

Python's own server carries it, so that a size is refused before a byte is read; Panel would
add eleven packages and a connection that stays open, around a viewer that is there already.
"""

import base64
import contextlib
import functools
import hashlib
import hmac
import http.server
import ipaddress
import re
import secrets
import socket
import sys
import threading
import time
import traceback
import urllib.parse
from collections.abc import Iterator
from http import HTTPStatus

from cxr import phantoms
from cxr.errors import InputError
from cxr.figures import film_viewer
from cxr.figures.page import page, templates
from cxr.findings import FINDINGS, label
from cxr.modelling.predict import Model
from cxr.publish import film_report, markdown

TITLE = "Chest films, read by a model"

PORT = 8765

# A film of 16 bits and 32 million pixels, more than detectors have. `cxr predict` takes more.
LARGEST_UPLOAD = 64 * 2**20

# Connections at a time, and films in memory at a time: what the memory is bounded by.
MOST_CONNECTIONS, MOST_FILMS = 32, 4

# Seconds: of silence, for a whole film to arrive, for a free place, for a connection, and for
# one that has not shown the token yet.
SILENCE, ARRIVAL, WAIT, LIFE, UNKNOWN = 10.0, 60.0, 9.0, 90.0, 10.0

# When connections are scarce, one that has not shown the token is cut after so many seconds.
BRIEF = 1.0

# An upload has to arrive at so many bytes a second from so many seconds on: one that drips
# holds a place for a film no longer than others wait for it.
SLOWEST, START = 64 * 2**10, 4.0

# Bytes of an answer that have to go in the time of `SILENCE`.
_PIECE = 2**15

_FULL = (
    b"HTTP/1.0 503 Service Unavailable\r\nContent-Type: text/plain\r\n\r\n"
    b"Too many visitors are here at once; try again in some seconds.\n"
)

_LONGEST_NAME = 120

# Findings of the drawings that may be tried at once; the first has none.
EXAMPLES = ("", "Effusion", "Cardiomegaly", "Mass", "Pneumothorax")

_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class _Refusal(Exception):
    """A request that gets no answer: the status, and a sentence."""

    def __init__(self, status: HTTPStatus, sentence: str):
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


class Server(http.server.ThreadingHTTPServer):
    """Answers for films with one model, which reads one film at a time.

    Args:
        model: whose answers are given.
        why: why it was taken, for the page.
        host: name or address to listen at.
        port: 0 takes any free one.

    Attributes:
        token: what every request has to know.

    Raises:
        InputError: if it cannot listen there.
    """

    daemon_threads = True
    # Visitors who come at the same moment wait for their turn; five would be the default.
    request_queue_size = 2 * MOST_CONNECTIONS

    def __init__(self, model: Model, why: str = "", *, host: str = "127.0.0.1", port: int = PORT):
        self.model, self.host, self.token = model, host, secrets.token_urlsafe(32)
        self._reads, self._films = threading.Lock(), threading.BoundedSemaphore(MOST_FILMS)
        # When each is cut, and since when those wait that have not shown the token.
        self._connections: dict[socket.socket, float] = {}
        self._unknown: dict[socket.socket, float] = {}
        self._counted = threading.Lock()
        self.page, self.policy = _page(model, why)
        self.example = functools.lru_cache(functools.partial(_example, size=max(model.size, 512)))
        # Tracing takes seconds, so not while a visitor waits.
        model.answer("warm-up", self.example(0))
        if not 0 <= port <= 65_535:
            raise InputError(f"--port {port} is none of 0 to 65535.")
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            self.address_family = found[0]
            super().__init__((str(found[4][0]), int(found[4][1])), _Handler)
        except (OSError, OverflowError, UnicodeError) as error:
            raise InputError(
                f"nothing can listen at {host}:{port} ({getattr(error, 'strerror', error)}); give "
                "another --port (0 takes any free one), or another --host."
            ) from None

    @property
    def local(self) -> bool:
        """Whether only this machine reaches it."""
        return ipaddress.ip_address(str(self.server_address[0])).is_loopback

    @property
    def address(self) -> str:
        """Where a browser finds the page; whoever knows it may use it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.server_port}/?token={self.token}"

    def process_request(self, request, client_address) -> None:
        now = time.monotonic()
        with self._counted:
            if len(self._connections) >= MOST_CONNECTIONS:
                self._make_room(now)
            full = len(self._connections) >= MOST_CONNECTIONS
            if not full:
                self._connections[request] = now + UNKNOWN
                self._unknown[request] = now
        if full:
            with contextlib.suppress(OSError):
                request.settimeout(0.1)
                request.sendall(_FULL)
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def _make_room(self, now: float) -> None:
        """Cut the connection that has been silent about the token for longest."""
        for request, since in self._unknown.items():
            if since + BRIEF < now:
                with contextlib.suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)
                self._forget(request)
                return

    def _forget(self, request) -> None:
        self._connections.pop(request, None)
        self._unknown.pop(request, None)

    def shutdown_request(self, request) -> None:
        with self._counted:
            self._forget(request)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """Cut connections that outlive every honest one."""
        now = time.monotonic()
        with self._counted:
            for request, latest in self._connections.items():
                if latest < now:
                    with contextlib.suppress(OSError):
                        request.shutdown(socket.SHUT_RDWR)

    def admitted(self, request) -> None:
        """Give a visitor who has shown the token the time that a film takes."""
        with self._counted:
            if request in self._connections:
                self._connections[request] = time.monotonic() + LIFE
                self._unknown.pop(request, None)

    def handle_error(self, request, client_address) -> None:
        """A visitor who goes away is no fault; anything else is told, without the film's name."""
        if not isinstance(sys.exc_info()[1], OSError):
            traceback.print_exc()

    def report(self, name: str, content: bytes, number: int) -> str:
        """The page that answers for one film.

        Args:
            name: what the film is called.
            content: of its file.
            number: which of the visitor's films it is.
        """
        if not self._reads.acquire(timeout=WAIT):
            raise _busy()
        try:
            answer = self.model.answer(name, content)
        finally:
            self._reads.release()
        return film_report.Report(self.model, (answer,), first=number).html()

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold one of the places for films in memory."""
        if not self._films.acquire(timeout=WAIT):
            raise _busy()
        try:
            yield
        finally:
            self._films.release()


class _Handler(http.server.BaseHTTPRequestHandler):
    """One request a connection."""

    server: Server
    server_version, sys_version = "cxr", ""
    timeout = SILENCE

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def log_message(self, format: str, *args) -> None:
        """Addresses hold the token and the names of films: nothing is logged."""

    def send_error(self, code, message=None, explain=None) -> None:
        """What is no proper request, in a sentence."""
        self._send(HTTPStatus(code), f"This is no request that the page makes ({int(code)}).\n")

    def _answered(self, answer) -> None:
        try:
            answer()
        except _Refusal as refusal:
            self._send(refusal.status, f"{refusal.sentence}\n")
            self._drain()
        except OSError:
            raise
        except Exception:
            traceback.print_exc()
            self._send(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "This request brought out a fault in the program; its terminal says which.\n",
            )

    def _get(self) -> None:
        address = _split(self.path)
        asked = urllib.parse.parse_qs(address.query)
        self._admit(asked.get("token", [""])[0] or self.headers.get("X-Token", ""))
        if address.path == "/":
            self._send(HTTPStatus.OK, self.server.page, kind="text/html", policy=self.server.policy)
            return
        names = [f"/example/{place}" for place in range(len(EXAMPLES))]
        if address.path not in names:
            raise _Refusal(HTTPStatus.NOT_FOUND, "There is no such page.")
        drawing = self.server.example(names.index(address.path))
        self._send(HTTPStatus.OK, drawing, kind="image/png")

    def _post(self) -> None:
        address = _split(self.path)
        self._admit(self.headers.get("X-Token", ""))
        if address.path != "/film":
            raise _Refusal(HTTPStatus.NOT_FOUND, "There is no such page.")
        length = self._announced()
        asked = urllib.parse.parse_qs(address.query, errors="replace")
        # It ends up in the report, so it has to be a number.
        told = asked.get("number", [""])[0]
        number = int(told) if told.isascii() and told.isdigit() and len(told) < 7 else 1
        with self.server.place():
            content = self._body(length)
            report = self.server.report(_name(asked.get("name", [""])[0]), content, number)
        self._send(HTTPStatus.OK, report, kind="text/html")

    def _admit(self, token: str) -> None:
        """Refuse who does not know the token, and pages of other origins that use a visitor.

        A name that resolves to this machine could be anybody's (DNS rebinding); an address in
        digits is this machine's own.
        """
        host = self.headers.get("Host", "")
        if not _ours(host, self.server.host):
            raise _Refusal(HTTPStatus.FORBIDDEN, "This page is asked for under another name.")
        origin = self.headers.get("Origin")
        if origin is not None and _split(origin).netloc != host:
            raise _Refusal(HTTPStatus.FORBIDDEN, "Another page asks for this one.")
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _Refusal(
                HTTPStatus.FORBIDDEN,
                "This page needs the whole address that `python -m cxr serve` printed, with its "
                "token.",
            )
        self.server.admitted(self.connection)

    def _announced(self) -> int:
        """How many bytes will come; refused before any is read."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            raise _Refusal(HTTPStatus.LENGTH_REQUIRED, "A film has to say how large it is.")
        # Longer numbers are large without being read.
        if len(length) > 12 or int(length) > LARGEST_UPLOAD:
            raise _Refusal(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
                f"This file is larger than the {LARGEST_UPLOAD >> 20} MB that the page takes; "
                "`python -m cxr predict` takes larger ones.",
            )
        return int(length)

    def _body(self, length: int) -> bytes:
        content, began = bytearray(), time.monotonic()
        silence = min(self.timeout, START)
        self.connection.settimeout(silence)
        try:
            while len(content) < length:
                piece = self.rfile.read1(min(length - len(content), 1 << 18))
                if not piece:
                    raise _cut_off("its sending ended early")
                content += piece
                passed = time.monotonic() - began
                slow = len(content) < SLOWEST * (passed - START)
                if passed > ARRIVAL or (slow and len(content) < length):
                    raise _cut_off("it came too slowly")
        except TimeoutError:
            raise _cut_off(f"nothing came for {silence:.0f} seconds") from None
        finally:
            self.connection.settimeout(self.timeout)
        return bytes(content)

    def _send(
        self,
        status: HTTPStatus,
        body: str | bytes,
        *,
        kind: str = "text/plain",
        policy: str = "default-src 'none'; frame-ancestors 'none'; sandbox",
    ) -> None:
        content = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", policy)
        charset = "; charset=utf-8" if kind.startswith("text/") else ""
        self.send_header("Content-Type", f"{kind}{charset}")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            # Piece by piece: whoever reads slowly gets all of it, as long as something is read.
            for start in range(0, len(content), _PIECE):
                self.wfile.write(content[start : start + _PIECE])

    def _drain(self) -> None:
        """Let go of what is still on its way, a second long: else the refusal may not arrive."""
        with contextlib.suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(0.2)
            latest = time.monotonic() + 1
            while time.monotonic() < latest and self.connection.recv(1 << 16):
                pass


@contextlib.contextmanager
def running(server: Server) -> Iterator[Server]:
    """Let a server answer for as long as the block runs."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def _split(address: str) -> urllib.parse.SplitResult:
    try:
        return urllib.parse.urlsplit(address)
    except ValueError:
        raise _Refusal(HTTPStatus.BAD_REQUEST, "This is no address.") from None


def _busy() -> _Refusal:
    return _Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "Other films are being read; try this one again."
    )


def _cut_off(why: str) -> _Refusal:
    return _Refusal(
        HTTPStatus.REQUEST_TIMEOUT,
        f"The film did not arrive whole: {why}. Send it again; `python -m cxr predict` reads it "
        "without a network.",
    )


def _name(told: str) -> str:
    """A file's name as it is shown: its last part, without what cannot be printed."""
    printed = "".join(one for one in told if one.isprintable())
    return re.split(r"[/\\]", printed)[-1][:_LONGEST_NAME] or "film"


def _ours(host: str, listening: str) -> bool:
    """Whether a Host header names this machine itself."""
    try:
        name = urllib.parse.urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        return True
    return name in {"localhost", listening.lower(), socket.gethostname().lower()}


def _page(model: Model, why: str) -> tuple[str, str]:
    """The page, and the policy that lets a browser run its own scripts and nothing else."""
    files = templates("cxr.publish")
    script = f"\n{files.get_template('serving.js').render()}\n"
    body = files.get_template("serving.html").render(
        title=TITLE,
        model=model,
        why=why,
        card=markdown.untrusted(model.card, level=2),
        examples=[label(one) or "No finding" for one in EXAMPLES] if model.phantoms else [],
        largest=LARGEST_UPLOAD,
    )
    style = files.get_template("serving.css").render()
    head = f"{film_viewer.head()}<style>\n{style}</style>\n<script>{script}</script>"
    digests = " ".join(
        f"'sha256-{base64.b64encode(hashlib.sha256(one.encode()).digest()).decode()}'"
        for one in (film_viewer.script(), script)
    )
    policy = (
        f"default-src 'none'; script-src {digests}; style-src 'unsafe-inline'; img-src data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page(TITLE, body, head=head), policy


def _example(place: int, size: int) -> bytes:
    """A drawing to try, as a PNG file."""
    finding = EXAMPLES[place]
    record = {"film": f"example {place}", "patient_id": place, "age": 50, "sex": "F", "view": "PA"}
    record |= dict.fromkeys(FINDINGS, 0) | ({finding: 1} if finding else {})
    return phantoms.encode(phantoms.draw(record, size=size, seed=7))
