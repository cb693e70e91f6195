import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn.utils import parametrizations  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.shaping import (  # noqa: E402
    Shaped,
    ShapedConv2d,
    ShapedLinear,
    correction_energy,
    fold,
    structure,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

KINDS = ("none", "diagonal", "low_rank", "elementwise")


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.ModuleList(
            nn.Conv2d(8, 8, 3, padding=d, dilation=d, groups=d) for d in (1, 2)
        )
        self.head = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(x.mean((2, 3)))


def network():
    with seeded(0):
        return Network().eval()


def images(n=32):
    return torch.randn(n, 1, 8, 8, generator=torch.Generator().manual_seed(0))


def labels(n=32):
    return torch.arange(n) % 4


def stirred(model, scale=0.2):
    with seeded(5), torch.no_grad():
        for module in model.modules():
            if isinstance(module, Shaped):
                for name, parameter in module.named_parameters():
                    if name not in ("weight", "bias"):
                        parameter += scale * torch.randn_like(parameter)
    return model


def cross_entropy(module, batch):
    return nn.functional.cross_entropy(module(batch[0]), batch[1])


@pytest.mark.parametrize("shaping", KINDS)
def test_structuring_changes_no_output_and_reports_what_it_added(shaping):
    model, x = network(), images()
    before = model(x)
    count = sum(p.numel() for p in model.parameters())
    done = structure(model, shaping=shaping, rank=2, correction=3)
    assert torch.equal(model(x), before)
    assert list(done.layers) == ["stem", "blocks.0", "blocks.1", "head"]
    assert done.before == count
    assert done.added == sum(p.numel() for p in model.parameters()) - count
    assert f"4 layers shaped: {done.added:,} parameters added to {count:,}" in str(done)


def test_only_the_layers_that_are_named_are_shaped():
    model = network()
    done = structure(model, "blocks.*")
    assert list(done.layers) == ["blocks.0", "blocks.1"]
    assert isinstance(model.blocks[1], ShapedConv2d) and type(model.stem) is nn.Conv2d
    assert list(structure(model, ["head", "stem"]).layers) == ["stem", "head"]
    assert isinstance(model.head, ShapedLinear)


def test_the_parameters_stay_the_same_objects_frozen_where_they_were():
    model = network()
    model.stem.requires_grad_(False)
    weights = [model.stem.weight, model.head.weight]
    structure(model)
    assert weights[0] is model.stem.weight and weights[1] is model.head.weight
    assert not model.stem.weight.requires_grad
    assert model.stem.correction.up.weight.requires_grad
    assert not model.stem.training


@pytest.mark.parametrize("shaping", KINDS)
def test_folding_the_shaping_is_exact(shaping):
    model, x = network(), images()
    structure(model, shaping=shaping, rank=2, correction=0)
    stirred(model)
    before = model(x)
    done = fold(model)
    assert len(done.plain) == 4 and not done.kept and not done.dropped
    assert torch.equal(model(x), before)
    assert type(model.stem) is nn.Conv2d and type(model.head) is nn.Linear
    assert model.state_dict().keys() == network().state_dict().keys()
    # what is plain loads into a plain network
    other = network()
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), before)


def test_folding_keeps_corrections_that_do_something_exactly():
    model, x = network(), images()
    structure(model, shaping="low_rank", rank=2)
    stirred(model)
    nn.init.zeros_(model.head.correction.up.weight)
    before = model(x)
    done = fold(model)
    assert done.plain == ("head",) and done.kept == ("stem", "blocks.0", "blocks.1")
    assert torch.equal(model(x), before)
    assert model.stem.shaping is None
    assert "1 layers are plain again, 3 keep" in str(done)
    # the rest can be reloaded into a network structured without shaping
    other = network()
    structure(other, ["stem", "blocks.*"], shaping="none")
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), before)


def test_a_correction_of_little_energy_is_dropped_and_the_loss_is_reported():
    model, x, y = network(), images(), labels()
    structure(model, correction=4)
    stirred(model)
    with torch.no_grad():
        for layer in (model.stem, model.head):
            layer.correction.up.weight *= 0.05
    energies = correction_energy(model, [x])
    bound = 0.01
    small = [name for name, energy in energies.items() if energy.rho < bound]
    assert small == ["stem", "head"]
    before = model(x)
    loss_before = cross_entropy(model, (x, y)).item()
    batches = [(x[:16], y[:16]), (x[16:], y[16:])]
    done = fold(model, batches, drop_below=bound, loss=cross_entropy)
    after = model(x)
    assert list(done.dropped) == small and done.kept == ("blocks.0", "blocks.1")
    for name in small:
        assert done.dropped[name].rho == pytest.approx(energies[name].rho, rel=1e-5)
    change = (after - before).double().square().sum() / before.double().square().sum()
    assert 0 < done.output_change == pytest.approx(change.item(), rel=1e-4)
    assert done.loss_before == pytest.approx(loss_before, rel=1e-5)
    assert done.loss_after == pytest.approx(cross_entropy(model, (x, y)).item(), rel=1e-5)
    assert done.loss_after != done.loss_before
    assert "2 dropped (energy at most" in str(done) and "loss" in str(done)


