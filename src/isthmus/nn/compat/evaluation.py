"""Are a series of models compatible: cross-tests, update gains, and partial backfill."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import AnyArray
from isthmus.errors import InputError
from isthmus.evaluate import (
    CompatibilityScores,
    Estimate,
    Metric,
    Relevance,
    Resampling,
    Trial,
    compatibility_scores,
    parse_metric,
    relevant_ranks,
)
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.ways.choose_part import SHARES, BackfillCurve, backfill_curves
from isthmus.ways.order import Priority
from isthmus.ways.way import Join, Recall

__all__ = ["CompatibilityMatrix", "compatibility_matrix", "paired_change", "partial_backfill"]


@dataclass(frozen=True, eq=False)
class CompatibilityMatrix:
    """One metric of every later model's queries in every earlier model's gallery."""

    metric: str
    names: tuple[str, ...]
    """Names of the models, the oldest first."""
    values: NDArray[np.float64]
    """``(T, T)``: entry (t, k) has queries of model t and the gallery of model k ≤ t; NaN above."""
    scores: CompatibilityScores
    """The four summaries of the literature: AC, AM, BC and FC."""
    differences: Mapping[tuple[str, str], Estimate]
    """For (new, old) ``C[new, old] - C[old, old]``, above 0 where the new model is compatible."""
    gains: Mapping[tuple[str, str], Estimate]
    """For (new, old) the update gain ``(C[new, old] - C[old, old]) / (C[new, new] - C[old, old])``;
    undefined where the new model is not better than the old one."""

    def compatible(self, new: str, old: str) -> bool:
        """Whether the new queries find more in the old gallery than the old ones, beyond chance."""
        low = self.differences[new, old].low
        return low is not None and low > 0

    def __str__(self) -> str:
        width = max(len(name) for name in self.names)
        lines = [f"{self.metric}, queries in rows, galleries in columns"]
        lines += [
            f"{name:>{width}}  "
            + "  ".join("     " if np.isnan(value) else f"{value:.3f}" for value in row)
            for name, row in zip(self.names, self.values, strict=True)
        ]
        s = self.scores
        lines.append(
            f"AC {s.average_compatibility:.2f}  AM {s.average_accuracy:.3f}  "
            f"BC {s.backward:+.3f}  FC {s.forward:+.3f}"
        )
        return "\n".join(lines)


def compatibility_matrix(
    queries: Sequence[AnyArray],
    galleries: Sequence[AnyArray],
    relevance: Relevance,
    *,
    names: Sequence[str] | None = None,
    metrics: Sequence[str] = ("cmc@1", "map"),
    metric: Metric = "cosine",
    exclude: NDArray[np.int64] | None = None,
    resampling: Resampling | None = None,
) -> dict[str, CompatibilityMatrix]:
    """Search every gallery with the queries of its own and of every later model.

    Args:
        queries: of each model, the oldest first: ``(nq, d)``, row i the same item.
        galleries: of each model, as they are stored: ``(ng, d)``.
        relevance: of every query.
        names: of the models.
        metrics: of `isthmus.evaluate.parse_metric`; CMC-1 and mAP as in the literature.
        metric: of the search.
        exclude: one gallery item left out for each query ``(nq,)``: ``arange(nq)`` where the
            queries are the gallery.
        resampling: of the queries, for intervals.

    Returns:
        A matrix for each metric.

    Raises:
        InputError: for fewer than two models, widths that differ between a query and a gallery, or
            a query without relevant items.
    """
    count = len(queries)
    named = tuple(names) if names is not None else tuple(f"model {i + 1}" for i in range(count))
    if len(galleries) != count or len(named) != count or count < 2 or len(set(named)) < count:
        raise InputError(
            f"{count} query sets, {len(galleries)} galleries and the names {named} do not make a "
            "series of two models or more",
            where="compatibility_matrix",
        )
    parsed = [parse_metric(name) for name in metrics]
    per_query: dict[tuple[int, int], list[NDArray[np.float64]]] = {}
    for t in range(count):
        for k in range(t + 1):
            if queries[t].shape[1] != galleries[k].shape[1]:
                raise InputError(
                    f"queries of '{named[t]}' have {queries[t].shape[1]} dimensions and the "
                    f"gallery of '{named[k]}' has {galleries[k].shape[1]}",
                    where="compatibility_matrix",
                    mend="Map one of them first, or compare the first dimensions where the model "
                    "was trained to have them comparable",
                )
            ranks = relevant_ranks(
                queries[t], galleries[k], relevance, metric=metric, exclude=exclude
            )
            per_query[t, k] = [m.per_query(ranks) for m in parsed]
    found: dict[str, CompatibilityMatrix] = {}
    for i, one in enumerate(parsed):
        cells = {place: values[i] for place, values in per_query.items()}
        found[one.name] = _matrix(one.name, named, cells, resampling or Resampling())
    return found


def _matrix(
    metric: str,
    names: tuple[str, ...],
    cells: Mapping[tuple[int, int], NDArray[np.float64]],
    resampling: Resampling,
) -> CompatibilityMatrix:
    places = list(cells)
    outcomes = PairedOutcomes(np.column_stack([cells[place] for place in places]), resampling)
    column = {place: i for i, place in enumerate(places)}
    values = np.full((len(names), len(names)), np.nan)
    for place in places:
        values[place] = cells[place].mean()
    differences: dict[tuple[str, str], Estimate] = {}
    gains: dict[tuple[str, str], Estimate] = {}
    for t, k in places:
        if t == k:
            continue
        cross, new, old = column[t, k], column[t, t], column[k, k]
        differences[names[t], names[k]] = outcomes.difference(cross, old)
        gains[names[t], names[k]] = outcomes.share_of_gain(
            cross, new, old, "the new model is not better than the old one"
        )
    return CompatibilityMatrix(
        metric, names, values, compatibility_scores(values), differences, gains
    )


def paired_change(
    before: NDArray[np.float64],
    after: NDArray[np.float64],
    *,
    resampling: Resampling | None = None,
) -> Estimate:
    """How much a metric changed on the same queries: forgetting on an old domain, for one.

    Args:
        before: the metric of each query ``(nq,)``.
        after: the same, of the same queries.
        resampling: of the queries, for the interval.

    Raises:
        InputError: for lengths that differ.
    """
    if before.shape != after.shape or before.ndim != 1:
        raise InputError(
            f"metrics of shapes {before.shape} and {after.shape} are not of the same queries",
            where="paired_change",
        )
    return PairedOutcomes(np.column_stack([before, after]), resampling).difference(1, 0)


def partial_backfill(
    trial: Trial,
    orders: Mapping[str, Priority],
    *,
    primary: str = "cmc@1",
    shares: Sequence[float] = SHARES,
    resampling: Resampling | None = None,
) -> list[BackfillCurve]:
    """The metric against the share of the gallery that is re-embedded, in each order.

    New queries search a gallery of old vectors that were brought forward (``gallery_bridged``, of
    FCT or FastFill), in which re-embedded items replace their mapped ones.  All are vectors of the
    new space, so scores need no matching.

    Args:
        trial: with ``gallery_bridged``, ``gallery_new`` and relevance.  Its old side is not read:
            a forward evaluation has no old queries, and ``query_new`` and ``gallery_bridged`` may
            stand in their place.
        orders: the priority of each gallery item ``(ng,)`` by name, higher first: FastFill's log
            variance, `isthmus.ways.order.ErrorModel`, `class_distance`, `random_priority`.
        primary: the metric.
        shares: ascending, in (0, 1]; none is added.
        resampling: of the queries, for intervals; 1,000 resamples unless given.

    Raises:
        InputError: where the trial lacks what is needed, or a priority does not fit the gallery.

    Example:
        >>> from isthmus.evaluate import from_ids
        >>> new = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
        >>> mapped = new * np.array([1, 1, 1, 0], np.float32)  # old vectors brought forward
        >>> same = from_ids(range(50), range(50))
        >>> trial = Trial(
        ...     new, new, mapped, gallery_new=new, gallery_bridged=mapped, relevance=same
        ... )
        >>> curve, = partial_backfill(trial, {"by number": np.arange(50.0)}, shares=(0.5, 1.0))
        >>> str(curve).split(";")[0].split(", ")[-1]
        '100% 1.000'
    """
    if trial.gallery_bridged is None:
        raise InputError(
            "the gallery was not brought forward",
            where="partial_backfill",
            mend="Give gallery_bridged, the old vectors mapped into the new space",
        )
    for name, priority in orders.items():
        if priority.shape != (trial.n_gallery,) or not np.isfinite(priority).all():
            raise InputError(
                f"the order '{name}' has shape {priority.shape} for {trial.n_gallery} items, or a "
                "value that is not finite",
                where="partial_backfill",
            )
    trial = replace(trial, query_old=trial.query_new, gallery_old=trial.gallery_bridged)
    halves = np.zeros(trial.n_queries, dtype=np.bool_)
    return backfill_curves(
        trial, [orders, orders], halves, Recall(kind="bridge"), Join(),
        primary=primary, shares=shares, resampling=resampling,
    )  # fmt: skip
