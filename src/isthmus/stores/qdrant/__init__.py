"""Qdrant by its client: a server by host and port, a folder, or ``:memory:``.

Qdrant names points by unsigned integers and UUIDs only.  Collections made here therefore name a
point by the UUID (version 5) of its id, and keep the id itself in the payload; collections of
others are read by the names their points have.  Vectors compared by cosine are kept as unit
vectors (`Column.stored_normalised`).  Qdrant moves an alias in one step but cannot compare first:
of two processes that move one at the same moment, both may succeed.
"""

from isthmus.stores.qdrant.store import QdrantStore

__all__ = ["QdrantStore"]
