import itertools
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import people, shared_patients
from sklearn.model_selection import GroupShuffleSplit, train_test_split

from cxr import artifacts
from cxr.errors import InputError
from cxr.findings import FINDINGS, NO_FINDING
from cxr.publish import record_conclusions
from cxr.records import balancing, nih, split_checks, split_files, split_lists, splits

# ---- patient ----


structures = st.lists(st.integers(1, 12), min_size=1, max_size=60)


@given(structures, st.integers(0, 2**32 - 1))
def test_any_patients_give_exact_sizes_or_a_clear_error_and_never_a_shared_patient(films, seed):
    frame = people(films)
    try:
        split = splits.make_split(frame, "patient", min_combination=0, seed=seed)
    except InputError as error:
        assert "too few" in str(error) or "no choice of whole patients" in str(error)
        return
    assert split.index.equals(frame.index)
    assert split.value_counts().to_dict() == splits.proportional_sizes(len(frame))
    assert shared_patients(frame, split) == 0


@given(st.lists(st.integers(1, 9), min_size=3, max_size=7), st.integers(0, 99))
@settings(max_examples=50)
def test_an_error_means_that_no_division_of_the_patients_exists(films, seed):
    frame = people(films)
    sizes = splits.proportional_sizes(len(frame))
    wanted = np.array([sizes[name] for name in splits.NAMES])
    possible = any(
        (np.bincount(parts, weights=films, minlength=3) == wanted).all()
        for parts in itertools.product(range(3), repeat=len(films))
    )
    try:
        splits.make_split(frame, "patient", min_combination=0, seed=seed)
        made = True
    except InputError:
        made = False
    assert made == (possible and (wanted > 0).all())


@pytest.mark.soak
def test_many_seeds_and_structures_keep_patients_apart():
    random = np.random.default_rng(0)
    for seed in range(2000):
        patients = random.integers(3, 400)
        frame = people(random.geometric(random.uniform(0.1, 0.9), patients), seed=seed)
        try:
            split = splits.make_split(frame, "patient", min_combination=0, seed=seed)
        except InputError:
            continue
        assert split.value_counts().to_dict() == splits.proportional_sizes(len(frame))
        assert shared_patients(frame, split) == 0


@pytest.mark.soak
def test_every_seed_balances_the_real_records(real_records):
    for seed in range(50):
        split = splits.make_split(real_records, "patient", seed=seed)
        table = split_checks.balance(real_records, split)
        assert table["deviation"].abs().max() < 10, f"seed {seed}"


@given(st.lists(st.integers(1, 12), min_size=3, max_size=8), st.integers(0, 2**32 - 1))
def test_no_move_and_no_exchange_brings_another_hospitals_sizes_nearer(films, seed):
    wanted = np.array(list(splits.proportional_sizes(sum(films)).values()))
    films = np.array(films)
    part = balancing._draw_nearest(films, wanted, np.random.default_rng(seed))
    assert set(part) == {0, 1, 2}

    def off(part):
        if len(set(part)) < 3:
            return np.inf
        return ((np.bincount(part, weights=films) - wanted) ** 2).sum()

    for one, other in itertools.product(range(len(films)), repeat=2):
        moved, exchanged = part.copy(), part.copy()
        moved[one] = part[other]
        exchanged[[one, other]] = part[[other, one]]
        assert off(part) <= min(off(moved), off(exchanged))


def test_two_patients_are_too_few_for_three_splits():
    with pytest.raises(InputError, match="2 patients with 10 films are too few"):
        splits.make_split(people([5, 5]), "patient", min_combination=0)


def test_patients_with_too_many_films_each_are_refused():
    # 20 films are cut into 10, 6 and 4; patients with five each cannot add up to 6.
    with pytest.raises(InputError, match=r"exactly 10 films for train, 6 .* 4 films for test"):
        splits.make_split(people([5, 5, 5, 5]), "patient", min_combination=0)


