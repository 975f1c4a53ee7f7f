"""What the evaluation leaves behind: tables, the model card, the checklist."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.config import PHANTOM_WEIGHTS
from cxr.evaluation import calibration, intervals
from cxr.findings import TOO_FEW, label
from cxr.publish import claim_checklist
from cxr.publish.claim_checklist import UNKNOWN
from cxr.records import sources
from cxr.wording import figure, with_interval

NOT_A_DEVICE = (
    "**Research software, not a medical device.** No score, threshold or heatmap of this model "
    "may guide the care of a person."
)


# Words for what a run's record calls its initial weights.
_START = {
    "none": "random",
    "imagenet": "ImageNet's",
    PHANTOM_WEIGHTS: "learned from drawings of made-up patients, not from ImageNet",
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What was evaluated, for the card and the checklist.

    Attributes:
        name: of the run, or of the file of scores.
        films_are: which films were judged, in words.
        split: its name in the configuration; None where the films are no split's.
        split_films: test films of the whole split, present or not; None without one.
        shared_patients: how many test patients have films in train; None where the model's
            training is unknown.
        training_films: how many judged films are on NIH's official training list, for models
            whose training is unknown; None for the project's own runs.
        phantoms: whether the films are drawn.
        provenance: versions, seed and commit, as text.
        notes: what the evaluation had to say, one sentence each.
        heatmaps: what they are worth, as `explain.worth` says it; "" where there are none.
        run: the run's `config.json`; empty for scores of unknown origin.
    """

    name: str
    films_are: str
    split: str | None
    split_films: int | None
    shared_patients: int | None
    training_films: int | None
    phantoms: bool
    provenance: str
    notes: Sequence[str] = ()
    heatmaps: str = ""
    run: Mapping = dataclasses.field(default_factory=dict)

    @property
    def source(self) -> str:
        """Whose films were judged: "nih", or a key of `sources.SOURCES`."""
        return self.run.get("config", {}).get("source", "nih")


def captions(outcomes: pd.DataFrame, threshold: float) -> list[str]:
    """What stands above each film of a gallery: outcome, score, threshold, film.

    Args:
        outcomes: as `thresholding.outcomes` returns them.
    """
    return [
        f"{row.outcome}<br>{row.score:.3f} (from {threshold:.3f})<br>{Path(row.film).stem}"
        for row in outcomes.itertuples()
    ]


def write(
    presentation: Path, setting: Setting, tables: Mapping[str, pd.DataFrame]
) -> dict[str, Path]:
    """Write the model card and the checklist of a run, or of a file of scores.

    Args:
        tables: kind -> table, as `judge.judge_model` returns them, and "localisation" where
            heatmaps were judged; what is missing is said to be.

    Returns:
        "model card" and "checklist" -> file.
    """
    checklist = claim_checklist.checklist(
        setting.name, _answers(tables, setting), known=bool(setting.run), drawn=setting.phantoms
    )
    pages = {
        "model card": ("model_card", model_card(tables, setting)),
        "checklist": ("checklist", checklist),
    }
    paths = {}
    for page, (stem, text) in pages.items():
        paths[page] = presentation / f"{stem}_{setting.name}.md"
        artifacts.write_text(paths[page], text)
    return paths


def model_card(tables: Mapping[str, pd.DataFrame], setting: Setting) -> str:
    """The model card (after Mitchell et al., FAccT 2019), as Markdown.

    Args:
        tables: as for `write`.
        setting: what was evaluated.
    """
    mean = tables["auroc"].set_index("finding").loc["Mean"]
    drawn = (
        "**The films are phantoms**, synthetic drawings: nothing here says anything about real "
        "films or patients.\n\n"
        if setting.phantoms
        else ""
    )
    sections = {
        f"Model card: {setting.name}": f"{NOT_A_DEVICE}\n\n{drawn}"
        f"{_headline(mean)}, on "
        f"{int(mean['films']):,} {setting.films_are}, of {int(mean['patients']):,} patients; 95 % "
        "interval by leaving out each patient in turn.",
        "Intended use": "Research and teaching: comparing methods on public data. Not intended: "
        "diagnosis, triage, screening, quality control, or any film outside research.",
        "Model": _about_model(setting.run),
        "Data and split": f"{_about_source(setting)} {_about_films(mean, setting)}",
        **({"Notes of the evaluation": _bullets(*setting.notes)} if setting.notes else {}),
        "Which films it refuses": _abstaining(setting.run),
        "Ranking": _ranking(tables),
        "At a threshold": _operating(tables),
        "Calibration": _calibration(tables),
        "Groups": _subgroups(tables),
        "What a score without a film reaches": _controls(tables),
        "Against radiologists": _adjudicated(tables) + "\n\n" + _readings(tables),
        "Where it looks": _localisation(tables, setting.heatmaps),
        "Limits": _bullets(
            *_limits(setting),
            "Some findings are learned by their treatment: chest drains mark Pneumothorax.",
            "View, age and sex alone carry information about the findings.",
            "Findings of too few patients are unknown here, not good.",
            "A heatmap shows what moved a score, not what is ill.",
        ),
        "Provenance": f"```\n{setting.provenance}\n```",
    }
    parts = [
        f"{'#' if place == 0 else '##'} {title}\n\n{text}"
        for place, (title, text) in enumerate(sections.items())
    ]
    return "\n\n".join(parts) + "\n"


