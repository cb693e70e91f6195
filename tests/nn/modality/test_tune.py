import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.nn.modality.projector import Projector  # noqa: E402
from isthmus.nn.modality.tune import (  # noqa: E402
    PairedInputs,
    Tuning,
    held_out_retrieval,
    tune,
)
from isthmus.training.losses import PAIR_LOSSES  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def data(n=400, dx=16, dy=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, dx, generator=generator)
    w = torch.randn(dx, dy, generator=generator)
    y = torch.tanh(x @ w * 0.5) + 0.3 * torch.randn(n, dy, generator=generator)
    pairs = PairedInputs(x, nn.functional.normalize(y, dim=1), torch.arange(n))
    half = n // 2
    return tuple(PairedInputs(*(t[rows] for t in (pairs.inputs, pairs.targets, pairs.items)))
                 for rows in (slice(0, half), slice(half, n)))  # fmt: skip


def projector(seed=0, **options):
    rng = np.random.default_rng(seed)
    return Projector(0.1 * rng.normal(size=(16, 8)), np.zeros(8), **options)


@pytest.mark.parametrize("loss", PAIR_LOSSES)
def test_every_loss_brings_partners_together(loss):
    train, held = data()
    module = projector()
    before = held_out_retrieval(module.eval(), held)
    done = tune(
        module,
        train,
        held,
        Tuning(schedule=Schedule(15, patience=15), loss=loss, rate=0.1, batch=64),
    )
    after = held_out_retrieval(module.eval(), held)
    assert done.best_epoch > 0 and after > before + 0.1


def test_retrieval_is_that_of_its_definition():
    _, held = data()
    module = projector().eval()
    with torch.no_grad():
        scores = (module(held.inputs) @ held.targets.T).numpy().astype(np.float64)
    # CSLS, in both directions
    left, right = (np.sort(s, axis=1)[:, -10:].mean(1) / 2 for s in (scores, scores.T))
    scores = scores - left[:, None] - right[None, :]
    own = np.diag(scores)
    ranks = np.r_[(scores >= own[:, None]).sum(1), (scores >= own[None, :]).sum(0)]
    assert held_out_retrieval(module, held) == pytest.approx((1 / ranks).mean())
    assert held_out_retrieval(module, held, "cmc@5") == pytest.approx((ranks <= 5).mean())
    # of rows of one item the best counts, and none is in another's way
    joined = PairedInputs(held.inputs, held.targets, held.items // 2)
    assert held_out_retrieval(module, joined) > held_out_retrieval(module, held)
    for metric in ("recall@5", "mrr@5", "ndcg"):
        with pytest.raises(InputError, match="cannot be stopped"):
            held_out_retrieval(module, held, metric)


def test_held_out_ranks_never_fall():
    train, held = data()
    scrambled = PairedInputs(train.inputs, train.targets.roll(7, 0), train.items)
    module = projector()
    tune(module, *data(), Tuning(schedule=Schedule(20, patience=4), batch=64, rate=0.1))
    start = {n: p.clone() for n, p in module.named_parameters()}
    before = held_out_retrieval(module.eval(), held)
    done = tune(module, scrambled, held, Tuning(schedule=Schedule(5, patience=2), batch=64))
    assert done.best_epoch == 0 and held_out_retrieval(module.eval(), held) == before
    assert all(torch.equal(p, start[n]) for n, p in module.named_parameters())


def test_a_trust_region_keeps_the_map_near_its_start():
    def moved(stay):
        train, held = data()
        module = projector(seed=3)
        start = module(train.inputs).detach()
        tune(module, train, held, Tuning(schedule=Schedule(8, patience=8), batch=64, stay=stay))
        return float((module(train.inputs).detach() - start).square().mean())

    assert moved(30.0) < 0.3 * moved(0.0)


def test_training_repeats_bit_by_bit_and_follows_the_seed():
    def trained(seed):
        module = projector(dropout=0.3)
        tune(module, *data(), Tuning(schedule=Schedule(3, seed=seed, patience=4), batch=64))
        return module.weight.detach().clone()

    state = torch.random.get_rng_state()
    assert torch.equal(trained(1), trained(1)) and not torch.equal(trained(1), trained(2))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_killed_training_goes_on_where_it_was(tmp_path):
    def trained(epochs, folder):
        module = projector(dropout=0.3)
        tuning = Tuning(schedule=Schedule(epochs, patience=9, checkpoint=folder), batch=64)
        tune(module, *data(), tuning)
        return module.weight.detach().clone()

    trained(2, tmp_path / "killed")
    assert torch.equal(trained(5, tmp_path / "killed"), trained(5, tmp_path / "whole"))


def test_an_encoder_is_trained_as_a_projector_is():
    train, held = data()
    module = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), projector_of(32))
    before = held_out_retrieval(module.eval(), held)
    tune(module, train, held, Tuning(schedule=Schedule(15, patience=4), batch=64, rate=0.05))
    assert held_out_retrieval(module, held) > before + 0.1


def projector_of(width):
    return Projector(np.random.default_rng(0).normal(size=(width, 8)) / 4, np.zeros(8))


def test_what_cannot_be_trained_is_refused():
    train, held = data()
    with pytest.raises(InputError, match=r"shape \(2, 5\).*8 dimensions"):
        tune(nn.Linear(16, 5), train, held)
    with pytest.raises(InputError, match="both trained on and held out"):
        tune(projector(), train, train)
    with pytest.raises(InputError, match="every parameter is frozen"):
        tune(projector().requires_grad_(False), train, held)
    with pytest.raises(InputError, match="no parameters"):
        tune(nn.AvgPool1d(2), train, held)
    with pytest.raises(InputError, match="200 and 199"):
        PairedInputs(train.inputs, train.targets[1:], train.items)
    with pytest.raises(InputError, match="no pairs"):
        PairedInputs(train.inputs[:0], train.targets[:0], train.items[:0])
    for options in ({"loss": "clip"}, {"temperature": 0.0}, {"rate": -1.0}, {"stay": -1.0}):
        with pytest.raises(InputError):
            Tuning(**options)


def test_a_loss_that_is_not_finite_stops_with_the_good_state():
    train, held = data()
    module = projector()
    start = module.weight.detach().clone()
    train.inputs[3, 2] = float("nan")
    with pytest.raises(DivergedError, match="not finite"):
        tune(module, train, held, Tuning(batch=200))
    assert torch.equal(module.weight, start)
    held.inputs[0, 0] = float("nan")
    with pytest.raises(DivergedError, match="validation is nan"):
        tune(module, *data()[:1], held)
