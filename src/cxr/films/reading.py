"""A film in whatever file it comes: PNG, JPEG or DICOM."""

import dataclasses
import glob
import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, JpegImagePlugin, PngImagePlugin

from cxr.errors import InputError
from cxr.films import dicom, png

# A film of 16 bits and 64 million pixels takes half of that.
LARGEST_FILE = 256 * 2**20

# A colour picture: of more than a hundredth of its pixels, the colours differ by a tenth.
# Grey films that were saved in colour, or carry a coloured mark, stay below.
_COLOURED, _DIFFERENT = 0.01, 26


@dataclasses.dataclass(frozen=True)
class Film:
    """A film as it is shown.

    Attributes:
        pixels: uint8 (rows, columns), 0 black; bones are bright.
        kind: "PNG", "JPEG" or "DICOM".
        notes: what to know of how it was read, in sentences.
        phantom: whether the file says that it is a drawing.
    """

    pixels: np.ndarray
    kind: str
    notes: tuple[str, ...] = ()
    phantom: bool = False

    def square(self, size: int) -> np.ndarray:
        """The film area-averaged to a square, uint8 (size, size).

        Sides are stretched to the same length, as NIH did with its films: of 112,120 hardly
        one was square before.

        Raises:
            InputError: if the film is smaller; enlarging adds nothing.
        """
        rows, columns = self.pixels.shape
        if min(rows, columns) < size:
            raise InputError(
                f"it has {columns} x {rows} pixels, fewer than the {size} that the model sees."
            )
        return np.asarray(png.shrink(Image.fromarray(self.pixels), size, size))


def read(path: Path) -> Film:
    """Read a film.

    Raises:
        InputError: saying in one sentence why the file is no film or cannot be read; it
            names neither the file nor anything that identifies a person.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError("it is not a file, but a folder that cannot be searched.")
        if not path.is_file():
            raise InputError("it does not exist." if not path.exists() else "it is not a file.")
        if path.stat().st_size > LARGEST_FILE:
            raise InputError(f"it is larger than {LARGEST_FILE >> 20} MB.")
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise InputError(f"it cannot be read ({getattr(error, 'strerror', error)}).") from error
    return decode(content)


# What a folder is searched for, whatever it holds; others are looked into.
_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom", "")


def found(places: Sequence[str]) -> list[Path]:
    """The films that files, folders and patterns name, each once, folders searched to the ground.

    A folder that may not be searched stands among them, so that it is told and counted: `read`
    says what it is.

    Raises:
        InputError: if one names nothing, or there is none.
    """
    if not places:
        raise InputError("no film is named; give files, folders or patterns such as 'films/*.dcm'.")
    films: dict[Path, None] = {}
    for place in places:
        named = [Path(place)]
        if not _exists(named[0]) and any(mark in place for mark in "*?["):
            # pathlib takes no pattern that starts at the root.
            named = [Path(name) for name in sorted(glob.glob(place, recursive=True))]  # noqa: PTH207
        some = [film for path in named for film in _films_at(path)]
        if not some:
            raise InputError(f"{place} names no film: no PNG, JPEG or DICOM file is there.")
        films |= dict.fromkeys(some)
    return list(films)


def _films_at(path: Path) -> list[Path]:
    """A film, or those of a folder; what may not be looked at is told when it is read."""
    # pathlib would raise for what lies in a closed folder.
    return _inside(path) if os.path.isdir(path) else [path]  # noqa: PTH112


def _inside(folder: Path) -> list[Path]:
    """The films of a folder and of those in it, and the folders that cannot be searched.

    Hidden folders are left out, such as the copies that an editor keeps; links are followed, each
    folder is searched once.
    """
    films: list[Path] = []
    searched: set[Path] = set()

    def closed(error: OSError) -> None:
        films.append(Path(error.filename))

    for place, folders, names in os.walk(folder, onerror=closed, followlinks=True):
        if (real := Path(place).resolve()) in searched:
            folders.clear()
            continue
        searched.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = [Path(place, name) for name in names if not name.startswith(".")]
        films += [p for p in inside if p.suffix.lower() in _ENDINGS or begins_as_film(p)]
    return sorted(films)


def begins_as_film(path: Path) -> bool:
    """Whether a file's first bytes are those of a film, whatever it is called.

    DICOM files are often named by a number such as 1.2.840.5.17, whose end is no ending.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return bool(_kind(file.read(_BEGINNING)))
    except OSError:
        return False


# Where DICOM's mark ends, the last of all kinds'.
_BEGINNING = 132


def _kind(content: bytes) -> str:
    """What a file's first bytes say that it is; "" for none that is read here."""
    if content.startswith(png.SIGNATURE):
        return "PNG"
    if content.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    return "DICOM" if dicom.is_dicom(content) else ""


def _exists(path: Path) -> bool:
    """Whether a path leads somewhere; what may not be looked at is told when it is read."""
    try:
        return path.exists()
    except OSError:
        return True


def decode(content: bytes) -> Film:
    """`read` for a file that is in memory."""
    if len(content) > LARGEST_FILE:
        raise InputError(f"it is larger than {LARGEST_FILE >> 20} MB.")
    try:
        kind = _kind(content)
        if kind == "PNG":
            image = _png(content)
            return Film(_grey(image), kind, phantom=png.PHANTOM in image.info)
        if kind == "JPEG":
            return Film(_grey(_jpeg(content)), kind)
        if kind == "DICOM":
            pixels, notes = dicom.decode(content)
            return Film(pixels, kind, tuple(notes))
    except (ValueError, MemoryError) as error:
        raise InputError(f"{error or 'it does not fit the memory'}.") from error
    raise InputError("it is empty." if not content else "it is neither PNG, JPEG nor DICOM.")


def _png(content: bytes) -> PngImagePlugin.PngImageFile:
    try:
        return png.decode(content)
    except ValueError as error:
        raise ValueError(f"its PNG data cannot be used: {error}") from error


def _jpeg(content: bytes) -> Image.Image:
    """Decode a whole JPEG, turned as its camera says.

    Raises:
        ValueError: saying what is wrong with it.
    """
    if content.count(b"\xff\xda") > dicom.MOST_SCANS:
        raise ValueError("its JPEG data are drawn too often over each other")
    try:
        image = JpegImagePlugin.JpegImageFile(io.BytesIO(content))
        if not 0 < image.width * image.height <= png.LARGEST_PIXELS:
            raise ValueError(f"it announces {image.width} x {image.height} pixels")
        image.load()
        return ImageOps.exif_transpose(image)
    except ValueError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds, even KeyError
        raise ValueError(f"its JPEG data cannot be decoded ({type(error).__name__})") from None


def _grey(image: Image.Image) -> np.ndarray:
    """8-bit grey pixels; a picture in colour is no film."""
    if image.mode not in ("1", "L", "LA") and not image.mode.startswith(("I", "F")):
        step = max(1, max(image.size) // 1024)  # enough of a large picture to tell
        colours = np.asarray(image.convert("RGB"))[::step, ::step].astype(np.int16)
        if (np.ptp(colours, axis=2) >= _DIFFERENT).mean() > _COLOURED:
            raise ValueError("it is a colour picture, not a grey film")
    return np.asarray(png.grey(image))
