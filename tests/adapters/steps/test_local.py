"""Local maps: the ridge of each region towards the global map, and its cross-validation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.adapters import Affine, Chain, Local
from isthmus.adapters.chain import RoutedMap
from isthmus.adapters.steps.local import Router, _sketch, held_out_errors
from isthmus.errors import InputError
from isthmus.spaces.sample import Batch
from isthmus.spaces.split import fold_of

D = 6


def regions(n: int = 600, seed: int = 0, noise: float = 0.1) -> tuple[Any, Any]:
    """Three regions of the source, each with a map of its own."""
    rng = np.random.default_rng(seed)
    region = rng.integers(0, 3, n)
    x = rng.standard_normal((n, D)) + 6 * np.eye(D)[region]
    maps = rng.standard_normal((3, D, 4))
    y = np.einsum("nd,nde->ne", x, maps[region]) + noise * rng.standard_normal((n, 4))
    return x.astype(np.float32), y.astype(np.float32)


def batches(x: Any, y: Any, size: int = 128) -> list[Batch]:
    ids = np.arange(len(x))
    return [Batch(ids[s : s + size], x[s : s + size], y[s : s + size]) for s in ids[::size]]


def least_squares(x: Any, y: Any) -> Affine:
    both = np.c_[x, np.ones(len(x))].astype(np.float64)
    found = np.linalg.lstsq(both, y.astype(np.float64), rcond=None)[0]
    return Affine(found[:-1], found[-1])


def error(stage: Any, x: Any, y: Any) -> float:
    return float(((Chain([stage])(x) - y) ** 2).sum(1).mean())


def weighted_ridge(
    x: NDArray[Any], r: NDArray[Any], weights: Any, penalty: float, scale: float, at: Any
) -> NDArray[Any]:
    """Rows ``at`` under the ridge of ``r`` on centred ``x`` and a constant feature."""
    centre = weights @ x / weights.sum()
    features = np.c_[x - centre, np.full(len(x), scale**0.5)]
    gram = (features.T * weights) @ features + penalty * np.eye(features.shape[1])
    solved = np.linalg.solve(gram, (features.T * weights) @ r)
    return np.c_[at - centre, np.full(len(at), scale**0.5)] @ solved


@pytest.mark.parametrize("nearest", [1, 2])
@pytest.mark.parametrize("shrinkage", [0.01, 5.0])
def test_experts_are_ridges_towards_the_global_map(nearest: int, shrinkage: float) -> None:
    """Each by the normal equations of its own weighted rows, the offset a constant feature."""
    x, y = regions()
    base = least_squares(x, y)
    stage = Local(3, shrinkage, nearest).refine(base, batches(x, y))
    assert isinstance(stage, RoutedMap)
    weights = Router.of(x, 3, nearest, 0).weights(x)
    np.testing.assert_allclose(weights.sum(1), 1)
    x64, y64 = x.astype(np.float64), y.astype(np.float64)
    scale = float(x64.var(axis=0).mean())
    expected = Chain([base])(x64)
    residual = y64 - expected
    for j in range(3):
        mine = weights[:, j]
        expected = expected + mine[:, None] * weighted_ridge(
            x64, residual, mine, shrinkage * scale * len(x) / 3, scale, x64
        )
    np.testing.assert_allclose(Chain([stage])(x64), expected, atol=2e-3)


def test_regions_with_maps_of_their_own_are_learned() -> None:
    x, y = regions(900)
    base = least_squares(x[:600], y[:600])
    stage = Local(3, 0.01, nearest=1).refine(base, batches(x[:600], y[:600]))
    assert error(stage, x[600:], y[600:]) < 0.05 * error(base, x[600:], y[600:])


def test_strong_shrinkage_gives_the_global_map_and_one_expert_is_it() -> None:
    x, y = regions()
    base = least_squares(x, y)
    stage = Local(4, 1e9).refine(base, batches(x, y))
    np.testing.assert_allclose(Chain([stage])(x), Chain([base])(x), atol=1e-4)
    assert Local(1).refine(base, batches(x, y)) is base


@pytest.mark.parametrize("base", [Affine(), Affine(np.full(D, 2.0)), Affine(offset=np.ones(D))])
def test_every_form_of_a_global_map_will_do(base: Affine) -> None:
    x, _ = regions()
    y = x * 2 + 1
    stage = Local(3, 1e-3, nearest=1).refine(base, batches(x, y))
    assert error(stage, x, y) < 1e-3


def test_the_size_of_batches_does_not_matter() -> None:
    x, y = regions()
    base = least_squares(x, y)
    one, other = (Local(3).refine(base, batches(x, y, size)) for size in (50, 600))
    np.testing.assert_allclose(Chain([one])(x), Chain([other])(x), atol=1e-4)
    again = Local(3).refine(base, batches(x, y, 50))
    for name, tensor in one.tensors().items():
        assert tensor.tobytes() == again.tensors()[name].tobytes()


@pytest.mark.parametrize("nearest", [1, 2, 3])
@pytest.mark.parametrize("n", [40, 300])
def test_held_out_errors_are_those_of_refitting(nearest: int, n: int) -> None:
    """Fold by fold and expert by expert; with fewer rows than dimensions, and with more."""
    rng = np.random.default_rng(1)
    x, r = rng.standard_normal((n, 12)) + 1, rng.standard_normal((n, 3))
    ids = np.arange(n)
    router = Router.of(x, 4, nearest, 0)
    shrinkages = (0.05, 2.0)
    found = held_out_errors(x, r, router, shrinkages, ids)
    weights, folds = router.weights(x), fold_of(ids, 5)
    scale = float(x.var(axis=0).mean())
    for shrinkage, value in zip(shrinkages, found, strict=True):
        total = 0.0
        for fold in range(5):
            train, held = folds != fold, folds == fold
            predicted = np.zeros((held.sum(), 3))
            for j in range(4):
                # the centre of an expert is part of the routing, which knows all rows
                centre = weights[:, j] @ x / weights[:, j].sum()
                features = np.c_[x - centre, np.full(n, scale**0.5)]
                w = weights[train, j]
                gram = (features[train].T * w) @ features[train]
                gram += shrinkage * scale * n / 4 * np.eye(13)
                solved = np.linalg.solve(gram, (features[train].T * w) @ r[train])
                predicted += weights[held, j][:, None] * (features[held] @ solved)
            total += float(((r[held] - predicted) ** 2).sum())
        assert value == pytest.approx(total / n, rel=1e-5)


def test_expansion_begins_with_the_global_map() -> None:
    x, y = regions()
    base = least_squares(x, y)
    given = {"experts": "auto", "shrinkage": "auto", "nearest": 1}
    found = Local.expanded(given, base, batches(x, y))
    assert found[0]["experts"] == 1
    assert Local(**found[0]).refine(base, batches(x, y)) is base
    numbers = [f["experts"] for f in found]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) == 3
    assert all(f["nearest"] == 1 and "auto" not in f.values() for f in found)
    for tried in (found[1:4], found[4:]):
        assert len({f["experts"] for f in tried}) == 1
        # the regions differ by far more than the noise: a shrinkage wins that is weaker than usual
        firmest, firm, found_best = (f["shrinkage"] for f in tried)
        assert found_best < 0.1
        assert (firmest, firm) == (
            pytest.approx(100 * found_best), pytest.approx(10 * found_best)
        )  # fmt: skip


def test_more_experts_are_tried_while_the_error_falls() -> None:
    rng = np.random.default_rng(1)
    places = 20 * rng.standard_normal((30, 2))
    which = np.repeat(np.arange(30), 60)
    x = (places[which] + rng.standard_normal((1800, 2))).astype(np.float32)
    maps = rng.standard_normal((30, 2, 2))
    y = np.einsum("ni,nij->nj", x, maps[which]).astype(np.float32)
    given = {"experts": "auto", "shrinkage": 0.1}
    numbers = [f["experts"] for f in Local.expanded(given, least_squares(x, y), batches(x, y))]
    assert max(numbers) > 16
    # one map for all: more experts than usual are of no use
    noisy = (x @ maps[0] + 40 * rng.standard_normal(x.shape)).astype(np.float32)
    found = Local.expanded(given, least_squares(x, noisy), batches(x, noisy))
    assert max(int(f["experts"]) for f in found) <= 16


def test_expansion_keeps_what_is_given() -> None:
    x, y = regions()
    base = least_squares(x, y)
    fixed = Local.expanded({"experts": 3, "shrinkage": "auto"}, base, batches(x, y))
    assert [f["experts"] for f in fixed] == [3, 3, 3]
    strong = Local.expanded({"experts": "auto", "shrinkage": 7.0}, base, batches(x, y))
    assert strong[0]["experts"] == 1
    assert {f["shrinkage"] for f in strong} == {7.0}
    assert Local.expanded({"experts": 3}, base, batches(x, y)) == [{"experts": 3}]
    # numbers that the pairs cannot carry are not tried
    few = Local.expanded({"experts": "auto"}, base, batches(x[:45], y[:45]))
    assert [f["experts"] for f in few] == [1, 2, 4]


def test_more_experts_than_a_tenth_of_the_pairs_are_refused() -> None:
    x, y = regions(85)
    base = least_squares(x, y)
    assert Local(8).refine(base, batches(x, y)) is not base
    with pytest.raises(InputError, match=r"9 experts cannot be fitted on 85 pairs.*at most 8"):
        Local(9).refine(base, batches(x, y))
    with pytest.raises(InputError, match=r"9 experts cannot be fitted on 85 pairs"):
        Local.expanded({"experts": 9, "shrinkage": "auto"}, base, batches(x, y))


@pytest.mark.parametrize(
    "wrong",
    [{"shrinkage": 0.0}, {"shrinkage": -1.0}, {"shrinkage": np.nan}, {"shrinkage": np.inf},
     {"experts": 0}, {"nearest": 0}, {"shrinkage": True}],
)  # fmt: skip
def test_parameters_out_of_range(wrong: dict[str, Any]) -> None:
    x, y = regions(100)
    with pytest.raises(InputError, match="must be positive|at least one expert"):
        Local(**wrong).refine(least_squares(x, y), batches(x, y))


def test_degenerate_rows_give_finite_maps() -> None:
    x, y = regions(200)
    base = least_squares(x, y)
    same = np.ones_like(x)
    assert Local(4).refine(base, batches(same, y)) is base
    constant = Local(4).refine(Affine(np.zeros((D, 4)), np.ones(4)), batches(x, np.ones_like(y)))
    np.testing.assert_allclose(Chain([constant])(x), 1, atol=1e-5)
    twice = np.repeat(x[:4], 50, axis=0)
    stage = Local(6, nearest=3).refine(base, batches(twice, np.repeat(y[:4], 50, axis=0)))
    assert isinstance(stage, RoutedMap)
    assert len(stage.offsets) == 4
    assert np.isfinite(Chain([stage])(x)).all()
    for rows in (same, twice):
        found = Local.expanded({"experts": "auto", "shrinkage": "auto"}, base, batches(rows, y))
        assert found[0]["experts"] == 1


def test_a_number_that_is_given_is_kept_whatever_the_rows() -> None:
    x, y = regions(200)
    base, given = least_squares(x, y), {"experts": 3, "shrinkage": "auto"}
    found = Local.expanded(given, base, batches(np.ones_like(x), y))
    assert found == [{"experts": 3, "shrinkage": 1.0}]
    assert Local.expanded({**given, "experts": 1}, base, batches(x, y)) == [
        {"experts": 1, "shrinkage": 1.0}
    ]
    # cross-validation sees a part of many pairs; the limit is that of all
    many, _ = regions(3000)
    numbers = Local.expanded({**given, "experts": 250}, Affine(), batches(many, many, 3000))
    assert {f["experts"] for f in numbers} == {250}


def test_a_sketch_keeps_the_sum_of_squares(rng: np.random.Generator) -> None:
    wide = rng.standard_normal((2000, 200)) * np.arange(1, 201) ** -0.5
    found = _sketch(wide, 0)
    assert found.shape == (2000, 32)
    many = np.mean([(_sketch(wide, seed) ** 2).sum() for seed in range(40)])
    assert many == pytest.approx((wide**2).sum(), rel=0.05)
    np.testing.assert_array_equal(_sketch(wide[:, :32], 0), wide[:, :32])


def test_unit_rows_are_routed_by_angle() -> None:
    x, _ = regions()
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    router = Router.of(x, 3, 1, 0)
    assert not router.offset.any()
    np.testing.assert_array_equal(router.weights(x), router.weights(x * np.float32(3)))
    assert Router.of(x * 2, 3, 1, 0).offset.any()


def test_progress_counts_the_experts() -> None:
    x, y = regions()
    told: list[Any] = []
    Local(3).refine(least_squares(x, y), batches(x, y), progress=lambda *e: told.append(e))
    assert told == [("fit the local maps", j, 3) for j in (1, 2, 3)]
