"""Vector databases and files behind one Protocol: read, searched, written, moved."""

from isthmus.stores.memory import MemoryStore
from isthmus.stores.protocol import (
    BATCH,
    Capabilities,
    Collection,
    Column,
    Granting,
    Hits,
    Ids,
    Index,
    Indexed,
    Key,
    Namespaced,
    Rows,
    ScanBatch,
    Store,
)
from isthmus.stores.url import create_store, is_store_url, open_store

__all__ = [
    "BATCH",
    "Capabilities",
    "Collection",
    "Column",
    "Granting",
    "Hits",
    "Ids",
    "Index",
    "Indexed",
    "Key",
    "MemoryStore",
    "Namespaced",
    "Rows",
    "ScanBatch",
    "Store",
    "create_store",
    "is_store_url",
    "open_store",
]
