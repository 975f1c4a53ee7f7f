"""A run of one source judged by another one's films: external validation.

Each finding is judged on the films of which the other source says for certain whether it is
there, so the films differ from finding to finding.
"""

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts
from cxr.errors import InputError
from cxr.evaluation import calibration, intervals, ranking
from cxr.evaluation.ranking import Judged
from cxr.findings import FINDINGS, TOO_FEW, label
from cxr.records import sources
from cxr.wording import spelled

# Films that recalibrate where nothing else is said: a few hundred can be labelled by hand.
LOCAL_FILMS = 300

# Two tables of one's own have one name; this is the one that judges.
OTHER = "the other folder"

# What of `calibration.measures` is compared before and after.
MEASURES = ("brier", "ece", "slope", "intercept")


@dataclasses.dataclass(frozen=True)
class External:
    """What another hospital's films say of a run.

    Attributes:
        table: one row per finding: finding, films and patients judged, positives,
            positive_patients, uncertain and unlabelled (films without a certain label),
            auroc, low, high; each of `MEASURES`, and again with `_recalibrated`; recalibration
            (what was done with the local films); remark: "", or why nothing is compared.
        local, scored: films that recalibrated, and that are judged.
        local_patients, scored_patients: their patients; nobody is in both.
    """

    table: pd.DataFrame
    local: int
    local_patients: int
    scored: int
    scored_patients: int


def draw_local(records: pd.DataFrame, *, films: int, seed: int) -> np.ndarray:
    """Draw whole patients until they have `films` films: those that recalibrate.

    Returns:
        bool (films,), rows as `records`.

    Raises:
        InputError: if that leaves less than half of the films to judge by.
    """
    if films < 0:
        raise InputError(f"--local {films:,} is no number of films; 0 recalibrates nothing.")
    patients = np.random.default_rng(seed).permutation(np.unique(records["patient_id"]))
    have = records["patient_id"].value_counts().loc[patients].cumsum().to_numpy()
    drawn = patients[: int(np.searchsorted(have, films)) + 1] if films else patients[:0]
    local = records["patient_id"].isin(drawn).to_numpy()
    if 2 * local.sum() > len(records):
        raise InputError(
            f"{films:,} local films would take more than half of the {len(records):,} films, and "
            "the others judge; ask for fewer (--local), or bring more films."
        )
    return local


def refuse_nothing(records: pd.DataFrame, *, trained_on: str, another_table: bool = False) -> None:
    """Refuse films by which a run cannot be judged, before they are scored.

    Args:
        records, trained_on, another_table: as for `evaluate`.

    Raises:
        InputError: if the films are of the run's own source, or no finding that both sources
            label is certain on any of them.
    """
    other = _source(records)
    if other == trained_on and not (other == "folder" and another_table):
        raise InputError(
            f"the run was trained on {trained_on}, too; 300 judges it on its own test films."
        )
    state, known = sources.states(records), _labelled(records)
    both = [finding for finding in sources.labelled(trained_on) if finding in known]
    if not (state[both] >= sources.NEGATIVE).any(axis=None):
        raise InputError(
            f"no film of {other} has a certain label of a finding that {trained_on} labels, too, "
            "so there is nothing to judge by."
        )


def _source(records: pd.DataFrame) -> str:
    return str(records["source"].iloc[0]) if "source" in records else "nih"


def _labelled(records: pd.DataFrame) -> list[str]:
    return sources.labelled_in(records) if "source" in records else list(FINDINGS)


def own_films(records: pd.DataFrame, own: pd.DataFrame) -> dict[str, str]:
    """NIH's films under another source's name: no other hospital gives such names.

    Args:
        records: as for `evaluate`, with film names as a column.
        own: records of the run's own source, or as much of them as is known.

    Returns:
        Film -> the run's film of the same name, whatever the folder and the ending.
    """
    if "file" not in records or "file" in own:
        return {}
    theirs = records["file"].str.rpartition("/")[2].str.replace(r"(\.\w+)*$", "", regex=True)
    same = (theirs + ".png").map(dict(zip(own["film"], own["film"], strict=True))).dropna()
    return dict(zip(records.loc[same.index, "film"], same, strict=True))


