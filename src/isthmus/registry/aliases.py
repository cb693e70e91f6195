"""Aliases of versions, such as ``production``: moved by compare-and-set, with a log of all moves.

An alias holds its newest entry.  An entry states the digest of the one before it, which was written
under that digest before the alias moved; so the log cannot be rewritten without a trace, and an
alias never points to what is not there.
"""

from __future__ import annotations

import getpass
import os
import random
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import Field

from isthmus.errors import InputError, RegistryError
from isthmus.registry.documents import MOST_BYTES, Document
from isthmus.registry.storage import Storage
from isthmus.registry.version import Digest

__all__ = ["Action", "Alias", "Entry", "Target", "checked_name", "known_aliases", "this_user"]

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_TRIES = 1000
_LONGEST_PAUSE = 0.5

Action = Literal["publish", "promote", "rollback"]


class Entry(Document):
    """One move of an alias."""

    format: Annotated[int, Field(ge=1, le=1)] = 1
    name: str
    alias: str
    sequence: Annotated[int, Field(ge=1)]
    action: Action
    version: Digest
    at: Annotated[str, Field(max_length=40)]
    """When, in UTC."""
    by: Annotated[str, Field(max_length=200)]
    note: Annotated[str, Field(max_length=4000)]
    before: Digest | None
    """The entry before it."""
    under: Digest | None
    """The entry that a rollback goes back to."""


class Target(Document):
    """Where an alias is to move."""

    version: Digest
    action: Action
    under: Digest | None
    by: str
    note: str


class Alias:
    """One alias of one name."""

    def __init__(self, storage: Storage, name: str, alias: str) -> None:
        self._storage = storage
        self.name, self.alias = checked_name(name), checked_alias(alias)
        self._key = f"refs/{name}/{alias}"
        self.where = f"{storage.url}: {name}@{alias}"

    def current(self) -> Entry | None:
        """The newest entry; None for an alias that never was moved.

        Raises:
            InputError: if it is damaged.
        """
        held = self._storage.get(self._key, MOST_BYTES)
        return None if held is None else self._parsed(held.content)

    def entry(self, digest: str) -> Entry:
        """The entry of the log with this digest.

        Raises:
            InputError: if it is missing or damaged.
        """
        key = self._log_key(digest)
        held = self._storage.get(key, MOST_BYTES)
        if held is None:
            raise InputError("an entry of the log is missing", where=f"{self._storage.url}/{key}")
        entry = self._parsed(held.content)
        if entry.digest != digest:
            raise InputError(
                "an entry of the log was changed after it was written",
                where=f"{self._storage.url}/{key}",
            )
        return entry

    def log(self) -> Iterator[Entry]:
        """All its moves, the newest first.

        Raises:
            InputError: at the first that is missing or damaged.
        """
        entry = self.current()
        if entry is not None:
            # the alias itself holds the newest; that the log has it too is checked on the way
            entry = self.entry(entry.digest)
        while entry is not None:
            yield entry
            if entry.before is None:
                if entry.sequence != 1:
                    raise InputError("the log does not go back to its first move", where=self.where)
                return
            former = self.entry(entry.before)
            if former.sequence != entry.sequence - 1:
                raise InputError("the log's moves are not numbered in turn", where=self.where)
            entry = former

    def move(self, decide: Callable[[Entry | None], Target | None]) -> Entry:
        """Move it to what ``decide`` says of its newest entry, which may have to be asked again.

        Returns:
            The newest entry: the one that was written, or the one there was where ``decide`` says
            None.

        Raises:
            RegistryError: if others are quicker every time.
        """
        mine: list[Entry] = []
        for attempt in range(_TRIES):
            with self._storage.exclusive():
                held = self._storage.get(self._key, MOST_BYTES)
                current = None if held is None else self._parsed(held.content)
                written = self._found(mine, current)
                if written is not None:
                    return written
                target = decide(current)
                if target is None:
                    assert current is not None
                    return current
                entry = self._following(current, target)
                self._storage.put(self._log_key(entry.digest), entry.content)
                if self._storage.swap(self._key, None if held is None else held.tag, entry.content):
                    return entry
                mine.append(entry)
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE, 0.02 * 2 ** min(attempt, 5))))
        raise RegistryError(
            "others moved it every time it was tried", where=self.where, mend="Try again"
        )

    def _found(self, mine: list[Entry], current: Entry | None) -> Entry | None:
        """The one of these entries that the log holds: a server's answer may have been lost."""
        tried = {entry.digest: entry for entry in mine}
        oldest = min((entry.sequence for entry in mine), default=0)
        while tried and current is not None and current.sequence >= oldest:
            if current.digest in tried:
                return current
            current = None if current.before is None else self.entry(current.before)
        return None

    def _following(self, current: Entry | None, target: Target) -> Entry:
        return Entry(
            name=self.name,
            alias=self.alias,
            sequence=1 if current is None else current.sequence + 1,
            action=target.action,
            version=target.version,
            at=datetime.now(UTC).isoformat(timespec="microseconds"),
            by=target.by,
            note=target.note,
            before=None if current is None else current.digest,
            under=target.under,
        )

    def _parsed(self, content: bytes) -> Entry:
        entry = Entry.parsed(content, self.where)
        if (entry.name, entry.alias) != (self.name, self.alias):
            raise InputError(
                f"its entry is that of {entry.name[:80]}@{entry.alias[:80]}", where=self.where
            )
        return entry

    def _log_key(self, digest: str) -> str:
        return f"logs/{self.name}/{self.alias}/{digest}"


def checked_name(name: str) -> str:
    """The name of an artefact, if it is one.

    Raises:
        InputError: for one that is no plain name.
    """
    if _NAME.fullmatch(name) is None or ".." in name or ".partial-" in name:
        raise InputError(
            "this is no name of an artefact",
            where=repr(name[:80]),
            mend="Use small letters, digits and . _ - between them, such as 'docs.new-to-old'",
        )
    return name


def checked_alias(alias: str) -> str:
    """The alias, if it is one.

    Raises:
        InputError: for one that is no plain name.
    """
    if _ALIAS.fullmatch(alias) is None:
        raise InputError(
            "this is no alias",
            where=repr(alias[:80]),
            mend="Use small letters, digits and _ - between them, such as 'production'",
        )
    return alias


def known_aliases(storage: Storage, name: str | None = None) -> list[Alias]:
    """The aliases of a name, or of all names, in order; a key that is none is passed over."""
    prefix = "refs" if name is None else f"refs/{checked_name(name)}"
    found: list[Alias] = []
    for item in storage.list(prefix):
        parts = item.key.split("/")
        if len(parts) == 3 and _NAME.fullmatch(parts[1]) and _ALIAS.fullmatch(parts[2]):
            found.append(Alias(storage, parts[1], parts[2]))
    return found


def this_user() -> str:
    """Who moves an alias where nobody is named: ``ISTHMUS_USER``, or the system's user."""
    named = os.environ.get("ISTHMUS_USER")
    if named:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"
