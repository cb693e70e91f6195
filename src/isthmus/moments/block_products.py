"""The products of one block of rows, in the dtype of the rows."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import numpy as np

from isthmus.added_products import add_product, add_square, fill_below
from isthmus.moments.translation import column_squares
from isthmus.numeric import Array

__all__ = ["add_products", "whole_products"]


def add_products(xp: Any, keep: Set[str], sums: dict[str, Array], moved: dict[str, Array]) -> None:
    """Add the products ``xx``, ``xy``, ``yy`` and squares that are kept of some rows to ``sums``.

    Of numpy rows ``xx`` and ``yy`` are summed above their diagonals alone, as `whole_products`
    expects them.

    Args:
        xp: the namespace of the rows.
        keep: which sums, as `Moments` names them.
        sums: those of other rows of the block, or none.
        moved: x and y about a point.
    """
    for name in ("xx", "xy", "yy"):
        if name in keep:
            a, b = moved[name[0]], moved[name[1]]
            if not isinstance(a, np.ndarray) or a.dtype != b.dtype:
                product = xp.matmul(a.T, b)
                sums[name] = sums[name] + product if name in sums else product
                continue
            if name not in sums:
                sums[name] = np.zeros((a.shape[1], b.shape[1]), a.dtype)
            if a is b:
                add_square(sums[name], a)
            else:
                add_product(sums[name], a.T, b)
    for side, rows in moved.items():
        if "square" in keep and side + side not in keep:
            name = f"square_{side}"
            squares = column_squares(xp, rows)
            sums[name] = sums[name] + squares if name in sums else squares


def whole_products(xp: Any, keep: Set[str], sums: dict[str, Array]) -> dict[str, Array]:
    """The sums of a block, complete: both halves of ``xx`` and ``yy``, and the squares kept."""
    whole = dict(sums)
    for side in "xy":
        name = side + side
        if name in whole:
            if isinstance(whole[name], np.ndarray):
                whole[name] = fill_below(whole[name])
            if "square" in keep:
                whole[f"square_{side}"] = xp.linalg.diagonal(whole[name])
    return whole
