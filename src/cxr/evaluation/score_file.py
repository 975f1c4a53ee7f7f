"""Files of anybody's scores: read in whatever shape, and doubted where they look wrong."""

import dataclasses
import gzip
import io
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from cxr.errors import InputError
from cxr.evaluation.comparison import holm
from cxr.evaluation.ranking import Judged
from cxr.films.abstention import REFUSED
from cxr.findings import FINDINGS

# What the column of film names may be called, in letters and digits only.
_FILM_COLUMNS = {
    "film", "filmname", "file", "filename", "filepath", "image", "imageid", "imageindex",
    "imagename", "imagepath", "img", "imgid", "imgname", "imgpath", "path", "name", "id",
}  # fmt: skip
_FILM = r"(?:.*[/\\])?(\d{8}_\d{3})(?:\.(?i:png))?"

# Words before or after a finding's name that tell probabilities from labels.
_SCORES = {
    "p", "prob", "proba", "probability", "probs", "pred", "preds", "prediction", "output",
    "score", "scores", "sigmoid",
}  # fmt: skip
_LABELS = {"actual", "gt", "label", "labels", "target", "targets", "true", "truth", "y"}

# What a file that is no table begins with, and what to do about it.
_FOREIGN = {
    b"PK\x03\x04": "an Excel or ZIP file; save the table as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel file; save the table as CSV",
    b"\x80": "a pickle, which could run anything and is never loaded; save the table as CSV",
    b"\xff\xfe": "UTF-16 text; save it as UTF-8",
    b"\xfe\xff": "UTF-16 text; save it as UTF-8",
    b"{": "JSON; save the table as CSV",
    b"[": "JSON; save the table as CSV",
    b"<": "a web page; fetch the file itself",
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself",
    b"\x93NUMPY": "a NumPy array without film names; save a table as CSV",
}


@dataclasses.dataclass(frozen=True)
class ScoreFile:
    """What a file of scores holds.

    Attributes:
        scores: 0 to 1, one column per finding that the file has, in the order of
            `FINDINGS`, film names as index.
        film_column: the column that the film names are in.
        columns: finding -> the column that its scores are in.
        phantoms: whether the file says that the films are drawn.
        notes: what a reader must know, one sentence each.
    """

    scores: pd.DataFrame
    film_column: str
    columns: Mapping[str, str]
    phantoms: bool
    notes: tuple[str, ...]


def read_scores(path: Path) -> ScoreFile:
    """Read a file of scores: CSV, with tabs or semicolons too, or Parquet; also gzipped.

    Columns are found by name; case, blanks, hyphens and underscores do not matter, nor does
    one common word before or after the findings' names, such as `prob_Mass` or `Mass_pred`.
    Labels beside probabilities are left aside, and so are films that `cxr predict` refused.
    Nothing is guessed: what could be read in two ways is refused with the names of the columns.

    Raises:
        InputError: if it is no such file, lacks the films' column or every finding, leaves
            open which columns are meant, holds a film twice, or a score that is empty, not
            a number or outside 0 to 1.
    """
    path = Path(path)
    table, whole = _table(path)
    film_column = _film_column(path, table)
    columns, notes = _columns(path, table.drop(columns=film_column))
    refused = _refused(table, list(columns.values()))
    if refused.all():
        raise InputError(f"{path} holds no score: all its films were refused; score others.")
    if refused.any():
        notes.append(
            f"{int(refused.sum()):,} film(s) that `cxr predict` refused have no scores and were "
            f"left out, such as {table[film_column][refused].iloc[0]}."
        )
        table = table[~refused].reset_index(drop=True)
    given = table[film_column].str.strip()
    unnamed = int((given == "").sum())
    if unnamed:
        raise InputError(
            f"{path} has {unnamed:,} row(s) without a film name in the column '{film_column}'; "
            "name the films, or remove these rows."
        )
    films = given.str.replace(f"^{_FILM}$", r"\1.png", regex=True)
    twice = int(films.duplicated().sum())
    if twice:
        raise InputError(
            f"{path} holds {twice:,} film(s) more than once, such as "
            f"{films[films.duplicated()].iloc[0]}; keep one row a film."
        )
    if film_column not in ("film", "Image Index"):
        notes.insert(0, f"Films are named by the column '{film_column}'.")
    changed = int((films != given).sum())
    if changed:
        notes.append(
            f"{changed:,} film name(s) such as '{given[films != given].iloc[0]}' were taken as "
            f"'{films[films != given].iloc[0]}'."
        )
    scores = {f: _numbers(path, table[columns[f]], films) for f in FINDINGS if f in columns}
    if not whole:
        notes.append(
            "The last line lacks its line break: if the file was cut, films are missing and the "
            "last score may be wrong."
        )
    commas = any((table[column].str.contains(",")).any() for column in columns.values())
    if commas:
        notes.append("Commas in numbers were read as decimal points.")
    absent = [finding for finding in FINDINGS if finding not in columns]
    if absent:
        notes.append(f"Without a column, so not scored: {', '.join(absent)}.")
    drawn = [column for column in table if _plain(column) == "phantom"]
    return ScoreFile(
        pd.DataFrame(scores).set_axis(pd.Index(films, name="film")),
        film_column,
        columns,
        bool(drawn) and bool((table[drawn[0]].str.strip() != "0").any()),
        tuple(notes),
    )


