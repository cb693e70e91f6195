"""Accumulating moments, against the bare products."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks import ours
from benchmarks.arrays import Array, repeated
from benchmarks.harness import Options, Row, contest, cpu


def three_gemm(x: Array, y: Array) -> tuple[Array, ...]:
    """Three general float32 products of this shape.

    NumPy calls syrk, which does half the work, where both factors are one array; so each product
    here is of two distinct arrays.  The shapes, and so the work, are those of xᵀx, xᵀy and yᵀy.
    """
    return x.T @ y, y.T @ x, x.T @ y


def two_syrk_one_gemm(x: Array, y: Array) -> tuple[Array, ...]:
    """What NumPy does for the three products when asked plainly; no centring, no float64."""
    return x.T @ x, x.T @ y, y.T @ y


def run(options: Options) -> Iterator[Row]:
    n, d = options.size(200_000, 20_000), 768
    x, y = repeated(n, d, d)
    timed = contest(
        options,
        {
            "all": lambda: cpu(ours.isthmus_moments(x, y)),
            "gemm": lambda: cpu(lambda: three_gemm(x, y)),
            "second": lambda: cpu(ours.isthmus_second_moments(x, y)),
            "syrk": lambda: cpu(lambda: two_syrk_one_gemm(x, y)),
        },
    )
    shape = f"moments {n:,} x {d}, "
    yield timed.row(f"{shape}all sums ÷ 3 GEMM of distinct arrays", "all", "gemm", at_most=1.0)
    yield timed.row(f"{shape}all sums ÷ 2 syrk + GEMM", "all", "syrk")
    yield timed.row(f"{shape}xx, xy, yy only ÷ 2 syrk + GEMM", "second", "syrk")
