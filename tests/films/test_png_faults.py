"""Seventy odd PNG files, and what becomes of each."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cxr.errors import InputError
from cxr.films import png, reading


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def film(width=8, height=8, depth=8, colour=0, data=None, rest=b"", lace=0, end=True):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour, 1)
    if data is None:
        row = b"\0" + bytes([90]) * ((width * channels * depth + 7) // 8)
        data = zlib.compress(row * height)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace)
    tail = chunk(b"IEND", b"") if end else b""
    return png.SIGNATURE + chunk(b"IHDR", header) + rest + chunk(b"IDAT", data) + tail


def saved(mode, **options):
    buffer = io.BytesIO()
    grey = Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 1)))
    grey.convert(mode).save(buffer, "PNG", **options)
    return buffer.getvalue()


WHOLE = film()
REFUSED = {
    **{f"cut after {n}": (WHOLE[:n], "cut off") for n in (8, 9, 12, 15, 20, 33, 40, 60)},
    "empty": (b"", "it is empty"),
    "part of a signature": (WHOLE[:5], "neither PNG"),
    "a GIF": (b"GIF89a" + bytes(40), "neither PNG"),
    "a line end changed": (WHOLE.replace(b"\r\n", b"\n", 1), "neither PNG"),
    "without its end": (film(end=False), "cut off"),
    **{f"byte {n} altered": (WHOLE[:n] + bytes([WHOLE[n] ^ 1]) + WHOLE[n + 1 :], "damaged")
       for n in (16, 20, 24, 25, 28, 29, 32, 41, 45, 50)},
    **{f"{w} x {h}": (film(8, 8).replace(WHOLE[8:33], film(w, h, data=b"")[8:33]), "cannot be used")
       for w, h in ((0, 8), (8, 0), (0, 0), (40_000, 40_000), (2**31 - 1, 1), (2**32 - 1, 9))},
    **{f"depth {d}, colour {c}": (film(depth=d, colour=c), "cannot be decoded")
       for d, c in ((3, 0), (0, 0), (32, 0), (8, 1), (8, 5), (8, 7), (4, 2), (1, 6), (16, 3))},
    "no data": (film(data=b""), "cannot be used"),
    "data that are no zlib": (film(data=b"x" * 30), "cannot be decoded"),
    **{f"{n} of 8 rows": (film(data=zlib.compress((b"\0" + bytes([90]) * 8) * n)), "cannot be used")
       for n in range(8)},
    "a colour picture": (film(colour=2, data=zlib.compress((b"\0" + b"\xff\0\0" * 8) * 8)), "colo"),
}  # fmt: skip
READ = {
    **{f"mode {mode}": saved(mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")},
    **{f"level {level}": saved("L", compress_level=level) for level in range(10)},
    **{f"depth {depth}": film(depth=depth) for depth in (1, 2, 4, 8, 16)},
    "more rows than announced": film(data=zlib.compress((b"\0" + bytes([90]) * 8) * 9)),
    "something behind its end": WHOLE + b"junk",
    "a comment": film(rest=chunk(b"tEXt", b"Comment\0odd")),
    "an unknown chunk": film(rest=chunk(b"nihX", b"123")),
    "one pixel": film(1, 1),
    "one row": film(300, 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_faulty_png_is_refused_in_one_sentence(what):
    content, why = REFUSED[what]
    with pytest.raises(InputError, match=why) as refusal:
        reading.decode(content)
    assert len(str(refusal.value)) < 200 and "\n" not in str(refusal.value)


@pytest.mark.parametrize("what", READ)
def test_an_odd_png_is_read(what):
    pixels = reading.decode(READ[what]).pixels
    assert pixels.dtype == np.uint8 and pixels.ndim == 2


def test_there_are_seventy():
    assert len(REFUSED) + len(READ) >= 70
