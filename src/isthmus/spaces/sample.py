"""Batches of paired rows, and bounded samples of them that depend on nothing but ids and a seed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.split import hash_ids

__all__ = ["Batch", "Sampler", "sample_hashes", "sampled", "smallest_hashes"]

_SAMPLE_SEED = 0x5A3F1E  # keeps samples independent of splits and folds under the same seed


@dataclass(frozen=True, eq=False)
class Batch:
    """Some paired rows.

    Attributes:
        ids: ``(n,)`` integers or strings.
        x: ``(n, dim_x)`` source vectors, float32 or float64; may be a read-only view.
        y: ``(n, dim_y)`` target vectors of the same items.
        labels: ``(n,)`` or None.
    """

    ids: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    labels: NDArray[Any] | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def joined(cls, parts: Sequence[Batch]) -> Batch:
        """The rows of several, one behind the other; with labels where all have them."""
        if len(parts) == 1:
            return parts[0]
        labels = [part.labels for part in parts if part.labels is not None]
        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.x for part in parts]),
            np.concatenate([part.y for part in parts]),
            np.concatenate(labels) if len(labels) == len(parts) else None,
        )

    def select(self, rows: NDArray[Any] | slice) -> Batch:
        """The given ``rows``: a mask ``(n,)``, indices, or a slice."""
        labels = None if self.labels is None else self.labels[rows]
        return Batch(self.ids[rows], self.x[rows], self.y[rows], labels)

    def digest(self) -> str:
        """SHA-256 over ids, vectors and labels, in hexadecimal; independent of string widths."""
        found = hashlib.sha256()
        for field in fields(self):
            value: NDArray[Any] | None = getattr(self, field.name)
            if value is None:
                continue
            if value.dtype.kind == "U":
                # null-separated UTF-8: the same bytes whatever the width of the array
                content = "\0".join(value.tolist()).encode()
                found.update(f"{field.name}:text:{value.shape}:{len(content)};".encode())
                found.update(content)
            else:
                value = value.astype(np.int64, copy=False) if value.dtype.kind in "iu" else value
                little = value.astype(value.dtype.newbyteorder("<"), copy=False)
                found.update(f"{field.name}:{little.dtype.str}:{value.shape};".encode())
                found.update(np.ascontiguousarray(little).reshape(-1).view(np.uint8).data)
        return found.hexdigest()


def sample_hashes(ids: NDArray[Any], seed: int) -> NDArray[np.uint64]:
    """The hash of each id ``(n,)`` by which rows are sampled: the smallest are taken."""
    return hash_ids(ids, seed + _SAMPLE_SEED)


def smallest_hashes(ids: NDArray[Any], size: int, seed: int) -> NDArray[np.int64]:
    """The rows of the ``size`` ids ``(n,)`` with the smallest hashes, in the order of the hashes.

    Bottom-k sampling (Cohen and Kaplan 2007): a uniform sample without replacement, the same for
    any order of the rows.
    """
    hashes = sample_hashes(ids, seed)
    if len(ids) > size:
        bound = np.partition(hashes, size - 1)[size - 1]
        rows = np.flatnonzero(hashes <= bound)
    else:
        rows = np.arange(len(ids))
    return rows[np.lexsort((ids[rows], hashes[rows]))][:size]


class Sampler:
    """A uniform sample of at most ``size`` rows of a stream of batches, in bounded memory.

    The rows with the smallest hashes of their ids are kept, so that neither the order of the rows
    nor the size of the batches matters, and two machines' samples merge.  Holds at most
    ``2 * size`` rows and one batch.

    Raises:
        InputError: if ``size`` is not positive.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        if size < 1:
            raise InputError(f"a sample needs at least 1 row, got size={size}")
        self.size = size
        self.seed = seed
        self._kept: list[Batch] = []
        self._rows = 0
        self._bound: np.uint64 | None = None

    def update(self, batch: Batch) -> None:
        """Offer the rows of ``batch``."""
        if self._bound is not None:
            near = sample_hashes(batch.ids, self.seed) <= self._bound
            batch = batch.select(near)
        else:
            batch = batch.select(np.arange(len(batch)))  # a copy: views may be of a mapped file
        if not len(batch):
            return
        self._kept.append(batch)
        self._rows += len(batch)
        if self._rows >= 2 * self.size:
            self._compact()

    def merge(self, other: Sampler) -> None:
        """Offer the rows another sampler kept.

        Raises:
            InputError: if its size or seed differ.
        """
        if (self.size, self.seed) != (other.size, other.seed):
            raise InputError("samples of another size or seed do not join")
        for batch in other._kept:
            self.update(batch)

    def sample(self) -> Batch:
        """The sample so far, in the order of the hashes of the ids.

        Raises:
            InputError: if no row was offered.
        """
        if not self._kept:
            raise InputError("there is no row to sample from")
        self._compact()
        return self._kept[0]

    def _compact(self) -> None:
        whole = Batch.joined(self._kept)
        whole = whole.select(smallest_hashes(whole.ids, self.size, self.seed))
        self._kept, self._rows = [whole], len(whole)
        if len(whole) == self.size:
            self._bound = sample_hashes(whole.ids[-1:], self.seed)[0]


def sampled(batches: Iterable[Batch], size: int, *, seed: int) -> Batch:
    """A uniform sample of at most ``size`` rows of all ``batches``, as `Sampler` keeps it.

    Raises:
        InputError: if there is no row, or ``size`` is not positive.
    """
    sampler = Sampler(size, seed=seed)
    for batch in batches:
        sampler.update(batch)
    return sampler.sample()
