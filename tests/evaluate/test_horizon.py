from __future__ import annotations

from dataclasses import replace

import pytest
from tests.evaluate.test_weigh import measured

from isthmus.errors import InputError
from isthmus.evaluate import Estimate, Judging, VerdictRule, weigh
from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.horizon import Horizon, horizon_sentences, parse_horizon
from isthmus.evaluate.price import Price
from isthmus.evaluate.verdict import Offer, VerdictEvidence, cheapest_gain, decide

CASCADE = {
    "rests_on_bridge": False,
    "price": Price(encodings=10, encodings_cached=4, old_query=True),
}


def told(upgrade, horizon: Horizon, **options):
    whole = measured(upgrade("random", old_noise=0.5), old_rescore={**CASCADE, **options})
    rule = VerdictRule(horizon=horizon)
    found = weigh(whole, Judging(resamples=300, rule=rule))
    return found, " | ".join(horizon_sentences(found))


def test_without_figures_the_formula_is_given_and_two_are_asked_for(upgrade):
    found, text = told(upgrade, Horizon())
    assert found.recommended == "old_rescore"
    assert "rows / 10 queries of old_rescore" in text
    assert "rows=" in text and "queries_per_day=" in text
    assert text in " ".join(found.as_text(width=10_000).split())


def test_the_break_even_in_queries_days_and_money(upgrade):
    _, text = told(
        upgrade,
        Horizon(
            rows=2_000_000, queries_per_day=50_000, encodings_per_second=100, money_per_1000=0.02,
            days_to_old_off=0.5,
        ),
    )  # fmt: skip
    assert "10 encodings per query (0.2 in money for a thousand queries)" in text
    assert "the 2,000,000 rows (5.6 hours, 40.00 in money) costs as much as 200,000 queries" in text
    assert "4 days at 50,000 a day; then move to re-embedding" in text
    assert "the old encoder is off in 0.5 days" in text
    assert "takes 5.6 hours, in time" in text


def test_ways_slower_than_the_latency_are_not_recommended(upgrade):
    fast, _ = told(upgrade, Horizon(encodings_per_second=100, latency_seconds=0.2))
    slow, _ = told(upgrade, Horizon(encodings_per_second=100, latency_seconds=0.05))
    assert fast.recommended == "old_rescore"
    assert slow.recommended == "new"


def test_a_way_that_is_expected_to_lose_in_the_whole_index_is_not_used(upgrade):
    whole = measured(upgrade("perfect"))
    rule = VerdictRule(margin=0.05, horizon=Horizon(rows=1_000_000))
    assert weigh(whole, Judging(resamples=300, rule=rule)).verdict is Verdict.USE_BRIDGE
    arms = dict(whole.arms)
    for name, value in (("old", 0.8), ("bridge", 0.6)):
        expected = Estimate(value=value, low=value - 0.05, high=value + 0.05)
        arms[name] = replace(arms[name], in_index=expected)
    found = weigh(replace(whole, arms=arms), Judging(resamples=300, rule=rule))
    assert found.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "among all 1,000,000 rows bridge is expected at 0.600" in found.reason
    text = " ".join(found.as_text().split())
    assert "bridge: at 1,500 of your 1,000,000 items" in text
    assert "expected at full size 0.600 [0.550, 0.650]" in text


def test_a_cascade_whose_recall_finds_too_little_in_the_whole_index_gives_way_to_the_next(upgrade):
    whole = measured(upgrade("random", old_noise=0.5), old_rescore=CASCADE)
    judging = Judging(resamples=300, rule=VerdictRule(horizon=Horizon(rows=1_000_000)))
    old = Estimate(value=0.5, low=0.4, high=0.6)

    def recommended(most: float):
        arms = dict(whole.arms)
        arms["old"] = replace(arms["old"], in_index=old)
        found = Estimate(value=most, low=most - 0.1, high=most + 0.1)
        arms["old_rescore"] = replace(arms["old_rescore"], most_in_index=found)
        return weigh(replace(whole, arms=arms), judging)

    assert recommended(0.6).recommended == "old_rescore"
    lost = recommended(0.4)
    assert lost.recommended == "new"
    assert "old_rescore is expected to find 0.400 [0.300, 0.500] to rescore" in lost.reason
    assert "of new minus old is" in lost.reason


def test_of_ways_as_good_here_one_that_is_not_in_the_whole_index_is_not_taken():
    """One search is cheap, and what it lacks grows with what is searched."""
    gain = Estimate(value=0.03, low=0.01, high=0.05)
    search = Offer("mixed", Verdict.MIX_QUERIES, Price(old_query=True))
    cascade = Offer("old_rescore", Verdict.OLD_AND_RESCORE, Price(encodings=5.0))
    to_old = {"mixed": gain, "old_rescore": gain}
    evidence = VerdictEvidence(
        kind="relevance",
        primary="recall@10",
        n_queries=500,
        values={"old": Estimate(value=0.5, low=0.4, high=0.6), "bridge": gain},
        to_old=to_old,
        over_control=gain,
        chance=0.01,
    )

    def taken(*there: float | None) -> str:
        offers = [o._replace(in_index=i) for o, i in zip((search, cascade), there, strict=True)]
        found = decide(evidence, offers, VerdictRule(gain_margin=0.01))
        chosen = cheapest_gain(offers, to_old, VerdictRule(gain_margin=0.01))
        assert chosen is not None and chosen.arm == found.arm
        return found.reason.partition(" minus old")[0] + found.reason.partition("queries)")[2]

    assert taken(None, None) == taken(0.8, None) == taken(None, 0.8) == "recall@10 of mixed"
    assert taken(0.80, 0.805) == "recall@10 of mixed"
    assert taken(0.78, 0.85) == (
        "recall@10 of old_rescore; mixed is cheaper and as good here, but expected at 0.780 in the "
        "whole index, old_rescore at 0.850"
    )


def test_figures_are_read_and_others_refused():
    found = parse_horizon(["rows=2e6", "queries-per-day=5000"])
    assert (found.rows, found.queries_per_day) == (2_000_000, 5000)
    assert parse_horizon([]) == Horizon()
    for given, message in (
        ("lines=3", "no figure 'lines'"),
        ("rows=many", "'many' is not a number"),
        ("rows=-3", "greater than 0"),
        ("rows", "not a number"),
    ):
        with pytest.raises(InputError, match=message):
            parse_horizon([given])
