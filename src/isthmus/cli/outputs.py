"""What a command writes is none of what it reads, lies in none of it, and has its own place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import nullcontext
from itertools import combinations
from pathlib import Path
from typing import Any, Final, get_type_hints

import typer

from isthmus.cli.console import files_first

__all__ = ["WRITTEN", "hold_apart"]

WRITTEN: Final = "written"
"""Marks, in its annotation, an argument that names an output."""


def hold_apart(app: typer.Typer) -> None:
    """Have every command of ``app`` refuse, before any work, an output that is one of its inputs.

    All arguments of a command that are not `WRITTEN` may name an input.  Where results can no
    longer be shown, the outputs are written all the same.
    """
    for command in app.registered_commands:
        assert command.callback is not None
        command.callback = _held_apart(command.callback)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        hold_apart(group.typer_instance)


def _held_apart(command: Callable[..., Any]) -> Callable[..., Any]:
    hints = get_type_hints(command, include_extras=True)
    written = [name for name, hint in hints.items() if _is_written(hint)]
    if not written:
        return command

    @functools.wraps(command)
    def held(**given: Any) -> None:
        from isthmus.file_places import check_apart, check_distinct

        inputs = [value for name, value in given.items() if name not in written]
        outputs = [Path(given[name]) for name in written if given.get(name) is not None]
        for place in outputs:
            check_apart(place, *inputs)
        for one, other in combinations(outputs, 2):
            check_distinct(one, other)
        with files_first() if outputs else nullcontext():
            command(**given)

    return held


def _is_written(hint: Any) -> bool:
    return WRITTEN in getattr(hint, "__metadata__", ())
