import json
import warnings

import numpy as np
import pytest
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.nn.look.weights_digest import weights_digest  # noqa: E402
from isthmus.nn.modality.conditioned import Conditioned  # noqa: E402
from isthmus.nn.modality.inserts import bottleneck, film, own_norm, prompts  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    x, y = torch.from_numpy(x / 16).float()[:, None], torch.from_numpy(y)
    return x.reshape(-1, 1, 8, 8), y


@pytest.fixture(scope="module")
def frozen(digits):
    x, y = digits
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Conv2d(16, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Flatten(), nn.Dropout(0.1), nn.Linear(256, 32), nn.ReLU(), nn.Linear(32, 10),
        )  # fmt: skip
    train(
        model,
        lambda m, b: functional.cross_entropy(m(b[0]), b[1]),
        Batches(x[:1000], y[:1000], size=100),
        Schedule(5, optimiser=lambda m: torch.optim.AdamW(m.parameters(), 3e-3)),
    )
    return model.eval()


def sensor(x):
    """Another device's view of a digit: inverted, on another scale, uneven, and shifted."""
    return 3.0 - 2.0 * x.roll(1, -1) * torch.linspace(0.5, 1.5, 8)


def dim(x):
    """The same picture on another scale, on a bright ground."""
    return 0.8 + 0.25 * x


def accuracy(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def mlp():
    with seeded(1):
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()


def test_without_a_modality_it_is_the_network_itself():
    model, x = mlp(), torch.randn(5, 4)
    wanted = model(x)
    both = Conditioned(model, {"a": [film("0"), bottleneck("1", 2)]}, example=x)
    assert torch.equal(both(x), wanted) and both.active is None
    # parts start as the identity
    assert torch.equal(both.use("a")(x), wanted) and both.active == "a"


def test_modalities_are_switched_and_put_back():
    model, x = mlp(), torch.randn(5, 4)
    two = Conditioned(model, {"a": [film("1")], "b": [film("1")]}, example=x)
    with torch.no_grad():
        two.own_parameters("a")[0].fill_(1.0)
        two.own_parameters("b")[1].fill_(-1.0)
    plain = two(x)
    with two.modality("a"):
        a = two(x)
        with two.modality("b"):
            b = two(x)
        assert torch.equal(two(x), a)
    assert torch.equal(two(x), plain) and two.active is None
    torch.testing.assert_close(a, model[2](2 * model[1](model[0](x))))
    torch.testing.assert_close(b, model[2](model[1](model[0](x)) - 1))
    # an error inside leaves nothing behind either
    with pytest.raises(RuntimeError), two.modality("a"):
        two(torch.randn(5, 3))
    assert two.active is None and torch.equal(two(x), plain)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_own_normalisation_alone_serves_a_new_sensor_better(digits, frozen):
    x, y = digits
    both = Conditioned(frozen, {"sensor": [own_norm("[14]")]}, example=x[:2])
    new = dim(x)
    before = accuracy(both.use("sensor"), new[1000:], y[1000:])
    both.calibrate("sensor", [new[:500], new[500:1000]], [x[:400], x[400:1000]])
    assert both.active == "sensor"
    after = accuracy(both, new[1000:], y[1000:])
    # the moments behind the last part are now those of the usual inputs
    taken = {}
    handle = frozen[5].register_forward_pre_hook(lambda _, a: taken.setdefault("x", a[0]))
    with torch.no_grad():
        both(new[:1000])
        one = taken.pop("x").transpose(0, 1).flatten(1)
        both.use(None)(x[:1000])
        other = taken["x"].transpose(0, 1).flatten(1)
    handle.remove()
    torch.testing.assert_close(one.mean(1), other.mean(1), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(one.std(1), other.std(1), atol=1e-3, rtol=1e-3)
    assert after > before + 0.1
    both.check_frozen()


def test_training_changes_the_parts_and_never_the_network(digits, frozen):
    x, y = digits
    digest = weights_digest(frozen)
    usual = accuracy(frozen, x[1000:], y[1000:])
    both = Conditioned(
        frozen,
        {"sensor": [own_norm("[14]"), bottleneck("[14]", 8)], "other": [film("1")]},
        example=x[:2],
    )
    new = sensor(x)
    both.calibrate("sensor", [new[:1000]], [x[:1000]]).use("sensor")
    before = accuracy(both.eval(), new[1000:], y[1000:])
    done = train(
        both,
        lambda m, b: functional.cross_entropy(m(b[0]), b[1]),
        Batches(new[:800], y[:800], size=80),
        Schedule(8, optimiser=lambda m: torch.optim.AdamW(m.own_parameters("sensor"), 5e-3)),
        validate=lambda m: 1 - accuracy(m, new[800:1000], y[800:1000]),
    )
    after = accuracy(both.eval(), new[1000:], y[1000:])
    assert done.best_epoch > 0 and after > before + 0.5
    assert weights_digest(frozen) == digest == both.digest
    assert accuracy(both.use(None), x[1000:], y[1000:]) == usual
    # the other modality was not touched
    assert all(bool((p == 0).all()) for p in both.own_parameters("other"))


def test_a_network_in_training_mode_is_used_in_evaluation_mode(digits):
    x, _ = digits
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5)).train()
    model[0].weight.requires_grad_(False)
    both = Conditioned(model, {"a": [film("1")]}, example=x[:4])
    both.train().use("a")
    assert torch.equal(both(x[:9]), both(x[:9])) and both.parts.training
    assert int(model[1].num_batches_tracked) == 0
    both.check_frozen()
    # given back as it came
    assert both.release() is model and model.training and model[1].training
    assert not model[0].weight.requires_grad and model[1].weight.requires_grad