@pytest.mark.parametrize(
    ("films", "sizes"),
    [
        ([2] * 501, {"train": 492, "validation": 300, "test": 210}),
        ([5] * 4, {"train": 10, "validation": 5, "test": 5}),
        # One patient has most films; the others are shared out.
        ([300] + [1] * 100, {"train": 300, "validation": 68, "test": 32}),
        # Three patients are one for each part, though 4, 2 and 0 films were as near to 3, 2, 1.
        ([2] * 3, {"train": 2, "validation": 2, "test": 2}),
        # From 28, 16 and 8 films two patients change places.
        ([8, 8, 12, 12, 8, 4], {"train": 24, "validation": 16, "test": 12}),
    ],
)
def test_another_hospitals_sizes_are_as_near_as_whole_patients_allow(films, sizes):
    frame = people(films)
    with pytest.raises(InputError, match="no choice of whole patients"):
        splits.make_split(frame, "patient", min_combination=0)
    frame["source"] = "folder"
    split = splits.make_split(frame, "patient", min_combination=0)
    wanted = splits.proportional_sizes(len(frame))
    off = {name: abs(count - wanted[name]) for name, count in split.value_counts().items()}
    nearest = {name: abs(count - wanted[name]) for name, count in sizes.items()}
    assert sum(off.values()) == sum(nearest.values()) and set(off) == set(splits.NAMES)
    assert shared_patients(frame, split) == 0
    told = record_conclusions.balanced({"patient": split_checks.balance(frame, split)})
    assert (
        "No division of whole patients with the wanted sizes was found; `patient` is off by" in told
    )


def test_one_division_is_found_where_only_one_exists():
    # 49 : 30 : 21 of 100 films.
    split = splits.make_split(people([49, 30, 21]), "patient", min_combination=0)
    assert split.value_counts().to_dict() == {"train": 49, "validation": 30, "test": 21}


def test_sizes_keep_the_originals_proportions():
    assert splits.proportional_sizes(109_577) == splits.SIZES
    assert splits.proportional_sizes(100) == {"train": 49, "validation": 30, "test": 21}
    assert all(sum(splits.proportional_sizes(n).values()) == n for n in range(500))


def test_the_split_depends_on_the_seed_and_on_nothing_else():
    frame = people([1] * 60 + [2] * 30 + [7] * 5)
    first, again, other = (
        splits.make_split(frame, "patient", min_combination=0, seed=seed) for seed in (1, 1, 2)
    )
    assert first.equals(again) and not first.equals(other)
    mixed = splits.make_split(
        frame.sample(frac=1, random_state=3), "patient", min_combination=0, seed=1
    )
    assert mixed.sort_index().equals(first)


def test_films_of_rare_combinations_take_no_part():
    frame = people([1] * 200)
    frame.loc[[5, 9], "labels"] = "Edema|Hernia"
    split = splits.make_split(frame, "patient", min_combination=3)
    assert len(split) == 198 and not split.index.isin([5, 9]).any()


def test_no_combination_frequent_enough_is_refused():
    with pytest.raises(InputError, match="CXR_MIN_COMBINATION=0"):
        splits.make_split(people([1] * 10), "patient", min_combination=21)


def test_missing_ages_are_no_obstacle():
    frame = people([1] * 100)
    frame["age"] = pd.array([pd.NA] * 100, dtype="Int16")
    assert len(splits.make_split(frame, "patient", min_combination=0)) == 100


def test_the_arguments_stay_untouched():
    frame = people([1] * 50 + [3] * 5)
    before = frame.copy()
    splits.make_split(frame, "patient", min_combination=0)
    pd.testing.assert_frame_equal(frame, before)


def test_the_real_patient_split_has_the_sizes_shares_no_patient_and_is_balanced(
    real_records, real_splits
):
    split = real_splits["patient"]
    assert split.value_counts().to_dict() == {
        "train": 53_692,
        "validation": 32_874,
        "test": 23_011,
    }
    assert shared_patients(real_records, split) == 0
    balance = split_checks.balance(real_records, split)
    assert set(balance["trait"]) >= {*FINDINGS, NO_FINDING, "AP view", "Women", "Patients"}
    of_patients = balance["trait"].str.startswith("Patients with")
    assert of_patients.sum() == 3 * len(FINDINGS)
    assert balance.loc[~of_patients, "deviation"].abs().max() < 5
    assert balance.loc[of_patients, "deviation"].abs().max() < 6
    per_patient = split_checks.leakage(real_records, split)["films_per_patient"]
    overall = len(split) / real_records["patient_id"].loc[split.index].nunique()
    assert (per_patient / overall - 1).abs().max() < 0.01


