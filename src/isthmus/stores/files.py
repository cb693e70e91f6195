"""A file of vectors as a store: held in memory maps, searched exactly, replaced whole.

Whatever changes a file writes it anew beside its place and renames it, so a reader sees the old
file or the new one.  That costs as much as the file is long, for every call: put in large batches.
A file that somebody else replaces is read again at the next call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import RLock
from typing import Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError, OutputError, StoreChangedError, StoreUnavailableError
from isthmus.evaluate.scores import Metric
from isthmus.locks import ForkLock
from isthmus.spaces.formats.contents import reading
from isthmus.stores.address import Address
from isthmus.stores.fields import chosen_column
from isthmus.stores.ledger import FileLedger, Ledger
from isthmus.stores.memory import MemoryStore
from isthmus.stores.pointer import POINTERS, Pointers, locked
from isthmus.stores.protocol import BATCH, Collection, Hits, Ids, Rows, ScanBatch
from isthmus.stores.refusals import cannot, unknown_name

__all__ = ["FileKind", "FileStore"]

_Result = TypeVar("_Result")


class FileKind(Protocol):
    """How one format is read into memory and written from it."""

    path: Path
    name: str
    """The name of the format, in messages."""
    writable: bool
    second_column: bool

    def stamp(self) -> object:
        """Something that differs when the file was replaced."""
        ...

    def read(self) -> MemoryStore:
        """Everything the file holds.

        Raises:
            InputError: if it holds what a store cannot.  Whatever else is raised over a damaged
                file, `FileStore` makes one of it.
        """
        ...

    def write(self, held: MemoryStore) -> None:
        """Replace the file by what is held, whole or not at all."""
        ...

    def companions(self) -> list[Path]:
        """The files that belong to this one and stand beside it."""
        ...

    def unit_vectors(self) -> bool:
        """Whether what is put comes back divided by its norm."""
        ...


class FileStore:
    """A file, or a folder of files, as a `Store`."""

    def __init__(self, kind: FileKind, address: Address) -> None:
        self._kind = kind
        self._address = address
        self._url = address.shown
        self._lock = ForkLock(RLock)
        self._held: MemoryStore | None = None
        self._stamp: object = None
        self._named = ".".join(address.parts) or None
        if self._named is not None:
            chosen_column(self._memory().describe().columns, self._named, self._url)

    @classmethod
    def opened(cls, kind: Callable[[Path, Address], FileKind], address: Address) -> FileStore:
        """The file at ``address``; or what an alias beside it stands for.

        Raises:
            InputError: if there is neither.
        """
        path = Path(address.location)
        if not path.exists():
            pointers = Pointers(path.parent / POINTERS)
            target = pointers.get(path.name)
            if target is None:
                near = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
                raise unknown_name("file", path.name, [*near, *pointers.all()], where=address.shown)
            name, _, column = target.partition("#")
            path = path.parent / name
            parts = address.parts or ((column,) if column else ())
            address = replace(address, location=str(path), parts=parts)
        return cls(kind(path, address), address)

    @classmethod
    def made(
        cls,
        kind: Callable[[Path, Address], FileKind],
        address: Address,
        items: tuple[Ids, Mapping[str, NDArray[Any]], Mapping[str, Sequence[Any]]],
        metric: Metric,
    ) -> FileStore:
        """A new file with these items.

        Raises:
            OutputError: if there is something of that name.
        """
        path = Path(address.location)
        if path.exists():
            raise OutputError("it exists already", where=str(path), mend="Choose another name")
        ids, vectors, payload = items
        held = MemoryStore(ids, vectors, payload=payload, metric=metric, name=str(path))
        made = kind(path, address)
        made.write(held)
        return cls(made, replace(address, parts=()))

    def _memory(self) -> MemoryStore:
        """What the file holds now."""
        with self._lock:
            with reading(self._kind.path, self._kind.name):
                try:
                    stamp = self._kind.stamp()
                    if self._held is None or stamp != self._stamp:
                        self._held, self._stamp = self._kind.read(), stamp
                except FileNotFoundError as error:
                    self._held = None
                    raise StoreUnavailableError(
                        "the file is gone", where=self._url, mend="Put it back, or open another"
                    ) from error
            return self._held

    @property
    def url(self) -> str:
        """See `Store.url`."""
        return self._url

    @property
    def column(self) -> str:
        """See `Store.column`."""
        return chosen_column(self._memory().describe().columns, self._named, self._url)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._url!r})"

    def describe(self) -> Collection:
        """See `Store.describe`."""
        found = self._memory().describe()
        kind, unit = self._kind, self._kind.unit_vectors()
        return replace(
            found,
            name=kind.path.name,
            where=self._url,
            columns={
                name: replace(column, stored_normalised=unit and column.metric == "cosine")
                for name, column in found.columns.items()
            },
            capabilities=replace(
                found.capabilities, writable=kind.writable, second_column=kind.second_column
            ),
        )

    def search(
        self, queries: NDArray[Any], k: int, *, column: str, only: Ids | None = None
    ) -> Hits:
        """See `Store.search`; equal scores come in the order of the file."""
        return self._memory().search(queries, k, column=column, only=only)

    def fetch(self, ids: Ids, *, column: str) -> Rows:
        """See `Store.fetch`."""
        return self._memory().fetch(ids, column=column)

    def payload(self, ids: Ids, fields: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """See `Store.payload`."""
        return self._memory().payload(ids, fields)

    def texts(self, ids: Ids) -> list[str | None]:
        """See `Store.texts`."""
        return self._memory().texts(ids)

    def count(self) -> int:
        """See `Store.count`."""
        return self._memory().count()

    def filled(self, column: str) -> int:
        """See `Store.filled`."""
        return self._memory().filled(column)

    def scan(
        self,
        *,
        column: str | None = None,
        fields: Sequence[str] = (),
        after: str | None = None,
        batch: int = BATCH,
    ) -> Iterator[ScanBatch]:
        """See `Store.scan`; in the order of the file, as it is when the scan begins.

        A cursor is the last id; where that item is gone the scan cannot be taken up.
        """
        held = self._memory()
        place = None
        if after is not None:
            ids, _, _ = held.contents()
            value: Any = int(after) if ids.dtype.kind == "i" else after
            found = np.flatnonzero(ids == value)
            if not len(found):
                raise StoreChangedError(
                    f"the item '{after}', where the scan stopped, is gone",
                    where=self._url,
                    mend="Scan it from the beginning",
                )
            place = str(int(found[0]))
        batches = held.scan(column=column, fields=fields, after=place, batch=batch)
        return (replace(one, cursor=str(one.ids[-1])) for one in batches)

    def put(self, ids: Ids, rows: NDArray[Any], *, column: str) -> int:
        """See `Store.put`; the file is written anew."""
        return self._change(lambda held: held.put(ids, rows, column=column))

    def add(
        self,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        """See `Store.add`; the file is written anew."""
        self._change(lambda held: held.add(ids, vectors, payload))

    def delete(self, ids: Ids) -> int:
        """See `Store.delete`; the file is written anew."""
        return self._change(lambda held: held.delete(ids))

    def add_column(self, name: str, dim: int, *, metric: Metric = "cosine") -> None:
        """See `Store.add_column`."""
        if not self._kind.second_column:
            raise cannot(
                "a file of this kind has one vector column",
                self._url,
                "Write the new vectors to a second file, and move an alias to it",
            )
        self._change(lambda held: held.add_column(name, dim, metric=metric))

    def drop_column(self, name: str) -> None:
        """See `Store.drop_column`."""
        if name in self._memory().describe().columns and self._kind.second_column:
            self._change(lambda held: held.drop_column(name))

    def _change(self, change: Callable[[MemoryStore], _Result]) -> _Result:
        """Change what is held and replace the file; if that fails, nothing is changed."""
        if not self._kind.writable:
            raise cannot(
                "files of this kind are only read", self._url, "Copy it to a .parquet file"
            )
        with self._lock, locked(self._kind.path):
            held = self._memory()
            try:
                result = change(held)
                self._kind.write(held)
                # unit vectors are what is held from now on
                self._held = None if self._kind.unit_vectors() else held
                self._stamp = self._kind.stamp()
            except BaseException:
                self._held = None  # read again what the file holds
                raise
            return result

    def alias(self, name: str) -> str | None:
        """See `Store.alias`; a name beside the file, for ``file`` or ``file#column``."""
        return self._pointers().get(name)

    def swap_alias(self, name: str, old: str | None, new: str | None) -> None:
        """See `Store.swap_alias`."""
        if (self._kind.path.parent / name).exists():
            raise InputError(f"'{name}' is the name of a file", where=self._url)
        self._pointers().swap(name, old, new)

    def _pointers(self) -> Pointers:
        return Pointers(self._kind.path.parent / POINTERS)

    # -- beside it -------------------------------------------------------------------------------

    def ledger(self, name: str) -> Ledger:
        """See `Store.ledger`; a file beside this one."""
        path = self._kind.path
        return FileLedger(path.with_name(f"isthmus-{path.name}-{name}"))

    def neighbour(self, name: str) -> FileStore | None:
        """See `isthmus.stores.neighbours.Neighbours`; ``name`` is that of a file."""
        path = self._kind.path.with_name(name)
        return FileStore(self._like(path), self._beside(path)) if path.exists() else None

    def make_neighbour(
        self,
        name: str,
        ids: Ids,
        vectors: Mapping[str, NDArray[Any]],
        payload: Mapping[str, Sequence[Any]],
        metric: Metric,
    ) -> FileStore:
        """See `isthmus.stores.neighbours.Neighbours`."""
        address = self._beside(self._kind.path.with_name(name))
        kind = cast("Callable[[Path, Address], FileKind]", type(self._kind))
        return FileStore.made(kind, address, (ids, vectors, payload), metric)

    def drop_neighbour(self, name: str) -> None:
        """See `isthmus.stores.neighbours.Neighbours`."""
        path = self._kind.path.with_name(name)
        for file in (*self._like(path).companions(), path):
            file.unlink(missing_ok=True)

    def _like(self, path: Path) -> FileKind:
        return cast("Callable[[Path, Address], FileKind]", type(self._kind))(
            path, self._beside(path)
        )

    def _beside(self, path: Path) -> Address:
        raw = f"{self._address.scheme}://{path}"
        return replace(self._address, location=str(path), parts=(), raw=raw)

    def close(self) -> None:
        """See `Store.close`."""
        self._held = None

    def __enter__(self) -> FileStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
