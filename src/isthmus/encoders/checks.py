"""Checks on what goes into an encoder and on what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.errors import InputError

__all__ = ["check_encoded", "check_texts", "opening_of"]

_OPENING = 60


def check_texts(texts: Sequence[object]) -> None:
    """Refuse what no encoder can encode, before any work is spent.

    Raises:
        InputError: if ``texts`` is one string, or a text is not a string, is blank, or is not
            valid Unicode; it names the first offending row.
    """
    if isinstance(texts, str):
        raise InputError(
            "one string was given where a sequence of strings is needed",
            where="texts",
            mend="Write [text] to encode one text",
        )
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"a text is of type {type(text).__name__}",
                where=f"texts, row {row}",
                mend="Pass strings; drop rows without text",
            )
        if not text.strip():
            raise InputError(
                "a text is blank, so that its vector would mean nothing",
                where=f"texts, row {row}",
                mend="Drop rows without text",
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InputError(
                f"a text is not valid Unicode at character {error.start}",
                where=f"texts, row {row}",
                mend="Decode the text with errors='replace'",
            ) from error


def opening_of(text: str) -> str:
    """How a text begins, by which an error names it: rows of a part are not those of the whole."""
    line = " ".join(text.split())
    return line if len(line) <= _OPENING else f"{line[:_OPENING]}…"


def check_encoded(
    vectors: Any,
    *,
    rows: int,
    dim: int,
    name: str,
    texts: Sequence[str] | None = None,
) -> Embeddings:
    """``vectors`` as float32 of shape ``(rows, dim)``, or an error that names the encoder.

    Where ``texts`` are given, it names the text of a vector rather than its row.

    Raises:
        InputError: if the shape is another, the values are not real numbers, or one is not finite.
    """
    array = np.asarray(vectors)
    where = f"vectors of encoder '{name}'"
    if array.shape != (rows, dim):
        raise InputError(
            f"the shape is {array.shape}, expected {(rows, dim)}",
            where=where,
            mend="Return one vector per text, as wide as the declared dim",
        )
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"the dtype is {array.dtype}", where=where, mend="Return real numbers, best float32"
        )
    with np.errstate(over="ignore"):  # what overflows is reported below, with its row
        array = array.astype(np.float32, copy=False)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        which = f"row {row}" if texts is None else f"text '{opening_of(texts[row])}'"
        raise InputError(
            "a vector has values that are not finite as float32",
            where=f"{where}, {which}",
            mend="Look at that text, and at the precision the model runs in",
        )
    return array
