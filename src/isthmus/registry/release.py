"""A version under a name, as people see it, and where its parts stand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from isthmus.registry.aliases import Entry
from isthmus.registry.documents import Document
from isthmus.registry.version import Version

__all__ = ["Deprecation", "Release", "blob_key", "manifest_key", "signature_key"]


class Deprecation(Document):
    """Why a version is not to be used any more.

    Example:
        >>> from isthmus.registry import Deprecation
        >>> when = "2026-01-31T12:00:00Z"
        >>> gone = Deprecation(version="0" * 64, reason="wrong data", at=when, by="ann")
        >>> gone.reason
        'wrong data'
    """

    version: Annotated[str, Field(max_length=64)]
    reason: Annotated[str, Field(min_length=1, max_length=4000)]
    at: Annotated[str, Field(max_length=40)]
    by: Annotated[str, Field(max_length=200)]


@dataclass(frozen=True)
class Release:
    """A version under a name.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Registry
        >>> registry = Registry.open(Path("releases"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> _ = registry.publish(Path("mean"), "means", by="ann")
        >>> release = registry.show("means")
        >>> release.version.kind, release.published.by, release.deprecated
        ('table of means', 'ann', None)
    """

    name: str
    digest: str
    """The digest of the version, which it names."""
    version: Version
    published: Entry
    """The first move of an alias to it."""
    aliases: tuple[str, ...]
    """The aliases that point to it now."""
    deprecated: Deprecation | None
    signers: tuple[str, ...]
    """Who of the trusted signed it; nobody where the registry was opened without a list."""

    def as_dict(self) -> dict[str, Any]:
        """The release as JSON."""
        return {
            "name": self.name,
            "version": self.digest,
            "kind": self.version.kind,
            "bytes": self.version.bytes,
            "files": {name: file.sha256 for name, file in self.version.files.items()},
            "metadata": self.version.metadata,
            "published": {
                "at": self.published.at,
                "by": self.published.by,
                "note": self.published.note,
            },
            "aliases": list(self.aliases),
            "deprecated": self.deprecated.reason if self.deprecated else None,
            "signers": list(self.signers),
        }


def blob_key(digest: str) -> str:
    """Where the content of a file stands."""
    return f"blobs/sha256/{digest}"


def manifest_key(digest: str) -> str:
    """Where the manifest of a version stands."""
    return f"manifests/sha256/{digest}"


def signature_key(name: str, version: str, digest: str) -> str:
    """Where a signature of a version stands."""
    return f"signatures/{name}/{version}/{digest}"
