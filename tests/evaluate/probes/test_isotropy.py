"""A common direction."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.probes import isotropy, spectrum
from isthmus.moments import Moments


def _of(rows: np.ndarray):
    return isotropy(Moments.of(rows, rows).second().x, rows)


def test_the_mean_cosine_is_that_of_all_pairs(rng):
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    rows = rng.standard_normal((80, 5)) + 0.7
    cosines = pairwise.cosine_similarity(rows)[np.triu_indices(80, 1)]
    found = _of(rows)
    assert found.mean_cosine == pytest.approx(cosines.mean())
    drawn = dict(found.cosine_quantiles)
    assert drawn[0.5] == pytest.approx(np.median(cosines), abs=0.03)
    assert drawn[0.95] == pytest.approx(np.quantile(cosines, 0.95), abs=0.03)


def test_the_mean_holds_its_share(rng):
    rows = rng.standard_normal((4000, 20)) + 1.0
    found = _of(rows)
    assert found.common_mean_share == pytest.approx(0.5, abs=0.02)
    assert found.mean_cosine == pytest.approx(0.5, abs=0.03)
    assert abs(found.mean_cosine_centred) < 0.01
    second = rows.T @ rows / len(rows)
    assert found.uncentred_rank == pytest.approx(spectrum(second).effective_rank)


def test_isotropic_rows_share_nothing(rng):
    found = _of(rng.standard_normal((4000, 20)))
    assert abs(found.mean_cosine) < 0.002
    assert found.common_mean_share < 0.002


def test_zero_rows_have_no_direction(rng):
    rows = np.vstack([np.zeros((5, 3)), rng.standard_normal((40, 3))])
    assert _of(rows).mean_cosine == pytest.approx(_of(rows[5:]).mean_cosine)
    lone = np.vstack([np.zeros((5, 3)), np.ones((1, 3))])
    with pytest.raises(InputError, match="fewer than two rows"):
        _of(lone)


def test_the_covariance_is_needed(rng):
    rows = rng.standard_normal((20, 3))
    with pytest.raises(InputError, match="was not kept"):
        isotropy(Moments.of(rows, rows, keep={"square"}).second().x, rows)
