"""Vectors that were written as text, in the forms that libraries and databases print lists in."""

from __future__ import annotations

import re

from isthmus.json_text import read_json

__all__ = ["is_vector_text", "numbers_of"]

_WRAPPED = re.compile(r"(?:np\.|numpy\.|torch\.)?(?:array|tensor)\(\s*(\[[^\[\]]*\])(?:,[^()]*)?\)")
_SCALAR = re.compile(r"(?:np|numpy)\.float\d+\(([^()]*)\)")
_BRACKETS = ("[]", "()", "{}")


def numbers_of(text: str) -> list[float]:
    """The numbers of ``[0.1, 0.2]``, which may be parted by commas, semicolons or spaces.

    Brackets may be those of a tuple or of PostgreSQL's arrays, or be left out; numpy's and torch's
    ``array(...)`` and ``tensor(...)`` are looked through.

    Raises:
        ValueError: for anything else, such as a long array that numpy cut short with three points.

    Example:
        >>> numbers_of("[0.5 1.5]"), numbers_of("array([0.5, 1.5], dtype=float32)")
        ([0.5, 1.5], [0.5, 1.5])
    """
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]") and "," in bare and "(" not in bare:
        return [float(v) for v in read_json(bare)]
    if (wrapped := _WRAPPED.fullmatch(bare)) is not None:
        bare = wrapped[1]
    bare = _SCALAR.sub(r"\1", bare)
    if bare[:1] + bare[-1:] in _BRACKETS:
        bare = bare[1:-1].strip()
    elif len(bare.split()) < 2 and not re.search("[,;]", bare):
        raise ValueError("one number is no list")
    parts = re.split(r"\s*[,;]\s*", bare) if re.search("[,;]", bare) else bare.split()
    return [float(part) for part in parts]


def is_vector_text(text: str) -> bool:
    """Whether a text is a list of two numbers or more, in brackets of some kind."""
    bare = text.strip()
    if not bare or bare[-1] not in ")]}":
        return False
    try:
        return len(numbers_of(bare)) > 1
    except (TypeError, ValueError, OverflowError):
        return False