def test_the_default_split_is_the_same_on_every_machine(real_records, real_splits):
    # Whoever changes this value makes every earlier result on this split incomparable.
    split = real_splits["patient"]
    test = real_records.loc[split.index[split == "test"], "film"]
    assert artifacts.fingerprint(test) == (
        "6d1905ed06bfc06c07e7ee98d8761a4656a6da54c07f8220b9f3faf5fd5cf90b"
    )


def test_the_patient_split_beats_a_plain_group_splitter(real_records, real_splits):
    # Notebook 100 compares StratifiedGroupKFold, too, which takes longer.
    ours = real_splits["patient"]
    frame = real_records.loc[ours.index]
    cut = GroupShuffleSplit(n_splits=1, test_size=splits.SIZES["test"] / len(frame), random_state=0)
    rest, test = next(cut.split(frame, groups=frame["patient_id"]))
    rival = pd.Series("test", index=frame.index)
    rival.iloc[rest] = ["train"] * (len(rest) // 2) + ["validation"] * (len(rest) - len(rest) // 2)
    worst = [
        split_checks.balance(frame, split).query("split == 'test'")["deviation"].abs().max()
        for split in (ours, rival)
    ]
    assert worst[0] < worst[1] / 10
    assert len(test) != splits.SIZES["test"]


# ---- official ----


def test_the_real_official_split_is_nihs_list(real_records, real_splits):
    split = real_splits["official"]
    assert len(splits.OFFICIAL_TEST_PATIENTS) == 2_797
    assert split.value_counts().to_dict() == {
        "train": 75_708,
        "validation": 10_816,
        "test": 25_596,
    }
    assert shared_patients(real_records, split) == 0
    test = real_records["film"][split == "test"]
    # NIH's test_list.txt as circulated, which has no final newline.
    assert artifacts.fingerprint(test) == (
        "38ca5ef7f756092946f57c1a59faca882ed589a1ab1f72590b45dc06c6d5e1cc"
    )
    assert artifacts.fingerprint(real_records["film"][split != "test"]) == (
        "61fbe896321c1c1c8b75f3e4f3a08e4fef6486d95ef8a667c31d4d60dca6cb81"
    )


def test_the_official_validation_part_is_balanced(real_records, real_splits):
    rest = real_splits["official"][lambda split: split != "test"]
    counts = balancing.traits(real_records.loc[rest.index]).groupby(rest).sum()
    expected = counts.sum() * (rest == "validation").mean()
    assert (counts.loc["validation"] - expected).abs().max() < 6


def test_the_official_test_list_is_another_population(real_records, real_splits):
    split = real_splits["official"]
    balance = split_checks.balance(real_records, split).set_index(["split", "trait"])
    shares = 100 * balance.loc["test", "prevalence"]
    assert shares[[NO_FINDING, "AP view", "Pneumothorax"]].round(1).tolist() == [38.5, 56.6, 10.4]
    tested = split == "test"
    films = [tested.sum(), (~tested).sum()]
    patients = [real_records.loc[group, "patient_id"].nunique() for group in (tested, ~tested)]
    assert [round(f / p, 1) for f, p in zip(films, patients, strict=True)] == [9.2, 3.1]
    elsewhere = real_records.loc[~tested]
    assert round(100 * (elsewhere["labels"] == NO_FINDING).mean(), 1) == 58.4
    assert round(100 * (elsewhere["view"] == "AP").mean(), 1) == 35.0
    assert round(100 * elsewhere["Pneumothorax"].mean()) == 3


def test_records_without_official_test_patients_have_no_official_split():
    # Patients 1 and 2 are in NIH's training list, 3 is in the test list.
    with pytest.raises(InputError, match="none of the records' patients are on it"):
        splits.make_split(people([4, 4]), "official")
    with pytest.raises(InputError, match="all of the records' patients are on it"):
        splits.make_split(people([4], first=3), "official")


def test_the_official_split_leaves_no_film_out():
    frame = people([1] * 40)
    split = splits.make_split(frame, "official", min_combination=10_000)
    assert len(split) == 40
    tested = frame["patient_id"].isin(splits.OFFICIAL_TEST_PATIENTS)
    assert ((split == "test") == tested).all()


# ---- original ----


def test_the_real_original_split_is_the_originals_row_for_row(real_records, real_splits):
    split = real_splits["original"]
    assert split.value_counts().to_dict() == splits.SIZES
    test = real_records.loc[split.index[split == "test"]]
    assert artifacts.fingerprint(test["film"]) == (
        "be4b9dbb3251dcc0112ae4c1a3fa954d139b0226ae14c91b0ac985996aa17b6d"
    )
    prevalence = 100 * test[["Atelectasis", "Cardiomegaly", "Hernia", "Infiltration"]].mean()
    assert prevalence.tolist() == pytest.approx(
        [9.751857807, 2.085958889, 0.117335188, 17.174394855], abs=1e-9
    )


def test_the_original_split_follows_the_film_names_not_the_rows(real_records, real_splits):
    mixed = real_records.sample(frac=1, random_state=1)
    split = splits.make_split(mixed, "original")
    assert split.sort_index().equals(real_splits["original"])


def test_the_original_split_is_two_cuts_of_thirty_percent():
    frame = people([1] * 100)
    rest, validation = train_test_split(
        frame.index, test_size=0.3, random_state=42, stratify=frame["labels"]
    )
    split = splits.make_split(frame, "original", min_combination=0)
    assert sorted(split.index[split == "validation"]) == sorted(validation)
    assert (split.loc[rest] != "validation").all()


def test_the_real_original_split_leaks(real_records, real_splits):
    table = split_checks.leakage(real_records, real_splits["original"]).set_index("split")
    assert round(100 * table.loc["test", "leaked"], 1) == 77.2


def test_records_too_small_to_stratify_have_no_original_split():
    with pytest.raises(InputError, match="CXR_MIN_COMBINATION"):
        splits.make_split(people([1] * 6), "original", min_combination=0)


# ---- community ----


@pytest.fixture
def community(tmp_path, monkeypatch):
    """A small world in which the community split has 6, 2 and 2 films of 10 patients."""
    sizes = {"train": 6, "validation": 2, "test": 2}
    monkeypatch.setattr(splits, "COMMUNITY_SIZES", sizes)
    frame = people([1] * 11)
    films = iter(frame["film"])
    for name, size in sizes.items():
        lines = [f"{next(films)} 0 0 0 1" for _ in range(size)]
        short = {"validation": "val"}.get(name, name)
        (tmp_path / f"{short}_list.txt").write_text("\n".join(lines) + "\n")
    return frame, tmp_path


def test_the_community_split_comes_from_its_lists(community):
    frame, folder = community
    split = splits.make_split(frame, "community", lists=folder)
    assert split.tolist() == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    assert split.index.tolist() == list(range(10))


@pytest.mark.parametrize("ending", [".txt", ".csv", "_list.csv"])
def test_the_lists_may_have_the_names_that_circulate(community, ending):
    frame, folder = community
    text = (folder / "val_list.txt").read_text().replace(" 0 0 0 1", ",0,1")
    (folder / "val_list.txt").unlink()
    (folder / f"valid{ending}").write_text("Image Index,a,b\nimages/" + text.lstrip())
    assert (splits.make_split(frame, "community", lists=folder) == "validation").sum() == 2


def test_the_community_split_is_made_by_its_patients(real_records):
    split = splits.make_split(real_records, "community")
    assert split.value_counts().to_dict() == splits.COMMUNITY_SIZES
    patients = real_records["patient_id"].groupby(split).nunique().to_dict()
    # As the lists of CheXNet's reproductions and of MedMNIST count them.
    assert patients == {"train": 21_528, "validation": 3_090, "test": 6_187}
    assert real_records["patient_id"].groupby(split).agg(set).map(len).sum() == 30_805


def test_records_without_patients_of_a_part_have_no_community_split():
    outside = people([1] * 5)
    with pytest.raises(InputError, match="hold none of validation"):
        splits.make_split(outside.assign(patient_id=[1, 2, 10, 10, 10]), "community")


def test_lists_of_ones_own_have_to_be_there(tmp_path):
    with pytest.raises(InputError, match=r"no list for train, validation, test\. Give a file"):
        splits.make_split(people([1] * 5), "community", lists=tmp_path)


# How lists of one's own come: file name -> content, from the parts' film names.
FORMS = {
    "paths and labels": lambda parts: {
        f"{short}_1.txt": [f"images_012/{film} 0 1 0 0" for film in films]
        for short, films in parts.items()
    },
    "an index in front": lambda parts: {
        f"{short}.csv": [",Image Index,Mass", *(f"{n},{f},0" for n, f in enumerate(films))]
        for short, films in parts.items()
    },
    "one file with a fold": lambda parts: {
        "nih_labels.csv": [
            "Image Index,Patient Age,View Position,Mass,fold",
            *(f"{film},060Y,AP,0,{short}" for short, films in parts.items() for film in films),
        ]
    },
    "a split in front, in capitals": lambda parts: {
        "all.csv": [f'"{s.upper()}","images/{f}",1' for s, films in parts.items() for f in films]
    },
    "tabs and Windows line ends": lambda parts: {
        f"chest-{short}.tsv": [f"{film}\tMass\r" for film in films]
        for short, films in parts.items()
    },
    "beside other tables": lambda parts: {
        **{f"{short}_list.txt": films for short, films in parts.items()},
        "BBox_List_2017.csv": ["Image Index,x", f"{parts['test'][0]},1"],
        "readme.txt": ["The lists of the community split."],
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_lists_are_known_by_what_they_hold(community, tmp_path_factory, form):
    frame, usual = community
    names = frame["film"].tolist()
    parts = {"train": names[:6], "val": names[6:8], "test": names[8:10]}
    folder = tmp_path_factory.mktemp("lists")
    for name, lines in FORMS[form](parts).items():
        (folder / name).write_text("\n".join(lines) + "\n")
    split = splits.make_split(frame, "community", lists=folder)
    assert split.tolist() == ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    # Whatever the form, the same films in the same parts have the same checksum.
    assert split_lists.checksum(folder) == split_lists.checksum(usual)


def test_one_file_may_be_named_itself(community, tmp_path_factory):
    frame, _ = community
    path = tmp_path_factory.mktemp("lists") / "mine.csv"
    rows = [
        f"{film},{'train' if n < 6 else 'val' if n < 8 else 'test'}"
        for n, film in enumerate(frame["film"][:10])
    ]
    path.write_text("\n".join(rows))
    assert (splits.make_split(frame, "community", lists=path) == "train").sum() == 6


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("val_list.txt", "00000007_000.png\nand so on\n", "line 2 names no film such as"),
        ("val_list.txt", "00000007_000.png 00000008_000.png\n", "line 1 names several films"),
        ("val_list.txt", "", "holds no list for train, validation, test"),
        ("val_list.txt", b"\xff\xfe\0", "no list of film names .no UTF-8 text"),
        ("all.csv", "00000007_000.png,train\n00000008_000.png,3\n", "line 2 does not say whether"),
        ("train_val_list.txt", "00000007_000.png\n", "train_val_list.txt names no part, or sev"),
    ],
)
def test_lists_that_cannot_be_right_are_refused_with_the_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message):
        split_lists.read(tmp_path)


