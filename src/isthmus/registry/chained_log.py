"""An append-only log in a storage: each entry states the digest of the one before it.

The head holds the newest entry and moves by compare-and-set; an entry is written under its digest
before the head moves.  So the log cannot be rewritten without a trace, and the head never points to
what is not there.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

from pydantic import Field

from isthmus.errors import InputError, RegistryError
from isthmus.registry.documents import MOST_BYTES, Document
from isthmus.registry.storage import Storage
from isthmus.registry.version import Digest

__all__ = ["ChainedLog", "Logged"]

_TRIES = 1000
_LONGEST_PAUSE = 5.0


class Logged(Document):
    """An entry of a log."""

    sequence: Annotated[int, Field(ge=1)]
    before: Digest | None
    """The entry before it."""


_Entry = TypeVar("_Entry", bound=Logged)


@dataclass(frozen=True)
class ChainedLog(Generic[_Entry]):
    """The log whose newest entry stands under ``head``, and all entries in the folder ``entries``.

    Raises, wherever it reads:
        InputError: for what is missing or damaged.
    """

    storage: Storage
    kind: type[_Entry]
    """The class of its entries."""
    head: str
    entries: str
    where: str
    """What messages call it."""

    def current(self) -> _Entry | None:
        """The newest entry; None where nothing was written."""
        held = self.storage.get(self.head, MOST_BYTES)
        return None if held is None else self.kind.parsed(held.content, self.where)

    def entry(self, digest: str) -> _Entry:
        """The entry with this digest."""
        place = f"{self.storage.url}/{self.key(digest)}"
        held = self.storage.get(self.key(digest), MOST_BYTES)
        if held is None:
            raise InputError("an entry of the log is missing", where=place)
        entry = self.kind.parsed(held.content, self.where)
        if entry.digest != digest:
            raise InputError("an entry of the log was changed after it was written", where=place)
        return entry

    def newest_first(self) -> Iterator[_Entry]:
        """All entries."""
        entry = self.current()
        if entry is not None:
            # the head itself holds the newest; that the log has it too is checked on the way
            entry = self.entry(entry.digest)
        while entry is not None:
            yield entry
            if entry.before is None:
                if entry.sequence != 1:
                    raise InputError(
                        "the log does not go back to its first entry", where=self.where
                    )
                return
            former = self.entry(entry.before)
            if former.sequence != entry.sequence - 1:
                raise InputError("the log's entries are not numbered in turn", where=self.where)
            entry = former

    def append(self, following: Callable[[_Entry | None], _Entry | None]) -> _Entry:
        """Write what ``following`` says of the newest entry, which may have to be asked again.

        Returns:
            The newest entry: the one that was written, or the one there was where ``following``
            says None.

        Raises:
            RegistryError: if others are quicker every time.
        """
        mine = set[str]()
        seen = 0
        for attempt in range(_TRIES):
            started = time.monotonic()
            with self.storage.exclusive():
                held = self.storage.get(self.head, MOST_BYTES)
                current = None if held is None else self.kind.parsed(held.content, self.where)
                written = self._found(mine, current, seen)
                if written is not None:
                    return written
                seen = 0 if current is None else current.sequence
                entry = following(current)
                if entry is None:
                    assert current is not None
                    return current
                self.storage.put(self.key(entry.digest), entry.content)
                if self.storage.swap(self.head, None if held is None else held.tag, entry.content):
                    return entry
                mine.add(entry.digest)
            # others are as quick: what many do at once is spread over as long as it took, then
            # over twice that
            took = time.monotonic() - started
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, took * 2 ** min(attempt, 5))))
        raise RegistryError(
            "others wrote to it every time it was tried", where=self.where, mend="Try again"
        )

    def key(self, digest: str) -> str:
        """Where the entry with this digest stands."""
        return f"{self.entries}/{digest}"

    def _found(self, mine: set[str], current: _Entry | None, seen: int) -> _Entry | None:
        """The one of these entries that the log holds: a server's answer may have been lost.

        Only those after number ``seen`` are looked at: the head had that one when it was read last,
        and what was written over an older head is refused.
        """
        while mine and current is not None and current.sequence > seen:
            if current.digest in mine:
                return current
            current = None if current.before is None else self.entry(current.before)
        return None
