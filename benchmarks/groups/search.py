"""Exact top-k, against faiss's flat inner-product index."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks import ours
from benchmarks.arrays import Array, gallery
from benchmarks.harness import Absent, Options, Row, Stopwatch, contest, cpu

K = 100


def _faiss(queries: Array, items: Array) -> Stopwatch:
    """Adding the gallery is part of the work: isthmus starts from the bare array as well."""
    try:
        import faiss
    except ImportError as error:
        raise Absent(f"faiss: {error}") from error
    faiss.omp_set_num_threads(1)

    def search() -> object:
        index = faiss.IndexFlatIP(items.shape[1])
        index.add(items)
        return index.search(queries, K)

    return cpu(search)


def run(options: Options) -> Iterator[Row]:
    nq, ng, d = options.size(10_000, 1_000), options.size(100_000, 20_000), 384
    queries, items = gallery(nq, ng, d)
    timed = contest(
        options,
        {
            "numpy": lambda: cpu(ours.isthmus_top_k(queries, items, K)),
            "with faiss": lambda: cpu(ours.isthmus_top_k_faiss(queries, items, K)),
            "faiss": lambda: _faiss(queries, items),
            "sgemm": lambda: cpu(lambda: _scores_alone(queries, items)),
        },
    )
    what = f"top-{K} of {ng:,} for {nq:,} queries, d={d}"
    yield timed.row(f"{what} ÷ faiss IndexFlatIP", "numpy", "faiss", at_most=2.5)
    yield timed.row(f"{what}, faiss engine ÷ faiss IndexFlatIP", "with faiss", "faiss", at_most=1.3)
    yield timed.row(f"{what} ÷ blocked sgemm alone", "numpy", "sgemm")


def _scores_alone(queries: Array, items: Array) -> None:
    block = np.empty((1_024, len(items)), np.float32)
    for start in range(0, len(queries), len(block)):
        rows = queries[start : start + len(block)]
        np.matmul(rows, items.T, out=block[: len(rows)])