def test_a_module_that_stands_in_two_places_stays_one():
    with seeded(0):
        shared = nn.Linear(4, 4)
        model = nn.ModuleDict({"a": nn.Sequential(shared, nn.ReLU(), shared), "b": shared})
    structure(model)
    assert model["a"][0] is model["a"][2] is model["b"] and isinstance(model["b"], ShapedLinear)
    stirred(model)
    nn.init.zeros_(model["b"].correction.up.weight)
    fold(model)
    assert model["a"][0] is model["a"][2] is model["b"] and type(model["b"]) is nn.Linear


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = nn.Embedding(7, 4)
            self.head = nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, x):
            return self.head(self.embed(x))

    model, x = Tied(), torch.arange(7)
    before = model(x)
    done = structure(model)
    assert model.head.weight is model.embed.weight and torch.equal(model(x), before)
    assert done.before == 28
    stirred(model)
    nn.init.zeros_(model.head.correction.up.weight)
    shaped = model(x)
    fold(model)
    assert torch.equal(model(x), shaped)


def test_the_fused_evaluation_of_transformer_layers_does_not_pass_shaped_layers_by():
    with seeded(0):
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.TransformerEncoder(layer, 2).eval()
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(3, 5, dtype=torch.bool)
    mask[1, 3:] = True
    plain = model(x)
    done = structure(model, "**")
    assert list(done.layers) == [f"layers.{i}.linear{j}" for i in (0, 1) for j in (1, 2)]
    torch.testing.assert_close(model(x), plain)
    stirred(model)
    with torch.no_grad():
        evaluated = model(x, src_key_padding_mask=mask)
    traced = model(x, src_key_padding_mask=mask)
    assert traced.requires_grad and not torch.allclose(model(x), plain, atol=1e-2)
    torch.testing.assert_close(evaluated[~mask], traced[~mask])


def test_it_trains_in_the_loop_and_resumes_from_its_checkpoint(tmp_path):
    x, y = images(), labels()

    def fresh():
        model = network()
        structure(model, shaping="low_rank", rank=2, correction=2, cap=True)
        return model

    def go(model, epochs, path):
        return train(
            model, cross_entropy, Batches(x, y, size=8), Schedule(epochs, checkpoint=path, seed=3)
        )

    whole, parts = fresh(), fresh()
    go(whole, 4, tmp_path / "whole")
    go(parts, 2, tmp_path / "parts")
    resumed = fresh()
    done = go(resumed, 4, tmp_path / "parts")
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    a, b = whole.state_dict(), resumed.state_dict()
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_layers_that_are_not_there_or_cannot_be_shaped_are_refused():
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(InputError, match=r"no layer of Network is called 'block.1'.*'blocks.1'"):
        structure(model, "block.1")
    with pytest.raises(InputError, match="layer 'norm': a BatchNorm2d cannot be shaped"):
        structure(model, ["stem", "norm"])
    with pytest.raises(InputError, match=r"none of the layers that match.*1 BatchNorm2d"):
        structure(model, "nor*")
    with pytest.raises(InputError, match="layer 'stem': the budget"):
        structure(model, budget=0)
    with pytest.raises(InputError, match=r"layer 'head'.*rank 6 cannot act on 4 outputs"):
        structure(model, shaping="low_rank", rank=6, layers=["stem", "head"])
    with torch.no_grad():
        model.head.bias[1] = float("nan")
    with pytest.raises(InputError, match="layer 'head': the bias of the layer is not finite"):
        structure(model)
    # nothing was changed on the way
    assert model.state_dict().keys() == before.keys()


def test_what_only_looks_like_a_layer_is_refused():
    attention = nn.ModuleDict({"mix": nn.MultiheadAttention(4, 2), "out": nn.Linear(4, 4)})
    with pytest.raises(InputError, match=r"'mix.out_proj'.*not their subclasses"):
        structure(attention, "mix.out_proj")
    done = structure(attention)
    assert list(done.layers) == ["out"] and done.left == ("mix.out_proj",)
    assert str(done).endswith("; 1 of other kinds left")
    normed = nn.Sequential(nn.Linear(3, 3), parametrizations.weight_norm(nn.Linear(3, 3)))
    with pytest.raises(InputError, match=r"layer '1'.*parametrized"):
        structure(normed)
    hooked = nn.Sequential(nn.Linear(3, 3))
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(InputError, match=r"layer '0'.*hooks"):
        structure(hooked)


def test_shaping_twice_is_refused_and_corrections_are_not_shaped():
    model = network()
    structure(model, ["stem"])
    with pytest.raises(InputError, match="layer 'stem': a ShapedConv2d.*shaped already.*Fold"):
        structure(model, "stem")
    with pytest.raises(InputError, match="part of a shaped layer"):
        structure(model, "stem.correction.down")
    assert list(structure(model, "**").layers) == ["blocks.0", "blocks.1", "head"]
    with pytest.raises(InputError, match="none of the layers that match"):
        structure(model, "**")


def test_what_cannot_be_folded_is_refused():
    x = images()
    with pytest.raises(InputError, match="has no shaped layer"):
        fold(network())
    with pytest.raises(InputError, match="one shaped layer.*plain"):
        fold(ShapedLinear(nn.Linear(2, 2)))
    model = network()
    structure(model)
    for options in ({"drop_below": 0.1}, {"loss": cross_entropy}):
        with pytest.raises(InputError, match="measured on data"):
            fold(model, **options)
    for bound in (-1, float("nan")):
        with pytest.raises(InputError, match="the bound is 0 or more"):
            fold(model, [x], drop_below=bound)
    with pytest.raises(InputError, match="read only once"):
        fold(model, iter([x]), drop_below=0.1)
    stirred(model)
    with pytest.raises(InputError, match="there are no batches"):
        fold(model, [], drop_below=0.1)
    assert isinstance(model.stem, ShapedConv2d) and model.stem.shaping is not None
