"""A hundred and fifty values that a records file may hold, and what becomes of each."""

import pytest

from cxr.errors import InputError
from cxr.records import nih

HEADER = [
    "Image Index",
    "Finding Labels",
    "Follow-up #",
    "Patient ID",
    "Patient Age",
    "Patient Gender",
    "View Position",
    "OriginalImageWidth",
    "OriginalImageHeight",
    "OriginalImagePixelSpacing_x",
    "OriginalImagePixelSpacing_y",
]
ROWS = [
    [f"{n:08}_000.png", "No Finding", "0", str(n), "57", "M", "PA", "2500", "2048", "0.1", "0.1"]
    for n in range(1, 21)
]
# The row whose value is changed; its line in the file.
ROW, LINE = 6, 8
SAME = ""

# Column -> the sentence, "" where the file is read -> values.
OUTCOMES = [
    (0, "is no film name", ["x", "00000007_000", "7_000.png", "00000007_000.PNG", "00000007.png",
                            "00000007_000.jpg", "images/00000007_000.png", "00000007-000.png",
                            "٠٠٠٠٠٠٠٧_٠٠٠.png", "00000007_0000.png", "=00000007_000.png", "NaN"]),
    (0, "is empty", ["", " ", "\t"]),
    (0, "occurs a second time", ["00000001_000.png", " 00000001_000.png"]),
    (0, "is not the number that the film", ["00000099_000.png"]),
    (0, SAME, ["00000007_000.png", " 00000007_000.png ", '"00000007_000.png"',
               "00000007_001.png", "00000007_999.png"]),
    (1, "is no label: unknown finding", ["Fracture", "mass", "MASS", "no finding", "Mass,Nodule"[:4]
                                         + ";Nodule", "Mass/Nodule", "Mass|", "|Mass", "|",
                                         "Mass||Nodule", "Pleural Thickening", "Infiltrate",
                                         "No Finding|Mass", "Mass|No Finding", "1", "Mass | Nodule",
                                         "x" * 100_000]),
    (1, "names Mass twice", ["Mass|Mass", "Mass|Nodule|Mass"]),
    (1, "is empty", ["", "  "]),
    (1, SAME, ["Mass", "Mass|Nodule", "Nodule|Mass", '"Mass"', " Mass", "Pleural_Thickening",
               "|".join(nih.FINDINGS)]),
    (2, "is not a whole number", ["-1", "one", "1.5", "1e3", "0x1", "²", "١", "1_0", "+1", "NaN"]),
    (2, "is outside 0 to", ["32768", "99999999999"]),
    (2, "is empty", [""]),
    (2, SAME, ["0", "32767", "1.0", "007", " 1"]),
    (3, "is not a whole number", ["-7", "seven", "7.5", "٧", "7e0", "nan"]),
    (3, "is outside 1 to", ["0", "100000000"]),
    (3, "is not the number that the film", ["8", "70"]),
    (3, "is empty", [""]),
    (3, SAME, ["7", "7.0", "00000007", " 7 "]),
    (4, "is no age", ["old", "57.5", "57X", "Y57", "57 Y", "٥٧", "²", "5e1", "--5", "57YY"]),
    (4, SAME, ["", "0", "57.0", "057Y", "011M", "020D", "010W", "-1", "101", "414", "414Y",
               "99999999999", "100"]),
    (5, "is neither F nor M", ["f", "male", "X", "FM", "0", "F|M", "U"]),
    (5, "is empty", [""]),
    (5, SAME, ["F", "M", " F", '"F"']),
    (6, "is neither AP nor PA", ["ap", "LL", "P A", "APPA", "AP|PA", "0"]),
    (6, "is empty", [""]),
    (6, SAME, ["AP", "PA", "PA "]),
    (7, "is not a whole number", ["-1", "wide", "1e3", "2500px", "²"]),
    (7, "is outside 1 to", ["0", "100001"]),
    (7, SAME, ["1", "100000", "2500.0"]),
    (8, "is not a whole number", ["-1", "tall", "٢"]),
    (8, "is outside 1 to", ["0", "100001"]),
    (9, "is not a number", ["mm", "inf", "-inf", "nan", "0.1mm", "0..1"]),
    (9, "is not above 0", ["0", "-0.1", "0.0"]),
    (9, SAME, ["0.143", "1e-1", "1", ".1"]),
    (10, "is not a number", ["inf", "x"]),
    (10, "is not above 0", ["0"]),
]  # fmt: skip
CASES = [(column, why, value) for column, why, values in OUTCOMES for value in values]


@pytest.mark.parametrize(
    ("column", "why", "value"),
    CASES,
    ids=[f"{n} {HEADER[column]} {value[:20]!a}" for n, (column, _, value) in enumerate(CASES)],
)
def test_a_value_is_read_or_refused_with_its_line(tmp_path, column, why, value):
    rows = [list(row) for row in ROWS]
    rows[ROW][column] = value
    path = tmp_path / "records.csv"
    path.write_text("\n".join(",".join(row) for row in [HEADER, *rows]), encoding="utf-8")
    if not why:
        records, _ = nih.read_records(path)
        assert len(records) == 20
        return
    with pytest.raises(InputError) as refusal:
        nih.read_records(path)
    text = str(refusal.value)
    assert why in text and f"line {LINE}:" in text and text.startswith(str(path))
    assert len(text) < 600 and "\n" not in text


def test_there_are_a_hundred_and_fifty():
    assert len(CASES) >= 150
