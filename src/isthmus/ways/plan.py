"""Every strategy that the data allow, chosen on validation queries and run on test queries."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from isthmus.evaluate import Estimate, Ranks, Trial, estimate, parse_metric, relevant_ranks
from isthmus.evaluate.arms import ARMS, Need, Verdict
from isthmus.evaluate.bootstrap import resampled_means
from isthmus.evaluate.extra import Extra
from isthmus.evaluate.metrics import MetricAt
from isthmus.evaluate.retrieval import default_metric
from isthmus.progress import Progress, silent
from isthmus.ways.backfill import Backfill, choose_backfill
from isthmus.ways.cascade import Cascade, choose_cascade, deepest
from isthmus.ways.mixed_index import Calibrate, match_linear
from isthmus.ways.mixed_query import MixedQuery, can_mix, choose_mixed_query
from isthmus.ways.order import Orders, first_share
from isthmus.ways.recall import Recall, recalled

__all__ = ["Plan", "choose_strategies"]


@dataclass(frozen=True, eq=False)
class Plan:
    """The strategies chosen, ready to serve, and what each made of the test queries."""

    extras: tuple[Extra, ...] = ()
    """For `evaluate_upgrade`, on the same test trial."""
    mixed: MixedQuery | None = None
    cascades: dict[str, Cascade] = field(default_factory=dict[str, Cascade])
    """By the name of the arm."""
    backfill: Backfill | None = None
    absent: dict[str, str] = field(default_factory=dict[str, str])
    """Why an arm is missing."""


def choose_strategies(
    validation: Trial,
    test: Trial,
    *,
    primary: str | None = None,
    old_encoder: bool = True,
    most: int | None = None,
    price: float | None = None,
    max_share: float = 0.1,
    calibrate: Calibrate = match_linear,
    trust: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    resamples: int = 1000,
    seed: int = 0,
    progress: Progress = silent,
) -> Plan:
    """Choose every possible strategy on validation queries, and rank the test queries with it.

    ``mixed``: the mixed query, where the bridge maps queries and a weight between 0 and 1 does
    best.  With the gallery in the new model's vectors also ``bridge_rescore``, ``old_rescore`` and,
    where resampled queries would have mixed as well, ``mixed_rescore``: cascades by who recalls;
    ``backfill``: the smallest part of the gallery whose re-embedding gains; ``backfill_most``: as
    large a part as may be; and ``backfill_rescore``: a cascade that finds the most popular part
    re-embedded already.  Without relevance on either side nothing can be chosen, and the plan is
    empty.

    Args:
        validation: queries that no test query is among, with the same map.
        test: the queries that will be reported.
        primary: the metric that decides; if not given, `default_metric` of the test.
        old_encoder: False leaves out what needs the old model's encoding of each query.
        most: items that a cascade may rescore; `deepest` of both trials if not given.
        price: encodings per query that no cascade may exceed on average.
        max_share: of the gallery that may be re-embedded ahead.
        calibrate: from scores of the new space to those of the old.
        trust: of the validation queries and of the test queries, each in [0, 1].
        resamples: of the intervals on validation queries.
        seed: of all that is random.
        progress: told after each strategy.

    Raises:
        InputError: for trials whose arrays do not fit together, and settings that nothing meets.
    """
    if validation.relevance is None or test.relevance is None:
        return Plan(absent={"strategies": "without relevance nothing can be chosen"})
    if not (validation.relevance.answerable.any() and test.relevance.answerable.any()):
        return Plan(absent={"strategies": "no query has a relevant gallery item"})
    if trust is not None:
        kept = (validation.relevance.answerable, test.relevance.answerable)
        trust = (trust[0][kept[0]], trust[1][kept[1]])
    validation, test = (t.of(t.relevance.answerable) for t in (validation, test) if t.relevance)
    assert test.relevance is not None
    metric = parse_metric(primary or default_metric(test.relevance))
    work = _Work(validation, test, metric, resamples, seed)
    mixed, absent = None, dict[str, str]()
    extras: list[Extra] = []
    if not old_encoder:
        absent["mixed"] = Need.OLD_ENCODER.value
    elif not can_mix(validation):
        absent["mixed"] = Need.QUERY_BRIDGE.value
    else:
        mixed = choose_mixed_query(validation, primary=metric.name, resamples=resamples, seed=seed)
        progress("strategies", 1, None)
        if mixed.alpha in (0, 1):
            alone = "bridged" if mixed.alpha else "old"
            absent["mixed"] = f"no mixed query does better than the {alone} one"
            mixed = None
        else:
            extras.append(work.mixed(mixed))
    if validation.gallery_new is None or test.gallery_new is None:
        missing = [
            arm.name for arm in ARMS.values() if arm.chosen and Need.NEW_GALLERY in arm.needs
        ]
        absent |= dict.fromkeys(missing, Need.NEW_GALLERY.value)
        return Plan(tuple(extras), mixed, {}, None, absent)

    recalls = [Recall("bridge")] + [Recall("old")] * old_encoder
    all_recalls = list(recalls)
    if mixed is not None and mixed.certain:
        all_recalls.append(Recall("mixed", mixed))
    most = deepest(validation, test) if most is None else most
    orders = Orders(validation, recalls[-1], seed)
    popular = first_share(orders.priority("popularity", test), max_share)
    cascades: dict[str, Cascade] = {}
    for recall in all_recalls:
        name = f"{recall.kind}_rescore"
        cascades[name], found = work.cascade(recall, most, price, trust, popular)
        # what was re-embedded ahead is combined with the last recall but the mixed one
        extras += found if recall == recalls[-1] else found[:1]
        progress("strategies", 1 + len(cascades), None)
    backfill = choose_backfill(
        validation,
        recalls,
        primary=metric.name,
        max_share=max_share,
        calibrate=calibrate,
        seed=seed,
    )
    extras += work.backfills(backfill, max_share)
    progress("strategies", 2 + len(cascades), None)
    return Plan(tuple(extras), mixed, cascades, backfill, absent)


@dataclass(frozen=True, eq=False)
class _Work:
    """Both trials, and the arms that strategies make of them."""

    validation: Trial
    test: Trial
    metric: MetricAt
    resamples: int
    seed: int

    def mixed(self, mixed: MixedQuery) -> Extra:
        return Extra(
            "mixed",
            f"mixed {mixed.alpha:g}",
            _ranks(self.test, Recall("mixed", mixed)),
            mixed.price,
            _answer("mixed"),
            parameters={
                "alpha": mixed.alpha,
                "alpha_low": None if mixed.interval is None else mixed.interval.low,
                "alpha_high": None if mixed.interval is None else mixed.interval.high,
            },
            chosen_gain=self._gain(_ranks(self.validation, Recall("mixed", mixed))),
        )

    def cascade(
        self,
        recall: Recall,
        most: int,
        price: float | None,
        trust: tuple[NDArray[np.float64], NDArray[np.float64]] | None,
        popular: NDArray[np.bool_],
    ) -> tuple[Cascade, list[Extra]]:
        """The cascade alone, and after the ``popular`` items were re-embedded."""
        of_validation, of_test = trust or (None, None)
        found = recalled(self.validation, recall, most)
        cascade = choose_cascade(
            self.validation,
            recall,
            primary=self.metric.name,
            most=most,
            price=price,
            trust=of_validation,
            found=found,
        )
        gain = self._gain(cascade.run(self.validation, trust=of_validation, found=found).ranks)
        found = recalled(self.test, recall, cascade.most)
        alone = cascade.run(self.test, trust=of_test, found=found)
        helped = cascade.run(self.test, trust=of_test, found=found, known=popular)
        name = f"{recall.kind}_rescore"
        extra = Extra(
            name,
            f"{name} {alone.price.encodings:.3g}",
            alone.ranks,
            alone.price,
            _answer(name),
            needs_bridge=recall.needs_bridge,
            parameters=cascade.parameters,
            chosen_gain=gain,
        )
        share = helped.price.reembedded
        return cascade, [
            extra,
            replace(
                extra,
                name="backfill_rescore",
                label=f"backfill_rescore {100 * share:.3g}% + {helped.price.encodings:.3g}",
                price=helped.price,
                verdict=_answer("backfill_rescore"),
                parameters={"order": "popularity", "share": share, **cascade.parameters},
            ),
        ]

    def backfills(self, backfill: Backfill, max_share: float) -> list[Extra]:
        """The chosen share, and the largest that is allowed."""
        both = {"backfill": backfill}
        if backfill.share < max_share:
            both["backfill_most"] = backfill.at(max_share)
        outcomes = backfill.run(self.test, [b.share for b in both.values()])
        return [
            Extra(
                name,
                f"{name} {100 * one.share:.3g}%",
                outcome.ranks,
                outcome.price,
                _answer(name),
                needs_bridge=one.recall.needs_bridge,
                parameters=one.parameters,
                chosen_gain=one.gain,
            )
            for (name, one), outcome in zip(both.items(), outcomes, strict=True)
        ]

    @cached_property
    def _old(self) -> NDArray[np.float64]:
        return self.metric.per_query(_ranks(self.validation, Recall("old")))

    def _gain(self, ranks: Ranks) -> Estimate | None:
        """Over the old model, on validation queries; a single one shows nothing."""
        if self.validation.n_queries < 2:
            return None
        difference = (self.metric.per_query(ranks) - self._old)[:, None]
        means = resampled_means(difference, resamples=self.resamples, seed=self.seed)
        return estimate(float(difference.mean()), means[:, 0])


def _answer(name: str) -> Verdict:
    found = ARMS[name].verdict
    assert found is not None
    return found


def _ranks(trial: Trial, recall: Recall) -> Ranks:
    side = recall.side(trial)
    assert trial.relevance is not None
    return relevant_ranks(
        side.queries, side.gallery, trial.relevance, metric=side.metric, exclude=trial.exclude
    )
