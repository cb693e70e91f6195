"""A budget counts all that is encoded, and says what `isthmus.fit` does with it."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus import Pairs, fit
from isthmus.adapters.budget.encodings import CROSS_FITTED, Encodings
from isthmus.evaluate import Judging


@pytest.mark.parametrize("queries", [True, False])
def test_a_fit_on_so_many_texts_fits_on_as_many_pairs_as_was_said(queries: bool) -> None:
    counted = Encodings.of(200, queries=queries)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((counted.documents, 8)).astype(np.float32)
    y = (x @ np.linalg.qr(rng.standard_normal((8, 8)))[0]).astype(np.float32)
    asked = Pairs(x + 0.1, y + 0.1) if counted.queries else None
    bridge = fit(Pairs(x, y), queries=asked, recipe="procrustes", judging=Judging(limits=None))
    record = bridge.provenance.fit
    assert record is not None
    fitted = record.fit_rows / (2 if queries else 1)
    # without queries a hash of the ids decides who is held out
    assert fitted == 200 if queries else abs(fitted - 200) < 25
    assert counted.total == (400 if queries else 250)


def test_beyond_the_pairs_that_are_cross_fitted_a_fifth_is_spared() -> None:
    assert Encodings.of(CROSS_FITTED).total == 2 * CROSS_FITTED
    assert Encodings.of(8000) == Encodings(10_000, 10_000)
    assert "a fifth to choose and judge" in str(Encodings.of(8000))
    assert "none spared" in str(Encodings.of(800))
