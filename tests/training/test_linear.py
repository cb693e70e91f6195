"""A polished map tells held-out targets apart better than the one it started from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from isthmus.errors import DivergedError, InputError
from isthmus.spaces.sample import Batch
from isthmus.training.asked import asked_among
from isthmus.training.linear import Contrast, polish_map


def trained(task: Any, contrast: Contrast, scale: tuple[float, float] = (1, 1)) -> Any:
    examples, matrix, offset = task
    x, y = examples.x * np.float32(scale[0]), examples.y * np.float32(scale[1])
    rows = examples.train
    return polish_map(
        matrix * scale[1] / scale[0],
        offset * scale[1],
        x[rows],
        y[rows],
        np.arange(len(rows)),
        contrast,
    )


def top_1(examples: Any, matrix: np.ndarray, offset: np.ndarray) -> float:
    held = np.flatnonzero(examples.held_out)
    mapped = examples.x[held] @ matrix + offset
    return float(((mapped @ examples.y.T).argmax(1) == held).mean())


def test_more_held_out_targets_are_found(task: Any) -> None:
    examples, matrix, offset = task
    found = trained(task, Contrast(epochs=20, rate=0.03))
    assert found[0].dtype == np.float64
    assert top_1(examples, *found) > top_1(examples, matrix, offset) + 0.03


def test_equal_seeds_give_equal_bytes(task: Any) -> None:
    runs = [trained(task, Contrast(epochs=3, seed=s)) for s in (0, 0, 1)]
    for first, again, other in zip(*runs, strict=True):
        assert first.tobytes() == again.tobytes() != other.tobytes()


def test_the_scale_of_the_spaces_does_not_matter(task: Any) -> None:
    """A step is relative to the map, and the loss compares directions."""
    small, big = (trained(task, Contrast(epochs=3), scale) for scale in ((1, 1), (64, 1024)))
    np.testing.assert_allclose(big[0] / 16, small[0], atol=2e-3)


def test_the_gradient_is_that_of_pytorch(task: Any) -> None:
    """One step of one batch, against automatic differentiation and Adam of PyTorch."""
    torch = pytest.importorskip("torch")
    examples, matrix, offset = task
    rows = examples.train
    x, y = (torch.tensor(side[rows], dtype=torch.float64) for side in (examples.x, examples.y))
    centre = x.mean(0)
    weight = torch.tensor(matrix, requires_grad=True)
    image = torch.tensor(offset) + centre @ torch.tensor(matrix)
    mapped = torch.nn.functional.normalize((x - centre) @ weight + image)
    scores = mapped @ torch.nn.functional.normalize(y).T / 0.05
    torch.nn.functional.cross_entropy(scores, torch.arange(len(x))).backward()
    size = 0.01 * float(weight.detach().square().mean().sqrt())
    torch.optim.Adam([weight], lr=size, eps=0.0).step()
    ours, _ = trained(task, Contrast(epochs=1, rate=0.01, batch=len(rows)))
    theirs = weight.detach().numpy()
    # Adam's first step is the sign of the gradient: entries that rounding decides are few
    agree = np.abs(ours - theirs) < 0.1 * size
    assert agree.mean() > 0.98


def test_the_image_of_the_mean_stays(task: Any) -> None:
    examples, matrix, offset = task
    centre = examples.x[examples.train].mean(axis=0, dtype=np.float64)
    found = trained(task, Contrast(epochs=2))
    np.testing.assert_allclose(centre @ found[0] + found[1], centre @ matrix + offset, atol=1e-6)


def test_many_answers_are_drawn_anew_for_every_batch(task: Any) -> None:
    examples, matrix, offset = task
    few = trained(task, Contrast(epochs=20, rate=0.03, answers=64))
    assert top_1(examples, *few) > top_1(examples, matrix, offset) + 0.02


def test_what_cannot_be_trained(task: Any) -> None:
    for value in (0.0, -1.0, np.nan, np.inf, 2.0):
        with pytest.raises(InputError, match="rate of training lies between 0 and 1"):
            Contrast(rate=value)
        with pytest.raises(InputError, match="temperature of training lies between 0 and 1"):
            Contrast(temperature=value)
    with pytest.raises(InputError, match="1 epoch or more"):
        Contrast(epochs=0)
    examples, matrix, offset = task
    with pytest.raises(DivergedError, match="not finite any more in epoch 1"):
        trained((examples, matrix * np.nan, offset), Contrast())


class Rows(list[Batch]):
    """Items, and queries for them."""

    def __init__(self, items: Batch, queries: Batch) -> None:
        super().__init__([items, queries])
        self.items, self.asked = [items], [queries]


def test_queries_ask_for_their_items_and_items_for_themselves() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 6, 3)).astype(np.float32)
    y[5] = y[0]  # one document under two ids
    items = Batch(np.arange(6) * 10, x, y)
    queries = Batch(np.array([50, 30, 7]), x[:3] + 9, y[:3])
    found = asked_among(Rows(items, queries), 100)
    answer = found.answers[found.answer]
    assert len(found.answers) == 5
    np.testing.assert_array_equal(answer[2:], y)
    # the query that no item answers is left out; those that are come in a seeded order
    wanted = {(50): y[5], (30): y[3]}
    asked = {tuple(row): target for row, target in zip(found.asked[:2], answer[:2], strict=True)}
    for name, row in zip((50, 30), x[:2] + 9, strict=True):
        np.testing.assert_array_equal(asked[tuple(row)], wanted[name])
    np.testing.assert_allclose(
        found.asked[2:].mean(axis=0), found.asked[:2].mean(axis=0), atol=1e-5
    )
    alone = asked_among([items], 100)
    np.testing.assert_array_equal(alone.asked, x)
    np.testing.assert_array_equal(alone.answers[alone.answer], y)
