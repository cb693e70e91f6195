"""Chroma: a folder on this machine, or a server by host and port.

Chroma's ids are strings and every item has a vector, so integer ids are kept as their digits and
there is no half-filled or second column: a new model's vectors go into a second collection.  The
document of an item is its field ``text``; its metadata are the other fields.  All searches use
Chroma's HNSW index, which may miss items.  In a cosine collection Chroma divides by the norm and
multiplies again: what comes back may differ in the last bits (`Column.rounded`).
"""

from isthmus.stores.chroma.store import ChromaStore

__all__ = ["ChromaStore"]
