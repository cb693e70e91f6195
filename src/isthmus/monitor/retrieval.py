"""Retrieval on fixed canary queries: the same questions at every look, by the code that serves.

The queries are the whole population, so that their mean is known without an interval: what is found
less at a later look was lost, by the model, the index or the bridge.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.errors import InputError
from isthmus.registry import Bound
from isthmus.spaces.query_log import QueryLog
from isthmus.ways import Search

__all__ = ["CanaryQueries", "Retrieval", "ask"]

_SHOWN = 10
_TOGETHER = 256


@dataclass(frozen=True)
class Retrieval:
    """What canary queries find now, and what they found at the first look.

    Example:
        >>> from isthmus.monitor import Retrieval
        >>> found = Retrieval(queries=20, hit=0.7, first=0.8, tolerance=0.02, lost=(), broken=())
        >>> found.alarms
        ('canary queries find 0.700 of their answers, 0.800 at the first look',)
    """

    queries: int
    hit: float
    """Mean over the queries of the share of their answers that is found."""
    first: float
    """The same at the first look."""
    tolerance: float
    """The loss that is still called none."""
    lost: tuple[str, ...]
    """Some of the queries that find less than they did."""
    broken: tuple[str, ...]
    """Bounds that do not hold."""

    @property
    def alarms(self) -> tuple[str, ...]:
        """What is wrong."""
        found = [f"canary queries break the bound {bound}" for bound in self.broken]
        if self.hit < self.first - self.tolerance:
            found.append(
                f"canary queries find {self.hit:.3f} of their answers, {self.first:.3f} at the "
                "first look"
            )
        return tuple(found)


class CanaryQueries:
    """What canary queries found at the first look.

    Args:
        bounds: of the mean, as ``retrieval >= 0.8``.
        tolerance: the loss that is still called none.
        first: of each query, by its digest, the share of its answers that was found.

    Example:
        >>> from isthmus.monitor import CanaryQueries
        >>> queries = CanaryQueries()
        >>> _ = queries.look({"river bank": 1.0, "savings bank": 1.0})
        >>> queries.look({"river bank": 1.0, "savings bank": 0.5}).lost
        ('savings bank',)
    """

    def __init__(
        self,
        bounds: tuple[Bound, ...] = (),
        *,
        tolerance: float = 0.02,
        first: Mapping[str, float] | None = None,
    ) -> None:
        self.bounds, self.tolerance = bounds, tolerance
        self.first = None if first is None else dict(first)

    def look(self, found: Mapping[str, float]) -> Retrieval:
        """Hold what queries find now ``{text: share}`` against the first look, or make it that.

        Raises:
            InputError: for other queries than those of the first look.
        """
        now = {_digest(text): hit for text, hit in found.items()}
        if not now:
            raise InputError("there are no canary queries with answers", where="--ask")
        if self.first is None:
            self.first = now
        if self.first.keys() != now.keys():
            raise InputError(
                "these are not the canary queries of the first look",
                where="--ask",
                mend="Give the same file, or begin with another --state",
            )
        hit = float(np.mean([*now.values()]))
        lost = [text for text, share in found.items() if share < self.first[_digest(text)]]
        broken = [
            str(b) for b in self.bounds if (hit < b.bound if b.sign == ">=" else hit > b.bound)
        ]
        first = float(np.mean([*self.first.values()]))
        return Retrieval(
            len(now), hit, first, self.tolerance, tuple(lost[:_SHOWN]), tuple(broken)
        )  # fmt: skip


def ask(search: Search, log: QueryLog, *, k: int = 10) -> dict[str, float]:
    """The share of the answers of every query of a log that is among its first ``k`` results.

    Queries without known answers are passed over; of more than ``k`` answers, ``k`` are all.

    Raises:
        IsthmusError: as `Search`.

    Example:
        >>> import numpy as np
        >>> from isthmus.encoders import CallableEncoder
        >>> from isthmus.monitor import ask
        >>> from isthmus.spaces.query_log import QueryLog
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import Recall, Search, Way
        >>> store = MemoryStore(["a", "b"], {"old": np.eye(2, dtype=np.float32)})
        >>> counts = CallableEncoder(
        ...     lambda texts: [[t.count("river"), t.count("money")] for t in texts],
        ...     name="counts", revision="1", dim=2,
        ... )
        >>> search = Search(Way(recall=Recall(kind="old")), store, old=counts)
        >>> asked = ("river bank", "money lent")
        >>> log = QueryLog(np.array(["0", "1"]), asked, np.ones(2), {"0": ["a"], "1": ["a"]})
        >>> ask(search, log, k=1)
        {'river bank': 1.0, 'money lent': 0.0}
    """
    known = [
        (text, log.clicked[name])
        for name, text in zip(log.ids.tolist(), log.texts, strict=True)
        if log.clicked.get(name)
    ]
    found: dict[str, float] = {}
    for start in range(0, len(known), _TOGETHER):
        part = known[start : start + _TOGETHER]
        answers: Any = search([text for text, _ in part], k).ids
        for (text, clicked), ids in zip(part, answers, strict=True):
            right = {str(item) for item in clicked} & {str(item) for item in ids.tolist()}
            found[text] = min(1.0, len(right) / min(k, len(clicked)))
    return found


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]
