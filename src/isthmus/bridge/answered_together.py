"""Items that answer one query, so that a split never parts them.

An answer in the fit of a query that judges makes a map look better than it is, as a copy of its
answer does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isthmus.bridge.held_out_samples import Queries
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.split import Copies, hash_ids

__all__ = ["kept_together"]

_LARGEST, _FEW = 0.05, 4
"""Share of all pairs in one group, or so many: what is larger, no part of a split could hold."""


def kept_together(pairs: Pairs, queries: Queries | None) -> Copies:
    """Items with their copies (`Pairs.copies`) and with what answers the same queries.

    Queries that would join too many are passed over; those with the fewest answers come first.

    Args:
        pairs: all of them.
        queries: with what answers them; None where there are none.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((9, 3))
        >>> items = Pairs(rows, rows, ids=list("abcdefghi"))
        >>> asked = Pairs(rows[:2], rows[:2], ids=["why", "how"])
        >>> found = kept_together(items, Queries(asked, {"why": ["a", "c"], "how": ["c", "b"]}))
        >>> len(set(found.leaders(np.array(["a", "b", "c"])))), len(found)
        (1, 2)
    """
    copies = pairs.copies
    if queries is None or queries.qrels is None:
        return copies
    asked = queries.pairs.ids_at(slice(0, len(queries.pairs)))
    # the order of the rows decides nothing
    ordered = asked[np.lexsort((asked, hash_ids(asked)))].tolist()
    answers = sorted(filter(_several, map(queries.answers, ordered)), key=len)
    if not answers:
        return copies
    firsts = dict(zip(copies.ids.tolist(), copies.first.tolist(), strict=True))
    head, sizes = _finder(firsts)
    most = max(_FEW, _LARGEST * len(pairs))
    for items in answers:
        heads = list(dict.fromkeys(map(head, items)))
        size = sum(sizes.get(one, 1) for one in heads)
        if len(heads) == 1 or size > most:
            continue
        first = heads[0]
        for other in heads[1:]:
            firsts[other] = first
        sizes[first] = size
    ids = np.asarray(list(firsts))
    return Copies.of(ids, np.asarray([head(i) for i in firsts]))


def _several(answers: Sequence[Any]) -> bool:
    return len(answers) > 1


def _finder(firsts: dict[Any, Any]) -> tuple[Callable[[Any], Any], dict[Any, int]]:
    """What finds the head of the group of an id, and how many each group has."""

    def head(one: Any) -> Any:
        while (next_one := firsts.get(one, one)) != one:
            firsts[one] = firsts.get(next_one, next_one)
            one = next_one
        return one

    sizes: dict[Any, int] = {}
    for first in firsts.values():
        sizes[first] = sizes.get(first, 1) + 1
    return head, sizes
