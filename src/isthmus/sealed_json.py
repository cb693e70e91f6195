"""JSON that states its own digest, so that what others wrote or changed is known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast

from isthmus.files import canonical_json
from isthmus.json_text import read_json

__all__ = ["sealed", "unsealed"]

_DIGEST = "digest"


def sealed(fields: Mapping[str, Any]) -> bytes:
    """Canonical JSON of the fields, and of the digest of all of them.

    Raises:
        ValueError: for a number that is not finite, or text that is no Unicode.

    Example:
        >>> sealed({"rows": 3})
        b'{"digest":"2bafd4629cc04e701c66d3854982e073924fa77d4fdc31b2803184ff5a42cecc","rows":3}\\n'
    """
    digest = hashlib.sha256(canonical_json(fields).encode()).hexdigest()
    return canonical_json({**fields, _DIGEST: digest}).encode() + b"\n"


def unsealed(content: bytes) -> dict[str, Any]:
    """The fields that `sealed` was given.

    Raises:
        ValueError: for anything else.
    """
    found: Any = read_json(content)
    if not isinstance(found, dict):
        raise ValueError("it holds no fields")
    fields = cast(dict[str, Any], found)
    fields.pop(_DIGEST, None)
    # the bytes hold for all: that it is canonical, holds no key twice, and states its own digest
    if sealed(fields) != content:
        raise ValueError("it was changed after it was written")
    return fields
