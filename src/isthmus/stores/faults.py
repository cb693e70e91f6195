"""Faults of a database told in this house's words, without its secrets."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager

from isthmus.errors import (
    IsthmusError,
    StoreError,
    StorePermissionError,
    StoreUnavailableError,
)
from isthmus.plain_text import redacted

__all__ = ["asking", "store_error"]

_DENIED = re.compile(
    r"(?i)permission denied|access denied|not authori[sz]ed|unauthori[sz]ed|forbidden|read-only"
)
_GONE = re.compile(
    r"(?i)refused|not found|no such file|does not exist|timed? ?out|unreachable|disconnected"
    r"|connection|closed|gone|cannot connect|could not connect"
)
_LONGEST = 200


@contextmanager
def asking(
    where: str, told: Callable[[Exception, str], StoreError] | None = None
) -> Generator[None]:
    """Inside, whatever a client raises comes out as a `StoreError` that names ``where``.

    Args:
        where: the store, without any secret.
        told: the error for one that the client raised; by default `store_error`.
    """
    try:
        yield
    except IsthmusError:
        raise
    except Exception as error:
        raise (told or store_error)(error, where) from None


def store_error(error: Exception, where: str) -> StoreError:
    """The error of this house for one that a database's client raised."""
    lines = str(error).strip().splitlines()
    told = redacted(lines[0] if lines else type(error).__name__)
    told = told if len(told) <= _LONGEST else told[:_LONGEST] + "..."
    if isinstance(error, PermissionError) or _DENIED.search(told):
        return StorePermissionError(
            f"this user may not do that ({told})",
            where=where,
            mend="Ask for the right, or open the store as another user",
        )
    if isinstance(error, ConnectionError | TimeoutError | FileNotFoundError) or _GONE.search(told):
        return StoreUnavailableError(
            f"the database does not answer ({told})",
            where=where,
            mend="See whether it runs and can be reached, then try again",
        )
    return StoreError(f"the database refused ({told})", where=where)