def suspicious(scores: pd.DataFrame, targets: pd.DataFrame, patients: pd.Series) -> list[str]:
    """What looks wrong with scores, one sentence each; what is said is no proof.

    Args:
        scores: one column per finding, rows as `targets`.
        targets: 0/1, one column per finding.
        patients: the patient of each film.
    """
    found: dict[str, list[str]] = {}
    judged = Judged(targets, scores, patients)
    below = judged.auroc.minus(0.5)
    # Of models that rank nothing, all findings together, one in twenty is doubted at most.
    p = holm(below.p_values())
    reversed_ = [f for f, v, q in zip(FINDINGS, below.value, p, strict=True) if v < 0 and q < 0.05]
    for finding in scores:
        score, target = scores[finding].to_numpy(), targets[finding].to_numpy()
        levels = len(np.unique(score))
        if levels > 1 and (score == target).all():
            kind = "equal the labels in every film, so these are probably labels"
        elif levels == 1:
            kind = "are the same for every film, so they rank nothing"
        elif set(np.unique(score)) <= {0, 1}:
            kind = "are only 0 and 1, so these are probably decisions, not probabilities"
        elif finding in reversed_:
            kind = "rank films the wrong way round, so they are probably 1 - probability"
        elif levels < 5:
            kind = "take fewer than 5 different values, so most films are tied"
        else:
            continue
        found.setdefault(kind, []).append(finding)
    sentences = [f"the scores of {_listed(names)} {kind}." for kind, names in found.items()]
    seen: dict[bytes, list[str]] = {}
    for finding in scores:
        seen.setdefault(scores[finding].to_numpy().tobytes(), []).append(finding)
    sentences += [
        f"the scores of {_listed(names)} are the same, film by film."
        for names in seen.values()
        if len(names) > 1 and np.ptp(scores[names[0]]) > 0
    ]
    return sentences


def _table(path: Path) -> tuple[pd.DataFrame, bool]:
    """The file's rows as text, with its own column names, and whether its last line ends."""
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path} is a damaged gzip file; make it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    if content.startswith(b"PAR1"):
        return _parquet(path, content), True
    for beginning, what in _FOREIGN.items():
        if content.lstrip().startswith(beginning):
            raise InputError(f"{path} is {what}.")
    if b"\0" in content:
        raise InputError(f"{path} is no text file; save the table as CSV.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{path} is no UTF-8 text; save the table as CSV in UTF-8.") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = text.endswith("\n")
    text = text.strip("\n")
    header, _, body = text.partition("\n")
    if not body.strip():
        raise InputError(f"{path} holds no film.")
    # The header is read as a row: it then sets the width, and a longer row is an error.
    # Given as names, pandas would take a longer row's first fields for an index, and every
    # finding would get its neighbour's scores.
    try:
        table = pd.read_csv(
            io.StringIO(text),
            sep=max(",\t;|", key=header.count),
            header=None,
            dtype=str,
            keep_default_na=False,
        ).fillna("")
    except ValueError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise InputError(f"{path} is damaged ({reason}); mend the file.") from None
    names = table.iloc[0].str.strip().tolist()
    _refuse_repeated(path, names)
    return table.iloc[1:].reset_index(drop=True).set_axis(names, axis=1), whole


