"""Hubs: items that are near neighbours of far too many others."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.probes.result import ProbeResult

__all__ = ["Hubness", "hubness"]

_TOP = 0.01


class Hubness(ProbeResult):
    """The distribution of ``N_k``, how often an item is among the k nearest of the others."""

    k: int
    n: int
    skewness: float
    """Third standardised moment of ``N_k`` (Radovanović et al. 2010); 0 without hubs."""
    top_share: float
    """The part of all neighbour lists that the 1 % most frequent items fill."""
    anti_hubs: float
    """Share of items that are nobody's neighbour."""
    largest: int
    """The most frequent item's count; its expectation is k."""
    hubs: tuple[int, ...]
    """Rows of the ten most frequent items, in falling order."""
    histogram: tuple[int, ...]
    """How many items have ``N_k`` = 0, 1, 2, …"""


def hubness(neighbours: NDArray[np.int64], n: int | None = None) -> Hubness:
    """Count occurrences in neighbour lists.

    Args:
        neighbours: ``(nq, k)`` indices of the nearest items, the item itself left out.
        n: number of items; ``nq`` if they are the queries too.

    Raises:
        InputError: for an array of another shape, or indices beyond ``n``.
    """
    if neighbours.ndim != 2 or 0 in neighbours.shape:
        raise InputError(f"expected neighbour lists (nq, k), found shape {neighbours.shape}")
    n = len(neighbours) if n is None else n
    if int(neighbours.min()) < 0 or int(neighbours.max()) >= n:
        raise InputError(f"a neighbour's index is not between 0 and {n - 1}")
    counts = np.bincount(neighbours.ravel(), minlength=n)
    deviation = float(counts.std())
    centred = counts - counts.mean()
    falling = np.argsort(-counts, kind="stable")
    top = max(1, round(_TOP * n))
    return Hubness(
        k=neighbours.shape[1],
        n=n,
        skewness=float((centred**3).mean()) / deviation**3 if deviation > 0 else 0.0,
        top_share=float(counts[falling[:top]].sum()) / neighbours.size,
        anti_hubs=float((counts == 0).mean()),
        largest=int(counts.max()),
        hubs=tuple(falling[:10].tolist()),
        histogram=tuple(np.bincount(counts).tolist()),
    )
