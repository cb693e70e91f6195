"""Scores without hubs: a gallery item that is near to everything counts for less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Floats
from isthmus.errors import InputError
from isthmus.evaluate import top_k
from isthmus.numeric import unit_rows

__all__ = ["NEIGHBOURS", "HubOffsets", "hub_offsets", "with_offsets"]

NEIGHBOURS = 10


@dataclass(frozen=True, eq=False)
class HubOffsets:
    """What is subtracted from the scores of a search and of the way back, from `hub_offsets`."""

    gallery: Floats | None = None
    """How near vectors of the frozen space are to what searches them ``(ny,)``."""
    mapped: Floats | None = None
    """The same for rows of the new modality ``(nx,)``, that the way back searches."""


def hub_offsets(gallery: Floats, queries: Floats, *, k: int = NEIGHBOURS) -> NDArray[np.float32]:
    """Half the mean cosine of each gallery item with the ``k`` nearest of some known queries.

    What cross-domain similarity local scaling (Conneau et al. 2018, CSLS) subtracts from a score
    ``cos``; its other half is the same for all items of one query and changes no ranking.  The
    queries are a bank of earlier ones, never those that are asked now, so that a ranking does not
    depend on what else is asked.

    Args:
        gallery: ``(ng, d)``; it stays as it is, an offset is one more number beside each item.
        queries: the bank ``(nq, d)``, in the gallery's space.
        k: neighbours that are averaged; all there are if fewer.

    Raises:
        InputError: for widths that differ or rows that have no cosine.
    """
    if not len(queries) or k < 1:
        raise InputError(f"hubs are told from 1 query or more, got {len(queries)} and k = {k}")
    near = top_k(gallery, queries, min(k, len(queries)), metric="cosine").scores
    return (near.mean(axis=1, dtype=np.float64) / 2).astype(np.float32)


def with_offsets(
    queries: Floats, gallery: Floats, offsets: Floats | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Unit rows with one more dimension, whose dot product is the cosine less the offset.

    Without offsets the dimension is 0 and the product the cosine.
    """
    ones = np.ones((len(queries), 1), np.float32)
    less = np.zeros(len(gallery), np.float32) if offsets is None else -offsets
    return (
        np.hstack([_with_direction(queries), ones]),
        np.hstack([_with_direction(gallery), less[:, None].astype(np.float32)]),
    )


def _with_direction(rows: Floats) -> NDArray[np.float32]:
    usable = np.isfinite(rows).all(axis=1) & rows.any(axis=1)
    if not usable.all():
        raise InputError("the vector has no direction", where=f"row {int(np.argmin(usable))}")
    return unit_rows(rows)
