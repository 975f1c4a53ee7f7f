import pytest
from made_up import people

from cxr.config import PROJECT
from cxr.evaluation import controls
from cxr.publish import data_card
from cxr.records import splits


def test_the_data_card_in_docs_is_what_the_code_writes(
    real_records, real_splits, real_study, real_boxes, real_adjudicated
):
    card = data_card.compose(
        real_records,
        real_splits,
        real_study,
        min_combination=21,
        boxes=real_boxes,
        adjudicated=real_adjudicated,
    )
    # Regenerate it with notebook 100 (presentation/data_card.md) where numbers changed.
    assert card == (PROJECT / "docs" / "data-card.md").read_text()


@pytest.mark.parametrize("kinds", [["patient"], ["patient", "official"], ["patient", "original"]])
def test_the_card_leaves_out_what_the_records_do_not_allow(kinds):
    frame = people([1] * 50 + [12] * 3)
    made, _ = splits.make_splits(frame, min_combination=0)
    made = {kind: made[kind] for kind in kinds}
    card = data_card.compose(frame, made, controls.by_split(frame, made), min_combination=0)
    assert "86 frontal chest films of 53 patients" in card
    assert ("another population" in card) == ("official" in kinds)
    assert ("Splitting by film leaks" in card) == ("original" in kinds)
    assert "The finding boxes were not at hand." in card
    assert "The radiologists' labels were not at hand." in card
