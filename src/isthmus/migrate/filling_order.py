"""Which items to encode first: the order that finds most for each encoding, on held-out queries.

Popularity counts how often an item is found.  The two others weigh it by error: by that of the
query that finds the item (how far the bridge puts it from where the old model has it), or by that
which is predicted for the item itself.  Another order than popularity is taken only where its gain
is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge.unseen_sample import UnseenSample
from isthmus.evaluate import Trial, parse_metric
from isthmus.evaluate.bootstrap import estimate, resampled_means
from isthmus.migrate.plan import OrderCurve
from isthmus.stores import Store
from isthmus.ways.choose_part import backfill_values
from isthmus.ways.order import ErrorModel, Priority, popularity
from isthmus.ways.recall import gallery_search
from isthmus.ways.way import Join, Recall

__all__ = ["BY_ITEM", "BY_QUERY", "POPULARITY", "FillingOrder", "chosen_order", "relative_error"]

POPULARITY = "popularity"
BY_QUERY = "popularity, by the error of the queries"
BY_ITEM = "popularity, by the error of the items"
EARLY = (0.02, 0.05, 0.1, 0.25)
"""Shares at which orders are compared: later they have encoded the same items."""
_RESAMPLES = 1000


@dataclass(frozen=True)
class FillingOrder:
    """The order that was chosen, and what was measured.

    Attributes:
        name: `POPULARITY`, `BY_QUERY` or `BY_ITEM`.
        why: a sentence for the plan.
        curves: of each order, on the queries that chose.
        priorities: of the gallery of another trial, counted on some of its queries.
    """

    name: str
    why: str
    curves: tuple[OrderCurve, ...]
    errors: ErrorModel | None

    def priorities(
        self, trial: Trial, recall: Recall, halves: NDArray[np.bool_]
    ) -> list[dict[str, Priority]]:
        """The priority of each gallery item, for each half of the queries; see `_candidates`."""
        found = _candidates(trial, recall, halves, self.errors)
        return [{self.name: one[self.name]} for one in found]

    def factor(self, store: Store, column: str) -> Callable[[Sequence[Any]], Priority] | None:
        """By what the counts of items are multiplied; None for an order that looks at none."""
        model = self.errors
        if self.name != BY_ITEM or model is None:
            return None

        def of_items(ids: Sequence[Any]) -> Priority:
            found = store.fetch(np.asarray(ids), column=column)
            by = np.ones(len(ids))
            if found.present.any():
                by[found.present] = np.exp(model(found.vectors[found.present]))
            return by

        return of_items

    def weights(
        self, old: NDArray[np.float32] | None, unseen: UnseenSample
    ) -> NDArray[np.float64] | None:
        """How much each query ``(nq,)`` counts; None where all count alike.

        A map errs less on what it was fitted on: such a query counts as the others do on average.

        Args:
            old: the queries ``(nq, d)`` by the old model.
            unseen: the same behind the map.
        """
        mapped, fresh = unseen.mapped_queries, unseen.queries
        if self.name != BY_QUERY or old is None or mapped is None or fresh is None:
            return None
        found = relative_error(mapped, old)
        found[~fresh] = found[fresh].mean() if fresh.any() else 1.0
        return found


def chosen_order(
    support: Trial,
    recall: Recall,
    join: Join,
    *,
    errors: ErrorModel | None,
    metric: str,
    seed: int,
) -> FillingOrder:
    """Compare the orders on queries of which each half is judged by what the other half counted.

    Args:
        support: with the queries that choose.
        recall: who searches what is not filled yet.
        join: how the scores of both parts are joined.
        errors: predicts the error of items that were not sampled; None without a bridge.
        metric: that decides.
        seed: of the halves and the resamples.
    """
    if not recall.rests_on_bridge:
        return FillingOrder(
            POPULARITY, "popularity: the old model answers while it fills, so no map errs", (), None
        )
    halves = np.random.default_rng(seed).permutation(support.n_queries) % 2 == 1
    candidates = _candidates(support, recall, halves, errors)
    values = backfill_values(
        support, candidates, halves, recall, join, parse_metric(metric), EARLY
    ).reshape(support.n_queries, len(candidates[0]), len(EARLY))
    means = values.mean(axis=0)
    curves = tuple(
        OrderCurve(order=name, shares=EARLY, values=tuple(means[i].tolist()))
        for i, name in enumerate(candidates[0])
    )
    overall = values.mean(axis=2)
    resampled = resampled_means(overall, resamples=_RESAMPLES, seed=seed)
    best, why = POPULARITY, ""
    most = 0.0
    for i, curve in enumerate(curves[1:], 1):
        difference = float(overall[:, i].mean() - overall[:, 0].mean())
        gain = estimate(difference, resampled[:, i] - resampled[:, 0])
        why += f"; {curve.order}: {gain.value:+.4f} [{gain.low:+.4f}, {gain.high:+.4f}]"
        if gain.low is not None and gain.low > 0 and difference > most:
            best, most = curve.order, difference
    shown = "it finds more for each encoding" if most else "no other order is shown to find more"
    return FillingOrder(
        best,
        f"{best}: {shown} (mean {metric} from {EARLY[0]:.0%} to {EARLY[-1]:.0%} filled, against "
        f"popularity on {support.n_queries} queries{why})",
        curves,
        errors,
    )


def relative_error(mapped: NDArray[Any], true: NDArray[Any]) -> NDArray[np.float64]:
    """Squared distance of each row ``(n, d)`` from the true one, relative to that one's length."""
    a, b = (np.asarray(rows, dtype=np.float64) for rows in (mapped, true))
    apart = np.einsum("nd,nd->n", a - b, a - b)
    return apart / np.maximum(np.einsum("nd,nd->n", b, b), np.finfo(np.float64).tiny)


def _candidates(
    trial: Trial, recall: Recall, halves: NDArray[np.bool_], errors: ErrorModel | None
) -> list[Mapping[str, Priority]]:
    """Priorities by order; each half of the queries gets what the other half counted."""
    side = gallery_search(trial, recall)
    by_item = None if errors is None else np.exp(errors(trial.gallery_old))
    by_query = None
    if recall.rests_on_bridge and trial.query_bridged is not None:
        by_query = relative_error(trial.query_bridged, trial.query_old)
    found: list[Mapping[str, Priority]] = []
    for counted in (halves, ~halves):
        asked = side._replace(queries=side.queries[counted])
        plain = popularity(asked)
        orders: dict[str, Priority] = {POPULARITY: plain}
        if by_query is not None:
            orders[BY_QUERY] = popularity(asked, weights=by_query[counted])
        if by_item is not None:
            orders[BY_ITEM] = plain * by_item
        found.append(orders)
    return found
