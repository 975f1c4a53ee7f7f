import shutil

import numpy as np
import pytest
from PIL import Image, PngImagePlugin
from stand_in import film_png, film_set

from cxr import phantoms
from cxr.errors import InputError
from cxr.fetch import inventory

FILMS = film_set(8)
NAMES = list(FILMS)


@pytest.fixture
def folder(tmp_path):
    return lay(tmp_path / "images", FILMS)


def lay(folder, films):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in films.items():
        (folder / name).write_bytes(content)
    return folder


def take(folder, wanted=NAMES, **options):
    """The table's counts by check, and the report."""
    data = folder.parent / "data"
    table = inventory.take_inventory(folder, data, wanted, drawn=False, **options)
    return dict(zip(table["check"], table["films"], strict=True)), inventory.read_report(
        folder, data
    )


def test_whole_films_pass(folder):
    counts, report = take(folder)
    assert counts.pop("on disk") == 8
    assert set(counts.values()) == {0}
    assert report["side"] == 64
    data = folder.parent / "data"
    assert inventory.available(folder, data) == {name: folder / name for name in NAMES}


def test_each_kind_of_bad_film_is_listed_by_name(folder):
    flat = np.full((64, 64), 100, np.uint8)
    (folder / NAMES[0]).write_bytes(FILMS[NAMES[0]][:2000])
    Image.fromarray(flat).save(folder / NAMES[1])
    Image.fromarray(flat.astype(np.uint16)).resize((64, 64)).save(folder / NAMES[2])
    (folder / NAMES[3]).write_bytes(film_png(4, side=32))
    (folder / NAMES[5]).write_bytes(FILMS[NAMES[4]])
    (folder / NAMES[6]).unlink()
    (folder / "00099999_000.png").write_bytes(film_png(99))
    counts, report = take(folder)
    assert report["unreadable"] == {NAMES[0]: "cut off"}
    # A 16-bit film whose values are 100 of 65535 is as blank as an 8-bit one.
    assert report["almost_blank"] == [NAMES[1], NAMES[2]]
    assert report["odd_mode"] == {NAMES[2]: "I;16"}
    assert report["odd_size"] == {NAMES[3]: [32, 32]}
    assert report["duplicates"] == [[NAMES[4], NAMES[5]]]
    assert report["missing"] == [NAMES[6]]
    assert report["unexpected"] == ["00099999_000.png"]
    assert sorted(report["left_out"]) == [*NAMES[:3], "00099999_000.png"]
    assert counts["duplicates"] == 2
    left = inventory.available(folder, folder.parent / "data")
    assert sorted(left) == [*NAMES[3:6], NAMES[7]]


def test_films_smaller_than_asked_for_are_left_out_and_said_so(folder):
    (folder / NAMES[3]).write_bytes(film_png(4, side=32))
    take(folder)
    data = folder.parent / "data"
    assert NAMES[3] in inventory.available(folder, data, size=32)
    assert NAMES[3] not in inventory.available(folder, data, size=48)
    assert inventory.left_out(folder, data, size=48) == {NAMES[3]: "32 x 32 pixels, fewer than 48"}


def test_a_larger_size_than_stored_is_refused(folder):
    take(folder)
    with pytest.raises(InputError, match="CXR_IMAGE_SIZE=128 asks for more than the 64 pixels"):
        inventory.available(folder, folder.parent / "data", size=128)


def test_a_second_inventory_reads_only_what_changed(folder, monkeypatch):
    take(folder)
    read = []
    examine = inventory._examine_one
    monkeypatch.setattr(
        inventory, "_examine_one", lambda film: read.append(film[0]) or examine(film)
    )
    assert take(folder)[0]["on disk"] == 8
    assert read == []
    (folder / NAMES[2]).write_bytes(FILMS[NAMES[2]][:99])
    assert take(folder)[0]["unreadable"] == 1
    assert read == [NAMES[2]]


