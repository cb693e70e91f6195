"""A bridge answers alike to the same numbers, in whatever form they are given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import isthmus
from isthmus.errors import InputError, IsthmusError
from isthmus.spaces.readers import open_vectors

RNG = np.random.default_rng(0)
X = RNG.standard_normal((400, 8)).astype(np.float32)
Y = (X @ np.linalg.qr(RNG.standard_normal((8, 8)))[0]).astype(np.float32)


@pytest.fixture(scope="module")
def bridge() -> Any:
    return isthmus.fit(isthmus.Pairs(X, Y))


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_the_order_of_bytes_does_not_matter(bridge: Any, dtype: str) -> None:
    for rows in (X[:3], X[0]):
        native = rows.astype(f"<{dtype}")
        swapped = native.astype(native.dtype.newbyteorder(">"))
        expected = bridge.transform(native)
        found = bridge.transform(swapped)
        assert found.dtype == expected.dtype
        assert found.dtype.isnative
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    pairs = bridge.transform(X[:3].astype(f">{dtype}"), return_trust=True)
    np.testing.assert_allclose(
        pairs[1], bridge.transform(X[:3].astype(dtype), return_trust=True)[1], rtol=1e-5
    )


def test_trust_is_told_of_lists(bridge: Any) -> None:
    rows, trust = bridge.transform(X[:3].tolist(), return_trust=True)
    expected = bridge.transform(X[:3], return_trust=True)
    np.testing.assert_allclose(rows, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(trust, expected[1], rtol=1e-5)


def test_scores_may_be_a_list_a_series_or_one(bridge: Any) -> None:
    given = np.array([0.1, 0.25, 0.4])
    expected = bridge.calibrate_scores(given, "bridge")
    np.testing.assert_allclose(bridge.calibrate_scores(given.tolist(), "bridge"), expected)
    one = bridge.calibrate_scores(0.25, "bridge")
    assert one.shape == ()
    assert one == pytest.approx(expected[1])
    pd = pytest.importorskip("pandas")
    np.testing.assert_allclose(bridge.calibrate_scores(pd.Series(given), "bridge"), expected)
    for wrong in ("a", None, [[0.1], [0.2, 0.3]], [1, 2]):
        with pytest.raises(IsthmusError, match="scores"):
            bridge.calibrate_scores(wrong, "bridge")


@pytest.mark.skipif(not hasattr(np.dtypes, "StringDType"), reason="NumPy 2 has StringDType")
def test_ids_of_variable_width_are_text() -> None:
    ids = np.array(["a", "bcd"], dtype=np.dtypes.StringDType())
    found = open_vectors(X[:2], ids=ids).ids
    assert found is not None
    assert found.dtype.kind == "U"
    assert found.tolist() == ["a", "bcd"]
    missing = np.array(["a", None], dtype=np.dtypes.StringDType(na_object=None))
    with pytest.raises(InputError, match="row 1"):
        open_vectors(X[:2], ids=missing)
