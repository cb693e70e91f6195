"""Indexes of pgvector, as they are built."""

from __future__ import annotations

from typing import Any, LiteralString

from isthmus.evaluate.scores import Metric
from isthmus.stores.pgvector.layout import Home
from isthmus.stores.pgvector.names import place
from isthmus.stores.protocol import Column, Index
from isthmus.stores.refusals import cannot

__all__ = ["HNSW", "build_index"]

HNSW = Index("hnsw")

_OPCLASSES: dict[tuple[bool, Metric], LiteralString] = {
    (False, "cosine"): "vector_cosine_ops",
    (False, "dot"): "vector_ip_ops",
    (False, "l2"): "vector_l2_ops",
    (True, "cosine"): "halfvec_cosine_ops",
    (True, "dot"): "halfvec_ip_ops",
    (True, "l2"): "halfvec_l2_ops",
}
_INDEX_DIMS = {False: 2000, True: 4000}  # of vector, of halfvec


def build_index(connection: Any, home: Home, column: Column, index: Index, where: str) -> None:
    """Build ``index`` on ``column``, without stopping readers or writers.

    Vectors of more dimensions than an index takes are indexed as ``halfvec``, where it takes those.

    Raises:
        UnsupportedError: for more dimensions than it takes.
    """
    from psycopg import sql

    cast = index.cast == "halfvec" or column.dim > _INDEX_DIMS[home.half]
    cast = cast and not home.half
    most = _INDEX_DIMS[home.half or cast]
    if column.dim > most:
        raise cannot(
            f"an index takes {most:,} dimensions, column '{column.name}' has {column.dim:,}",
            where,
            "Search it without an index",
        )
    # what an interrupted build left: it answers nothing, and every write pays for it
    for name in home.unfinished:
        connection.execute(
            sql.SQL("drop index concurrently if exists {}").format(
                sql.Identifier(home.schema, name)
            )
        )
    chosen = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in index.options
    )
    asked = sql.SQL("create index concurrently on {} using {} ({} {}){}").format(
        place(home),
        sql.Identifier(index.kind),
        sql.SQL("({}::halfvec({}))").format(sql.Identifier(column.name), sql.Literal(column.dim))
        if cast
        else sql.Identifier(column.name),
        sql.SQL(_OPCLASSES[home.half or cast, column.metric]),
        sql.SQL(" with ({})").format(chosen) if index.options else sql.SQL(""),
    )
    # as long as it takes, whatever a role has set; a session of a pooler's is not ours to tell
    limits = () if connection.isthmus_pooled else ("statement_timeout", "lock_timeout")
    try:
        for limit in limits:
            connection.execute(f"set {limit} = 0")
        connection.execute(asked)
    finally:
        for limit in () if connection.closed else limits:
            connection.execute(f"reset {limit}")
