import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cxr.films import film_cache
from cxr.modelling import pipeline


@pytest.fixture
def store(tmp_path, monkeypatch):
    """Fifty films in shards of eight; every pixel of a film is its row number."""
    monkeypatch.setattr(film_cache, "SHARD_FILMS", 8)
    paths = {}
    for number in range(50):
        path = tmp_path / f"{number:08d}_000.png"
        Image.fromarray(np.full((64, 64), number, np.uint8)).save(path)
        paths[path.name] = path
    return film_cache.prepare(paths, tmp_path / "cache", size=64)


def targets_of(rows):
    """Targets that spell the row number in binary."""
    return ((np.asarray(rows)[:, None] >> np.arange(14)) & 1).astype(np.int8)


def numbers(targets):
    return (np.asarray(targets).astype(int) << np.arange(14)).sum(axis=1)


def test_films_keep_their_targets_through_shuffle_and_shards(store):
    rows = np.arange(49, -1, -1)
    order = pipeline.Order(50, seed=3)
    seen = []
    for pictures, targets, weights in pipeline.batches(
        store, rows, targets_of(rows), batch_size=8, order=order
    ):
        assert (pictures[:, 0, 0, 0].numpy() == numbers(targets)).all()
        assert (weights.numpy() == 1).all()
        seen.extend(numbers(targets))
    # Every film once, the last partial batch (2 of 8) included, in another order.
    assert sorted(seen) == list(range(50))
    assert seen != rows.tolist()


def test_each_epoch_has_an_order_of_its_own_that_the_seed_decides(store):
    order = pipeline.Order(50, seed=3)
    first = order.rows().tolist()
    order.epoch = 1
    assert order.rows().tolist() != first
    assert pipeline.Order(50, seed=3, epoch=1).rows().tolist() == order.rows().tolist()
    assert pipeline.Order(50, seed=4).rows().tolist() != first


def test_without_an_order_films_come_as_given(store):
    rows = np.array([5, 40, 7])
    ((pictures, _, _),) = list(pipeline.batches(store, rows, targets_of(rows), batch_size=8))
    assert pictures[:, 0, 0, 0].numpy().tolist() == [5, 40, 7]
    assert pictures.dtype == tf.uint8


def test_a_short_batch_is_filled_with_films_that_weigh_nothing(store):
    rows = np.arange(9)
    *_, (pictures, targets, weights) = pipeline.batches(
        store, rows, targets_of(rows), batch_size=8, multiple=4
    )
    assert pictures.shape[0] == 4
    # One film for four devices: it weighs four, so the mean over all is its own loss.
    assert weights.numpy().tolist() == [4, 0, 0, 0]
    assert numbers(targets)[0] == 8


def test_targets_must_match_the_films(store):
    with pytest.raises(ValueError, match="2 films but 3 rows"):
        pipeline.batches(store, np.arange(2), targets_of(np.arange(3)), batch_size=2)


def test_augmentation_differs_by_film_and_step_and_repeats_for_a_seed():
    film = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8)
    pictures = tf.constant(np.repeat(film, 4, axis=0))
    once = pipeline.augment(pictures, tf.constant([1, 0])).numpy()
    assert once.shape == (4, 64, 64, 1)
    assert once.min() >= 0
    assert once.max() <= 255
    assert not np.allclose(once[0], once[1])
    np.testing.assert_array_equal(once, pipeline.augment(pictures, tf.constant([1, 0])).numpy())
    assert not np.allclose(once, pipeline.augment(pictures, tf.constant([1, 1])).numpy())


def test_augmentation_moves_a_dot_no_further_than_it_says():
    # A dot in the middle is moved by the shift alone: at most a tenth of 100 px.
    film = np.zeros((1, 101, 101, 1), np.uint8)
    film[0, 49:52, 49:52, 0] = 255
    moved = pipeline.augment(tf.constant(np.repeat(film, 200, axis=0)), tf.constant([5, 0]))
    weight = moved.numpy()[..., 0]
    grid = np.arange(101)
    total = weight.sum(axis=(1, 2))
    x = (weight.sum(axis=1) * grid).sum(axis=1) / total - 50
    y = (weight.sum(axis=2) * grid).sum(axis=1) / total - 50
    # Zooming out by up to 0.85 widens the shift in output pixels to 10.1 / 0.85.
    assert np.abs(x).max() < 12
    assert np.abs(y).max() < 12
    assert np.abs(x).max() > 8
    assert abs(x.mean()) < 1.5


def test_borders_are_reflected_not_blackened():
    bright = tf.fill((16, 64, 64, 1), tf.constant(200, tf.uint8))
    assert pipeline.augment(bright, tf.constant([2, 2])).numpy() == pytest.approx(200, abs=0.1)


def test_mirroring_swaps_left_and_right_in_about_half_of_the_films():
    film = np.zeros((1, 64, 64, 1), np.uint8)
    film[:, :, :32] = 200
    pictures = tf.constant(np.repeat(film, 200, axis=0))
    plain = pipeline.augment(pictures, tf.constant([4, 0])).numpy()
    mirrored = pipeline.augment(pictures, tf.constant([4, 0]), mirror=True).numpy()
    left, right = slice(8, 16), slice(48, 56)
    assert (plain[:, :, left].mean(axis=(1, 2, 3)) > plain[:, :, right].mean(axis=(1, 2, 3))).all()
    swapped = mirrored[:, :, left].mean(axis=(1, 2, 3)) < mirrored[:, :, right].mean(axis=(1, 2, 3))
    # 200 fair coins: 100 give or take four standard deviations.
    assert 72 <= swapped.sum() <= 128
    # Films that are not mirrored are what they are without mirroring.
    np.testing.assert_array_equal(mirrored[~swapped], plain[~swapped])


def test_blended_films_and_their_targets_have_the_same_shares():
    pictures = tf.constant(np.full((2, 4, 4, 1), [[[[10]]], [[[50]]]]), tf.uint8)
    targets = tf.constant([[1.0, 0.0], [0.0, 0.0]])
    for step in range(5):
        seed = tf.constant([3, step])
        mixed, wanted = (x.numpy() for x in pipeline.blend(pictures, targets, seed, 0.4))
        share = wanted[0, 0]
        assert 0 <= share <= 1
        assert wanted[1, 0] == pytest.approx(1 - share, abs=1e-6)
        assert mixed[0] == pytest.approx(share * 10 + (1 - share) * 50, abs=1e-4)
        assert mixed[1] == pytest.approx(share * 50 + (1 - share) * 10, abs=1e-4)
