"""The tables that an evaluation left in a folder, and what they were measured on."""

import dataclasses
import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from cxr import artifacts
from cxr.config import PHANTOM_WEIGHTS, Config
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.publish import stills
from cxr.wording import counted

# How every interval is made: `cxr.evaluation.intervals`.
INTERVAL = "95 %, each patient left out in turn"

# Tables in which every finding, and then their mean, has a row: how many times over at least.
_ROUNDS = {"auroc": 1, "calibration": 1, "controls": 1, "subgroups": 1, "comparison": 0}

_AGAIN = "put back a copy, or evaluate again."


@dataclasses.dataclass(frozen=True)
class Run:
    """What is known of how a model was made; None where nobody recorded it.

    Attributes:
        name: in the tables' names, `<model>-<split>[-<tag>]`.
        weights: "none", "imagenet" or a file of weights.
        image_size: side of the films that it saw, in pixels.
        devices: names of those that trained it.
    """

    name: str
    model: str | None = None
    split: str | None = None
    seed: int | None = None
    weights: str | None = None
    image_size: int | None = None
    parameters: int | None = None
    devices: tuple[str, ...] = ()
    train_films: int | None = None
    train_patients: int | None = None
    validation_films: int | None = None
    validation_patients: int | None = None
    validation_auroc: float | None = None
    best_epoch: int | None = None
    epochs_done: int | None = None

    @classmethod
    def of(cls, name: str, record: Mapping) -> "Run":
        """From a run's `config.json`, or an entry of a `summary.json`."""
        known = {field.name for field in dataclasses.fields(cls)} - {"name"}
        return cls(name, **{key: record[key] for key in known & record.keys()})


@dataclasses.dataclass(frozen=True)
class Results:
    """A folder of tables, `<kind>_<run>.csv`, and the facts that belong beside every score.

    Attributes:
        folder: where the tables lie.
        runs: in the order of pages and colours.
        films: which films were scored, in words.
        interval: how intervals were made, in words.
        command: what makes the tables again.
        phantoms: whether the films are drawn.
        stills: where `stills.write` kept some of them to look at, if it did.
    """

    folder: Path
    runs: tuple[Run, ...]
    films: str
    interval: str
    command: str
    phantoms: bool = False
    stills: Path | None = None

    def named(self) -> dict[str, str]:
        """Run -> what pages call it: without the split, where that leaves no two alike."""
        short = {r.name: r.name.removesuffix(f"-{r.split}" if r.split else "") for r in self.runs}
        return short if len(set(short.values())) == len(short) else {name: name for name in short}

    def table(self, kind: str, run: str) -> pd.DataFrame | None:
        """The table of one kind and run; None where the evaluation made none.

        Raises:
            InputError: if it cannot be read, or is not whole.
        """
        table = _read(path := self.folder / f"{kind}_{run}.csv", kind)
        if kind == "roc" and table is not None:
            auroc = self.needed("auroc", run).set_index("finding")["auroc"]
            reached = table.groupby("finding")["false_positive_rate"].max()
            if (reached.reindex(auroc.dropna().index.drop("Mean", errors="ignore")) != 1).any():
                raise InputError(f"{path} lacks curves, or the end of one; {_AGAIN}")
        return table

    def comparison(self) -> pd.DataFrame | None:
        """Every two runs on the same patients; otherwise as `table`."""
        return _read(self.folder / "comparison.csv", "comparison")

    def needed(self, kind: str, run: str) -> pd.DataFrame:
        """As `table`, for a table that every evaluation makes.

        Raises:
            InputError: if it is missing.
        """
        table = self.table(kind, run)
        if table is None:
            raise InputError(f"{self.folder} holds no {kind}_{run}.csv; evaluate again.")
        return table

    def tables(self, kind: str) -> dict[str, pd.DataFrame]:
        """What pages call a run -> its table of this kind, for all runs that have one."""
        found = {words: self.table(kind, run) for run, words in self.named().items()}
        return {words: table for words, table in found.items() if table is not None}

    def reliability(self, run: str) -> dict[str, pd.DataFrame]:
        """ "as predicted" and "recalibrated" -> reliability; empty where there is none."""
        table = self.table("reliability", run)
        return {} if table is None else dict(list(table.groupby("scores", sort=False)))

    def best(self) -> Run:
        """The run with the highest AUROC on validation films: the test set chooses nothing."""
        return max(self.runs, key=lambda run: run.validation_auroc or 0)

    def mean(self, run: str) -> pd.Series:
        """The mean over the findings: auroc, low, high, films, patients."""
        return self.needed("auroc", run).set_index("finding").loc["Mean"]

    def provenance(self) -> str:
        """What must stand beside every score: split, films, patients, interval, seed, command."""
        mean = self.mean(self.best().name)
        splits, seeds = (
            ", ".join(dict.fromkeys(_stated(getattr(run, key)) for run in self.runs))
            for key in ("split", "seed")
        )
        return (
            f"split {splits} · {counted(int(mean['films']), 'test film')} of "
            f"{counted(int(mean['patients']), 'patient')} · interval: {self.interval} · "
            f"seed {seeds} · {self.command}"
        )

    def checksum(self) -> str:
        """SHA-256 over the tables and the summary, to tell whether a page is of the present."""
        digest = hashlib.sha256()
        for path in sorted([*self.folder.glob("*.csv"), *self.folder.glob("summary.json")]):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
        return digest.hexdigest()


