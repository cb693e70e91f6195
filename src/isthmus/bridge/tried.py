"""What the search for a map considered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Tried"]


@dataclass(frozen=True)
class Tried:
    """A map that was considered: its recipe, its validation score, its relative squared error.

    Example:
        >>> Tried("procrustes", score=0.81).squared_error is None
        True
    """

    recipe: str
    score: float
    squared_error: float | None = None

    @classmethod
    def checked(cls, recipe: Any, score: Any, squared_error: Any) -> Tried:
        """From a file.

        Raises:
            TypeError, ValueError: for anything but text and numbers.
        """
        if not isinstance(recipe, str):
            raise TypeError(f"a recipe is text, found {recipe!r}")
        return cls(recipe, float(score), None if squared_error is None else float(squared_error))
