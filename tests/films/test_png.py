import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from stand_in import film_png

from cxr.films import png


def decoded(content):
    return np.asarray(Image.open(io.BytesIO(content)))


def encoded(pixels, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", **options)
    return buffer.getvalue()


def test_a_whole_film_has_no_fault():
    assert png.fault(film_png(1)) == ""


def test_every_cut_is_noticed():
    content = film_png(1)
    assert png.fault(b"") == "empty"
    for length in range(1, len(content)):
        assert png.fault(content[:length]) != "", length


def test_every_flipped_byte_is_noticed():
    content = bytearray(film_png(1, side=16))
    for place in range(len(content)):
        content[place] ^= 0x10
        assert png.fault(bytes(content)) != "", place
        content[place] ^= 0x10


def test_a_checksum_that_is_right_does_not_hide_wrong_pixels():
    # A chunk of the right length and CRC whose compressed pixels are cut short.
    content = film_png(1)
    start = content.index(b"IDAT")
    data = zlib.compress(b"\0" * 100)
    chunk = b"IDAT" + data
    broken = (
        content[: start - 4]
        + len(data).to_bytes(4, "big")
        + chunk
        + zlib.crc32(chunk).to_bytes(4, "big")
        + content[-12:]
    )
    assert png.fault(broken) == ""
    with pytest.raises(ValueError, match="cannot be decoded"):
        png.decode(broken)


def test_a_film_that_announces_a_billion_pixels_is_not_decoded():
    header = b"IHDR" + (40_000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    content = film_png(1)
    huge = (content[:12] + header + zlib.crc32(header).to_bytes(4, "big") + content[33:]).replace(
        b"IHDRIHDR", b"IHDR"
    )
    with pytest.raises(ValueError, match="40000 x 40000 pixels"):
        png.decode(huge)


def test_reducing_averages_areas():
    # Means of the four quarters: (0+2+4+6)/4 = 3, and so on.
    pixels = np.array([[0, 2, 10, 20], [4, 6, 30, 40], [7, 7, 1, 1], [7, 7, 1, 1]], np.uint8)
    assert decoded(png.reduce(encoded(pixels), 2)).tolist() == [[3, 25], [7, 1]]


def test_reducing_by_a_fraction_averages_the_pixels_whose_centres_are_covered():
    # Five columns to two, 2.5 each: the third one's centre is the border, and goes left.
    pixels = np.repeat(np.array([[0, 30, 90, 100, 200]], np.uint8), 5, axis=0)
    assert decoded(png.reduce(encoded(pixels), 2))[0].tolist() == [40, 150]


def test_the_shorter_side_gets_the_size():
    assert decoded(png.reduce(encoded(np.zeros((60, 90), np.uint8)), 20)).shape == (20, 30)


def test_a_reduced_rgba_film_is_grey():
    grey, colour = film_png(8), film_png(8, mode="RGBA")
    assert decoded(png.reduce(colour, 16)).tolist() == decoded(png.reduce(grey, 16)).tolist()


def test_a_film_is_never_enlarged_nor_touched():
    content = film_png(1)
    assert png.reduce(content, 64) is content
    assert png.reduce(content, 100) is content


def test_a_reduced_film_keeps_its_marks():
    text = PngImagePlugin.PngInfo()
    text.add_text("Phantom", "synthetic")
    content = encoded(np.zeros((8, 8), np.uint8), pnginfo=text)
    assert Image.open(io.BytesIO(png.reduce(content, 4))).text == {"Phantom": "synthetic"}


def test_reducing_refuses_what_is_no_film():
    with pytest.raises(ValueError, match="cut off"):
        png.reduce(film_png(1)[:500], 16)
    with pytest.raises(ValueError, match="mode I;16, not 8-bit"):
        png.reduce(encoded(np.zeros((8, 8), np.uint16)), 4)


def rewritten(content, *, rows):
    """A PNG whose data end after some rows; every chunk passes its checksum."""
    place = content.index(b"IDAT")
    (length,) = struct.unpack_from(">I", content, place - 4)
    plain = zlib.decompress(content[place + 4 : place + 4 + length])
    width = struct.unpack_from(">I", content, 16)[0]
    data = b"IDAT" + zlib.compress(plain[: rows * (width + 1)])
    chunk = struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    return content[: place - 4] + chunk + content[place + 8 + length :]


@pytest.mark.parametrize("rows", [0, 1, 40, 63])
def test_missing_rows_are_noticed_though_every_checksum_holds(rows):
    whole = film_png(1)
    assert png.decode(rewritten(whole, rows=64)).tobytes() == png.decode(whole).tobytes()
    with pytest.raises(ValueError, match=r"rows|decoded"):
        png.decode(rewritten(whole, rows=rows))


@pytest.mark.parametrize("bits", [12, 16])
def test_films_of_twelve_and_sixteen_bits_are_read_alike(bits):
    shown = np.arange(256, dtype=np.uint16).reshape(16, 16)
    assert (np.asarray(png.grey(Image.fromarray(shown << (bits - 8)))) == shown).all()
