"""Dataclasses that travel to other processes as their fields alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

__all__ = ["PickledByFields"]


class PickledByFields:
    """A dataclass whose pickles leave out what was computed from its fields and kept.

    Closures among that cannot be pickled, and the rest is sooner computed than sent.
    """

    def __getstate__(self) -> dict[str, Any]:
        kept = {field.name for field in fields(self)}  # pyright: ignore[reportArgumentType]
        return {name: value for name, value in vars(self).items() if name in kept}
