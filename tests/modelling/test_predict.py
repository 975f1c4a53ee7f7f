"""Films in, answers out: the same scores whatever the file, and a reason where there are none."""

import shutil
import time

import dicom_files
import numpy as np
import pandas as pd
import pytest
import toy_runs
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from cxr import artifacts, phantoms
from cxr.errors import InputError
from cxr.evaluation import calibration
from cxr.films import abstention
from cxr.findings import FINDINGS
from cxr.modelling import explain, exported, inference, predict

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return toy_runs.make(tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def model(folder):
    return predict.Model(folder)


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """One film as PNG, as JPEG, and as DICOM of several makes."""
    place = tmp_path_factory.mktemp("films")
    pixels = toy_runs.film(1, side=150)
    Image.fromarray(pixels).save(place / "film.png")
    Image.fromarray(pixels).save(place / "film.jpg", quality=95)

    def deeper(bits):
        top = (1 << bits) - 1
        return np.rint(pixels * (top / 255)).astype(np.uint8 if bits == 8 else np.uint16), top

    for bits in (8, 12, 16):
        values, top = deeper(bits)
        for name, made in {
            "plain": dicom_files.header(values, bits=bits),
            "inverse": dicom_files.header(
                top - values, bits=bits, PhotometricInterpretation="MONOCHROME1"
            ),
            "window": dicom_files.header(
                values,
                bits=bits,
                RescaleSlope=1,
                RescaleIntercept=-500,
                WindowCenter=(top + 1) / 2 - 500,
                WindowWidth=top + 1,
            ),
            "j2k": dicom_files.compressed(values, JPEG2000Lossless, bits=bits),
        }.items():
            (place / f"{name}-{bits}.dcm").write_bytes(dicom_files.file(made))
    return place


def probabilities(answer):
    assert answer.findings is not None, answer.reasons
    return answer.findings["probability"].to_numpy()


def test_a_film_has_the_same_scores_in_every_file_and_in_notebook_300(folder, model, film):
    paths = sorted(film.glob("*.dcm"))
    png, jpeg, *others = model.answers([film / "film.png", film / "film.jpg", *paths])
    assert len(others) == 12
    for answer in others:
        np.testing.assert_allclose(probabilities(answer), probabilities(png), atol=1e-5)
    np.testing.assert_allclose(probabilities(jpeg), probabilities(png), atol=0.01)
    frame = pd.DataFrame({"film": ["film.png"], "patient_id": [1]})
    scored = inference.score_with_run(
        folder, {"film.png": film / "film.png"}, frame, film / "cache"
    )
    raw = scored[list(FINDINGS)].to_numpy(float)[0]
    odds = 3 * raw / (1 - raw)
    np.testing.assert_allclose(probabilities(png), odds / (1 + odds), atol=1e-5)


def test_thresholds_are_on_the_scale_of_the_probabilities(model, film):
    (answer,) = model.answers([film / "film.png"])
    table = answer.findings.set_index("finding")
    assert table.loc["Hernia", "reached"] == "no threshold" and table.loc["Hernia", "meaning"] == ""
    rest = table.drop("Hernia")
    assert (rest["reached"] == (rest["probability"] >= 0.7)).all()
    # By hand: at 10 %, of 100 films 8 with it and 18 without are flagged: 31 in 100.
    said = set(rest["meaning"])
    assert said <= {
        "above the threshold, which caught 80 % of the test films with it; of 100 films at "
        "or above it about 31 have it, where 10 % of films do, as among the test films",
        "below the threshold, which missed 20 % of the test films with it; of 100 films "
        "below it about 3 have it, where 10 % of films do, as among the test films",
    }


def test_a_given_prevalence_moves_what_a_flag_means_and_nothing_else(folder, model, film):
    (usual,) = model.answers([film / "film.png"])
    (rare,) = predict.Model(folder, {"Mass": 0.01}).answers([film / "film.png"])
    pd.testing.assert_series_equal(rare.findings["probability"], usual.findings["probability"])
    said = rare.findings.set_index("finding")["meaning"]
    # .01 * .8 of .01 * .8 + .99 * .2 is 4 %; .01 * .2 of .01 * .2 + .99 * .8 is 0.
    assert "about 4 have it, where 1 % of films do" in said["Mass"] or (
        "about 0 have it, where 1 % of films do" in said["Mass"]
    )
    assert "where 10 % of films do, as among the test films" in said["Nodule"]


def test_a_probability_whose_interval_spans_the_threshold_is_called_unsure(tmp_path, film):
    folder = toy_runs.make(tmp_path / "run")
    (before,) = predict.Model(folder).answers([film / "film.png"])
    assert before.findings["low"].isna().all() and before.findings["unsure"].isna().all()
    assert not before.findings["meaning"].str.contains("unsure").any()
    known = calibration.load(folder).assign(variance_slope=0.0, covariance=0.0)
    # A standard error of 1 in the logit of Mass, of nothing in the others.
    known["variance_intercept"] = (known["finding"] == "Mass").astype(float)
    calibration.save(folder, known)
    (answer,) = predict.Model(folder).answers([film / "film.png"])
    table = answer.findings.set_index("finding")
    odds = table["probability"] / (1 - table["probability"])
    far = odds["Mass"] * np.exp(1.96)
    assert table.loc["Mass", "high"] == pytest.approx(far / (1 + far), abs=1e-6)
    assert "unsure" in table.loc["Mass", "meaning"]
    assert not table.drop("Mass")["meaning"].str.contains("unsure").any()


def test_a_film_on_whose_side_members_disagree_is_called_unsure(tmp_path, film):
    folder = toy_runs.make_ensemble(tmp_path / "both")
    made = predict.Model(folder)
    (answer,) = made.answers([film / "film.png"])
    table = answer.findings.set_index("finding")
    # One member says .2 of everything, the other one .6, which are odds of 1/4 and 3/2; times
    # three, .75/1.75 and 4.5/5.5. Their mean is .4: odds of 2/3, times three 2/3.
    assert table["members_low"].to_numpy() == pytest.approx(0.75 / 1.75, abs=1e-5)
    assert table["members_high"].to_numpy() == pytest.approx(4.5 / 5.5, abs=1e-5)
    assert table["probability"].to_numpy() == pytest.approx(2 / 3, abs=1e-5)
    assert table.drop("Hernia")["unsure"].all() and table.loc["Hernia", "unsure"] is None
    said = "unsure, since 1 of the ensemble's 2 members are above it"
    assert table.loc["Mass", "meaning"].endswith(said) and table.loc["Hernia", "meaning"] == ""


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_scores_do_not_depend_on_the_batch(model, film, batch):
    files = [*sorted(film.glob("*-8.dcm")), film / "none.png", film / "film.png"]
    usual, other = list(model.answers(files)), list(model.answers(files, batch=batch))
    assert [answer.file for answer in other] == [str(file) for file in files]
    for one, same in zip(usual, other, strict=True):
        assert one.verdict == same.verdict
        if one.findings is not None:
            np.testing.assert_allclose(probabilities(same), probabilities(one), atol=1e-5)


def test_a_batch_of_no_films_is_refused(model, film):
    with pytest.raises(InputError, match="a batch of 0 films is none"):
        next(model.answers([film / "film.png"], batch=0))


def test_who_interrupts_does_not_wait_for_the_films_of_a_large_batch(model, monkeypatch):
    read = []

    def slowly(path):
        read.append(path)
        if path == "first":
            raise KeyboardInterrupt
        time.sleep(0.02)
        raise InputError("it is none.")

    monkeypatch.setattr(predict.reading, "read", slowly)
    monkeypatch.setattr(predict.os, "cpu_count", lambda: 2)
    with pytest.raises(KeyboardInterrupt):
        list(model.answers(["first"] + ["other"] * 399, batch=400))
    assert len(read) < 50


def test_the_untrained_twin_looks_elsewhere_by_the_same_method(folder, film):
    both = predict.Model(folder).with_twin()
    (answer,) = both.answers([film / "film.png"], pictures=1)
    assert answer.twin.shape == answer.heatmaps.shape and answer.twin.max() <= 1
    assert not np.allclose(answer.twin, answer.heatmaps, atol=0.1)
    network = explain.randomised(both.network, seed=explain.TWIN_SEED)
    shown = np.stack([toy_runs.film(n) for n in range(8)])[..., None]
    square = np.asarray(Image.fromarray(toy_runs.film(1, side=150)).resize((64, 64), 4))
    looked = explain.Explainer(network, shown).heatmaps(square[None, ..., None], np.array([0]))
    np.testing.assert_allclose(answer.twin[0], looked[0], atol=1e-3)


def test_a_run_whose_twin_was_not_kept_says_so(tmp_path):
    folder = toy_runs.make(tmp_path / "old")
    (folder / explain.TWIN_AVERAGE).unlink()
    with pytest.raises(InputError, match="before its untrained twin was kept"):
        predict.Model(folder).with_twin()


def test_one_bad_film_does_not_stop_the_others(model, film, tmp_path):
    (tmp_path / "text.png").write_text("no film")
    Image.fromarray(toy_runs.film(1, side=20)).save(tmp_path / "small.png")
    files = [
        tmp_path / "text.png",
        film / "film.png",
        tmp_path / "none.dcm",
        tmp_path / "small.png",
    ]
    text, good, none, small = model.answers(files)
    assert [a.verdict for a in (text, good, none, small)] == [
        predict.REFUSED, predict.SCORED, predict.REFUSED, predict.REFUSED,
    ]  # fmt: skip
    assert text.reasons == ("It is neither PNG, JPEG nor DICOM.",)
    assert none.reasons == ("It does not exist.",)
    assert "fewer than the 64" in small.reasons[0]
    assert good.findings is not None and text.findings is None


def test_many_films_are_answered_in_their_order(model, film):
    for n in range(70):
        Image.fromarray(toy_runs.film(n)).save(film / f"many-{n:02}.png")
    files = sorted(film.glob("many-*.png"))
    answers = list(model.answers(files, pictures=2))
    assert [answer.file for answer in answers] == [str(file) for file in files]
    alone = [next(iter(model.answers([file]))) for file in files[::23]]
    for one, among in zip(alone, answers[::23], strict=True):
        np.testing.assert_allclose(probabilities(one), probabilities(among), atol=1e-5)
    assert [a.picture is not None for a in answers[:3]] == [True, True, False]
    assert answers[0].heatmaps.shape[0] == 14 and answers[0].heatmaps.max() <= 1


def test_what_the_file_leaves_unsaid_is_a_warning(model, film):
    pixels = toy_runs.film(1, side=80)
    (film / "unsaid.dcm").write_bytes(dicom_files.file(dicom_files.header(pixels, Modality="OT")))
    (answer,) = model.answers([film / "unsaid.dcm"])
    assert answer.verdict == predict.WARNED
    assert "does not say that it is an X-ray film" in answer.reasons[0]


def test_a_model_of_phantoms_refuses_real_films_and_says_what_trains_another(tmp_path, film):
    drawn = predict.Model(toy_runs.make(tmp_path / "drawn", phantoms=True))
    image = Image.fromarray(toy_runs.film(1))
    image.info[phantoms.MARK] = "synthetic"
    (tmp_path / "phantom.png").write_bytes(phantoms.encode(image))
    real, phantom = drawn.answers([film / "film.png", tmp_path / "phantom.png"])
    assert real.verdict == predict.REFUSED and "make run PROFILE=first_archive" in real.reasons[0]
    assert phantom.verdict == predict.SCORED


def test_a_model_of_real_films_refuses_phantoms(model, tmp_path):
    image = Image.fromarray(toy_runs.film(1))
    image.info[phantoms.MARK] = "synthetic"
    (tmp_path / "phantom.png").write_bytes(phantoms.encode(image))
    (answer,) = model.answers([tmp_path / "phantom.png"])
    assert answer.verdict == predict.REFUSED and "synthetic drawing" in answer.reasons[0]


def test_a_film_that_is_none_gets_no_scores(tmp_path):
    folder, random = toy_runs.make(tmp_path / "run"), np.random.default_rng(0)
    train, validation = (np.stack([toy_runs.chest(random) for _ in range(n)]) for n in (150, 200))
    abstention.fit(train, validation, np.arange(200), seed=1)[0].save(folder)
    pictures = {
        "chest": toy_runs.chest(random),
        "inverted": 255 - toy_runs.chest(random),
        "noise": random.integers(0, 256, (64, 64), dtype=np.uint8),
    }
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    model = predict.Model(folder)
    answers = model.answers([tmp_path / f"{name}.png" for name in pictures], pictures=3)
    chest, inverted, noise = answers
    assert chest.verdict != predict.REFUSED and chest.findings is not None
    assert inverted.verdict == predict.REFUSED and "inverted" in inverted.reasons[0]
    assert noise.findings is None and "does not look like" in " ".join(noise.reasons)
    assert inverted.picture is not None and inverted.heatmaps is None


def test_a_run_before_notebook_300_says_that_nothing_is_recalibrated(tmp_path, film):
    plain = predict.Model(toy_runs.make(tmp_path / "plain", judged=False))
    (answer,) = plain.answers([film / "film.png"])
    assert "not recalibrated" in " ".join(plain.notes)
    assert (answer.findings["reached"] == "no threshold").all()
    with pytest.raises(InputError, match=r"config\.json does not exist"):
        predict.Model(tmp_path / "none")


def test_what_heatmaps_are_worth_is_told_with_every_answer(tmp_path):
    folder = toy_runs.make(tmp_path / "run")
    assert any("Nobody judged" in note for note in predict.Model(folder).notes)
    explain.keep_worth(folder, ["So these heatmaps find less than a point.", ""])
    assert "So these heatmaps find less than a point." in predict.Model(folder).notes
    explain.keep_worth(folder, [])
    assert any("nobody knows whether they find" in note for note in predict.Model(folder).notes)
    (folder / explain.WORTH).write_text('{"find": 1}')
    with pytest.raises(InputError, match="is not what notebook 300 wrote"):
        predict.Model(folder)


def test_a_run_that_is_not_there_is_told_beside_those_that_are(tmp_path):
    for name in ("one-patient", "other-patient"):
        toy_runs.make(tmp_path / name, judged=False)
    with pytest.raises(InputError, match="no run 'nix'; it holds one-patient, other-patient"):
        predict.load("nix", tmp_path)


def test_a_run_that_was_copied_or_renamed_goes_by_its_folders_name(tmp_path):
    for name, auroc in (("first", 0.7), ("second", 0.6)):
        toy_runs.make(tmp_path / name, judged=False)
        record = artifacts.read_json(tmp_path / name / "config.json")
        artifacts.write_json(tmp_path / name / "config.json", record | {"validation_auroc": auroc})
    # The better one was kept, and another trained in its place.
    (tmp_path / "first").rename(tmp_path / "kept")
    (tmp_path / "second").rename(tmp_path / "first")
    model, why = predict.load(None, tmp_path)
    assert model.name == "kept"
    assert "0.700" in why
    with model.opened() as folder:
        assert folder == tmp_path / "kept"
        exported.write(folder, tmp_path / "one.cxr")
    assert predict.load(str(tmp_path / "one.cxr"), tmp_path)[0].name == "kept"


def test_prediction_takes_no_run_that_shares_patients_and_says_so(tmp_path):
    for name, split, auroc in (("small", "patient", 0.70), ("leaky", "original", 0.78)):
        record = {"name": name, "split": split, "finished": True, "validation_auroc": auroc}
        artifacts.write_json(tmp_path / name / "config.json", record)
    # One that is being trained just now.
    (tmp_path / "begun").mkdir()
    artifacts.write_json(tmp_path / "begun/config.json", {"name": "begun", "finished": None})
    name, why = predict.choose(tmp_path)
    assert name == "small"
    assert "0.700" in why and "1 of the split `original` left out" in why
    shutil.rmtree(tmp_path / "small")
    with pytest.raises(InputError, match="keeps patients apart; 1 of the split `original`"):
        predict.choose(tmp_path)
