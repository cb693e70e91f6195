"""What people decided about versions: the audit log of a name, which policies count."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal, get_args

from pydantic import Field

from isthmus.errors import InputError
from isthmus.registry.aliases import checked_name
from isthmus.registry.chained_log import ChainedLog, Logged
from isthmus.registry.storage import Storage
from isthmus.registry.version import Digest

__all__ = [
    "DECISIONS",
    "Review",
    "ReviewDecision",
    "checked_decision",
    "person",
    "reviewed_names",
    "reviews_of",
    "standing",
]

ReviewDecision = Literal["approve", "reject", "request changes"]
DECISIONS: tuple[ReviewDecision, ...] = get_args(ReviewDecision)
_HEADS = "reviews"


class Review(Logged):
    """What one person decided about a version.

    Example:
        >>> from pathlib import Path
        >>> import numpy as np
        >>> from isthmus import artefact
        >>> from isthmus.registry import Registry
        >>> registry = Registry.open(Path("reviewed"), create=True)
        >>> artefact.write(Path("mean"), "table of means", {}, {"mean": np.ones(3)})
        >>> entry = registry.publish(Path("mean"), "means")
        >>> review = registry.approve("means", entry.version, by="ann", reason="I looked")
        >>> review.decision, review.by
        ('approve', 'ann')
    """

    format: Annotated[int, Field(ge=1, le=1)] = 1
    name: str
    version: Digest
    decision: ReviewDecision
    reason: Annotated[str, Field(max_length=4000)]
    at: Annotated[str, Field(max_length=40)]
    """When, in UTC."""
    by: Annotated[str, Field(min_length=1, max_length=200, pattern=r"\S")]
    """The name that was stated; who may write to the registry can state any."""


def reviews_of(storage: Storage, name: str) -> ChainedLog[Review]:
    """The audit log of a name."""
    return ChainedLog(
        storage,
        Review,
        f"{_HEADS}/{checked_name(name)}",
        f"audit/{name}",
        f"{storage.url}: reviews of {name}",
    )


def reviewed_names(storage: Storage) -> list[str]:
    """The names that something was decided about."""
    keys = [item.key.split("/") for item in storage.list(_HEADS)]
    return [key[1] for key in keys if len(key) == 2 and re.fullmatch(r"[a-z0-9._-]+", key[1])]


def standing(reviews: Iterable[Review], version: str) -> dict[str, Review]:
    """What everybody decided last about a version, by person.

    Args:
        reviews: the newest first.
        version: its digest.

    Example:
        >>> from isthmus.registry import Review, standing
        >>> said = dict(name="docs", version="1" * 64, at="2026-01-31T12:00:00Z", before=None)
        >>> newest = Review(sequence=2, decision="approve", reason="mended", by="Ann", **said)
        >>> oldest = Review(sequence=1, decision="reject", reason="too slow", by="ann", **said)
        >>> [review.decision for review in standing([newest, oldest], "1" * 64).values()]
        ['approve']
    """
    found = dict[str, Review]()
    for review in reviews:
        if review.version == version:
            found.setdefault(person(review.by), review)
    return found


def person(name: str) -> str:
    """Who is meant by a name, however it is spaced and written."""
    return " ".join(name.split()).casefold()


def checked_decision(decision: str) -> ReviewDecision:
    """The decision, if it is one.

    Raises:
        InputError: for any other text.
    """
    for known in DECISIONS:
        if known == decision:
            return known
    raise InputError(
        f"'{decision[:80]}' is no decision", mend=f"The decisions are: {', '.join(DECISIONS)}"
    )
