"""What a threshold on the old model's scores becomes in another way to serve.

A map changes how scores are distributed even where it keeps every ranking, and so does mixing,
rescoring (reranking) and re-embedding: a threshold tuned on the old model lets too much or too
little through.  People mean one of two things by the same threshold: the same *share of answers*
passes it, or what passes is right as often (the same *precision*).  Both are translated from the
first results of every way, as the evaluation ran it, for all held-out queries; how well that holds
on others is what each half of them shows of the translation by the other half.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate import Estimate, resampled_means
from isthmus.numeric import Array
from isthmus.ways.calibration import MonotoneCurve

__all__ = ["Keep", "Thresholds", "TranslatedThreshold", "fit_thresholds"]

Keep = Literal["share", "precision"]
"""What a threshold is to keep: the share of results that pass it, or how many of them are right."""

_KNOTS = 48
_ROWS = 6  # old, new, kept, error, low, high
_FEWEST_QUERIES = 20


class TranslatedThreshold(BaseModel):
    """A threshold of the old model, and the one that does the same in another way.

    Example:
        >>> from isthmus.ways.thresholds import TranslatedThreshold
        >>> TranslatedThreshold(way="bridge", keep="share", old=0.75, new=0.61).new
        0.61
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    way: str
    """The name of an arm."""
    keep: Keep
    old: float
    """The threshold on the old model's scores."""
    new: float | None
    """On the scores of the way; None where there is none, for the ``reason``."""
    kept: float | None = None
    """What the old threshold lets through on the unseen queries: a share of the first results, or
    the share of them that is relevant."""
    error: Estimate | None = None
    """What the new threshold lets through there, less ``kept``."""
    reason: str | None = None


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Thresholds of the old model, translated for every way that the evidence speaks of.

    Of each way and of what is kept there are rising knots ``(6, m)`` float32: old threshold, new
    one, what the old one lets through on unseen queries, and the error of the new one with its
    interval.  Between knots they are read in straight lines.  Shares and precision are those of the
    first ``k`` results in a gallery as large as the one of the evidence.
    """

    tables: Mapping[Keep, Mapping[str, NDArray[np.float32]]]
    queries: int
    """Queries that the errors stand on, each unseen by the translation that it was asked of."""
    k: int
    """First results of each query that are counted."""

    @property
    def ways(self) -> tuple[str, ...]:
        """The names of the arms that thresholds are known for."""
        return tuple(self.tables["share"])

    def keeps(self, way: str) -> tuple[Keep, ...]:
        """What can be kept in a way: the precision only where it was known what is relevant."""
        return tuple(keep for keep in get_args(Keep) if way in self.tables.get(keep, {}))

    def translate(
        self, threshold: float, way: str = "bridge", keep: Keep = "share"
    ) -> TranslatedThreshold:
        """The threshold that does in ``way`` what ``threshold`` does with the old model.

        Raises:
            InputError: for a threshold that is not finite, or a way that is not known.
        """
        if not np.isfinite(threshold):
            raise InputError(f"a threshold is a number, got {threshold}", where="threshold")
        table = self._table(way, keep).astype(np.float64)
        at = np.float64(threshold)
        if not table[0, 0] <= at <= table[0, -1]:
            least, most = table[0, 0], table[0, -1]
            return TranslatedThreshold(
                way=way,
                keep=keep,
                old=threshold,
                new=None,
                reason=f"it is known for thresholds from {least:.3f} to {most:.3f} alone: "
                + ("there are too few results beyond" if keep == "share" else "no score of this "
                   "way is right as often beyond, or too few results are there"),
            )  # fmt: skip
        new, kept, error, low, high = (float(np.interp(at, table[0], row)) for row in table[1:])
        return TranslatedThreshold(
            way=way,
            keep=keep,
            old=threshold,
            new=new,
            kept=kept,
            error=Estimate(value=error, low=low, high=high),
        )

    def examples(self, way: str, keep: Keep = "share") -> list[TranslatedThreshold]:
        """Some thresholds across the old model's scores, translated."""
        known = self._table(way, keep)[0]
        places = np.unique(np.linspace(0, len(known) - 1, 5).astype(int))
        return [self.translate(float(known[i]), way, keep) for i in places]

    def to_old_scale(self, scores: Array, way: str = "bridge", keep: Keep = "share") -> Array:
        """Scores of a way, such that the old model's thresholds keep what ``keep`` says.

        The order is kept; beyond the known scores the curve goes on as a straight line.

        Args:
            scores: of any shape and library; the result is alike.
            way: the name of the arm that they come from.
            keep: see `Keep`.

        Raises:
            InputError: for scores that are not finite, or a way that is not known.
        """
        old, new = self._table(way, keep)[:2].astype(np.float64)
        last = np.append(np.diff(new) > 0, True)
        old, new = old[last], new[last]
        slope = (old[-1] - old[0]) / (new[-1] - new[0]) if len(new) > 1 else 0.0
        return MonotoneCurve(new, old, float(slope))(scores)

    def _table(self, way: str, keep: Keep) -> NDArray[np.float32]:
        if keep not in get_args(Keep):
            raise InputError(f"a threshold keeps the share or the precision, not '{keep}'")
        if way in self.tables.get(keep, {}):
            return self.tables[keep][way]
        if way in self.tables["share"]:
            raise InputError(
                "precision needs to know what is relevant, and the evidence did not",
                where=f"way '{way}'",
                mend="Fit with queries and their answers, or with labels; or keep the share",
            )
        raise InputError(
            f"no thresholds are known for the way '{way}'",
            where="way",
            mend=f"They are for {', '.join(self.ways)}",
        )

    # ---- files ---------------------------------------------------------------------------------

    def pack(self) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """JSON and float32 tensors from which `unpack` makes the same."""
        described = {
            "queries": self.queries,
            "k": self.k,
            "ways": {keep: list(held) for keep, held in self.tables.items()},
        }
        tensors = {
            f"{keep}/{way}": table
            for keep, held in self.tables.items()
            for way, table in held.items()
        }
        return described, tensors

    @classmethod
    def unpack(
        cls, described: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]]
    ) -> Thresholds:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        stated = described["ways"]
        if "share" not in stated or not set(stated) <= {*get_args(Keep)} or len(described) != 3:
            raise ValueError(f"thresholds keep {get_args(Keep)}, found {sorted(stated)}")
        named = {f"{keep}/{way}" for keep, ways in stated.items() for way in ways}
        if named != set(tensors):
            raise ValueError(f"thresholds have {sorted(named)}, found {sorted(tensors)}")
        tables: dict[Keep, dict[str, NDArray[np.float32]]] = {
            keep: {str(way): _checked(tensors[f"{keep}/{way}"]) for way in stated[keep]}
            for keep in get_args(Keep)
            if keep in stated
        }
        queries, k = described["queries"], described["k"]
        if type(queries) is not int or type(k) is not int or queries < 1 or k < 1:
            raise ValueError(f"thresholds stand on {queries} queries and {k} results")
        return cls(tables, queries, k)


