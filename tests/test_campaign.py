"""The campaign's arithmetic: whole patients held out, and fits that may be compared."""

import dataclasses
import json
import sys

import made_up
import numpy as np
import pandas as pd
import pytest

from cxr import config
from cxr.errors import InputError
from cxr.evaluation import ranking
from cxr.findings import FINDINGS

sys.path.insert(0, str(config.PROJECT / "benchmarks" / "accuracy"))
import campaign
import learning_curve
import recipe_judge


@pytest.fixture
def frame():
    return made_up.people([1, 2, 3] * 40)


@pytest.fixture
def divided(frame, monkeypatch):
    monkeypatch.setattr(campaign, "BLOCK", (1, 90))
    return campaign.folds(frame, np.arange(81, 121))


def patients_of(films: pd.DataFrame) -> set[int]:
    return set(films["patient_id"])


def test_every_film_is_held_out_once_by_a_model_that_never_saw_its_patient(frame, divided):
    tested = set(range(81, 121))
    held_out = pd.concat([parts.held_out for parts in divided])
    assert sorted(held_out["film"]) == sorted(frame.loc[frame["patient_id"] <= 80, "film"])
    for parts in divided:
        train, choosing = patients_of(parts.train), patients_of(parts.choosing)
        assert train and choosing and not train & choosing
        assert not (train | choosing) & patients_of(parts.held_out)
        assert patients_of(parts.confirming) == tested
        assert not (train | choosing | patients_of(parts.held_out)) & tested


def test_fewer_training_patients_are_a_part_of_more(frame):
    nobody = np.array([], dtype=int)
    whole, part = (campaign.folds(frame, nobody, share=share) for share in (1.0, 0.25))
    for more, fewer in zip(whole, part, strict=True):
        assert patients_of(fewer.train) < patients_of(more.train)
        assert len(patients_of(fewer.train)) == round(len(patients_of(more.train)) / 4)
        assert fewer.held_out.equals(more.held_out) and fewer.choosing.equals(more.choosing)


def test_a_finding_is_judged_only_where_every_part_has_enough_patients(divided):
    few = divided[1].held_out
    kept = campaign.judged_findings(divided)
    assert kept
    few.loc[few["patient_id"] != few["patient_id"].iloc[0], kept[0]] = 0
    assert campaign.judged_findings(divided) == kept[1:]


def scores_of(films: pd.DataFrame, seed: int) -> pd.DataFrame:
    noise = np.random.default_rng(seed).normal(0, 0.5, (len(films), len(FINDINGS)))
    return films[["film", "patient_id"]].join(films[list(FINDINGS)] + noise)


