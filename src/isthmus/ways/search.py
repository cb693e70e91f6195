"""The only code that answers a query: one `Way`, one store, the encoders that still run.

Evaluation runs it over a store in memory (`isthmus.ways.judge`), production over a vector database.
It recalls, searches a half-filled corpus as one index (hybrid search), and lets the new model
rescore (rerank) what was recalled, step by step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders import Encoder
from isthmus.errors import InputError
from isthmus.evaluate.rescore import rescored_order
from isthmus.evaluate.scores import Metric, scores_of
from isthmus.stores import Hits, Ids, Store
from isthmus.ways.interpolate import interpolate
from isthmus.ways.items import ItemSource, ItemVectors, Origin
from isthmus.ways.joined import joined_search
from isthmus.ways.way import Needs, Recall, Rescore, Way

__all__ = [
    "Answer",
    "Columns",
    "Mapped",
    "Queries",
    "QueryVectors",
    "Search",
    "Spent",
    "columns_of",
]

Queries: TypeAlias = (
    Sequence[str] | NDArray[Any] | Mapping[Literal["old", "new", "bridged"], NDArray[Any]]
)
"""Texts; vectors ``(nq, d)`` of the one model that the way asks; or vectors by model."""


class Mapped(Protocol):
    """What a search needs of a bridge."""

    @property
    def kind(self) -> Literal["query", "corpus"]:
        """Whether new queries are mapped, or stored vectors were."""
        ...

    @property
    def trust(self) -> Any:
        """A model of trust in mapped vectors, or None."""
        ...

    def transform(self, x: Any, *, check: bool = True) -> Any:
        """Source vectors in the target space; refuses those of another model."""
        ...

    def recognise(self, rows: NDArray[Any], *, where: str = ...) -> None:
        """Refuse rows that are not of the source."""
        ...

    def recognise_target(self, rows: NDArray[Any], *, where: str) -> None:
        """Refuse rows that are not of the target."""
        ...


@dataclass(frozen=True)
class Columns:
    """Which vector column of the store holds what."""

    old: str = "old"
    """The old model's vectors."""
    new: str | None = None
    """The new model's, of the items that have been re-embedded."""
    bridged: str | None = None
    """The old vectors mapped into the new space, by a corpus bridge."""


def columns_of(store: Store) -> Columns:
    """The columns named ``old``, ``new`` and ``bridged``; for the first, else the store's own."""
    names = store.describe().columns
    return Columns(
        "old" if "old" in names else store.column,
        "new" if "new" in names else None,
        "bridged" if "bridged" in names else None,
    )


@dataclass(frozen=True)
class Spent:
    """What one call of a search cost, beyond searching the store."""

    queries: int = 0
    old_queries: int = 0
    """Queries that the old model encoded, or whose old vector was given."""
    new_queries: int = 0
    """The same of the new model."""
    rescored: int = 0
    """Items that the new model scored, over all queries."""
    ahead: int = 0
    """How many of these were re-embedded before."""
    encoded: int = 0
    """Distinct items that were encoded now; the others had been kept."""
    seconds: float = 0.0

    @property
    def cold(self) -> int:
        """Encodings if nothing were kept."""
        return self.rescored - self.ahead


@dataclass(frozen=True, eq=False)
class Answer:
    """The best items of each query.

    ``ids (nq, k)`` best first and ``scores (nq, k)`` float64: of the first ``rescored (nq,)`` items
    what they were ordered by once the new model had scored them, of the others the score of the
    recall.  The two are on different scales; within each, scores descend.  Where fewer than ``k``
    items can be found, the places left over have the score −∞ and the id -1 or the empty string.
    Equal scores come in the order of the recall, which the store fixes.
    """

    ids: Ids
    scores: NDArray[np.float64]
    rescored: NDArray[np.int64]
    trust: NDArray[np.float64] | None = None
    """Probability that a mapped query finds first what the old model finds first ``(nq,)``; None
    where the way maps no query, or the bridge has no model of it."""
    price: Spent = field(default_factory=Spent)
    early: str | None = None
    """Why the rescoring ended before its rule was done; None where it did not."""


class QueryVectors(NamedTuple):
    """The vectors of the queries by model ``(nq, d)``; those the way does not need are None."""

    old: NDArray[Any] | None = None
    new: NDArray[Any] | None = None
    bridged: NDArray[Any] | None = None

    @property
    def n(self) -> int:
        """Number of queries."""
        return next(len(rows) for rows in self if rows is not None)


