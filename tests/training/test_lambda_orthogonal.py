"""λ-orthogonal training: the penalty holds the map, every term pulls, classes or items."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError
from isthmus.training import LambdaTerms, Schedule, train_lambda_orthogonal
from isthmus.training.losses import lambda_penalty

torch = pytest.importorskip("torch")


def departure(w: np.ndarray) -> float:
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    return float(np.linalg.norm(gram - np.eye(len(gram))))


def train(task: Any, lam: float, epochs: int = 10, rate: float = 0.02, **terms: Any) -> Any:
    examples, matrix, offset = task
    return train_lambda_orthogonal(
        matrix, offset, lam, examples, Schedule(epochs, patience=epochs), LambdaTerms(**terms),
        rate=rate,
    )  # fmt: skip


@pytest.mark.parametrize(("dx", "dy"), [(4, 4), (3, 5), (5, 3)])
def test_the_penalty_is_that_of_the_paper(dx: int, dy: int, rng: np.random.Generator) -> None:
    w = rng.standard_normal((dx, dy))
    apart = departure(w)
    for lam in (0.5 * apart, apart, 2 * apart):
        expected = apart / (1 + np.exp(-3.0 * (apart - lam)))
        found = lambda_penalty(torch.asarray(w), lam, 3.0)
        assert float(found) == pytest.approx(expected, rel=1e-6)


def test_a_rotation_has_a_finite_gradient() -> None:
    w = torch.eye(4, requires_grad=True)
    lambda_penalty(w, 0.0, 10.0).backward()
    assert torch.isfinite(w.grad).all()


def test_held_out_targets_are_told_apart_better_and_lambda_holds(task: Any) -> None:
    examples, matrix, offset = task
    free, held = train(task, 50.0), train(task, 0.3)
    assert free is not None
    assert held is not None
    assert departure(held[0]) < 0.5 < departure(free[0])
    rows = np.flatnonzero(examples.held_out)

    def rank(matrix: np.ndarray, offset: np.ndarray) -> float:
        scores = (examples.x[rows] @ matrix + offset) @ examples.y.T
        own = scores[np.arange(len(rows)), rows]
        return float((scores >= own[:, None]).sum(1).mean())

    assert rank(*free) < rank(matrix, offset)


def test_without_weights_and_penalty_nothing_moves(task: Any) -> None:
    assert train(task, 50.0, forward=0, backward=0, contrastive=0) is None


def test_each_term_alone_changes_the_map(task: Any) -> None:
    nothing = {"forward": 0.0, "backward": 0.0, "contrastive": 0.0}
    found = [train(task, 50.0, 4, **{**nothing, name: 1.0}) for name in nothing]
    moved = [f[0] for f in found if f is not None]
    # the forward term alone may shrink both maps together: it need not help
    assert len(moved) >= 2
    assert not np.allclose(moved[0], moved[1])


def test_labels_change_what_is_contrasted(task: Any) -> None:
    by_item, by_label = train(task, 50.0, 3), train(task, 50.0, 3, by_label=True)
    assert by_item is not None
    assert by_label is None or not np.allclose(by_item[0], by_label[0])


def test_labels_that_cannot_be_contrasted(task: Any) -> None:
    examples, matrix, offset = task
    for labels, says in ((None, "no labels"), (np.zeros(600, np.int64), "all labels are equal")):
        without = (replace(examples, labels=labels), matrix, offset)
        with pytest.raises(InputError, match=says):
            train(without, 1.0, by_label=True)


@pytest.mark.parametrize(
    "wrong", [{"forward": -1}, {"contrastive": np.nan}, {"temperature": 0.0}, {"sharpness": -1}]
)
def test_weights_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="weights are 0 or more"):
        LambdaTerms(**wrong)


def test_lambda_and_rate_out_of_range(task: Any) -> None:
    for lam, rate, says in ((-1.0, 0.1, "0 or more"), (np.nan, 0.1, "λ is"), (1.0, 0.0, "rate")):
        with pytest.raises(InputError, match=says):
            train(task, lam, rate=rate)
    with pytest.raises(InputError, match="not finite.*Lower the rate"):
        train(task, 1.0, rate=1e29)


def test_equal_seeds_give_equal_bytes(task: Any) -> None:
    first, again = train(task, 2.0, 2), train(task, 2.0, 2)
    assert first[0].tobytes() == again[0].tobytes()
    assert first[1].tobytes() == again[1].tobytes()
