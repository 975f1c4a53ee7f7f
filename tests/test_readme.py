"""What the README says must be so."""

import dataclasses
import json
import re

import pandas as pd

from cxr import config, notebooks, splits

README = (config.PROJECT / "README.md").read_text(encoding="utf-8")
RESULTS = config.PROJECT / "presentation" / "results" / "images128"


def test_nbviewer_links_derive_from_the_one_address():
    for name in notebooks.STAGES.values():
        assert f"]({notebooks.nbviewer(name)})" in README
    repository = notebooks.nbviewer("x").split("/blob/")[0].replace("nbviewer.org/", "")
    links = set(re.findall(r"https://(?:nbviewer\.org/)?github[^\s)]*", README))
    assert {link.split("/blob/")[0].replace("nbviewer.org/", "") for link in links} <= {
        repository,
        repository.replace("github/", "github.com/"),
    }


def test_every_setting_is_listed_once():
    listed = re.findall(r"^\| `CXR_(\w+)` \|", README, re.MULTILINE)
    assert listed == [name for name in listed if name.lower() in vars(config.Config())]
    assert sorted(name.lower() for name in listed) == sorted(
        field.name for field in dataclasses.fields(config.Config)
    )


def test_every_make_target_that_it_names_exists():
    makefile = (config.PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)\b", README)) - {"and"}
    assert named
    assert named <= targets


def test_every_local_link_leads_somewhere():
    for link in re.findall(r"\]\((?!http)([^)#]+)", README):
        assert (config.PROJECT / link).exists(), link


def test_the_results_table_says_what_was_measured():
    summary = json.loads((RESULTS / "summary.json").read_text())
    assert summary["runs"]
    for run in summary["runs"]:
        table = pd.read_csv(RESULTS / f"auroc_{run['run']}.csv")
        assert f"{run['test_films']:,} test films of {run['test_patients']:,} patients" in README
        for row in table.itertuples():
            cell = f"{row.auroc:.3f} ({row.low:.3f} to {row.high:.3f})"
            if not pd.isna(row.low):
                assert cell in README, (run["run"], row.finding)


def test_the_sizes_of_the_splits_are_those_that_the_code_makes(real_splits):
    for kind, split in real_splits.items():
        counts = split.value_counts()
        sizes = " / ".join(f"{counts[name]:,}" for name in splits.NAMES)
        assert re.search(rf"^\| `{kind}`[^|]* \| {sizes} \|", README, re.MULTILINE), kind
