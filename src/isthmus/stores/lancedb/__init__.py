"""LanceDB: the embedded default; vectors of several models side by side, versions and tags.

Vectors are fixed-size lists.  A second column is filled by updates that carry ids and that column
alone, so the rest of the table is not rewritten.  Scans read one version of the table, so nothing
that is written meanwhile disturbs them.
"""

from isthmus.stores.lancedb.store import LanceStore

__all__ = ["LanceStore"]
