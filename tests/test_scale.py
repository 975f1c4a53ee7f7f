"""The page on 10 million films says what its script computes, from figures that exist."""

import importlib.util

import pytest

from cxr.config import PROJECT

PAGE = (PROJECT / "docs" / "scale.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def scale():
    path = PROJECT / "benchmarks" / "scale.py"
    spec = importlib.util.spec_from_file_location("scale", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_the_tables_that_the_script_computes(scale):
    for line in scale.tables().splitlines():
        assert line in PAGE, line
    assert "**Computed, not measured.**" in PAGE


def test_storage_is_a_byte_a_pixel(scale):
    # 10,000,000 x 128 x 128 and x 224 x 224 bytes.
    small, large = scale.storage()[2:4]
    assert "| 164 GB |" in small and "| 502 GB |" in large
    # 502 GB are 4,014 Gbit, and 10 of them pass in a second.
    assert "| 7 min |" in large


def test_an_epoch_is_films_over_the_speed_of_all_hosts(scale):
    # 10,000,000 films at 2,000 a second take 5,000 s; on four hosts 1,250.
    row = scale.epochs()[3]
    assert row.startswith("| 2,000 films/s | 83 min | 21 min | 5 min | 1.4 | 1 |")


def test_an_inventory_that_is_written_again_and_again_grows_with_the_square(scale):
    written = scale.FILMS**2 / (2 * scale.BATCH) * scale.ROW
    assert written / 1e9 == pytest.approx(970, rel=0.02)
    source = (PROJECT / "src" / "cxr" / "fetch" / "inventory.py").read_text()
    assert f"_BATCH = {scale.BATCH}\n" in source


def test_the_figures_are_those_that_the_other_benchmarks_measured(scale):
    training = (PROJECT / "benchmarks" / "training_cost.py").read_text()
    assert f"FEED = {scale.FEED:_}\n" in training
    assert f"1024: {1000 * scale.DECODE:.1f}," in training
    assert f"{scale.ORIGINAL // 1000} kB" in (PROJECT / "docs" / "data-cost.md").read_text()
    measured = (PROJECT / "benchmarks" / "README.md").read_text()
    assert f"read, clean, encode         {scale.READ}" in measured
    assert f"subset, split               {scale.SPLIT}" in measured
