"""What more pairs are worth is measured by queries where there are any."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.adapters.budget.learning_curve import CurveDesign
from isthmus.bridge.held_out_samples import Queries
from isthmus.bridge.pair_curve import pair_curve
from isthmus.errors import InputError
from isthmus.spaces.pairs import Pairs

FAST = CurveDesign(orders=1, resamples=50, metric="recall@10")


def _sides(n: int, seed: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.random.default_rng(9).standard_normal((24, 24)))[0]
    items = np.random.default_rng(0).standard_normal((n, 24))
    x = items + noise * rng.standard_normal(items.shape)
    return x, (x + 0.3 * rng.standard_normal(items.shape)) @ turn


def test_queries_judge_where_there_are_any() -> None:
    pairs = Pairs(*_sides(900, 1, 0.0), ids=np.arange(900))
    # queries lie far from what answers them: they find less than an item finds its own vector
    asked = Pairs(*_sides(900, 2, 1.5), ids=np.arange(900))
    own = pair_curve(pairs, design=FAST)
    found = pair_curve(pairs, Queries(asked), design=FAST)
    assert (own.own_vectors, found.own_vectors) == (True, False)
    assert found.n_queries == pytest.approx(180, abs=40)
    assert found.quality[-1].value is not None and own.quality[-1].value is not None
    assert 0.05 < found.quality[-1].value < own.quality[-1].value - 0.2
    assert "unseen queries" in str(found) and "own vector" not in found.answer
    assert "each its own vector" in str(own)


def test_queries_that_nothing_answers_are_refused() -> None:
    pairs = Pairs(*_sides(300, 1, 0.0), ids=np.arange(300))
    asked = Pairs(*_sides(20, 2, 0.5), ids=np.arange(1000, 1020))
    with pytest.raises(InputError, match="answer"):
        pair_curve(pairs, Queries(asked, {}), design=FAST)
