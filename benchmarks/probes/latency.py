"""Prints the median wall time, in seconds, of one vector through a 768→1024 map.

Arguments: a file with the vector and, for isthmus rather than the bare product, a saved bridge.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

from benchmarks import ours

CALLS = 3_000


def main(vector_file: str, bridge: str | None = None) -> None:
    vector = np.load(vector_file)
    if bridge is not None:
        call = ours.isthmus_load(Path(bridge)).transform
    else:
        rng = np.random.default_rng(0)
        weights = rng.standard_normal((768, 1024), dtype=np.float32)
        offset = rng.standard_normal(1024, dtype=np.float32)

        def call(x: np.ndarray) -> np.ndarray:
            return x @ weights + offset

    times: list[float] = []
    for _ in range(CALLS):
        start = time.perf_counter()
        call(vector)
        times.append(time.perf_counter() - start)
    print(np.median(times))


main(*sys.argv[1:])
