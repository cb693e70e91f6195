"""PostgreSQL with pgvector: a live table, read and filled while it serves.

Vectors are ``vector`` or ``halfvec`` columns.  ``halfvec`` rounds what is put to 16 bits, and
queries too, as `Column.dtype` says.  A new column goes into a side table where an approximate index
hangs on the old one, because every update of a row would enter that index again; the side table
belongs to the table by a foreign key, so that a deleted item is gone from both.

Limits of pgvector's indexes: they take at most 2,000 dimensions, and 4,000 as ``halfvec``, which
wider vectors are cast to in the index alone; a search looks at ``hnsw.ef_search`` candidates, which
is raised here to the ``k`` asked for, at most 1,000, and goes on iteratively (pgvector 0.8) once a
search found too few.
"""

from isthmus.stores.pgvector.store import PgVectorStore

__all__ = ["PgVectorStore"]
