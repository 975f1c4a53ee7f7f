"""The slides of a project's results, made from the tables and nothing else."""

import dataclasses
import html
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from cxr import artifacts, figures
from cxr.evaluation import calibration, controls, localisation, ranking
from cxr.figures.page import templates
from cxr.figures.positives import positives
from cxr.findings import FINDINGS, NO_FINDING, TOO_FEW, label
from cxr.publish import atlas, slides, stills
from cxr.publish.results import Results, Run, kind, origin
from cxr.publish.slides import Slide
from cxr.records import sources, split_checks, splits
from cxr.wording import counted, percent, spelled, with_interval
from cxr.wording import figure as number

# All figures of a page stand, marks and all.
_DRAWN = (
    "[...document.querySelectorAll('.cxr-figure')].every("
    "(figure) => figure.querySelector('.main-svg .trace'))"
)

TITLE = "Detection of 14 pathologies in chest X-rays"
NOTICE = "Research software, not a medical device."


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the records say, computed by `facts`.

    Attributes:
        films, patients, unlabelled: numbers; `unlabelled` films bear none of the findings.
        positives: finding -> films.
        leakage: kind of split -> frame of `split_checks.leakage`.
        source: whose films these are, "nih" or a key of `sources.SOURCES`.
        memory: mean AUROC, on the split by film, of each patient's own training labels; None
            where the records do not allow that split.
    """

    films: int
    patients: int
    unlabelled: int
    positives: pd.Series
    leakage: Mapping[str, pd.DataFrame]
    memory: float | None
    source: str = "nih"


def facts(records: pd.DataFrame, by_kind: Mapping[str, pd.Series]) -> Facts:
    """Compute what the deck says about data and leakage.

    Args:
        records: all of them, as `nih.read_records` returns them.
        by_kind: as `splits.make_splits` returns it.
    """
    names, memory = list(FINDINGS), None
    if "original" in by_kind:
        split = by_kind["original"]
        train, test = (records.loc[split.index[split == part]] for part in ("train", "test"))
        remembered = controls.patient_memory(train, test)
        if remembered is not None:
            memory = ranking.Judged.of(test, remembered).auroc.mean().value[0]
    return Facts(
        films=len(records),
        patients=records["patient_id"].nunique(),
        unlabelled=int((records["labels"] == NO_FINDING).sum()),
        positives=records[names].sum(),
        leakage={kind: split_checks.leakage(records, split) for kind, split in by_kind.items()},
        memory=memory,
        source=str(records["source"].iloc[0]) if "source" in records else "nih",
    )


def read_facts(path: Path, *, min_combination: int = 21, seed: int = 42) -> Facts:
    """The facts of a records CSV, NIH's or another source's; arguments as for `make_split`."""
    records, _ = sources.load(path)
    return facts(
        records, splits.make_splits(records, min_combination=min_combination, seed=seed)[0]
    )


def build(
    results: Results,
    known: Facts,
    *,
    script: str | None = None,
    pictures: Mapping[str, bytes] | None = None,
) -> str:
    """The deck as one HTML page.

    Args:
        results: the tables, as `results.of_folder` or `results.of_profile` find them.
        known: what the records say.
        script: HTML that provides plotly.js; by default the page brings it along (5 MB) and
            needs nothing but a browser.
        pictures: as `draw` returns them.
    """
    mark = f'<meta name="cxr-tables" content="{results.checksum()}">'
    return slides.deck(
        TITLE,
        contents(results, known),
        script=slides.embedded() if script is None else script,
        notice=NOTICE,
        pictures=pictures,
        head=mark,
    )


def write(results: Results, known: Facts, path: Path, *, light: bool = False) -> list[Path]:
    """Write the deck, and where a browser is installed also print it as a PDF beside it.

    Args:
        light: keep plotly.js (5 MB) out of the page and beside it, for a copy that is kept in
            git: without that file the page takes the CDN's, and without network it shows
            static pictures, if a browser was there to draw them.

    Returns:
        The files written.
    """
    from cxr.publish import browser

    drawn = {}
    library = None
    if light:
        library = slides.beside(figures.write_library(path.parent))
        drawn = draw(contents(results, known)) if browser.path() else {}
    artifacts.write_text(path, build(results, known, script=library, pictures=drawn))
    if not browser.path():
        return [path]
    printed = path.with_suffix(".pdf")
    with browser.opened() as chromium, artifacts.atomic(printed) as temporary:
        tab = chromium.new_page(viewport={"width": slides.WIDTH, "height": slides.HEIGHT})
        # The figures of the light page come from the copy of plotly.js beside it.
        tab.goto(path.resolve().as_uri())
        tab.wait_for_function(_DRAWN)
        content = tab.pdf(prefer_css_page_size=True, print_background=True)
        # The time of printing would make every print another file.
        temporary.write_bytes(re.sub(rb"\(D:\d{14}", b"(D:20000101000000", content))
    return [path, printed]


def draw(parts: Iterable[Slide]) -> dict[str, bytes]:
    """Slide name -> PNG of its figure.

    Raises:
        InputError: where no browser is installed.
    """
    from cxr.publish import browser

    shown = {}
    for part in parts:
        if part.figure is not None:
            # A picture does not stretch: it takes the size of a printed slide's figure.
            picture = go.Figure(part.figure).update_layout(height=slides.FIGURE[1], title=None)
            shown[part.name] = picture
    return dict(zip(shown, browser.pictures(list(shown.values())), strict=True))


def contents(results: Results, known: Facts) -> list[Slide]:
    """All slides, in order; a section without tables says what is missing."""
    best = results.best()
    foot = results.provenance()
    parts = [
        _title(results),
        _problem(known, best),
        _data(results, known),
        _leakage(known),
        _models(results),
        _ranking(results, best),
        _curves(results, best),
        _controls(results, best),
        _calibration(results, best),
        _groups(results, best),
        _places(results, best),
        *_films(results),
        _limits(results, best, known),
        _next(results, best, known),
    ]
    scored = {
        "title", "models", "ranking", "roc", "controls", "calibration", "groups", "places",
        "limits",
    }  # fmt: skip
    return [
        dataclasses.replace(
            part,
            foot=f"{foot}. {part.foot}".strip() if part.name in scored else part.foot,
            figure=None if part.figure is None else slides.fitted(part.figure),
        )
        for part in parts
    ]


def _body(name: str, **values) -> str:
    """The HTML of a slide's template, `templates/slide_<name>.html`."""
    return (
        templates("cxr.publish")
        .get_template(f"slide_{name}.html")
        .render(values, notice=NOTICE, with_interval=with_interval)
    )


