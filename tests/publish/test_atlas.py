"""The atlas shows every finding where its sign was drawn."""

import nbformat
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxr.config import PROJECT
from cxr.findings import FINDINGS
from cxr.publish import atlas, notebooks


def test_every_finding_is_told_by_anatomy_look_and_what_looks_alike():
    assert list(atlas.ENTRIES) == list(FINDINGS)
    texts = [text for e in atlas.ENTRIES.values() for text in (e.anatomy, e.look, e.alike)]
    assert len(set(texts)) == 3 * 14 and all(text.endswith(".") for text in texts)


@pytest.mark.parametrize("finding, parts", [("Nodule", 1), ("Edema", 2), ("Cardiomegaly", 1)])
def test_the_frame_lies_where_the_sign_changed_the_drawing(finding, parts, monkeypatch):
    frames = []
    regions = atlas._regions
    monkeypatch.setattr(
        atlas, "_regions", lambda *a, **k: frames.extend(regions(*a, **k)) or frames
    )
    drawn = np.asarray(atlas.picture(finding)).astype(int)
    assert len(frames) == parts
    coloured = np.ptp(drawn, axis=2) > 40  # the film itself is grey
    rows, columns = np.nonzero(coloured)
    top, left = (min(f[i].start for f in frames) * atlas.SIDE / 256 for i in (0, 1))
    assert abs(rows.min() - top) <= 3 and abs(columns.min() - left) <= 3


def test_a_picture_is_that_of_its_finding_and_always_the_same():
    first, again = atlas.picture("Mass"), atlas.picture("Mass")
    assert first.tobytes() == again.tobytes() != atlas.picture("Nodule").tobytes()


def test_the_table_counts_the_films_of_these_records():
    records = pd.DataFrame(0, index=range(40), columns=list(FINDINGS))
    records.loc[:1, "Hernia"] = 1
    table = atlas.table(records)
    assert table.count("<img") == 14 and len(table) < 60_000
    hernia = table.partition("<b>Hernia</b>")[2]
    assert hernia.startswith(": 2 films, 5.0 %") and "of 40 films" in table
    assert "<br>Looks alike: a mass, an abscess" in hernia


def test_the_table_is_published_as_it_is(tmp_path):
    table = atlas.table(pd.DataFrame(0, index=range(40), columns=list(FINDINGS)))
    cell = nbformat.v4.new_code_cell("display(...)", id="atlas")
    data = {"text/html": table, "text/plain": "<IPython.core.display.HTML object>"}
    cell.outputs = [nbformat.v4.new_output("display_data", data)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    assert notebooks.clean(notebook, tmp_path).cells[0].outputs[0].data["text/html"] == table


def test_the_readmes_picture_is_the_atlas():
    kept = PROJECT / "docs" / "atlas.png"
    assert kept.stat().st_size < 60_000
    with Image.open(kept) as image:
        shown = np.asarray(image.convert("RGB"), np.float32)
    drawn = np.asarray(atlas.sheet(), np.float32)
    assert shown.shape == drawn.shape
    # 64 colours are not all of them; another processor may round a grey differently.
    assert np.abs(shown - drawn).mean() < 4
    assert 'src="docs/atlas.png"' in (PROJECT / "README.md").read_text(encoding="utf-8")
