"""The questions that a table of items is asked, as SQL."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, LiteralString

from isthmus.stores.pgvector.layout import OPERATORS, TYPES, Home, Table
from isthmus.stores.pgvector.names import among, place, table_name, with_parameters
from isthmus.stores.protocol import Column, Ids, Key

__all__ = [
    "filled_asked",
    "ids_asked",
    "lacking_asked",
    "nearest_asked",
    "null_ids_asked",
    "page_asked",
    "payload_asked",
    "searched_as_halves",
    "vectors_asked",
]


def vectors_asked(home: Home, column: str, ids: Ids, key: Key) -> Any:
    """The ids and vectors of the items among ``ids``."""
    from psycopg import sql

    return sql.SQL("select {}, {} from {} where {}").format(
        _id_as_key(key, home.id), sql.Identifier(column), place(home), among(home.id, ids, key)
    )


def payload_asked(table: Table, fields: Sequence[str], ids: Ids) -> Any:
    """The ids and fields, strings as text and all else as JSON, of the items among ``ids``."""
    from psycopg import sql

    return sql.SQL("select {} from {} where {}").format(
        sql.SQL(", ").join([_id_as_key(table.key, table.id), *(_field(table, f) for f in fields)]),
        table_name(table),
        among(table.id, ids, table.key),
    )


def ids_asked(table: Table) -> Any:
    """The ids of all items."""
    from psycopg import sql

    return sql.SQL("select {} from {}").format(_id_as_key(table.key, table.id), table_name(table))


def null_ids_asked(table: Table) -> Any:
    """The id of one item that has none."""
    from psycopg import sql

    return sql.SQL("{} where {} is null limit 1").format(ids_asked(table), sql.Identifier(table.id))


def filled_asked(home: Home, column: str, key: Key) -> Any:
    """The ids of the items that have a vector in a column."""
    from psycopg import sql

    return sql.SQL("select {} from {} where {} is not null").format(
        _id_as_key(key, home.id), place(home), sql.Identifier(column)
    )


def lacking_asked(table: Table, column: str, most: int) -> Any:
    """The ids of some items that have no vector in a column."""
    from psycopg import sql

    home = table.homes[column]
    mine, theirs = sql.Identifier("t", table.id), sql.Identifier("s", home.id)
    said = (
        "select {id} from {t} t where not exists (select from {s} s where {theirs} = {mine}) "
        "limit {n}"
        if home.side
        else "select {id} from {t} t where {c} is null limit {n}"
    )
    return sql.SQL(said).format(
        id=_id_as_key(table.key, "t", table.id),
        t=table_name(table),
        s=place(home),
        theirs=theirs,
        mine=mine,
        c=sql.Identifier("t", column),
        n=sql.Literal(most),
    )


def page_asked(
    table: Table, column: Column | None, fields: Sequence[str], after: str | None, batch: int
) -> Any:
    """The items behind ``after``, by the index of the ids: the last page costs no more."""
    from psycopg import sql

    mine = sql.Identifier("t", table.id)
    chosen: list[Any] = [_id_as_key(table.key, "t", table.id)]
    source: Any = sql.SQL("{} t").format(table_name(table))
    if column is not None:
        home = table.homes[column.name]
        chosen.append(sql.Identifier("s" if home.side else "t", column.name))
        if home.side:
            source = sql.SQL("{} left join {} s on s.{} = {}").format(
                source, place(home), sql.Identifier(home.id), mine
            )
    chosen += [_field(table, name, "t") for name in fields]
    behind = (
        sql.SQL("")
        if after is None
        else sql.SQL("where {} > {}::{}").format(
            mine, sql.Literal(after), sql.SQL(TYPES[table.key])
        )
    )
    return sql.SQL("select {} from {} {} order by {} limit {}").format(
        sql.SQL(", ").join(chosen), source, behind, mine, sql.Literal(batch)
    )


@lru_cache(maxsize=256)
def nearest_asked(home: Home, column: Column, key: Key, k: int, some: bool) -> str:
    """The statement of a search, whose parameters are the query and, among some, their ids.

    Where vectors are indexed as halves, the query is given twice: the nearest halves are searched,
    and their whole vectors compared.
    """
    from psycopg import sql

    if searched_as_halves(home, some):
        return _nearest_halves_asked(home, column, key, k)
    among: LiteralString = "and {id} = any(%s::{key}[])" if some else ""
    # an index answers in the order of distance alone
    order: LiteralString = "2, 1" if column.exact or some else "2"
    asked = sql.SQL(
        "select {id}, {c} {closer} %s::{kind} from {t} where {c} is not null "
        + among
        + " order by "
        + order
        + " limit {k}"
    )
    return asked.format(
        id=with_parameters(home.id),
        c=with_parameters(column.name),
        t=with_parameters(home.schema, home.table),
        closer=sql.SQL(OPERATORS[column.metric]),
        kind=sql.SQL("halfvec" if home.half else "vector"),
        key=sql.SQL(TYPES[key]),
        k=sql.Literal(k),
    ).as_string(None)


def searched_as_halves(home: Home, some: bool) -> bool:
    """Whether a search, among some items or all, goes by an index of halves of the vectors."""
    return not some and home.index is not None and home.index.cast == "halfvec"


def _nearest_halves_asked(home: Home, column: Column, key: Key, k: int) -> str:
    from psycopg import sql

    asked = sql.SQL(
        "select {id}, {c} {closer} %s::vector from (select {id}, {c} from {t} where {c} is not null"
        " order by {c}::halfvec({d}) {closer} %s::vector::halfvec({d}) limit {k}) x order by 2, 1"
    )
    return asked.format(
        id=with_parameters(home.id),
        c=with_parameters(column.name),
        t=with_parameters(home.schema, home.table),
        closer=sql.SQL(OPERATORS[column.metric]),
        d=sql.Literal(column.dim),
        k=sql.Literal(k),
    ).as_string(None)


def _id_as_key(key: Key, *name: str) -> Any:
    from psycopg import sql

    return sql.SQL("{}::{}").format(sql.Identifier(*name), sql.SQL(TYPES[key]))


def _field(table: Table, field: str, *name: str) -> Any:
    """A field of the payload: a string as it is, all else as JSON."""
    from psycopg import sql

    said = "{}::text" if field in table.strings else "to_json({})::text"
    return sql.SQL(said).format(sql.Identifier(*name, field))
