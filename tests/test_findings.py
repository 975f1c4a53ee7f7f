import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cxr import findings
from cxr.errors import InputError
from cxr.findings import FINDINGS, NO_FINDING

some_findings = st.lists(st.sampled_from(FINDINGS), unique=True)


def test_no_finding_is_all_zeros_and_no_class():
    targets = findings.encode(pd.Series([NO_FINDING, "Mass"]))
    assert list(targets) == list(FINDINGS) and len(FINDINGS) == 14
    assert targets.loc[0].sum() == 0
    assert targets.loc[1, "Mass"] == 1 and targets.loc[1].sum() == 1


def test_the_order_of_the_findings_in_a_label_does_not_matter():
    targets = findings.encode(pd.Series(["Nodule|Mass", "Mass|Nodule"]))
    assert (targets.loc[0] == targets.loc[1]).all()
    assert targets.loc[0, ["Mass", "Nodule"]].tolist() == [1, 1]


def test_encoding_keeps_the_index_so_that_no_film_gets_anothers_labels():
    targets = findings.encode(pd.Series(["Hernia", "Edema"], index=[7, 3]))
    assert targets.index.tolist() == [7, 3]
    assert targets.loc[7, "Hernia"] == 1 and targets.loc[3, "Edema"] == 1


@given(st.lists(some_findings))
def test_decoding_inverts_encoding_up_to_order(labels):
    texts = pd.Series(["|".join(label) or NO_FINDING for label in labels], dtype=str)
    decoded = findings.decode(findings.encode(texts))
    assert [set(text.split("|")) for text in decoded] == [
        set(label) or {NO_FINDING} for label in labels
    ]


@given(hnp.arrays(np.int8, st.tuples(st.integers(0, 30), st.just(14)), elements=st.integers(0, 1)))
def test_encoding_inverts_decoding_exactly(values):
    targets = pd.DataFrame(values, columns=list(FINDINGS))
    pd.testing.assert_frame_equal(findings.encode(findings.decode(targets)), targets)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("Masss", "unknown finding 'Masss'"),
        ("mass", "unknown finding 'mass'"),
        ("Mass|", "unknown finding ''"),
        ("Mass |Nodule", "unknown finding 'Mass '"),
        ("No Finding|Mass", "unknown finding 'No Finding'"),
        ("Mass|Nodule|Mass", "names Mass twice"),
        (None, "1 label.s. are empty"),
    ],
)
def test_a_label_outside_the_vocabulary_is_refused(label, message):
    with pytest.raises(InputError, match=message):
        findings.encode(pd.Series(["Mass", label]))


def test_targets_other_than_0_and_1_cannot_be_decoded():
    targets = findings.encode(pd.Series(["Mass"])).replace(1, 2)
    with pytest.raises(InputError, match="other than 0 and 1"):
        findings.decode(targets)


def test_the_real_labels_decode_to_the_same_sets(real_records):
    labels = real_records["labels"].drop_duplicates()
    decoded = findings.decode(real_records.loc[labels.index])
    assert len(labels) == 836
    assert decoded.str.split("|").map(set).tolist() == labels.str.split("|").map(set).tolist()
