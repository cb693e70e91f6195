from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.evaluate.compatibility_matrix import compatibility_scores


def test_by_hand():
    found = compatibility_scores(
        np.array([[0.5, np.nan, np.nan], [0.6, 0.7, np.nan], [0.5, 0.8, 0.9]])
    )
    assert found.average_compatibility == pytest.approx(2 / 3)  # 0.5 > 0.5 is false: strict
    assert found.average_accuracy == pytest.approx((0.5 + 0.6 + 0.7 + 0.5 + 0.8 + 0.9) / 6)
    assert found.backward == pytest.approx((0.0 + 0.1) / 2)
    assert found.forward == pytest.approx((-0.1 - 0.1) / 2)


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.ones((1, 1)), "two models or more"),
        (np.ones((2, 3)), "square"),
        (np.array([[1, 0], [np.nan, 1]]), "not finite"),
    ],
)
def test_faulty_matrices(matrix, message):
    with pytest.raises(InputError, match=message):
        compatibility_scores(matrix)
