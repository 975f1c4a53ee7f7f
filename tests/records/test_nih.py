import gzip

import numpy as np
import pandas as pd
import pytest

from cxr.errors import InputError
from cxr.findings import FINDINGS, NO_FINDING
from cxr.records import nih

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
    "View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
ROWS = (
    "00000001_000.png,Cardiomegaly,0,1,57,M,PA,2682,2749,0.143,0.143",
    "00000001_001.png,Cardiomegaly|Emphysema,1,1,58,M,PA,2894,2729,0.143,0.143",
    "00000002_000.png,No Finding,0,2,80,F,AP,2500,2048,0.171,0.171",
    "00000003_000.png,Hernia,0,3,74,F,PA,2500,2048,0.168,0.168",
)
TEXT = "\n".join([HEADER, *ROWS]) + "\n"


def written(folder, content, name="records.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(folder, content):
    return nih.read_records(written(folder, content))


def swap(old, new, count=1):
    assert old in TEXT
    return TEXT.replace(old, new, count)


def test_a_clean_file_becomes_a_tidy_frame(tmp_path):
    frame, cleaning = read(tmp_path, TEXT)
    assert {name: str(kind) for name, kind in frame.dtypes.items()} == nih.TYPES
    assert list(frame) == list(nih.TYPES)
    film = frame.loc[1]
    assert film["film"] == "00000001_001.png" and film["labels"] == "Cardiomegaly|Emphysema"
    assert (film["patient_id"], film["age"], film["sex"], film["view"]) == (1, 58, "M", "PA")
    assert (film["follow_up"], film["width"], film["height"]) == (1, 2894, 2729)
    assert film["pixel_spacing_x"] == film["pixel_spacing_y"] == 0.143
    assert film[list(FINDINGS)].sum() == 2
    assert cleaning.to_dict("list") == {"rule": ["films read"], "films": [4]}


# What differs between versions and copies, and changes nothing in the result.
SAME = {
    "Patient Sex": swap("Patient Gender", "Patient Sex"),
    "CSV quoting": swap("OriginalImage[Width,Height]", '"OriginalImage[Width,Height]"'),
    "Kaggle's sample header": TEXT.replace(
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]",
        "OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,"
        "OriginalImagePixelSpacing_y",
    ),
    "columns in another order": "\n".join(
        ",".join(np.array(line.split(","))[::-1]) for line in TEXT.splitlines()
    ),
    "a column of the user's own": "\n".join(
        f"{line},{'Note' if number == 0 else 'x'}" for number, line in enumerate(TEXT.splitlines())
    ),
    "a byte order mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "Windows line ends": TEXT.replace("\n", "\r\n"),
    "old Mac line ends": TEXT.replace("\n", "\r"),
    "no line end at the end": TEXT.rstrip("\n"),
    "gzipped": gzip.compress(TEXT.encode()),
    "quoted fields": TEXT.replace("No Finding", '"No Finding"'),
    "whole numbers with a decimal point": TEXT.replace(",57,", ",57.0,").replace("2682", "2682.0"),
    "a line before the header": "\n" + TEXT,
}


@pytest.mark.parametrize("variant", SAME)
def test_a_variant_of_the_file_reads_the_same(tmp_path, variant):
    frame, cleaning = read(tmp_path, SAME[variant])
    pd.testing.assert_frame_equal(frame, read(tmp_path, TEXT)[0])
    assert len(cleaning) == 1


# What is mended, the rule that says so, and for how many films.
MENDED = {
    "the 2017 header's empty last column": (
        TEXT.replace("\n", ",\n"),
        "empty columns at the end left out",
        4,
    ),
    "several empty last columns": (
        TEXT.replace("\n", ",,,\n"),
        "empty columns at the end left out",
        4,
    ),
    "ages as 058Y": (
        TEXT.replace(",57,", ",057Y,").replace(",58,", ",058Y,"),
        'age written with its unit, such as "058Y": read as years',
        2,
    ),
    "an impossible age": (swap(",57,", ",411,"), "age below 0 or above 100: set missing", 1),
    "a negative age": (swap(",57,", ",-1,"), "age below 0 or above 100: set missing", 1),
    "an empty age": (swap(",57,", ",,"), "age empty: left missing", 1),
    "blank lines": (TEXT + "\n\n", "lines without content left out", 2),
    "a line of commas": (TEXT + ",,,,,,,,,,\n", "lines without content left out", 1),
    "spaces": (swap("Hernia", " Hernia "), "spaces around a value removed", 1),
    "another order of rows": (
        "\n".join([HEADER, ROWS[1], ROWS[0], *ROWS[2:]]),
        "row put in the order of the film names",
        2,
    ),
}


