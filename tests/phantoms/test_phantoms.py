import hashlib
import tarfile

import numpy as np
import pandas as pd
import pytest
import requests
from PIL import Image

from cxr import phantoms
from cxr.errors import InputError
from cxr.fetch import small_files
from cxr.findings import FINDINGS
from cxr.records import nih, splits

NAMES = ("train", "validation", "test")


def person(*findings, film="00000007_002.png", patient_id=7, age=55, sex="M", view="PA"):
    """A record with the given findings."""
    return {
        "film": film,
        "patient_id": patient_id,
        "age": age,
        "sex": sex,
        "view": view,
        **{finding: int(finding in findings) for finding in FINDINGS},
    }


def pixels(record, boxes=(), **options):
    return np.asarray(phantoms.draw(record, boxes, seed=42, **options), dtype=float)


def lungs(film):
    """Mean grey value of the inner film, where both lungs lie."""
    return film[60:180, 40:216].mean()


@pytest.fixture(scope="module")
def real():
    """The real records and boxes."""
    try:
        frame, _ = nih.read_records(small_files.path_of("records"))
        return frame, nih.read_boxes(small_files.path_of("boxes"))
    except InputError as error:
        pytest.skip(f"the real records cannot be had: {error}")


@pytest.fixture(scope="module")
def by_patient(real):
    return splits.make_split(real[0], "patient", seed=42)


# --- choosing ------------------------------------------------------------------------


def test_each_finding_has_positives_in_each_split_of_the_demo_sample(real, by_patient):
    frame, boxes = real
    films = phantoms.choose(frame, by_patient, boxes, films=1500, seed=42)
    assert len(films) == len(set(films)) == 1500
    sample = frame[frame["film"].isin(films)]
    names = by_patient[sample.index]
    positives = sample[list(FINDINGS)].groupby(names).sum()
    assert (positives.loc["train"] >= 30).all()
    assert (positives.loc["validation"] >= 5).all()
    assert (positives.loc["test"] >= 10).all()
    assert names.value_counts().to_dict() == {"train": 900, "validation": 225, "test": 375}
    # Nearly a third of the films show none of the 14, so prevalence is not absurd.
    assert (sample["labels"] == "No Finding").mean() > 0.3
    # Boxed test films are all there, and come on top of a patient's three.
    in_test = frame.loc[by_patient.index[by_patient == "test"], "film"]
    boxed = set(in_test) & set(boxes["film"])
    assert boxed <= set(films)
    assert sample[~sample["film"].isin(boxed)].groupby("patient_id").size().max() <= 3


@pytest.mark.parametrize("kind", ["official", "original"])
def test_the_demo_sample_covers_the_findings_of_other_splits_too(real, kind):
    frame, boxes = real
    split = splits.make_split(frame, kind, seed=42)
    films = phantoms.choose(frame, split, boxes, films=1500, seed=42)
    sample = frame[frame["film"].isin(films)]
    positives = sample[list(FINDINGS)].groupby(split[sample.index]).sum()
    assert (positives.loc["train"] >= 30).all()
    assert (positives.loc["test"] >= 10).all()


@pytest.mark.parametrize("films", [60, 200])
def test_a_small_sample_still_meets_every_finding_in_training(real, by_patient, films):
    frame, boxes = real
    names = phantoms.choose(frame, by_patient, boxes, films=films, seed=1)
    assert len(names) == films
    sample = frame[frame["film"].isin(names)]
    assert set(by_patient[sample.index]) == set(NAMES)
    assert sample.loc[by_patient[sample.index] == "train", list(FINDINGS)].any().all()


def test_the_sample_depends_on_the_seed_and_not_on_the_order_of_the_records(real, by_patient):
    frame, boxes = real
    films = phantoms.choose(frame, by_patient, boxes, films=100, seed=1)
    shuffled = frame.sample(frac=1, random_state=0)
    assert phantoms.choose(shuffled, by_patient, boxes, films=100, seed=1) == films
    assert phantoms.choose(frame, by_patient, boxes, films=100, seed=2) != films


def test_a_sample_too_small_for_three_splits_is_refused(real, by_patient):
    frame, boxes = real
    with pytest.raises(InputError, match="ask for 10 or more"):
        phantoms.choose(frame, by_patient, boxes, films=2, seed=1)


# --- drawing -------------------------------------------------------------------------


