"""Groups of queries: what is counted, and intervals by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.fairness import Fairness, judge_groups
from isthmus.evaluate.judging import Judging

GROUPS = np.repeat(["a", "b", "c"], [120, 60, 40])


def drawn(rng: np.random.Generator, lost: dict[str, float]) -> tuple[np.ndarray, np.ndarray]:
    """Hits of the old model, and of another that loses some of them in some groups."""
    old = (rng.random(len(GROUPS)) < np.where(GROUPS == "a", 0.8, 0.6)).astype(float)
    gone = rng.random(len(GROUPS)) < np.array([lost.get(g, 0.0) for g in GROUPS])
    return old, np.where(gone, 0.0, old)


def test_every_group_is_counted_and_the_worst_comes_first() -> None:
    rng = np.random.default_rng(0)
    old, now = drawn(rng, {"b": 0.5})
    groups = [*GROUPS[:-3], None, "", "tiny"]
    found = judge_groups("bridge", old, now, groups, new=old)
    assert found.worst == "b"
    assert found.ungrouped == 2
    assert found.too_small == {"tiny": 1}
    for g in found.groups:
        own = np.array([name == g.name for name in groups])
        assert g.n_queries == own.sum()
        assert g.old == pytest.approx(old[own].mean())
        assert g.judged == pytest.approx(now[own].mean())
        assert g.change.value == pytest.approx((now - old)[own].mean())
        assert g.retention == pytest.approx(now[own].mean() / old[own].mean())
        others = np.isin(groups, [n for n in "abc" if n != g.name])
        gaps = [v[others].mean() - v[own].mean() for v in (old, now)]
        assert g.gap_old == pytest.approx(gaps[0])
        assert g.amplification is not None
        assert g.amplification.value == pytest.approx(gaps[1] - gaps[0])
    assert Fairness.model_validate_json(found.model_dump_json()) == found
    assert "too small to be judged: tiny (1)" in str(found)


def test_no_group_loses_by_chance_and_a_loss_is_covered() -> None:
    """All intervals at once, over draws in which one group loses and two do not."""
    rng = np.random.default_rng(1)
    lost, held, covered, draws = {"b": 0.2}, 0, 0, 200
    truth = {"a": 0.0, "b": -0.12, "c": 0.0}
    for i in range(draws):
        found = judge_groups("bridge", *drawn(rng, lost), GROUPS, resamples=300, seed=i)
        inside = {
            g.name: g.change.low <= truth[g.name] <= g.change.high  # type: ignore[operator]
            for g in found.groups
        }
        held += all(inside.values())
        others = {"a": -0.12 * 60 / 100, "b": 0.0, "c": -0.12 * 60 / 180}
        covered += all(
            g.amplification.low <= others[g.name] - truth[g.name] <= g.amplification.high
            for g in found.groups  # type: ignore[union-attr, operator]
        )
    assert held / draws > 0.91
    assert covered / draws > 0.91


def test_where_nothing_was_seen_to_change_something_may() -> None:
    rng = np.random.default_rng(2)
    old, now = drawn(rng, {})
    for g in judge_groups("bridge", old, now, GROUPS).groups:
        assert g.change.value == 0
        assert g.change.low is not None
        assert -0.2 < g.change.low < 0


def test_groups_that_cannot_be_judged() -> None:
    old = np.ones(30)
    with pytest.raises(InputError, match="there are 0 groups of ten queries or more"):
        judge_groups("bridge", old, old, [str(i) for i in range(30)])
    with pytest.raises(InputError, match="29 groups for 30"):
        judge_groups("bridge", old, old, ["a"] * 29)


def test_groups_of_other_ids_are_none() -> None:
    judging = Judging(groups={"a": "x"})
    assert judging.groups_of(["a", "b"]) == ["x", None]
    assert Judging().groups_of([1, 2]) == [None, None]
    for name, asked in (("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")):
        assert Judging(groups={name: "x"}).groups_of([asked]) == ["x"]
    with pytest.raises(InputError, match="none of the 1 ids such as 'a' is that of one of the 2"):
        judging.groups_of([1, 2])
