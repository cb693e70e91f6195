from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers that name tables, each given once."""
    return itertools.count()


@pytest.fixture
def name(numbers: Iterator[int]) -> str:
    """The name of a table that no other test has."""
    return f"t{next(numbers)}"


@pytest.fixture
def sql(postgres: str) -> Iterator[Any]:
    """A bare connection to the real PostgreSQL server."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres, autocommit=True) as connection:
        yield connection
