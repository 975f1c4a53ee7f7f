import time

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
    for inputs, targets, weights in pipeline.batches(
        store, rows, targets_of(rows), batch_size=8, order=order
    ):
        assert (inputs["film"][:, 0, 0, 0].numpy() == numbers(targets)).all()
        counted = weights.numpy() > 0
        # Films of the last batch (2 of 8) weigh more, so that the weights average 1.
        assert weights.numpy().mean() == pytest.approx(1)
        seen.extend(numbers(targets)[counted])
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
    # A batch larger than the films is as large as they are, not filled up.
    ((inputs, _, _),) = list(pipeline.batches(store, rows, targets_of(rows), batch_size=8))
    assert inputs["film"][:, 0, 0, 0].numpy().tolist() == [5, 40, 7]
    assert inputs["film"].dtype == tf.uint8


def test_a_short_batch_is_filled_with_films_that_weigh_nothing(store):
    rows = np.arange(9)
    *_, (inputs, targets, weights) = pipeline.batches(
        store, rows, targets_of(rows), batch_size=7, replicas=4
    )
    # Seven films and one for the fourth device; then two films left over.
    assert inputs["film"].shape[0] == 8
    # Two films of eight: each weighs four, so the mean over all is their own loss.
    assert weights.numpy().tolist() == [4, 4, 0, 0, 0, 0, 0, 0]
    assert numbers(targets)[:2].tolist() == [7, 8]


@pytest.mark.parametrize(
    ("batch_size", "parts", "processes", "replicas"),
    [(16, 2, 2, 1), (18, 4, 4, 1), (18, 4, 2, 2), (7, 3, 3, 2), (5, 8, 8, 1), (64, 2, 1, 2)],
)
def test_every_film_counts_once_an_epoch_over_all_processes(
    store, batch_size, parts, processes, replicas
):
    rows, share = np.arange(50), parts // processes
    orders = [
        pipeline.Order(50, seed=3, parts=parts, mine=tuple(range(n * share, (n + 1) * share)))
        for n in range(processes)
    ]
    for epoch in (0, 1):
        for order in orders:
            order.epoch = epoch
        shares = [
            list(
                pipeline.batches(
                    store,
                    # What another process reads is not in this one's store.
                    np.where(order.is_mine(), rows, 999),
                    targets_of(rows),
                    batch_size=batch_size,
                    order=order,
                    replicas=replicas,
                )
            )
            for order in orders
        ]
        seen = []
        for step in zip(*shares, strict=True):
            # All hand in as many films, which their devices can divide.
            assert len({len(weights) for _, _, weights in step}) == 1
            assert len(step[0][2]) % replicas == 0
            weights = np.concatenate([weights for _, _, weights in step])
            assert weights.mean() == pytest.approx(1)
            films = np.concatenate([inputs["film"][:, 0, 0, 0] for inputs, _, _ in step])
            assert (films == np.concatenate([numbers(targets) for _, targets, _ in step])).all()
            seen.append(sorted(films[weights > 0]))
        # The same batches as in one process.
        whole = orders[0].rows()
        size = min(batch_size, 50)
        batches = [sorted(whole[start : start + size]) for start in range(0, 50, size)]
        assert seen == batches
        assert sorted(np.concatenate(seen)) == list(range(50))


def test_a_process_keeps_its_films_from_epoch_to_epoch():
    orders = [pipeline.Order(50, seed=3, parts=4, mine=(n,)) for n in range(4)]
    shares = [set(np.flatnonzero(order.is_mine())) for order in orders]
    assert [len(share) for share in shares] == [13, 13, 12, 12]
    assert set().union(*shares) == set(range(50))
    orders[1].epoch = 5
    # Of every four films that follow one another, one is of each part.
    assert (orders[1].rows()[1::4] % 4 == 1).all()


def test_one_process_shuffles_all_films_together():
    order = pipeline.Order(50, seed=3, epoch=2)
    assert order.rows().tolist() == np.random.default_rng((3, 2)).permutation(50).tolist()
    assert order.is_mine().all()


def test_targets_must_match_the_films(store):
    with pytest.raises(ValueError, match="2 films but 3 rows"):
        pipeline.batches(store, np.arange(2), targets_of(np.arange(3)), batch_size=2)


def test_films_are_read_while_the_device_works(store, monkeypatch):
    # The batch that is asked for, and those that are read ahead of it.
    asked = []
    take = film_cache.Store.take
    monkeypatch.setattr(
        film_cache.Store, "take", lambda self, rows: asked.append(len(rows)) or take(self, rows)
    )
    tf.config.experimental.enable_op_determinism()
    rows = np.arange(48)
    iterator = iter(pipeline.batches(store, rows, targets_of(rows), batch_size=8))
    next(iterator)
    for _ in range(100):
        if len(asked) >= 4:
            break
        time.sleep(0.05)
    assert len(asked) >= 4


def test_a_film_that_cannot_be_read_ends_the_epoch(store, monkeypatch):
    def fail(self, rows):
        raise OSError("the disk is gone")

    monkeypatch.setattr(film_cache.Store, "take", fail)
    rows = np.arange(48)
    with pytest.raises(tf.errors.UnknownError, match="the disk is gone"):
        list(pipeline.batches(store, rows, targets_of(rows), batch_size=8))


