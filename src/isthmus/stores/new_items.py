"""The items of a collection that is to be made, checked before anything is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.checks import checked_ids, checked_rows
from isthmus.stores.protocol import Column, Ids, Key

__all__ = ["NewItems", "checked_items"]


class NewItems(NamedTuple):
    """What `checked_items` found right."""

    name: str
    """The name of the collection."""
    key: Key
    ids: Ids
    vectors: dict[str, NDArray[np.float32]]
    """The vectors of each column ``(n, d)``."""


def checked_items(
    address: Address, ids: Ids, vectors: Mapping[str, NDArray[Any]], metric: Metric, *, kind: str
) -> NewItems:
    """The items of a new ``kind`` of thing, such as a table, at ``address``.

    Raises:
        InputError: where the address names none, and for ids or vectors that cannot be stored.
    """
    name = address.collection
    if name is None:
        raise InputError(f"the {kind} has no name", where=address.shown, mend=f"Write #{kind}")
    key: Key = "int" if ids.dtype.kind in "iu" else "str"
    found = checked_ids(ids, key, f"ids for {address.shown}", unique=True)
    rows = {
        column: checked_rows(
            given,
            Column(column, given.shape[1], "float32", metric),
            len(found),
            f"rows for {address.shown}",
        )
        for column, given in vectors.items()
    }
    return NewItems(name, key, found, rows)
