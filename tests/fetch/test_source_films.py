"""`CXR_SOURCE`: another hospital's table and films, kept as the notebooks take them."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.config import load_config
from cxr.errors import InputError
from cxr.fetch import download, selection, small_files, source_films
from cxr.fetch.archives import open_archives
from cxr.fetch.manifest import Manifest, data_settings
from cxr.records import nih, sources, split_files, splits
from tests.made_up import shared_patients

LABELS = ("Mass", "Mass|Effusion", "No Finding", "")


@pytest.fixture
def config(tmp_path):
    """40 patients of two films each; every fourth patient's labels are empty."""
    films, rows = tmp_path / "films", []
    for patient in range(40):
        (films / f"p{patient}").mkdir(parents=True)
        for number in range(2):
            name = f"p{patient}/{number}.jpg"
            pixels = np.random.default_rng((patient, number)).integers(0, 256, (70, 80))
            Image.fromarray(pixels.astype(np.uint8)).save(films / name)
            rows.append((name, patient + 1, LABELS[patient % 4]))
    table = pd.DataFrame(rows, columns=["film", "patient_id", "labels"])
    table.loc[len(table)] = ["p0/gone.jpg", 1, "Mass"]
    (films / "p1" / "0.jpg").write_bytes(b"\xff\xd8\xff no film")
    table.to_csv(tmp_path / "table.csv", index=False)
    given = {"CXR_SOURCE": "folder", "CXR_RECORDS": str(tmp_path / "table.csv")}
    given |= {"CXR_IMAGES": str(films), "CXR_STORE_SIZE": "64", "CXR_IMAGE_SIZE": "64"}
    return load_config(given, profile="first_archive", root=tmp_path / "root")


def fetched(config):
    table = small_files.fetch_into_data(config)
    records, _ = sources.load(config.data / "records.csv")
    wanted = selection.wanted(config, records)
    with open_archives(config, records, wanted, selection.boxes(config.data)) as archives:
        row = download.fetch_films(config, archives, wanted)
    return table, records, row, download.take_inventory(config, wanted)


def test_films_and_records_are_kept_as_the_notebooks_take_them(config):
    assert config.source == "folder" and "films of `folder`" in config.banner
    table, records, row, inventory = fetched(config)
    # 81 rows, of which the 20 without a label cannot be trained on.
    assert "kept: 61 films" in table["file"].tolist()
    assert "nothing known of any finding: 20 films" in table["file"].tolist()
    said = "stored; 1 could not be read; 1 of the table's are not in "
    assert row.loc[0, "state"] == f"{said}{config.images}" and row.loc[0, "films"] == 59
    checks = inventory.set_index("check")["films"]
    assert (checks["on disk"], checks["missing"], checks["unreadable"]) == (59, 1, 1)
    paths = download.available(config, size=64)
    film = records.set_index("file")["film"]["p0/1.jpg"]
    # Stretched to a square, as NIH's are.
    with Image.open(paths[film]) as kept:
        assert kept.size == (64, 64)
    # Called again, nothing is made anew.
    before = paths[film].stat().st_mtime_ns
    fetched(config)
    assert paths[film].stat().st_mtime_ns == before


def test_a_sources_split_keeps_patients_apart_and_is_read_back(config, tmp_path):
    _, records, _, _ = fetched(config)
    by_kind, refused = splits.make_splits(records, min_combination=0, partial=False)
    assert set(by_kind) == {"patient"} and set(refused) == {"official", "original", "community"}
    assert "folder's and not NIH's" in refused["official"]
    assert shared_patients(records, by_kind["patient"]) == 0
    path = config.data / "records.csv"
    settings = split_files.split_settings(path, "patient", min_combination=0, seed=42)
    split_files.save_split(records, by_kind["patient"], config.subset, settings=settings)
    parts, info = split_files.load_split(config.subset, settings=settings)
    assert sum(len(part) for part in parts.values()) == 61
    assert "folder's and not NIH's" in info["records"]
    # No patient of another source can be in it.
    assert not set(records["patient_id"]) & set(range(1, nih.PATIENTS + 1))


def test_data_of_one_source_are_not_taken_for_anothers(config):
    fetched(config)
    other = dataclasses.replace(config, store_size=32)
    with pytest.raises(InputError, match="made with other settings"):
        small_files.fetch_into_data(other)


def test_a_source_that_leaves_most_open_cannot_be_trained_on(config):
    text = config.records.read_text().replace("No Finding", "").replace("Mass|Effusion", "")
    config.records.write_text(text)
    with pytest.raises(InputError, match=r"only 21 of 81 films of folder are certain"):
        small_files.fetch_into_data(config)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"CXR_SOURCE": "mimic"}, "unknown source CXR_SOURCE='mimic'; known are nih, chexpert"),
        ({"CXR_IMAGES": ""}, "needs its table in CXR_RECORDS and the folder of its films"),
        ({"CXR_RECORDS": ""}, "needs its table in CXR_RECORDS and the folder of its films"),
        ({"CXR_SPLIT": "official"}, "CXR_SPLIT=official is a split of NIH's films"),
    ],
)
def test_settings_that_no_source_can_have_are_refused(tmp_path, changed, message):
    (tmp_path / "t.csv").touch()
    given = {"CXR_SOURCE": "vindr", "CXR_RECORDS": str(tmp_path / "t.csv")}
    given |= {"CXR_IMAGES": str(tmp_path), "CXR_PROFILE": "full"}
    with pytest.raises(InputError, match=message):
        load_config(given | changed)


