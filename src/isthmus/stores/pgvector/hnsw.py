"""Indexes of pgvector: read, built, and searched as far as is needed."""

from __future__ import annotations

from typing import Any, LiteralString

from isthmus.evaluate.scores import Metric
from isthmus.stores.pgvector.layout import Home
from isthmus.stores.pgvector.names import place
from isthmus.stores.protocol import Column, Index
from isthmus.stores.refusals import cannot

__all__ = ["HNSW", "build_index", "go_on", "index_of", "look_further"]

HNSW = Index("hnsw")

_OPCLASSES: dict[tuple[bool, Metric], LiteralString] = {
    (False, "cosine"): "vector_cosine_ops",
    (False, "dot"): "vector_ip_ops",
    (False, "l2"): "vector_l2_ops",
    (True, "cosine"): "halfvec_cosine_ops",
    (True, "dot"): "halfvec_ip_ops",
    (True, "l2"): "halfvec_l2_ops",
}
_ON_COLUMN = """
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
join pg_class t on t.oid = i.indrelid join pg_namespace n on n.oid = t.relnamespace
join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where n.nspname = %s and t.relname = %s and a.attname = %s and m.amname in ('hnsw', 'ivfflat')
"""
_INDEX = f"select m.amname, c.reloptions {_ON_COLUMN} and i.indisvalid order by c.oid limit 1"
_INVALID = f"select c.relname {_ON_COLUMN} and not i.indisvalid"
_LEAST_EF_SEARCH = 40  # what pgvector takes unasked
_EF_SEARCH = 1000  # the most that pgvector takes
_INDEX_DIMS = {False: 2000, True: 4000}  # of vector, of halfvec


def index_of(connection: Any, home: Home, column: str) -> Index | None:
    """The index on a column, with the options that it was built with."""
    found = connection.execute(_INDEX, (home.schema, home.table, column)).fetchone()
    if found is None:
        return None
    options = tuple(tuple(option.split("=", 1)) for option in found[1] or ())
    return Index(found[0], options)


def build_index(connection: Any, home: Home, column: Column, index: Index, where: str) -> None:
    """Build ``index`` on ``column``, without stopping readers or writers.

    Raises:
        UnsupportedError: for more dimensions than it takes.
    """
    from psycopg import sql

    most = _INDEX_DIMS[home.half]
    if column.dim > most:
        raise cannot(
            f"an index takes {most:,} dimensions, column '{column.name}' has {column.dim:,}",
            where,
            "Search it without an index, or store it as halfvec (4,000)",
        )
    # what an interrupted build left: it answers nothing, and every write pays for it
    for (name,) in connection.execute(_INVALID, (home.schema, home.table, column.name)).fetchall():
        connection.execute(
            sql.SQL("drop index concurrently if exists {}").format(
                sql.Identifier(home.schema, name)
            )
        )
    chosen = sql.SQL(", ").join(
        sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
        for name, value in index.options
    )
    connection.execute(
        sql.SQL("create index concurrently on {} using {} ({} {}){}").format(
            place(home),
            sql.Identifier(index.kind),
            sql.Identifier(column.name),
            sql.SQL(_OPCLASSES[home.half, column.metric]),
            sql.SQL(" with ({})").format(chosen) if index.options else sql.SQL(""),
        )
    )


def look_further(connection: Any, k: int) -> None:
    """Let searches by HNSW on this connection look at ``k`` candidates.

    What a connection was told is noted on it: asking the server each time would cost a round trip.
    """
    wanted = max(_LEAST_EF_SEARCH, min(k, _EF_SEARCH))
    if getattr(connection, "isthmus_ef_search", 0) < wanted:
        connection.execute(f"set hnsw.ef_search = {wanted}")
        connection.isthmus_ef_search = wanted


def go_on(connection: Any) -> bool:
    """Let searches by HNSW on this connection go on where they found too few; false if they did.

    Such a search keeps what it passed by, which costs a tenth of it: most never need to.
    """
    if getattr(connection, "isthmus_goes_on", False):
        return False
    connection.execute("set hnsw.iterative_scan = strict_order")
    connection.isthmus_goes_on = True
    return True
