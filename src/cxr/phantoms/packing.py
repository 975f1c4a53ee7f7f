"""Phantom films in archives like those of NIH, and a server that hands them out."""

import concurrent.futures
import contextlib
import functools
import gzip
import http.server
import io
import itertools
import multiprocessing
import os
import re
import tarfile
import threading
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from cxr import artifacts, progress
from cxr.findings import FINDINGS
from cxr.phantoms import drawing

# Starting a process costs about a second, as long as a hundred films take.
_FILMS_WORTH_A_PROCESS = 100

# PNG is compressed already: the fastest level, as the archives only pass by.
_GZIP_LEVEL = 1


def pack(
    records: pd.DataFrame,
    boxes: pd.DataFrame,
    films: Sequence[str],
    folder: Path,
    *,
    archives: int = 3,
    size: int = 256,
    seed: int,
) -> list[Path]:
    """Draw `films` and pack them as `images/<film>` into `images_01.tar.gz` and so on.

    The same arguments give the same bytes. Archives that were made from them are reused.

    Args:
        records: one row a film; needs film, patient_id, age, sex, view and the findings.
        boxes: film, finding, x, y, width, height in the pixels of the 1024-px originals.
        films: names of the films to draw.
        folder: where the archives go.
        archives: over how many archives the films are spread, in the order of their names.
        size: side of the films in pixels.
        seed: decides everything that the records leave open.

    Returns:
        The archives' paths, in order.
    """
    folder = Path(folder)
    paths = [folder / f"images_{number:02d}.tar.gz" for number in range(1, archives + 1)]
    orders = _orders(records, boxes, films)
    settings = {
        "films": len(orders),
        "orders": artifacts.fingerprint(map(repr, orders)),
        # Another drawing makes other films.
        "drawing": artifacts.fingerprint(
            artifacts.sha256(path) for path in Path(__file__).parent.glob("*.py")
        ),
        "archives": archives,
        "size": size,
        "seed": seed,
    }
    manifest = folder / "pack.json"
    if manifest.exists() and all(path.exists() for path in paths):
        found = artifacts.read_json(manifest)
        if found["settings"] == settings and all(
            path.stat().st_size == found["bytes"].get(path.name) for path in paths
        ):
            return paths
    manifest.unlink(missing_ok=True)
    starts = [len(orders) * number // archives for number in range(archives + 1)]
    with progress.Bars() as bars, _drawn(orders, size=size, seed=seed) as pngs:
        bar = bars.add("phantoms", total=len(orders))
        for path, (start, stop) in zip(paths, itertools.pairwise(starts), strict=True):
            members = itertools.islice(pngs, stop - start)
            _write_archive(
                path, [order.record["film"] for order in orders[start:stop]], members, bar
            )
    artifacts.write_json(
        manifest,
        {"settings": settings, "bytes": {path.name: path.stat().st_size for path in paths}},
    )
    return paths


class _Order(NamedTuple):
    """What `draw` needs for one film, as plain values that travel between processes."""

    record: dict
    boxes: list[tuple]


def _orders(records: pd.DataFrame, boxes: pd.DataFrame, films: Sequence[str]) -> list[_Order]:
    """The films to draw, sorted by name."""
    wanted = records[records["film"].isin(set(films))].sort_values("film")
    columns = ["film", "patient_id", "age", "sex", "view", *FINDINGS]
    plain = wanted[columns].astype({"age": "float64"}).to_dict("records")
    of_film: dict[str, list] = {}
    for box in boxes[boxes["film"].isin(set(films))].itertuples(index=False):
        of_film.setdefault(box.film, []).append(
            (box.finding, float(box.x), float(box.y), float(box.width), float(box.height))
        )
    return [_Order(record, of_film.get(record["film"], [])) for record in plain]


def _png(order: _Order, *, size: int, seed: int) -> bytes:
    return drawing.encode(drawing.draw(order.record, order.boxes, size=size, seed=seed))


@contextlib.contextmanager
def _drawn(orders: list[_Order], *, size: int, seed: int) -> Iterator[Iterator[bytes]]:
    """The films of `orders` as PNG files, one after the other, drawn by several processes."""
    draw = functools.partial(_png, size=size, seed=seed)
    workers = min(os.cpu_count() or 1, len(orders) // _FILMS_WORTH_A_PROCESS)
    if workers < 2:
        yield map(draw, orders)
        return
    # A notebook's process runs threads, and a fork of those may hang: so spawn.
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        yield pool.map(draw, orders, chunksize=16)


def _write_archive(path: Path, films: list[str], pngs: Iterator[bytes], bar: progress.Bar) -> None:
    """Write one archive. No clock and no user goes in, so the bytes depend on the films only."""
    with (
        artifacts.atomic(path) as temporary,
        temporary.open("wb") as raw,
        gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for film, png in zip(films, pngs, strict=True):
            member = tarfile.TarInfo(f"images/{film}")
            member.size = len(png)
            archive.addfile(member, io.BytesIO(png))
            bar.advance()


@contextlib.contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve the files of `folder` on this machine only, for as long as the block runs.

    Answers GET and HEAD with Content-Length, a strong ETag and, to a `Range` of bytes, the
    part asked for; `If-Range` is honoured. This is what the download code meets at NIH.

    Yields:
        The base address, such as "http://127.0.0.1:43511", without a final slash.
    """
    handler = type("_FolderHandler", (_Handler,), {"folder": Path(folder).resolve()})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        # The pause between two looks at whether to stop, in seconds.
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


class _Handler(http.server.BaseHTTPRequestHandler):
    """Static files of one folder, whole or by byte range."""

    folder: Path
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *args) -> None:
        """A request a line would drown the progress display."""

    def _answer(self, *, body: bool) -> None:
        # Names only: a path with a slash, so also one with "..", is not a file of the folder.
        path = self.folder / (self.path.removeprefix("/") or ".")
        if path.parent != self.folder or not path.is_file():
            self._finish(HTTPStatus.NOT_FOUND)
            return
        size = path.stat().st_size
        etag = f'"{size:x}-{path.stat().st_mtime_ns:x}"'
        headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Type": "application/gzip"}
        status, start, stop = HTTPStatus.OK, 0, size
        asked = re.fullmatch(r"bytes=(\d*)-(\d*)", self.headers.get("Range", ""))
        if asked and asked[0] != "bytes=-" and self.headers.get("If-Range", etag) == etag:
            status, (start, stop) = HTTPStatus.PARTIAL_CONTENT, _span(asked[1], asked[2], size)
            if start >= stop:
                unsatisfiable = {"Content-Range": f"bytes */{size}"}
                self._finish(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, unsatisfiable)
                return
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        self._finish(status, headers, length=stop - start)
        if body:
            with path.open("rb") as file, contextlib.suppress(ConnectionError):
                file.seek(start)
                self._copy(file, stop - start)

    def _finish(self, status: HTTPStatus, headers: dict | None = None, *, length: int = 0) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def _copy(self, file, length: int) -> None:
        while length > 0:
            block = file.read(min(length, 1 << 16))
            if not block:
                # The file shrank meanwhile: break off, so that the client notices.
                self.close_connection = True
                return
            self.wfile.write(block)
            length -= len(block)


def _span(first: str, last: str, size: int) -> tuple[int, int]:
    """First byte and the one behind the last, for the two numbers of a `Range` (RFC 9110)."""
    if not first:
        return max(size - int(last), 0), size
    return int(first), min(int(last) + 1, size) if last else size