def _title(results: Results) -> Slide:
    means = {words: results.mean(run) for run, words in results.named().items()}
    return Slide(
        "title",
        TITLE,
        "How well do models that learned from mined labels rank chest films, finding by finding, "
        "for patients they have never seen?",
        body=_body("title", means=means, results=results),
    )


def _problem(known: Facts, best: Run) -> Slide:
    return Slide(
        "problem",
        f"One film, {len(FINDINGS)} questions",
        "A film can show several findings at once, so each gets a probability of its own. These "
        "are drawings, with the sign of each framed.",
        body=_body(
            "problem",
            known=known,
            split=best.split,
            findings=[*map(label, FINDINGS)],
            atlas=atlas.sheet_address(),
        ),
    )


def _data(results: Results, known: Facts) -> Slide:
    table = results.needed("auroc", results.best().name).set_index("finding")
    tested = table["positives"].drop("Mean").astype(int)
    shown = known.positives[known.positives > 0]
    told = "None of them shows a finding."
    if len(shown):
        rarest, commonest = shown.idxmin(), shown.idxmax()
        told = f"{label(commonest)} is on {counted(shown[commonest], 'film')}"
        if shown[rarest] < shown[commonest]:
            times = f"{shown[commonest] / shown[rarest]:.1f}"
            more = "hardly more than" if times == "1.0" else f"{times} times as many as"
            told += f", {more} {label(rarest)} ({shown[rarest]:,})"
        told += (
            f"; {counted(known.unlabelled, 'film')} bear{'s' * (known.unlabelled == 1)} none of "
            "the findings."
        )
    return Slide(
        "data",
        f"{counted(known.films, 'film')} of {counted(known.patients, 'patient')}",
        told,
        figure=positives(
            {
                f"in all records ({known.films:,} films)": known.positives,
                f"in the test films scored here ({int(table.loc['Mean', 'films']):,})": tested,
            }
        ),
        foot="NIH ChestX-ray14 (Wang et al., CVPR 2017); counts from NIH's records, and from the "
        "tested films' mined labels."
        if known.source == "nih"
        else f"{sources.SOURCES[known.source].title}; counts from its labels, by our reading.",
        narrowest=340,
    )