def test_augmentation_differs_by_film_and_epoch_and_repeats_for_a_seed():
    film = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 1), np.uint8)
    pictures = np.repeat(film, 4, axis=0)
    once = varied(pictures, seed=1)
    assert once.shape == (4, 64, 64, 1)
    assert once.min() >= 0
    assert once.max() <= 255
    assert not np.allclose(once[0], once[1])
    np.testing.assert_array_equal(once, varied(pictures, seed=1))
    assert not np.allclose(once, varied(pictures, seed=1, epoch=1))


def test_a_film_is_varied_the_same_way_whatever_the_batch_and_the_devices(store):
    rows = np.arange(50)
    found = []
    for batch_size, replicas in ((8, 1), (13, 2)):
        by_film = {}
        order = pipeline.Order(50, seed=3)
        for inputs, targets, weights in pipeline.batches(
            store, rows, targets_of(rows), batch_size=batch_size, order=order, replicas=replicas
        ):
            draws = inputs["draws"].numpy()
            counted = np.flatnonzero(weights.numpy())
            by_film |= {int(numbers(targets)[n]): draws[n].tolist() for n in counted}
        found.append(by_film)
    assert len(found[0]) == 50
    assert found[0] == found[1]


def test_resampling_agrees_with_tensorflows_own():
    # Smooth pictures: a pixel's place may differ by rounding.
    smooth = np.random.default_rng(0).uniform(0, 255, (6, 9, 9, 1))
    pictures = tf.cast(tf.image.resize(smooth, (64, 64), "bicubic"), tf.uint8)
    draws = pipeline.Order(6, seed=2).draws()
    ours = pipeline.augment(pictures, draws, mirror=True).numpy()
    kernel = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(pictures, tf.float32),
        transforms=np.array([projection(draw, 64) for draw in draws], np.float32),
        output_shape=(64, 64),
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    ).numpy()
    assert np.abs(ours - pictures.numpy()).max() > 10
    np.testing.assert_allclose(ours, kernel, atol=0.01)


def projection(draw, side):
    """Eight numbers for the kernel: output pixel -> input pixel, about the centre."""
    angle, shear = draw[0] * np.deg2rad(5), draw[1] * np.deg2rad(0.1)
    zoom_x, zoom_y = (1 + 0.15 * draw[2]) * (-1 if draw[6] < 0 else 1), 1 + 0.15 * draw[3]
    a, b = np.cos(angle) * zoom_x, -np.sin(angle + shear) * zoom_y
    c, d = np.sin(angle) * zoom_x, np.cos(angle + shear) * zoom_y
    centre = (side - 1) / 2
    x = centre * (1 - a - b) + 0.1 * side * draw[4]
    y = centre * (1 - c - d) + 0.1 * side * draw[5]
    return [a, b, x, c, d, y, 0, 0]


def varied(pictures, seed, epoch=0, **options):
    draws = pipeline.Order(len(pictures), seed, epoch).draws()
    return pipeline.augment(tf.constant(pictures), draws, **options).numpy()


def test_augmentation_moves_a_dot_no_further_than_it_says():
    # A dot in the middle is moved by the shift alone: at most a tenth of 100 px.
    film = np.zeros((1, 101, 101, 1), np.uint8)
    film[0, 49:52, 49:52, 0] = 255
    weight = varied(np.repeat(film, 200, axis=0), seed=5)[..., 0]
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
    bright = np.full((16, 64, 64, 1), 200, np.uint8)
    assert varied(bright, seed=2) == pytest.approx(200, abs=0.1)


def test_mirroring_swaps_left_and_right_in_about_half_of_the_films():
    film = np.zeros((1, 64, 64, 1), np.uint8)
    film[:, :, :32] = 200
    pictures = np.repeat(film, 200, axis=0)
    plain, mirrored = (varied(pictures, seed=4, mirror=mirror) for mirror in (False, True))
    left, right = slice(8, 16), slice(48, 56)
    assert (plain[:, :, left].mean(axis=(1, 2, 3)) > plain[:, :, right].mean(axis=(1, 2, 3))).all()
    swapped = mirrored[:, :, left].mean(axis=(1, 2, 3)) < mirrored[:, :, right].mean(axis=(1, 2, 3))
    # 200 fair coins: 100 give or take four standard deviations.
    assert 72 <= swapped.sum() <= 128
    # Films that are not mirrored are what they are without mirroring.
    np.testing.assert_allclose(mirrored[~swapped], plain[~swapped], atol=1e-3)


@pytest.mark.parametrize("replicas", [1, 2])
def test_blended_films_and_their_targets_have_the_same_shares(store, replicas):
    # Films are as grey as their number; so a blend's grey is what its targets say.
    rows = np.arange(50)
    order = pipeline.Order(50, seed=3, mixup=0.4)
    greys = np.zeros((50, 14))
    greys[:, 0] = rows
    shares = set()
    for inputs, targets, _ in pipeline.batches(
        store, rows, greys, batch_size=8, order=order, replicas=replicas
    ):
        parts = zip(
            np.split(inputs["film"].numpy(), replicas),
            np.split(inputs["draws"].numpy(), replicas),
            np.split(targets.numpy(), replicas),
            strict=True,
        )
        for films, draws, wanted in parts:
            mixed = pipeline.augment(films, draws, blend=True).numpy()
            assert mixed[:, 0, 0, 0] == pytest.approx(wanted[:, 0], abs=1e-3)
        shares.add(float(draws[0, -1]))
    assert len(shares) == 7
    assert all(0 <= share <= 1 for share in shares)
