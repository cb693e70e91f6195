"""The ways of a bridge run on a live index, as they are judged there."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.live_latency import timed
from isthmus.bridge.store_sample import ModelChange, StoreSample
from isthmus.bridge.unseen_queries import UnseenQueries, VectorsByModel
from isthmus.encoders import Encoder
from isthmus.evaluate.measured import Latency
from isthmus.stores import MemoryStore, Store
from isthmus.ways import Columns, RecallTrace, Search, Way
from isthmus.ways.items import ItemRows, ItemVectors, Origin
from isthmus.ways.search import Answer, joined_answers

__all__ = ["DEPTH", "OVERLAP_K", "LiveRun"]

DEPTH = 100
"""Results of each query that are looked at: a metric without a cut-off is cut here, and says so."""
OVERLAP_K = 10
"""First results that are compared, and counted by thresholds."""


class _FirstSeen:
    """Item vectors of a live store, of which each counts as encoded when it is first asked for.

    So that the price in the evidence is that of a cold cache, whatever earlier runs have kept.
    """

    def __init__(self, items: ItemVectors) -> None:
        self._items = items
        self._seen: set[Any] = set()

    def of(self, ids: NDArray[Any], most: int | None = None) -> ItemRows:
        """See `isthmus.ways.items.ItemSource.of`."""
        found = self._items.of(ids, most)
        origin = found.origin.copy()
        encoded = np.isin(origin, (int(Origin.KEPT), int(Origin.ENCODED)))
        seen = np.array([name in self._seen for name in ids.tolist()], dtype=np.bool_)
        origin[encoded] = np.where(seen[encoded], int(Origin.KEPT), int(Origin.ENCODED))
        self._seen.update(ids[encoded].tolist())
        return ItemRows(found.rows, origin)


class LiveRun:
    """The searches of one judgement."""

    def __init__(
        self,
        bridge: Bridge,
        store: Store,
        sample: StoreSample,
        models: ModelChange,
        asked: UnseenQueries,
    ) -> None:
        self.bridge, self.store, self.models, self.asked = bridge, store, models, asked
        self.sample = sample
        metric = sample.column.metric
        rows = {"old": sample.old, "new": sample.new}
        self._sampled = MemoryStore(sample.ids, rows, metric=metric, name="sample")
        self._has_texts = store.describe().has_texts

    def missing(self, way: Way) -> str | None:
        """Why a way cannot be run on this index."""
        if way.part is not None:
            return "the index holds no re-embedded part"
        if way.rescore is not None and not self._has_texts and not _by_id(self.models.new):
            return "the index holds no texts to encode"
        if way.recall.old_query and self.models.old is None and self.asked.own is None:
            return "the old encoder does not run"
        return None

    def gallery(self, way: Way) -> int:
        """Items that a way searches among."""
        return len(self.sample) if way.recall.kind == "new" else self.sample.count

    def _items(self, way: Way) -> _FirstSeen | None:
        if way.rescore is None:
            return None
        return _FirstSeen(ItemVectors(self.store, self.models.new, write=False))

    def _search(self, way: Way, items: _FirstSeen | None, *, sampled: bool = False) -> Search:
        columns = Columns(old=self.sample.column.name)
        store = self.store
        if sampled:
            store, columns = self._sampled, Columns("old", "new")
        return Search(
            way,
            store,
            columns=columns,
            bridge=self.bridge,
            items=items,
            new_metric=self.bridge.source.metric,
        )

    def one_search(self, answers: Iterable[str]) -> list[str]:
        """The ways that are one search by mapped queries: told as other maps find beside them."""
        ways = {name: self.bridge.ways[name] for name in answers if name != "control"}
        return [n for n, w in ways.items() if w.recall.rests_on_bridge and w.rescore is None]

    def answer(
        self, name: str, way: Way, *, sampled: bool = False, asked: VectorsByModel | None = None
    ) -> Answer:
        """Answer every query in one way, on the sampled items or on the whole index.

        ``asked``: the queries, where another map than their own gave them.  Queries that chose the
        way are asked in that which the others chose.
        """
        if asked is None:
            asked = self.asked.permuted if name == "control" else self.asked.vectors
        count = len(self.sample) if sampled else self.sample.count
        depth = min(DEPTH, count - (self.asked.own is not None))
        other, chose = self.bridge.nested_ways.get(name), self.asked.n_chose
        items, n = self._items(way), len(self.asked.new)
        if other is None or chose in (0, n):
            return self._search(way, items, sampled=sampled)(asked, depth, without=self.asked.own)
        parts: list[Answer] = []
        for one, rows in ((way, slice(0, n - chose)), (other, slice(n - chose, n))):
            vectors: Any = {model: of[rows] for model, of in asked.items()}
            parts.append(self._search(one, items, sampled=sampled)(vectors, depth))
        return joined_answers(parts)

    def served(self, name: str, way: Way, found: Answer) -> list[Answer]:
        """All queries answered in the way that is served: scores of another weight are others.

        ``found`` is what `answer` gave.
        """
        other, n = self.bridge.nested_ways.get(name), len(self.asked.new)
        others = n - self.asked.n_chose
        if other is None or other == way or others in (0, n):
            return [found]
        chose: Any = {model: rows[others:] for model, rows in self.asked.vectors.items()}
        mine = self._search(way, self._items(way))(chose, found.ids.shape[1])
        first = Answer(
            found.ids[:others],
            found.scores[:others],
            found.rescored[:others],
            RecallTrace(
                found.trace.ranks[:others],
                found.trace.scores[:others],
                found.trace.origins[:others],
            ),
        )
        return [first, mine]

    def latency(self, way: Way) -> Latency:
        """Of single queries on the whole index, whose items are encoded already."""
        search, own = self._search(way, self._items(way)), self.asked.own
        vectors: dict[str, NDArray[Any]] = {"old": self.asked.old, "new": self.asked.new}
        depth = min(OVERLAP_K, self.sample.count - (own is not None))

        def ask(at: int) -> Answer:
            one = slice(at, at + 1)
            queries: Any = {model: rows[one] for model, rows in vectors.items()}
            return search(queries, depth, without=None if own is None else own[one])

        return timed(ask, len(self.asked.new))


def _by_id(encoder: Encoder) -> bool:
    from isthmus.encoders import PrecomputedEncoder

    return isinstance(encoder, PrecomputedEncoder)
