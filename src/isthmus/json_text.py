"""JSON that somebody else wrote: whatever is wrong with it is one kind of error."""

from __future__ import annotations

import json
from typing import Any

__all__ = ["JsonObject", "read_json", "read_json_at"]

JsonObject = dict[str, Any]
"""Values by name, as JSON holds them."""

_MOST_DIGITS = 40  # a sign among them


def read_json(text: str | bytes) -> Any:
    """The value that ``text`` stands for.

    Raises:
        ValueError: if it is no JSON, no Unicode, nested too deeply, names a key of an object twice,
            or holds a whole number of more digits than one of 128 bits has, which would become no
            float.

    Example:
        >>> read_json('{"k": [1, 2.5]}')
        {'k': [1, 2.5]}
        >>> read_json("[" * 100_000)
        Traceback (most recent call last):
            ...
        ValueError: it is nested too deeply
    """
    try:
        return json.loads(text, parse_int=_whole, object_pairs_hook=_object)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_json_at(text: str, start: int) -> tuple[Any, int]:
    """The value that begins at ``start``, and where it ends: of several in one text.

    Raises:
        ValueError: as `read_json`.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object, whose reader would not know which of two values is meant."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen = set[str]()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice[:80]!r} stands twice in one object")
    return found


_DECODER = json.JSONDecoder(parse_int=_whole, object_pairs_hook=_object)
