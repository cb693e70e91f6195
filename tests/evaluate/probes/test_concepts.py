"""Directions that stand for classes."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.probes import concept_stability
from isthmus.evaluate.probes.concepts import auc


def _classes(rng, n: int = 400, d: int = 12):
    labels = rng.integers(0, 4, n)
    centres = 1.2 * rng.standard_normal((4, d))
    return centres[labels] + rng.standard_normal((n, d)), labels, rng.random(n) < 0.4


def test_auc_agrees_with_scikit_learn(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, positive = rng.integers(0, 9, 200).astype(float), rng.random(200) < 0.3
    assert auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))
    with pytest.raises(InputError, match="both positives and negatives"):
        auc(scores, np.ones(200, bool))


def test_a_direction_is_the_difference_of_means(rng):
    neighbors = pytest.importorskip("sklearn.metrics")
    rows, labels, held_out = _classes(rng)
    found = concept_stability(rows, rows, labels, held_out)
    assert found is not None
    for concept in found.concepts:
        inside = labels == int(concept.name)
        train, test = rows[~held_out], rows[held_out]
        direction = train[inside[~held_out]].mean(0) - train[~inside[~held_out]].mean(0)
        expected = neighbors.roc_auc_score(inside[held_out], test @ direction)
        assert concept.native == pytest.approx(expected)
        assert concept.transferred == concept.native
        assert concept.items == inside.sum()
    assert found.kept == pytest.approx(1)


def test_what_a_map_loses_shows(rng):
    rows, labels, held_out = _classes(rng)
    noisy = rows + 2.0 * rng.standard_normal(rows.shape)
    random = rng.standard_normal(rows.shape)
    kept = [
        found.kept
        for mapped in (rows, noisy, random)
        if (found := concept_stability(rows, mapped, labels, held_out)) is not None
    ]
    assert kept[0] == 1
    assert 0.3 < kept[1] < 0.95
    assert abs(kept[2]) < 0.25


def test_a_translation_changes_nothing(rng):
    rows, labels, held_out = _classes(rng)
    one = concept_stability(rows, rows + 5.0, labels, held_out)
    assert one is not None
    assert one.transferred == pytest.approx(one.native)


def test_rare_classes_are_left_out(rng):
    rows, labels, held_out = _classes(rng)
    names = np.where(np.arange(400) < 4, "rare", np.where(labels == 0, "zero", "rest"))
    found = concept_stability(rows, rows, names, held_out)
    assert found is not None
    assert [c.name for c in found.concepts] == ["rest", "zero"]
    assert concept_stability(rows, rows, np.zeros(400, int), held_out) is None


def test_shapes_that_do_not_belong_together(rng):
    rows, labels, held_out = _classes(rng)
    with pytest.raises(InputError, match="do not belong together"):
        concept_stability(rows, rows[:, :3], labels, held_out)
