"""Losses against plain definitions in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.spaces.sample import Batch
from isthmus.training import Examples
from isthmus.training.losses import softmax_loss
from isthmus.training.objective import Objective, similarities

torch = pytest.importorskip("torch")


def examples(n: int = 120, d: int = 5, *, sphere: bool, seed: int = 0) -> Examples:
    """Items of two rows each, a shared target among them, all far from the origin if not unit."""
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, n, d))
    y[7] = y[40]
    y = y / np.linalg.norm(y, axis=1, keepdims=True) if sphere else y + 30
    found = Examples.of(Batch(np.arange(n) // 2, x, y), negatives=4)
    assert found is not None
    return found


def by_definition(e: Examples, mapped: Any, rows: Any, others: Any, temperature: float) -> float:
    """One row and one candidate at a time."""
    total = 0.0
    y = e.y.astype(np.float64)

    def score(a: Any, b: Any) -> float:
        if e.unit:
            return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
        return 1 - float((a - b) @ (a - b)) / (2 * e.spread)

    for m, row in zip(mapped, rows, strict=True):
        same = [o for o in others if e.item[o] == e.item[row]]
        apart = [o for o in others if e.item[o] != e.item[row] and np.any(y[o] != y[row])]
        logits = {o: score(m, y[o]) / temperature for o in same + apart}
        whole = np.logaddexp.reduce(list(logits.values()))
        total += -np.mean([logits[o] - whole for o in same])
    return total / len(rows)


@pytest.mark.parametrize("sphere", [True, False])
def test_the_contrastive_loss_is_the_one_defined(sphere: bool) -> None:
    e = examples(sphere=sphere)
    objective = Objective(e, "contrastive", 0.1)
    rows = np.sort(np.append(e.train[:8], 7 if not e.held_out[7] else 40))
    mapped = e.y[rows] + np.random.default_rng(1).standard_normal((len(rows), 5)) * 0.1
    found = float(objective.on(torch.asarray(mapped.astype(np.float32)), rows))
    assert found == pytest.approx(
        by_definition(e, mapped, rows, e.candidates(rows), 0.1), rel=1e-3, abs=1e-4
    )
    held = np.flatnonzero(e.held_out)
    weight = np.random.default_rng(2).standard_normal((5, 5)).astype(np.float32)
    whole = objective.held_out(lambda x: x @ torch.asarray(weight) + 1.0)
    expected = by_definition(e, e.x[held].astype(float) @ weight + 1, held, np.arange(120), 0.1)
    assert whole == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("loss", ["mse", "cosine"])
def test_the_pointwise_losses_are_the_ones_defined(loss: str) -> None:
    e = examples(sphere=False)
    objective = Objective(e, loss)
    rows, held = e.train[:9], np.flatnonzero(e.held_out)
    mapped = e.x[rows] + 30

    def expected(a: Any, b: Any) -> float:
        if loss == "mse":
            return float(((a - b) ** 2).sum(1).mean())
        lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
        return float((1 - (a * b).sum(1) / lengths).mean())

    assert float(objective.on(torch.asarray(mapped), rows)) == pytest.approx(
        expected(mapped, e.y[rows]), rel=1e-3
    )
    assert objective.held_out(lambda x: x + 30) == pytest.approx(
        expected(e.x[held] + 30, e.y[held]), rel=1e-3
    )


def test_a_perfect_map_costs_least_and_equal_targets_cost_nothing() -> None:
    e = examples(sphere=True)
    objective = Objective(e, "contrastive", 0.05)
    rows = e.train[:30]
    perfect = torch.asarray(e.y[rows])
    assert float(objective.on(perfect, rows)) < float(objective.on(-perfect, rows))
    scores = torch.zeros(2, 3)
    positive = torch.tensor([[True, False, False], [False, True, True]])
    ignored = torch.tensor([[False, True, True], [True, False, False]])
    # alone against nothing: certain; two positives: half each
    assert float(softmax_loss(scores, positive, ignored)) == pytest.approx(np.log(2) / 2)


def test_similarities_share_the_scale_of_a_cosine(rng: np.random.Generator) -> None:
    a, b = torch.asarray(rng.standard_normal((2, 6, 4)))
    a, b = (t / t.norm(dim=1, keepdim=True) for t in (a, b))
    np.testing.assert_allclose(similarities(a, b, None), similarities(a, b, 1.0), atol=1e-12)


def test_what_cannot_be_a_loss() -> None:
    e = examples(sphere=True)
    with pytest.raises(InputError, match="unknown loss 'hinge'.*contrastive"):
        Objective(e, "hinge")
    with pytest.raises(InputError, match="temperature must be positive"):
        Objective(e, "contrastive", 0.0)
