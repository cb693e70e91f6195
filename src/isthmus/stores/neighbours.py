"""What a store must do so that its database can hold a second collection beside it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.protocol import Ids, Store

__all__ = ["KeptAlike", "Neighbours", "Spelling", "Widening"]


@runtime_checkable
class Neighbours(Protocol):
    """A store whose database can hold another collection beside it."""

    def neighbour(self, name: str) -> Store | None:
        """The collection called ``name`` of the same database; None if there is none."""
        ...

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> Store:
        """A new collection of that name with these items; their ids are of the kind held here."""
        ...

    def drop_neighbour(self, name: str) -> None:
        """Remove the collection of that name; nothing happens if there is none."""
        ...


@runtime_checkable
class Spelling(Protocol):
    """A database whose collections cannot be called anything."""

    def check_name(self, name: str) -> None:
        """See that a collection can be called ``name``.

        Raises:
            InputError: if not.
        """
        ...


@runtime_checkable
class KeptAlike(Protocol):
    """A store whose second collection takes over settings of the first one."""

    def kept_like(self) -> str:
        """Those settings, in words; empty where all are the database's defaults."""
        ...


@runtime_checkable
class Widening(Protocol):
    """A store whose collections have the fields that they were made with, and may be given more."""

    def widen_neighbour(self, name: str, fields: Collection[str]) -> None:
        """Let the collection called ``name`` have these fields, of the types that they have here.

        Those that it has already stay; of the items that it holds, the others are null.
        """
        ...
