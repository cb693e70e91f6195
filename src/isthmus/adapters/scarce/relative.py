"""Relative representations: an item is what it is like, which two models tend to agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.numeric import unit_rows

__all__ = ["relative_representation"]


def relative_representation(
    rows: NDArray[Any], anchors: NDArray[Any], *, centred: bool = True
) -> NDArray[np.float32]:
    """The cosines of each row with every anchor, which need no map to be compared across models.

    The same anchors, encoded by two models, give an item nearly the same representation in both
    (Moschella et al. 2023).

    Args:
        rows: ``(n, d)``.
        anchors: ``(k, d)``.
        centred: subtract the mean representation of ``rows``, and scale each to unit length: what
            all items share says nothing about which is which.

    Returns:
        ``(n, k)`` float32.

    Raises:
        InputError: for arrays of other shapes or of unequal widths, or without anchors.
    """
    if rows.ndim != 2 or anchors.ndim != 2 or rows.shape[1] != anchors.shape[1]:
        raise InputError(
            f"expected rows and anchors of one width, got arrays of shapes {rows.shape} and "
            f"{anchors.shape}",
            mend="Give the anchors as the same model encodes them",
        )
    if not len(anchors):
        raise InputError("there is no anchor to be relative to")
    cosines = unit_rows(rows) @ unit_rows(anchors).T
    if not centred:
        return cosines
    return unit_rows(cosines - cosines.mean(axis=0, dtype=np.float64).astype(np.float32))