def evaluate(
    records: pd.DataFrame,
    scores: pd.DataFrame,
    local: np.ndarray,
    *,
    trained_on: str,
    another_table: bool = False,
    unlearned: Collection[str] = (),
) -> External:
    """Discrimination and calibration per finding that both sources label.

    Args:
        records: as `sources.read` returns them, of one source.
        scores: one column of probabilities per finding, rows as `records`: those that the
            run shows, its own recalibration included.
        local: bool (films,), as `draw_local` returns it; these judge nothing.
        trained_on: the run's source.
        another_table: whether the run learned from another table than the one of `records`;
            of tables of one's own ("folder") each may be another hospital's.
        unlearned: findings that none of the run's training films shows.

    Returns:
        The comparison. A finding's logistic recalibration is fitted to the local films of
        which its label is certain, and kept only where that helps on local patients whom the
        fit has not seen, see `calibration.fit`. Intervals are those of `intervals`, each
        patient left out in turn.
    """
    refuse_nothing(records, trained_on=trained_on, another_table=another_table)
    other = _source(records)
    state = sources.states(records)
    labelled = {trained_on: sources.labelled(trained_on)}
    labelled[OTHER if other == trained_on else other] = _labelled(records)
    rows = []
    for finding in FINDINGS:
        certain = (state[finding] >= sources.NEGATIVE).to_numpy()
        judged = Judged.of(records, scores[[finding]]).part(certain & ~local)
        tuning = Judged.of(records, scores[[finding]]).part(certain & local)
        rest = state.loc[~local, finding]
        row = {
            "finding": finding,
            "films": len(judged.targets),
            "patients": judged.patients.nunique(),
            "positives": int(judged.targets[finding].sum()),
            "positive_patients": judged.patients[judged.targets[finding] == 1].nunique(),
            "uncertain": int((rest == sources.UNCERTAIN).sum()),
            "unlabelled": int((rest == sources.NOT_LABELLED).sum()),
        }
        mute = [name for name, known in labelled.items() if finding not in known]
        remark = f"not labelled by {' and '.join(mute)}" if mute else judged.remarks[finding]
        if not mute and finding in unlearned:
            remark = "on no film that the run learned from"
        rows.append(
            row | ({} if remark else _compared(finding, judged, tuning)) | {"remark": remark}
        )
    columns = ["finding", "films", "patients", "positives", "positive_patients", "uncertain"]
    columns += ["unlabelled", "auroc", "low", "high", *MEASURES]
    columns += [*(f"{name}_recalibrated" for name in MEASURES), "recalibration", "remark"]
    patients = records["patient_id"]
    return External(
        pd.DataFrame(rows).reindex(columns=columns),
        int(local.sum()),
        int(patients[local].nunique()),
        int((~local).sum()),
        int(patients[~local].nunique()),
    )


def _compared(finding: str, judged: Judged, tuning: Judged) -> dict:
    """One finding's AUROC, and its calibration before and after the local films mend it."""
    ranked = ranking.auroc_by_finding(judged).set_index("finding").loc[finding]
    row = {name: ranked[name] for name in ("auroc", "low", "high")}
    before = _measured(finding, judged)
    row |= {name: before[name] for name in MEASURES}
    if not intervals.enough(tuning.targets[finding], tuning.codes):
        return row | {"recalibration": f"none: {TOO_FEW} among the local films"}
    fitted = calibration.fit(tuning)
    mended = judged.rescored(calibration.apply(judged.scores, fitted))
    after = _measured(finding, mended)
    row |= {f"{name}_recalibrated": after[name] for name in MEASURES}
    method = fitted.set_index("finding").loc[finding, "method"]
    helped = method == "recalibrated"
    return row | {"recalibration": method if helped else "none: it does not help on local films"}


def _measured(finding: str, judged: Judged) -> pd.Series:
    return calibration.measures(judged).set_index("finding").loc[finding]


def in_words(external: External, run: str, source: str) -> str:
    """The comparison as lines for a terminal or a notebook."""
    lines = [
        f"{run} on {source}: {external.scored:,} films of {external.scored_patients:,} patients "
        f"judge, {external.local:,} films of {external.local_patients:,} others recalibrate."
    ]
    for row in external.table[external.table["remark"] == ""].itertuples():
        mended = ""
        if row.recalibration == "recalibrated":
            mended = (
                f", recalibrated {row.brier_recalibrated:.4f}, {row.intercept_recalibrated:+.2f}"
            )
        lines.append(
            f"{label(row.finding)}: AUROC {spelled(row.auroc, row.low, row.high)} "
            f"({row.positives:,} of {row.films:,} films); Brier {row.brier:.4f}, calibration in "
            f"the large {row.intercept:+.2f}{mended or f'; {row.recalibration}'}"
        )
    left = external.table[external.table["remark"] != ""]
    for remark, part in left.groupby("remark", sort=False):
        lines.append(f"Not compared ({remark}): {', '.join(map(label, part['finding']))}.")
    return "\n".join(lines)


