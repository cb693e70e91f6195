"""The fixed classifier against geometry, its distillation against its definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_rows import LABELS, N, rows, tensor, unit
from scipy.special import logsumexp

from isthmus.errors import InputError
from isthmus.training.losses import SimplexHead, higher_order_contrast, simplex_prototypes


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
        (lambda: simplex_prototypes(1, 4), "span no simplex"),
        (lambda: SimplexHead(3, 5), "needs 4 dimensions, and the features have 3"),
    ],
)
def test_bad_input_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_half_precision_gives_a_finite_loss() -> None:
    a, b = (tensor(rows(i)).bfloat16() for i in (0, 1))
    assert torch.isfinite(higher_order_contrast(a, b, torch.tensor(LABELS)))
