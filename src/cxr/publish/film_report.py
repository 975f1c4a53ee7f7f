"""What is said of films, for every reader: text, CSV, JSON, one page, a notebook."""

import collections
import contextlib
import csv
import dataclasses
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from cxr import artifacts, progress
from cxr.errors import InputError
from cxr.figures import film_viewer
from cxr.figures.page import page, templates
from cxr.films import reading
from cxr.films.abstention import REFUSED
from cxr.findings import FINDINGS, label
from cxr.modelling.predict import BATCH, Answer, Model
from cxr.publish import markdown
from cxr.wording import in_percent

# Films with pictures on one page: 0.3 MB each. Further ones stand in its table.
PICTURES = 50

TITLE = "Chest films, read by a model"

# Endings of what is read and never written.
_FILMS = (".png", ".jpg", ".jpeg", ".dcm", ".dicom")

# What makes a frame as high as the page in it.
_FIT = "this.style.height = this.contentDocument.documentElement.scrollHeight + 'px'"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Report:
    """The answers for some films; a notebook shows it as the page that `write` makes.

    Attributes:
        model, answers: who answered what.
        first: number of the first film, for pages that are put together of several reports.
        with_card: whether the page holds the model card.
        folded: whether one film is open at a time, instead of all below each other.
        titles: what the films are called, one each; by default their files' names, with the
            folders that tell two of the same name apart.
    """

    model: Model
    answers: tuple[Answer, ...]
    first: int = 1
    with_card: bool = True
    folded: bool = False
    titles: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Report on {len(self.answers)} film(s) by {self.model.name}"

    def excerpt(self, films: int, *, side: int = 128) -> "Report":
        """The first films with small pictures and no card, for a notebook that stays small.

        Of several films one is open at a time.

        Args:
            films: so many, at most.
            side: longest side of their pictures, in pixels.
        """
        small = []
        for answer in self.answers[:films]:
            if answer.picture is not None:
                image = Image.fromarray(answer.picture)
                image.thumbnail((side, side), Image.Resampling.BOX)
                answer = dataclasses.replace(answer, picture=np.asarray(image))
            small.append(answer)
        titles = self.titles[:films]
        return dataclasses.replace(
            self, answers=tuple(small), with_card=False, folded=films > 1, titles=titles
        )

    @property
    def table(self) -> pd.DataFrame:
        """One row a film: film, verdict, reasons, unsure, then a probability per finding."""
        return pd.DataFrame([row(answer, self.model) for answer in self.answers])

    def html(self) -> str:
        """One page with everything in it; it asks no network."""
        titles = self.titles or _names(self.answers)
        sections = [
            film_viewer.viewer(
                f"film-{number}",
                titles[number - self.first],
                answer.verdict,
                answer.reasons,
                None if answer.picture is None else (answer.picture, answer.heatmaps, answer.twin),
                answer.findings,
            )
            for number, answer in enumerate(self.answers[:PICTURES], start=self.first)
        ]
        body = (
            templates("cxr.publish")
            .get_template("films.html")
            .render(
                title=TITLE,
                answers=[
                    (title, answer, _flagged(answer))
                    for title, answer in zip(titles, self.answers, strict=True)
                ],
                sections=sections,
                folded=self.folded,
                model=self.model,
                first=self.first,
                card=markdown.untrusted(self.model.card, level=2) if self.with_card else "",
            )
        )
        return page(TITLE, body, head=film_viewer.head())

    def write(self, path: Path) -> Path:
        """Write the page."""
        artifacts.write_text(path, self.html())
        return path

    def _repr_html_(self) -> str:
        # A frame of its own: the page's style must not reach the notebook's. As high as its
        # page, or one would scroll in it unawares. In single quotes, where the page's own
        # double ones need no escape: a quarter less to keep.
        held = self.html().replace("&", "&amp;").replace("'", "&#39;")
        return (
            f'<iframe title="{TITLE}" style="width:100%;height:56rem;border:0" onload="{_FIT}" '
            f"srcdoc='{held}'></iframe>"
        )