# What `external.json` holds: whose comparison it is, and the numbers of films.
_KEPT = {"run", "source", "records", "shown_by", "table"} | {
    field.name for field in dataclasses.fields(External) if field.name != "table"
}


def save(
    found: External, folder: Path, *, run: str, source: str, records: Path, shown_by: str
) -> Path:
    """Write the comparison to `<folder>/<run>-on-<source>/`, beside whose it is.

    Args:
        found: as `evaluate` returns it.
        folder: of all comparisons.
        run, source: what was judged by whose films.
        records: the table of these films. Another table of the same name is not written over.
        shown_by: what made the scores, as `external_scores.shown_by` returns it, by which
            `kept` tells whether the run still shows them.

    Returns:
        The file of the table.

    Raises:
        InputError: if the place holds the comparison with another table.
    """
    place = folder / f"{run}-on-{source}"
    refuse_another(place, records)
    path = place / "external.csv"
    artifacts.write_csv(path, found.table.round(6))
    facts = dataclasses.asdict(dataclasses.replace(found, table=pd.DataFrame()))
    facts.pop("table")
    whose = {"run": run, "source": source, "records": str(records.resolve())}
    whose |= {"shown_by": shown_by, "table": artifacts.sha256(path)}
    # Last: without it, the table is nobody's.
    artifacts.write_json(place / "external.json", whose | facts)
    return path


def named(source: str, records: Path) -> str:
    """What a source is called in a comparison: tables of one's own may be of many hospitals."""
    place = records.resolve()
    return source if source != "folder" else f"folder-{place.parent.name}-{place.stem}"


def refuse_another(place: Path, records: Path) -> None:
    """Refuse to write over the comparison with another table of the same name."""
    path = place / "external.json"
    facts = artifacts.read_json(path) if path.exists() else {}
    before = facts.get("records") if isinstance(facts, dict) else None
    if before not in (None, str(records.resolve())):
        raise InputError(
            f"{place} holds the comparison with {before}, which has the same name; "
            f"move {place} away to keep it, or remove it."
        )


def kept(
    folder: Path, shown_by: Mapping[str, str]
) -> tuple[dict[str, dict[str, External]], list[str]]:
    """What `save` wrote of some runs.

    Args:
        folder: of all comparisons.
        shown_by: run -> what makes its scores, as `external_scores.shown_by` returns it.

    Returns:
        found: run -> source -> comparison.
        remarks: a sentence for each comparison of such a run that was left out, because the
            run shows other scores by now or the table is not the one that was written.
    """
    found: dict[str, dict[str, External]] = {}
    remarks = []
    for path in sorted(folder.glob("*/external.json")):
        facts = artifacts.read_json(path)
        if not isinstance(facts, dict) or facts.keys() != _KEPT:
            remarks.append(f"{path} is not what `external` wrote; remove {path.parent}.")
            continue
        run, source = facts.pop("run"), facts.pop("source")
        facts.pop("records")
        if run not in shown_by:
            continue
        table, again = path.with_name("external.csv"), f"run `external {run}` on it again."
        if facts.pop("shown_by") != shown_by[run]:
            remarks.append(
                f"{run} was judged on {source} before it was trained or recalibrated anew; {again}"
            )
        elif not table.exists() or artifacts.sha256(table) != facts.pop("table"):
            remarks.append(f"{table} is not what `external` wrote; {again}")
        else:
            frame = pd.read_csv(table, keep_default_na=False, na_values=[""])
            frame["remark"] = frame["remark"].fillna("")
            frame["recalibration"] = frame["recalibration"].fillna("")
            found.setdefault(run, {})[source] = External(frame, **facts)
    return found, remarks


def beside_own(own: pd.DataFrame, elsewhere: Mapping[str, External]) -> dict[str, pd.DataFrame]:
    """AUROC on a run's own test films and elsewhere, ready to be drawn side by side.

    Args:
        own: `auroc` of the run, as `ranking.auroc_by_finding` returns it.
        elsewhere: source -> comparison.

    Returns:
        Whose films -> frame with `finding`, `auroc`, `low`, `high` and `remark`; 14 rows and
        the mean, which is left empty: each source is judged on other findings, so means
        would compare different things.
    """
    columns = ["finding", "auroc", "low", "high", "remark"]
    parts = {"own test films": own} | {name: found.table for name, found in elsewhere.items()}
    mean = pd.DataFrame([{"finding": "Mean", "remark": "other findings at each source"}])
    return {
        name: pd.concat([part.loc[part["finding"] != "Mean", columns], mean], ignore_index=True)
        for name, part in parts.items()
    }
