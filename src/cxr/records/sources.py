"""Other hospitals' tables: one reader, and a mapping of labels for each source.

A source's films get records like NIH's, so that every later stage takes them. What its
labels say of the 14 findings stands in `source_labels.csv`, a row a label and finding, which
is our reading and can be disputed there. *Uncertain* and *not labelled* are kept apart from
*negative*, see `states`.
"""

import ast
import collections
import contextlib
import csv
import dataclasses
import functools
import gzip
import io
import posixpath
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TextIO
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from cxr import artifacts, findings
from cxr.errors import InputError
from cxr.findings import FINDINGS, SEPARATOR
from cxr.records import nih

# What a label, and then a finding, is on a film.
POSITIVE, NEGATIVE, UNCERTAIN, NOT_LABELLED = 1, 0, -1, -2

# Beside the columns of `nih.TYPES`: findings that are neither positive nor negative, joined
# by "|", and where a film comes from.
EXTRA = ("uncertain", "unlabelled", "source", "file")

# Written where a source does not say it.
UNKNOWN = "unknown"

# Each source numbers its patients from here, so that no two sources share a number.
_BLOCK = 10_000_000

# NIH's own films under other names.
_NIHS_OWN = {
    "rsna": "RSNA's challenge of 2018 reads NIH's own films",
    "siim": "SIIM-ACR's challenge of 2019 marks NIH's own films",
}


@dataclasses.dataclass(frozen=True)
class Source:
    """A source of films: where its table has what.

    Attributes:
        title: with whom to cite.
        block: its patients are numbered from `block` * 10,000,000.
        headers: our column -> the names that its table gives it.
        frontal, lateral: how it names the views that are used (to "AP" or "PA") and left out.
        parts: so many last parts of a film's path tell it from others.
    """

    title: str
    block: int
    headers: Mapping[str, tuple[str, ...]]
    frontal: Mapping[str, str]
    lateral: tuple[str, ...] = ()
    parts: int = 1


_VIEWS = {"PA": "PA", "AP": "AP", "": UNKNOWN, UNKNOWN: UNKNOWN, "Frontal": UNKNOWN}
_SIDES = ("L", "LL", "RL", "LATERAL", "LARGE LATERAL", "Lateral")

SOURCES = {
    "chexpert": Source(
        "CheXpert (Irvin et al., AAAI 2019)",
        1,
        {"file": ("Path",), "sex": ("Sex",), "age": ("Age",), "view": ("AP/PA",)}
        | {"side": ("Frontal/Lateral",)},
        {"PA": "PA", "AP": "AP", "": UNKNOWN},
        _SIDES,
        parts=3,
    ),
    "padchest": Source(
        "PadChest (Bustos et al., Medical Image Analysis 2020)",
        2,
        {"file": ("ImageID",), "patient": ("PatientID",), "sex": ("PatientSex_DICOM",)}
        | {"view": ("Projection",), "date": ("StudyDate_DICOM",), "born": ("PatientBirth",)}
        | {"labels": ("Labels",)},
        {"PA": "PA", "AP": "AP", "AP_horizontal": "AP"},
        ("L", "COSTAL", "EXCLUDE", "UNK"),
    ),
    "vindr": Source(
        "VinDr-CXR (Nguyen et al., Scientific Data 2022)",
        3,
        {"file": ("image_id",), "label": ("class_name",), "reader": ("rad_id",)},
        # All films are PA; the table names no patients, and each film counts as one.
        {"": "PA"},
    ),
    "indiana": Source(
        "Indiana University's collection, NLMCXR (Demner-Fushman et al., JAMIA 2016)",
        4,
        {"file": ("imageid", "filename"), "view": ("view position", "projection", "tsne-view")},
        {"PA": "PA", "AP": "AP", "Frontal": UNKNOWN},
        _SIDES,
    ),
    "folder": Source(
        "a folder of films with a table",
        5,
        {"file": ("film", "file", "path", "image"), "patient": ("patient_id", "patient")}
        | {"sex": ("sex",), "age": ("age",), "view": ("view",), "labels": ("labels",)},
        _VIEWS,
        _SIDES,
        parts=99,
    ),
}

# Every film of VinDr's train.csv was read by so many radiologists.
_READERS = 3

# How a sex is written, in any case; "O" is DICOM's "other".
_SEXES = (
    dict.fromkeys(("f", "female", "woman"), "F")
    | dict.fromkeys(("m", "male", "man"), "M")
    | dict.fromkeys(("", "u", "unknown", "o", "other", "nan", "none"), UNKNOWN)
)

# What a source must name; the rest may be absent.
_NEEDED = {"file", "patient", "label", "reader", "side", "born", "date"}


