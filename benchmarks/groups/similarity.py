"""Similarity measures: against the plain formula, a blocked product, and peers on equal arrays."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg

from benchmarks.arrays import Array, paired, repeated
from benchmarks.harness import Options, Row, contest, cpu

K = 10


def plain_cka(x: Array, y: Array) -> float:
    """The work of the feature-space formula with three general products.

    NumPy computes ``aᵀa`` of one array as a symmetric product, at half the work, so here the
    factors of all three are two arrays; the value is not that of CKA.
    """
    a, b = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.norm(a.T @ b) ** 2
    return float(cross / (np.linalg.norm(b.T @ a) * np.linalg.norm(a.T @ b)))


def plain_cka_syrk(x: Array, y: Array) -> float:
    """The formula as NumPy computes it: symmetric products at half the work."""
    a, b = x - x.mean(0), y - y.mean(0)
    return float(np.linalg.norm(a.T @ b) ** 2 / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def floor(x: Array, y: Array) -> None:
    """The pass, and what LAPACK takes for the eigenproblems that the definitions leave.

    Eigenvectors of both covariances (the components of SVCCA) and of the whitened product (the
    variates of PWCCA, in float32), eigenvalues for SVCCA and for Procrustes: none follows from
    another.
    """
    from isthmus.moments import Moments
    from isthmus.similarity import MOMENT_KEEP
    from isthmus.threads import single_thread

    second = Moments.of(x, y, keep=MOMENT_KEEP).second()
    with single_thread:
        for name in ("xx", "yy"):
            scipy.linalg.eigh(second.require(name), driver="evd")
            scipy.linalg.eigh(second.require(name), driver="evd", eigvals_only=True)
        scipy.linalg.eigh(second.require("xx").astype(np.float32), driver="evd")


def blocked_top_k(x: Array, y: Array, k: int = K, block: int = 1024) -> float:
    """Mutual neighbours by a blocked product and ``argpartition``: unit rows, own row left out."""
    near = []
    for side in (x, y):
        unit = side / np.linalg.norm(side, axis=1, keepdims=True)
        found = np.empty((len(unit), k), np.int64)
        for start in range(0, len(unit), block):
            scores = unit[start : start + block] @ unit.T
            scores[np.arange(len(scores)), start + np.arange(len(scores))] = -np.inf
            found[start : start + block] = np.argpartition(scores, -k, axis=1)[:, -k:]
        near.append(found)
    both = np.sort(np.concatenate(near, axis=1), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / (len(x) * k))


def run(options: Options) -> Iterator[Row]:
    yield from _moments(options)
    yield from _neighbours(options)
    from benchmarks.groups import similarity_peers

    cases = {what: similarity_peers.Case(x, y) for what, (x, y) in _inputs(options).items()}
    yield from similarity_peers.exact(cases)
    yield from similarity_peers.against(options, cases)


def _moments(options: Options) -> Iterator[Row]:
    from isthmus.moments import Moments
    from isthmus.similarity import MEASURES, MOMENT_KEEP, PairedMoments, compare, measured

    names = [m.name for m in MEASURES.values() if m.basis == "moments"]

    def values(x: Array, y: Array) -> None:
        data = PairedMoments.of(Moments.of(x, y, keep=MOMENT_KEEP))
        for name in names:
            measured(name, data)

    for n in (options.size(10_000, 4_000), options.size(50_000, 8_000)):
        x, y = repeated(n, 768, 768)
        timed = contest(
            options,
            {
                "everything": lambda x=x, y=y: cpu(lambda: compare(x, y, measures="moments")),
                "values": lambda x=x, y=y: cpu(lambda: values(x, y)),
                "cka": lambda x=x, y=y: cpu(lambda: compare(x, y, measures="linear_cka")),
                "floor": lambda x=x, y=y: cpu(lambda: floor(x, y)),
                "plain": lambda x=x, y=y: cpu(lambda: plain_cka(x, y)),
                "syrk": lambda x=x, y=y: cpu(lambda: plain_cka_syrk(x, y)),
            },
        )
        what = f"similarity {n:,} x 768, "
        yield timed.row(
            f"{what}{len(names)} measures with nulls ÷ linear CKA by 3 GEMM",
            "values", "plain", at_most=1.5,
        )  # fmt: skip
        yield timed.row(
            f"{what}{len(names)} measures with nulls, intervals, checks ÷ linear CKA by 3 GEMM",
            "everything", "plain", at_most=1.5,
        )  # fmt: skip
        yield timed.row(
            f"{what}{len(names)} measures with nulls ÷ linear CKA by 2 syrk + GEMM",
            "values", "syrk",
        )  # fmt: skip
        yield timed.row(
            f"{what}one pass and five eigenproblems by LAPACK ÷ linear CKA by 3 GEMM",
            "floor", "plain", note="what the definitions ask of LAPACK, and nothing else",
        )  # fmt: skip
        yield timed.row(
            f"{what}linear CKA with null, interval, checks ÷ 2 syrk + GEMM", "cka", "syrk"
        )


def _neighbours(options: Options) -> Iterator[Row]:
    from isthmus.similarity import mutual_knn

    n = options.size(10_000, 3_000)
    task = paired(768, 768, n, held_out=0)
    timed = contest(
        options,
        {
            "isthmus": lambda: cpu(lambda: mutual_knn(task.x, task.y, K)),
            "blocked": lambda: cpu(lambda: blocked_top_k(task.x, task.y)),
        },
    )
    yield timed.row(
        f"mutual kNN, k={K}, {n:,} x 768 ÷ blocked GEMM + argpartition",
        "isthmus", "blocked", at_most=1.2,
        note=f"values {mutual_knn(task.x, task.y, K):.6f}, {blocked_top_k(task.x, task.y):.6f}",
    )  # fmt: skip


def _inputs(options: Options) -> dict[str, tuple[Array, Array]]:
    """Tall, with a common offset, of unequal widths, with fewer rows than dimensions, unrelated."""
    rng = np.random.default_rng(0)
    n = options.size(1_000, 400)
    tall, wide = paired(128, 128, n, held_out=0), paired(96, 256, n, held_out=0)
    few = paired(384, 384, 200, held_out=0)
    offset = np.float32(100 * tall.x.std())
    return {
        "tall": (tall.x, tall.y),
        "offset": (tall.x + offset, tall.y - np.float32(0.5)),
        "widths": (wide.x, wide.y),
        "n < d": (few.x, few.y),
        "unrelated": (tall.x, rng.standard_normal((n, 100), dtype=np.float32)),
    }