def test_films_swapped_between_lists_are_noticed_before_the_old_subset_is_used(community):
    frame, folder = community
    path = folder / "records.bin"
    path.write_text("records")

    def wanted():
        return split_files.split_settings(
            path, "community", min_combination=0, seed=1, lists=folder
        )

    split = splits.make_split(frame, "community", lists=folder)
    split_files.save_split(frame, split, folder / "subset", settings=wanted())
    split_files.load_split(folder / "subset", settings=wanted())
    train, test = folder / "train_list.txt", folder / "test_list.txt"
    first, last = train.read_text().splitlines(), test.read_text().splitlines()
    first[0], last[0] = last[0], first[0]
    train.write_text("\n".join(first))
    test.write_text("\n".join(last))
    with pytest.raises(InputError, match="lists_sha256 was"):
        split_files.load_split(folder / "subset", settings=wanted())


def test_lists_of_another_split_are_refused(community):
    frame, folder = community
    text = (folder / "test_list.txt").read_text()
    (folder / "test_list.txt").write_text(text.splitlines()[0])
    with pytest.raises(InputError, match="they hold 6 for train, 2 for validation, 1 for test"):
        splits.make_split(frame, "community", lists=folder)


def test_a_film_in_two_lists_is_refused(community):
    frame, folder = community
    text = (folder / "val_list.txt").read_text()
    (folder / "test_list.txt").write_text(text)
    with pytest.raises(InputError, match=r"00000007_000.png more than once"):
        splits.make_split(frame, "community", lists=folder)


