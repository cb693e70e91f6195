"""What the stores share: their columns looked up by name, texts, and being closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

from isthmus.stores.protocol import Column, Ids
from isthmus.stores.refusals import no_texts, other_column, unknown_name

__all__ = ["StoreBase"]


class StoreBase(ABC):
    """The part of a `Store` that does not depend on the database."""

    _url: str
    _text_field: str | None

    @property
    def url(self) -> str:
        """The URL that `open_store` takes, without any secret."""
        return self._url

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    @abstractmethod
    def _columns(self) -> dict[str, Column]:
        """The vector columns as they are now; their counts may be left out."""

    @abstractmethod
    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""

    @abstractmethod
    def close(self) -> None:
        """See `Store.close`."""

    def _column(self, name: str) -> Column:
        columns = self._columns()
        if name not in columns:
            raise unknown_name("vector column", name, columns, where=self._url)
        return columns[name]

    def _is_there(self, name: str, dim: int, metric: str) -> bool:
        """Whether the column exists; one with another width or metric is refused."""
        column = self._columns().get(name)
        if column is not None and (column.dim, column.metric) != (dim, metric):
            raise other_column(column, dim, metric, self._url)
        return column is not None

    def _known_fields(self, fields: Sequence[str] | None, known: Sequence[str]) -> Sequence[str]:
        if fields is None:
            return known
        for name in fields:
            if name not in known:
                raise unknown_name("payload field", name, known, where=self._url)
        return fields

    def texts(self, ids: Ids) -> list[str | None]:
        """See `Store.texts`."""
        if self._text_field is None:
            raise no_texts(self._url)
        return [item.get(self._text_field) for item in self.payload(ids, [self._text_field])]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
