"""Ways run by the code that will run them: `Search`, over a trial held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.price import Price
from isthmus.evaluate.ranks import Ranks
from isthmus.evaluate.rescore import rescored_ranks
from isthmus.evaluate.trial import Trial
from isthmus.ways.choose import ChosenWays
from isthmus.ways.items import KnownItems
from isthmus.ways.judged_recall import JudgedRecall, WhichMaps
from isthmus.ways.measure import price_of
from isthmus.ways.search import Answer, Search, first_results, joined_answers
from isthmus.ways.thresholds import Thresholds, fit_thresholds
from isthmus.ways.trial_store import TrialStore
from isthmus.ways.way import Way

__all__ = ["Bench", "Nested", "run_way", "search_of"]

_OVERLAP_K = 10

QueriesByModel = Mapping[str, NDArray[Any]]


def search_of(
    trial: Trial,
    way: Way,
    *,
    filled: NDArray[np.bool_] | None = None,
    depth: int = _OVERLAP_K,
    known: Any = None,
    kept: KnownItems | None = None,
) -> Search:
    """The search of one way over a trial in memory, as an evaluation runs it.

    Args:
        trial: its vectors.
        way: what to run.
        filled: which items ``(ng,)`` are re-embedded, for a way with a part.
        depth: results that its store remembers.
        known: what another store of the same trial remembers.
        kept: the new model's vectors of its items, some of which were encoded before.
    """
    new: NDArray[np.bool_] | bool = way.recall.kind == "new"
    if way.joins:
        assert filled is not None
        new = filled
    store = TrialStore(trial, depth, new=new, known=known)
    items = None
    if way.rescore is not None or way.part is not None:
        assert trial.gallery_new is not None
        items = KnownItems(trial.gallery_new, filled) if kept is None else kept
    return Search(
        way, store, columns=store.columns, items=items, new_metric=trial.metric_new or trial.metric
    )


def run_way(trial: Trial, name: str, chosen: ChosenWays) -> tuple[Ranks, Price]:
    """One of the chosen ways alone, as an evaluation runs it.

    Returns:
        Ranks of the relevant items in the whole answer, and what it cost.
    """
    bench = Bench(trial, chosen.ways, chosen, 0)
    bench.run(name)
    return bench.ranks[name], bench.price(name)


@dataclass(frozen=True, eq=False)
class Nested:
    """Queries that chose ways themselves, and are judged in ways that the others chose."""

    own: NDArray[np.bool_]
    """Which queries ``(nq,)``; they come behind the others."""
    chosen: ChosenWays
    """What the others chose: the same arms."""

    def of(self, kept: NDArray[np.bool_]) -> Nested:
        """Among the queries where ``kept (nq,)`` is true."""
        return replace(self, own=self.own[kept])


class Bench:
    """All ways, run one after another on the same queries.

    Args:
        trial: its vectors; every query has a relevant item, or none is known.
        ways: by the name of their arm.
        chosen: which items are re-embedded in a way with a part, and what is told of it.
        seed: of the control's permutation, and of ranks among unfitted rows.
        nested: the queries that chose these ways, where they judge too.
    """

    def __init__(
        self,
        trial: Trial,
        ways: Mapping[str, Way],
        chosen: ChosenWays,
        seed: int,
        nested: Nested | None = None,
    ) -> None:
        self.trial, self.ways, self.chosen = trial, ways, chosen
        self._parts: list[Bench] = []
        if nested is not None and nested.own.any() and not nested.own.all():
            assert (np.diff(np.flatnonzero(nested.own)) == 1).all() and nested.own[-1]
            assert set(nested.chosen.ways) == set(chosen.ways)
            sides = ((~nested.own, chosen), (nested.own, nested.chosen))
            self._parts = [Bench(trial.of(rows), of.ways, of, seed) for rows, of in sides]
        self.k = min(_OVERLAP_K, trial.n_searchable)
        deepest = max(w.rescore.most if w.rescore else 0 for w in ways.values())
        self._depth = max(self.k, deepest) + (trial.exclude is not None)
        self._known: Any = {}
        self._permuted, self._seed = _permuted(trial, seed), seed
        self._told: dict[str, JudgedRecall] = {}
        self.answers: dict[str, Answer] = {}
        self.ranks: dict[str, Ranks] = {}

    def run(self, name: str, kept: KnownItems | None = None) -> None:
        """Answer every query in one way, and rank its relevant items in the whole answer.

        Args:
            name: of the arm.
            kept: what other queries had encoded already.
        """
        way, trial = self.ways[name], self.trial
        if parts := self._parts_of(name):
            if way.rescore is not None and way.part is None:
                assert trial.gallery_new is not None
                kept = KnownItems(trial.gallery_new)
            for part in parts:
                part.run(name, kept)
            self.answers[name] = joined_answers([part.answers[name] for part in parts])
            self.ranks[name] = Ranks.joined([part.ranks[name] for part in parts])
            return
        asked = self._permuted if name == "control" else _asked(trial)
        search, self.answers[name] = self._searched(name, asked, kept)
        if trial.relevance is not None:
            filled = self.chosen.filled.get(name)
            self.ranks[name] = _whole_ranks(search, asked, self.answers[name], trial, filled)

    def _searched(
        self, name: str, asked: QueriesByModel, kept: KnownItems | None = None
    ) -> tuple[Search, Answer]:
        """A search of the trial in one way, and what it answers."""
        way, trial, filled = self.ways[name], self.trial, self.chosen.filled.get(name)
        search = search_of(
            trial, way, filled=filled, depth=self._depth, known=self._known, kept=kept
        )
        k = max(self.k, way.rescore.most if way.rescore else 0)
        return search, search(asked, k, without=trial.exclude)  # pyright: ignore

    def _parts_of(self, name: str) -> list[Bench]:
        """Benches of parts of the queries, where an arm is another way for each."""
        return [part for part in self._parts if name in part.ways]

    def values(self, name: str, metrics: Sequence[MetricAt]) -> NDArray[np.float64]:
        """Each metric of each query ``(nq, m)``, expected among rows that no map was fitted on."""
        return self._each(name, lambda judged: judged.values(metrics))

    def told(
        self, name: str, metrics: Sequence[MetricAt]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What the map that is served is expected to find, and what each query moves the mean of
        that by beside its own values ``(nq, m)``.

        Without the luck of the map with the queries that chose it, where it has any.
        """
        told = self._each(name, lambda judged: judged.told(metrics))
        noise = self._each(name, lambda judged: judged.noise(metrics))
        luck = self._each(name, lambda judged: judged.luck(metrics))
        lucky = luck.mean(axis=0) > 0
        if lucky.any():
            told -= lucky * luck
            noise -= lucky * self._each(name, lambda judged: judged.luck_noise(metrics))
        return told, noise

    def _each(
        self, name: str, of: Callable[[JudgedRecall], NDArray[np.float64]]
    ) -> NDArray[np.float64]:
        """What is told of every query, where an arm is another way for each part of them too."""
        if parts := self._parts_of(name):
            return np.concatenate([part._each(name, of) for part in parts])
        return of(self._judged(name))

    def thresholds(self, seed: int) -> Thresholds | None:
        """What thresholds on the old model's scores become in every other way, as it is served."""
        scores, relevant = dict[str, NDArray[np.float64]](), dict[str, NDArray[np.bool_]]()
        for name in self.answers:
            if ARMS[name].role == "check":
                continue
            ids, scores[name] = first_results(self._served(name), self.ways[name], self.k)
            if self.trial.relevance is not None:
                relevant[name] = self.trial.relevance.among(ids.astype(np.int64))
        return fit_thresholds(scores, relevant or None, seed=seed)

    def _served(self, name: str) -> list[Answer]:
        """All queries answered in the way that is served: scores of another weight are others."""
        parts = self._parts_of(name)
        if not parts or parts[0].ways[name] == parts[1].ways[name]:
            return [self.answers[name]]
        others, own = parts
        served = Bench(own.trial, self.ways, self.chosen, self._seed)
        return [others.answers[name], served._searched(name, _asked(own.trial))[1]]

    @property
    def among_unfitted(self) -> bool:
        """Whether the bridge was measured without the attraction of fitted rows."""
        known = self.trial.relevance is not None
        return known and self._judged("bridge").found is not None

    def is_adjusted(self, name: str) -> bool:
        """Whether an arm is told otherwise than it was found."""
        if parts := self._parts_of(name):
            return any(part.is_adjusted(name) for part in parts)
        return self._judged(name).adjusted

    def _judged(self, name: str) -> JudgedRecall:
        """One search as it is told; of a way that is more, and of the control, its ranks alone."""
        way, ranks = self.ways[name], self.ranks[name]
        if name == "control" or way.rescore is not None or way.part is not None:
            return JudgedRecall(ranks)
        if name not in self._told:
            self._told[name] = JudgedRecall.of(self.trial, way.recall, ranks, seed=self._seed)
        return self._told[name]

    def middle(self, name: str, metric: MetricAt, of: WhichMaps = "found") -> Ranks | None:
        """See `JudgedRecall.middle`."""
        if parts := self._parts_of(name):
            found = [part.middle(name, metric, of) for part in parts]
            known = [ranks for ranks in found if ranks is not None]
            return Ranks.joined(known) if len(known) == len(found) else None
        return self._judged(name).middle(metric, of)

    def price(self, name: str) -> Price:
        """Beyond what doing nothing costs."""
        spent, filled = self.answers[name].price, self.chosen.filled.get(name)
        return price_of(name, self.ways[name], spent, self.trial.n_gallery, filled)


