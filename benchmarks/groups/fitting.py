"""Fitting one map: Procrustes against its bare steps, the ridge path against scikit-learn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from benchmarks import ours
from benchmarks.arrays import Array, Task, paired
from benchmarks.harness import Options, Row, Stopwatch, contest, cpu


def bare_procrustes(x: Array, y: Array, dtype: type = np.float64) -> Array:
    """Centre both sides, one float32 product, one SciPy SVD (gesdd) in ``dtype``."""
    cross = (x - x.mean(axis=0)).T @ (y - y.mean(axis=0))
    u, _, vt = scipy.linalg.svd(cross.astype(dtype), full_matrices=False)
    return u @ vt


def _sklearn_ridge(task: Task) -> Stopwatch:
    from sklearn.linear_model import Ridge

    return cpu(lambda: Ridge(alpha=1.0, solver="cholesky").fit(task.x, task.y))


def run(options: Options) -> Iterator[Row]:
    n = options.size(18_000, 6_000)
    for d in (384, 768):
        yield from _procrustes(options, paired(d, d, n))
    for dx, dy in ((384, 384), (768, 1024)):
        yield from _ridge(options, paired(dx, dy, n))


def _procrustes(options: Options, task: Task) -> Iterator[Row]:
    x, y = task.x, task.y
    timed = contest(
        options,
        {
            "isthmus": lambda: cpu(ours.isthmus_procrustes(x, y)),
            "float64": lambda: cpu(lambda: bare_procrustes(x, y)),
            "float32": lambda: cpu(lambda: bare_procrustes(x, y, np.float32)),
        },
    )
    what = f"Procrustes {task.shape} ÷ centre + GEMM + "
    yield timed.row(f"{what}float64 SVD", "isthmus", "float64", at_most=1.15)
    yield timed.row(f"{what}float32 SVD", "isthmus", "float32")


def _ridge(options: Options, task: Task) -> Iterator[Row]:
    timed = contest(
        options,
        {
            "errors": lambda: cpu(ours.isthmus_ridge_errors(task.x, task.y)),
            "map": lambda: cpu(ours.isthmus_ridge_path(task.x, task.y)),
            "sklearn": lambda: _sklearn_ridge(task),
        },
    )
    what = f"ridge, {ours.STRENGTHS} strengths x {ours.FOLDS} folds, {task.shape}"
    against = "one scikit-learn Ridge(cholesky)"
    yield timed.row(f"{what} ÷ {against}", "errors", "sklearn", at_most=2.0)
    yield timed.row(f"{what} and the chosen map ÷ {against}", "map", "sklearn")
