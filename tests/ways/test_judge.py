from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.arms import ARMS, Verdict
from isthmus.evaluate.judging import Judging
from isthmus.evaluate.metrics import parse_metric
from isthmus.evaluate.price import Price
from isthmus.evaluate.ranks import relevant_ranks
from isthmus.evaluate.relevance import from_ids, from_labels
from isthmus.ways import evaluate_upgrade

QUICK = Judging(resamples=400)


@pytest.mark.parametrize("agreement", [False, True])
@pytest.mark.parametrize("corpus", [False, True])
@pytest.mark.parametrize("fit", ["procrustes", "ridge"])
def test_a_perfect_map_is_used(upgrade, agreement, corpus, fit):
    found = evaluate_upgrade(upgrade("perfect", agreement=agreement, corpus=corpus, fit=fit), QUICK)
    assert found.verdict is Verdict.USE_BRIDGE
    assert found.overlap["old" if agreement else "new"].value == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("agreement", [False, True])
@pytest.mark.parametrize("corpus", [False, True])
@pytest.mark.parametrize(
    ("kind", "fit"), [("random", "none"), ("shuffled", "procrustes"), ("shuffled", "ridge")]
)
@pytest.mark.parametrize("depth", [None, 750])
def test_a_map_that_learned_nothing_is_refused(upgrade, agreement, corpus, kind, fit, depth):
    found = evaluate_upgrade(
        upgrade(kind, agreement=agreement, corpus=corpus, fit=fit, old_noise=0.5),
        replace(QUICK, rescore_depth=depth),
    )
    expected = Verdict.KEEP_OLD if agreement else Verdict.RE_EMBED
    assert found.verdict is expected, found.reason


def test_a_map_that_learned_nothing_is_no_reason_to_re_embed(upgrade):
    found = evaluate_upgrade(upgrade("random"), QUICK)
    assert found.verdict is Verdict.KEEP_OLD


def test_without_the_new_gallery(upgrade):
    found = evaluate_upgrade(replace(upgrade("random"), gallery_new=None), QUICK)
    assert found.verdict is Verdict.KEEP_OLD
    assert set(found.absent) == {"rescore", "new"}
    assert found.rescored is None
    assert found.arms["bridge"].retention is None


def test_arms_are_what_they_say(upgrade):
    trial = upgrade("perfect", old_noise=0.6)
    found = evaluate_upgrade(trial, QUICK)
    assert list(found.arms) == [name for name, arm in ARMS.items() if not arm.chosen]
    assert trial.query_bridged is not None and trial.gallery_new is not None
    searches = {
        "old": (trial.query_old, trial.gallery_old),
        "naive": (trial.query_new, trial.gallery_old),
        "bridge": (trial.query_bridged, trial.gallery_old),
        "new": (trial.query_new, trial.gallery_new),
    }
    value = {}
    for arm, (queries, gallery) in searches.items():
        ranks = relevant_ranks(queries, gallery, trial.relevance)
        for name in found.metrics:
            value[arm, name] = parse_metric(name).per_query(ranks).mean()
            assert found.arms[arm].metrics[name].value == pytest.approx(value[arm, name])
    old, bridge, new = (value[arm, "recall@10"] for arm in ("old", "bridge", "new"))
    arm = found.arms["bridge"]
    assert arm.to_old is not None and arm.retention is not None and arm.update_gain is not None
    assert arm.to_old.value == pytest.approx(bridge - old)
    assert arm.retention.value == pytest.approx(bridge / new)
    assert arm.update_gain.value == pytest.approx((bridge - old) / (new - old))
    assert found.compatible == (bridge > old)
    assert found.arms["old"].to_old is None
    rescore, control = (found.arms[a].metrics["recall@10"].value for a in ("rescore", "control"))
    assert rescore is not None and control is not None
    assert bridge < rescore <= new
    assert control < 0.05


