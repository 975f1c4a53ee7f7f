"""What 100 says of records is true of all of NIH's, of a part, and of another hospital's."""

import inspect
import re

import pandas as pd
import pytest
from made_up import people

from cxr.evaluation import controls, radiologists
from cxr.findings import FINDINGS
from cxr.publish import record_conclusions
from cxr.records import nih, split_checks, splits


@pytest.fixture
def few_will_do(monkeypatch):
    """Single films count, so that a case can be worked out by hand."""
    monkeypatch.setattr(record_conclusions, "FEWEST_FILMS", 1)


def films(*labels, sex="MF"):
    table = pd.DataFrame({"labels": labels, "sex": [sex[i % len(sex)] for i in range(len(labels))]})
    table["film"] = [f"0000000{i}_000.png" for i in range(len(labels))]
    for finding in FINDINGS:
        table[finding] = [int(finding in text.split("|")) for text in labels]
    return table


def everything(records, made, study, candidates, adjudicated):
    """All conclusions of notebook 100, by name, as it draws them."""
    kept = nih.keep_common(records, min_combination=0 if len(records) < 10_000 else 21)
    names = list(FINDINGS)
    cost = pd.DataFrame({"all films": records[names].sum(), "kept": kept[names].sum()})
    cost["lost (%)"] = (100 * (1 - cost["kept"] / cost["all films"])).round(1)
    given = {
        "records": records,
        "by_kind": made,
        "cost": cost,
        "leakages": {kind: split_checks.leakage(records, s) for kind, s in made.items()},
        "balances": {name: split_checks.balance(kept, s) for name, s in candidates.items()},
        "study": study,
        "adjudicated": adjudicated,
        "noise": {"all": radiologists.label_noise(records, adjudicated)},
    }
    told = {}
    for name, conclude in inspect.getmembers(record_conclusions, inspect.isfunction):
        if conclude.__module__ == record_conclusions.__name__ and not name.startswith("_"):
            wanted = inspect.signature(conclude).parameters
            told[name] = conclude(*(given[parameter] for parameter in wanted))
    return told


def part_of(records):
    """All conclusions on records that are not all of NIH's."""
    made, _ = splits.make_splits(records, min_combination=0, partial=False)
    rivals = split_checks.rival_splits(records, seed=42) | {"patient": made["patient"]}
    nobody = pd.DataFrame(columns=["film", *nih.ADJUDICATED])
    return everything(records, made, controls.by_split(records, made), rivals, nobody)


def test_of_the_whole_table_the_known_facts_are_told(
    real_records, real_splits, real_study, real_adjudicated
):
    ours = {"patient": real_splits["patient"]}
    told = everything(real_records, real_splits, real_study, ours, real_adjudicated)
    assert len(told) == 17
    assert "59.8 % show exactly one, the others up to 9" in told["alone_or_not"]
    assert "Pneumonia with Edema (11.6 times" in told["company"]
    assert "57 % of the patients have one film" in told["returning"]
    assert "No Finding falls from 69 to 38 %" in told["later"]
    assert "14 of 14 labels" in told["persistence"] and "Pneumothorax (56 %" in told["persistence"]
    assert "Hernia (median 62 years)" in told["ages"]
    assert "highest for Emphysema 1.37" in told["women_and_men"]
    assert "88 % of those with Edema" in told["views"]
    assert "2992 × 2991: 2 AP films of 21,961" in told["formats"]
    assert "who could stand" in told["formats"]
    assert "Pneumothorax: 46 % of 238 labels are confirmed" in told["confirmed"]
    assert "Of 2,090 adjudicated films mined as No Finding, 36.0 %" in told["silent_disease"]
    assert "42.3 % (Hernia)" in told["rare_company"] and "-0.96" in told["rare_company"]
    assert "Of the test films of `original` 77.2 % are of a patient in train." in told["leaked"]
    assert "a patient has 9.2 films, in the rest 3.1" in told["official_shift"]
    assert "a mean of 0.703 on `original`" in told["without_looking"]
    assert "0.759 on `patient`" in told["flattened"]


