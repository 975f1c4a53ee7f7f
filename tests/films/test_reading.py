"""The same film, in whatever file it comes, and what is no film at all."""

import importlib.util
import io
import struct
import time
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import COMPRESSED, compressed, file, header, table
from PIL import Image
from pydicom.pixels import apply_voi_lut
from pydicom.uid import JPEG2000Lossless, RLELossless
from stand_in import film_png

from cxr import phantoms
from cxr.errors import InputError
from cxr.films import film_cache, reading

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def deeper(pixels, bits):
    """The same grey values in more bits: 0 stays darkest, 255 becomes the brightest."""
    top = (1 << bits) - 1
    return np.rint(pixels * (top / 255)).astype(np.uint8 if bits <= 8 else np.uint16)


def picture(pixels, kind, **options):
    buffer = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


def noise(side=48, seed=1):
    return np.random.default_rng(seed).integers(0, 256, (side, side + 4), np.uint8)


def test_a_png_is_read_as_the_film_cache_reads_it(tmp_path):
    for mode in ("L", "RGBA"):
        path = tmp_path / f"{mode}.png"
        path.write_bytes(film_png(8, mode=mode))
        film = reading.read(path)
        assert film.kind == "PNG" and not film.phantom
        np.testing.assert_array_equal(film.square(24), film_cache.read_film(path, 24))


def test_a_jpeg_differs_from_its_png_by_what_compression_lost():
    pixels = np.asarray(Image.fromarray(noise()).resize((200, 180)))
    film = reading.decode(picture(pixels, "JPEG", quality=95))
    assert film.kind == "JPEG"
    assert np.abs(film.pixels.astype(int) - pixels).max() <= 8


def test_a_jpeg_is_turned_as_its_camera_says():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    film = reading.decode(picture(RAMP, "JPEG", quality=100, exif=exif))
    assert film.pixels[0, 0] > 240 and film.pixels[-1, -1] < 15


def test_a_phantom_is_known_by_its_mark(tmp_path):
    image = Image.fromarray(RAMP)
    image.info[phantoms.MARK] = "synthetic"
    path = tmp_path / "phantom.png"
    path.write_bytes(phantoms.encode(image))
    assert reading.read(path).phantom


@pytest.mark.parametrize("bits", [8, 10, 12, 15, 16])
@pytest.mark.parametrize("way", ["plain", "MONOCHROME1", "window", "rescale", "signed"])
def test_a_film_is_the_same_in_every_depth_and_encoding(bits, way):
    pixels, top = noise(), (1 << bits) - 1
    stored, elements = deeper(pixels, bits), {}
    if way == "MONOCHROME1":
        stored, elements = top - stored, {"PhotometricInterpretation": "MONOCHROME1"}
    if way == "window":
        # The standard's linear window runs from c - .5 - (w - 1)/2 over w - 1.
        elements = {"WindowCenter": (top + 1) / 2, "WindowWidth": top + 1}
    if way == "rescale":
        elements = {"RescaleSlope": 2, "RescaleIntercept": -1000}
        elements |= {"WindowCenter": top - 1000 + 0.5, "WindowWidth": 2 * top + 1}
    if way == "signed":
        half = 1 << (bits - 1)
        stored = (stored.astype(np.int64) - half).astype(np.int8 if bits == 8 else np.int16)
    film = reading.decode(file(header(stored, bits=bits, **elements)))
    np.testing.assert_array_equal(film.pixels, pixels)


