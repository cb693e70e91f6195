"""The gap between modalities."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.probes import modality_gap


def test_halves_of_one_modality_have_no_gap(rng):
    rows = rng.standard_normal((600, 20)) + 0.5
    found = modality_gap(rows[:300], rows[300:])
    assert found.relative < 0.15
    assert abs(found.separability - 0.5) < 0.1


def test_an_offset_is_a_gap_that_centring_closes(rng):
    x = rng.standard_normal((300, 20))
    offset = 0.8 * rng.standard_normal(20)
    found = modality_gap(x, rng.standard_normal((280, 20)) + offset)
    assert found.relative > 0.3
    assert found.separability > 0.9
    assert found.same_side > found.same_side_chance + 0.1
    # the offset also bends the sphere a little
    assert found.same_side_centred == pytest.approx(found.same_side_chance, abs=0.08)


def test_another_shape_is_a_gap_that_centring_leaves(rng):
    x = rng.standard_normal((300, 20)) * np.r_[np.full(10, 2.0), np.full(10, 0.1)]
    y = rng.standard_normal((300, 20)) * np.r_[np.full(10, 0.1), np.full(10, 2.0)]
    assert modality_gap(x, y).same_side_centred > 0.9


def test_neighbours_agree_with_scikit_learn(rng):
    neighbors = pytest.importorskip("sklearn.neighbors")
    x, y = rng.standard_normal((60, 5)) + 0.3, rng.standard_normal((50, 5))
    rows = np.vstack([r / np.linalg.norm(r, axis=1, keepdims=True) for r in (x, y)])
    near = neighbors.NearestNeighbors(n_neighbors=10).fit(rows).kneighbors(return_distance=False)
    side = np.arange(110) < 60
    assert modality_gap(x, y).same_side == pytest.approx((side[near] == side[:, None]).mean())


def test_the_distance_is_between_centroids_of_unit_rows(rng):
    x, y = rng.standard_normal((50, 4)) + 1, 3 * rng.standard_normal((40, 4)) - 1
    one, other = (r / np.linalg.norm(r, axis=1, keepdims=True) for r in (x, y))
    expected = np.linalg.norm(one.mean(0) - other.mean(0))
    assert modality_gap(x, y).distance == pytest.approx(expected)
    # lengths do not matter, and neither does a common rotation
    turn = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    assert modality_gap(7 * x @ turn, y @ turn).distance == pytest.approx(expected)


def test_separability_is_about_that_of_scikit_learn(rng):
    lda = pytest.importorskip("sklearn.discriminant_analysis").LinearDiscriminantAnalysis
    metrics = pytest.importorskip("sklearn.metrics")
    x, y = rng.standard_normal((400, 6)), rng.standard_normal((400, 6)) + 0.3
    rows = np.vstack([r / np.linalg.norm(r, axis=1, keepdims=True) for r in (x, y)])
    labels = np.repeat([0, 1], 400)
    train = rng.random(800) < 0.5
    scores = lda().fit(rows[train], labels[train]).decision_function(rows[~train])
    expected = metrics.roc_auc_score(labels[~train], scores)
    assert modality_gap(x, y).separability == pytest.approx(expected, abs=0.06)


@pytest.mark.parametrize(("x", "y"), [((9, 3), (9, 4)), ((3, 3), (9, 3))])
def test_faulty_sides(x, y):
    with pytest.raises(InputError, match="share no space|four rows"):
        modality_gap(np.ones(x), np.ones(y))
