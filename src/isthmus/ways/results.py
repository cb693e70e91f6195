"""The answer to each query as people and programs read it: payload, and how each item came there.

``isthmus search`` and the demo print these.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.arms import words_of
from isthmus.ways.items import Origin
from isthmus.ways.queries import QueryInput
from isthmus.ways.rescoring import Spent
from isthmus.ways.search import Answer, Search

__all__ = ["QueryLimits", "QueryResults", "Result", "run_queries"]

_TOGETHER = 256
"""Queries of one call, unless each is explained."""
_SHOWN = 160
_ORIGINS = {
    Origin.NOT_AFFORDED: "not afforded",
    Origin.NO_TEXT: "no text to encode",
    Origin.COLUMN: "second column",
    Origin.KEPT: "cache",
    Origin.ENCODED: "encoded now",
}


class QueryLimits(NamedTuple):
    """What one call of a search may cost: see `isthmus.ways.Search`.

    Example:
        >>> from isthmus.ways import QueryLimits
        >>> QueryLimits(max_encodings=20).budget_ms is None
        True
    """

    budget_ms: float | None = None
    max_encodings: int | None = None


_NO_LIMITS = QueryLimits()


@dataclass(frozen=True)
class Result:
    """One item that was found.

    Attributes:
        rank: from 1.
        id: of the item.
        score: what it was ordered by.
        text: None where the store holds none.
        payload: the other fields.
        recall_rank: where the recall put it, from 1.
        recall_score: and with which score.
        vector: where the new model's vector of it came from: ``second column``, ``cache``,
            ``encoded now``, ``no text to encode`` or ``not afforded``; None where it was not
            rescored.
        alone: for a mixed recall that is explained, its rank for either query alone, by ``old`` and
            ``bridged``; None where that query does not find it among as many.
        reembedded: for a way with a part re-embedded that is explained, whether it is in the part.

    Example:
        >>> from isthmus.ways import Result
        >>> found = Result(1, "a7", 0.62, "a bridge", {}, 4, recall_score=0.5, vector="cache")
        >>> found.rank, found.recall_rank
        (1, 4)
    """

    rank: int
    id: int | str
    score: float
    text: str | None
    payload: Mapping[str, Any]
    recall_rank: int
    recall_score: float
    vector: str | None
    alone: Mapping[str, int | None] | None = None
    reembedded: bool | None = None


@dataclass(frozen=True)
class QueryResults:
    """What one query found.

    Attributes:
        query: its text, or its id or row.
        way: the name of the way, and ``described`` the way in words.
        results: best first.
        trust: probability that the mapped query finds first what the old model finds first.
        price: what this query cost; None where queries were asked together.
        early: why the rescoring ended before its rule was done.
        depth: items that were recalled, among which the ranks of ``Result.alone`` are.

    Example:
        >>> from isthmus.ways import QueryResults, Result
        >>> found = Result(1, "a7", 0.62, "a bridge", {}, 1, recall_score=0.62, vector=None)
        >>> answered = QueryResults("river", "bridge", "new queries through the bridge", (found,))
        >>> [result["id"] for result in answered.as_json()["results"]]
        ['a7']
    """

    query: str | int
    way: str
    described: str
    results: tuple[Result, ...]
    trust: float | None = None
    price: Spent | None = None
    early: str | None = None
    depth: int = 0

    def as_json(self, *, explain: bool = False) -> dict[str, Any]:
        """Plain values; with ``explain``, also how each item came there."""
        out: dict[str, Any] = {
            "query": self.query,
            "way": self.way,
            "results": [_as_json(result, explain=explain) for result in self.results],
        }
        if self.trust is not None:
            out["trust"] = round(self.trust, 6)
        if self.early is not None:
            out["early"] = self.early
        if explain:
            out["described"] = self.described
            if self.price is not None:
                out["price"] = {
                    "old_queries": self.price.old_queries,
                    "new_queries": self.price.new_queries,
                    "rescored": self.price.rescored,
                    "from_second_column": self.price.ahead,
                    "encoded": self.price.encoded,
                    "seconds": round(self.price.seconds, 6),
                }
        return out

    def lines(self, *, explain: bool = False, mark: int | str | None = None) -> list[str]:
        """What a terminal shows; the item whose id is ``mark`` gets a star."""
        out = [f"way: {words_of(self.way)} ({self.described})"] if explain else []
        wide = max((len(str(result.id)) for result in self.results), default=0)
        for result in self.results:
            star = "" if mark is None else "* " if result.id == mark else "  "
            text = "" if result.text is None else f"  {_short(result.text)}"
            score = f"{result.score:.4f}"
            out.append(f"{star}{result.rank:>3}. {score}  {str(result.id).ljust(wide)}{text}")
            payload = ", ".join(f"{name}: {_short(str(v))}" for name, v in result.payload.items())
            if payload:
                out.append(f"{star and '  '}     {payload}")
            if explain:
                out.append(f"{star and '  '}     {self._how(result)}")
        if not self.results:
            out.append("nothing was found")
        if self.early is not None:
            out.append(f"rescoring ended early: {self.early}")
        if explain:
            out += self._costs()
        return out

    def _how(self, result: Result) -> str:
        recall = self.described.partition(",")[0]
        said = f"recalled {_place(result.recall_rank)} with {result.recall_score:.4f} ({recall}"
        if result.alone is not None:
            alone = [
                f"{'old' if name == 'old' else 'bridged'} query alone: "
                + (f"not among {self.depth}" if rank is None else _place(rank))
                for name, rank in result.alone.items()
            ]
            said += f"; {', '.join(alone)}"
        said += ")"
        if result.reembedded is not None:
            said += ", re-embedded" if result.reembedded else ", not re-embedded"
        if result.vector is not None:
            said += f"; new vector: {result.vector}"
        return said

    def _costs(self) -> list[str]:
        out: list[str] = []
        if self.trust is not None:
            out.append(
                f"trust {self.trust:.2f}: so likely the mapped query finds first what the old "
                "model would"
            )
        if self.price is not None:
            spent = self.price
            asked = [
                f"the {model} model's vector of the query"
                for model, n in (("old", spent.old_queries), ("new", spent.new_queries))
                if n
            ]
            kept = spent.rescored - spent.ahead - spent.encoded
            asked.append(
                f"{spent.rescored} items rescored: {spent.ahead} from the second column, {kept} "
                f"from the cache, {spent.encoded} encoded now"
                if spent.rescored
                else "nothing rescored"
            )
            out.append(f"price: {'; '.join(asked)}; {1000 * spent.seconds:.0f} ms")
        return out


def run_queries(
    search: Search,
    queries: QueryInput,
    k: int,
    *,
    way: str,
    names: Sequence[str | int],
    explain: bool = False,
    limits: QueryLimits = _NO_LIMITS,
) -> Iterator[QueryResults]:
    """Answer queries and look up what was found, in the order of the queries.

    Args:
        search: answers them.
        queries: as `Search` takes them.
        k: results of each.
        way: what the way is called.
        names: of each query, what it is shown as.
        explain: also ask what the two queries of a mix find alone, and whether an item is
            re-embedded; each query is then a call of its own, with its own price.
        limits: of each call.

    Raises:
        IsthmusError: as `Search`.

    Example:
        >>> import numpy as np
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import Recall, Search, Way, run_queries
        >>> store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
        >>> search = Search(Way(recall=Recall(kind="old")), store)
        >>> for answered in run_queries(search, np.eye(2), 1, way="old", names=["left", "up"]):
        ...     print(answered.query, answered.results[0].id)
        left a
        up b
    """
    step = 1 if explain else _TOGETHER
    for start in range(0, len(names), step):
        part = slice(start, start + step)
        some: Any = (
            {model: rows[part] for model, rows in queries.items()}
            if isinstance(queries, Mapping)
            else queries[part]
        )
        answer = search(
            some, k, budget_ms=limits.budget_ms, max_encodings=limits.max_encodings
        )  # fmt: skip
        yield from _results(search, some, answer, way, names[part], explain=explain)


def _results(
    search: Search,
    queries: QueryInput,
    answer: Answer,
    way: str,
    names: Sequence[str | int],
    *,
    explain: bool,
) -> Iterator[QueryResults]:
    most = 0 if search.way.rescore is None else search.way.rescore.most
    depth = max(answer.ids.shape[1], most)
    found = answer.trace.scores > -np.inf
    ids = np.unique(answer.ids[found])
    held = dict(zip(ids.tolist(), search.store.payload(ids), strict=True)) if len(ids) else {}
    text_field = search.store.describe().text_field
    alone = _alone(search, queries, depth) if explain else {}
    part = _part(search, ids) if explain else None
    for row, name in enumerate(names):
        results: list[Result] = []
        for place in np.flatnonzero(found[row]).tolist():
            item = answer.ids[row, place].item()
            payload = dict(held[item])
            text = None if text_field is None else payload.pop(text_field, None)
            results.append(
                Result(
                    place + 1,
                    item,
                    float(answer.scores[row, place]),
                    None if text is None else str(text),
                    payload,
                    int(answer.trace.ranks[row, place]),
                    float(answer.trace.scores[row, place]),
                    _ORIGINS.get(Origin(int(answer.trace.origins[row, place]))),
                    {model: _rank(ranked[row], item) for model, ranked in alone.items()} or None,
                    None if part is None else item in part,
                )
            )
        yield QueryResults(
            name,
            way,
            str(search.way),
            tuple(results),
            None if answer.trust is None else float(answer.trust[row]),
            answer.price if len(names) == 1 else None,
            answer.early,
            depth,
        )


def _alone(search: Search, queries: QueryInput, depth: int) -> dict[str, NDArray[Any]]:
    """What either query of a mix finds by itself ``(nq, depth)``."""
    if search.way.recall.kind != "mixed":
        return {}
    asked = search.read(queries)
    assert asked.old is not None and asked.bridged is not None
    return {
        "old": search.store.search(asked.old, depth, column=search.column).ids,
        "bridged": search.store.search(asked.bridged, depth, column=search.column).ids,
    }


def _part(search: Search, ids: NDArray[Any]) -> set[Any] | None:
    """Those of ``ids (n,)`` that are re-embedded, where the way has a part that is."""
    if search.way.part is None or search.columns.new is None or not len(ids):
        return None
    return set(ids[search.store.fetch(ids, column=search.columns.new).present].tolist())


def _rank(ranked: NDArray[Any], item: int | str) -> int | None:
    places = np.flatnonzero(ranked == item)
    return int(places[0]) + 1 if len(places) else None


def _as_json(result: Result, *, explain: bool) -> dict[str, Any]:
    out: dict[str, Any] = {
        "rank": result.rank,
        "id": result.id,
        "score": result.score if np.isfinite(result.score) else None,
    }
    if result.text is not None:
        out["text"] = result.text
    if result.payload:
        out["payload"] = json.loads(json.dumps(dict(result.payload), default=_plain))
    if explain:
        alone = {} if result.alone is None else {"alone": dict(result.alone)}
        out["recall"] = {"rank": result.recall_rank, "score": result.recall_score, **alone}
        if result.vector is not None:
            out["vector"] = result.vector
        if result.reembedded is not None:
            out["reembedded"] = result.reembedded
    return out


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _place(rank: int) -> str:
    ending = (
        "th" if rank % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th")
    )
    return f"{rank}{ending}"


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
