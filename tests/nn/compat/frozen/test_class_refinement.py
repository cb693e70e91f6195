"""Maps refined with classes: their objective on rows, the bound, invariances, bad input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.adapters.steps.spectral_ball import departure
from isthmus.errors import InputError
from isthmus.moments import Moments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import class_joint_maps
from isthmus.nn.compat.frozen.class_objective import RefinementTerms
from isthmus.nn.compat.frozen.class_refinement import LabelledPairs, class_maps, refine_maps
from isthmus.nn.compat.frozen.joint_maps import JointMaps

SHAPES = [(5, 5), (4, 6), (7, 4)]
CLASSES = 4


def rows(n: int, new: int, old: int, seed: int = 0) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    z = rng.standard_normal((CLASSES, 8))[labels] + rng.standard_normal((n, 8))
    x, y = (z @ rng.standard_normal((8, d)) / 3 + 0.2 for d in (new, old))
    return x, y + 0.1 * rng.standard_normal(y.shape), labels


class Case:
    """Rows, their moments, and the maps before the refinement."""

    def __init__(self, x: Any, y: Any, labels: Any, lam: float = 0.2) -> None:
        self.x, self.y, self.labels = x, y, labels
        self.moments = Moments.of(x, y).second()
        self.sums = GroupSums(x.shape[1], y.shape[1])
        self.sums.update(labels, x, y)
        self.maps = class_joint_maps(self.moments, self.sums, lam)

    def refined(self, **more: Any) -> JointMaps:
        more.setdefault("most_rows", 3 * len(self.x))
        seed = more.pop("seed", 0)
        given = LabelledPairs(self.x, self.y, self.labels)
        terms = RefinementTerms(**more)
        return refine_maps(self.maps, self.moments, self.sums, given, terms=terms, seed=seed)


def applied(maps: JointMaps, x: Any, y: Any) -> tuple[Any, Any]:
    back, ahead = maps.backward, maps.forward
    return x @ back.matrix + back.offset, y @ ahead.matrix + ahead.offset


def ahead(maps: JointMaps) -> Any:
    return np.asarray(maps.forward.matrix)


def objective(
    z: Any, v: Any, y: Any, labels: Any, tau: float = 0.15, eta: float = 0.7,
    weights: tuple[float, float, float] = (1.0, 0.5, 2.0),
) -> float:  # fmt: skip
    """The loss, on rows and in float64."""
    means = np.stack([z[labels == c].mean(axis=0) for c in range(CLASSES)])
    p = means / np.linalg.norm(means, axis=1, keepdims=True)
    total = 0.0
    for side in (v, z):
        scores = side / np.linalg.norm(side, axis=1, keepdims=True) @ p.T / tau
        scores -= np.log(np.exp(scores).sum(axis=1, keepdims=True))
        total -= scores[np.arange(len(z)), labels].mean()
    square = (y**2).sum(axis=1).mean()
    target = (1 - eta) * z + eta * square**0.5 * p[labels]
    parts = (v - target, z[:, : y.shape[1]] - y, z - means[labels])
    total += sum(
        w * (d**2).sum(axis=1).mean() / square for w, d in zip(weights, parts, strict=True)
    )
    return float(total)


@pytest.mark.parametrize(("new", "old"), SHAPES)
@pytest.mark.parametrize("lam", [0.1, 0.4, np.inf])
def test_no_maps_near_by_within_lambda_do_better(new: int, old: int, lam: float) -> None:
    case = Case(*rows(300, new, old), lam)
    found = case.refined(iterations=300)
    x, y, labels = case.x, case.y, case.labels
    reached = objective(*applied(found, x, y), y, labels)
    assert reached < objective(*applied(case.maps, x, y), y, labels) - 1e-3
    w, offset = np.asarray(found.backward.matrix), np.asarray(found.backward.offset)
    f, shift = ahead(found), found.forward.offset
    rng = np.random.default_rng(1)
    inside = 0
    for _ in range(400):
        step = 10.0 ** rng.uniform(-3.0, -1.5)
        w2 = w + step * rng.standard_normal(w.shape)
        if departure(w2) > lam * new**0.5:
            continue
        inside += 1
        z = x @ w2 + offset + step * rng.standard_normal(offset.shape)
        v = y @ (f + step * rng.standard_normal(f.shape)) + shift
        assert objective(z, v, y, labels) > reached - 1e-5
    assert inside > 20


@pytest.mark.parametrize("lam", [0.0, 0.05, 0.3])
def test_lambda_stays_the_bound_and_the_result_says_what_it_is(lam: float) -> None:
    case = Case(*rows(400, 6, 5), lam)
    found = case.refined()
    assert departure(np.asarray(found.backward.matrix)) <= lam * 6**0.5 + 1e-9
    assert found.departure == pytest.approx(departure(np.asarray(found.backward.matrix)))
    z, v = applied(found, case.x, case.y)
    assert found.backward_error == pytest.approx(((z[:, :5] - case.y) ** 2).sum(1).mean())
    assert found.forward_error == pytest.approx(((v - z) ** 2).sum(1).mean())


def test_held_out_classes_are_told_apart_better_in_every_search() -> None:
    x, y, labels = rows(1600, 6, 6)
    case = Case(x[:800], y[:800], labels[:800])

    def loss(maps: JointMaps) -> float:
        return objective(*applied(maps, x[800:], y[800:]), y[800:], labels[800:], weights=(0, 0, 0))

    assert loss(case.refined()) < loss(case.maps) - 0.02


def test_another_basis_of_the_new_model_gives_the_same_images() -> None:
    x, y, labels = rows(400, 6, 6)
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((6, 6)))[0]
    one, other = Case(x, y, labels).refined(), Case(x @ turn, y, labels).refined()
    for a, b in zip(applied(one, x, y), applied(other, x @ turn, y), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-2)


def test_the_scale_of_the_vectors_changes_no_cosine() -> None:
    x, y, labels = rows(400, 6, 6)
    one, large = Case(x, y, labels).refined(), Case(50 * x, 50 * y, labels).refined()
    for a, b in zip(applied(one, x, y), applied(large, 50 * x, 50 * y), strict=True):
        np.testing.assert_allclose(50 * a, b, atol=50 * 2e-2)


def test_one_call_does_it_all() -> None:
    x, y, labels = rows(400, 6, 5)
    one = class_maps(
        x.astype(np.float32),
        y.astype(np.float32),
        labels,
        0.3,
        terms=RefinementTerms(iterations=30),
    )
    case = Case(x, y, labels, 0.3)
    steps = case.refined(iterations=30)
    assert one.lam == pytest.approx(0.3 * 6**0.5) and one.departure <= one.lam + 1e-9
    assert objective(*applied(one, x, y), y, labels) == pytest.approx(
        objective(*applied(steps, x, y), y, labels), rel=1e-2
    )
    absolute = class_maps(x, y, labels, 0.3, relative=False, terms=RefinementTerms(iterations=0))
    assert absolute.lam == pytest.approx(0.3)
    with pytest.raises(InputError, match="new, row 3"):
        class_maps(np.where(np.arange(400)[:, None] == 3, np.inf, x), y, labels)


def test_labels_of_any_kind_serve() -> None:
    x, y, labels = rows(300, 5, 5)
    names = np.array(["d", "a", "c", "b"])[labels]
    one, other = Case(x, y, labels).refined(), Case(x, y, names).refined()
    np.testing.assert_allclose(ahead(one), ahead(other), atol=1e-3)


def test_no_iteration_changes_nothing_and_a_draw_repeats() -> None:
    case = Case(*rows(300, 5, 5))
    assert case.refined(iterations=0) is case.maps
    some = [case.refined(most_rows=100, seed=s) for s in (0, 0, 1)]
    np.testing.assert_array_equal(ahead(some[0]), ahead(some[1]))
    assert not np.array_equal(ahead(some[0]), ahead(some[2]))


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.0},
        {"contrast": -1.0},
        {"forward_weight": np.inf},
        {"backward_weight": -0.1},
        {"class_weight": float("nan")},
        {"eta": 1.2},
        {"iterations": -1},
    ],
)
def test_parameters_out_of_range_are_refused(more: Any) -> None:
    case = Case(*rows(100, 4, 4))
    with pytest.raises(InputError, match=r"a temperature of .* iterations"):
        case.refined(**more)


def test_rows_that_do_not_fit_are_refused() -> None:
    x, y, labels = rows(100, 4, 4)
    case = Case(x, y, labels)
    with pytest.raises(InputError, match="100 new and 99 old rows"):
        refine_maps(case.maps, case.moments, case.sums, LabelledPairs(x, y[:99], labels))
    with pytest.raises(InputError, match="no known class, such as 9"):
        refine_maps(
            case.maps,
            case.moments,
            case.sums,
            LabelledPairs(x, y, np.where(labels == 0, 9, labels)),
        )
    with pytest.raises(InputError, match="the vectors are 3 wide, expected 4"):
        refine_maps(case.maps, case.moments, case.sums, LabelledPairs(x[:, :3], y, labels))
    spoilt = y.copy()
    spoilt[7, 2] = np.nan
    with pytest.raises(InputError, match="old, row 7"):
        refine_maps(case.maps, case.moments, case.sums, LabelledPairs(x, spoilt, labels))
    one = GroupSums(4, 4)
    one.update(np.zeros(100, int), x, y)
    with pytest.raises(InputError, match="no other to keep apart"):
        refine_maps(case.maps, case.moments, one, LabelledPairs(x, y, np.zeros(100, int)))
