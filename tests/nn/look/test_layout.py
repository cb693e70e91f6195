"""The layout of an activation is told by evidence, whatever widths happen to be equal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn import Taps
from isthmus.nn.stitching.cut import Front


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


class ConvEmbed(nn.Module):
    """Called after a convolution, and returns tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Conv2d(3, 9, 2, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x).flatten(2).transpose(1, 2)


class LayerNorm2d(nn.LayerNorm):
    """A layer norm over the second axis, as torchvision and timm have it."""

    def forward(self, input: Tensor) -> Tensor:
        last = input.permute(0, 2, 3, 1)
        shape = self.normalized_shape
        return nn.functional.layer_norm(last, shape, self.weight, self.bias).permute(0, 3, 1, 2)


class Gated(nn.Module):
    """An image block that ends in linear layers as wide as the image."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate = nn.Conv2d(3, 6, 1), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        made = self.body(x)
        return made * self.gate(made.mean((2, 3)))[:, :, None, None]


CASES: dict[str, tuple[nn.Module, tuple[int, ...], Callable[[Tensor], Tensor]]] = {
    **{
        f"branches {size}": (Branches(), (4, 3, size, size), lambda y: y.mean((2, 3)))
        for size in (7, 8, 16, 24)
    },
    "block of its own size": (LastBlock(8), (2, 8, 8, 8), lambda y: y.mean((2, 3))),
    "patches as wide as they are many": (Patches(True), (2, 3, 4, 4), lambda y: y.mean(1)),
    "an image with features last": (Patches(False), (2, 3, 8, 8), lambda y: y.mean((1, 2))),
    "features last without a width": (NoWidth(6), (2, 6, 5, 6), lambda y: y.mean((1, 2))),
    "tokens of a class called Conv": (ConvEmbed(), (4, 3, 6, 6), lambda y: y.mean(1)),
    "a norm of the second axis": (LayerNorm2d(8), (4, 8, 8, 8), lambda y: y.mean((2, 3))),
    "a gate of linear layers": (Gated(), (4, 3, 6, 6), lambda y: y.mean((2, 3))),
    "an activation of images with features last": (
        nn.Sequential(nn.Linear(3, 8), nn.GELU(), nn.Dropout(0.1)),
        (4, 8, 8, 3),
        lambda y: y.mean((1, 2)),
    ),
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


class FixedTokens(nn.Module):
    """A network of one size of images, with as many tokens as features."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 16, 2, stride=2)
        self.places = nn.Parameter(torch.randn(1, 16, 16))
        self.drop, self.act, self.same = nn.Dropout(0.1), nn.GELU(), nn.Identity()
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.drop(self.patch(x).flatten(2).transpose(1, 2) + self.places)
        return self.head(self.same(self.act(self.block(tokens)))).mean(1)


