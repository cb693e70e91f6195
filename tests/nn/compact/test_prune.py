import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.compact.prune import prune_weights, remove_units  # noqa: E402
from isthmus.nn.compact.quantise import quantise  # noqa: E402
from isthmus.nn.compact.table import size_of  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def network(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Linear(10, 40), nn.ReLU(), nn.Linear(40, 6))


def error(a, b, x):
    with torch.no_grad():
        return float(((a(x) - b(x)) ** 2).mean())


def test_the_smallest_weights_of_all_or_of_each_layer_become_zero():
    net = network()
    with torch.no_grad():
        net[2].weight *= 10
    whole = prune_weights(net, sparsity=0.5).module
    each = prune_weights(net, sparsity=0.5, scope="layer").module
    counts = {
        name: [int((m[i].weight == 0).sum()) for i in (0, 2)]
        for name, m in (("whole", whole), ("each", each))
    }
    assert sum(counts["whole"]) == 320 and counts["whole"][0] > 280
    assert counts["each"] == [200, 120]
    left, right = net[0].weight.detach().abs(), each[0].weight.detach()
    assert float(left[right == 0].max()) < float(left[right != 0].min())
    assert torch.equal(right[right != 0], net[0].weight[right != 0])
    found = prune_weights(net, "2", sparsity=0.25)
    assert found.after == 180 * 4 and "75.0% of the weights" in str(found)


def conv():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8, padding=1), nn.ReLU(),
            nn.Conv2d(8, 5, 1, bias=False),
        ).eval()  # fmt: skip


def test_units_that_do_nothing_are_taken_out_without_a_trace():
    net, through = conv(), ["1", "3"]
    with torch.no_grad():
        net[1].running_mean += torch.randn(8) * 0.1
        net[5].weight[:, [2, 5]] = 0
    x = torch.randn(4, 3, 7, 7)
    found = remove_units(net, "0", "5", share=0.25, through=through)
    small = found.module
    assert small[0].out_channels == small[1].num_features == small[3].groups == 6
    torch.testing.assert_close(small(x), net(x))
    assert size_of(small) < size_of(net) and [c.name for c in found.layers] == ["0", "1", "3", "5"]
    assert net[0].out_channels == 8
    aware = remove_units(net, "0", "5", share=0.25, through=through, batches=[x]).module
    torch.testing.assert_close(aware(x), net(x), atol=1e-4, rtol=1e-4)


def test_with_data_what_is_left_makes_up_for_what_is_gone():
    net = network()
    with seeded(1):
        # inputs in three directions: units are nearly copies of one another
        x = torch.randn(600, 3) @ torch.randn(3, 10)
    for share in (0.25, 0.5):
        plain = remove_units(net, "0", "2", share=share).module
        aware = remove_units(net, "0", "2", share=share, batches=[x]).module
        assert error(net, aware, x) < 0.2 * error(net, plain, x)
        with torch.no_grad():
            torch.testing.assert_close(aware(x).mean(0), net(x).mean(0), atol=1e-3, rtol=0)


def test_the_refitted_weights_are_the_least_squares_ones():
    net = network()
    x = torch.randn(500, 10)
    found = remove_units(net, "0", "2", share=0.5, batches=[x]).module
    with torch.no_grad():
        inner = torch.cat([found[1](found[0](x)), torch.ones(500, 1)], 1).double()
        exact = torch.linalg.lstsq(inner, net(x).double()).solution
        best = float(((inner @ exact - net(x)) ** 2).mean())
    assert error(net, found, x) == pytest.approx(best, rel=1e-3)


def test_positions_of_a_flattened_unit_go_together():
    with seeded(0):
        net = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Flatten(), nn.Linear(6 * 9, 4)).eval()
        x = torch.randn(5, 2, 5, 5)
    with torch.no_grad():
        net[2].weight[:, 9:27] = 0
    found = remove_units(net, "0", "2", share=1 / 3).module
    assert found[2].in_features == 36
    torch.testing.assert_close(found(x), net(x))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"share": 0.0}, r"share lies in \(0, 1\)"),
        ({"share": 0.001}, "nothing to prune: a share of 0.001 of 40 units is 0"),
        ({"share": 0.5, "layer": "1"}, "a ReLU is no linear layer"),
        ({"share": 0.5, "layer": "first"}, "no layer of Sequential is called 'first'"),
        ({"share": 0.5, "layer": "2", "into": "0"}, "makes 6 units, and '0' reads 10"),
        ({"share": 0.5, "through": ["1"]}, "does not treat 40 units one by one"),
        ({"share": 0.5, "batches": []}, "no calibration rows"),
    ],
)
def test_bad_input_of_units_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        remove_units(network(), **{"layer": "0", "into": "2", **options})


