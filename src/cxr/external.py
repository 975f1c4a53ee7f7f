"""Evaluate a file of scores, whoever's model made them, on this project's test films."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import (
    adjudicated,
    artifacts,
    calibration,
    comparison,
    controls,
    evaluation,
    figures,
    operating,
    report,
    subgroups,
)
from cxr.errors import InputError
from cxr.findings import FINDINGS

# What the column of film names may be called, in lower case.
_FILM_COLUMNS = ("film", "image index")

# Prefixes that mark a probability where a file also holds labels, such as `Mass` beside
# `prob_Mass`.
_SCORE_PREFIXES = ("prob", "probability", "pred", "prediction", "score", "p")


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What `evaluate_scores` did: the mean row, what a reader must know, and the files."""

    auroc: pd.DataFrame
    notes: tuple[str, ...]
    pages: dict[str, Path]

    def __str__(self) -> str:
        mean = self.auroc.iloc[-1]
        known = int(self.auroc["auroc"].iloc[:-1].notna().sum())
        lines = [
            f"Mean AUROC over {known} findings: {mean['auroc']:.3f} "
            f"({mean['low']:.3f} to {mean['high']:.3f}), {int(mean['films']):,} test films of "
            f"{int(mean['patients']):,} patients. Research software, not a medical device.",
            *self.notes,
            *(f"{name}: {path}" for name, path in self.pages.items()),
        ]
        return "\n".join(lines)


