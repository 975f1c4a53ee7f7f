"""What exists where: URLs, bytes, checksums, mirrors of every file, and how to verify each.

Sources: MD5 of the archives from NIH's FAQ_CHESTXRAY.pdf (question 7), their bytes from the
Academic Torrents metainfo. Terms: link https://nihcc.app.box.com/v/ChestXray-NIHCC,
acknowledge the NIH Clinical Center, cite Wang et al., CVPR 2017, pp. 3462-3471.
"""

import dataclasses
import functools
import hashlib
import io
from collections.abc import Callable

import pandas as pd

from cxr.findings import SEPARATOR
from cxr.records.nih import FILMS, PATIENTS

HOME_PAGE = "https://nihcc.app.box.com/v/ChestXray-NIHCC"

_BOX = "https://nihcc.box.com/shared/static"
# Both mirrors are pinned to a commit: what was verified once stays what is fetched.
_HUGGING_FACE = (
    "https://huggingface.co/datasets/alkzar90/NIH-Chest-X-ray-dataset/resolve/"
    "d444bf39439f4fbfac6922e2472b1bf2554309e7/data"
)
_GITHUB = (
    "https://raw.githubusercontent.com/mlmed/torchxrayvision/"
    "f4087a0b0d0cdc6a5877fb5456965b6d29adb1e5/torchxrayvision/data"
)
# A package of another project (Apache-2.0) that carries three of the small files: where
# only a package registry can be reached, it is the mirror that answers.
WHEEL = "torchxrayvision==1.5.7"


@dataclasses.dataclass(frozen=True)
class Archive:
    """One archive of films, `images/NNNNNNNN_NNN.png` inside.

    Attributes:
        name: file name on disk, such as "images_01.tar.gz".
        url: the original.
        bytes, md5: of the original.
        films: how many it holds. The archives follow the order of film names: the first
            holds the first 4,999 films, and so on.
        mirrors: addresses of zip archives with the same films, tried in order. No checksum
            of them is published; each film in a zip carries a CRC-32.
        contents: names of its films.
    """

    name: str
    url: str
    bytes: int
    md5: str
    films: int
    mirrors: tuple[str, ...] = ()
    contents: tuple[str, ...] = ()


# Identifier at Box, bytes, MD5.
_ARCHIVES = (
    ("vfk49d74nhbxq3nqjg0900w5nvkorp5c", 2008470987, "fe8ed0a6961412fddcbb3603c11b3698"),
    ("i28rlmbvmfjbl8p2n3ril0pptcmcu9d1", 3952623504, "ab07a2d7cbe6f65ddd97b4ed7bde10bf"),
    ("f1t00wrtdk94satdfb9olcolqx20z2jp", 3929234850, "2301d03bde4c246388bad3876965d574"),
    ("0aowwzs5lhjrceb3qp67ahp0rd1l1etg", 3838903983, "9f1b7f5aae01b13f4bc8e2c44a4b8ef6"),
    ("v5e3goj22zr6h8tzualxfsqlqaygfbsn", 3935496531, "1861f3cd0ef7734df8104f2b0309023b"),
    ("asi7ikud9jwnkrnkj99jnpfkjdes7l6l", 3986301172, "456b53a8b351afd92a35bc41444c58c8"),
    ("jn1b4mw4n6lnh74ovmcjb8y48h8xj07n", 4016328426, "1075121ea20a137b87f290d6a4a5965e"),
    ("tvpxmn7qyrgl0w8wfh9kqfjskv6nmm1j", 4018347353, "b61f34cec3aa69f295fbb593cbd9d443"),
    ("upyy3ml7qdumlgk2rfcvlb9k6gvqq2pj", 4111327929, "442a3caa61ae9b64e61c561294d1e183"),
    ("l6nilvfa9cg3s28tqv1qc1olm3gnz54p", 4181556296, "09ec81c4c31e32858ad8cf965c494b74"),
    ("hhq8fkdgvcari67vfhs7ppg2w6ni4jze", 4187084020, "499aefc67207a5a97692424cf5dbeed5"),
    ("ioqwiy20ihqwyr8pf4c24eazhh281pbu", 2914187733, "dc9fda1757c2de0032b63347a7d2895c"),
)

ARCHIVES = tuple(
    Archive(
        name=f"images_{number:02d}.tar.gz",
        url=f"{_BOX}/{key}.gz",
        bytes=size,
        md5=md5,
        films={1: 4_999, 12: 7_121}.get(number, 10_000),
        mirrors=(f"{_HUGGING_FACE}/images/images_{number:03d}.zip",),
    )
    for number, (key, size, md5) in enumerate(_ARCHIVES, start=1)
)