def mapping(source: str) -> pd.DataFrame:
    """What each label of a source says: its rows of `source_labels.csv`.

    Returns:
        Columns label, finding, says: "positive" (of the finding), "uncertain" (the label
        may mean it), "nothing" (none of the findings is there), "not labelled" (nothing is
        known of any), "left out" (of the film), or "" for a label without a finding.
    """
    if source == "folder":
        own = [(finding, finding, "positive") for finding in FINDINGS]
        own.append((findings.NO_FINDING, "", "nothing"))
        return pd.DataFrame(own, columns=["label", "finding", "says"])
    table = _mappings()
    return table.loc[table["source"] == source, ["label", "finding", "says"]]


@functools.cache
def _mappings() -> pd.DataFrame:
    """`mapping` of all sources, read once."""
    text = resources.files("cxr.records").joinpath("source_labels.csv").read_text()
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def labelled(source: str) -> list[str]:
    """The findings that a source can call positive."""
    if source == "nih":
        return list(FINDINGS)
    table = mapping(source)
    said = set(table.loc[table["says"] == "positive", "finding"])
    return [finding for finding in FINDINGS if finding in said]


def read(source: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read a source's table into records like NIH's.

    Args:
        source: a key of `SOURCES`, or "nih".
        path: its table, `.csv` or `.csv.gz`; for "indiana" `NLMCXR_reports.tgz`, beside which
            a table of views lies.

    Returns:
        records: frontal films only, sorted by `film`, with the columns of `nih.TYPES` and
            `EXTRA`. `film` and `patient_id` are given here, see `Source.block`; a finding's
            column is 1 where it is positive and 0 elsewhere, see `states` for the rest.
            `follow_up` counts a patient's films in the order of their studies; sizes that
            the table lacks are 0.
        cleaning: `rule` and `films`: each rule that changed something, and for how many
            films; the first row counts the films read.

    Raises:
        InputError: naming the file, and the line where one is at fault, for a table that is
            not the source's, an unknown label, view or sex, what is no age, a film that stands
            there twice with different content, is called normal and has a finding (but for
            PadChest's) or lacks a reader, a patient in two spellings, or no frontal film.
    """
    if source.lower() in _NIHS_OWN:
        raise InputError(
            f"{_NIHS_OWN[source.lower()]}: they are no other hospital, and no external "
            "validation. Name another source."
        )
    if source == "nih":
        return nih.read_records(Path(path))
    if source not in SOURCES:
        raise InputError(f"unknown source '{source}'; known are nih, {', '.join(SOURCES)}.")
    read_rows = {"vindr": _vindr, "indiana": _indiana}.get(source, _csv)
    return _tidy(source, Path(path), *read_rows(source, Path(path)))


def states(records: pd.DataFrame) -> pd.DataFrame:
    """What is known of each finding on each film.

    Args:
        records: as `read`, `load` or `nih.read_records` returns them.

    Returns:
        int8 frame, one column per finding, index as `records`: `POSITIVE` (1), `NEGATIVE`
        (0), `UNCERTAIN` (-1) or `NOT_LABELLED` (-2).
    """
    frame = records[list(FINDINGS)].astype("int8")
    for column, state in (("uncertain", UNCERTAIN), ("unlabelled", NOT_LABELLED)):
        if column not in records:
            continue
        said = SEPARATOR + records[column].fillna("") + SEPARATOR
        for finding in FINDINGS:
            named = said.str.contains(f"{SEPARATOR}{finding}{SEPARATOR}", regex=False)
            frame.loc[named, finding] = state
    return frame


def certain(records: pd.DataFrame) -> pd.DataFrame:
    """The films that can be trained on: certain on every finding that their source labels.

    Raises:
        InputError: if these are less than half, so that what is left is no picture of the
            source; CheXpert, which leaves most cells blank, is one.
    """
    source = str(records["source"].iloc[0])
    findings_known = labelled_in(records)
    if not findings_known:
        raise InputError(
            f"none of the {len(records):,} films of {source} has a label that is certain, so "
            "there is nothing to learn from them."
        )
    state = states(records)[findings_known]
    known = state.ge(NEGATIVE).all(axis=1)
    if 2 * known.sum() < len(records):
        worst = state.lt(NEGATIVE).sum().idxmax()
        blank, vague = (int((state[worst] == s).sum()) for s in (NOT_LABELLED, UNCERTAIN))
        raise InputError(
            f"only {int(known.sum()):,} of {len(records):,} films of {source} are certain on every "
            f"finding that it labels, and training takes no others ({worst}, the worst of them, is "
            f"not labelled on {blank:,} films and uncertain on {vague:,}); label them, take such a "
            "finding out of the table, or judge a run by these films instead: python -m cxr "
            "external."
        )
    return records[known].reset_index(drop=True)


def labelled_in(records: pd.DataFrame) -> list[str]:
    """The findings that a source can call positive, and that these records label at all."""
    state = states(records)
    could = labelled(str(records["source"].iloc[0]))
    return [finding for finding in could if (state[finding] >= NEGATIVE).any()]


def save(records: pd.DataFrame, path: Path) -> None:
    """Write records of a source, as `read` returns them."""
    artifacts.write_csv(path, records)


def load(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read `data/records.csv`, whether it holds NIH's records or another source's.

    Returns:
        As `nih.read_records` or `read`.

    Raises:
        InputError: as `nih.read_records`, or for records of a source that are not as they were
            saved.
    """
    path = Path(path)
    if not path.is_file() or not _head(path).rstrip().endswith(",".join(EXTRA)):
        return nih.read_records(path)
    types = nih.TYPES | dict.fromkeys(EXTRA, "str")
    try:
        # pandas fills up a row that ends too soon.
        cut = not path.read_bytes().endswith(b"\n")
        table = pd.read_csv(path, dtype=types, keep_default_na=True)
    except ValueError:
        cut = True
    if cut or table.empty:
        raise InputError(
            f"{path} is cut off or damaged: it is not as 000 saved it; run 000-data_download again."
        )
    table = table.fillna(dict.fromkeys(EXTRA, ""))
    words = pd.concat([table["uncertain"], table["unlabelled"]]).str.split(SEPARATOR).explode()
    for wrong, why in (
        (table["film"].isna() | table["film"].duplicated(), "a film twice, or none"),
        (~table[list(FINDINGS)].isin([0, 1]).all(axis=1), "a finding that is neither 0 nor 1"),
        (table["source"] != table["source"].iloc[0], "films of two sources"),
        (~words.isin(["", *FINDINGS]), "a word that is no finding as uncertain or not labelled"),
    ):
        if wrong.any():
            raise InputError(
                f"{path} holds {why}: it is not as 000 saved it; run 000-data_download again."
            )
    return table, pd.DataFrame({"rule": ["films read"], "films": [len(table)]})


# ---- a source's table, as text and what its labels are ----------------------------------


def _csv(source: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """A table of a row a film: its text columns, and the state of each label."""
    rows, table = _table(source, path)
    rules = _open_end(path)
    if source == "chexpert":
        ids = rows["file"].str.extract(r"(patient\d+)/study(\d+)/[^/]+$")
        _refuse(path, rows["file"][ids[0].isna()], "names no patient and study")
        rows["patient"], rows["study"] = ids[0], ids[1].str.zfill(5)
        side = rows["side"].str.lower()
        known_sides = side.isin(["frontal", "lateral"])
        _refuse(path, rows["side"][~known_sides], "is no known view: neither Frontal nor Lateral")
        rows["view"] = rows["view"].mask(side == "lateral", "Lateral")
    if source == "padchest":
        rows["study"] = rows["date"]
        rows["age"] = _age_between(rows["date"], rows["born"])
    known = mapping(source)
    names = list(dict.fromkeys(known["label"]))
    if source == "folder":
        table = _named(path, table, names)
        columns = [name for name in names if name in table]
        if "labels" in rows and columns:
            raise InputError(
                f"{path} says the same in the column labels and in {', '.join(columns)}; keep "
                "either."
            )
    if "labels" in rows:
        lists = {text: _listed(path, rows, text) for text in rows["labels"].unique()}
        if source == "folder":
            plain = {_plain(name): name for name in names}
            lists = {text: [plain.get(_plain(n), n) for n in said] for text, said in lists.items()}
        return rows, _of_lists(source, path, rows["labels"].map(lists)), rules
    wanted = [name for name in names if name in table]
    missing = sorted(set(names) - set(wanted)) if source != "folder" else []
    if missing or not wanted:
        raise InputError(
            f"{path} is no table of {SOURCES[source].title}: it lacks the column(s) "
            f"{', '.join(missing or ['labels, or any of the 14 findings'])}."
        )
    spelled = {"1": POSITIVE, "0": NEGATIVE, "-1": UNCERTAIN, "u": UNCERTAIN, "": NOT_LABELLED}
    labels = pd.DataFrame(NOT_LABELLED, index=rows.index, columns=names, dtype="int8")
    for name in wanted:
        text = table[name].str.replace(r"(?<=\d)\.0+$", "", regex=True).str.lower()
        _refuse(path, table[name][~text.isin(spelled)], f"in {name} is none of 1, 0, -1 and empty")
        labels[name] = text.map(spelled).astype("int8")
    return rows, labels, rules


def _plain(name: str) -> str:
    """A finding's name without what people write differently: "pleural-thickening" is one."""
    return re.sub(r"[\s_-]", "", name).lower()


def _named(path: Path, table: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The table, its columns of findings named as here."""
    plain = {_plain(name): name for name in names}
    taken = {column: plain.get(_plain(column), "") for column in table}
    for name in names:
        columns = [column for column, finding in taken.items() if finding == name]
        if len(columns) > 1:
            raise InputError(
                f"{path} has {len(columns)} columns of {name}: {', '.join(columns)}; keep one."
            )
    return table.rename(columns={column: name for column, name in taken.items() if name})


def _vindr(source: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """A row a reader and box: two of three readers make a finding positive, one uncertain."""
    boxes, _ = _table(source, path)
    for column in ("file", "reader"):
        _refuse(path, boxes[column][boxes[column] == ""], f"in {column} is empty")
    known = mapping(source)
    _refuse_unknown(path, boxes["label"], set(known["label"]))
    films = boxes["file"].drop_duplicates()
    readers = films.map(boxes.groupby("file")["reader"].nunique())
    _refuse(
        path,
        films[readers != _READERS],
        f"has not the {_READERS} readers of every film of train.csv",
        "get the whole table, or take this film out of it",
    )
    votes = boxes.drop_duplicates(["file", "reader", "label"])
    votes = pd.crosstab(votes["file"], votes["label"])
    names = list(dict.fromkeys(known["label"]))
    votes = votes.reindex(columns=names, fill_value=0)
    most = 2 * votes.to_numpy() > _READERS
    state = np.where(most, POSITIVE, np.where(votes.to_numpy() > 0, UNCERTAIN, NEGATIVE))
    nothing = list(known.loc[known["says"] == "nothing", "label"])
    called = boxes["label"].isin(nothing).groupby([boxes["file"], boxes["reader"]])
    both = called.transform("any") & ~called.transform("all")
    _refuse(path, boxes["file"][both], f"is called {nothing[0]} and has one by the same reader")
    # A film stands where its first row does.
    first = boxes.index[~boxes["file"].duplicated()]
    lines = pd.Series(first, index=boxes.loc[first, "file"])[votes.index]
    labels = pd.DataFrame(state, index=pd.Index(lines), columns=names).astype("int8")
    # That one of three sees nothing makes no finding uncertain.
    labels[nothing] = labels[nothing].where(labels[nothing] == POSITIVE, NEGATIVE)
    rows = pd.DataFrame({"file": votes.index, "patient": votes.index}, index=labels.index)
    return rows, labels, {"rows of readers and boxes read as films": len(boxes)} | _open_end(path)


def _indiana(source: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, int]]:
    """Reports with MeSH terms: every film of a report gets its labels, and its own view."""
    views = _views(source, path)
    films: list[tuple[str, str]] = []
    terms: list[list[str]] = []
    places: list[str] = []
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                if (
                    not member.name.endswith(".xml")
                    or (file := archive.extractfile(member)) is None
                ):
                    continue
                report = ElementTree.fromstring(file.read())
                uid = report.find("uId")
                patient = "" if uid is None else uid.get("id", "")
                said = [" ".join((m.text or "").split()) for m in report.findall("MeSH/major")]
                for number, image in enumerate(report.findall("parentImage"), start=1):
                    films.append((image.get("id", ""), patient))
                    terms.append(said)
                    places.append(f"{member.name}, film {number}")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; set CXR_RECORDS to NLMCXR_reports.tgz.") from None
    except (OSError, EOFError, zlib.error, tarfile.TarError, ElementTree.ParseError) as error:
        raise InputError(
            f"{path} is no whole archive of XML reports ({error}); fetch it again."
        ) from None
    if not films:
        raise InputError(f"{path} holds no report with a film; NLMCXR_reports.tgz does.")
    rows = pd.DataFrame(films, columns=["file", "patient"], index=places)
    # Some lists of views number the films of a report, some do not.
    plain = rows["file"].str.replace(r"^(CXR\d+)_\d+_IM", r"\1_IM", regex=True)
    rows["view"] = rows["file"].map(views).fillna(plain.map(views)).fillna("not known")
    known = mapping(source)
    listed = pd.Series([_matched(said, known) for said in terms], index=rows.index)
    return rows, _of_lists(source, path, listed), {}


def _views(source: str, path: Path) -> dict[str, str]:
    """Film -> view, from the CSV tables beside the reports; the first that says one."""
    wanted = SOURCES[source].headers
    found: dict[str, str] = {}
    for place in sorted([*path.parent.glob("*.csv"), *path.parent.glob("*.csv.gz")]):
        remedy = "mend it, or take it away from the reports"
        header = {name.lower() for name in _header(place, remedy)}
        if any(header.isdisjoint(wanted[column]) for column in ("file", "view")):
            continue
        table = _text(place, remedy).rename(columns=str.lower)
        columns = [next(n for n in wanted[c] if n in header) for c in ("file", "view")]
        for film, view in table[columns].itertuples(index=False):
            name = re.sub(r"(\.(png|jpe?g|dcm))+$", "", film)
            name = re.sub(r"^(?:CXR)?(\d+)_(?=\d*_?IM)", r"CXR\1_", name)
            if view:
                found.setdefault(name, view)
    if not found:
        raise InputError(
            f"the reports in {path} do not say which films are frontal; put "
            "indiana_projections.csv or nlmcxr_dicom_metadata.csv.gz (imageid, View Position) "
            "beside it."
        )
    return found


def _matched(terms: list[str], known: pd.DataFrame) -> list[str]:
    """A report's MeSH terms as labels: "Thickening/pleura/apex" is "Thickening/pleura"."""
    if not terms:
        return ["No Indexing"]
    found = []
    for term in terms:
        heading, *qualifiers = (part.strip() for part in term.split("/"))
        fits = [
            label
            for label in known["label"]
            if label.split("/")[0] == heading and set(label.split("/")[1:]) <= set(qualifiers)
        ]
        found += fits or [heading]
    return found


# ---- from labels to findings -------------------------------------------------------------


def _of_lists(source: str, path: Path, lists: pd.Series) -> pd.DataFrame:
    """The state of each label where a film has a list of labels; None where it has no list."""
    names = list(dict.fromkeys(mapping(source)["label"]))
    unknown = {label for part in lists for label in part or []} - set(names)
    if unknown:
        wrong = lists.map(lambda part: not unknown.isdisjoint(part or []))
        remedy = "mend the table, or say in source_labels.csv what they mean"
        if source == "folder":
            remedy = f"known are {', '.join(names)}, joined by {SEPARATOR}; mend the table"
        raise InputError(
            f"{path}, {_where(wrong.idxmax())}: unknown label(s) "
            f"{', '.join(sorted(unknown)[:5])} ({int(wrong.sum()):,} films); {remedy}."
        )
    place = {name: column for column, name in enumerate(names)}
    values = np.full((len(lists), len(names)), NEGATIVE, dtype=np.int8)
    for row, part in enumerate(lists):
        if not part:
            values[row] = NOT_LABELLED
        for label in part or []:
            values[row, place[label]] = POSITIVE
    return pd.DataFrame(values, index=lists.index, columns=names)


def _contradictory(source: str, path: Path, rows: pd.DataFrame, labels: pd.DataFrame) -> pd.Series:
    """Which films are called normal and have a finding: some of PadChest's, and of no other's."""
    known = mapping(source)
    nothing = known.loc[known["says"] == "nothing", "label"]
    finding = known.loc[known["finding"] != "", "label"].unique()
    healthy, ill = (labels[list(names)].eq(POSITIVE).any(axis=1) for names in (nothing, finding))
    if source != "padchest":
        name = nothing.iloc[0]
        _refuse(path, rows["file"][healthy & ill], f"is called {name} and has one of the findings")
    return healthy & ill


def _listed(path: Path, rows: pd.DataFrame, text: str) -> list[str]:
    """A list of labels that was written as text: "['normal', '']", "Mass|Nodule", or nothing."""
    if text in ("", "nan"):
        return []
    parts: list[str] | None = text.split(SEPARATOR)
    if text.startswith("["):
        try:
            parts = ast.literal_eval(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            parts = None
        if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
            _refuse(path, rows["labels"][rows["labels"] == text], "is no list of labels")
    return list(dict.fromkeys(part.strip() for part in parts or [] if part.strip()))


def _translate(labels: pd.DataFrame, known: pd.DataFrame) -> pd.DataFrame:
    """The state of each finding: what is positive for some label is, then what is uncertain.

    Where a label says that nothing is there, what the source can label is negative unless it
    says otherwise. What is left of a label that is not given is not known.
    """
    out = pd.DataFrame(NOT_LABELLED, index=labels.index, columns=list(FINDINGS), dtype="int8")
    by = {says: list(part["label"]) for says, part in known.groupby("says")}
    nothing = labels[by.get("nothing", [])].eq(POSITIVE).any(axis=1)
    mute = labels[by.get("not labelled", [])].eq(POSITIVE).any(axis=1)
    for finding, part in known[known["finding"] != ""].groupby("finding", sort=False):
        sure, vague = (
            labels[list(part["label"][part["says"] == s])] for s in ("positive", "uncertain")
        )
        present = sure.eq(POSITIVE).any(axis=1)
        doubt = sure.eq(UNCERTAIN).any(axis=1) | vague.isin([POSITIVE, UNCERTAIN]).any(axis=1)
        every = pd.concat([sure, vague], axis=1)
        absent = every.eq(NEGATIVE).all(axis=1) & ~mute | nothing
        state = np.select(
            [present, doubt, absent], [POSITIVE, UNCERTAIN, NEGATIVE], default=NOT_LABELLED
        )
        out[finding] = state.astype("int8")
    return out


def _tidy(
    source: str, path: Path, rows: pd.DataFrame, labels: pd.DataFrame, rules: dict[str, int]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Records of the films that can be used, and what was done to how many."""
    about, known = SOURCES[source], mapping(source)
    rules = {"films read": len(rows)} | rules
    for column in ("sex", "age", "view", "study"):
        rows[column] = rows.get(column, "")
    rows["file"] = rows["file"].str.replace("\\", "/").str.strip("/")
    for column in ("file", "patient"):
        _refuse(path, rows[column][rows[column] == ""], f"in {column} is empty")
    nobody = rows["patient"].str.lower().isin(["nan", "none", "null"])
    _refuse(path, rows["patient"][nobody], "in patient names nobody")
    # "./a.png" is "a.png".
    rows["file"] = rows["file"].map(posixpath.normpath)
    rows["file"] = rows["file"].str.split("/").str[-about.parts :].str.join("/")
    _refuse_two_spellings(path, rows["patient"])
    same = pd.concat([rows, labels], axis=1).duplicated()
    rules["rows that repeat another one: left out"] = int(same.sum())
    rows, labels = rows[~same], labels[~same]
    twice = rows["file"][rows["file"].duplicated()]
    _refuse(path, twice, "stands there twice, with different content")
    said = rows["view"].str.lower()
    view = said.map({name.lower(): view for name, view in about.frontal.items()})
    lateral = said.isin([*map(str.lower, about.lateral), "not known"])
    _refuse(path, rows["view"][view.isna() & ~lateral], "is no known view")
    rules["lateral, or no view that is used: left out"] = int(lateral.sum())
    unfit = labels[list(known.loc[known["says"] == "left out", "label"])].eq(1).any(axis=1)
    rules["marked by the source as unfit: left out"] = int((unfit & ~lateral).sum())
    used = ~lateral & ~unfit
    both = _contradictory(source, path, rows, labels) & used
    rules["called normal, and with a finding: the finding counts"] = int(both.sum())
    if not used.any():
        raise InputError(f"{path} has no frontal film that can be used, of {len(rows):,}.")
    rows, state = rows[used].assign(view=view[used]), _translate(labels[used], known)
    sex = rows["sex"].str.lower().map(_SEXES)
    _refuse(
        path,
        rows["sex"][sex.isna()],
        "is no sex: F or M, female or male, woman or man; empty, U, unknown, O or other if neither",
    )
    rules["sex other than female or male: unknown"] = int((sex == UNKNOWN).sum())
    age, impossible = _ages(path, rows["age"])
    rules["age empty or impossible: left missing"] = int(age.isna().sum())
    rules[f"of these, below 0 or above {nih.OLDEST}"] = impossible
    rules["nothing known of any finding"] = int((state < UNCERTAIN).all(axis=1).sum())
    records = _numbered(about, path, rows.assign(sex=sex, age=age))
    records["source"] = source
    positive = (state == POSITIVE).astype("int8")
    records["labels"] = findings.decode(positive)
    for column, value in (("uncertain", UNCERTAIN), ("unlabelled", NOT_LABELLED)):
        texts = findings.decode((state == value).astype("int8"))
        records[column] = texts.where(texts != findings.NO_FINDING, "")
    records = pd.concat([records, positive], axis=1).astype(nih.TYPES)
    records = records[[*nih.TYPES, *EXTRA]].sort_values("film", ignore_index=True)
    fired = {rule: films for rule, films in rules.items() if films}
    return records, pd.DataFrame({"rule": list(fired), "films": list(fired.values())})


def _numbered(about: Source, path: Path, rows: pd.DataFrame) -> pd.DataFrame:
    """Names and numbers of films and patients; a patient's films in the order of studies."""
    digits = rows["patient"].str.extract(r"(\d+)$", expand=False)
    own = pd.to_numeric(digits, errors="coerce")
    # Numbers that the source gives are kept, where they tell its patients apart.
    kept = own.between(1, _BLOCK - 1).all() and own.nunique() == rows["patient"].nunique()
    number = own.astype("int64") if kept else 1 + pd.factorize(rows["patient"], sort=True)[0]
    rows = rows.assign(patient_id=number + about.block * _BLOCK)
    rows = rows.sort_values(["patient_id", "study", "file"])
    follow_up = rows.groupby("patient_id").cumcount()
    _refuse(path, rows["patient"][follow_up > 999], "has more than 1,000 films")
    film = rows["patient_id"].astype(str) + "_" + follow_up.astype(str).str.zfill(3) + ".png"
    return pd.DataFrame(
        {
            "film": film,
            "patient_id": rows["patient_id"],
            "age": rows["age"],
            "sex": rows["sex"],
            "view": rows["view"],
            "follow_up": follow_up,
            "width": 0,
            "height": 0,
            "pixel_spacing_x": np.nan,
            "pixel_spacing_y": np.nan,
            "file": rows["file"],
        }
    )


# ---- text and numbers ---------------------------------------------------------------------


def _table(source: str, path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A CSV's columns that we know, under our names, and the whole, all as stripped text."""
    table = _text(path, "mend it, or name the source's whole table")
    names = {name.lower(): name for name in table.columns}
    taken = {
        column: next((names[n.lower()] for n in known if n.lower() in names), None)
        for column, known in SOURCES[source].headers.items()
    }
    missing = [
        SOURCES[source].headers[c][0] for c, n in taken.items() if n is None and c in _NEEDED
    ]
    if missing:
        why = ""
        if source == "folder" and "patient_id" in missing:
            why = " Without patients no split can keep them apart."
        raise InputError(
            f"{path} is no table of {SOURCES[source].title}: it lacks the column(s) "
            f"{', '.join(missing)}.{why}"
        )
    if table.empty:
        raise InputError(f"{path} has a header but no rows; fetch it again.")
    rows = pd.DataFrame({column: table[name] for column, name in taken.items() if name is not None})
    return rows, table


def _text(path: Path, remedy: str) -> pd.DataFrame:
    """A CSV as stripped text; lines without content are left out, and keep their numbers.

    Args:
        remedy: what to do about a file that cannot be read.
    """
    titles = [name.lower() for name in _header(path, remedy)]
    twice = sorted({name for name in titles if name and titles.count(name) > 1})
    if twice:
        raise InputError(f"{path} has more than one column {', '.join(twice)}; keep one.")
    with _readable(path, remedy), _opened(path, errors="strict") as file:
        if any("\0" in title for title in titles):
            # Every other byte of ASCII in UTF-16.
            raise ValueError(_NOT_UTF8)
        table = pd.read_csv(
            file, dtype=str, keep_default_na=False, skip_blank_lines=False, skipinitialspace=True
        )
        table = _rectangular(path, table).fillna("").apply(lambda column: column.str.strip())
    table = table.rename(columns=str.strip)
    return table[(table != "").any(axis=1)]


def _rectangular(path: Path, table: pd.DataFrame) -> pd.DataFrame:
    """The table, its rows as long as its header.

    pandas takes what a row has more for its name, and every value then stands one column to
    the left of its own.
    """
    if isinstance(table.index, pd.RangeIndex):
        _refuse_short(path, len(table.columns))
        return table
    columns, full = table.columns, table.reset_index()
    more = full.shape[1] - len(columns)
    if full.iloc[:, -more:].isin(["", np.nan]).all(axis=None):
        _refuse_short(path, len(columns))
        full = full.iloc[:, :-more]
    elif more == 1 and full.iloc[:, 0].astype(str).str.fullmatch(r"\d+").all():
        # R's row names.
        _refuse_short(path, full.shape[1])
        full = full.iloc[:, 1:]
    else:
        raise InputError(
            f"{path} has rows of {full.shape[1]} fields below a header of {len(columns)} names; "
            "name each column, or write the table anew."
        )
    return full.set_axis(columns, axis=1).astype(str)


def _refuse_short(path: Path, fields: int) -> None:
    """Raise an InputError that shows the first row of fewer fields, which pandas fills up.

    A table that was cut off ends in one, and what it lacks would count as not labelled.
    """
    with _opened(path) as file:
        lines = csv.reader(file, skipinitialspace=True)
        # The header lacks the name of R's row names.
        next(lines, None)
        for row in lines:
            if len(row) < fields and any(map(str.strip, row)):
                raise InputError(
                    f"{path}, line {lines.line_num:,}: ends after {len(row)} of {fields} fields; "
                    "get the whole table, or mend it."
                )


def _open_end(path: Path) -> dict[str, int]:
    """A rule of the cleaning table, which says that a table's last line has no end.

    That is all that can be seen of a cut inside the last field; most such tables are whole.
    """
    with _opened(path) as file:
        (last,) = collections.deque(file, maxlen=1)
    whole = last.endswith(("\n", "\r"))
    return {"last row without a line's end, maybe cut off: taken": 0 if whole else 1}


_NOT_UTF8 = "its text is not UTF-8, in which an editor can save it, and a spreadsheet as CSV UTF-8"


@contextlib.contextmanager
def _readable(path: Path, remedy: str) -> Iterator[None]:
    """Say of a CSV that cannot be read why, and what to do."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; name the source's table.") from None
    except (OSError, ValueError, EOFError, csv.Error, zlib.error) as error:
        why = _NOT_UTF8 if isinstance(error, UnicodeDecodeError) else str(error).strip()
        raise InputError(f"{path} is not a readable CSV file ({why}); {remedy}.") from None


def _header(path: Path, remedy: str) -> list[str]:
    """The names that a CSV's first line gives its columns."""
    with _readable(path, remedy), _opened(path) as file:
        return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]


def _head(path: Path) -> str:
    """The first line of a text file, also gzipped."""
    with _opened(path) as file:
        return file.readline()


def _opened(path: Path, errors: str = "replace") -> TextIO:
    """A text file, also gzipped."""
    with path.open("rb") as file:
        content = file.read(2)
    opened: Callable = gzip.open if content == b"\x1f\x8b" else open
    return opened(path, "rt", encoding="utf-8-sig", errors=errors, newline="")


def _refuse(path: Path, wrong: pd.Series, why: str, remedy: str = "mend the table") -> None:
    """Raise an InputError that shows the first of some values, if there are any."""
    if wrong.empty:
        return
    value = str(wrong.iloc[0])
    shown = f"'{value}' " if len(value) <= 60 else f"'{value[:57]}...' "
    others = f" ({len(wrong):,} such rows)" if len(wrong) > 1 else ""
    raise InputError(f"{path}, {_where(wrong.index[0])}: {shown}{why}{others}; {remedy}.")


def _where(row: Any) -> str:
    """Where a row of a table stands, whose header is line 1, or a film in an archive."""
    return row if isinstance(row, str) else f"line {row + 2:,}"


def _seen(text: str) -> str:
    """A text as it looks: wide letters and digits as the usual ones, signs of no width left out."""
    usual = unicodedata.normalize("NFKC", text)
    return "".join(sign for sign in usual if unicodedata.category(sign) != "Cf")


def _refuse_two_spellings(path: Path, patients: pd.Series) -> None:
    """Raise an InputError if two numbers of patients differ in nothing that tells people apart.

    That is case, zeros in front of a number that begins the name or stands behind its first
    letters or a sign ("S1-0012"), a space between letter and number, ".0" behind, Indiana's
    "CXR", and what looks alike: one person as two could be in training and in the test.
    """
    spellings = patients.drop_duplicates()
    plain = spellings.map(_seen).str.lower().str.replace(r"\.0+$", "", regex=True)
    plain = plain.str.replace(r"^cxr(?=\d)", "", regex=True)
    plain = plain.str.replace(r"(?<=[^\W\d])\s+(?=\d)", "", regex=True)
    # Not behind a point: 1.05 and 1.5 may be two.
    plain = plain.str.replace(r"(^\D*|_|[^\w.])0+(?=\d)", r"\1", regex=True)
    again = plain.duplicated()
    if again.any():
        row = again.idxmax()
        first = spellings[plain == plain[row]].iloc[0]
        raise InputError(
            f"{path}, {_where(row)}: patient '{spellings[row]}' is '{first}' in another spelling, "
            f"and would count as two people ({int(again.sum()):,} such spellings); write each "
            "patient in one way."
        )


def _refuse_unknown(path: Path, labels: pd.Series, known: set[str]) -> None:
    _refuse(
        path, labels[~labels.isin(known)], "is an unknown label; source_labels.csv knows others"
    )


def _ages(path: Path, text: pd.Series) -> tuple[pd.Series, int]:
    """Whole years of "58", "58.0", "058Y", "0A" (años), "011M", and how many are impossible."""
    parts = text.str.upper().str.extract(r"^(-?\d+)(?:\.0+)?([YAMWD]?)$")
    given = ~text.str.lower().isin(["", "nan", "none"])
    _refuse(
        path, text[given & parts[0].isna()], "is no age: years, or a number and Y, A, M, W or D"
    )
    divide = parts[1].map({"M": 12, "W": 52, "D": 365}).fillna(1)
    years = pd.to_numeric(parts[0]) // divide
    wrong = given & ~years.between(0, nih.OLDEST)
    return years.mask(~given | wrong).astype("Int16"), int(wrong.sum())


def _age_between(date: pd.Series, born: pd.Series) -> pd.Series:
    """Age in years at a study (YYYYMMDD) of who was born in a year; "" where one is missing."""
    studied, year = (pd.to_numeric(text.str[:4], errors="coerce") for text in (date, born))
    years = (studied - year).astype("Int64").astype(object)
    return years.where(years.notna(), "").astype(str)