def evaluate_scores(
    path: Path,
    records: pd.DataFrame,
    split: pd.Series,
    presentation: Path,
    *,
    split_name: str,
    provenance: str,
    agreed: pd.DataFrame | None = None,
    phantoms: bool = False,
    replicates: int = 1000,
    seed: int = 42,
) -> Evaluated:
    """Write the tables and pages of notebook 300 for a CSV of scores.

    Only films of the test part are judged. Films of the validation part, where the file
    scores any, choose thresholds and the recalibration. What needs the films themselves
    (heatmaps, galleries) is left out.

    Args:
        path: CSV with a column `Image Index` or `film`, and one column of probabilities per
            finding, in any order, with or without a prefix such as `prob_`.
        records: as `records.read` returns them.
        split: as `splits.make` returns it: "train", "validation" or "test" by the index of
            `records`.
        presentation: folder for the tables and pages, which are named after the file.
        split_name: the split's name in the configuration.
        provenance: versions, seed and commit, as text.
        agreed: as `records.read_adjudicated` returns it, if there is any.
        phantoms: whether the scored films are drawn.

    Raises:
        InputError: if the file cannot be used; the message says what is wrong and how many
            rows it concerns.
    """
    scores, notes = read(path)
    name = path.stem
    parts = {
        part: records.loc[split.index[split == part]].set_index("film")
        for part in ("train", "validation", "test")
    }
    scored = {part: frame.index[frame.index.isin(scores.index)] for part, frame in parts.items()}
    unknown = len(scores) - int(records["film"].isin(scores.index).sum())
    if not len(scored["test"]):
        raise InputError(
            f"{path} scores none of the {len(parts['test']):,} test films of the split "
            f"'{split_name}' ({unknown:,} of its {len(scores):,} films are not in the records at "
            "all); choose the split that the model was tested on."
        )
    others = len(scores) - unknown - sum(map(len, scored.values()))
    notes += [
        f"{count:,} scored film(s) {what}."
        for count, what in (
            (unknown, "are not in the records and were left out"),
            (len(scored["train"]), "belong to the training part and were left out"),
            (others, "take no part in this split (rare label combinations) and were left out"),
        )
        if count
    ]
    missing = len(parts["test"]) - len(scored["test"])
    if missing:
        notes.append(
            f"{missing:,} of {len(parts['test']):,} test films have no score: the results hold "
            "for the others only."
        )
    test, frame = parts["test"].loc[scored["test"]], scores.loc[scored["test"]]
    patients, sampling = test["patient_id"], {"replicates": replicates, "seed": seed}
    auroc = evaluation.auroc_by_finding(test, frame, patients, **sampling)
    if auroc["auroc"].isna().all():
        raise InputError(
            f"no finding has both positive and negative films among the {len(test):,} test films "
            f"that {path} scores, so nothing can be estimated; score more of the test films."
        )
    single = [f for f in frame if f not in evaluation.estimable(test, frame)]
    if single:
        notes.append(
            f"Not estimable, for want of a positive or a negative film: {', '.join(single)}."
        )
    auprc = evaluation.auprc_by_finding(test, frame, patients, **sampling)
    roc = evaluation.roc_curves(test, frame)
    precision_recall = evaluation.precision_recall_curves(test, frame)
    actual = evaluation.predicted_versus_actual(test, frame)
    published = comparison.published({} if phantoms else {name: auroc}, split=split_name)
    blind = {
        control: evaluation.auroc_by_finding(test, values, patients, **sampling)
        for control, values in controls.every(parts["train"], test).items()
    }
    ladder = {name: auroc} | blind
    tables = {
        "auroc": auroc,
        "auprc": auprc,
        "roc": roc,
        "precision_recall": precision_recall,
        "test_results": actual,
        "published": published,
        "controls": pd.concat(ladder, names=["scored_by"]).reset_index("scored_by"),
    }
    drawings = {
        "roc": figures.roc_grid({name: roc}, {name: auroc}),
        "auroc": figures.ranked(
            {name: auroc}, title=f"AUROC of {name}", axis="AUROC (0.5: no skill)", reference=0.5
        ),
        "auprc": figures.ranked(
            {name: auprc}, "auprc", title=f"AUPRC of {name}", axis="AUPRC", reference="prevalence"
        ),
        "precision_recall": figures.precision_recall_grid({name: precision_recall}, {name: auprc}),
        "predicted_versus_actual": figures.predicted_versus_actual({name: actual}),
        "published": figures.published(published),
        "controls": figures.ranked(
            ladder, title=f"{name} beside scores without an image", axis="AUROC", reference=0.5
        ),
    }
    validation = parts["validation"].loc[scored["validation"]]
    tuning = scores.loc[scored["validation"]]
    if validation.empty:
        notes.append(
            "No validation film is scored, so thresholds, net benefit and recalibration are not "
            "estimable."
        )
    thresholds = operating.choose(validation, tuning)
    recalibration = calibration.fit(validation, tuning)
    recalibrated = calibration.apply(frame, recalibration)
    versions = {"before": frame} | ({} if validation.empty else {"after": recalibrated})
    reliability = {
        when: calibration.reliability(test, values, patients, **sampling)
        for when, values in versions.items()
    }
    measured = {
        when: calibration.measures(test, values, patients, **sampling)
        for when, values in versions.items()
    }
    tables["calibration"] = pd.concat(measured, names=["scores"]).reset_index("scores")
    tables["reliability"] = pd.concat(reliability, names=["scores"]).reset_index("scores")
    drawings["reliability"] = figures.reliability_grid(reliability, name)
    tables["operating_points"] = operating.apply(test, frame, patients, thresholds, **sampling)
    youden = thresholds[thresholds["rule"] == "Youden"]
    tables["subgroups"] = subgroups.evaluate(test, frame, youden, **sampling)
    drawings["subgroups"] = figures.subgroup_gaps({name: tables["subgroups"]})
    if not validation.empty:
        tables["net_benefit"] = operating.net_benefit(test, recalibrated)
        drawings["operating_points"] = figures.operating_points(tables["operating_points"], name)
        drawings["decision_curves"] = figures.decision_grid({name: tables["net_benefit"]})
    if agreed is not None:
        tables["adjudicated"] = adjudicated.evaluate(agreed, test, frame, patients, **sampling)
        drawings["adjudicated"] = figures.adjudicated({name: tables["adjudicated"]})
    for kind, table in tables.items():
        artifacts.write_csv(presentation / "tables" / f"{kind}_{name}.csv", table)
    for kind, drawing in drawings.items():
        figures.save(drawing, presentation / "figures" / f"{kind}_{name}.html")
    setting = report.Setting(
        name=name,
        split=split_name,
        split_films=len(parts["test"]),
        shared_patients=int(patients[patients.isin(parts["train"]["patient_id"])].nunique()),
        phantoms=phantoms,
        provenance=provenance,
    )
    pages = report.write(presentation, setting)
    pages |= {"tables": presentation / "tables", "figures": presentation / "figures"}
    return Evaluated(auroc, tuple(notes), pages)


