"""Rows that a map was fitted on, counted as often as other rows of their score."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.ridge_world import FOLDS, RidgeWorld

from isthmus.evaluate import from_ids, parse_metric, relevant_ranks, seen_rows, top_k
from isthmus.evaluate.attraction import (
    first_among_unfitted,
    judged_among_unfitted,
    ranks_among_unfitted,
)
from isthmus.evaluate.fitted_rows import chances
from isthmus.evaluate.relevance import Relevance
from isthmus.evaluate.scores import ScoreBlocks
from isthmus.evaluate.seen_rows import SeenRows
from isthmus.evaluate.trial import FittedRows, GallerySearch

Array = NDArray[Any]
RECALL = parse_metric("recall@1")


def recall(draws: list[Any] | None) -> float:
    assert draws is not None
    return float(np.mean([RECALL.per_query(ranks).mean() for ranks in draws]))


def test_recall_is_that_among_rows_no_map_was_fitted_on() -> None:
    measured, expected, first, true = [], [], [], []
    n = 150
    for seed in range(8):
        world = RidgeWorld(seed)
        _, y, mapped, maps, fitted = world.folded(n)
        same = from_ids(range(n), range(n))
        ranks = relevant_ranks(mapped, y, same)
        side = GallerySearch(mapped, y, "cosine")
        measured.append(recall([ranks]))
        expected.append(recall(ranks_among_unfitted(side, same, fitted, ranks)))
        found = first_among_unfitted(side, same, fitted, 1)
        assert found is not None
        first.append(float((found.indices[:, 0] == np.arange(n)).mean()))
        asked, answers = world.drawn(1000)
        _, others = world.drawn(n - 1)
        for one in maps:
            # each query among the same number of rows, all new to the map
            scores = (asked @ one) @ (others / np.linalg.norm(others, axis=1, keepdims=True)).T
            own = np.einsum("nd,nd->n", asked @ one, answers) / np.linalg.norm(answers, axis=1)
            true.append(float((scores < own[:, None]).all(axis=1).mean()))
    assert np.mean(measured) < np.mean(true) - 0.04
    assert np.mean(expected) == pytest.approx(np.mean(true), abs=0.02)
    assert np.mean(first) == pytest.approx(np.mean(expected), abs=0.02)


def test_rows_that_attract_no_more_than_others_are_all_counted() -> None:
    moved = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows = rng.standard_normal((400, 16)).astype(np.float32)
        asked = rows + rng.standard_normal((400, 16)).astype(np.float32)
        same, folds = from_ids(range(400), range(400)), rng.integers(0, FOLDS, 400)
        ranks = relevant_ranks(asked, rows, same)
        side, fitted = GallerySearch(asked, rows, "cosine"), FittedRows(folds, folds)
        moved.append(recall(ranks_among_unfitted(side, same, fitted, ranks)) - recall([ranks]))
    assert np.mean(moved) == pytest.approx(0, abs=0.015)


def families(rng: np.random.Generator, n: int, centres: Array) -> Array:
    """Half of the rows ``(n, d)`` in families of like ones, half by themselves."""
    rows = unit_rows(rng, n, centres.shape[1])
    alike = rng.integers(0, len(centres), n // 2)
    rows[: n // 2] = centres[alike] + 0.5 * rows[: n // 2]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def unit_rows(rng: np.random.Generator, n: int, d: int) -> Array:
    rows = rng.standard_normal((n, d))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def drawn_world(seed: int, strength: float = 1.0) -> tuple[GallerySearch, FittedRows, float]:
    """A search, its folds, and how often its queries find their answers first among others.

    In a family many unfitted rows score as high as the one fitted row that draws a query whose
    answer lies alone: by its score alone that one would count as often as they do.  Of another
    ``strength`` the same queries are drawn more or less to the same rows.
    """
    n, rng = 400, np.random.default_rng(seed)
    centres = unit_rows(rng, 20, 32)
    rows, folds = families(rng, n, centres), rng.integers(0, FOLDS, n)
    drawn_to = [rng.choice(np.flatnonzero(folds != fold)) for fold in folds]
    asked = rows + 0.5 * unit_rows(rng, n, 32)
    pull = strength * rng.uniform(0.57, 1.24, n)[:, None] * rows[drawn_to]
    asked[n // 2 :] = (rows + pull + 0.2 * unit_rows(rng, n, 32))[n // 2 :]
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    others = families(rng, 20 * n, centres)
    beaten = (asked @ others.T >= np.einsum("nd,nd->n", asked, rows)[:, None]).mean(axis=1)
    true = float(((1 - beaten) ** (n - 1)).mean())
    return GallerySearch(asked, rows, "cosine"), FittedRows(folds, folds), true


def test_a_row_alone_ahead_is_told_apart_from_one_in_a_crowd() -> None:
    as_seen, told = [], []
    for seed in range(8):
        side, fitted, true = drawn_world(seed)
        same = from_ids(range(400), range(400))
        ranks = relevant_ranks(side.queries, side.gallery, same)
        as_seen.append(recall([ranks]) - true)
        told.append(recall(ranks_among_unfitted(side, same, fitted, ranks)) - true)
    assert np.mean(as_seen) < -0.1
    assert np.mean(told) == pytest.approx(0, abs=0.035)


def copied(rng: np.random.Generator, n: int) -> tuple[Array, NDArray[np.int64]]:
    """Rows ``(n, 32)`` of which two of five stand there four times, and their groups."""
    groups = np.where(np.arange(n) < 2 * n // 5, np.arange(n) // 4, -1)
    rows = unit_rows(rng, n, 32)
    firsts = rows[groups]
    rows = np.where(groups[:, None] >= 0, firsts + 0.1 * rows, rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True), groups


def test_copies_of_an_answer_are_told_apart_from_what_is_in_its_fold_by_chance() -> None:
    """They lie by the query, and in no other fold: of rows as near all others seem repelled."""
    n, told, alike = 400, [], []
    same = from_ids(range(n), range(n))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows, groups = copied(rng, n)
        parts = rng.integers(0, FOLDS, n)
        folds = np.where(groups >= 0, parts[groups], parts)
        drawn_to = [rng.choice(np.flatnonzero(folds != fold)) for fold in folds]
        asked = rows + rng.uniform(0.5, 1.1, n)[:, None] * rows[drawn_to]
        asked += 0.25 * unit_rows(rng, n, 32)
        own = np.einsum("nd,nd->n", asked, rows)
        ahead = asked @ rows.T >= own[:, None]
        np.fill_diagonal(ahead, val=False)
        fresh = asked @ copied(rng, n)[0].T >= own[:, None]
        others = np.where(folds == folds[:, None], ahead, fresh)
        true = float((~others.any(axis=1)).mean())
        side, ranks = GallerySearch(asked, rows, "cosine"), relevant_ranks(asked, rows, same)
        for fitted, found in (
            (FittedRows(folds, folds, groups=groups), told),
            (FittedRows(folds, folds), alike),
        ):
            found.append(recall(ranks_among_unfitted(side, same, fitted, ranks)) - true)
    assert np.mean(alike) < -0.05
    assert np.mean(told) == pytest.approx(0, abs=0.03)


def test_copies_among_rows_of_no_pair_are_told_apart_too() -> None:
    n, told = 300, []
    same = from_ids(range(n), range(2 * n))
    for seed in range(8):
        rng = np.random.default_rng(seed)
        rows, alone, folds = unit_rows(rng, n, 32), unit_rows(rng, n, 32), np.arange(n) % FOLDS
        alone[: n // 2] = rows[: n // 2] + 0.1 * alone[: n // 2]
        alone /= np.linalg.norm(alone, axis=1, keepdims=True)
        drawn_to = [rng.choice(np.flatnonzero(folds != fold)) for fold in folds]
        asked = rows + rng.uniform(0.5, 1.1, n)[:, None] * rows[drawn_to]
        asked += 0.25 * unit_rows(rng, n, 32)
        own = np.einsum("nd,nd->n", asked, rows)[:, None]
        ahead = asked @ rows.T >= own
        np.fill_diagonal(ahead, val=False)
        others = np.where(folds == folds[:, None], ahead, asked @ unit_rows(rng, n, 32).T >= own)
        true = float((~(others.any(axis=1) | (asked @ alone.T >= own).any(axis=1))).mean())
        gallery = np.concatenate([rows, alone])
        side, ranks = GallerySearch(asked, gallery, "cosine"), relevant_ranks(asked, gallery, same)
        fitted = FittedRows(folds, folds).widened(n)
        told.append(recall(ranks_among_unfitted(side, same, fitted, ranks)) - true)
    assert np.mean(told) == pytest.approx(0, abs=0.02)


def test_what_is_not_known_of_the_chances_widens_the_interval_and_moves_no_mean() -> None:
    told, alone, with_noise = [], [], []
    same = from_ids(range(400), range(400))
    for seed in range(24):
        side, fitted, true = drawn_world(seed)
        ranks = relevant_ranks(side.queries, side.gallery, same)
        judged = judged_among_unfitted([side], same, [fitted], [ranks])
        assert judged is not None
        values, noise = judged[0].values([RECALL]), judged[0].noise([RECALL])
        assert values.mean() == pytest.approx(
            recall(ranks_among_unfitted(side, same, fitted, ranks))
        )
        assert noise.mean() == pytest.approx(0, abs=1e-9)
        told.append(values.mean() - true)
        alone.append(values.std() / len(values) ** 0.5)
        with_noise.append((values + noise).std() / len(values) ** 0.5)
    assert np.mean(with_noise) > 1.1 * np.mean(alone)
    assert 0.7 < np.mean(with_noise) / np.std(told) < 1.5


def test_how_queries_move_the_slopes_of_scores_is_what_leaving_them_out_shows() -> None:
    side, fitted, _ = drawn_world(0)

    def seen(kept: NDArray[np.bool_]) -> SeenRows:
        some = Relevance(np.arange(kept.sum() + 1), np.flatnonzero(kept), len(side.gallery))
        blocks = ScoreBlocks(side.queries[kept], side.gallery, side.metric)
        return SeenRows(blocks, some, fitted.of(kept))

    whole = seen(np.ones(400, np.bool_))
    told = chances(whole)
    (stays,), (slopes,) = told.each(), told.of_score
    (block,) = whole.blocks()
    moves = stays.score_surprises(block.counted(), slopes) @ slopes.inverse @ slopes.inputs.T
    top = int(np.quantile(block.bins(*np.nonzero(block.own[:, None] & ~block.aside)), 0.999))
    expected, found = [], []
    for group in range(40):
        left_out = np.arange(400) % 40 == group
        (without,) = chances(seen(~left_out)).of_score
        expected.append(-moves[left_out, top].sum())
        found.append(without.told[top] - slopes.told[top])
    assert np.corrcoef(expected, found)[0, 1] > 0.85
    # where the slope may change moves too, by whole bins
    assert 0.55 < np.std(expected) / np.std(found) < 1.25


def test_searches_that_are_compared_share_what_is_told_of_crowds() -> None:
    side, fitted, _ = drawn_world(0)
    same = from_ids(range(400), range(400))
    ranks = relevant_ranks(side.queries, side.gallery, same)
    # the same search twice is known no better, and does not differ
    once = judged_among_unfitted([side], same, [fitted], [ranks])
    twice = judged_among_unfitted([side] * 2, same, [fitted] * 2, [ranks] * 2)
    assert once is not None and twice is not None
    values = [found.values([RECALL]) for found in (*once, *twice)]
    for other in values[1:]:
        np.testing.assert_allclose(values[0].mean(), other.mean(), atol=0.01)
    np.testing.assert_array_equal(values[1], values[2])
    widths = [found.noise([RECALL]).std() for found in (*once, *twice)]
    assert widths[1] == pytest.approx(widths[0], rel=0.15)


def test_crowds_ahead_are_those_of_a_search_whatever_the_one_beside_it_is_drawn_by() -> None:
    same = from_ids(range(400), range(400))
    unfitted, told = 0, 0.0
    for seed in range(12):
        drawn, drawn_more = (drawn_world(seed, strength) for strength in (1.0, 1.4))
        seen = [
            SeenRows(ScoreBlocks(side.queries, side.gallery, side.metric), same, fitted)
            for side, fitted, _ in (drawn, drawn_more)
        ]
        stays, _ = chances(*seen).each()
        for block in seen[0].blocks():
            at = block.ahead.row, block.ahead.column
            crowded = (block.ahead.crowd >= 16) & ~block.aside[at]
            fitted = block.fitted[at]
            unfitted += int(np.sum(crowded & ~fitted))
            told += stays(block.bins(*at), block.ahead.crowd)[crowded & fitted].sum()
    assert unfitted * (FOLDS - 1) / told == pytest.approx(1, abs=0.2)


def attracted(n: int = 200) -> tuple[Array, Array, NDArray[np.int64]]:
    """Queries that lie among the rows of every fold but their own."""
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((n, 8)).astype(np.float32)
    folds = np.arange(n) % FOLDS
    near = np.where((folds != folds[:, None]), rng.random((n, n)), 0.0)
    return rows + rows[near.argmax(axis=1)] * 1.2, rows, folds


def test_queries_whose_answer_was_fitted_on_keep_their_ranks() -> None:
    asked, rows, folds = attracted()
    other = (np.arange(len(rows)) + 1) % len(rows)
    relevance = Relevance(np.arange(len(rows) + 1), other, len(rows))
    ranks = relevant_ranks(asked, rows, relevance)
    fitted = FittedRows(folds, folds)
    drawn = ranks_among_unfitted(GallerySearch(asked, rows, "cosine"), relevance, fitted, ranks)
    assert drawn is not None
    assert all(np.array_equal(one.ranks, ranks.ranks) for one in drawn)


@pytest.mark.parametrize("items", [np.full(200, -1), np.arange(200) % FOLDS + 7])
def test_nothing_is_said_where_none_or_all_rows_were_fitted_on(items: Array) -> None:
    asked, rows, folds = attracted()
    same = from_ids(range(200), range(200))
    ranks = relevant_ranks(asked, rows, same)
    fitted = FittedRows(folds, items)
    assert ranks_among_unfitted(GallerySearch(asked, rows, "cosine"), same, fitted, ranks) is None
    assert first_among_unfitted(GallerySearch(asked, rows, "cosine"), same, fitted, 2) is None


@given(seed=st.integers(0, 2**16), answers=st.integers(1, 4), metric=st.sampled_from(["dot", "l2"]))
def test_ranks_stay_ordered_and_repeat(seed: int, answers: int, metric: Any) -> None:
    asked, rows, folds = attracted(60)
    rng = np.random.default_rng(seed)
    # of several answers, all of the query's own fold
    own = [rng.choice(np.flatnonzero(folds == f), answers, replace=False) for f in folds]
    indptr = np.arange(len(rows) + 1) * answers
    relevance = Relevance(indptr, np.sort(np.array(own), axis=1).reshape(-1), len(rows))
    rows = np.round(rows, 1)  # with ties
    ranks = relevant_ranks(asked, rows, relevance, metric=metric)
    fitted = FittedRows(folds, folds)
    drawn, again = (
        ranks_among_unfitted(
            GallerySearch(asked, rows, metric), relevance, fitted, ranks, seed=seed
        )
        for _ in range(2)
    )
    assert drawn is not None and again is not None
    for one, other in zip(drawn, again, strict=True):
        assert np.array_equal(one.ranks, other.ranks)
        assert np.all(one.ranks >= ranks.ordinals)
        of_queries = one.ranks.reshape(-1, answers)
        assert np.all(np.diff(of_queries, axis=1) > 0)


@given(seed=st.integers(0, 2**16), k=st.integers(1, 12), metric=st.sampled_from(["dot", "l2"]))
def test_only_fitted_rows_are_missing_among_the_first(seed: int, k: int, metric: Any) -> None:
    asked, rows, folds = attracted(60)
    same, side = from_ids(range(60), range(60)), GallerySearch(asked, rows, metric)
    found = first_among_unfitted(side, same, FittedRows(folds, folds), k, seed=seed)
    assert found is not None
    before = top_k(asked, rows, len(rows), metric=metric)
    for query in range(60):
        listed = before.indices[query].tolist()
        kept = found.indices[query].tolist()
        assert kept == [item for item in listed if item in set(kept)]
        passed = listed[: listed.index(kept[-1])]
        assert all(folds[item] != folds[query] for item in set(passed) - set(kept))
        at = [listed.index(item) for item in kept]
        np.testing.assert_allclose(found.scores[query], before.scores[query][at], atol=1e-4)


def test_scores_that_are_kept_between_passes_tell_what_those_computed_again_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, n = RidgeWorld(0), 150
    _, y, mapped, _, fitted = world.folded(n)
    same, side = from_ids(range(n), range(n)), GallerySearch(mapped, y, "cosine")
    ranks = relevant_ranks(mapped, y, same)
    kept = judged_among_unfitted([side], same, [fitted], [ranks])
    monkeypatch.setattr(seen_rows, "_HELD_CELLS", 0)
    again = judged_among_unfitted([side], same, [fitted], [ranks])
    assert kept is not None and again is not None
    for one, other in zip(kept[0].draws, again[0].draws, strict=True):
        np.testing.assert_array_equal(one.ranks, other.ranks)
    np.testing.assert_array_equal(kept[0].influence, again[0].influence)
