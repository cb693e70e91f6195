"""Learning curves: nested, honest about the held-out part, and read off rightly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.adapters import Procrustes
from isthmus.adapters.budget.curve_reading import LearningCurve
from isthmus.adapters.budget.learning_curve import CurveDesign, learning_curve
from isthmus.adapters.chain import Chain
from isthmus.errors import InputError
from isthmus.spaces.split import hash_ids

Make = Callable[..., Any]
FAST: dict[str, Any] = {"orders": 1, "resamples": 200}


def measured(x: Any, y: Any, **options: Any) -> LearningCurve:
    how = {k: options.pop(k) for k in list(options) if k in CurveDesign.__dataclass_fields__}
    return learning_curve(x, y, design=CurveDesign(**how), **options)


@pytest.fixture(scope="module")
def pairs(twins: Make) -> Any:
    return twins(2000, noise=0.1, seed=1)


@pytest.fixture(scope="module")
def curve(pairs: Any) -> LearningCurve:
    return measured(pairs.x, pairs.y, **FAST)


def test_more_pairs_give_a_better_map_until_they_do_not(curve: LearningCurve) -> None:
    assert curve.budgets == (100, 250, 500, 1000, 1600)
    assert curve.n_queries == 400
    observed = [q.value for q in curve.quality]
    assert observed == sorted(observed)
    assert observed == list(curve.values.mean(axis=0))
    assert curve.misfit < 0.03
    assert curve.asymptote.value >= observed[-1] - 0.01
    assert curve.enough.value < 1600
    assert (curve.enough.low, curve.asymptote.low, curve.remaining.low) == (None, None, None)
    assert "pairs, by the law alone" in str(curve)
    assert "to find an item's own vector more pairs add nothing" in curve.answer
    assert "what queries find can still grow" in curve.answer
    assert "1,600 pairs" in str(curve)


def test_a_steep_curve_asks_for_more(pairs: Any) -> None:
    found = measured(pairs.x, pairs.y, budgets=[4, 8, 16], **FAST)
    assert "more pairs are worth it" in found.answer
    assert found.doubling.low > 0.01
    assert found.enough.value > 16


def test_each_budget_is_a_prefix_of_the_same_order(pairs: Any) -> None:
    seen: list[np.ndarray] = []

    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        seen.append(x)
        return Procrustes().fit(x, y).transform

    names = np.array([f"item-{i}" for i in range(2000)])
    found = measured(
        pairs.x, pairs.y, ids=names, recipe=fit, budgets=[20, 50, 90], orders=2, seed=5
    )
    assert [len(x) for x in seen] == [20, 50, 90] * 2
    rows = [{row.tobytes() for row in x} for x in seen]
    assert rows[0] < rows[1] < rows[2]
    assert rows[3] < rows[4]
    assert rows[0] != rows[3]
    held = {pairs.x[i].tobytes() for i in np.argsort(hash_ids(names, 5))[:400]}
    assert not held & (rows[2] | rows[5])
    assert found.recipe == "fit"


def test_recipes_are_fitted_as_rows_would_be(pairs: Any) -> None:
    by_recipe = measured(
        pairs.x, pairs.y, recipe="procrustes", budgets=[30, 60, 200], cosine=False, **FAST
    )
    by_rows = measured(
        pairs.x,
        pairs.y,
        recipe=lambda x, y: Procrustes().fit(x, y).transform,
        budgets=[30, 60, 200],
        cosine=False,
        **FAST,
    )
    np.testing.assert_array_equal(by_recipe.values, by_rows.values)


def test_all_pairs_are_fitted_once_whatever_the_orders(pairs: Any) -> None:
    told: list[int] = []

    def fit(x: np.ndarray, y: np.ndarray) -> Any:
        told.append(len(x))
        return Procrustes().fit(x, y).transform

    some = pairs.x[:200], pairs.y[:200]
    found = measured(*some, recipe=fit, budgets=[20, 40, 160], orders=3)
    assert sorted(told) == [20] * 3 + [40] * 3 + [160]
    once = measured(*some, recipe=fit, budgets=[20, 40, 160], orders=1)
    np.testing.assert_allclose(found.values[:, 2], once.values[:, 2])


def test_a_judge_of_the_callers_decides(pairs: Any) -> None:
    """What a corpus of other items makes of each map, and nothing held out here."""
    calls: list[Chain] = []

    def judge(chain: Chain) -> np.ndarray:
        calls.append(chain)
        return np.einsum("ij,ij->i", chain(pairs.x[1000:1100]), pairs.y[1000:1100]).astype(float)

    found = measured(pairs.x[:1000], pairs.y[:1000], judge=judge, budgets=[50, 200, 1000], **FAST)
    assert len(calls) == 3
    assert found.values.shape == (100, 3)
    assert found.quality[-1].value > found.quality[0].value


def test_within_the_interval_the_question_is_open(pairs: Any) -> None:
    some = pairs.x[:500], pairs.y[:500]
    steep = measured(*some, budgets=[4, 8, 16], **FAST)
    found = measured(*some, budgets=[4, 8, 16], tolerance=steep.doubling.value, **FAST)
    assert found.doubling == steep.doubling
    assert found.doubling.low < found.tolerance < found.doubling.high
    assert found.answer.startswith("it is open")


def test_what_has_no_relation_is_not_called_enough(rng: np.random.Generator) -> None:
    x, y = rng.standard_normal((2, 600, 8)).astype(np.float32)
    found = measured(x, y, **FAST)
    assert found.answer.startswith("nothing was learned")


def test_identical_sides_need_the_fewest(pairs: Any) -> None:
    found = measured(pairs.x, pairs.x, **FAST)
    assert [q.value for q in found.quality] == [1.0] * 5
    assert found.enough.value == 1
    assert found.remaining.value == 0


def test_rows_are_read_from_a_memory_map(pairs: Any, curve: LearningCurve, tmp_path: Path) -> None:
    sides: list[np.ndarray] = []
    for name, rows in zip("xy", pairs, strict=True):
        np.save(tmp_path / f"{name}.npy", rows)
        sides.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    again = measured(*sides, **FAST)
    np.testing.assert_array_equal(again.values, curve.values)
    assert str(again) == str(curve)


def test_bad_input_is_refused(pairs: Any) -> None:
    x, y = pairs.x[:100], pairs.y[:100]
    with_nan, with_zero = x.copy(), x.copy()
    with_nan[:, 0], with_zero[:] = np.nan, 0
    refusals: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("expected paired rows", x, y[:99], {}),
        ("8 of 40 pairs cannot be held out", x[:40], y[:40], {}),
        ("98 of 100 pairs cannot be held out", x, y, {"held_out": 98}),
        ("a budget of 81 pairs was asked for, and 80", x, y, {"budgets": [10, 20, 81]}),
        ("at least 3 different budgets", x, y, {"budgets": [10, 20, 20]}),
        ("at least 3 different budgets", x, y, {"budgets": [1, 20, 30]}),
        ("'alpha' is left to cross-validation", x, y, {"recipe": "ridge(alpha=auto)"}),
        ("at least 1 order", x, y, {"orders": 0}),
        ("positive tolerance", x, y, {"tolerance": 0}),
        ("is not a metric", x, y, {"metric": "top1"}),
        ("x, row 0.*nan", with_nan, y, {}),
        ("x, row 0.*all zeros", with_zero, y, {}),
        ("3 ids for 100 pairs", x, y, {"ids": np.arange(3)}),
        ("ids, row", x, y, {"ids": np.zeros(100, int)}),
    ]
    for says, left, right, options in refusals:
        with pytest.raises(InputError, match=says):
            measured(left, right, **options)
