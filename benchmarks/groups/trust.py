"""What it costs to know how far to trust each mapped vector."""

from __future__ import annotations

from collections.abc import Iterator

from threadpoolctl import threadpool_limits

from benchmarks import ours
from benchmarks.arrays import paired
from benchmarks.harness import Options, Row, contest, cpu

ROWS = 4096
AT_MOST = 1.3


def run(options: Options) -> Iterator[Row]:
    for d in (384, 768):
        yield from _transform(options, d)


def _transform(options: Options, d: int) -> Iterator[Row]:
    task = paired(d, d, 6_000, held_out=ROWS)
    # a call takes some 10 ms, so one timing is of several
    calls = options.size(40, 5)
    with threadpool_limits(1):
        timed = contest(
            options,
            {
                "trust": lambda: cpu(ours.isthmus_transform(task, calls, return_trust=True)),
                "plain": lambda: cpu(ours.isthmus_transform(task, calls)),
            },
        )
    yield timed.row(
        f"transform with trust ÷ without, {ROWS:,} x {d}→{d}, one BLAS thread",
        "trust", "plain", at_most=AT_MOST, note=f"{calls} calls",
    )  # fmt: skip
