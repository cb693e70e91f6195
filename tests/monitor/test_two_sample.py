"""One look at two samples: nothing is found between alike ones, and each difference by its test."""

from __future__ import annotations

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.monitor import classifier_test, difference, kernel_test
from isthmus.monitor.two_sample import discriminant


def pair(seed: int, n: int = 80, d: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)), rng.standard_normal((n, d))


@pytest.mark.parametrize("test", [kernel_test, classifier_test])
def test_p_values_of_alike_samples_are_not_too_small(test) -> None:
    found = [test(*pair(seed), permutations=99)[1] for seed in range(60)]
    # 0.2 of them in the mean; three standard errors above
    assert np.mean(np.array(found) <= 0.2) <= 0.2 + 3 * (0.16 / 60) ** 0.5
    assert min(found) >= 0.01


def test_a_shift_is_found_by_both_and_a_spread_by_the_kernel_alone() -> None:
    x, y = pair(0, 200)
    assert kernel_test(x, y + 0.6)[1] < 0.01 and classifier_test(x, y + 0.6)[1] < 0.01
    assert kernel_test(x, 1.8 * y)[1] < 0.01 and classifier_test(x, 1.8 * y)[1] > 0.01


def test_the_discrepancy_is_that_of_the_definition() -> None:
    x, y = pair(1, 25, 3)
    rows = np.concatenate([x, y])
    squares = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    kernel = np.exp(-squares / np.median(squares[np.triu_indices(50, 1)]))
    np.fill_diagonal(kernel, 0)
    expected = (
        kernel[:25, :25].sum() / (25 * 24)
        + kernel[25:, 25:].sum() / (25 * 24)
        - 2 * kernel[:25, 25:].mean()
    )
    assert kernel_test(x, y, permutations=1)[0] == pytest.approx(expected, abs=1e-12)


def test_the_discriminant_is_that_of_scikit_learn() -> None:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    x, y = pair(2, 400, 4)
    y = y @ np.diag([1, 2, 1, 0.5]) + [0.5, 0, -0.5, 0.2]
    direction, middle = discriminant(x, y)
    n, d = 800, 4
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=d / (n + d))
    theirs.fit(np.concatenate([x, y]), np.repeat([0, 1], 400))
    cosine = direction @ theirs.coef_[0] / np.linalg.norm(direction) / np.linalg.norm(theirs.coef_)
    assert cosine > 0.9999
    assert (x @ direction).mean() < middle < (y @ direction).mean()


def test_effect_sizes_say_how_far() -> None:
    x, y = pair(3, 600)
    still = difference(x, y, permutations=20)
    far = difference(x, 2 * y + 1, permutations=20)
    assert still.mean_shift < 0.15 < 0.9 < far.mean_shift < 1.1
    assert still.covariance_change < 0.3 < 2 < far.covariance_change
    # neither moves where both sides are turned and scaled alike
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((5, 5)))[0]
    turned = difference(3 * x @ turn, 3 * y @ turn, permutations=20)
    assert turned.covariance_change == pytest.approx(still.covariance_change, rel=1e-9)
    assert turned.kernel_squared == pytest.approx(still.kernel_squared, abs=1e-9)


def test_refusals() -> None:
    x, y = pair(4)
    for a, b in ((x[:19], y), (x, y[:19]), (x, y[:, :4]), (x[0], y)):
        with pytest.raises(InputError, match="20 rows or more"):
            kernel_test(a, b)
