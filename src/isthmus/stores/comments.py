"""What isthmus notes in the comments that a database keeps of its tables, columns and views."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["MARK", "mark_of", "marked"]

MARK = "isthmus:"
"""How such a comment begins."""


def marked(what: Mapping[str, str]) -> str:
    """The comment that isthmus leaves on what it made.

    Example:
        >>> mark_of(marked({"metric": "l2"}))
        {'metric': 'l2'}
    """
    return MARK + json.dumps(what, sort_keys=True)


def mark_of(comment: str | None) -> dict[str, str]:
    """What isthmus left in a comment; empty for comments of others."""
    if not comment or not comment.startswith(MARK):
        return {}
    try:
        return json.loads(comment[len(MARK) :])
    except ValueError:
        return {}
