"""The products of one block of rows, in the dtype of the rows."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from isthmus.errors import InputError
from isthmus.moments.centred_block import RowChoice, Shifted
from isthmus.moments.translation import column_squares, explain_non_finite
from isthmus.numeric import Array

__all__ = ["block_products"]


def block_products(
    xp: Any, keep: Set[str], block: Shifted, sides: tuple[Array, Array], which: RowChoice
) -> dict[str, Array] | None:
    """The sums ``xx``, ``xy``, ``yy`` and squares that are kept, about the point of ``block``.

    Args:
        xp: the namespace of the rows.
        keep: which sums, as `Moments` names them.
        block: the rows about a point near their mean, with the sums of one pass over them.
        sides: all rows as given, for what an error says.
        which: those of the block.

    Returns:
        The sums; None where they overflow the dtype of the rows, which are finite then.

    Raises:
        InputError: for a row that is not finite, or sums that overflow float64.
    """
    sums: dict[str, Array] = {}
    for name in ("xx", "xy", "yy"):
        if name in keep:
            a, b = getattr(block, name[0]), getattr(block, name[1])
            # numpy sees aᵀa of one array and calls syrk: half the work of a general product
            sums[name] = xp.matmul(a.T, b)
    overflowed = False
    for side, rows, moved in (("x", sides[0], block.x), ("y", sides[1], block.y)):
        second = sums.get(side + side)
        if "square" in keep:
            sums[f"square_{side}"] = (
                column_squares(xp, moved) if second is None else xp.linalg.diagonal(second)
            )
        # a NaN or an infinity in a row reaches every sum that the row has a part in
        evidence = sums.get(f"square_{side}", sums.get("xy", block.linear[side]))
        if not bool(xp.all(xp.isfinite(evidence))):
            explain_non_finite(rows, which, side)
            overflowed = True
    # the rows are finite then, and their cubes may still be too large
    overflowed |= not all(bool(xp.all(xp.isfinite(v))) for v in block.fourth.values())
    if overflowed and all(rows.dtype == xp.float64 for rows in sides):
        raise InputError(
            "the sums of squares overflow float64",
            where=_named(which),
            mend="Scale the vectors down",
        )
    return None if overflowed else sums


def _named(which: RowChoice) -> str:
    if isinstance(which, slice):
        return f"rows {which.start} to {which.stop}"
    return f"rows {int(which[0])} to {int(which[-1])}"