@pytest.mark.parametrize("variant", MENDED)
def test_what_is_mended_is_counted(tmp_path, variant):
    content, rule, films = MENDED[variant]
    frame, cleaning = read(tmp_path, content)
    assert cleaning.set_index("rule")["films"].to_dict() == {"films read": 4, rule: films}
    clean = read(tmp_path, TEXT)[0]
    if "age below" in rule or "age empty" in rule:
        assert frame["age"].isna().tolist() == [True, False, False, False]
        frame, clean = frame.drop(columns="age"), clean.drop(columns="age")
    pd.testing.assert_frame_equal(frame, clean)


def test_ages_in_months_weeks_and_days_become_whole_years(tmp_path):
    ages = ["023M", "060W", "020D", "100"]
    rows = [
        f"0000000{n}_000.png,No Finding,0,{n},{age},M,PA,2000,2000,0.1,0.1"
        for n, age in enumerate(ages, start=1)
    ]
    frame, _ = read(tmp_path, "\n".join([HEADER, *rows]))
    assert frame["age"].tolist() == [1, 1, 0, 100]


# What cannot be right, and what the message must say.
REFUSED = {
    "empty": ("", "is empty"),
    "only blanks": (" \n\n", "is empty"),
    "only a header": (HEADER + "\n", "a header but no rows"),
    "no header": ("\n".join(ROWS), "instead of the column names"),
    "an HTML page": ("<!DOCTYPE html><html>Sign in</html>", "is a web page"),
    "an HTML page after blanks": ("\n  <html>", "is a web page"),
    "a Git LFS pointer": ("version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
    "a ZIP archive": (b"PK\x03\x04\xff\xfe", "ZIP archive; unpack it"),
    "UTF-16": (TEXT.encode("utf-16"), "no UTF-8 text"),
    "a cut gzip file": (gzip.compress(TEXT.encode())[:60], "damaged gzip"),
    "a broken gzip file": (b"\x1f\x8b\x08" + bytes(40), "damaged gzip"),
    "semicolons": (TEXT.replace(",", ";"), "separated by semicolons"),
    "tabs": (TEXT.replace(",", "\t"), "separated by tabs"),
    "a missing column": (
        TEXT.replace("Patient ID,", "").replace(",1,57", ",57"),
        "the column for patient_id is missing",
    ),
    "a renamed column": (swap("View Position", "Projection"), "the column for view is missing"),
    "a column in the place of another": (swap("View Position", "Patient ID"), "view is missing"),
    "two columns for the sex": (
        TEXT.replace("\n", ",M\n").replace(",M\n", ",Patient Sex\n", 1),
        "more than one column for sex",
    ),
    "a last line cut off": (TEXT[:-40], "line 5: .* is empty"),
    "a line with too many fields": (swap(ROWS[1], ROWS[1] + ",7"), "line 3 has more fields"),
    "a line with far too many fields": (swap(ROWS[1], ROWS[1] + ",7" * 9), "breaks off"),
    "a quote that never ends": (swap("No Finding", '"No Finding'), "breaks off"),
    "a film twice": (TEXT + ROWS[0] + "\n", "line 6: film '00000001_000.png' occurs a second time"),
    "a film without its ending": (swap("00000003_000.png", "00000003_000"), "is no film name"),
    "a path instead of a name": (swap("00000003_000.png", "images/00000003_000.png"), "no film"),
    "an unknown finding": (swap("Hernia", "Fracture"), "unknown finding 'Fracture'"),
    "a finding twice": (swap("Cardiomegaly|Emphysema", "Mass|Mass"), "names Mass twice"),
    "a label missing": (swap("Hernia", ""), "labels  is empty"),
    "No Finding with a finding": (swap("|Emphysema", "|No Finding"), "unknown finding 'No Find"),
    "another patient's number": (swap(",0,3,74", ",0,4,74"), "line 5: patient_id '4' is not the"),
    "a patient number in words": (swap(",0,3,74", ",0,three,74"), "'three' is not a whole number"),
    "an age in words": (swap(",57,", ",old,"), "line 2: age 'old' is no age"),
    "an age with a fraction": (swap(",57,", ",57.5,"), "is no age"),
    "an unknown sex": (swap(",M,PA", ",X,PA"), "sex 'X' is neither F nor M"),
    "an unknown view": (swap(",M,PA", ",M,LL"), "view 'LL' is neither AP nor PA"),
    "a width of 0": (swap("2682", "0"), "width '0' is outside 1 to"),
    "a height in words": (swap("2749", "tall"), "height 'tall' is not a whole number"),
    "a negative spacing": (
        swap("0.143,0.143", "-0.143,0.143"),
        "pixel_spacing_x '-0.143' is not a",
    ),
    "an infinite spacing": (swap("0.143,0.143", "0.143,inf"), "pixel_spacing_y 'inf' is not a num"),
    "a negative follow-up": (swap("Cardiomegaly,0,", "Cardiomegaly,-1,"), "follow_up '-1' is not"),
}


@pytest.mark.parametrize("variant", REFUSED)
def test_a_corrupted_file_is_refused_in_a_clear_sentence(tmp_path, variant):
    content, message = REFUSED[variant]
    with pytest.raises(InputError, match=message) as refusal:
        read(tmp_path, content)
    text = str(refusal.value)
    assert str(tmp_path / "records.csv") in text
    assert "\n" not in text and text.endswith(".") and len(text) < 400


def test_every_way_a_file_is_handled_or_refused_counts_at_least_thirty():
    assert len(SAME) + len(MENDED) + len(REFUSED) >= 30


def test_missing_records_send_to_notebook_000(tmp_path):
    with pytest.raises(InputError, match="does not exist; run notebook 000"):
        nih.read_records(tmp_path / "records.csv")


def test_a_folder_instead_of_a_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        nih.read_records(tmp_path)


def test_a_message_counts_the_lines_that_share_a_fault(tmp_path):
    with pytest.raises(InputError, match=r"line 2: sex 'male' is .* \(2 such lines\)"):
        read(tmp_path, TEXT.replace(",M,", ",male,"))


def test_the_subset_counts_labels_as_nih_wrote_them():
    # "Mass|Nodule" and "Nodule|Mass" are two combinations of one film each.
    frame = pd.DataFrame({"labels": ["Mass", "Mass", "Mass|Nodule", "Nodule|Mass"]})
    assert nih.keep_common(frame, min_combination=2).index.tolist() == [0, 1]
    assert nih.keep_common(frame, min_combination=0).index.tolist() == [0, 1, 2, 3]


BOXES = (
    "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
    "00013118_008.png,Atelectasis,225.0,547.0,86.5,79.0\n"
    "00014716_007.png,Infiltrate,686.0,131.0,185.0,313.0\n"
)


@pytest.mark.parametrize(
    "content",
    [BOXES, BOXES.replace("0\n", "0,,,\n"), BOXES.replace("Bbox [x,y,w,h]", '"Bbox [x,y,w,h]"')],
    ids=["as circulated", "with empty fields", "quoted"],
)
def test_boxes_get_the_findings_own_names(tmp_path, content):
    boxes = nih.read_boxes(written(tmp_path, content))
    assert list(boxes) == ["film", "finding", "x", "y", "width", "height"]
    assert boxes["finding"].tolist() == ["Atelectasis", "Infiltration"]
    assert boxes.loc[0, ["x", "y", "width", "height"]].tolist() == [225, 547, 86.5, 79]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Atelectasis", "Fracture", "not one of the 14"),
        ("86.5", "0", "width '0' is not above 0"),
        ("86.5", "900", "leaves the film"),
        ("225.0", "-1", "leaves the film"),
        ("225.0", "left", "is not a number"),
        ("Finding Label", "Label", "column for finding is missing"),
    ],
)
def test_a_box_that_cannot_be_is_refused(tmp_path, old, new, message):
    with pytest.raises(InputError, match=message):
        nih.read_boxes(written(tmp_path, BOXES.replace(old, new)))


