from __future__ import annotations

import pytest

from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.price import Price
from isthmus.evaluate.verdict import Offer, VerdictEvidence, VerdictRule, decide

RESCORING = Price(encodings=50)
MIX = Offer("mix", Verdict.MIX_QUERIES, Price(old_query=True))
OLD_RESCORE = Offer(
    "old_rescore", Verdict.OLD_AND_RESCORE, Price(old_query=True, encodings=8), needs_bridge=False
)
BACKFILL = Offer("backfill", Verdict.BACKFILL, Price(reembedded=0.1), needs_bridge=False)
FURTHER = {offer.arm: offer for offer in (MIX, OLD_RESCORE, BACKFILL)}


def around(value, half=0.005):
    return Estimate(value=value, low=value - half, high=value + half)


def verdict(
    bridge=-0.2,
    rescore=None,
    new=None,
    *,
    kind="relevance",
    old=0.8,
    half=0.005,
    control=0.5,
    n=1000,
    further=None,
    dubious=(),
    first=None,
    doubts=(),
    **rule,
):
    to_old = {"bridge": around(bridge, half)}
    offers = [Offer("bridge", Verdict.USE_BRIDGE, Price(), without_gain=True)]
    if rescore is not None:
        to_old["rescore"] = around(rescore, half)
        offers.append(Offer("rescore", Verdict.BRIDGE_AND_RESCORE, RESCORING))
    for name, value in (further or {}).items():
        to_old[name] = around(value, half)
        offers.append(FURTHER[name]._replace(promising=name not in dubious))
    if new is not None:
        to_old["new"] = around(new, half)
    evidence = VerdictEvidence(
        kind=kind,
        primary="recall@10",
        n_queries=n,
        values={"old": around(old), "bridge": around(old + bridge, half)},
        to_old=to_old,
        over_control=around(control),
        chance=0.01,
        first_to_old={} if first is None else {"bridge": around(first, half)},
        doubts=doubts,
    )
    return decide(evidence, offers, VerdictRule(**rule))


def test_the_answers():
    assert [v.value for v in Verdict] == [
        "use the bridge",
        "bridge and rescore",
        "mix the queries",
        "mix the queries and rescore",
        "recall with the old model and rescore",
        "backfill a part",
        "backfill a part and rescore",
        "re-embed",
        "keep the old model",
        "not enough evidence",
    ]
    assert [v for v in Verdict if not v.serves] == list(Verdict)[-3:]


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("use the bridge", {"bridge": 0.02}),
        ("use the bridge", {"bridge": -0.004}),
        ("use the bridge", {"bridge": -0.03, "margin": 0.05}),
        ("bridge and rescore", {"bridge": -0.2, "rescore": 0.006, "new": 0.1}),
        ("bridge and rescore", {"bridge": -0.012, "rescore": 0.006, "new": 0.1}),
        # nothing is paid for no gain
        ("re-embed", {"bridge": -0.2, "rescore": 0.0, "new": 0.1}),
        ("keep the old model", {"bridge": -0.2, "rescore": 0.004, "new": 0.0}),
        # the first result counts too
        ("use the bridge", {"bridge": 0.0, "first": -0.004}),
        ("not enough evidence", {"bridge": 0.0, "first": -0.012}),
        ("keep the old model", {"bridge": 0.0, "first": -0.03}),
        ("use the bridge", {"bridge": 0.02, "first": -0.004}),
        ("keep the old model", {"bridge": 0.02, "first": -0.03}),
        # data in doubt
        ("not enough evidence", {"bridge": 0.02, "doubts": ("they do not go together",)}),
        ("re-embed", {"bridge": -0.2, "rescore": -0.1, "new": 0.1}),
        ("re-embed", {"bridge": -0.2, "new": 0.1, "further": {"mix": 0.004}}),
        ("re-embed", {"bridge": -0.2, "rescore": 0.0, "new": 0.1, "control": 0.001}),
        ("keep the old model", {"bridge": -0.2, "rescore": -0.1, "new": 0.002}),
        ("keep the old model", {"bridge": -0.2, "new": -0.1}),
        ("keep the old model", {"bridge": -0.2}),
        ("keep the old model", {"bridge": 0.0, "control": 0.0}),
        ("not enough evidence", {"bridge": -0.012}),
        ("not enough evidence", {"bridge": 0.02, "n": 49}),
        ("not enough evidence", {"bridge": 0.02, "old": 0.014}),
        ("use the bridge", {"kind": "agreement", "bridge": -0.05, "old": 1.0}),
        ("keep the old model", {"kind": "agreement", "bridge": -0.6, "old": 1.0}),
        ("keep the old model", {"kind": "agreement", "bridge": 0.0, "old": 1.0, "control": 0.0}),
        ("not enough evidence", {"kind": "agreement", "bridge": -0.2, "old": 1.0, "new": 0.1}),
        ("not enough evidence", {"kind": "agreement", "bridge": 0.0, "old": 1.0, "n": 10}),
    ],
)
def test_rule(expected, arguments):
    assert verdict(**arguments).verdict == expected


