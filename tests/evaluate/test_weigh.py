from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import (
    Estimate,
    Judging,
    MeasuredArm,
    Measurement,
    VerdictRule,
    parse_metric,
    relevant_ranks,
    weigh,
)
from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.price import Price

QUICK = Judging(resamples=400)


def measured(trial, **further):
    """The fixed arms of a trial, by recall@10, and further ones as good as the new model."""
    metric = parse_metric("recall@10")
    sides = {
        "old": (trial.query_old, trial.gallery_old, Price()),
        "bridge": (trial.query_bridged, trial.gallery_old, Price()),
        "new": (trial.query_new, trial.gallery_new, Price(reembedded=1)),
        "control": (np.roll(trial.query_bridged, 1, axis=0), trial.gallery_old, None),
    }
    arms = {
        name: MeasuredArm(
            metric.per_query(relevant_ranks(queries, gallery, trial.relevance))[:, None], price
        )
        for name, (queries, gallery, price) in sides.items()
    }
    arms |= {
        name: replace(arms["new"], **{"price": Price(old_query=True), **options})
        for name, options in further.items()
    }
    return Measurement(
        "relevance", arms, ("recall@10",), "recall@10", {"recall@10": 10 / 1500}, 300, 1500
    )


def test_further_arms_are_measured_like_the_others(upgrade):
    trial = upgrade("random", old_noise=0.5)
    found = weigh(measured(trial, old_rescore={"rests_on_bridge": False}), QUICK)
    further, new = found.arms["old_rescore"], found.arms["new"]
    assert further.metrics == new.metrics
    assert further.to_old == new.to_old
    assert further.retention.value == further.update_gain.value == 1
    assert further.price == Price(old_query=True)
    assert found.verdict is Verdict.OLD_AND_RESCORE
    assert found.recommended == "old_rescore"
    assert "it has learned nothing" in found.reason


def test_what_rests_on_a_useless_bridge_or_was_lucky_is_not_recommended(upgrade):
    trial = upgrade("random", old_noise=0.5)
    loss = Estimate(value=-0.01, low=-0.02, high=0.0)
    for options in ({}, {"rests_on_bridge": False, "chosen_gain": loss}):
        found = weigh(measured(trial, old_rescore=options), QUICK)
        assert found.verdict is Verdict.RE_EMBED, found.reason
        assert found.recommended == "new"


def test_rescoring_much_of_the_gallery_is_not_offered(upgrade):
    trial = upgrade("perfect", old_noise=0.6)
    for depth, expected in ((100, "rescore"), (400, "bridge")):
        one = replace(measured(trial, rescore={"price": Price(encodings=depth)}), rescored=depth)
        found = weigh(one, replace(QUICK, rule=VerdictRule(gain_margin=0.0)))
        assert found.recommended == expected


def test_arms_that_cannot_be_weighed(upgrade):
    trial = upgrade("perfect")
    with pytest.raises(InputError, match="there is no arm 'further'"):
        weigh(measured(trial, further={}))
    with pytest.raises(InputError, match="arm 'mixed': .*on other queries"):
        weigh(measured(trial, mixed={"values": np.zeros((200, 1))}))


def test_a_rescored_way_far_above_the_model_that_orders_it_decides_nothing(upgrade):
    trial = upgrade("perfect", old_noise=0.5)
    one = measured(trial, old_rescore={"rests_on_bridge": False})
    better = np.ones_like(one.arms["new"].values)
    new = replace(one.arms["new"], values=better * (np.arange(300) % 3 > 0)[:, None])
    arms = {**one.arms, "new": new, "old_rescore": replace(new, values=better)}
    arms["old"] = arms["bridge"] = replace(new, values=new.values * 0.5)
    found = weigh(replace(one, arms=arms), QUICK)
    assert found.verdict is Verdict.NOT_ENOUGH_EVIDENCE
    assert "old_rescore finds 0.333 more than the new model by itself" in found.reason
    near = replace(new, values=np.maximum(new.values, (np.arange(300) % 100 == 0)[:, None]))
    fair = weigh(replace(one, arms={**arms, "old_rescore": near}), QUICK)
    assert fair.recommended == "old_rescore"