def _whole_ranks(
    search: Search,
    asked: QueriesByModel,
    answer: Answer,
    trial: Trial,
    filled: NDArray[np.bool_] | None,
) -> Ranks:
    """Ranks of the relevant items in the answer as long as the gallery.

    What was rescored stands as the answer has it; everything behind it keeps the order of the
    recall, in which ranks are counted.
    """
    assert trial.relevance is not None and isinstance(search.store, TrialStore)
    vectors = search.read(asked)  # pyright: ignore[reportArgumentType]
    rows, way = search.first_queries(vectors), search.way
    if way.joins:
        assert way.part is not None and way.part.join is not None
        assert filled is not None and vectors.new is not None
        ranks = search.store.joined_ranks((rows, search.column), vectors.new, filled, way.part.join)
    else:
        ranks = search.store.ranks(rows, search.column)
    if way.rescore is None:
        return ranks
    window = np.s_[:, : way.rescore.most]
    relevant = trial.relevance.among(answer.ids[window].astype(np.int64))
    return rescored_ranks(ranks, relevant, answer.scores[window], depths=answer.rescored)


def _asked(trial: Trial) -> QueriesByModel:
    asked = {"old": trial.query_old, "new": trial.query_new}
    return asked if trial.query_bridged is None else {**asked, "bridged": trial.query_bridged}


def _permuted(trial: Trial, seed: int) -> QueriesByModel:
    """One cycle through all queries in random order: no query keeps its own vector."""
    rows = trial.bridge.queries
    order = np.random.default_rng(seed).permutation(len(rows))
    permuted = np.empty_like(rows)
    permuted[order] = rows[np.roll(order, 1)]
    return {**_asked(trial), "new" if trial.query_bridged is None else "bridged": permuted}
