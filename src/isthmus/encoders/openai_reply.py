"""The answer of an OpenAI-compatible embeddings endpoint, checked and put in order."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders.retry import Transient

__all__ = ["Reply", "read_reply"]


@dataclass(frozen=True, eq=False)
class Reply:
    """What a server answered for ``n`` texts.

    Attributes:
        vectors: ``(n, width)`` float64 or float32, in the order of the texts; perhaps not finite.
        model: the model that the server says it used, if it says.
        tokens: the tokens that the server counted, if it says.
    """

    vectors: NDArray[Any]
    model: str | None
    tokens: int | None


def read_reply(body: Any, n: int) -> Reply:
    """The vectors of ``n`` texts, in the order that their ``index`` gives.

    An embedding is a list of numbers, or base64 of little-endian float32.

    Raises:
        Transient: if an item is missing, doubled or malformed: the request can be made again.
    """
    data: Any = body.get("data") if isinstance(body, dict) else None
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise _malformed("it has no list 'data' of objects")
    if len(data) != n:
        raise _malformed(f"it has {len(data)} items for {n} texts")
    places: list[Any] = [item.get("index", row) for row, item in enumerate(data)]
    if any(not isinstance(p, int) or isinstance(p, bool) for p in places) or sorted(places) != [
        *range(n)
    ]:
        raise _malformed(f"its indices are not 0 to {n - 1}, each once")
    rows = [_floats(item.get("embedding")) for item in data]
    if len({len(row) for row in rows}) != 1:
        raise _malformed("its vectors are of different widths")
    vectors = np.empty((n, len(rows[0])), rows[0].dtype)
    vectors[places] = rows
    model: Any = body.get("model")
    usage: Any = body.get("usage")
    tokens: Any = usage.get("total_tokens") if isinstance(usage, dict) else None
    return Reply(
        vectors,
        model if isinstance(model, str) and model else None,
        tokens if isinstance(tokens, int) and tokens >= 0 else None,
    )


def _floats(embedding: Any) -> NDArray[Any]:
    if isinstance(embedding, str):
        try:
            content = base64.b64decode(embedding, validate=True)
        except binascii.Error:
            raise _malformed("an embedding is neither numbers nor base64") from None
        if len(content) % 4:
            raise _malformed(f"an embedding of {len(content)} bytes is no row of float32")
        return np.frombuffer(content, "<f4")
    if not isinstance(embedding, list):
        raise _malformed("an item has no embedding")
    try:
        found = np.array(embedding)
    except ValueError:
        raise _malformed("an embedding is not a flat list of numbers") from None
    if found.ndim != 1 or (found.dtype.kind not in "fiu"):
        raise _malformed("an embedding is not a flat list of numbers")
    return found.astype(np.float64)


def _malformed(why: str) -> Transient:
    return Transient(f"the answer cannot be used: {why}", charged=True)