def test_agreement_is_flagged_and_old_is_one(upgrade):
    trial = upgrade("perfect", agreement=True, old_noise=0.3)
    copies = np.concatenate([trial.gallery_old] * 2)  # duplicates tie at the tenth place
    doubled = replace(
        trial,
        gallery_old=copies,
        gallery_new=None if trial.gallery_new is None else np.concatenate([trial.gallery_new] * 2),
    )
    for one in (trial, doubled):
        found = evaluate_upgrade(one, QUICK)
        assert found.evidence_kind == "agreement"
        assert found.metrics == ("overlap@10",)
        assert found.arms["old"].metrics["overlap@10"].value == 1
        assert found.compatible is None
        assert found.chance["overlap@10"] == pytest.approx(10 / (one.n_gallery - 1))


def test_unanswerable_queries_are_left_out_and_counted(upgrade):
    trial = upgrade("perfect")
    ids = np.arange(300)
    ids[::3] = -1
    some = replace(trial, relevance=from_ids(ids, range(1500)))
    found = evaluate_upgrade(some, QUICK, groups=ids)
    assert found.n_unanswerable == 100
    assert found.n_queries == 200
    kept = np.flatnonzero(ids >= 0)
    ranks = relevant_ranks(trial.query_old[kept], trial.gallery_old, from_ids(kept, range(1500)))
    assert found.arms["old"].metrics["mrr"].value == pytest.approx(np.mean(1 / ranks.ranks))


def test_labels_leave_one_out_choose_a_graded_metric(upgrade, rng):
    labels = np.repeat(np.arange(20), 15)
    centres = rng.standard_normal((20, 32))
    vectors = centres[labels] + rng.standard_normal((300, 32))
    trial = replace(
        upgrade("perfect"),
        query_old=vectors,
        query_new=vectors,
        query_bridged=vectors,
        gallery_old=vectors,
        gallery_new=None,
        relevance=from_labels(labels, labels, exclude=np.arange(300)),
        exclude=np.arange(300),
    )
    found = evaluate_upgrade(trial, QUICK)
    assert found.primary == "ndcg@10"
    assert found.compatible is False  # equal is not better
    assert found.chance["cmc@1"] == pytest.approx(14 / 299)
    assert found.arms["bridge"].metrics == found.arms["old"].metrics == found.arms["naive"].metrics
    assert evaluate_upgrade(trial, replace(QUICK, primary="cmc@1", metrics=["map"])).metrics == (
        "map",
        "cmc@1",
    )


def test_naive_needs_equal_widths(upgrade):
    trial = upgrade("perfect")
    wide = replace(
        trial,
        query_new=np.hstack([trial.query_new, trial.query_new]),
        gallery_new=np.hstack([trial.gallery_new, trial.gallery_new]),
    )
    found = evaluate_upgrade(wide, QUICK)
    assert found.absent == {"naive": "new queries have width 64, the old gallery 32"}


def test_same_seed_same_evaluation(upgrade):
    trial = upgrade("perfect", old_noise=0.5)
    one, same, other = (evaluate_upgrade(trial, replace(QUICK, seed=seed)) for seed in (3, 3, 4))
    assert one.to_json() == same.to_json()
    assert one.to_json() != other.to_json()


def test_too_few_queries(upgrade):
    found = evaluate_upgrade(upgrade("perfect").of(np.arange(300) < 40), QUICK)
    assert found.verdict is Verdict.NOT_ENOUGH_EVIDENCE


@pytest.mark.parametrize("depth", [0, 1501])
def test_rescoring_more_than_there_is(upgrade, depth):
    with pytest.raises(InputError, match="rescore_depth"):
        evaluate_upgrade(upgrade("perfect"), Judging(rescore_depth=depth))


def test_fixed_arms_have_prices(upgrade):
    trial = upgrade("perfect", old_noise=0.5)
    arms = evaluate_upgrade(trial, replace(QUICK, rescore_depth=20)).arms
    assert arms["bridge"].price == arms["old"].price == Price()
    assert arms["new"].price == Price(reembedded=1)
    assert arms["rescore"].price.encodings == 20
    assert 1 < arms["rescore"].price.encodings_cached < 20
    assert arms["control"].price is None
    agreement = upgrade("perfect", agreement=True)
    assert evaluate_upgrade(agreement, replace(QUICK, rescore_depth=20)).arms["rescore"].price
