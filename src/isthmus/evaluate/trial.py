"""The vectors of one upgrade test, as the old model, the new model and the bridge see them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.arms import Need
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import Metric, checked_exclude, checked_norms

__all__ = ["FewerPairs", "FittedRows", "GallerySearch", "Trial"]

_RATE = 0.75
"""The power by which what a map finds comes nearer to its best with more pairs."""


class GallerySearch(NamedTuple):
    """The queries, the gallery that they search, and the metric."""

    queries: NDArray[Any]
    gallery: NDArray[Any]
    metric: Metric


@dataclass(frozen=True, eq=False)
class FittedRows:
    """Which gallery items the map of each query was fitted on: those of all folds but its own.

    Example:
        >>> import numpy as np
        >>> rows = FittedRows(np.array([0, 1]), np.array([0, 1, 2, -1]))
        >>> rows.mask(slice(0, 1))
        array([[False,  True,  True, False]])
        >>> rows.without_next(3).mask(slice(0, 1))
        array([[False, False,  True, False]])
    """

    queries: NDArray[np.int64]
    """The fold of each query ``(nq,)``."""
    items: NDArray[np.int64]
    """The fold of each gallery item ``(ng,)``, -1 of items that no map was fitted on."""
    spared: NDArray[np.int64] | None = None
    """Another fold that the map of each query was not fitted on ``(nq,)``."""
    groups: NDArray[np.int64] | None = None
    """A number for each set of gallery items that are copies of each other ``(ng,)``, -1 of the
    others: copies are in one fold."""

    def of(self, kept: NDArray[np.bool_]) -> FittedRows:
        """Of the queries where ``kept (nq,)`` is true."""
        spared = None if self.spared is None else self.spared[kept]
        return replace(self, queries=self.queries[kept], spared=spared)

    def widened(self, n: int) -> FittedRows:
        """With ``n`` more gallery items, which no map was fitted on."""
        others = np.full(n, -1)
        groups = None if self.groups is None else np.concatenate([self.groups, others])
        return replace(self, items=np.concatenate([self.items, others]), groups=groups)

    def without_next(self, folds: int) -> FittedRows:
        """Of maps that were not fitted on the next of the folds either."""
        return replace(self, spared=(self.queries + 1) % folds)

    def mask(self, rows: slice) -> NDArray[np.bool_]:
        """Whether the maps of some queries were fitted on each item ``(q, ng)``."""
        known = (self.items >= 0) & (self.items != self.queries[rows][:, None])
        return known if self.spared is None else known & (self.items != self.spared[rows][:, None])


@dataclass(frozen=True, eq=False)
class FewerPairs:
    """Queries behind maps that were fitted without their fold and one more, of ``folds``.

    What a map finds comes nearer to its best by a power of the number of its pairs; so the step
    from ``folds − 2`` to ``folds − 1`` tells the next one, to the map of all pairs.

    Example:
        >>> fewer = FewerPairs(np.ones((2, 3)), 5)
        >>> round(fewer.next_step(0.5, 0.4), 2), round(fewer.next_step(0.98, 0.95), 2)
        (0.64, 0.34)
    """

    queries: NDArray[Any]
    """``(nq, d)``"""
    folds: int

    def of(self, kept: NDArray[np.bool_]) -> FewerPairs:
        """Of the queries where ``kept (nq,)`` is true."""
        return FewerPairs(self.queries[kept], self.folds)

    def next(self, found: NDArray[np.float64], less: NDArray[np.float64]) -> NDArray[np.float64]:
        """What the map of all pairs is expected to find more of each query and metric ``(nq, m)``.

        Args:
            found: by the maps without one fold ``(nq, m)``.
            less: by those without two.
        """
        means = zip(found.mean(axis=0), less.mean(axis=0), strict=True)
        return (found - less) * [self.next_step(*pair) for pair in means]

    def next_step(self, found: float, less: float) -> float:
        """The step to all folds over the step from ``less`` to ``found``, one fold before.

        Near the most that a metric can be, 1, it is that of a power law of what is missing.
        """
        two, one, none = (1 - left / self.folds for left in (2, 1, 0))
        step = (one**-_RATE - none**-_RATE) / (two**-_RATE - one**-_RATE)
        if not less < found:
            return step
        if found >= 1:  # by rounding, where all is found
            return 0.0
        missing, further = 1 - found, math.log(none / one) / math.log(one / two)
        left_over = missing * (missing / (1 - less)) ** further
        return min(step, (missing - left_over) / (found - less))


@dataclass(frozen=True)
class Trial:
    """Held-out queries and a gallery, as the old model, the new model and the bridge see them.

    Queries are ``(nq, d)``, galleries ``(ng, d)``; row i is the same item everywhere.  A query
    bridge gives ``query_bridged`` (new queries mapped into the old space), a corpus bridge
    ``gallery_bridged`` (stored vectors mapped into the new space); a bridge may give both.
    ``gallery_new`` is what re-embedding would yield, where it is known.  ``exclude (nq,)`` leaves
    one gallery item out for each query: ``arange(nq)`` where the queries are the gallery.
    ``metric`` is the old space's, ``metric_new`` the new one's (the same if not given).
    ``gallery_error (ng,)`` is the squared error of the map on each gallery item, where it is known.
    ``doubts`` say why the vectors cannot tell what to do, whatever they show: no way is recommended
    on them.
    ``paired`` are the same queries among the items that both models know, where the old gallery
    also holds others: what is known of the new model's gallery is then known there.
    ``query_ids (nq,)`` and ``gallery_ids (ng,)`` name rows in what is reported about single ones.
    ``fitted`` says which items the map of each query was fitted on, where every query has one of
    its own: such items attract what that map gives.
    ``fewer`` are the bridged queries behind maps that were fitted on less, which tells what the map
    that is served, fitted on more, will find.
    ``query_nested (nq, d)`` are the bridged queries behind maps of recipes that were chosen without
    them, where those are others: what is found more behind the first is luck.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import from_ids
        >>> rows = np.random.default_rng(0).standard_normal((5, 3)).astype(np.float32)
        >>> same = from_ids("abcde", "abcde")
        >>> trial = Trial(rows, rows[:, ::-1], rows, query_bridged=rows, relevance=same)
        >>> trial.n_queries, trial.n_gallery
        (5, 5)
    """

    query_old: NDArray[Any]
    query_new: NDArray[Any]
    gallery_old: NDArray[Any]
    gallery_new: NDArray[Any] | None = None
    query_bridged: NDArray[Any] | None = None
    gallery_bridged: NDArray[Any] | None = None
    relevance: Relevance | None = None
    exclude: NDArray[np.int64] | None = None
    metric: Metric = "cosine"
    metric_new: Metric | None = None
    gallery_error: NDArray[np.float64] | None = None
    query_ids: NDArray[Any] | None = None
    gallery_ids: NDArray[Any] | None = None
    doubts: tuple[str, ...] = ()
    paired: Trial | None = None
    fitted: FittedRows | None = None
    fewer: FewerPairs | None = None
    query_nested: NDArray[Any] | None = None

    def of(self, kept: NDArray[np.bool_]) -> Trial:
        """The trial for the queries where ``kept (nq,)`` is true; `InputError` if none is."""
        if not kept.any():
            raise InputError("no query has a relevant gallery item", where="relevance")
        return replace(
            self,
            query_old=self.query_old[kept],
            query_new=self.query_new[kept],
            query_bridged=None if self.query_bridged is None else self.query_bridged[kept],
            relevance=None if self.relevance is None else self.relevance.of(kept),
            exclude=None if self.exclude is None else self.exclude[kept],
            query_ids=None if self.query_ids is None else self.query_ids[kept],
            paired=None if self.paired is None else self.paired.of(kept),
            fitted=None if self.fitted is None else self.fitted.of(kept),
            fewer=None if self.fewer is None else self.fewer.of(kept),
            query_nested=None if self.query_nested is None else self.query_nested[kept],
        )

    @property
    def of_fewer(self) -> Trial | None:
        """The trial with the maps of fewer pairs in place of the others, where there are some."""
        if self.fewer is None:
            return None
        fitted = None if self.fitted is None else self.fitted.without_next(self.fewer.folds)
        return replace(self, query_bridged=self.fewer.queries, fewer=None, fitted=fitted)

    @property
    def of_nested(self) -> Trial | None:
        """The trial with the maps that other queries chose, where those are others."""
        if self.query_nested is None:
            return None
        return replace(self, query_bridged=self.query_nested, query_nested=None)

    @property
    def n_queries(self) -> int:
        """Number of queries."""
        return len(self.query_old)

    @property
    def n_gallery(self) -> int:
        """Number of gallery items."""
        return len(self.gallery_old)

    @property
    def n_searchable(self) -> int:
        """Number of gallery items that one query can find."""
        return self.n_gallery - (self.exclude is not None)

    @property
    def without_new(self) -> str:
        """Why ways that need new vectors of the items cannot be judged."""
        if self.paired is None:
            return Need.NEW_GALLERY.value
        return (
            f"only {self.paired.n_gallery:,} of the {self.n_gallery:,} items searched have a new "
            "vector, and items that are recalled need one; --paired-only judges among those alone, "
            "the URL of a store in place of OLD encodes what is recalled"
        )

    @property
    def bridge(self) -> GallerySearch:
        """What the bridge searches: mapped queries, a mapped gallery, or both."""
        return GallerySearch(
            self.query_new if self.query_bridged is None else self.query_bridged,
            self.gallery_old if self.gallery_bridged is None else self.gallery_bridged,
            self.metric if self.gallery_bridged is None else self.metric_new or self.metric,
        )

    def check(self) -> None:
        """Refuse, before any work is spent, arrays that do not fit together.

        Raises `InputError` for row counts and widths that disagree, and for the first vector that
        is not finite or, under ``cosine``, zero.
        """
        if self.query_bridged is None and self.gallery_bridged is None:
            raise InputError(
                "nothing was bridged", where="trial", mend="Give query_bridged or gallery_bridged"
            )
        checked_exclude(self.exclude, self.n_queries, self.n_gallery)
        if self.relevance is not None:
            self.relevance.check_shape(self.n_queries, self.n_gallery)
        errors = self.gallery_error
        if errors is not None and errors.shape != (self.n_gallery,):
            raise InputError(
                f"errors of shape {errors.shape} for {self.n_gallery} gallery items",
                where="gallery_error",
            )
        for name, ids, n in (
            ("query_ids", self.query_ids, self.n_queries),
            ("gallery_ids", self.gallery_ids, self.n_gallery),
        ):
            if ids is not None and ids.shape != (n,):
                raise InputError(f"ids of shape {ids.shape} for {n} rows", where=name)
        metrics: dict[str, Metric] = {
            "old": self.metric,
            "new": self.metric_new or self.metric,
            "bridged": self.bridge.metric,
        }
        for side, n in (("query", self.n_queries), ("gallery", self.n_gallery)):
            for model, metric in metrics.items():
                name = f"{side}_{model}"
                vectors = getattr(self, name)
                if vectors is None:
                    continue
                checked_norms(vectors, name, metric)
                if len(vectors) != n:
                    raise InputError(
                        f"{len(vectors)} rows, but {side}_old has {n}",
                        where=name,
                        mend="Row i must be the same item in every array of one side",
                    )
        for name, (queries, gallery) in {
            "old": (self.query_old, self.gallery_old),
            "bridge": self.bridge[:2],
            "new": (self.query_new, self.gallery_new),
        }.items():
            if gallery is not None and queries.shape[1] != gallery.shape[1]:
                raise InputError(
                    f"queries have width {queries.shape[1]}, the gallery {gallery.shape[1]}",
                    where=f"arm {name}",
                )
