"""Joint maps with classes: their objective on rows, invariances, and what classes add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import ClassTerms, class_joint_maps
from isthmus.nn.compat.frozen.joint_maps import JointMaps

SHAPES = [(5, 5), (4, 6), (7, 4)]
CLASSES = 4


def rows(n: int, new: int, old: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    z = 2.0 * rng.standard_normal((CLASSES, 8))[labels] + rng.standard_normal((n, 8))
    x, y = (z @ rng.standard_normal((8, d)) / 3 + 0.2 for d in (new, old))
    return x, y + 0.1 * rng.standard_normal(y.shape), labels


def fit(x: Any, y: Any, labels: Any, lam: float = 0.2, **more: Any) -> JointMaps:
    sums = GroupSums(x.shape[1], y.shape[1])
    sums.update(labels, x, y)
    return class_joint_maps(Moments.of(x, y).second(), sums, lam, terms=ClassTerms(**more))


def means(rows_: Any, labels: Any) -> Any:
    return np.stack([rows_[labels == c].mean(axis=0) for c in range(CLASSES)])[labels]


def objective(w: Any, x: Any, y: Any, labels: Any, eta: float = 0.5, weight: float = 5.0) -> float:
    """The loss of the backward map on rows, the forward map at its ridge optimum."""
    n, d = len(x), y.shape[1]
    back = x @ w
    drawn = (1 - eta) * y + eta * means(y, labels)
    ridge = 1e-3 * np.trace(y.T @ y) / d
    f = np.linalg.solve(y.T @ y + ridge * np.eye(d), y.T @ back)
    left = np.vdot(y @ f - back, y @ f - back) + ridge * np.vdot(f, f)
    within = back - means(back, labels)
    # what is drawn is constant in w but for its product with the image
    fit_ = np.vdot(back[:, :d], back[:, :d]) - 2 * np.vdot(back[:, :d], drawn)
    return float(fit_ + left + weight * np.vdot(within, within)) / n


@pytest.mark.parametrize(("new", "old"), SHAPES)
@pytest.mark.parametrize("lam", [0.05, 0.2, 0.5])
def test_no_map_near_by_within_lambda_does_better(new: int, old: int, lam: float) -> None:
    x, y, labels = rows(400, new, old)
    maps = fit(x, y, labels, lam)
    w = np.asarray(maps.backward.matrix)
    radius = lam * new**0.5
    assert maps.departure <= radius * (1 + 1e-6)
    best = objective(w, x, y, labels)
    rng = np.random.default_rng(1)
    tried = 0
    for size in (1e-3, 1e-2, 0.1):
        for _ in range(60):
            other = w + size * rng.standard_normal(w.shape)
            u, s, vt = np.linalg.svd(other, full_matrices=False)
            # back into the ball along the singular values
            apart = np.linalg.norm(s**2 - 1)
            s = np.sqrt(1 + (s**2 - 1) * min(1.0, radius / apart))
            other = (u * s) @ vt
            if departure(other) <= radius * (1 + 1e-9):
                tried += 1
                assert objective(other, x, y, labels) >= best - 1e-6 * abs(best)
    assert tried > 100


@pytest.mark.parametrize(("new", "old"), SHAPES)
def test_the_forward_map_is_the_ridge_map_to_images_drawn_to_their_class(
    new: int, old: int
) -> None:
    x, y, labels = rows(300, new, old)
    maps = fit(x, y, labels, forward_eta=0.4)
    back = x @ np.asarray(maps.backward.matrix)
    towards = means(back, labels)
    towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    towards *= (y**2).sum(axis=1).mean() ** 0.5
    target = 0.6 * back + 0.4 * towards
    ridge = 1e-3 * np.trace(y.T @ y) / old
    expected = np.linalg.solve(y.T @ y + ridge * np.eye(old), y.T @ target)
    np.testing.assert_allclose(maps.forward.matrix, expected, rtol=1e-6, atol=1e-9)
    ahead = y @ expected
    assert maps.forward_error == pytest.approx(((ahead - back) ** 2).sum(1).mean(), rel=1e-6)
    apart = back[:, :old] - y if new >= old else back - y
    assert maps.backward_error == pytest.approx((apart**2).sum(1).mean(), rel=1e-6)


def test_a_rotated_new_space_gives_the_same_images() -> None:
    x, y, labels = rows(300, 6, 6)
    turn, _ = np.linalg.qr(np.random.default_rng(2).standard_normal((6, 6)))
    one, other = fit(x, y, labels), fit(x @ turn, y, labels)
    np.testing.assert_allclose(x @ one.backward.matrix, x @ turn @ other.backward.matrix, atol=1e-4)


def test_classes_gather_more_the_more_they_weigh_and_names_do_not_matter() -> None:
    x, y, labels = rows(500, 6, 6)

    def gathered(weight: float) -> float:
        back = x @ fit(x, y, labels, 0.3, class_weight=weight).backward.matrix
        within = back - means(back, labels)
        return float((within**2).sum() / ((back - back.mean(0)) ** 2).sum())

    shares = [gathered(w) for w in (0.0, 1.0, 5.0, 25.0)]
    assert shares == sorted(shares, reverse=True)
    renamed = fit(x, y, np.array(["d", "a", "c", "b"])[labels])
    np.testing.assert_allclose(
        renamed.backward.matrix, fit(x, y, labels).backward.matrix, atol=1e-9
    )


def test_a_tight_bound_behind_a_loose_one_is_kept_where_classes_shrink_the_map() -> None:
    """Started from singular values far from 1, the solver once stayed where it was."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 36, 3000)
    z = rng.standard_normal((36, 64))[labels] + 0.7 * rng.standard_normal((3000, 64))
    x = z @ rng.standard_normal((64, 128)) + 0.3 * rng.standard_normal((3000, 128))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = z / np.linalg.norm(z, axis=1, keepdims=True)
    for lam in (0.08, 0.0884, 0.095):
        maps = fit(x, y, labels, lam)
        assert maps.departure == pytest.approx(lam * 128**0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"lam": -1.0}, "λ is -1"),
        ({"backward_weight": 0.0}, "weights"),
        ({"class_weight": -1.0}, "weights"),
        ({"backward_eta": 1.5}, "\\[0, 1\\]"),
        ({"forward_eta": -0.1}, "\\[0, 1\\]"),
        ({"alpha": -1.0}, "strength"),
    ],
)
def test_parameters_out_of_range_are_refused(more: Any, message: str) -> None:
    x, y, labels = rows(100, 4, 4)
    with pytest.raises(InputError, match=message):
        fit(x, y, labels, **more)


def test_other_rows_and_a_single_class_are_refused() -> None:
    x, y, labels = rows(100, 4, 4)
    with pytest.raises(InputError, match="no other to keep apart"):
        fit(x, y, np.zeros(100, int))
    sums = GroupSums(4, 4)
    sums.update(labels[:50], x[:50], y[:50])
    with pytest.raises(InputError, match="50 rows .* moments of 100 rows"):
        class_joint_maps(Moments.of(x, y).second(), sums)
