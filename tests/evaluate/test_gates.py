from __future__ import annotations

import pytest

from isthmus.errors import InputError
from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.bootstrap import Estimate
from isthmus.evaluate.evaluation import Arm, Evaluation
from isthmus.evaluate.gates import check_gates, metrics_of, parse_gate
from isthmus.evaluate.verdict import VerdictRule

RECALL = Estimate(value=0.8, low=0.75, high=0.85)


@pytest.fixture
def evaluation():
    return Evaluation(
        evidence_kind="relevance",
        n_queries=100,
        n_unanswerable=0,
        n_gallery=1000,
        metrics=("recall@10",),
        primary="recall@10",
        arms={
            "old": Arm(metrics={"recall@10": RECALL}),
            "bridge": Arm(
                metrics={"recall@10": RECALL},
                to_old=Estimate(value=-0.02, low=-0.05, high=0.01),
                retention=Estimate(value=0.97, low=0.95, high=0.99),
                update_gain=Estimate(value=None, reason="the new model is not better"),
            ),
        },
        absent={"new": "not known"},
        chance={"recall@10": 0.01},
        over_control=RECALL,
        overlap={},
        overlap_k=10,
        rescored=None,
        seed=0,
        resamples=100,
        level=0.95,
        rule=VerdictRule(),
        verdict=Verdict.KEEP_OLD,
        reason="",
    )


@pytest.mark.parametrize(
    ("condition", "passed"),
    [
        ("retention>=0.95", True),
        ("retention > 0.95", False),
        ("recall@10>=0.8", False),  # the low end is .75
        ("recall@10 >= .75", True),
        ("recall@10<=0.8", False),  # the high end is .85
        ("recall@10 < 0.9", True),
        ("old.recall@10>=0.7", True),
        ("to_old > -0.06", True),
        ("to_old > -5e-2", False),
        ("update_gain>0", False),
        ("new.recall@10>=0", False),
        ("old.retention>=0", False),
        ("verdict in (keep the old model)", True),
        ("verdict in (re-embed, keep the old model)", True),
        ("verdict in (use the bridge, bridge and rescore)", False),
    ],
)
def test_conservative_end_decides(evaluation, condition, passed):
    (result,) = check_gates(evaluation, [condition])
    assert result.passed is passed
    assert result.condition == condition


def test_default_gate_is_the_verdict(evaluation):
    for verdict in Verdict:
        (result,) = check_gates(evaluation.model_copy(update={"verdict": verdict}))
        assert result.passed == (
            verdict not in ("re-embed", "keep the old model", "not enough evidence")
        )


def test_results_say_what_was_found(evaluation):
    results = check_gates(evaluation, ["update_gain>0", "retention>=0.95", "new.recall@10>0"])
    assert [str(result) for result in results] == [
        "FAIL  update_gain>0  (found undefined: the new model is not better)",
        "pass  retention>=0.95  (found 0.970 [0.950, 0.990])",
        "FAIL  new.recall@10>0  (found nothing: not known)",
    ]


def test_without_an_arm_the_recommended_way_is_judged(evaluation):
    better = Arm(metrics={"recall@10": RECALL}, retention=Estimate(value=1.1, low=1.0, high=1.2))
    arms = {**evaluation.arms, "old_rescore": better}
    told = evaluation.model_copy(update={"arms": arms, "recommended": "old_rescore"})
    for condition, passed in (("retention>=1", True), ("bridge.retention>=1", False)):
        assert [r.passed for r in check_gates(told, [condition])] == [passed]
    assert check_gates(told, ["retention>=1"])[0].found.startswith("old_rescore: 1.100")
    assert [r.passed for r in check_gates(evaluation, ["retention>=1"])] == [False]


def test_a_gate_on_what_the_evidence_lacks_names_what_it_has(evaluation):
    arms = {**evaluation.arms, "bridge": Arm(metrics={"overlap@10": RECALL})}
    told = evaluation.model_copy(update={"arms": arms})
    (result,) = check_gates(told, ["bridge.retention>=1"])
    assert result.found == "nothing: it was not measured; known: bridge.overlap@10"


def test_a_gate_on_a_strategy(evaluation):
    (result,) = check_gates(evaluation, ["old_rescore.to_old>0"])
    assert str(result) == "FAIL  old_rescore.to_old>0  (found nothing: it was not measured)"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("retention==1", "cannot be read"),
        ("", "cannot be read"),
        ("recall@10>=high", "cannot be read"),
        ("verdict in (ship it)", "'ship it' is not a verdict"),
    ],
)
def test_conditions_that_cannot_be_read(condition, message):
    with pytest.raises(InputError, match=message):
        parse_gate(condition)


def test_a_name_or_an_arm_that_does_not_exist_is_refused_before_any_work():
    with pytest.raises(InputError, match="'retension' is not a metric"):
        parse_gate("retension>=0.9")
    with pytest.raises(InputError, match="there is no arm 'magic'"):
        parse_gate("magic.recall@10>0")


def test_what_was_not_measured_fails(evaluation):
    (result,) = check_gates(evaluation, ["recall@3>0"])
    assert not result.passed
    assert "not measured" in result.found
    assert metrics_of(["recall@3>0", "retention>1", "verdict in (re-embed)"]) == ["recall@3"]
