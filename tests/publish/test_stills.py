"""Which films slides show, and what they say of them."""

import base64
import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr import phantoms
from cxr.errors import InputError
from cxr.findings import FINDINGS
from cxr.publish import stills

NONE = np.empty((0, 4))
BOX = np.array([[512.0, 512.0, 256.0, 256.0]])


@pytest.fixture
def files(tmp_path):
    """Three phantoms."""
    record = {"film": "1.png", "patient_id": 1, "age": 50, "sex": "M", "view": "PA"}
    record |= dict.fromkeys(FINDINGS, 0)
    paths = [tmp_path / f"{name}.png" for name in "abc"]
    for path in paths:
        phantoms.draw(record | {"Mass": 1}, size=64, seed=1).save(path)
    return paths


def kept(tmp_path, files, outcomes, boxes):
    telling = pd.DataFrame(
        {"outcome": outcomes, "film": "x", "score": [0.9, 0.6, 0.1], "finding": "Mass"}
    )
    heatmaps = np.zeros((3, 8, 8))
    stills.write(
        tmp_path / "stills.json",
        telling.assign(threshold=0.5),
        files,
        heatmaps,
        boxes,
        phantoms=True,
    )
    return stills.read(tmp_path / "stills.json")


def test_of_each_outcome_a_film_with_boxes_is_preferred(tmp_path, files):
    shown = kept(tmp_path, files, ["hit", "hit", "miss"], [NONE, BOX, NONE])
    assert [(one.outcome, one.score, one.boxes) for one in shown] == [
        ("hit", 0.6, 1),
        ("miss", 0.1, 0),
    ]


def test_what_is_left_alone_is_not_shown(tmp_path, files):
    shown = kept(tmp_path, files, ["false alarm", "correctly left alone", "miss"], [NONE] * 3)
    assert [one.outcome for one in shown] == ["miss", "false alarm"]
    assert shown[0].words == "labelled Mass; 10 % at a threshold of 50 %: not flagged"
    assert shown[1].words == "not labelled Mass; 90 % at a threshold of 50 %: flagged"


def test_the_box_is_drawn_where_it_lies(tmp_path, files):
    shown = kept(tmp_path, files, ["hit", "miss", "miss"], [BOX, NONE, NONE])
    pictures = []
    for one in shown:
        with Image.open(io.BytesIO(base64.b64decode(one.picture.partition(",")[2]))) as image:
            pictures.append(np.asarray(image.convert("RGB"), float))
    # The same film twice: they differ along a box from 160 to 240 of 320 pixels, in sky blue.
    differ = np.abs(pictures[0] - pictures[1]).max(axis=2) > 60
    rows, columns = np.nonzero(differ)
    assert abs(rows.min() - 160) <= 4 and abs(columns.max() - 240) <= 4
    assert pictures[0][200, 161, 2] > pictures[0][200, 161, 0] + 60


def test_a_file_that_was_cut_off_is_refused(tmp_path):
    (tmp_path / "stills.json").write_text("[{")
    with pytest.raises(InputError):
        stills.read(tmp_path / "stills.json")
    assert stills.read(tmp_path / "none.json") == []