def _headline(mean: pd.Series) -> str:
    """The mean AUROC with its interval, or that there is none."""
    if pd.isna(mean["auroc"]):
        return "AUROC: **too few patients of every finding**"
    return f"AUROC, {mean['remark']}: **{with_interval(mean, 'auroc')}**"


def _about_source(setting: Setting) -> str:
    """Whose films and labels these are."""
    if setting.source == "nih":
        return (
            "NIH ChestX-ray14 (Wang et al., CVPR 2017). The labels were mined from reports; "
            '"No Finding" does not mean normal.'
        )
    return (
        f"Films and labels of `{setting.source}`: {sources.SOURCES[setting.source].title}. What "
        "its labels say of the 14 findings is our reading (`source_labels.csv`); a finding that it "
        "never labels was learned as absent."
    )


def _limits(setting: Setting) -> tuple[str, str]:
    """What the labels and their source leave open."""
    if setting.source == "nih":
        return (
            "Labels come from text mining; radiologists disagree with many of them.",
            "One hospital, adults mostly, films of 1992 to 2015.",
        )
    return (
        "How the labels were made, and how far radiologists agree with them, is their source's to "
        "tell.",
        "One source of films: how the model fares on another is not known from these numbers.",
    )


def _about_films(mean: pd.Series, setting: Setting) -> str:
    """Which films were judged, and what the model may know of their patients."""
    said = []
    if setting.split_films is not None:
        said.append(
            f"{int(mean['films']):,} of the {setting.split_films:,} test films of the split "
            f"`{setting.split}` were present and scored."
        )
    if setting.shared_patients is None:
        said.append("Which films and patients the model was trained on is unknown here.")
        if setting.training_films and not setting.phantoms:
            said.append(
                f"{setting.training_films:,} of the judged films are on NIH's official training "
                "list, which most models were trained on: for these, the numbers may be memory."
            )
    elif setting.shared_patients:
        said.append(
            f"{setting.shared_patients:,} test patients also have films in train, so the scores "
            "partly measure how well the model remembers people."
        )
    else:
        said.append("No patient has films in train and in test.")
    return " ".join(said)


def _abstaining(run: Mapping) -> str:
    """What a verdict before the scores is worth; see `abstention.fit`."""
    worth = run.get("abstention")
    if not run:
        return "Unknown: only scores were given."
    if not worth:
        return "None: it was not taught to tell films that are unlike those that it knows."
    found = worth["found"]
    missed = [fault for fault, share in found.items() if share < 0.95]
    shares = ", ".join(f"{fault} {100 * share:.0f} %" for fault, share in found.items())
    return _bullets(
        f"As they are, {100 * worth['warned']:.1f} % of films are warned of and "
        f"{100 * worth['refused']:.1f} % refused: validation films of {worth['patients']:,} "
        "patients that set no limit, every patient counting the same.",
        f"Of the same films, spoiled, are warned of or refused: {shares}.",
        *([f"Fewer than 95 %, so do not rely on it: {', '.join(missed)}."] if missed else []),
        "Usual films differ in exposure themselves, so that weaker over- and underexposure is "
        "found less often than these shares say.",
        "Lateral views, children and other scanners were not measured.",
    )


def _about_model(run: Mapping) -> str:
    if not run:
        return (
            "Unknown: only its scores were given. Its architecture, its training, the choice of "
            "its epoch and its films are its authors' to tell."
        )
    facts = {
        "architecture": run.get("model"),
        "parameters": f"{run['parameters']:,}" if "parameters" in run else None,
        # Of a file only its name: where it lay tells a reader nothing.
        "initial weights": _START.get(run["weights"], Path(run["weights"]).name)
        if "weights" in run
        else None,
        "film size": f"{run['image_size']} px" if "image_size" in run else None,
        "training films": f"{run['train_films']:,}" if "train_films" in run else None,
        "best epoch": run.get("best_epoch"),
        "validation AUROC": run.get("validation_auroc"),
    }
    return _bullets(*(f"{name}: {value}" for name, value in facts.items() if value is not None))


