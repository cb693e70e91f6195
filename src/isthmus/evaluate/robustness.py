"""How far a way's results hold where queries or the index are not as they were judged.

Noise, masked coordinates, an index of fewer bits or coordinates, queries with another prefix, and
the part of the queries that is least like the index.  Nothing here searches: `isthmus.bridge` runs
the way that is served on vectors that were changed by these functions, and hands its outcomes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.array_types import AnyArray, Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate, Resampling
from isthmus.evaluate.paired_outcomes import PairedOutcomes

__all__ = [
    "FEWEST_OF_SLICE",
    "OUT_OF_DOMAIN",
    "WORST",
    "Condition",
    "Disturbances",
    "Outcomes",
    "Robustness",
    "binary_rows",
    "judge_robustness",
    "masked_rows",
    "noisy_rows",
]

OUT_OF_DOMAIN = "out_of_domain"
WORST = "worst"
"""Stands, in a gate, for the condition that loses most."""
FEWEST_OF_SLICE = 20
"""Queries that a slice has at the least."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True)
class Disturbances:
    """What is done to queries and index.

    Example:
        >>> Disturbances(noise=0.2).masked
        0.1
    """

    noise: float = 0.1
    """Length of the random vector that is added to each query, as a share of the query's own."""
    masked: float = 0.1
    """Share of each query's coordinates that are set to zero."""
    kept: float = 0.5
    """Share of the coordinates, the first of each vector, that a Matryoshka index keeps."""
    variants: Mapping[str, Callable[[AnyArray], AnyArray]] = field(
        default_factory=dict[str, Callable[[AnyArray], AnyArray]]
    )
    """By the name of a condition, such as ``prefix``: the new model's vectors ``(n, d)`` of the
    queries with these ids ``(n,)``, made in another way."""

    def __post_init__(self) -> None:
        for name in ("noise", "masked", "kept"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(
                    f"a share lies between 0 and 1, got {getattr(self, name)}", where=name
                )
        for name in self.variants:
            if _NAME.fullmatch(name) is None or name == WORST:
                raise InputError(
                    f"'{name[:80]}' is no name of a condition",
                    mend="Use small letters, digits and _, as in prefix",
                )


class Condition(BaseModel):
    """A way under one condition, beside the same way as it was judged.

    Example:
        >>> Condition(
        ...     name="int8", what="an index of 8-bit integers", queries=200, value=0.79,
        ...     change=Estimate(value=-0.01, low=-0.02, high=0.0),
        ...     to_old=Estimate(value=0.05, low=0.02, high=0.08),
        ... ).change.low
        -0.02
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str
    what: str
    """The condition in words."""
    queries: int
    value: float
    """The metric of the way under the condition."""
    change: Estimate
    """Less the metric without it.  Of the slice of queries: what the way gains over the old model
    on it, less what it gains on all others."""
    to_old: Estimate
    """Less the metric of the old model under the same condition."""


class Robustness(BaseModel):
    """A way under every condition; the intervals of the changes of all queries hold together.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> old = (rng.random(300) < 0.7).astype(float)
        >>> found = judge_robustness(
        ...     "bridge", "recall@10", Outcomes("as judged", old, old),
        ...     {"noise": Outcomes("noise", old * (rng.random(300) < 0.9), old)},
        ... )
        >>> found.worst.name, found.worst.change.high < 0
        ('noise', True)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    way: str
    """The name of the arm."""
    metric: str
    value: float
    """The metric of the way as it was judged."""
    level: float
    conditions: tuple[Condition, ...]
    absent: dict[str, str] = {}
    """Conditions that were not tried, and why."""

    @property
    def worst(self) -> Condition:
        """The condition under which the way may lose most."""
        return min(self.conditions, key=lambda c: -np.inf if c.change.low is None else c.change.low)

    def named(self, name: str) -> Condition | None:
        """The condition of this name, or the worst of them; None if it was not tried."""
        if name == WORST:
            return self.worst
        return next((c for c in self.conditions if c.name == name), None)

    def __str__(self) -> str:
        rows = [("condition", self.metric, "change", "minus old")]
        rows.append(("as judged", f"{self.value:.3f}", "", ""))
        rows += [
            (c.name, f"{c.value:.3f}", c.change.signed, c.to_old.signed) for c in self.conditions
        ]
        sizes = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"robustness of {self.way}"]
        for row in rows:
            cells = [cell.ljust(size) for cell, size in zip(row, sizes, strict=True)]
            lines.append(f"  {'  '.join(cells)}".rstrip())
        lines += [f"  {c.name}: {c.what}" for c in self.conditions]
        lines += [f"  no {name}: {why}" for name, why in self.absent.items()]
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class Outcomes:
    """The metric of every query ``(nq,)`` under one condition."""

    what: str
    way: Values
    old: Values


