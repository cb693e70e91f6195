"""The nearest items of queries, asked of the server one query at a time."""

from __future__ import annotations

import math
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.hits import hits_of, no_hits
from isthmus.stores.pgvector.connections import Connections
from isthmus.stores.pgvector.layout import Table
from isthmus.stores.pgvector.packed import packed
from isthmus.stores.pgvector.statements import nearest_asked, searched_as_halves
from isthmus.stores.protocol import Column, Hits

__all__ = ["nearest"]

_LEAST_EF_SEARCH = 40  # what pgvector takes unasked
_EF_SEARCH = 1000  # the most that pgvector takes
_FEW = 10
_SETUP_COST = """
select set_config('parallel_setup_cost', (setting::float8 * %s)::text, false) from pg_settings
where name = 'parallel_setup_cost'
"""

_GOES_ON = """
select set_config(name, case name when 'hnsw.iterative_scan' then 'strict_order'
  else 'relaxed_order' end, %s) from pg_settings
where name in ('hnsw.iterative_scan', 'ivfflat.iterative_scan')
"""


def nearest(
    connections: Connections,
    table: Table,
    column: Column,
    queries: NDArray[np.float32],
    k: int,
    *,
    only: list[Any] | None,
) -> Hits:
    """The ``k`` best items of each of ``queries (nq, d)``, among ``only`` if it is given."""
    key = table.key
    hits, query = _asked(connections, table, column, queries, k, only)
    if not hits:
        return no_hits(len(queries), k, key)
    names, distances = zip(*hits, strict=True)
    ids = np.array([str(i) for i in names] if key == "uuid" else names)
    return hits_of(
        len(queries),
        k,
        key,
        np.array(query),
        ids.astype(np.int64) if key == "int" else ids,
        _scores(np.array(distances), column.metric),
    )


def _asked(
    connections: Connections,
    table: Table,
    column: Column,
    queries: NDArray[np.float32],
    k: int,
    only: list[Any] | None,
) -> tuple[list[tuple[Any, float]], list[int]]:
    """Ids and distances, query by query, and to which each belongs."""
    home = table.homes[column.name]
    asked = nearest_asked(home, column, table.key, k, only is not None)
    halves = searched_as_halves(home, only is not None)
    given = [(packed(row, home.half),) * (2 if halves else 1) for row in queries]
    asking = [vectors if only is None else (*vectors, only) for vectors in given]
    with connections.lend() as connection:
        if column.exact or not connection.isthmus_pooled:
            return _each(connection, asked, asking, k, column.exact)
        # what this session is told ends with the transaction
        with connection.transaction():
            connection.isthmus_ef_search, connection.isthmus_goes_on = 0, False
            return _each(connection, asked, asking, k, column.exact)


def _each(
    connection: Any, asked: str, asking: list[tuple[Any, ...]], k: int, exact: bool
) -> tuple[list[tuple[Any, float]], list[int]]:
    hits: list[tuple[Any, float]] = []
    query: list[int] = []
    if exact:
        _take_no_more_help(connection, k)
    else:
        _look_further(connection, k)
    cursor, prepared = connection.isthmus_cursor, not connection.isthmus_pooled
    for number, given in enumerate(asking):
        found = cursor.execute(asked, given, prepare=prepared).fetchall()
        if len(found) < k and not exact and _go_on(connection):
            found = cursor.execute(asked, given, prepare=prepared).fetchall()
        if not exact:  # one of IVFFlat that goes on is in order list by list alone
            found.sort(key=itemgetter(1))
        hits += found
        query += [number] * len(found)
    return hits, query


def _set(connection: Any, setting: str) -> None:
    connection.execute(f"set {'local ' if connection.isthmus_pooled else ''}{setting}")


def _look_further(connection: Any, k: int) -> None:
    """Let searches by HNSW on this connection look at ``k`` candidates.

    What a connection was told is noted on it: asking the server each time would cost a round trip.
    """
    wanted = max(_LEAST_EF_SEARCH, min(k, _EF_SEARCH))
    if getattr(connection, "isthmus_ef_search", 0) < wanted:
        _set(connection, f"hnsw.ef_search = {wanted}")
        connection.isthmus_ef_search = wanted


def _take_no_more_help(connection: Any, k: int) -> None:
    """Let the ``k`` best be found by as many processes as ten would be.

    The server reckons that finding the best takes the longer the more of them are wanted, and of
    40,000 rows takes two processes more for 64 than for ten.  It is found otherwise (33 ms of
    50,000 rows for any number up to 100), and twice as much is spent; so the start of a process is
    reckoned dearer by as much as sorting is.
    """
    if connection.isthmus_pooled:  # the session is not ours to tell
        return
    dearer = max(1.0, _reckoned(k) / _reckoned(_FEW))
    if getattr(connection, "isthmus_setup_cost", 1.0) < dearer:
        connection.execute(_SETUP_COST, (dearer / getattr(connection, "isthmus_setup_cost", 1.0),))
        connection.isthmus_setup_cost = dearer


def _reckoned(k: int) -> float:
    """What the server reckons for a row, in the cost of an operator: the row, the operator, and the
    comparisons that keep the ``k`` best."""
    return 4 + 1 + 2 * math.log2(2 * k)


def _go_on(connection: Any) -> bool:
    """Let searches by an index on this connection go on where they found too few; false if they
    did, or pgvector is of before 0.8.

    Such a search keeps what it passed by, which costs a tenth of it: most never need to.
    """
    if getattr(connection, "isthmus_goes_on", False):
        return False
    connection.isthmus_goes_on = True
    return bool(connection.execute(_GOES_ON, (connection.isthmus_pooled,)).fetchall())


def _scores(distances: NDArray[np.float64], metric: Metric) -> NDArray[np.float32]:
    """Of ``<=>``, 1 - cosine; of ``<#>``, the negative product; of ``<->``, the distance."""
    if metric == "cosine":
        return (1 - distances).astype(np.float32)
    return (-distances if metric == "dot" else -(distances**2)).astype(np.float32)
