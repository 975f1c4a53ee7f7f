"""The data set's own files, read by column name into tidy, validated frames."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from cxr import artifacts, findings
from cxr.errors import InputError
from cxr.findings import FINDINGS

# Our columns, and what NIH's two versions and their circulating copies call them, in
# letters and digits only. The commas of "[Width,Height]" and "[x,y]" cut two headers in
# two, so that "Height]" and "y]" stand alone.
_RECORD_HEADERS = {
    "film": ("imageindex",),
    "labels": ("findinglabels",),
    "follow_up": ("followup",),
    "patient_id": ("patientid",),
    "age": ("patientage",),
    "sex": ("patientgender", "patientsex"),
    "view": ("viewposition",),
    "width": ("originalimagewidth",),
    "height": ("height", "originalimageheight"),
    "pixel_spacing_x": ("originalimagepixelspacingx",),
    "pixel_spacing_y": ("y", "originalimagepixelspacingy"),
}
_BOX_HEADERS = {
    "film": ("imageindex",),
    "finding": ("findinglabel",),
    "x": ("bboxx",),
    "y": ("y",),
    "width": ("w",),
    "height": ("h",),
}

# What the radiologists of Majkowska et al. (Radiology 2020) decided on each film.
ADJUDICATED = ("Fracture", "Pneumothorax", "Airspace opacity", "Nodule or mass")
_ADJUDICATED_HEADERS = {"film": ("imageindex",)} | {
    name: (re.sub(r"[^a-z]", "", name.lower()),) for name in ADJUDICATED
}

# The columns of `read_records`, in order and with their types.
TYPES = {
    "film": "str",
    "patient_id": "int32",
    "age": "Int16",
    "sex": "str",
    "view": "str",
    "follow_up": "int16",
    "width": "int32",
    "height": "int32",
    "pixel_spacing_x": "float64",
    "pixel_spacing_y": "float64",
    "labels": "str",
} | dict.fromkeys(FINDINGS, "int8")

# Of the whole data set.
FILMS, PATIENTS = 112_120, 30_805

# SHA-256 of `film,labels` of all rows of v2020, sorted and joined by newlines.
V2020_LABELS = "a441ba5931ace8152c8b610d6bb95e157441b8616144f8d3634ccbcf7c9ebfde"

# Films on which labels of before November 2017 lack findings; nothing else differs.
RELABELLED = 181

# Years. The 2017 file goes up to 414; v2020, which mended the ages, up to 95.
OLDEST = 100

# Boxes are given in the space of the distributed films: 1024 x 1024 px.
BOX_SPACE = 1024

# The box file's spelling, and ours.
_BOX_SPELLING = {"Infiltrate": "Infiltration"}


def read_records(path: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the 2017 or the v2020 records, `.csv` or `.csv.gz`, with any known header.

    Args:
        path: NIH's `Data_Entry_2017.csv` or `Data_Entry_2017_v2020.csv`, or any part of
            its rows.

    Returns:
        records: one row a film, sorted by film name, with the columns of `TYPES`: `film`
            (file name), `patient_id`, `age` (whole years, missing where impossible),
            `sex` ("F", "M"), `view` ("AP", "PA"), `follow_up` (chronological number from
            0), `width` and `height` (pixels, before NIH scaled the films to 1024),
            `pixel_spacing_x` and `_y` (mm), `labels` (NIH's own string) and a 0/1 column
            for each of the 14 findings.
        cleaning: `rule` and `films`: each rule that changed something, and for how many
            films; the first row counts the films read.

    Raises:
        InputError: naming the file, and the line where one is at fault, for anything
            that is not such a table: a missing column, an unknown finding, sex or view,
            a film named twice or under another patient's number, a number that is none.
    """
    table, rules = _read_table(path, _RECORD_HEADERS, what="NIH's records (Data_Entry_2017)")
    check = _Checker(path, table)
    check.matches("film", r"\d{8}_\d{3}\.png", "is no film name such as 00000001_000.png")
    check.unique("film")
    patient_id = check.whole("patient_id", low=1, high=99_999_999)
    check.refuse(
        patient_id != table["film"].str[:8].astype("int64"),
        "patient_id",
        "is not the number that the film's name begins with, so rows or columns were mixed up",
    )
    check.matches("sex", "F|M", "is neither F nor M")
    check.matches("view", "AP|PA", "is neither AP nor PA")
    try:
        targets = findings.encode(table["labels"])
    except InputError:
        check.refuse_labels("labels")
        raise

    age, age_rules = _ages(check, table["age"])
    records = pd.DataFrame(
        {
            "film": table["film"],
            "patient_id": patient_id,
            "age": age,
            "sex": table["sex"],
            "view": table["view"],
            "follow_up": check.whole("follow_up", low=0, high=32_767),
            "width": check.whole("width", low=1, high=100_000),
            "height": check.whole("height", low=1, high=100_000),
            "pixel_spacing_x": check.positive("pixel_spacing_x"),
            "pixel_spacing_y": check.positive("pixel_spacing_y"),
            "labels": table["labels"],
        }
    )
    records = pd.concat([records, targets], axis=1).astype(TYPES)
    # v2020 is not in the order of the films; the 2017 file is.
    in_order = records.sort_values("film", ignore_index=True)
    moved = int((in_order["film"].to_numpy() != records["film"].to_numpy()).sum())
    rules |= age_rules | {"row put in the order of the film names": moved}
    fired = {"films read": len(records)} | {rule: films for rule, films in rules.items() if films}
    return in_order, pd.DataFrame({"rule": list(fired), "films": list(fired.values())})


