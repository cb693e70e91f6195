"""Products added in place: those of SciPy's BLAS, without SciPy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import scipy.linalg

from isthmus import added_products
from isthmus.added_products import add_product, add_rank_one, add_square, fill_below


@pytest.fixture(params=[True, False], ids=["OpenBLAS of numpy", "another BLAS"])
def _blas(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    added_products.routine_of.cache_clear()
    if not request.param:
        monkeypatch.setattr(added_products, "numpy_blas", lambda: None)
    yield
    added_products.routine_of.cache_clear()


@pytest.mark.usefixtures("_blas")
@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 129)])
def test_it_is_the_update_of_scipy_in_place(kind: str, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    total, a, b = (rng.standard_normal(s).astype(kind) for s in (shape, *shape))
    ger = scipy.linalg.get_blas_funcs("ger", dtype=kind)
    expected = ger(-0.3, b, a, a=total.copy().T, overwrite_a=True).T
    spread = np.repeat(b, 2)[::2]  # what is not contiguous is no matter
    assert add_rank_one(total, -0.3, a, spread) is total
    np.testing.assert_array_equal(total, expected)


@pytest.mark.usefixtures("_blas")
@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (0, 3, 2), (20, 3, 7), (1100, 130, 65)])
def test_products_of_rows_are_added_in_place(kind: str, shape: tuple[int, int, int]) -> None:
    rows, m, n = shape
    rng = np.random.default_rng(0)
    a = rng.standard_normal((rows, 2 * m)).astype(kind)[:, ::2]  # not contiguous
    b = np.asfortranarray(rng.standard_normal((rows, n)).astype(kind))
    total, square = (rng.standard_normal((m, w)).astype(kind) for w in (n, m))
    product_wanted = total + a.T.astype("d") @ b
    square_wanted = np.triu(square + a.T.astype("d") @ a)
    below = np.tril(square, -1)
    rounding = {"f": 1e-6, "d": 1e-14}[kind] * max(rows, 1)
    turned = add_product(total.copy(), np.ascontiguousarray(a.T), b)
    np.testing.assert_allclose(turned, product_wanted, atol=rounding)
    assert add_product(total, a.T, b) is total
    assert add_square(square, a) is square
    np.testing.assert_allclose(total, product_wanted, atol=rounding)
    np.testing.assert_allclose(np.triu(square), square_wanted, atol=rounding)
    np.testing.assert_array_equal(np.tril(square, -1), below)


@pytest.mark.parametrize("m", [1, 5, 64, 200])
def test_the_half_below_is_that_above(m: int) -> None:
    half = np.random.default_rng(0).standard_normal((m, m))
    above = np.triu(half)
    assert fill_below(half) is half
    np.testing.assert_array_equal(half, above + np.triu(above, 1).T)


@pytest.mark.parametrize(
    ("total", "a"),
    [(np.eye(3), np.ones(2)), (np.eye(4)[::2, ::2], np.ones(2)), (np.eye(2).T[:1].T, np.ones(2))],
    ids=["another length", "with gaps", "another width"],
)
def test_what_it_would_write_past_is_refused(total: np.ndarray, a: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no product"):
        add_rank_one(total, 1.0, a, np.ones(2))
    with pytest.raises(ValueError, match="no product"):
        add_product(total, a[:, None], np.ones((1, 2)))
    with pytest.raises(ValueError, match="no product"):
        add_square(total, a[None])


def test_rows_that_do_not_pair_are_refused() -> None:
    with pytest.raises(ValueError, match="no product"):
        add_product(np.eye(2), np.ones((2, 3)), np.ones((4, 2)))


_WITHOUT = """
import sys
import numpy as np
from isthmus.adapters.chain import Chain
from isthmus.adapters.chain.affine import Affine
from isthmus.adapters.chain.row_norm import RowNorm
from isthmus.moments import FoldMoments
from isthmus.threads import single_thread
x, y = np.random.default_rng(0).standard_normal((2, 500, 8)).astype(np.float32)
with single_thread:
    one, other = FoldMoments.of(x, y), FoldMoments.of(y, x)
    one += other
    unit = RowNorm("unit")
    chain = Chain((unit, Affine(np.eye(8), np.ones(8)), unit))
    mapped = chain.one_matrix.rows(x)
np.testing.assert_allclose(mapped, chain(x), atol=1e-6)
print("scipy.linalg" in sys.modules)
"""


def test_workers_add_and_map_without_scipy() -> None:
    """It takes as long to import as a worker has to read a part."""
    told = subprocess.run(
        [sys.executable, "-c", _WITHOUT], check=True, capture_output=True, text=True
    )
    assert told.stdout.strip() == "False"
