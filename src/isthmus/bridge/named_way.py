"""The way to go on that a name means, among those a bridge has evidence on."""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from isthmus.errors import InputError
from isthmus.evaluate.evaluation import Evaluation
from isthmus.ways.way import Way

__all__ = ["named_way", "recommended_way"]


def recommended_way(ways: Mapping[str, Way], evidence: Evaluation | None) -> tuple[str, Way] | None:
    """The arm that the evidence recommends, and its way; None where it recommends none."""
    name = None if evidence is None else evidence.recommended
    return None if name is None or name not in ways else (name, ways[name])


def named_way(name: str, ways: Mapping[str, Way], evidence: Evaluation | None) -> Way:
    """The way called ``name``, or what the evidence recommends for ``"recommended"``.

    Raises:
        InputError: if there is none, with the reason where it is known.
    """
    if name == "recommended":
        found = recommended_way(ways, evidence)
        if found is not None:
            return found[1]
        why = "it was not evaluated" if evidence is None else str(evidence.verdict)
        raise InputError(
            f"the evidence of this bridge recommends no way to serve ({why})",
            where="way",
            mend=f"Name one of {', '.join(ways) or 'none'}, or give a Way",
        )
    if name not in ways:
        why = "" if evidence is None else evidence.absent.get(name, "")
        near = difflib.get_close_matches(name, list(ways), n=1)
        raise InputError(
            f"this bridge has no way '{name}'" + (f": {why}" if why else ""),
            where="way",
            mend=f"Did you mean '{near[0]}'?"
            if near and not why
            else f"It has {', '.join(ways) or 'none'}",
        )
    return ways[name]
