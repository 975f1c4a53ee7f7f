"""Films as PNG files: whole or not, and made smaller."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

SIGNATURE = b"\x89PNG\r\n\x1a\n"

# The text chunk that every phantom carries.
PHANTOM = "Phantom"

# The reduced films of NIH at 256 px take 32.8 kB each at level 1 and 28.0 kB at level 6
# (3.7 against 3.1 GB in all), but level 6 takes about four times as long to write.
LEVEL = 1

# A small file can announce a billion pixels; NIH's films have one million.
LARGEST_PIXELS = 8192 * 8192


def fault(content: bytes) -> str:
    """What is wrong with a PNG file's structure; "" if every chunk is whole up to the last.

    Pillow shows part of a cut-off film, or one with altered bytes; the chunks' CRC-32
    tells.
    """
    if not content.startswith(SIGNATURE):
        return "no PNG" if content else "empty"
    if content[12:16] != b"IHDR":
        return "cut off" if len(content) < 16 else "no PNG"
    view, place = memoryview(content), len(SIGNATURE)
    while place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", view, place)
        kind, end = bytes(view[place + 4 : place + 8]), place + 8 + length
        if end + 4 > len(content):
            break
        if zlib.crc32(view[place + 4 : end]) != struct.unpack_from(">I", view, end)[0]:
            return f"damaged ({kind.decode('ascii', 'replace')} fails its checksum)"
        if kind == b"IEND":
            return ""
        place = end + 4
    return "cut off"


def is_whole(path: Path) -> bool:
    """Whether a file is a PNG whose every chunk is there and passes its checksum."""
    try:
        return not fault(path.read_bytes())
    except OSError:
        return False


def decode(content: bytes) -> PngImagePlugin.PngImageFile:
    """Decode a whole PNG.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if reason := fault(content):
        raise ValueError(reason)
    width, height = struct.unpack_from(">II", content, 16)
    if width * height > LARGEST_PIXELS:
        raise ValueError(f"{width} x {height} pixels")
    try:
        image = PngImagePlugin.PngImageFile(io.BytesIO(content))
        image.load()
        # Rows that are missing are read as black ones; counting takes as long as decoding.
        last = image.crop((0, image.height - 1, image.width, image.height))
        rows_missing = last.convert("RGB").getbbox() is None and _rows_missing(content)
    except (OSError, SyntaxError, zlib.error, struct.error) as error:
        raise ValueError(f"cannot be decoded ({error})") from error
    if rows_missing:
        raise ValueError("its last rows are missing")
    return image


def _rows_missing(content: bytes) -> bool:
    """Whether a whole PNG's data end early; Pillow shows black rows then, without a word."""
    width, height, depth, colour, _, _, interlaced = struct.unpack_from(">IIBBBBB", content, 16)
    bits = depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    # First column and row of each pass and the steps between (PNG specification, 8.2).
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
        passes += [(1, 0, 2, 2), (0, 1, 1, 2)]
    expected = 0
    for left, top, right, down in passes:
        columns, rows = -((left - width) // right), -((top - height) // down)
        # Each row begins with the number of its filter.
        expected += rows * (1 + (columns * bits + 7) // 8) if columns > 0 and rows > 0 else 0
    inflate, view, place, found = zlib.decompressobj(), memoryview(content), len(SIGNATURE), 0
    while found < expected and place + 12 <= len(content):
        (length,) = struct.unpack_from(">I", view, place)
        if bytes(view[place + 4 : place + 8]) == b"IDAT":
            found += len(inflate.decompress(view[place + 8 : place + 8 + length], expected))
            while inflate.unconsumed_tail and found < expected:
                found += len(inflate.decompress(inflate.unconsumed_tail, expected))
        place += 12 + length
    return found < expected


def grey(image: Image.Image) -> Image.Image:
    """A film of any mode as 8-bit grey.

    Some of NIH's films are RGBA with three equal colours, so weighting the colours loses
    nothing; alpha carries nothing. 16-bit greys keep their upper 8 bits; where none is above
    4095, as in a detector's 12 bits, the upper 8 of these.
    """
    if image.mode == "L":
        return image
    if image.mode.startswith("I"):
        pixels = np.asarray(image).astype(np.uint32)
        return Image.fromarray((pixels >> (8 if pixels.max() > 4095 else 4)).astype(np.uint8))
    if image.mode == "RGBA":
        # The same weights, in a quarter of the time.
        return image.convert("L")
    return image.convert("RGBA").convert("RGB").convert("L")


def shrink(film: Image.Image, width: int, height: int) -> Image.Image:
    """A grey film, area-averaged to `width` x `height` pixels, each at most its own."""
    if film.size == (width, height):
        return film
    if film.width % width == 0 and film.height % height == 0:
        # The same average as the filter's, for whole factors, in a third of the time.
        return film.reduce((film.width // width, film.height // height))
    return film.resize((width, height), Image.Resampling.BOX)


def reduce(content: bytes, size: int) -> bytes:
    """A film's PNG, its shorter side reduced to `size` pixels by area averaging, 8-bit grey.

    A new pixel is the mean of the old ones whose centres it covers. Averaging keeps fine
    structures that skipping pixels would lose, and adds none, as sharper filters do. Text
    chunks stay, so a phantom's copy says that it is one.

    Returns:
        PNG bytes; `content` itself where it is not larger than `size`.

    Raises:
        ValueError: if the film cannot be decoded, or has more than 8 bits a channel.
    """
    image = decode(content)
    if min(image.size) <= size:
        return content
    if image.mode.startswith(("I", "F")):
        raise ValueError(f"mode {image.mode}, not 8-bit")
    film = grey(image)
    small = shrink(film, *(round(side * size / min(image.size)) for side in image.size))
    text = PngImagePlugin.PngInfo()
    for key, value in image.text.items():
        text.add_text(key, value)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", compress_level=LEVEL, pnginfo=text)
    return buffer.getvalue()
