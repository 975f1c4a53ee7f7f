"""Claims: unpacking keeps up with `tar`, and reducing on the way with the decoder itself.

The archive holds real originals of 1024 px (from the folder `../shared`, or SHARED_DIR), or
noise of that size where there are none. Side by side, three times each in turn:

- `unpack.unpack` against `tar xzf`;
- `unpack.unpack` with a size of 256 px against the machine's own limit: decoding the same
  PNGs and encoding 256-px ones at the same level, on all cores, and nothing else.
"""

import concurrent.futures
import io
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cxr.config import PROJECT
from cxr.fetch import unpack
from cxr.films import png

FILMS = 960
REPEATS = 3
SIZE = 256

_contents: list[bytes] = []
_small: list[Image.Image] = []


def originals() -> tuple[str, list[bytes]]:
    """Real films where there are any."""
    shared = Path(os.environ.get("SHARED_DIR") or PROJECT.parent / "shared")
    paths = sorted((shared / "nih" / "images1024").glob("*.png"))
    if paths:
        return f"{len(paths)} real films", [path.read_bytes() for path in paths]
    contents = []
    for seed in range(8):
        noise = np.random.default_rng(seed).normal(128, 8, (1024, 1024)).clip(0, 255)
        buffer = io.BytesIO()
        Image.fromarray(noise.astype(np.uint8)).save(buffer, "PNG", compress_level=1)
        contents.append(buffer.getvalue())
    return "8 films of noise", contents


def limit_of(number: int) -> int:
    """Decode one film and encode one small film; no reading, no reducing, no writing."""
    image = Image.open(io.BytesIO(_contents[number % len(_contents)]))
    image.load()
    buffer = io.BytesIO()
    _small[number % len(_small)].save(buffer, "PNG", compress_level=png.LEVEL)
    return buffer.tell()


def encode_costs() -> None:
    """Time and bytes of one 256-px film at each level, on one core."""
    print(f"\n{'PNG level':>9}  {'per film':>9}  {'bytes':>7}  {'112,120 films':>13}")
    for level in (1, 3, 6, 9):
        start, size = time.perf_counter(), 0
        for image in _small:
            buffer = io.BytesIO()
            image.save(buffer, "PNG", compress_level=level)
            size += buffer.tell() / len(_small)
        cost = (time.perf_counter() - start) / len(_small)
        print(f"{level:>9}  {cost * 1e3:>6.1f} ms  {size:>7,.0f}  {size * 112_120 / 1e9:>10.1f} GB")


def main() -> None:
    what, contents = originals()
    _contents.extend(contents)
    for content in contents:
        _small.append(Image.open(io.BytesIO(png.reduce(content, SIZE))))
        _small[-1].load()
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
        # Processes share no interpreter: what they reach is the machine's limit.
        multiprocessing.get_context("fork").Pool(os.cpu_count()) as processes,
    ):
        archive = Path(folder, "images_01.tar.gz")
        with tarfile.open(archive, "w:gz", compresslevel=6) as tar:
            for number in range(FILMS):
                member = tarfile.TarInfo(f"images/{number:08d}_000.png")
                content = contents[number % len(contents)]
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        print(
            f"{FILMS} films ({what}), {archive.stat().st_size / 1e6:.0f} MB, {os.cpu_count()} cores"
        )
        target = Path(folder, "out")

        def tar_xzf() -> None:
            target.mkdir()
            subprocess.run(["tar", "xzf", archive, "-C", target], check=True)

        def ours(size: int | None) -> None:
            found = unpack.unpack(
                archive, target / "images", scratch=target / "scratch", pool=pool, size=size
            )
            assert len(found.films) == FILMS

        def limit() -> None:
            processes.map(limit_of, range(FILMS), chunksize=8)

        for label, reference, tried in (
            ("unpack / tar xzf", tar_xzf, lambda: ours(None)),
            (f"reduce to {SIZE} px / limit", limit, lambda: ours(SIZE)),
        ):
            seconds = []
            for _ in range(REPEATS):
                pair = []
                for function in (reference, tried):
                    start = time.perf_counter()
                    function()
                    pair.append(time.perf_counter() - start)
                    shutil.rmtree(target, ignore_errors=True)
                seconds.append(pair)
            ratio = statistics.median(theirs / mine for theirs, mine in seconds)
            rates = [FILMS / statistics.median(times) for times in zip(*seconds, strict=True)]
            print(
                f"{label:<26} {rates[0]:>6.0f} films/s  ours {rates[1]:>6.0f} films/s  "
                f"ratio {ratio:.2f}",
                flush=True,
            )
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000:.0f} MB")
    encode_costs()


if __name__ == "__main__":
    main()