@pytest.mark.parametrize("syntax", [*COMPRESSED, RLELossless], ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_losslessly_compressed_film_is_the_same(syntax, bits):
    made = compressed(deeper(noise(), bits), syntax, bits=bits)
    np.testing.assert_array_equal(reading.decode(file(made)).pixels, noise())


def test_a_window_with_hard_edges_is_worked_out_by_hand():
    # Centre 128, width 101: 78 and below are black, 178 and above white, 128 is in the middle.
    film = reading.decode(file(header(RAMP, WindowCenter=128, WindowWidth=101)))
    shown = film.pixels.ravel()
    assert shown[77] == 0 and shown[178] == 255
    assert shown[128] == round((0.5 / 100 + 0.5) * 255)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_are_those_of_pydicom(function):
    made = header(RAMP, WindowCenter=100, WindowWidth=60, VOILUTFunction=function)
    shown = reading.decode(file(made)).pixels
    np.testing.assert_array_equal(shown, np.rint(apply_voi_lut(RAMP, made)))


def test_a_sigmoid_window_is_half_bright_at_its_centre():
    made = header(RAMP, WindowCenter=100, WindowWidth=60, VOILUTFunction="SIGMOID")
    shown = reading.decode(file(made)).pixels.ravel()
    assert shown[100] == 128 and 0 < shown[40] < 10 and 245 < shown[160] < 255


def test_a_table_of_interest_goes_before_a_window_and_inversion_comes_last():
    # The table lifts every value by 100; inverted, that is 255 - min(value + 100, 255).
    lifted = table(np.minimum(np.arange(256) + 100, 255), depth=8)
    made = header(RAMP, VOILUTSequence=[lifted], WindowCenter=9, WindowWidth=2)
    made.PhotometricInterpretation = "MONOCHROME1"
    shown = reading.decode(file(made)).pixels.ravel()
    np.testing.assert_array_equal(shown, 255 - np.minimum(np.arange(256) + 100, 255))


def test_the_modality_table_comes_first():
    halved = table(np.arange(256) // 2, depth=8)
    made = header(RAMP, ModalityLUTSequence=[halved], WindowCenter=64, WindowWidth=128)
    shown = reading.decode(file(made)).pixels.ravel()
    assert shown[0] == 0 and shown[255] == 255 and shown[128] == round(64 / 127 * 255)


@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize(("depth", "packed"), [(8, False), (8, True), (12, False), (16, False)])
def test_a_table_of_many_entries_maps_every_value(sequence, depth, packed):
    # 12 bits; values below 100 have no entry. Entries of 8 bits may lie two in a word.
    stored = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    entries = np.arange(3996) * ((1 << depth) - 1) // 3995
    item = table(entries, first=100, depth=depth)
    if packed:
        item["LUTData"].value = entries.astype(np.uint8).view("<u2").tolist()
    made = header(stored, bits=12, **{sequence: [item]})
    shown = reading.decode(file(made)).pixels.ravel()
    wanted = np.rint(np.r_[np.zeros(100), entries] * 255 / ((1 << depth) - 1))
    np.testing.assert_array_equal(shown, wanted)


def test_a_table_with_fewer_entries_than_it_says_is_refused():
    item = table(np.arange(100), depth=8)
    item.LUTDescriptor = [4096, 0, 8]
    with pytest.raises(InputError, match="table has fewer entries"):
        reading.decode(file(header(RAMP, VOILUTSequence=[item])))


def test_a_presentation_table_is_the_last_word():
    # Its output is what is shown, also of a MONOCHROME1 film.
    inverse = table(255 - np.arange(256), depth=8)
    made = header(RAMP, PresentationLUTSequence=[inverse])
    made.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(reading.decode(file(made)).pixels, 255 - RAMP)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_an_inverse_presentation_turns_a_film_once(photometric):
    made = header(RAMP, PresentationLUTShape="INVERSE", PhotometricInterpretation=photometric)
    np.testing.assert_array_equal(reading.decode(file(made)).pixels, 255 - RAMP)


def test_padding_is_black_and_no_part_of_the_range():
    # 12 bits, of which the film uses 1000 to 1255; -2000 to -1900 are padding.
    stored = RAMP.astype(np.int16) + 1000
    stored[:, 0], stored[:, 1] = -2000, -1900
    made = header(stored, bits=12)
    made.PixelRepresentation = 1
    for name, value in (("PixelPaddingValue", -2000), ("PixelPaddingRangeLimit", -1900)):
        made.add_new(name, "SS", value)
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        made.PhotometricInterpretation = photometric
        film = reading.decode(file(made))
        assert (film.pixels[:, :2] == 0).all()
        bright = film.pixels[:, 2:].ravel()
        assert sorted((bright[0], bright[-1])) == [0, 255]
    assert "its own darkest" in film.notes[-1]


def test_bits_beside_the_stored_ones_are_no_part_of_the_film():
    # Old detectors keep an overlay above the 12 bits of the film, or the film in the upper 12.
    stored = deeper(noise(), 12)
    overlay = header(stored | (noise(seed=2).astype(np.uint16) & 15) << 12, bits=12)
    upper = header(stored << 4, bits=12, HighBit=15)
    for made in (overlay, upper):
        np.testing.assert_array_equal(reading.decode(file(made)).pixels, noise())


def test_a_film_that_fills_little_of_its_depth_is_stretched_to_its_own_range():
    film = reading.decode(file(header(RAMP.astype(np.uint16) + 300, bits=16)))
    np.testing.assert_array_equal(film.pixels, RAMP)
    assert any("its own darkest" in note for note in film.notes)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Modality": "CT"}, "a CT image"),
        ({"Modality": "MR"}, "an MR image"),
        ({"Modality": "US"}, "an ultrasound image"),
        ({"Modality": "SECRET"}, "another modality"),
        ({"NumberOfFrames": 2}, "several frames"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}, "colour"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "export it for presentation"),
        ({"BodyPartExamined": "EXTREMITY"}, "part of the body other than the chest"),
        ({"ViewPosition": "LL"}, "lateral view"),
        ({"Rows": 65535, "Columns": 65535}, "announces 65535 x 65535 pixels"),
        ({"Rows": 0}, "announces 16 x 0 pixels"),
        ({"BitsStored": 9}, "9 of 8 bits"),
        ({"HighBit": 2}, "contradicts itself"),
        ({"Rows": 17}, "cannot be decoded"),
        ({"WindowCenter": 1, "WindowWidth": 0}, "cannot be decoded"),
    ],
)
def test_what_is_no_chest_film_is_refused_with_the_reason(elements, words):
    with pytest.raises(InputError, match=words) as caught:
        reading.decode(file(header(RAMP, **elements)))
    assert "SECRET" not in str(caught.value).upper()


