import math
import statistics

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.curriculum import Curriculum  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.sampling import (  # noqa: E402
    Balanced,
    MixedLoaders,
    SampledBatches,
    effective_number_weights,
)
from isthmus.training.schedule import Schedule  # noqa: E402


@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=8),
    st.floats(0.0, 0.9999),
)
def test_weights_are_the_inverse_of_the_effective_number(counts, beta):
    found = effective_number_weights(counts, beta).tolist()
    # 1 + β + β² + … + βⁿ⁻¹, summed
    numbers = [math.fsum(beta**i for i in range(n)) if beta else 1.0 for n in counts]
    raw = [1 / number for number in numbers]
    expected = [w * len(raw) / sum(raw) for w in raw]
    assert found == pytest.approx(expected, rel=1e-8)


def test_the_ends_of_beta_are_no_weight_and_the_inverse_frequency():
    assert effective_number_weights([3, 60], 0).tolist() == [1, 1]
    low, high = effective_number_weights([3, 60], 1).tolist()
    assert low / high == pytest.approx(20)
    assert effective_number_weights([3, 60], 1 - 1e-12).tolist() == pytest.approx([low, high])


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.sampled_from([0.0, 0.9, 0.999, 1.0]),
    st.integers(0, 100),
)
def test_every_class_has_its_share_and_every_row_of_it_comes_equally_often(counts, beta, seed):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sampler = Balanced(labels, beta=beta, rows=97, seed=seed)
    rows = sampler.order(4)
    assert len(rows) == len(sampler) == 97
    weights = effective_number_weights(counts, beta) * torch.tensor(counts)
    share = weights / weights.sum() * 97
    times = torch.bincount(labels[rows], minlength=len(counts))
    assert bool(((times - share).abs() < 1 + 1e-6).all())
    each = torch.bincount(rows, minlength=len(labels))
    for c in range(len(counts)):
        own = each[labels == c]
        assert int(own.max() - own.min()) <= 1


def test_orders_differ_by_epoch_and_by_seed_and_repeat():
    labels = torch.tensor([0] * 50 + [1] * 5)
    sampler = Balanced(labels, seed=1)
    assert torch.equal(sampler.order(2), Balanced(labels, seed=1).order(2))
    assert not torch.equal(sampler.order(2), sampler.order(3))
    assert not torch.equal(sampler.order(2), Balanced(labels, seed=2).order(2))
    sampler.set_epoch(2)
    assert list(sampler) == sampler.order(2).tolist()


def test_a_class_without_rows_is_refused_or_left_away_as_asked():
    labels = [0, 0, 2, 2, 2]
    with pytest.raises(InputError, match=r"class 1 has no rows.*no weight makes up"):
        Balanced(labels, classes=3)
    assert Balanced(labels).counts.tolist() == [2, 3]
    for bad, match in (
        ({"labels": []}, "one integer label"),
        ({"labels": [0.5, 1.0]}, "one integer label"),
        ({"labels": [0, 3], "classes": 2}, "run from 0 to 3, and there are 2"),
        ({"labels": [0, 1], "beta": 1.5}, "beta lies"),
        ({"labels": [0, 1], "rows": 0}, "1 row or more"),
    ):
        with pytest.raises(InputError, match=match):
            Balanced(**bad)


def test_a_data_loader_takes_it_as_its_sampler():
    labels = torch.tensor([0] * 90 + [1] * 10)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(labels), batch_size=20, sampler=Balanced(labels, beta=1.0)
    )
    seen = torch.cat([batch[0] for batch in loader])
    assert len(loader) == 5 and torch.bincount(seen).tolist() == [50, 50]


def test_batches_of_a_sampler_are_its_rows():
    x = torch.arange(30)
    loader = SampledBatches(x, x, sampler=Balanced(x % 3, seed=5), size=8)
    loader.set_epoch(3)
    batches = list(loader)
    assert [len(b[0]) for b in batches] == [8, 8, 8, 6] and len(loader) == 4
    assert torch.equal(torch.cat([b[0] for b in batches]), Balanced(x % 3, seed=5).order(3))
    short = SampledBatches(x[:10], sampler=Balanced(x % 3), size=8)
    with pytest.raises(InputError, match=r"names row \d+ of 10"):
        next(iter(short))


def test_the_worst_class_rises_on_digits_of_which_three_are_rare():
    datasets = pytest.importorskip("sklearn.datasets")
    digits = datasets.load_digits()
    x = torch.tensor(digits.data, dtype=torch.float32) / 16 - 0.3
    y = torch.tensor(digits.target)
    worst, mean = {0.0: [], 0.999: []}, {0.0: [], 0.999: []}
    for seed in range(3):
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        fit, test = order[:1200], order[1200:]
        kept = torch.cat([fit[y[fit] == c][: 6 if c in (3, 8, 9) else 120] for c in range(10)])
        for beta in worst:
            with seeded(seed):
                net = nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))
            sampler = Balanced(y[kept], beta=beta, seed=seed)
            train(
                net,
                lambda m, b: functional.cross_entropy(m(b[0]), b[1]),
                SampledBatches(x[kept], y[kept], sampler=sampler, size=64),
                Schedule(12, optimiser=lambda m: torch.optim.Adam(m.parameters(), 3e-3)),
            )
            with torch.no_grad():
                right = (net(x[test]).argmax(1) == y[test]).float()
            worst[beta].append(min(float(right[y[test] == c].mean()) for c in range(10)))
            mean[beta].append(float(right.mean()))
    # measured about 0.05 and 0.7
    assert all(b > a + 0.3 for a, b in zip(worst[0.0], worst[0.999], strict=True))
    assert statistics.mean(mean[0.999]) > statistics.mean(mean[0.0]) + 0.1


