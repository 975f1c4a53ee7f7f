import concurrent.futures
import gzip
import io
import random
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile

import pytest
from stand_in import film_png, film_set, films_tar, films_zip, tar_gz

from cxr.errors import InputError
from cxr.fetch import http_transfer, unpack
from cxr.films import png

FILMS = film_set(12)


@pytest.fixture(scope="module")
def pool():
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture
def give(tmp_path, pool):
    """Unpack `content` in tmp_path; the folder of films lies in `.folder`."""

    def give(content, name="images_01.tar.gz", **options):
        archive = tmp_path / name
        archive.write_bytes(content)
        folder = tmp_path / "data" / "images"
        scratch = tmp_path / "data" / ".unpacking"
        return unpack.unpack(archive, folder, scratch=scratch, pool=pool, **options)

    give.folder = tmp_path / "data" / "images"
    return give


def read(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.parametrize("name, pack", [("a.tar.gz", films_tar), ("a.zip", films_zip)])
def test_both_formats_give_the_same_films(give, name, pack):
    found = give(pack(FILMS), name)
    assert read(give.folder) == FILMS
    assert sorted(found.films) == sorted(FILMS)
    assert found.refused == {} and found.others == ()
    assert [path.name for path in give.folder.parent.iterdir()] == ["images"]


def test_nested_and_flat_copies_give_the_same_films(give):
    names = list(FILMS)
    nested = {f"images_001/images/{names[0]}": FILMS[names[0]], names[1]: FILMS[names[1]]}
    give(films_zip(nested, prefix=""), "a.zip")
    assert read(give.folder) == {name: FILMS[name] for name in names[:2]}


def test_only_wanted_films_are_written(give):
    wanted = {"00000003_000.png", "00000005_000.png"}
    assert set(give(films_tar(FILMS), wanted=wanted).films) == wanted
    assert set(read(give.folder)) == wanted


def test_films_are_reduced_on_the_way(give):
    give(films_tar(FILMS), size=16)
    assert read(give.folder) == {name: png.reduce(content, 16) for name, content in FILMS.items()}


def test_other_files_are_left_out_and_named(give):
    members = {"images/readme.txt": b"hello", "LICENSE": b"free", "images/1_0.png": b"no film"}
    found = give(tar_gz([*members.items(), ("images/00000001_000.png", film_png(1))]))
    assert found.others == tuple(members)
    assert set(read(give.folder)) == {"00000001_000.png"}


@pytest.mark.parametrize("size", [None, 16])
def test_a_member_that_is_no_png_is_refused_by_name(give, size):
    found = give(tar_gz([("images/00000001_000.png", b"GIF89a"), *_one_good()]), size=size)
    assert found.refused == {"00000001_000.png": "no PNG"}
    assert set(read(give.folder)) == {"00000009_000.png"}


def test_a_film_cut_off_before_packing_is_refused_when_reducing(give):
    found = give(tar_gz([("images/00000001_000.png", film_png(1)[:900]), *_one_good()]), size=16)
    assert found.refused == {"00000001_000.png": "cut off"}


def _one_good():
    return [("images/00000009_000.png", film_png(9))]


def member(name, kind=tarfile.REGTYPE, *, link="", size=0):
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


HOSTILE = {
    "traversal": ("../../evil.png", film_png(1)),
    "traversal inside": ("images/../../00000001_000.png", film_png(1)),
    "absolute path": ("/tmp/00000001_000.png", film_png(1)),
    "backslash": ("images\\00000001_000.png", film_png(1)),
    "drive": ("C:00000001_000.png", film_png(1)),
    "symbolic link": (member("images/00000001_000.png", tarfile.SYMTYPE, link="/etc/passwd"), None),
    "hard link": (member("images/00000001_000.png", tarfile.LNKTYPE, link="../secret"), None),
    "device": (member("images/00000001_000.png", tarfile.CHRTYPE), None),
    "block device": (member("images/00000001_000.png", tarfile.BLKTYPE), None),
    "pipe": (member("images/00000001_000.png", tarfile.FIFOTYPE), None),
    "huge member": (member("images/00000001_000.png", size=17 << 20), bytes(17 << 20)),
    "folder outside": (member("../images", tarfile.DIRTYPE), None),
    "twice": ("images/00000009_000.png", film_png(1)),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tar_is_refused_and_leaves_nothing(give, what):
    with pytest.raises(unpack.UnsafeArchive, match=r"images_01\.tar\.gz"):
        give(tar_gz([*_one_good(), HOSTILE[what]]))
    assert read(give.folder) == {}
    assert not (give.folder.parent / ".unpacking").exists()


def test_a_huge_header_is_not_read_into_memory(give):
    # A long name of 64 MB: tarfile would read it whole before it hands out a member.
    long_name = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=64 << 20)
    with pytest.raises(unpack.UnsafeArchive, match="header"):
        give(tar_gz([(long_name, bytes(64 << 20)), *_one_good()]))


def test_an_archive_that_grows_too_much_is_refused(give):
    # Ten films of 16 MB zeros behind a PNG signature: 160 MB from 0.7 MB.
    film = png.SIGNATURE + bytes((16 << 20) - 8)
    bomb = tar_gz([(f"images/0000000{digit}_000.png", film) for digit in range(10)])
    assert len(bomb) < 1_000_000
    with pytest.raises(unpack.UnsafeArchive, match="ten times"):
        give(bomb)
    assert read(give.folder) == {}


def test_a_thousand_other_files_are_too_many(give):
    with pytest.raises(unpack.UnsafeArchive, match="too many"):
        give(tar_gz([(f"{number}.txt", b"") for number in range(1001)]))


def hostile_zip(what):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("images/00000009_000.png", film_png(9))
        if what == "symbolic link":
            info = zipfile.ZipInfo("images/00000001_000.png")
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
            packed.writestr(info, "/etc/passwd")
        elif what == "huge member":
            packed.writestr("images/00000001_000.png", bytes(17 << 20))
        else:
            name = {"traversal": "../00000001_000.png", "absolute path": "/00000001_000.png"}[what]
            packed.writestr(name, film_png(1))
    return buffer.getvalue()


@pytest.mark.parametrize("what", ["symbolic link", "huge member", "traversal", "absolute path"])
def test_a_hostile_zip_is_refused_before_anything_is_written(give, what):
    with pytest.raises(unpack.UnsafeArchive, match=r"images_001\.zip"):
        give(hostile_zip(what), "images_001.zip")
    assert read(give.folder) == {}


def test_a_zip_with_a_flipped_byte_is_damaged(give):
    content = bytearray(films_zip(FILMS))
    content[len(content) // 2] ^= 1
    with pytest.raises(unpack.DamagedArchive):
        give(bytes(content), "a.zip")
    assert read(give.folder) == {}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.999])
