"""What keeps ids of two sides apart that name the same items: capitals, spaces, zeros in front."""

from __future__ import annotations

import unicodedata
import uuid
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["LOOKED_AT", "alike_but_for", "likeness"]

LOOKED_AT = 100_000
"""Ids of each side that are compared."""
_SHARE = 0.1


def _as_uuid(name: str) -> str:
    try:
        return str(uuid.UUID(name))
    except ValueError:
        return name


_FORMS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("spaces at their ends", str.strip),
    ("capital letters", str.casefold),
    ("zeros in front", lambda name: name.lstrip("0") or "0"),
    ("'.0' at their ends", lambda name: name.removesuffix(".0")),
    ("the way a UUID is written", _as_uuid),
    ("quotes around them", lambda name: name.strip("\"'")),
    ("the slashes of paths", lambda name: name.replace("\\", "/")),
    ("the folder and the suffix of a file", lambda name: _stem(name)),
    ("a part behind '#'", lambda name: name.partition("#")[0]),
    (
        "characters that are not seen, or their normal form",
        lambda name: "".join(
            letter
            for letter in unicodedata.normalize("NFKC", name)
            if unicodedata.category(letter) not in ("Cf", "Cc")
        ),
    ),
)


def _stem(name: str) -> str:
    last = name.replace("\\", "/").rpartition("/")[2]
    return last.rpartition(".")[0] or last


def likeness(x: NDArray[Any] | Sequence[Any], y: NDArray[Any] | Sequence[Any]) -> str | None:
    """In what ids without a partner differ from one another, where that is one plain thing.

    Args:
        x: ids of one side that the other lacks; the first `LOOKED_AT` are compared.
        y: ids of the other side, likewise.

    Returns:
        Such as ``capital letters``; None where a tenth of neither side is explained so.

    Example:
        >>> likeness(["Doc1", "Doc2"], ["doc2", "doc1"])
        'capital letters'
    """
    sides = [[str(name) for name in np.asarray(side[:LOOKED_AT]).tolist()] for side in (x, y)]
    fewest = min(map(len, sides))
    if not fewest:
        return None
    for what, form in _FORMS:
        one, other = ({form(name) for name in side} for side in sides)
        if len(one & other) >= max(_SHARE * fewest, 1):
            return what
    for added, kept in (sides, sides[::-1]):
        if told := _added(added, set(kept), max(_SHARE * fewest, 2)):
            return told
    return None


def alike_but_for(names: Sequence[Any], known: Iterable[Any]) -> str:
    """What to add to a sentence on ``names`` that are not ``known``: `likeness`, if there is one.

    Example:
        >>> alike_but_for(["Doc1", "Doc1", "Doc2"], {"doc1", "doc2"})
        '; alike but for capital letters'
        >>> alike_but_for(["Doc1"], {"x"})
        ''
    """
    told = likeness(list(dict.fromkeys(names)), list(known))
    return "" if told is None else f"; alike but for {told}"


def _added(names: list[str], known: set[str], wanted: float) -> str | None:
    """What stands in front of all names, or behind them, that the known ones do not have."""
    ends = [name[::-1] for name in names]
    front, behind = _beginning(names), _beginning(ends)[::-1]
    # the digits that numbers begin or end with alike are theirs
    for text in dict.fromkeys((front, front.rstrip("0123456789"))):
        if text and len({name[len(text) :] for name in names} & known) >= wanted:
            return f"'{text}' in front"
    for text in dict.fromkeys((behind, behind.lstrip("0123456789"))):
        if text and len({name[: -len(text)] for name in names} & known) >= wanted:
            return f"'{text}' behind"
    return None


def _beginning(names: list[str]) -> str:
    """With what all of the names begin, which the first and the last of them in order do."""
    first, last = min(names), max(names)
    same = (a == b for a, b in zip(first, last, strict=False))
    return "".join(letter for letter, _ in zip(first, takewhile(bool, same), strict=False))
