"""Rows of a table read from SQLite, and the nearest of them found."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.search import top_k
from isthmus.stores.checks import text_ids
from isthmus.stores.hits import hits_of, no_hits
from isthmus.stores.protocol import Column, Hits, Ids, Key, ScanBatch
from isthmus.stores.sqlite.blobs import blobs_of, vectors_of
from isthmus.stores.sqlite.layout import SqliteTable
from isthmus.stores.sqlite.names import quoted

__all__ = ["MOST_MATCHED", "matched", "nearest", "page", "rows_of"]

MOST_MATCHED = 4096
"""Items that sqlite-vec's search gives at most."""


def page(
    connection: Any,
    table: SqliteTable,
    column: Column | None,
    fields: Sequence[str],
    after: str | None,
    batch: int,
    where: str,
) -> ScanBatch:
    """The ``batch`` items behind ``after`` in the order of their ids; empty at the end."""
    ids, key = table.ids
    behind = "" if after is None else f"i.{quoted(key)} > ? and "
    source = (
        f"select i.{quoted(key)} as r from {quoted(ids)} i "
        f"where {behind}{table.is_item(f'i.{quoted(key)}')} order by r limit {batch}"
    )
    given = () if after is None else (int(after) if table.key == "int" else after,)
    return _read(connection, table, column, fields, (source, given), where)


def rows_of(
    connection: Any,
    table: SqliteTable,
    column: Column | None,
    fields: Sequence[str],
    ids: Ids,
    where: str,
) -> ScanBatch:
    """Those of ``ids (n,)``, each named once, that are held, in the order of the ids."""
    source = "select value as r from json_each(?)"
    given = (json.dumps(np.unique(ids).tolist()),)
    return _read(connection, table, column, fields, (source, given), where)


def _read(
    connection: Any,
    table: SqliteTable,
    column: Column | None,
    fields: Sequence[str],
    asked: tuple[str, tuple[Any, ...]],
    where: str,
) -> ScanBatch:
    source, given = asked
    # a vec0 table finds a row by its id alone, so the ids come from elsewhere
    name, key = (table.name, table.id) if column is not None or fields else table.ids
    tables = f"({source}) q cross join {quoted(name)} t on t.{quoted(key)} = q.r"
    beside = None if table.beside is None else table.text_field
    if table.beside is not None:
        name, key = table.beside
        tables += (
            f" {'cross' if table.second else 'left'} join {quoted(name)} d on d.{quoted(key)} = q.r"
        )
    chosen = ["q.r", *([] if column is None else [f"t.{quoted(column.name)}"])]
    chosen += [f"{'d' if f == beside else 't'}.{quoted(f)}" for f in fields]
    rows = connection.execute(
        f"select {', '.join(chosen)} from {tables} order by q.r", given
    ).fetchall()
    found = [list(values) for values in zip(*rows, strict=True)] or [[] for _ in chosen]
    ids = ids_of(found[0], table.key, where)
    vectors = present = None
    if column is not None:
        vectors, present = vectors_of(found[1], column.dim, ids, where)
    payload = dict(zip(fields, found[len(chosen) - len(fields) :], strict=True))
    return ScanBatch(ids, vectors, present, payload, str(ids[-1]) if len(ids) else "")


def ids_of(values: Sequence[Any], key: Key, where: str) -> Ids:
    """Ids ``(n,)`` as SQLite gave them.

    Raises:
        InputError: for one of another type than its column declares, which SQLite lets in; or as
            `text_ids`.
    """
    kind = int if key == "int" else str
    for value in values:
        if type(value) is not kind:
            raise InputError(
                f"the id {value!r:.40} is not of the type of the others",
                where=where,
                mend="Give every item an id of one type",
            )
    return np.array(values, dtype=np.int64) if key == "int" else text_ids(values, where)


def matched(
    connection: Any, table: SqliteTable, column: Column, queries: NDArray[np.float32], k: int
) -> Hits:
    """The ``k`` best items of each of ``queries (nq, d)``, by sqlite-vec itself.

    Fewer are found where rows that are no items stand among them.
    """
    key = quoted(table.id)
    asked = (
        f"select m.{key}, m.distance from (select {key}, distance from {quoted(table.name)} "
        f"where {quoted(column.name)} match ? and k = {k}) m where {table.is_item(f'm.{key}')}"
    )
    hits: list[tuple[Any, float]] = []
    query: list[int] = []
    for number, vector in enumerate(blobs_of(queries)):
        found = connection.execute(asked, (vector,)).fetchall()
        hits += found
        query += [number] * len(found)
    if not hits:
        return no_hits(len(queries), k, table.key)
    ids, distances = zip(*hits, strict=True)
    away = np.array(distances)
    scores = (-(away**2) if column.metric == "l2" else 1 - away).astype(np.float32)
    return hits_of(len(queries), k, table.key, np.array(query), np.array(ids), scores)


def nearest(
    parts: Iterable[ScanBatch], key: Key, column: Column, queries: NDArray[np.float32], k: int
) -> Hits:
    """The ``k`` best items of each of ``queries (nq, d)`` among all that are read, exactly."""
    best = no_hits(len(queries), k, key)
    for part in parts:
        assert part.vectors is not None and part.present is not None
        rows = part.present & (part.vectors.any(axis=1) | (column.metric != "cosine"))
        if not rows.any():
            continue
        ids = part.ids[rows]
        found = top_k(queries, part.vectors[rows], min(k, len(ids)), metric=column.metric)
        query, place = np.nonzero(best.found)
        best = hits_of(
            len(queries),
            k,
            key,
            np.concatenate([query, np.repeat(np.arange(len(queries)), found.indices.shape[1])]),
            np.concatenate([best.ids[query, place], ids[found.indices.ravel()]])
            if len(query)
            else ids[found.indices.ravel()],
            np.concatenate([best.scores[query, place], found.scores.ravel()]),
        )
    return best