def row(answer: Answer, model: Model) -> dict:
    """An answer as a row of a table; `cxr evaluate` takes such tables."""
    values, unsure = {}, {}
    if answer.findings is not None:
        values, unsure = _by_finding(answer, "probability"), _by_finding(answer, "unsure")
    return {
        "film": shown(answer.file),
        "verdict": answer.verdict,
        "reasons": " ".join(answer.reasons),
        "unsure": ", ".join(finding for finding, doubted in unsure.items() if doubted),
        # Scores of drawn films say so, wherever their file is taken.
        **({"phantom": 1} if model.phantoms else {}),
        **{finding: values.get(finding) for finding in FINDINGS},
    }


def record(answer: Answer, model: Model) -> dict:
    """An answer as JSON holds it: all that the page says, but the pictures."""
    findings = []
    if answer.findings is not None:
        for line in answer.findings.to_dict(orient="records"):
            findings.append({key: None if pd.isna(v) else v for key, v in line.items()})
    return {
        "film": shown(answer.file),
        "verdict": answer.verdict,
        "reasons": list(answer.reasons),
        "run": model.name,
        "findings": findings,
        "notes": model.notes,
    }


def text(answer: Answer) -> str:
    """An answer as lines for a terminal."""
    lines = [f"{shown(answer.file)}: {answer.verdict}. {' '.join(answer.reasons)}".rstrip()]
    if answer.findings is not None:
        table = answer.findings.sort_values("probability", ascending=False)
        table["unsure"] = table["unsure"].map(
            lambda doubted: "unknown" if doubted is None else doubted
        )
        told = ["finding", "probability", "low", "high", "threshold", "reached", "unsure"]
        lines.append(table[told].round(3).to_string(index=False))
        lines += [
            f"{label(line.finding)}: {line.meaning}."
            for line in table.itertuples()
            if line.reached is True and line.meaning
        ]
    return "\n".join(lines)


def brief(answer: Answer) -> str:
    """An answer in one line, for many films."""
    said = " ".join(answer.reasons)
    if answer.findings is not None:
        said = f"{_flagged(answer)}. {said}"
    return f"{shown(answer.file)}: {answer.verdict}: {said}".rstrip()


def run(
    model: Model,
    files: Sequence[Path],
    *,
    page_to: Path | None = None,
    table_to: Path | None = None,
    json_to: Path | None = None,
    batch: int = BATCH,
) -> bool:
    """Answer for films as they come, and write what is asked for, each file whole or not at all.

    Where nothing is written, answers are printed: one film in full, of several a line each. What
    cannot be written shows before the first film is read; see also `check_outputs`.

    Args:
        page_to, table_to, json_to: HTML, CSV, and JSON with a line a film; "-" prints it.
        batch: films in a step of the network.

    Returns:
        Whether every film got scores.

    Raises:
        InputError: for an output that cannot be written.
    """
    answers: list[Answer] = []
    printed = json_to == Path("-")
    silent = not printed and any((page_to, table_to, json_to))
    with (
        _added_to(page_to, "--html") as add_page,
        _added_to(table_to, "--csv") as add_row,
        _added_to(None if printed else json_to, "--json") as add_line,
        progress.Bars() if silent else contextlib.nullcontext() as bars,
    ):
        bar = bars.add("films scored", total=len(files)) if bars else None
        for answer in model.answers(files, pictures=PICTURES if page_to else 0, batch=batch):
            if printed:
                print(line(answer, model), flush=True)
            elif not silent:
                print(text(answer) if len(files) == 1 else brief(answer), flush=True)
            if table_to:
                add_row(_as_csv(row(answer, model), header=not answers))
            if json_to and not printed:
                add_line(line(answer, model) + "\n")
            answers.append(answer)
            if bar:
                bar.advance()
        if page_to:
            add_page(Report(model, tuple(answers)).html())
    if silent:
        counts = pd.Series([answer.verdict for answer in answers]).value_counts()
        print(", ".join(f"{count:,} {verdict}" for verdict, count in counts.items()) + ".")
    return all(answer.verdict != REFUSED for answer in answers)


