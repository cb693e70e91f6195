"""What it costs to know how far to trust each mapped vector."""

from __future__ import annotations

from collections.abc import Iterator

from threadpoolctl import threadpool_limits

from benchmarks import ours
from benchmarks.arrays import paired
from benchmarks.harness import Options, Row, contest, cpu, cpu_each
from isthmus.threads import single_thread

ROWS = 4096
AT_MOST = 1.3
ONE_AT_MOST = 2.0


def run(options: Options) -> Iterator[Row]:
    for d in (384, 768):
        yield from _transform(options, d)
    for d in (384, 768):
        yield from _one_vector(options, d)


def _one_vector(options: Options, d: int) -> Iterator[Row]:
    """One vector and its trust, beside the same vector mapped alone."""
    task = paired(d, d, 6_000, held_out=ROWS)
    vector = task.x_test[0]
    bridge = ours.isthmus_trusted_bridge(task)
    with single_thread:
        timed = contest(
            options,
            {
                "trust": lambda: cpu_each(
                    lambda: bridge.transform(vector, return_trust=True), 2_000
                ),
                "plain": lambda: cpu_each(lambda: bridge.transform(vector), 2_000),
            },
        )
    yield timed.row(
        f"one vector with trust ÷ without, {d}→{d}", "trust", "plain", at_most=ONE_AT_MOST
    )


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
