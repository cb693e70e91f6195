"""What it costs to choose a map: a fit that chooses, less a fit with the recipe it chose."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.arrays import Array, paired
from benchmarks.harness import Options, Row, limit_row
from isthmus import Bridge, Pairs, fit

D = 384
LIMITS = {250: 3.0, 1000: 3.0, 10_000: 8.0}
"""Processor seconds at each number of pairs, each a document and its query."""
ASKED_NOISE = 0.7


def run(options: Options) -> Iterator[Row]:
    for n, limit in LIMITS.items():
        yield _row(options, options.size(n, min(n, 250)), limit)


def _row(options: Options, n: int, limit: float) -> Row:
    task = paired(D, D, n)
    pairs = Pairs(task.x, task.y)
    queries = Pairs(_asked(task.x, 1), _asked(task.y, 2))

    def seconds(recipe: str) -> tuple[float, Bridge]:
        start = time.process_time()
        bridge = fit(pairs, queries=queries, recipe=recipe)
        return time.process_time() - start, bridge

    with threadpool_limits(1):
        _, chosen = seconds("auto")
        whole = [seconds("auto")[0] for _ in range(options.repeats)]
        runs = [one - seconds(str(chosen.recipe))[0] for one in whole]
    return limit_row(
        f"choosing among {len(chosen.tried)} maps, {n:,} pairs with queries x {D}→{D}",
        statistics.median(runs),
        limit,
        "s",
        f"{min(runs):.1f}-{max(runs):.1f} in {len(runs)} runs; the whole fit, with its evidence, "
        f"{statistics.median(whole):.1f} s; chosen: {chosen.recipe}",
    )


def _asked(rows: Array, seed: int) -> Array:
    """Queries: the documents seen less clearly, at unit length."""
    noise = np.random.default_rng(seed).standard_normal(rows.shape, dtype=np.float32)
    asked = rows + ASKED_NOISE * noise / D**0.5
    return asked / np.linalg.norm(asked, axis=1, keepdims=True)
