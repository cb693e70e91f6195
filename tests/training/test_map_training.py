"""Descent: reproducible, stopped in time, and never left in a bad state."""

from __future__ import annotations

from dataclasses import replace
from importlib.machinery import PathFinder
from typing import Any

import numpy as np
import pytest

from isthmus.errors import DivergedError, InputError, MissingExtraError
from isthmus.spaces.sample import Batch
from isthmus.training import Examples, Schedule, require_torch

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from isthmus.training.map_training import (  # noqa: E402
    BATCH_ROWS,
    TrainedParameter,
    one_thread,
    parameter,
    train_map,
)


def examples(rows: int) -> Examples:
    """As many rows to train on, and some held out."""
    rng = np.random.default_rng(0)
    found = Examples.of(Batch(np.arange(100), *rng.standard_normal((2, 100, 3))), negatives=0)
    assert found is not None
    held = np.arange(rows + 10) >= rows
    return replace(found, held_out=held)


def module(weight: Any) -> Any:
    holder = torch.nn.Module()
    holder.weight = weight
    return holder


def descend(losses: list[float], epochs: int = 10, patience: int = 1) -> tuple[bool, float, int]:
    """A parameter that steps down by 1 each epoch, and the held-out losses it is told."""
    weight = parameter(np.zeros(1))
    told: list[Any] = []
    left = list(losses)
    improved = train_map(
        module(weight),
        [TrainedParameter(weight, 1.0)],
        lambda _: weight.sum(),
        lambda: left.pop(0),
        examples(64),
        Schedule(epochs, patience=patience),
        lambda *event: told.append(event),
    )
    assert told == [("train", epoch, epochs) for epoch in range(1, len(told) + 1)]
    return improved, float(weight.detach()), len(told)


def test_the_best_state_is_kept() -> None:
    improved, weight, epochs = descend([5, 4, 3, 3.5, 2])
    assert improved
    assert weight == pytest.approx(-2, abs=1e-3)
    assert epochs == 3
    improved, weight, _ = descend([5, 4, 3, 3.5, 2, 9, 9], patience=2)
    assert weight == pytest.approx(-4, abs=1e-3)


def test_the_first_state_stands_where_none_is_better() -> None:
    improved, weight, epochs = descend([5, 5, 4])
    assert not improved
    assert weight == 0
    assert epochs == 1


def test_a_loss_that_stops_being_finite() -> None:
    improved, weight, _ = descend([5, 4, np.nan])
    assert improved
    assert weight == pytest.approx(-1, abs=1e-3)
    for losses in ([5, np.nan], [5, np.inf], [np.nan]):
        with pytest.raises(DivergedError, match="not finite any more in epoch 1.*Lower the rate"):
            descend(losses)


def test_no_step_follows_a_loss_that_is_not_finite() -> None:
    weight = parameter(np.zeros(1))
    seen = []

    def loss(rows: np.ndarray) -> Any:
        seen.append(rows)
        return weight.sum() * (np.nan if len(seen) == 3 else 1.0)

    held_out = iter([5.0, 4.0])
    assert train_map(
        module(weight),
        [TrainedParameter(weight, 1.0)],
        loss,
        lambda: next(held_out),
        examples(2 * BATCH_ROWS),
        Schedule(5),
    )
    assert float(weight.detach()) == pytest.approx(-2, abs=1e-3)
    assert len(seen) == 3


def test_every_row_is_seen_once_an_epoch_in_an_order_of_the_seed() -> None:
    rows = 3 * BATCH_ROWS + 4

    def batches(seed: int) -> list[Any]:
        weight, seen = parameter(np.zeros(1)), []

        def loss(rows: np.ndarray) -> Any:
            seen.append(rows.tolist())
            return weight.sum()

        falling = iter(range(0, -9, -1))
        train_map(
            module(weight),
            [TrainedParameter(weight, 1.0)],
            loss,
            lambda: float(next(falling)),
            examples(rows),
            Schedule(2, seed=seed),
        )
        return seen

    first = batches(0)
    assert [len(b) for b in first] == [BATCH_ROWS] * 3 + [4] + [BATCH_ROWS] * 3 + [4]
    for epoch in (first[:4], first[4:]):
        assert sorted(row for batch in epoch for row in batch) == list(range(rows))
    assert first[:4] != first[4:]
    assert batches(0) == first != batches(1)


def test_one_thread_is_restored() -> None:
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread():
        assert torch.get_num_threads() == 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("wrong", "says"), [({"epochs": -1}, "0 or more"), ({"patience": 0}, "1 epoch or more")]
)
def test_schedules_that_cannot_run(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Schedule(**{"epochs": 1, **wrong})
    with pytest.raises(InputError, match="1 epoch or more"):
        descend([1.0], epochs=0)


@pytest.mark.parametrize("absent", ["torch", "lightning_fabric"])
def test_without_torch_the_extra_is_named(absent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = PathFinder.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name == absent else find(name, *rest)

    monkeypatch.setattr("isthmus.training.find_spec", lambda name: without(name))
    with pytest.raises(MissingExtraError, match=r"training a map needs .*isthmus\[torch\]"):
        require_torch("training a map")
