import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from cxr.errors import InputError
from cxr.films import film_cache, png


def save(array, path, mode=None):
    Image.fromarray(array, mode).save(path) if mode else Image.fromarray(array).save(path)
    return path


@pytest.fixture
def numbered(tmp_path):
    """Thirty films whose every pixel is their number, in files of 64 px."""
    paths = {}
    for number in range(30):
        name = f"{number:08d}_000.png"
        paths[name] = save(np.full((64, 64), number * 8, np.uint8), tmp_path / name)
    return paths


def test_reduction_averages_areas(tmp_path):
    film = np.zeros((4, 4), np.uint8)
    film[:2, :2] = [[0, 100], [100, 200]]
    film[2:, 2:] = 255
    path = save(film, tmp_path / "film.png")
    assert film_cache.read_film(path, 2).tolist() == [[100, 0], [0, 255]]


def test_all_kinds_of_png_become_the_same_grey(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    rgba = np.dstack([grey, grey, grey, np.full_like(grey, 255)])
    kinds = {
        "grey": Image.fromarray(grey),
        "rgb": Image.fromarray(np.dstack([grey] * 3)),
        "rgba": Image.fromarray(rgba),
        # Alpha carries nothing, even where it is transparent.
        "clear": Image.fromarray(np.dstack([grey, grey, grey, grey])),
        "la": Image.fromarray(grey).convert("LA"),
        "16-bit": Image.fromarray(grey.astype(np.uint16) * 257),
        "palette": Image.fromarray(grey).convert("P"),
    }
    for name, image in kinds.items():
        image.save(tmp_path / f"{name}.png")
        np.testing.assert_array_equal(
            film_cache.read_film(tmp_path / f"{name}.png", 16), grey, name
        )


def test_of_unequal_colours_the_grey_does_not_depend_on_alpha():
    colours = np.random.default_rng(0).integers(0, 256, (64, 64, 4), np.uint8)
    with_alpha = png.grey(Image.fromarray(colours))
    without = png.grey(Image.fromarray(colours[..., :3].copy()))
    np.testing.assert_array_equal(with_alpha, without)


def test_a_palette_is_looked_up_and_of_16_bits_the_upper_8_count(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    palette = Image.fromarray(255 - grey, "P")
    # Index 0 is white and 255 black: the indices are the film's negative.
    palette.putpalette([value for step in range(255, -1, -1) for value in (step, step, step)])
    palette.save(tmp_path / "palette.png")
    lower = np.random.default_rng(0).integers(0, 256, (16, 16))
    sixteen = (grey.astype(np.uint16) << 8) + lower.astype(np.uint16)
    Image.fromarray(sixteen).save(tmp_path / "sixteen.png")
    for name, mode in (("palette", "P"), ("sixteen", "I;16")):
        with Image.open(tmp_path / f"{name}.png") as image:
            assert image.mode == mode
        np.testing.assert_array_equal(
            film_cache.read_film(tmp_path / f"{name}.png", 16), grey, name
        )


def test_a_damaged_missing_or_small_film_is_named(tmp_path):
    whole = save(np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8), tmp_path / "a.png")
    cut = tmp_path / "cut.png"
    cut.write_bytes(whole.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"cut\.png cannot be used"):
        film_cache.read_film(cut, 64)
    with pytest.raises(InputError, match="does not exist"):
        film_cache.read_film(tmp_path / "none.png", 64)
    with pytest.raises(InputError, match="set CXR_IMAGE_SIZE to 64 or less"):
        film_cache.read_film(whole, 128)


def test_row_and_film_stay_paired_through_shards(numbered, tmp_path, monkeypatch):
    monkeypatch.setattr(film_cache, "SHARD_FILMS", 7)
    store = film_cache.prepare(numbered, tmp_path / "cache", size=32)
    wanted = ["00000029_000.png", "00000000_000.png", "00000013_000.png", "00000013_000.png"]
    pictures = store.take(store.rows(wanted))
    assert pictures.shape == (4, 32, 32, 1)
    assert pictures.dtype == np.uint8
    assert pictures[:, 5, 5, 0].tolist() == [29 * 8, 0, 13 * 8, 13 * 8]
    with pytest.raises(InputError, match="not in the film cache"):
        store.rows(["00000099_000.png"])


def test_an_interrupted_cache_goes_on_and_a_finished_one_is_reused(numbered, tmp_path, monkeypatch):
    monkeypatch.setattr(film_cache, "SHARD_FILMS", 10)
    calls = []
    original = film_cache.read_film

    def counted(path, size):
        calls.append(path.name)
        if len(calls) == 25:
            raise KeyboardInterrupt
        return original(path, size)

    monkeypatch.setattr(film_cache, "read_film", counted)
    with pytest.raises(KeyboardInterrupt):
        film_cache.prepare(numbered, tmp_path / "cache", size=32)
    monkeypatch.setattr(film_cache, "read_film", original)
    shards = sorted((tmp_path / "cache").rglob("shard-*.npy"))
    assert [shard.name for shard in shards] == ["shard-0000.npy", "shard-0001.npy"]
    stamps = [shard.stat().st_mtime_ns for shard in shards]
    film_cache.prepare(numbered, tmp_path / "cache", size=32)
    assert [shard.stat().st_mtime_ns for shard in shards] == stamps


CHILD = """
import os, signal, sys
from pathlib import Path
from cxr.films import film_cache

film_cache.SHARD_FILMS = 10
read_film, calls = film_cache.read_film, []


def deadly(path, size):
    calls.append(path)
    if len(calls) == 25:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_film(path, size)


film_cache.read_film = deadly
folder = Path(sys.argv[1])
film_cache.prepare({path.name: path for path in folder.glob("*.png")}, folder / "cache", size=32)
"""


def test_a_cache_killed_while_it_is_built_goes_on_and_is_whole(numbered, tmp_path, monkeypatch):
    child = subprocess.run([sys.executable, "-c", CHILD, str(tmp_path)], check=False)
    assert child.returncode == -signal.SIGKILL
    cache = tmp_path / "cache"
    whole = sorted(cache.rglob("shard-*.npy"))
    # The 25th film belongs to the third of three shards.
    assert [shard.name for shard in whole] == ["shard-0000.npy", "shard-0001.npy"]
    stamps = [shard.stat().st_mtime_ns for shard in whole]
    monkeypatch.setattr(film_cache, "SHARD_FILMS", 10)
    read = []
    original = film_cache.read_film
    monkeypatch.setattr(
        film_cache, "read_film", lambda path, size: read.append(path.name) or original(path, size)
    )
    store = film_cache.prepare(numbered, cache, size=32)
    assert [shard.stat().st_mtime_ns for shard in whole] == stamps
    # The third shard's ten, and the eight that are read again to verify the pairing.
    assert len(read) == 10 + 8
    pictures = store.take(store.rows(numbered))
    assert pictures[:, 0, 0, 0].tolist() == [number * 8 for number in range(30)]


def test_a_film_that_changed_is_not_taken_from_the_old_cache(numbered, tmp_path):
    film_cache.prepare(numbered, tmp_path / "cache", size=32)
    name = "00000003_000.png"
    save(np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8), numbered[name])
    store = film_cache.prepare(numbered, tmp_path / "cache", size=32)
    np.testing.assert_array_equal(
        store.take(store.rows([name]))[0, :, :, 0], film_cache.read_film(numbered[name], 32)
    )


