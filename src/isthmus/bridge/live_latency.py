"""How long single queries take on a live store, way by way."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import numpy as np

from isthmus.evaluate.measured import Latency

__all__ = ["latency_notice", "timed"]

_TIMED = 40
_FIRST = 2  # connections are opened and pages read by the first ones


def timed(ask: Callable[[int], object], queries: int) -> Latency:
    """Ask single queries one after another.

    Args:
        ask: asks the query of this number.
        queries: how many there are; 40 are timed, after two that are not.

    Example:
        >>> found = timed(lambda number: number, 100)
        >>> 0 <= found.p50 <= found.p95
        True
    """
    taken: list[float] = []
    for number in range(min(_FIRST + _TIMED, max(queries, _FIRST + 1))):
        start = time.perf_counter()
        ask(number % queries)
        taken.append(time.perf_counter() - start)
    p50, p95 = np.quantile(taken[_FIRST:], [0.5, 0.95]).tolist()
    return Latency(p50, p95)


def latency_notice(found: Mapping[str, Latency]) -> str:
    """The latencies of all ways in a sentence, in milliseconds."""
    told = ", ".join(f"{name} {1e3 * s.p50:.3g}/{1e3 * s.p95:.3g}" for name, s in found.items())
    return (
        f"milliseconds of a query on this store, p50/p95: {told}. Its own encoding is not in them, "
        "nor that of items, which are kept from the judgement"
    )
