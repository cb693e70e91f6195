"""The only code that answers a query: one `Way`, one store, the encoders that still run.

Evaluation runs it over a store in memory (`isthmus.ways.bench`), production over a vector database.
It recalls, searches a half-filled corpus as one index (hybrid search), and lets the new model
rescore (rerank) what was recalled, step by step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders import Encoder
from isthmus.errors import InputError
from isthmus.evaluate.scores import Metric
from isthmus.stores import Hits, Ids, Store
from isthmus.ways.items import ItemSource, ItemVectors
from isthmus.ways.joined import ColumnQueries, joined_search
from isthmus.ways.queries import Mapped, QueryInput, QueryReader, QueryVectors
from isthmus.ways.rescoring import Limit, NewQueries, RecallTrace, Spent, not_rescored, rescored
from isthmus.ways.way import Needs, Recall, Way

__all__ = ["Answer", "Columns", "Search", "columns_of", "first_results", "joined_answers"]

_TRUSTED = 2
"""Results that trust is read off: the margin between the first two says most."""


@dataclass(frozen=True)
class Columns:
    """Which vector column of the store holds what.

    Example:
        >>> from isthmus.ways import Columns
        >>> Columns(old="vector", new="vector_2026").bridged is None
        True
    """

    old: str = "old"
    """The old model's vectors."""
    new: str | None = None
    """The new model's, of the items that have been re-embedded."""
    bridged: str | None = None
    """The old vectors mapped into the new space, by a corpus bridge."""


def columns_of(store: Store) -> Columns:
    """The columns named ``old``, ``new`` and ``bridged``; for the first, else the store's own.

    Example:
        >>> import numpy as np
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import columns_of
        >>> rows = np.eye(2, dtype=np.float32)
        >>> columns_of(MemoryStore(["a", "b"], {"old": rows, "new": rows}))
        Columns(old='old', new='new', bridged=None)
    """
    names = store.describe().columns
    return Columns(
        "old" if "old" in names else store.column,
        "new" if "new" in names else None,
        "bridged" if "bridged" in names else None,
    )


@dataclass(frozen=True, eq=False)
class Answer:
    """The best items of each query.

    ``ids (nq, k)`` best first and ``scores (nq, k)`` float64: of the first ``rescored (nq,)`` items
    what they were ordered by once the new model had scored them, of the others the score of the
    recall.  The two are on different scales; within each, scores descend.  Where fewer than ``k``
    items can be found, the places left over have the score −∞ and the id -1 or the empty string.
    Equal scores come in the order of the recall, which the store fixes.

    Example:
        >>> import numpy as np
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import Recall, Search, Way
        >>> store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
        >>> answer = Search(Way(recall=Recall(kind="old")), store)(np.array([[0.0, 1.0]]), 2)
        >>> answer.ids.tolist(), answer.scores.tolist(), answer.rescored.tolist()
        ([['b', 'a']], [[1.0, 0.0]], [0])
    """

    ids: Ids
    scores: NDArray[np.float64]
    rescored: NDArray[np.int64]
    trace: RecallTrace
    """Where each item stood before it was rescored."""
    price: Spent = field(default_factory=Spent)
    early: str | None = None
    """Why the rescoring ended before its rule was done; None where it did not."""
    judge: Callable[[], NDArray[np.float64] | None] | None = field(default=None, repr=False)
    """Gives `trust` when somebody asks for it."""

    @cached_property
    def trust(self) -> NDArray[np.float64] | None:
        """Probability that a mapped query finds first what the old model finds first ``(nq,)``:
        read off the margin of the first two results where the mapped query alone made them, and
        else off its vector.  None where the way maps no query, or the bridge has no model of it."""
        return None if self.judge is None else self.judge()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "trust": self.trust, "judge": None}


