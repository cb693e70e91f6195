"""The queries whose first results change most, with their neighbours before and after."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import FittedMap
from isthmus.bridge import Bridge
from isthmus.bridge.evidence import HeldOut
from isthmus.evaluate import Trial
from isthmus.evaluate.arms import words_of
from isthmus.ways import Recall, Way
from isthmus.ways.bench import search_of

__all__ = ["ChangedQuery", "Changes", "Neighbour", "changed_queries"]

_MOST = 20
_RESULTS = 5

Fate = Literal["stays", "comes", "goes"]


@dataclass(frozen=True)
class Neighbour:
    """A result of a query.

    Example:
        >>> from isthmus.review import Neighbour
        >>> Neighbour("a7", 0.62, fate="comes", relevant=True).fate
        'comes'
    """

    id: str
    score: float
    fate: Fate
    """Whether it is among the first results before and after, after alone, or before alone."""
    relevant: bool | None
    """None where it is not known what is relevant."""


@dataclass(frozen=True)
class ChangedQuery:
    """One query, and its first results with the old model and in the way that is to serve.

    Example:
        >>> from isthmus.review import ChangedQuery, Neighbour
        >>> before = Neighbour("a7", 0.62, fate="goes", relevant=False)
        >>> after = Neighbour("b1", 0.71, fate="comes", relevant=True)
        >>> ChangedQuery("q1", change=1.0, before=(before,), after=(after,)).turn
        'gains'
    """

    id: str
    change: float
    """Share of the first results that are other ones."""
    before: tuple[Neighbour, ...]
    after: tuple[Neighbour, ...]

    @property
    def turn(self) -> Literal["gains", "loses", "neither"]:
        """Whether more or fewer of the first results are relevant than before."""
        before, after = (sum(n.relevant or False for n in s) for s in (self.before, self.after))
        return "gains" if after > before else "loses" if after < before else "neither"


@dataclass(frozen=True)
class Changes:
    """What a way changes in the first results of unseen queries.

    Example:
        >>> from isthmus.review import Changes
        >>> changes = Changes(way="bridge", queries=200, gain=30, lose=12, shown=())
        >>> changes.gain - changes.lose
        18
    """

    way: str
    """The way that was run, in words."""
    queries: int
    gain: int
    """Queries with more relevant ones among their first results than before."""
    lose: int
    """Queries with fewer."""
    shown: tuple[ChangedQuery, ...]
    """The queries that change most."""
    instead_of: str | None = None
    """The way that is recommended, where another was run."""


def changed_queries(
    bridge: Bridge,
    held_out: HeldOut,
    *,
    chain: FittedMap | None = None,
    most: int = _MOST,
    results: int = _RESULTS,
) -> Changes:
    """What changes, and the queries that change most with their neighbours.

    The way is what the evidence recommends; the bridge alone, where nothing is recommended or a
    part of the corpus would have to be re-embedded first.  It is run by the code that serves it.
    Of the queries told of, two fifths are those that lose most relevant results, as many those that
    gain most, and the others those with the most other results.

    Args:
        bridge: whose way is run.
        held_out: queries that it was not fitted on, and what they search.
        chain: maps them, where it was fitted on them: maps of folds that it kept.
        most: queries that are told of.
        results: of each.

    Example:
        >>> import numpy as np
        >>> from isthmus import Pairs, fit
        >>> from isthmus.bridge.assess import unseen_samples
        >>> from isthmus.review import changed_queries
        >>> old = np.random.default_rng(0).standard_normal((900, 4)).astype(np.float32)
        >>> pairs = Pairs(old[:, ::-1].copy(), old)
        >>> bridge = fit(pairs, recipe="procrustes")
        >>> held_out = unseen_samples(bridge, pairs, None).test_part()
        >>> changes = changed_queries(bridge, held_out, most=3)
        >>> changes.way, len(changes.shown)
        ('bridge', 0)
    """
    trial = held_out.trial(bridge.chain if chain is None else chain, bridge.kind)
    found = bridge.recommended
    name, way = found if found is not None else ("bridge", Way())
    recommended = name
    if way.part is not None or way.joins:
        name, way = "bridge", Way()
    k = min(results, trial.n_searchable)
    sides = [_answers(trial, w, k) for w in (Way(recall=Recall(kind="old")), way)]
    (old, old_scores), (new, new_scores) = sides
    stays_old = (old[:, :, None] == new[:, None, :]).any(axis=2)
    stays_new = (new[:, :, None] == old[:, None, :]).any(axis=2)
    change = 1 - stays_new.mean(axis=1)
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]] | tuple[None, None] = None, None
    gained = np.zeros(len(change), dtype=np.int64)
    if trial.relevance is not None:
        right = trial.relevance.among(old), trial.relevance.among(new)
        gained = right[1].sum(axis=1) - right[0].sum(axis=1)
    order = _most_telling(change, gained, most)
    ids = np.asarray(held_out.queries.ids)
    gallery = np.asarray(held_out.gallery.ids)

    def side(
        q: int,
        items: NDArray[np.int64],
        scores: NDArray[np.float64],
        stays: NDArray[np.bool_],
        known: NDArray[np.bool_] | None,
        other: Fate,
    ) -> tuple[Neighbour, ...]:
        return tuple(
            Neighbour(
                str(gallery[items[q, i]]),
                float(scores[q, i]),
                "stays" if stays[q, i] else other,
                None if known is None else bool(known[q, i]),
            )
            for i in range(k)
            if items[q, i] >= 0
        )

    shown = tuple(
        ChangedQuery(
            str(ids[q]),
            float(change[q]),
            side(q, old, old_scores, stays_old, right[0], "goes"),
            side(q, new, new_scores, stays_new, right[1], "comes"),
        )
        for q in order.tolist()
        if change[q] > 0
    )
    return Changes(
        words_of(name), len(change), int((gained > 0).sum()), int((gained < 0).sum()), shown,
        instead_of=None if name == recommended else words_of(recommended),
    )  # fmt: skip


def _most_telling(
    change: NDArray[np.float64], gained: NDArray[np.int64], most: int
) -> NDArray[np.int64]:
    """Losses, gains, then the largest changes of the others."""
    part = 2 * most // 5
    by_loss = np.lexsort((-change, gained))
    losses = by_loss[gained[by_loss] < 0][:part]
    by_gain = np.lexsort((-change, -gained))
    gains = by_gain[gained[by_gain] > 0][:part]
    told = np.concatenate([losses, gains])
    others = np.setdiff1d(np.lexsort((-change,)), told, assume_unique=True)
    others = others[np.argsort(-change[others], kind="stable")]
    return np.concatenate([told, others[: most - len(told)]])


def _answers(trial: Trial, way: Way, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    deepest = max(k, way.rescore.most if way.rescore is not None else 0)
    search = search_of(trial, way, depth=deepest + (trial.exclude is not None))
    asked: dict[Literal["old", "new", "bridged"], NDArray[Any]] = {
        "old": trial.query_old,
        "new": trial.query_new,
    }
    if trial.query_bridged is not None:
        asked["bridged"] = trial.query_bridged
    answer = search(asked, deepest, without=trial.exclude)
    return answer.ids[:, :k].astype(np.int64), answer.scores[:, :k]