# the gains of the bridge and of further arms, what they cost, and the arm that is recommended
@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        # the cheapest within a point of the best
        ("bridge", {"bridge": 0.042, "rescore": 0.05, "further": {"mix": 0.05}}),
        ("rescore", {"bridge": 0.02, "rescore": 0.05, "further": {"mix": 0.03}}),
        ("mix", {"further": {"mix": 0.04, "old_rescore": 0.045}}),
        ("old_rescore", {"further": {"mix": 0.02, "old_rescore": 0.045}}),
        ("mix", {"further": {"mix": 0.02, "old_rescore": 0.045}, "gain_margin": 0.03}),
        ("old_rescore", {"further": {"old_rescore": 0.05}, "rescore": 0.05}),
        ("mix", {"further": {"mix": 0.03, "backfill": 0.03}, "items_per_query": 11.0}),
        ("backfill", {"further": {"mix": 0.03, "backfill": 0.03}, "items_per_query": 9.0}),
        # an interval that reaches 0 is no gain
        (None, {"further": {"mix": 0.004, "old_rescore": 0.005}}),
        ("mix", {"further": {"mix": 0.006, "old_rescore": 0.005}}),
        # a bridge without loss yields to a gain, and stands where there is none
        ("bridge", {"bridge": -0.004, "further": {"mix": 0.004}}),
        ("mix", {"bridge": -0.004, "further": {"mix": 0.006}}),
        # what did not gain where it was chosen
        (None, {"further": {"mix": 0.03}, "dubious": ["mix"]}),
        # what rests on a bridge that has learned nothing
        (None, {"further": {"mix": 0.03}, "control": 0.001}),
        ("old_rescore", {"further": {"mix": 0.03, "old_rescore": 0.03}, "control": 0.001}),
    ],
)
def test_the_cheapest_that_gains_as_much_as_the_best(expected, arguments):
    found = verdict(**arguments)
    assert found.arm == expected, found.reason
    assert found.verdict.serves == (expected is not None)


def test_a_recommendation_states_its_price():
    found = verdict(further={"old_rescore": 0.05, "mix": 0.01}, control=0.0)
    assert found.reason == (
        "recall@10 of old_rescore minus old is +0.050 [+0.045, +0.055]: a gain, at a price "
        "of old encoder too + 8.0 encodings per query (0.0 cached) (1000 queries); the bridge's "
        "recall@10 is not above that of permuted queries (difference +0.000 [-0.005, +0.005]): it "
        "has learned nothing"
    )
    assert "mix minus old is +0.004 [-0.001, +0.009], not shown to be a gain" in (
        verdict(further={"mix": 0.004}).reason
    )


def test_reason_has_the_numbers_and_what_to_do():
    assert verdict(-0.004).reason == (
        "recall@10 of bridge minus old is -0.004 [-0.009, +0.001]: no loss beyond the margin of "
        "0.01 (1000 queries)"
    )
    assert verdict(-0.015, half=0.01).reason.endswith(
        "the interval leaves open whether the loss exceeds the margin of 0.01; "
        "about 4000 would settle it"
    )
    assert "supply queries" in verdict(-0.2, kind="agreement", old=1.0).reason


def test_a_new_model_that_is_shown_to_gain_is_not_left_to_more_queries():
    open_ = verdict(-0.012, half=0.01)
    assert open_.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert verdict(-0.012, new=0.009, half=0.01) == open_
    found = verdict(-0.012, new=0.05, half=0.01)
    assert (found.verdict, found.arm) == (Verdict.RE_EMBED, "new")
    assert found.reason.startswith(open_.reason)
    assert found.reason.endswith("but recall@10 of new minus old is +0.050 [+0.040, +0.060]")
    # the bridge that is shown to lose nothing comes first
    assert verdict(-0.001, new=0.05).verdict is Verdict.USE_BRIDGE


def test_more_queries_only_where_they_can_be_counted():
    assert "would settle" not in verdict(-0.01).reason