def first_results(
    answers: Sequence[Answer], way: Way, k: int
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Ids and scores of the first ``k`` results of a way ``(nq, k)``, of one answer after another.

    Scores can be held against each other: −∞ is what was not rescored where the others were, which
    is on the scale of the recall.
    """
    ids = np.concatenate([answer.ids[:, :k] for answer in answers])
    scores = np.concatenate([answer.scores[:, :k].astype(np.float64) for answer in answers])
    if way.rescore is not None:
        rescored = np.concatenate([answer.rescored for answer in answers])
        scores[np.arange(scores.shape[1]) >= rescored[:, None]] = -np.inf
    return ids, scores


def joined_answers(parts: Sequence[Answer]) -> Answer:
    """Answers to several sets of queries, one behind the other, as long as the shortest."""
    k = min(part.ids.shape[1] for part in parts)
    traces = [part.trace.first(k) for part in parts]
    spent = [part.price for part in parts]
    return Answer(
        np.concatenate([part.ids[:, :k] for part in parts]),
        np.concatenate([part.scores[:, :k] for part in parts]),
        np.concatenate([np.minimum(part.rescored, k) for part in parts]),
        RecallTrace(*map(np.concatenate, zip(*traces, strict=True))),
        Spent(*(sum(values) for values in zip(*map(astuple, spent), strict=True))),
    )


class Search:
    """Answers queries in one way.

    Calls from several threads at once are safe.  Usually made by `isthmus.Bridge.search`.

    Args:
        way: what to do.
        store: where the items are.
        columns: which column holds what.
        bridge: maps new queries, and knows the two models; not needed where mapped queries are
            given.
        old: the old model's encoder of query texts.
        new: the new model's, which also encodes the items that are rescored.
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
        self._bridge = bridge
        self._new_metric: Metric = new_metric
        self.read = QueryReader(
            way, bridge, old=old, new=new, maps_queries=self.columns.bridged is None
        )
        self.guards = self.read.guards
        """For each model what holds its queries against the contract, and counts; see `Guard`."""
        held = store.describe()
        self.column = self._column_of(way.recall)
        self._metrics: dict[str, Metric] = {}
        self._exact: dict[str, bool] = {}
        for column in {self.column, *([self.columns.new] if way.joins else [])}:
            if column is not None:
                described = held.column(column)
                self._metrics[column], self._exact[column] = described.metric, described.exact
        if Needs.NEW_COLUMN in way.needs and items is None and self.columns.new is None:
            raise InputError(
                f"this way ({way}) needs {Needs.NEW_COLUMN}, and none is named",
                where=held.where or held.name,
                mend="Fill it with isthmus plan --bridge and isthmus migrate run, and name it with "
                "columns=Columns(new=...)",
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
        queries: QueryInput,
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
            ContractError: for vectors that break the contract of their model, such as NaN.
            WrongSpaceError: for vectors of a wrong model.
            StoreError: if the store refuses.
        """
        if k < 1:
            raise InputError(f"a search has 1 result or more, got {k}", where="k")
        start = time.monotonic()
        asked = self.read(queries)
        most = 0 if self.way.rescore is None else self.way.rescore.most
        hits = self._first(asked, max(k, most, _TRUSTED), without)
        if self.way.rescore is None:
            found = not_rescored(hits)
        else:
            assert asked.new is not None and self._items is not None
            found = rescored(
                self.way.rescore,
                NewQueries(asked.new, self._new_metric),
                hits,
                self._items,
                Limit(start, budget_ms, max_encodings),
            )
        spent, n = found.spent, len(found.ids)
        price = Spent(
            queries=n,
            old_queries=n * (asked.old is not None),
            new_queries=n * (asked.new is not None),
            rescored=spent.rescored,
            ahead=spent.ahead,
            encoded=spent.encoded,
            seconds=time.monotonic() - start,
        )
        return Answer(
            found.ids[:, :k],
            found.scores[:, :k],
            np.minimum(found.depths, k),
            found.trace.first(k),
            price,
            found.early,
            partial(self._trust, asked, hits.scores[:, :_TRUSTED]),
        )

    def first_queries(self, asked: QueryVectors) -> NDArray[Any]:
        """The vectors that search the column of the recall ``(nq, d)``."""
        metric = self._metrics[self.column]
        return self.way.recall.queries(asked.old, asked.new, asked.bridged, metric)

    def _first(self, asked: QueryVectors, depth: int, without: Ids | None) -> Hits:
        """What is found before anything is rescored."""
        rows = self.first_queries(asked)
        wanted = depth + (without is not None)
        if self.way.joins:
            assert self.way.part is not None and self.way.part.join is not None
            assert asked.new is not None and self.columns.new is not None
            hits = joined_search(
                self.store,
                self._asked(rows, self.column),
                self._asked(asked.new, self.columns.new),
                self.way.part.join,
                wanted,
            )
        else:
            hits = self.store.search(rows, wanted, column=self.column)
        return hits if without is None else _left_out(hits, without)

    def _asked(self, rows: NDArray[Any], column: str) -> ColumnQueries:
        return ColumnQueries(rows, column, self._metrics[column], self._exact[column])

    def _trust(self, asked: QueryVectors, scores: NDArray[Any]) -> NDArray[np.float64] | None:
        """Of each query: after the search where a mapped query alone made it, else before it."""
        bridge = self._bridge
        if bridge is None or bridge.trust is None or asked.bridged is None or asked.new is None:
            return None
        trust = np.asarray(bridge.trust(asked.new), dtype=np.float64)
        alone = self.way.recall.kind == "bridge" and not self.way.joins
        comparable = self._metrics.get(self.column) == bridge.target.metric
        if not (alone and comparable) or scores.shape[1] < _TRUSTED:
            return trust
        told = np.isfinite(scores).all(axis=1)
        trust[told] = bridge.trust.after_search(trust[told], scores[told])
        return trust

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


def _left_out(hits: Hits, without: Ids) -> Hits:
    """One place less, and the items left out gone."""
    out = hits.ids == np.asarray(without)[:, None]
    out[~out.any(axis=1), -1] = True
    kept = ~out
    shape = (len(out), out.shape[1] - 1)
    return Hits(hits.ids[kept].reshape(shape), hits.scores[kept].reshape(shape))
