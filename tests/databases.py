"""Where a collection of each kind of store is in tests, and what it takes to have one."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

__all__ = ["KINDS", "url_of"]

_PACKAGES = {
    "lancedb": "lancedb",
    "postgresql": "psycopg",
    "parquet": "pyarrow",
    "faiss": "faiss",
    "chroma": "chromadb",
    "qdrant": "qdrant_client",
    "sqlite": "apsw",
}
KINDS = tuple(_PACKAGES)
"""Every kind of store that can be made new in a folder, or at a server of the tests."""

_NUMBERS = itertools.count()


def url_of(kind: str, folder: Path, request: pytest.FixtureRequest) -> str:
    """The address of a collection that is not there yet, kept in ``folder`` or at the server."""
    pytest.importorskip(_PACKAGES[kind])
    if kind == "postgresql":
        return f"{request.getfixturevalue('postgres')}#docs_{next(_NUMBERS)}"
    if kind in ("parquet", "faiss"):
        return f"{kind}://{folder}/docs.{kind}"
    if kind == "sqlite":
        return f"sqlite://{folder}/app.db#docs"
    return f"{kind}://{folder}/db#docs"
