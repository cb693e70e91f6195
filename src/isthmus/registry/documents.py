"""The small JSON documents of a registry: canonical, bounded, and believed only after a check."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Self, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from isthmus.errors import InputError
from isthmus.files import canonical_json

__all__ = ["MOST_BYTES", "Document", "digest_of"]

MOST_BYTES = 1 << 16
"""No document of a registry is larger."""


def digest_of(content: bytes) -> str:
    """SHA-256, in hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


class Document(BaseModel):
    """A value that equals its bytes: one text per value, so the digest of the bytes names it."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    @property
    def content(self) -> bytes:
        """Its bytes.

        Raises:
            InputError: for a text in it that is no Unicode, or for one that is too long.
        """
        try:
            content = canonical_json(self.model_dump(mode="json")).encode() + b"\n"
        except UnicodeEncodeError as error:
            raise InputError("a text in it is no Unicode", where=type(self).__name__) from error
        if len(content) > MOST_BYTES:
            raise InputError(
                f"it takes {len(content):,} bytes of JSON, and {MOST_BYTES:,} at the most",
                where=type(self).__name__,
                mend="Shorten the note or the metadata",
            )
        return content

    @property
    def digest(self) -> str:
        """The digest of its bytes."""
        return digest_of(self.content)

    @classmethod
    def parsed(cls, content: bytes, where: str) -> Self:
        """The value of these bytes.

        Raises:
            InputError: for bytes that are not exactly those of such a value.
        """
        try:
            if len(content) > MOST_BYTES:
                raise ValueError(f"more than {MOST_BYTES:,} bytes")
            value: Any = json.loads(content)
            found = cls.model_validate_json(content) if isinstance(value, dict) else None
            if found is None or found.content != content:
                raise ValueError("these are not the bytes that this registry writes")
        except ValidationError as error:
            fault = cast(Any, error.errors()[0])
            told = f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            raise InputError(f"this is no document of a registry ({told})", where=where) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"this is no document of a registry ({error})", where=where) from error
        return found
