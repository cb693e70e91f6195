"""Does a bridge hold up in search?  Every way to serve the new model, on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.arms import ARMS, Need
from isthmus.evaluate.bootstrap import Estimate, estimate, estimate_ratio, resampled_means
from isthmus.evaluate.evaluation import Arm, Evaluation
from isthmus.evaluate.extra import Extra
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.price import Price, price_of_rescoring
from isthmus.evaluate.ranks import Ranks, relevant_ranks
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.rescore import default_depth, rescored_order, rescored_ranks, scores_of
from isthmus.evaluate.search import top_k
from isthmus.evaluate.trial import Side, Trial
from isthmus.evaluate.verdict import Offer, VerdictRule, decide
from isthmus.evaluate.worst import WorstQuery, worst_by_agreement, worst_by_relevance
from isthmus.progress import Progress, silent

__all__ = ["DEFAULT_METRICS", "default_metric", "evaluate_upgrade"]

DEFAULT_METRICS = ("recall@1", "recall@10", "mrr", "ndcg@10", "map", "cmc@1")
_OVERLAP_K = 10


_Mean = tuple[float, NDArray[np.float64]]


class _Measured(NamedTuple):
    """Per-query values: of each arm ``(nq, metrics)``, of each overlap ``(nq,)``; prices."""

    arms: dict[str, NDArray[np.float64]]
    chance: dict[str, float]
    overlap: dict[str, NDArray[np.float64]]
    prices: dict[str, Price]
    worst: tuple[WorstQuery, ...]


def default_metric(relevance: Relevance) -> str:
    """recall@10 where ten results can hold every relevant item of a query, ndcg@10 elsewhere."""
    return "recall@10" if int(relevance.counts.max()) <= 10 else "ndcg@10"


def evaluate_upgrade(
    trial: Trial,
    *,
    extras: Sequence[Extra] = (),
    metrics: Sequence[str] = DEFAULT_METRICS,
    primary: str | None = None,
    rescore_depth: int | None = None,
    rule: VerdictRule | None = None,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Measure every arm of ``trial`` on the same queries and decide what to do.

    The verdict follows ``primary``: if not given, recall@10 where ten results can hold all
    relevant items of every query, and ndcg@10 where they cannot.  Queries without relevant items
    are left out and counted.  Without relevance, arms are judged by the overlap of their ten best
    with the old model's, and ``metrics`` and ``primary`` have no part.  ``rescore_depth`` is 50,
    but at most 5 % of the gallery, if not given.  ``groups (nq,)`` marks queries that are not
    independent.  ``extras`` are further arms, ranked on the answerable queries of this trial, which
    the verdict may recommend.  Raises `InputError` for arrays that do not fit together, for vectors
    that cannot be compared, where no query has a relevant item, and for extras of other queries or
    without relevance.
    """
    rule = rule or VerdictRule()
    trial.check()
    n_all = trial.n_queries
    if trial.relevance is not None and not trial.relevance.answerable.all():
        kept = trial.relevance.answerable
        trial = trial.of(kept)
        groups = None if groups is None else np.asarray(groups)[kept]
    _check_extras(extras, trial.relevance)
    sides, absent = _sides(trial, seed)
    depth = _rescore_depth(rescore_depth, trial) if "new" in sides else None
    if trial.relevance is None:
        measured = _agreement(trial, sides, depth, progress)
        names = tuple(measured.chance)
        primary = names[0]
    else:
        primary = parse_metric(primary or default_metric(trial.relevance)).name
        names = tuple(dict.fromkeys([*(parse_metric(m).name for m in metrics), primary]))
        measured = _relevance(
            trial, trial.relevance, sides, depth, names, primary, extras, progress
        )

    resampled = _Resampled(measured, names, primary, resamples, seed, level, groups)
    arms = {arm: resampled.arm(arm, trial.relevance is not None) for arm in measured.arms}
    for extra in extras:
        arms[extra.name] = arms[extra.name].model_copy(
            update={
                "label": extra.label,
                "parameters": dict(extra.parameters),
                "chosen_gain": extra.chosen_gain,
            }
        )
    if depth is not None:
        arms["rescore"] = arms["rescore"].model_copy(update={"label": f"rescore {depth}"})
    few = depth is not None and depth / trial.n_gallery <= rule.max_rescored_share
    offers = [
        _fixed_offer(name, measured.prices[name]) for name in ("bridge", "rescore")[: 1 + few]
    ]
    offers += [_offer(extra) for extra in extras]
    over_control = resampled.difference("bridge", "control")
    decision = decide(
        kind="agreement" if trial.relevance is None else "relevance",
        primary=primary,
        n_queries=trial.n_queries,
        values={arm: result.metrics[primary] for arm, result in arms.items()},
        to_old={arm: result.to_old for arm, result in arms.items() if result.to_old is not None},
        over_control=over_control,
        chance=measured.chance[primary],
        offers=offers,
        rule=rule,
    )
    return Evaluation(
        evidence_kind="agreement" if trial.relevance is None else "relevance",
        n_queries=trial.n_queries,
        n_unanswerable=n_all - trial.n_queries,
        n_gallery=trial.n_gallery,
        metrics=names,
        primary=primary,
        arms=arms,
        absent=absent,
        chance=measured.chance,
        over_control=over_control,
        overlap={arm: resampled.overlap(arm) for arm in measured.overlap},
        overlap_k=_overlap_k(trial),
        rescored=depth,
        seed=seed,
        resamples=resamples,
        level=level,
        rule=rule,
        verdict=decision.verdict,
        reason=decision.reason,
        recommended=decision.arm,
        worst=measured.worst,
    )


