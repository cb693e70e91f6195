"""What a table of SQLite holds for us, read from its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isthmus.errors import InputError, StoreChangedError
from isthmus.evaluate.scores import Metric
from isthmus.stores.address import Address
from isthmus.stores.fields import id_field, text_field
from isthmus.stores.protocol import Column, Key
from isthmus.stores.refusals import unknown_name
from isthmus.stores.sqlite.blobs import width_of
from isthmus.stores.sqlite.names import note_of, quoted, sql_of, tables_of
from isthmus.stores.sqlite.vec0 import Vec0, read_vec0

__all__ = ["SqliteTable", "read_table"]

_SAMPLE = 64


@dataclass(frozen=True)
class SqliteTable:
    """A table of items.

    Attributes:
        name: its name.
        id: its column of ids.
        id_type: as declared.
        key: kind of its ids.
        columns: its vector columns.
        types: of the payload fields, as declared, in lower case.
        text_field: that holds the texts.
        vec0: how the table was declared where it is a virtual one.
        ids: the table, and its column, that ids are read from in their order.
        computed: the fields whose values SQLite makes of others; nobody writes them.
        beside: another table that holds the texts, and its column of the same ids; None where the
            table holds them itself.
        second: whether it holds second vectors of the items of another: a row whose text is gone
            from ``beside`` is then none.
    """

    name: str
    id: str
    id_type: str
    key: Key
    columns: Mapping[str, Column]
    types: Mapping[str, str]
    text_field: str | None
    ids: tuple[str, str]
    vec0: Vec0 | None = None
    computed: frozenset[str] = frozenset()
    beside: tuple[str, str] | None = None
    second: bool = False

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the payload."""
        return tuple(self.types)

    def is_item(self, value: str) -> str:
        """SQL that is true where a row with the id ``value`` is an item."""
        if self.beside is None or not self.second:
            return "true"
        name, key = (quoted(part) for part in self.beside)
        return f"exists (select 1 from {name} d where d.{key} = {value})"

    @property
    def own(self) -> tuple[str, ...]:
        """Those that the table itself holds."""
        elsewhere = None if self.beside is None else self.text_field
        return tuple(field for field in self.types if field != elsewhere)

    @property
    def unmovable(self) -> str:
        """Why no second vectors of its items can be kept or served."""
        if self.vec0 is not None and len(self.vec0.vectors) > 1:
            listed = ", ".join(self.vec0.vectors)
            return (
                f"each row of this table has vectors in several columns ({listed}), and a row that "
                "is copied back would lack all but one: give those that move a table of their own"
            )
        return ""


def read_table(connection: Any, name: str, address: Address) -> SqliteTable:
    """Everything about the table called ``name``.

    Raises:
        InputError: if it cannot hold items: no ids, no vectors, or a metric that is not known.
        StoreChangedError: if it is gone.
    """
    kind, sql = sql_of(connection, name) or ("", "")
    if kind != "table":
        raise StoreChangedError(f"there is no table '{name}' any more", where=address.shown)
    virtual = read_vec0(sql)
    if virtual is None:
        if sql.lstrip().lower().startswith("create virtual"):
            raise InputError(
                f"'{name}' is a virtual table of another kind than vec0", where=address.shown
            )
        return _ordinary(connection, name, address, note_of(sql))
    return _virtual(connection, name, address, virtual)


def _virtual(connection: Any, name: str, address: Address, declared: Vec0) -> SqliteTable:
    columns = declared.columns(name, address)
    types = dict(declared.fields)
    table, dot, text = address.options.get("text", "").rpartition(".")
    beside = None
    if dot:
        beside = table, _key_of(connection, table, text, declared.key, address)
        types[text] = "text"
    strings = [f for f, kind in types.items() if kind == "text"]
    return SqliteTable(
        name,
        declared.id,
        "text" if declared.key == "str" else "integer",
        declared.key,
        columns,
        types,
        text if dot else text_field(strings, address),
        (f"{name}_rowids", "rowid" if declared.key == "int" else "id"),
        declared,
        beside=beside,
    )


def _key_of(connection: Any, name: str, text: str, key: Key, address: Address) -> str:
    """The column of ids in the table ``name``, which holds texts in its column ``text``."""
    found = _declared(connection, name)
    if not found:
        raise unknown_name("table", name, tables_of(connection), where=address.shown)
    if text not in found:
        raise unknown_name("payload field", text, found, where=address.shown)
    for column, (kind, unique, _) in found.items():
        if unique and _kind_of(kind) == key:
            return column
    raise InputError(
        f"table '{name}' has no key of the kind '{key}', as the ids of the vectors are",
        where=address.shown,
        mend="Name the table whose primary key is the id of the vectors",
    )


