"""Fifty archives that are not as they should be, and what becomes of each."""

import concurrent.futures
import io
import zipfile

import pytest
from stand_in import film_set, films_tar, films_zip

from cxr.fetch import unpack

FILMS = film_set(6)
KINDS = {"tar.gz": films_tar(FILMS), "zip": films_zip(FILMS)}


def packed(method=zipfile.ZIP_DEFLATED, others=(), damage=None):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in others:
            archive.writestr(name, b"")
        for name, content in FILMS.items():
            archive.writestr(f"images/{name}", content)
    content = bytearray(buffer.getvalue())
    if damage is not None:
        content[content.index(b"images/00000001_000.png") + 23 + damage] ^= 0x55
    return bytes(content)


def nameless():
    """A zip with a member of no name: the one letter of its name counts as an extra field."""
    content = bytearray(packed(others=["q"]))
    for signature, length in ((b"PK\x03\x04", 26), (b"PK\x01\x02", 28)):
        start = content.index(signature) + length
        content[start : start + 4] = b"\0\0\1\0"
    return bytes(content)


CUTS = [(kind, length / 20) for kind in KINDS for length in range(20)]
DAMAGED = {
    **{f"{kind} cut at {share:.0%}": (kind, KINDS[kind][: int(share * len(KINDS[kind]))])
       for kind, share in CUTS},
    "a zip called tar.gz": ("tar.gz", KINDS["zip"]),
    "a tar called zip": ("zip", KINDS["tar.gz"]),
    "a web page": ("tar.gz", b"<html>Sign in</html>"),
    **{f"{name} damaged": ("zip", packed(method, damage=40)) for name, method in
       (("bz2", zipfile.ZIP_BZIP2), ("LZMA", zipfile.ZIP_LZMA), ("deflate", zipfile.ZIP_DEFLATED),
        ("stored", zipfile.ZIP_STORED))},
    "LZMA damaged in its header": ("zip", packed(zipfile.ZIP_LZMA, damage=4)),
}  # fmt: skip
WHOLE = {
    "1,500 notes of a Mac": packed(others=[f"__MACOSX/images/._{n}.png" for n in range(1_500)]),
    "bz2": packed(zipfile.ZIP_BZIP2),
    "LZMA": packed(zipfile.ZIP_LZMA),
    "other files": packed(others=["LICENSE", "images/readme.txt"]),
    "a member without a name": nameless(),
    "something before the zip": b"#!/bin/sh\n" + KINDS["zip"],
}


def given(tmp_path, kind, content):
    archive = tmp_path / f"images_001.{kind}"
    archive.write_bytes(content)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return unpack.unpack(
            archive, tmp_path / "images", scratch=tmp_path / ".unpacking", pool=pool
        )


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_archive_is_called_damaged_and_gives_nothing(tmp_path, what):
    with pytest.raises(unpack.DamagedArchive, match=r"images_001\.\S+ is damaged: ."):
        given(tmp_path, *DAMAGED[what])
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.parametrize("name", ["../out.png", "/etc/out.png", "C:\\out.png", "images/../../out"])
def test_a_name_that_leads_outside_is_unsafe_or_left_alone(tmp_path, name):
    (tmp_path / "inner").mkdir()
    try:
        given(tmp_path / "inner", "zip", packed(others=[name]))
    except unpack.UnsafeArchive as error:
        assert "out" in str(error)
    outside = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert outside <= {"images_001.zip", *FILMS}


@pytest.mark.parametrize("what", WHOLE)
def test_an_unusual_archive_gives_its_films(tmp_path, what):
    given(tmp_path, "zip", WHOLE[what])
    assert {p.name: p.read_bytes() for p in (tmp_path / "images").iterdir()} == FILMS


def test_there_are_fifty():
    assert len(DAMAGED) + len(WHOLE) >= 50