ADJUDICATED = (
    "Image Index,Fracture,Pneumothorax,Airspace opacity,Nodule or mass\r\n"
    "00000013_008.png,NO,NO,YES,NO\r\n"
)


def test_adjudicated_labels_become_booleans(tmp_path):
    labels = nih.read_adjudicated(written(tmp_path, ADJUDICATED))
    assert labels.iloc[0].tolist() == ["00000013_008.png", False, False, True, False]


def test_adjudicated_labels_other_than_yes_and_no_are_refused(tmp_path):
    with pytest.raises(InputError, match="Airspace opacity 'MAYBE' is neither YES nor NO"):
        nih.read_adjudicated(written(tmp_path, ADJUDICATED.replace("YES", "MAYBE")))


# ---- the real files: every number below stands in the data set's documentation ----


def test_the_real_records_hold_the_known_numbers(real_records):
    films = real_records.groupby("patient_id").size()
    assert (len(real_records), len(films)) == (112_120, 30_805)
    assert ((films == 1).sum(), films.max()) == (17_503, 184)
    assert real_records["labels"].nunique() == 836
    assert (real_records["labels"] == NO_FINDING).sum() == 60_361
    assert real_records[list(FINDINGS)].sum().to_dict() == {
        "Atelectasis": 11_559,
        "Cardiomegaly": 2_776,
        "Effusion": 13_317,
        "Infiltration": 19_894,
        "Mass": 5_782,
        "Nodule": 6_331,
        "Pneumonia": 1_431,
        "Pneumothorax": 5_302,
        "Consolidation": 4_667,
        "Edema": 2_303,
        "Emphysema": 2_516,
        "Fibrosis": 1_686,
        "Pleural_Thickening": 3_385,
        "Hernia": 227,
    }


