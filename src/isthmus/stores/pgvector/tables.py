"""Tables, columns and items made in PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.scores import Metric
from isthmus.stores.comments import marked
from isthmus.stores.pgvector.binary import fits_int, int_width, pack_items
from isthmus.stores.pgvector.layout import TYPES, Home, Table
from isthmus.stores.pgvector.names import (
    among,
    place,
    side_name,
    table_name,
    with_parameters,
)
from isthmus.stores.pgvector.rights import secure
from isthmus.stores.protocol import BATCH, Ids, Key

__all__ = [
    "clear_vectors",
    "drop_column",
    "make_column",
    "make_table",
    "note_size",
    "write_items",
    "write_vectors",
]


def make_table(
    connection: Any,
    name: str,
    key: Key,
    payload: Mapping[str, Sequence[Any]],
    widths: Mapping[str, int],
    metric: Metric,
) -> bool:
    """An empty table with room for ``payload`` and vectors of these widths; false if there is one.

    Strings, integers, floats and booleans keep their type; all else is ``jsonb``.
    """
    from psycopg import sql

    parts: list[Any] = [sql.SQL("id {} primary key").format(sql.SQL(TYPES[key]))]
    for field, values in payload.items():
        kind = sql.SQL(_payload_type(values))
        parts.append(sql.SQL("{} {}").format(sql.Identifier(field), kind))
    for column, dim in widths.items():
        parts.append(sql.SQL("{} vector({})").format(sql.Identifier(column), sql.Literal(dim)))
    quoted = sql.Identifier(name).as_string(None)
    if connection.execute("select to_regclass(%s)", (quoted,)).fetchone()[0] is not None:
        return False
    connection.execute(
        sql.SQL("create table {} ({})").format(sql.Identifier(name), sql.SQL(", ").join(parts))
    )
    for column in widths:
        _note_metric(connection, (name,), column, metric)
    return True


def make_column(connection: Any, table: Table, name: str, dim: int, metric: Metric) -> None:
    """An empty vector column: in a side table wherever the ids are unique.

    Filling a column of the table itself writes every row anew, old vector and all, and enters it
    again into the indexes of the old one.
    """
    from psycopg import sql

    kind = sql.SQL("vector({})").format(sql.Literal(dim))
    if not table.unique:
        connection.execute(
            sql.SQL("alter table {} add column {} {}").format(
                table_name(table), sql.Identifier(name), kind
            )
        )
        _note_metric(connection, (table.schema, table.name), name, metric)
        return
    side = (table.schema, side_name(table.name, name))
    connection.execute(
        sql.SQL(
            # most vectors come in the order of the ids, and pages of the index may be full then
            "create {u} table {s} (id {k} primary key with (fillfactor = 100) references {t} ({id})"
            " on delete cascade on update cascade, {c} {v})"
        ).format(
            # only what is lost in a crash too may refer to what is
            u=sql.SQL("unlogged" if table.unlogged else ""),
            s=sql.Identifier(*side),
            k=sql.SQL(table.id_type),
            t=table_name(table),
            id=sql.Identifier(table.id),
            c=sql.Identifier(name),
            v=kind,
        )
    )
    note = sql.Literal(marked({"of": table.name, "column": name}))
    connection.execute(sql.SQL("comment on table {} is {}").format(sql.Identifier(*side), note))
    if table.secured:
        secure(connection, table, sql.Identifier(*side), "id")
    _note_metric(connection, side, name, metric)


def write_items(
    connection: Any, table: Table, oid: int, ids: Ids, payload: Mapping[str, Sequence[Any]]
) -> None:
    """Make the items, or replace their payload; fields not given become null.

    Fields that the server computes are left to it.  Vectors that no row may lack are among
    ``payload``, as PostgreSQL writes them.
    """
    from psycopg import sql

    fields = [field for field in table.fields if field not in table.computed]
    fields += [column for column in payload if column in table.columns]
    payload = {field: values for field, values in payload.items() if field in fields}
    columns = [table.id, *payload]
    kinds = _kinds(connection, oid)
    record = sql.SQL(", ").join(
        sql.SQL("{} {}").format(with_parameters(c), sql.SQL(kinds[c])) for c in columns
    )
    changes = sql.SQL(", ").join(
        sql.SQL("{c} = excluded.{c}").format(c=with_parameters(c)) for c in fields
    )
    asked = sql.SQL(
        # an id that is an identity, generated always, is given nevertheless
        "insert into {t} ({listed}) overriding system value select {listed} from "
        "json_to_recordset(%s::json) as x({record}) on conflict ({id}) do {otherwise}"
    ).format(
        t=with_parameters(table.schema, table.name),
        listed=sql.SQL(", ").join(map(with_parameters, columns)),
        record=record,
        id=with_parameters(table.id),
        otherwise=sql.SQL("update set {}").format(changes) if fields else sql.SQL("nothing"),
    )
    values = [ids.tolist(), *(list(v) for v in payload.values())]
    for start in range(0, len(ids), BATCH):
        part = slice(start, start + BATCH)
        rows = zip(*(v[part] for v in values), strict=True)
        items = [dict(zip(columns, row, strict=True)) for row in rows]
        connection.execute(asked, (json.dumps(items, default=str),))


def write_vectors(
    connection: Any, table: Table, column: str, ids: Ids, rows: NDArray[np.float32]
) -> int:
    """Put vectors ``(n, d)`` into a column, in a transaction; how many items there were."""
    from psycopg import sql

    home = table.homes[column]
    if home.side and _entered(connection, table, column, ids, rows):
        return len(ids)
    kind = sql.SQL("halfvec" if home.half else "vector")
    new = sql.Identifier(f"isthmus_new_{table.key}_{'half' if home.half else 'full'}")
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL(
                "create temp table if not exists {} (id {}, v {}) on commit delete rows"
            ).format(new, sql.SQL(TYPES[table.key]), kind)
        )
        # another column may have been put in this transaction
        cursor.execute(sql.SQL("delete from {}").format(new))
        with cursor.copy(sql.SQL("copy {} from stdin (format binary)").format(new)) as copy:
            copy.write(pack_items(ids, table.key, rows, home.half))
        names = {
            "t": table_name(table),
            "s": place(home),
            "c": sql.Identifier(column),
            "n": new,
            "id": sql.Identifier(table.id),
            "key": sql.Identifier(home.id),
        }
        update = (
            "insert into {s} ({key}, {c}) select t.{id}, n.v from {n} n "
            "join {t} t on t.{id} = n.id on conflict ({key}) do update set {c} = excluded.{c}"
            if home.side
            else "update {t} t set {c} = n.v from {n} n where t.{id} = n.id"
        )
        cursor.execute(sql.SQL(update).format(**names))
        return cursor.rowcount


def note_size(connection: Any, home: Home) -> None:
    """Let the server count the rows of a side table's pages, as it does by itself a minute later.

    Until then it takes the table for one of many times as many short rows, and searches a few
    thousand with helper processes, which cost more than they share.
    """
    from psycopg import sql

    connection.execute(sql.SQL("analyze {} ({})").format(place(home), sql.Identifier(home.id)))


def _entered(
    connection: Any, table: Table, column: str, ids: Ids, rows: NDArray[np.float32]
) -> bool:
    """Copy vectors straight into a side table; false, and nothing done, unless all items are there
    and none of them has one.

    That costs the server half of what a temporary table and an upsert cost.
    """
    from psycopg import errors, sql

    home = table.homes[column]
    width = int_width(table.id_type)
    if table.key == "int" and not fits_int(ids, width):
        return False
    side, key = place(home), sql.Identifier(home.id)
    first = sql.SQL("select exists (select from {} where {})").format(
        side, among(home.id, ids[:1], table.key)
    )
    if connection.execute(first).fetchone()[0]:
        return False
    into = sql.SQL("copy {} ({}, {}) from stdin (format binary)")
    try:
        with (
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(into.format(side, key, sql.Identifier(column))) as copy,
        ):
            copy.write(pack_items(ids, table.key, rows, home.half, width))
    except (errors.IntegrityError, errors.DataError):
        return False
    return True


def clear_vectors(connection: Any, table: Table, columns: Sequence[str], ids: Ids) -> None:
    """Leave the items without a vector in these columns."""
    from psycopg import sql

    for column in columns:
        home = table.homes[column]
        start = (
            sql.SQL("delete from {}").format(place(home))
            if home.side
            else sql.SQL("update {} set {} = null").format(place(home), sql.Identifier(column))
        )
        chosen = among(home.id, ids, table.key)
        connection.execute(sql.SQL("{} where {}").format(start, chosen))


def drop_column(connection: Any, table: Table, column: str) -> None:
    """Remove a vector column, and its side table with it."""
    from psycopg import sql

    home = table.homes[column]
    connection.execute(
        sql.SQL("drop table {}").format(place(home))
        if home.side
        else sql.SQL("alter table {} drop column {}").format(
            table_name(table), sql.Identifier(column)
        )
    )


def _kinds(connection: Any, oid: int) -> dict[str, Any]:
    found = connection.execute(
        "select attname, format_type(atttypid, atttypmod) from pg_attribute"
        " where attrelid = %s and attnum > 0 and not attisdropped",
        (oid,),
    ).fetchall()
    return dict(found)


def _note_metric(connection: Any, table: tuple[str, ...], column: str, metric: Metric) -> None:
    from psycopg import sql

    connection.execute(
        sql.SQL("comment on column {} is {}").format(
            sql.Identifier(*table, column), sql.Literal(marked({"metric": metric}))
        )
    )


def _payload_type(values: Sequence[Any]) -> LiteralString:
    kinds = {type(value.item() if isinstance(value, np.generic) else value) for value in values}
    kinds.discard(type(None))
    types: dict[type, LiteralString] = {
        str: "text",
        int: "bigint",
        float: "double precision",
        bool: "boolean",
    }
    return types.get(next(iter(kinds), str), "jsonb") if len(kinds) <= 1 else "jsonb"
