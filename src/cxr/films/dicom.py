"""A chest film from a DICOM file, as its own header says that it is shown.

Only the elements of `_READ` are taken from a file, so a person's name, number or dates are
never in memory; no message repeats what a header holds.
"""

import io
import logging
import struct
import warnings

import imagecodecs
import numpy as np
import pydicom
import pydicom.config
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.pixels import apply_modality_lut, apply_windowing, pixel_array

from cxr.films import png

# Values that break a rule of the standard are common and harmless; complaints quote them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module="pydicom")
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)

_READ = [
    "Modality", "PresentationIntentType", "BodyPartExamined", "ViewPosition", "SamplesPerPixel",
    "PhotometricInterpretation", "NumberOfFrames", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PixelPaddingValue",
    "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape",
    "PresentationLUTSequence", "PixelData",
]  # fmt: skip

# Projection radiographs. Digitised films often say no more than "other".
_RADIOGRAPHS, _UNSAID = ("CR", "DX", "RG"), ("", "OT", "SC")
_OTHERS = {
    "CT": "a CT image", "MR": "an MR image", "US": "an ultrasound image", "PT": "a PET image",
    "NM": "a scintigram", "MG": "a mammogram", "XA": "an angiogram", "RF": "a fluoroscopy image",
}  # fmt: skip
_CHEST = ("CHEST", "THORAX", "LUNG", "RIB")
_LATERAL = ("LL", "RL", "LAT", "LATERAL", "LLD", "RLD", "LLO", "RLO")

_DEFLATED = pydicom.uid.DeflatedExplicitVRLittleEndian.encode()

# A progressive JPEG may be drawn over and over; encoders take about ten turns.
MOST_SCANS = 100

# More tiles than any encoder makes of a film; each costs memory.
_MOST_TILES = 4096


class _Unfit(ValueError):
    """What is wrong with a file, in our own words."""


def is_dicom(content: bytes) -> bool:
    """Whether a file begins as DICOM does: with a preamble or, as old files, without."""
    return content[128:132] == b"DICM" or content[:2] in (b"\x02\0", b"\x08\0")


def decode(content: bytes) -> tuple[np.ndarray, list[str]]:
    """Decode a frontal chest film.

    Stored values go through the modality transform, then the values of interest (a table, or
    a window: linear, exact or sigmoid; the file's first), then inversion where the file is
    MONOCHROME1 (DICOM PS3.3, C.11.1, C.11.2 and C.7.6.3.1.2). Without a window a film is
    shown over the range of its stored bits or, where it uses less than half of that, over its
    own. Padding is black.

    Returns:
        uint8 (rows, columns), bones bright; and what to know of how the film was read.

    Raises:
        ValueError: saying why this is no frontal chest film, or cannot be decoded.
    """
    if _DEFLATED in content:
        # A small file could inflate to all of the memory before anything is known of it.
        raise ValueError("its data are deflated; export it uncompressed or as JPEG 2000")
    try:
        header = pydicom.dcmread(io.BytesIO(content), force=True, specific_tags=_READ)
        notes = _accepted(header)
        stored = _stored_values(header)
        present = np.bincount(stored.ravel(), minlength=1 << header.BitsStored) > 0
        return _table(header, present, notes)[stored], notes
    except _Unfit:
        raise
    except Exception as error:  # a damaged file brings out whatever its decoders can raise
        raise ValueError(f"its DICOM data cannot be decoded ({type(error).__name__})") from None


def _text(header: Dataset, name: str) -> str:
    return str(header.get(name) or "").strip().upper()


def _accepted(header: Dataset) -> list[str]:
    """Refuse what its header says is no frontal chest film of one grey picture; else notes."""
    if "PixelData" not in header:
        raise _Unfit("it holds no picture")
    modality, view = _text(header, "Modality"), _text(header, "ViewPosition")
    if modality not in _RADIOGRAPHS + _UNSAID:
        other = _OTHERS.get(modality, "of another modality")
        raise _Unfit(f"its header says that it is {other}, not an X-ray film")
    if int(header.get("NumberOfFrames") or 1) != 1:
        raise _Unfit("it holds several frames, not one film")
    if header.get("SamplesPerPixel", 1) != 1 or not _text(
        header, "PhotometricInterpretation"
    ).startswith("MONOCHROME"):
        raise _Unfit("it is a colour picture, not a grey film")
    if _text(header, "PresentationIntentType") == "FOR PROCESSING":
        raise _Unfit(
            "it holds the detector's raw values (for processing); export it for presentation"
        )
    part = _text(header, "BodyPartExamined")
    if part and not any(word in part for word in _CHEST):
        raise _Unfit("its header names a part of the body other than the chest")
    if view in _LATERAL:
        raise _Unfit("its header says that it is a lateral view, not a frontal one")
    notes = []
    if modality in _UNSAID:
        notes.append("The file does not say that it is an X-ray film.")
    if "VOILUTSequence" not in header and header.get("WindowCenter") is None:
        notes.append("The file names no window.")
    elif np.ndim(header.get("WindowCenter")) or len(header.get("VOILUTSequence") or ()) > 1:
        notes.append("The file names several windows; its first was taken.")
    return notes


