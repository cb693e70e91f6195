"""A network that starts as nothing and learns what no matrix can."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.training import Examples, Network, NetworkOptions, Schedule, train_network

torch = pytest.importorskip("torch")


def run(network: Network, x: np.ndarray) -> np.ndarray:
    features = torch.nn.functional.gelu(
        torch.asarray(x @ network.inner + network.inner_offset), approximate="tanh"
    )
    return features.numpy() @ network.outer + network.outer_offset


def bent(examples: Examples) -> Examples:
    """The target is a nonlinear function of the source."""
    y = examples.x + 0.5 * np.abs(examples.x[:, ::-1])
    return replace(examples, y=y.astype(np.float32), unit=False)


def test_untrained_features_are_standardised_and_silent(task: Any) -> None:
    x = task[0].x * np.float32(7) + np.float32(3)
    network = Network.untrained(x, 400, 5, seed=0)
    before = x @ network.inner + network.inner_offset
    assert before.mean(axis=0) == pytest.approx(0, abs=1e-3)
    assert float(before.var(axis=0).mean()) == pytest.approx(1, rel=0.1)
    assert not run(network, x).any()


@pytest.mark.parametrize("loss", ["mse", "cosine", "contrastive"])
def test_what_no_matrix_can_is_learned(task: Any, loss: str) -> None:
    examples = bent(task[0])
    held = examples.held_out
    x, y = (np.c_[side, np.ones(len(side))] for side in (examples.x, examples.y))
    least = np.linalg.lstsq(x[~held], y[~held], rcond=None)[0]
    matrix, offset = least[:-1, :-1], least[-1, :-1]
    network = train_network(
        matrix, offset, examples, Schedule(240, patience=20), NetworkOptions(64, loss, 0.03)
    )
    assert network is not None
    linear = examples.x[held] @ matrix + offset
    mapped = linear + run(network, examples.x[held])

    def error(rows: np.ndarray) -> float:
        targets = examples.y[held]
        if loss == "mse":
            return float(((rows - targets) ** 2).sum(1).mean())
        if loss == "contrastive":
            distances = ((rows[:, None] - examples.y[None]) ** 2).sum(-1)
            logits = -distances / (2 * examples.spread * 0.05)
            own = logits[np.arange(len(rows)), np.flatnonzero(held)]
            return float((np.logaddexp.reduce(logits, axis=1) - own).mean())
        lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(targets, axis=1)
        return float((1 - (rows * targets).sum(1) / lengths).mean())

    assert error(mapped) < (0.8 if loss == "contrastive" else 0.5) * error(linear)


def test_equal_seeds_give_equal_bytes(task: Any) -> None:
    _, matrix, offset = task
    runs = [
        train_network(
            matrix,
            offset,
            bent(task[0]),
            Schedule(2, patience=1, seed=s),
            NetworkOptions(16, "mse", 0.01),
        )
        for s in (0, 0, 1)
    ]
    assert all(run is not None for run in runs)
    first, again, other = runs
    for name in ("inner", "inner_offset", "outer", "outer_offset"):
        one, two, three = (getattr(n, name).tobytes() for n in (first, again, other))
        assert one == two != three


def test_noise_is_not_learned(task: Any) -> None:
    """What is left of the target is independent of the source: no correction helps."""
    examples, matrix, offset = task
    noise = np.random.default_rng(1).standard_normal(examples.y.shape)
    y = (examples.x @ matrix + offset + noise).astype(np.float32)
    noisy = replace(examples, y=y, unit=False)
    assert (
        train_network(matrix, offset, noisy, Schedule(3, patience=1), NetworkOptions(8, "mse", 1.0))
        is None
    )


def test_what_cannot_be_trained(task: Any) -> None:
    examples, matrix, offset = task
    for wrong, says in (({"hidden": 0}, "hidden layer"), ({"hidden": 4, "rate": -1.0}, "rate")):
        with pytest.raises(InputError, match=says):
            NetworkOptions(**wrong)
    with pytest.raises(InputError, match="not finite.*Lower the rate"):
        train_network(
            matrix, offset, replace(examples, unit=False), Schedule(1), NetworkOptions(4, rate=1e29)
        )