def judge_robustness(
    way: str,
    metric: str,
    judged: Outcomes,
    under: Mapping[str, Outcomes],
    *,
    part: tuple[str, NDArray[np.bool_]] | None = None,
    resampling: Resampling | None = None,
    absent: Mapping[str, str] | None = None,
) -> Robustness:
    """Hold outcomes under conditions against those without.

    Args:
        way: the name of the arm.
        metric: its name.
        judged: without any condition.
        under: by the name of each condition, the outcomes of the same queries.
        part: words for a slice of the queries, and which of them ``(nq,)`` are in it.
        resampling: of the intervals.
        absent: conditions that were not tried, and why.

    Raises:
        InputError: for outcomes of other queries, and where there is no condition.
    """
    how = resampling or Resampling()
    every = [judged, *under.values()]
    if any(v.shape != judged.way.shape for o in every for v in (o.way, o.old)):
        raise InputError("outcomes under conditions are not of the same queries")
    if not under and part is None:
        raise InputError("there is no condition to judge")
    outcomes = PairedOutcomes(np.column_stack([v for o in every for v in (o.way, o.old)]), how)
    place = {name: 2 * i for i, name in enumerate(under, 1)}
    changes = outcomes.at_once({name: (at, 0) for name, at in place.items()})
    found = [
        Condition(
            name=name,
            what=under[name].what,
            queries=len(judged.way),
            value=float(outcomes.means[at]),
            change=changes[name],
            to_old=outcomes.difference(at, at + 1),
        )
        for name, at in place.items()
    ]
    if part is not None:
        found.append(_of_slice(judged, *part, how))
    return Robustness(
        way=way,
        metric=metric,
        value=float(judged.way.mean()),
        level=how.level,
        conditions=tuple(found),
        absent=dict(absent or {}),
    )


def _of_slice(judged: Outcomes, what: str, inside: NDArray[np.bool_], how: Resampling) -> Condition:
    """What the way gains over the old model within a slice, beside what it gains elsewhere."""
    both = np.column_stack([judged.way, judged.old])
    one = PairedOutcomes(both[inside], how)
    # queries of the one are none of the other: draws of their own
    other = PairedOutcomes(both[~inside], Resampling(how.resamples, how.level, how.seed + 1))
    drawn = one.drawn_difference(0, 1) - other.drawn_difference(0, 1)
    value = float((one.means[0] - one.means[1]) - (other.means[0] - other.means[1]))
    low, high = np.quantile(drawn, [(1 - how.level) / 2, (1 + how.level) / 2])
    return Condition(
        name=OUT_OF_DOMAIN,
        what=what,
        queries=int(inside.sum()),
        value=float(one.means[0]),
        change=Estimate(value=value, low=min(float(low), value), high=max(float(high), value)),
        to_old=one.difference(0, 1),
    )


# ---- what is done to vectors -------------------------------------------------------------------


def noisy_rows(rows: AnyArray, share: float, rng: np.random.Generator) -> AnyArray:
    """Each of ``rows (n, d)`` with a random vector added, ``share`` times as long as itself.

    Example:
        >>> rows = np.ones((2, 400))
        >>> moved = noisy_rows(rows, 0.1, np.random.default_rng(0)) - rows
        >>> np.linalg.norm(moved, axis=1).round(6)
        array([2., 2.])
    """
    added = rng.standard_normal(rows.shape)
    length = np.linalg.norm(added, axis=1, keepdims=True)
    own = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    return (rows + share * own * added / np.where(length > 0, length, 1.0)).astype(rows.dtype)


def masked_rows(rows: AnyArray, share: float, rng: np.random.Generator) -> AnyArray:
    """Each of ``rows (n, d)`` with a random ``share`` of its coordinates set to zero, at least one.

    Example:
        >>> int((masked_rows(np.ones((1, 50)), 0.1, np.random.default_rng(0)) == 0).sum())
        5
    """
    hidden = min(max(1, round(share * rows.shape[1])), rows.shape[1] - 1)
    places = np.argsort(rng.random(rows.shape), axis=1)[:, :hidden]
    found = rows.copy()
    np.put_along_axis(found, places, 0, axis=1)
    # a row that lived there alone is left as it is: nothing can be searched with zero
    empty = ~found.any(axis=1)
    found[empty] = rows[empty]
    return found


def binary_rows(rows: AnyArray) -> AnyArray:
    """The signs of ``rows (n, d)``, each row as long as it was on average over its coordinates.

    Example:
        >>> binary_rows(np.array([[3.0, -1.0]]))
        array([[ 2., -2.]])
    """
    size = np.abs(rows).mean(axis=1, keepdims=True)
    return np.where(rows > 0, size, -size).astype(rows.dtype)