def test_the_v2020_ages_are_possible_and_its_follow_up_is_chronological(real_records):
    assert real_records["age"].notna().all()
    assert (real_records["age"].max(), (real_records["age"] == 0).sum()) == (95, 14)
    suffix = real_records["film"].str[9:12].astype(int)
    assert (real_records["follow_up"] != suffix).sum() == 24_106


def test_the_view_gives_some_findings_away(real_records):
    ap = {
        finding: round(100 * (real_records["view"] == "AP")[real_records[finding] == 1].mean())
        for finding in ("Edema", "Consolidation", "Fibrosis", "Hernia")
    }
    assert ap == {"Edema": 88, "Consolidation": 67, "Fibrosis": 16, "Hernia": 15}


def test_the_subset_of_frequent_combinations_costs_rare_findings_most(real_records):
    kept = nih.keep_common(real_records, min_combination=21)
    assert len(kept) == 109_577
    assert len(nih.keep_common(real_records, min_combination=20)) == 109_637
    assert len(nih.keep_common(real_records, min_combination=0)) == 112_120
    lost = 100 * (1 - kept[list(FINDINGS)].sum() / real_records[list(FINDINGS)].sum())
    assert (round(lost["Hernia"]), round(lost["Pneumonia"])) == (42, 26)


def test_sorting_the_findings_in_a_label_would_give_other_counts(real_records):
    in_order = real_records["labels"].map(lambda label: "|".join(sorted(label.split("|"))))
    kept = nih.keep_common(real_records.assign(labels=in_order), min_combination=21)
    assert (in_order.nunique(), len(kept)) == (801, 109_607)


def test_a_2017_style_copy_of_the_real_records_reads_the_same(records_path, real_records, tmp_path):
    # The 2017 file: films in order, an empty last column, ages as 058Y, some impossible.
    header, *rows = records_path.read_text().splitlines()
    rows = [row.split(",") for row in sorted(rows)]
    for row in rows:
        row[4] = f"{int(row[4]):03d}Y"
    rows[10][4] = "411Y"
    text = "\n".join([f"{header},", *(",".join([*row, ""]) for row in rows)])
    path = written(tmp_path, gzip.compress(text.encode(), 1), "Data_Entry_2017.csv.gz")
    frame, cleaning = nih.read_records(path)
    assert cleaning.set_index("rule")["films"].to_dict() == {
        "films read": 112_120,
        "empty columns at the end left out": 112_120,
        'age written with its unit, such as "058Y": read as years': 112_120,
        "age below 0 or above 100: set missing": 1,
    }
    assert frame["age"].isna().sum() == 1
    pd.testing.assert_frame_equal(frame.drop(columns="age"), real_records.drop(columns="age"))
    assert (frame["age"] == real_records["age"]).sum() == 112_119


def test_the_real_boxes_lie_on_test_films_and_agree_with_their_labels(real_boxes, real_records):
    boxed = real_boxes.merge(real_records, on="film")
    assert (len(real_boxes), real_boxes["film"].nunique()) == (984, 880)
    assert boxed["patient_id"].nunique() == 726
    assert real_boxes["finding"].nunique() == 8
    assert all(row[row["finding"]] == 1 for _, row in boxed.iterrows())


def test_the_real_adjudicated_films_are_all_in_the_records(real_adjudicated, real_records):
    assert len(real_adjudicated) == 4_376
    assert real_adjudicated["film"].isin(real_records["film"]).all()


# ---- lines, labels, and tables that were cut ----


