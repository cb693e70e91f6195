"""The queries that lose most behind a bridge."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import Evaluation, Judging, Trial, relevant_ranks, top_k
from isthmus.evaluate.arms import Verdict
from isthmus.evaluate.verdict import Decision
from isthmus.evaluate.worst import MOST_SHOWN
from isthmus.ways import evaluate_upgrade

QUICK = Judging("mrr", ("recall@10", "mrr"), resamples=20)


@pytest.fixture(scope="module")
def trial(upgrade) -> Trial:
    made = upgrade("perfect", old_noise=0.5)
    rng = np.random.default_rng(0)
    bridged = made.query_bridged + 0.4 * made.query_bridged.std() * rng.standard_normal(
        made.query_bridged.shape
    ).astype(np.float32)
    return replace(
        made,
        query_bridged=bridged,
        query_ids=np.array([f"q{i}" for i in range(made.n_queries)]),
        gallery_ids=np.arange(made.n_gallery) + 7000,
    )


@pytest.fixture(scope="module")
def found(trial: Trial) -> Evaluation:
    """With no way but the bridge: what is judged is the bridge."""
    return _bridge_alone(evaluate_upgrade, trial, QUICK)


def _bridge_alone(evaluate: Any, trial: Trial, judging: Judging) -> Evaluation:
    with pytest.MonkeyPatch.context() as patch:
        # the function of the same name hides its module
        module = sys.modules["isthmus.evaluate.weigh"]
        patch.setattr(module, "decide", lambda *_: Decision(Verdict.KEEP_OLD, "it is so"))
        return evaluate(trial, judging)


def test_they_are_of_the_way_that_is_recommended(trial: Trial) -> None:
    """A reader looks at the losses of what will be served."""
    found = evaluate_upgrade(trial, QUICK)
    way = found.recommended
    assert way not in (None, "bridge") and found.worst
    for query in found.worst:
        assert list(query.values) == list(dict.fromkeys(("old", way, "new")))
        better = max(value for arm, value in query.values.items() if arm != way)
        assert query.loss == pytest.approx(better - query.values[way])
        assert set(query.ranks) == set(query.values)


def test_they_are_those_that_a_plain_computation_finds(trial: Trial, found: Evaluation) -> None:
    sides = {
        "old": (trial.query_old, trial.gallery_old),
        "bridge": (trial.query_bridged, trial.gallery_old),
        "new": (trial.query_new, trial.gallery_new),
    }
    ranks = {a: relevant_ranks(q, g, trial.relevance).ranks for a, (q, g) in sides.items()}
    assert len(ranks["old"]) == trial.n_queries  # one answer each
    loss = np.maximum(1 / ranks["old"], 1 / ranks["new"]) - 1 / ranks["bridge"]
    assert len(found.worst) == MOST_SHOWN
    assert [q.loss for q in found.worst] == pytest.approx(np.sort(loss)[::-1][:MOST_SHOWN])
    first = top_k(trial.query_bridged, trial.gallery_old, 1).indices[:, 0]
    for query in found.worst:
        i = int(query.id[1:])
        assert query.ranks == {arm: int(r[i]) for arm, r in ranks.items()}
        assert query.values == pytest.approx({a: 1 / r for a, r in query.ranks.items()})
        assert query.loss == pytest.approx(loss[i])
        assert query.answer == str(7000 + trial.relevance.indices[i])
        assert query.answers == 1
        assert query.found == str(7000 + first[i])


def test_of_equal_losses_those_that_fall_farthest_come_first(trial: Trial) -> None:
    found = _bridge_alone(evaluate_upgrade, trial, replace(QUICK, primary="recall@10"))
    lost = [q for q in found.worst if q.loss == 1.0]
    assert len(lost) > 1
    falls = [q.ranks["bridge"] / min(q.ranks["old"], q.ranks["new"]) for q in lost]
    assert falls == sorted(falls, reverse=True)


def test_without_ids_rows_are_named_by_number(trial: Trial, found: Evaluation) -> None:
    nameless = replace(trial, query_ids=None, gallery_ids=None)
    bare = _bridge_alone(evaluate_upgrade, nameless, QUICK)
    assert [f"q{q.id}" for q in bare.worst] == [q.id for q in found.worst]
    assert [7000 + int(q.answer) for q in bare.worst] == [int(q.answer) for q in found.worst]


def test_a_bridge_that_loses_nothing_has_none(trial: Trial) -> None:
    same = replace(
        trial, query_bridged=trial.query_old, query_new=trial.query_old, gallery_new=None
    )
    assert evaluate_upgrade(same, QUICK).worst == ()


def test_by_agreement_those_that_share_least_come_first(trial: Trial) -> None:
    found = evaluate_upgrade(replace(trial, relevance=None), Judging(resamples=20))
    (name,) = found.metrics
    losses = [q.loss for q in found.worst]
    assert losses == sorted(losses, reverse=True)
    query = found.worst[0]
    row = int(query.id[1:])
    near = [
        top_k(q[row : row + 1], trial.gallery_old, 10).indices[0]
        for q in (trial.query_old, trial.query_bridged)
    ]
    assert query.values["bridge"] == pytest.approx(len(np.intersect1d(*near)) / 10)
    assert name == "overlap@10"
    assert query.ranks == {}


def test_they_survive_json(found: Evaluation) -> None:
    assert Evaluation.from_json(found.to_json()).worst == found.worst
    old = found.model_dump(mode="json")
    del old["worst"]  # as evaluations were written before
    assert Evaluation.model_validate(old).worst == ()


@pytest.mark.parametrize("name", ["query_ids", "gallery_ids"])
def test_ids_of_another_number_are_refused(trial: Trial, name: str) -> None:
    with pytest.raises(InputError, match=name):
        evaluate_upgrade(replace(trial, **{name: np.arange(3)}), QUICK)
