"""Queries answered through the whole of a migration, always in the way of the plan.

Before anything is filled the plan's recall searches the old vectors, as a rule by the bridge; while
the new column fills, both are searched as one index (hybrid search); after the cut-over the new
vectors alone, as long as no item lacks one.  Whoever still asks with the old model's vectors is
answered all the time: from the old vectors before, and through the bridge back after the cut-over.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import Bridge
from isthmus.encoders import Encoder
from isthmus.errors import InputError, StoreChangedError, StoreError
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.plan import Plan
from isthmus.stores import Store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.search import Answer, Columns, Search
from isthmus.ways.way import Join, Part, Recall, Way

__all__ = ["LiveSearch", "Standing"]

_COUNTING = 20
"""Times what counting the items takes, and times what a look at the state may be old: a large table
is not counted all the time."""
_WAITS = (0.0, 0.02, 0.1)
"""Seconds before a search that the store refused is made again."""


@dataclass(frozen=True)
class Standing:
    """What the search goes by: the state of the migration, and how much of the index is filled."""

    state: State | None
    filled: int
    count: int
    moved: bool
    """Whether the alias stands for the new vectors."""

    @property
    def share(self) -> float:
        """The share of the items that have a new vector."""
        return self.filled / self.count if self.count else 0.0


class LiveSearch:
    """Answers queries at every moment of a migration; calls from several threads are safe.

    Args:
        plan: of the migration, begun or not.
        store: opened at the collection of the plan.
        new: encoder of query texts, where texts are asked.
        old: the same, where the way asks the old model too.
        refresh: seconds for which what is known of the migration is taken to hold; how many items
            are filled is counted anew after as long or 20 times what counting took, but at most
            after 20 times as long.

    Raises:
        InputError: for a bridge that is not the plan's.
        StoreError: as the store.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import LiveSearch, Plan
        >>> from isthmus.stores import open_store
        >>> plan = Plan.load(Path("plan.json"))  # what isthmus plan wrote
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     search = LiveSearch(plan, store, new=open_encoder("static:new.safetensors"))
        ...     print(search(["bar kond milt"], k=2).ids.shape, search.standing().share)
        (1, 2) 0.0
    """

    def __init__(
        self,
        plan: Plan,
        store: Store,
        *,
        new: Encoder | None = None,
        old: Encoder | None = None,
        refresh: float = 1.0,
    ) -> None:
        target = plan.target
        self.plan = plan
        self.store = with_second_column(store, target.new_column)
        self._new, self._old, self._refresh = new, old, refresh
        self._bridge, self._back = (
            None if artefact is None else _loaded(artefact) for artefact in (plan.bridge, plan.back)
        )
        self._columns = Columns(target.old_column, target.new_column)
        self._searches: dict[str, Search] = {}
        self._looking = Lock()
        self._standing: tuple[float, Standing] | None = None
        self._count_again = 0.0

    def standing(self) -> Standing:
        """Where the migration is, about ``refresh`` seconds old at most.

        One caller looks; the others go on by what is known until it has.
        """
        known = self._standing
        if known is not None and time.monotonic() - known[0] < self._refresh:
            return known[1]
        if not self._looking.acquire(blocking=known is None):
            assert known is not None
            return known[1]
        try:
            before, known = known, self._standing
            if known is None or known is before:
                found = self._looked(None if known is None else known[1])
                known = self._standing = (time.monotonic(), found)
            return known[1]
        finally:
            self._looking.release()

    def _looked(self, known: Standing | None) -> Standing:
        target = self.plan.target
        journal = Journal(self.store.ledger("journal"))
        state = journal.state if journal.plan == self.plan.digest else None
        moved = self.store.alias(target.alias) == target.alias_new
        if isinstance(self.store, BesideStore):
            self.store.leads = moved
        began = time.monotonic()
        same = known is not None and (state, moved) == (known.state, known.moved)
        if known is not None and same and began < self._count_again:
            return known
        there = target.new_column in self.store.describe().columns
        filled = self.store.filled(target.new_column) if there and state is not None else 0
        found = Standing(state, filled, self.store.count(), moved)
        now, most = time.monotonic(), _COUNTING * self._refresh
        self._count_again = now + min(max(self._refresh, _COUNTING * (now - began)), most)
        return found

    def way(self, model: Literal["new", "old"] = "new") -> Way:
        """The way in which queries of a model are answered now."""
        return self._way(self.standing(), model)

    def _way(self, standing: Standing, model: Literal["new", "old"]) -> Way:
        serving = self.plan.serving
        whole = standing.moved and standing.filled >= standing.count
        if model == "old":
            over = whole and self._back is not None
            return Way(recall=Recall(kind="new" if over else "old"))
        if whole or standing.state == State.CLEANED:
            return Way(recall=Recall(kind="new"))
        recall, rescore = serving.recall, serving.rescore
        join: Join | None = None
        if standing.filled:
            join = serving.join_at(standing.share)
        if join is None:
            return Way(recall=recall, rescore=rescore)
        part = Part(share=min(1.0, standing.share), order=self.plan.order[0], join=join)
        return Way(recall=recall, rescore=rescore, part=part)

    def __call__(
        self,
        queries: Sequence[str] | Mapping[Literal["old", "new"], NDArray[Any]],
        k: int = 10,
        *,
        model: Literal["new", "old"] | None = None,
    ) -> Answer:
        """The ``k`` best items of each query; see `Search`.

        Args:
            queries: texts, or vectors by model; vectors of the old model alone are answered too.
            k: results of each query.
            model: which model asks; told by the vectors that are given, and ``new`` for texts.

        Raises:
            InputError, StoreError: as `Search`.
        """
        if model is None:
            only_old = isinstance(queries, Mapping) and "new" not in queries
            model = "old" if only_old else "new"
        for wait in _WAITS:
            try:
                return self._answer(queries, k, model)
            except StoreError:
                # the migration has perhaps just made, moved or dropped what was searched, or is
                # about to: a folder is not removed in one step
                self._standing = None
                self._searches = {}
                time.sleep(wait)
        return self._answer(queries, k, model)

    def _answer(self, queries: Any, k: int, model: Literal["new", "old"]) -> Answer:
        way = self._way(self.standing(), model)
        try:
            if model == "old" and way.recall.kind == "new":
                return self._search(way, "back")({"new": self._mapped_back(queries)}, k)
            return self._search(way, model)(queries, k)
        except InputError as error:
            # no fault of who asks, where the way was chosen before a column went
            gone = self._read_by(way) - self.store.describe().columns.keys()
            if not gone:
                raise
            raise StoreChangedError(
                f"the column '{min(gone)}' was dropped just now", where=self.store.url
            ) from error

    def _read_by(self, way: Way) -> set[str]:
        """The columns that a way searches."""
        target = self.plan.target
        first = target.new_column if way.recall.kind == "new" else target.old_column
        return {first, target.new_column} if way.joins else {first}

    def _mapped_back(self, queries: Any) -> NDArray[np.float32]:
        """Old queries in the new space."""
        assert self._back is not None
        if isinstance(queries, Mapping):
            rows = np.asarray(queries["old"], dtype=np.float32)
        else:
            assert self._old is not None
            rows = self._old.encode(list(queries), kind="query")
        return np.asarray(self._back.transform(rows), dtype=np.float32)

    def _search(self, way: Way, model: str) -> Search:
        """The search of a way; the share is for people, so one is kept for each join."""
        part = way.part
        like = way if part is None else way.model_copy(
            update={"part": part.model_copy(update={"share": 1.0})}
        )  # fmt: skip
        key = f"{model} {like.model_dump_json()}"
        found = self._searches.get(key)
        if found is None:
            found = self._searches[key] = Search(
                like,
                self.store,
                columns=self._columns,
                bridge=self._bridge if way.recall.rests_on_bridge else None,
                old=self._old,
                new=self._new,
                new_metric=self.plan.target.metric,
            )
        return found


def _loaded(artefact: Any) -> Bridge:
    artefact.check()
    return Bridge.load(artefact.path)
