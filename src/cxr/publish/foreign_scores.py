"""Evaluate files of scores, whoever's models made them, on the films that the records know."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from cxr import artifacts, figures
from cxr.errors import InputError
from cxr.evaluation import comparison, judge, ranking, score_file
from cxr.findings import FINDINGS
from cxr.publish import model_card
from cxr.records import rsna
from cxr.records.splits import OFFICIAL_TEST_PATIENTS
from cxr.wording import with_interval


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What `evaluate` did.

    Attributes:
        auroc: model -> its AUROC table, as `ranking.auroc_by_finding` returns it.
        notes: what a reader must know, one sentence each.
        folder: where tables, figures, cards and checklists lie.
    """

    auroc: Mapping[str, pd.DataFrame]
    notes: tuple[str, ...]
    folder: Path

    def __str__(self) -> str:
        lines = []
        for name, table in self.auroc.items():
            mean = table.iloc[-1]
            lines.append(
                f"{name}: mean AUROC {with_interval(mean)}, {mean['remark']}, "
                f"{int(mean['films']):,} films of {int(mean['patients']):,} patients."
            )
        lines += [*self.notes, f"Tables, figures and cards: {self.folder}"]
        return "\n".join([*lines, model_card.NOT_A_DEVICE.replace("*", "")])


def evaluate(
    paths: Sequence[Path],
    records: pd.DataFrame,
    folder: Path,
    *,
    provenance: str,
    split: pd.Series | None = None,
    split_name: str | None = None,
    films: Sequence[str] | None = None,
    agreed: pd.DataFrame | None = None,
    readings: rsna.Readings | None = None,
) -> Evaluated:
    """Write the tables, figures and cards of notebook 300 for files of scores.

    All scored films that the records know are judged, unless a split or a list narrows
    them. Several files are judged on the films that all of them score, and compared. What
    needs the films themselves (heatmaps, galleries) is left out.

    Args:
        paths: files as `score_file.read_scores` takes them.
        records: as `nih.read_records` returns them.
        folder: made for this evaluation; it must not exist.
        provenance: versions and commit, as text.
        split: as `splits.make_split` returns it: its test films are judged, its validation films
            choose thresholds and recalibration, its training films' labels make the
            controls. None judges all films, and chooses nothing.
        split_name: the split's name in the configuration.
        films: only these are judged.
        agreed: as `nih.read_adjudicated` returns it, if there is any.
        readings: as `rsna.read_readings` returns them, if there are any.

    Raises:
        InputError: if a file cannot be used, no film is left to judge, two files have the
            same name, or the folder exists. Nothing is written then.
    """
    names = [name_of(path) for path in paths]
    _refuse_names(paths, names)
    artifacts.refuse_existing(folder, "--to")
    files = {name: score_file.read_scores(path) for name, path in zip(names, paths, strict=True)}
    notes = [
        f"{name}: {note}" if len(files) > 1 else note
        for name, file in files.items()
        for note in file.notes
    ]
    cohort, left_out = _cohort(files, records, split, split_name, films)
    cohort = dataclasses.replace(cohort, agreed=agreed, readings=readings)
    notes += left_out
    scores = {name: file.scores for name, file in files.items()}
    for name, frame in scores.items():
        test = cohort.test
        doubts = score_file.suspicious(
            frame.loc[test.index], test[list(FINDINGS)], test["patient_id"]
        )
        notes += [f"Warning, {name}: {doubt}" for doubt in doubts]
    results = judge.judge_models(scores, cohort)
    if all(table["auroc"].isna().all() for table in results["auroc"].values()):
        raise InputError(
            f"no finding has enough positive and negative patients among the {len(cohort.test):,} "
            f"films that {', '.join(map(str, paths))} scores, so nothing can be estimated; score "
            "more films."
        )
    drawn = {name for name, file in files.items() if file.phantoms}
    notes += [f"{name} says that its films are phantoms, synthetic drawings." for name in drawn]
    trained = _add_official(results, scores, cohort, notes)
    real = {n: t for n, t in results["auroc"].items() if n not in drawn}
    where = split_name or "all films given"
    results["published"] = dict.fromkeys(names, comparison.published(real, split=where))
    setting = model_card.Setting(
        name="",
        films_are=f"test films of the split `{split_name}`"
        if split_name
        else "films of the file that the records know",
        split=split_name,
        split_films=None if split is None else int((split == "test").sum()),
        shared_patients=None,
        training_films=trained,
        phantoms=False,
        provenance=provenance,
        notes=notes,
    )
    differences = judge.differences(scores, cohort) if len(files) > 1 else None
    with artifacts.new_folder(folder, "--to") as unfinished:
        _write_results(unfinished, results, differences)
        for name in names:
            made = {kind: by_model[name] for kind, by_model in results.items() if name in by_model}
            its = dataclasses.replace(setting, name=name, phantoms=name in drawn)
            model_card.write(unfinished, its, made)
    return Evaluated(results["auroc"], tuple(notes), folder)