def _stored_values(header: Dataset) -> np.ndarray:
    """The stored bits of each pixel, as unsigned numbers (rows, columns)."""
    rows, columns = header.Rows, header.Columns
    allocated, bits = header.BitsAllocated, header.BitsStored
    if not 0 < rows * columns <= png.LARGEST_PIXELS:
        raise _Unfit(f"it announces {columns} x {rows} pixels")
    if allocated not in (8, 16) or not 1 <= bits <= allocated:
        raise _Unfit(f"it has {bits} of {allocated} bits a pixel; films have up to 16")
    syntax = header.file_meta.get("TransferSyntaxUID") or _guessed(header)
    header.file_meta.TransferSyntaxUID = syntax
    if decompress := _decompressor(syntax):
        stream = get_frame(header.PixelData, 0, number_of_frames=1)
        _check_codestream(stream, columns, rows)
        pixels = decompress(stream)
    else:
        # All bits as they lie there: pydicom would drop those above the stored ones.
        header.BitsStored = allocated
        pixels = pixel_array(header)
        header.BitsStored = bits
    if pixels.shape != (rows, columns):
        raise _Unfit("its picture has another shape than its header says")
    shift = int(header.get("HighBit", bits - 1)) - bits + 1
    if not 0 <= shift <= allocated - bits:
        raise _Unfit("its header contradicts itself about the bits of a pixel")
    unsigned = pixels.astype(pixels.dtype.newbyteorder("="))
    unsigned = unsigned.view(f"u{pixels.itemsize}")
    return (unsigned >> shift) & ((1 << bits) - 1)


def _decompressor(syntax: pydicom.uid.UID):
    """What decodes a compressed frame; None where pydicom itself reads the pixels.

    Decoders that run in C meet whatever a file holds, so they were chosen by what altered
    files did to them: `python-gdcm` ended the process, these did not (benchmarks/README.md,
    "Hostile files").
    """
    if not syntax.is_encapsulated or syntax == pydicom.uid.RLELossless:
        return None
    for family, decompress in (
        (pydicom.uid.JPEGTransferSyntaxes, imagecodecs.jpeg8_decode),
        (pydicom.uid.JPEGLSTransferSyntaxes, imagecodecs.jpegls_decode),
        (pydicom.uid.JPEG2000TransferSyntaxes, imagecodecs.jpeg2k_decode),
    ):
        if syntax in family:
            return decompress
    raise _Unfit("it is compressed in a way that is not read here; export it uncompressed")


def _guessed(header: Dataset) -> pydicom.uid.UID:
    """How a file without a preamble was written."""
    implicit, little = header.original_encoding
    if not little:
        return pydicom.uid.ExplicitVRBigEndian
    return pydicom.uid.ImplicitVRLittleEndian if implicit else pydicom.uid.ExplicitVRLittleEndian


def _check_codestream(stream: bytes, columns: int, rows: int) -> None:
    """Refuse a compressed picture of another size than the header's, before it is decoded."""
    found, tiles = None, 1
    if (at := stream.find(b"\xff\x4f\xff\x51", 0, 1024)) >= 0:  # JPEG 2000
        right, bottom, left, top, wide, high = struct.unpack_from(">6I", stream, at + 8)
        found = right - left, bottom - top
        tiles = right * bottom // max(wide * high, 1)
    else:  # JPEG and JPEG-LS
        at = 2
        while found is None and at + 9 <= len(stream):
            marker, length = struct.unpack_from(">HH", stream, at)
            if (0xFFC0 <= marker <= 0xFFCF and marker & 15 not in (4, 8, 12)) or marker == 0xFFF7:
                found = struct.unpack_from(">HH", stream, at + 5)[::-1]
            at += 2 + max(length, 2)
        if stream.count(b"\xff\xda") > MOST_SCANS:
            raise _Unfit("its JPEG data are drawn too often over each other")
    if found != (columns, rows) or tiles > _MOST_TILES:
        raise _Unfit("its picture has another shape than its header says")


