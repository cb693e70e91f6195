"""HNSW indexes of pgvector: built, and searched as far as is needed."""

from __future__ import annotations

from typing import Any, LiteralString

from isthmus.evaluate.scores import Metric
from isthmus.stores.pgvector.layout import Home
from isthmus.stores.pgvector.names import place
from isthmus.stores.protocol import Column
from isthmus.stores.refusals import cannot

__all__ = ["build_index", "go_on", "look_further"]

_OPCLASSES: dict[tuple[bool, Metric], LiteralString] = {
    (False, "cosine"): "vector_cosine_ops",
    (False, "dot"): "vector_ip_ops",
    (False, "l2"): "vector_l2_ops",
    (True, "cosine"): "halfvec_cosine_ops",
    (True, "dot"): "halfvec_ip_ops",
    (True, "l2"): "halfvec_l2_ops",
}
_LEAST_EF_SEARCH = 40  # what pgvector takes unasked
_EF_SEARCH = 1000  # the most that pgvector takes
_INDEX_DIMS = {False: 2000, True: 4000}  # of vector, of halfvec


def build_index(connection: Any, home: Home, column: Column, where: str) -> None:
    """Build one on ``column``, without stopping readers or writers.

    Raises:
        UnsupportedError: for more dimensions than it takes.
    """
    from psycopg import sql

    most = _INDEX_DIMS[home.half]
    if column.dim > most:
        raise cannot(
            f"an HNSW index takes {most:,} dimensions, column '{column.name}' has {column.dim:,}",
            where,
            "Search it without an index, or store it as halfvec (4,000)",
        )
    opclass = _OPCLASSES[home.half, column.metric]
    connection.execute(
        sql.SQL("create index concurrently on {} using hnsw ({} {})").format(
            place(home), sql.Identifier(column.name), sql.SQL(opclass)
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
