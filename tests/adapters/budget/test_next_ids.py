"""Which items next: exact gains, a control, bounded memory, and what the choice is worth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import Ridge
from isthmus.adapters.budget.next_ids import Design, NextIds, next_ids
from isthmus.errors import InputError

Make = Callable[..., Any]


def picked(vectors: Any, ids: Any, budget: int, **options: Any) -> NextIds:
    how = {k: options.pop(k) for k in list(options) if k in Design.__dataclass_fields__}
    return next_ids(vectors, ids, budget, design=Design(**how), **options)


def candidates(n: int = 300, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((n, d)) * np.logspace(0, -1, d) + 0.3).astype(np.float32)


def information(rows: np.ndarray, chosen: np.ndarray, ridge: float = 1.0) -> np.ndarray:
    """The Gram matrix of the chosen about the mean of all, plus the prior."""
    centred = rows.astype(np.float64) - rows.mean(axis=0, dtype=np.float64)
    prior = ridge * centred.var(axis=0).mean() * np.eye(rows.shape[1])
    return centred[chosen].T @ centred[chosen] + prior


@pytest.mark.parametrize("method", ["leverage", "random"])
def test_scores_add_up_to_the_log_determinant(method: Any) -> None:
    rows = candidates()
    found = picked(rows, None, 40, method=method, cosine=False)
    before = np.linalg.slogdet(information(rows, np.zeros(0, int)))[1]
    after = np.linalg.slogdet(information(rows, found.ids))[1]
    assert found.volume == pytest.approx(after - before, rel=1e-6)
    covariance = np.cov(rows.T.astype(np.float64), bias=True)
    left = [
        np.trace(np.linalg.inv(information(rows, c)) @ covariance)
        for c in (found.ids, np.zeros(0, int))
    ]
    assert found.variance == pytest.approx(left[0] / left[1], rel=1e-6)
    assert len(set(found.ids.tolist())) == 40


def test_each_pick_is_the_best_of_all_that_are_left() -> None:
    rows = candidates(60)
    found = picked(rows, None, 12, cosine=False)
    chosen: list[int] = []
    for pick, score in zip(found.ids.tolist(), found.scores, strict=True):
        base = np.linalg.slogdet(information(rows, np.array(chosen, dtype=int)))[1]
        gains = {
            i: np.linalg.slogdet(information(rows, np.array([*chosen, i])))[1] - base
            for i in range(60)
            if i not in chosen
        }
        assert gains[pick] == pytest.approx(max(gains.values()), rel=1e-4)
        assert score == pytest.approx(gains[pick], rel=1e-4)
        chosen.append(pick)


@given(st.integers(0, 1000), st.integers(1, 60))
def test_the_design_gains_more_volume_than_chance(seed: int, budget: int) -> None:
    rows = candidates(200, seed=seed)
    design = picked(rows, None, budget, seed=seed)
    chance = picked(rows, None, budget, method="random", seed=seed)
    assert design.volume >= chance.volume
    assert 0 < design.variance < 1


def test_the_design_leaves_less_variance_than_chance() -> None:
    rows = candidates(2000, 12)
    design, *chance = (
        picked(rows, None, 30, method=m, seed=s, cosine=False).variance
        for m, s in (("leverage", 0), ("random", 0), ("random", 1), ("random", 2))
    )
    assert design < min(chance)


def test_a_skewed_task_needs_fewer_pairs_by_design(twins: Make) -> None:
    """Measured: the held-out error of a ridge map from 30 designed and from 30 random items."""
    t = twins(1500, noise=0.1, seed=2)
    unseen = slice(1000, None)

    def error(chosen: np.ndarray) -> float:
        fitted = Ridge(0.1).fit(t.x[chosen], t.y[chosen])
        return float(((fitted.transform(t.x[unseen]) - t.y[unseen]) ** 2).sum())

    designed = error(picked(t.y[:1000], None, 30).ids)
    chance = [error(picked(t.y[:1000], None, 30, method="random", seed=s).ids) for s in range(8)]
    assert designed < np.mean(chance)


def test_known_items_count_and_are_not_chosen_again() -> None:
    rows = candidates()
    first = picked(rows, None, 20, cosine=False)
    then = picked(rows, None, 15, already=first.ids, cosine=False)
    both = picked(rows, None, 35, cosine=False)
    np.testing.assert_array_equal(np.concatenate([first.ids, then.ids]), both.ids)
    np.testing.assert_allclose(then.scores, both.scores[20:], rtol=1e-4)
    assert (then.n_known, then.n_candidates) == (20, 280)


@pytest.mark.parametrize("method", ["leverage", "random"])
def test_batches_in_any_cut_give_the_same_choice(method: Any) -> None:
    rows = candidates(500)
    names = np.array([f"item-{i}" for i in range(500)])
    whole = picked(rows, names, 30, method=method, shortlist=60)
    for size in (7, 499):
        batches = [(names[i : i + size], rows[i : i + size]) for i in range(0, 500, size)]
        found = picked(batches, None, 30, method=method, shortlist=60)
        np.testing.assert_array_equal(found.ids, whole.ids)
        np.testing.assert_allclose(found.scores, whole.scores, rtol=1e-4)
    turned = picked([(names[::-1], rows[::-1])], None, 30, method=method, shortlist=60)
    assert set(turned.ids.tolist()) == set(whole.ids.tolist())


def test_a_shortlist_loses_little_against_all_candidates() -> None:
    rows = candidates(3000, 12)
    everything = picked(rows, None, 40, shortlist=3000).volume
    short = picked(rows, None, 40, shortlist=320).volume
    chance = picked(rows, None, 40, method="random").volume
    assert everything - short < 0.3 * (everything - chance)


def test_random_is_uniform_and_follows_its_seed() -> None:
    rows = candidates(40)
    times = np.zeros(40)
    for seed in range(400):
        times[picked(rows, None, 10, method="random", seed=seed).ids] += 1
    # 400 draws of 10 of 40: 100 expected of each, standard deviation below 9
    assert (np.abs(times - 100) < 40).all()


def test_it_prints_what_it_found() -> None:
    text = str(picked(candidates(), None, 5))
    assert "5 of 300 items by leverage (0 known)" in text


def test_bad_input_is_refused() -> None:
    rows = candidates(50)
    with_nan, with_zero = rows.copy(), rows.copy()
    with_nan[4, 2], with_zero[7] = np.nan, 0
    names = np.arange(50)
    refusals: list[tuple[str, Any, Any, int, dict[str, Any]]] = [
        ("budget of 51 was asked for, and there are 50", rows, None, 51, {}),
        ("budget of 48 .* there are 47", rows, None, 48, {"already": np.arange(3)}),
        ("a budget is positive, got 0", rows, None, 0, {}),
        ("weight of a prior is positive, got 0", rows, None, 5, {"ridge": 0}),
        ("method 'best' is unknown", rows, None, 5, {"method": "best"}),
        ("vectors, row 4.*nan", with_nan, None, 5, {}),
        ("vectors, row 7.*all zeros", with_zero, None, 5, {}),
        ("all alike", np.ones_like(rows), None, 5, {}),
        ("49 ids for 50 vectors", rows, names[:49], 5, {}),
        ("ids, row", rows, np.zeros(50, int), 5, {}),
        ("1 of the 2 known ids", rows, names, 5, {"already": np.array([3, 99])}),
        ("Name items in one way", rows, names, 5, {"already": np.array(["3"])}),
        ("batches carry their own ids", [(names, rows)], names, 5, {}),
        ("read twice", iter([(names, rows)]), None, 5, {}),
        ("there is no candidate", [], None, 5, {}),
        ("3 ids for 50 vectors", [(names[:3], rows)], None, 5, {}),
        ("ids of the candidates", [(names, rows), (names, rows)], None, 5, {}),
    ]
    for says, vectors, ids, budget, options in refusals:
        with pytest.raises(InputError, match=says):
            picked(vectors, ids, budget, **options)