def _read(path: Path, kind: str) -> pd.DataFrame | None:
    """A table of this kind; None where there is no such file."""
    if not path.exists():
        return None
    try:
        text = path.read_text(encoding="utf-8")
        table = pd.read_csv(io.StringIO(text))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not a readable CSV file ({error}); {_AGAIN}") from None
    if not text.endswith("\n"):
        raise InputError(f"{path} is cut off in its last line; {_AGAIN}")
    if kind in _ROUNDS:
        rows = [*FINDINGS, "Mean"]
        rounds = max(_ROUNDS[kind], len(table) // len(rows))
        if "finding" not in table or table["finding"].tolist() != rows * rounds:
            raise InputError(f"{path} lacks rows of findings, or of their mean; {_AGAIN}")
    return table


def _stated(value: object) -> str:
    return "not stated" if value is None else str(value)


_KINDS = {
    "baseline": "small CNN",
    "residual": "residual CNN",
    "mobilenet": "MobileNet",
    "mobilenet_small": "MobileNet, a quarter as wide",
    "densenet121": "DenseNet121",
    "efficientnet_v2_b0": "EfficientNetV2-B0",
    "efficientnet_v2_s": "EfficientNetV2-S",
    "convnext_tiny": "ConvNeXt-T",
    "ensemble": "mean of several models",
}


def kind(model: str) -> str | None:
    """What a model is, in words; None for one that the project does not know."""
    return _KINDS.get(model)


def origin(weights: str | None) -> str | None:
    """What a network was trained from, in words; None where it is not recorded.

    Args:
        weights: as the run's record names them: "none", "phantoms", "imagenet" or a file;
            several of an ensemble's members, with commas.
    """
    if weights is None:
        return None
    if ", " in weights:
        return " and ".join(str(origin(one)) for one in weights.split(", "))
    if weights == "none":
        return "random weights"
    if weights == PHANTOM_WEIGHTS:
        return "weights learned from drawings"
    name = Path(weights).name
    # Keras's names of its files without the top, all of them trained on ImageNet.
    known = weights == "imagenet" or re.search(r"no_?top\.h5$", name)
    return "ImageNet weights" if known else name


def of_folder(folder: Path) -> Results:
    """The results in a folder, with its `summary.json` if there is one.

    Raises:
        InputError: if the folder holds no table of AUROCs, or not that of every run that the
            summary names, or the summary is none.
    """
    summary, path = {}, folder / "summary.json"
    if path.exists():
        summary = artifacts.read_record(path, _AGAIN)
    paths = sorted(folder.glob("auroc_*.csv"))
    recorded = summary.get("runs") or [{"run": path.stem.removeprefix("auroc_")} for path in paths]
    if not (isinstance(recorded, list) and all(_names_a_run(entry) for entry in recorded)):
        raise InputError(f"{path} does not name its runs; {_AGAIN}")
    runs = tuple(Run.of(record["run"], record) for record in recorded)
    missing = [run.name for run in runs if folder / f"auroc_{run.name}.csv" not in paths]
    if missing or not runs:
        raise InputError(
            f"{folder} holds no auroc_{missing[0] if missing else '<run>'}.csv; give a folder of "
            "tables that 300-evaluation, `python -m cxr evaluate` or `make accuracy` wrote."
        )
    return Results(
        folder=folder,
        runs=runs,
        films=summary.get("films", "which films these are is not stated"),
        interval=summary.get("interval", INTERVAL),
        command=summary.get("command", "command not stated"),
        stills=folder / stills.NAME,
    )


def _names_a_run(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("run"), str)


def of_profile(config: Config) -> Results:
    """The results of a profile's own run, from its tables and the records of its models.

    Raises:
        InputError: if none of the configured models was evaluated.
    """
    tables = config.presentation / "tables"
    names = config.evaluated
    evaluated = [name for name in names if (tables / f"auroc_{name}.csv").exists()]
    if not evaluated:
        raise InputError(
            f"{tables} holds no auroc_{names[0]}.csv; run 300-evaluation first "
            f"(make run PROFILE={config.profile})."
        )
    runs = []
    for name in evaluated:
        path = config.runs / name / "config.json"
        asked = "run 200-modeling again: it says what to do."
        runs.append(Run.of(name, artifacts.read_record(path, asked) if path.exists() else {}))
    kind = "real films" if config.source == "nih" else f"films of {config.source}"
    if config.phantoms:
        kind = "phantoms: synthetic drawings"
    return Results(
        folder=tables,
        runs=tuple(runs),
        films=f"{kind}, seen at {config.image_size} px (profile {config.profile})",
        interval=INTERVAL,
        command=f"make run PROFILE={config.profile}",
        phantoms=config.phantoms,
        stills=config.presentation / "figures" / stills.NAME,
    )