def test_the_line_is_the_files_own(tmp_path):
    lines = small_table(tmp_path, rows=6).read_text().splitlines()
    lines[4] = lines[4].replace(",F,", ",X,").replace(",M,", ",X,")
    path = tmp_path / "records.csv"
    for before, expected in ("", 5), ("\n\n", 7):
        path.write_text(before + "\n".join(lines) + "\n")
        with pytest.raises(InputError, match=f"line {expected}: sex 'X'"):
            nih.read_records(path)
    # A value with a line break in quotes takes two lines.
    fields = lines[1].split(",")
    lines[1] = ",".join([*fields[:-1], f'"{fields[-1]}\n"'])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="line 6: sex 'X'"):
        nih.read_records(path)


def small_table(folder, rows):
    """A small table in NIH's own columns."""
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,"
        "View Position,OriginalImageWidth,OriginalImageHeight,OriginalImagePixelSpacing_x,"
        "OriginalImagePixelSpacing_y"
    )
    lines = [
        f"{number:08d}_000.png,No Finding,0,{number},50,F,PA,2000,2000,0.14,0.14"
        for number in range(1, rows + 1)
    ]
    path = folder / "made.csv"
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ("Mass|Masss", "unknown finding 'Masss'"),
        ("Mass|Mass", "names Mass twice"),
        ("Mass|" + "x" * 20_000_000, "unknown finding 'xxx"),
    ],
)
def test_a_fault_of_a_label_is_told_with_its_line_and_in_few_words(tmp_path, label, told):
    path = small_table(tmp_path, rows=4)
    text = path.read_text().splitlines()
    text[3] = text[3].replace("No Finding", label)
    path.write_text("\n".join(text) + "\n")
    with pytest.raises(InputError, match="line 4: labels ") as error:
        nih.read_records(path)
    assert told in str(error.value)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize("column", ["Patient ID", "Follow-up #", "Patient Age"])
def test_digits_of_other_scripts_are_no_numbers(tmp_path, column):
    path = small_table(tmp_path, rows=3)
    table = pd.read_csv(path, dtype=str)
    table.loc[1, column] = "\u0662"
    table.to_csv(path, index=False)
    with pytest.raises(InputError, match="line 3: "):
        nih.read_records(path)


def test_the_row_names_that_r_wrote_without_a_name_are_left_out(tmp_path):
    # write.csv names their column "", write.table does not name it at all.
    lines = [HEADER.replace("OriginalImage[Width,Height]", '"OriginalImage[Width","Height]"')]
    lines += [f'"{number}",{row}' for number, row in enumerate(ROWS, start=1)]
    frame, cleaning = read(tmp_path, "\n".join(lines) + "\n")
    pd.testing.assert_frame_equal(frame, read(tmp_path, TEXT)[0])
    assert "row number in front left out" in cleaning["rule"].tolist()


def test_the_index_that_pandas_wrote_in_front_is_left_out(tmp_path):
    path = small_table(tmp_path, rows=5)
    expected, _ = nih.read_records(path)
    pd.read_csv(path, dtype=str).to_csv(path)
    found, cleaning = nih.read_records(path)
    pd.testing.assert_frame_equal(found, expected)
    assert "row number in front left out" in cleaning["rule"].tolist()


def test_records_say_which_part_of_nihs_they_are(real_records):
    assert nih.identify(real_records) == "all 112,120 films of NIH's 30,805 patients"
    cut = nih.identify(real_records[:62_464])
    assert cut.startswith("62,464 of NIH's 112,120 films")
    assert "no split of these is NIH's own" in cut


def test_the_version_of_the_real_records_is_named(real_records):
    assert nih.version(real_records) == {
        "table": "v2020",
        "labels": "v2020",
        "labels_sha256": nih.V2020_LABELS,
    }
    words = nih.version_in_words(real_records)
    assert words == ("NIH's version v2020; its labels are those of v2020 (SHA-256 a441ba5931ac)")


def test_other_labels_and_other_tables_have_no_false_name(real_records):
    relabelled = real_records.copy()
    relabelled.loc[3, "labels"] = "Mass"
    found = nih.version(relabelled)
    assert (found["table"], found["labels"]) == ("v2020", "unknown")
    assert found["labels_sha256"] != nih.V2020_LABELS
    # In 2017's table the follow-up is the name's suffix, and some ages are impossible.
    older = real_records.assign(follow_up=real_records["film"].str[9:12].astype(int))
    assert nih.version(older)["table"] == "unknown"
    older.loc[0, "age"] = None
    assert nih.version(older)["table"] == "2017"
    assert nih.version(older)["labels"] == "v2020"


def test_the_version_of_a_part_is_unknown_and_says_why(real_records):
    found = nih.version(real_records[:4_999])
    assert (found["table"], found["labels"]) == ("unknown", "unknown")
    assert "only whole tables can be told apart" in nih.version_in_words(real_records[:4_999])