def test_a_check_that_was_cut_off_goes_on(folder, monkeypatch):
    monkeypatch.setattr(inventory, "_BATCH", 4)
    read = []
    examine = inventory._examine_one

    def fail_late(film):
        read.append(film[0])
        if len(read) == 6:
            raise KeyboardInterrupt
        return examine(film)

    monkeypatch.setattr(inventory, "_examine_one", fail_late)
    with pytest.raises(KeyboardInterrupt):
        take(folder)
    first = read[:4]
    read.clear()
    monkeypatch.setattr(
        inventory, "_examine_one", lambda film: read.append(film[0]) or examine(film)
    )
    assert take(folder)[0]["on disk"] == 8
    assert set(read) == set(NAMES) - set(first)


def test_nested_folders_and_links_are_searched(tmp_path):
    # Kaggle's layout, one folder of it behind a link, and a link that leads in a circle.
    top = tmp_path / "kaggle"
    lay(top / "images_001" / "images", {name: FILMS[name] for name in NAMES[:4]})
    elsewhere = lay(tmp_path / "disk" / "images", {name: FILMS[name] for name in NAMES[4:]})
    (top / "images_002").mkdir()
    (top / "images_002" / "images").symlink_to(elsewhere)
    (top / "images_001" / "again").symlink_to(top)
    lay(top / ".unpacking", {"00000077_000.png": b"half"})
    counts, _ = take(top)
    assert counts["on disk"] == 8 and counts["missing"] == 0


def test_the_same_film_twice_counts_once_but_two_films_of_one_name_are_refused(folder):
    lay(folder / "copy", {NAMES[0]: FILMS[NAMES[0]]})
    assert take(folder)[0]["on disk"] == 8
    lay(folder / "copy", {NAMES[0]: film_png(1, side=32)})
    with pytest.raises(InputError, match="two different files of one film"):
        take(folder)


def test_the_users_folder_is_left_untouched(folder):
    before = {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())}
    take(folder)
    assert {path: path.stat().st_mtime_ns for path in (folder, *folder.iterdir())} == before


def test_missing_empty_and_foreign_folders_are_told_apart(tmp_path, folder):
    with pytest.raises(InputError, match="does not exist"):
        take(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no film"):
        take(tmp_path / "empty")
    with pytest.raises(InputError, match=r"none of the 8 films .* is in the records"):
        take(folder, ["00099999_000.png"])


def test_a_folder_of_damaged_films_only_is_told(tmp_path):
    folder = lay(tmp_path / "images", dict.fromkeys(NAMES, b""))
    with pytest.raises(InputError, match=r"none of the 8 films .* can be read .*empty"):
        take(folder)


def test_phantoms_and_real_films_are_never_mixed(tmp_path, folder):
    text = PngImagePlugin.PngInfo()
    text.add_text(phantoms.MARK, "synthetic")
    (tmp_path / "drawn").mkdir()
    Image.open(folder / NAMES[0]).save(tmp_path / "drawn" / NAMES[0], pnginfo=text)
    with pytest.raises(InputError, match="phantoms, drawn for a demo"):
        take(tmp_path / "drawn")
    with pytest.raises(InputError, match="no phantoms, but this is a demo"):
        inventory.take_inventory(folder, tmp_path / "data", NAMES, drawn=True)


def test_films_that_could_not_be_stored_are_unreadable_not_missing(folder):
    (folder / NAMES[6]).unlink()
    _, report = take(folder, refused={NAMES[6]: "cut off"})
    assert report["missing"] == []
    assert report["left_out"] == {NAMES[6]: "unreadable: cut off"}


def test_a_copy_of_the_data_serves_as_the_data_do(tmp_path):
    data = tmp_path / "one" / "data"
    folder = lay(data / "images", FILMS)
    inventory.take_inventory(folder, data, NAMES, drawn=False)
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    shutil.rmtree(tmp_path / "one")
    copy = tmp_path / "other" / "data"
    assert list(inventory.available(copy / "images", copy)) == NAMES


def test_later_stages_say_which_notebook_must_come_first(folder):
    data = folder.parent / "data"
    with pytest.raises(InputError, match="Run 000-data_download first"):
        inventory.available(folder, data)
    take(folder)
    with pytest.raises(InputError, match=r"is about the films in .*images, not .*other"):
        inventory.available(folder.parent / "other", data)
    (folder / NAMES[0]).unlink()
    with pytest.raises(InputError, match="holds 7 films, others than the 8 that were checked"):
        inventory.available(folder, data)
