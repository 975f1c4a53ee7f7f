"""Conclusions follow their tables, in whichever direction these point."""

import shutil

import pandas as pd
import pytest

from cxr import __main__, config
from cxr.findings import FINDINGS
from cxr.publish import conclusions

RESULTS = config.PROJECT / "presentation" / "results" / "images128"


def test_a_run_ends_with_its_result_its_pages_and_the_next_command(tmp_path):
    tables = tmp_path / "presentation" / "tables"
    tables.mkdir(parents=True)
    shutil.copy(RESULTS / "auroc_baseline-patient.csv", tables)
    said = __main__._headline(config.load_config({}, profile="demo", root=tmp_path))
    assert "mean AUROC 0.680 (0.649 to 0.712)" in said
    assert "drawings" in said and str(tmp_path) in said and "make html PROFILE=demo" in said


def films(*labels, sex="MF"):
    table = pd.DataFrame({"labels": labels, "sex": [sex[i % len(sex)] for i in range(len(labels))]})
    table["film"] = [f"0000000{i}_000.png" for i in range(len(labels))]
    for finding in FINDINGS:
        table[finding] = [int(finding in text.split("|")) for text in labels]
    return table


def test_the_share_of_films_with_one_finding_is_counted_among_those_that_show_any():
    said = conclusions.alone_or_not(films("Mass", "No Finding", "Edema|Mass", "Nodule"))
    assert "Of the 3 films with a finding, 66.7 % show exactly one" in said
    assert "Edema with Mass (1)" in said


def test_women_and_men_are_compared_only_where_both_show_every_finding():
    assert "too few" in conclusions.women_and_men(films("Mass", "Edema"))
    every = "|".join(FINDINGS)
    said = conclusions.women_and_men(films(every, every, "Mass", "No Finding"))
    # Mass is on both films of men, and on one of the two films of women.
    assert "is highest for Mass 2.00" in said


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ([0.0, 0.0], "Nothing is lost"),
        ([42.3, 5.4], "Between 5.4 % (Infiltration) and 42.3 % (Hernia)"),
    ],
)
def test_what_rare_combinations_cost_is_read_off_the_table(lost, said):
    cost = pd.DataFrame({"all films": [227, 19_894], "lost (%)": lost})
    cost.index = ["Hernia", "Infiltration"]
    assert conclusions.rare_company(cost).startswith(said)


@pytest.mark.parametrize(("after", "went"), [(0.3, "fell"), (0.5, "rose"), (0.4, "stayed")])
def test_recalibration_is_told_whichever_way_it_went(after, went):
    table = pd.DataFrame(
        {
            "finding": "Mean",
            "scores": ["as predicted", "recalibrated"],
            "brier": 0.1,
            "distance": [0.4, after],
        }
    )
    assert f"|slope - 1| {went}" in conclusions.recalibrated({"small": table})


def test_a_model_that_was_not_recalibrated_is_said_to_be_so():
    table = pd.DataFrame({"finding": ["Mean"], "scores": ["as predicted"]})
    assert conclusions.recalibrated({"small": table}) == "- `small` was not recalibrated."


def test_the_answer_on_real_films_claims_no_finding_whose_interval_reaches_chance():
    run = "residual-patient"
    tables = [pd.read_csv(RESULTS / f"{kind}_{run}.csv") for kind in ("auroc", "controls")]
    said = conclusions.answer(tables[0], run, tables[1], phantoms=False)
    surely, _, not_shown = said.partition("; for ")
    assert "Hernia" in not_shown and "Edema" in not_shown and "Effusion" in surely
    assert "cannot be used to diagnose" in said


def test_without_any_estimate_the_answer_says_that_there_is_none():
    table = pd.DataFrame({"finding": [*FINDINGS, "Mean"], "auroc": None, "low": None})
    assert "Too few patients" in conclusions.answer(table, "small", pd.DataFrame(), phantoms=True)
    assert "Too few" in conclusions.widths(table.assign(high=None))


def test_only_adjudicated_films_without_a_mined_label_tell_what_the_mining_misses():
    records = films("No Finding", "No Finding", "Mass")
    agreed = pd.DataFrame({"film": records["film"], "fracture": [True, False, True]})
    assert "Of 2 adjudicated films mined as No Finding, 50.0 %" in conclusions.silent_disease(
        records, agreed
    )
    assert "cannot be told" in conclusions.silent_disease(records, None)


def test_labels_are_followed_from_each_film_to_the_same_patients_next():
    # Nobody's Mass follows a film without one.
    records = films("Mass", "Mass", "No Finding", "Mass", "No Finding", "No Finding")
    records["patient_id"], records["follow_up"] = [1, 1, 1, 2, 3, 3], [0, 1, 2, 0, 0, 1]
    assert "Too few" in conclusions.persistence(records)
    # After a Mass: another, then none; after none: one. The number decides, not the row.
    gained = films("Mass", "Mass", "No Finding", "Mass")
    gained = gained.assign(patient_id=1, follow_up=range(4))
    said = conclusions.persistence(gained)
    assert "Mass (50 % after a film with it, 100.0 % after one without)" in said
    shuffled = conclusions.persistence(gained.sample(frac=1, random_state=1))
    assert shuffled == said


def test_a_format_gives_the_view_away_where_it_decides_it():
    records = pd.DataFrame(
        {"view": ["AP", "AP", "PA", "PA", "PA"], "width": [3, 3, 3, 2, 2], "height": 1}
    )
    said = conclusions.formats(records)
    # 2 of 3 and 2 of 2 are guessed right; always PA: 3 of 5.
    assert "3 × 1: 2 AP films of 3; 2 × 1: 0 AP films of 2" in said
    assert "80 % of the films" in said and "view for 60 %" in said


def test_small_tables_are_told_without_nan():
    none = films("No Finding", "No Finding").assign(patient_id=1, follow_up=[0, 1]).iloc[:0]
    for words in (conclusions.alone_or_not(none), conclusions.persistence(none)):
        assert "nan" not in words
    empty = pd.DataFrame({"lost (%)": pd.Series(dtype=float)})
    assert "nan" not in conclusions.rare_company(empty)


def test_a_distance_too_small_to_be_shown_is_no_change():
    assert conclusions._went(0.05221, 0.05219) == "stayed at 0.0522"


def test_rarity_is_named_as_the_cost_only_where_it_is():
    cost = pd.DataFrame(
        {"all films": [10, 20, 30], "lost (%)": [9.0, 5.0, 1.0]}, index=FINDINGS[:3]
    )
    assert "rank correlation -1.00" in conclusions.rare_company(cost)
    cost["lost (%)"] = [1.0, 9.0, 5.0]
    assert "rarer" not in conclusions.rare_company(cost)


def test_women_and_men_who_are_alike_or_absent_are_not_told_apart():
    same = films(*["|".join(FINDINGS)] * 4)
    assert "No finding's share differs" in conclusions.women_and_men(same)
    assert "too few" in conclusions.women_and_men(same.replace({"sex": {"M": "unknown"}}))
