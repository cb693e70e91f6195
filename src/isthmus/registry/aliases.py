"""Aliases of versions, such as ``production``: moved by compare-and-set, with a log of all moves.

An alias holds the newest entry of its log; see `isthmus.registry.chained_log`.
"""

from __future__ import annotations

import getpass
import logging
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import Field

from isthmus.errors import InputError
from isthmus.registry.chained_log import ChainedLog, Logged
from isthmus.registry.documents import Document
from isthmus.registry.storage import Storage
from isthmus.registry.version import Digest

__all__ = [
    "Action",
    "Alias",
    "AliasTarget",
    "Entry",
    "Found",
    "Judged",
    "checked_name",
    "known_aliases",
    "now",
    "this_user",
]

log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,126}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z0-9](?:[a-z0-9_-]{0,62}[a-z0-9])?")
_LONGEST = 400  # characters of a condition, and of what was found

Action = Literal["publish", "promote", "rollback"]


class Found(Document):
    """One condition of a policy, and what decided whether it holds.

    Example:
        >>> from isthmus.registry import Found
        >>> Found.of("retention >= 0.95", True, "0.99 [0.97, 1.01]").passed
        True
    """

    condition: Annotated[str, Field(max_length=_LONGEST)]
    passed: bool
    found: Annotated[str, Field(max_length=_LONGEST)]

    @classmethod
    def of(cls, condition: str, passed: bool, found: str) -> Self:
        """What was found, in texts that are cut where they are long."""
        return cls(condition=condition[:_LONGEST], passed=passed, found=found[:_LONGEST])


class Judged(Document):
    """What a policy said of a version before an alias moved to it.

    Example:
        >>> from isthmus.registry import Found, Judged
        >>> found = (Found.of("signed", False, "by nobody who is trusted"),)
        >>> judged = Judged(
        ...     policy="0" * 64, stage="production", version="1" * 64, share=None, conditions=found
        ... )
        >>> judged.passed
        False
    """

    policy: Digest
    """SHA-256 of the policy's file."""
    stage: Annotated[str, Field(max_length=80)]
    version: Digest
    share: Annotated[float, Field(gt=0, le=1)] | None
    """The share of the traffic that the stage serves."""
    conditions: Annotated[tuple[Found, ...], Field(max_length=64)]

    @property
    def passed(self) -> bool:
        """Whether every condition holds."""
        return all(condition.passed for condition in self.conditions)


class Entry(Logged):
    """One move of an alias.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Registry
        >>> registry = Registry.open(Path("moves"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> entry = registry.publish(Path("mean"), "means", note="first")
        >>> entry.action, entry.sequence, entry.note
        ('publish', 1, 'first')
    """

    format: Annotated[int, Field(ge=1, le=1)] = 1
    name: str
    alias: str
    action: Action
    version: Digest
    at: Annotated[str, Field(max_length=40)]
    """When, in UTC."""
    by: Annotated[str, Field(max_length=200)]
    note: Annotated[str, Field(max_length=4000)]
    under: Digest | None
    """The entry that a rollback goes back to."""
    judged: Judged | None
    """What let it move, where a policy was asked."""


@dataclass(frozen=True)
class AliasTarget:
    """Where an alias is to move."""

    version: Digest
    action: Action
    under: Digest | None
    by: str
    note: str
    judged: Judged | None = None


class Alias:
    """One alias of one name."""

    def __init__(self, storage: Storage, name: str, alias: str) -> None:
        self.name, self.alias = checked_name(name), checked_alias(alias)
        self.where = f"{storage.url}: {name}@{alias}"
        self._log = ChainedLog(
            storage, Entry, f"refs/{name}/{alias}", f"logs/{name}/{alias}", self.where
        )

    def current(self) -> Entry | None:
        """The newest entry; None for an alias that never was moved.

        Raises:
            InputError: if it is damaged.
        """
        entry = self._log.current()
        return None if entry is None else self._own(entry)

    def entry(self, digest: str) -> Entry:
        """The entry of the log with this digest.

        Raises:
            InputError: if it is missing or damaged.
        """
        return self._own(self._log.entry(digest))

    def log(self) -> Iterator[Entry]:
        """All its moves, the newest first.

        Raises:
            InputError: at the first that is missing or damaged.
        """
        return map(self._own, self._log.newest_first())

    def key(self, entry: Entry) -> str:
        """Where an entry of the log stands."""
        return self._log.key(entry.digest)

    def move(self, decide: Callable[[Entry | None], AliasTarget | None]) -> Entry:
        """Move it to what ``decide`` says of its newest entry, which may have to be asked again.

        Returns:
            The newest entry: the one that was written, or the one there was where ``decide`` says
            None.

        Raises:
            RegistryError: if others are quicker every time.
        """

        def following(current: Entry | None) -> Entry | None:
            target = decide(None if current is None else self._own(current))
            return None if target is None else self._following(current, target)

        written = self._log.append(following)
        log.debug("%s@%s: entry %d, %s", self.name, self.alias, written.sequence, written.action)
        return written

    def _following(self, current: Entry | None, target: AliasTarget) -> Entry:
        return Entry(
            name=self.name,
            alias=self.alias,
            sequence=1 if current is None else current.sequence + 1,
            action=target.action,
            version=target.version,
            at=now(),
            by=target.by,
            note=target.note,
            before=None if current is None else current.digest,
            under=target.under,
            judged=target.judged,
        )

    def _own(self, entry: Entry) -> Entry:
        if (entry.name, entry.alias) != (self.name, self.alias):
            raise InputError(
                f"its entry is that of {entry.name[:80]}@{entry.alias[:80]}", where=self.where
            )
        return entry


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
    """Who acts where nobody is named: ``ISTHMUS_USER``, or the system's user."""
    named = os.environ.get("ISTHMUS_USER")
    if named:
        return named
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return f"user {os.getuid()}" if hasattr(os, "getuid") else "unknown"


def now() -> str:
    """The time in UTC, as documents state it."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
