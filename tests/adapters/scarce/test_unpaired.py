"""No pairs at all: found where the geometry says enough, refused where it does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from isthmus.adapters.scarce.unpaired import LABEL, UnpairedMap, UnpairedOptions, align_unpaired
from isthmus.errors import InputError

Make = Callable[..., Any]
FAST: dict[str, Any] = {"seeds": range(4), "clusters": 20}


def looked_for(*sides: Any, **options: Any) -> UnpairedMap:
    how = {k: options.pop(k) for k in list(options) if k in UnpairedOptions.__dataclass_fields__}
    return align_unpaired(*sides, options=UnpairedOptions(**how), **options)


def top1(mapped: np.ndarray, target: np.ndarray) -> float:
    target = target / np.linalg.norm(target, axis=1, keepdims=True)
    return float(((mapped @ target.T).argmax(axis=1) == np.arange(len(target))).mean())


def aligned(t: Any, **options: Any) -> UnpairedMap:
    """Fit on the first 400 items, the target's in another order; the rest stay unseen."""
    shuffled = np.random.default_rng(0).permutation(t.y[:400])
    return looked_for(t.x[:400], shuffled, **{**FAST, **options})


@pytest.mark.parametrize(("dx", "dy"), [(24, 24), (24, 30)])
def test_shuffled_items_are_found_again(twins: Make, dx: int, dy: int) -> None:
    t = twins(700, dx, dy, seed=4)
    found = aligned(t)
    assert top1(found.transform(t.x[400:]), t.y[400:]) > 0.95
    assert found.cycle > 2 * found.chance
    assert len(found.starts) == 4
    assert list(found.starts) == sorted(found.starts, reverse=True)
    assert found.chain.products == 1


def test_it_never_calls_itself_verified(twins: Make) -> None:
    found = aligned(twins(700, seed=3))
    assert found.verified is False
    assert found.label == LABEL == "coarse, unverified"
    assert str(found).startswith(LABEL)
    with pytest.raises(TypeError, match="verified"):
        UnpairedMap(found.chain, 1.0, 0.0, 1.0, (1.0,), (1, 1), verified=True)  # type: ignore[call-arg]
    with pytest.raises(AttributeError):
        found.verified = True  # type: ignore[misc]


def test_items_of_one_kind_need_not_be_the_same_ones(twins: Make) -> None:
    t = twins(1600, seed=3)
    found = looked_for(t.x[:600], t.y[600:1200], **FAST)
    assert top1(found.transform(t.x[1200:]), t.y[1200:]) > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_unrelated_spaces_are_refused(twins: Make, seed: int) -> None:
    one, other = twins(500, seed=seed), twins(500, seed=100 + seed)
    with pytest.raises(InputError, match=r"no correspondence was found.*refine_few_pairs"):
        looked_for(one.x, other.y, seeds=range(3))


def test_a_space_without_landmarks_is_refused(rng: np.random.Generator) -> None:
    """A round cloud looks alike from every side, so that every rotation fits."""
    x = rng.standard_normal((500, 12)).astype(np.float32)
    y = x @ np.linalg.qr(rng.standard_normal((12, 12)))[0].astype(np.float32)
    with pytest.raises(InputError, match="no correspondence was found"):
        looked_for(x, rng.permutation(y[:400]), seeds=range(2))


def test_identical_sides_are_mapped_onto_themselves(twins: Make) -> None:
    t = twins(700, seed=3)
    found = looked_for(t.x, t.x, **FAST)
    assert top1(found.transform(t.x), t.x) > 0.99


def test_distances_keep_their_scale_without_cosine(twins: Make) -> None:
    t = twins(700, seed=3)
    t = t._replace(y=5 * t.y - 2)
    found = aligned(t, cosine=False)
    error = ((found.transform(t.x[400:]) - t.y[400:]) ** 2).sum()
    assert error < 0.05 * ((t.y[400:] - t.y[400:].mean(axis=0)) ** 2).sum()


def test_equal_input_and_seeds_give_the_same_map(twins: Make) -> None:
    t, told = twins(700, seed=3), []
    a = aligned(t, progress=lambda task, done, n: told.append((done, n)))
    np.testing.assert_array_equal(a.transform(t.x), aligned(t).transform(t.x))
    assert told == [(n, 8) for n in range(1, 9)]


def test_bad_input_is_refused_with_its_place(twins: Make) -> None:
    t = twins(400)
    with_nan, with_zero = t.x.copy(), t.x.copy()
    with_nan[0, 1], with_zero[5] = np.inf, 0
    refusals: list[tuple[str, Any, Any, dict[str, Any]]] = [
        ("x, row 0.*inf", with_nan, t.y, {}),
        ("x, row 5.*all zeros", with_zero, t.y, {}),
        ("y: 199 rows are too few", t.x, t.y[:199], {}),
        ("y: the vectors are all alike", t.x, np.ones_like(t.y), {}),
        ("x: expected an array of shape", t.x[0], t.y, {}),
        ("at least 2 seeds", t.x, t.y, {"seeds": [0]}),
        ("4 clusters", t.x, t.y, {"clusters": 3}),
        ("no correspondence", np.repeat(t.x[:2], 200, axis=0), t.y, {"seeds": range(2)}),
    ]
    for says, x, y, options in refusals:
        with pytest.raises(InputError, match=says):
            looked_for(x, y, **options)
