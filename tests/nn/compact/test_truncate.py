import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.compact.table import size_of  # noqa: E402
from isthmus.nn.compact.truncate import truncate  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def network():
    with seeded(0):
        return nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 12))


def inputs(n=800, seed=1):
    """Most of the variance in four directions, about a mean that is not zero."""
    with seeded(seed):
        spread = torch.cat([torch.full((4,), 3.0), torch.full((16,), 0.1)])
        return torch.randn(n, 20) * spread + 1.0


def error(a, b, x):
    with torch.no_grad():
        return float(((a(x) - b(x)) ** 2).mean())


def test_without_data_it_is_the_truncated_svd():
    net = network()
    found = truncate(net, "0", rank=5).module
    product = (found[0][1].weight @ found[0][0].weight).detach().numpy()
    u, s, vt = np.linalg.svd(net[0].weight.detach().numpy())
    np.testing.assert_allclose(product, u[:, :5] * s[:5] @ vt[:5], atol=1e-5)
    torch.testing.assert_close(found[0][1].bias, net[0].bias)
    assert isinstance(net[0], nn.Linear) and found[0][0].bias is None


def test_with_data_it_is_the_best_of_its_rank_on_the_data():
    net, x = nn.Sequential(network()[0]), inputs()
    plain = truncate(net, rank=4).module
    aware = truncate(net, rank=4, batches=[x[:400], x[400:]]).module
    assert error(net, aware, x) < 0.05 * error(net, plain, x)
    # the outputs' covariance bounds what any map of this rank can do
    with torch.no_grad():
        values = torch.linalg.eigvalsh(torch.cov(net(x).double().T, correction=0))
    assert error(net, aware, x) == pytest.approx(float(values[:-4].sum()) / 30, rel=1e-3)
    with torch.no_grad():
        torch.testing.assert_close(aware(x).mean(0), net(x).mean(0), atol=1e-4, rtol=0)


@pytest.mark.parametrize("batches", [False, True])
def test_the_energy_decides_the_rank(batches):
    net, x = network(), inputs()
    before = None
    for energy in (0.4, 0.6, 0.8):
        found = truncate(net, "0", energy=energy, batches=[x] if batches else None)
        rank = found.module[0][0].out_features
        assert before is None or rank >= before
        before = rank
        weight = net[0].weight.detach().double()
        if batches:
            powers = torch.linalg.eigvalsh(weight @ torch.cov(x.double().T) @ weight.T).flip(0)
        else:
            powers = torch.linalg.svdvals(weight) ** 2
        share = powers.cumsum(0) / powers.sum()
        assert share[rank - 1] >= energy > (share[rank - 2] if rank > 1 else 0)


def test_a_pointwise_convolution_is_a_matrix_at_every_position():
    with seeded(0):
        net = nn.Sequential(nn.Conv2d(16, 24, 1, stride=2, bias=False), nn.BatchNorm2d(24)).eval()
        x = torch.randn(6, 16, 9, 9) * torch.linspace(3, 0.01, 16)[:, None, None] + 0.5
    aware = truncate(net, "0", rank=6, batches=[x]).module
    plain = truncate(net, "0", rank=6).module
    assert aware(x).shape == net(x).shape == (6, 24, 5, 5)
    assert error(net, aware, x) < error(net, plain, x)
    full = copy.deepcopy(net)
    with torch.no_grad():
        thin = torch.randn(24, 3) @ torch.randn(3, 16)
        full[0].weight.copy_(thin[..., None, None])
    exact = truncate(full, energy=1.0).module
    assert exact[0][0].out_channels == 3
    assert error(full, exact, x) < 1e-8


def test_a_layer_that_saves_nothing_stays_and_says_so():
    net = network()
    found = truncate(net, rank={"0": 4, "2": 12})
    assert isinstance(found.module[2], nn.Linear)
    assert "kept: rank 12 of 12 saves nothing" in str(found) and "rank 4 of 20" in str(found)
    assert found.after == 4 * 4 * 50 + 4 * 360 < found.before
    assert size_of(found.module) < size_of(net)


def test_it_trains_on_and_attention_is_left_alone():
    with seeded(0):
        layer = nn.TransformerEncoderLayer(16, 2, 64, batch_first=True, dropout=0.0)
        x = torch.randn(3, 5, 16)
    found = truncate(layer, rank=6)
    assert {c.name for c in found.layers} == {"linear1", "linear2"}
    product = found.module.linear1.weight.detach()
    torch.testing.assert_close(
        product, found.module.linear1[1].weight @ found.module.linear1[0].weight
    )
    slow = found.module(x).detach()
    with torch.no_grad():
        # the fast path of PyTorch reads the weights past forward
        torch.testing.assert_close(found.module(x), slow, atol=1e-5, rtol=1e-5)
    found.module.train()(x).sum().backward()
    assert found.module.linear1[0].weight.grad is not None


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rank": 5, "energy": 0.5}, "either a rank or an energy"),
        ({}, "either a rank or an energy"),
        ({"energy": 0.0}, r"energy lies in \(0, 1\]"),
        ({"energy": 1.5}, r"energy lies in \(0, 1\]"),
        ({"energy": float("nan")}, r"energy lies in \(0, 1\]"),
        ({"rank": 13}, r"layer 2: the rank is 13, and the layer's smaller side 12"),
        ({"rank": 0}, "the rank is 0"),
        ({"rank": {"0": 3}}, r"layer 2: ranks and layers"),
        ({"rank": 3, "layers": "linear"}, r"no layer of Sequential is called 'linear'"),
        ({"rank": 3, "layers": "1"}, r"layer 1: a ReLU is no linear layer"),
        ({"rank": 12}, "nothing to prune: at rank 12 no layer becomes smaller"),
        ({"energy": 1.0}, "nothing to prune"),
        ({"rank": 3, "batches": []}, "no calibration rows"),
    ],
)
def test_bad_input_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        truncate(network(), **options)


def test_nothing_to_prune_and_weights_and_inputs_that_are_not_finite_are_refused():
    with pytest.raises(InputError, match="nothing to prune: the network has no linear"):
        truncate(nn.Sequential(nn.ReLU()), rank=1)
    net = network()
    with pytest.raises(InputError, match=r"layer 0: the layer's input cannot be used"):
        truncate(net, rank=3, batches=[torch.full((4, 20), torch.nan)])
    with torch.no_grad():
        net[2].weight[1, 1] = torch.nan
    with pytest.raises(InputError, match=r"layer 2: a weight is NaN"):
        truncate(net, rank=3)
    with pytest.raises(InputError, match=r"'1' did not run"):
        truncate(Half(), "1", rank=2, batches=[torch.ones(3, 8)])


class Half(nn.ModuleList):
    def __init__(self):
        super().__init__([nn.Linear(8, 8), nn.Linear(8, 8)])

    def forward(self, x):
        return self[0](x)