class Search:
    """Answers queries in one way.

    Calls from several threads at once are safe.  Usually made by `isthmus.Bridge.search`.

    Args:
        way: what to do.
        store: where the items are.
        columns: which column holds what.
        bridge: maps new queries, and knows the two models; not needed where mapped queries are
            given.
        old, new: encoders of query texts; ``new`` also encodes the items that are rescored.
        items: gives the new vectors of items; made from ``new`` and the texts of the store if not
            given.
        new_metric: how the new model's vectors are compared.

    Raises:
        InputError: if the way needs something that is not there, named in the message.

    Example:
        >>> import numpy as np
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import Recall, Search, Way
        >>> store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
        >>> search = Search(Way(recall=Recall(kind="old")), store)
        >>> search(np.array([[0.1, 0.9]]), 1).ids.tolist()
        [['b']]
    """

    def __init__(
        self,
        way: Way,
        store: Store,
        *,
        columns: Columns | None = None,
        bridge: Mapped | None = None,
        old: Encoder | None = None,
        new: Encoder | None = None,
        items: ItemSource | None = None,
        new_metric: Metric = "cosine",
    ) -> None:
        self.way = way
        self.store = store
        self.columns = columns or Columns()
        self._bridge, self._encoders = bridge, {"old": old, "new": new}
        self._new_metric: Metric = new_metric
        self._recognised: set[str] = set()
        held = store.describe()
        self.column = self._column_of(way.recall)
        for column in {self.column, *([self.columns.new] if way.joins else [])}:
            if column is not None:
                held.column(column)
        if Needs.NEW_COLUMN in way.needs and items is None and self.columns.new is None:
            raise InputError(
                f"this way ({way}) needs {Needs.NEW_COLUMN}, and none is named",
                where=held.where or held.name,
                mend="Name it with columns=Columns(new=...)",
            )
        self._items = items
        if way.rescore is not None and items is None:
            if new is None:
                raise InputError(
                    f"this way ({way}) needs {Needs.ITEM_VECTORS}, and no encoder was given",
                    where="new",
                    mend="Give new=, an encoder of the new model",
                )
            self._items = ItemVectors(store, new, column=self.columns.new)

    # ---- answering -----------------------------------------------------------------------------

    def __call__(
        self,
        queries: Queries,
        k: int = 10,
        *,
        without: Ids | None = None,
        budget_ms: float | None = None,
        max_encodings: int | None = None,
    ) -> Answer:
        """The ``k`` best items of each query.

        The first of them do not depend on ``k``: a longer answer begins with the shorter one, where
        the store searches exactly.

        Args:
            queries: texts, vectors of the one model that the way asks, or vectors by model.
            k: results of each query.
            without: one item for each query ``(nq,)`` that is not to be found, such as the query
                itself.
            budget_ms: no step of encoding begins later than this.
            max_encodings: items that may be encoded in this call, over all queries.

        Raises:
            InputError: for queries that do not fit, and vectors of a model that is missing.
            WrongSpaceError: for vectors of a wrong model.
            StoreError: if the store refuses.
        """
        if k < 1:
            raise InputError(f"a search has 1 result or more, got {k}", where="k")
        start = time.monotonic()
        asked = self.vectors(queries)
        most = 0 if self.way.rescore is None else self.way.rescore.most
        hits = self._first(asked, max(k, most), without)
        ids, scores = hits.ids, hits.scores.astype(np.float64)
        rescored = np.zeros(len(ids), dtype=np.int64)
        spent, early = Spent(), None
        if self.way.rescore is not None:
            limit = _Limit(start, budget_ms, max_encodings)
            assert asked.new is not None
            ids, scores, rescored, spent, early = self._rescored(
                self.way.rescore, asked.new, hits, limit
            )
        trust = self._trust(asked)
        n = len(ids)
        price = Spent(
            queries=n,
            old_queries=n * (asked.old is not None),
            new_queries=n * (asked.new is not None),
            rescored=spent.rescored,
            ahead=spent.ahead,
            encoded=spent.encoded,
            seconds=time.monotonic() - start,
        )
        return Answer(ids[:, :k], scores[:, :k], np.minimum(rescored, k), trust, price, early)

    def first_queries(self, asked: QueryVectors) -> NDArray[Any]:
        """The vectors that search the column of the recall ``(nq, d)``."""
        recall = self.way.recall
        if recall.kind == "old":
            found = asked.old
        elif recall.kind in ("new", "naive"):
            found = asked.new
        elif recall.kind == "bridge":
            found = asked.new if asked.bridged is None else asked.bridged
        else:
            assert asked.old is not None and asked.bridged is not None
            assert recall.alpha is not None
            metric = self.store.describe().column(self.column).metric
            found = interpolate(asked.old, asked.bridged, recall.alpha, metric)
        assert found is not None
        return found

    def _first(self, asked: QueryVectors, depth: int, without: Ids | None) -> Hits:
        """What is found before anything is rescored."""
        rows = self.first_queries(asked)
        wanted = depth + (without is not None)
        if self.way.joins:
            assert self.way.part is not None and self.way.part.join is not None
            assert asked.new is not None and self.columns.new is not None
            hits = joined_search(
                self.store,
                (rows, self.column),
                (asked.new, self.columns.new),
                self.way.part.join,
                wanted,
            )
        else:
            hits = self.store.search(rows, wanted, column=self.column)
        return hits if without is None else _left_out(hits, without)

    def _rescored(
        self, rescore: Rescore, queries: NDArray[Any], hits: Hits, limit: _Limit
    ) -> tuple[Ids, NDArray[np.float64], NDArray[np.int64], Spent, str | None]:
        """Encode and reorder the first items of each query, as many as the rule says."""
        assert self._items is not None
        window = np.s_[:, : rescore.most]
        ids, recall_scores = hits.ids[window], hits.scores[window]
        n, width = ids.shape
        fused = np.full((n, width), -np.inf)
        done, best = np.zeros(n, dtype=np.int64), np.full(n, -np.inf)
        ahead = encoded = 0
        early = None
        while early is None:
            more = rescore.depth.more(recall_scores, done, best, rescore)
            more = np.minimum(more, width - done)
            early = limit.passed() if more.any() else None
            if early is not None or not more.any():
                break
            rows = np.flatnonzero(more)
            places = done[rows, None] + np.arange(more.max())
            inside = np.arange(more.max()) < more[rows, None]
            places = np.minimum(places, width - 1)
            items = ids[rows[:, None], places]
            unique, which = _in_order_of_rank(items, inside)
            found = self._items.of(unique, limit.left(encoded))
            origin = np.where(inside, found.origin[which], int(Origin.NO_TEXT))
            # what was not afforded ends a query there
            short = np.cumsum((origin == Origin.NOT_AFFORDED) & inside, axis=1) > 0
            inside &= ~short
            if short.any():
                early = f"{limit.max_encodings} encodings were allowed"
            new = scores_of(queries[rows], found.rows, which, self._new_metric)
            old = recall_scores[rows[:, None], places]
            scored = np.where(origin > Origin.NO_TEXT, rescore.fused(old, new), -np.inf)
            fused[rows[:, None], places] = np.where(inside, scored, fused[rows[:, None], places])
            best[rows] = np.maximum(best[rows], np.where(inside, scored, -np.inf).max(axis=1))
            done[rows] += inside.sum(axis=1)
            ahead += int(np.count_nonzero((origin == Origin.COLUMN) & inside))
            encoded += int(np.count_nonzero(found.origin == Origin.ENCODED))
        order = rescored_order(np.broadcast_to(np.arange(width), ids.shape), fused)
        reordered = np.arange(width) < done[:, None]
        scores = hits.scores.astype(np.float64)
        scores[window] = np.where(
            reordered, np.take_along_axis(fused, order, axis=1), recall_scores
        )
        out = hits.ids.copy()
        out[window] = np.take_along_axis(ids, order, axis=1)
        spent = Spent(rescored=int(done.sum()), ahead=ahead, encoded=encoded)
        return out, scores, done, spent, early

    def _trust(self, asked: QueryVectors) -> NDArray[np.float64] | None:
        bridge = self._bridge
        if bridge is None or bridge.trust is None or asked.bridged is None or asked.new is None:
            return None
        return np.asarray(bridge.trust(asked.new), dtype=np.float64)

    # ---- queries -------------------------------------------------------------------------------

    def vectors(self, queries: Queries) -> QueryVectors:
        """The vectors that the way needs, encoded, mapped and checked where that is to be done.

        Raises:
            InputError: for queries that do not fit, and vectors of a model that is missing.
            WrongSpaceError: for vectors of a wrong model.
        """
        needed = self.way.needs
        models = [
            model
            for model, need in (("old", Needs.OLD_QUERIES), ("new", Needs.NEW_QUERIES))
            if need in needed
        ]
        given = self._given(queries, models)
        maps = self.way.recall.rests_on_bridge and self.columns.bridged is None
        if maps and "bridged" not in given:
            if self._bridge is None:
                raise InputError(
                    "this way maps queries, and there is no bridge to map them", where="bridge"
                )
            if self._bridge.kind == "corpus":
                raise InputError(
                    "a corpus bridge maps no queries",
                    where="columns",
                    mend="Name the column with the mapped vectors, columns=Columns(bridged=...)",
                )
            given["bridged"] = np.asarray(self._bridge.transform(given["new"]))
        else:
            self._recognise("new", given)
        self._recognise("old", given)
        used = {m: given.get(m) for m in (*models, "bridged")}
        if len({len(rows) for rows in used.values() if rows is not None}) > 1:
            counts = {m: len(rows) for m, rows in used.items() if rows is not None}
            raise InputError(f"the models have different numbers of queries: {counts}")
        return QueryVectors(used.get("old"), used.get("new"), used["bridged"])

    def _given(self, queries: Queries, models: Sequence[str]) -> dict[str, NDArray[Any]]:
        """Vectors by model, as they are given or as the encoders make them."""
        if isinstance(queries, Mapping):
            given = {str(m): np.asarray(rows) for m, rows in queries.items()}
            missing = [m for m in models if m not in given]
            if "bridged" in given and not self.way.joins and self.way.rescore is None:
                missing = [m for m in missing if m != "new"]
        elif isinstance(queries, np.ndarray):
            rows: NDArray[Any] = queries
            given = {models[0]: rows} if len(models) == 1 else {}
            missing = [] if len(models) == 1 else models
        else:
            if isinstance(queries, str):
                raise InputError("a single text was given", mend="Give a list of texts")
            missing = [m for m in models if self._encoders[m] is None]
            given = {}
            if not missing:
                texts = list(queries)
                for model in models:
                    encoder = self._encoders[model]
                    assert encoder is not None
                    given[model] = encoder.encode(texts, kind="query")
        if missing:
            raise InputError(
                f"this way ({self.way}) needs the {' and the '.join(models)} model's vectors of "
                f"the queries, and there is nothing for the {' and the '.join(missing)}",
                where="queries",
                mend='Give texts with both encoders, or vectors by model, {"old": ..., "new": ...}',
            )
        for name, rows in given.items():
            if rows.ndim != 2 or rows.dtype.kind != "f":
                raise InputError(
                    f"expected rows (nq, d) of floats, found {rows.dtype} of shape {rows.shape}",
                    where=f"queries, {name}",
                )
        return given

    def _recognise(self, model: Literal["old", "new"], given: Mapping[str, NDArray[Any]]) -> None:
        """Refuse the first queries of a wrong model; later ones are trusted."""
        bridge = self._bridge
        if bridge is None or model not in given or model in self._recognised:
            return
        source = "new" if bridge.kind == "query" else "old"
        if model == source:
            bridge.recognise(given[model], where=f"queries, {model}")
        else:
            bridge.recognise_target(given[model], where=f"queries, {model}")
        self._recognised.add(model)

    def _column_of(self, recall: Recall) -> str:
        if recall.kind == "new":
            if self.columns.new is None:
                raise InputError(
                    "searching among re-embedded items needs their column",
                    where="columns",
                    mend="Name it with columns=Columns(new=...)",
                )
            return self.columns.new
        if recall.kind == "bridge" and self.columns.bridged is not None:
            return self.columns.bridged
        return self.columns.old


