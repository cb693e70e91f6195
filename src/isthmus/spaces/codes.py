"""What 8-bit codes stand for: scalar codes with their ranges, and packed signs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError

__all__ = ["Codes", "checked_codes"]


@dataclass(frozen=True, eq=False)
class Codes:
    """How stored integers become float32 rows.

    Scalar codes count 255 equal steps from the least to the greatest value of each dimension, from
    -128 where they are signed and from 0 where not, as sentence-transformers makes them.  Packed
    signs hold eight dimensions a byte, the first in the highest bit: 1 becomes 1, 0 becomes -1.
    """

    ranges: NDArray[np.float64] | None
    """``(2, d)``; None for packed signs."""
    dim: int = 0
    """Width of the decoded rows, once the codes are known."""
    signed: bool = False

    @classmethod
    def of(cls, given: Codes | NDArray[Any] | Literal["binary"] | None, where: str) -> Codes | None:
        """From what a user gives; None stays None.

        Raises:
            InputError: for ranges that are not two finite rows, the least values first.
        """
        if given is None or isinstance(given, Codes):
            return given
        if isinstance(given, str):
            if given != "binary":
                raise InputError(f"unknown codes '{given}'", mend="Use 'binary', or ranges (2, d)")
            return cls(None)
        ranges = np.asarray(given, dtype=np.float64)
        if ranges.ndim != 2 or len(ranges) != 2 or not np.isfinite(ranges).all():
            raise InputError(
                f"the ranges of the codes have shape {ranges.shape}, expected finite (2, d)",
                where=where,
            )
        if (ranges[0] > ranges[1]).any():
            raise InputError("the ranges of the codes hold the greatest values first", where=where)
        return cls(ranges)

    def decoded(self, codes: NDArray[Any]) -> NDArray[np.float32]:
        """Rows ``(n, dim)`` of ``codes (n, d)``."""
        if self.ranges is None:
            packed = codes.view(np.uint8)
            # signed bytes are the unsigned ones less 128
            flipped = np.bitwise_xor(packed, np.uint8(0x80)) if self.signed else packed
            bits = np.unpackbits(np.asarray(flipped, dtype=np.uint8), axis=1)
            rows = bits.astype(np.float32) * 2 - 1
        else:
            least, greatest = self.ranges
            step = (greatest - least) / 255
            start = least + (128 * step if self.signed else 0)
            rows = (codes.astype(np.float64) * step + start).astype(np.float32)
        rows.flags.writeable = False
        return rows


def checked_codes(
    codes: Codes | None, shape: tuple[int, ...], dtype: str, where: str
) -> Codes | None:
    """The codes for a stored array, with their width; None where it holds numbers as they are.

    Raises:
        InputError: for codes that do not fit the array.
    """
    if codes is None or dtype not in ("int8", "uint8"):
        if codes is not None and not codes.dim and dtype not in ("float16", "float32", "float64"):
            raise InputError(f"codes are int8 or uint8, found {dtype}", where=where)
        return None
    if len(shape) != 2 or 0 in shape:
        return None  # refused as any such array
    dim = 8 * shape[1] if codes.ranges is None else shape[1]
    if codes.ranges is not None and codes.ranges.shape[1] != dim:
        raise InputError(
            f"the ranges are of {codes.ranges.shape[1]} dimensions, the codes of {dim}", where=where
        )
    return Codes(codes.ranges, dim, dtype == "int8")
