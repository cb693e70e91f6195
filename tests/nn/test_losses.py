"""Losses: each against its definition in numpy, with finite gradients where a norm has none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, log_softmax, logsumexp

from isthmus.errors import InputError
from isthmus.nn.losses import (
    SigLip,
    SimplexHead,
    alignment_error,
    backward_influence,
    check_labels,
    higher_order_contrast,
    info_nce,
    lambda_orthogonal_terms,
    lambda_penalty,
    siglip,
    simplex_prototypes,
    supervised_contrastive,
    uncertain,
    vicreg,
)
from isthmus.training import LambdaTerms

N, D = 7, 5


def rows(seed: int, n: int = N, d: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, d))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def tensor(x: np.ndarray, grad: bool = False) -> torch.Tensor:
    return torch.tensor(x, requires_grad=grad)


LABELS = np.array([0, 1, 0, 2, 1, 0, 3])


def contrast(scores: np.ndarray, positive: np.ndarray, allowed: np.ndarray) -> float:
    """Mean over rows of the mean −log softmax of positives among the allowed candidates."""
    terms = []
    for s, p, a in zip(scores, positive, allowed, strict=True):
        if p.any():
            terms.append(-np.mean(s[p] - logsumexp(s[a])))
    return float(np.mean(terms))


def test_info_nce_is_the_mean_of_both_directions() -> None:
    a, b = rows(0), rows(1)
    s = unit(a) @ unit(b).T / 0.2
    both = [-np.diag(log_softmax(t, axis=1)).mean() for t in (s, s.T)]
    found = info_nce(tensor(a), tensor(b), temperature=0.2)
    assert float(found) == pytest.approx(np.mean(both), rel=1e-9)


def test_rows_of_one_item_are_partners() -> None:
    a, b = rows(0), rows(1)
    s = unit(a) @ unit(b).T / 0.2
    same = LABELS[:, None] == LABELS[None, :]
    everyone = np.ones_like(same)
    expected = np.mean([contrast(s, same, everyone), contrast(s.T, same, everyone)])
    found = info_nce(tensor(a), tensor(b), temperature=0.2, items=torch.tensor(LABELS))
    assert float(found) == pytest.approx(expected, rel=1e-9)


def test_a_perfect_and_distinct_match_costs_almost_nothing() -> None:
    a = torch.eye(6)
    assert float(info_nce(a, a)) < 1e-4
    assert float(info_nce(a, a.roll(1, 0))) > 5


def test_supervised_contrast_leaves_a_row_and_lonely_classes_out() -> None:
    a = rows(2)
    s = unit(a) @ unit(a).T / 0.1
    own = np.eye(N, dtype=bool)
    same = (LABELS[:, None] == LABELS[None, :]) & ~own
    found = supervised_contrastive(tensor(a), torch.tensor(LABELS))
    assert float(found) == pytest.approx(contrast(s, same, ~own), rel=1e-9)


def test_supervised_contrast_without_any_partner_is_zero_and_has_a_gradient() -> None:
    a = tensor(rows(2), grad=True)
    found = supervised_contrastive(a, torch.arange(N))
    found.backward()
    assert float(found.detach()) == 0.0
    assert a.grad is not None
    assert torch.isfinite(a.grad).all()


def test_siglip_is_the_papers_sum() -> None:
    a, b = rows(0), rows(1)
    logits = 3.0 * unit(a) @ unit(b).T - 2.0
    z = 2 * np.eye(N) - 1
    expected = -np.log(expit(z * logits)).sum() / N
    assert float(siglip(tensor(a), tensor(b), scale=3.0, bias=-2.0)) == pytest.approx(
        expected, rel=1e-9
    )


def test_the_learned_siglip_starts_at_the_papers_and_learns_both() -> None:
    loss, a, b = SigLip(), tensor(rows(0)).float(), tensor(rows(1)).float()
    found = loss(a, b)
    assert float(found.detach()) == pytest.approx(float(siglip(a, b)), rel=1e-5)
    found.backward()
    assert all(p.grad is not None and float(p.grad.abs()) > 0 for p in loss.parameters())


def test_vicreg_is_the_papers_three_terms() -> None:
    a, b = rows(3), 0.1 * rows(4)

    def side(z: np.ndarray) -> tuple[float, float]:
        cov = np.cov(z.T)
        hinge = np.maximum(0, 1 - np.sqrt(np.diag(cov) + 1e-4)).mean()
        return hinge, (cov**2).sum() - (np.diag(cov) ** 2).sum()

    (va, ca), (vb, cb) = side(a), side(b)
    expected = 25 * ((a - b) ** 2).mean() + 25 * (va + vb) / 2 + (ca + cb) / D
    assert float(vicreg(tensor(a), tensor(b))) == pytest.approx(expected, rel=1e-9)


def test_vicreg_notices_a_collapse_that_its_first_term_rewards() -> None:
    collapsed, spread = torch.zeros(50, 4), tensor(rows(5, 50, 4))
    assert float(vicreg(collapsed, collapsed)) > float(vicreg(spread, spread))


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
    apart = np.linalg.norm(s**2 - 1)
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


@given(classes=st.integers(2, 40), more=st.integers(0, 5))
@settings(max_examples=25, deadline=None)
def test_prototypes_form_a_regular_simplex(classes: int, more: int) -> None:
    p = simplex_prototypes(classes, classes - 1 + more).double().numpy()
    gram = p @ p.T
    expected = np.full((classes, classes), -1 / (classes - 1))
    np.fill_diagonal(expected, 1.0)
    np.testing.assert_allclose(gram, expected, atol=1e-6)
    np.testing.assert_allclose(p.sum(0), 0, atol=1e-5)


def test_the_simplex_head_is_fixed_and_the_same_everywhere() -> None:
    head, other = SimplexHead(6, 5), SimplexHead(6, 5)
    assert not list(head.parameters())
    assert torch.equal(head.weight, other.weight)
    features = tensor(rows(0, N, 6)).float()
    expected = 8 * unit(features.numpy()) @ head.weight.numpy().T
    np.testing.assert_allclose(head(features), expected, rtol=1e-5)
    assert torch.allclose(head(features), head(3 * features))


def test_higher_order_contrast_keeps_its_own_class_out_of_the_negatives() -> None:
    new, old = rows(4), rows(5)
    s = 10 * unit(old) @ unit(new).T
    terms = []
    for i in range(N):
        others = s[i][LABELS[i] != LABELS]
        terms.append(-s[i, i] + logsumexp(np.append(others, s[i, i])))
    old_ = tensor(old, grad=True)
    found = higher_order_contrast(tensor(new, grad=True), old_, torch.tensor(LABELS))
    assert float(found.detach()) == pytest.approx(np.mean(terms), rel=1e-9)
    found.backward()
    assert old_.grad is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(torch.ones(3, 2), torch.ones(4, 2)), "do not pair"),
        (lambda: info_nce(torch.ones(3, 2), torch.ones(3, 2), temperature=0), "temperature"),
        (lambda: info_nce(torch.ones(3), torch.ones(3)), "rows \\(n, d\\)"),
        (lambda: siglip(torch.ones(3, 2), torch.ones(3, 2), items=torch.ones(2)), "2 items"),
        (lambda: vicreg(torch.ones(1, 2), torch.ones(1, 2)), "no variance"),
        (lambda: supervised_contrastive(torch.ones(3, 2), torch.arange(2)), "2 and 2 labels"),
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
        (lambda: simplex_prototypes(1, 4), "span no simplex"),
        (lambda: SimplexHead(3, 5), "needs 4 dimensions, and the features have 3"),
        (lambda: uncertain(torch.ones(3), torch.ones(2, 1)), "3 errors and 2"),
        (lambda: check_labels(torch.tensor([0, -1]), 3), "row 1: the label is -1"),
        (lambda: check_labels(torch.tensor([0.0]), 3), "one integer per row"),
    ],
)
def test_bad_input_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_half_precision_gives_finite_losses() -> None:
    a, b = (tensor(rows(i)).bfloat16() for i in (0, 1))
    labels = torch.tensor(LABELS)
    losses = [
        info_nce(a, b), siglip(a, b), vicreg(a, b), supervised_contrastive(a, labels),
        higher_order_contrast(a, b, labels),
    ]  # fmt: skip
    assert all(torch.isfinite(loss) for loss in losses)
