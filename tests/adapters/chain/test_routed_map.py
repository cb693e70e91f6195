"""Routed maps: each row through its experts, without jumps where they are blended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.adapters import Chain, RowNorm
from isthmus.adapters.chain import RoutedMap
from isthmus.adapters.chain.routed_map import shares


def routed(k: int = 4, dx: int = 5, dy: int = 3, nearest: int = 1, seed: int = 0) -> RoutedMap:
    rng = np.random.default_rng(seed)
    draw = rng.standard_normal
    return RoutedMap(
        router=draw((dx, k)).astype(np.float32),
        router_offset=draw(k).astype(np.float32),
        matrices=draw((k, dx, dy)).astype(np.float32),
        offsets=draw((k, dy)).astype(np.float32),
        temperature=0.5,
        nearest=nearest,
    )


def row_by_row(stage: RoutedMap, x: np.ndarray) -> np.ndarray:
    """The definition in float64."""
    router, offset, matrices, offsets = (
        t.astype(np.float64)
        for t in (stage.router, stage.router_offset, stage.matrices, stage.offsets)
    )
    out = np.zeros((len(x), offsets.shape[1]))
    for i, row in enumerate(x.astype(np.float64)):
        scores = row @ router + offset
        order = np.argsort(-scores)
        size = np.exp((scores[order] - scores[order[0]]) / stage.temperature)
        floor = size[stage.nearest] if stage.nearest < len(order) else 0.0
        weights = size[: stage.nearest] - floor
        weights = [1.0] if stage.nearest == 1 else weights / weights.sum()
        for j, weight in zip(order, weights, strict=False):
            out[i] += weight * (row @ matrices[j] + offsets[j])
    return out


@pytest.mark.parametrize("nearest", [1, 2, 4])
@pytest.mark.parametrize("n", [1, 2, 700])
def test_each_row_takes_its_experts(nearest: int, n: int, rng: np.random.Generator) -> None:
    stage = routed(nearest=nearest)
    x = rng.standard_normal((n, 5))
    chain = Chain([stage])
    np.testing.assert_allclose(chain(x), row_by_row(stage, x), atol=1e-4)
    np.testing.assert_allclose(
        chain(x.astype(np.float32)), row_by_row(stage, x.astype(np.float32)), atol=1e-3
    )
    np.testing.assert_allclose(chain(x[0]), chain(x)[0], atol=1e-12)
    assert chain.products == nearest


@pytest.mark.parametrize("library", ["torch", "array_api_strict"])
@pytest.mark.parametrize("nearest", [1, 3])
def test_other_libraries_agree(library: str, nearest: int, rng: np.random.Generator) -> None:
    xp = pytest.importorskip(library)
    chain = Chain([RowNorm(), routed(nearest=nearest), RowNorm()])
    x = rng.standard_normal((50, 5)).astype(np.float32)
    out = chain(xp.asarray(x))
    assert type(out) is type(xp.asarray(x))
    np.testing.assert_allclose(np.asarray(out), chain(x), atol=1e-5)
    np.testing.assert_allclose(np.asarray(chain(xp.asarray(x[0]))), chain(x[0]), atol=1e-5)


@given(st.integers(0, 10_000), st.integers(2, 4))
def test_a_blend_has_no_jumps(seed: int, nearest: int) -> None:
    """Along a line, steps shrink with the distance between its points; hard routes jump."""
    rng = np.random.default_rng(seed)
    stage = routed(nearest=nearest, seed=seed)
    start, end = rng.standard_normal((2, 5)) * 2
    steps = {}
    for points in (2001, 16001):
        line = start + np.linspace(0, 1, points)[:, None] * (end - start)
        steps[points] = np.abs(np.diff(Chain([stage])(line), axis=0)).max()
    assert steps[16001] < steps[2001] / 3


def test_a_hard_route_jumps() -> None:
    line = np.linspace(-1, 1, 20_001)[:, None] * np.ones(5)
    assert np.abs(np.diff(Chain([routed()])(line), axis=0)).max() > 0.1


def test_where_all_scores_tie_the_weights_are_equal() -> None:
    np.testing.assert_allclose(shares(np, np.zeros((2, 4)), 2, 1.0), 0.5)
    np.testing.assert_allclose(shares(np, np.zeros((2, 4)), 4, 1.0), 0.25)


@pytest.mark.parametrize("nearest", [1, 2])
def test_tensors_come_back(nearest: int, rng: np.random.Generator) -> None:
    stage = routed(nearest=nearest)
    again = RoutedMap.from_tensors(stage.tensors())
    x = rng.standard_normal((20, 5)).astype(np.float32)
    np.testing.assert_array_equal(Chain([again])(x), Chain([stage])(x))
    np.testing.assert_array_equal(Chain([stage]).rounded()(x), Chain([stage])(x))
    assert again.dims == stage.dims == (5, 3)


def _changed(**changes: Any) -> dict[str, Any]:
    tensors = {**routed().tensors(), **changes}
    return {k: v for k, v in tensors.items() if v is not None}


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        (_changed(router=None), "a routed map has"),
        (_changed(more=np.zeros(2)), "a routed map has"),
        (_changed(matrices=np.zeros((4, 5))), "not 3 axes"),
        (_changed(router=np.zeros((5, 3))), "'router' has shape"),
        (_changed(router_offset=np.zeros(3)), "'router_offset' has shape"),
        (_changed(offsets=np.zeros((4, 4))), "'offsets' has shape"),
        (_changed(blend=np.zeros(3)), "'blend' has shape"),
        (_changed(blend=np.array([5.0, 1.0])), "cannot be blended"),
        (_changed(blend=np.array([0.0, 1.0])), "cannot be blended"),
        (_changed(blend=np.array([1.5, 1.0])), "cannot be blended"),
        (_changed(blend=np.array([1.0, 0.0])), "cannot be blended"),
        (_changed(blend=np.array([np.nan, 1.0])), "cannot be blended"),
        (_changed(blend=np.array([1.0, np.inf])), "cannot be blended"),
    ],
)
def test_wrong_tensors_are_refused(tensors: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RoutedMap.from_tensors(tensors)
