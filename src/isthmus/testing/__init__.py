"""Assertions for the tests of those who make or use vectors; pytest offers them as fixtures."""

from isthmus.testing.assertions import assert_compatible, assert_no_regression

__all__ = ["assert_compatible", "assert_no_regression"]
