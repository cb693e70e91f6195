"""The losses of partners by name, against the functions that they name."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from isthmus.training.losses import MAP_LOSSES, info_nce, siglip  # noqa: E402
from isthmus.training.losses.pairs import PAIR_LOSSES  # noqa: E402
from isthmus.training.losses.pointwise import ROW_LOSSES  # noqa: E402


def test_each_name_is_its_function() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(6, 4, generator=generator) for _ in range(2))
    items = torch.tensor([0, 0, 1, 2, 3, 4])
    expected = {
        "mse": (a - b).square().sum(1).mean(),
        "cosine": 1 - torch.nn.functional.cosine_similarity(a, b).mean(),
        "info_nce": info_nce(a, b, temperature=0.3, items=items),
        "siglip": siglip(a, b, items=items),
    }
    assert set(expected) == set(PAIR_LOSSES)
    for name, value in expected.items():
        torch.testing.assert_close(PAIR_LOSSES[name](a, b, items, 0.3), value)


def test_recipes_name_every_loss_of_rows_without_pytorch() -> None:
    assert set(MAP_LOSSES) == {*ROW_LOSSES, "contrastive"}
