"""Matching of two pools: outside witnesses, and frames that are undone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg

from isthmus.adapters.chain import Chain
from isthmus.adapters.scarce.pseudo_pairs import (
    Frame,
    Matched,
    assigned,
    averaged_neighbours,
    joined,
    mutual_neighbours,
    round_trip,
    until_stable,
)
from isthmus.errors import InputError
from isthmus.numeric import unit_rows


def pools(nx: int = 7, ny: int = 9, d: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    return tuple(rng.standard_normal((n, d)).astype(np.float32) for n in (nx, ny))


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return unit_rows(x).astype(np.float64) @ unit_rows(y).T.astype(np.float64)


def test_averaged_neighbours_join_both_directions() -> None:
    x, y = pools()
    s = cosines(x, y)
    expected = np.zeros((4, 4))
    for i in range(len(x)):
        expected += np.outer(x[i], y[np.argsort(-s[i])[:3]].mean(axis=0))
    for j in range(len(y)):
        expected += np.outer(x[np.argsort(-s[:, j])[:3]].mean(axis=0), y[j])
    found = averaged_neighbours(x, y, x, y, k=3)
    np.testing.assert_allclose(found.cross, expected, atol=1e-5)
    assert found.pairs == 16
    everyone = averaged_neighbours(x, y, x, y, k=100)
    np.testing.assert_allclose(
        everyone.cross, 16 * np.outer(x.mean(0), y.mean(0)), rtol=1e-4, atol=1e-4
    )


def test_mutual_neighbours_are_the_pairs_that_choose_each_other() -> None:
    x, y = pools()
    s = cosines(x, y)
    pairs = [(i, j) for i, j in enumerate(s.argmax(1)) if s[:, j].argmax() == i]
    found = mutual_neighbours(x, y, x, y)
    expected = sum(np.outer(x[i], y[j]) for i, j in pairs)
    np.testing.assert_allclose(found.cross, expected, atol=1e-5)
    assert found.pairs == len(pairs) > 0
    assert round_trip(x, y) == len(pairs) / len(x)


def test_the_assignment_is_the_best_of_all() -> None:
    x, y = pools(4, 5)
    s = cosines(x, y)
    best = max(
        itertools.permutations(range(5), 4), key=lambda p: sum(s[i, j] for i, j in enumerate(p))
    )
    expected = sum(np.outer(x[i], y[j]) for i, j in enumerate(best))
    np.testing.assert_allclose(assigned(x, y, x, y).cross, expected, atol=1e-5)


def test_known_pairs_weigh_as_much_as_all_matches() -> None:
    x, y = pools(8, 8)
    known, found = x[:2].T @ y[:2], x[2:].T @ y[2:]
    stacked_x = np.concatenate([x[:2]] * 3 + [x[2:]])
    stacked_y = np.concatenate([y[:2]] * 3 + [y[2:]])
    expected, _ = scipy.linalg.orthogonal_procrustes(stacked_x, stacked_y)
    matrix = joined(Matched(found.astype(float), 6), Matched(known.astype(float), 2))
    np.testing.assert_allclose(matrix, expected, atol=1e-4)
    alone = joined(Matched(found.astype(float), 6), Matched(np.zeros((4, 4)), 0))
    np.testing.assert_allclose(
        alone, scipy.linalg.orthogonal_procrustes(x[2:], y[2:])[0], atol=1e-4
    )


def test_alternation_stops_when_it_has_settled() -> None:
    x, y = pools(20, 20)
    fixed = Matched((x.T @ y).astype(float), 20)
    matrix, pairs, rounds = until_stable(np.eye(4), x, lambda _: fixed, fixed, rounds=9)
    np.testing.assert_allclose(matrix, scipy.linalg.orthogonal_procrustes(x, y)[0], atol=1e-4)
    assert (pairs, rounds) == (20, 2)


@pytest.mark.parametrize("cosine", [True, False])
def test_a_frame_is_centred_and_undone(cosine: bool) -> None:
    rows = pools(50)[0] + np.float32(3)
    frame, framed = Frame.of(rows, cosine=cosine, name="x")
    np.testing.assert_allclose(framed.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(frame(rows), framed, atol=1e-5)
    back = Chain([frame.undo])(framed)
    if cosine:
        # every length was made 1: only directions come back, and nearly
        assert np.diag(cosines(back, rows)).mean() > 0.99
        np.testing.assert_allclose(
            np.linalg.norm(framed - frame.stages[-1].offset, axis=1), 1, atol=1e-5
        )
    else:
        np.testing.assert_allclose(back, rows, atol=1e-5)
    assert frame.spread == pytest.approx(np.sqrt((framed**2).sum(axis=1).mean()), rel=1e-5)


@pytest.mark.parametrize("cosine", [True, False])
def test_constant_vectors_are_refused(cosine: bool) -> None:
    with pytest.raises(InputError, match="target vectors: the vectors are all alike"):
        Frame.of(np.full((30, 3), 0.7, np.float32), cosine=cosine, name="target vectors")
