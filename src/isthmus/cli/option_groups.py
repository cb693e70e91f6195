"""Options that travel together, as one argument of a command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints

__all__ = ["grouped", "option_name"]

_EMPTY = inspect.Parameter.empty


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with every argument that is a dataclass replaced by the fields of it.

    A dataclass of annotated options is declared once and taken by every command that has them;
    the command line sees single options, the command one object.

    Args:
        command: its arguments are annotated with `typer` types or with such dataclasses.

    Returns:
        a function of single keyword arguments, in the order in which they were written.
    """
    hints = get_type_hints(command, include_extras=True)
    written = inspect.signature(command).parameters
    groups: dict[str, tuple[type[Any], list[str]]] = {}
    single: list[inspect.Parameter] = []
    for name, parameter in written.items():
        hint = hints[name]
        if isinstance(hint, type) and is_dataclass(hint):
            options = _options(hint)
            groups[name] = (hint, [option.name for option in options])
            single.extend(options)
        else:
            single.append(_option(name, hint, parameter.default))
    # looked up in a fresh table, so that one name given twice is an error where it is written
    assert len({option.name for option in single}) == len(single), command.__name__

    @functools.wraps(command)
    def flat(**given: Any) -> None:
        made = {
            name: group(**{field: given.pop(field) for field in names})
            for name, (group, names) in groups.items()
        }
        command(**given, **made)

    flat.__signature__ = inspect.Signature(single)  # pyright: ignore[reportAttributeAccessIssue]
    flat.__annotations__ = {option.name: option.annotation for option in single}
    return flat


def option_name(group: type[Any], field: str) -> str:
    """How a field of a group is spelled on the command line."""
    annotation = get_type_hints(group, include_extras=True)[field]
    for told in getattr(annotation, "__metadata__", ()):
        # beside a type, typer takes the first spelling for a default and moves it later
        for spelled in (
            getattr(told, "default", None),
            *(getattr(told, "param_decls", None) or ()),
        ):
            if isinstance(spelled, str) and spelled.startswith("--"):
                return spelled
    return f"--{field.replace('_', '-')}"


@functools.cache
def _options(group: type[Any]) -> tuple[inspect.Parameter, ...]:
    """The fields of a group, which several commands may take."""
    hints = get_type_hints(group, include_extras=True)
    return tuple(
        _option(f.name, hints[f.name], _EMPTY if f.default is MISSING else f.default)
        for f in fields(group)
    )


def _option(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation
    )
