"""Scores of one space on the scale of another, against brute force and on other queries."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate import Relevance, Trial, from_pairs
from isthmus.evaluate.trial import Side
from isthmus.ways.calibration import MonotoneCurve, expected_calibration_error, isotonic_curve
from isthmus.ways.scores import (
    ScoreCalibrator,
    fit_score_calibrator,
    paired_scores,
)

D, NG = 16, 400


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def trial(n: int = 200, seed: int = 0, *, noise: float = 0.4, metric: Any = "cosine") -> Trial:
    """The bridge is the truth, shifted towards one point: all its scores are too high."""
    world = np.random.default_rng(0)
    gallery = unit(world.standard_normal((NG, D)) + 0.4)
    rng = np.random.default_rng([seed, 1])
    answer = rng.integers(0, NG, n)
    old = unit(gallery[answer] + 0.25 * rng.standard_normal((n, D)))
    bridged = unit(old + noise * rng.standard_normal((n, D)) / D**0.5 + 0.15)
    relevance = from_pairs(range(n), range(NG), list(enumerate(answer.tolist())))
    return Trial(old, old, gallery, gallery, bridged, relevance=relevance, metric=metric)


def sides(t: Trial) -> tuple[Side, Side]:
    return t.bridge, Side(t.query_old, t.gallery_old, t.metric)


# ---- pairs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_pairs_are_the_best_and_random_others_scored_twice(metric: Any) -> None:
    t = trial(40, metric=metric)
    exclude = np.arange(40) % NG
    pairs = paired_scores(*sides(t), k=5, random=7, exclude=exclude)

    def score(queries: np.ndarray) -> np.ndarray:
        q, g = (v.astype(np.float64) for v in (queries, t.gallery_old))
        if metric == "l2":
            return -((q[:, None] - g[None]) ** 2).sum(2)
        return q @ g.T  # the rows of unit length, up to float32

    one, other = score(t.bridge.queries), score(t.query_old)
    at = (pairs.query, pairs.item)
    np.testing.assert_allclose(pairs.first, one[at], atol=1e-5)
    np.testing.assert_allclose(pairs.second, other[at], atol=1e-5)
    assert (pairs.item != exclude[pairs.query]).all()
    assert len(set(zip(*(v.tolist() for v in at), strict=True))) == len(pairs.item)
    one[np.arange(40), exclude] = -np.inf
    for q in range(40):
        mine = pairs.query == q
        best = set(np.argsort(-one[q])[:5].tolist())
        assert set(pairs.item[mine & pairs.shown].tolist()) == best
        assert 5 <= (mine & ~pairs.shown).sum() <= 7


def test_a_small_gallery_gives_all_its_pairs() -> None:
    t = trial(3)
    small = replace(t, gallery_old=t.gallery_old[:4], gallery_new=None, relevance=None)
    pairs = paired_scores(*sides(small), k=10, random=50)
    assert sorted(zip(pairs.query.tolist(), pairs.item.tolist(), strict=True)) == [
        (q, i) for q in range(3) for i in range(4)
    ]
    assert pairs.shown.all()


def test_random_pairs_follow_the_seed() -> None:
    t = trial(30)
    a, b, c = (paired_scores(*sides(t), seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.item, b.item)
    assert a.item.tolist() != c.item.tolist()


def test_sides_that_cannot_be_compared() -> None:
    one, other = sides(trial(10))
    with pytest.raises(InputError, match="10 queries in the first space, 9 in the second"):
        paired_scores(one, other._replace(queries=other.queries[:9]))
    with pytest.raises(InputError, match="gallery: 400 gallery in the first space, 399"):
        paired_scores(one, other._replace(gallery=other.gallery[:-1]))
    for side in ("queries", "gallery"):
        for at, value in ((0, np.nan), (1, 0.0)):
            spoilt = getattr(other, side).copy()
            spoilt[3] = value
            for pair in ((one, other._replace(**{side: spoilt})),
                         (one._replace(**{side: spoilt}), other)):  # fmt: skip
                with pytest.raises(InputError, match="row 3"):
                    paired_scores(*pair)
            assert at in (0, 1)
    with pytest.raises(InputError):
        paired_scores(
            one._replace(queries=one.queries[:0]), other._replace(queries=one.queries[:0])
        )


# ---- curves ------------------------------------------------------------------------------------


def test_scores_mean_again_what_they_meant() -> None:
    calibrator = fit_score_calibrator(trial(400), trial(400, seed=1))
    other = paired_scores(*sides(trial(400, seed=2)), random=0)
    before = expected_calibration_error(other.first, other.second)
    after = expected_calibration_error(calibrator(other.first), other.second)
    assert before > 0.05
    assert after < 0.02
    report = calibrator.report
    assert report.queries == 400
    assert report.scale_before == pytest.approx(before, abs=0.01)
    assert report.scale_after < 0.02
    assert report.probability_after < min(0.02, report.probability_before)


def test_probabilities_are_the_share_of_relevant_pairs() -> None:
    calibrator = fit_score_calibrator(trial(2000))
    t = trial(2000, seed=3)
    pairs = paired_scores(*sides(t), random=0)
    answers = dict(enumerate(t.relevance.indices.tolist()))
    seen = np.array([answers[q] == i for q, i in zip(pairs.query, pairs.item, strict=True)])
    said = calibrator.probabilities(pairs.first)
    assert said.min() >= 0
    assert said.max() <= 1
    likely = said >= np.quantile(said, 0.9)
    for part in (likely, ~likely):
        assert said[part].mean() == pytest.approx(seen[part].mean(), abs=0.03)
    assert seen[likely].mean() > 3 * seen[~likely].mean()
    assert calibrator.report is None


def curve(first: Side, second: Side) -> MonotoneCurve:
    """From the scores of one space to those of another, as a calibrator has it."""
    pairs = paired_scores(first, second)
    return isotonic_curve(pairs.first, pairs.second, straight_tails=True)


def test_the_same_space_twice_is_left_as_it_is() -> None:
    t = trial(300)
    same = Side(t.query_old, t.gallery_old, "cosine")
    calibrate = curve(same, same)
    at = np.linspace(-0.2, 1, 50, dtype=np.float32)
    # within the width of a run of points
    np.testing.assert_allclose(calibrate(at), at, atol=0.02)


def test_scores_of_two_spaces_become_comparable() -> None:
    t = trial(300)
    lengths = Side(t.query_old, t.gallery_old, "l2")
    calibrate = curve(t.bridge, lengths)
    pairs = paired_scores(*sides(trial(300, seed=5)), random=0)
    # the l2 score of unit rows is 2 cos - 2
    expected = 2 * pairs.second - 2
    assert abs((calibrate(pairs.first) - expected).mean()) < 0.02
    order = np.argsort(pairs.first)
    assert (np.diff(calibrate(pairs.first.astype(np.float64))[order]) >= 0).all()
    merged = calibrate(np.array([0.2, 0.5, 0.9, 1.5]))
    assert (np.diff(merged) > 0).all()


def test_a_corpus_bridge_is_brought_to_the_old_model_too() -> None:
    t = trial(200)
    corpus = Trial(
        query_old=t.query_old,
        query_new=t.query_bridged,
        gallery_old=t.gallery_old,
        gallery_bridged=t.gallery_old,
        metric="cosine",
        metric_new="dot",
    )
    mine, query = fit_score_calibrator(corpus), fit_score_calibrator(replace(t, relevance=None))
    at = np.linspace(0, 1, 20)
    np.testing.assert_allclose(mine(at), query(at), atol=1e-4)
    with pytest.raises(InputError, match="probabilities of relevance were not fitted"):
        mine.probabilities(at)


def test_excluded_items_are_left_out_everywhere() -> None:
    t = trial(200)
    own = replace(
        t,
        query_old=t.gallery_old[:200],
        query_new=t.gallery_old[:200],
        query_bridged=t.gallery_old[:200],
        relevance=None,
        exclude=np.arange(200),
    )
    found = fit_score_calibrator(own, own)
    assert found.scale.x[-1] < 0.999  # no pair of an item with itself
    assert found.report.scale_after < 0.01


def test_one_query() -> None:
    calibrator = fit_score_calibrator(trial(1), trial(1))
    read = calibrator(np.linspace(-1, 1, 9))
    assert np.isfinite(read).all()
    assert (np.diff(read) >= 0).all()
    assert calibrator.report.queries == 1


def test_scores_that_are_all_tied_or_fall() -> None:
    t = trial(100)
    tied = replace(t, gallery_bridged=np.tile(t.gallery_old[:1], (NG, 1)), query_bridged=None,
                   query_new=np.tile(t.query_old[:1], (100, 1)))  # fmt: skip
    against = replace(t, query_bridged=-t.query_old, relevance=None)
    for case in (tied, against):
        calibrator = fit_score_calibrator(case, case)
        read = calibrator(np.array([-1.0, 0.0, 1.0]))
        assert np.isfinite(read).all()
        assert np.ptp(read) < 0.05
        assert np.isfinite(calibrator.report.scale_after)


def test_no_answer_at_all_gives_no_probability() -> None:
    t = trial(50)
    none = Relevance(np.zeros(51, dtype=np.int64), np.empty(0, dtype=np.int64), NG)
    calibrator = fit_score_calibrator(replace(t, relevance=none))
    np.testing.assert_array_equal(calibrator.probabilities(np.array([0.0, 1.0])), 0)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_that_are_no_numbers(bad: float) -> None:
    calibrator = fit_score_calibrator(trial(50))
    for read in (calibrator, calibrator.probabilities):
        with pytest.raises(InputError, match=r"position \[0, 1\]"):
            read(np.array([[0.5, bad]]))


def test_a_trial_without_mapped_vectors() -> None:
    with pytest.raises(InputError, match="nothing was bridged"):
        fit_score_calibrator(replace(trial(5), query_bridged=None))


# ---- files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("full", [True, False])
def test_it_comes_back_from_its_parts(full: bool) -> None:
    t = trial(100) if full else replace(trial(100), relevance=None)
    calibrator = fit_score_calibrator(t, t if full else None)
    described, tensors = calibrator.pack()
    assert all(v.shape[1] <= 66 and v.dtype == np.float32 for v in tensors.values())
    again = ScoreCalibrator.unpack(json.loads(json.dumps(described)), tensors)
    at = np.linspace(-2, 2, 40)
    np.testing.assert_array_equal(again(at), calibrator(at))
    assert again.report == calibrator.report
    assert (again.relevance is None) == (not full)


DAMAGE = [
    lambda d, t: d.update(tail=-1),
    lambda d, t: d.update(tail=None),
    lambda d, t: d.pop("tail"),
    lambda d, t: d.pop("report"),
    lambda d, t: d.update(report=[1, 2]),
    lambda d, t: d.update(report=[1, -2, 0, 0, 0]),
    lambda d, t: d.update(report=[1, 0, None, 0, "x"]),
    lambda d, t: d.update(report=3),
    lambda d, t: t.pop("scale"),
    lambda d, t: t.update(more=t["scale"]),
    lambda d, t: t.update(scale=t["scale"][:1]),
    lambda d, t: t.update(scale=t["scale"] * np.nan),
    lambda d, t: t.update(relevance=t["relevance"] + 2),
]


@pytest.mark.parametrize("damage", DAMAGE, ids=range(len(DAMAGE)))
def test_parts_that_were_changed(damage: Any) -> None:
    described, tensors = fit_score_calibrator(trial(60), trial(60)).pack()
    damage(described, tensors)
    with pytest.raises((ValueError, KeyError, TypeError)):
        ScoreCalibrator.unpack(described, tensors)
