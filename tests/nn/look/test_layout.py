"""The layout of an activation is told by evidence, whatever widths happen to be equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from isthmus.nn import Taps


class Branches(nn.Module):
    """Two branches side by side, as in Inception, DenseNet, Fire and CSP."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 16, 1), nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.a(x), self.b(x)], 1)


class LastBlock(nn.Module):
    """Features last inside, second outside, as in ConvNeXt."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm, self.point = nn.LayerNorm(width), nn.Linear(width, width)
        self.drop = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.point(self.norm(self.depthwise(x).permute(0, 2, 3, 1)))
        return x + self.drop(inner).permute(0, 3, 1, 2)


class Patches(nn.Module):
    """An image as tokens, or with its features last."""

    def __init__(self, flat: bool) -> None:
        super().__init__()
        self.project, self.flat = nn.Conv2d(3, 4, 2, stride=2), flat

    def forward(self, x: Tensor) -> Tensor:
        made = self.project(x)
        return made.flatten(2).transpose(1, 2) if self.flat else made.permute(0, 2, 3, 1)


class NoWidth(nn.Module):
    """A learned scale over the last axis, without a layer that states a width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.linspace(1, 2, width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


CASES: dict[str, tuple[nn.Module, tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    **{
        f"branches {size}": (Branches(), (4, 3, size, size), lambda y: y.mean((2, 3)))
        for size in (7, 8, 16, 24)
    },
    "block of its own size": (LastBlock(8), (2, 8, 8, 8), lambda y: y.mean((2, 3))),
    "patches as wide as they are many": (Patches(True), (2, 3, 4, 4), lambda y: y.mean(1)),
    "an image with features last": (Patches(False), (2, 3, 8, 8), lambda y: y.mean((1, 2))),
    "features last without a width": (NoWidth(6), (2, 6, 5, 6), lambda y: y.mean((1, 2))),
    "series": (nn.Sequential(nn.Conv1d(5, 7, 1), nn.ReLU()), (2, 5, 7), lambda y: y.mean(2)),
}


@pytest.mark.parametrize("case", CASES)
def test_rows_are_means_over_positions(case: str) -> None:
    module, shape, pooled = CASES[case]
    net = nn.Sequential(module).train()
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    with Taps(net, ["0"]) as taps:
        rows = taps(x)["0"]
        torch.testing.assert_close(rows, pooled(net(x)))
        taps.take()
    assert module.training and all(inner.training for inner in module.modules())


def test_a_second_size_disturbs_nothing() -> None:
    net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), nn.BatchNorm2d(8), nn.Dropout(0.5)))
    calls: list[tuple[int, ...]] = []
    net[0].register_forward_hook(lambda _, __, y: calls.append(tuple(y.shape)))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    with Taps(net, ["0", "0.0"]) as taps:
        taps(torch.zeros(2, 3, 8, 8))
    assert calls == [(2, 8, 8, 8)]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert len(net[0]._forward_hooks) == 1 and not net[0][0]._forward_hooks
