"""Adapters behind frozen encoders: FCT, FastFill and λ-orthogonal, on spaces whose map is known."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.moments import Moments  # noqa: E402
from isthmus.nn.compat import (  # noqa: E402
    ForwardTransform,
    LambdaAdapters,
    UncertainTransform,
    train_fastfill,
    train_forward,
    train_lambda_adapters,
    transform_rows,
)
from isthmus.nn.compat.frozen.joint_maps import joint_maps  # noqa: E402
from isthmus.training import LambdaTerms  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

N, OLD, NEW = 1500, 8, 12


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def fast(module):
    return torch.optim.Adam(module.parameters(), 1e-2)


def spaces(seed=0):
    """Old rows, new rows that bend them, what only side information tells, and labels.

    Half of the items are noisy in the new space, and the old one shows which.
    """
    rng = np.random.default_rng(seed)
    old = rng.standard_normal((N, OLD)).astype(np.float32)
    hidden = rng.standard_normal((N, 2)).astype(np.float32)
    mix = rng.standard_normal((OLD, NEW)).astype(np.float32) / 3
    noisy = old[:, :1] > 0
    new = np.tanh(2 * old @ mix) + 0.3 * hidden @ rng.standard_normal((2, NEW)).astype(np.float32)
    loud = new + noisy * rng.standard_normal((N, NEW)).astype(np.float32)
    return old, new.astype(np.float32), loud.astype(np.float32), hidden, noisy[:, 0]


def loader(*rows):
    return Batches(*(torch.from_numpy(np.ascontiguousarray(r)) for r in rows), size=100)


def error(transform, new, *rows):
    return float(((transform_rows(transform, *rows)[0] - new) ** 2).sum(1)[1000:].mean())


def test_fct_beats_the_best_linear_map_and_side_information_helps():
    old, new, _, hidden, _ = spaces()
    first = slice(0, 1000)
    with_one = np.column_stack([old, np.ones(N)])
    linear = np.linalg.lstsq(with_one[first], new[first], rcond=None)[0]
    straight = float(((with_one @ linear - new) ** 2).sum(1)[1000:].mean())
    blind = ForwardTransform(OLD, NEW, hidden=48)
    train_forward(blind, loader(old[first], new[first]), Schedule(25, optimiser=fast))
    told = ForwardTransform(OLD, NEW, side=2, hidden=48)
    train_forward(told, loader(old[first], new[first], hidden[first]), Schedule(25, optimiser=fast))
    assert error(blind, new, old) < straight
    assert error(told, new, old, hidden) < 0.7 * error(blind, new, old)


def test_fastfill_knows_which_items_it_gets_wrong():
    old, _, loud, _, noisy = spaces()
    labels = (old[:, 1] > 0).astype(np.int64)
    head = nn.Linear(NEW, 2)
    before = [p.detach().clone() for p in head.parameters()]
    module = UncertainTransform(ForwardTransform(OLD, NEW, hidden=32), OLD, hidden=32)
    done = train_fastfill(
        module,
        loader(old[:1000], loud[:1000], labels[:1000]),
        Schedule(12, optimiser=fast),
        new_head=head,
        weight=0.1,
    )
    mapped, s = transform_rows(module, old)
    apart = ((mapped - loud) ** 2).sum(1)[1000:]
    unseen, certain = s[1000:], ~noisy[1000:]
    assert unseen[~certain].mean() > unseen[certain].mean() + 1.0
    # the log variance is the logarithm of the error that is to be expected
    for part in (certain, ~certain):
        assert abs(np.log(apart[part].mean()) - unseen[part].mean()) < 0.7
    assert all(p.requires_grad for p in head.parameters())
    for a, b in zip(before, head.parameters(), strict=True):
        assert torch.equal(a, b)
    assert done.epochs == 12


def rotated(seed=0, new=6, old=6, stretch=0.6):
    """Unit rows of classes in the old space; the new one is turned and stretched."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, 800)
    z = rng.standard_normal((5, old))[labels] + 0.5 * rng.standard_normal((800, old))
    y = z / np.linalg.norm(z, axis=1, keepdims=True)
    turn = np.linalg.qr(rng.standard_normal((max(new, old),) * 2))[0][:old, :new]
    x = (y * np.linspace(1 - stretch, 1 + stretch, old)) @ turn
    x = x + 0.02 * rng.standard_normal(x.shape)
    return x.astype(np.float32), y.astype(np.float32), labels


@pytest.mark.parametrize("new", [4, 6, 9])
def test_a_strict_map_stays_orthogonal_and_still_learns(new):
    x, y, labels = rotated(new=new)
    adapters = LambdaAdapters(new, 6, strict=True)
    done = train_lambda_adapters(adapters, loader(y, x, labels), Schedule(8, optimiser=fast))
    assert adapters.departure < 1e-4
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    back, ahead = adapters(torch.from_numpy(x), torch.from_numpy(y))
    assert back.shape == ahead.shape == (800, max(new, 6))


def test_lambda_bounds_the_departure_and_what_it_allows_lowers_the_error():
    x, y, _ = rotated()
    rotation = joint_maps(Moments.of(x, y).second(), 0.0)
    departures, errors = [], []
    for lam in (0.1, 0.5, float("inf")):
        adapters = LambdaAdapters(6, 6, lam).start(rotation)
        done = train_lambda_adapters(
            adapters, loader(y, x), Schedule(25, optimiser=fast), terms=LambdaTerms(contrastive=0.0)
        )
        departures.append(adapters.departure)
        errors.append(done.history[-1]["backward"])
    assert departures == sorted(departures)
    assert departures[0] < 0.2
    assert departures[1] < 0.7
    assert errors == sorted(errors, reverse=True)
    assert done.history[-1]["departure"] == 0.0


