"""How variance is spread."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.evaluate.probes import spectrum
from isthmus.evaluate.probes.spectrum import iso_score


def _covariance(seed: int, d: int = 7) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((50, d)) * np.arange(1, d + 1) ** -1.0
    return np.cov(rows.T)


def test_agrees_with_scikit_learn_and_scipy():
    decomposition = pytest.importorskip("sklearn.decomposition")
    rows = np.random.default_rng(1).standard_normal((200, 9)) * np.arange(1, 10)
    fitted = decomposition.PCA().fit(rows)
    found = spectrum(np.cov(rows.T))
    np.testing.assert_allclose(found.eigenvalues, fitted.explained_variance_)
    ratio = fitted.explained_variance_ratio_
    assert found.effective_rank == pytest.approx(np.exp(scipy.stats.entropy(ratio)))
    assert found.participation_ratio == pytest.approx(1 / (ratio**2).sum())
    for share in (0.9, 0.95, 0.99):
        expected = decomposition.PCA(n_components=share).fit(rows).n_components_
        assert found.components[f"{share:.0%}"] == expected


@given(st.integers(0, 1000), st.floats(0.01, 100))
def test_rotation_and_scale_change_nothing(seed: int, scale: float):
    covariance = _covariance(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).standard_normal((7, 7)))[0]
    one, other = spectrum(covariance), spectrum(scale * turn.T @ covariance @ turn)
    assert other.effective_rank == pytest.approx(one.effective_rank)
    assert other.iso_score == pytest.approx(one.iso_score)
    assert other.total == pytest.approx(scale * one.total)
    assert one.distance(other) == pytest.approx(0, abs=1e-12)


def test_the_two_ends():
    flat, single = spectrum(np.eye(6)), spectrum(np.diag([1.0, 0, 0, 0, 0, 0]))
    for found, expected in ((flat, 6), (single, 1)):
        assert found.effective_rank == pytest.approx(expected)
        assert found.participation_ratio == pytest.approx(expected)
    assert (flat.iso_score, single.iso_score) == pytest.approx((1, 0), abs=1e-9)
    assert flat.distance(single) == pytest.approx(5 / 6)
    assert spectrum(np.eye(1)).iso_score == 1


def test_iso_score_is_about_the_share_of_directions_in_use():
    # the paper's sanity check: k of d axes with equal variance score (k − 1)/(d − 1)
    for k in (2, 5, 9):
        values = np.r_[np.ones(k), np.zeros(10 - k)]
        assert iso_score(values) == pytest.approx((k - 1) / 9)


def test_profiles_of_unequal_widths():
    narrow, wide = np.diag([3.0, 1.0]), np.diag([3.0, 1.0, 0.0])
    assert spectrum(narrow).distance(spectrum(wide)) == pytest.approx(0)


def test_no_variance_is_refused():
    with pytest.raises(InputError, match="hold no information"):
        spectrum(np.zeros((3, 3)))
