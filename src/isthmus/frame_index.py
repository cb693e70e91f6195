"""The index of a pandas DataFrame or Series: what its rows are called."""

from __future__ import annotations

from typing import Any

import numpy as np

from isthmus.errors import InputError

__all__ = ["check_same_index"]


def check_same_index(x: Any, y: Any, names: tuple[str, str] = ("X", "y")) -> None:
    """Refuse two frames that call rows at the same place differently, and the same rows alike.

    Rows are paired by their place; frames that were sorted or sampled apart would pair other items.
    A plain count is the name of no row, and nothing but frames has names.

    Raises:
        InputError: saying how many rows the other frame has at another place.
    """
    one, other = _index(x), _index(y)
    if one is None or other is None or len(one) != len(other) or one.equals(other):
        return
    moved = one.isin(other) & np.asarray(one != other)
    if moved.any():
        row = int(np.argmax(moved))
        raise InputError(
            f"{int(moved.sum())} of the {len(one)} rows stand at another place in {names[1]}, by "
            f"the index of both frames; the first is {one[row]!r}",
            where=f"{names[0]}, row {row}",
            mend=f"Order one frame by the other: {names[1]}.loc[{names[0]}.index]; or drop what "
            "is no name of a row with reset_index(drop=True)",
        )


def _index(frame: Any) -> Any:
    index = getattr(frame, "index", None)
    if index is None or callable(index) or not hasattr(index, "isin"):
        return None
    counted = type(index).__name__ == "RangeIndex" and (index.start, index.step) == (0, 1)
    return None if counted or not index.is_unique else index