def test_the_closed_form_start_is_taken_with_the_errors_that_it_states():
    x, y, _ = rotated()
    maps = joint_maps(Moments.of(x, y).second(), 0.2)
    adapters = LambdaAdapters(6, 6, 0.2 * 6**0.5).start(maps)
    assert adapters.departure == pytest.approx(maps.departure, abs=1e-5)
    squares = LambdaTerms(contrastive=0.0)
    done = train_lambda_adapters(
        adapters,
        loader(y, x),
        Schedule(1, optimiser=lambda m: torch.optim.SGD(m.parameters(), 0.0)),
        terms=squares,
    )
    assert done.history[0]["backward"] == pytest.approx(maps.backward_error, rel=1e-3)
    assert done.history[0]["forward"] == pytest.approx(maps.forward_error, rel=1e-3)
    assert "contrastive" not in done.history[0]


@pytest.mark.parametrize("new", [4, 6, 9])
def test_a_strict_start_is_the_rotation_of_the_closed_form(new):
    x, y, _ = rotated(new=new)
    maps = joint_maps(Moments.of(x, y).second(), 0.0)
    adapters = LambdaAdapters(new, 6, strict=True).start(maps)
    expected = x @ maps.backward.matrix + maps.backward.offset
    found = adapters.backward_map(torch.from_numpy(x)).detach()
    np.testing.assert_allclose(found, expected, atol=1e-4)
    loose = joint_maps(Moments.of(x, y).second(), 0.5)
    with pytest.raises(InputError, match="from orthogonal, and B is strict"):
        LambdaAdapters(new, 6, strict=True).start(loose)


def test_a_seed_decides_the_start_and_the_global_state_stays():
    state = torch.get_rng_state()
    one, same, other = (LambdaAdapters(5, 5, seed=s).backward_map.weight for s in (1, 1, 2))
    ForwardTransform(4, 4, seed=3)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_loss_that_is_not_finite_leaves_the_last_good_state():
    x, y, labels = rotated()
    x[700, 0] = np.inf
    adapters = LambdaAdapters(6, 6)
    before = adapters.backward_map.weight.detach().clone()
    with pytest.raises(DivergedError, match="not finite"):
        train_lambda_adapters(adapters, loader(y, x, labels), Schedule(2))
    assert torch.equal(before, adapters.backward_map.weight)


def a(*shape):
    return torch.ones(*shape)


def adapt(*batch, **more):
    return train_lambda_adapters(LambdaAdapters(6, 4, **more), [tuple(batch)], Schedule(1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LambdaAdapters(0, 4), "widths of 0 and 4"),
        (lambda: LambdaAdapters(4, 4, -1.0), "λ of -1"),
        (lambda: LambdaAdapters(4, 4, float("nan")), "λ of nan"),
        (lambda: adapt(a(5, 6), a(5, 4)), "have 6 and 4 dimensions, the adapters take 4 and 6"),
        (lambda: adapt(a(5, 4)), "1 part\\(s\\)"),
        (lambda: adapt(a(5, 4), a(4, 6)), "5 and 4 rows"),
        (lambda: ForwardTransform(0, 3), "widths are 1 or more"),
        (
            lambda: train_forward(ForwardTransform(4, 3), [(a(5, 7), a(5, 3))], Schedule(1)),
            "shape \\(5, 7\\) for a transform of width 4",
        ),
        (
            lambda: train_forward(ForwardTransform(4, 3), [(a(5, 4), a(5, 2))], Schedule(1)),
            "do not pair",
        ),
        (
            lambda: train_forward(
                ForwardTransform(4, 3, side=2), [(a(5, 4), a(5, 3))], Schedule(1)
            ),
            "side information of width 2",
        ),
        (
            lambda: train_fastfill(
                UncertainTransform(ForwardTransform(4, 3), 4), [(a(5, 4), a(5, 3))], Schedule(1)
            ),
            "2 part\\(s\\), and \\(old, new, labels\\[, side\\]\\)",
        ),
        (
            lambda: train_fastfill(
                UncertainTransform(ForwardTransform(4, 3), 4),
                [(a(5, 4), a(5, 3), torch.arange(5))],
                Schedule(1),
                new_head=nn.Linear(3, 4),
            ),
            "row 4: the label is 4",
        ),
        (lambda: transform_rows(nn.Linear(2, 2), np.ones((0, 2))), "no rows"),
        (lambda: LambdaAdapters(5, 5).start(maps_of(4)), "shape \\(4, 4\\) for one of \\(5, 5\\)"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def maps_of(d):
    rng = np.random.default_rng(0)
    return joint_maps(
        Moments.of(rng.standard_normal((50, d)), rng.standard_normal((50, d))).second()
    )


def test_frozen_adapters_are_refused():
    adapters = LambdaAdapters(6, 4).requires_grad_(False)
    with pytest.raises(InputError, match="every parameter is frozen"):
        train_lambda_adapters(adapters, [(a(5, 4), a(5, 6))], Schedule(1))
