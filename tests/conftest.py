"""Fixtures that several test modules share."""

import os
from pathlib import Path

import hypothesis
import pandas as pd
import pytest

from cxr.config import PROJECT
from cxr.evaluation import controls
from cxr.fetch import small_files
from cxr.records import nih, splits

# Files that take minutes start first, so that no process is left with one in the end.
LONGEST = (
    "test_notebooks.py",
    "test_training.py",
    "test_distribution.py",
    "test_backends.py",
    "test_hosts.py",
    "test_browser.py",
)

# A busy machine is no failure; what must be fast is measured in benchmarks/.
hypothesis.settings.register_profile("cxr", deadline=None)
hypothesis.settings.load_profile("cxr")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def records_path() -> Path:
    """NIH's real records, verified; fetched once and kept in `.cache`."""
    return small_files.path_of("records")


@pytest.fixture(scope="session")
def real_records(records_path) -> pd.DataFrame:
    return nih.read_records(records_path)[0]


@pytest.fixture(scope="session")
def real_boxes() -> pd.DataFrame:
    return nih.read_boxes(small_files.path_of("boxes"))


@pytest.fixture(scope="session")
def real_adjudicated() -> pd.DataFrame:
    return nih.read_adjudicated(small_files.path_of("adjudicated"))


@pytest.fixture(scope="session")
def real_splits(real_records) -> dict[str, pd.Series]:
    """The splits "patient", "official" and "original" of the real records."""
    return splits.make_splits(real_records)[0]


@pytest.fixture(scope="session")
def real_study(real_records, real_splits) -> pd.DataFrame:
    """What the labels alone score on each of these splits."""
    return controls.by_split(real_records, real_splits)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development material, for tests that can only run with it."""
    folder = Path(os.environ.get("SHARED_DIR", PROJECT.parent / "shared"))
    if not (folder / "nih").is_dir():
        pytest.skip(f"{folder} is absent; it holds films and lists that are not distributed here")
    return folder
