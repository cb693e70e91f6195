from __future__ import annotations

import pytest

from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.verdict import Verdict, VerdictRule, decide


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
    share=0.05,
    **rule,
):
    to_old = {"bridge": around(bridge, half)}
    if rescore is not None:
        to_old["rescore"] = around(rescore, half)
    if new is not None:
        to_old["new"] = around(new, half)
    return decide(
        kind=kind,
        primary="recall@10",
        n_queries=n,
        values={"old": around(old), "bridge": around(old + bridge, half)},
        to_old=to_old,
        over_control=around(control),
        chance=0.01,
        rescored_share=None if rescore is None else share,
        rule=VerdictRule(**rule),
    )


def test_the_five_answers():
    assert [v.value for v in Verdict] == [
        "use the bridge",
        "bridge and rescore",
        "re-embed",
        "keep the old model",
        "not enough evidence",
    ]


@pytest.mark.parametrize(
    ("expected", "arguments"),
    [
        ("use the bridge", {"bridge": 0.02}),
        ("use the bridge", {"bridge": -0.004}),
        ("use the bridge", {"bridge": -0.03, "margin": 0.05}),
        ("bridge and rescore", {"bridge": -0.2, "rescore": 0.0, "new": 0.1}),
        ("bridge and rescore", {"bridge": -0.012, "rescore": 0.0, "new": 0.1}),
        ("re-embed", {"bridge": -0.2, "rescore": -0.1, "new": 0.1}),
        ("re-embed", {"bridge": -0.2, "rescore": 0.0, "new": 0.1, "share": 0.5}),
        ("re-embed", {"bridge": -0.2, "rescore": 0.0, "new": 0.1, "control": 0.001}),
        ("keep the old model", {"bridge": -0.2, "rescore": -0.1, "new": 0.002}),
        ("keep the old model", {"bridge": -0.2, "new": -0.1}),
        ("keep the old model", {"bridge": -0.2}),
        ("keep the old model", {"bridge": 0.0, "control": 0.0}),
        ("not enough evidence", {"bridge": -0.012}),
        ("not enough evidence", {"bridge": -0.2, "rescore": -0.012, "new": 0.1}),
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


def test_more_queries_only_where_they_can_be_counted():
    assert "would settle" not in verdict(-0.01).reason
