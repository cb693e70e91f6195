"""Compatible encoders on scikit-learn's digits: what training alone cannot do, each method does."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
datasets = pytest.importorskip("sklearn.datasets")

from torch import nn  # noqa: E402

from isthmus.errors import DivergedError, InputError  # noqa: E402
from isthmus.evaluate import Resampling, from_labels  # noqa: E402
from isthmus.nn.compat import (  # noqa: E402
    compatibility_matrix,
    encode,
    train_bct,
    train_independent,
    train_simplex,
)
from isthmus.nn.compat.encoder import OldEncoder  # noqa: E402
from isthmus.nn.compat.forward import (  # noqa: E402
    ForwardTransform,
    UncertainTransform,
    train_fastfill,
)
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402
from isthmus.training.unfreezing import GradualUnfreezing  # noqa: E402

CLASSES, WIDTH, FEW = 10, 16, 100


def network(seed, width=WIDTH, hidden=48):
    with seeded(seed):
        return nn.Sequential(
            nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, width)
        )


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Fixtures of the module run before the limit that each test sets."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    data = datasets.load_digits()
    x = torch.tensor(data.data / 16.0, dtype=torch.float32)
    y = torch.tensor(data.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    return x[order[:900]], y[order[:900]], x[order[900:]], y[order[900:]]


def batches(digits, n=900):
    x, y, _, _ = digits
    return Batches(x[:n], y[:n], size=50, drop_last=True)


def adam(module):
    return torch.optim.Adam(module.parameters(), 3e-3)


SCALE = 4.0


def ten(seed=0):
    return Schedule(10, optimiser=adam, seed=seed)


@pytest.fixture(scope="module")
def old(digits):
    """Learnt from few images."""
    return train_independent(network(1), batches(digits, FEW), ten(1), classes=CLASSES, scale=SCALE)


def matrix(digits, *encoders):
    _, _, x, y = digits
    rows = [encode(e, Batches(x, y, size=256, shuffle=False))[0] for e in encoders]
    own = np.arange(len(y))
    relevance = from_labels(y.numpy(), y.numpy(), exclude=own)
    return compatibility_matrix(
        rows, rows, relevance, names=("old", "new"), exclude=own, resampling=Resampling(200)
    )


@pytest.fixture(scope="module")
def independent(digits):
    return train_independent(network(2), batches(digits), ten(2), classes=CLASSES, scale=SCALE)


def test_an_independent_model_is_better_alone_and_at_chance_among_old_vectors(
    digits, old, independent
):
    found = matrix(digits, old.encoder, independent.encoder)
    cmc, mean = found["cmc@1"], found["map"]
    assert mean.values[1, 1] > mean.values[0, 0] + 0.05
    assert cmc.values[1, 0] < 0.2
    assert not mean.compatible("new", "old")
    assert mean.scores.average_compatibility == 0


def test_bct_leaves_out_classes_that_the_old_model_did_not_know(digits) -> None:
    x, y, *_ = digits
    rows = nn.functional.normalize(torch.randn(10, 16, generator=torch.Generator().manual_seed(0)))
    rows[7:] = 0
    known, others = ((x[kept][:64], y[kept][:64]) for kept in (y < 7, y >= 7))
    still = Schedule(1, optimiser=lambda model: torch.optim.SGD(model.parameters(), lr=0.0))
    new = train_bct(network(3), [known, others], rows, still, scale=SCALE)
    features = nn.functional.normalize(network(3)(known[0]), dim=1)
    told = nn.functional.cross_entropy(SCALE * features @ rows[:7].T, known[1])
    # the batch of unknown classes alone adds nothing
    assert new.trained.history[0]["influence"] == pytest.approx(told.item() / 2, rel=1e-4)


@pytest.mark.parametrize("width", [WIDTH, 24])
def test_bct_finds_more_in_the_old_gallery_than_the_old_model(digits, old, width):
    rows = old.head.weight.detach()
    new = train_bct(network(2, width), batches(digits), rows, ten(2), scale=SCALE)
    _, _, x, y = digits
    old_rows, _ = encode(old.encoder, Batches(x, y, size=256, shuffle=False))
    new_rows, _ = encode(new.encoder, Batches(x, y, size=256, shuffle=False))
    own = np.arange(len(y))
    found = compatibility_matrix(
        [old_rows, new_rows[:, :WIDTH]], [old_rows, new_rows[:, :WIDTH]],
        from_labels(y.numpy(), y.numpy(), exclude=own), names=("old", "new"), exclude=own,
        resampling=Resampling(200),
    )["map"]  # fmt: skip
    assert found.compatible("new", "old")
    assert found.values[1, 1] > found.values[0, 0]
    assert found.gains["new", "old"].value > 0


def test_models_that_learn_the_fixed_simplex_meet_without_knowing_each_other(digits):
    first = train_simplex(network(1), batches(digits, FEW), ten(), classes=CLASSES, scale=SCALE)
    second = train_simplex(network(2), batches(digits), ten(), classes=CLASSES, scale=SCALE)
    found = matrix(digits, first.encoder, second.encoder)["map"]
    assert found.compatible("new", "old")
    assert torch.equal(first.head.weight, second.head.weight)


def test_contrastive_distillation_draws_features_to_the_old_ones(digits):
    first = train_simplex(network(1), batches(digits, FEW), ten(), classes=CLASSES, scale=SCALE)
    before = {n: t.clone() for n, t in first.encoder.state_dict().items()}
    first.encoder.train()
    x = digits[2]

    def nearness(encoder):
        encoder.eval()
        with torch.no_grad():
            there = nn.functional.cosine_similarity(encoder(x), first.encoder.eval()(x))
        return float(there.mean())

    alone = train_simplex(network(2), batches(digits), ten(), classes=CLASSES, scale=SCALE)
    first.encoder.train()
    drawn = train_simplex(
        network(2),
        batches(digits),
        ten(),
        classes=CLASSES,
        scale=SCALE,
        old=OldEncoder(first.encoder, mix=0.3),
    )
    assert first.encoder.training
    assert all(torch.equal(t, before[n]) for n, t in first.encoder.state_dict().items())
    assert nearness(drawn.encoder) > nearness(alone.encoder) + 0.05
    assert matrix(digits, first.encoder, drawn.encoder)["map"].compatible("new", "old")


def test_training_repeats_bit_by_bit_and_leaves_the_global_state(digits):
    state = torch.get_rng_state()
    first, second = (
        train_independent(
            network(3), batches(digits), Schedule(2, optimiser=adam, seed=5), classes=CLASSES
        )
        for _ in range(2)
    )
    assert torch.equal(state, torch.get_rng_state())
    for a, b in zip(first.encoder.parameters(), second.encoder.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "2 epochs" in str(first)


class Wrong(nn.Module):
    def __init__(self, make):
        super().__init__()
        self.weight, self.make = nn.Parameter(torch.ones(1)), make

    def forward(self, x):
        return self.make(x * self.weight)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x: x.reshape(-1, 8, 8), "shape \\(1, 8, 8\\)"),
        (lambda x: x.sum(0), "shape \\(64,\\)"),
        (lambda x: (x, x), "the output is a tuple"),
        (lambda x: x.long(), "torch.int64"),
    ],
)
def test_an_encoder_that_gives_no_rows_is_refused_before_training(digits, make, message):
    with pytest.raises(InputError, match=message):
        train_independent(Wrong(make), batches(digits), Schedule(1), classes=CLASSES)


def test_a_frozen_encoder_is_refused_unless_a_plan_unfreezes_it(digits):
    frozen = network(1).requires_grad_(False)
    for call in (
        lambda **more: train_independent(frozen, batches(digits), Schedule(1), classes=10, **more),
        lambda **more: train_bct(frozen, batches(digits), torch.ones(10, 16), Schedule(1), **more),
        lambda **more: train_simplex(frozen, batches(digits), Schedule(1), classes=10, **more),
    ):
        with pytest.raises(InputError, match="every parameter of the encoder is frozen"):
            call()
    done = train_independent(
        frozen,
        batches(digits),
        Schedule(1, before_epoch=lambda model, epoch: model.requires_grad_(True)),
        classes=10,
    )
    assert done.trained.epochs == 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda b: train_bct(network(1, 8), b, torch.ones(10, 16), Schedule(1)),
            "8 dimensions and",
        ),
        (lambda b: train_bct(network(1), b, torch.zeros(10, 16), Schedule(1)), "other than zero"),
        (
            lambda b: train_bct(network(1), b, torch.full((10, 16), torch.inf), Schedule(1)),
            "not finite",
        ),
        (lambda b: train_bct(network(1), b, torch.ones(9, 16), Schedule(1)), "there are 9 classes"),
        (lambda b: train_independent(network(1), b, Schedule(1), classes=11), "1 of 11 classes"),
        (lambda b: train_simplex(network(1, 8), b, Schedule(1), classes=10), "needs 9 dimensions"),
        (
            lambda b: train_simplex(
                network(1), b, Schedule(1), classes=10, old=OldEncoder(network(2, 20))
            ),
            "16 dimensions and the old ones 20",
        ),
        (
            lambda b: train_simplex(
                network(1), b, Schedule(1), classes=10, old=OldEncoder(network(2), mix=0)
            ),
            "\\(0, 1\\]",
        ),
        (lambda b: train_independent(network(1), [], Schedule(1), classes=10), "no batches"),
        (
            lambda b: train_independent(network(1), [torch.zeros(4, 64)], Schedule(1), classes=2),
            "no pair of images and labels",
        ),
        (
            lambda b: train_independent(
                network(1), [(torch.zeros(4, 64), torch.tensor([0, 1, 0]))], Schedule(1), classes=2
            ),
            "4 and 3 rows",
        ),
    ],
)
def test_bad_input_is_named(digits, call, message):
    with pytest.raises(InputError, match=message):
        call(batches(digits))


class Streamed:
    """Labels that are not known before they come."""

    def __init__(self, labels):
        self.labels = labels

    def __len__(self):
        return 1

    def __iter__(self):
        yield torch.randn(4, 64), torch.tensor(self.labels)


def test_labels_of_a_stream_are_checked_as_they_come():
    with pytest.raises(InputError, match="row 2: the label is 3"):
        train_independent(network(1), Streamed([0, 1, 3, 1]), Schedule(1), classes=3)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(digits):
    encoder = network(1)
    x, y, _, _ = digits
    x = x.clone()
    x[10, 3] = torch.nan
    before = [p.detach().clone() for p in encoder.parameters()]
    with pytest.raises(DivergedError, match="last good state"):
        train_independent(encoder, Batches(x, y, size=64), Schedule(1), classes=CLASSES)
    for a, b in zip(before, encoder.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_plan_of_unfreezing_is_about_the_encoder_and_short_labels_serve():
    with seeded(0):
        encoder = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 6))
        x, labels = torch.randn(64, 8), (torch.arange(64) % 3).to(torch.int16)
    train_bct(
        encoder,
        [(x, labels)],
        torch.randn(3, 6),
        Schedule(2, before_epoch=GradualUnfreezing(encoder)),
    )
    with pytest.raises(InputError, match=r"no parameter '0.weight' in this Linear"):
        GradualUnfreezing(encoder)(nn.Linear(2, 2), 0)


def test_the_head_that_fastfill_learns_from_is_left_as_it_is():
    with seeded(0):
        head = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
        x, y, labels = torch.randn(64, 8), torch.randn(64, 6), torch.arange(64) % 3
        transform = UncertainTransform(ForwardTransform(8, 6, hidden=8), 8, hidden=8)
    train_fastfill(transform, [(x, y, labels)], Schedule(2), new_head=head)
    assert torch.equal(head[0].running_mean, torch.zeros(6)) and head[0].training


@pytest.mark.parametrize("given", [False, True])
def test_the_rate_of_fastfill_falls_unless_the_schedule_says_another(given: bool) -> None:
    with seeded(0):
        x, y, labels = torch.randn(64, 8), torch.randn(64, 6), torch.arange(64) % 3
        transform = UncertainTransform(ForwardTransform(8, 6, hidden=8), 8, hidden=8)
    made = []

    def optimiser(module: nn.Module) -> torch.optim.Optimizer:
        made.append(torch.optim.SGD(module.parameters(), lr=0.1))
        return made[0]

    def constant(it: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LambdaLR:
        return torch.optim.lr_scheduler.LambdaLR(it, lambda _: 1.0)

    schedule = Schedule(3, optimiser=optimiser, scheduler=constant if given else None)
    train_fastfill(transform, [(x, y, labels)] * 2, schedule)
    assert made[0].param_groups[0]["lr"] == pytest.approx(0.1 if given else 0.0)
