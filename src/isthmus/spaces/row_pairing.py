"""Which row of one side belongs to which of the other, and what may be wrong with that."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.spaces.id_likeness import LOOKED_AT, likeness
from isthmus.spaces.ids import check_same_kind, join, same_ids, wide_as_text
from isthmus.spaces.readers import Vectors

__all__ = ["paired_rows", "pairing_notices"]

PairedPlaces = NDArray[np.int64] | None
"""Rows of a side in the order of the pairs ``(n,)``; None where that is the side's own order."""


def paired_rows(source: Vectors, target: Vectors) -> tuple[PairedPlaces, PairedPlaces]:
    """The rows of both sides that belong together: by id, or row by row without ids on both.

    Raises:
        InputError: if they have no id in common, their ids are of different kinds, or without ids
            their lengths differ.
    """
    if source.ids is None or target.ids is None:
        if source.n != target.n:
            overlooked = pairing_notices((source, None), (target, None))
            raise InputError(
                f"{source.name} has {source.n:,} rows and {target.name} has {target.n:,}, "
                "and without ids on both sides they are paired by position",
                mend=overlooked[0]
                if overlooked
                else "Give both sides ids, so that common items can be found",
            )
        return None, None
    names = (source.name, target.name)
    source_ids, target_ids = wide_as_text(source.ids, target.ids)
    check_same_kind(source_ids, target_ids, names)
    if same_ids(source_ids, target_ids):
        return None, None
    found = join(source_ids, target_ids)
    if not len(found[1]):
        alike = likeness(source.ids, target.ids)
        raise InputError(
            f"{names[0]} and {names[1]} have no id in common "
            f"(first ids: {source.ids[0].item()!r} and {target.ids[0].item()!r})",
            mend="Check that both sides name their items in the same way"
            if alike is None
            else f"They are alike but for {alike}: write them in one way",
        )
    return found


def pairing_notices(
    source: tuple[Vectors, PairedPlaces], target: tuple[Vectors, PairedPlaces]
) -> tuple[str, ...]:
    """What may be wrong with the pairing of two sides, in a sentence each.

    A column of ids that is not used, or ids without a partner that differ from others in their
    writing alone.
    """
    x, y = source[0], target[0]
    if x.ids is None or y.ids is None:
        return tuple(
            f"{side.name} has a column '{side.overlooked}' that looks like ids, and rows are "
            f"paired by position: join by it with ids='{side.overlooked}' (--ids "
            f"{side.overlooked})"
            for side in (x, y)
            if side.overlooked is not None
        )
    left = [_alone(*side) for side in (source, target)]
    if not all(len(rows) for rows in left):
        return ()
    some: list[NDArray[Any]] = [
        side.ids[rows[:LOOKED_AT]]
        for side, rows in zip((x, y), left, strict=True)
        if side.ids is not None
    ]
    alike = likeness(*some)
    if alike is None:
        return ()
    return (
        f"{len(left[0]):,} rows of {x.name} and {len(left[1]):,} of {y.name} have no partner, and "
        f"ids among them are alike but for {alike}: write them in one way on both sides",
    )


def _alone(side: Vectors, paired: PairedPlaces) -> NDArray[np.int64]:
    """The rows of a side without a partner."""
    if paired is None or len(paired) == side.n:
        return np.empty(0, np.int64)
    alone = np.ones(side.n, dtype=np.bool_)
    alone[paired] = False
    return np.flatnonzero(alone)
