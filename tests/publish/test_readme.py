"""What the README says must be so."""

import dataclasses
import json
import re
import shlex
import shutil
import subprocess
from xml.etree import ElementTree

import pandas as pd
import pytest

from cxr import __main__, config, figures
from cxr.errors import InputError
from cxr.findings import FINDINGS, label
from cxr.publish import browser, notebooks, readme, results
from cxr.records import split_checks, splits

README = (config.PROJECT / "README.md").read_text(encoding="utf-8")
RESULTS = config.PROJECT / "presentation" / "results" / "images128"


def test_no_address_of_the_repository_is_invented():
    for name in notebooks.STAGES.values():
        assert f"]({name})" in README
    if notebooks.repository() is None:
        assert "github.com" not in README.replace("//raw.github.com", "")


def test_every_setting_is_listed_once():
    listed = re.findall(r"^\| `CXR_(\w+)` \|", README, re.MULTILINE)
    assert listed == [name for name in listed if name.lower() in vars(config.Config())]
    assert sorted(name.lower() for name in listed) == sorted(
        field.name for field in dataclasses.fields(config.Config)
    )


def test_what_it_says_of_the_judge_of_recipes_is_what_was_measured():
    benchmarks = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| [^|]+ \| 2,000 \|(.+)\|$", benchmarks, re.MULTILINE)
    measured = pd.DataFrame([[float(cell) for cell in row.split("|")] for row in rows])
    judge, patients_only = measured[0], measured[2]
    finds = f"{100 * judge.min():.1f} to {100 * judge.max():.1f} %"
    assert len(measured) == 5
    assert f"finds one in {finds}, the way before in up to {100 * patients_only.max():.0f} %" in (
        README
    )
    seeds = pd.read_csv(config.PROJECT / "benchmarks/accuracy/results/seeds.csv")
    most = seeds.loc[seeds["patients_only"], "difference"].abs().max()
    assert f"another seed was called different by up to {most:.3f}, so" in README


def test_what_it_says_of_intervals_is_what_was_measured():
    benchmarks = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = benchmarks.partition("| patients with it |")[2].partition("\n\n")[0]
    rows = [row.strip("|").split("|") for row in table.splitlines()[2:]]
    held = pd.DataFrame([[float(cell) for cell in row[:7]] for row in rows]).set_index(0).loc[5:]
    least, mean = held[[1, 3, 5]].to_numpy().min(), held[[2, 4, 6]].to_numpy()
    told = f"in {100 * mean.min():.0f} to {100 * mean.max():.0f} % of drawn test sets on average"
    assert f"{told}, and in {100 * least:.0f} % in the worst" in README


def test_every_make_target_that_it_names_exists():
    makefile = (config.PROJECT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"`?make ([a-z]+)\b", README)) - {"and"}
    assert named
    assert named <= targets


def test_every_local_link_leads_somewhere():
    links = re.findall(r"\]\((?!http)([^)#]+)", README)
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(pictures) == 3
    for link in (*links, *pictures):
        assert (config.PROJECT / link).exists(), link


def test_the_results_and_pictures_are_those_of_the_tables():
    found = results.of_folder(RESULTS)
    stale = "the tables have changed since: run make readme"
    assert readme.insert(README, readme.block(found)) == README, stale
    for name in readme.pictures(found):
        assert found.checksum() in (RESULTS / name).read_text(encoding="utf-8"), stale


def test_the_results_table_says_what_was_measured():
    summary = json.loads((RESULTS / "summary.json").read_text())
    assert summary["runs"]
    for run in summary["runs"]:
        table = pd.read_csv(RESULTS / f"auroc_{run['run']}.csv")
        assert f"{run['test_films']:,} test films of {run['test_patients']:,} patients" in README
        for row in table.itertuples():
            cell = f"{row.auroc:.3f} ({row.low:.3f} to {row.high:.3f})"
            if pd.isna(row.auroc):
                cell = "too few patients"
            assert cell in README, (run["run"], row.finding)
    for stated in (summary["films"], summary["interval"], f"`{summary['command']}`"):
        assert stated in README


@pytest.mark.parametrize(("low", "said"), [(0.6, "finds more"), (0.5, "is not shown to find more")])
def test_maps_are_said_to_find_more_only_where_no_interval_overlaps(low, said):
    hits = pd.DataFrame(
        {
            "method": ["small", "small, learned from boxes", "most covered point"],
            "low": [0.3, low, 0.4],
            "high": [0.5, 0.8, 0.55],
        }
    ).set_index("method")
    verdict = readme._over_the_fixed_point(hits, "small")
    assert (
        f"The map is not shown to find more, what is learned from boxes {said} than it." in verdict
    )
    alone = readme._over_the_fixed_point(hits.drop("small, learned from boxes"), "small")
    assert alone.endswith("The map is not shown to find more than it.")