def test_bad_input_of_weights_is_refused():
    with pytest.raises(InputError, match="nothing to prune"):
        prune_weights(nn.Sequential(nn.ReLU()), sparsity=0.5)
    for sparsity in (0, 1, -1):
        with pytest.raises(InputError, match="sparsity lies"):
            prune_weights(network(), sparsity=sparsity)
    with pytest.raises(InputError, match="no scope 'all'"):
        prune_weights(network(), sparsity=0.5, scope="all")
    with pytest.raises(InputError, match="a ReLU is no linear layer"):
        prune_weights(network(), "1", sparsity=0.5)
    net = network()
    with torch.no_grad():
        net[0].weight[0, 0] = torch.inf
    with pytest.raises(InputError, match=r"layer 0: a weight is NaN or infinite"):
        prune_weights(net, sparsity=0.5)
    with pytest.raises(InputError, match=r"layer 0: a weight is NaN or infinite"):
        remove_units(net, "0", "2", share=0.5)
    with pytest.raises(InputError, match=r"layer 3: a Conv2d of this kind is not fitted anew"):
        spatial = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ReLU(), nn.Conv2d(4, 2, 3))
        remove_units(spatial, "0", "3", share=0.5, batches=[torch.ones(1, 1, 9, 9)])


def test_units_that_never_vary_keep_their_weights_and_do_not_stop_the_refit():
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(64, 4)
    with torch.no_grad():
        net[0].weight[:4] = 0
        net[0].bias[:4] = torch.tensor([-1.0, 2.0, 0.5, -3.0])
    made = remove_units(net, "0", "2", share=1 / 3, batches=[x]).module
    torch.testing.assert_close(made(x), net(x), atol=1e-4, rtol=1e-4)
    with torch.no_grad():
        net[0].weight.zero_()
    flat = remove_units(net, "0", "2", share=1 / 3, batches=[x]).module
    torch.testing.assert_close(flat(x), net(x), atol=1e-5, rtol=1e-5)


def test_inputs_that_are_all_one_direction_are_refitted():
    """Rounding leaves eigenvalues of either sign, larger than the ridge."""
    with seeded(0):
        net = nn.Sequential(nn.Linear(1, 600), nn.ReLU(), nn.Linear(600, 3))
        net[0].weight.data.abs_()
        net[0].bias.data.zero_()
        x = torch.rand(500, 1) + 0.1
    for share in (0.1, 0.5):
        made = remove_units(net, "0", "2", share=share, batches=[x]).module
        torch.testing.assert_close(made(x), net(x), atol=1e-3, rtol=1e-3)


def test_units_of_groups_one_layer_and_computed_weights_are_refused():
    net = nn.Sequential(nn.Conv2d(4, 8, 3, groups=2), nn.ReLU(), nn.Conv2d(8, 4, 1))
    with pytest.raises(InputError, match=r"layer 0: the units of a convolution in groups"):
        remove_units(net, "0", "2", share=0.25)
    square = nn.Sequential(nn.Linear(8, 8))
    with pytest.raises(InputError, match="does not read what it makes itself"):
        remove_units(square, "0", "0", share=0.25)
    nn.utils.parametrizations.weight_norm(square[0])
    with pytest.raises(InputError, match=r"layer 0: its weight is parametrized"):
        prune_weights(square, sparsity=0.5)
    with pytest.raises(InputError, match=r"layer 0: its weight is parametrized"):
        quantise(square)


def test_a_layer_under_two_names_is_replaced_under_both():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(16, 16)
            self.b = self.a

        def forward(self, x):
            return self.b(torch.relu(self.a(x)))

    found = quantise(Twice()).module
    assert found.a is found.b and size_of(found) < 0.4 * size_of(Twice())
