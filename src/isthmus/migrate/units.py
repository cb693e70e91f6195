"""Times and sizes of a plan as people read them, in a terminal and on a page alike."""

from __future__ import annotations

__all__ = ["bytes_in_words", "hours_in_words"]


def hours_in_words(hours: float) -> str:
    """A time in the unit that suits it."""
    seconds = 3600 * hours
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{hours:.1f} h"


def bytes_in_words(number: int) -> str:
    """A size in the unit that suits it, by thousands."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number = round(number / 1000)
    return f"{number:,} TB"