class _Limit:
    """When a call must stop encoding."""

    def __init__(self, start: float, budget_ms: float | None, max_encodings: int | None) -> None:
        self.max_encodings = max_encodings
        self._budget_ms = budget_ms
        self._end = None if budget_ms is None else start + budget_ms / 1000

    def left(self, encoded: int) -> int | None:
        """How many items may still be encoded."""
        return None if self.max_encodings is None else max(self.max_encodings - encoded, 0)

    def passed(self) -> str | None:
        """Why the next step may not begin, if it may not."""
        if self._end is not None and time.monotonic() >= self._end:
            return f"{self._budget_ms:g} ms were allowed"
        return None


def _left_out(hits: Hits, without: Ids) -> Hits:
    """One place less, and the items left out gone."""
    out = hits.ids == np.asarray(without)[:, None]
    out[~out.any(axis=1), -1] = True
    kept = ~out
    shape = (len(out), out.shape[1] - 1)
    return Hits(hits.ids[kept].reshape(shape), hits.scores[kept].reshape(shape))


def _in_order_of_rank(items: Ids, inside: NDArray[np.bool_]) -> tuple[Ids, NDArray[np.int64]]:
    """The distinct items, those that stand first in their query first; where each place is there.

    Places that are not ``inside`` point anywhere.
    """
    flat = items.T[inside.T]
    unique, first, which = np.unique(flat, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place_of = np.empty(len(order), dtype=np.int64)
    place_of[order] = np.arange(len(order))
    found = np.zeros(items.T.shape, dtype=np.int64)
    found[inside.T] = place_of[which]
    return unique[order], np.ascontiguousarray(found.T)
