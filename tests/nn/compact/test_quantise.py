import copy

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.adapters.quantise import quantise_rows  # noqa: E402
from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.compact.quantise import Int8Layer, quantise  # noqa: E402
from isthmus.nn.compact.table import size_of  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def network():
    with seeded(0):
        return nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 12, 1, stride=2), nn.Flatten(),
            nn.Linear(12 * 9, 10),
        ).eval()  # fmt: skip


def images(n=32, seed=1):
    with seeded(seed):
        return torch.randn(n, 3, 8, 8) + 0.5


def error(a, b, x):
    with torch.no_grad():
        return float(((a(x) - b(x)) ** 2).mean() / a(x).var())


def test_the_codes_are_those_of_rows_rounded_by_numpy():
    layer = network()[6]
    found = Int8Layer(copy.deepcopy(layer))
    expected = quantise_rows(layer.weight.detach().numpy())
    assert found.codes.numpy().tolist() == expected.codes.tolist()
    torch.testing.assert_close(found.weight, torch.tensor(expected.values()))


def test_every_kind_of_layer_runs_with_a_quarter_of_the_bytes():
    net, x = network(), images()
    before = copy.deepcopy(net.state_dict())
    found = quantise(net)
    assert error(net, found.module, x) < 1e-3
    assert all(torch.equal(before[n], t) for n, t in net.state_dict().items())
    assert [c.name for c in found.layers] == ["0", "3", "4", "6"]
    assert found.after < 0.32 * found.before and size_of(found.module) < 0.45 * size_of(net)
    assert "int8 weights" in str(found)


def test_it_is_saved_and_loaded_as_any_module(tmp_path):
    net, x = network(), images()
    found = quantise(net, batches=[x]).module
    from safetensors.torch import load_file, save_file

    save_file(found.state_dict(), tmp_path / "net.safetensors")
    again = quantise(network(), batches=[x[:2]]).module
    again.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert torch.equal(again(x), found(x))
    assert found.state_dict()["6.codes"].dtype == torch.int8


def coarse(net):
    """Weights of which rounding takes much: one large in each output, all others small."""
    with torch.no_grad():
        for layer in net:
            if hasattr(layer, "weight") and layer.weight.ndim > 1:
                layer.weight.flatten(1)[:, 0] = 3.0
                layer.weight.flatten(1)[:, 1:] *= 0.3
    return net


def test_fitting_after_rounding_brings_the_outputs_back():
    net, x = coarse(network()), images(256)
    plain = quantise(net).module
    fitted = quantise(net, batches=[x[:64], x[64:128]]).module
    assert error(net, fitted, x[128:]) < 0.8 * error(net, plain, x[128:])


def test_the_correction_is_the_least_squares_line_of_every_output():
    with seeded(0):
        net = coarse(nn.Sequential(nn.Linear(40, 5)))
        x = torch.randn(300, 40) + 1
    plain = quantise(net).module
    fitted = quantise(net, batches=[x[:100], x[100:]]).module
    with torch.no_grad():
        for j in range(5):
            line = torch.stack([plain(x)[:, j], torch.ones(300)], 1).double()
            best = line @ torch.linalg.lstsq(line, net(x)[:, j].double()).solution
            torch.testing.assert_close(fitted(x)[:, j].double(), best, atol=1e-4, rtol=1e-4)


def test_integer_activations_give_nearly_the_same_and_auto_keeps_what_is_faster():
    with seeded(0):
        net = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 32))
        x = torch.randn(40, 7, 64)
        x[0, 0] = 0
    found = quantise(net, activations="int8").module
    assert found[0].activations and found(x).shape == (40, 7, 32)
    assert error(net, found, x) < 1e-3
    auto = quantise(net, activations="auto", batches=[x])
    assert error(net, auto.module, x) < 1e-3
    for change, layer in zip(auto.layers, (auto.module[0], auto.module[2]), strict=True):
        assert ("int8 inputs (" in change.what) or "times as fast" in change.what
        times = float(change.what.split("(")[1].split()[0])
        assert layer.activations == (times > 1) or times == pytest.approx(1.0, abs=0.06)
    conv = quantise(network(), activations="int8").module
    assert not conv[0].activations and conv[6].activations


def test_attention_is_left_as_it_is_and_trains_no_more():
    with seeded(0):
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
        x = torch.randn(2, 5, 16)
    found = quantise(layer, batches=[x])
    assert {c.name for c in found.layers} == {"linear1", "linear2"}
    with torch.no_grad():
        torch.testing.assert_close(found.module(x), layer(x), atol=0.05, rtol=0)


def test_a_constant_output_and_a_zero_row_survive_the_correction():
    with seeded(0):
        net = nn.Sequential(nn.Linear(4, 3))
    with torch.no_grad():
        net[0].weight[1] = 0
    x = torch.randn(50, 4)
    found = quantise(net, batches=[x]).module
    torch.testing.assert_close(found(x), net(x), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"layers": "conv"}, "no layer of Sequential is called 'conv'"),
        ({"layers": "2"}, r"layer 2: a ReLU is no linear layer"),
        ({"activations": "int4"}, "activations cannot be 'int4'"),
        ({"activations": "auto"}, "no calibration rows to time"),
        ({"batches": []}, "no calibration rows"),
        ({"batches": [torch.full((2, 3, 8, 8), torch.nan)]}, r"layer 0: the layer's output is not"),
    ],
)
def test_bad_input_is_refused(options, match):
    with pytest.raises(InputError, match=match):
        quantise(network(), **options)


def test_nothing_to_quantise_nan_weights_and_attention_are_refused():
    with pytest.raises(InputError, match="nothing to quantise"):
        quantise(nn.Sequential(nn.ReLU()))
    net = network()
    with torch.no_grad():
        net[4].weight[0] = torch.nan
    with pytest.raises(InputError, match=r"layer 4: a weight is NaN"):
        quantise(net)
    layer = nn.TransformerEncoderLayer(16, 2, 32)
    with pytest.raises(InputError, match="read by the attention around it"):
        quantise(layer, "self_attn.out_proj")
    with pytest.raises(InputError, match="inputs of a Conv2d are not rounded"):
        Int8Layer(network()[0], activations=True)
