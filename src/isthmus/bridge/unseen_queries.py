"""The queries of a sample that the map of a bridge has not seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.held_out_samples import FIT, TEST, VALIDATION, Queries
from isthmus.bridge.store_sample import StoreSample
from isthmus.bridge.unseen_sample import sample_parts
from isthmus.bridge.whole_index import MOST_SEEN
from isthmus.errors import InputError
from isthmus.evaluate.trial import FewerPairs

__all__ = ["UnseenQueries", "VectorsByModel", "held_out_rows"]

VectorsByModel: TypeAlias = dict[Literal["old", "new", "bridged"], Embeddings]


@dataclass(frozen=True, eq=False)
class UnseenQueries:
    """Queries under both models, and what answers them."""

    ids: NDArray[Any]
    old: Embeddings
    new: Embeddings
    answers: Sequence[Sequence[Any]] | None
    """None where items are the queries."""
    own: NDArray[Any] | None
    """Then the queries' own items ``(nq,)``, which are not to be found."""
    bridged: Embeddings | None = None
    """Behind the maps of the folds without their answers ``(nq, d)``, where such were kept."""
    fewer: FewerPairs | None = None
    """And behind maps that were fitted on one fold less."""
    nested: Embeddings | None = None
    """And behind those that others chose ``(nq, d)``, where they are others."""
    n_chose: int = 0
    """How many of them, the last ones, chose the ways that are served."""

    @classmethod
    def of(cls, bridge: Bridge, sample: StoreSample, most: int) -> UnseenQueries:
        """Those of the part that the fit judged on, or all where it judged by maps of folds.

        Args:
            bridge: of queries, fitted on the sample.
            sample: of the store.
            most: the first of them are taken.

        Raises:
            InputError: for fewer than two.
        """
        rows = held_out_rows(bridge, sample)[:most]
        if len(rows) < 2:
            raise InputError(
                f"{len(rows)} queries were held out: too few to judge on",
                where="queries",
                mend="Give more queries, or sample more items",
            )
        if sample.queries is None or sample.old_queries is None or sample.new_queries is None:
            return cls(sample.ids[rows], sample.old[rows], sample.new[rows], None, sample.ids[rows])
        bridged, fewer, nested, n_chose = None, None, None, 0
        folds, pairs = bridge.out_of_fold, sample.query_pairs("query")
        if folds is not None and pairs is not None:
            _, parts = sample_parts(bridge, sample)
            assert parts is not None
            chose = parts[rows] == VALIDATION
            rows, n_chose = np.concatenate([rows[~chose], rows[chose]]), int(chose.sum())
            new = sample.new_queries[rows]
            answers = Queries(pairs, dict(sample.clicked)).answer_ids(sample.queries.ids[rows])
            bridged = np.asarray(folds.mapped(answers, new), np.float32)
            if folds.fewer is not None:
                less = np.asarray(folds.fewer.mapped(answers, new), np.float32)
                fewer = FewerPairs(less, len(folds.chains))
            if folds.nested is not None:
                nested = np.asarray(folds.nested.mapped(answers, new), np.float32)
        names = sample.queries.ids[rows]
        return cls(
            names,
            sample.old_queries[rows],
            sample.new_queries[rows],
            [sample.clicked[name] for name in names.tolist()],
            None,
            bridged,
            fewer,
            nested,
            n_chose,
        )

    @property
    def vectors(self) -> VectorsByModel:
        """As a search asks for them."""
        asked: VectorsByModel = {"old": self.old, "new": self.new}
        return asked if self.bridged is None else {**asked, "bridged": self.bridged}

    @property
    def permuted(self) -> VectorsByModel:
        """No query keeps its own vector."""
        rolled: VectorsByModel = {"old": self.old, "new": np.roll(self.new, 1, axis=0)}
        if self.bridged is None:
            return rolled
        return {**rolled, "bridged": np.roll(self.bridged, 1, axis=0)}

    @property
    def behind_others(self) -> dict[str, VectorsByModel]:
        """As other maps give them: those of one fold less (``fewer``), and those that others chose
        (``nested``)."""
        less = None if self.fewer is None else self.fewer.queries
        mapped = {"fewer": less, "nested": self.nested}
        return {
            maps: {**self.vectors, "bridged": rows}
            for maps, rows in mapped.items()
            if rows is not None
        }

    def further(
        self, maps: str, found: NDArray[np.float64], theirs: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """What is told more of each query and metric ``(nq, m)`` than was found, by what some of
        `behind_others` find."""
        if maps == "nested" or self.fewer is None:
            more = theirs - found
            return more * (more.mean(axis=0) < 0)  # luck is never bad
        return self.fewer.next(found, theirs)


def held_out_rows(bridge: Bridge, sample: StoreSample) -> NDArray[np.int64]:
    """The rows of the queries, or else of the items, that the map has not seen.

    Of the part that the fit judged on; all that have an answer where maps of folds were kept.
    Queries with an answer that was fitted on are left out, unless they are most of all.
    """
    items, queries = sample_parts(bridge, sample)
    if queries is None:
        return np.flatnonzero(items == TEST)
    folds = bridge.out_of_fold
    rows = np.flatnonzero(queries >= 0 if folds is not None else queries == TEST)
    assert sample.queries is not None
    of_item = items == FIT if folds is None else folds.folds(sample.ids)
    known = dict(zip(sample.ids.tolist(), of_item.tolist(), strict=True))
    seen = np.zeros(len(rows), np.bool_)
    for i, name in enumerate(sample.queries.ids[rows].tolist()):
        theirs = [known[item] for item in sample.clicked.get(name, ()) if item in known]
        seen[i] = any(theirs) if folds is None else len(set(theirs)) > 1
    return rows if seen.mean() > MOST_SEEN else rows[~seen]
