"""One named array of a file, known by its header, and which of several holds the vectors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.file_rows import FileRows
from isthmus.spaces.formats.contents import VECTOR_NAMES

__all__ = ["StoredArray", "choose"]


@dataclass(frozen=True)
class StoredArray:
    """One array of a file, known by its header; ``open`` gives its rows as they are asked for.

    ``dtype`` is numpy's name, or ``bfloat16``, of which the rows are the raw ``uint16``.
    """

    shape: tuple[int, ...]
    dtype: str
    open: Callable[[], FileRows]
    fields: tuple[str, ...] = ()
    """The names of its fields, of a structured array."""

    def load(self) -> NDArray[Any]:
        """The whole array."""
        return self.open().held()


def choose(
    arrays: Mapping[str, StoredArray], key: str | None, where: str
) -> tuple[str, StoredArray]:
    """The array that holds the vectors: ``key``, or the only matrix, or ``vectors``/``embeddings``.

    Raises:
        InputError: if there is no such array or the choice is not clear; lists what there is.
    """
    content = ", ".join(f"{name} {array.shape}" for name, array in arrays.items()) or "nothing"
    if key is not None:
        if key not in arrays:
            raise InputError(f"there is no array '{key}'; the file holds {content}", where=where)
        return key, arrays[key]
    arrays = {name: array for name, array in arrays.items() if array.dtype != "object"} or arrays
    matrices = [name for name, array in arrays.items() if len(array.shape) == 2]
    named = [name for name in VECTOR_NAMES if name in arrays]
    for candidates in (matrices, list(arrays), named):
        if len(candidates) == 1:
            return candidates[0], arrays[candidates[0]]
    raise InputError(
        f"it is not clear which array holds the vectors; the file holds {content}",
        where=where,
        mend=f"Name it: '{where}:KEY'",
    )
