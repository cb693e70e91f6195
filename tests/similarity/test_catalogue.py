"""The declarations are true: every property test here is generated from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.similarity import INVARIANCES, MEASURES, RowSampling, compare, parse_measures

Array = np.ndarray
N, D = 60, 5


def rotation(rng: np.random.Generator) -> Array:
    return np.linalg.qr(rng.standard_normal((D, D)))[0]


TRANSFORMS: dict[str, Callable[[Array, np.random.Generator], Array]] = {
    "permutation": lambda x, rng: x[:, rng.permutation(D)],
    "isotropic_scaling": lambda x, rng: x * np.exp(rng.uniform(-6, 6)),
    "translation": lambda x, rng: x + 5 * rng.standard_normal(D),
    "orthogonal": lambda x, rng: x @ rotation(rng),
    "invertible_linear": lambda x, rng: (
        x @ rotation(rng) @ np.diag(np.exp(rng.uniform(-2, 2, D))) @ rotation(rng)
    ),
}


def sides(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((N, D)) * np.array([3, 2, 1, 0.7, 0.4]) + 0.5
    return x, np.tanh(x @ rng.standard_normal((D, D))) + 0.4 * rng.standard_normal((N, D))


def values(x: Array, y: Array, names: Any = "all") -> dict[str, float]:
    found = compare(x, y, measures=names, sampling=RowSampling(k=5, permutations=1))
    return {name: result.value for name, result in found.items()}


def test_every_invariance_has_a_transformation() -> None:
    assert set(TRANSFORMS) == set(INVARIANCES)


@pytest.mark.parametrize("invariance", INVARIANCES)
@settings(max_examples=7)
@given(seed=st.integers(0, 10_000), other_side=st.booleans())
def test_declared_invariances_hold(invariance: Any, seed: int, other_side: bool) -> None:
    names = [m.name for m in MEASURES.values() if invariance in m.invariances]
    x, y = sides(seed)
    before = values(x, y, names)
    change, rng = TRANSFORMS[invariance], np.random.default_rng(seed + 1)
    after = values(x, change(y, rng), names) if other_side else values(change(x, rng), y, names)
    for name in names:
        assert after[name] == pytest.approx(before[name], abs=1e-8), name


@pytest.mark.parametrize("name", MEASURES)
def test_what_is_not_declared_does_not_hold(name: str) -> None:
    x, y = sides(3)
    before = values(x, y, name)[name]
    for invariance in set(INVARIANCES) - MEASURES[name].invariances:
        changed = [
            values(TRANSFORMS[invariance](x, np.random.default_rng(seed)), y, name)[name]
            for seed in range(3)
        ]
        assert max(abs(value - before) for value in changed) > 1e-4, invariance


@settings(max_examples=7)
@given(seed=st.integers(0, 10_000))
def test_symmetry_range_and_order_of_rows(seed: int) -> None:
    x, y = sides(seed)
    found, turned = values(x, y), values(y, x)
    order = np.random.default_rng(seed).permutation(N)
    shuffled = values(x[order], y[order])
    for name, measure in MEASURES.items():
        if measure.symmetric:
            assert turned[name] == pytest.approx(found[name], abs=1e-10), name
        assert shuffled[name] == pytest.approx(found[name], abs=1e-9), name
        assert measure.low is None or found[name] >= measure.low - 1e-9
        assert measure.high is None or found[name] <= measure.high + 1e-9


def test_the_direction_is_the_declared_one() -> None:
    rng = np.random.default_rng(0)
    x, _ = sides(1)
    near, far = (values(x, x + noise * rng.standard_normal(x.shape)) for noise in (0.1, 1.5))
    for name, measure in MEASURES.items():
        assert (near[name] > far[name]) == measure.higher_is_closer, name
        edge = measure.high if measure.higher_is_closer else measure.low
        assert measure.at_identity == edge


@settings(max_examples=8)
@given(seed=st.integers(0, 10_000))
def test_the_angle_obeys_the_triangle_inequality(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y, z = (rng.standard_normal((20, d)) for d in (4, 6, 3))

    def angle(a: Array, b: Array) -> float:
        return values(a, b, "procrustes_angle")["procrustes_angle"]

    assert angle(x, z) <= angle(x, y) + angle(y, z) + 1e-9


def test_names_groups_and_aliases() -> None:
    assert parse_measures("all") == tuple(MEASURES)
    assert set(parse_measures(["moments", "rows"])) == set(MEASURES)
    assert parse_measures(["rsa", "rv"]) == ("linear_cka", "rsa")
    assert all(MEASURES[name].basis == "rows" for name in parse_measures("rows"))
    with pytest.raises(InputError, match="'svca' is unknown"):
        parse_measures(["svca"])
    with pytest.raises(InputError, match="no measure"):
        parse_measures([])


def test_definitions_are_told_apart() -> None:
    assert len({m.definition for m in MEASURES.values()}) == len(MEASURES)
    assert all(m.source and m.formula for m in MEASURES.values())
