"""Paired rows to learn from, and others that neither a map nor a learner has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import mapped_rows
from isthmus.bridge.assess import may_share_items, split_of
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.held_out_samples import FIT, PARTS, TEST, VALIDATION
from isthmus.errors import InputError
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.sample import Batch

__all__ = ["UnseenRows", "unseen_rows"]

_MOST_ROWS = 20_000


@dataclass(frozen=True, eq=False)
class UnseenRows:
    """Rows of a bridge's two spaces."""

    known: Batch | None
    """To learn from, where that was asked for; the bridge may have been fitted on them."""
    asked: Batch
    """Rows that the bridge was not fitted on, as far as they can be recognised."""
    mapped: NDArray[Any]
    """The source side of ``asked`` behind a map that has not seen it ``(n, d)``."""


def unseen_rows(bridge: Bridge, pairs: Pairs, *, learn: bool, seed: int = 0) -> UnseenRows:
    """Split pairs into rows to learn from and rows to judge on, at most 20,000 of either.

    Args:
        bridge: whose vectors they are.
        pairs: the same items in both spaces.
        learn: whether rows to learn from are wanted too.
        seed: of the split of data that the fit has not seen, and of the samples.

    Raises:
        InputError: where no row is left to judge on.
        WrongSpaceError: for vectors of other models than the bridge's.
    """
    first = pairs.head(256)
    bridge.recognise(first.x, where=pairs.source.name)
    bridge.recognise_target(first.y, where=pairs.target.name)
    fits = bridge.provenance.fits
    if may_share_items(bridge, fits, pairs):
        split, unseen = split_of(fits, pairs), bridge.unseen_map()
    else:
        shares = dict(zip(PARTS, (0.5, 0.0, 0.5) if learn else (0.0, 0.0, 1.0), strict=True))
        split, unseen = pairs.split(shares, seed=seed), bridge.chain
    if not len(split[PARTS[TEST]]):
        raise InputError(
            "every row was seen by the fit, and none is left to judge on",
            mend="Give pairs that the bridge was not fitted on",
        )
    asked = split[PARTS[TEST]].sample(_MOST_ROWS, seed=seed)
    known = None
    if learn:
        # where every pair was fitted on, those that chose are apart from those that judge
        part = PARTS[FIT] if len(split[PARTS[FIT]]) else PARTS[VALIDATION]
        known = split[part].sample(_MOST_ROWS, seed=seed)
    return UnseenRows(known, asked, mapped_rows(unseen, asked.ids, asked.x))