def whole(records: pd.DataFrame) -> bool:
    """Whether these are the records of all of NIH's films."""
    return len(records) == FILMS and records["patient_id"].nunique() == PATIENTS


def identify(records: pd.DataFrame) -> str:
    """Which of NIH's films these records describe, in words.

    Returns:
        "all 112,120 films of NIH", or how many of them; a table that was cut off at a line's
        end is valid in every other way.
    """
    if "source" in records:
        return (
            f"{len(records):,} films of {records['patient_id'].nunique():,} patients, which are "
            f"{records['source'].iloc[0]}'s and not NIH's"
        )
    if whole(records):
        return f"all {FILMS:,} films of NIH's {PATIENTS:,} patients"
    return (
        f"{len(records):,} of NIH's {FILMS:,} films, {records['patient_id'].nunique():,} of "
        f"{PATIENTS:,} patients: no split of these is NIH's own, whatever it is called"
    )


def version(records: pd.DataFrame) -> dict[str, str]:
    """Which of NIH's tables was read, told by its content, so that another save is the same.

    Args:
        records: as `read_records` returns them.

    Returns:
        table: "v2020", "2017" or "unknown". v2020 renumbered the follow-ups, so that they
            differ from the suffix in the film's name in 24,106 rows, and mended the ages;
            in 2017 both numbers are one, and some ages are impossible.
        labels: "v2020", or "unknown": no list of the 181 films whose labels changed in
            November 2017 is at hand, so that older labels have no name of their own here.
        labels_sha256: of `film,labels` of the rows, as for `V2020_LABELS`.

        A part of the records is "unknown": the tables differ in single rows only.
    """
    digest = artifacts.fingerprint(records["film"] + "," + records["labels"])
    table, labels = "unknown", "unknown"
    if whole(records):
        renumbered = int((records["follow_up"] != records["film"].str[9:12].astype(int)).sum())
        mended = bool(records["age"].notna().all())
        if (renumbered, mended) == (24_106, True):
            table = "v2020"
        elif (renumbered, mended) == (0, False):
            table = "2017"
        if digest == V2020_LABELS:
            labels = "v2020"
    return {"table": table, "labels": labels, "labels_sha256": digest}


