"""A store in memory: exact, and the yardstick that the others are measured against."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import QUERY_BLOCK, BlockSizes, Metric
from isthmus.evaluate.search import top_k
from isthmus.locks import ForkLock
from isthmus.stores.checks import checked_ids, checked_k, checked_queries, checked_rows, no_id
from isthmus.stores.held_state import HeldColumn, HeldState
from isthmus.stores.ledger import Ledger
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Key,
    Rows,
    ScanBatch,
)
from isthmus.stores.refusals import alias_moved, cannot, no_texts, other_column, unknown_name

__all__ = ["MemoryStore"]

_KEY_BYTES = 1 << 26
"""Most memory that the best items of one block of queries take."""


class MemoryStore:
    """A collection of vectors held in numpy arrays, searched exactly.

    The arrays are used in place until something is put, and may be memory maps.  Ids, vectors and
    payload are checked as every other store checks them.

    Args:
        ids: ``(n,)`` unique integers or strings; by default 0 to n - 1.
        vectors: of each column ``(n, d)`` floats.
        present: of each column ``(n,)``, which rows are vectors; all, where it is not given.
        payload: of each field ``n`` values.
        metric: how the columns are compared, one for all or one of each.
        text_field: the payload field that holds the texts.
        name: what messages call the store.

    Raises:
        InputError: for doubled ids, arrays of different lengths, or vectors that are not finite.

    Example:
        >>> import numpy as np
        >>> from isthmus.stores import MemoryStore
        >>> store = MemoryStore(vectors={"old": np.eye(3, dtype=np.float32)})
        >>> store.search(np.array([[0, 1.0, 0]]), 1, column="old").ids.tolist()
        [[1]]
    """

    def __init__(
        self,
        ids: Ids | Sequence[Any] | None = None,
        vectors: Mapping[str, NDArray[Any]] | None = None,
        *,
        present: Mapping[str, NDArray[np.bool_]] | None = None,
        payload: Mapping[str, Sequence[Any]] | None = None,
        metric: Metric | Mapping[str, Metric] = "cosine",
        text_field: str = "text",
        name: str = "memory",
    ) -> None:
        arrays = dict(vectors or {})
        if ids is None:
            ids = np.arange(len(next(iter(arrays.values()))) if arrays else 0)
        self._name = name
        self._key: Key = "int" if np.asarray(ids).dtype.kind in "iu" else "str"
        self._text_field = text_field
        self._lock = ForkLock()
        self._aliases: dict[str, str] = {}
        found = checked_ids(ids, self._key, f"ids of {name}", unique=True)
        n = len(found)
        columns: dict[str, HeldColumn] = {}
        for column, rows in arrays.items():
            chosen = metric if isinstance(metric, str) else metric[column]
            if rows.ndim != 2 or len(rows) != n:
                raise InputError(
                    f"the vectors have shape {rows.shape}, expected ({n}, d)",
                    where=f"{name}, column '{column}'",
                )
            valid = (present or {}).get(column, np.ones(n, dtype=np.bool_))
            columns[column] = HeldColumn(rows, valid, chosen)
            if valid.any():
                columns[column].norms  # noqa: B018 (checks every row now, not at the first search)
        self._state = HeldState(
            found, np.arange(n), columns, _checked_payload(payload or {}, n, name)
        )

    @property
    def url(self) -> str:
        """A name for messages; a store in memory cannot be opened by it."""
        return f"memory://{self._name}"

    @property
    def column(self) -> str:
        """The only column, or the first one."""
        if not self._state.columns:
            raise InputError("the store has no vector column", where=self.url)
        return next(iter(self._state.columns))

    def __repr__(self) -> str:
        state = self._state
        columns = ", ".join(f"{c} {h.rows.shape[1]}" for c, h in state.columns.items())
        return f"MemoryStore({self._name!r}, {len(state.ids):,} items, {columns})"

    def describe(self) -> Collection:
        """See `Store.describe`."""
        state = self._state
        return Collection(
            name=self._name,
            key=self._key,
            columns={name: self._described(name, held) for name, held in state.columns.items()},
            fields=tuple(state.payload),
            text_field=self._text_field if self._text_field in state.payload else None,
            capabilities=Capabilities(second_column=True, aliases=True, transactional=True),
            where=self.url,
        )

    def contents(
        self,
    ) -> tuple[Ids, dict[str, tuple[NDArray[Any], NDArray[np.bool_]]], Mapping[str, Sequence[Any]]]:
        """Everything held: ids, of each column its rows and which of them are vectors, payload."""
        state = self._state
        columns = {name: (held.rows, held.present) for name, held in state.columns.items()}
        return state.ids, columns, state.payload

    def _described(self, name: str, held: HeldColumn) -> Column:
        return Column(name, held.rows.shape[1], held.rows.dtype.name, held.metric)

    def _held(self, state: HeldState, column: str) -> tuple[HeldColumn, Column]:
        if column not in state.columns:
            raise unknown_name("vector column", column, state.columns, where=self.url)
        held = state.columns[column]
        return held, self._described(column, held)

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order in which the items were added."""
        state = self._state
        held, described = self._held(state, column)
        checked_k(k)
        checked_queries(queries, described, self.url)
        gallery, rows = held.gallery, held.places
        norms = held.norms if len(gallery) else None
        if only is not None:
            chosen = np.unique(state.rows_of(checked_ids(only, self._key, "only")))
            chosen = chosen[chosen >= 0]
            rows = chosen[held.present[chosen]]
            inside = rows if held.places is None else np.searchsorted(held.places, rows)
            gallery, norms = gallery[inside], None if norms is None else norms[inside]
        best = min(k, len(gallery))
        ids = np.full((len(queries), k), no_id(self._key), dtype=state.ids.dtype)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        if best and len(queries):
            found = top_k(
                queries,
                gallery,
                best,
                metric=held.metric,
                sizes=BlockSizes(max(1, min(QUERY_BLOCK, _KEY_BYTES // (16 * best)))),
                gallery_norms=norms,
            )
            places = found.indices if rows is None else rows[found.indices]
            ids[:, :best] = state.ids[places]
            scores[:, :best] = found.scores
        return Hits(ids, scores)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        state = self._state
        held, described = self._held(state, column)
        asked = checked_ids(ids, self._key, "ids")
        rows = state.rows_of(asked)
        present = rows >= 0
        present[present] = held.present[rows[present]]
        vectors = np.full((len(rows), described.dim), np.nan, dtype=np.float32)
        vectors[present] = held.rows[rows[present]]
        return Rows(asked, vectors, present)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        state = self._state
        names = self._fields(state, fields)
        return [
            {name: state.payload[name][row] for name in names} if row >= 0 else {}
            for row in state.rows_of(checked_ids(ids, self._key, "ids")).tolist()
        ]

    def texts(self, ids: Ids) -> list[str | None]:
        """See `Store.texts`."""
        if self._text_field not in self._state.payload:
            raise no_texts(self.url, self._text_field or None)
        found = self.payload(ids, [self._text_field])
        return [None if not item else item[self._text_field] for item in found]

    def _fields(self, state: HeldState, fields: Sequence[str] | None) -> Sequence[str]:
        if fields is None:
            return tuple(state.payload)
        for name in fields:
            if name not in state.payload:
                raise unknown_name("payload field", name, state.payload, where=self.url)
        return fields

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`; in the order in which items were added, as held when it begins."""
        state = self._state
        held = None if column is None else self._held(state, column)[0]
        self._fields(state, fields)
        start = 0 if after is None else int(np.searchsorted(state.places, int(after), "right"))
        return self._batches(state, held, fields, start, batch)

    def _batches(
        self,
        state: HeldState,
        held: HeldColumn | None,
        fields: Sequence[str],
        start: int,
        batch: int,
    ) -> Iterator[ScanBatch]:
        for first in range(start, len(state.ids), batch):
            part = slice(first, min(first + batch, len(state.ids)))
            vectors = present = None
            if held is not None:
                present = held.present[part]
                vectors = held.rows[part].astype(np.float32, copy=False)
                if not present.all():
                    vectors = np.where(present[:, None], vectors, np.float32(np.nan))
            yield ScanBatch(
                state.ids[part],
                vectors,
                present,
                {name: state.payload[name][part] for name in fields},
                str(int(state.places[part.stop - 1])),
            )

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`."""
        found = checked_ids(ids, self._key, f"ids for {self.url}", unique=True)
        with self._lock:
            state = self._state
            held, described = self._held(state, column)
            checked = checked_rows(rows, described, len(found), f"rows for {self.url}")
            places = state.rows_of(found)
            known = places >= 0
            held = held.filled(places[known], checked[known])
            self._state = replace(state, columns={**state.columns, column: held})
        return int(known.sum())

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`."""
        where = f"rows for {self.url}"
        with self._lock:
            state = self._state
            if not len(state.ids) and not state.columns and not state.payload:
                self._key = "int" if np.asarray(ids).dtype.kind in "iu" else "str"
            found = checked_ids(ids, self._key, f"ids for {self.url}", unique=True)
            given = _checked_payload(payload or {}, len(found), self.url)
            rows = {
                name: checked_rows(array, self._held(state, name)[1], len(found), where)
                for name, array in vectors.items()
            }
            new = np.flatnonzero(state.rows_of(found) < 0)
            state = state.grown(found[new], given)
            places = state.rows_of(found)
            columns = {
                name: held.filled(places, rows[name])
                if name in rows
                else replace(held, present=_without(held.present, places))
                for name, held in state.columns.items()
            }
            for name, values in state.payload.items():
                for row, value in zip(places, given.get(name, [None] * len(places)), strict=True):
                    values[row] = value
            self._state = replace(state, columns=columns)

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`."""
        found = checked_ids(ids, self._key, "ids")
        with self._lock:
            state = self._state
            keep = np.ones(len(state.ids), dtype=np.bool_)
            rows = state.rows_of(found)
            keep[rows[rows >= 0]] = False
            kept = np.flatnonzero(keep)
            self._state = state.keeping(kept)
        return int((~keep).sum())

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`."""
        with self._lock:
            state = self._state
            if name in state.columns:
                column = self._held(state, name)[1]
                if (column.dim, column.metric) != (dim, metric):
                    raise other_column(column, dim, metric, self.url)
                return
            n = len(state.ids)
            held = HeldColumn(
                np.zeros((n, dim), np.float32), np.zeros(n, np.bool_), metric, owned=True
            )
            self._state = replace(state, columns={**state.columns, name: held})

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        with self._lock:
            left = {c: held for c, held in self._state.columns.items() if c != name}
            self._state = replace(self._state, columns=left)

    def count(self) -> int:
        """See `Store.count`."""
        return len(self._state.ids)

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        return int(self._held(self._state, column)[0].present.sum())

    def alias(self, name: str) -> str | None:
        """See `Store.alias`."""
        return self._aliases.get(name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`."""
        with self._lock:
            now = self._aliases.get(name)
            if now != old:
                raise alias_moved(name, old, now, self.url)
            if new is None:
                self._aliases.pop(name, None)
            else:
                self._aliases[name] = new

    def ledger(self, name: str) -> Ledger:
        """Refused: nothing in memory outlives the process."""
        raise cannot("a store in memory keeps no ledger", self.url)

    def close(self) -> None:
        """Nothing is held that must be given back."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _without(present: NDArray[np.bool_], places: NDArray[np.int64]) -> NDArray[np.bool_]:
    left = present.copy()
    left[places] = False
    return left


def _checked_payload(
    payload: Mapping[str, Sequence[Any]], n: int, where: str
) -> dict[str, list[Any]]:
    for name, values in payload.items():
        if len(values) != n:
            raise InputError(
                f"there are {len(values):,} values for {n:,} items",
                where=f"{where}, payload field '{name}'",
            )
    return {
        name: values.tolist() if isinstance(values, np.ndarray) else list(values)
        for name, values in payload.items()
    }