def _check_extras(extras: Sequence[Extra], relevance: Relevance | None) -> None:
    names = [extra.name for extra in extras]
    for name in names:
        if (name in ARMS and not ARMS[name].chosen) or names.count(name) > 1:
            raise InputError(
                f"two arms are named '{name}'", where="extras", mend="Give each a name of its own"
            )
    if extras and relevance is None:
        raise InputError(
            "without relevance no further arm can be judged",
            where="extras",
            mend="Supply queries with their relevant items, or labels",
        )
    for extra in extras:
        if relevance is not None and not np.array_equal(extra.ranks.indptr, relevance.indptr):
            raise InputError(
                "the ranks are not those of the answerable queries of this trial",
                where=f"extras, arm '{extra.name}'",
            )


def _fixed_offer(name: str, price: Price) -> Offer:
    kind = ARMS[name]
    assert kind.verdict is not None
    return Offer(name, kind.verdict, price, kind.rests_on_bridge, without_gain=kind.without_gain)


def _offer(extra: Extra) -> Offer:
    chosen = extra.chosen_gain
    promising = chosen is None or (chosen.value is not None and chosen.value > 0)
    return Offer(extra.name, extra.verdict, extra.price, extra.needs_bridge, promising)


class _Resampled:
    """Every mean of a measurement with its resampled counterparts, all on the same resamples."""

    def __init__(
        self,
        measured: _Measured,
        names: tuple[str, ...],
        primary: str,
        resamples: int,
        seed: int,
        level: float,
        groups: Sequence[Any] | NDArray[Any] | None,
    ) -> None:
        values = np.column_stack([*measured.arms.values(), *measured.overlap.values()])
        means = resampled_means(values, resamples=resamples, seed=seed, groups=groups)
        keys = [(arm, name) for arm in measured.arms for name in names]
        keys += [(arm, "overlap") for arm in measured.overlap]
        self._means: dict[tuple[str, str], _Mean] = {
            key: (float(values[:, column].mean()), means[:, column])
            for column, key in enumerate(keys)
        }
        self._names, self._primary, self._level = names, primary, level
        self._prices = measured.prices

    def arm(self, arm: str, against_new: bool) -> Arm:
        """All metrics of an arm, and the primary one against the old and the new model."""
        retention = update_gain = None
        if (
            against_new
            and arm not in ("old", "new", "control")
            and ("new", self._primary) in self._means
        ):
            retention = estimate_ratio(
                self._means[arm, self._primary],
                self._means["new", self._primary],
                "the new model finds nothing",
                level=self._level,
            )
            update_gain = estimate_ratio(
                self._minus(arm, "old"),
                self._minus("new", "old"),
                "the new model is not better",
                level=self._level,
            )
        return Arm(
            metrics={n: estimate(*self._means[arm, n], level=self._level) for n in self._names},
            to_old=None if arm == "old" else self.difference(arm, "old"),
            retention=retention,
            update_gain=update_gain,
            price=self._prices.get(arm),
        )

    def difference(self, one: str, other: str) -> Estimate:
        """The primary metric of one arm minus that of another."""
        return estimate(*self._minus(one, other), level=self._level)

    def overlap(self, arm: str) -> Estimate:
        """The shared results of the bridge and ``arm``."""
        return estimate(*self._means[arm, "overlap"], level=self._level)

    def _minus(self, one: str, other: str) -> _Mean:
        (a, a_resampled), (b, b_resampled) = (
            self._means[arm, self._primary] for arm in (one, other)
        )
        return a - b, a_resampled - b_resampled


def _sides(trial: Trial, seed: int) -> tuple[dict[str, Side], dict[str, str]]:
    """What each arm searches, and why an arm is absent."""
    sides = {"old": Side(trial.query_old, trial.gallery_old, trial.metric)}
    absent: dict[str, str] = {}
    width_new, width_old = trial.query_new.shape[1], trial.gallery_old.shape[1]
    if width_new == width_old:
        sides["naive"] = Side(trial.query_new, trial.gallery_old, trial.metric)
    else:
        absent["naive"] = f"new queries have width {width_new}, the old gallery {width_old}"
    bridge = sides["bridge"] = trial.bridge
    if trial.gallery_new is None:
        absent["rescore"] = absent["new"] = str(Need.NEW_GALLERY)
    else:
        sides["new"] = Side(trial.query_new, trial.gallery_new, trial.metric_new or trial.metric)
    # One cycle through all queries in random order: no query keeps its own vector.
    order = np.random.default_rng(seed).permutation(len(bridge.queries))
    permuted = np.empty_like(bridge.queries)
    permuted[order] = bridge.queries[np.roll(order, 1)]
    sides["control"] = bridge._replace(queries=permuted)
    return sides, absent