def test_prompts_are_seen_by_the_layers_and_gone_behind_them():
    with seeded(0), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nested tensors, which some versions warn of
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        model = nn.Sequential(nn.TransformerEncoder(layer, 2), nn.Linear(8, 3)).eval()
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    both = Conditioned(
        model, {"a": [prompts("0", 4)], "deep": [prompts("0.layers.*", 2)]}, example=x
    )
    plain = both(x)
    for name in ("a", "deep"):
        out = both.use(name)(x)
        assert out.shape == plain.shape and not torch.allclose(out, plain)
    out.sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in both.own_parameters("deep"))


def test_an_encoder_brings_inputs_of_another_kind():
    model = mlp()
    with seeded(2):
        encoder = nn.Linear(7, 4)
    both = Conditioned(
        model, {"wide": [], "bad": []}, example=torch.ones(1, 4),
        encoders={"wide": encoder, "bad": nn.Linear(7, 5)},
    )  # fmt: skip
    x = torch.randn(3, 7)
    torch.testing.assert_close(both.use("wide")(x), model(encoder(x)))
    assert len(both.own_parameters("wide")) == 2
    with pytest.raises(InputError, match=r"modality bad.*shape \(3, 5\)"):
        both.use("bad")(x)


def test_modalities_are_saved_without_the_network(tmp_path):
    model, x = mlp(), torch.randn(5, 4)
    made = Conditioned(
        model, {"a": [film("0"), own_norm("1")], "b": [bottleneck("[01]", 3)]}, example=x,
        encoders={"b": nn.Linear(6, 4)},
    )  # fmt: skip
    made.calibrate("a", [x * 2], [x])
    with torch.no_grad():
        for name in made.names:
            for p in made.own_parameters(name):
                p.add_(0.1)
    made.save(tmp_path / "m")
    assert {f.suffix for f in (tmp_path / "m").iterdir()} == {".json", ".safetensors"}
    again = Conditioned.load(tmp_path / "m", model, example=x, encoders={"b": nn.Linear(6, 4)})
    made.eval()
    assert torch.equal(again.use("a")(x), made.use("a")(x))
    z = torch.randn(2, 6)
    assert torch.equal(again.use("b")(z), made.use("b")(z))
    record = json.loads((tmp_path / "m" / "conditioned-network.json").read_text())
    assert record["content"]["network"] == weights_digest(model)

    other = mlp()
    with torch.no_grad():
        other[0].weight[0, 0] += 1e-3
    with pytest.raises(InputError, match="other weights"):
        Conditioned.load(tmp_path / "m", other, example=x)
    with pytest.raises(InputError, match=r"needed for \['b'\], got \[\]"):
        Conditioned.load(tmp_path / "m", model, example=x)
    with pytest.raises(InputError, match="do not fit"):
        Conditioned.load(tmp_path / "m", model, example=x, encoders={"b": nn.Linear(5, 4)})
    (tmp_path / "m" / "conditioned-network.json").write_text("{}")
    with pytest.raises(InputError, match="this is no manifest"):
        Conditioned.load(tmp_path / "m", model, example=x)


def test_names_that_are_not_there_are_met_with_near_ones():
    model, x = mlp(), torch.ones(2, 4)
    with pytest.raises(InputError, match="no modality is named"):
        Conditioned(model, {}, example=x)
    named = nn.ModuleDict({"layer1": nn.Linear(4, 4)})
    named.forward = lambda x: named["layer1"](x)
    with pytest.raises(InputError, match=r"called 'layer2'.*'layer1'"):
        Conditioned(named, {"a": [film("layer2")]}, example=x)
    both = Conditioned(model, {"audio": [film("0")], "depth": []}, example=x)
    for act in (both.use, both.own_parameters, lambda n: both.calibrate(n, [x], [x])):
        with pytest.raises(InputError, match=r"'audoi'. Did you mean 'audio'"):
            act("audoi")
    with pytest.raises(InputError, match="'audoi'"):
        Conditioned(model, {"audio": []}, example=x, encoders={"audoi": nn.Linear(4, 4)})


class Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)
        self.argmax = Argmax()

    def forward(self, x):
        return self.argmax(self.twice(self.twice(x)))


class Argmax(nn.Module):
    def forward(self, x):
        return x.argmax(1)


