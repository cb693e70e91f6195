"""Vectors that were written as text, in the forms that libraries and databases print lists in."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from isthmus.json_text import read_json

__all__ = ["NO_NUMBERS", "is_vector_text", "numbers_of"]

NO_NUMBERS = "the vector is neither a list of numbers nor base64 of float32"

_WRAPPED = re.compile(r"(?:np\.|numpy\.|torch\.)?(?:array|tensor)\(\s*(\[[^\[\]]*\])(?:,[^()]*)?\)")
_SCALAR = re.compile(r"(?:np|numpy)\.float\d+\(([^()]*)\)")
_BRACKETS = ("[]", "()", "{}")
_SMALLEST, _LARGEST = 1e-20, 1e6  # of what is packed
_FAINT = 1e-6


def numbers_of(text: str) -> Sequence[float]:
    """The numbers of ``[0.1, 0.2]``, which may be parted by commas, semicolons or spaces.

    Brackets may be those of a tuple or of PostgreSQL's arrays, or be left out; numpy's and torch's
    ``array(...)`` and ``tensor(...)`` are looked through, as is a list around the list.  A single
    word is base64 of little-endian float32, as servers of embeddings pack them, if that gives
    numbers as vectors have them: a digest in hexadecimal digits is base64 too.

    Raises:
        ValueError: for anything else, such as a long array that numpy cut short with three points.
        TypeError: for a list of other things than numbers.

    Example:
        >>> numbers_of("[0.5 1.5]"), numbers_of("array([0.5, 1.5], dtype=float32)")
        ([0.5, 1.5], [0.5, 1.5])
        >>> numbers_of("AAAAPwAAwD8=")
        [0.5, 1.5]
    """
    bare = text.strip()
    if bare.startswith("[") and bare.endswith("]") and "," in bare and "(" not in bare:
        found: Any = read_json(bare)
        inner = cast(list[Any], found)[0] if len(found) == 1 else found
        return [float(v) for v in (inner if isinstance(inner, list) else found)]
    if (wrapped := _WRAPPED.fullmatch(bare)) is not None:
        bare = wrapped[1]
    bare = _SCALAR.sub(r"\1", bare)
    if bare[:1] + bare[-1:] in _BRACKETS:
        bare = bare[1:-1].strip()
    elif len(bare.split()) < 2 and not re.search("[,;]", bare):
        return _unpacked(bare)
    parts = re.split(r"\s*[,;]\s*", bare) if re.search("[,;]", bare) else bare.split()
    return [float(part) for part in parts]


def _unpacked(word: str) -> list[float]:
    numbers = np.frombuffer(base64.b64decode(word, validate=True), dtype="<f4")
    sizes = np.abs(numbers[numbers != 0])
    # bytes of other number types, or of no numbers, are far from that somewhere
    if sizes.size and not (sizes.min() > _SMALLEST and _FAINT < sizes.max() < _LARGEST):
        raise ValueError("no numbers as vectors have them")
    return numbers.tolist()


def is_vector_text(text: str) -> bool:
    """Whether a text is a list of two numbers or more, in brackets of some kind."""
    bare = text.strip()
    if not bare or bare[-1] not in ")]}":
        return False
    try:
        return len(numbers_of(bare)) > 1
    except (TypeError, ValueError, OverflowError):
        return False