def _leakage(known: Facts) -> Slide:
    by_patient = known.leakage["patient"].set_index("split").loc["test"]
    sizes = known.leakage["patient"].set_index("split")["films"]
    lead = f"Divided by patient, {int(by_patient['shared_films']):,} test films show one whom "
    lead += "training showed, too."
    if known.memory is not None:
        by_film = known.leakage["original"].set_index("split").loc["test"]
        lead += (
            f" Divided by film, as in the split “original”: {100 * by_film['leaked']:.1f} %. "
            "Averaging such a patient's own training labels, without any image, scores a mean "
            f"AUROC of {known.memory:.3f} there."
        )
    return Slide(
        "split",
        "Divide patients, not films",
        lead,
        figure=figures.leaked(known.leakage),
        foot="Split “patient” of all records: "
        + ", ".join(f"{sizes[name]:,} {name}" for name in splits.NAMES)
        + " films. The kinds differ in their test films, so scores of one cannot be compared "
        "with those of another.",
    )


def _models(results: Results) -> Slide:
    named = results.named()
    facts_of = {
        "what it is": lambda run: kind(run.model or named[run.name]),
        "trained from": lambda run: origin(run.weights),
        "parameters": lambda run: run.parameters and f"{run.parameters:,}",
        "films seen at": lambda run: run.image_size and f"{run.image_size} px",
        "training films": lambda run: run.train_films and f"{run.train_films:,}",
        "of patients": lambda run: run.train_patients and f"{run.train_patients:,}",
        "best epoch": lambda run: run.best_epoch and f"{run.best_epoch} of {run.epochs_done}",
        "validation AUROC": lambda run: run.validation_auroc and f"{run.validation_auroc:.3f}",
    }
    rows = {what: [describe(run) for run in results.runs] for what, describe in facts_of.items()}
    stated = {what: cells for what, cells in rows.items() if any(cells)}
    chosen = "How the models were made and chosen is not stated."
    if all(run.split for run in results.runs):
        chosen = (
            "Validation films chose the epoch, the thresholds and the recalibration; the test "
            "films were scored once and chose nothing."
        )
    return Slide(
        "models",
        "The models",
        f"Fourteen independent probabilities per film. {chosen}",
        body=_body("models", facts=stated, names=list(named.values())),
    )


def _ranking(results: Results, best: Run) -> Slide:
    name = results.named()[best.name]
    table = results.needed("auroc", best.name).set_index("finding").drop("Mean")
    certain = table[table["low"].notna()]
    mean = results.mean(best.name)
    lead = f"{name} reaches a mean AUROC of {with_interval(mean)}."
    if pd.isna(mean["auroc"]):
        lead = f"Too few patients of any finding were tested to say how well {name} ranks."
    if len(certain):
        first, last = certain["auroc"].idxmax(), certain["auroc"].idxmin()
        lead += f" It ranks {label(first)} best ({with_interval(certain.loc[first])})"
        if len(certain) > 1:
            lead += f" and {label(last)} worst ({with_interval(certain.loc[last])})"
        lead += "."
    absent = table.drop(certain.index)
    for why, part in absent.groupby(absent["remark"].fillna(TOO_FEW), sort=False):
        lead += f" {str(why).capitalize()}: {', '.join(map(label, part.index))}."
    return Slide(
        "ranking",
        "How well do they rank?",
        lead + _paired(results, best),
        figure=figures.ranked(
            results.tables("auroc"),
            title="AUROC by finding, with 95 % intervals; in brackets the films with it",
            axis="AUROC",
            reference=0.5,
        ).update_xaxes(title="AUROC (0.5: guessing)"),
        narrowest=340,
    )


