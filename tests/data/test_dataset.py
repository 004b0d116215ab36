import numpy as np
import pytest

from mien.data.dataset import TrainingBatches
from mien.errors import InputError


def _batches(
    balance: str, *, batch_size: int = 8, seed: int = 0, copies: list[int] | None = None
) -> TrainingBatches:
    labels = np.array([0] * 30 + [1] * 6 + [2] * 4)
    return TrainingBatches(
        np.arange(100, dtype=np.uint8)[:, None, None, None].repeat(4, 2).repeat(4, 3),
        np.arange(10, 50),
        labels,
        np.eye(3, dtype=np.float32)[labels],
        np.array(copies if copies is not None else [1] * 40, dtype=np.int32),
        np.arange(40) % 2 == 0,
        balance=balance,  # type: ignore[arg-type]
        batch_size=batch_size,
        seed=seed,
    )


def test_an_epoch_holds_each_image_once() -> None:
    batches = _batches("none")
    assert batches.steps_per_epoch == 5
    assert sorted(batches.order(3).ravel()) == list(range(40))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert np.array_equal(_batches("none").order(2), _batches("none").order(2))
    assert not np.array_equal(_batches("none").order(2), _batches("none").order(3))
    assert not np.array_equal(_batches("none").order(2), _batches("none", seed=1).order(2))


def test_copies_follow_the_plan() -> None:
    plan = [1] * 20 + [0] * 10 + [4, 4, 3, 3, 3, 3] + [5] * 4
    batches = _batches("copies", copies=plan, batch_size=10)
    drawn = np.bincount(batches.order(0).ravel(), minlength=40)
    assert np.array_equal(drawn, plan)


def test_sampling_draws_classes_evenly() -> None:
    batches = _batches("sampling")
    drawn = np.concatenate([batches.labels[batches.order(epoch).ravel()] for epoch in range(100)])
    assert np.allclose(np.bincount(drawn) / len(drawn), 1 / 3, atol=0.04)


def test_a_batch_holds_the_packs_faces_and_their_labels() -> None:
    batch = _batches("none").batch(np.array([0, 39, 31]))
    assert batch.faces.shape == (3, 1, 4, 4)
    assert batch.faces[:, 0, 0, 0].tolist() == [10, 49, 41]
    assert batch.rows.tolist() == [10, 49, 41]
    assert batch.targets.argmax(1).tolist() == [0, 2, 1]


def test_fewer_images_than_a_batch_are_one_batch() -> None:
    assert _batches("none", batch_size=64).order(0).shape == (1, 40)


def test_an_empty_plan_is_refused() -> None:
    with pytest.raises(InputError, match="keeps no training image"):
        _batches("copies", copies=[0] * 40)
