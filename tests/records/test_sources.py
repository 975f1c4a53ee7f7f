"""Other hospitals' tables: each trap as its documentation, or its real table, has it."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import pandas as pd
import pytest

from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.records import sources

CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,"
    "Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,"
    "Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
PADCHEST = (
    "ImageID,StudyDate_DICOM,PatientID,PatientBirth,PatientSex_DICOM,Projection,Pediatric,Labels"
)
VINDR = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
FOLDER = "film,patient_id,age,sex,view,Mass,Nodule"


def chexpert(path="train/patient00001/study1/view1_frontal.jpg", sex="Female", age="68", **said):
    side = "Lateral" if "lateral" in path else "Frontal"
    view = said.pop("view", "" if side == "Lateral" else "AP")
    labels = [said.get(name.replace(" ", "_"), "") for name in CHEXPERT.split(",")[5:]]
    return ",".join([f"CheXpert-v1.0-small/{path}", sex, age, side, view, *labels])


def padchest(labels, image="a.png", patient="8398", view="PA", **about):
    date, born, sex = (
        about.get(k, d) for k, d in (("date", "20140915"), ("born", "1930.0"), ("sex", "F"))
    )
    return f'{image},{date},{patient},{born},{sex},{view},No,"{labels}"'


def vindr(image, *by_reader):
    return [f"{image},{label},0,R{n + 1},,,," for n, said in enumerate(by_reader) for label in said]


def written(folder, header, rows, name="table.csv"):
    path = folder / name
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def state(records, finding, row=0):
    return sources.states(records)[finding].iloc[row]


def only(source, folder, header, *rows):
    return sources.read(source, written(folder, header, rows))[0]


def counted(source, folder, header, *rows):
    cleaning = sources.read(source, written(folder, header, rows))[1]
    return cleaning.set_index("rule")["films"].to_dict()


CELLS = [
    # What a row says -> the state of a finding.
    ({"Edema": "1.0"}, "Edema", 1),
    ({"Edema": "0.0"}, "Edema", 0),
    ({"Edema": "-1.0"}, "Edema", -1),
    ({"Edema": "-1"}, "Edema", -1),
    ({"Edema": ""}, "Edema", -2),
    ({"Edema": "1.0"}, "Pneumonia", -2),
    ({"Pleural_Effusion": "1.0"}, "Effusion", 1),
    ({"No_Finding": "1.0"}, "Edema", 0),
    ({"No_Finding": "1.0", "Support_Devices": "1.0"}, "Pneumothorax", 0),
    # The source never says these, not even by No Finding.
    ({"No_Finding": "1.0"}, "Hernia", -2),
    ({"No_Finding": "1.0"}, "Infiltration", -2),
    # Nodule or mass: which of the two is not said; that neither is, is.
    ({"Lung_Lesion": "1.0"}, "Nodule", -1),
    ({"Lung_Lesion": "1.0"}, "Mass", -1),
    ({"Lung_Lesion": "0.0"}, "Mass", 0),
    ({"Lung_Lesion": ""}, "Mass", -2),
    ({"Pleural_Other": "1.0"}, "Pleural_Thickening", -1),
    ({"Lung_Opacity": "1.0"}, "Infiltration", -2),
    ({"Lung_Opacity": "1.0"}, "Consolidation", -2),
    ({"Enlarged_Cardiomediastinum": "1.0"}, "Cardiomegaly", -2),
    ({"Fracture": "1.0"}, "Mass", -2),
]


@pytest.mark.parametrize("said, finding, wanted", CELLS)
def test_a_row_of_chexpert_says_what_is_known_and_no_more(tmp_path, said, finding, wanted):
    records = only("chexpert", tmp_path, CHEXPERT, chexpert(**said))
    assert state(records, finding) == wanted
    # What trains and counts as positive is only what is certain.
    assert records[finding].iloc[0] == (wanted == 1)


LISTS = [
    ("['normal']", "Mass", 0),
    ("['pleural effusion', 'cardiomegaly']", "Effusion", 1),
    ("['pleural effusion', 'cardiomegaly']", "Cardiomegaly", 1),
    ("['pleural effusion', 'cardiomegaly']", "Edema", 0),
    # A space before a label, and an empty one among others, as the real table has them.
    ("['cardiomegaly', ' pleural effusion', '', 'heart insufficiency']", "Effusion", 1),
    ("['cardiomegaly', ' pleural effusion', '', 'heart insufficiency']", "Edema", -1),
    # No label at all is not the same as none of the findings.
    ("['']", "Mass", -2),
    ("[]", "Mass", -2),
    ("nan", "Mass", -2),
    ("", "Mass", -2),
    ("['unchanged']", "Mass", -2),
    ("['unchanged', 'pulmonary mass']", "Mass", 1),
    ("['unchanged', 'pulmonary mass']", "Nodule", -2),
    # Names that hold a finding's and mean another one.
    ("['pericardial effusion']", "Effusion", 0),
    ("['subcutaneous emphysema']", "Emphysema", 0),
    ("['soft tissue mass']", "Mass", 0),
    ("['mediastinal mass']", "Mass", 0),
    ("['hydropneumothorax']", "Pneumothorax", 1),
    ("['hydropneumothorax']", "Effusion", 1),
    ("['COPD signs']", "Emphysema", -1),
    ("['laminar atelectasis', 'laminar atelectasis']", "Atelectasis", 1),
    ("['calcified granuloma']", "Nodule", -1),
    ("['calcified granuloma', 'nodule']", "Nodule", 1),
    ("['hiatal hernia']", "Hernia", 1),
]


@pytest.mark.parametrize("said, finding, wanted", LISTS)
def test_a_list_of_padchest_says_what_is_known_and_no_more(tmp_path, said, finding, wanted):
    assert state(only("padchest", tmp_path, PADCHEST, padchest(said)), finding) == wanted


N = ["No finding"]
READERS = [
    ((["Cardiomegaly"], ["Cardiomegaly"], ["Cardiomegaly"]), "Cardiomegaly", 1),
    ((["Cardiomegaly"], ["Cardiomegaly"], N), "Cardiomegaly", 1),
    ((["Cardiomegaly"], N, N), "Cardiomegaly", -1),
    ((N, N, N), "Cardiomegaly", 0),
    # Two boxes of one reader are one reader's word.
    ((["Infiltration", "Infiltration"], N, N), "Infiltration", -1),
    ((["Cardiomegaly"], ["Infiltration"], N), "Infiltration", -1),
    ((["Nodule/Mass"], ["Nodule/Mass"], ["Nodule/Mass"]), "Nodule", -1),
    ((["Nodule/Mass"], ["Nodule/Mass"], N), "Mass", -1),
    ((["Pulmonary fibrosis"], ["Pulmonary fibrosis"], N), "Fibrosis", 1),
    ((["ILD"], ["ILD"], N), "Fibrosis", -1),
    ((["Lung Opacity"], ["Lung Opacity"], N), "Consolidation", 0),
    ((["Other lesion"], ["Other lesion"], ["Other lesion"]), "Mass", 0),
    ((["Pleural thickening"], ["Pleural thickening"], N), "Pleural_Thickening", 1),
    ((["Pleural effusion"], ["Pleural effusion"], N), "Effusion", 1),
    ((N, N, N), "Pneumonia", -2),
    ((N, N, N), "Hernia", -2),
    ((N, N, N), "Edema", -2),
    ((N, N, N), "Emphysema", -2),
]


@pytest.mark.parametrize("said, finding, wanted", READERS)
def test_readers_of_vindr_vote(tmp_path, said, finding, wanted):
    assert state(only("vindr", tmp_path, VINDR, *vindr("a", *said)), finding) == wanted


@pytest.mark.parametrize(
    "said",
    [
        (["Pneumothorax"],),
        (["Pneumothorax", "Atelectasis"],),
        (["Pneumothorax"], N),
        (["Pneumothorax"], ["Pneumothorax"]),
        (["Atelectasis"], ["Atelectasis"], ["Atelectasis"], N),
    ],
)
def test_two_of_three_readers_need_three(tmp_path, said):
    # As of a table that was cut off at the end of a line.
    rows = [*vindr("a", N, N, N), *vindr("b", *said)]
    message = r"line 5: 'b' has not the 3 readers of every film of train\.csv; get the whole table"
    with pytest.raises(InputError, match=message):
        only("vindr", tmp_path, VINDR, *rows)


def test_a_reader_of_vindr_has_a_name(tmp_path):
    rows = [row.replace("R3", "") for row in vindr("a", N, N, N)]
    with pytest.raises(InputError, match="line 4: '' in reader is empty"):
        only("vindr", tmp_path, VINDR, *rows)


def reports(folder, *reports, views=None):
    """NLMCXR reports: (number, MeSH terms, films), and the views of the films."""
    path = folder / "NLMCXR_reports.tgz"
    with tarfile.open(path, "w:gz") as archive:
        for number, terms, films in reports:
            text = f'<eCitation><uId id="CXR{number}"/><MeSH>'
            text += "".join(f"<major>{term}</major>" for term in terms) + "</MeSH>"
            text += "".join(f'<parentImage id="{film}"/>' for film in films) + "</eCitation>"
            member = tarfile.TarInfo(f"ecgen-radiology/{number}.xml")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    if views is not None:
        pd.DataFrame(views, columns=["imageid", "View Position"]).to_csv(
            folder / "views.csv", index=False
        )
    return path


TERMS = [
    (["normal"], "Mass", 0),
    (["No Indexing"], "Mass", -2),
    ([], "Mass", -2),
    (["Pulmonary Atelectasis/base/left"], "Atelectasis", 1),
    (["Cardiomegaly/mild", "Pleural Effusion/right/small"], "Effusion", 1),
    (["Cardiomegaly/mild", "Pleural Effusion/right/small"], "Cardiomegaly", 1),
    (["Cardiac Shadow/enlarged/mild"], "Cardiomegaly", 1),
    (["Cardiac Shadow/borderline"], "Cardiomegaly", 0),
    (["Thickening/pleura/apex/bilateral"], "Pleural_Thickening", 1),
    (["Thickening/bronchi"], "Pleural_Thickening", 0),
    (["Subcutaneous  Emphysema/right"], "Emphysema", 0),
    (["Bullous Emphysema"], "Emphysema", 1),
    (["Lung/hyperdistention/mild"], "Emphysema", -1),
    (["Lung/hypoinflation"], "Emphysema", 0),
    (["Hernia, Hiatal/large"], "Hernia", 1),
    (["Costophrenic Angle/left/blunted"], "Effusion", -1),
    (["Pericardial Effusion"], "Effusion", 0),
    (["Hydropneumothorax/left"], "Pneumothorax", 1),
    (["Calcified Granuloma/lung"], "Nodule", -1),
    (["Cystic Fibrosis"], "Fibrosis", 0),
    (["Airspace Disease/lung"], "Consolidation", -1),
]


@pytest.mark.parametrize("terms, finding, wanted", TERMS)
def test_terms_of_indiana_say_what_is_known_and_no_more(tmp_path, terms, finding, wanted):
    path = reports(tmp_path, (7, terms, ["CXR7_IM-1-1001"]), views=[("CXR7_IM-1-1001", "PA")])
    assert state(sources.read("indiana", path)[0], finding) == wanted


def test_an_unknown_term_of_indiana_is_named(tmp_path):
    path = reports(tmp_path, (7, ["Pleurisy/left"], ["CXR7_IM-1-1"]), views=[("CXR7_IM-1-1", "PA")])
    with pytest.raises(InputError, match=r"unknown label\(s\) Pleurisy \(1 films\)"):
        sources.read("indiana", path)


def test_each_film_of_a_report_has_its_own_view(tmp_path):
    films = [f"CXR7_IM-1-{n}001" for n in range(1, 5)]
    views = [(films[0], "LL"), (films[1], "PA"), (films[2], "AP")]
    records, cleaning = sources.read(
        "indiana", reports(tmp_path, (7, ["Mass"], films), views=views)
    )
    assert list(records["view"]) == ["PA", "AP"] and set(records["patient_id"]) == {40_000_007}
    # The lateral one, and one whose view nobody says.
    assert cleaning.set_index("rule")["films"].to_dict()["films read"] == 4
    assert 2 in cleaning["films"].tolist()


def test_kaggles_names_of_indianas_films_are_understood(tmp_path):
    path = reports(tmp_path, (1, ["normal"], ["CXR1_1_IM-0001-3001", "CXR1_1_IM-0001-4001"]))
    pd.DataFrame(
        {
            "uid": [1, 1],
            "filename": ["1_IM-0001-4001.dcm.png", "1_IM-0001-3001.dcm.png"],
            "projection": ["Frontal", "Lateral"],
        }
    ).to_csv(tmp_path / "indiana_projections.csv", index=False)
    records, _ = sources.read("indiana", path)
    assert list(records["file"]) == ["CXR1_1_IM-0001-4001"]


def test_without_views_indianas_films_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"which films are frontal; put indiana_projections\.csv"):
        sources.read("indiana", reports(tmp_path, (1, ["normal"], ["CXR1_1_IM-1-1"])))


def test_chexperts_studies_of_a_patient_are_films_of_one_patient(tmp_path):
    place = "{}/patient00002/study{}/view1_{}.jpg"
    rows = [chexpert(place.format("train", n, "frontal"), age=str(80 + n)) for n in (10, 2, 1)]
    rows += [
        chexpert(place.format("train", 1, "lateral")),
        chexpert(place.format("valid", 3, "frontal")),
    ]
    path = written(tmp_path, CHEXPERT, rows)
    records, cleaning = sources.read("chexpert", path)
    assert set(records["patient_id"]) == {10_000_002}
    # Study 10 comes after study 2, and the film's name says who and which.
    assert list(records["file"].str.split("/").str[1]) == ["study1", "study2", "study3", "study10"]
    assert list(records["film"]) == [f"10000002_00{n}.png" for n in range(4)]
    assert dict(cleaning.itertuples(index=False))["lateral, or no view that is used: left out"] == 1


def test_patients_of_two_sources_never_share_a_number(tmp_path):
    one = only("chexpert", tmp_path, CHEXPERT, chexpert())
    other = only("padchest", tmp_path, PADCHEST, padchest("['normal']", patient="1"))
    own = only("folder", tmp_path, FOLDER, "a.png,1,50,F,PA,0,1")
    numbers = [frame["patient_id"].iloc[0] for frame in (one, other, own)]
    assert numbers == [10_000_001, 20_000_001, 50_000_001]


@pytest.mark.parametrize(
    "text, years",
    [
        *(("58", 58), ("58.0", 58), ("058Y", 58), ("080y", 80), ("0A", 0), ("077A", 77)),
        *(("011M", 0), ("030M", 2), ("020D", 0), ("", None), ("nan", None), ("414", None)),
        *(("-1", None), ("100", 100)),
    ],
)
def test_ages_in_all_spellings(tmp_path, text, years):
    age = only("folder", tmp_path, FOLDER, f"a.png,1,{text},F,PA,0,1")["age"].iloc[0]
    assert (None if pd.isna(age) else age) == years


@pytest.mark.parametrize(
    "date, born, years",
    [("20140915", "1930.0", 84), ("20140915", "", None), ("20140915", "nan", None)],
)
def test_padchests_ages_come_from_two_years(tmp_path, date, born, years):
    age = only("padchest", tmp_path, PADCHEST, padchest("['normal']", date=date, born=born))["age"][
        0
    ]
    assert (None if pd.isna(age) else age) == years


@pytest.mark.parametrize("view, kept", [("PA", "PA"), ("AP_horizontal", "AP"), ("AP", "AP")])
def test_padchests_frontal_projections_are_kept(tmp_path, view, kept):
    rows = [padchest("['normal']", view=view)]
    rows += [padchest("['normal']", f"{n}.png", view=n) for n in ("L", "COSTAL", "UNK", "EXCLUDE")]
    records, cleaning = sources.read("padchest", written(tmp_path, PADCHEST, rows))
    assert list(records["view"]) == [kept]
    assert dict(cleaning.itertuples(index=False))["lateral, or no view that is used: left out"] == 4


@pytest.mark.parametrize(
    "sex, kept", [("F", "F"), ("M", "M"), ("O", "unknown"), ("nan", "unknown")]
)
def test_a_sex_that_is_neither_is_unknown(tmp_path, sex, kept):
    assert only("padchest", tmp_path, PADCHEST, padchest("['normal']", sex=sex))["sex"][0] == kept


@pytest.mark.parametrize(
    ("sex", "kept"),
    [
        *(("f", "F"), ("FEMALE", "F"), ("Woman", "F"), ("m", "M"), ("male", "M"), ("man", "M")),
        *(("", "unknown"), ("U", "unknown"), ("Unknown", "unknown"), ("other", "unknown")),
    ],
)
def test_a_sex_is_read_as_it_is_spelled(tmp_path, sex, kept):
    assert only("folder", tmp_path, FOLDER, f"a.png,1,50,{sex},PA,0,1")["sex"][0] == kept


@pytest.mark.parametrize("sex", ["Mujer", "missing", "Fehlt", "W", "1"])
def test_a_sex_is_not_guessed_from_its_first_letter(tmp_path, sex):
    rows = ["a.png,1,50,F,PA,0,1", f"b.png,2,50,{sex},PA,0,1"]
    with pytest.raises(InputError, match=f"line 3: '{sex}' is no sex: F or M, .*; mend the table"):
        only("folder", tmp_path, FOLDER, *rows)


def test_films_that_padchest_excludes_are_left_out_and_counted(tmp_path):
    rows = [padchest("['normal']"), padchest("['exclude', 'normal']", "b.png")]
    counts = counted("padchest", tmp_path, PADCHEST, *rows)
    assert counts["marked by the source as unfit: left out"] == 1


@pytest.mark.parametrize(
    "source, header, row",
    [
        ("chexpert", CHEXPERT, chexpert(Edema="1.0")),
        ("padchest", PADCHEST, padchest("['mass']")),
        ("folder", FOLDER, "a/b.png,1,50,F,PA,0,1"),
    ],
)
def test_a_row_that_stands_there_twice_is_one_film(tmp_path, source, header, row):
    counts = counted(source, tmp_path, header, row, row, row)
    assert counts["rows that repeat another one: left out"] == 2


REFUSED = [
    # Source, header, rows, what is said.
    ("chexpert", CHEXPERT, [chexpert(Edema="2")], r"line 2: '2' in Edema is none of 1, 0, -1"),
    ("chexpert", CHEXPERT, [chexpert(), chexpert(Edema="1.0")], "line 3: .* twice, with different"),
    ("chexpert", CHEXPERT, [chexpert("train/view1_frontal.jpg")], "names no patient and study"),
    ("chexpert", CHEXPERT, [chexpert(view="XX")], "'XX' is no known view"),
    ("chexpert", CHEXPERT, [chexpert(age="old")], "'old' is no age"),
    ("chexpert", CHEXPERT, [chexpert("a/patient1/study1/1_lateral.jpg")], "no frontal film"),
    ("chexpert", CHEXPERT.replace(",Edema", ",Oedema"), [chexpert()], r"column\(s\) Edema"),
    ("chexpert", PADCHEST, [padchest("['normal']")], r"lacks the column\(s\) Path"),
    ("padchest", PADCHEST, [padchest("['normal']"), padchest("['masss']", "b.png")],
     r"line 3: unknown label\(s\) masss \(1 films\)"),
    ("padchest", PADCHEST, [padchest("['normal'")], "is no list of labels"),
    ("padchest", PADCHEST, [padchest("[1, 2]")], "is no list of labels"),
    ("padchest", PADCHEST, [padchest("['normal']", patient="")], "in patient is empty"),
    ("vindr", VINDR, vindr("a", ["Pleurisy"], N, N), "'Pleurisy' is an unknown label"),
    ("vindr", CHEXPERT, [chexpert()], r"lacks the column\(s\) image_id, class_name, rad_id"),
    ("folder", "film,Mass", ["a.png,1"], "patient_id.* no split can keep them apart"),
    ("folder", "film,patient_id", ["a.png,1"], "labels, or any of the 14 findings"),
    ("folder", FOLDER, ["a.png,1,50,F,PA,yes,1"], "'yes' in Mass is none of"),
    ("folder", FOLDER, ["a.png,1,50,F,PA,.0,1"], "'.0' in Mass is none of"),
    ("folder", FOLDER, ["a.png,NaN,50,F,PA,0,1"], "line 2: 'NaN' in patient names nobody"),
    ("folder", FOLDER, ["a.png,none,50,F,PA,0,1"], "line 2: 'none' in patient names nobody"),
    ("folder", "film,patient_id,labels", ["a.png,1,Mass|Nodul"], r"unknown label\(s\) Nodul"),
    ("folder", FOLDER, [], "has a header but no rows"),
    ("rsna", FOLDER, [], "NIH's own films: they are no other hospital, and no external"),
    ("siim", FOLDER, [], "NIH's own films: they are no other hospital"),
    ("mimic", FOLDER, [], "unknown source 'mimic'; known are nih, chexpert, padchest"),
]  # fmt: skip


@pytest.mark.parametrize("source, header, rows, message", REFUSED)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path, source, header, rows, message):
    with pytest.raises(InputError, match=message):
        sources.read(source, written(tmp_path, header, rows))


@pytest.mark.parametrize("text, wanted", [("1", 1), ("0", 0), ("-1", -1), ("u", -1), ("", -2)])
def test_a_folders_table_can_leave_cells_open(tmp_path, text, wanted):
    records = only("folder", tmp_path, FOLDER, f"a.png,1,50,F,PA,{text},1")
    assert [state(records, f) for f in ("Mass", "Nodule", "Hernia")] == [wanted, 1, -2]


@pytest.mark.parametrize("text, wanted", [("Mass|Nodule", 1), ("No Finding", 0), ("", -2)])
def test_a_folders_table_can_hold_label_strings(tmp_path, text, wanted):
    records = only("folder", tmp_path, "film,patient_id,labels", f"p1/a.png,1,{text}")
    assert state(records, "Mass") == wanted


def test_what_was_read_is_the_same_after_saving(tmp_path):
    rows = [chexpert(Edema="-1.0"), chexpert("valid/patient00003/study1/view1_frontal.jpg", age="")]
    made = only("chexpert", tmp_path, CHEXPERT, *rows)
    sources.save(made, tmp_path / "records.csv")
    back, _ = sources.load(tmp_path / "records.csv")
    pd.testing.assert_frame_equal(back, made, check_dtype=False)
    assert (sources.states(back) == sources.states(made)).all(axis=None)


def test_nihs_own_records_know_every_finding(records_path, real_records):
    some = real_records.head(50)
    assert (sources.states(some) == some[list(FINDINGS)]).all(axis=None)


def test_the_mappings_name_findings_that_exist():
    for source in sources.SOURCES:
        table = sources.mapping(source)
        assert set(table["finding"]) <= {"", *FINDINGS}
        assert set(table["says"]) <= {
            "",
            "positive",
            "uncertain",
            "nothing",
            "not labelled",
            "left out",
        }
        assert not table.duplicated(["label", "finding"]).any()
        assert ((table["finding"] != "") == table["says"].isin(["positive", "uncertain"])).all()
    assert sources.labelled("vindr") == [
        *("Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Pneumothorax"),
        *("Consolidation", "Fibrosis", "Pleural_Thickening"),
    ]


# ---- the real tables, where the wheel of torchxrayvision lies unpacked ---------------------

REAL = {
    # File, films read, films used, patients, and positive films of a finding: counted
    # in the tables with pandas alone, but for Indiana's, which are the reader's own.
    "chexpert": ("chexpert_train.csv.gz", 223_414, 191_010, 64_534, ("Edema", 49_674)),
    "padchest": (
        "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv.gz",
        160_861, 109_660, 66_859, ("Hernia", 1_609),
    ),
    "vindr": ("vinbigdata-train.csv.gz", 15_000, 15_000, 15_000, ("Cardiomegaly", 1_817)),
    "indiana": ("NLMCXR_reports.tgz", 7_470, 5_142, 3_686, ("Cardiomegaly", 468)),
}  # fmt: skip


@pytest.mark.soak
@pytest.mark.parametrize("source", REAL)
def test_the_real_tables_are_read_whole(source):
    folder = Path(os.environ.get("XRV_DATA", ""))
    name, read, used, patients, (finding, positive) = REAL[source]
    if not (folder / name).is_file() or not os.environ.get("XRV_DATA"):
        pytest.skip("XRV_DATA names no folder torchxrayvision/data of that wheel")
    records, cleaning = sources.read(source, folder / name)
    assert dict(cleaning.itertuples(index=False))["films read"] == read
    assert (len(records), records["patient_id"].nunique()) == (used, patients)
    assert (sources.states(records)[finding] == 1).sum() == positive


@pytest.mark.parametrize(
    "text",
    [
        "film,patient_id,Mass,Hernia\n1.png,1,1,0,\n2.png,2,0,1,\n",
        'film,patient_id,Mass,Hernia\n"1",1.png,1,1,0\n"2",2.png,2,0,1\n',
    ],
)
def test_rows_longer_than_the_header_do_not_shift(tmp_path, text):
    path = tmp_path / "table.csv"
    path.write_text(text)
    records, _ = sources.read("folder", path)
    assert records["labels"].tolist() == ["Mass", "Hernia"]
    assert records["patient_id"].nunique() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film,patient_id,Mass\na,1.png,1,1\nb,2.png,2,0\n", "rows of 4 fields"),
        ('film,patient_id,labels\n"1",a.png,1,Foo\n', "line 2: unknown label"),
        ("film,patient_id,Mass,Mass\n1.png,1,1,0\n", "more than one column mass"),
        ("film,patient_id,Mass\n1.png,1,1\n\n\n2.png,2,x\n", "line 5"),
    ],
)
def test_tables_of_another_shape_are_named(tmp_path, text, message):
    path = tmp_path / "table.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        sources.read("folder", path)


@pytest.mark.parametrize("value", ["", "-1"])
def test_films_without_any_certain_label_are_not_learned_as_healthy(tmp_path, value):
    path = tmp_path / "table.csv"
    path.write_text(f"film,patient_id,Mass\na.png,1,{value}\nb.png,2,{value}\n")
    records, _ = sources.read("folder", path)
    with pytest.raises(InputError, match="nothing to learn"):
        sources.certain(records)


def test_a_film_of_several_rows_is_found_at_its_first_one(tmp_path):
    # Films are sorted by name, and the table need not be.
    rows = [*vindr("b", N, N, N), *vindr("c", N, N, N), *vindr("a", N, N, N), *vindr("", N)]
    with pytest.raises(InputError, match="line 11: '' in file is empty"):
        only("vindr", tmp_path, VINDR, *rows)
    boxes = written(tmp_path, VINDR, rows[:-1])
    _, labels, _ = sources._vindr("vindr", boxes)
    assert labels.index.tolist() == [6, 0, 3]


def test_a_film_of_an_archive_is_found_in_its_report(tmp_path):
    views = [("CXR1_IM-1-1", "PA")]
    path = reports(tmp_path, (1, ["Mass"], ["CXR1_IM-1-1"]), (2, ["Foo"], ["x"]), views=views)
    with pytest.raises(InputError, match=r"tgz, ecgen-radiology/2\.xml, film 1: unknown label"):
        sources.read("indiana", path)
    path = reports(tmp_path, *((n, [], ["CXR1_IM-1-1"]) for n in (1, 2)), views=views)
    with pytest.raises(InputError, match=r"2\.xml, film 1: 'CXR1_IM-1-1' stands there twice"):
        sources.read("indiana", path)


@pytest.mark.parametrize(
    ("source", "header", "row"),
    [
        ("folder", "film,patient_id,Mass,Hernia", "b.png,1"),
        ("folder", "film,patient_id,Mass,Hernia", "b.png,1,0"),
        ("chexpert", CHEXPERT, "CheXpert/train/patient00001/study1/view1.jpg,Female,87,Frontal"),
        ("vindr", VINDR, "b,No finding,14"),
    ],
)
def test_a_row_that_is_cut_off_is_not_read_as_unlabelled(tmp_path, source, header, row):
    whole = {"folder": ["a.png,1,0,"], "chexpert": [chexpert()], "vindr": vindr("a", N, N, N)}
    rows = [*whole[source], ""]
    only(source, tmp_path, header, *rows)
    line, fields = len(rows) + 2, row.count(",") + 1
    with pytest.raises(InputError, match=rf"line {line}: ends after {fields} of \d+ fields"):
        only(source, tmp_path, header, *rows, row)


@pytest.mark.parametrize("side, films", [("lateral", 1), ("Lateral", 1), ("frontal", 2)])
def test_views_are_the_same_in_all_cases(tmp_path, side, films):
    rows = [chexpert(), chexpert("a/patient00002/study1/2.jpg").replace("Frontal", side)]
    assert len(only("chexpert", tmp_path, CHEXPERT, *rows)) == films
    rows = [padchest("['normal']", f"{n}.png", view=n) for n in ("pa", "Ap_Horizontal", "costal")]
    assert list(only("padchest", tmp_path, PADCHEST, *rows)["view"]) == ["AP", "PA"]


def test_a_side_that_is_cut_off_is_no_frontal_one(tmp_path):
    row = chexpert().replace("Frontal", "Fro")
    with pytest.raises(InputError, match="'Fro' is no known view: neither Frontal nor Lateral"):
        only("chexpert", tmp_path, CHEXPERT, row)


def test_one_film_under_two_paths_is_one_film(tmp_path):
    rows = [f"{path},1,50,F,PA,0,1" for path in ("a.png", "./a.png", "x/../a.png", "a/b.png")]
    assert list(only("folder", tmp_path, FOLDER, *rows)["file"]) == ["a.png", "a/b.png"]
    with pytest.raises(InputError, match=r"line 3: 'a\.png' stands there twice, with different"):
        only("folder", tmp_path, FOLDER, rows[0], "./a.png,2,50,F,PA,0,1")


VIEWS = "uid,filename,projection\n1,1_IM-0001-3001.dcm.png,Frontal\n"


@pytest.mark.parametrize(
    "text",
    [
        VIEWS,
        VIEWS.replace(",", ", "),
        VIEWS.replace("uid,filename,projection", '"uid", "FileName" ,"projection"'),
        "\ufeff" + VIEWS.replace("\n", "\r\n"),
    ],
)
def test_indianas_views_are_read_however_their_header_is_written(tmp_path, text):
    path = reports(tmp_path, (1, ["normal"], ["CXR1_1_IM-0001-3001"]))
    (tmp_path / "indiana_projections.csv").write_text(text, encoding="utf-8", newline="")
    # Tables of something else do not matter.
    (tmp_path / "other.csv").write_bytes(b"na\xefve,words\n1\n")
    assert len(sources.read("indiana", path)[0]) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (VIEWS.replace("Fr", "Fré").encode("latin-1"), "not a readable CSV file .*; mend it, or"),
        (
            gzip.compress(VIEWS.encode(), mtime=0)[:-9],
            "not a readable CSV file .*; mend it, or take it",
        ),
        (b"\x1f\x8b\x08\x00abc", "not a readable CSV file"),
        (VIEWS.encode() + b"1,1_IM-0001-4001", "line 3: ends after 2 of 3 fields"),
        (VIEWS.encode() + b"1,1_IM-0001-4001,Lateral,x,y\n", "not a readable CSV file"),
    ],
)
def test_views_that_cannot_be_read_are_named(tmp_path, content, message):
    path = reports(tmp_path, (1, ["normal"], ["CXR1_1_IM-0001-3001"]))
    (tmp_path / "views.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        sources.read("indiana", path)
    assert str(tmp_path / "views.csv") in str(error.value)


@pytest.mark.parametrize(
    "one, other",
    [
        *(("12", "0012"), ("12", "12.0"), ("p12", "P12"), ("p012", "p12"), ("CXR1", "1")),
        *(("é", "É"), ("P 7", "P7"), ("P  07", "p7"), ("S1-0012", "S1-12")),
        *(("s01-12", "S1-0012"), ("1/012", "1/12"), ("S1_012", "S1_12")),
        *(("12", "\uff11\uff12"), ("12", "1\u200b2"), ("p12", "p12\ufeff")),
    ],
)
def test_a_patient_under_two_spellings_is_not_two_people(tmp_path, one, other):
    rows = [f"{n}.png,{patient},50,F,PA,0,1" for n, patient in enumerate(("77", one, other))]
    with pytest.raises(InputError, match=f"line 4: patient '{other}' is '{one}' in another spel"):
        only("folder", tmp_path, FOLDER, *rows)


def test_a_patient_of_indiana_under_two_spellings_is_refused(tmp_path):
    path = reports(
        tmp_path, (1, [], ["CXR1_IM-1-1"]), ("01", [], ["a"]), views=[("CXR1_IM-1-1", "PA")]
    )
    with pytest.raises(InputError, match=r"1\.xml, film 1: patient 'CXR01' is 'CXR1'"):
        sources.read("indiana", path)


def test_patients_of_different_names_are_different_people(tmp_path):
    names = ("1", "10", "100", "a1", "b1", "1.5", "1-1", "11")
    names += ("1 1", "1.05", "1-10", "s1-12", "s11-2", "a0b01c1", "a0b1c01", "0a1b", "a1b")
    rows = [f"{n}.png,{patient},50,F,PA,0,1" for n, patient in enumerate(names)]
    assert only("folder", tmp_path, FOLDER, *rows)["patient_id"].nunique() == len(names)


@pytest.mark.parametrize(
    "column",
    ["Pleural Thickening", "pleural-thickening", "PLEURAL_THICKENING", "pleuralthickening"],
)
def test_a_column_is_a_finding_however_it_is_written(tmp_path, column):
    records = only("folder", tmp_path, f"film,patient_id,{column},effusion", "a.png,1,1,0")
    assert state(records, "Pleural_Thickening") == 1 and state(records, "Effusion") == 0


@pytest.mark.parametrize(
    ("header", "row", "message"),
    [
        (
            "Pleural Thickening,Pleural_Thickening",
            "1,0",
            "2 columns of Pleural_Thickening: Pleural",
        ),
        ("labels,mass", "Effusion,1", "says the same in the column labels and in Mass; keep"),
        ("no finding,Mass", "1,1", r"line 2: 'a\.png' is called No Finding and has one"),
    ],
)
def test_two_columns_cannot_say_one_thing(tmp_path, header, row, message):
    with pytest.raises(InputError, match=message):
        only("folder", tmp_path, f"film,patient_id,{header}", f"a.png,1,{row}")


@pytest.mark.parametrize(
    ("source", "header", "rows", "message"),
    [
        (
            "folder",
            "film,patient_id,labels",
            ["a.png,1,Mass", "b.png,2,No Finding|Mass"],
            r"line 3: 'b\.png' is called No Finding and has one of the findings",
        ),
        ("chexpert", CHEXPERT, [chexpert(No_Finding="1.0", Edema="1.0")], "line 2: .* No Finding"),
        ("vindr", VINDR, vindr("a", N, N, ["ILD", *N]), "line 4: 'a' is called No finding and has"),
    ],
)
def test_no_film_is_healthy_and_ill(tmp_path, source, header, rows, message):
    with pytest.raises(InputError, match=message):
        only(source, tmp_path, header, *rows)


def test_no_film_of_indiana_is_healthy_and_ill(tmp_path):
    path = reports(tmp_path, (7, ["normal", "Mass"], ["x"]), views=[("x", "PA")])
    with pytest.raises(InputError, match=r"7\.xml, film 1: 'x' is called normal and has one of"):
        sources.read("indiana", path)


def test_films_that_padchest_calls_normal_and_ill_are_ill_and_counted(tmp_path):
    rows = [padchest("['normal', 'infiltrates']"), padchest("['normal', 'kyphosis']", "b.png")]
    rows.append(padchest("['normal', 'mass']", "c.png", view="L"))
    counts = counted("padchest", tmp_path, PADCHEST, *rows)
    assert counts["called normal, and with a finding: the finding counts"] == 1
    assert only("padchest", tmp_path, PADCHEST, *rows)["labels"][0] == "Infiltration"


@pytest.mark.parametrize("label", ["Pleural Thickening", "pleural-thickening", "MASS", "mass"])
def test_a_label_of_a_list_is_a_finding_however_it_is_written(tmp_path, label):
    records = only("folder", tmp_path, "film,patient_id,labels", f"a.png,1,hernia|{label}")
    assert records["labels"][0] in ("Pleural_Thickening|Hernia", "Mass|Hernia")
    same = only("folder", tmp_path, "film,patient_id,labels", f"a.png,1,{label}|{label.lower()}")
    assert same["labels"][0] in ("Pleural_Thickening", "Mass")


@pytest.mark.parametrize("label", ["Nodul", "Mass;Nodule"])
def test_who_has_a_folder_is_told_the_labels_that_it_can_have(tmp_path, label):
    message = rf"unknown label\(s\) {label} .*; known are .*Hernia, No Finding, joined by \|; mend"
    with pytest.raises(InputError, match=message) as error:
        only("folder", tmp_path, "film,patient_id,labels", f"a.png,1,{label}")
    assert "source_labels.csv" not in str(error.value)


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("film", "a.png", "a film twice, or none"),
        ("Mass", 5, "a finding that is neither 0 nor 1"),
        ("Mass", -1, "a finding that is neither 0 nor 1"),
        ("source", "vindr", "films of two sources"),
        ("uncertain", "Mass|Cough", "a word that is no finding as uncertain"),
        ("unlabelled", "mass", "a word that is no finding as uncertain or not labelled"),
    ],
)
def test_records_of_a_source_that_were_changed_are_made_again(tmp_path, column, value, words):
    path = tmp_path / "records.csv"
    records = only("folder", tmp_path, FOLDER, *(f"{name}.png,1,50,F,PA,0,1" for name in "ab"))
    records.loc[0, "film"] = "a.png"
    records.loc[1, column] = value
    sources.save(records, path)
    with pytest.raises(InputError, match=f"holds {words}.*; run 000-data_download again"):
        sources.load(path)


@pytest.mark.parametrize("end", ["in a row", "in its last field", "in a letter", "below header"])
def test_records_of_a_source_that_are_cut_off_are_made_again(tmp_path, end):
    path = tmp_path / "records.csv"
    rows = [f"{name},{name},50,F,PA,0,1" for name in ("a", "é")]
    sources.save(only("folder", tmp_path, FOLDER, *rows), path)
    whole = path.read_bytes()
    cut = {
        "in a row": whole.index(b",50,") + 2,
        "in its last field": len(whole) - len("é\n".encode()),
        "in a letter": len(whole) - 2,
        "below header": whole.index(b"\n") + 1,
    }
    path.write_bytes(whole[: cut[end]])
    with pytest.raises(
        InputError, match=r"records\.csv is cut off .*; run 000-data_download again"
    ):
        sources.load(path)


@pytest.mark.parametrize(
    ("source", "header", "row"),
    [
        ("folder", "film,patient_id,labels", "a.png,2,Mass|Infiltration"),
        ("chexpert", CHEXPERT, chexpert(Edema="1.0")),
        ("vindr", VINDR, "\n".join(vindr("a", N, N, N))),
    ],
)
def test_a_last_row_without_a_lines_end_is_counted_and_not_refused(tmp_path, source, header, row):
    rule = "last row without a line's end, maybe cut off: taken"
    path = written(tmp_path, header, [row])
    whole = path.read_bytes()
    for end, counted in ((b"\n", 0), (b"\r\n", 0), (b"", 1)):
        for packed in (bytes, gzip.compress):
            path.write_bytes(packed(whole.rstrip(b"\n") + end))
            rules = dict(sources.read(source, path)[1].itertuples(index=False))
            assert rules.get(rule, 0) == counted


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le", "utf-16-be"])
def test_a_table_in_another_encoding_is_told_which_one_is_read(tmp_path, encoding):
    path = tmp_path / "table.csv"
    path.write_bytes("film,patient_id,Mass\na.png,José,1\n".encode(encoding))
    with pytest.raises(InputError, match=r"\(its text is not UTF-8, in which .*\); mend it, or"):
        sources.read("folder", path)
    path.write_text("film,patient_id,Mass\na.png,José,1\n", encoding="utf-8-sig")
    assert len(sources.read("folder", path)[0]) == 1


def test_a_table_that_is_not_there_is_asked_for(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv does not exist; name the source's table\."):
        sources.read("folder", tmp_path / "none.csv")


def test_the_finding_that_keeps_films_from_training_is_named(tmp_path):
    rows = [f"{n}.png,{n},{n % 2},{1 if n == 1 else ''}" for n in range(1, 101)]
    records = only("folder", tmp_path, "film,patient_id,Effusion,Mass", *rows)
    with pytest.raises(InputError, match=r"only 1 of 100 .*Mass, .* not labelled on 99 .* on 0"):
        sources.certain(records)
