"""A boundary that enforces a contract: faulty rows are rejected, flagged or repaired, never silent.

`enforce` looks at one array; `Guard` stands in front of an encoder or a stream of batches and
keeps count of what it met.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, ParamSpec, cast, overload

import numpy as np

from isthmus.errors import ContractError
from isthmus.locks import ForkLock
from isthmus.numeric import Array
from isthmus.spaces.contract import FaultMode, Response, Space
from isthmus.spaces.enforce import MEND, Checked, FaultyRows, enforce
from isthmus.spaces.row_checks import check_vectors

__all__ = [
    "Checked",
    "FaultyRows",
    "Guard",
    "Report",
    "Tally",
    "check_vectors",
    "enforce",
]

_P = ParamSpec("_P")


@dataclass(frozen=True)
class Tally:
    """How often one fault was let through."""

    fault: FaultMode
    response: Response
    count: int
    first_row: int
    """Number of the first such row in the array, stream or call that it was met in."""
    detail: str
    """What was wrong with that row."""

    def __str__(self) -> str:
        verb = "flagged" if self.response == "flag" else "repaired"
        return f"{verb} {self.count} ({self.fault}): first, row {self.first_row} {self.detail}"


@dataclass(frozen=True)
class Report:
    """What a guard has met so far."""

    rows: int
    """Rows that were let through."""
    tallies: tuple[Tally, ...]
    """Faults that were flagged or repaired; those rejected raised an error."""

    @property
    def clean(self) -> bool:
        """Whether nothing was flagged or repaired."""
        return not self.tallies

    def __str__(self) -> str:
        faults = [str(tally) for tally in self.tallies] or ["nothing was wrong"]
        return f"{self.rows} rows: " + "; ".join(faults)


class Guard:
    """Holds whatever passes through it against a contract, and keeps count.

    ``guard(encode)`` wraps a callable, ``guard(array)`` checks an array and hands it on, and
    ``guard(batches)`` wraps an iterable of arrays, as re-iterable as that is.  Lists of numbers,
    as HTTP clients return them, become arrays of the contract's dtype.  `report` tells what was
    flagged or repaired; `check` answers for one array with its rows.  Safe to share by threads.

    Args:
        space: the contract.
        where: what is guarded, for messages; the name of the space if None.

    Example:
        >>> space = Space(name="docs", dim=2, metric="dot", normalised=True)
        >>> guard = Guard(space.revise(faults={"not_normalised": "repair"}))
        >>> [f"{value:.1f}" for value in guard(np.array([[3.0, 4.0]], dtype=np.float32))[0]]
        ['0.6', '0.8']
        >>> guard.report.tallies[0].fault, guard.report.tallies[0].response
        ('not_normalised', 'repair')
    """

    def __init__(self, space: Space, *, where: str | None = None) -> None:
        self.space = space
        self.where = where
        self._lock = ForkLock()
        self._rows = 0
        self._tallies: dict[tuple[FaultMode, Response], Tally] = {}

    @property
    def report(self) -> Report:
        """The faults that were counted since the guard was made."""
        with self._lock:
            return Report(self._rows, tuple(self._tallies.values()))

    def check(self, x: Any, *, first_row: int = 0) -> Checked:
        """As `enforce`, counted in `report`.

        Raises:
            ContractError: as `enforce`.
        """
        where = self.where or f"space {self.space.name} {self.space.version}"
        array = _as_array(x, self.space, where, first_row)
        checked = enforce(array, self.space, first_row=first_row, where=where)
        with self._lock:
            self._rows += int(array.shape[0])
            for faulty in checked.faults:
                key = faulty.fault, faulty.response
                known = self._tallies.get(key)
                self._tallies[key] = Tally(
                    *key,
                    count=faulty.count + (known.count if known else 0),
                    first_row=known.first_row if known else faulty.first_row,
                    detail=known.detail if known else faulty.detail,
                )
        return checked

    @overload
    def __call__(self, source: Callable[_P, Any]) -> Callable[_P, Array]: ...
    @overload
    def __call__(self, source: Iterable[Any]) -> Any: ...
    def __call__(self, source: Any) -> Any:
        """``source`` under guard: an array, a callable that returns one, or an iterable of them.

        Raises:
            ContractError: at once for an array; for a callable or an iterable when vectors come
                out of it.  A callable must also return as many rows as its first argument, a
                list or tuple, has items.
        """
        if hasattr(source, "dtype") and hasattr(source, "shape"):
            return self.check(source).vectors
        if callable(source):
            return self._around(cast(Callable[..., Any], source))
        if isinstance(source, Iterable):
            return _GuardedBatches(self, cast(Iterable[Any], source))
        raise TypeError(
            f"a guard takes an array, a callable or an iterable of arrays, "
            f"not {type(source).__name__}"
        )

    def _around(self, encode: Callable[..., Any]) -> Callable[..., Array]:
        def guarded(*args: Any, **kwargs: Any) -> Array:
            vectors = self.check(encode(*args, **kwargs)).vectors
            items = args[0] if args else None
            if isinstance(items, (list, tuple)):
                expected = len(cast(Sized, items))
                if vectors.shape[0] != expected:
                    raise ContractError(
                        f"{vectors.shape[0]} vectors came back for {expected} items",
                        where=self.where or f"space {self.space.name} {self.space.version}",
                        mend="The encoder must return one row for each item, in their order",
                    )
            return vectors

        functools.update_wrapper(guarded, encode)
        return guarded


class _GuardedBatches:
    """Batches that are checked as they are drawn, with rows numbered through the stream."""

    def __init__(self, guard: Guard, batches: Iterable[Any]) -> None:
        self._guard, self._batches = guard, batches

    def __iter__(self) -> Iterator[Array]:
        first_row = 0
        for batch in self._batches:
            vectors = self._guard.check(batch, first_row=first_row).vectors
            yield vectors
            first_row += int(vectors.shape[0])


def _as_array(x: Any, space: Space, where: str, first_row: int) -> Array:
    """``x`` itself if an array; nested lists of numbers in the dtype of the contract."""
    if hasattr(x, "dtype") and hasattr(x, "shape"):
        return x
    try:
        array = np.asarray(x)
    except ValueError:  # ragged
        widths = [len(row) if isinstance(row, Sized) else 0 for row in x]
        bad = next((i for i, width in enumerate(widths) if width != space.dim), 0)
        raise ContractError(
            f"the row has {widths[bad]} components, expected {space.dim}",
            where=f"{where}, row {first_row + bad}",
            mend=MEND["wrong_width"],
        ) from None
    if len(x) == 0:
        return np.empty((0, space.dim), dtype=space.dtype)
    listed = not hasattr(x[0], "dtype")  # rows that are arrays have a dtype to be judged by
    if not listed or array.dtype.kind not in "iuf":
        return array
    with np.errstate(over="ignore"):  # what does not fit becomes infinite, and a fault as such
        return array.astype(space.dtype)