def _write_results(
    folder: Path,
    results: Mapping[str, Mapping[str, pd.DataFrame]],
    differences: pd.DataFrame | None,
) -> None:
    """Tables and figures, with those of each pair of files where they are compared."""
    judge.save(folder / "tables", results)
    drawings = figures.judged(results)
    if differences is not None:
        artifacts.write_csv(folder / "tables/comparison.csv", judge.rounded(differences))
        for (model, other), pair in differences.groupby(["model", "other"], sort=False):
            drawings[f"comparison_{model}_and_{other}"] = figures.differences(pair)
    for kind, drawing in drawings.items():
        figures.save(drawing, folder / "figures" / f"{kind}.html")


def name_of(path: Path) -> str:
    """What a file's tables are called: its name without what says how it is written."""
    name = Path(path).name
    for ending in (".gz", ".csv", ".tsv", ".txt", ".parquet", ".pq"):
        name = name.removesuffix(ending)
    return name


def _refuse_names(paths: Sequence[Path], names: Sequence[str]) -> None:
    """Refuse files whose tables would have no name, or the same one."""
    for path, name in zip(paths, names, strict=True):
        if not any(letter.isalnum() for letter in name):
            raise InputError(f"{path} has no name that tables could be named after; rename it.")
        # Some file systems do not tell a.csv from A.csv.
        same = sum(name.casefold() == other.casefold() for other in names)
        if same > 1:
            raise InputError(
                f"{same} files are called {name}; rename them, since tables are named after their "
                "files."
            )


def _cohort(
    files: Mapping[str, score_file.ScoreFile],
    records: pd.DataFrame,
    split: pd.Series | None,
    split_name: str | None,
    films: Sequence[str] | None,
) -> tuple[judge.Cohort, list[str]]:
    """The films to judge, and sentences on those that are not."""
    notes = []
    parts = {"test": records.set_index("film")}
    parts |= dict.fromkeys(("validation", "train"), parts["test"].iloc[:0])
    if split is not None:
        parts = {p: records.loc[split.index[split == p]].set_index("film") for p in parts}
    if films is not None:
        parts["test"] = parts["test"][parts["test"].index.isin(films)]
    given = {name: file.scores.index for name, file in files.items()}
    known = pd.Index(records["film"])
    shared = known
    for name, index in given.items():
        unknown = len(index.difference(known))
        if unknown:
            notes.append(f"{unknown:,} film(s) of {name} are not in the records and left out.")
        shared = shared[shared.isin(index)]
    if shared.empty and all(known.isin(index).any() for index in given.values()):
        raise InputError(
            f"{' and '.join(given)} score no film in common, so they cannot be compared; evaluate "
            "them one by one."
        )
    wanted = len(parts["test"])
    scored = {p: frame[frame.index.isin(shared)] for p, frame in parts.items() if p != "train"}
    narrowed = "" if split_name is None else f" of the test part of the split '{split_name}'"
    narrowed += "" if films is None else " on the list"
    if scored["test"].empty:
        raise InputError(
            f"{' and '.join(given)} score(s) none of the {wanted:,} films{narrowed} "
            f"({len(shared):,} scored films are in the records at all); choose other films with "
            "--split or --films, or check the films' names."
        )
    used = len(scored["test"]) + len(scored["validation"])
    if len(shared) > used:
        notes.append(f"{len(shared) - used:,} scored film(s) are none{narrowed} and were left out.")
    if narrowed and wanted > len(scored["test"]):
        notes.append(
            f"{wanted - len(scored['test']):,} of {wanted:,} films{narrowed} have no score: the "
            "results hold for the others only."
        )
    for name, index in given.items():
        more = int(known.isin(index).sum()) - len(shared)
        if more:
            notes.append(f"{more:,} film(s) of {name} are not in every file and were left out.")
    if scored["validation"].empty:
        notes.append(
            "No validation film is scored, so there are no thresholds, no net benefit and no "
            "recalibration."
            if split is not None
            else "Without --split nothing is chosen, so there are no thresholds, no net benefit "
            "and no recalibration."
        )
    return judge.Cohort(**scored, train=parts["train"]), notes


def _add_official(
    results: dict[str, dict[str, pd.DataFrame]],
    scores: Mapping[str, pd.DataFrame],
    cohort: judge.Cohort,
    notes: list[str],
) -> int:
    """Judge the films of NIH's official test list by themselves, where others are among them.

    Returns:
        How many of the judged films are on NIH's official training list.
    """
    tested = cohort.test["patient_id"].isin(OFFICIAL_TEST_PATIENTS).to_numpy()
    trained = int((~tested).sum())
    if trained:
        notes.append(
            f"{trained:,} of the {len(tested):,} judged films are on NIH's official training list, "
            "which most models were trained on; whether this one was is unknown here."
        )
    if trained and tested.any():
        results["official_auroc"] = {
            name: ranking.auroc_by_finding(
                ranking.Judged.of(cohort.test, frame.loc[cohort.test.index]).part(tested)
            )
            for name, frame in scores.items()
        }
        for name, table in results["official_auroc"].items():
            mean = table.iloc[-1]
            if pd.notna(mean["auroc"]):
                notes.append(
                    f"{name} on the other {int(mean['films']):,} films, of NIH's official test "
                    f"list: mean AUROC {with_interval(mean)}, {mean['remark']}."
                )
    return trained