def _table(header: Dataset, present: np.ndarray, notes: list[str]) -> np.ndarray:
    """What each stored value is shown as: uint8, one entry a value.

    Args:
        present: bool, whether a value occurs in the film.
        notes: a remark is added where the film's own range was taken.
    """
    bits = header.BitsStored
    values = np.arange(1 << bits)
    if header.get("PixelRepresentation", 0) == 1:
        values = np.where(values >> (bits - 1), values - (1 << bits), values)
    padding = np.zeros(len(values), dtype=bool)
    if header.get("PixelPaddingValue") is not None:
        first = int(header.PixelPaddingValue)
        last = int(header.get("PixelPaddingRangeLimit", first))
        padding = (values >= min(first, last)) & (values <= max(first, last))
    if header.get("ModalityLUTSequence"):
        real = _looked_up(header.ModalityLUTSequence[0], values)
    else:
        real = apply_modality_lut(values, header)
    shown = _of_interest(header, real, present & ~padding, notes)
    if header.get("PresentationLUTSequence"):
        # Its output is what is shown, whatever the photometric interpretation (C.11.4).
        item = header.PresentationLUTSequence[0]
        lut = _entries(item)
        shown = _up_to_255(item, lut[np.rint(shown / 255 * (len(lut) - 1)).astype(int)])
    elif (
        _text(header, "PhotometricInterpretation") == "MONOCHROME1"
        or _text(header, "PresentationLUTShape") == "INVERSE"
    ):
        shown = 255 - shown
    return np.rint(np.where(padding, 0, shown)).clip(0, 255).astype(np.uint8)


def _of_interest(
    header: Dataset, real: np.ndarray, present: np.ndarray, notes: list[str]
) -> np.ndarray:
    """The values of interest of each real value: 0 to 255."""
    if header.get("VOILUTSequence"):
        item = header.VOILUTSequence[0]
        return _up_to_255(item, _looked_up(item, real))
    if header.get("WindowCenter") is not None and header.get("WindowWidth") is not None:
        # Asked for 8 bits, pydicom's window gives 0 to 255.
        window = Dataset()
        window.BitsStored, window.PixelRepresentation = 8, 0
        window.PhotometricInterpretation = "MONOCHROME2"
        for name in ("WindowCenter", "WindowWidth", "VOILUTFunction"):
            if header.get(name) is not None:
                setattr(window, name, header[name].value)
        return apply_windowing(real, window)
    low, high = float(real.min()), float(real.max())
    if present.any():
        darkest, brightest = float(real[present].min()), float(real[present].max())
        if brightest - darkest < (high - low) / 2:
            low, high = darkest, brightest
            notes.append("It is shown from its own darkest to its own brightest value.")
    return (real - low).clip(0, high - low) * 255 / max(high - low, 1e-9)


def _looked_up(item: Dataset, values: np.ndarray) -> np.ndarray:
    """What a table makes of each value; beyond its ends its first and last entry (C.11.2.1.1).

    Not pydicom's `apply_voi`, which counts the entries of an 8-bit table in 8 bits.
    """
    entries, first = _entries(item), item.LUTDescriptor[1]
    return entries[(np.rint(values).astype(np.int64) - first).clip(0, len(entries) - 1)]


def _up_to_255(item: Dataset, entries: np.ndarray) -> np.ndarray:
    """Entries of a table on the scale of 8 bits."""
    return entries * 255 / ((1 << item.LUTDescriptor[2]) - 1)


def _entries(item: Dataset) -> np.ndarray:
    """The entries of a table, float64, whether they were read as numbers or as bytes."""
    number, data = item.LUTDescriptor[0] or 1 << 16, item.LUTData
    if isinstance(data, bytes):
        data = np.frombuffer(data, ">u2" if item.original_encoding[1] is False else "<u2")
    words = np.asarray(data).astype("<u2")
    if len(words) < number:
        # Entries of 8 bits may lie two in a word (C.11.1.1.1).
        words = words.view(np.uint8)
    if len(words) < number:
        raise _Unfit("its table has fewer entries than its header says")
    return words[:number].astype(np.float64)
