"""Agreement of clusters with classes, beside scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.adapters.class_structure import class_structure, semantic_effect
from isthmus.adapters.kmeans import kmeans
from isthmus.errors import InputError

CLASSES = np.random.default_rng(1).integers(0, 6, 500)


def rows(noise: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.standard_normal((6, 8))[CLASSES] + noise * rng.standard_normal((500, 8))


def test_it_is_what_scikit_learn_says_of_the_same_clusters() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    found = class_structure(rows(1.0), CLASSES, seed=3)
    labels = kmeans(rows(1.0), 6, seed=3, restarts=3).labels
    assert found.adjusted_rand == pytest.approx(metrics.adjusted_rand_score(CLASSES, labels))
    assert found.mutual_information == pytest.approx(
        metrics.normalized_mutual_info_score(CLASSES, labels)
    )
    assert (found.classes, found.n) == (6, 500)


def test_classes_that_stand_apart_are_found_whole() -> None:
    exact = class_structure(np.eye(6)[CLASSES], CLASSES)
    assert (exact.adjusted_rand, exact.mutual_information) == (1.0, pytest.approx(1.0))


def test_an_effect_is_both_structures() -> None:
    effect = semantic_effect(rows(2.0), rows(0.2), CLASSES)
    assert effect.before == class_structure(rows(2.0), CLASSES)
    assert effect.after.adjusted_rand > effect.before.adjusted_rand + 0.2


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match="at least two"):
        class_structure(rows(1.0), np.zeros(500, int))
    with pytest.raises(InputError, match="classes of shape"):
        class_structure(rows(1.0), CLASSES[:5])