def _ordinary(connection: Any, name: str, address: Address, note: Mapping[str, str]) -> SqliteTable:
    found = _declared(connection, name)
    unique = [f for f, (_, is_unique, _) in found.items() if is_unique]
    kinds: dict[str, Key] = {f: kind for f in unique if (kind := _kind_of(found[f][0])) is not None}
    if not kinds:
        raise InputError(
            f"no column of table '{name}' keeps the items apart",
            where=address.shown,
            mend="Give it a column of the type INTEGER or TEXT that is PRIMARY KEY or UNIQUE: "
            "a rowid that has none may change (VACUUM)",
        )
    key: str = id_field(list(kinds), address)
    others = {f: value for f, value in found.items() if f != key}
    widths = _vectors(connection, name, others, address, note)
    columns = {
        column: Column(column, dim, "float32", _metric(note, column, name, address))
        for column, dim in widths.items()
    }
    types = {f: kind for f, (kind, *_) in found.items() if f != key and f not in columns}
    strings = [f for f, kind in types.items() if _kind_of(kind) == "str"]
    return SqliteTable(
        name,
        key,
        found[key][0],
        kinds[key],
        columns,
        types,
        text_field(strings, address),
        (name, key),
        computed=frozenset(f for f, (_, _, computed) in found.items() if computed),
    )


def _declared(connection: Any, name: str) -> dict[str, tuple[str, bool, bool]]:
    """By column: its type in lower case, whether it is unique, and whether it is computed."""
    rows = connection.execute(
        "select name, lower(type), pk, hidden from pragma_table_xinfo(?) where hidden <> 1", (name,)
    ).fetchall()
    keys = [column for column, _, pk, _ in rows if pk]
    unique = {keys[0]} if len(keys) == 1 else set[str]()
    for (index,) in connection.execute(
        'select name from pragma_index_list(?) where "unique" and not partial', (name,)
    ).fetchall():
        of = connection.execute("select name from pragma_index_info(?)", (index,)).fetchall()
        unique |= {of[0][0]} if len(of) == 1 and of[0][0] is not None else set[str]()
    return {column: (kind, column in unique, hidden > 1) for column, kind, _, hidden in rows}


def _kind_of(declared: str) -> Key | None:
    """The kind of ids that a declared type holds, by SQLite's rules of affinity."""
    if "int" in declared:
        return "int"
    return "str" if any(word in declared for word in ("char", "clob", "text", "uuid")) else None


def _vectors(
    connection: Any,
    name: str,
    found: Mapping[str, tuple[str, bool, bool]],
    address: Address,
    note: Mapping[str, str],
) -> dict[str, int]:
    """The columns of vectors with their widths: those noted, and those whose values look so.

    Raises:
        InputError: for a column that is named and holds something else, or a table without any.
    """
    widths: dict[str, int] = {}
    others: dict[str, str] = {}
    for column in found:
        if f"dim.{column}" in note:
            widths[column] = int(note[f"dim.{column}"])
            continue
        c, t = quoted(column), quoted(name)
        sample = connection.execute(f"select {c} from {t} where {c} is not null limit {_SAMPLE}")
        dim = width_of([value for (value,) in sample])
        if isinstance(dim, int):
            widths[column] = dim
        else:
            others[column] = dim
    wanted = address.column if address.collection == name else None
    if wanted in others or not widths:
        told = {wanted: others[wanted]} if wanted in others else others
        raise InputError(
            f"table '{name}' has no vectors that are read here "
            f"({'; '.join(f'{column}: {why}' for column, why in told.items())})",
            where=address.shown,
            mend="Vectors are a float column of vec0, or BLOBs of float32, which vec_f32() of "
            "sqlite-vec makes of JSON",
        )
    return widths


def _metric(note: Mapping[str, str], column: str, name: str, address: Address) -> Metric:
    said: Any = note.get(f"metric.{column}") or address.metric
    if said is None:
        raise InputError(
            f"nothing says how the vectors of table '{name}' are compared",
            where=address.shown,
            mend="Write ?metric=cosine, ?metric=l2 or ?metric=dot behind the file's name, as the "
            "application compares them",
        )
    return said