def test_a_truncated_gzip_is_damaged(give, share):
    content = films_tar(FILMS)
    with pytest.raises(unpack.DamagedArchive):
        give(content[: int(len(content) * share)])
    assert read(give.folder) == {}


def test_every_byte_of_the_gzip_trailer_counts(give):
    # CRC-32 and length are the last eight bytes.
    for place in range(1, 9):
        content = bytearray(films_tar(FILMS))
        content[-place] ^= 1
        with pytest.raises(unpack.DamagedArchive):
            give(bytes(content))


def test_a_tar_that_turns_into_noise_is_damaged(give):
    # A whole gzip, whose tar has noise for the second header: tarfile alone would just end.
    plain = bytearray(gzip.decompress(films_tar(FILMS)))
    second = plain.index(b"images/00000002_000.png")
    plain[second : second + 512] = random.Random(1).randbytes(512)
    with pytest.raises(unpack.DamagedArchive):
        give(gzip.compress(bytes(plain)))
    assert read(give.folder) == {}


def test_two_gzip_members_and_padding_are_one_archive(give):
    plain = gzip.decompress(films_tar(FILMS))
    give(gzip.compress(plain[:5000]) + gzip.compress(plain[5000:]) + bytes(100))
    assert read(give.folder) == FILMS


@pytest.mark.parametrize("size", [None, 16])
def test_an_interrupted_call_goes_on(give, size):
    stop = threading.Event()
    counted = []

    def advance(films, *, reused=False):
        counted.append(reused)
        if len(counted) == 4:
            stop.set()

    # Few films wait in memory, so the stop comes before the archive's end.
    many = film_set(60)
    with pytest.raises(http_transfer.Stopped):
        give(films_tar(many), size=size, advance=advance, stop=stop)
    assert read(give.folder) == {}
    scratch = give.folder.parent / ".unpacking"
    written = sorted(path.name for path in scratch.iterdir())
    assert 4 <= len(written) < 60
    # A film that was being written when the process was killed.
    (scratch / written[0]).write_bytes(read(scratch)[written[0]][:100])
    counted.clear()
    stop.clear()
    give(films_tar(many), size=size, advance=lambda films, reused=False: counted.append(reused))
    assert read(give.folder) == {
        name: content if size is None else png.reduce(content, size)
        for name, content in many.items()
    }
    assert sum(counted) == len(written) - 1


LIMITED = """
import concurrent.futures, resource, sys
from pathlib import Path
from cxr.fetch import unpack
from cxr.errors import InputError

resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
archive, folder = map(Path, sys.argv[1:])
try:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        unpack.unpack(archive, folder, scratch=folder.with_name(".unpacking"), pool=pool)
except InputError as error:
    sys.exit(f"told: {error}")
"""


def test_a_full_disk_is_told_and_a_rerun_completes(give, tmp_path):
    archive = tmp_path / "images_01.tar.gz"
    archive.write_bytes(films_tar(FILMS))
    command = [sys.executable, "-c", LIMITED, str(archive), str(give.folder)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "told:" in run.stderr and "cannot be written (File too large" in run.stderr
    assert read(give.folder) == {}
    give(films_tar(FILMS))
    assert read(give.folder) == FILMS


def test_a_folder_that_cannot_be_made_is_named(give):
    give.folder.parent.parent.mkdir(exist_ok=True)
    give.folder.parent.write_text("a file where a folder should be")
    with pytest.raises(InputError, match="cannot be written"):
        give(films_tar(FILMS))