def version_in_words(records: pd.DataFrame) -> str:
    """`version` as a sentence for a reader."""
    found = version(records)
    if "source" in records:
        # Another hospital's.
        return (
            f"that of `{records['source'].iloc[0]}`, read by its mapping of labels (SHA-256 "
            f"{found['labels_sha256'][:12]})"
        )
    known = {
        "v2020": "NIH's version v2020",
        "2017": "NIH's version of 2017",
        "unknown": "an unknown version of NIH's table",
    }
    why = "" if whole(records) else ", since only whole tables can be told apart"
    labels = {
        "v2020": "those of v2020",
        "unknown": f"of an unknown version{why}",
    }
    return (
        f"{known[found['table']]}; its labels are {labels[found['labels']]} "
        f"(SHA-256 {found['labels_sha256'][:12]})"
    )


def keep_common(records: pd.DataFrame, *, min_combination: int) -> pd.DataFrame:
    """Keep the films whose label string occurs on at least `min_combination` films.

    The strings are counted as NIH wrote them: sorting the findings within them first
    would merge a few and give other counts.

    Args:
        records: as `read_records` returns them.
        min_combination: films that a combination needs; the original project's "more
            than 20" is 21, 0 keeps all.

    Returns:
        The rows kept, with their index.
    """
    films = records.groupby("labels", sort=False)["labels"].transform("size")
    return records[films >= min_combination]


def read_boxes(path: Path) -> pd.DataFrame:
    """Read NIH's hand-drawn finding boxes, `BBox_List_2017.csv` or `.csv.gz`.

    Returns:
        One row a box: `film`, `finding` (spelled as in `FINDINGS`), `x`, `y` (left, top),
        `width`, `height`, in pixels of the 1024 x 1024 films.

    Raises:
        InputError: if the file is no such table, or a box lies outside the film.
    """
    table, _ = _read_table(path, _BOX_HEADERS, what="NIH's boxes (BBox_List_2017)")
    check = _Checker(path, table)
    check.matches("film", r"\d{8}_\d{3}\.png", "is no film name such as 00000001_000.png")
    table["finding"] = table["finding"].replace(_BOX_SPELLING)
    check.refuse(~table["finding"].isin(FINDINGS), "finding", "is not one of the 14 findings")
    for side in ("x", "y"):
        table[side] = check.number(side)
    for side in ("width", "height"):
        table[side] = check.positive(side)
    for start, length in (("x", "width"), ("y", "height")):
        outside = (table[start] < 0) | (table[start] + table[length] > BOX_SPACE)
        check.refuse(outside, start, f"begins a box that leaves the film's {BOX_SPACE} pixels")
    return table[list(_BOX_HEADERS)].reset_index(drop=True)


def read_adjudicated(path: Path) -> pd.DataFrame:
    """Read the radiologists' labels (Majkowska et al. 2020), `.csv` or `.csv.gz`.

    Returns:
        One row a film: `film`, and a boolean column for each of `ADJUDICATED`.

    Raises:
        InputError: if the file is no such table, or holds other values than YES and NO.
    """
    table, _ = _read_table(path, _ADJUDICATED_HEADERS, what="the adjudicated labels (google2019)")
    check = _Checker(path, table)
    check.matches("film", r"\d{8}_\d{3}\.png", "is no film name such as 00000001_000.png")
    check.unique("film")
    for name in ADJUDICATED:
        check.matches(name, "YES|NO", "is neither YES nor NO")
        table[name] = table[name] == "YES"
    return table[list(_ADJUDICATED_HEADERS)].reset_index(drop=True)


