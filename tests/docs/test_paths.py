"""A public name that takes a path takes it as text too."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import isthmus

PARTS_OF_OTHERS = {
    "isthmus.bridge.StoredMoments.__init__",  # StoredMoments.of
    "isthmus.migrate.Journal.__init__",  # Migration
    "isthmus.scale.Labels.written",  # open_pairs
}
"""Made by what is named beside each, and by nobody else."""


def _public() -> Iterator[tuple[str, Any]]:
    rooms = [m.name for m in pkgutil.iter_modules(isthmus.__path__) if m.ispkg and m.name != "cli"]
    for room in ("isthmus", *(f"isthmus.{name}" for name in rooms)):
        module = import_module(room)
        for name in getattr(module, "__all__", ()):
            found = getattr(module, name)
            yield f"{room}.{name}", found
            if inspect.isclass(found):
                for own, member in vars(found).items():
                    if own == "__init__" or not own.startswith("_"):
                        yield f"{room}.{name}.{own}", getattr(member, "__func__", member)


def test_a_path_may_be_text() -> None:
    asked, refused = 0, set[str]()
    for name, found in _public():
        if inspect.isclass(found) or not callable(found):
            continue
        try:
            parameters = inspect.signature(found).parameters.values()
        except (TypeError, ValueError):
            continue
        kinds = [str(p.annotation).split(" | ") for p in parameters if "Path" in str(p.annotation)]
        asked += len(kinds)
        if any("Path" in kind and "str" not in kind for kind in kinds):
            refused.add(name)
    assert asked > 30
    assert refused == PARTS_OF_OTHERS
