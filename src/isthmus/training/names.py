"""Finding the parts of a network by name or pattern."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from torch import nn

from isthmus.errors import InputError

__all__ = ["find_module", "find_modules", "layer_name", "replace_modules"]

_NEAR, _SHOWN = 5, 12


def find_modules(model: nn.Module, patterns: str | Iterable[str]) -> dict[str, nn.Module]:
    """The modules whose dotted names match any pattern, in the order of the model.

    In a pattern ``*`` stands for part of one name between dots, ``**`` for any number of names,
    ``?`` for one character and ``[0-3]`` for one of several; everything else for itself.

    Raises:
        InputError: for a pattern that matches nothing, naming those that are near.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> list(find_modules(model, "[02]"))
        ['0', '2']
    """
    modules = {name: module for name, module in model.named_modules() if name}
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    if not wanted:
        raise InputError("no layer is named", mend=f"Choose from {_some(list(modules))}")
    found: set[str] = set()
    for pattern in wanted:
        expression = _regular(pattern)
        matches = [name for name in modules if expression.fullmatch(name)]
        if not matches:
            # a module that the model has under two names is called by the first of them
            others = dict(model.named_modules(remove_duplicate=False))
            matches = [name for name in others if name and expression.fullmatch(name)]
            modules |= {name: others[name] for name in matches}
        if not matches:
            raise InputError(
                f"no layer of {type(model).__name__} is called '{pattern}'",
                where="layers",
                mend=_suggestion(pattern, list(modules)),
            )
        found.update(matches)
    return {name: module for name, module in modules.items() if name in found}


def find_module(model: nn.Module, name: str) -> nn.Module:
    """The one module of this name, or that matches this pattern.

    Raises:
        InputError: for a name that is not there, naming those that are near, or a pattern that
            matches several.
    """
    return model.get_submodule(layer_name(model, name))


def replace_modules(model: nn.Module, new: Mapping[nn.Module, nn.Module]) -> None:
    """Put the new modules in every place where an old one stands."""
    # duplicates too: one module may stand under several names
    for path, module in list(model.named_modules(remove_duplicate=False)):
        if module in new:
            parent, _, name = path.rpartition(".")
            # lists and sequences know their children by the same names
            setattr(model.get_submodule(parent), name, new[module])


def layer_name(model: nn.Module, pattern: str) -> str:
    """The full name of the one layer that matches, for `nn.Module.get_submodule`.

    Raises:
        InputError: as `find_module`.
    """
    found = list(find_modules(model, pattern))
    if len(found) > 1:
        raise InputError(
            f"'{pattern}' matches {len(found)} layers",
            where="layers",
            mend=f"Name one: {_some(found)}",
        )
    return found[0]


def _regular(pattern: str) -> re.Pattern[str]:
    out: list[str] = []
    position = 0
    while position < len(pattern):
        rest = pattern[position:]
        bracket = re.match(r"\[[^\]]+\]", rest)
        if rest.startswith("**"):
            token, expression = "**", ".*"
        elif rest[0] == "*":
            token, expression = "*", r"[^.]*"
        elif rest[0] == "?":
            token, expression = "?", r"[^.]"
        elif bracket:
            token = expression = bracket[0]
        else:
            token, expression = rest[0], re.escape(rest[0])
        out.append(expression)
        position += len(token)
    return re.compile("".join(out))


def _suggestion(pattern: str, names: list[str]) -> str:
    near = get_close_matches(pattern, names, _NEAR, cutoff=0.5)
    # the end of a path is what people remember
    last = pattern.rpartition(".")[2]
    near += [n for n in names if last and n.rpartition(".")[2] == last and n not in near]
    if near:
        return f"Did you mean {_some(near[:_NEAR], ' or ')}?"
    return f"There are {_some(names)}"


def _some(names: list[str], joint: str = ", ") -> str:
    if not names:
        return "no named layers"
    shown = joint.join(f"'{name}'" for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return shown + (f" and {more} more" if more > 0 else "")
