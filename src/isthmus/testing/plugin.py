"""The pytest plugin: the assertions of `isthmus.testing` as fixtures of the same names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

__all__ = ["assert_compatible", "assert_no_regression"]


@pytest.fixture(scope="session")
def assert_compatible() -> Callable[..., None]:
    """See `isthmus.testing.assert_compatible`."""
    from isthmus.testing.assertions import assert_compatible

    return assert_compatible


@pytest.fixture(scope="session")
def assert_no_regression() -> Callable[..., None]:
    """See `isthmus.testing.assert_no_regression`."""
    from isthmus.testing.assertions import assert_no_regression

    return assert_no_regression