def test_a_person_is_never_read():
    made = pydicom.dcmread(
        io.BytesIO(file(header(RAMP))), specific_tags=reading.dicom._READ, force=True
    )
    assert "PatientName" not in made and "PatientID" not in made
    film = reading.decode(file(header(RAMP, Modality="OT")))
    assert "SECRET" not in repr(film).upper()


def test_a_codestream_of_another_size_is_refused_before_it_is_decoded():
    content = file(compressed(noise(), JPEG2000Lossless))
    at = content.index(b"\xff\x4f\xff\x51") + 8
    for size in ((60_000, 60_000), (51, 48)):
        with pytest.raises(InputError, match="another shape"):
            reading.decode(content[:at] + struct.pack(">2I", *size) + content[at + 8 :])


def test_deflated_data_are_refused_before_they_inflate():
    made = header(np.zeros((4000, 4000), np.uint8))
    made.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    assert len(file(made)) < 20_000
    with pytest.raises(InputError, match="deflated"):
        reading.decode(file(made))


@pytest.mark.parametrize("size", [(0, 64), (64, 0), (65_535, 65_535), (10**9, 10**9)])
def test_a_picture_of_an_impossible_size_is_refused_before_it_is_decoded(size):
    png = film_png(1)
    ihdr = b"IHDR" + struct.pack(">2I", *size) + png[24:29]
    jpeg = picture(noise(), "JPEG")
    at = jpeg.index(b"\xff\xc0") + 5
    for content in (
        png[:12] + ihdr + struct.pack(">I", zlib.crc32(ihdr)) + png[33:],
        jpeg[:at] + struct.pack(">2H", *(min(side, 65_535) for side in size)) + jpeg[at + 4 :],
    ):
        began = time.monotonic()
        with pytest.raises(InputError):
            reading.decode(content)
        assert time.monotonic() - began < 1