@pytest.mark.parametrize("patients", [12, 60, 400])
def test_of_a_part_nothing_is_told_that_only_the_whole_table_shows(patients):
    records = people([1, 2, 3] * (patients // 3))
    told = part_of(records)
    for name, words in told.items():
        assert not re.search(r"\bnan\b|<NA>|\binf\b", words), (name, words)
        assert "`original`" not in words and "`official`" not in words, name
    assert "no official split" in told["official_shift"]
    assert "too few to judge the labels by" in told["confirmed"]
    assert "too few to say what they show" in told["silent_disease"]


def test_films_of_another_hospital_without_ages_views_and_formats_are_told_without_them():
    records = people([1] * 80).assign(view="unknown", width=0, height=0)
    records["age"] = pd.array([pd.NA] * 80, dtype="Int16")
    told = part_of(records)
    assert "has one film" in told["returning"]
    assert "no age or no finding is known" in told["ages"]
    assert "not known" in told["views"]
    assert "do not tell the films' first format" in told["formats"]


def test_the_share_of_films_with_one_finding_is_counted_among_those_that_show_any():
    said = record_conclusions.alone_or_not(films("Mass", "No Finding", "Edema|Mass", "Nodule"))
    assert "Of the 3 films with a finding, 66.7 % show exactly one" in said
    assert "Edema with Mass (1)" in said
    alone = record_conclusions.alone_or_not(films("Mass", "No Finding"))
    assert alone.startswith("Of the 1 film with a finding, none shows a second one here.")


def test_findings_that_meet_by_chance_keep_no_company(few_will_do):
    # Mass and Nodule on half of the films each, together on a quarter: exactly chance.
    chance = films("Mass|Nodule", "Mass", "Nodule", "No Finding")
    assert "nothing is concluded" in record_conclusions.company(chance)
    # Always together, on half of the films: twice as often as by chance.
    drawn = films("Mass|Nodule", "No Finding")
    assert "Mass with Nodule (2.0 times as often as by chance, on 1 films)" in (
        record_conclusions.company(drawn)
    )


def test_late_films_are_compared_with_first_ones(few_will_do):
    records = films("Mass", "No Finding", "Mass", "Mass")
    records["follow_up"] = [0, 0, 8, 9]
    said = record_conclusions.later(records)
    assert "Mass is 2.0 times as common as on first ones" in said
    assert "No Finding falls from 50 to 0 %" in said


def test_women_and_men_are_compared_only_in_findings_that_both_show(few_will_do):
    assert "too few" in record_conclusions.women_and_men(films("Mass", "Edema"))
    every = "|".join(FINDINGS)
    said = record_conclusions.women_and_men(films(every, every, "Mass", "No Finding"))
    # Mass is on both films of men, and on one of the two films of women.
    assert "is highest for Mass 2.00" in said
    same = films(*[every] * 4)
    assert "No finding's share differs" in record_conclusions.women_and_men(same)
    unknown = same.replace({"sex": {"M": "unknown"}})
    assert "too few" in record_conclusions.women_and_men(unknown)


@pytest.mark.parametrize(
    ("lost", "said"),
    [
        ([0.0, 0.0], "Nothing is lost"),
        ([42.3, 5.4], "Between 5.4 % (Infiltration) and 42.3 % (Hernia)"),
        ([100.0, 5.4], "Between 5.4 % (Infiltration) and 100.0 % (Hernia)"),
        ([100.0, 100.0], "**No film with a finding is left**"),
        ([7.0, 7.0], "7.0 % of every finding's films"),
    ],
)
def test_what_rare_combinations_cost_is_read_off_the_table(lost, said):
    cost = pd.DataFrame({"all films": [227, 19_894], "lost (%)": lost})
    cost.index = ["Hernia", "Infiltration"]
    told = record_conclusions.rare_company(cost)
    assert told.startswith(said)
    assert ("CXR_MIN_COMBINATION=0" in told) == (100.0 in lost)


def test_rarity_is_named_as_the_cost_only_where_it_is():
    cost = pd.DataFrame(
        {"all films": [10, 20, 30], "lost (%)": [9.0, 5.0, 1.0]}, index=FINDINGS[:3]
    )
    assert "rank correlation -1.00" in record_conclusions.rare_company(cost)
    cost["lost (%)"] = [1.0, 9.0, 5.0]
    assert "rarer" not in record_conclusions.rare_company(cost)


def test_only_adjudicated_films_without_a_mined_label_tell_what_the_mining_misses(few_will_do):
    records = films("No Finding", "No Finding", "Mass")
    agreed = pd.DataFrame({"film": records["film"], "fracture": [True, False, True]})
    said = record_conclusions.silent_disease(records, agreed)
    assert "Of 2 adjudicated films mined as No Finding, 50.0 %" in said
    assert said.endswith('"No Finding" is not "normal".')
    # Nothing that was seen proves nothing of what "No Finding" means.
    clear = record_conclusions.silent_disease(records, agreed.assign(fracture=False))
    assert "0.0 % show" in clear and "normal" not in clear
    assert "cannot be told" in record_conclusions.silent_disease(records, None)


def test_labels_are_followed_from_each_film_to_the_same_patients_next(few_will_do):
    # Nobody's Mass follows a film without one.
    records = films("Mass", "Mass", "No Finding", "Mass", "No Finding", "No Finding")
    records["patient_id"], records["follow_up"] = [1, 1, 1, 2, 3, 3], [0, 1, 2, 0, 0, 1]
    said = record_conclusions.persistence(records)
    assert "on 50 % of films after one with it, and on 0.0 % after one without" in said
    # After a Mass: another, then none; after none: one. The number decides, not the row.
    gained = films("Mass", "Mass", "No Finding", "Mass")
    gained = gained.assign(patient_id=1, follow_up=range(4))
    said = record_conclusions.persistence(gained)
    assert "Only Mass is followed" in said
    assert "on 50 % of films after one with it, and on 100.0 % after one without" in said
    two = films("Mass|Edema", "Mass|Edema", "Edema", "Mass").assign(
        patient_id=1, follow_up=range(4)
    )
    # No film follows one without Edema; so only Mass is known.
    assert "Only Mass" in record_conclusions.persistence(two)
    shuffled = record_conclusions.persistence(gained.sample(frac=1, random_state=1))
    assert shuffled == said


def test_where_all_findings_are_alike_none_is_told_as_an_extreme(few_will_do):
    both = films("Mass|Nodule", "Mass|Nodule", "Mass|Nodule", "No Finding", sex="MMFF")
    both = both.assign(age=50, view=["AP", "PA", "AP", "PA"])
    assert "all 2 findings" in record_conclusions.ages(both)
    assert "66" not in record_conclusions.views(both).replace("67 %", "")
    assert "Here, it does not." in record_conclusions.views(both)
    assert "2.00 times what it is on women's" in record_conclusions.women_and_men(both)
    said = record_conclusions.leaked(
        {"original": pd.DataFrame({"split": ["test"], "leaked": [0.7]})}
    )
    assert said == "Of the test films of `original` 70.0 % are of a patient in train."


def test_without_views_nothing_is_said_to_score_by_them():
    study = pd.DataFrame(
        {"patient memory, patient": 0.5, "view, age, sex, patient": None},
        index=["Mass", "Mean"],
        dtype=float,
    )
    said = record_conclusions.without_looking(study)
    assert "are not known well enough here" in said and "score  " not in said
    study.iloc[:, 1] = 0.6
    assert "0.600 on `patient` (means of up to 1 finding)" in record_conclusions.without_looking(
        study
    )


def test_one_film_that_follows_tells_nothing_of_how_labels_last():
    gained = films("Mass", "Mass", "No Finding", "Mass").assign(patient_id=1, follow_up=range(4))
    assert "is not told here" in record_conclusions.persistence(gained)


def test_a_format_gives_the_view_away_where_it_decides_it(few_will_do):
    records = pd.DataFrame(
        {
            "view": ["AP", "AP", "PA", "PA", "PA"],
            "width": [3, 3, 3, 2, 2],
            "height": [1, 1, 1, 2, 2],
        }
    )
    said = record_conclusions.formats(records)
    # 2 of 3 and 2 of 2 are guessed right; always PA: 3 of 5.
    assert "3 × 1: 2 AP films of 3; 2 × 2: 0 AP films of 2" in said
    assert "80 % of the films" in said and "view for 60 %" in said
    assert said.startswith("60 % of the films were not square")


def test_a_format_of_one_film_cannot_give_its_view_away():
    records = pd.DataFrame({"view": ["AP", "PA"] * 10, "width": range(1, 21), "height": 1})
    said = record_conclusions.formats(records)
    assert "right for 50 % of the films" in said and "says little of the view" in said


def test_small_tables_are_told_without_nan():
    none = films("No Finding", "No Finding").assign(patient_id=1, follow_up=[0, 1]).iloc[:0]
    for words in (record_conclusions.alone_or_not(none), record_conclusions.persistence(none)):
        assert "nan" not in words
    empty = pd.DataFrame({"lost (%)": pd.Series(dtype=float)})
    assert "nan" not in record_conclusions.rare_company(empty)
