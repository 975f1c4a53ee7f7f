"""What 10 million films would ask of machines: the tables of `docs/scale.md`.

    python benchmarks/scale.py
    python benchmarks/scale.py --measure

Computed from figures that were measured per core and per film on the small machine that
`benchmarks/README.md` names, by multiplication. Nothing here was run at that size.
"""

import hashlib
import sys
import time

from cxr.fetch import small_files
from cxr.records import nih

FILMS = 10_000_000
SIZES = (128, 224)

# Of benchmarks/training_cost.py and benchmarks/download_cost.py, one core of an AMD EPYC.
FEED = 11_000  # films of 224 px a second from the film cache into batches
DECODE = 0.0113  # seconds to decode and shrink an original of 1024 px
ORIGINAL = 402_000  # bytes of an original

# Measured 2026-11-27 on one core of an AMD EPYC, the best of three: bytes a second that are
# checked by SHA-256, and bytes in memory of a row of records (`--measure`).
SHA256 = 1.8e9
RECORD = 111

# Seconds for NIH's 112,120 records, of benchmarks/README.md: reading them, splitting them.
READ, SPLIT, RECORDS = 1.15, 0.49, 112_120

# Films that an inventory checks before it writes its table again, and a row of that table.
BATCH = 8192
ROW = (
    len(
        "00000001_000.png,images/00000001_000.png,402000,1700000000000000000,L,1024,1024,52.123,False,,\n"
    )
    + 64
)

# Films a second that a host trains on: assumed, from one small GPU to eight large ones.
HOSTS, RATES = (1, 4, 16), (500, 2_000, 10_000)

LINKS = {"1 Gbit/s": 1e9, "10 Gbit/s": 1e10, "100 Gbit/s": 1e11}

# Weights of DenseNet-121, about: what hosts exchange after each step, in float32.
WEIGHTS, BATCH_A_HOST = 7_000_000, 256


def clock(seconds: float) -> str:
    """Seconds in words."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def storage() -> list[str]:
    """Room, and time to fill it and to check it."""
    rows = ["| films at | a film | all films | read at 10 Gbit/s | checksums, 8 cores |"]
    rows.append("|---:" * 5 + "|")
    for size in SIZES:
        room = FILMS * size**2
        rows.append(
            f"| {size} px | {size**2 / 1000:.0f} kB | {room / 1e9:.0f} GB "
            f"| {clock(8 * room / 1e10)} | {clock(room / SHA256 / 8)} |"
        )
    rows.append(
        f"| 1024 px, PNG | {ORIGINAL / 1000:.0f} kB | {FILMS * ORIGINAL / 1e9:,.0f} GB "
        f"| {clock(8 * FILMS * ORIGINAL / 1e10)} | {clock(FILMS * ORIGINAL / SHA256 / 8)} |"
    )
    return rows


def preparing() -> list[str]:
    """Originals over a line, and through cores."""
    cores = (8, 64, 512)
    rows = [
        "| step | " + " | ".join(f"{n} cores" for n in cores) + " |",
        "|---" + "|---:" * 3 + "|",
    ]
    times = " | ".join(clock(FILMS * DECODE / n) for n in cores)
    rows.append(f"| decode and shrink once | {times} |")
    for name, rate in LINKS.items():
        rows.append(
            f"| fetch originals at {name} | "
            + " | ".join([clock(8 * FILMS * ORIGINAL / rate)] * 3)
            + " |"
        )
    return rows


def epochs() -> list[str]:
    """An epoch on several hosts, and what each has to be fed with."""
    rows = [
        "| a host trains on | "
        + " | ".join(f"{n} host{'s'[: n > 1]}" for n in HOSTS)
        + " | host-hours "
    ]
    rows[0] += "| cores that feed it | reads at 128 px | at 224 px | weights exchanged |"
    rows.append("|---:" * (len(HOSTS) + 6) + "|")
    for rate in RATES:
        times = " | ".join(clock(FILMS / rate / n) for n in HOSTS)
        reads = " | ".join(f"{rate * size**2 / 1e6:.0f} MB/s" for size in SIZES)
        sums = 2 * 4 * WEIGHTS * rate / BATCH_A_HOST / 1e6
        rows.append(
            f"| {rate:,} films/s | {times} | {FILMS / rate / 3600:.1f} "
            f"| {max(1, -(-rate // FEED))} | {reads} | {sums:.0f} MB/s |"
        )
    return rows


def breaking() -> list[str]:
    """What grows with the films, in the order in which it stops being bearable."""
    written = FILMS**2 / (2 * BATCH) * ROW
    return [
        "| what | at 112,120 films | at 10 million | grows with |",
        "|---|---:|---:|---|",
        f"| inventory.csv, written again every {BATCH:,} films "
        f"| {RECORDS**2 / (2 * BATCH) * ROW / 1e9:.1f} GB | {written / 1e9:,.0f} GB "
        "| films squared |",
        f"| checksums of all shards at each start, one core, 224 px "
        f"| {clock(RECORDS * 224**2 / SHA256)} | {clock(FILMS * 224**2 / SHA256)} | films |",
        f"| records in memory | {RECORDS * RECORD / 1e9:.2f} GB "
        f"| {FILMS * RECORD / 1e9:.1f} GB | films |",
        f"| reading and splitting records | {READ + SPLIT:.1f} s "
        f"| {clock((READ + SPLIT) * FILMS / RECORDS)} | films |",
        f"| an epoch's order and draws in memory | {RECORDS * 40 / 1e6:.0f} MB "
        f"| {FILMS * 40 / 1e6:.0f} MB | films |",
        f"| patients left out one by one, of a fifth of the films | 1 MB "
        f"| {FILMS / 5 / 3.6 * 14 * 8 / 1e6:.0f} MB a measure | patients |",
    ]


def tables() -> str:
    """All tables, as Markdown."""
    parts = (storage(), preparing(), epochs(), breaking())
    return "\n\n".join("\n".join(part) for part in parts)


def measure() -> None:
    """Measure again what `SHA256` and `RECORD` say."""
    content, times = bytes(1 << 28), []
    for _ in range(3):
        start = time.process_time()
        hashlib.sha256(content).digest()
        times.append(time.process_time() - start)
    records, _ = nih.read_records(small_files.path_of("records"))
    size = records.memory_usage(deep=True).sum() / len(records)
    print(f"SHA-256: {len(content) / min(times) / 1e9:.2f} GB/s; a record: {size:.0f} bytes")


if __name__ == "__main__":
    measure() if "--measure" in sys.argv else print(tables())
