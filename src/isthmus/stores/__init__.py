"""Vector databases and files behind one Protocol: read, searched, written, moved."""

from isthmus.stores.memory import MemoryStore
from isthmus.stores.protocol import (
    BATCH,
    Batch,
    Capabilities,
    Collection,
    Column,
    Hits,
    Ids,
    Key,
    Rows,
    Store,
)

__all__ = [
    "BATCH",
    "Batch",
    "Capabilities",
    "Collection",
    "Column",
    "Hits",
    "Ids",
    "Key",
    "MemoryStore",
    "Rows",
    "Store",
]