def test_lists_of_films_that_the_records_lack_are_refused(community):
    frame, folder = community
    with pytest.raises(InputError, match=r"2 films of the lists in .* not in the records"):
        splits.make_split(frame[2:], "community", lists=folder)


def test_lists_that_share_a_patient_are_refused(community):
    frame, folder = community
    frame.loc[[0, 9], "patient_id"] = 1
    with pytest.raises(InputError, match="share 1 patients"):
        splits.make_split(frame, "community", lists=folder)


def test_the_real_sizes_of_the_community_split_make_up_the_whole_data_set():
    assert splits.COMMUNITY_SIZES == {"train": 78_468, "validation": 11_219, "test": 22_433}
    assert sum(splits.COMMUNITY_SIZES.values()) == 112_120


# ---- all kinds ----


def test_an_unknown_kind_is_refused_with_those_that_exist():
    with pytest.raises(InputError, match="known are patient, official, original, community"):
        splits.make_split(people([1] * 5), "random")


def test_every_kind_is_made_or_its_obstacle_named():
    made, refused = splits.make_splits(people([1] * 60), min_combination=0)
    assert list(made) == ["patient", "official", "original", "community"]
    assert not refused
    made, refused = splits.make_splits(people([1] * 60)[2:9], min_combination=0)
    assert "community" in refused and "use all of NIH's records" in refused["community"]


