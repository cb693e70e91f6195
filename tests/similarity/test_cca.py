"""Canonical correlations against scikit-learn; saturation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.similarity import cca
from isthmus.similarity.spectra import Spectra


def test_correlations_are_those_of_scikit_learn(pair: Any) -> None:
    sklearn = pytest.importorskip("sklearn.cross_decomposition")
    x, y = pair(300, 6, 4, 0)
    fitted = sklearn.CCA(4, max_iter=20_000, tol=1e-14).fit(x, y)
    scores = fitted.transform(x, y)
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(scores[0].T, scores[1].T, strict=True)]
    found = cca.full_cca(Spectra(Moments.of(x, y).second()))
    np.testing.assert_allclose(found.rho, np.sort(expected)[::-1], atol=1e-6)


def test_a_shared_subspace_has_correlation_one() -> None:
    rng = np.random.default_rng(0)
    shared = rng.standard_normal((400, 2))
    x = np.column_stack([shared, rng.standard_normal((400, 3))]) @ rng.standard_normal((5, 5))
    y = np.column_stack([shared, rng.standard_normal((400, 2))]) @ rng.standard_normal((4, 4))
    rho = cca.full_cca(Spectra(Moments.of(x, y).second(), precision=1e-15)).rho
    np.testing.assert_allclose(rho[:2], 1, atol=1e-9)
    assert rho[2] < 0.3


def test_variates_correlate_as_they_say(pair: Any) -> None:
    x, y = pair(300, 6, 4, 0)
    found = cca.full_cca(Spectra(Moments.of(x, y).second()))
    wx, wy = found.variates
    for i, rho in enumerate(found.rho):
        assert np.corrcoef(x @ wx[:, i], y @ wy[:, i])[0, 1] == pytest.approx(rho, abs=1e-9)


def test_saturation_is_refused_and_counted() -> None:
    with pytest.raises(InputError, match="20 rows cannot be judged in 19 and 3"):
        cca.check_saturation(19, 3, 20)
    cca.check_saturation(18, 18, 20)
    assert cca.forced_ones(18, 18, 20) == 17
    assert cca.forced_ones(5, 5, 20) == 0
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((20, 12)), rng.standard_normal((20, 10))
    rho = cca.full_cca(Spectra(Moments.of(x, y).second(), precision=1e-15)).rho
    assert (rho > 1 - 1e-9).sum() == cca.forced_ones(12, 10, 20) == 3


def test_svcca_keeps_the_share_that_is_asked(pair: Any) -> None:
    x, y = pair(300, 8, 8, 0)
    spectra = Spectra(Moments.of(x, y).second())
    half = cca.svcca(spectra, 0.5)
    assert half.rank_x < 8
    assert len(half.rho) == min(half.rank_x, half.rank_y)
    np.testing.assert_allclose(cca.svcca(spectra, 1.0).rho, cca.full_cca(spectra).rho)