def read(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a file of scores in whatever order and with whatever prefix.

    Returns:
        scores: one column per finding that the file has, in the order of `FINDINGS`, film
            names as index.
        notes: what a reader must know, such as findings without a column.

    Raises:
        InputError: if it is not a readable CSV, lacks the films' column or every finding,
            holds a film twice, or a score that is empty, not a number or outside 0 to 1.
    """
    try:
        table = pd.read_csv(path)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (ValueError, OSError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}).") from None
    film = [column for column in table if str(column).strip().lower() in _FILM_COLUMNS]
    if len(film) != 1:
        raise InputError(
            f"{path} needs one column 'Image Index' or 'film' with the films' names; it has "
            f"{', '.join(map(str, table.columns[:8]))}."
        )
    names = table[film[0]].astype(str).str.strip()
    twice = int(names.duplicated().sum())
    if twice:
        raise InputError(
            f"{path} holds {twice:,} film(s) more than once, such as "
            f"{names[names.duplicated()].iloc[0]}; keep one row a film."
        )
    columns = _columns(path, table)
    scores = {}
    for finding, column in columns.items():
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=np.float64)
        for wrong, what in (
            (np.isnan(values), "empty or not a number"),
            (~np.isnan(values) & ((values < 0) | (values > 1)), "outside 0 to 1"),
        ):
            if wrong.any():
                raise InputError(
                    f"{int(wrong.sum()):,} of {len(values):,} scores in the column '{column}' of "
                    f"{path} are {what}, first for {names[wrong].iloc[0]}; the evaluation needs a "
                    "probability for every film."
                )
        scores[finding] = values
    absent = [finding for finding in FINDINGS if finding not in columns]
    notes = [f"Without a column, so not estimable: {', '.join(absent)}."] if absent else []
    if not len(table):
        raise InputError(f"{path} holds no film.")
    frame = pd.DataFrame(scores, index=pd.Index(names, name="film"))
    return frame[[f for f in FINDINGS if f in columns]], notes


def _columns(path: Path, table: pd.DataFrame) -> dict[str, str]:
    """Which column holds the scores of which finding."""
    by_prefix: dict[str, dict[str, str]] = {}
    for column in table:
        plain = re.sub(r"[^a-z0-9]+", "_", str(column).strip().lower()).strip("_")
        for finding in FINDINGS:
            end = finding.lower()
            if plain == end or plain.endswith(f"_{end}"):
                prefix = plain.removesuffix(end).rstrip("_")
                found = by_prefix.setdefault(prefix, {})
                if finding in found:
                    raise InputError(
                        f"{path} has two columns for {finding}: '{found[finding]}' and '{column}'; "
                        "remove one."
                    )
                found[finding] = column
    if not by_prefix:
        raise InputError(
            f"{path} has no column named after a finding, such as {FINDINGS[0]} or "
            f"prob_{FINDINGS[0]}; known are {', '.join(FINDINGS)}."
        )
    if len(by_prefix) == 1:
        return next(iter(by_prefix.values()))
    likely = [prefix for prefix in by_prefix if prefix in _SCORE_PREFIXES]
    if len(likely) != 1:
        raise InputError(
            f"{path} has several columns per finding, with the prefixes "
            f"{', '.join(repr(prefix) for prefix in by_prefix)}; keep the probabilities only, or "
            "mark them with 'prob_'."
        )
    return by_prefix[likely[0]]