def _checked(table: NDArray[Any]) -> NDArray[np.float32]:
    if table.ndim != 2 or len(table) != _ROWS or not 1 <= table.shape[1] <= _KNOTS:
        raise ValueError(f"a table of thresholds has shape ({_ROWS}, m), found {table.shape}")
    if not np.isfinite(table).all() or not (np.diff(table[0]) > 0).all():
        raise ValueError("the knots of a table of thresholds must rise and be finite")
    if not (np.diff(table[1]) >= 0).all() or not (table[4] <= table[5]).all():
        raise ValueError("a table of thresholds falls")
    return table.astype(np.float32)


def fit_thresholds(
    scores: Mapping[str, Values],
    relevant: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    resamples: int = 500,
    seed: int = 0,
) -> Thresholds | None:
    """Translate thresholds, and measure the error on queries that a translation has not seen.

    Served is what all queries say.  Each half is asked how well the translation by the other holds:
    that of all is nearer, and the interval is as wide as the luck of all queries.

    The share: as many of a way's first results pass as of the old model's (the quantile map).  The
    precision: relevance is regressed on the score (isotonic regression), and the threshold is where
    what passes is as likely right as with the old model.

    Args:
        scores: of the first results of each query, by arm, ``(nq, k)``; −∞ where there is none, or
            none on the same scale.  The arm ``old`` is among them.
        relevant: whether they are relevant ``(nq, k)``; None where that is not known.
        resamples: of the queries, for the intervals.
        seed: of the halves and the resamples.

    Returns:
        None with fewer than 20 queries, of which no half says anything.
    """
    old = scores["old"]
    nq, k = old.shape
    if nq < _FEWEST_QUERIES:
        return None
    first = np.random.default_rng(seed).permutation(nq) < -(-nq // 2)
    drafts: list[_Draft] = []
    columns: list[Values] = []
    for way, found in scores.items():
        if way == "old":
            continue
        for keep in get_args(Keep)[: 1 if relevant is None else 2]:
            flags = None
            if relevant is not None and keep == "precision":
                flags = relevant["old"], relevant[way]
            draft, asked = _asked_by_halves(keep, way, (old, found), flags, first)
            drafts.append(draft)
            columns += asked
    seen = np.concatenate(columns, axis=1)
    means = np.vstack([seen.mean(axis=0), resampled_means(seen, resamples=resamples, seed=seed)])
    tables: dict[Keep, dict[str, NDArray[np.float32]]] = {"share": {}}
    place = 0
    for draft in drafts:
        m = draft.knots.shape[1]
        taken = 2 * m * (1 if draft.keep == "share" else 2)
        table = _table(draft, means[:, place : place + taken], k)
        place += taken
        if table.shape[1]:
            tables.setdefault(draft.keep, {})[draft.way] = table
    return Thresholds(tables, nq, k) if tables["share"] else None


def _asked_by_halves(
    keep: Keep,
    way: str,
    scores: tuple[Values, Values],
    relevant: tuple[NDArray[np.bool_], NDArray[np.bool_]] | None,
    first: NDArray[np.bool_],
) -> tuple[_Draft, list[Values]]:
    """The translation by all queries, and what passes of each by that of the other half.

    Args:
        keep: the share or the precision.
        way: whose scores are the second.
        scores: of the old model and of the way ``(nq, k)``.
        relevant: which of them are, for the precision.
        first: the queries of the first half ``(nq,)``.

    Returns:
        Of the old model and then of the way how many results of each query reach each knot
        ``(nq, m)``; for the precision behind each how many of them are relevant.
    """

    def by(rows: NDArray[np.bool_]) -> _Draft:
        old, found = (side[rows] for side in scores)
        if relevant is None:
            return _Draft.of(keep, way, _same_share(old, found))
        flags = (side[rows] for side in relevant)
        return _Draft.of(keep, way, _same_precision(*zip((old, found), flags, strict=True)))

    draft, halves = by(np.ones_like(first)), (by(~first), by(first))
    if not all(half.knots.size for half in halves):
        draft = replace(draft, knots=draft.knots[:, :0])
    knots = draft.knots.astype(np.float64)
    columns: list[Values] = []
    for side, found in enumerate(scores):
        for flags in [None] if relevant is None else [None, relevant[side]]:
            passing = np.empty((len(found), knots.shape[1]))
            for rows, half in zip((first, ~first), halves, strict=True):
                at = knots[0]
                if side and at.size:
                    at = np.interp(at, *half.knots.astype(np.float64))
                passing[rows] = _passing(found[rows], None if flags is None else flags[rows], at)
            columns.append(passing)
    return draft, columns


@dataclass(frozen=True, eq=False)
class _Draft:
    keep: Keep
    way: str
    knots: NDArray[np.float32]
    """Old and new thresholds ``(2, m)``, both rising."""

    @classmethod
    def of(cls, keep: Keep, way: str, pairs: tuple[Values, Values]) -> _Draft:
        # the largest float32 that is no larger: what reaches a score still does
        rounded = [side.astype(np.float32) for side in pairs]
        old, new = (
            np.where(r > side, np.nextafter(r, np.float32(-np.inf)), r)
            for r, side in zip(rounded, pairs, strict=True)
        )
        kept = np.append(np.diff(old) > 0, True)[: len(old)] & np.isfinite(old) & np.isfinite(new)
        return cls(keep, way, np.stack([old[kept], np.maximum.accumulate(new[kept])]))


def _levels(n: int) -> NDArray[np.int64]:
    """How many results pass at each knot, the strictest last."""
    m = min(_KNOTS, n)
    return np.unique(np.ceil(n * (np.arange(m) + 0.5) / m).astype(np.int64))[::-1]


def _same_share(old: Values, way: Values) -> tuple[Values, Values]:
    one, other = (np.sort(side, axis=None)[::-1] for side in (old, way))
    pass_ = _levels(int(np.isfinite(one).sum()))
    return one[pass_ - 1], other[pass_ - 1]


def _same_precision(
    old: tuple[Values, NDArray[np.bool_]], way: tuple[Values, NDArray[np.bool_]]
) -> tuple[Values, Values]:
    (at_old, right_old), (at_way, right_way) = (_precision_above(*side) for side in (old, way))
    ordered = np.sort(old[0][np.isfinite(old[0])])[::-1]
    knots = ordered[_levels(len(ordered)) - 1]
    wanted = right_old[np.searchsorted(at_old, knots)]
    place = np.searchsorted(right_way, wanted - 1e-12)
    there = place < len(at_way)
    return knots[there], at_way[place[there]]


def _precision_above(scores: Values, right: NDArray[np.bool_]) -> tuple[Values, Values]:
    """Distinct scores, rising, and how likely a result at or above each is right."""
    from scipy.optimize import isotonic_regression  # takes long to import

    found = np.isfinite(scores)
    points, place = np.unique(scores[found], return_inverse=True)
    count = np.bincount(place).astype(np.float64)
    share = np.bincount(place, weights=right[found].astype(np.float64)) / count
    smooth = np.asarray(isotonic_regression(share, weights=count).x)
    above = np.cumsum((count * smooth)[::-1])[::-1] / np.cumsum(count[::-1])[::-1]
    return points, np.maximum.accumulate(above)


def _passing(scores: Values, flags: NDArray[np.bool_] | None, knots: Values) -> Values:
    """How many results of each query reach each knot, of those with a flag: ``(nq, m)``."""
    passes = scores[:, :, None] >= knots
    return (passes if flags is None else passes & flags[:, :, None]).sum(axis=1).astype(np.float64)


def _table(draft: _Draft, means: Values, k: int) -> NDArray[np.float32]:
    """The knots with their errors; ``means (1 + resamples, columns)``, the first of all queries."""
    m = draft.knots.shape[1]
    parts = [means[:, i : i + m] for i in range(0, means.shape[1], m)] if m else []
    if not parts:
        return np.empty((_ROWS, 0), dtype=np.float32)
    if draft.keep == "share":
        old, new = parts[0] / k, parts[1] / k
        known = np.ones(m, dtype=bool)
    else:
        with np.errstate(invalid="ignore", divide="ignore"):
            old, new = parts[1] / parts[0], parts[3] / parts[2]
        # a precision of nothing is none
        known = np.isfinite(old[0]) & np.isfinite(new[0])
    gap = (new - old)[:, known]
    spread = np.where(np.isfinite(gap), gap, gap[:1])
    low, high = np.quantile(spread[1:], [0.025, 0.975], axis=0)
    low, high = np.minimum(low, gap[0]), np.maximum(high, gap[0])
    return np.stack([*draft.knots[:, known], old[0, known], gap[0], low, high]).astype(np.float32)
