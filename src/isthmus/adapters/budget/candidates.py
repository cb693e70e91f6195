"""The items that may be encoded next: read by blocks, as often as needed, and surveyed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.numeric import to_numpy, unit_rows
from isthmus.progress import Progress
from isthmus.spaces.ids import check_unique, normalise_ids
from isthmus.spaces.row_checks import check_vectors

__all__ = ["Candidates", "is_known", "read_candidates", "survey"]

_BLOCK_ROWS = 8192

PairBatches = Iterable[tuple[NDArray[Any], NDArray[Any]]]


class Candidates:
    """Batches of ids and checked rows, as often as they are needed."""

    def __init__(self, batches: Callable[[], PairBatches], cosine: bool) -> None:
        self._batches, self._cosine = batches, cosine

    def __iter__(self) -> Iterator[tuple[NDArray[Any], NDArray[np.float32]]]:
        width: int | None = None
        done = 0
        metric = "cosine" if self._cosine else "l2"
        for ids, rows in self._batches():
            rows = check_vectors(rows, dim=width, metric=metric, where="vectors", first_row=done)
            width = int(rows.shape[1])
            host = to_numpy(rows)
            ready = unit_rows(host) if self._cosine else host.astype(np.float32, copy=False)
            names = normalise_ids(ids, "ids")
            if len(names) != len(ready):
                raise InputError(
                    f"{len(names)} ids for {len(ready)} vectors", where=f"row {done} and on"
                )
            done += len(ready)
            yield names, ready


def read_candidates(vectors: Any, ids: NDArray[Any] | None, cosine: bool) -> Candidates:
    """Candidates from an array ``(n, d)`` with ``ids (n,)``, or from batches ``(ids, rows)``.

    Raises:
        InputError: for batches that can be read only once, or ids that do not fit or repeat.
    """
    if not hasattr(vectors, "shape"):
        if ids is not None:
            raise InputError("batches carry their own ids", where="ids")
        if isinstance(vectors, Iterator) or not isinstance(vectors, Iterable):
            raise InputError(
                "the candidates are read twice, and this can be read once at most",
                where="vectors",
                mend="Give an array, a memory map, or a list of batches (ids, rows)",
            )
        batches: PairBatches = vectors
        return Candidates(lambda: batches, cosine)
    n = int(vectors.shape[0])
    names = np.arange(n) if ids is None else normalise_ids(ids, "ids")
    if len(names) != n:
        raise InputError(f"{len(names)} ids for {n} vectors", where="ids")
    check_unique(names, lambda row: f"ids, row {row}")

    def blocks() -> PairBatches:
        for start in range(0, n, _BLOCK_ROWS):
            block = slice(start, start + _BLOCK_ROWS)
            yield names[block], vectors[block]

    return Candidates(blocks, cosine)


def survey(
    read: Candidates, known: NDArray[Any] | None, progress: Progress
) -> tuple[Matrix, Matrix, Matrix, tuple[int, int]]:
    """Mean and covariance of all rows, Gram matrix of the known about that mean, and counts."""
    everything: Moments | None = None
    encoded: Moments | None = None
    for ids, rows in read:
        if everything is None or encoded is None:
            keep = {"xx"}
            everything, encoded = (Moments(rows.shape[1], 0, keep=keep) for _ in range(2))
        everything.update(rows, rows[:, :0])
        if known is not None:
            mine = rows[is_known(ids, known)]
            if len(mine):
                encoded.update(mine, mine[:, :0])
        progress("read candidates", everything.rows, None)
    if everything is None or encoded is None or not everything.rows:
        raise InputError("there is no candidate", where="vectors")
    found = encoded.rows
    if known is not None and found != len(known):
        raise InputError(
            f"{found} of the {len(known)} known ids are among the candidates",
            where="already",
            mend="Give the vectors of the known items too, or name those alone that are there",
        )
    mean = everything.mean_x
    gram = np.zeros((len(mean), len(mean)))
    if found:
        apart = encoded.mean_x - mean
        gram = encoded.xx + found * np.multiply.outer(apart, apart)
    covariance = everything.xx / everything.n
    return mean, covariance, gram, (everything.rows - found, found)


def is_known(ids: NDArray[Any], known: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of ``ids (n,)`` are among ``known``.

    Raises:
        InputError: where one side names items by text and the other by number.
    """
    if (ids.dtype.kind == "U") != (known.dtype.kind == "U"):
        raise InputError(
            f"the candidates' ids are {ids.dtype}, those already known {known.dtype}",
            where="already",
            mend="Name items in one way",
        )
    return np.isin(ids, known)
