"""What was measured of every arm on the same queries, before it is weighed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.price import Price
from isthmus.evaluate.verdict import EvidenceKind
from isthmus.evaluate.worst import WorstQuery

__all__ = ["Latency", "MeasuredArm", "Measurement", "Parameter"]

Parameter = str | bool | int | float | None
"""What a parameter of a way may be."""


class Latency(NamedTuple):
    """Seconds that single queries took."""

    p50: float
    p95: float


@dataclass(frozen=True, eq=False)
class MeasuredArm:
    """The metrics of every query in one arm, and what it cost.

    ``values (nq, metrics)``.  ``label`` is what a table shows, by default the name of the arm.
    ``chosen_gain`` is the gain over the old model on the queries that the parameters were chosen
    on: what did not gain there is not recommended.

    Example:
        >>> import numpy as np
        >>> MeasuredArm(np.ones((200, 1)), gallery=1000).rests_on_bridge
        True
    """

    values: NDArray[np.float64]
    price: Price | None = None
    label: str | None = None
    parameters: Mapping[str, Parameter] = field(default_factory=dict[str, Parameter])
    chosen_gain: Estimate | None = None
    rests_on_bridge: bool = True
    """It is not recommended where the bridge is not above its control."""
    gallery: int | None = None
    """Items that it searched among, where that differs between arms."""
    in_index: Estimate | None = None
    """The deciding metric as it is expected in the whole index, where that is larger."""
    most_in_index: Estimate | None = None
    """The most that a cascade may reach there: what its recall finds for it to order."""
    likely_in_index: float | None = None
    """The deciding metric of a cascade there, where it finds as large a share of that as here."""
    more: NDArray[np.float64] | None = None
    """What the map of all pairs is expected to find more ``(nq, metrics)``, where others were
    measured in its place."""
    noise: NDArray[np.float64] | None = None
    """What each query moves the mean by beside its own values ``(nq, metrics)``, of sum zero: it
    widens intervals."""
    latency: Latency | None = None
    """The latency of its searches where it would run, without encoding; None if not measured."""

    @property
    def told(self) -> NDArray[np.float64]:
        """The metrics of every query with what is expected more ``(nq, metrics)``."""
        return self.values if self.more is None else self.values + self.more

    @property
    def drawn_from(self) -> NDArray[np.float64]:
        """What intervals of the means are drawn from ``(nq, metrics)``."""
        return self.told if self.noise is None else self.told + self.noise


@dataclass(frozen=True, eq=False)
class Measurement:
    """Every arm on the same queries, and what chance would give.

    Example:
        >>> import numpy as np
        >>> from isthmus.evaluate import weigh
        >>> from isthmus.evaluate.price import Price
        >>> hits = (np.arange(200) % 5 > 0).astype(float)[:, None]
        >>> arms = {
        ...     "old": MeasuredArm(hits),
        ...     "bridge": MeasuredArm(hits, Price()),
        ...     "control": MeasuredArm(0 * hits),
        ... }
        >>> measured = Measurement(
        ...     "relevance", arms, ("recall@1",), "recall@1", {"recall@1": 0.01}, 200, 100
        ... )
        >>> measured.n_queries, list(measured.arms)
        (200, ['old', 'bridge', 'control'])
    """

    kind: EvidenceKind
    arms: Mapping[str, MeasuredArm]
    """``old``, ``bridge`` and ``control`` at the least; in the order they are kept."""
    metrics: tuple[str, ...]
    """What the columns of their values are."""
    primary: str
    """The metric that decides."""
    chance: Mapping[str, float]
    """The expectation of each metric under a random ranking."""
    n_queries: int
    n_gallery: int
    n_unanswerable: int = 0
    """Queries that were left out, since nothing answers them."""
    overlap: Mapping[str, NDArray[np.float64]] = field(
        default_factory=dict[str, NDArray[np.float64]]
    )
    """Share of the first results that the bridge has in common with an arm, ``(nq,)``."""
    overlap_k: int = 10
    rescored: int | None = None
    """Items that the arm ``rescore`` rescores."""
    absent: Mapping[str, str] = field(default_factory=dict[str, str])
    """Why an arm is missing."""
    worst: Mapping[str, tuple[WorstQuery, ...]] = field(
        default_factory=dict[str, tuple[WorstQuery, ...]]
    )
    """The queries that lose most, by arm."""
    doubts: tuple[str, ...] = ()
    """Why these queries or vectors cannot say what to do, in a clause each."""
