"""What is refused before a store is asked: ids and vectors that cannot be."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import checked_norms
from isthmus.spaces.ids import check_unique, written_ids
from isthmus.spaces.split import hash_ids
from isthmus.stores.protocol import Column, Ids, Key

__all__ = [
    "Repeats",
    "checked_ids",
    "checked_k",
    "checked_queries",
    "checked_rows",
    "no_id",
    "plain_name",
    "text_ids",
]

_PLAIN = re.compile(r"[a-zA-Z0-9._-]+")


def checked_k(k: int) -> int:
    """``k``, if it is a number of hits that can be asked for.

    Raises:
        InputError: if it is below 1.
    """
    if k < 1:
        raise InputError(f"k is {k}", where="k", mend="Ask for at least one item")
    return k


def checked_ids(
    ids: NDArray[Any] | Sequence[Any], key: Key, where: str, *, unique: bool = False
) -> Ids:
    """``ids (n,)`` as int64 or ``U``, of the kind that the collection has.

    Raises:
        InputError: for missing ids, ids of another kind, text that is no UUID where the key is
            one, and, with ``unique``, for an id that occurs twice; naming the first such row.
    """
    found = ids if isinstance(ids, np.ndarray) and ids.dtype.kind != "O" else _of_objects(ids)
    found = written_ids(found, where)
    if not len(found):
        return found.astype(np.int64 if key == "int" else np.str_)
    if (found.dtype.kind == "U") is (key == "int"):
        have = "strings" if found.dtype.kind == "U" else "integers"
        raise InputError(
            f"the ids are {have}, those of the collection are of the kind '{key}'", where=where
        )
    if key == "uuid":
        found = _canonical(found, where)
    if key == "int":
        found = found.astype(np.int64, copy=False)
    if unique:
        check_unique(found, lambda row: f"{where}, row {row}")
    return found


def _of_objects(ids: NDArray[Any] | Sequence[Any]) -> NDArray[Any] | Sequence[Any]:
    values = ids.tolist() if isinstance(ids, np.ndarray) else ids
    if any(isinstance(value, uuid.UUID) for value in values):
        return [str(v) if isinstance(v, uuid.UUID) else v for v in values]
    return values


def _canonical(ids: NDArray[Any], where: str) -> NDArray[np.str_]:
    out: list[str] = []
    for row, value in enumerate(ids.tolist()):
        try:
            out.append(str(uuid.UUID(value)))
        except ValueError as error:
            raise InputError(f"the id {value!r} is no UUID", where=f"{where}, row {row}") from error
    return np.array(out, dtype=np.str_)


def text_ids(names: Sequence[str], where: str) -> NDArray[np.str_]:
    """Ids ``(n,)`` as a collection holds them.

    Raises:
        InputError: for one that is empty, or holds a null character, at which arrays cut a text.
    """
    odd = next((name for name in names if not name or "\0" in name), None)
    if odd is not None:
        raise InputError(
            f"the id {odd[:50]!r} holds a null character" if odd else "an id is empty",
            where=where,
            mend="Give that item another id",
        )
    return np.array(names, dtype=np.str_)


def no_id(key: Key) -> int | str:
    """The id that stands in a place of `Hits` where no item was found."""
    return -1 if key == "int" else ""


def checked_rows(rows: NDArray[Any], column: Column, n: int, where: str) -> NDArray[np.float32]:
    """``rows (n, d)`` as float32, fit to be stored in ``column``.

    Raises:
        InputError: for another shape, a value that is not finite, or a zero vector where the
            column compares by cosine; naming the first such row.
    """
    found = np.asarray(rows)
    if found.ndim != 2 or found.dtype.kind != "f" or len(found) != n:
        raise InputError(
            f"expected floats of shape ({n}, {column.dim}), "
            f"found {found.dtype} of shape {found.shape}",
            where=where,
        )
    _check_width(found, column, where)
    if n:
        checked_norms(found, where, column.metric)
    return found.astype(np.float32, copy=False)


def checked_queries(queries: NDArray[Any], column: Column, where: str) -> NDArray[np.float32]:
    """``queries (nq, d)`` as float32, fit to search ``column``.

    Raises:
        InputError: as `checked_rows`.
    """
    found = np.asarray(queries)
    return checked_rows(found, column, len(found) if found.ndim else 0, f"queries for {where}")


def _check_width(rows: NDArray[Any], column: Column, where: str) -> None:
    if rows.shape[1] != column.dim:
        raise InputError(
            f"the vectors have width {rows.shape[1]}, column '{column.name}' has {column.dim}",
            where=where,
            mend="Give vectors of the model that fills this column, or map them first",
        )


class Repeats:
    """Finds an id that occurs twice among ids that come in batches.

    Eight bytes are kept of each id, so that a collection of strings need not fit in memory.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._hashes: list[NDArray[np.uint64]] = []

    def add(self, ids: Ids) -> None:
        """Take note of ``ids (n,)``."""
        self._hashes.append(hash_ids(ids))

    def check(self) -> None:
        """Refuse the ids if two are equal (or, once in 2^64 pairs, if two look so).

        Raises:
            InputError: saying how many.
        """
        if not self._hashes:
            return
        hashes = np.sort(np.concatenate(self._hashes))
        repeated = int((hashes[1:] == hashes[:-1]).sum())
        if repeated:
            raise InputError(
                f"{repeated:,} item(s) have an id that another item has",
                where=self._where,
                mend="Keep one row of each item, or name another field with ?id=FIELD",
            )


def plain_name(name: str, where: str) -> None:
    """See that a new collection's name has no letters but those that LanceDB and Chroma take.

    Raises:
        InputError: if it has others.
    """
    if not _PLAIN.fullmatch(name):
        raise InputError(
            f"the collection of the new vectors would be called '{name}', and such names have "
            "letters from a to z, digits, and . _ - alone",
            where=where,
            mend="Choose another name with --new-column",
        )