def test_a_jpeg_that_is_drawn_over_and_over_is_refused():
    content = picture(noise(), "JPEG", progressive=True)
    with pytest.raises(InputError, match="too often"):
        reading.decode(content[:-2] + b"\xff\xda\0\x02" * 200 + content[-2:])


def test_a_file_of_two_kinds_is_what_it_begins_with_or_nothing():
    archive = b"PK\x05\x06" + b"\0" * 18
    assert reading.decode(picture(noise(), "JPEG") + archive).kind == "JPEG"
    made = file(header(noise()))
    for preamble in (b"MZ", b"GIF89a", b"<script>", b"II*\0"):
        assert reading.decode(preamble + made[len(preamble) :]).kind == "DICOM"
    for signature in (reading.png.SIGNATURE, b"\xff\xd8\xff"):
        with pytest.raises(InputError):
            reading.decode(signature + made[len(signature) :])


def test_colour_is_refused_but_a_coloured_mark_is_not():
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    for kind in ("PNG", "JPEG"):
        with pytest.raises(InputError, match="colour picture"):
            reading.decode(picture(colours, kind))
    marked = np.repeat(noise(128)[..., None], 3, axis=2)
    marked[:8, :8] = (255, 0, 0)
    assert reading.decode(picture(marked, "PNG")).pixels.shape == (128, 132)


def test_what_cannot_be_read_is_told_apart(tmp_path):
    large = tmp_path / "large.png"
    with large.open("wb") as made:
        made.truncate(reading.LARGEST_FILE + 1)
    for path, words in (
        (tmp_path / "none.png", "does not exist"),
        (tmp_path, "not a file"),
        (large, "larger than 256 MB"),
        (Path("/dev/zero"), "not a file"),
    ):
        with pytest.raises(InputError, match=words):
            reading.read(path)
    for content, words in (
        (b"", "empty"),
        (b"Not a film", "neither PNG, JPEG nor DICOM"),
        (film_png(1)[:-20], "cut off"),
        (picture(noise(200), "JPEG")[:-500], "cannot be decoded"),
        (file(header(noise()))[:-500], "cannot be decoded"),
    ):
        with pytest.raises(InputError, match=words):
            reading.decode(content)


def test_a_folder_is_searched_for_films_of_any_name(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "linked.png").write_bytes(film_png(1))
    folder = tmp_path / "films"
    for name in (".ipynb_checkpoints", "inner"):
        (folder / name).mkdir(parents=True)
    (folder / ".ipynb_checkpoints" / "copy.png").write_bytes(film_png(1))
    (folder / "1.2.840.113619.2.5.17").write_bytes(file(header(RAMP)))
    (folder / "inner" / "film.png").write_bytes(film_png(1))
    (folder / "notes.txt").write_text("no film")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "elsewhere")
    wanted = ["1.2.840.113619.2.5.17", "inner/film.png", "link/linked.png"]
    found = reading.found([str(folder)])
    assert [str(path.relative_to(folder)) for path in found] == wanted
    # A pattern that the shell did not fill in searches folders, too.
    pattern = reading.found([str(folder / "*n*")])
    assert [path.name for path in pattern] == ["film.png", "linked.png", "notes.txt"]
    with pytest.raises(InputError, match="no film is named; give files"):
        reading.found([])


def test_a_film_that_is_too_small_says_so():
    with pytest.raises(InputError, match="16 x 16 pixels, fewer than the 64"):
        reading.decode(file(header(RAMP))).square(64)


# Hostile files: each kind of film, altered in a few places, cut off, or grown.


