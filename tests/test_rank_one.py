"""Rank-one updates: those of SciPy's BLAS bit for bit, without SciPy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.linalg

from isthmus import rank_one
from isthmus.rank_one import add_rank_one


@pytest.mark.parametrize("kind", ["f", "d"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (300, 129)])
@pytest.mark.parametrize("wheel", [True, False], ids=["OpenBLAS of numpy", "another BLAS"])
def test_it_is_the_update_of_scipy_in_place(
    kind: str, shape: tuple[int, int], wheel: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rank_one.routine_of.cache_clear()
    if not wheel:
        monkeypatch.setattr(rank_one, "numpy_blas", lambda: None)
    rng = np.random.default_rng(0)
    total, a, b = (rng.standard_normal(s).astype(kind) for s in (shape, *shape))
    ger = scipy.linalg.get_blas_funcs("ger", dtype=kind)
    expected = ger(-0.3, b, a, a=total.copy().T, overwrite_a=True).T
    spread = np.repeat(b, 2)[::2]  # what is not contiguous is no matter
    assert add_rank_one(total, -0.3, a, spread) is total
    np.testing.assert_array_equal(total, expected)
    rank_one.routine_of.cache_clear()


@pytest.mark.parametrize(
    ("total", "a"),
    [(np.eye(3), np.ones(2)), (np.eye(4)[::2, ::2], np.ones(2)), (np.eye(2).T[:1].T, np.ones(2))],
    ids=["another length", "with gaps", "another width"],
)
def test_what_it_would_write_past_is_refused(total: np.ndarray, a: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no product"):
        add_rank_one(total, 1.0, a, np.ones(2))


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
