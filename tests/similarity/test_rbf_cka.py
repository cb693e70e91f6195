"""RBF kernels: their scale, and rows that are left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.similarity.rbf_cka import RbfKernels, rbf_kernel


def test_a_kernel_needs_a_scale() -> None:
    rows = np.zeros((10, 2))
    rows[0] = 1
    with pytest.raises(InputError, match="more than half"):
        rbf_kernel(rows)
    kernel = rbf_kernel(np.random.default_rng(0).standard_normal((20, 3)) + 1e6)
    assert np.median(kernel[np.triu_indices(20, 1)]) == pytest.approx(np.exp(-0.5), rel=1e-2)


def test_leaving_rows_out_of_an_rbf_kernel(pair: Any) -> None:
    x, y = pair(60, 4, 3, 0)
    kernels = RbfKernels.of(x, y)
    kept = np.r_[0:20, 30:60]
    k, other = (rbf_kernel(side)[np.ix_(kept, kept)] for side in (x, y))
    h = np.eye(50) - 1 / 50
    k, other = h @ k @ h, h @ other @ h
    expected = np.vdot(k, other) / np.linalg.norm(k) / np.linalg.norm(other)
    assert kernels.without(slice(20, 30)) == pytest.approx(expected, rel=1e-10)
