"""What a PostgreSQL table holds for us, read from its catalogue."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString

from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.comments import mark_of
from isthmus.stores.fields import id_field, text_field
from isthmus.stores.protocol import Column, Index, Key
from isthmus.stores.refusals import unclear, unknown_name

__all__ = ["OPERATORS", "TYPES", "Home", "Table", "find_table", "read_table"]

TYPES: dict[Key, LiteralString] = {"int": "bigint", "uuid": "uuid", "str": "text"}
"""The SQL type of the ids of each kind."""
OPERATORS: dict[Metric, LiteralString] = {"cosine": "<=>", "dot": "<#>", "l2": "<->"}
_OPCLASS: dict[str, Metric] = {"cosine": "cosine", "ip": "dot", "l2": "l2"}
_KEYS: dict[str, Key] = {
    "int2": "int",
    "int4": "int",
    "int8": "int",
    "uuid": "uuid",
    "text": "str",
    "varchar": "str",
    "bpchar": "str",
}
_INVOKERS = 150_000
"""The server's version from which on a view can show its readers what they may see alone."""
_READ_ONLY = {"v": "a view", "m": "a materialised view", "f": "a foreign table"}
_UNTOLD = "its name holds a dot, which an alias takes for the one before a column: rename the table"
_HALVED = re.compile(r'\(*(?:"((?:[^"]|"")+)"|(\w+))\)*::halfvec\(\d+\)\)*')
"""An expression that is indexed: a column of type vector, as halfvec."""
_OTHER_VECTORS = ("sparsevec", "bit", "_float4", "_float8")

_TABLES = """
select n.nspname, c.relname, c.oid, c.relkind::text, obj_description(c.oid, 'pg_class')
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f')
and n.nspname not in ('pg_catalog', 'information_schema') and n.nspname not like 'pg_temp%%'
and (%(schema)s::text is null and pg_table_is_visible(c.oid) or n.nspname = %(schema)s)
"""
_KIND = """
select relkind::text, relpersistence = 'u', relrowsecurity, row_security_active(oid),
  relkind = 'r' and exists (select from pg_inherits where inhparent = %(oid)s),
  current_setting('transaction_read_only') = 'on'
from pg_class where oid = %(oid)s
"""
_COLUMNS = """
select a.attname, coalesce(b.typname, t.typname), format_type(a.atttypid, a.atttypmod), a.atttypmod,
  col_description(a.attrelid, a.attnum),
  exists (select 1 from pg_index i where i.indrelid = a.attrelid and i.indisunique
    and i.indnkeyatts = 1 and i.indkey[0] = a.attnum and i.indpred is null
    and i.indimmediate and i.indisvalid),
  a.attgenerated <> '', a.attnotnull
from pg_attribute a join pg_type t on t.oid = a.atttypid
left join pg_type b on b.oid = t.typbasetype
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped order by a.attnum
"""
_INDEXES = """
select coalesce(a.attname, pg_get_indexdef(i.indexrelid, 1, true)), a.attname is null, c.relname,
  m.amname, c.reloptions, o.opcname, i.indisvalid, i.indpred is null
from pg_index i join pg_class c on c.oid = i.indexrelid join pg_am m on m.oid = c.relam
left join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
join pg_opclass o on o.oid = i.indclass[0]
where i.indrelid = %s and m.amname in ('hnsw', 'ivfflat') order by c.oid
"""
_SIDES = """
select n.nspname, c.relname, c.oid, obj_description(c.oid, 'pg_class')
from pg_constraint f join pg_class c on c.oid = f.conrelid
join pg_namespace n on n.oid = c.relnamespace
where f.contype = 'f' and f.confrelid = %s
"""


