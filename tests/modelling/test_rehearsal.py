"""The rehearsal finds, before any film is fetched, what the training would run into."""

import numpy as np
import pytest

from cxr.config import SPLITS, load_config
from cxr.errors import InputError
from cxr.modelling import devices, models, rehearsal
from cxr.modelling.tensors import keras, tf
from cxr.records import splits


def settings(**changes):
    values = {"profile": "first_archive", "image_size": 64, "models": ("baseline",)}
    return load_config({}, **(values | {"batch_size": 4, "weights": "none"} | changes))


@pytest.mark.slow
def test_a_rehearsal_tells_speed_memory_and_the_time_that_the_run_will_take():
    config = settings()
    (row,) = rehearsal.rehearse(config).to_dict("records")
    assert row["parameters"] == models.build("baseline", image_size=64).count_params()
    assert row["training"] > 0 and row["validation"] > 0
    # TensorFlow alone takes some hundred MB.
    assert 0.1 < row["memory_gb"] < 100
    # 4,999 films, divided as the split divides all, in each of 16 epochs.
    films = splits.SIZES
    epoch = films["train"] / row["training"] + films["validation"] / row["validation"]
    epoch *= 4999 / sum(films.values())
    assert row["hours"] == pytest.approx(16 * epoch / 3600)
    told = rehearsal.summary(rehearsal.pd.DataFrame([row | {"hours": 0.26}]), config)
    assert "batches of 4, for 4,999 films at most:" in told
    assert "16 epochs take about 16 min." in told


@pytest.mark.slow
def test_every_split_and_every_member_of_an_ensemble_takes_its_time():
    config = settings(split="official", ensemble=3)
    (row,) = rehearsal.rehearse(config).to_dict("records")
    # NIH's own list leaves 75,708 films to train on and 10,816 to validate.
    epoch = 4999 / 112_120 * (75_708 / row["training"] + 10_816 / row["validation"])
    assert row["hours"] == pytest.approx(3 * 16 * epoch / 3600)
    told = rehearsal.summary(rehearsal.pd.DataFrame([row]), config)
    assert "3 trainings of 16 epochs take about" in told


def test_the_sizes_of_the_splits_are_theirs(real_splits):
    for kind, split in real_splits.items():
        assert rehearsal._SIZES[kind] == split.value_counts().to_dict(), kind
    assert rehearsal._SIZES.keys() == set(SPLITS)


def test_the_first_archive_divides_nearly_as_all_films_do(real_records, real_splits):
    first = real_records["film"].sort_values().index[:4999]
    for kind, split in real_splits.items():
        found, sizes = split.reindex(first).value_counts(), rehearsal._SIZES[kind]
        share = 4999 * sizes["train"] / sum(sizes.values())
        assert 0.9 * share < found["train"] < 1.05 * share, kind


def test_the_films_of_ones_own_table_are_counted(tmp_path):
    table = tmp_path / "table.csv"
    rows = [f"{n}.png,{n},{'' if n < 9 else n % 2}" for n in range(40)]
    table.write_text("\n".join(["film,patient_id,Mass", *rows]))
    own = {"source": "folder", "records": table, "images": tmp_path}
    # Of nine the table does not say.
    assert rehearsal.expected_films(settings(**own)) == 31
    assert rehearsal.expected_films(settings(**own, sample="5")) == 5


@pytest.mark.parametrize(
    ("profile", "sample", "films"),
    [("first_archive", None, 4999), ("full", None, 112_120), ("full", "500", 500)],
)
def test_the_films_that_a_run_will_work_on_are_known_beforehand(profile, sample, films):
    assert rehearsal.expected_films(settings(profile=profile, sample=sample)) == films


def test_a_rehearsal_asks_for_the_weights_of_the_run(tmp_path):
    wrong = tmp_path / "wrong.h5"
    wrong.write_bytes(b"no weights")
    with pytest.raises(InputError, match="does not hold weights of mobilenet_small"):
        rehearsal.rehearse(settings(models=("mobilenet_small",), weights=str(wrong)))


def test_a_batch_that_does_not_fit_is_found_in_the_rehearsal(monkeypatch):
    def full(self, *data, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr(keras.Model, "fit", full)
    with pytest.raises(InputError, match=r"4 films of 64 px do not fit .*BATCH_SIZE=2"):
        rehearsal.rehearse(settings())


def test_made_up_films_fill_every_step_of_a_gpu(monkeypatch):
    monkeypatch.setattr(devices, "gpus", lambda: 1)
    steps = devices.compiling()["steps_per_execution"] * 4
    store, frame = rehearsal._made_up(steps * 300, settings())
    assert len(frame) == 9600
    # More films than a shard holds; all can be taken.
    assert store.take(np.array([0, 9599])).shape == (2, 64, 64, 1)
