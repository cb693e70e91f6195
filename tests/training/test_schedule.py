"""Descent: reproducible, stopped in time, and never left in a bad state."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError, MissingExtraError
from isthmus.training.schedule import Parameter, Schedule, one_thread, require_torch

ROWS = np.arange(64)


def descend(losses: list[float], epochs: int = 10, **options: Any) -> tuple[bool, float, list[Any]]:
    """A parameter that steps down by 1 each epoch, and the held-out losses it is told."""
    torch = pytest.importorskip("torch")
    weight = torch.zeros(1, requires_grad=True)
    told: list[Any] = []
    left = list(losses)
    improved = Schedule(epochs, batch=64, **options).run(
        torch,
        [Parameter(weight, 1.0)],
        lambda _: weight.sum(),
        lambda: left.pop(0),
        ROWS,
        lambda *event: told.append(event),
    )
    return improved, float(weight.detach()), told


def test_the_best_state_is_kept() -> None:
    improved, weight, told = descend([5, 4, 3, 3.5, 2])
    assert improved
    assert weight == pytest.approx(-2, abs=1e-3)
    assert told == [("train", epoch, 10) for epoch in (1, 2, 3)]
    improved, weight, _ = descend([5, 4, 3, 3.5, 2, 9, 9], patience=2)
    assert weight == pytest.approx(-4, abs=1e-3)


def test_the_first_state_stands_where_none_is_better() -> None:
    improved, weight, told = descend([5, 5, 4])
    assert not improved
    assert weight == 0
    assert len(told) == 1


def test_a_loss_that_stops_being_finite() -> None:
    improved, weight, _ = descend([5, 4, np.nan])
    assert improved
    assert weight == pytest.approx(-1, abs=1e-3)
    for losses in ([5, np.nan], [5, np.inf], [np.nan]):
        with pytest.raises(InputError, match="not finite any more in epoch 1.*Lower the rate"):
            descend(losses)


def test_no_step_follows_a_loss_that_is_not_finite() -> None:
    torch = pytest.importorskip("torch")
    weight = torch.zeros(1, requires_grad=True)
    seen = []

    def loss(rows: np.ndarray) -> Any:
        seen.append(rows)
        return weight.sum() * (np.nan if len(seen) == 3 else 1.0)

    held_out = iter([5.0, 4.0])
    schedule = Schedule(5, batch=32)
    assert schedule.run(torch, [Parameter(weight, 1.0)], loss, lambda: next(held_out), ROWS)
    assert float(weight.detach()) == pytest.approx(-2, abs=1e-3)
    assert len(seen) == 3


def test_every_row_is_seen_once_an_epoch_in_an_order_of_the_seed() -> None:
    torch = pytest.importorskip("torch")

    def batches(seed: int) -> list[Any]:
        weight, seen = torch.zeros(1, requires_grad=True), []

        def loss(rows: np.ndarray) -> Any:
            seen.append(rows.tolist())
            return weight.sum()

        falling = iter(range(0, -9, -1))
        Schedule(2, batch=20, seed=seed).run(
            torch, [Parameter(weight, 1.0)], loss, lambda: float(next(falling)), ROWS
        )
        return seen

    first = batches(0)
    assert [len(b) for b in first] == [20, 20, 20, 4] * 2
    for epoch in (first[:4], first[4:]):
        assert sorted(row for batch in epoch for row in batch) == ROWS.tolist()
    assert first[:4] != first[4:]
    assert batches(0) == first != batches(1)


def test_one_thread_is_restored() -> None:
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), one_thread(torch):
        assert torch.get_num_threads() == 1
        raise ZeroDivisionError
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch": 0}, {"patience": 0}])
def test_schedules_that_cannot_run(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError, match="1 or more"):
        Schedule(**{"epochs": 1, **wrong})


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"training a map needs .*isthmus\[torch\]"):
        require_torch("training a map")