@pytest.mark.parametrize(
    ("insert", "message"),
    [
        (film("twice"), "more than once"),
        (film("never"), "did not run"),
        (film("argmax"), "int64"),
    ],
)
def test_layers_that_cannot_be_adapted_are_refused(insert, message):
    with pytest.raises(InputError, match=message):
        Conditioned(Odd(), {"a": [insert]}, example=torch.ones(2, 4))


def test_shapes_that_cannot_be_bridged_are_refused():
    with pytest.raises(InputError, match=r"sequences \(n, t, d\).*shape \(2, 8\)"):
        Conditioned(mlp(), {"a": [prompts("0")]}, example=torch.ones(2, 4))
    # a layer that makes tokens of an image takes no tokens
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(9, 6))
    with pytest.raises(InputError, match="first argument is a sequence"):
        Conditioned(tokens, {"a": [prompts("0")]}, example=torch.ones(2, 4, 3, 3))
    with pytest.raises(InputError, match="does not run with parts"):
        Conditioned(tokens, {"a": [prompts("1", 2)]}, example=torch.ones(2, 4, 3, 3))


def test_statistics_need_inputs(digits):
    x, _ = digits
    both = Conditioned(
        nn.Sequential(nn.Conv2d(1, 4, 3)), {"a": [own_norm("0")], "b": []}, example=x[:2]
    )
    with pytest.raises(InputError, match="no inputs of a"):
        both.calibrate("a", [], [x[:5]])
    with pytest.raises(InputError, match="no inputs of the usual kind"):
        both.calibrate("a", [x[:5]], iter(()))
    with pytest.raises(InputError, match="no normalisation"):
        both.calibrate("b", [x[:5]], [x[:5]])
    with pytest.raises(InputError, match=r"NaN|finite"):
        both.calibrate("a", [x[:5] * np.nan], [x[:5]])
    assert both.active is None


def test_nothing_frozen_and_everything_frozen_are_refused():
    model, x = mlp(), torch.randn(8, 4)
    both = Conditioned(model, {"a": [film("0")], "empty": []}, example=x)
    model[0].weight.requires_grad_(True)
    with pytest.raises(InputError, match="not frozen"):
        both.train()
    with pytest.raises(InputError, match="not frozen"):
        train(both.use("a"), lambda m, b: m(b).square().mean(), [x], Schedule(1))
    model[0].weight.requires_grad_(False)
    with torch.no_grad():
        model[0].weight[0, 0] += 1.0
    with pytest.raises(InputError, match="has changed"):
        both.check_frozen()
    alone = Conditioned(mlp(), {"empty": []}, example=x)
    with pytest.raises(InputError, match="nothing to train"):
        train(
            alone,
            lambda m, b: m(b).square().mean(),
            [x],
            Schedule(1, optimiser=lambda m: torch.optim.AdamW(m.parameters())),
        )


def test_a_loss_that_is_not_finite_leaves_the_last_good_state():
    model, x = mlp(), torch.randn(8, 4)
    both = Conditioned(model, {"a": [film("0")]}, example=x).use("a")
    calls = []

    def loss(m, b):
        calls.append(1)
        return m(b).square().mean() * (float("nan") if len(calls) == 3 else 1.0)

    good = {}

    def validate(m):
        good[len(good)] = [p.clone() for p in m.own_parameters("a")]
        return 1.0 / len(good)

    with pytest.raises(DivergedError, match="not finite"):
        train(both, loss, [x], Schedule(5), validate=validate)
    kept = good[len(good) - 1]
    assert all(torch.equal(p, q) for p, q in zip(both.own_parameters("a"), kept, strict=True))
    both.check_frozen()


def test_one_encoder_of_two_modalities_is_saved_and_a_refusal_leaves_the_network(tmp_path):
    with seeded(0):
        net = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
        x, encoder = torch.randn(4, 8), nn.Linear(5, 8)
    parts = {"a": [film("0")], "b": [bottleneck("2")]}
    made = Conditioned(net, parts, example=x, encoders={"a": encoder, "b": encoder}).eval()
    made.save(tmp_path / "c")
    made.release().train()
    with pytest.raises(InputError, match="do not fit these encoders"):
        Conditioned.load(
            tmp_path / "c", net, example=x, encoders=dict.fromkeys("ab", nn.Linear(6, 8))
        )
    assert net.training and all(p.requires_grad for p in net.parameters())
    with seeded(5):
        fresh = nn.Linear(5, 8)
    again = Conditioned.load(tmp_path / "c", net, example=x, encoders=dict.fromkeys("ab", fresh))
    rows = torch.randn(3, 5)
    with torch.no_grad():
        for name in "ab":
            assert torch.equal(again.use(name)(rows), made.use(name)(rows))


def test_arguments_are_given_on_as_they_were():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 4)

        def forward(self, x, scale=1.0):
            return self.layer(x) * scale

    x = torch.randn(3, 8)
    made = Conditioned(Scaled(), {"a": [film("layer")]}, example=x).eval().use("a")
    with torch.no_grad():
        torch.testing.assert_close(made(x, scale=2.0), 2 * made(x))