def _ranking(tables: Mapping[str, pd.DataFrame]) -> str:
    auroc, auprc = (tables[kind].set_index("finding") for kind in ("auroc", "auprc"))
    rows = [
        (
            label(finding),
            f"{int(row['positives']):,}",
            "" if pd.isna(row["positive_patients"]) else f"{int(row['positive_patients']):,}",
            with_interval(row, "auroc"),
            with_interval(auprc.loc[finding], "auprc"),
            figure(auprc.loc[finding, "prevalence"]),
        )
        for finding, row in auroc.drop("Mean").iterrows()
    ]
    mean = auroc.loc["Mean"]
    of = mean["remark"].capitalize() if pd.notna(mean["auroc"]) else "Mean"
    rows.append(
        (
            of, "", "", with_interval(mean, "auroc"),
            with_interval(auprc.loc["Mean"], "auprc"), figure(auprc.loc["Mean", "prevalence"]),
        )
    )  # fmt: skip
    header = ("finding", "films with it", "patients", "AUROC", "AUPRC", "prevalence")
    note = (
        f'"Too few patients": fewer than {intervals.FEWEST_PATIENTS} with the finding, or '
        "without it.\n\n"
    )
    return note + _table(header, rows)


def _operating(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("operating_points")
    if table is None or not _chosen(tables):
        return "Not done: there are no validation scores to choose thresholds by."
    rule = table["rule"].iloc[0]
    rows = [
        (
            label(row["finding"]),
            figure(row["threshold"], _why(tables, row["finding"])),
            *(
                with_interval(row, rate, _why(tables, row["finding"]))
                for rate in ("sensitivity", "specificity", "ppv", "npv")
            ),
            "–" if pd.isna(row["flagged_per_1000"]) else f"{row['flagged_per_1000']:.0f}",
        )
        for _, row in table[table["rule"] == rule].iterrows()
    ]
    header = ("finding", "threshold", "sensitivity", "specificity", "PPV", "NPV", "flagged/1000")
    note = (
        f"Thresholds ({rule}) chosen on validation films, on the scale of the probabilities that "
        "are shown, recalibrated where that helped.\n\n"
    )
    return note + _table(header, rows)


def _calibration(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables["calibration"]
    parts = {when: part.set_index("finding") for when, part in table.groupby("scores", sort=False)}
    rows = [
        (
            label(finding),
            *(
                with_interval(part.loc[finding], measure, "no finite value")
                for measure in ("skill", "slope")
                for part in parts.values()
            ),
        )
        for finding in next(iter(parts.values())).dropna(subset=["brier"]).index
        if finding != "Mean"
    ]
    means = [
        f"{when}: Brier score {with_interval(part.loc['Mean'], 'brier')}, skill "
        f"{with_interval(part.loc['Mean'], 'skill')}, "
        f"|slope - 1| {figure(part.loc['Mean', 'distance'])}"
        for when, part in parts.items()
    ]
    header = ("finding", *(f"{m}, {when}" for m in ("skill", "slope") for when in parts))
    return (
        "Skill: 1 is perfect, 0 as good as the prevalence for everybody. A slope of 1 is right, "
        f"below it scores are too extreme.\n\n{_table(header, rows)}\n\nMeans over the "
        f"findings:\n\n{_bullets(*means)}\n\nOn these films: {calibration.verdict(table)}."
    )


def _subgroups(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("subgroups")
    if table is None:
        return "Not evaluated."
    rows = [
        (
            row["attribute"],
            row["group"],
            f"{row['films']:,}",
            f"{row['patients']:,}",
            with_interval(row, "auroc"),
            with_interval(row, "auroc_gap") if pd.notna(row["auroc_gap"]) else "–",
        )
        for _, row in table[table["finding"] == "Mean"].iterrows()
    ]
    header = ("attribute", "group", "films", "patients", "mean AUROC", "gap to largest group")
    note = (
        "Each mean is over the findings that the group and the largest one can both be judged "
        "by, so means of different groups may be over different findings; the gaps are not.\n\n"
    )
    return note + _table(header, rows)


def _controls(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("controls")
    if table is None:
        return "Not evaluated."
    means = table[table["finding"] == "Mean"]
    rows = [(row["scored_by"], with_interval(row, "auroc")) for _, row in means.iterrows()]
    return _table(("scored by", "mean AUROC"), rows)


def _adjudicated(tables: Mapping[str, pd.DataFrame]) -> str:
    return _against_people(
        tables.get("adjudicated"),
        "Labels that radiologists agreed on (Majkowska et al. 2020)",
        lambda row: f"{row['label']} ({row['findings']})",
    )


def _readings(tables: Mapping[str, pd.DataFrame]) -> str:
    return _against_people(
        tables.get("rsna"),
        "RSNA's readings of 2018 (drawn by NIH's labels, so no prevalence is the hospital's)",
        lambda row: f"{row['reading']}, by {label(row['score'])}",
    )


def _against_people(
    table: pd.DataFrame | None, whose: str, words: Callable[[pd.Series], str]
) -> str:
    """A table of `ranking.against`; `words` name a row."""
    if table is None:
        return f"{whose}: none were given."
    rows = [
        (
            words(row),
            f"{row['positives']:,} of {row['films']:,}",
            with_interval(row, "auroc"),
            figure(row["mined_auroc"], row["remark"] or TOO_FEW),
        )
        for _, row in table.iterrows()
    ]
    header = ("against", "films with it", "AUROC", "AUROC against text mining")
    return f"{whose}:\n\n{_table(header, rows)}"


def _localisation(tables: Mapping[str, pd.DataFrame], said: str) -> str:
    table = tables.get("localisation")
    if table is None or table.empty:
        return said or "Not done: none of these films has a box, or only scores were given."
    points = table[(table["measure"] == "pointing game") & (table["finding"] == "All")]
    rows = [
        (row["method"], f"{row['cases']:,}", with_interval(row, "value"))
        for _, row in points.iterrows()
    ]
    listed = _table(("method", "boxed findings", "pointing game"), rows)
    shares = f"Share of boxed findings whose box holds the maximum.\n\n{listed}"
    return f"{shares}\n\n{said}" if said else shares


def _answers(tables: Mapping[str, pd.DataFrame], setting: Setting) -> dict[str, str]:
    """What fills the braces of the checklist."""
    mean = tables["auroc"].set_index("finding").loc["Mean"]
    places = tables.get("localisation")
    read = dict.fromkeys(("adjudicated", "rsna"), 0)
    for kind in read:
        if tables.get(kind) is not None:
            read[kind] = int(tables[kind]["films"].max())
    if setting.shared_patients is None:
        leakage = UNKNOWN
        if setting.training_films:
            leakage = (
                f"{setting.training_films:,} of the {int(mean['films']):,} judged films are on "
                "NIH's training list"
            )
    elif setting.shared_patients:
        leakage = f"by film only: {setting.shared_patients:,} test patients are in train"
    else:
        leakage = "by patient"
    return {
        "films": f"{int(mean['films']):,}",
        "films_are": setting.films_are,
        "narrowed": f", {setting.films_are}" if setting.split else "",
        "patients": f"{int(mean['patients']):,}",
        "split": setting.split or "none",
        "split_films": "no" if setting.split_films is None else f"{setting.split_films:,}",
        "leakage": leakage,
        "weights": _START.get(weights := str(setting.run.get("weights", UNKNOWN)), weights),
        "ensembling": f"a mean of several trainings, named in `runs/{setting.name}/config.json`"
        if setting.run.get("model") == "ensemble"
        else "none",
        **claim_checklist.origin(
            setting.source, sources.SOURCES[setting.source].title if setting.source != "nih" else ""
        ),
        "localisation": "not done: no boxes"
        if places is None or places.empty
        else f"notebook 300, localisation: {int(places['cases'].max()):,} boxed findings",
        "operating": f"`tables/operating_points_{setting.name}.csv`, by validation's thresholds"
        if _chosen(tables)
        else "not done: no validation scores to choose thresholds by",
        "controls": f"`tables/controls_{setting.name}.csv`" if "controls" in tables else "not done",
    } | {
        kind: f"{films:,} of these films" if films else "none of these films"
        for kind, films in read.items()
    }


def _table(header: Iterable[str], rows: Iterable[Iterable]) -> str:
    header = tuple(header)
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _chosen(tables: Mapping[str, pd.DataFrame]) -> bool:
    """Whether any threshold was chosen."""
    table = tables.get("operating_points")
    return table is not None and bool(table["threshold"].notna().any())


def _why(tables: Mapping[str, pd.DataFrame], finding: str) -> str:
    """Why there is no estimate of a finding, unless its own table says so."""
    return tables["auroc"].set_index("finding")["remark"][finding] or TOO_FEW
