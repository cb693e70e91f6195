"""Why held-out vectors cannot say what to do, whatever they seem to show."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from isthmus.bridge.evidence import HeldOut
from isthmus.diagnose.pairing import Pairing, described
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
"""At the low end of its interval; fewer are told, and change no verdict."""


def doubts(
    held_out: HeldOut, pairing: Pairing | None, sides: tuple[str, str] = ("x", "y")
) -> tuple[str, ...]:
    """What makes a verdict on these queries worthless, in a clause each.

    Rows of the two sides that do not belong together (a new side in another order is a good model
    of other items: it gains by itself, and nothing that it gains will be had), and queries that
    are the items they ask for, which the queries to come will not be.

    Args:
        held_out: queries and their gallery.
        pairing: whether the rows of the gallery go with their partners, where it was judged.
        sides: what its source and target side are called.
    """
    found = [*_unrelated(held_out)]
    if not found and pairing is not None and (pairing.share.low or 0) > _MOST_MISPAIRED:
        found.append(described(pairing, sides))
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
