"""Whether the sums of one block of rows are exact, and the error where a row is not finite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.moments.centred_block import RowChoice, Shifted
from isthmus.numeric import Array, inexact, namespace, to_numpy

__all__ = ["out_of_range"]


def out_of_range(
    xp: Any,
    products: Mapping[str, Array],
    block: Shifted,
    sides: tuple[Array, Array],
    which: RowChoice,
) -> bool:
    """Whether the sums of a block overflow the dtype of its rows, or lose digits to underflow.

    Args:
        xp: the namespace of the rows.
        products: of the block.
        block: its other sums.
        sides: all rows as given, for what an error says.
        which: those of the block.

    Raises:
        InputError: for a row that is not finite, or sums that overflow float64.
    """
    found = False
    for side, rows in zip("xy", sides, strict=True):
        # a NaN or an infinity in a row reaches every sum that the row has a part in
        evidence = products.get(f"square_{side}", products.get("xy", block.linear[side]))
        if not bool(xp.all(xp.isfinite(evidence))):
            _explain_non_finite(rows, which, side)
            found = True
    # the rows are finite then, and their cubes may still be too large
    found |= not all(bool(xp.all(xp.isfinite(v))) for v in block.fourth.values())
    if all(rows.dtype == xp.float64 for rows in sides):
        if not found:
            return False
        raise InputError(
            "the sums of squares overflow float64",
            where=_named(which),
            mend="Scale the vectors down",
        )
    return found or any(
        bool(inexact(to_numpy(xp.max(spread), np.float64)[None], np.float32)[0])
        for spread in block.spread.values()
        if spread.shape[0]
    )


def _explain_non_finite(rows: Array, which: RowChoice, side: str) -> None:
    """Raise for the first of the rows ``which`` that is not finite, if there is one."""
    finite = to_numpy(namespace(rows).isfinite(rows[which, ...])).all(axis=1)
    if not finite.all():
        place = int(np.argmin(finite))
        row = which.start + place if isinstance(which, slice) else int(which[place])
        raise InputError(
            "the vector holds a NaN or an infinity",
            where=f"{side}, row {row}",
            mend="Drop or re-encode it",
        )


def _named(which: RowChoice) -> str:
    if isinstance(which, slice):
        return f"rows {which.start} to {which.stop}"
    return f"rows {int(which[0])} to {int(which[-1])}"