def test_a_picture_is_never_taken_for_another_films(config):
    _, records, _, _ = fetched(config)
    files = records.set_index("film")["file"]
    names = files.index[files.str.startswith("p5/")]
    pictures = [config.data / "images" / name for name in names]
    first, second = (picture.read_bytes() for picture in pictures)
    # Another reading of the table leaves out the patient's first film: the second has its name.
    table = pd.read_csv(config.records)
    (config.data / "manifest.json").unlink()
    table[table["film"] != "p5/0.jpg"].to_csv(config.records, index=False)
    fetched(config)
    assert pictures[0].read_bytes() == second != first
    # A picture that does not say what it is, of a film whose file is gone, is set aside.
    with Image.open(pictures[0]) as image:
        image.save(pictures[0])
    (config.images / "p5" / "1.jpg").unlink()
    _, _, row, inventory = fetched(config)
    assert not pictures[0].exists() and pictures[0].with_name(f"{names[0]}.other").exists()
    assert "2 of the table's are not in" in row.loc[0, "state"]
    assert inventory.set_index("check")["films"]["missing"] == 2


def test_records_that_were_cut_off_are_made_again_by_running_000(config):
    fetched(config)
    path = config.data / "records.csv"
    whole = path.read_bytes()
    path.write_bytes(whole[:-40])
    with pytest.raises(InputError, match="run 000-data_download again"):
        sources.load(path)
    small_files.fetch_into_data(config)
    assert path.read_bytes() == whole


def test_data_of_before_pictures_said_their_film_are_made_again(config):
    fetched(config)
    picture = next(iter(download.available(config).values()))
    whole = picture.read_bytes()
    Image.new("L", (64, 64), 128).save(picture)
    fetched(config)
    assert picture.read_bytes() == whole


@pytest.mark.parametrize("fault", ["cut off", "altered"])
def test_a_stored_film_that_is_not_whole_is_made_again(config, fault):
    fetched(config)
    picture = next(iter(download.available(config).values()))
    whole = picture.read_bytes()
    half = len(whole) // 2
    damaged = whole[:half] + (b"" if fault == "cut off" else b"damaged" + whole[half + 7 :])
    picture.write_bytes(damaged)
    _, _, row, inventory = fetched(config)
    assert picture.read_bytes() == whole and row.loc[0, "films"] == 59
    assert picture.with_name(f"{picture.name}.damaged").read_bytes() == damaged
    # The one that the source itself has in pieces.
    assert inventory.set_index("check")["films"]["unreadable"] == 1


def test_a_machine_that_only_trains_needs_the_table_and_an_empty_folder(config, tmp_path):
    fetched(config)
    given = {"CXR_SOURCE": "folder", "CXR_IMAGE_SIZE": "64", "CXR_RECORDS": str(config.records)}
    given["CXR_IMAGES"] = str(tmp_path / "empty")
    with pytest.raises(InputError, match=r"CXR_IMAGES=.*empty does not exist"):
        load_config(given, profile="first_archive", root=config.root)
    (tmp_path / "empty").mkdir()
    elsewhere = load_config(given, profile="first_archive", root=config.root)
    assert download.available(elsewhere, size=64) == download.available(config, size=64)
    config.records.unlink()
    with pytest.raises(InputError, match=r"CXR_RECORDS=.*table\.csv does not exist"):
        load_config(given, profile="first_archive", root=config.root)


def test_data_of_another_mapping_are_not_up_to_date(config, monkeypatch):
    fetched(config)
    known = sources.mapping("folder")
    other = known.assign(says=known["says"].replace("positive", "uncertain"))
    monkeypatch.setattr(sources, "mapping", lambda _: other)
    with pytest.raises(InputError, match=r"made with other settings \(mapping was "):
        Manifest(config.data, data_settings(config))


def placed(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_films_that_a_table_names_from_the_root_on_are_found(tmp_path):
    folder = placed(tmp_path / "B" / "films", "x.png", "deep/y.jpg", "z.png")
    listed = [(folder / name).as_posix().strip("/") for name in ("x.png", "deep/y.png")]
    records = pd.DataFrame({"film": ["1.png", "2.png", "3.png"], "file": [*listed, "films/z.png"]})
    found = source_films.find(folder, records)
    assert found == {
        "1.png": folder / "x.png",
        "2.png": folder / "deep" / "y.jpg",
        "3.png": folder / "z.png",
    }
    # Another folder's films are not these.
    records["file"] = records["file"].str.replace("B/films", "C/films")
    with pytest.raises(InputError, match=r"none of the 2 files in .* is a film of the table"):
        source_films.find(placed(tmp_path / "D", "x.png", "deep/y.jpg"), records)


def test_what_lies_below_the_folder_comes_before_what_its_own_name_makes_fit(tmp_path):
    folder = placed(tmp_path / "films", "films/a.png", "a.png")
    records = pd.DataFrame({"film": ["1.png"], "file": ["films/a.png"]})
    assert source_films.find(folder, records) == {"1.png": folder / "films" / "a.png"}


def test_films_without_a_file_are_named():
    records = pd.DataFrame({"film": ["b", "a", "c"]})
    assert source_films.absent(records, {"c": "some/path"}) == ["a", "b"]


def test_a_table_may_name_its_films_through_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "real" / "1.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for place in ("link", "real"):
        named = pd.DataFrame({"film": ["a"], "file": [f"{tmp_path}/{place}/1.png"]})
        found = source_films.find(tmp_path / "link", named)
        assert found == {"a": tmp_path / "link" / "1.png"}
