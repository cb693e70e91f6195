"""The record of a migration: append-only, hash-chained, kept at the store, mirrored by the plan.

Every step is written before it is taken and again once it is done, so that whoever finds the store
after a crash knows what may have happened.  Nothing rests on the clock: times are for people.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from isthmus.errors import StoreChangedError
from isthmus.files import canonical_json
from isthmus.json_text import read_json
from isthmus.stores.ledger import FileLedger, Ledger

__all__ = ["Event", "Journal", "JournalLine", "State"]

log = logging.getLogger(__name__)

Event = Literal["begin", "done", "note"]
"""A state is about to be made, was made; or something happened inside one."""


class State(StrEnum):
    """Where a migration stands, in the order of its life.

    Example:
        >>> from isthmus.migrate import State
        >>> State("cut over") is State.CUT_OVER
        True
    """

    PLANNED = "planned"
    PREPARED = "prepared"
    """The second column and the alias are there; the old vectors were summed up."""
    BRIDGING = "bridging"
    """New queries are served from old vectors by the bridge."""
    FILLING = "filling"
    """New vectors are put; both columns are searched as one index."""
    FULL = "full"
    """Every item has its new vector."""
    CUT_OVER = "cut over"
    """The alias stands for the new vectors; the old ones are still there."""
    CLEANED = "cleaned"
    """The old vectors may go: there is no way back."""
    ROLLED_BACK = "rolled back"
    """The alias stands for the old vectors again."""


@dataclass(frozen=True)
class JournalLine:
    """One line of a journal."""

    number: int
    event: Event
    state: State
    plan: str
    """Digest of the plan that is carried out."""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    at: str = ""

    def text(self, before: str) -> str:
        """The line, chained to the digest of the line ``before``."""
        body: dict[str, Any] = {
            "number": self.number,
            "event": self.event,
            "state": self.state.value,
            "plan": self.plan,
            "data": dict(self.data),
            "at": self.at,
            "before": before,
        }
        return canonical_json({**body, "digest": _digest(body)}).strip().replace("\n", "")


def _digest(body: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


class Journal:
    """The journal of the migrations of one collection; the last one counts.

    Args:
        ledger: at the store.
        mirror: a file on this machine with the same lines; None to keep none.  Reading leaves it
            as it is: whoever only looks does not become one of those who keep the journal.

    Raises:
        StoreChangedError: if a line does not follow from those before it, or the mirror differs.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.migrate import Journal
        >>> from isthmus.stores import open_store
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     print(Journal(store.ledger("journal")).state)  # plan.json was made and not begun
        None
    """

    def __init__(self, ledger: Ledger, mirror: Path | None = None) -> None:
        self._ledger = ledger
        self._mirror = None if mirror is None else FileLedger(mirror)
        self._last = ""
        self.entries: list[JournalLine] = []
        lines: list[str] = []
        for line in ledger.read():
            entry, self._last = _checked(line, len(self.entries), self._last, ledger.where)
            self.entries.append(entry)
            lines.append(line)
        self._newest = lines[-1:]
        self._kept = 0 if self._mirror is None else self._checked_mirror(self._mirror, lines)
        self._unkept = lines[self._kept :]

    def _checked_mirror(self, mirror: FileLedger, lines: list[str]) -> int:
        """The lines that a mirror holds, if they are the beginning."""
        kept = list(mirror.read())
        if kept == lines[: len(kept)]:
            return len(kept)
        same = next(
            (i for i, (a, b) in enumerate(zip(kept, lines, strict=False)) if a != b),
            min(len(kept), len(lines)),
        )
        raise StoreChangedError(
            f"the journal at the store is not the one that was kept here: they part at entry "
            f"{same:,}",
            where=self._ledger.where,
            mend="Name the store that this copy is of with --store; if this one was restored and "
            f"is to stay so, remove {mirror.where} and look at isthmus migrate status",
        )

    def _follow(self) -> None:
        """Bring the mirror up to date, if there is one."""
        if self._mirror is None:
            return
        for line in self._unkept:
            self._mirror.append(self._kept, line)
            self._kept += 1
        self._unkept = []

    @property
    def where(self) -> str:
        """Where it is kept."""
        return self._ledger.where

    @property
    def mine(self) -> list[JournalLine]:
        """The entries of the last migration."""
        starts = [e.number for e in self.entries if (e.event, e.state) == ("begin", State.PLANNED)]
        return self.entries[starts[-1] :] if starts else []

    @property
    def kept_here(self) -> bool:
        """Whether the last migration was written about from here: the mirror has a part of it."""
        mine = self.mine
        return bool(mine) and self._kept > mine[0].number

    @property
    def plan(self) -> str | None:
        """Digest of the plan of the last migration; None if there was none."""
        return self.mine[0].plan if self.mine else None

    @property
    def state(self) -> State | None:
        """The last state that was reached."""
        return next((e.state for e in reversed(self.mine) if e.event == "done"), None)

    @property
    def begun(self) -> State | None:
        """The state that was begun and not reached; None if none was."""
        last = next((e for e in reversed(self.mine) if e.event != "note"), None)
        return last.state if last is not None and last.event == "begin" else None

    def reached(self, state: State) -> bool:
        """Whether the last migration has been in a state."""
        return any(e.event == "done" and e.state == state for e in self.mine)

    def data(self, state: State) -> Mapping[str, Any]:
        """What was recorded when a state was reached last; empty if it was not."""
        found = (e.data for e in reversed(self.mine) if e.event == "done" and e.state == state)
        return next(found, {})

    def notes(self, kind: str) -> Iterator[Mapping[str, Any]]:
        """What was noted under a kind, in order."""
        return (e.data for e in self.mine if e.event == "note" and e.data.get("kind") == kind)

    def write(self, event: Event, state: State, plan: str, **data: Any) -> JournalLine:
        """Append an entry; it is on the disk when this returns.

        Raises:
            StoreChangedError: if another process wrote meanwhile.
        """
        entry = JournalLine(
            len(self.entries), event, state, plan, data, datetime.now(UTC).isoformat("T", "seconds")
        )
        text = entry.text(self._last)
        self._ledger.append(entry.number, text)
        self._last = json.loads(text)["digest"]
        self._newest = [text]
        self.entries.append(entry)
        self._unkept.append(text)
        self._follow()
        log.debug("entry %d: %s %s", entry.number, event, state.value)
        return entry

    def check_still_mine(self) -> None:
        """See that nobody has written to it since: where locks hold nobody back, this does.

        Raises:
            StoreChangedError: if another process has, or the journal is not there any more.
        """
        found = list(self._ledger.read(max(0, len(self.entries) - 1)))
        if found == self._newest:
            return
        homes: list[str] = []
        if found[: len(self._newest)] == self._newest:
            homes = [home for line in found if (home := read_json(line)["data"].get("home"))]
        raise StoreChangedError(
            f"this migration was taken over by {homes[-1]}, and this run has stopped"
            if homes
            else "the journal was written to, or replaced, by another process meanwhile",
            where=self.where,
            mend="Look at isthmus migrate status, and let one process run at a time",
        )

    @contextmanager
    def step(self, state: State, plan: str, **data: Any) -> Generator[dict[str, Any]]:
        """Record a transition before and after it; what is put in the dict is recorded after."""
        self.write("begin", state, plan, **data)
        found: dict[str, Any] = {}
        yield found
        self.write("done", state, plan, **found)


def _checked(line: str, number: int, before: str, where: str) -> tuple[JournalLine, str]:
    """An entry and its digest, if it is the one that follows."""
    edited = StoreChangedError(
        f"the journal was edited: entry {number:,} does not follow from those before it",
        where=where,
        mend="Restore it from the copy beside the plan",
    )
    try:
        body: dict[str, Any] = read_json(line)
        digest = body.pop("digest")
        if digest != _digest(body) or (body["number"], body["before"]) != (number, before):
            raise edited
        entry = JournalLine(
            number, body["event"], State(body["state"]), body["plan"], body["data"], body["at"]
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise edited from error
    return entry, digest
