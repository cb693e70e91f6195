"""The seam between a computation and what runs it: two verbs over parts of the data.

A part names rows (a file, some row groups, a key range of a store); the rows themselves are read
where the work is done, and never pass through an engine.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, Self, TypeVar

from isthmus.errors import EngineError, InputError, IsthmusError, ServiceError, StoreError
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread

__all__ = ["LOST", "Engine", "PooledEngine", "attempt", "unsent"]

P = TypeVar("P")
T = TypeVar("T")

_LEAVES = 256
"""Results of a fold that pass to the caller at most, however many parts there are."""
_TRIES = 2
_LOSSES = 6  # a worker may die under innocent parts; one part that kills six is to blame


class Engine(Protocol):
    """What runs functions over parts: processes, threads, Dask or Ray.

    ``fn`` and what it returns must be picklable.  A part whose worker dies, or that fails for a
    reason that may pass, is tried again.  What other parts had finished comes before a failure.

    Raises:
        InputError: of the first part that holds what cannot be used, at once.
        EngineError: for a part that fails twice, naming it, or where the engine itself is gone.

    Example:
        >>> from isthmus.scale import open_engine
        >>> with open_engine("threads:2") as engine:
        ...     sorted(dict(engine.each(["a", "bb"], len)).values())
        [1, 2]
    """

    workers: int

    def each(self, parts: Sequence[P], fn: Callable[[P], T]) -> Iterator[tuple[int, T]]:
        """The place of each part among ``parts`` and what ``fn`` makes of it, as they come."""
        ...

    def fold(
        self,
        parts: Sequence[P],
        fn: Callable[[P], T],
        combine: Callable[[T, T], T],
        *,
        progress: Progress = silent,
    ) -> T:
        """What ``fn`` makes of all ``parts``, joined by ``combine``, which may change its first
        argument.  They are joined in the order of the parts, whatever the order of arrival and
        the number of workers, so that equal parts give equal bits."""
        ...

    def close(self) -> None:
        """Let go of the workers."""
        ...


@dataclass(frozen=True)
class _Done(Generic[T]):
    value: T


@dataclass(frozen=True)
class _Failed:
    error: IsthmusError | None
    text: str
    may_pass: bool


class _Lost:
    """The worker died."""


LOST = _Lost()

Outcome = _Done[Any] | _Failed | _Lost


def attempt(fn: Callable[[Any], Any], part: Any) -> Outcome:
    """Run ``fn`` on a part in a worker, on one BLAS thread; a failure is a value."""
    try:
        with single_thread:
            return _Done(fn(part))
    except (ServiceError, StoreError) as error:
        return _Failed(error, str(error), may_pass=True)
    except IsthmusError as error:
        return _Failed(error, str(error), may_pass=False)
    except Exception as error:
        return _Failed(None, f"{type(error).__name__}: {error}", may_pass=True)


def unsent(error: Exception) -> Outcome:
    """What a call ended with that cannot be sent to a worker, or its result from there."""
    if isinstance(error, IsthmusError):
        return _Failed(error, str(error), may_pass=False)
    return _Failed(None, f"cannot be sent: {type(error).__name__}: {error}", may_pass=True)


class PooledEngine(ABC):
    """Both verbs over a pool that takes calls and says which have finished.

    Attributes:
        workers: calls that run at once.
        ahead: parts in flight a worker, so that none waits for the caller.
        scratch: a folder that every worker sees; None for the temporary folder of this machine.
    """

    workers: int
    ahead = 2
    scratch: Path | None = None
    here = True
    """Whether all workers are on this machine."""

    @abstractmethod
    def _submit(self, fn: Callable[[Any], Any], part: Any) -> Any:
        """Begin ``attempt(fn, part)``; a hashable handle of it."""

    @abstractmethod
    def _finished(self, handles: Collection[Any]) -> Collection[Any]:
        """Wait until some of the calls have finished; which."""

    @abstractmethod
    def _outcome(self, handle: Any) -> Outcome:
        """What a finished call ended with; `LOST` where its worker died."""

    @abstractmethod
    def _cancel(self, handles: Collection[Any]) -> Collection[Any]:
        """Forget calls; those that had to be waited for, or had finished, and have an outcome."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the workers."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def each(self, parts: Sequence[P], fn: Callable[[P], T]) -> Iterator[tuple[int, T]]:
        """As `Engine.each`."""
        waiting = deque(range(len(parts)))
        running: dict[Any, int] = {}
        failures: Counter[int] = Counter()
        losses: Counter[int] = Counter()
        failure: IsthmusError | None = None
        try:
            while failure is None and (waiting or running):
                while waiting and len(running) < self.ahead * self.workers:
                    index = waiting.popleft()
                    running[self._submit(fn, parts[index])] = index
                for handle in self._finished(running):
                    index = running.pop(handle)
                    found = self._outcome(handle)
                    if isinstance(found, _Done):
                        yield index, found.value
                        continue
                    tries = losses if isinstance(found, _Lost) else failures
                    tries[index] += 1
                    failure = failure or _verdict(found, tries[index], parts[index])
                    waiting.appendleft(index)
            if failure is not None:
                # what others finished meanwhile is the caller's, who may have kept it already
                for handle in self._cancel(running):
                    index, found = running.pop(handle), self._outcome(handle)
                    if isinstance(found, _Done):
                        yield index, found.value
                raise failure
        finally:
            self._cancel(running)

    def fold(
        self,
        parts: Sequence[P],
        fn: Callable[[P], T],
        combine: Callable[[T, T], T],
        *,
        progress: Progress = silent,
    ) -> T:
        """As `Engine.fold`."""
        if not parts:
            raise InputError("there is no part to work on")
        size = -(-len(parts) // _LEAVES)
        runs = [_Run(tuple(parts[i : i + size])) for i in range(0, len(parts), size)]
        tree = _Tree(len(runs), combine)
        for done, (index, value) in enumerate(self.each(runs, _Leaf(fn, combine)), 1):
            tree.add(index, value)
            progress("reading parts", done, len(runs))
        return tree.total


def _verdict(found: _Failed | _Lost, tries: int, part: object) -> IsthmusError | None:
    """Why to give up after so many failures of a part; None to try it again."""
    if isinstance(found, _Lost):
        return _gave_up(part, f"{_LOSSES} workers died over it") if tries >= _LOSSES else None
    if not found.may_pass and found.error is not None:
        return found.error
    return found.error or _gave_up(part, found.text) if tries >= _TRIES else None


def _gave_up(part: object, why: str) -> EngineError:
    return EngineError(
        f"this part failed twice ({why})"
        if "died" not in why
        else f"this part was given up: {why}",
        where=str(part),
        mend="Look at it, then run the same command again: what is done stays done",
    )


@dataclass(frozen=True)
class _Run(Generic[P]):
    """Neighbouring parts that one call works through."""

    parts: tuple[P, ...]

    def __str__(self) -> str:
        first, last = str(self.parts[0]), str(self.parts[-1])
        return first if len(self.parts) == 1 else f"{first} … {last}"


@dataclass(frozen=True)
class _Leaf(Generic[P, T]):
    fn: Callable[[P], T]
    combine: Callable[[T, T], T]

    def __call__(self, run: _Run[P]) -> T:
        total = self.fn(run.parts[0])
        for part in run.parts[1:]:
            total = self.combine(total, self.fn(part))
        return total


class _Tree(Generic[T]):
    """Values joined two by two, always the same two, in whatever order they come."""

    def __init__(self, leaves: int, combine: Callable[[T, T], T]) -> None:
        self._leaves, self._combine = leaves, combine
        self._waiting: dict[tuple[int, int], T] = {}

    def add(self, place: int, value: T) -> None:
        level, count = 0, self._leaves
        while count > 1:
            other = place ^ 1
            if other < count:
                if (level, other) not in self._waiting:
                    self._waiting[level, place] = value
                    return
                partner = self._waiting.pop((level, other))
                left, right = (value, partner) if place < other else (partner, value)
                value = self._combine(left, right)
            level, place, count = level + 1, place // 2, -(-count // 2)
        self.total = value
