"""The collection beside another that holds a new vector of its items, once it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, TypeVar

from numpy.typing import NDArray

from isthmus.errors import InputError, StoreError
from isthmus.evaluate.scores import Metric
from isthmus.stores.neighbours import Spelling, Widening
from isthmus.stores.protocol import Collection, Column, Ids, Store
from isthmus.stores.refusals import other_column
from isthmus.stores.url import SCHEMES

__all__ = ["SecondCollection"]

T = TypeVar("T")


class SecondCollection:
    """The collection with the vectors ``column`` of the items of ``first``.

    It is called as the first with ``__`` and the column behind it, and made when the first vectors
    are put.  Another process may drop it at any time, and perhaps make another.

    Args:
        first: a store that is one of `Neighbours`.
        column: the new vector's name.

    Raises:
        InputError: if another collection has its name.
    """

    def __init__(self, first: Any, column: str) -> None:
        self._first: Any = first
        self._column_name = column
        held: Collection = first.describe()
        self._where = held.where
        self.name = _name(str(first.url), held.name, column)
        self.store: Any = self._checked()
        """None while there is none."""
        self.declared: Column | None = None
        """The column as it will be made."""
        self._named: tuple[Any, str] | None = None
        self._begun = False
        self._fields: frozenset[str] = frozenset()

    def _checked(self) -> Store | None:
        """The second collection, if it is there.

        Raises:
            InputError: if another collection has its name.
        """
        try:
            second = self._first.neighbour(self.name)
            if second is None or len(second.describe().columns) == 1:
                return second
        except StoreError:
            return None  # it was dropped just now
        except InputError:
            pass
        raise InputError(
            f"'{self.name}' is the name of another collection: it does not hold one new vector "
            "of each item",
            where=self._where,
            mend="Choose another name with --new-column",
        )

    def check_names(self, alias: str) -> None:
        """See that it and an ``alias`` can be called so.

        Raises:
            InputError: if not.
        """
        if isinstance(self._first, Spelling):
            self._first.check_name(self.name)
        first: Any = self._first
        if first.alias(alias) is not None:
            return
        try:
            taken = first.neighbour(alias) is not None
        except InputError:
            taken = True
        if taken:
            raise InputError(
                f"the alias would be called '{alias}', which is the name of something else",
                where=self._where,
                mend="Choose another name with --alias",
            )

    def ask(self, question: Callable[[Any], T], without: Callable[[], T]) -> T:
        """What the collection answers, or what is so where there is none.

        Another process may have dropped it, and perhaps made another: it is looked for again once.
        """
        if self.store is not None:
            try:
                return question(self.store)
            except StoreError:
                pass
        self.store = again = self._first.neighbour(self.name)
        return without() if again is None else question(again)

    def column(self) -> Column | None:
        """Its vectors, or those it will have; None where none were declared."""

        def described(second: Any) -> Column:
            (found,) = second.describe().columns.values()
            return replace(found, name=self._column_name)

        return self.ask(described, lambda: self.declared)

    def now(self) -> Any:
        """The collection as it is there now; None where there is none."""
        self.column()
        return self.store

    @property
    def inner(self) -> str:
        """What it calls its column; asked once, for it takes a round trip."""
        if self._named is None or self._named[0] is not self.store:
            self._named = (self.store, self.store.column)
        return self._named[1]

    def declare(self, dim: int, metric: Metric) -> None:
        """Have it made with vectors of this width and metric at the first `put`.

        Raises:
            InputError: if it is there with others.
        """
        own = self.column()
        if own is not None and (own.dim, own.metric) != (dim, metric):
            raise other_column(own, dim, metric, self._where)
        self.declared = Column(self._column_name, dim, "float32", metric)

    def put(self, ids: Ids, rows: NDArray[Any], payload: Mapping[str, Sequence[Any]]) -> None:
        """Write vectors ``(n, d)`` and payload of some items; the first make the collection.

        Raises:
            InputError: for vectors of another width.
        """
        own = self.declared
        if self.store is None or not self._begun:
            own = self.column()
        if self.store is not None and not self._begun:
            self._begun = True
            if not self.store.count():
                # whoever made it was killed before anything was in it: fields are not known yet
                self._first.drop_neighbour(self.name)
                self.store = None

        def make() -> Any:
            self._begun = True
            metric: Metric = "cosine" if own is None else own.metric
            if own is not None and own.dim != rows.shape[1]:
                raise other_column(own, rows.shape[1], metric, self._where)
            vectors = {self._column_name: rows}
            return self._first.make_neighbour(self.name, ids, vectors, payload, metric)

        def add(second: Any) -> Any:
            fields = frozenset(payload)
            if fields != self._fields and isinstance(self._first, Widening):
                self._first.widen_neighbour(self.name, fields)  # the first may have got new ones
            self._fields = fields
            second.add(ids, {self.inner: rows}, payload)
            return second

        self.store = make() if self.store is None else self.ask(add, make)

    def drop(self) -> None:
        """Remove it, and what was declared; nothing happens if there is none."""
        self._first.drop_neighbour(self.name)
        self.store = self.declared = None


def _name(url: str, name: str, column: str) -> str:
    path = PurePath(name)
    scheme = SCHEMES.get(url.partition("://")[0])
    if scheme is not None and scheme.file:
        return f"{path.stem}__{column}{path.suffix or '.parquet'}"
    return f"{name}__{column}"
