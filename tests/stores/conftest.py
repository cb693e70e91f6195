from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """Numbers that name tables, each given once."""
    return itertools.count()