# Computed on Data_Entry_2017_v2020.csv. The version before 11/2017 lacks some labels.
FILMS_PER_FINDING = {
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

_BOXES_PER_FINDING = {
    "Atelectasis": 180,
    "Effusion": 153,
    "Cardiomegaly": 146,
    "Infiltrate": 123,
    "Pneumonia": 120,
    "Pneumothorax": 98,
    "Mass": 85,
    "Nodule": 79,
}

_ADJUDICATED_FILMS = {
    "Fracture": 186,
    "Pneumothorax": 238,
    "Airspace opacity": 2_166,
    "Nodule or mass": 605,
}


@dataclasses.dataclass(frozen=True)
class SmallFile:
    """A file of labels or lists.

    Attributes:
        file: NIH's own name for it.
        kept_as: its name in `data/`, which later stages read.
        mirrors: addresses tried in order; one ending in ".gz" is unpacked, "wheel" is the
            pinned package, "records" means that the file follows from the records.
        sha256: of the copy whose facts are stated here.
        check: raises ValueError if another copy's content is not the same.
    """

    file: str
    kept_as: str
    mirrors: tuple[str, ...]
    sha256: str
    check: Callable[[bytes], None]


def verify(name: str, content: bytes) -> None:
    """Check a small file's content, whichever save of it this is.

    Raises:
        ValueError: saying which count differs.
    """
    wanted = SMALL_FILES[name]
    if hashlib.sha256(content).hexdigest() != wanted.sha256:
        wanted.check(content)


def _expect(what: str, found, wanted) -> None:
    if found != wanted:
        raise ValueError(f"other content: {what} {found}, not {wanted}")


def _check_records(content: bytes) -> None:
    records = pd.read_csv(
        io.BytesIO(content), usecols=["Image Index", "Finding Labels", "Patient ID"]
    )
    _expect("films", records["Image Index"].nunique(), FILMS)
    _expect("rows", len(records), FILMS)
    _expect("patients", records["Patient ID"].nunique(), PATIENTS)
    # A film's name begins with its patient's number.
    strangers = records["Image Index"].str[:8].astype(int) != records["Patient ID"]
    _expect("films of another patient", int(strangers.sum()), 0)
    labels = records["Finding Labels"].str.split(SEPARATOR, regex=False).explode().value_counts()
    for finding, films in FILMS_PER_FINDING.items():
        _expect(f"films with {finding}", int(labels.get(finding, 0)), films)


def _check_boxes(content: bytes) -> None:
    boxes = pd.read_csv(io.BytesIO(content), usecols=["Image Index", "Finding Label"])
    _expect("films", boxes["Image Index"].nunique(), 880)
    _expect("boxes", boxes["Finding Label"].value_counts().to_dict(), _BOXES_PER_FINDING)


def _check_adjudicated(content: bytes) -> None:
    labels = pd.read_csv(io.BytesIO(content), usecols=["Image Index", *_ADJUDICATED_FILMS])
    _expect("films", labels["Image Index"].nunique(), 4_376)
    found = {name: int((labels[name] == "YES").sum()) for name in _ADJUDICATED_FILMS}
    _expect("positive films", found, _ADJUDICATED_FILMS)


def _check_list(content: bytes, sha256: str) -> None:
    # Copies differ in line ends and in the last one; the films and their order may not.
    found = hashlib.sha256("\n".join(content.decode().split()).encode()).hexdigest()
    _expect("SHA-256 of its films", found, sha256)


def _list(file: str, sha256: str) -> SmallFile:
    check = functools.partial(_check_list, sha256=sha256)
    return SmallFile(file, file, (f"{_HUGGING_FACE}/{file}", "records"), sha256, check)


SMALL_FILES = {
    "records": SmallFile(
        "Data_Entry_2017_v2020.csv",
        "records.csv",
        (
            f"{_HUGGING_FACE}/Data_Entry_2017_v2020.csv",
            f"{_GITHUB}/Data_Entry_2017_v2020.csv.gz",
            "wheel",
        ),
        "dc1d2df67fdc1c5a7601d48699cda2b13dc2c4841488b4183dcf04884dbaca11",
        _check_records,
    ),
    "boxes": SmallFile(
        "BBox_List_2017.csv",
        "boxes.csv",
        (f"{_HUGGING_FACE}/BBox_List_2017.csv", f"{_GITHUB}/BBox_List_2017.csv.gz", "wheel"),
        "0bbfea9d4c4e9771481b3023b1bc9f0df9dea924453b12986beb29b0c4d0c95b",
        _check_boxes,
    ),
    "adjudicated": SmallFile(
        "google2019_nih-chest-xray-labels.csv",
        "adjudicated.csv",
        (f"{_GITHUB}/google2019_nih-chest-xray-labels.csv.gz", "wheel"),
        "86ece2bbb74ed71d2f8b0a14b21daf231f89346bb11f11144ce3e20696e8d238",
        _check_adjudicated,
    ),
    "train_val_list": _list(
        "train_val_list.txt", "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81"
    ),
    "test_list": _list(
        "test_list.txt", "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc"
    ),
}
