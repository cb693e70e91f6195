"""SciPy, imported when it is first used: that takes as long as all the rest of loading a bridge."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__all__ = ["linalg", "special", "when_loaded"]

_calls: list[Callable[[], None]] = []


def when_loaded(call: Callable[[], None]) -> None:
    """Have ``call`` made, perhaps more than once, as soon as one of these modules is imported."""
    _calls.append(call)


class _Later(ModuleType):
    """A module of this name, which is imported when something is first asked of it."""

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self.__name__), name)
        for call in _calls:
            call()
        setattr(self, name, found)
        return found


if TYPE_CHECKING:
    from scipy import linalg, special
else:
    linalg, special = _Later("scipy.linalg"), _Later("scipy.special")
