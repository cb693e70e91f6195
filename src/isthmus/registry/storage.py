"""Where a registry keeps its bytes: what a place must be able to do."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from isthmus.errors import InputError

__all__ = [
    "Object",
    "Storage",
    "StoredObject",
    "blocks",
    "blocks_of",
    "check_digest",
    "missing",
    "open_storage",
    "read_blocks",
    "too_large",
]

_BLOCK = 1 << 20


class StoredObject(NamedTuple):
    """The content of an object, and what tells this content from any other it had."""

    content: bytes
    tag: str


@dataclass(frozen=True)
class Object:
    """An object as a listing shows it."""

    key: str
    bytes: int
    age: float
    """Seconds since it was last written."""


class Storage(Protocol):
    """A flat set of objects by key, such as a folder or a bucket.

    A key is made of plain names joined by ``/``.  An object appears whole or not at all.
    """

    url: str

    def get(self, key: str, most_bytes: int) -> StoredObject | None:
        """The content of a small object; None where there is none.

        Raises:
            InputError: for one that is larger than ``most_bytes``, or no file.
        """
        ...

    def open(self, key: str) -> Iterator[bytes]:
        """The content of an object in blocks.

        Raises:
            InputError: where there is none.
        """
        ...

    def size(self, key: str) -> int | None:
        """How many bytes an object has; None where there is none."""
        ...

    def put(self, key: str, content: bytes | Path) -> None:
        """Write an object whose key ends with the digest of its content.

        Where it stands there already, whole, only its age changes.

        Args:
            key: its key.
            content: bytes, or the file that holds them.

        Raises:
            InputError: if the file changed since its digest was taken.
        """
        ...

    def swap(self, key: str, tag: str | None, content: bytes) -> bool:
        """Replace an object if it is still the one with this tag; None means that there is none.

        Returns:
            Whether it was; false where somebody else was quicker.
        """
        ...

    def list(self, prefix: str) -> Iterator[Object]:
        """The objects whose keys begin with ``prefix``, a folder; what is no object is left out."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object, if there is one."""
        ...

    def tidy(self) -> int:
        """Remove what writers that died left half-written, and return how much that was."""
        ...

    def exclusive(self) -> AbstractContextManager[None]:
        """A block in which no other such block runs, where the place knows locks."""
        ...


def open_storage(url: str) -> Storage:
    """The storage of a registry, by the path of its folder or its URL.

    ``s3://`` and ``gs://`` (``gcs://``) are buckets; any other URL is what fsspec makes of it, see
    `isthmus.registry.filesystem`.

    Raises:
        RegistryError: for a URL of a kind that is not known.
    """
    from isthmus.registry.folder import Folder

    match = re.match(r"([a-z][a-z0-9+.-]*)://(.*)", url, re.DOTALL)
    if match is None:
        return Folder(Path(url))
    protocol, place = match[1], match[2]
    if protocol in ("file", "local"):
        return Folder(Path(place))
    if protocol == "s3":
        from isthmus.registry.bucket import Bucket

        return Bucket(place)
    if protocol in ("gs", "gcs"):
        from isthmus.registry.google_bucket import GoogleBucket

        return GoogleBucket(place)
    from isthmus.registry.filesystem import Filesystem

    return Filesystem(protocol, place)


def check_digest(key: str, content: bytes | Path) -> None:
    """Refuse content whose digest is not the end of its key.

    Raises:
        InputError: for a file that changed since its digest was taken.
    """
    digest = hashlib.sha256()
    for block in [content] if isinstance(content, bytes) else blocks_of(content):
        digest.update(block)
    if digest.hexdigest() != key.rpartition("/")[2]:
        raise InputError("it changed while it was published", where=str(content)[:200])


def missing(key: str, url: str) -> InputError:
    """The error for an object that is not there."""
    return InputError("it is missing from the registry", where=f"{url}/{key}")


def read_blocks(
    opened: Callable[[], AbstractContextManager[BinaryIO]],
    spoken: AbstractContextManager[None],
    absent: InputError,
) -> Iterator[bytes]:
    """The content of an object in blocks, as `Storage.open` gives it.

    Args:
        opened: opens the object.
        spoken: a block in which an object that is not there is a ``FileNotFoundError``.
        absent: what is raised where there is none.
    """
    try:
        with spoken, opened() as file:
            yield from blocks(file)
    except FileNotFoundError as error:
        raise absent from error


def too_large(key: str, url: str, most_bytes: int) -> InputError:
    """The error for an object that is larger than any of its kind."""
    return InputError(f"it is larger than the {most_bytes:,} bytes allowed", where=f"{url}/{key}")


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, in blocks."""
    while block := file.read(_BLOCK):
        yield block


def blocks_of(path: Path) -> Iterator[bytes]:
    """The content of a file, in blocks."""
    with path.open("rb") as file:
        yield from blocks(file)