def mixed(**options):
    return MixedLoaders(
        {
            "image": Batches(torch.arange(90), size=1, seed=1),
            "sound": Batches(torch.arange(100, 110), size=1, seed=2),
        },
        **options,
    )


@pytest.mark.parametrize(
    ("temperature", "times"),
    [(1.0, {"image": 90, "sound": 10}), (2.0, {"image": 75, "sound": 25}), (math.inf, 50)],
)
def test_loaders_are_mixed_by_their_size_and_the_temperature(temperature, times):
    loader = mixed(temperature=temperature)
    names = [name for name, _ in loader]
    counts = {n: names.count(n) for n in ("image", "sound")}
    assert len(names) == len(loader) == 100
    assert counts == (times if isinstance(times, dict) else {"image": 50, "sound": 50})
    assert names != sorted(names)


def test_an_epoch_goes_on_where_the_last_one_stopped():
    loader = mixed(temperature=2.0, batches=40)
    seen = {"image": [], "sound": []}
    for epoch in range(3):
        loader.set_epoch(epoch)
        for name, batch in loader:
            seen[name] += batch.tolist()
    # 30 of 90 and 10 of 10 in every epoch
    assert sorted(seen["image"]) == list(range(90))
    assert sorted(seen["sound"]) == sorted([*range(100, 110)] * 3)
    later = mixed(temperature=2.0, batches=40)
    later.set_epoch(2)
    again = [(name, batch.item()) for name, batch in later]
    assert [v for n, v in again if n == "image"] == seen["image"][60:]
    assert [v for n, v in again if n == "sound"] == seen["sound"][20:]
    loader.set_epoch(2)
    assert [(name, batch.item()) for name, batch in loader] == again


def test_a_mixture_trains_a_network_with_an_entrance_for_each():
    with seeded(0):
        net = nn.ModuleDict({"a": nn.Linear(3, 4), "b": nn.Linear(5, 4)})
        loader = MixedLoaders(
            {
                name: Batches(torch.randn(64, d), torch.randn(64, 4), size=16)
                for name, d in (("a", 3), ("b", 5))
            }
        )
    before = {n: p.detach().clone() for n, p in net.named_parameters()}

    class Entrances(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, name, x):
            return self.net[name](x)

    done = train(
        Entrances(),
        lambda m, b: functional.mse_loss(m(b[0], b[1][0]), b[1][1]),
        loader,
        Schedule(5, optimiser=lambda m: torch.optim.Adam(m.parameters(), 0.02)),
    )
    assert done.history[-1]["loss"] < done.history[0]["loss"]
    assert all(not torch.equal(before[n], p) for n, p in net.named_parameters())


def test_loaders_that_cannot_be_mixed_are_refused():
    with pytest.raises(InputError, match="no loaders"):
        MixedLoaders({})
    with pytest.raises(InputError, match=r"loader b: the loader has no batches"):
        MixedLoaders({"a": [1], "b": []})
    with pytest.raises(InputError, match=r"loader a: the loader has no length.*not a generator"):
        MixedLoaders({"a": iter([1])})
    with pytest.raises(InputError, match="temperature is positive"):
        MixedLoaders({"a": [1]}, temperature=0)
    with pytest.raises(InputError, match=r"loader b: a share of .* of 10 batches is none"):
        MixedLoaders({"a": [1] * 1000, "b": [1]}, batches=10)

    class Short(list):
        def __len__(self):
            return 5

    with pytest.raises(InputError, match="fewer batches than its length"):
        list(MixedLoaders({"a": Short([1, 2])}))


def test_passes_whose_length_grows_are_walked_through_in_order():
    def mixed():
        curriculum = Curriculum(torch.arange(40.0), lambda epoch: min(1.0, 0.25 * (epoch + 1)))
        loader = SampledBatches(torch.arange(40), size=4, sampler=curriculum)
        return MixedLoaders({"a": loader}, batches=4)

    def rows(loader, epoch):
        loader.set_epoch(epoch)
        return torch.cat([batch for _, batch in loader]).tolist()

    whole = mixed()
    run = [rows(whole, epoch) for epoch in range(8)]
    assert all(rows(mixed(), epoch) == run[epoch] for epoch in range(8))
    # of 32 batches, passes of 3, 5, 8 and 10: everything was seen
    assert {row for rows_of_run in run for row in rows_of_run} == set(range(40))