def _parquet(path: Path, content: bytes) -> pd.DataFrame:
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError, NotImplementedError):
        raise InputError(f"{path} is a damaged Parquet file; make it again.") from None
    if not isinstance(table.index, pd.RangeIndex):
        table = table.reset_index(allow_duplicates=True)
    table = table.set_axis([str(name).strip() for name in table.columns], axis=1)
    _refuse_repeated(path, list(table.columns))
    if table.empty:
        raise InputError(f"{path} holds no film.")
    # Text with all digits, and nothing where there is nothing: as from a CSV.
    return table.astype(object).where(table.notna(), "").map(str)


def _refuse_repeated(path: Path, names: list[str]) -> None:
    twice = sorted({name for name in names if name and names.count(name) > 1})
    if twice:
        raise InputError(
            f"{path} has {names.count(twice[0])} columns named '{twice[0]}'; keep one."
        )


def _film_column(path: Path, table: pd.DataFrame) -> str:
    named = [column for column in table if _plain(column) in _FILM_COLUMNS]
    holding = [c for c in table if table[c].str.strip().str.fullmatch(_FILM).mean() > 0.5]
    chosen = [column for column in named if column in holding] or holding or named
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise InputError(f"{path} has several columns of film names: {_quoted(chosen)}; keep one.")
    raise InputError(
        f"{path} has no column of film names such as 00000001_000.png, called 'film' or 'Image "
        f"Index'; it has {_quoted(list(table)[:8])}."
    )


def _columns(path: Path, table: pd.DataFrame) -> tuple[dict[str, str], list[str]]:
    """Which column holds the scores of which finding, and what to say about the choice."""
    by_pattern = _by_pattern(path, table)
    if not by_pattern and _is_long(table):
        raise InputError(
            f"{path} has one row a film and finding; give each finding a column of its own."
        )
    if not by_pattern:
        raise InputError(
            f"{path} has no column named after a finding, such as {FINDINGS[0]} or "
            f"prob_{FINDINGS[0]}; known are {', '.join(FINDINGS)}."
        )
    marked = {pattern for pattern in by_pattern if _words(pattern) & _SCORES}
    labels = {pattern for pattern in by_pattern if _words(pattern) & _LABELS} - marked
    if len(by_pattern) > 1:
        labels |= {p for p, found in by_pattern.items() if _only_0_and_1(table, found)}
    left = [pattern for pattern in by_pattern if pattern not in labels] or list(by_pattern)
    # Labels by their values alone share findings with the scores; else they may be scores.
    kinds = [
        pattern
        for pattern, found in by_pattern.items()
        if pattern in left
        or not (_words(pattern) & _LABELS or set(found) & set(by_pattern[left[0]]))
    ]
    if len(kinds) > 1:
        usual, *others = sorted((by_pattern[k] for k in kinds), key=len, reverse=True)
        odd = [column for found in others for column in found.values()]
        if sum(len(by_pattern[k]) for k in kinds) == len({f for k in kinds for f in by_pattern[k]}):
            raise InputError(
                f"{path} has columns such as '{next(iter(usual.values()))}', but other findings "
                f"only as {_quoted(odd)}; give all of them the same kind of name, or remove these."
            )
        examples = [next(iter(by_pattern[kind].values())) for kind in kinds]
        raise InputError(
            f"{path} has several kinds of columns for findings, such as {_quoted(examples)}, and "
            "which of them are probabilities is open; keep one kind."
        )
    chosen = by_pattern[left[0]]
    notes = []
    if left[0] != ("", ""):
        words = "_".join(part for part in (left[0][0], "<finding>", left[0][1]) if part)
        notes.append(f"Scores are taken from the columns named like '{words}'.")
    if len(by_pattern) > 1:
        aside = [c for p, found in by_pattern.items() if p != left[0] for c in found.values()]
        notes.append(
            f"Taken for labels or decisions and left aside: {_quoted(aside[:3])}"
            + (f" and {len(aside) - 3} more." if len(aside) > 3 else ".")
        )
    return chosen, notes