def keep(cell, fold, seed, parts, findings) -> None:
    facts = {
        "settings": campaign.settings(cell, fold, seed, parts, "weights"),
        "commit": "abc",
        "train_patients": parts.train["patient_id"].nunique(),
        "cpu_seconds": 3.0,
    }
    arrays = {}
    for part in ("held_out", "confirming"):
        films = getattr(parts, part)
        arrays |= campaign.what_is_kept(part, films, scores_of(films, seed + fold), findings)
    path = campaign.kept(cell, fold, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        np.savez(file, facts=np.array(json.dumps(facts)), **arrays)


@pytest.fixture
def finished(divided, tmp_path, monkeypatch):
    """Two recipes with three seeds each, and one whose second fold is missing."""
    monkeypatch.setattr(campaign, "RESULTS", tmp_path)
    one = campaign.Cell("one", "finals", 64, "baseline", seeds=(1, 2, 3))
    other = dataclasses.replace(one, name="the other", seeds=(11, 12, 13))
    unfinished = dataclasses.replace(one, name="unfinished", seeds=(21,))
    monkeypatch.setattr(campaign, "CELLS", [one, other, unfinished])
    findings = campaign.judged_findings(divided)
    for cell in (one, other):
        for fold, parts in enumerate(divided):
            for seed in cell.seeds:
                keep(cell, fold, seed, parts, findings)
    keep(unfinished, 0, 21, divided[0], findings)
    return divided


def test_a_kept_fit_is_judged_as_its_scores_are(finished):
    fits = campaign.collected(finished, "finals")
    assert list(fits) == ["one", "the other"]
    findings = campaign.judged_findings(finished)
    films = campaign.block(finished[1].held_out)
    scores = scores_of(finished[1].held_out, 2 + 1).iloc[: len(films)]
    assert (finished[1].held_out["film"].iloc[: len(films)] == films["film"]).all()
    direct = ranking.Judged.of(films, scores[list(FINDINGS)])
    columns = [FINDINGS.index(finding) for finding in findings]
    expected = direct.auroc[columns].mean()
    kept = fits["one"][1][1]
    assert kept.value == pytest.approx(expected.value)
    everyone = np.unique(
        np.concatenate([campaign.block(parts.held_out)["patient_id"] for parts in finished])
    )
    here = np.isin(everyone, films["patient_id"])
    assert kept.without[here] == pytest.approx(expected.without)
    # Patients of the other fold change nothing in a fit that they do not judge.
    assert (kept.without[~here] == kept.value).all() and (~here).any()


def test_a_fit_of_other_films_labels_or_weights_is_another(divided):
    cell, (one, other) = campaign.Cell("one", "finals", 64, "baseline"), divided
    made = campaign.settings(cell, 0, 42, one, "weights")
    assert campaign.settings(cell, 0, 42, one, "weights") == made
    relabelled = one.train.assign(Mass=1 - one.train["Mass"])
    changed = [
        dataclasses.replace(one, train=one.held_out, held_out=one.train),
        dataclasses.replace(one, train=relabelled),
        dataclasses.replace(one, confirming=one.confirming[:-1]),
        other,
    ]
    assert made not in [campaign.settings(cell, 0, 42, parts, "weights") for parts in changed]
    assert made != campaign.settings(cell, 0, 42, one, "other weights")
    longer = dataclasses.replace(cell, epochs=99)
    assert campaign.place(longer, 0, 42) != campaign.place(cell, 0, 42)


def test_an_interrupted_stage_pairs_the_seeds_that_both_folds_have(finished):
    fits = campaign.collected(finished, "finals")["one"]
    seeds = campaign.recipe_judge.Seeds(0.01, 4)
    uneven = {0: fits[0], 1: fits[1][:2]}
    assert len(campaign.pairings(uneven, seeds)) == len(
        campaign.pairings({0: fits[0][:2], 1: fits[1][:2]}, seeds)
    )


def test_the_mean_of_seeds_is_judged_as_its_scores_are(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(campaign, "RUNS", tmp_path / "runs")
    cell, findings = campaign.CELLS[0], campaign.judged_findings(finished)
    films = campaign.Films({}, None, findings)
    for fold, parts in enumerate(finished):
        for seed in cell.seeds:
            folder = campaign.place(cell, fold, seed)
            folder.mkdir(parents=True)
            for part in ("held_out", "confirming"):
                scores = scores_of(getattr(parts, part), seed + fold)
                scores.to_csv(folder / f"{part}.csv", index=False)
        campaign.average(cell, fold, parts, films)
    table = campaign.levels(finished, "finals").set_index(["judged_by", "recipe"])
    mean, one = (table.loc[("held_out", name)] for name in ("one, mean of 3 seeds", "one"))
    # Noise averages out, so the mean ranks better than each.
    assert mean["auroc"] > one["auroc"] + 0.02 and mean["difference_low"] > 0
    assert (mean["fits"], mean["cpu_seconds"], one["cpu_seconds"]) == (2, 9, 3)


def change(path, **arrays):
    """Write a kept fit again with other arrays; None takes one out."""
    with np.load(path, allow_pickle=False) as saved:
        found = {name: saved[name] for name in saved.files} | arrays
    with path.open("wb") as file:
        np.savez(file, **{name: array for name, array in found.items() if array is not None})


def settled(path, **changes):
    facts = campaign.facts_of(path)
    facts["settings"] |= changes
    change(path, facts=np.array(json.dumps(facts)))


DAMAGE = {
    "cut": lambda path, other: path.write_bytes(path.read_bytes()[:-200]),
    "empty": lambda path, other: path.write_bytes(b""),
    "of the other fold": lambda path, other: path.write_bytes(other.read_bytes()),
    "of another seed": lambda path, other: settled(path, seed=2),
    "of other films": lambda path, other: settled(path, films={"held_out": "x"}),
    "without facts": lambda path, other: change(path, facts=None),
    "with half of the facts": lambda path, other: change(path, facts=np.array("{}")),
    "no number": lambda path, other: change(path, held_out_mean=np.array([np.nan])),
    "beyond one": lambda path, other: change(path, held_out_mean=np.array([7.0])),
    "a patient twice": lambda path, other: change(path, held_out_patients=np.array([1, 1, 2])),
    "without a patient": lambda path, other: change(path, held_out_without=np.zeros(3)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_fit_is_named_and_no_table_is_written(finished, damage, monkeypatch, capsys):
    path = campaign.kept(campaign.CELLS[0], 0, 1)
    DAMAGE[damage](path, campaign.kept(campaign.CELLS[0], 1, 1))
    findings = campaign.judged_findings(finished)
    monkeypatch.setattr(campaign, "_main", lambda chosen: campaign.report(finished, findings, []))
    assert campaign.main([]) == 1
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(f"{path} is no fit that can be judged (")
    assert said.endswith("or remove it: the campaign makes it anew.")
    assert not list(campaign.RESULTS.glob("*.csv")) and not list(campaign.RESULTS.glob("*.json"))


def test_where_nothing_is_trained_no_fit_may_be_missing(finished, monkeypatch):
    findings, one = campaign.judged_findings(finished), campaign.CELLS[0]
    monkeypatch.setattr(campaign, "FITS_OF", campaign.fingerprint())
    monkeypatch.setattr(campaign, "CELLS", campaign.CELLS[:2])
    campaign.report(finished, findings, [])
    assert (campaign.RESULTS / "finals.csv").exists()
    campaign.kept(one, 1, 2).unlink()
    with pytest.raises(InputError, match=r"finals-one-1-2.npz .*missing, or not of fingerprint"):
        campaign.report(finished, findings, [])
    monkeypatch.setattr(campaign, "FITS_OF", "deadbeef")
    monkeypatch.setattr(campaign, "fingerprint", lambda: "deadbeef")
    with pytest.raises(InputError, match=r"no stage has all its fits of the .*FITS_OF=deadbeef"):
        campaign.report(finished, findings, [])


def test_fits_of_other_code_are_not_compared(finished, monkeypatch):
    monkeypatch.setattr(campaign, "fingerprint", lambda: "other code")
    assert campaign.collected(finished, "finals") == {}


def test_fits_of_another_recipe_are_not_compared(finished, monkeypatch):
    longer = [dataclasses.replace(cell, epochs=99) for cell in campaign.CELLS]
    monkeypatch.setattr(campaign, "CELLS", longer)
    assert campaign.collected(finished, "finals") == {}
    assert campaign.files("finals") == []


def test_the_table_pairs_each_recipe_with_the_first_on_both_parts(finished):
    table = campaign.levels(finished, "finals").set_index(["judged_by", "recipe"])
    assert len(table) == 4 and (table["fits"] == 6).all()
    for part in ("held_out", "confirming"):
        fits = campaign.collected(finished, "finals", part)
        expected = [recipe_judge.mean(fits[name]).value[0] for name in ("one", "the other")]
        assert table.loc[part, "auroc"].tolist() == pytest.approx(expected)
        assert table.loc[(part, "the other"), "difference"] == pytest.approx(
            expected[1] - expected[0]
        )
        assert np.isnan(table.loc[(part, "one"), "difference"])


def test_every_two_seeds_and_every_two_halves_are_paired_once(finished):
    fits = campaign.collected(finished, "finals")["one"]
    four = {fold: [*some, some[0]] for fold, some in fits.items()}
    table = campaign.pairings(four, recipe_judge.Seeds.of({"one": fits}))
    assert (table["seeds_a_side"] == 1).sum() == 6 and (table["seeds_a_side"] == 2).sum() == 3
    # The fourth is the first again.
    assert table.loc[2, "difference"] == pytest.approx(0)


def test_the_fingerprint_is_of_code_not_of_words(tmp_path, monkeypatch):
    (tmp_path / "src" / "cxr").mkdir(parents=True)
    monkeypatch.setattr(campaign, "PROJECT", tmp_path)
    monkeypatch.setattr(campaign, "_DECIDES", ("module",))
    file = tmp_path / "src" / "cxr" / "module.py"
    found = []
    for text in (
        '"""Words."""\ndef f():\n    """More."""\n    return 1\n',
        '"""Other words."""\n# A remark.\ndef f():\n    return 1  # why\n',
        '"""Words."""\ndef f():\n    """More."""\n    return 2\n',
    ):
        file.write_text(text)
        found.append(campaign.fingerprint.__wrapped__())
    assert found[0] == found[1] != found[2]


def test_group_membership_alone_ranks_nothing_within_the_block(divided):
    scores = campaign.group_only(divided)
    for parts in divided:
        films = campaign.block(parts.held_out)
        here = scores.set_index("film").loc[films["film"], list(FINDINGS)]
        reached = ranking.auroc(films[list(FINDINGS)].to_numpy(), here.to_numpy())
        known = reached[np.isfinite(reached)]
        assert len(known) and known == pytest.approx(0.5)


def test_a_mean_of_seeds_is_as_unsure_as_so_many_trainings(finished):
    fits = campaign.collected(finished, "finals")
    seeds, one = recipe_judge.Seeds(0.0009, 4), fits["one"]
    mean = {fold: [recipe_judge.mean({0: some})] for fold, some in one.items()}
    averaged = recipe_judge.difference(mean, fits["the other"], seeds, averaged=3)
    # As the difference of the three trainings themselves: a third of the variance a side.
    expected = recipe_judge.difference(one, fits["the other"], seeds)
    assert averaged.error_seeds == pytest.approx(np.sqrt(0.0009 * 2 / 3))
    assert (averaged.low, averaged.high) == pytest.approx((expected.low, expected.high))
    assert recipe_judge.level(mean, seeds, averaged=3).error_seeds == pytest.approx(
        recipe_judge.level(one, seeds).error_seeds
    )


def test_an_unknown_stage_is_named_and_trains_nothing(capsys):
    assert campaign.main(["sceen"]) == 2
    assert "no stage or cell is called 'sceen'; there are seeds, scratch" in capsys.readouterr().out


def points_of(curve, patients, errors=0.004):
    """Fits on one fold of 50 patients, whose jackknife says the errors given."""
    shifts = np.array([-1.0, 1.0] * 25)[:, None]
    shifts *= errors / np.sqrt(49 / 50 * (shifts**2).sum())
    return {
        n: {0: [campaign.Estimate(np.array([curve(n)]), curve(n) + shifts)] * 2} for n in patients
    }


def test_a_learning_curve_goes_on_as_it_was_drawn():
    patients, seeds = (160.0, 320.0, 640.0, 1280.0), recipe_judge.Seeds(1e-8, 6)
    power = points_of(lambda n: 0.80 - 0.6 * n**-0.3, patients)
    table = learning_curve.extrapolated(power, seeds, seed=42).set_index(["form", "points"])
    told = table.loc[("power law", 4)]
    assert told["train_patients"] == 30_805
    assert told["auroc"] == pytest.approx(0.80 - 0.6 * 30_805**-0.3, abs=0.002)
    # Shared by all points, the patients' error moves the curve and does not bend it.
    assert told["high"] - told["low"] == pytest.approx(2 * 1.96 * 0.004, rel=0.2)
    # Without its last point it is read there, beside what was reached.
    before = table.loc[("power law", 3)]
    assert before["train_patients"] == 1280 and before["auroc"] == pytest.approx(
        before["reached"], abs=0.002
    )
    straight = points_of(lambda n: 0.5 + 0.03 * np.log(n), patients)
    table = learning_curve.extrapolated(straight, seeds, seed=42).set_index(["form", "points"])
    assert table.loc[("logarithm", 4), "auroc"] == pytest.approx(0.5 + 0.03 * np.log(30_805))


def test_a_learning_curve_of_unsure_points_promises_little():
    patients = (160.0, 320.0, 640.0, 1280.0)
    points = points_of(lambda n: 0.80 - 0.6 * n**-0.3, patients)
    tables = [
        learning_curve.extrapolated(points, recipe_judge.Seeds(variance, 6), seed=42)
        for variance in (1e-6, 1e-4)
    ]
    sure, unsure = (table["high"] - table["low"] for table in tables)
    assert (unsure > 1.5 * sure).all()
    # Nothing is promised beyond a perfect ranking, and no harm of more patients.
    assert tables[1]["high"].max() <= 1
    falling = points_of(lambda n: 0.7 - 0.01 * np.log(n), patients)
    flat = learning_curve.extrapolated(falling, recipe_judge.Seeds(1e-8, 6), seed=42)
    assert flat["auroc"].between(0.62, 0.66).all()
    with pytest.raises(ValueError, match="three points or more, not 2"):
        learning_curve.extrapolated(
            {n: points[n] for n in patients[:2]}, recipe_judge.Seeds(1e-6, 6), seed=42
        )


def test_the_screening_that_is_quoted_is_the_one_that_is_kept():
    quoted = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(config.PROJECT / "benchmarks/accuracy/results/screen.csv")
    assert table["ingredient"].tolist() == list(campaign.INGREDIENTS)
    for row in table.itertuples():
        told = f"{row.effect:+.3f} ({row.low:+.3f} to {row.high:+.3f}) | {row.p:.3f} |"
        assert f"| {row.ingredient} | {told}" in quoted
    # Holm 1979: the k-th smallest p of eight times 9 - k.
    ordered = table.sort_values("p")
    held = ((ordered["p"] * np.arange(len(table), 0, -1)).cummax() < 0.05).to_numpy()
    clear = ordered[held].set_index("ingredient")["effect"]
    assert set(clear.index[clear > 0]) == {"view, age and sex told, too", "12 epochs instead of 6"}
    assert set(clear.index[clear < 0]) == {"smoothed labels", "slow backbone"}


def held_out(path):
    return pd.read_csv(path).query("judged_by == 'held_out'").set_index("recipe")


def test_the_finals_that_are_quoted_are_those_that_are_kept():
    quoted = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    table = pd.read_csv(config.PROJECT / "benchmarks/accuracy/results/finals.csv")
    lines = []
    for _, both in table.groupby("recipe", sort=False):
        assert both["judged_by"].tolist() == ["held_out", "confirming"]
        for value, low, high, form in (
            ("auroc", "low", "high", ".3f"),
            ("difference", "difference_low", "difference_high", "+.3f"),
        ):
            cells = both[[value, low, high]].dropna().to_numpy()
            lines += [[f"{a:{form}} ({b:{form}} to {c:{form}})" for a, b, c in cells]]
    told = quoted[quoted.index("### The present default") : quoted.index("### What helps")]
    rows = [line.split(" | ")[1:] for line in told.splitlines() if line.startswith("|")][2:]
    said = [[cell.strip("| ").replace("**", "") for cell in row] for row in rows]
    assert said == [line for line in lines if line]
    # One training is not told apart from the default, the mean of three is.
    lowest = table.set_index(["judged_by", "recipe"])["difference_low"]
    finalist = "view, age and sex told, too"
    mean = f"{finalist}, mean of 3 seeds"
    assert lowest["held_out", finalist] < 0 < lowest["held_out", mean]
    found = table[table["judged_by"] == "held_out"].set_index("recipe")
    assert found["auroc"].idxmax() == mean  # "the best that this judge has seen"
    single, ensemble = (f"{found.loc[name, 'difference']:+.3f}" for name in (finalist, mean))
    assert f"found were {single} and {ensemble}" in told and table["difference"].max() < 0.03
    assert f"with three seeds a side, it is {single}" in quoted
    assert f"recipes spread by {found.loc[finalist, 'seeds_sd']:.3f} (standard" in told


def test_the_learning_curve_that_is_quoted_is_the_one_that_is_kept():
    quoted = (config.PROJECT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    results = config.PROJECT / "benchmarks/accuracy/results"
    points = pd.concat([pd.read_csv(results / f"{name}.csv") for name in ("curve", "finals")])
    shares = points["recipe"].isin(cell.name for cell in campaign.CELLS if cell.stage == "curve")
    points = points[
        (points["judged_by"] == "held_out") & (shares | (points["recipe"] == "default"))
    ]
    assert len(points) == 4
    for row in points.itertuples():
        told = f"{row.train_patients:,} | {row.fits} | {row.auroc:.3f} ({row.low:.3f} to"
        assert f"| {told} {row.high:.3f}) |" in quoted
    promised = pd.read_csv(results / "extrapolated.csv")
    assert promised["train_patients"].max() == 30_805
    for row in promised.itertuples():
        told = f"{row.points} | {row.train_patients:,} | {row.auroc:.3f} ({row.low:.3f} to"
        reached = "" if np.isnan(row.reached) else f" {row.reached:.3f}"
        assert f"| {row.form} | {told} {row.high:.3f}) |{reached} |" in quoted
    power = promised[promised["form"] == "power law"].set_index("train_patients")
    far = power.loc[campaign.TRAINING_PATIENTS]
    readme = (config.PROJECT / "README.md").read_text(encoding="utf-8")
    told = f"of {far['auroc']:.2f} ({far['low']:.2f} to {far['high']:.2f}) with the 15,018"
    assert "over 161 to 1,290 patients promises a mean AUROC " + told in readme
    straight = promised[promised["form"] == "logarithm"].set_index("train_patients")
    other = straight.loc[campaign.TRAINING_PATIENTS]
    told = f"and {other['auroc']:.2f} ({other['low']:.2f} to {other['high']:.2f}) by a logarithm"
    assert told in readme
    final = held_out(results / "finals.csv").loc["view, age and sex told, too"]
    told = [final[name] for name in ("difference", "difference_low", "difference_high")]
    assert "apart from it ({:+.3f}, {:+.3f} to {:+.3f})".format(*told) in readme
    # What is said of doublings beside the ingredients, and of three seeds.
    steps = points.sort_values("train_patients")["auroc"].diff().dropna()
    assert f"has brought {steps.min():.3f} to {steps.max():.3f}." in quoted
    assert pd.read_csv(results / "screen.csv")["effect"].max() < steps.min()
    mean = held_out(results / "finals.csv").loc["default, mean of 3 seeds", "difference"]
    assert mean < steps.min() / 2 and 0.03 < steps.min() + steps.max() < 0.04


def test_the_curve_is_read_at_the_patients_that_the_split_trains_on(real_records, real_splits):
    trained = real_splits["patient"][real_splits["patient"] == "train"].index
    assert real_records.loc[trained, "patient_id"].nunique() == campaign.TRAINING_PATIENTS


def test_a_curve_of_single_seeds_promises_nothing_yet(finished):
    assert campaign.extrapolation(finished, {"curve": None, "finals": None}) is None
