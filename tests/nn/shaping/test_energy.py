import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.nn.shaping import (  # noqa: E402
    correction_energy,
    structure,
    watch_energy,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def network(budget=0.1, **options):
    with seeded(0):
        model = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * 25, 3),
        )  # fmt: skip
        structure(model, budget=budget, **{"correction": 3, **options})
        for layer in (model[0], model[4]):
            nn.init.normal_(layer.correction.up.weight, std=0.3)
    return model


def images(n=40, seed=0):
    return torch.randn(n, 2, 5, 5, generator=torch.Generator().manual_seed(seed))


def direct(model, x):
    """ρ of both layers by its definition, in float64."""
    wide = model.double().eval()
    found = {}
    with torch.no_grad():
        x = x.double()
        for name, layer in wide.named_children():
            if name in ("0", "4"):
                straight = layer(x) - layer.correction(x)
                straight = straight - (layer.bias[:, None, None] if name == "0" else layer.bias)
                phi = layer.correction(x).numpy()
                found[name] = np.sum(phi**2) / np.sum(straight.numpy() ** 2)
            x = layer(x)
    return found


@pytest.mark.parametrize("size", [1, 7, 40])
def test_the_streamed_energy_is_that_of_its_definition(size):
    model, x = network(), images()
    found = correction_energy(model, Batches(x, size=size, shuffle=False))
    assert model.training
    assert {name: energy.vectors for name, energy in found.items()} == {"0": 40 * 25, "4": 40}
    expected = direct(model, x)
    for name, energy in found.items():
        assert energy.rho == pytest.approx(expected[name], rel=1e-5)
        assert energy.rho == pytest.approx(energy.correction / energy.structured)
        assert f"{energy.rho:.3g}" in str(energy)


def test_a_large_bias_does_not_spoil_it():
    model, x = network(), images()
    with torch.no_grad():
        model[0].bias += 100
    found = correction_energy(model, [x])["0"].rho
    assert found == pytest.approx(direct(model, x)["0"], rel=1e-4)


def test_batches_may_be_tuples_or_keywords_or_need_a_call_of_their_own():
    class Named(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, *, pixels):
            return self.inner(pixels)

    model, x = network(), images()
    plain = {n: e.rho for n, e in correction_energy(model, [x]).items()}
    labelled = correction_energy(model, [(x, torch.zeros(40))])
    assert {n: e.rho for n, e in labelled.items()} == plain
    named = correction_energy(Named(model), [{"pixels": x}])
    assert {n: e.rho for n, e in named.items()} == {f"inner.{n}": r for n, r in plain.items()}
    called = correction_energy(model, [{"a": [x]}], call=lambda m, b: m(b["a"][0]))
    assert {n: e.rho for n, e in called.items()} == plain


def test_a_layer_that_is_used_twice_is_measured_over_both_calls():
    with seeded(0):
        layer = nn.Linear(4, 4)
        model = nn.Sequential(layer, layer)
        structure(model, shaping="none", budget=None)
        nn.init.normal_(model[0].correction.up.weight)
    assert model[0] is model[1]
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    (energy,) = correction_energy(model, [x]).values()
    assert energy.vectors == 10
    with torch.no_grad():
        both = torch.cat([x, model[0](x)])
        phi = model[0].correction(both)
        straight = both @ model[0].weight.T
    expected = phi.double().square().sum() / straight.double().square().sum()
    assert energy.rho == pytest.approx(expected.item(), rel=1e-5)


def test_the_penalty_is_0_within_the_budget_and_the_excess_beyond():
    x = images()
    rho = {name: energy.rho for name, energy in correction_energy(network(), [x]).items()}
    for budget in (None, 0.3 * min(rho.values()), 2 * max(rho.values())):
        model = network(budget).eval()
        with watch_energy(model) as energies:
            model(x)
        if budget is None:
            expected = np.mean(list(rho.values()))
        else:
            expected = np.mean([max(value / budget - 1, 0) for value in rho.values()])
        assert energies.penalty().item() == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_training_with_the_penalty_keeps_to_the_budget():
    x = images(128)
    y = torch.randn(128, 3, generator=torch.Generator().manual_seed(1))
    reached = {}
    for weight in (0.0, 3.0):
        model = network(0.01)

        def loss(module, batch, weight=weight):
            with watch_energy(module) as energies:
                error = (module(batch[0]) - batch[1]).square().mean()
            return {"error": error, "energy": weight * energies.penalty()}

        train(
            model,
            loss,
            Batches(x, y, size=32),
            Schedule(15, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.01)),
        )
        reached[weight] = max(e.rho for e in correction_energy(model, [x]).values())
    assert reached[3.0] < 0.02 < 0.1 < reached[0.0]


def test_nothing_is_watched_after_the_block_even_when_it_fails():
    model = network()
    with pytest.raises(ZeroDivisionError), watch_energy(model):
        raise ZeroDivisionError
    assert model[0].watch is None
    with (
        watch_energy(model),
        pytest.raises(InputError, match="recorded already"),
        watch_energy(model),
    ):
        pass


def test_what_cannot_be_measured_is_refused():
    x = images()
    with pytest.raises(InputError, match=r"no layer with a correction.*structure"):
        correction_energy(nn.Linear(2, 2), [torch.zeros(1, 2)])
    with pytest.raises(InputError, match="there are no batches"):
        correction_energy(network(), [])
    with pytest.raises(InputError, match="layer '0', batch 2: the energy is not finite"):
        correction_energy(network(), [x, x * float("nan")])
    with pytest.raises(InputError, match="layer '0'.*gives 0 on all data"):
        correction_energy(network(), [torch.zeros_like(x)])
    with (
        pytest.raises(InputError, match="no layer with a correction was called"),
        watch_energy(network()) as energies,
    ):
        energies.penalty()


def test_nan_names_the_term():
    model = network()

    def loss(module, batch):
        with watch_energy(module) as energies:
            module(batch)
        return {"none": torch.zeros(()), "energy": energies.penalty()}

    with pytest.raises(DivergedError, match="term energy"):
        train(model, loss, [images() * float("nan")], Schedule(1))
