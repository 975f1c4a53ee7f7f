"""Films of other hospitals on the disk: which file is which record's."""

import collections
import concurrent.futures
import os
from collections.abc import Collection
from pathlib import Path

import pandas as pd
from PIL import Image, PngImagePlugin

from cxr import artifacts, progress
from cxr.config import Config
from cxr.errors import InputError
from cxr.fetch import inventory
from cxr.fetch.manifest import Manifest, data_settings
from cxr.films import reading
from cxr.records import sources

# Side in pixels of stored films, unless another is asked for: as NIH's.
_SIDE = 1024

# The text chunk of a stored film that says which file of the source it was made from.
_MADE_FROM = "Source"

_ENDINGS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")


def find(folder: Path, records: pd.DataFrame) -> dict[str, Path]:
    """The files of the records that lie in a folder or below it.

    A file belongs to a record if its path ends like the record's `file`, which may begin above
    the folder, as an absolute path does: then only where no path from the folder on ends so.
    The ending of a file's name may be another one, and Indiana's DICOM files lack the "CXR" in
    front.

    Args:
        folder: films as the source ships them, PNG, JPEG or DICOM.
        records: as `sources.read` returns them.

    Returns:
        `film` -> path, sorted; records without a file are not in it.

    Raises:
        InputError: if two files are one film's, or none of the folder's is a record's.
    """
    names = records["file"] if "file" in records else records["film"]
    pairs = list(zip(names, records["film"], strict=True))
    exact = {tuple(name.split("/")): film for name, film in pairs}
    stems = collections.Counter(_parts(name) for name, _ in pairs)
    # Of two films that differ in the ending only, no other ending tells which one is meant.
    wanted = {_parts(name): film for name, film in pairs if stems[_parts(name)] == 1}
    depths = sorted({len(parts) for parts in exact}, reverse=True)
    found: dict[str, Path] = {}
    from_above: dict[str, Path] = {}
    seen = 0
    # As the table may name it, through links or past them.
    above = {place.as_posix(): from_above for place in (folder.absolute(), folder.resolve())}
    for place, folders, files in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if name.startswith(".") or (path.suffix and path.suffix.lower() not in _ENDINGS):
                continue
            seen += 1
            own = path.relative_to(folder).as_posix()
            for known, name in ((found, own), *((f, f"{a}/{own}") for a, f in above.items())):
                places = ((exact, tuple(name.split("/"))), (wanted, _parts(name)))
                ends = ((films, parts[-d:]) for films, parts in places for d in depths)
                film = next((films[end] for films, end in ends if end in films), None)
                if film is None:
                    continue
                if film in known:
                    raise InputError(
                        f"{known[film]} and {path} are two files of one film; move one of them "
                        "away."
                    )
                known[film] = path
                break
    found = from_above | found
    if not found:
        raise InputError(
            f"none of the {seen:,} files in {folder} is a film of the table, whose first is "
            f"{names.iloc[0]}; name the folder and the table of one source."
        )
    return dict(sorted(found.items()))


def absent(records: pd.DataFrame, found: Collection[str]) -> list[str]:
    """The films of the records that `find` did not find, sorted."""
    return sorted(set(records["film"]) - set(found))


def store(config: Config) -> pd.DataFrame:
    """Keep a source's films below `data` as NIH's are kept: 8-bit grey squares, PNG.

    Sides are stretched, as NIH stretched its films. A film that is there already is not
    made again, unless it is cut off or damaged (`inventory.whole_films`, which sets it aside);
    one smaller than asked for is kept at its own size. Names are running numbers,
    so that one may be another film's by now: each picture says what it was made from, and one
    that says something else, or nothing, is made again, or set aside as `<name>.other` where
    its file is absent.

    Returns:
        As `download.fetch_films`.
    """
    records, _ = sources.load(config.data / "records.csv")
    assert config.images is not None
    paths = find(config.images, records)
    images, size = config.data / "images", config.store_size or _SIDE
    images.mkdir(parents=True, exist_ok=True)
    files = dict(zip(records["film"], records["file"], strict=True))
    inventory.whole_films(config.data)
    gone = absent(records, paths)
    for film in gone:
        _set_aside(images / film, files[film])

    def keep(film: str) -> str:
        place = images / film
        if _made_from(place) == files[film]:
            return ""
        try:
            read = reading.read(paths[film])
            square = read.square(min(size, *read.pixels.shape))
        except InputError as error:
            _set_aside(place, files[film])
            return str(error)
        facts = PngImagePlugin.PngInfo()
        facts.add_itxt(_MADE_FROM, files[film])
        with artifacts.atomic(place) as temporary:
            Image.fromarray(square).save(temporary, "PNG", compress_level=1, pnginfo=facts)
        return ""

    refused = {}
    with (
        progress.Bars() as bars,
        # Threads suffice: Pillow lets go of the interpreter while it works.
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = bars.add("storing films", total=len(paths), unit="films")
        for film, why in zip(paths, pool.map(keep, paths), strict=True):
            bar.advance()
            if why:
                refused[film] = why
    facts = {"source": str(config.images), "bytes": None, "verified": "decoded"}
    manifest = Manifest(config.data, data_settings(config))
    manifest.note("archives", config.source, **facts, refused=refused, time=artifacts.now())
    row = {"archive": config.source, "films": len(paths) - len(refused)} | facts
    state = ["stored"]
    if refused:
        state.append(f"{len(refused):,} could not be read")
    if gone:
        state.append(f"{len(gone):,} of the table's are not in {config.images}")
    row |= {"state": "; ".join(state)}
    return pd.DataFrame([row])


def _made_from(picture: Path) -> str | None:
    """Which file of the source a stored film was made from; None if it does not say."""
    try:
        with Image.open(picture) as image:
            return image.info.get(_MADE_FROM)
    except OSError:
        return None


def _set_aside(picture: Path, file: str) -> None:
    """Rename a stored film, if there is one, that was not made from a file of the source."""
    if picture.exists() and _made_from(picture) != file:
        picture.replace(picture.with_name(f"{picture.name}.other"))


def _parts(name: str) -> tuple[str, ...]:
    """A path without the ending of its name, as the tables spell it."""
    *folders, last = name.split("/")
    while last.lower().endswith(_ENDINGS):
        last = last.rpartition(".")[0]
    if "_IM-" in last and last[0].isdigit():
        last = f"CXR{last}"
    return (*folders, last)