def test_the_wanted_kind_may_not_be_missing():
    with pytest.raises(InputError, match="community split needs patients"):
        splits.make_splits(people([1] * 60)[2:7], min_combination=0, wanted="community")


def test_leakage_counts_the_films_of_known_patients():
    # Patient 1: one film in train, two in test. Patient 2 in train, 3 in validation only.
    frame = people([3, 1, 1])
    split = pd.Series(["train", "test", "test", "train", "validation"])
    table = split_checks.leakage(frame, split).set_index("split")
    assert table.loc["test", ["films", "patients"]].tolist() == [2, 1]
    assert table.loc["test", ["shared_patients", "shared_films", "leaked"]].tolist() == [1, 2, 1]
    assert table.loc["validation", "leaked"] == 0
    assert table.loc["train", ["films", "patients", "leaked"]].tolist() == [2, 2, 0]


def test_balance_compares_each_split_with_its_share():
    # Two of four films show Mass; train has two films, so one is expected there.
    frame = people([1, 1, 1, 1])
    frame["Mass"] = [1, 1, 0, 0]
    split = pd.Series(["train", "train", "validation", "test"])
    table = split_checks.balance(frame, split).set_index(["trait", "split"])
    row = table.loc[("Mass", "train")]
    assert (row["films"], row["expected"], row["deviation"], row["prevalence"]) == (2, 1, 1, 1)
    assert table.loc[("Mass", "test"), "deviation"] == -0.5
    assert table.loc[("Patients", "train"), "films"] == 2
    assert table.loc[("Patients with Mass", "train"), "deviation"] == 1
    assert table.loc[("Patients with Mass", "test"), "films"] == 0


# ---- subset/ ----


@pytest.fixture
def saved(tmp_path):
    """A saved split, and everything it was made from."""
    frame = people([1] * 60 + [4] * 10)
    path = tmp_path / "records.csv"
    path.write_text("records")
    wanted = split_files.split_settings(path, "patient", min_combination=0, seed=1)
    split = splits.make_split(frame, "patient", min_combination=0, seed=1)
    folder = tmp_path / "subset"
    split_files.save_split(frame, split, folder, settings=wanted)
    return frame, split, folder, wanted


def test_a_saved_split_comes_back_the_same(saved):
    frame, split, folder, wanted = saved
    parts, info = split_files.load_split(folder, settings=wanted)
    for name, part in parts.items():
        expected = frame.loc[split.index[split == name]].reset_index(drop=True)
        pd.testing.assert_frame_equal(part, expected)
        assert info["counts"][name] == {
            "films": len(part),
            "patients": part["patient_id"].nunique(),
        }
    assert info["settings"] == wanted
    assert info["records_version"] == nih.version(frame)


def test_a_missing_age_comes_back_missing(tmp_path):
    frame = people([1] * 30)
    frame.loc[3, "age"] = pd.NA
    split = pd.Series(["train", "validation", "test"] * 10)
    split_files.save_split(frame, split, tmp_path, settings={})
    assert (
        split_files.load_split(tmp_path)[0]["train"]["age"].isna().tolist()
        == [False, True] + [False] * 8
    )