def victims():
    packed = [
        file(compressed(deeper(noise(), 12), syntax, bits=12))
        for syntax in (*COMPRESSED, RLELossless)
    ]
    return [
        film_png(1),
        picture(noise(), "JPEG"),
        picture(noise(), "JPEG", progressive=True),
        file(header(noise(), WindowCenter=100, WindowWidth=60)),
        *packed,
    ]


def spoiled(content, random):
    content = bytearray(content)
    way = random.integers(5)
    if way == 0:
        return bytes(content[: random.integers(len(content))])
    # Headers stand first; what is altered there has the largest effect.
    reach = len(content) if way == 1 else min(len(content), 900)
    for place in random.integers(0, reach, random.integers(1, 12)):
        content[place] = random.choice([0, 255, 127, 128, random.integers(256)])
    if way == 3:
        at = random.integers(len(content))
        content[at:at] = random.bytes(random.integers(1, 2000))
    if way == 4 and content.startswith(reading.png.SIGNATURE):
        # The right checksums, so that the damage reaches the decoder.
        content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, "big")
    return bytes(content)


def attack(seed):
    random = np.random.default_rng(seed)
    content = spoiled(random.choice(np.array(VICTIMS, dtype=object)), random)
    began = time.monotonic()
    try:
        film = reading.decode(content)
        assert film.pixels.dtype == np.uint8 and film.pixels.size <= reading.png.LARGEST_PIXELS
    except InputError as error:
        assert str(error).endswith(".") and "\n" not in str(error)
        assert "SECRET" not in str(error).upper()
    assert time.monotonic() - began < 10


VICTIMS = victims()


@pytest.mark.parametrize("seed", range(20))
def test_a_hostile_file_is_read_or_refused_in_a_sentence(seed):
    attack(seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 2020))
def test_hostile_files_are_read_or_refused_in_a_sentence(seed):
    attack(seed)


# Films that nobody here wrote, from the package pydicom-data.


@pytest.fixture(scope="module")
def written_by_others():
    found = importlib.util.find_spec("data_store")
    if found is None:
        pytest.skip("pydicom-data is not installed; it holds DICOM files of other makers")
    return Path(found.origin).parent / "data"


def test_a_chest_film_of_another_maker_is_the_right_way_round(written_by_others):
    films = {
        name: reading.read(written_by_others / f"RG1_{name}.dcm")
        for name in ("UNCR", "J2KR", "UNCI", "J2KI")
    }
    pixels = films["UNCR"].pixels
    assert pixels.shape == (1955, 1841)
    # Spine and heart are bright, the lungs on both sides of them dark, the corners of air too.
    small = films["UNCR"].square(100).astype(int)
    spine, right, left = small[20:60, 47:53], small[30:45, 18:32], small[30:45, 65:75]
    assert spine.mean() > right.mean() + 20 and spine.mean() > left.mean() + 20
    assert small[:3, :3].mean() < small.mean() - 50
    np.testing.assert_array_equal(films["J2KR"].pixels, pixels)
    for name in ("UNCI", "J2KI"):
        assert np.abs(films[name].pixels.astype(int) - pixels).max() <= 3


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("RG3_*", "other than the chest"),
        ("693_*", "a CT image"),
        ("MR*", "an MR image"),
        ("US1_*", "an ultrasound image"),
        ("SC_rgb*", "colour picture|several frames"),
        ("OBXXXX1A*", "an ultrasound image"),
        ("emri_small_jpeg_2k_lossless_too_short*", "holds no picture"),
        ("bad_sequence*", "a CT image"),
    ],
)
def test_other_makers_other_pictures_are_refused_with_the_reason(written_by_others, pattern, words):
    paths = list(written_by_others.glob(f"{pattern}.dcm"))
    assert paths
    for path in paths:
        with pytest.raises(InputError, match=words):
            reading.read(path)


def test_no_file_of_other_makers_does_more_than_be_refused(written_by_others):
    for path in sorted(written_by_others.glob("*")):
        if path.is_file() and not path.name.startswith("RG"):
            try:
                reading.read(path)
            except InputError as error:
                assert len(str(error)) < 120
