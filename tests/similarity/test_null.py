"""Nulls: closed forms against every permutation, drawn rotations, and real permutations."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.similarity import compare
from isthmus.similarity.null import (
    KernelShape,
    debiased_null,
    kernel_null,
    nuclear_norm_law,
    permutation_null,
    third_moment_ratio,
)

Array = np.ndarray


def test_closed_forms_equal_all_permutations(definitions: Any) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((6, 2)) ** 3, rng.standard_normal((6, 3)) ** 3
    found = compare(x, y, measures=["linear_cka", "debiased_cka"])
    orders = [list(order) for order in permutations(range(6))]
    for name in ("linear_cka", "debiased_cka"):
        every = np.array([definitions[name](x, y[order]) for order in orders])
        null = found[name].null
        assert null.mean == pytest.approx(every.mean(), abs=1e-9)
        assert null.sd == pytest.approx(every.std(), rel=1e-9)


@pytest.mark.parametrize("widths", [(1, 1), (2, 30), (20, 12)])
def test_tails_of_cka_are_those_of_permutations(widths: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    n = 120
    x = rng.standard_normal((n, widths[0])) * np.arange(1, widths[0] + 1) ** -0.7
    y = np.exp(rng.standard_normal((n, widths[1])))
    x, y = x - x.mean(0), y - y.mean(0)
    kernel, other = x @ x.T, y @ y.T
    scale = np.linalg.norm(kernel) * np.linalg.norm(other)
    found = []
    for _ in range(3000):
        order = rng.permutation(n)
        found.append(np.vdot(kernel, other[order][:, order]) / scale)
    shapes = [
        KernelShape(
            np.trace(k) ** 2 / np.vdot(k, k), (np.diag(k) ** 2).sum() / np.vdot(k, k),
            third_moment_ratio(k),
        )
        for k in (kernel, other)
    ]  # fmt: skip
    null = kernel_null(n, *shapes, 0.5)
    assert null.mean == pytest.approx(np.mean(found), rel=0.05)
    assert null.sd == pytest.approx(np.std(found), rel=0.08)
    for share in (0.5, 0.05):
        point = float(np.quantile(found, 1 - share))
        assert kernel_null(n, *shapes, point).p == pytest.approx(share, rel=0.3)


def test_p_values_of_unrelated_sides_are_uniform() -> None:
    rng = np.random.default_rng(2)
    names = ["linear_cka", "debiased_cka", "mean_cca", "yanai", "pwcca", "procrustes", "gulp"]
    found: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(40):
        x, y = rng.standard_normal((90, 12)), rng.standard_normal((90, 10))
        for name, result in compare(x * np.arange(1, 13) ** -0.5, y, measures=names).items():
            found[name].append(result.null.p)
    for name, p in found.items():
        assert 0.35 < np.mean(p) < 0.65, name
        assert np.mean(np.array(p) < 0.1) < 0.25, name
        assert 0 < np.mean(np.array(p) > 0.9) < 0.25, name


def haar_norms(a: Array, b: Array, n: int, draws: int, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    norms = []
    for _ in range(draws):
        q = np.linalg.qr(rng.standard_normal((n - 1, len(b))))[0][: len(a)]
        product = np.sqrt(a)[:, None] * q * np.sqrt(b)
        norms.append(np.linalg.svd(product, compute_uv=False).sum())
    return np.array(norms)


@pytest.mark.parametrize(
    ("p", "q", "n", "decay"),
    [(40, 40, 400, 0.0), (40, 40, 90, 0.0), (30, 50, 200, 1.0), (30, 45, 60, 0.5), (2, 3, 20, 1.0)],
)
def test_the_law_of_nuclear_norms_is_that_of_drawn_rotations(
    p: int, q: int, n: int, decay: float
) -> None:
    a, b = np.arange(1, p + 1) ** -decay, 3 * np.arange(1, q + 1) ** (-decay / 2)
    law = nuclear_norm_law(a, b, n)
    drawn = haar_norms(a, b, n, 250, 0)
    assert abs(law.mean - drawn.mean()) < 0.3 * drawn.std()
    assert law.sd == pytest.approx(drawn.std(), rel=0.2)
    swapped = nuclear_norm_law(b, a, n)
    assert swapped.mean == pytest.approx(law.mean, rel=1e-6)
    assert law.upper_tail(law.mean) == pytest.approx(0.5, abs=0.06)
    assert law.upper_tail(float(np.quantile(drawn, 0.95))) == pytest.approx(0.05, abs=0.04)


@pytest.mark.parametrize("name", ["mean_cca", "svcca", "pwcca", "yanai", "procrustes", "gulp"])
def test_the_rotation_null_serves_permutations_of_real_rows(name: str, definitions: Any) -> None:
    """Rows far from normal: skewed, in clusters, with a heavy tail."""
    rng = np.random.default_rng(3)
    n = 300
    x = (
        rng.standard_normal((n, 15)) ** 3
        + 2 * rng.standard_normal((4, 15))[rng.integers(4, size=n)]
    )
    y = rng.exponential(size=(n, 12)) @ rng.standard_normal((12, 12))
    drawn = np.array([definitions[name](x, y[rng.permutation(n)]) for _ in range(150)])
    null = compare(x, y, measures=name)[name].null
    assert abs(null.mean - drawn.mean()) < 0.4 * drawn.std()
    assert null.sd == pytest.approx(drawn.std(), rel=0.35)


def test_debiased_cka_varies_by_n_alone() -> None:
    null = debiased_null(50, 0.3, 0.9, 0.0)
    assert (null.mean, null.sd) == (0.0, pytest.approx((2 / (50 * 47)) ** 0.5))
    assert debiased_null(50, 0.0, 0.0, 1.96 * null.sd).p == pytest.approx(0.025, rel=1e-2)


def test_third_moment_ratio_of_known_matrices() -> None:
    assert third_moment_ratio(np.outer([1.0, 2], [1.0, 2])) == pytest.approx(1)
    assert third_moment_ratio(np.eye(16)) == pytest.approx(1 / 4)
    assert third_moment_ratio(np.zeros((2, 2))) == 0


def test_permutations_are_seeded_counted_and_never_give_zero() -> None:
    x = np.arange(40.0)

    def statistic(order: Any) -> float:
        return float(np.corrcoef(x, x[order])[0, 1])

    null = permutation_null(statistic, 40, 1.0, permutations=50, seed=3)
    assert null.p == pytest.approx(1 / 51)
    assert null == permutation_null(statistic, 40, 1.0, permutations=50, seed=3)
    assert null != permutation_null(statistic, 40, 1.0, permutations=50, seed=4)
    lower = permutation_null(statistic, 40, 1.0, permutations=50, higher_is_closer=False)
    assert lower.p == 1.0
    assert permutation_null(statistic, 40, 0.0, permutations=9, mean=0.25).mean == 0.25
    with pytest.raises(InputError, match="at least one"):
        permutation_null(statistic, 40, 1.0, permutations=0)
