"""Films as the models see them: 8-bit grey squares, stored once in shards of uint8."""

import concurrent.futures
import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cxr import artifacts, progress
from cxr.errors import InputError
from cxr.films import png

# Films in one shard: 17 MB at 128 px, 51 MB at 224, little to lose when interrupted.
SHARD_FILMS = 1024

# How a film becomes smaller; part of the cache's key, so that a change rebuilds it.
FILTER = "area average"


def read_film(path: Path, size: int) -> np.ndarray:
    """Read a film as 8-bit grey, area-averaged to a square.

    Args:
        path: PNG, grey, RGB(A), palette or 16-bit; see `png.grey`.
        size: side in pixels, at most the film's own: enlarging adds nothing.

    Returns:
        uint8 array (size, size), 0 to 255.

    Raises:
        InputError: if the file is missing, damaged or smaller than `size`.
    """
    try:
        grey = png.grey(png.decode(Path(path).read_bytes()))
    except FileNotFoundError:
        raise InputError(f"the film {path} does not exist.") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"the film {path} cannot be used ({error}); run 000-data_download again: it lists "
            "damaged films, and later stages leave them out."
        ) from error
    if min(grey.size) < size:
        raise InputError(
            f"the film {path} has {grey.width} x {grey.height} pixels, fewer than the {size} "
            f"asked for; set CXR_IMAGE_SIZE to {min(grey.size)} or less."
        )
    return np.asarray(png.shrink(grey, size, size))


class Store:
    """Films in memory-mapped shards; row i belongs to `films[i]`.

    Attributes:
        films: film names, one a row.
        size: side in pixels.
    """

    def __init__(self, films: Sequence[str], size: int, shards: Sequence[np.ndarray]):
        self.films, self.size = tuple(films), size
        self._shards = list(shards)
        self._row = {film: row for row, film in enumerate(self.films)}

    def __len__(self) -> int:
        return len(self.films)

    def rows(self, films) -> np.ndarray:
        """Row numbers of film names, int64, in the order asked for.

        Raises:
            InputError: if a film is not in the store.
        """
        try:
            return np.fromiter((self._row[film] for film in films), dtype=np.int64)
        except KeyError as error:
            raise InputError(f"the film {error.args[0]} is not in the film cache.") from None

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Films at `rows`: uint8 (len(rows), size, size, 1), in that order."""
        rows = np.asarray(rows)
        batch = np.empty((len(rows), self.size, self.size, 1), dtype=np.uint8)
        shard_of = rows // SHARD_FILMS
        for shard in np.unique(shard_of):
            places = np.flatnonzero(shard_of == shard)
            batch[places, :, :, 0] = self._shards[shard][rows[places] % SHARD_FILMS]
        return batch


def prepare(paths: Mapping[str, Path], folder: Path, *, size: int) -> Store:
    """Decode every film once into shards below `folder`, or reuse them.

    The cache is keyed by the films (names, bytes and times), the size and the filter: another
    list or size gets another folder. Each shard is written atomically beside its checksum,
    so an interrupted build goes on where it stopped.

    Args:
        paths: film name -> file.
        folder: where caches lie, such as `data/cache`.
        size: side in pixels.

    Returns:
        A store whose rows are sorted by film name.

    Raises:
        InputError: if there is no film, a film cannot be read, or a shard is damaged.
    """
    films = sorted(paths)
    if not films:
        raise InputError("there are no films to prepare; run 000-data_download first.")
    try:
        facts = [Path(paths[film]).stat() for film in films]
    except FileNotFoundError as error:
        raise InputError(
            f"the film {error.filename} is no longer there; run 000-data_download again."
        ) from None
    except OSError as error:
        raise InputError(
            f"the film {error.filename} cannot be looked at ({error.strerror}); see whether its "
            "folder is one, and yours to read."
        ) from None
    sources = [
        f"{film} {fact.st_size} {fact.st_mtime_ns}" for film, fact in zip(films, facts, strict=True)
    ]
    key = hashlib.sha256("\n".join([FILTER, str(size), *sources]).encode()).hexdigest()[:12]
    cache = Path(folder) / f"{size}px-{key}"
    starts = range(0, len(films), SHARD_FILMS)
    with (
        progress.Bars() as bars,
        # Threads suffice: Pillow lets go of the interpreter while it decodes and resizes.
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        bar = bars.add("film cache", total=len(films), unit="films")
        for number, start in enumerate(starts):
            members = films[start : start + SHARD_FILMS]
            shard = cache / f"shard-{number:04d}.npy"
            if shard.exists() and shard.with_suffix(".json").exists():
                bar.advance(len(members), reused=True)
                continue
            array = np.empty((len(members), size, size), dtype=np.uint8)
            jobs = [pool.submit(read_film, paths[film], size) for film in members]
            try:
                for row, job in enumerate(jobs):
                    array[row] = job.result()
                    bar.advance()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            with artifacts.atomic(shard) as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)
            # The sidecar comes last: a shard counts only with its checksum.
            artifacts.write_json(
                shard.with_suffix(".json"),
                {"sha256": artifacts.sha256(shard), "films": artifacts.fingerprint(members)},
            )
        shards = list(pool.map(lambda start: _open(cache, films, start, size), starts))
        store = Store(films, size, shards)
        _verify_pairing(store, paths, pool)
    return store


def _open(cache: Path, films: list[str], start: int, size: int) -> np.ndarray:
    """Memory-map one shard after checking that it is whole and holds the films it should."""
    shard = cache / f"shard-{start // SHARD_FILMS:04d}.npy"
    members = films[start : start + SHARD_FILMS]
    remedy = f"remove {shard} and run again: only this shard is made anew."
    expected = artifacts.read_record(shard.with_suffix(".json"))
    if expected.get("sha256") != artifacts.sha256(shard):
        raise InputError(f"the film cache is damaged: {shard.name} fails its checksum; {remedy}")
    array = np.load(shard, mmap_mode="r", allow_pickle=False)
    if (
        array.shape != (len(members), size, size)
        or array.dtype != np.uint8
        or expected.get("films") != artifacts.fingerprint(members)
    ):
        raise InputError(f"{shard.name} does not hold the films that it should; {remedy}")
    return array


def _verify_pairing(
    store: Store,
    paths: Mapping[str, Path],
    pool: concurrent.futures.Executor,
    *,
    samples: int = 8,
) -> None:
    """Decode a few films again and compare: row i must be film i."""
    rows = np.unique(np.linspace(0, len(store) - 1, samples).astype(int))
    films = [store.films[row] for row in rows]
    again = pool.map(lambda film: read_film(paths[film], store.size), films)
    for row, film, kept, read in zip(rows, films, store.take(rows), again, strict=True):
        if not np.array_equal(kept[:, :, 0], read):
            raise InputError(
                f"row {row} of the film cache is not the film {film}; remove the cache folder "
                "and run again."
            )
