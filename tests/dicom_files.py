"""DICOM films as detectors and archives write them."""

import io

import imagecodecs
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

# Lossless, all of them, and how each is written.
COMPRESSED = {
    uid.JPEGLosslessSV1: lambda pixels, bits: imagecodecs.jpeg8_encode(
        pixels, lossless=True, bitspersample=bits
    ),
    uid.JPEGLSLossless: lambda pixels, bits: imagecodecs.jpegls_encode(pixels),
    uid.JPEG2000Lossless: lambda pixels, bits: imagecodecs.jpeg2k_encode(
        pixels, level=0, reversible=True, codecformat="j2k", bitspersample=bits
    ),
}


def header(pixels: np.ndarray, *, bits: int = 8, **elements) -> Dataset:
    """A dataset that holds `pixels` as they are; `elements` add to it or replace."""
    allocated = 8 * pixels.itemsize
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.SOPClassUID = made.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    made.SOPInstanceUID = made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    made.PatientName, made.PatientID = "Secret^Person", "SECRET-NUMBER"
    made.Modality, made.BodyPartExamined, made.ViewPosition = "CR", "CHEST", "PA"
    made.Rows, made.Columns = pixels.shape
    made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
    made.BitsAllocated, made.BitsStored, made.HighBit = allocated, bits, bits - 1
    made.PixelRepresentation = int(np.issubdtype(pixels.dtype, np.signedinteger))
    made.PixelData = pixels.tobytes()
    made["PixelData"].VR = "OW" if allocated == 16 else "OB"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def file(dataset: Dataset) -> bytes:
    """The dataset as a file."""
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def table(entries, *, first: int = 0, depth: int = 16) -> Dataset:
    """An item of a sequence of look-up tables."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, depth])
    item.add_new("LUTData", "US", [int(entry) for entry in entries])
    return item


def compressed(pixels: np.ndarray, syntax: str, *, bits: int = 8, **elements) -> Dataset:
    """As `header`, in a lossless transfer syntax."""
    made = header(pixels, bits=bits, **elements)
    if syntax == uid.RLELossless:
        made.compress(syntax)
    else:
        made.PixelData = encapsulate([COMPRESSED[syntax](pixels, bits)])
        made["PixelData"].VR, made.file_meta.TransferSyntaxUID = "OB", syntax
    return made
