import numpy as np
import pytest
import scipy.linalg

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.shaping import (  # noqa: E402
    ShapedConv2d,
    ShapedLinear,
    SpectrumPenalty,
    singular_values,
    spectral_norm,
    structure,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def shaped_linear(seed=0):
    with seeded(seed):
        layer = ShapedLinear(nn.Linear(9, 6), shaping="low_rank", rank=2)
        nn.init.normal_(layer.shaping.u)
    return layer


def shaped_conv(groups=1, **options):
    with seeded(3):
        layer = ShapedConv2d(nn.Conv2d(4, 6, 3, groups=groups, **options), shaping="diagonal")
        nn.init.normal_(layer.shaping.output)
        nn.init.normal_(layer.shaping.input)
    return layer


def test_the_singular_values_are_those_of_scipy():
    layer = shaped_linear()
    u, v, w = (
        t.detach().double().numpy() for t in (layer.shaping.u[0], layer.shaping.v[0], layer.weight)
    )
    expected = scipy.linalg.svdvals((np.eye(6) + u @ v.T) @ w)
    np.testing.assert_allclose(singular_values(layer).detach().numpy(), expected, rtol=1e-5)
    plain = nn.Linear(5, 3)
    expected = scipy.linalg.svdvals(plain.weight.detach().numpy())
    np.testing.assert_allclose(singular_values(plain).detach().numpy(), expected, rtol=1e-5)


def test_those_of_a_grouped_convolution_are_those_of_its_blocks():
    layer = shaped_conv(groups=2)
    w = layer.shaped_weight().detach().numpy()
    whole = np.zeros((6, 4 * 9))
    whole[:3, :18], whole[3:, 18:] = w[:3].reshape(3, -1), w[3:].reshape(3, -1)
    expected = np.sort(scipy.linalg.svdvals(whole))
    np.testing.assert_allclose(np.sort(singular_values(layer).detach()), expected, rtol=1e-5)


@pytest.mark.parametrize("groups", [1, 2])
def test_on_a_grid_they_are_those_of_the_circular_convolution_itself(groups):
    layer = shaped_conv(groups, padding=1, padding_mode="circular", bias=False)
    grid = (5, 4)
    inputs = torch.eye(4 * 20).reshape(-1, 4, *grid)
    plain = layer.plain()
    with torch.no_grad():
        matrix = plain(inputs).flatten(1).double().numpy()
    expected = np.sort(scipy.linalg.svdvals(matrix))
    got = np.sort(singular_values(layer, grid=grid).detach().numpy())
    # the blocks of a frequency have 4 / groups values each, the matrix as many in all
    np.testing.assert_allclose(got, expected[-len(got) :], rtol=1e-4, atol=1e-5)
    assert len(got) == len(expected)


def test_the_exact_spectrum_of_a_grid_needs_a_plain_geometry():
    for options in ({"stride": 2}, {"dilation": 2}):
        with pytest.raises(InputError, match="stride 1 and dilation 1"):
            singular_values(nn.Conv2d(2, 2, 3, **options), grid=(8, 8))
    with pytest.raises(InputError, match="kernel is larger"):
        singular_values(nn.Conv2d(2, 2, 5), grid=(8, 4))
    with pytest.raises(InputError, match="only a convolution acts on a grid"):
        singular_values(nn.Linear(2, 2), grid=(8, 4))
    with pytest.raises(InputError, match="ReLU has no weight matrix"):
        singular_values(nn.ReLU())


def test_the_power_method_finds_the_largest_and_its_gradient():
    layer = shaped_linear()
    exact = np.linalg.norm(layer.shaped_weight().detach().double().numpy(), 2)
    got = spectral_norm(layer, iterations=200)
    assert got.item() == pytest.approx(exact, rel=1e-5)
    assert spectral_norm(layer, iterations=1).item() <= exact * (1 + 1e-6)
    (gradient,) = torch.autograd.grad(got, layer.weight)
    (expected,) = torch.autograd.grad(singular_values(layer).amax(), layer.weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=1e-4)
    grouped = shaped_conv(groups=2)
    expected = singular_values(grouped).max()
    torch.testing.assert_close(spectral_norm(grouped, iterations=300), expected)


def test_the_penalty_is_the_mean_squared_distance_from_the_band():
    model = nn.Sequential(shaped_linear(), nn.ReLU(), shaped_linear(1))
    values = [singular_values(model[i]).detach().double().numpy() for i in (0, 2)]
    low, high = 0.4, 1.1
    expected = np.mean(
        [np.mean(np.maximum(np.maximum(low - s, s - high), 0) ** 2) for s in values]
    )  # fmt: skip
    got = SpectrumPenalty(model, low=low, high=high)().item()
    assert got == pytest.approx(expected, rel=1e-5) and got > 0
    assert SpectrumPenalty(model, low=0, high=1e3)().item() == 0
    assert (
        SpectrumPenalty(model, "0", high=0.1)().item()
        != SpectrumPenalty(model, "2", high=0.1)().item()
    )


def test_a_relative_band_does_not_see_the_scale():
    model = nn.Sequential(nn.Linear(6, 6), nn.Conv2d(4, 8, 3, groups=2))
    for method, low in (("exact", 0.9), ("power", 0)):
        penalty = SpectrumPenalty(model, low=low, high=1.1, relative=True, method=method)
        before = penalty().item()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter *= 7
        assert before > 0 and penalty().item() == pytest.approx(before, rel=1e-3)


@pytest.mark.parametrize("method", ["exact", "power"])
def test_training_with_it_moves_the_spectrum_into_the_band(method):
    with seeded(0):
        model = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 4))
    structure(model, shaping="low_rank", rank=2, correction=0)
    penalty = SpectrumPenalty(model, high=0.7, method=method)
    assert max(singular_values(layer).max().item() for layer in (model[0], model[2])) > 0.9
    train(
        model,
        lambda m, b: penalty(),
        Batches(torch.zeros(10, 1), size=1),
        Schedule(20, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.01)),
    )
    assert max(singular_values(layer).max().item() for layer in (model[0], model[2])) < 0.72


def test_bands_and_layers_that_are_none_are_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    for band in ({}, {"low": 2, "high": 1}, {"low": -1, "high": 1}, {"high": float("nan")}):
        with pytest.raises(InputError, match="no band of singular values"):
            SpectrumPenalty(model, **band)
    with pytest.raises(InputError, match="knows only the largest"):
        SpectrumPenalty(model, low=0.1, method="power")
    with pytest.raises(InputError, match="no method 'svd'"):
        SpectrumPenalty(model, high=1, method="svd")
    with pytest.raises(InputError, match="at least one iteration"):
        SpectrumPenalty(model, high=1, iterations=0)
    with pytest.raises(InputError, match="a ReLU has no spectrum"):
        SpectrumPenalty(model, ["0", "1"], high=1)
    with pytest.raises(InputError, match="none of the layers is linear"):
        SpectrumPenalty(nn.Sequential(nn.ReLU()), high=1)
    with pytest.raises(InputError, match="'head'"):
        SpectrumPenalty(nn.ModuleDict({"head": nn.Linear(2, 2)}), "heads", high=1)


def test_the_parts_of_a_correction_are_not_held_to_the_band():
    model = nn.Sequential(nn.Linear(4, 4))
    structure(model)
    assert list(SpectrumPenalty(model, high=1).layers) == ["0"]
