"""Why held-out vectors cannot say what to do, whatever they seem to show."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.evidence import HeldOut
from isthmus.diagnose.identify import identify, rank_partners
from isthmus.evaluate import top_k
from isthmus.numeric import unit_rows

__all__ = ["doubts"]

_FEWEST = 50
_PROBES = 200
_NEIGHBOURS = 10
_CHANCE_Z = 3.0
_SAME_TEXT = 0.08
"""Distance to its answer, over that of the answer to the nearest other item, up to which a query is
its answer: a full stop more gives .01, a capital letter too .06; of real queries 1 in 1,000."""
_MOST_COPIES = 0.2
_MOST_MISPAIRED = 0.05
_STRONG = 0.5
"""Share of rows that must find their partner before the lost ones count as paired wrongly."""


def doubts(held_out: HeldOut, mapped: NDArray[Any] | None) -> tuple[str, ...]:
    """What makes a verdict on these queries worthless, in a clause each.

    Rows of the two sides that do not belong together (a new side in another order is a good model
    of other items: it gains by itself, and nothing that it gains will be had), and queries that
    are the items they ask for, which the queries to come will not be.

    Args:
        held_out: queries and their gallery.
        mapped: the queries' source rows ``(nq, dy)`` behind a map that has not seen them, where it
            maps towards the target's space.
    """
    found = [*_unrelated(held_out)]
    if not found:
        found += _mispaired(held_out, mapped)
    return (*found, *_answers_as_queries(held_out))


def _unrelated(held_out: HeldOut) -> Iterator[str]:
    """Whether the two models call other items near, no oftener than chance would."""
    gallery = held_out.gallery
    n = len(gallery)
    if n < _FEWEST:
        return
    probes = np.linspace(0, n - 1, min(n, _PROBES)).astype(np.int64)
    near = [
        top_k(side[probes], side, _NEIGHBOURS, metric=held_out.metric, exclude=probes).indices
        for side in (gallery.x, gallery.y)
    ]
    shared = (near[0][:, :, None] == near[1][:, None, :]).any(axis=2).mean(axis=1)
    chance = _NEIGHBOURS / (n - 1)
    # the spread of a hypergeometric share is at most that of a binomial one
    error = (chance * (1 - chance) / _NEIGHBOURS / len(probes)) ** 0.5
    if shared.mean() - chance <= _CHANCE_Z * error:
        yield (
            "the rows of the two sides are not of the same items: what is near under one model is "
            f"no nearer than by chance under the other (of {_NEIGHBOURS} neighbours "
            f"{_NEIGHBOURS * shared.mean():.2f} are shared, by chance "
            f"{_NEIGHBOURS * chance:.2f}). Pair them by id (--ids)"
        )


def _mispaired(held_out: HeldOut, mapped: NDArray[Any] | None) -> Iterator[str]:
    rows = held_out.queries
    if mapped is None or len(rows) < _FEWEST:
        return
    found = identify(rank_partners(np.asarray(mapped, np.float64), rows.y))
    lost, first = found.lost_share, found.first.value or 0.0
    if first >= _STRONG and lost.low is not None and lost.low > _MOST_MISPAIRED:
        yield (
            f"about {lost.value:.0%} of the rows are paired with those of other items, where "
            f"{first:.0%} of the others find their own first. Pair them by id (--ids)"
        )


def _answers_as_queries(held_out: HeldOut) -> Iterator[str]:
    """Queries that are, under both models, the item that answers them."""
    relevance = held_out.relevance
    n, m = len(held_out.gallery), len(held_out.queries)
    if held_out.exclude is not None or relevance is None or min(n, m) < _FEWEST:
        return
    some = np.linspace(0, m - 1, min(m, _PROBES)).astype(np.int64)
    answer = relevance.indices[relevance.indptr[some]]
    alike = np.ones(len(some), dtype=np.bool_)
    for asked, items in (
        (held_out.queries.x, held_out.gallery.x),
        (held_out.queries.y, held_out.gallery.y),
    ):
        mean = items.mean(axis=0, dtype=np.float64)
        all_items = unit_rows(np.asarray(items, np.float64) - mean)
        own = all_items[answer]
        nearest = top_k(own, all_items, 1, metric="cosine", exclude=answer).scores[:, 0]
        found = np.einsum("nd,nd->n", unit_rows(np.asarray(asked[some], np.float64) - mean), own)
        alike &= 1 - found <= _SAME_TEXT * (1 - nearest)
    share = float(alike.mean())
    if share > _MOST_COPIES:
        yield (
            f"{share:.0%} of the queries are the items that answer them, or near copies: they are "
            "found under any model, and queries to come will not be. Ask with texts that people "
            "write"
        )
