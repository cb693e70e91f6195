"""What zlib packed, unpacked to no more than it can honestly be.

A thousand bytes of somebody else's may unpack to a million: whoever reads them says how many can
be right.
"""

from __future__ import annotations

import zlib

__all__ = ["unpacked_bytes"]


def unpacked_bytes(packed: bytes, most_bytes: int) -> bytes:
    """The bytes that `zlib.compress` was given.

    Args:
        packed: what it returned.
        most_bytes: that there can be; no more are ever held in memory.

    Raises:
        ValueError: if it is not what zlib packs, or more than that.

    Example:
        >>> unpacked_bytes(zlib.compress(b"isthmus"), 7)
        b'isthmus'
        >>> unpacked_bytes(zlib.compress(bytes(1_000_000)), 7)
        Traceback (most recent call last):
            ...
        ValueError: it unpacks to more than 7 bytes
    """
    unpacking = zlib.decompressobj()
    try:
        # of 0 it would take that there is no bound
        found = unpacking.decompress(packed, most_bytes + 1)
    except zlib.error as error:
        raise ValueError(f"it was not packed by zlib ({error})") from error
    if len(found) > most_bytes:
        raise ValueError(f"it unpacks to more than {most_bytes:,} bytes")
    if not unpacking.eof or unpacking.unused_data:
        raise ValueError("it was not packed by zlib (it is cut off, or more follows)")
    return found
