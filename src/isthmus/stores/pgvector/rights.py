"""What a user of PostgreSQL may do: the rights that a second column asks for, and readers' rights.

A view that is made anew has lost the rights of its readers, and an application that reads it would
stop in the moment of the cut-over.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from isthmus.stores.pgvector.layout import Table
from isthmus.stores.pgvector.names import table_name

__all__ = ["grant", "grants_needed", "rights_of", "secure"]

Right = tuple[str, str, bool]
"""Who may, what, and whether they may pass it on."""
_OF_VIEWS = frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRIGGER", "REFERENCES"})

_MAY = """
select quote_ident(current_user), quote_ident(current_database()), quote_ident(owner.rolname),
  has_database_privilege(current_database(), 'temporary'),
  has_schema_privilege(c.relnamespace, 'create'),
  has_table_privilege(c.oid, 'references'),
  pg_has_role(c.relowner, 'usage'),
  array(select a.attname::text from pg_attribute a where a.attrelid = c.oid
    and a.attname = any(%s::text[]) and not has_column_privilege(c.oid, a.attnum, 'update'))
from pg_class c join pg_roles owner on owner.oid = c.relowner where c.oid = %s
"""
_RIGHTS = """
select case when a.grantee = 0 then 'public' else quote_ident(a.grantee::regrole::text) end,
  a.privilege_type, a.is_grantable
from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a
where c.oid = %s and a.grantee <> current_user::regrole
"""


def grants_needed(connection: Any, table: Table, oid: int) -> tuple[str, ...]:
    """The statements after which this user may add a column, move an alias and keep a ledger.

    Nothing is tried: the catalogue says what the user may do.
    """
    from psycopg import sql

    own = [column for column, home in table.homes.items() if not home.side]
    user, database, owner, temporary, create, refers, owns, fixed = connection.execute(
        _MAY, (own, oid)
    ).fetchone()
    name, schema = table_name(table).as_string(None), sql.Identifier(table.schema).as_string(None)
    needed: list[str] = []
    if not create:
        needed.append(f"GRANT USAGE, CREATE ON SCHEMA {schema} TO {user}")
    if not table.unique and not owns:
        # only an owner may add a column to the table itself
        needed.append(f"GRANT {owner} TO {user}")
    elif not refers:
        needed.append(f"GRANT REFERENCES ON {name} TO {user}")
    if fixed:
        columns = sql.SQL(", ").join(map(sql.Identifier, fixed)).as_string(None)
        needed.append(f"GRANT UPDATE ({columns}) ON {name} TO {user}")
    if not temporary:
        needed.append(f"GRANT TEMPORARY ON DATABASE {database} TO {user}")
    return tuple(needed)


def secure(connection: Any, table: Table, side: Any, key: str) -> None:
    """Let whoever sees a row of the table see its vector in a side table, and nobody else.

    Args:
        connection: in a transaction.
        table: with row-level security.
        side: the side table, quoted.
        key: its column of ids.
    """
    from psycopg import sql

    connection.execute(
        sql.SQL(
            "alter table {s} enable row level security; drop policy if exists isthmus on {s}; "
            "create policy isthmus on {s} "
            "using (exists (select from {t} where {t}.{id} = {s}.{key}))"
        ).format(s=side, t=table_name(table), id=sql.Identifier(table.id), key=sql.Identifier(key))
    )
    oid = connection.execute(
        "select %s::regclass::oid", (table_name(table).as_string(None),)
    ).fetchone()[0]
    readers = [right for right in rights_of(connection, oid) if right[1] == "SELECT"]
    grant(connection, side, readers)


def rights_of(connection: Any, oid: int) -> list[Right]:
    """The rights that others than this user have on a table or view, its owner among them."""
    return connection.execute(_RIGHTS, (oid,)).fetchall()


def grant(connection: Any, view: Any, rights: Sequence[Right]) -> None:
    """Give rights on a view, those that a view can have."""
    for who, what, passed_on in rights:
        if what not in _OF_VIEWS:
            continue
        on = " with grant option" if passed_on else ""
        connection.execute(f"grant {what} on {view.as_string(None)} to {who}{on}")