class _Checker:
    """Turns columns of text into values, or names the first line that cannot be one."""

    def __init__(self, path: Path, table: pd.DataFrame):
        self._path, self._table = path, table

    def refuse(self, wrong: pd.Series, column: str, why: str) -> None:
        """Raise an InputError that shows the first of the `wrong` values, if there are any."""
        if not wrong.any():
            return
        line = wrong.idxmax()
        films = int(wrong.sum())
        others = f" ({films:,} such lines)" if films > 1 else ""
        value = str(self._table.loc[line, column])
        shown = f"'{value}'" if len(value) <= 60 else f"'{value[:57]}...'"
        if not value:
            shown, why = "", "is empty"
        # The index counts from the first line below the header.
        raise InputError(
            f"{self._path}, line {line + 2:,}: {column} {shown} {why}{others}; "
            "mend the file, or fetch it again."
        )

    def refuse_labels(self, column: str) -> None:
        """Raise an InputError that shows the first label that `findings.encode` refuses."""
        for label in self._table[column].unique():
            try:
                findings.encode(pd.Series([label]))
            except InputError as error:
                wrong = self._table[column] == label
                reason = str(error).partition("; known")[0].rstrip(".")
                self.refuse(wrong, column, f"is no label: {reason}")

    def matches(self, column: str, pattern: str, why: str) -> None:
        # ASCII: digits of other scripts look like numbers and are none here.
        wrong = ~self._table[column].str.fullmatch(pattern, flags=re.ASCII)
        self.refuse(wrong, column, why)

    def unique(self, column: str) -> None:
        self.refuse(self._table[column].duplicated(), column, "occurs a second time")

    def number(self, column: str) -> pd.Series:
        values = pd.to_numeric(self._table[column], errors="coerce")
        self.refuse(~values.abs().lt(float("inf")), column, "is not a number")
        return values.astype("float64")

    def positive(self, column: str) -> pd.Series:
        values = self.number(column)
        self.refuse(values <= 0, column, "is not above 0")
        return values

    def whole(self, column: str, *, low: int, high: int) -> pd.Series:
        # Spreadsheets and frames with gaps save whole numbers as "57.0".
        self.matches(column, r"\d+(\.0+)?", "is not a whole number")
        values = pd.to_numeric(self._table[column])
        self.refuse(~values.between(low, high), column, f"is outside {low} to {high:,}")
        return values.astype("int64")


def _ages(check: _Checker, text: pd.Series) -> tuple[pd.Series, dict[str, int]]:
    """Ages in whole years ("58", "058Y", "011M", "020D"), and what was done to how many."""
    wrong = "is no age: years, or a number followed by Y, M, W or D"
    check.matches("age", r"(-?\d+(\.0+)?|\d+[YMWD])?", wrong)
    unit = text.str.extract(r"([YMWD])$", expand=False)
    number = pd.to_numeric(text.str.rstrip("YMWD"))
    years = number // unit.map({"Y": 1, "M": 12, "W": 52, "D": 365}).fillna(1)
    impossible = ~years.between(0, OLDEST)
    rules = {
        'age written with its unit, such as "058Y": read as years': int(unit.notna().sum()),
        "age empty: left missing": int((text == "").sum()),
        f"age below 0 or above {OLDEST}: set missing": int((impossible & years.notna()).sum()),
    }
    return years.mask(impossible).astype("Int16"), rules


