"""Rows among others that seem to come from another model, told where they are used."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from isthmus.spaces.profile import Profile

__all__ = ["LOOKED_AT", "told_strays"]

LOOKED_AT = 2000
"""Rows that are looked at."""
_SHOWN = 3


def told_strays(
    profile: Profile | None, rows: NDArray[Any], names: Sequence[Any], what: str
) -> str | None:
    """A sentence on rows that lie where their model's do not; None where there are hardly any.

    Args:
        profile: of the model that is to have made them, from the items of a fit.
        rows: ``(n, d)``, finite.
        names: what to call each, ids or numbers ``(n,)``.
        what: they are, such as ``rows of new``.
    """
    found = [] if profile is None else profile.strays(rows).tolist()
    if not found:
        return None
    first = ", ".join(str(names[row]) for row in found[:_SHOWN])
    more = ", ..." if len(found) > _SHOWN else ""
    return (
        f"{len(found) / len(rows):.0%} of {len(rows):,} {what} lie where hardly any item of that "
        f"model does, as vectors of another model do ({first}{more}): encode all with one model"
    )