@dataclass(frozen=True)
class Home:
    """Where a vector column lives: a table, its column, and the column of ids beside it.

    Attributes:
        schema: of the table.
        table: that has the column.
        id: its column of ids.
        side: whether it is another table than that of the items.
        half: whether its vectors are of 16 bits.
        index: that answers searches, with the options it was built with; None where none does.
        unfinished: names of the indexes whose building was interrupted.
    """

    schema: str
    table: str
    id: str
    side: bool
    half: bool
    index: Index | None = None
    unfinished: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A table of items, with the vector columns of its own and those in side tables."""

    schema: str
    name: str
    id: str
    id_type: Any
    key: Key
    unique: bool
    columns: Mapping[str, Column]
    homes: Mapping[str, Home]
    fields: tuple[str, ...]
    strings: frozenset[str]
    """The fields whose values are text."""
    text_field: str | None
    computed: frozenset[str] = frozenset()
    """The fields whose values the server makes of others; nobody writes them."""
    required: frozenset[str] = frozenset()
    """The columns of the table itself that no row may lack."""
    unlogged: bool = False
    secured: bool = False
    """Whether row-level security decides who sees which rows."""
    unmovable: str = ""
    """Why no second vectors of its items can be kept or served."""


def find_table(connection: Any, address: Address) -> tuple[str, str, int, str | None]:
    """Schema, name, oid and named column of the table that ``address`` means; aliases followed.

    Raises:
        InputError: if there is no such table.
    """
    for schema, name, column in _readings(address.parts):
        found = connection.execute(_TABLES, {"schema": schema}).fetchall()
        tables = {row[1]: row for row in found}
        if name in tables:
            space, _, oid, _, comment = tables[name]
            target = mark_of(comment).get("alias")
            if target is None:
                return space, name, oid, column
            table, _, stands_for = target.partition(".")
            if table in tables:
                return space, table, tables[table][2], column or stands_for or None
    found = connection.execute(_TABLES, {"schema": None}).fetchall()
    names = [row[1] for row in found if "of" not in mark_of(row[4])]
    if not address.parts and len(names) == 1:
        row = next(row for row in found if row[1] == names[0])
        return row[0], row[1], row[2], None
    if not address.parts:
        raise unclear("table", names, behind="database", where=address.shown)
    raise unknown_name("table", ".".join(address.parts[:1]), names, where=address.shown)


def _readings(parts: tuple[str, ...]) -> list[tuple[str | None, str, str | None]]:
    """``table``, ``table.column``, ``schema.table`` and ``schema.table.column``."""
    if len(parts) == 1:
        return [(None, parts[0], None)]
    if len(parts) == 2:
        return [(None, parts[0], parts[1]), (parts[0], parts[1], None)]
    return [(parts[0], parts[1], ".".join(parts[2:]))] if parts else []


def read_table(connection: Any, where: tuple[str, str, int], address: Address) -> Table:
    """Everything about the table ``where = (schema, name, oid)``.

    Raises:
        InputError: if no column can hold ids, or a vector column has vectors of several widths.
    """
    schema, name, oid = where
    found = connection.execute(_COLUMNS, (oid,)).fetchall()
    kinds = {row[0]: row[1] for row in found}
    candidates = [column for column, kind in kinds.items() if kind in _KEYS]
    unique = [row[0] for row in found if row[5] and row[0] in candidates]
    _check_ids([row for row in found if row[5]], unique, candidates, address)
    key = id_field(
        unique if len(unique) == 1 and "id" not in address.options else candidates, address
    )
    columns, homes = _own(connection, (schema, name, oid), key, address)
    for space, side, side_oid, comment in connection.execute(_SIDES, (oid,)).fetchall():
        if "of" in (mark := mark_of(comment)):
            more, places = _own(connection, (space, side, side_oid), "id", address, side=True)
            columns |= {c: v for c, v in more.items() if c == mark["column"]}
            homes |= {c: v for c, v in places.items() if c == mark["column"]}
    if not columns:
        _refuse_other_vectors(found, address)
    kind, unlogged, secured, hidden, inherited, only_read = connection.execute(
        _KIND, {"oid": oid}
    ).fetchone()
    fields = tuple(c for c in kinds if c != key and c not in columns)
    strings = [c for c in fields if _KEYS.get(kinds[c]) == "str"]
    return Table(
        schema,
        name,
        key,
        next(row[2] for row in found if row[0] == key),
        _KEYS[kinds[key]],
        key in unique and not inherited,  # no key holds for the rows of heirs
        columns,
        homes,
        fields,
        frozenset(strings),
        text_field(strings, address),
        frozenset(row[0] for row in found if row[6]),
        frozenset(row[0] for row in found if row[7]),
        unlogged,
        secured,
        _UNTOLD if "." in name else _unmovable(connection, kind, secured, hidden, only_read),
    )


def _check_ids(
    unique: Sequence[Any], usable: Sequence[str], candidates: Sequence[str], address: Address
) -> None:
    """Refuse a table whose key is of a type that ids cannot have, unless another field is named.

    Raises:
        InputError: naming the key and its type.
    """
    if "id" in address.options or usable:
        return
    if unique:
        name, _, kind, *_ = unique[0]
        raise InputError(
            f"the items are told apart by '{name}', which is of type {kind}",
            where=address.shown,
            mend="Ids are integers, uuid or strings: name another field with ?id=FIELD",
        )
    if not candidates:
        raise InputError("no column can hold ids", where=address.shown)


def _refuse_other_vectors(columns: Sequence[Any], address: Address) -> None:
    """Say which vectors a table has, where it has none that can be read here.

    Raises:
        InputError: if it has some.
    """
    others = [f"'{row[0]}' is of type {row[2]}" for row in columns if row[1] in _OTHER_VECTORS]
    if others:
        raise InputError(
            f"no column is of type vector or halfvec: {', '.join(others)}",
            where=address.shown,
            mend="Keep the vectors in a column of type vector or halfvec",
        )


def _unmovable(connection: Any, kind: str, secured: bool, hidden: bool, only_read: bool) -> str:
    if kind in _READ_ONLY:
        return f"it is {_READ_ONLY[kind]}: name the table that the rows are kept in"
    if only_read:
        return (
            "this connection may only read (a replica, or default_transaction_read_only is on): "
            "name the primary server, and a user who may write"
        )
    if hidden:
        return (
            "row-level security decides which rows this user sees, and those that are hidden would "
            "never get a new vector: connect as the table's owner or a role with BYPASSRLS"
        )
    if secured and connection.info.server_version < _INVOKERS:
        return (
            "row-level security protects its rows, and a view of PostgreSQL before 15, as an alias "
            "is one, would show all of them to its readers"
        )
    return ""


def _own(
    connection: Any,
    where: tuple[str, str, int],
    key: str,
    address: Address,
    *,
    side: bool = False,
) -> tuple[dict[str, Column], dict[str, Home]]:
    schema, name, oid = where
    metrics, indexes, unfinished = _indexes(connection, oid)
    columns: dict[str, Column] = {}
    homes: dict[str, Home] = {}
    for column, kind, _, width, comment, *_ in connection.execute(_COLUMNS, (oid,)).fetchall():
        if kind not in ("vector", "halfvec"):
            continue
        dim = width if width > 0 else _width(connection, where, column, address)
        said: Any = mark_of(comment).get("metric")
        metric: Metric = metrics.get(column) or said or address.metric or "cosine"
        dtype = "float16" if kind == "halfvec" else "float32"
        columns[column] = Column(column, dim, dtype, metric, exact=column not in indexes)
        homes[column] = Home(
            schema,
            name,
            key,
            side,
            kind == "halfvec",
            indexes.get(column),
            unfinished.get(column, ()),
        )
    return columns, homes


def _indexes(
    connection: Any, oid: int
) -> tuple[dict[str, Metric], dict[str, Index], dict[str, tuple[str, ...]]]:
    """By column: the metric, the index that answers searches, and those that were not finished."""
    metrics: dict[str, Metric] = {}
    indexes: dict[str, Index] = {}
    unfinished: dict[str, tuple[str, ...]] = {}
    for column, computed, name, kind, options, opclass, valid, whole in connection.execute(
        _INDEXES, (oid,)
    ).fetchall():
        if computed:
            halved = _HALVED.fullmatch(column)
            if halved is None:
                continue
            column = halved[2] or halved[1].replace('""', '"')
        found = re.search(r"_(cosine|ip|l2)_ops$", opclass)
        if not valid:
            unfinished[column] = (*unfinished.get(column, ()), name)
        elif found:
            metrics.setdefault(column, _OPCLASS[found[1]])
            given = tuple(tuple(option.split("=", 1)) for option in options or ())
            if whole and column not in indexes:  # one of some rows alone does not answer searches
                indexes[column] = Index(kind, given, "halfvec" if computed else "")
    return metrics, indexes, unfinished


def _width(connection: Any, where: tuple[str, str, int], column: str, address: Address) -> int:
    """The width of a column that is declared without one, if all its vectors have the same."""
    from psycopg import sql

    asked = sql.SQL("select vector_dims({c}), count(*) from {t} where {c} is not null group by 1")
    found = connection.execute(
        asked.format(c=sql.Identifier(column), t=sql.Identifier(*where[:2]))
    ).fetchall()
    if len(found) > 1:
        listed = ", ".join(f"{n:,} of width {dim}" for dim, n in sorted(found))
        raise InputError(
            f"the vectors of column '{column}' have several widths: {listed}",
            where=address.shown,
            mend="Encode them with one model, or move them to columns of their own",
        )
    return found[0][0] if found else 0
