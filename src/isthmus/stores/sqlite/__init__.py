"""SQLite with sqlite-vec: a live file, read and filled while an application uses it.

Vectors are the ``float[d]`` column of a ``vec0`` table, or BLOBs of float32 in an ordinary table.
The new ones go into a second table of the same kind beside it, and an alias is a view, moved in one
transaction; a search by ``MATCH`` goes through it.

Limits of sqlite-vec 0.1: every row of a ``vec0`` table has a vector in each of its vector columns;
metadata is never null; a search by ``MATCH`` gives at most 4,096 items, and is otherwise exact, as
there is no index; deleted rows leave their place in the file to new ones.
"""

from isthmus.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