def _read_table(
    path: Path, headers: Mapping[str, tuple[str, ...]], *, what: str
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Read the wanted columns of a comma-separated file as stripped text.

    Returns:
        table: text, with the keys of `headers` as columns; the index counts lines from
            the first below the header, from 0.
        rules: how many rows each repair touched.
    """
    text = _read_text(Path(path), what)
    blank = len(text) - len(text.lstrip("\n"))
    text = text[blank:]
    # Some copies quote "OriginalImage[Width,Height]"; below it are two columns all the same.
    header, _, body = text.partition("\n")
    names = _names(header, body)
    places = {
        column: [place for place, name in enumerate(names) if name in known]
        for column, known in headers.items()
    }
    missing = [column for column, found in places.items() if not found]
    if missing:
        raise InputError(f"{path} is not {what}: {_why_missing(header, missing, headers)}.")
    twice = [column for column, found in places.items() if len(found) > 1]
    if twice:
        raise InputError(f"{path} has more than one column for {', '.join(twice)}; keep one.")
    if not body.strip(", \n"):
        raise InputError(f"{path} has a header but no rows; fetch it again.")
    # Rows may end in more empty fields than the header does; more than a few is a fault.
    columns: Sequence[int] = range(len(names) + 4)
    try:
        table = pd.read_csv(
            io.StringIO(body),
            header=None,
            names=columns,
            dtype=str,
            keep_default_na=False,
            skip_blank_lines=False,
        ).fillna("")
    except pd.errors.ParserError as error:
        reason = str(error).removeprefix("Error tokenizing data. C error: ").strip()
        raise InputError(
            f"{path} breaks off or is damaged below its header ({reason}); fetch it again."
        ) from None

    table.index = _lines(table, body, blank)
    empty = (table == "").all(axis=1)
    table = table[~empty]
    numbered = not names[0] and table[0].is_unique and table[0].str.fullmatch(r"\d+").all()
    if numbered:
        # The index that pandas, or the row names that R, wrote in front.
        columns = columns[1:]
    surplus = [place for place in columns if place >= len(names) or not names[place]]
    surplus_used = (table[surplus] != "").any(axis=1)
    if surplus_used.any():
        line = surplus_used.idxmax()
        raise InputError(
            f"{path}, line {line + 2:,} has more fields than the header has names; fetch it again."
        )
    named = table[[places[column][0] for column in headers]].set_axis(list(headers), axis=1)
    stripped = named.apply(lambda column: column.str.strip())
    trailing = len(names) - len(header.rstrip(", ").split(","))
    return stripped, {
        "empty columns at the end left out": len(table) if trailing else 0,
        "row number in front left out": len(table) if numbered else 0,
        "lines without content left out": int(empty.sum()),
        "spaces around a value removed": int((stripped != named).any(axis=1).sum()),
    }


def _names(header: str, body: str) -> list[str]:
    """The header's names, letters and digits only; "" for a column that it does not name."""
    names = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header.split(",")]
    try:
        first = next(csv.reader([body.lstrip("\n").partition("\n")[0]]), [])
    except csv.Error:
        # A line too long to be one; what reads the table names it.
        first = []
    # R writes row names below a header that does not name them.
    unnamed = len(first) == len(names) + 1 and re.fullmatch("[0-9]+", first[0])
    return ["", *names] if unnamed else names


def _lines(table: pd.DataFrame, body: str, blank: int) -> pd.Index:
    """The line in which each row ends, counted from the first below the header, from 0.

    Rows are lines, unless lines are blank before the header or a quoted value has several.
    """
    lines = np.arange(len(table)) + blank
    if body.count("\n") > len(table):
        within = table.apply(lambda column: column.str.count("\n")).sum(axis=1).to_numpy()
        lines = lines + np.cumsum(within)
    return pd.Index(lines)


def _why_missing(header: str, missing: list[str], headers: Mapping[str, tuple[str, ...]]) -> str:
    """What the header's fault is, and what to do about it."""
    for delimiter, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if header.count(delimiter) > header.count(","):
            return f"its fields are separated by {name}; save it with commas"
    if len(missing) == len(headers):
        shown = header if len(header) <= 60 else f"{header[:57]}..."
        return f"its first line is '{shown}' instead of the column names; fetch it again"
    return f"the column for {', '.join(missing)} is missing; fetch it again"


def _read_text(path: Path, what: str) -> str:
    """The text of a plain or gzipped UTF-8 file, with "\n" as line end.

    Compression is told by content: servers and browsers unpack `.gz` unasked.
    """
    try:
        content = path.read_bytes()
        if content.startswith(b"\x1f\x8b"):
            content = gzip.decompress(content)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; run notebook 000, which fetches it.") from None
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InputError(f"{path} is a damaged gzip file; fetch it again.") from None
    except UnicodeDecodeError:
        kind = "a ZIP archive; unpack it" if content.startswith(b"PK") else "no UTF-8 text"
        raise InputError(f"{path} is {kind}, but {what} is wanted.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from None
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if not text.strip():
        raise InputError(f"{path} is empty; fetch it again.")
    if text.lstrip().startswith("<"):
        raise InputError(
            f"{path} is a web page, not {what}: the address it came from needs a browser. "
            "Run notebook 000, which knows sources that answer."
        )
    if text.lstrip().startswith("version https://git-lfs"):
        raise InputError(f"{path} is a Git LFS pointer, not {what}; fetch the file itself.")
    return text
