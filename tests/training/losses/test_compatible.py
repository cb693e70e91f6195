"""Losses against an old model: their definitions in numpy, and gradients where a norm has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_rows import LABELS, N, contrast, rows, tensor, unit
from scipy.special import expit, log_softmax

from isthmus.errors import InputError
from isthmus.training import LambdaTerms
from isthmus.training.losses import (
    alignment_error,
    backward_influence,
    lambda_orthogonal_terms,
    lambda_penalty,
    uncertain,
)


def test_influence_is_cross_entropy_under_the_old_classifier_of_the_first_dimensions() -> None:
    features, old, bias = rows(6), rows(7, 4, 3), rows(8, 1, 4)[0]
    logits = features[:, :3] @ old.T + bias
    expected = -log_softmax(logits, axis=1)[np.arange(N), LABELS].mean()
    weight = tensor(old, grad=True)
    features_ = tensor(features, grad=True)
    found = backward_influence(features_, torch.tensor(LABELS), weight, tensor(bias))
    assert float(found.detach()) == pytest.approx(expected, rel=1e-9)
    found.backward()
    assert weight.grad is None
    assert features_.grad is not None
    assert (features_.grad[:, 3:] == 0).all()


def test_uncertainty_is_least_where_it_says_the_error() -> None:
    errors = tensor(np.array([0.1, 1.0, 10.0]))
    s = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    assert float(uncertain(errors, s).detach()) == pytest.approx(0.5 * errors.mean())
    optimiser = torch.optim.LBFGS([s], max_iter=100)

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = uncertain(errors, s[:, None])
        loss.backward()
        return loss

    optimiser.step(closure)
    np.testing.assert_allclose(s.detach().numpy(), np.log(errors.numpy()), atol=1e-4)


def test_alignment_error_is_the_squared_distance_of_each_row() -> None:
    a, b = rows(0), rows(1)
    np.testing.assert_allclose(
        alignment_error(tensor(a), tensor(b)), np.linalg.norm(a - b, axis=1) ** 2
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3)])
def test_the_penalty_is_equation_six(shape: tuple[int, int]) -> None:
    w = rows(9, *shape)
    s = np.linalg.svd(w, compute_uv=False)
    apart = float(np.linalg.norm(s**2 - 1))
    for lam in (0.5 * apart, 2 * apart):
        found = float(lambda_penalty(tensor(w), lam, 3.0))
        assert found == pytest.approx(apart * expit(3 * (apart - lam)), rel=1e-6)


def test_the_penalty_has_a_finite_gradient_at_a_rotation() -> None:
    q, _ = np.linalg.qr(rows(0, 5, 5))
    w = tensor(q, grad=True)
    lambda_penalty(w, 0.0).backward()
    assert w.grad is not None
    assert torch.isfinite(w.grad).all()


@pytest.mark.parametrize("labels", [None, LABELS])
def test_lambda_terms_are_the_papers(labels: np.ndarray | None) -> None:
    f, b, old = rows(1), rows(2), rows(3, N, 3)
    terms = LambdaTerms(forward=2.0, backward=0.5, contrastive=0.7, temperature=0.3)
    given = None if labels is None else torch.tensor(labels)
    found = lambda_orthogonal_terms(tensor(f), tensor(b), tensor(old), given, terms=terms)
    own = np.arange(N) if labels is None else labels
    same = own[:, None] == own[None, :]
    l_c = sum(
        contrast(unit(u) @ unit(v).T / 0.3, same, np.ones_like(same))
        for u, v in ((f, b), (f[:, :3], old))
    )
    assert float(found["forward"]) == pytest.approx(2 * ((f - b) ** 2).sum(1).mean())
    assert float(found["backward"]) == pytest.approx(0.5 * ((b[:, :3] - old) ** 2).sum(1).mean())
    assert float(found["contrastive"]) == pytest.approx(0.7 * l_c)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: backward_influence(torch.ones(2, 2), torch.arange(2), torch.ones(2, 3)),
            "2 dimensions and the old classifier takes 3",
        ),
        (
            lambda: backward_influence(torch.ones(2, 3), torch.arange(2), torch.ones(1, 3)),
            "row 1: the label is 1, and there are 1 classes",
        ),
        (lambda: lambda_penalty(torch.ones(2, 2), -1.0), "λ of -1"),
        (lambda: lambda_penalty(torch.ones(2), 1.0), "shape \\(2,\\)"),
        (
            lambda: lambda_orthogonal_terms(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 3)),
            "3 dimensions do not fit",
        ),
        (lambda: uncertain(torch.ones(3), torch.ones(2, 1)), "3 errors and 2"),
    ],
)
def test_bad_input_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]
