from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate import relevant_ranks
from isthmus.evaluate.relevance import from_labels
from isthmus.evaluate.scores import scores_of
from isthmus.evaluate.trial import GallerySearch
from isthmus.ways import mixed_index as module
from isthmus.ways.mixed_index import match_linear, mixed_ranks
from isthmus.ways.way import Join, ScoreMatch

PLAIN = Join()


def sides(trial):
    return (
        GallerySearch(trial.query_old, trial.gallery_old, "cosine"),
        GallerySearch(trial.query_new, trial.gallery_new, "cosine"),
    )


@given(
    seed=st.integers(0, 10_000),
    n_labels=st.integers(1, 9),
    weights=st.lists(st.sampled_from([0.0, 0.4]), min_size=1, max_size=3),
    shares=st.lists(st.sampled_from([0.0, 0.2, 0.6, 1.0]), min_size=1, max_size=3),
    leave=st.booleans(),
    tied=st.booleans(),
)
def test_ranks_by_definition(seed, n_labels, weights, shares, leave, tied):
    """Of several parts and ways to join at once; where scores are tied, answers come last."""
    rng = np.random.default_rng(seed)
    n = 5
    draw = (lambda shape: rng.integers(1, 3, shape) * 1.0) if tied else rng.standard_normal
    low = GallerySearch(draw((n, 4)), draw((20, 4)), "cosine")
    new = GallerySearch(draw((n, 3)), draw((20, 3)), "dot")
    exclude = np.arange(n) if leave else None
    relevance = from_labels(np.arange(n) % n_labels, np.arange(20) % n_labels, exclude=exclude)
    match = ScoreMatch(slope=0.7, offset=-0.1)
    joins = [Join(match=match, weight=weight, shift=0.05) for weight in weights]
    settings = [(rng.random(20) < share, join) for join in joins for share in shares]
    everything = np.tile(np.arange(20), (n, 1))
    low_scores, new_scores = (scores_of(*side[:2], everything, side.metric) for side in (low, new))
    for (part, join), found in zip(
        settings, mixed_ranks(low, new, relevance, settings, exclude=exclude), strict=True
    ):
        scores = np.where(part, join(low_scores, new_scores), low_scores)
        expected = []
        for q in range(n):
            relevant = relevance.indices[relevance.indptr[q] : relevance.indptr[q + 1]]
            order = np.lexsort((np.isin(np.arange(20), relevant), -scores[q]))
            order = [i for i in order if not (leave and i == q)]
            expected += [place for place, i in enumerate(order, 1) if i in relevant]
        assert found.ranks.tolist() == expected


def test_nothing_and_everything_re_embedded_are_the_two_searches(weak, monkeypatch):
    trial = weak[0]
    low, new = sides(trial)
    expected = [relevant_ranks(s.queries, s.gallery, trial.relevance).ranks for s in (low, new)]
    parts = [(np.full(500, whole), PLAIN) for whole in (False, True)]
    for cells in (2**20, 7 * 500, 1):
        monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
        found = mixed_ranks(low, new, trial.relevance, parts)
        for ranks, those in zip(found, expected, strict=True):
            np.testing.assert_array_equal(ranks.ranks, those)


def test_ties_go_against_the_relevant():
    ones = GallerySearch(np.ones((2, 3)), np.ones((6, 3)), "cosine")
    relevance = from_labels(np.zeros(2, int), np.array([0, 1, 1, 0, 1, 1]))
    part = np.arange(6) < 3
    found = mixed_ranks(ones, ones, relevance, [(part, PLAIN)])[0]
    assert found.ranks.tolist() == [5, 6, 5, 6]


def test_matched_scores_can_be_mixed(weak):
    """Half of the items from a space with another scale: unmatched, they flood or never show."""
    trial = weak[1]
    _, new = sides(trial)
    shrunk = replace(trial, query_new=trial.query_new * 0 + trial.query_new)
    other = GallerySearch(0.01 * shrunk.query_new, trial.gallery_new, "dot")
    part = np.random.default_rng(1).random(500) < 0.5
    match = match_linear(other, new)
    joins = [PLAIN, Join(match=match)]
    plain, matched = mixed_ranks(new, other, trial.relevance, [(part, j) for j in joins])
    assert np.mean(matched.ranks <= 10) > np.mean(plain.ranks <= 10) + 0.2


def test_a_line_matches_mean_and_spread(weak):
    low, new = sides(weak[0])
    match = match_linear(new, low)
    assert match == match_linear(new, low, exclude=None)

    def best(side):
        unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in side[:2]]
        return -np.sort(-(unit[0] @ unit[1].T), axis=1)[:, :20]

    assert match(best(new)).mean() == pytest.approx(best(low).mean(), abs=1e-4)
    assert match(best(new)).std() == pytest.approx(best(low).std(), abs=1e-4)


def test_scores_without_spread_are_moved_only():
    flat = GallerySearch(np.ones((3, 2)), np.ones((5, 2)), "dot")
    apart = GallerySearch(np.eye(3, 2) + 1, np.arange(10.0).reshape(5, 2) + 1, "dot")
    assert match_linear(flat, apart).slope == 1
    assert match_linear(apart, flat).slope == 1


def test_what_does_not_fit_together(weak):
    trial = weak[0]
    low, new = sides(trial)
    with pytest.raises(InputError, match="a mask of 500 gallery items, found bool of shape"):
        mixed_ranks(low, new, trial.relevance, [(np.ones(3, bool), PLAIN)])
    with pytest.raises(InputError, match="a mask of 500"):
        mixed_ranks(low, new, trial.relevance, [(np.ones(500), PLAIN)])
    with pytest.raises(InputError, match="250 queries and 500 items on one side"):
        mixed_ranks(low, new._replace(gallery=new.gallery[:9]), trial.relevance, [])