def _paired(results: Results, best: Run) -> str:
    """How far the best run is ahead on the same patients, where that was asked."""
    table = results.comparison()
    if table is None:
        return ""
    rows = table[(table["finding"] == "Mean") & table["difference"].notna()]
    named, said = results.named(), []
    for row in rows.itertuples():
        if best.name in (row.model, row.other):
            other = row.other if row.model == best.name else row.model
            ahead, low, high = row.difference, row.low, row.high
            if row.other == best.name:
                ahead, low, high = -ahead, -high, -low
            said.append(f"{named.get(other, other)}: {spelled(ahead, low, high, '+.3f')}")
    return f" On the same patients, ahead of {'; '.join(said)}." if said else ""


def _curves(results: Results, best: Run) -> Slide:
    curves = results.tables("roc")
    if not curves:
        return _absent("roc", "ROC curves", "No ROC curves were kept with these results.")
    auroc = {name: table for name, table in results.tables("auroc").items() if name in curves}
    widths = results.needed("auroc", best.name).set_index("finding").drop("Mean")
    steps = widths.loc[widths["auroc"].notna(), "positives"].astype(int)
    told = ""
    if len(steps):
        told = (
            " A curve takes a step for every film with the finding: from "
            f"{steps.min():,} ({label(str(steps.idxmin()))}) to {steps.max():,} "
            f"({label(str(steps.idxmax()))})."
        )
    # The slide before shows the intervals.
    figure = figures.roc_grid(curves, auroc, intervals=False)
    # On a low slide the numbers of an axis would stand in the next row's titles.
    for row, columns in ((1, 5), (2, 4)):
        for column in range(1, columns + 1):
            figure.update_xaxes(showticklabels=False, row=row, col=column)
    return Slide(
        "roc",
        "What does a threshold trade?",
        "Further up: more of the films with the finding are flagged. Further right: more of those "
        f"without it, too.{told}",
        figure=figure,
    )


def _controls(results: Results, best: Run) -> Slide:
    table = results.table("controls", best.name)
    title = "What does the image add?"
    if table is None:
        return _absent("controls", title, "Scores without an image were not evaluated.")
    name = results.named()[best.name]
    blind = {by: part for by, part in table.groupby("scored_by", sort=False) if by != best.name}
    means = {by: part.set_index("finding").loc["Mean"] for by, part in blind.items()}
    rivals = "; ".join(f"{by} {with_interval(mean)}" for by, mean in means.items())
    return Slide(
        "controls",
        title,
        f"What can be scored without looking: {rivals}. {name} with the film: "
        f"{with_interval(results.mean(best.name))}.",
        # All models, so that each keeps the colour that it has on the other slides.
        figure=figures.ranked(
            results.tables("auroc") | blind,
            title="AUROC of models and of scores without an image; in brackets the films with it",
            axis="AUROC",
            reference=0.5,
        ).update_xaxes(title="AUROC (0.5: guessing)"),
        narrowest=340,
    )


def _calibration(results: Results, best: Run) -> Slide:
    title = "Do the scores mean what they say?"
    curves, table = results.reliability(best.name), results.table("calibration", best.name)
    if not curves or table is None:
        return _absent("calibration", title, "Calibration was not evaluated.")
    means = table[table["finding"] == "Mean"].set_index("scores")
    said = ", ".join(f"{when} {number(row['ece'])}" for when, row in means.iterrows())
    mended = " (on validation films)" if calibration.PREDICTED_AND_MENDED[1] in means.index else ""
    return Slide(
        "calibration",
        title,
        "Of films scored 0.2, a fifth should have the finding: on the diagonal, they do. Mean "
        f"calibration error: {said}{mended}.",
        # Here each panel has its own scale; smaller numbers stay clear of the titles below.
        figure=figures.reliability_grid(curves, results.named()[best.name]).update_xaxes(
            tickfont={"size": 9}
        ),
    )


