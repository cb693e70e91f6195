"""A map examined on held-out data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.bridge.test_evidence import _batch

from isthmus.adapters.chain import Affine, Chain
from isthmus.adapters.cross_fitted import CrossFitted
from isthmus.bridge.evidence import HeldOut
from isthmus.bridge.examine import HeldOutParts, examine
from isthmus.evaluate import Judging, VerdictRule, parse_metric, relevant_ranks
from isthmus.evaluate.arms import ARMS
from isthmus.evaluate.attraction import ranks_among_unfitted
from isthmus.evaluate.horizon import Horizon
from isthmus.evaluate.trial import FewerPairs
from isthmus.spaces.sample import Batch
from isthmus.ways import ChosenWays, Recall, Way, evaluate_upgrade
from isthmus.ways.judged_recall import JudgedRecall
from isthmus.ways.recall import gallery_search

JUDGING = Judging(primary="ndcg@10", resamples=100)
CHAIN = Chain([Affine(2 * np.eye(4)[::-1])])


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_ways_are_chosen_on_one_part_and_judged_on_the_other(kind: Any) -> None:
    test = HeldOut.of_items(_batch(0, 40, labels=True), _batch(0, 100, labels=True))
    validation = HeldOut.of_items(_batch(50, 80, labels=True), _batch(0, 100, labels=True))
    found = examine(HeldOutParts(test, validation), CHAIN, kind, JUDGING)
    assert {"bridge_rescore", "old_rescore", "backfill"} <= set(found.ways)
    areas = {p for p in found.evidence.arms["backfill"].parameters if p.startswith("area_")}
    assert areas == {"area_popularity", "area_error", "area_distance", "area_random"}
    assert set(found.ways) == set(found.evidence.arms) - {"control"}
    assert found.evidence.primary == "ndcg@10"
    assert set(found.evidence.absent) | set(found.evidence.arms) == set(ARMS)


@pytest.mark.parametrize("kind", ["query", "corpus"])
def test_without_queries_to_choose_on_the_fixed_ways_are_judged(kind: Any) -> None:
    test = HeldOut.of_items(_batch(0, 40, labels=True), _batch(0, 100, labels=True))
    unlabelled = HeldOut.of_items(_batch(50, 80), _batch(0, 100))
    for validation in (None, unlabelled):
        found = examine(HeldOutParts(test, validation), CHAIN, kind, JUDGING)
        assert not any(ARMS[name].chosen for name in found.ways)
        assert {n for n, arm in ARMS.items() if arm.chosen} <= set(found.evidence.absent)


def test_evidence_of_maps_of_folds_says_that_it_is_a_lower_estimate() -> None:
    test = HeldOut.of_items(_batch(0, 40, labels=True), _batch(0, 100, labels=True))
    served = examine(HeldOutParts(test), CHAIN, "query", JUDGING).evidence
    assert served.folds is None and served.lower_estimate is None
    assert "lower estimate" not in served.as_text()
    folds = examine(HeldOutParts(test), CrossFitted((CHAIN,) * 4), "query", JUDGING).evidence
    assert folds.folds == 4 and "one of 4 maps fitted on 75% of the pairs" in folds.lower_estimate
    assert folds.fitted_share == 0.75 and "Old vectors of all items" in folds.lower_estimate
    for lines in (folds.as_text(width=60), folds.as_text(width=200, all_arms=True)):
        assert folds.lower_estimate in " ".join(lines.split())
    assert folds.arms == served.arms


def test_rows_of_the_fit_attract_no_query_of_the_evidence() -> None:
    n, d = 160, 64
    rng = np.random.default_rng(0)
    items = rng.standard_normal((n, d)) / np.arange(1, d + 1) ** 0.5
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    both = [items + 0.2 * rng.standard_normal((n, d)) for _ in range(2)]
    x, y = both[0].astype(np.float32), (both[1] @ turn).astype(np.float32)
    folds = CrossFitted((Chain(),) * 4).folds(np.arange(n))
    closely = [Chain([Affine(np.linalg.lstsq(x[folds != k], y[folds != k])[0])]) for k in range(4)]
    maps, rows = CrossFitted(tuple(closely)), Batch(np.arange(n), x, y)
    held_out = HeldOut.of_queries(rows, {i: [i] for i in range(n)}, rows, rows)
    judging = Judging(metrics=("recall@1",), resamples=100)
    found = examine(HeldOutParts(held_out), maps, "query", judging).evidence
    trial = held_out.trial(maps, "query")
    ranks = relevant_ranks(trial.bridge.queries, trial.bridge.gallery, trial.relevance)
    drawn = ranks_among_unfitted(trial.bridge, trial.relevance, trial.fitted, ranks)
    metric = parse_metric("recall@1")
    told = found.arms["bridge"].metrics["recall@1"].value
    assert told == pytest.approx(np.mean([metric.per_query(one).mean() for one in drawn]))
    assert told > metric.per_query(ranks).mean() + 0.03
    assert found.among_unfitted and "count as often" in found.lower_estimate


def test_the_bridge_is_told_as_of_all_pairs() -> None:
    """By the step from maps of three fifths to maps of four fifths."""
    n, d, folds = 200, 90, 5
    rng = np.random.default_rng(0)
    items = rng.standard_normal((n, d)) / np.arange(1, d + 1) ** 0.5
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0]
    both = [items + 0.2 * rng.standard_normal((n, d)) for _ in range(2)]
    x, y = both[0].astype(np.float32), (both[1] @ turn).astype(np.float32)
    fold = CrossFitted((Chain(),) * folds).folds(np.arange(n))

    def fitted(*left_out: int) -> Chain:
        rows = ~np.isin(fold, left_out)
        return Chain([Affine(np.linalg.lstsq(x[rows], y[rows])[0])])

    fewer = CrossFitted(tuple(fitted(k, (k + 1) % folds) for k in range(folds)))
    maps = CrossFitted(tuple(fitted(k) for k in range(folds)), fewer=fewer)
    rows = Batch(np.arange(n), x, y)
    held_out = HeldOut.of_queries(rows, {i: [i] for i in range(n)}, rows, rows)
    rule = VerdictRule(horizon=Horizon(rows=2000))
    judging = Judging(
        metrics=("recall@1", "mrr"),
        primary="mrr",
        resamples=200,
        rule=rule,
        groups={str(i): "a" if i < 80 else "b" for i in range(n)},
    )

    ways = {
        "bridge": Way(recall=Recall(kind="bridge")),
        "mixed": Way(recall=Recall(kind="mixed", alpha=0.8)),
    }
    chosen = ChosenWays(ways={"mixed": ways["mixed"]})

    def told(chain: CrossFitted) -> Any:
        return evaluate_upgrade(held_out.trial(chain, "query"), judging, chosen=chosen)

    found, plain = told(maps), told(replace(maps, fewer=None))
    trial = held_out.trial(maps, "query")
    for name, way in ways.items():
        side = gallery_search(trial, way.recall)
        ranks = relevant_ranks(side.queries, side.gallery, trial.relevance)
        judged = JudgedRecall.of(trial, way.recall, ranks)
        assert judged.found is not None and judged.fewer is not None and judged.nested is None
        both = [judged.found.draws, judged.fewer.draws]
        for metric in ("recall@1", "mrr"):
            per_query = parse_metric(metric).per_query
            most, less = (np.mean([per_query(one).mean() for one in drawn]) for drawn in both)
            step = FewerPairs(x, folds).next_step(most, less)
            now, before = (e.arms[name].metrics[metric] for e in (found, plain))
            assert now.value == pytest.approx(most + step * (most - less))
            # what the number of rows ahead says is told together with the maps of fewer
            assert most == pytest.approx(before.value, abs=0.03)
            assert now.value > most + 0.01
            # what is carried on is not known for sure; the other is near 1
            assert name == "mixed" or now.high - now.low > before.high - before.low
        there = [e.arms[name].in_index.value for e in (found, plain)]
        assert 0 < there[1] < there[0] < found.arms[name].metrics["mrr"].value
    for one in (found, plain):
        # groups are told as the whole is
        assert one.fairness.judged in ways
        of_groups = sum(g.n_queries * g.judged for g in one.fairness.groups) / n
        assert of_groups == pytest.approx(one.arms[one.fairness.judged].metrics["mrr"].value)
    assert found.arms["old"].in_index == plain.arms["old"].in_index
    assert found.arms["old"].metrics == plain.arms["old"].metrics


def test_ways_of_one_search_are_told_as_maps_that_others_chose_find() -> None:
    """The bridge, a mixed query, and both in an index that is larger."""
    n, d, folds = 200, 40, 4
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, d)).astype(np.float32)
    y = (x + 2 * rng.standard_normal((n, d))).astype(np.float32)
    worse = Chain([Affine(np.eye(d) + rng.standard_normal((d, d)) / 4)])
    less, own = (CrossFitted((Chain([Affine(np.eye(d) * s)]),) * folds) for s in (1.0, 2.0))
    nested = CrossFitted((worse, worse, *own.chains[2:]))
    maps = replace(own, fewer=less, nested=nested)
    rows = Batch(np.arange(n), x, y)
    held_out = HeldOut.of_queries(rows, {i: [i] for i in range(n)}, rows, rows)
    rule = VerdictRule(horizon=Horizon(rows=2000))
    judging = Judging(metrics=("recall@1",), primary="recall@1", resamples=100, rule=rule)
    ways = {"mixed": Way(recall=Recall(kind="mixed", alpha=0.8))}

    def told(chain: CrossFitted) -> Any:
        trial = held_out.trial(chain, "query")
        return evaluate_upgrade(trial, judging, chosen=ChosenWays(ways=ways))

    found, lucky, theirs = told(maps), told(replace(maps, nested=None)), told(nested)
    for name in ("bridge", "mixed"):
        value, before, other = (
            e.arms[name].metrics["recall@1"].value for e in (found, lucky, theirs)
        )
        # maps of fewer pairs find as much here: there is no step; rows ahead are told of together
        assert value == pytest.approx(other, abs=0.01)
        assert value < before - 0.01
        there, there_before = (e.arms[name].in_index.value for e in (found, lucky))
        assert 0 < there < there_before < before
    assert found.arms["old"].metrics == lucky.arms["old"].metrics


def test_evidence_says_which_of_its_values_are_as_of_all_pairs() -> None:
    rows = _batch(0, 100)
    test = HeldOut.of_queries(_batch(0, 40), {i: [i] for i in rows.ids.tolist()}, rows, rows)
    maps = CrossFitted((CHAIN,) * 4, fewer=CrossFitted((CHAIN,) * 4))
    found, plain = (
        examine(HeldOutParts(test), chain, "query", JUDGING).evidence
        for chain in (maps, replace(maps, fewer=None))
    )
    assert found.of_all_pairs and "told as of all pairs" in found.lower_estimate
    assert not plain.of_all_pairs and "more than the upper ends" in plain.lower_estimate


def test_where_everything_is_found_there_is_no_step() -> None:
    fewer = FewerPairs(np.ones((1, 2)), 5)
    for found in (1.0, 1 + 2e-16):
        assert fewer.next_step(found, 0.9) == 0
    assert fewer.next_step(1 - 1e-12, 0.9) > 0