def check_outputs(films: Sequence[Path], outputs: Mapping[str, Path | None]) -> None:
    """Refuse to write over what is no earlier output, before any film is read.

    A pattern that the shell has put in the place of a forgotten name names a film.

    Args:
        films: that are read.
        outputs: the option that names an output -> its file, or None where none is wanted.

    Raises:
        InputError: for a film, a folder, a device, one file for two outputs, or "-" where nothing
            can be printed.
    """
    given = {Path(film).resolve() for film in films}
    seen: set[Path] = set()
    for option, path in outputs.items():
        if path is None or (path == Path("-") and option == "--json"):
            continue
        if path == Path("-"):
            raise InputError(
                f"{option} - prints nothing, only --json does; name a file to write to."
            )
        if path.is_dir() or (path.exists() and not path.is_file()):
            raise InputError(f"{path} is no file; name one to write to.")
        called_film = path.exists() and path.suffix.lower() in _FILMS
        if path.resolve() in given or called_film or reading.begins_as_film(path):
            raise InputError(f"{path} would be written over, and it is a film; name another file.")
        if path.resolve() in seen:
            raise InputError(f"{path} is named for two outputs; give each a file of its own.")
        seen.add(path.resolve())


@contextlib.contextmanager
def _added_to(path: Path | None, option: str) -> Iterator[Callable[[str], object]]:
    """Yield a function that adds text to a file, which is there when all of it is."""
    if path is None:
        yield lambda added: None
        return
    with artifacts.atomic(path, option) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield file.write


def _as_csv(values: dict, *, header: bool) -> str:
    """A row of a table; pandas would take longer for it than the network for its film."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if header:
        writer.writerow(values)
    writer.writerow("" if value is None else value for value in values.values())
    return text.getvalue()


def line(answer: Answer, model: Model) -> str:
    """An answer as one line of JSON."""
    return json.dumps(record(answer, model), ensure_ascii=False, allow_nan=False)


def prevalences(told: str | float | None) -> dict[str, float]:
    """What `--prevalence` says: "0.05" for every finding, or "Mass=0.03,Nodule=0.1".

    Of "0.05,Mass=0.1" the first is for the other findings, in whatever order they stand.

    Raises:
        InputError: for an unknown finding, one that is named twice, or a number that is no share.
    """
    if told is None:
        return {}
    shares: dict[str, float] = {}
    for part in str(told).split(","):
        name, equals, number = map(str.strip, part.rpartition("="))
        try:
            share = float(number)
        except ValueError:
            share = -1
        if not 0 < share < 1 or (equals and name not in FINDINGS):
            raise InputError(
                f"--prevalence {told}: '{part}' is neither a share between 0 and 1 nor "
                f"<finding>=<share>; findings are {', '.join(FINDINGS)}."
            )
        if name in shares:
            raise InputError(
                f"--prevalence {told}: '{part}' is the second share for "
                f"{name or 'all findings'}; give one."
            )
        shares[name] = share
    others = dict.fromkeys(FINDINGS, shares.pop("")) if "" in shares else {}
    return others | shares


def _names(answers: Sequence[Answer]) -> tuple[str, ...]:
    """The names of the films' files, with their folders where a name occurs twice.

    Folders are told from the one on that hold all films: what lies above concerns no reader.
    """
    paths = [Path(shown(answer.file)).absolute() for answer in answers]
    number = collections.Counter(path.name for path in paths)
    above = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return tuple(
        path.name if number[path.name] == 1 else str(path.relative_to(above)) for path in paths
    )


def shown(name: str) -> str:
    """A file's name as text, whatever bytes it has."""
    return os.fsencode(name).decode("utf-8", "replace")


def _by_finding(answer: Answer, column: str) -> dict:
    assert answer.findings is not None
    return dict(zip(answer.findings["finding"], answer.findings[column], strict=True))


def _flagged(answer: Answer) -> str:
    """The findings at or above their threshold, with their probabilities, or why there is none."""
    if answer.findings is None:
        return ""
    if answer.findings["threshold"].isna().all():
        return "no finding has a threshold"
    columns = (answer.findings[name] for name in ("probability", "finding", "reached"))
    flagged = [
        (p, finding) for p, finding, reached in zip(*columns, strict=True) if reached is True
    ]
    told = ", ".join(f"{label(one)} {in_percent(p)}" for p, one in sorted(flagged)[::-1])
    return told or "nothing at or above its threshold"