def test_a_film_that_changed_but_kept_its_size_in_bytes_is_prepared_anew(tmp_path):
    paths = {}
    for number in range(4):
        path = tmp_path / f"{number:08d}_000.png"
        # Not compressed, so that every film takes as many bytes.
        Image.fromarray(np.full((64, 64), number, np.uint8)).save(path, compress_level=0)
        paths[path.name] = path
    film_cache.prepare(paths, tmp_path / "cache", size=32)
    before = path.stat()
    Image.fromarray(np.full((64, 64), 200, np.uint8)).save(path, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert path.stat().st_size == before.st_size
    store = film_cache.prepare(paths, tmp_path / "cache", size=32)
    assert (store.take(store.rows([path.name])) == 200).all()
    # With the old time as well, only the check of a few films against their files can tell.
    Image.fromarray(np.full((64, 64), 100, np.uint8)).save(path, compress_level=0)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=f"is not the film {path.name}; remove the cache folder"):
        film_cache.prepare(paths, tmp_path / "cache", size=32)


def test_another_list_or_size_gets_another_cache(numbered, tmp_path):
    cache = tmp_path / "cache"
    film_cache.prepare(numbered, cache, size=32)
    film_cache.prepare(numbered, cache, size=16)
    film_cache.prepare(dict(list(numbered.items())[:5]), cache, size=32)
    assert len(list(cache.iterdir())) == 3


def test_a_damaged_shard_is_found_and_only_it_is_made_anew(numbered, tmp_path):
    film_cache.prepare(numbered, tmp_path / "cache", size=32)
    shard = next((tmp_path / "cache").rglob("shard-0000.npy"))
    content = bytearray(shard.read_bytes())
    content[500] ^= 1
    shard.write_bytes(content)
    with pytest.raises(InputError, match="fails its checksum; remove"):
        film_cache.prepare(numbered, tmp_path / "cache", size=32)
    shard.unlink()
    assert len(film_cache.prepare(numbered, tmp_path / "cache", size=32)) == 30


def test_without_films_there_is_a_sentence(tmp_path):
    with pytest.raises(InputError, match="no films to prepare"):
        film_cache.prepare({}, tmp_path, size=32)
