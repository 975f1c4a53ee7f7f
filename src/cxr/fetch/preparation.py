"""What can be known to fail before anything is fetched."""

import tempfile
from pathlib import Path

from cxr.config import Config, names_file
from cxr.errors import InputError
from cxr.fetch import selection


def check(config: Config) -> None:
    """Refuse settings and folders with which a run would fail after its download.

    The disk's room is checked by `download.fetch_films`, which knows what is missing; the
    models, weights and devices by the rehearsal.

    Raises:
        InputError: if films would be stored too small, a sample cannot be meant, or a folder of
            the run cannot be written.
    """
    if config.store_size is not None and config.store_size < config.image_size:
        raise InputError(
            f"CXR_STORE_SIZE={config.store_size} stores films smaller than the "
            f"{config.image_size} px that the models see; raise it, or lower CXR_IMAGE_SIZE."
        )
    chosen = config.sample
    if chosen not in (None, "boxes") and not names_file(chosen):
        selection.number(chosen)
    data = config.data
    for folder in (
        *(data, data / "images", data / "archives", data / "cache"),
        *(config.subset, config.runs, config.presentation),
    ):
        _try(folder)


def _try(folder: Path) -> None:
    """Write a nameless file into the folder, or where the folder would be made."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"0")
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written ({error.strerror or error}), so the run would fail after "
            "its download; choose a folder that you may write to with CXR_ROOT."
        ) from None
