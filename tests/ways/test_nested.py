"""Queries that chose ways judge too: each half in the ways that the other chose."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from isthmus.evaluate import Judging, Trial, from_ids
from isthmus.ways import ChosenWays, choose_ways
from isthmus.ways.bench import Nested
from isthmus.ways.judge import judge_ways

Halves = tuple[Trial, NDArray[np.bool_], ChosenWays, ChosenWays]
QUICK = Judging(primary="recall@1", resamples=200)


@pytest.fixture(scope="module")
def halves(weak: tuple[Trial, Trial]) -> Halves:
    """All queries, which of them are the second half, and what either half chose."""
    whole = weak[1]
    own = np.arange(whole.n_queries) >= whole.n_queries // 3
    first, second = whole.of(~own), whole.of(own)
    chosen = choose_ways(second, first, primary="recall@1", resamples=100)
    other = choose_ways(first, second, primary="recall@1", resamples=100, wanted=chosen.ways)
    return whole, own, chosen, other


def test_every_arm_is_that_of_both_halves(halves: Halves) -> None:
    whole, own, chosen, other = halves
    found = judge_ways(whole, QUICK, chosen=chosen, nested=Nested(own, other)).evaluation
    sides = [
        judge_ways(whole.of(rows), QUICK, chosen=of).evaluation
        for rows, of in ((~own, chosen), (own, other))
    ]
    assert found.n_queries == sum(side.n_queries for side in sides) == whole.n_queries
    # the two halves did not choose alike
    assert any(chosen.ways[name] != other.ways[name] for name in chosen.ways)
    assert set(chosen.ways) <= set(found.arms)
    for name, arm in found.arms.items():
        if name == "control":
            continue  # its queries are permuted among all
        for metric, told in arm.metrics.items():
            values = [side.arms[name].metrics[metric].value for side in sides]
            mean = np.average(values, weights=[side.n_queries for side in sides])
            assert told.value == pytest.approx(mean)
        if name in chosen.ways:
            assert arm.parameters == {**chosen.ways[name].parameters, **chosen.facts.get(name, {})}
        encodings = [side.arms[name].price.encodings for side in sides]
        assert arm.price.encodings == pytest.approx(
            np.average(encodings, weights=[side.n_queries for side in sides])
        )
        # what the first half had encoded is kept for the second
        assert arm.price.cached_share <= 1
    worst = [int(query.id) for query in found.worst]
    assert worst and max(worst) < whole.n_queries


def noisy(seed: int, n: int) -> Trial:
    """Mapped queries that are the old ones with noise: no weight of them gains anything."""
    rng = np.random.default_rng(seed)
    items = rng.standard_normal((300, 8)).astype(np.float32)
    rows = rng.integers(0, 300, n)
    old = items[rows] + 0.8 * rng.standard_normal((n, 8)).astype(np.float32)
    mapped = old + 0.8 * rng.standard_normal((n, 8)).astype(np.float32)
    same = from_ids(rows.tolist(), range(300))
    return Trial(old, mapped, items, None, query_bridged=mapped, relevance=same)


def test_a_weight_that_luck_chose_gains_nothing() -> None:
    def gain(trial: Trial, chosen: ChosenWays, nested: Nested | None = None) -> float:
        found = judge_ways(trial, QUICK, chosen=chosen, nested=nested).evaluation
        return (
            found.arms["mixed"].metrics["recall@1"].value
            - found.arms["old"].metrics["recall@1"].value
        )

    flattered, honest = [], []
    for seed in range(40):
        trial = noisy(seed, 40)
        own = np.arange(40) >= 20
        choose = partial(choose_ways, primary="recall@1", resamples=20, wanted=("mixed",))
        flattered.append(gain(trial, choose(trial, trial)))
        sides = choose(trial.of(own), trial.of(~own)), choose(trial.of(~own), trial.of(own))
        honest.append(gain(trial, sides[0], Nested(own, sides[1])))
    assert np.mean(flattered) > 0.005
    assert np.mean(honest) < 0


def test_what_one_half_would_do_without_is_chosen_where_it_is_wanted() -> None:
    trial = noisy(0, 400)
    assert "mixed" not in choose_ways(trial, trial, primary="mrr", resamples=50).ways
    wanted = choose_ways(trial, trial, primary="mrr", resamples=50, wanted=("mixed",))
    assert wanted.ways["mixed"].recall.alpha == 0
    assert wanted.only(()).ways == {}


def test_thresholds_are_of_the_ways_that_are_served(halves: Halves) -> None:
    """Scores of another weight are on another scale: queries that chose it are asked anew."""
    whole, own, chosen, other = halves
    mixed = [of.ways["mixed"] for of in (chosen, other)]
    heavy = {
        **other.ways,
        "mixed": mixed[1].model_copy(
            update={"recall": mixed[1].recall.model_copy(update={"alpha": 0.95})}
        ),
    }
    apart = replace(other, ways=heavy)
    assert mixed[0].recall.alpha is not None and mixed[0].recall.alpha < 0.9
    found = judge_ways(whole, QUICK, chosen=chosen, nested=Nested(own, apart)).thresholds
    alone = judge_ways(whole, QUICK, chosen=chosen).thresholds
    assert found is not None and alone is not None and set(found.ways) == set(alone.ways)
    for keep in ("share", "precision"):
        for way in found.ways:
            np.testing.assert_array_equal(found.tables[keep][way], alone.tables[keep][way])
