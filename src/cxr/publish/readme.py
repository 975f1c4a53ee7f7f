"""What of the README is measured: its table of results and its pictures."""

import re
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from cxr import artifacts, figures
from cxr.errors import InputError
from cxr.evaluation import localisation
from cxr.findings import FINDINGS
from cxr.publish import atlas, browser
from cxr.publish.results import Results, kind, origin
from cxr.records import splits
from cxr.wording import percent, with_interval

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
TITLE = "ROC of each finding on real films"


def block(results: Results) -> str:
    """The README's section between the two marks, as Markdown, from the tables alone."""
    named, best = results.named(), results.best()
    mean = results.mean(best.name)
    tables = {named[run]: results.needed("auroc", run).set_index("finding") for run in named}
    first = tables[named[best.name]]
    header = ["finding", "films", "patients", *(f"`{name}`" for name in tables)]
    lines = [header, ["---", "--:", "--:", *("---" for _ in tables)]]
    for finding in (*FINDINGS, "Mean"):
        cells = [with_interval(table.loc[finding]) for table in tables.values()]
        if finding == "Mean":
            words = f"**{mean['remark'].capitalize()}**"
            lines.append([words, "", "", *(f"**{cell}**" for cell in cells)])
        else:
            having = (
                f"{int(first.loc[finding, column]):,}"
                for column in ("positives", "positive_patients")
            )
            lines.append([finding.replace("_", " "), *having, *cells])
    made = []
    for run in results.runs:
        what, whence = kind(run.model or named[run.name]), origin(run.weights)
        if what and whence:
            made.append(f"`{named[run.name]}` is a {what}, trained from {whence}")
    models = f"{'; '.join(made)}. " if made else ""
    if best.train_films is None:
        raise InputError(
            f"{results.folder / 'summary.json'} does not say how its models were trained; "
            "run make accuracy again."
        )
    devices = " ".join(device for run in results.runs for device in run.devices)
    where = ", without a GPU" if devices and "GPU" not in devices else ""
    share = splits.SIZES["train"] / best.train_films
    return "\n".join(
        [
            f"AUROC on **{int(mean['films']):,} test films of {int(mean['patients']):,} patients** "
            f"(interval: {results.interval}; split `{best.split}`, seed {best.seed}; "
            f"{results.films}). Trained on {best.train_films:,} films of "
            f"{best.train_patients:,} patients, chosen on {best.validation_films:,} "
            f"validation films of {best.validation_patients:,}{where}. {models}"
            f"Computed by `{results.command}`.",
            "",
            *("| " + " | ".join(line) + " |" for line in lines),
            "",
            *_radiologists(results, best.name, named[best.name]),
            f"With 1/{share:.0f} of the split's training films these numbers say that the pipeline "
            "learns from real films. They are not comparable with published results, which use "
            "all films, larger ones, and the official split.",
        ]
    )


def _radiologists(results: Results, run: str, name: str) -> list[str]:
    """What RSNA's readings of the same films say of the best run, and where its maps point."""
    read = results.table("rsna", run)
    if read is None:
        return []
    opacity = read[(read["reading"] == "Lung Opacity") & read["auroc"].notna()]
    said = [
        f"by the score of {row.score} {with_interval(row._asdict())}"
        for row in opacity.itertuples()
    ]
    normal = read[(read["reading"] != "Lung Opacity") & read["auroc"].notna()]
    said += [
        f"{row.reading.lower()}, by {row.score}, {with_interval(row._asdict())}"
        for row in normal.itertuples()
    ]
    first = read.iloc[0]
    lines = [
        f"**Against radiologists** (RSNA 2018, who read {int(first['films']):,} of these test "
        f"films anew): AUROC of the scores of `{name}` for Lung Opacity "
        f"({int(first['positives']):,} films) "
        f"{'; '.join(said)}. RSNA drew its films by NIH's labels, so no prevalence there is the "
        "hospital's."
    ]
    found = results.table("localisation_rsna", run)
    if found is not None:
        hits = found[(found["measure"] == "pointing game") & (found["finding"] == "All")]
        shares = "; ".join(
            f"{row.method.replace(run, f'`{name}`')} {percent(row._asdict())}"
            for row in hits.itertuples()
        )
        lines += [
            "",
            f"On the {int(hits['cases'].iloc[0]):,} validation and test films with RSNA's boxes "
            f"of opacities, the hottest point of the map lies in a box for: {shares}."
            + _over_the_fixed_point(hits.set_index("method"), run),
        ]
    return [*lines, ""]


def _over_the_fixed_point(hits: pd.DataFrame, run: str) -> str:
    """What the shares say of maps: no overlap of two 95 % intervals is more than enough."""
    highest = hits.loc[localisation.FIXED, "high"]
    verdicts = [
        f"{what} {'finds' if hits.loc[method, 'low'] > highest else 'is not shown to find'} more"
        for what, method in (
            ("the map", run),
            ("what is learned from boxes", f"{run}, learned from boxes"),
        )
        if method in hits.index
    ]
    return (
        f" The {localisation.FIXED} never moves: the one that other patients' boxes cover most "
        f"often. {', '.join(verdicts).capitalize()} than it."
    )


def pictures(results: Results) -> dict[str, tuple[go.Figure, int]]:
    """File name -> figure and its width: the curves for a wide page, a ranking for a phone."""
    best = results.best()
    mean = results.mean(best.name)
    note = (
        f"{int(mean['films']):,} test films of {int(mean['patients']):,} patients,",
        f"split {best.split}, seed {best.seed}.",
        "Research software, not a medical device.",
    )
    auroc = results.tables("auroc")
    curves = figures.roc_grid(results.tables("roc"), auroc)
    curves.update_layout(title={"text": TITLE, "subtitle": {"text": " ".join(note)}})
    # A phone is too narrow for all that in one row.
    ranking = figures.ranked(auroc, title="AUROC on real films", axis="AUROC", reference=0.5)
    ranking.update_xaxes(title="AUROC (0.5: guessing)").update_layout(
        legend={"orientation": "v"},
        margin={"l": 10, "r": 10, "t": 130},
        title={"y": 0.98, "subtitle": {"text": "<br>".join(note)}},
    )
    return {"roc.svg": (curves, 860), "auroc.svg": (ranking, 390)}


def insert(text: str, content: str) -> str:
    """The README's text with what stands between the marks replaced.

    Raises:
        InputError: if it does not hold both marks, once each and in order.
    """
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if text.count(BEGIN) != 1 or text.count(END) != 1 or not pattern.search(text):
        raise InputError(
            f"the README needs the marks {BEGIN} and {END}, once each and in this order; the "
            "table of results is written between them."
        )
    return pattern.sub(lambda _: f"{BEGIN}\n{content}\n{END}", text)


def write(results: Results, path: Path) -> list[Path]:
    """Write the README's table, and its pictures into the folder of the results.

    Returns:
        The files written.

    Raises:
        InputError: where no browser is installed to draw the pictures.
    """
    mark = f"<!-- tables {results.checksum()} -->\n"
    # All is made before the first file is written: table and pictures belong together.
    texts = {path: insert(path.read_text(encoding="utf-8"), block(results))}
    for name, (figure, width) in pictures(results).items():
        texts[results.folder / name] = browser.vector(figure, width) + mark
    for file, text in texts.items():
        artifacts.write_text(file, text)
    drawn = path.parent / "docs" / "atlas.png"
    with artifacts.atomic(drawn) as temporary:
        atlas.sheet().quantize(64).save(temporary, "PNG", optimize=True)
    return [*texts, drawn]
