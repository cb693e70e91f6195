"""Class weights: their definitions, their limits, and mean 1."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.moments import class_weights

COUNTS = st.lists(st.integers(1, 10**6), min_size=1, max_size=8).map(np.array)


@given(COUNTS, st.floats(0, 1, exclude_max=True))
def test_every_scheme_has_mean_one_and_favours_the_rare(counts: np.ndarray, beta: float) -> None:
    for weights in (class_weights(counts), class_weights(counts, "effective", beta=beta)):
        assert weights @ counts == pytest.approx(counts.sum())
        order = np.argsort(counts)
        assert (np.diff(weights[order]) <= 1e-9 * weights.max()).all()


def test_balanced_classes_weigh_alike_as_in_scikit_learn() -> None:
    utils = pytest.importorskip("sklearn.utils.class_weight")
    counts = np.array([50, 3, 7])
    expected = utils.compute_class_weight(
        "balanced", classes=np.arange(3), y=np.repeat(np.arange(3), counts)
    )
    np.testing.assert_allclose(class_weights(counts), expected)
    np.testing.assert_allclose(class_weights(counts) * counts, 20)


def test_the_effective_number_runs_from_alike_to_balanced() -> None:
    counts = np.array([5000, 10, 200])
    np.testing.assert_allclose(class_weights(counts, "effective", beta=0.0), 1)
    near = class_weights(counts, "effective", beta=1 - 1e-12)
    np.testing.assert_allclose(near, class_weights(counts), rtol=1e-6)
    raw = (1 - 0.99) / (1 - 0.99**counts)
    found = class_weights(counts, "effective", beta=0.99)
    np.testing.assert_allclose(found / found[0], raw / raw[0])


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="without rows"):
        class_weights(np.array([3, 0]))
    with pytest.raises(InputError, match="without rows"):
        class_weights(np.zeros(0, int))
    with pytest.raises(InputError, match=r"\[0, 1\)"):
        class_weights(np.array([3]), "effective", beta=1.0)
    with pytest.raises(InputError, match="'balanced' or 'effective'"):
        class_weights(np.array([3]), "inverse")  # type: ignore[arg-type]