def _by_pattern(path: Path, table: pd.DataFrame) -> dict[tuple[str, str], dict[str, str]]:
    """(Words before, words after a finding's name) -> finding -> column that is named so."""
    by_pattern: dict[tuple[str, str], dict[str, str]] = {}
    for column in table:
        words = re.sub(r"[^a-z0-9]+", "_", column.lower()).strip("_")
        words = words.replace("pleuralthickening", "pleural_thickening")
        for finding in FINDINGS:
            match = re.fullmatch(rf"(?:(.+)_)?{finding.lower()}(?:_(.+))?", words)
            if match:
                found = by_pattern.setdefault((match[1] or "", match[2] or ""), {})
                if finding in found:
                    raise InputError(
                        f"{path} has two columns for {finding}: {_quoted([found[finding], column])}"
                        "; keep one."
                    )
                found[finding] = column
    return by_pattern


def _refused(table: pd.DataFrame, scores: list[str]) -> pd.Series:
    """Which rows are of films that `cxr predict` refused: bool, as its verdict says."""
    verdict = next((table[c].str.strip() for c in table if _plain(c) == "verdict"), None)
    if verdict is None:
        return pd.Series(False, index=table.index)
    return verdict.eq(REFUSED) & table[scores].eq("").all(axis=1)


def _numbers(path: Path, column: pd.Series, films: pd.Series) -> np.ndarray:
    """A column's text as numbers from 0 to 1."""
    text = column.str.strip().str.replace(r"^(\d+),(\d+)$", r"\1.\2", regex=True)
    values = pd.to_numeric(text, errors="coerce").to_numpy(dtype=np.float64)
    known = values[np.isfinite(values)]
    hint = ""
    if len(known) and known.min() < 0:
        hint = " (if they are logits, apply a sigmoid)"
    elif len(known) and 1 < known.max() <= 100:
        hint = " (if they are percent, divide by 100)"
    for wrong, what in (
        ((text == "").to_numpy(), "empty"),
        (~np.isfinite(values), "not a number"),
        ((values < 0) | (values > 1), f"outside 0 to 1{hint}"),
    ):
        if wrong.any():
            raise InputError(
                f"{path} has {int(wrong.sum()):,} of {len(values):,} scores in the column "
                f"'{column.name}' that are {what}, first for {films[wrong].iloc[0]}; the "
                "evaluation needs a probability for every film."
            )
    return values


def _words(pattern: tuple[str, str]) -> set[str]:
    """The words before and behind the findings' names."""
    return set("_".join(pattern).split("_"))


def _only_0_and_1(table: pd.DataFrame, columns: Mapping[str, str]) -> bool:
    known = ("", "0", "1", "0.0", "1.0", "false", "true")
    return all(table[c].str.strip().str.lower().isin(known).all() for c in columns.values())


def _is_long(table: pd.DataFrame) -> bool:
    """Whether some column holds names of findings."""
    known = {_plain(finding) for finding in FINDINGS}
    return any(table[column].map(_plain).isin(known).mean() > 0.5 for column in table)


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", str(name).lower())


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _listed(names: list[str]) -> str:
    return "all findings" if len(names) == len(FINDINGS) else ", ".join(names)