def test_a_phantom_is_grey_eight_bit_and_of_the_size_asked_for():
    film = phantoms.draw(person("Mass"), seed=42)
    assert (film.mode, film.size) == ("L", (256, 256))
    assert phantoms.draw(person("Mass"), size=320, seed=42).size == (320, 320)


def test_the_same_record_and_seed_give_the_same_film():
    record = person(*FINDINGS, sex="F", view="AP")
    assert (pixels(record) == pixels(record)).all()
    other = np.asarray(phantoms.draw(record, seed=43), dtype=float)
    assert (other != pixels(record)).any()


def test_a_missing_age_is_drawn():
    assert pixels(person(age=pd.NA)).std() > 20


def test_films_of_one_patient_resemble_each_other_more_than_those_of_others():
    def distance(one, other):
        return np.abs(one - other).mean()

    first = [pixels(person(film=f"{n:08d}_000.png", patient_id=n)) for n in range(12)]
    later = [pixels(person(film=f"{n:08d}_001.png", patient_id=n)) for n in range(12)]
    own = np.mean([distance(first[n], later[n]) for n in range(12)])
    others = np.mean([distance(first[n], later[(n + 1) % 12]) for n in range(12)])
    assert own < 0.9 * others


@pytest.mark.parametrize("finding", FINDINGS)
def test_every_finding_leaves_a_sign(finding):
    for view in ("PA", "AP"):
        difference = np.abs(pixels(person(finding, view=view)) - pixels(person(view=view)))
        # At least 60 of the 65,536 pixels, by more than noise would leave after rounding.
        assert (difference > 12).sum() > 60


@pytest.mark.parametrize(
    "finding",
    ["Atelectasis", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax"],
)
def test_a_boxed_sign_lies_in_its_box(finding):
    # The left lung's middle on a 256-px film: columns 150 to 200, rows 100 to 150.
    boxes = [(finding, 600.0, 400.0, 200.0, 200.0)]
    difference = np.abs(pixels(person(finding), boxes) - pixels(person(), boxes))
    inside = difference[100:151, 150:201].sum()
    assert inside > 2000
    assert inside > 0.9 * difference.sum()


def test_a_boxed_heart_is_as_wide_as_its_box():
    boxes = [("Cardiomegaly", 280.0, 400.0, 480.0, 360.0)]
    difference = np.abs(pixels(person("Cardiomegaly"), boxes) - pixels(person(), boxes))
    columns = np.nonzero(difference > 12)[1]
    # Columns 70 to 190 of 256, within a few pixels of soft border.
    assert np.percentile(columns, 1) == pytest.approx(70, abs=8)
    assert np.percentile(columns, 99) == pytest.approx(190, abs=8)
    assert difference[95:195, 65:195].sum() > 0.9 * difference.sum()


def test_lungs_are_darker_with_emphysema_and_brighter_with_edema():
    plain = lungs(pixels(person()))
    assert lungs(pixels(person("Emphysema"))) < plain - 3
    assert lungs(pixels(person("Edema"))) > plain + 3


def test_the_mark_is_visible_on_the_film():
    film = pixels(person())
    # White letters at the lower left, where the film without them is grey.
    assert (film[236:254, 6:86] > 230).sum() > 60


def test_a_phantom_is_told_from_a_real_film_by_its_text_chunk(tmp_path):
    drawn = phantoms.draw(person(), seed=42)
    (tmp_path / "phantom.png").write_bytes(phantoms.encode(drawn))
    assert phantoms.is_phantom(tmp_path / "phantom.png")
    assert phantoms.is_phantom(drawn)
    with Image.open(tmp_path / "phantom.png") as image:
        assert "shows no patient" in image.text[phantoms.MARK]
        assert (np.asarray(image) == np.asarray(drawn)).all()
    Image.new("L", (256, 256)).save(tmp_path / "real.png")
    assert not phantoms.is_phantom(tmp_path / "real.png")


# --- packing and serving -------------------------------------------------------------


@pytest.fixture
def few():
    """Seven films of three patients, one boxed."""
    rows = [
        person(*findings, film=f"{patient:08d}_{follow_up:03d}.png", patient_id=patient)
        for follow_up, findings in enumerate([(), ("Mass",), ("Nodule", "Effusion")])
        for patient in (1, 2, 3)
    ][:7]
    box = {"film": "00000002_001.png", "finding": "Mass"}
    box |= {"x": 600.0, "y": 400.0, "width": 100.0, "height": 100.0}
    return pd.DataFrame(rows).astype({"age": "Int16"}), pd.DataFrame([box])


def digests(paths):
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]