def _groups(results: Results, best: Run) -> Slide:
    title = "Are all groups served alike?"
    tables = results.tables("subgroups")
    if not tables:
        return _absent("groups", title, "Groups of patients were not evaluated.")
    table = results.needed("subgroups", best.name)
    means = table[(table["finding"] == "Mean") & table["auroc_gap"].notna()]
    clear = means[(means["auroc_gap_low"] > 0) | (means["auroc_gap_high"] < 0)]
    shown = ", ".join(clear["group"]) if len(clear) else "none"
    return Slide(
        "groups",
        title,
        f"Each group against the largest of its kind. Of {len(means)} gaps in mean AUROC of "
        f"{results.named()[best.name]}, those whose interval excludes 0: {shown}. An interval "
        "that spans 0 does not show that there is no gap.",
        figure=figures.subgroup_gaps(tables).update_layout(
            legend={"x": 1, "xanchor": "right", "y": 1.06, "yanchor": "bottom"}
        ),
        narrowest=640,
    )


def _places(results: Results, best: Run) -> Slide:
    title = "Where does the model look?"
    # NIH's boxes surround one finding each, RSNA's any opacity of a lung.
    known = [results.table(kind, best.name) for kind in ("localisation", "localisation_rsna")]
    table = next((one for one in known if one is not None and len(one)), None)
    if table is None:
        return _absent(
            "places",
            title,
            "Not measured: no heatmap was held against boxes that radiologists drew around a "
            "finding, so nothing here says whether the model looks where the finding is.",
        )
    named = results.named()
    for run, words in named.items():
        table["method"] = table["method"].str.replace(run, words, regex=False)
    points = table[(table["measure"] == "pointing game") & (table["finding"] == "All")]
    own = named[best.name]
    rivals = (
        own,
        f"{own}, shuffled weights",
        f"{own}, learned from boxes",
        localisation.FIXED,
        "mean box",
    )
    said = "; ".join(
        f"{method} {percent(row)}"
        for method, row in points.set_index("method").iterrows()
        if method in rivals
    )
    drawn = "Phantoms' signs are drawn into the boxes. " if results.phantoms else ""
    asked = "boxed findings"
    if table is not known[0]:
        asked = "validation and test films with boxes"
        drawn = (
            "Radiologists boxed opacities for RSNA in 2018; each heatmap is that of the likeliest "
            "of four findings. "
        )
    if localisation.FIXED not in set(points["method"]):
        said += ". What a point that never moves would find was not asked here"
    return Slide(
        "places",
        title,
        f"{drawn}Share of {int(points['cases'].iloc[0]):,} {asked} where the heatmap's maximum "
        f"lies in the box: {said}.",
        # Below the plot seven methods would leave it no room.
        figure=figures.pointing(table).update_layout(
            legend={"yref": "paper", "y": 1, "yanchor": "top", "x": 1.01}, margin={"b": 60}
        ),
        narrowest=640,
    )


def _films(results: Results) -> list[Slide]:
    """Films to look at; no slide where 300 kept none."""
    if not results.stills or not (shown := stills.read(results.stills)):
        return []
    lead = "The heatmap shows what raised the score"
    lead += ", the blue box where the finding was marked. " if any(s.boxes for s in shown) else ". "
    lead += "Below each film its probability on a root scale, with the threshold as a black mark."
    foot = "These are films of this run: whoever passes the slides on passes them on, too."
    if all(still.phantom for still in shown):
        foot = ""
        lead += (
            " The films are drawings."
            if results.phantoms
            else " No real film is kept with these results: these are drawings, read by the "
            "demo's model, which is none of those above."
        )
    titled = ", ".join(f"a {still.outcome}" for still in shown)
    # Beside the films where 300 drew it; what is kept elsewhere has none.
    gallery = results.stills.with_name(f"gallery_{shown[0].finding}.html")
    body = _body(
        "films",
        stills=shown,
        place=lambda share: f"{100 * share**0.5:.1f}%",
        gallery=f"{stills.GALLERIES}{gallery.name}" if gallery.exists() else "",
        finding=label(shown[0].finding),
    )
    return [Slide("films", titled[:1].upper() + titled[1:], lead, body=body, foot=foot)]


def _limits(results: Results, best: Run, known: Facts) -> Slide:
    body = _body("limits", results=results, best=best, known=known)
    return Slide("limits", "What this does not show", body=body)


def _next(results: Results, best: Run, known: Facts) -> Slide:
    body = _body("next", results=results, best=best, known=known)
    return Slide("next", "What comes next", body=body)


def _absent(name: str, title: str, why: str) -> Slide:
    return Slide(name, title, body=f"<p>{html.escape(why)}</p>")
