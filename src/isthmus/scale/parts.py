"""Parts of one side of the data: what they are called, and whether they are still what they were.

A part is a file, some row groups of a Parquet file, a range of rows of an array, an object of an
object store, or a key range of a vector database.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isthmus.errors import InputError, MissingExtraError, missing_extra
from isthmus.inputs import unreadable
from isthmus.spaces.formats.contents import reading
from isthmus.spaces.scratch import scratch_folder

__all__ = [
    "PartedVectors",
    "ReadablePart",
    "Slice",
    "check_unchanged",
    "is_remote",
    "local_copy",
    "remote_system",
    "state_of",
]


@dataclass(frozen=True)
class ReadablePart:
    """Rows that any process can read by this alone."""

    place: str
    """A path, or the URL of an object or a store."""
    first: int
    """Number, in its file, of its first row."""
    rows: int
    state: str
    """Size and time of change, or the tag that an object store gives; empty of a store."""
    groups: tuple[int, ...] | None = None
    """Row groups of a Parquet file; None for any other."""
    after: str | None = None
    """The cursor of a store behind which it begins."""
    last: str | None = None
    """The id of a store that it ends with."""

    def __str__(self) -> str:
        whole = self.groups is None and self.first == 0 and self.last is None
        return self.place if whole else f"{self.place}, rows {self.first:,} to {self.end - 1:,}"

    @property
    def end(self) -> int:
        """Number of the row behind its last."""
        return self.first + self.rows


@dataclass(frozen=True)
class Slice:
    """Some consecutive rows of a part."""

    part: ReadablePart
    skip: int
    rows: int

    def __str__(self) -> str:
        return str(self.part)


@dataclass(frozen=True)
class PartedVectors:
    """One side of the data, and how any of its parts is read.

    Attributes:
        name: what messages call it.
        key: the column or array of vectors, where it has a name.
        id_column: the column of ids.
        has_ids: whether its rows have ids, in a column or beside an array.
        dim: width of its vectors.
        stored_dtype: numpy's name of how they are stored.
        parts: in the order of the rows.
        overlooked: a column that looks like ids, and is not used.
    """

    name: str
    key: str | None
    id_column: str | None
    has_ids: bool
    dim: int
    stored_dtype: str
    parts: tuple[ReadablePart, ...]
    overlooked: str | None = None

    @property
    def n(self) -> int:
        """Number of rows."""
        return sum(part.rows for part in self.parts)


def is_remote(place: str) -> bool:
    """Whether a place is a URL, and not a path."""
    return "://" in place


def state_of(place: str) -> str:
    """What tells one content of a file or object from another.

    Raises:
        InputError: if there is nothing, or it cannot be asked for.
    """
    try:
        if not is_remote(place):
            found = Path(place).stat()
            return f"{found.st_size}-{found.st_mtime_ns}"
        with remote_system(place) as (system, path):
            known: dict[str, Any] = (
                system.info(path, refresh=True)
                if "s3" in str(system.protocol)
                else system.info(path)
            )
    except FileNotFoundError as error:
        raise InputError("the file does not exist", where=place) from error
    except OSError as error:
        raise unreadable(error, place) from error
    tag = next((str(known[k]) for k in ("ETag", "etag", "md5", "mtime") if known.get(k)), "")
    return f"{known.get('size', known.get('Size'))}-{tag}"


def check_unchanged(part: ReadablePart) -> None:
    """Refuse a part that is no longer what was listed.

    Raises:
        InputError: naming it.
    """
    if part.state and state_of(part.place) != part.state:
        raise InputError(
            "the part has changed since it was listed",
            where=part.place,
            mend="Run the command again once nobody writes to it",
        )


@contextmanager
def remote_system(place: str) -> Generator[tuple[Any, str]]:
    """The file system of a URL, and the path in it.

    Raises:
        MissingExtraError: where its package is not installed.
    """
    import fsspec

    try:
        yield fsspec.url_to_fs(place)
    except ImportError as error:
        if isinstance(error, MissingExtraError):
            raise
        scheme = place.partition("://")[0]
        module = "s3fs" if scheme == "s3" else scheme
        raise missing_extra(module, "s3", f"reading {scheme}:// URLs") from error


def remote_files(url: str) -> list[str]:
    """The objects that the URL of an object, a folder or a pattern stands for."""
    with remote_system(url) as (system, path), reading(url, "remote"):
        system.invalidate_cache()
        if any(letter in path for letter in "*?["):
            found: list[str] = system.glob(path)
        elif system.isdir(path):
            found = system.find(path)
        else:
            found = [path] if system.exists(path) else []
        return [system.unstrip_protocol(name) for name in sorted(found)]


@contextmanager
def opened(place: str) -> Generator[Any]:
    """A local path as a `Path`, an object as an open file that is read by ranges."""
    if not is_remote(place):
        yield Path(place)
        return
    with remote_system(place) as (system, path), system.open(path, "rb") as file:
        yield file


@contextmanager
def local_copy(place: str) -> Generator[Path]:
    """A path that holds what stands at ``place``: itself, or a copy for as long as it is used."""
    if not is_remote(place):
        yield Path(place)
        return
    with scratch_folder() as folder:
        copy = folder / place.rpartition("/")[2]
        with reading(place, "remote"), opened(place) as file, copy.open("wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
        yield copy
