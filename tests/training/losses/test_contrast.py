"""Losses over pairs and classes: each against its definition in numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_rows import LABELS, D, N, contrast, rows, tensor, unit
from scipy.special import expit, log_softmax

from isthmus.errors import InputError
from isthmus.training.losses import SigLip, info_nce, siglip, supervised_contrastive, vicreg


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


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: info_nce(torch.ones(3, 2), torch.ones(4, 2)), "do not pair"),
        (lambda: info_nce(torch.ones(3, 2), torch.ones(3, 2), temperature=0), "temperature"),
        (lambda: info_nce(torch.ones(3), torch.ones(3)), "rows \\(n, d\\)"),
        (lambda: siglip(torch.ones(3, 2), torch.ones(3, 2), items=torch.ones(2)), "2 items"),
        (lambda: vicreg(torch.ones(1, 2), torch.ones(1, 2)), "no variance"),
        (lambda: supervised_contrastive(torch.ones(3, 2), torch.arange(2)), "2 and 2 labels"),
    ],
)
def test_bad_input_says_what_does_not_fit(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_half_precision_gives_finite_losses() -> None:
    a, b = (tensor(rows(i)).bfloat16() for i in (0, 1))
    labels = torch.tensor(LABELS)
    losses = [info_nce(a, b), siglip(a, b), vicreg(a, b), supervised_contrastive(a, labels)]
    assert all(torch.isfinite(loss) for loss in losses)
