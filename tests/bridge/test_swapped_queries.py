"""Queries that were given for each other are refused before the work."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.bridge.swapped_queries import check_not_swapped
from isthmus.errors import InputError
from isthmus.spaces.pairs import Pairs


def _sides(n: int, seed: int, empty: tuple[int, int]) -> tuple[Any, Any]:
    """Rows of two models, of which either leaves its last dimensions empty."""
    rng = np.random.default_rng(seed)
    hidden = rng.standard_normal((n, 24))
    maps = [np.random.default_rng(side).standard_normal((24, 24)) for side in (1, 2)]
    rows = [hidden @ turn for turn in maps]
    for side, (one, count) in enumerate(zip(rows, empty, strict=True)):
        turn = np.linalg.qr(np.random.default_rng(7 + side).standard_normal((24, 24)))[0]
        one[:] = np.where(np.arange(24) < 24 - count, one, 1e-4 * one) @ turn
    return tuple(one.astype(np.float32) for one in rows)  # type: ignore[return-value]


@pytest.mark.parametrize("empty", [(3, 3), (3, 0), (0, 3)])
def test_swapped_queries_are_refused_and_others_are_not(empty: tuple[int, int]) -> None:
    items = Pairs(*_sides(900, 0, empty))
    new, old = _sides(200, 5, empty)
    check_not_swapped(items, Pairs(new, old))
    with pytest.raises(InputError, match="queries of the new model look like.*other way round"):
        check_not_swapped(items, Pairs(old, new))


def test_models_without_empty_directions_tell_nothing() -> None:
    rng = np.random.default_rng(3)
    new, old, x, y = (rng.standard_normal((n, 24)) for n in (900, 900, 200, 200))
    check_not_swapped(Pairs(new, old), Pairs(y, x))


def test_a_fit_refuses_them() -> None:
    import isthmus

    new, old = _sides(200, 5, (3, 3))
    ids = np.arange(200)
    items = isthmus.Pairs(*_sides(900, 0, (3, 3)), ids=np.arange(900))
    with pytest.raises(InputError, match="other way round"):
        isthmus.fit(items, queries=isthmus.Pairs(old, new, ids=ids))