def test_the_same_split_is_not_written_twice(saved):
    frame, split, folder, wanted = saved
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert split_files.save_split(frame, split, folder, settings=wanted)
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_split_made_with_other_settings_is_refused_and_kept(saved):
    frame, split, folder, wanted = saved
    before = (folder / "split.json").read_text()
    for use in (
        lambda other: split_files.load_split(folder, settings=other),
        lambda other: split_files.save_split(frame, split, folder, settings=other),
    ):
        with pytest.raises(InputError, match="seed was 1, is now 2"):
            use(wanted | {"seed": 2})
        with pytest.raises(InputError, match="records_sha256 was"):
            use(wanted | {"records_sha256": "0"})
    assert (folder / "split.json").read_text() == before


def test_a_split_that_comes_out_differently_is_refused(saved):
    frame, split, folder, wanted = saved
    other = split.replace({"train": "test", "test": "train"})
    with pytest.raises(InputError, match="made with other settings"):
        split_files.save_split(frame, other, folder, settings=wanted)


@pytest.mark.parametrize("damage", ["edited", "deleted"])
def test_a_changed_subset_is_refused_and_mended_by_running_again(saved, damage):
    frame, split, folder, wanted = saved
    path = folder / "test.csv"
    content = path.read_text()
    path.unlink() if damage == "deleted" else path.write_text(content.replace(",M,", ",F,"))
    with pytest.raises(InputError, match=r"test\.csv in .* changed or vanished .* run 100 again"):
        split_files.load_split(folder, settings=wanted)
    assert not split_files.save_split(frame, split, folder, settings=wanted)
    assert path.read_text() == content


def test_a_stage_before_100_is_sent_there(tmp_path):
    with pytest.raises(InputError, match="run notebook 100 first"):
        split_files.load_split(tmp_path / "subset")


def test_an_interrupted_save_counts_as_no_split(saved):
    _, _, folder, wanted = saved
    (folder / "split.json").unlink()
    with pytest.raises(InputError, match="run notebook 100 first"):
        split_files.load_split(folder, settings=wanted)


def test_a_foreign_split_json_is_refused(saved):
    _, _, folder, wanted = saved
    (folder / "split.json").write_text(json.dumps({"name": "another project's"}))
    with pytest.raises(InputError, match="other settings"):
        split_files.load_split(folder, settings=wanted)


def test_settings_need_records_and_leave_out_what_makes_no_difference(tmp_path):
    path = tmp_path / "records.csv"
    with pytest.raises(InputError, match="run notebook 000"):
        split_files.split_settings(path, "patient", min_combination=21, seed=1)
    path.write_text("")
    official = [
        split_files.split_settings(path, "official", min_combination=m, seed=1) for m in (0, 21)
    ]
    assert official[0] == official[1]
    original = [
        split_files.split_settings(path, "original", min_combination=21, seed=s) for s in (1, 2)
    ]
    assert original[0] == original[1]
    patient = [
        split_files.split_settings(path, "patient", min_combination=21, seed=s) for s in (1, 2)
    ]
    assert patient[0] != patient[1]


@pytest.mark.parametrize("kind", ["official", "original", "community"])
def test_a_part_of_the_records_is_not_called_by_a_name_of_the_whole(real_records, kind):
    part = real_records[:62_464]
    with pytest.raises(InputError, match=r"62,464 of NIH's 112,120 films.*CXR_PARTIAL_RECORDS=1"):
        splits.refuse_partial(part, kind)
    with pytest.raises(InputError, match="60 of NIH's"):
        splits.make_splits(people([1] * 60), min_combination=0, wanted=kind, partial=False)
    splits.refuse_partial(part, "patient")
    splits.refuse_partial(real_records, kind)


@pytest.mark.parametrize("films", [1, 2, 3, 8, 12])
def test_a_small_table_has_fewer_rivals_and_no_traceback(films):
    # Ten folds need a label combination on ten films; three parts need three patients.
    frame = people([1] * films)
    rivals = split_checks.rival_splits(frame, seed=1)
    assert "StratifiedGroupKFold" not in rivals
    for split in rivals.values():
        assert set(split) <= {"train", "validation", "test"}
        assert split.index.equals(frame.index)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["film,split", "00000001_000.png,tset"], "line 2 does not say whether 00000001_000.png"),
        (["film,nih,split", "00000001_000.png,test,train"], "no list for validation, test"),
    ],
)
def test_the_column_that_the_header_calls_so_is_the_one(tmp_path, lines, message):
    path = tmp_path / "lists.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(InputError, match=message):
        split_lists.read(path)
