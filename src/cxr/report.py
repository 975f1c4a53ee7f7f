"""What the evaluation leaves behind: tables, the model card, the checklist."""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from cxr import artifacts, claim
from cxr.figures.style import label

NOT_A_DEVICE = (
    "**Research software, not a medical device.** No score, threshold or heatmap of this model "
    "may guide the care of a person."
)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What was evaluated, for the card and the checklist.

    Attributes:
        name: of the run, or of the file of scores.
        split: its name in the configuration.
        split_films: test films of the whole split, present or not.
        shared_patients: how many test patients have films in train.
        phantoms: whether the films are drawn.
        provenance: versions, seed and commit, as text.
        run: the run's `config.json`; empty for scores of unknown origin.
    """

    name: str
    split: str
    split_films: int
    shared_patients: int
    phantoms: bool
    provenance: str
    run: Mapping = dataclasses.field(default_factory=dict)


def save_tables(presentation: Path, kind: str, tables: Mapping[str, pd.DataFrame]) -> None:
    """Write one table per run, as `<presentation>/tables/<kind>_<run>.csv`."""
    for name, table in tables.items():
        artifacts.write_csv(presentation / "tables" / f"{kind}_{name}.csv", table)


def captions(outcomes: pd.DataFrame, threshold: float) -> list[str]:
    """What stands above each film of a gallery: outcome, score, threshold, film.

    Args:
        outcomes: as `operating.outcomes` returns them.
    """
    return [
        f"{row.outcome}<br>{row.score:.3f} (from {threshold:.3f})<br>{Path(row.film).stem}"
        for row in outcomes.itertuples()
    ]


def write(presentation: Path, setting: Setting) -> dict[str, Path]:
    """Write the model card and the checklist from the run's tables.

    Returns:
        "model card" and "checklist" -> file.
    """
    tables = _tables(presentation, setting.name)
    pages = {
        "model card": ("model_card", model_card(tables, setting)),
        "checklist": ("checklist", claim.checklist(setting.name, _answers(tables, setting))),
    }
    paths = {}
    for page, (stem, text) in pages.items():
        paths[page] = presentation / f"{stem}_{setting.name}.md"
        artifacts.write_text(paths[page], text)
    return paths


def model_card(tables: Mapping[str, pd.DataFrame], setting: Setting) -> str:
    """The model card (after Mitchell et al., FAccT 2019), as Markdown.

    Args:
        tables: kind -> table, as the evaluation saved them; what is missing is said to be.
        setting: what was evaluated.
    """
    auroc = tables["auroc"].set_index("finding")
    mean = auroc.loc["Mean"]
    estimable = int(auroc["auroc"].drop("Mean").notna().sum())
    drawn = (
        "**The films are phantoms**, synthetic drawings: nothing here says anything about real "
        "films or patients.\n\n"
        if setting.phantoms
        else ""
    )
    leak = (
        f"{setting.shared_patients:,} test patients also have films in train, so the scores "
        "partly measure how well the model remembers people."
        if setting.shared_patients
        else "No patient has films in train and in test."
    )
    sections = {
        f"Model card: {setting.name}": f"{NOT_A_DEVICE}\n\n{drawn}"
        f"Mean AUROC over {estimable} findings: **{_with_interval(mean, 'auroc')}**, on "
        f"{int(mean['films']):,} test films of {int(mean['patients']):,} patients, split "
        f"`{setting.split}`, 95 % interval by resampling patients.",
        "Intended use": "Research and teaching: comparing methods on public data. Not intended: "
        "diagnosis, triage, screening, quality control, or any film outside research.",
        "Model": _about_model(setting.run),
        "Data and split": f"NIH ChestX-ray14 (Wang et al., CVPR 2017). The labels were mined from "
        f'reports; "No Finding" does not mean normal. {int(mean["films"]):,} of the split\'s '
        f"{setting.split_films:,} test films were present and scored, once. {leak}",
        "Ranking": _ranking(tables),
        "At a threshold": _operating(tables),
        "Calibration": _calibration(tables),
        "Groups": _subgroups(tables),
        "What a score without a film reaches": _controls(tables),
        "Against radiologists": _adjudicated(tables),
        "Where it looks": _localisation(tables),
        "Limits": _bullets(
            "Labels come from text mining; radiologists disagree with many of them.",
            "One hospital, adults mostly, films of 1992 to 2015.",
            "Some findings are learned by their treatment: chest drains mark Pneumothorax.",
            "View, age and sex alone carry information about the findings (above).",
            "Findings that are not estimable here are unknown, not good.",
            "A heatmap shows what moved a score, not what is ill.",
        ),
        "Provenance": f"```\n{setting.provenance}\n```",
    }
    parts = [
        f"{'#' if place == 0 else '##'} {title}\n\n{text}"
        for place, (title, text) in enumerate(sections.items())
    ]
    return "\n\n".join(parts) + "\n"


def _tables(presentation: Path, name: str) -> dict[str, pd.DataFrame]:
    """The saved tables of a run by kind, and the shared ones, as far as they are there."""
    folder = presentation / "tables"
    kinds = (
        "auroc",
        "auprc",
        "operating_points",
        "calibration",
        "subgroups",
        "adjudicated",
        "localisation",
        "controls",
    )
    paths = {kind: folder / f"{kind}_{name}.csv" for kind in kinds}
    return {kind: pd.read_csv(path) for kind, path in paths.items() if path.exists()}


def _about_model(run: Mapping) -> str:
    if not run:
        return "Unknown: only its scores were given."
    facts = {
        "architecture": run.get("model"),
        "parameters": f"{run['parameters']:,}" if "parameters" in run else None,
        "initial weights": run.get("weights"),
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
            _with_interval(row, "auroc"),
            _with_interval(auprc.loc[finding], "auprc"),
            _figure(auprc.loc[finding, "prevalence"]),
        )
        for finding, row in auroc.iterrows()
    ]
    return _table(("finding", "films with it", "AUROC", "AUPRC", "prevalence"), rows)


def _operating(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("operating_points")
    if table is None or table["threshold"].isna().all():
        return "Not estimable: there are no validation scores to choose thresholds by."
    rule = table["rule"].iloc[0]
    rows = [
        (
            label(row["finding"]),
            _figure(row["threshold"]),
            *(_bounded(row, rate) for rate in ("sensitivity", "specificity", "ppv", "npv")),
            "n/a" if pd.isna(row["flagged_per_1000"]) else f"{row['flagged_per_1000']:.0f}",
        )
        for _, row in table[table["rule"] == rule].iterrows()
    ]
    header = ("finding", "threshold", "sensitivity", "specificity", "PPV", "NPV", "flagged/1000")
    return f"Thresholds chosen on validation films ({rule}).\n\n" + _table(header, rows)


def _calibration(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("calibration")
    if table is None:
        return "Not evaluated."
    rows = [
        (row["scores"], *(_bounded(row, m) for m in ("brier", "ece", "slope", "intercept")))
        for _, row in table[table["finding"] == "Mean"].iterrows()
    ]
    return "Means over the findings.\n\n" + _table(
        ("scores", "Brier", "calibration error", "slope (1)", "intercept (0)"), rows
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
            _bounded(row, "auroc"),
            _bounded(row, "auroc_gap") if pd.notna(row["auroc_gap"]) else "–",
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
    rows = [(row["scored_by"], _with_interval(row, "auroc")) for _, row in means.iterrows()]
    return _table(("scored by", "mean AUROC"), rows)


def _adjudicated(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("adjudicated")
    if table is None or table["auroc"].isna().all():
        return "Not estimable: no test film has labels that radiologists agreed on."
    rows = [
        (
            f"{row['label']} ({row['findings']})",
            f"{row['positives']:,} of {row['films']:,}",
            _with_interval(row, "auroc"),
            _figure(row["mined_auroc"]),
        )
        for _, row in table.iterrows()
    ]
    return _table(("label", "films with it", "AUROC", "AUROC against text mining"), rows)


def _localisation(tables: Mapping[str, pd.DataFrame]) -> str:
    table = tables.get("localisation")
    if table is None or table.empty:
        return "Not estimable: no test film has boxes, or only scores were given."
    points = table[(table["measure"] == "pointing game") & (table["finding"] == "All")]
    rows = [
        (row["method"], f"{row['cases']:,}", _with_interval(row, "value"))
        for _, row in points.iterrows()
    ]
    return "Share of boxed films whose maximum lies in the box.\n\n" + _table(
        ("method", "boxed films", "pointing game"), rows
    )


def _answers(tables: Mapping[str, pd.DataFrame], setting: Setting) -> dict[str, str]:
    """What fills the braces of the checklist."""
    mean = tables["auroc"].set_index("finding").loc["Mean"]
    adjudicated, places = tables.get("adjudicated"), tables.get("localisation")
    thresholds = tables.get("operating_points")
    chosen = thresholds is not None and thresholds["threshold"].notna().any()
    return {
        "films": f"{int(mean['films']):,}",
        "patients": f"{int(mean['patients']):,}",
        "split": setting.split,
        "split_films": f"{setting.split_films:,}",
        "adjudicated": "none of these films"
        if adjudicated is None or not adjudicated["films"].max()
        else f"{int(adjudicated['films'].max()):,} of these films",
        "leakage": f"by film only: {setting.shared_patients:,} test patients are in train"
        if setting.shared_patients
        else "by patient",
        "weights": str(setting.run.get("weights", "not answered: only scores were given")),
        "localisation": "not answered: no boxes"
        if places is None or places.empty
        else f"{int(places['cases'].max()):,} boxed films",
        "operating": "thresholds from validation films"
        if chosen
        else "not answered: no validation scores",
        "failures": "galleries in `figures/`" if setting.run else "not answered: only scores",
    }


def _table(header: Iterable[str], rows: Iterable[Iterable]) -> str:
    header = tuple(header)
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _bullets(*lines: str) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _figure(value: float) -> str:
    return "n/a" if pd.isna(value) else f"{value:.3f}"


def _with_interval(row: pd.Series, name: str) -> str:
    """A value with `low` and `high`, or "not estimable"."""
    if pd.isna(row[name]):
        return "not estimable"
    return _spell(row[name], row["low"], row["high"])


def _bounded(row: pd.Series, name: str) -> str:
    """A value with `<name>_low` and `<name>_high`, or "n/a"."""
    if pd.isna(row[name]):
        return "n/a"
    return _spell(row[name], row.get(f"{name}_low"), row.get(f"{name}_high"))


def _spell(value: float, low: float | None, high: float | None) -> str:
    if pd.isna(low):
        return f"{value:.3f}"
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
