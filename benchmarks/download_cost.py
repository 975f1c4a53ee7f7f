"""What the full run of stage 000 will cost: computed from measured parts, as Markdown.

Measured here: bytes and seconds of one film on one core, the best of three, on the real
originals of `../shared` (or SHARED_DIR). Computed from them: the whole data set, all cores
busy, download and unpacking side by side, so that the slower one counts.
"""

import gzip
import hashlib
import io
import os
import sys
import time
from pathlib import Path

from cxr.config import PROJECT
from cxr.fetch import catalogue, inventory
from cxr.films import png

SIZES = (1024, 512, 256, 224)
LINKS = {"100 Mbit/s": 1e8, "1 Gbit/s": 1e9, "10 Gbit/s": 1e10}
CORES = (2, 8, 32)
PARALLEL = 3


def best(function, items) -> float:
    """Seconds per item, the best of three rounds."""
    rounds = []
    for _ in range(3):
        start = time.process_time()
        for item in items:
            function(item)
        rounds.append((time.process_time() - start) / len(items))
    return min(rounds)


def clock(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def main() -> None:
    shared = Path(os.environ.get("SHARED_DIR") or PROJECT.parent / "shared")
    paths = sorted((shared / "nih" / "images1024").glob("*.png"))
    if not paths:
        sys.exit("This plan needs real originals in ../shared/nih/images1024 (or SHARED_DIR).")
    contents = [path.read_bytes() for path in paths]
    archive = sum(source.bytes for source in catalogue.ARCHIVES)
    packed = gzip.compress(b"".join(contents), 6)
    stream = best(lambda blob: hashlib.md5(blob).digest(), [packed]) + best(
        lambda blob: gzip.GzipFile(fileobj=io.BytesIO(blob)).read(), [packed]
    )
    stream /= len(contents)
    largest = sum(sorted((source.bytes for source in catalogue.ARCHIVES), reverse=True)[:PARALLEL])

    print(f"From {len(contents)} originals, one core of {os.cpu_count()}.\n")
    print("| films at | a film | all films | disk at the peak | get a film | check a film |")
    print("|---:" * 6 + "|")
    times = []
    for size in SIZES:
        if size == 1024:
            small, work, film_bytes = contents, stream, archive / catalogue.FILMS
        else:
            small = [png.reduce(content, size) for content in contents]
            work = stream + best(lambda content, size=size: png.reduce(content, size), contents)
            film_bytes = sum(map(len, small)) / len(small)
        check = best(look, small)
        films = film_bytes * catalogue.FILMS
        print(
            f"| {size} px | {film_bytes / 1e3:.0f} kB | {films / 1e9:.1f} GB | "
            f"{(films + largest) / 1e9:.1f} GB | {work * 1e3:.1f} ms | {check * 1e3:.1f} ms |",
            flush=True,
        )
        # Checksum, unpacking and reducing run beside the download; the check of all films
        # comes after it.
        totals = [
            max(archive * 8 / link, catalogue.FILMS * work / cores)
            + catalogue.FILMS * check / cores
            for link in LINKS.values()
            for cores in CORES
        ]
        times.append(f"| {size} px | " + " | ".join(map(clock, totals)) + " |")
    head = " | ".join(f"{link}, {cores} cores" for link in LINKS for cores in CORES)
    print(f"\n| films at | {head} |")
    print("|---:" * (1 + len(LINKS) * len(CORES)) + "|")
    print("\n".join(times))


def look(content: bytes) -> None:
    """What the inventory does with a film, once it is read from the disk."""
    hashlib.sha256(content).hexdigest()
    inventory.grey_deviation(png.decode(content))


if __name__ == "__main__":
    main()
