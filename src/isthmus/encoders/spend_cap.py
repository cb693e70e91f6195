"""A bound on what is sent to a paid service, kept before each call and not after it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from isthmus.errors import InputError, SpendCapError
from isthmus.locks import ForkLock

__all__ = ["Reservation", "SpendCap"]


@dataclass
class Reservation:
    """What one call may come to, held back until the server says what it came to."""

    items: int
    tokens: int


class SpendCap:
    """At most ``max_items`` texts and ``max_tokens`` tokens for all encoders that share this cap.

    A call reserves the most that it can come to, so that the cap is never passed, and gives back
    what it did not use.  Safe to share between threads.

    Args:
        max_items: texts; None for no bound.
        max_tokens: tokens; None for no bound.

    Example:
        >>> cap = SpendCap(max_items=100)
        >>> held = cap.reserve(80, tokens=1000)
        >>> cap.reserve(30, tokens=300) is None, cap
        (True, SpendCap(80 of 100 items, 1,000 of any number of tokens))
    """

    def __init__(self, *, max_items: int | None = None, max_tokens: int | None = None) -> None:
        for parameter, value in (("max_items", max_items), ("max_tokens", max_tokens)):
            if value is not None and value < 0:
                raise InputError(f"{value} is negative", where=parameter, mend="Give 0 or more")
        self.max_items = max_items
        self.max_tokens = max_tokens
        self.items = 0
        """Texts sent, those of running calls included."""
        self.tokens = 0
        """Tokens counted by the server, and reserved for running calls."""
        self._lock = ForkLock()

    def __repr__(self) -> str:
        return (
            f"SpendCap({self.items:,} of {_or_any(self.max_items)} items, "
            f"{self.tokens:,} of {_or_any(self.max_tokens)} tokens)"
        )

    def room(self) -> tuple[float, float]:
        """Items and tokens that may still be reserved; infinity where there is no bound."""
        with self._lock:
            return self._left()

    def reserve(self, items: int, tokens: int) -> Reservation | None:
        """Hold back what a call may come to; None if that would pass the cap."""
        with self._lock:
            free_items, free_tokens = self._left()
            if items > free_items or tokens > free_tokens:
                return None
            self.items += items
            self.tokens += tokens
        return Reservation(items, tokens)

    def repeat(self, reservation: Reservation, tokens: int) -> None:
        """Hold back ``tokens`` once more, for a call that may have been counted and is made again.

        Raises:
            SpendCapError: if that would pass the cap.
        """
        if self.reserve(0, tokens) is None:
            raise self.refusal("the next attempt")
        reservation.tokens += tokens

    def settle(self, reservation: Reservation, tokens: int) -> None:
        """Replace what was reserved by what the calls came to."""
        with self._lock:
            self.tokens += tokens - reservation.tokens
        reservation.tokens = tokens

    def release(self, reservation: Reservation) -> None:
        """Give back what was reserved for a call that was not counted."""
        self.settle(reservation, 0)
        with self._lock:
            self.items -= reservation.items

    def refusal(self, call: str) -> SpendCapError:
        """The error for a ``call`` that would pass the cap."""
        return SpendCapError(
            f"{call} would pass the cap: {self!r}",
            mend="Raise --max-items or --max-tokens and run again: what is encoded already is in "
            "the cache and costs nothing more",
        )

    def _left(self) -> tuple[float, float]:
        return (
            math.inf if self.max_items is None else self.max_items - self.items,
            math.inf if self.max_tokens is None else self.max_tokens - self.tokens,
        )


def _or_any(bound: int | None) -> str:
    return "any number of" if bound is None else f"{bound:,}"
