"""Tables and rows made in SQLite, inside a transaction of the caller."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.protocol import Ids
from isthmus.stores.sqlite.blobs import blobs_of
from isthmus.stores.sqlite.layout import SqliteTable
from isthmus.stores.sqlite.names import noted, quoted
from isthmus.stores.sqlite.vec0 import METRICS, declaration

__all__ = [
    "check_texts",
    "delete_items",
    "like",
    "make_table",
    "types_of",
    "widen",
    "write_items",
    "write_vectors",
]

_TYPES = {str: "text", int: "integer", bool: "integer", float: "float", bytes: "blob"}


def types_of(payload: Mapping[str, Sequence[Any]]) -> dict[str, str]:
    """The type of each field by its values: text, integer, float or blob; all else is JSON."""
    found: dict[str, str] = {}
    for name, values in payload.items():
        kinds = {_TYPES.get(type(plain(value)), "text") for value in values if value is not None}
        found[name] = "float" if kinds == {"integer", "float"} else (kinds or {"text"}).pop()
    return found


def plain(value: Any, kind: str = "") -> Any:
    """A value as SQLite takes it; what has no type of its own as JSON."""
    found = value.item() if isinstance(value, np.generic) else value
    if isinstance(found, int):
        return float(found) if kind.startswith(("float", "real", "double")) else int(found)
    if found is None or isinstance(found, str | float | bytes):
        return found
    return json.dumps(found, default=str)


def make_table(
    connection: Any,
    name: str,
    key: tuple[str, str],
    widths: Mapping[str, int],
    metric: Metric,
    types: Mapping[str, str],
) -> None:
    """An empty table: of ``vec0`` where that has the metric, else an ordinary one with BLOBs.

    ``key`` is the column of ids and its type.
    """
    if metric in METRICS:
        parts = (f"{key[0]} {key[1]} primary key",)
        _make_vec0(connection, name, declaration(parts, widths, metric, types))
    else:
        _make_ordinary(connection, name, key, widths, metric, types)


def _make_ordinary(
    connection: Any,
    name: str,
    key: tuple[str, str],
    widths: Mapping[str, int],
    metric: Metric,
    types: Mapping[str, str],
) -> None:
    note: dict[str, str] = {}
    for column, dim in widths.items():
        note |= {f"dim.{column}": str(dim), f"metric.{column}": metric}
    kinds = {**types, **dict.fromkeys(widths, "blob")}
    columns = [f"{quoted(key[0])} {key[1]} primary key not null"]
    columns += [f"{quoted(column)} {kind}" for column, kind in kinds.items()]
    connection.execute(f"create table {quoted(name)} ({', '.join(columns)} {noted(note)})")


def _make_vec0(connection: Any, name: str, arguments: str) -> None:
    connection.execute(f"create virtual table {quoted(name)} using vec0({arguments})")


def like(
    connection: Any,
    table: SqliteTable,
    name: str,
    widths: Mapping[str, int],
    metric: Metric,
    fields: Sequence[str],
) -> None:
    """An empty table of the same kind and with the same fields, and vectors of these widths."""
    types = {f: kind for f, kind in table.types.items() if f in fields}
    if table.vec0 is None:
        _make_ordinary(connection, name, (table.id, table.id_type), widths, metric, types)
        return
    _make_vec0(connection, name, declaration(table.vec0.others, widths, metric, {}))


def write_vectors(
    connection: Any, table: SqliteTable, column: str, ids: Ids, rows: NDArray[np.float32]
) -> int:
    """Put vectors ``(n, d)`` into a column; how many items there were."""
    held = _held(connection, table, ids)
    some = [i for i, value in enumerate(ids.tolist()) if value in held]
    connection.executemany(
        f"update {quoted(table.name)} set {quoted(column)} = ? where {quoted(table.id)} = ?",
        zip(blobs_of(rows[some]), ids[some].tolist(), strict=True),
    )
    return len(some)


def write_items(
    connection: Any,
    table: SqliteTable,
    ids: Ids,
    vectors: Mapping[str, NDArray[np.float32]],
    payload: Mapping[str, Sequence[Any]],
    where: str,
) -> None:
    """Make the items, or replace those that are there; texts in another table are left alone.

    Raises:
        InputError: for a ``vec0`` table and no vectors for one of its columns.
    """
    kinds, name, key = table.types, quoted(table.name), quoted(table.id)
    given = {
        field: [plain(value, kinds[field]) for value in values]
        for field, values in payload.items()
        if field in table.own and field not in table.computed
    }
    given |= {column: blobs_of(rows) for column, rows in vectors.items()}
    if table.vec0 is None:
        fields = [f for f in (*table.fields, *table.columns) if f not in table.computed]
        changes = ", ".join(f"{quoted(f)} = excluded.{quoted(f)}" for f in fields)
        _insert(connection, table, ids, given, f" on conflict ({key}) do update set {changes}")
        return
    for column in table.vec0.vectors:
        if column not in vectors:
            raise InputError(
                f"the items come without vectors for column '{column}', and a vec0 table holds "
                "no row without one",
                where=where,
                mend="Give one for each column",
            )
    held = _held(connection, table, ids)
    # such a table knows neither INSERT OR REPLACE nor ON CONFLICT
    connection.executemany(f"delete from {name} where {key} = ?", ((i,) for i in held))
    _insert(connection, table, ids, given)


def check_texts(
    connection: Any,
    table: SqliteTable,
    ids: Ids,
    payload: Mapping[str, Sequence[Any]],
    where: str,
) -> None:
    """See that the table that holds the texts holds these, since they are not written to it.

    Raises:
        InputError: naming the first item whose text is another one there, or is not there.
    """
    field = table.text_field
    if table.beside is None or field is None or field not in payload:
        return
    name, key = (quoted(part) for part in table.beside)
    held = dict(
        connection.execute(
            f"select d.{key}, d.{quoted(field)} from json_each(?) q "
            f"cross join {name} d on d.{key} = q.value",
            (json.dumps(ids.tolist()),),
        ).fetchall()
    )
    for number, text in zip(ids.tolist(), payload[field], strict=True):
        if text is not None and held.get(number) != text:
            raise InputError(
                f"the text of item '{number}' is not the one in table '{table.beside[0]}', which "
                "is only read here",
                where=where,
                mend="Write it there first",
            )


def _insert(
    connection: Any,
    table: SqliteTable,
    ids: Ids,
    values: Mapping[str, Sequence[Any]],
    otherwise: str = "",
) -> None:
    listed = ", ".join(quoted(column) for column in (table.id, *values))
    places = ", ".join("?" * (1 + len(values)))
    connection.executemany(
        f"insert into {quoted(table.name)} ({listed}) values ({places}){otherwise}",
        zip(ids.tolist(), *values.values(), strict=True),
    )


def delete_items(connection: Any, table: SqliteTable, ids: Ids) -> int:
    """Remove items; how many were held."""
    held = _held(connection, table, ids)
    connection.executemany(
        f"delete from {quoted(table.name)} where {quoted(table.id)} = ?", ((i,) for i in held)
    )
    return len(held)


def _held(connection: Any, table: SqliteTable, ids: Ids) -> set[Any]:
    name, key = (quoted(part) for part in table.ids)
    return {
        value
        for (value,) in connection.execute(
            f"select t.{key} from json_each(?) q cross join {name} t on t.{key} = q.value",
            (json.dumps(ids.tolist()),),
        )
    }


def widen(connection: Any, table: SqliteTable, types: Mapping[str, str]) -> None:
    """Let an ordinary table have these fields too; of the items that it holds they are null."""
    for field, kind in types.items():
        if field not in table.types:
            connection.execute(f"alter table {quoted(table.name)} add {quoted(field)} {kind}")