def test_a_pack_holds_every_film_once_and_is_the_same_byte_for_byte(few, tmp_path):
    frame, boxes = few
    films = frame["film"].tolist()
    first = phantoms.pack(frame, boxes, films, tmp_path / "a", archives=3, seed=42)
    again = phantoms.pack(frame[::-1], boxes, films[::-1], tmp_path / "b", archives=3, seed=42)
    assert [path.name for path in first] == [f"images_{n:02d}.tar.gz" for n in (1, 2, 3)]
    assert digests(first) == digests(again)
    members = []
    for path in first:
        with tarfile.open(path) as archive:
            members += archive.getnames()
            assert all(member.mtime == 0 for member in archive)
    assert members == [f"images/{film}" for film in sorted(films)]
    with tarfile.open(first[0]) as archive, Image.open(archive.extractfile(members[0])) as image:
        assert phantoms.is_phantom(image)


def test_films_drawn_by_several_processes_are_those_of_one(few, tmp_path, monkeypatch):
    frame, boxes = few
    films = frame["film"].tolist()
    alone = phantoms.pack(frame, boxes, films, tmp_path / "alone", archives=1, seed=42)
    monkeypatch.setattr("cxr.phantoms.packing._FILMS_WORTH_A_PROCESS", 3)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    together = phantoms.pack(frame, boxes, films, tmp_path / "together", archives=1, seed=42)
    assert digests(alone) == digests(together)


def test_a_pack_is_drawn_again_only_when_something_changed(few, tmp_path):
    frame, boxes = few
    films = frame["film"].tolist()

    def written(**options):
        paths = phantoms.pack(frame, boxes, films, tmp_path, archives=2, **options)
        return [path.stat().st_mtime_ns for path in paths]

    first = written(seed=42)
    assert written(seed=42) == first
    assert written(seed=43) != first
    # A cut archive is noticed.
    path = tmp_path / "images_01.tar.gz"
    path.write_bytes(path.read_bytes()[:100])
    written(seed=43)
    assert path.stat().st_size > 1000


@pytest.fixture
def served(tmp_path):
    """A folder with one file of the bytes 0 to 255, its address, and a session."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "images_01.tar.gz").write_bytes(bytes(range(256)))
    (tmp_path / "secret").write_bytes(b"not for others")
    with phantoms.serve(folder) as base, requests.Session() as session:
        # This machine's own server is never behind a proxy.
        session.trust_env = False
        yield base, session


def test_the_server_sends_a_whole_file_with_its_length_and_etag(served):
    base, session = served
    assert base.startswith("http://127.0.0.1:")
    answer = session.get(f"{base}/images_01.tar.gz")
    assert (answer.status_code, answer.content) == (200, bytes(range(256)))
    assert answer.headers["Content-Length"] == "256"
    head = session.head(f"{base}/images_01.tar.gz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["Content-Length"] == "256"
    assert head.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-", 0, 255),
        ("100-", 100, 255),
        ("10-19", 10, 19),
        ("250-999", 250, 255),
        ("-6", 250, 255),
    ],
)
def test_the_server_sends_the_range_asked_for(served, asked, first, last):
    base, session = served
    answer = session.get(f"{base}/images_01.tar.gz", headers={"Range": f"bytes={asked}"})
    assert answer.status_code == 206
    assert answer.content == bytes(range(first, last + 1))
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/256"


def test_a_range_behind_the_end_is_refused_with_the_size(served):
    base, session = served
    answer = session.get(f"{base}/images_01.tar.gz", headers={"Range": "bytes=256-"})
    assert (answer.status_code, answer.headers["Content-Range"]) == (416, "bytes */256")


def test_a_range_of_a_file_that_changed_meanwhile_gets_the_whole_file(served):
    base, session = served
    headers = {"Range": "bytes=100-", "If-Range": '"of-an-older-file"'}
    answer = session.get(f"{base}/images_01.tar.gz", headers=headers)
    assert (answer.status_code, len(answer.content)) == (200, 256)


@pytest.mark.parametrize("name", ["other.tar.gz", "", "..%2Fsecret", "../secret"])
def test_nothing_but_the_files_of_the_folder_is_served(served, name):
    base, session = served
    # Prepared by hand, since requests would tidy the dots away.
    request = session.prepare_request(requests.Request("GET", base))
    request.url = f"{base}/{name}"
    assert session.send(request).status_code == 404
