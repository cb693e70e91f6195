"""Removing what no alias leads to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from isthmus.registry.storage import Storage

__all__ = ["Collected", "collect"]

_COLLECTED = ("blobs/sha256", "manifests/sha256", "logs", "audit", "signatures")


@dataclass(frozen=True)
class Collected:
    """What a collection removed.

    Example:
        >>> from isthmus.registry import Collected
        >>> Collected(objects=3, bytes=1024, half_written=0).objects
        3
    """

    objects: int
    bytes: int
    half_written: int
    """Left by writers that died."""


def collect(storage: Storage, reached: Iterable[str], older_than: float) -> Collected:
    """Remove objects that are not among those reached, if they are old enough.

    Args:
        storage: of the registry.
        reached: keys; all are looked up before the first is removed.
        older_than: seconds.
    """
    kept = set(reached)
    objects = freed = 0
    for prefix in _COLLECTED:
        for item in list(storage.list(prefix)):
            if item.key not in kept and item.age >= older_than:
                storage.delete(item.key)
                objects += 1
                freed += item.bytes
    return Collected(objects, freed, storage.tidy())
