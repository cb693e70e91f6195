"""Items that answer one query, so that a split never parts them.

An answer in the fit of a query that judges makes a map look better than it is, as a copy of its
answer does; and so does the query itself, where it stands there again with another answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import CrossFitted, FittedMap
from isthmus.bridge.held_out_samples import HeldOutSamples, Queries
from isthmus.spaces.copies import LARGEST
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.split import Copies, hash_ids

__all__ = ["asked_apart", "kept_together"]

_FEW = 4
"""Items in one group, or a share of `LARGEST`: what is larger, no part of a split could hold."""


def kept_together(pairs: Pairs, queries: Queries | None) -> Copies:
    """Items with their copies (`Pairs.copies`) and with what answers the same queries.

    Copies of a query are the same one.  Queries that would join too many are passed over; those
    with the fewest answers come first.

    Args:
        pairs: all of them.
        queries: with what answers them; None where there are none.

    Raises:
        InputError: on reaching a row that cannot be used.

    Example:
        >>> rows = np.random.default_rng(0).standard_normal((9, 3))
        >>> items = Pairs(rows, rows, ids=list("abcdefghi"))
        >>> asked = Pairs(rows[:2], rows[:2], ids=["why", "how"])
        >>> found = kept_together(items, Queries(asked, {"why": ["a", "c"], "how": ["c", "b"]}))
        >>> len(set(found.leaders(np.array(["a", "b", "c"])))), len(found)
        (1, 2)
    """
    copies = pairs.copies
    if queries is None:
        return copies
    again = queries.copies
    asked = queries.pairs.ids_at(slice(0, len(queries.pairs)))
    if queries.qrels is None:
        asked = np.concatenate([again.ids, again.first])
    # the order of the rows decides nothing
    asked = asked[np.lexsort((asked, hash_ids(asked)))]
    answers: dict[Any, dict[Any, None]] = {}
    for query, first in zip(asked.tolist(), again.leaders(asked).tolist(), strict=True):
        answers.setdefault(first, {}).update(dict.fromkeys(queries.answers(query)))
    several = sorted((list(items) for items in answers.values() if len(items) > 1), key=len)
    if not several:
        return copies
    firsts = dict(zip(copies.ids.tolist(), copies.first.tolist(), strict=True))
    head, sizes = _finder(firsts)
    most = max(_FEW, LARGEST * len(pairs))
    for items in several:
        heads = list(dict.fromkeys(map(head, items)))
        size = sum(sizes.get(one, 1) for one in heads)
        if len(heads) == 1 or size > most:
            continue
        first = heads[0]
        for other in heads[1:]:
            firsts[other] = first
        sizes[first] = size
    if not firsts:
        return copies
    return Copies.of(np.asarray(list(firsts)), np.asarray([head(i) for i in firsts]))


def asked_apart(samples: HeldOutSamples, chain: FittedMap) -> NDArray[Any]:
    """Ids of queries a copy of which is answered by an item of another fold, or of the fit.

    Args:
        samples: of the pairs, with queries.
        chain: the map, or one for each fold.
    """
    queries, split = samples.queries, samples.split
    if queries is None:
        return np.empty(0)
    again = queries.copies
    asked = np.unique(np.concatenate([again.ids, again.first]))
    asked = asked[queries.parts(asked, split) >= 0]
    if not len(asked):
        return asked
    answers = queries.answer_ids(asked)
    apart = isinstance(chain, CrossFitted)
    where = chain.folds(answers) if apart else samples.fitted(answers).astype(np.int64)
    _, group = np.unique(again.leaders(asked), return_inverse=True)
    both = np.unique(np.column_stack([group, where]), axis=0)[:, 0]
    return asked[np.bincount(both, minlength=1)[group] > 1]


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
