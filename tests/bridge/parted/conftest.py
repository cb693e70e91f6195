"""The files of `tests.scale`."""

from tests.scale.conftest import world, write

__all__ = ["world", "write"]