class FixedPatches(nn.Module):
    """Patches of an image of one size, whose last part states nothing."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project, self.norm = nn.Conv2d(3, width, 2, stride=2), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (8, 8)
        return self.norm(self.project(x).flatten(2).transpose(1, 2))


class FixedHeads(nn.Module):
    """Attention that normalises its heads, behind patches of one size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.qkv = FixedPatches(width), nn.Linear(width, 3 * width)
        self.normed, self.last = nn.Identity(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        held = self.qkv(self.embed(x)).unflatten(2, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        query, key, value = held.unbind(0)
        made = (self.normed(query) @ key.transpose(-2, -1)).softmax(-1) @ value
        return self.last(made.transpose(1, 2).flatten(2))


@pytest.mark.parametrize("width", [16, 12])
@pytest.mark.parametrize("name", ["embed", "embed.norm"])
def test_patches_of_one_size_are_views_of_what_a_convolution_made(width: int, name: str) -> None:
    net, x = FixedHeads(width), torch.randn(3, 3, 8, 8)
    with Taps(net, [name]) as taps:
        torch.testing.assert_close(taps(x)[name], returned(net, name, x).mean(1))


def test_heads_are_told_where_a_network_takes_one_size() -> None:
    net, x = FixedHeads(16), torch.randn(3, 3, 8, 8)
    with Taps(net, ["normed"]) as taps, pytest.raises(InputError, match="on several axes, such as"):
        taps(x)
    with Taps(net, ["last"]) as taps:
        torch.testing.assert_close(taps(x)["last"], returned(net, "last", x).mean(1))


class Partition(nn.Module):
    """An image of one size as tokens of a grid, behind each other on two axes, as MaxViT does."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-2:] == (8, 8)
        parts = x.unflatten(2, (4, 2)).unflatten(4, (4, 2))
        return parts.permute(0, 2, 4, 3, 5, 1).reshape(len(x), 16, 4, -1)


class Swap(nn.Module):
    """Two axes in the place of each other."""

    def forward(self, x: Tensor) -> Tensor:
        return x.swapaxes(1, 2)


class GridAttention(nn.Module):
    """Works on every fourth token of an image, with its features last inside."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.part = nn.Conv2d(3, 16, 1), Partition()
        self.swap, self.back = Swap(), Swap()
        self.block = nn.Sequential(nn.LayerNorm(16), nn.Linear(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.swap(self.part(self.before(x)))
        return self.back(tokens + self.block(tokens))


@pytest.mark.parametrize("name", ["part", "swap", "back"])
def test_what_is_behind_or_before_a_view_tells_its_features(name: str) -> None:
    net, x = GridAttention(), torch.randn(3, 3, 8, 8)
    with Taps(net, [name]) as taps:
        torch.testing.assert_close(taps(x)[name], returned(net, name, x).mean((1, 2)))


class Subsampled(nn.Module):
    """Every second step of tokens on a square, as LeViT takes them: nothing in it is learned."""

    def forward(self, x: Tensor) -> Tensor:
        return x.view(len(x), 4, 4, -1)[:, ::2, ::2].reshape(len(x), 4, -1)


def test_a_layer_without_weights_does_not_tell_features_by_itself() -> None:
    net, x = nn.Sequential(FixedHeads(16), Subsampled()), torch.randn(3, 3, 8, 8)
    with Taps(net, ["1"]) as taps:
        torch.testing.assert_close(taps(x)["1"], returned(net, "1", x).mean(1))


class NotesSizes(nn.Module):
    """Windows that are as large as the smallest image that was seen, as transformers' Swin has."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.window, self.seen = nn.Conv2d(3, 6, 1), 8, [8]
        self.register_buffer("mask", torch.ones(8), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] < self.window:
            self.window, self.mask = x.shape[-1], torch.ones(x.shape[-1])
            self.seen.append(self.window)
            self.note = self.window
        return self.body(x) / self.window


def test_what_a_network_notes_of_sizes_is_put_back() -> None:
    net, x = NotesSizes(), torch.randn(3, 3, 8, 8)
    before = net(x)
    with Taps(net, ["body"]) as taps:
        taps(x)
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    assert (net.window, net.seen, len(net.mask), hasattr(net, "note")) == (8, [8], 8, False)
    lazy = nn.Sequential(nn.LazyConv2d(5, 1), nn.ReLU())
    with Taps(lazy, ["1"]) as taps:
        assert taps(x)["1"].shape == (3, 5)


class StepsFirst(nn.Module):
    """Attention over steps that come first, inside and, if it is told so, outside."""

    def __init__(self, outside: bool) -> None:
        super().__init__()
        self.outside = outside
        self.into = nn.Linear(5, 8)
        self.block, self.attention = (
            nn.TransformerEncoderLayer(8, 2, 16),
            nn.MultiheadAttention(8, 2),
        )
        self.norm, self.drop = nn.LayerNorm(8), nn.Dropout(0.1)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.block(self.into(x if self.outside else x.transpose(0, 1)))
        return self.drop(self.norm(self.attention(steps, steps, steps)[0])).mean(0)


def returned(net: nn.Module, name: str, x: Tensor) -> Tensor:
    """What a layer returned."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: tuple[Tensor, ...] | Tensor) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)

    handle = net.eval().get_submodule(name).register_forward_hook(keep)
    with torch.no_grad():
        net(x)
    handle.remove()
    return found[0]


@pytest.mark.parametrize("name", ["drop", "block", "act", "same"])
def test_tokens_of_a_network_of_one_size_may_be_as_many_as_features(name: str) -> None:
    net, x = FixedTokens(), torch.randn(3, 3, 8, 8)
    with Taps(net, name) as taps:
        torch.testing.assert_close(taps(x)[name], returned(net, name, x).mean(1))


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("shape", [(4, 7), (7, 4), (8, 8), (1, 7), (4, 4)])
def test_items_are_found_where_steps_come_first(outside: bool, shape: tuple[int, int]) -> None:
    net = StepsFirst(outside)
    x = torch.randn(*(reversed(shape) if outside else shape), 5)
    names = ["block", "attention", "norm", "drop"]
    with Taps(net, names) as taps:
        rows = taps(x)
    for name in names:
        torch.testing.assert_close(rows[name], returned(net, name, x).mean(0))


def test_a_cache_that_a_network_fills_is_not_disturbed() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_layer=2, n_head=2, n_embd=8, vocab_size=50, n_positions=8,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    net, ids = transformers.GPT2Model(config), torch.arange(8)[None]
    kept: list[int] = []
    net.register_forward_hook(lambda _, __, out: kept.append(out.past_key_values.get_seq_length()))
    with Taps(net, "h.*") as taps:
        rows = taps({"input_ids": ids})
        wanted = net(input_ids=ids, output_hidden_states=True).hidden_states[1]
        taps.take()
    torch.testing.assert_close(rows["h.0"], wanted.mean(1))
    assert kept == [8, 8]


def test_a_buffer_that_a_network_writes_is_put_back() -> None:
    class Counts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(()))
            self.layer = nn.Conv1d(3, 4, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.seen += len(x)
            return self.layer(x)

    net = Counts()
    with Taps(net, "layer") as taps:
        taps(torch.zeros(5, 3, 6))
    assert int(net.seen) == 5


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


class Windows(nn.Module):
    """Attention within windows that are folded into the axis of items, as in Swin."""

    def __init__(self, width, side, *, items_apart=False):
        super().__init__()
        self.patch = nn.Conv2d(3, width, 2, 2)
        self.inside = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.side, self.items_apart = side, items_apart

    def forward(self, x):
        x = self.norm(self.patch(x).permute(0, 2, 3, 1))
        n, h, w, d = x.shape
        s = self.side
        x = x.view(n, h // s, s, w // s, s, d).permute(0, 1, 3, 2, 4, 5).reshape(n, -1, s * s, d)
        if self.items_apart:
            x = x.transpose(0, 1)
        return self.inside(x.reshape(-1, s * s, d)).sum((1, 2)).reshape(-1, n)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("width", [8, 16, 24])
def test_windows_that_are_folded_into_the_items_are_positions(width, size):
    net = Windows(width, 4).eval()
    with Taps(net, ["inside", "norm"]) as taps:
        for n, side in ((5, size), (3, 2 * size)):
            x = torch.randn(n, 3, side, side)
            rows = taps(x)
            # the layer is linear: the mean of all windows is that of all places
            want = net.inside(net.norm(net.patch(x).permute(0, 2, 3, 1))).mean((1, 2))
            torch.testing.assert_close(rows["inside"], want, rtol=1e-4, atol=1e-5)
            assert rows["norm"].shape == (n, width)


def test_windows_of_other_items_in_between_are_refused():
    net = Windows(8, 4, items_apart=True)
    with Taps(net, ["inside"]) as taps, pytest.raises(InputError, match="the block around it"):
        taps(torch.randn(4, 3, 16, 16))


def test_no_network_is_cut_inside_a_window():
    net = Windows(8, 4)
    with pytest.raises(InputError, match="sees each item as 4 rows.*the block around it"):
        Front(net, "inside").of(torch.randn(4, 3, 16, 16))


def test_blocks_with_channels_last_as_wide_as_the_image_is_high():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch = nn.Conv2d(3, 8, 1)
            self.block = nn.Sequential(nn.LayerNorm(8), nn.Linear(8, 8), nn.GELU())

        def forward(self, x):
            return self.block(self.patch(x).permute(0, 2, 3, 1)).mean((1, 2))

    net, x = Last().eval(), torch.randn(4, 3, 8, 8)
    with Taps(net, ["block"]) as taps:
        torch.testing.assert_close(taps(x)["block"], net(x), rtol=1e-4, atol=1e-5)
