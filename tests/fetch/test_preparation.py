import dataclasses
import re

import pytest

from cxr.config import load_config
from cxr.errors import InputError
from cxr.fetch import preparation


@pytest.fixture
def config(tmp_path):
    return load_config({}, profile="full", root=tmp_path / "root")


def test_a_run_that_can_be_made_leaves_no_trace(config, tmp_path):
    preparation.check(config)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "sample", ["²", "many", "-3", "0", "9" * 30, ",".join(["00000001_000.png"] * 24)]
)
def test_a_sample_that_cannot_be_meant_is_refused(config, sample):
    with pytest.raises(InputError, match=re.escape(sample[:60])):
        preparation.check(dataclasses.replace(config, sample=sample))


@pytest.mark.parametrize("sample", [None, "boxes", "1500"])
def test_samples_that_can_be_meant_are_let_through(config, sample):
    preparation.check(dataclasses.replace(config, sample=sample))


@pytest.mark.parametrize("folder", ["data", "data/images", "data/cache", "subset", "presentation"])
def test_each_folder_of_the_run_is_tried_before_the_download(config, folder):
    # A file where a folder must be cannot be written into, whoever runs this.
    place = config.root / folder
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("in the way")
    with pytest.raises(InputError, match=rf"{folder}.* cannot be written.*CXR_ROOT"):
        preparation.check(config)


def test_films_stored_smaller_than_the_models_see_them_are_refused(config):
    with pytest.raises(InputError, match=r"CXR_STORE_SIZE=128 .* 224 px"):
        preparation.check(dataclasses.replace(config, store_size=128))
    preparation.check(dataclasses.replace(config, store_size=224))
