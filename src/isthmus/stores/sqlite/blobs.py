"""Vectors as SQLite keeps them, BLOBs of float32, to numpy and from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.stores.protocol import Ids

__all__ = ["blobs_of", "vectors_of", "width_of"]

_LEAST, _MOST = 1e-30, 1e15
"""Sizes that numbers of vectors have; of other data read as floats 40 % lie outside."""
_SHARE = 0.9


def blobs_of(rows: NDArray[np.float32]) -> list[bytes]:
    """Each of ``rows (n, d)`` as a BLOB."""
    width = 4 * rows.shape[1]
    packed = np.ascontiguousarray(rows, dtype="<f4").tobytes()
    return [packed[at : at + width] for at in range(0, len(packed), width)]


def vectors_of(
    values: Sequence[Any], dim: int, ids: Ids, where: str
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors ``(n, dim)`` float32 of BLOBs, NaN where there is none, and where there is one.

    Raises:
        InputError: for a value that is no vector of this width, naming the item.
    """
    width = 4 * dim
    for number, value in enumerate(values):
        if value is not None and (not isinstance(value, bytes) or len(value) != width):
            told = f"{len(value)} bytes" if isinstance(value, bytes) else f"{value!r:.40}"
            raise InputError(
                f"the vector of item '{ids[number]}' is {told}: {dim} floats take {width} bytes",
                where=where,
                mend="Encode the item anew, or delete it",
            )
    held = [value for value in values if value is not None]
    found = np.frombuffer(b"".join(held), dtype="<f4").reshape(-1, dim).astype(np.float32)
    present = np.array([value is not None for value in values], dtype=np.bool_)
    if len(held) == len(values):
        return found, present
    vectors = np.full((len(values), dim), np.nan, dtype=np.float32)
    vectors[present] = found
    return vectors, present


def width_of(sample: Sequence[Any]) -> int | str:
    """The width of the vectors that these values are; or why they are none."""
    if not sample:
        return "it is empty"
    if not all(isinstance(value, bytes) for value in sample):
        return f"one is {next(v for v in sample if not isinstance(v, bytes))!r:.40}"
    lengths = sorted({len(value) for value in sample})
    if len(lengths) > 1:
        return f"they have several lengths, such as {lengths[0]:,} and {lengths[1]:,} bytes"
    if lengths[0] % 4 or lengths[0] < 8:
        return f"{lengths[0]:,} bytes are no vector of float32"
    packed = b"".join(sample)
    if _plausible(np.frombuffer(packed, dtype="<f4")):
        return lengths[0] // 4
    if not lengths[0] % 8 and _plausible(np.frombuffer(packed, dtype="<f8")):
        return "they are float64: write them anew with .astype('float32')"
    return "their bytes are no numbers of float32"


def _plausible(numbers: NDArray[Any]) -> bool:
    with np.errstate(invalid="ignore"):
        sizes = np.abs(numbers)
        usual = (sizes == 0) | ((sizes > _LEAST) & (sizes < _MOST))
    return bool(np.isfinite(numbers).all() and usual.mean() > _SHARE)
