"""The term that holds a map where a task's vectors lie: its gradient, and what it does to maps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.optimize import check_grad

from isthmus.moments import Moments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import class_joint_maps
from isthmus.nn.compat.frozen.class_objective import RefinementTerms
from isthmus.nn.compat.frozen.class_refinement import LabelledPairs, refine_maps
from isthmus.nn.compat.frozen.held import Held

SHAPES = [(5, 5), (4, 6), (7, 4)]
LOOSE = 3.0


def case(new: int, old: int, seed: int = 0) -> tuple[Any, Any, Any, Held]:
    rng = np.random.default_rng(seed)
    labels = np.arange(300) % 3
    z = rng.standard_normal((3, 8))[labels] + rng.standard_normal((300, 8))
    x, y = (z @ rng.standard_normal((8, d)) / 3 for d in (new, old))
    # the rows that are held lie in a few directions of the new space
    lying = rng.standard_normal((200, 2)) @ np.eye(new)[:2]
    rotation = np.linalg.qr(rng.standard_normal((max(new, old),) * 2))[0][:new]
    return x, y, labels, Held(lying.T @ lying / 200, rotation)


def maps_of(new: int, old: int, held: Held | None, lam: float = LOOSE) -> Any:
    x, y, labels, _ = case(new, old)
    sums = GroupSums(new, old)
    sums.update(labels, x, y)
    return class_joint_maps(Moments.of(x, y).second(), sums, lam, held=held)


def test_the_gradient_is_that_of_the_loss() -> None:
    *_, held = case(4, 6)
    shape = held.rotation.shape
    flat = np.random.default_rng(1).standard_normal(shape).ravel()
    apart = check_grad(
        lambda w: held.loss(w.reshape(shape))[0],
        lambda w: held.loss(w.reshape(shape))[1].ravel(),
        flat,
    )
    assert apart < 1e-5


@pytest.mark.parametrize(("new", "old"), SHAPES)
def test_a_stronger_hold_moves_the_map_to_the_rotation_where_it_holds(new: int, old: int) -> None:
    *_, held = case(new, old)
    losses = []
    for strength in (0.0, 0.3, 3.0, 300.0):
        own = replace(held, second=strength * held.second)
        w = np.asarray(maps_of(new, old, own).backward.matrix)
        losses.append(held.loss(w)[0])
    assert losses[0] > 0.05 and losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-2 * losses[0]
    # elsewhere it is as free as λ leaves it
    assert np.linalg.norm((w - held.rotation)[2:]) > 0.1


@pytest.mark.parametrize(("new", "old"), SHAPES)
def test_the_closed_form_is_the_best_of_its_objective(new: int, old: int) -> None:
    """By its objective: what the free map gains elsewhere, it pays more for in the held term."""
    *_, held = case(new, old)
    free = np.asarray(maps_of(new, old, None).backward.matrix)
    ours = np.asarray(maps_of(new, old, held).backward.matrix)
    zero = replace(held, second=0 * held.second)
    assert np.allclose(np.asarray(maps_of(new, old, zero).backward.matrix), free, atol=2e-3)
    steps = np.linspace(0, 1, 5)
    total = [held.loss(ours + s * (free - ours))[0] for s in steps]
    assert total == sorted(total)


@pytest.mark.parametrize(("new", "old"), SHAPES)
def test_the_refinement_is_held_too(new: int, old: int) -> None:
    x, y, labels, held = case(new, old)
    sums = GroupSums(new, old)
    sums.update(labels, x, y)
    moments, rows = Moments.of(x, y).second(), LabelledPairs(x, y, labels)
    terms = RefinementTerms(iterations=40)
    start = class_joint_maps(moments, sums, LOOSE)
    strong = replace(held, second=1000 * held.second)
    free, kept = (
        refine_maps(start, moments, sums, rows, terms=terms, held=one) for one in (None, strong)
    )
    losses = [held.loss(np.asarray(m.backward.matrix))[0] for m in (free, kept)]
    assert losses[1] < 0.05 * losses[0]