def _relevance(
    trial: Trial,
    relevance: Relevance,
    sides: dict[str, Side],
    depth: int | None,
    names: tuple[str, ...],
    primary: str,
    extras: Sequence[Extra],
    progress: Progress,
) -> _Measured:
    compared = {arm: sides[arm] for arm in ("old", "bridge", "new") if arm in sides}
    lists = _result_lists(trial, compared, depth, progress)
    ranks: dict[str, Ranks] = {}
    for arm, side in sides.items():
        ranks[arm] = relevant_ranks(
            side.queries,
            side.gallery,
            relevance,
            metric=side.metric,
            exclude=trial.exclude,
            progress=progress,
        )
        if arm == "bridge" and depth is not None:
            recalled = lists["bridge"][:, :depth]
            ranks["rescore"] = rescored_ranks(
                ranks["bridge"], relevance, recalled, _new_scores(sides, recalled)
            )
    ranks |= {extra.name: extra.ranks for extra in extras}
    metrics = [parse_metric(name) for name in names]
    prices = _prices(trial, lists["bridge"], depth)
    prices |= {extra.name: extra.price for extra in extras}
    arms = {arm: np.column_stack([m.per_query(r) for m in metrics]) for arm, r in ranks.items()}
    return _Measured(
        arms,
        {m.name: m.chance(relevance.counts, trial.n_searchable) for m in metrics},
        _overlaps(trial, lists),
        prices,
        worst_by_relevance(
            {arm: found[:, names.index(primary)] for arm, found in arms.items()},
            ranks,
            relevance,
            lists["bridge"][:, 0],
            trial.query_ids,
            trial.gallery_ids,
        ),
    )


def _prices(trial: Trial, recalled: NDArray[np.int64], depth: int | None) -> dict[str, Price]:
    prices = {arm: Price() for arm in ("old", "naive", "bridge")} | {"new": Price(reembedded=1.0)}
    if depth is not None:
        prices["rescore"] = price_of_rescoring(recalled[:, :depth], trial.n_gallery)
    return prices


def _agreement(
    trial: Trial, sides: dict[str, Side], depth: int | None, progress: Progress
) -> _Measured:
    lists = _result_lists(trial, sides, depth, progress)
    prices = _prices(trial, lists["bridge"], depth)
    if depth is not None:
        recalled = lists["bridge"][:, :depth]
        lists["rescore"] = np.hstack(
            [rescored_order(recalled, _new_scores(sides, recalled)), lists["bridge"][:, depth:]]
        )
    k = _overlap_k(trial)
    arms = {arm: _overlap(lists[arm], lists["old"], k)[:, None] for arm in ARMS if arm in lists}
    chance = {f"overlap@{k}": k / trial.n_searchable}
    worst = worst_by_agreement(arms["bridge"][:, 0], trial.query_ids)
    return _Measured(arms, chance, _overlaps(trial, lists), prices, worst)


def _result_lists(
    trial: Trial, sides: dict[str, Side], depth: int | None, progress: Progress
) -> dict[str, NDArray[np.int64]]:
    """The first results of each side; of the bridge, as many as will be rescored."""
    k = _overlap_k(trial)
    return {
        arm: top_k(
            side.queries,
            side.gallery,
            max(k, depth or 0) if arm == "bridge" else k,
            metric=side.metric,
            exclude=trial.exclude,
            progress=progress,
        ).indices
        for arm, side in sides.items()
    }


def _new_scores(sides: dict[str, Side], indices: NDArray[np.int64]) -> NDArray[np.float32]:
    new = sides["new"]
    return scores_of(new.queries, new.gallery, indices, new.metric)


def _overlaps(trial: Trial, lists: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.float64]]:
    k = _overlap_k(trial)
    return {arm: _overlap(lists["bridge"], lists[arm], k) for arm in ("old", "new") if arm in lists}


def _overlap(one: NDArray[np.int64], other: NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """The shared part of the first ``k`` results of each query."""
    same = one[:, :k, None] == other[:, None, :k]
    return same.any(axis=2).mean(axis=1)


def _overlap_k(trial: Trial) -> int:
    return min(_OVERLAP_K, trial.n_searchable)


def _rescore_depth(depth: int | None, trial: Trial) -> int:
    if depth is None:
        depth = default_depth(trial.n_gallery)
    if not 1 <= depth <= trial.n_searchable:
        raise InputError(
            f"cannot rescore {depth} of {trial.n_searchable} gallery items", where="rescore_depth"
        )
    return depth
