import dataclasses

import pytest

from cxr.config import load_config
from cxr.errors import InputError
from cxr.fetch import selection, small_files
from cxr.findings import FINDINGS
from cxr.records import nih


@pytest.fixture(scope="module")
def table():
    return nih.read_records(small_files.path_of("records"))[0]


@pytest.fixture
def config(tmp_path):
    config = load_config({}, profile="full", root=tmp_path)
    config.data.mkdir()
    return config


@pytest.mark.parametrize("films", [50, 5000])
def test_a_sample_has_whole_patients_and_every_finding_in_proportion(table, films):
    chosen = selection.by_patient(table, films=films, seed=42)
    assert len(chosen) == len(set(chosen)) == films
    inside = table["film"].isin(chosen)
    # Whole patients: nobody lies half inside.
    assert not set(table.loc[inside, "patient_id"]) & set(table.loc[~inside, "patient_id"])
    if films == 5000:
        # In proportion: 10 of 227 Hernia films, 887 of 19,894 with an infiltration.
        expected = table[list(FINDINGS)].sum() * films / len(table)
        assert (table.loc[inside, list(FINDINGS)].sum() - expected).abs().max() <= 5


def test_a_sample_follows_its_seed(table):
    first, again, other = (selection.by_patient(table, films=99, seed=seed) for seed in (1, 1, 2))
    assert first == again != other


def test_a_sample_larger_than_the_data_is_refused(table):
    with pytest.raises(InputError, match="more films than the 112,120"):
        selection.by_patient(table, films=112_121, seed=1)
    assert len(selection.by_patient(table, films=112_120, seed=1)) == 112_120


def test_the_first_archive_holds_the_first_films_by_name(table, config):
    first = selection.wanted(dataclasses.replace(config, profile="first_archive"), table)
    # As in Kaggle's copy: images_001 ends with the 1,335th patient's seventh film.
    assert (len(first), first[0], first[-1]) == (4999, "00000001_000.png", "00001335_006.png")


def test_without_a_sample_all_films_are_wanted(table, config):
    assert len(selection.wanted(config, table)) == 112_120


def test_boxes_are_a_sample(table, config):
    wanted = dataclasses.replace(config, sample="boxes")
    with pytest.raises(InputError, match="CXR_SAMPLE=boxes needs the list of boxes"):
        selection.wanted(wanted, table)
    (config.data / "boxes.csv").write_bytes(small_files.path_of("boxes").read_bytes())
    assert len(selection.wanted(wanted, table)) == 880


def test_a_demos_films_do_not_depend_on_the_split_asked_for(table, tmp_path):
    # So that several splits can be compared on the same films, fetched once.
    demo = load_config({}, profile="demo", root=tmp_path, sample="60")
    other = dataclasses.replace(demo, split="official")
    assert selection.wanted(demo, table) == selection.wanted(other, table)


@pytest.mark.parametrize(
    "text",
    [
        "00000002_000.png\n00000001_000.png\n\n",
        "film,patient_id\n00000001_000.png,1\n00000002_000.png,2\n",
        '"Image Index","Finding Labels"\r\n"00000001_000.png","Mass"\r\n00000002_000.png,Mass\r\n',
    ],
)
def test_a_file_of_names_is_a_sample(table, config, tmp_path, text):
    (tmp_path / "mine.txt").write_text(text)
    wanted = dataclasses.replace(config, sample=str(tmp_path / "mine.txt"))
    assert selection.wanted(wanted, table) == ["00000001_000.png", "00000002_000.png"]


@pytest.mark.parametrize(
    "text, words",
    [("", "names no film"), ("film\n99999999_000.png\n", "names 99999999_000.png, which")],
)
def test_a_file_that_names_other_films_is_refused(table, config, tmp_path, text, words):
    (tmp_path / "mine.txt").write_text(text)
    with pytest.raises(InputError, match=words):
        selection.wanted(dataclasses.replace(config, sample=str(tmp_path / "mine.txt")), table)


@pytest.mark.parametrize("sample", ["many", "0", "-5", "nowhere.txt"])
def test_a_sample_that_is_neither_is_refused(table, config, sample):
    with pytest.raises(InputError, match=f"CXR_SAMPLE={sample} is neither"):
        selection.wanted(dataclasses.replace(config, sample=sample), table)
