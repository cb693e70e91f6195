"""Nulls by permuted rows: the same values as the measures, and right where closed forms are not."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.similarity_coverage import coverage, drawn, false_alarms
from isthmus.moments import Moments
from isthmus.similarity import MEASURES, Comparison, PairedMoments, compare, measured
from isthmus.similarity.cca import full_cca, mean_cca, yanai
from isthmus.similarity.jackknife import jackknife_interval
from isthmus.similarity.null import KernelShape, kernel_null, uneven
from isthmus.similarity.permuted_rows import PermutedRows, PermutedSides

PRECISION = float(np.finfo(np.float64).eps)
MOMENTS = tuple(m for m in MEASURES if MEASURES[m].basis == "moments")


def permuted(x: np.ndarray, y: np.ndarray) -> PermutedRows:
    return PermutedRows(x, y, precision=PRECISION)


def _methods(found: Comparison) -> set[str]:
    return {one.null.method for one in found.values() if one.null is not None}


def test_rows_in_their_own_order_have_the_moments_of_all_rows() -> None:
    x, y = drawn("normal", 200, np.random.default_rng(0), related=True)
    sides = PermutedSides(permuted(x, y), None)
    spectra = PairedMoments.of(Moments.of(x, y)).spectra
    np.testing.assert_allclose(
        np.linalg.svd(sides.whitened, compute_uv=False), full_cca(spectra).rho, rtol=1e-9
    )
    centred = [side - side.mean(axis=0) for side in (x, y)]
    squares = [(side**2).sum(axis=1) for side in centred]
    assert sides.lengths == pytest.approx(float(squares[0] @ squares[1]) / len(x))


def test_a_permuted_order_is_that_of_permuted_rows() -> None:
    x, y = drawn("heavy", 150, np.random.default_rng(1), related=True)
    order = np.random.default_rng(2).permutation(150)
    sides = PermutedSides(permuted(x, y), order)
    spectra = PairedMoments.of(Moments.of(x, y[order])).spectra
    found = full_cca(spectra)
    rho = np.linalg.svd(sides.whitened, compute_uv=False)
    assert rho.mean() == pytest.approx(mean_cca(found))
    assert (rho**2).sum() / (24 * 16) ** 0.5 == pytest.approx(yanai(found))


@pytest.mark.parametrize("population", ["heavy", "giant"])
def test_the_variance_of_yanai_under_permutation_is_that_of_the_rows(population: str) -> None:
    x, y = drawn(population, 500, np.random.default_rng(3), related=False)
    rows = permuted(x, y)
    spectra = PairedMoments.of(Moments.of(x, y)).spectra
    a, b = rows.shapes(spectra, np.ones(24), np.ones(16))
    known = kernel_null(500, a, b, 0.0)
    rng = np.random.default_rng(4)
    drawn_values = [
        float((PermutedSides(rows, rng.permutation(500)).whitened ** 2).sum()) / (24 * 16) ** 0.5
        for _ in range(3000)
    ]
    assert np.mean(drawn_values) == pytest.approx(known.mean, rel=0.01)
    assert np.std(drawn_values) == pytest.approx(known.sd, rel=0.06)
    # leverages taken as those of normal rows give another spread
    normal = kernel_null(
        500, KernelShape(a.beta, None, a.third), KernelShape(b.beta, None, b.third), 0.0
    )
    assert known.sd > 1.15 * normal.sd


def test_rows_of_even_weight_keep_the_closed_form() -> None:
    x, y = drawn("normal", 300, np.random.default_rng(5), related=False)
    assert _methods(compare(x, y, measures="moments")) == {
        "permutations, closed form",
        "rotations, large-n law",
    }
    x, y = drawn("giant", 900, np.random.default_rng(5), related=False)
    assert "100 permutations of 900 rows" in _methods(compare(x, y, measures="moments"))


def test_one_side_alone_may_be_uneven() -> None:
    even, heavy = KernelShape(8.0, 0.1, 0.3), KernelShape(8.0, 4.0, 0.3)
    assert uneven(100, heavy, heavy)
    assert not uneven(100, KernelShape(8.0, None, 0.3), heavy)
    normal = KernelShape(8.0, 99 * 10 / (100 * 101), 0.3)
    assert not uneven(100, normal, heavy)
    assert not uneven(100, even, even)


def test_without_rows_unevenness_is_said() -> None:
    x, y = drawn("giant", 300, np.random.default_rng(6), related=False)
    found = measured("procrustes", PairedMoments.of(Moments.of(x, y)))
    assert any("no row weighs much more" in warning for warning in found.warnings)


@pytest.mark.parametrize("population", ["heavy", "giant"])
def test_unrelated_sides_seldom_look_related(population: str) -> None:
    names = ("linear_cka", "yanai", "gulp", "procrustes", "mean_cca")
    rates = false_alarms(population, 100, 60, names)
    # of 60 draws at 5 %, 9 or more come once in 400 times
    assert max(rates.values()) <= 8 / 60


def test_related_sides_are_found_where_rows_are_giant() -> None:
    x, y = drawn("giant", 300, np.random.default_rng(8), related=True)
    for name, found in compare(x, y, measures="moments").items():
        assert found.null is not None
        assert found.null.p <= 0.01, name


@pytest.mark.parametrize("population", ["clustered", "heavy"])
def test_intervals_hold_what_they_claim(population: str) -> None:
    names = ("linear_cka", "debiased_cka", "yanai", "svcca", "procrustes", "gulp")
    held = coverage(population, 300, 60, names)
    # at 95 %, 50 or fewer of 60 come once in 1,500 times; components that stay fixed gave .5 to .8
    assert min(held.values()) >= 51 / 60, held


def test_no_interval_where_a_few_long_rows_are_all_that_counts() -> None:
    x, y = drawn("giant", 300, np.random.default_rng(8), related=True)
    found = compare(x, y, measures="moments")
    for name in ("linear_cka", "procrustes", "gulp"):
        assert found[name].low is None, name
        assert any("lengths differ as if" in told for told in found[name].warnings), name
    assert found["debiased_cka"].low is not None
    # told by lengths about the mean, whatever the offset and the scale
    even = drawn("offset", 300, np.random.default_rng(8), related=True)
    assert compare(*(1e3 * side for side in even), measures="gulp")["gulp"].low is not None


def test_heavy_rows_widen_what_depends_on_lengths() -> None:
    values = np.random.default_rng(0).standard_normal(10)
    narrow, wide = (
        jackknife_interval(0.0, values / 100, np.full(10, 30.0), heavy=heavy)
        for heavy in (False, True)
    )
    assert narrow is not None
    assert wide is not None
    # Student's t at .975: 2.262 of nine degrees of freedom, 3.182 of three
    assert (wide[1] - wide[0]) / (narrow[1] - narrow[0]) == pytest.approx(3.1824 / 2.2622, rel=1e-4)


def test_what_an_interval_is_of_is_said() -> None:
    x, y = drawn("normal", 300, np.random.default_rng(9), related=True)
    found = compare(x, y)
    of_all = {name for name, one in found.items() if one.interval_of == "population"}
    assert of_all == {"debiased_cka", "rsa"}
    shown = str(found).splitlines()
    marked = {line.split()[0] for line in shown if "]*" in line}
    assert marked == set(found) - of_all
    assert any(line.startswith("* of the value at this number of rows") for line in shown)


def test_a_row_with_a_direction_to_itself_leaves_no_interval() -> None:
    x, y = drawn("normal", 300, np.random.default_rng(10), related=True)
    x[0, 0] += 500.0
    found = compare(x, y, measures=("yanai", "svcca", "debiased_cka"))
    assert found["yanai"].low is None
    assert found["svcca"].low is None
    assert "a row has a direction to itself" in " ".join(found["yanai"].warnings)
    assert found["debiased_cka"].low is not None