def test_marks_that_are_missing_or_doubled_are_refused():
    for text in ("no marks", f"{readme.END} {readme.BEGIN}", f"{README}{readme.BEGIN}"):
        with pytest.raises(InputError, match="once each and in this order"):
            readme.insert(text, "new")
    before, after = readme.insert(README, "new\\1").split("new\\1")
    assert README.startswith(before) and README.endswith(after)


def texts(picture):
    """What a reader sees written in an SVG, element by element."""
    root = ElementTree.fromstring(picture)
    return ["".join(part.itertext()) for part in root.iter("{http://www.w3.org/2000/svg}text")]


def test_the_pictures_hold_every_finding_and_model_and_what_they_are_not_for():
    found = results.of_folder(RESULTS)
    for name in readme.pictures(found):
        words = texts((RESULTS / name).read_text(encoding="utf-8"))
        for finding in FINDINGS:
            assert any(text.startswith(label(finding)) for text in words), (name, finding)
        assert any("Research software, not a medical device" in text for text in words)
        for model in found.named().values():
            assert any(model in text for text in words)
    curves = texts((RESULTS / "roc.svg").read_text(encoding="utf-8"))
    for model, table in found.tables("auroc").items():
        mean = table.set_index("finding").loc["Mean"]
        assert f"{model}: mean {mean['auroc']:.3f}" in curves


@pytest.mark.skipif(browser.path() is None, reason="needs Chromium")
def test_a_picture_is_drawn_the_same_each_time_and_keeps_its_words():
    table = pd.DataFrame({"finding": ["Mass", "Mean"], "auroc": 0.25, "low": 0.12, "high": 0.4})
    figure = figures.ranked({"model": table}, title="A title", axis="AUROC", reference=0.5)
    one, two = (browser.vector(figure, 390) for _ in range(2))
    assert one == two
    assert {"Mass", "A title"} <= set(texts(one))
    root = ElementTree.fromstring(one)
    assert (root.get("width"), root.get("height")) == ("390", str(figure.layout.height))


def test_the_sizes_of_the_splits_are_those_that_the_code_makes(real_splits):
    for kind, split in real_splits.items():
        counts = split.value_counts()
        sizes = " / ".join(f"{counts[name]:,}" for name in splits.NAMES)
        assert re.search(rf"^\| `{kind}`[^|]* \| {sizes} \|", README, re.MULTILINE), kind


def test_the_share_of_leaked_films_is_what_the_code_finds(real_records, real_splits):
    test = (
        split_checks.leakage(real_records, real_splits["original"]).set_index("split").loc["test"]
    )
    assert f"{100 * test['leaked']:.1f} % of its test films" in README
    assert f"{len(real_records):,} chest films" in README


def commands():
    """Every command line of the README, without comments and variables set for it."""
    fenced = "\n".join(re.findall(r"^```bash\n(.*?)^```", README, re.M | re.S)).splitlines()
    inline = re.findall(r"`((?:CXR_\w+=\S+ )*(?:make|\.venv/bin/python)\b[^`]*)`", README)
    for line in (*fenced, *inline):
        for part in line.partition(" #")[0].split(" && "):
            given = shlex.split(part)
            while given and re.match(r"[A-Z_]+=", given[0]):
                given.pop(0)
            if given:
                yield given


def test_every_command_is_one_that_exists():
    seen = set()
    for given in commands():
        # Slurm's srun starts what stands behind it.
        given = given[1:] if given[0] == "srun" else given
        seen.add(given[0])
        if given[0] == "make":
            # The list of what would be done; a target or a variable that is refused fails.
            make = [shutil.which("make") or pytest.skip("make is not installed"), "--dry-run"]
            done = subprocess.run(
                [*make, *given[1:]], cwd=config.PROJECT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, (given, done.stderr)
        elif given[:3] == [".venv/bin/python", "-m", "ipykernel"]:
            assert given[3] == "install", given
        elif given[0] == ".venv/bin/python":
            assert given[1:3] == ["-m", "cxr"], given
            _, unknown = __main__._parser().parse_known_args(given[3:])
            assert not unknown, given
        else:
            assert given[:3] == ["python3", "-m", "venv"] or given[0] == ".venv/bin/pip", given
    assert {"make", ".venv/bin/python"} <= seen
