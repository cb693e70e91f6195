import itertools

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
datasets = pytest.importorskip("sklearn.datasets")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.curriculum import Curriculum, item_losses, pacing  # noqa: E402
from isthmus.training.loop import seeded, train  # noqa: E402
from isthmus.training.sampling import SampledBatches  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402


def digits(seed):
    data = datasets.load_digits()
    x = torch.tensor(data.data, dtype=torch.float32) / 16 - 0.3
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order], torch.tensor(data.target)[order]


@pytest.mark.parametrize("shape", ["linear", "root", "step"])
def test_a_pace_rises_from_its_start_to_everything(shape):
    shares = [pacing(e, start=0.2, epochs=8, shape=shape, steps=4) for e in range(12)]
    assert shares[0] == pytest.approx(0.2) and shares[8:] == [1.0] * 4
    assert all(a <= b for a, b in itertools.pairwise(shares))
    assert pacing(0, start=0.2, epochs=0, shape=shape) == 1.0


def test_the_paces_are_those_of_their_papers():
    assert pacing(4, start=0.2, epochs=8) == pytest.approx(0.6)
    assert pacing(4, start=0.2, epochs=8, shape="root") == pytest.approx((0.5 * 1.04) ** 0.5)
    assert [pacing(e, start=0.4, epochs=6, shape="step", steps=3) for e in range(6)] == (
        pytest.approx([0.4, 0.4, 0.6, 0.6, 0.8, 0.8])
    )
    for bad in ({"start": 0}, {"start": 1.1}, {"epochs": -1}, {"steps": 0}):
        with pytest.raises(InputError, match="cannot pace"):
            pacing(1, **bad)
    with pytest.raises(InputError, match="no pace 'cubic'"):
        pacing(1, shape="cubic")


def test_an_epoch_takes_the_easiest_rows_and_of_every_class_where_asked():
    difficulty = torch.tensor([5.0, 1.0, 4.0, 2.0, 3.0, 0.0])
    easy = Curriculum(difficulty, lambda epoch: 0.5 if epoch == 0 else 1.0)
    assert sorted(easy.order(0).tolist()) == [1, 3, 5] and len(easy) == 3
    assert sorted(easy.order(1).tolist()) == list(range(6))
    labels = [0, 0, 0, 1, 1, 1]
    fair = Curriculum(difficulty, lambda epoch: 1 / 3, labels=labels)
    assert sorted(fair.order(0).tolist()) == [1, 5]
    tied = Curriculum(torch.zeros(6), lambda epoch: 1 / 2)
    assert sorted(tied.order(0).tolist()) == [0, 1, 2]


def test_bad_curricula_are_refused():
    with pytest.raises(InputError, match=r"difficulty, row 1: a difficulty is not finite"):
        Curriculum([1.0, float("nan")])
    with pytest.raises(InputError, match="one difficulty for every row"):
        Curriculum([])
    with pytest.raises(InputError, match="1 labels for 2 rows"):
        Curriculum([1.0, 2.0], labels=[0])
    with pytest.raises(InputError, match=r"share of epoch 3 is 0"):
        Curriculum([1.0], lambda epoch: 0).order(3)
    with pytest.raises(InputError, match="no batches"):
        item_losses(nn.Linear(2, 2), [], lambda m, b: m(b)[:, 0])
    with pytest.raises(InputError, match=r"shape \(\).*reduction='none'"):
        item_losses(nn.Linear(2, 2), [torch.ones(3, 2)], lambda m, b: m(b).mean())


def each(module, batch):
    return functional.cross_entropy(module(batch[0]), batch[1], reduction="none")


def test_a_given_loss_is_reached_with_fewer_wrong_labels():
    reached = {"plain": [], "curriculum": []}
    wrong_used = []
    for seed in range(3):
        x, y = digits(seed)
        fit, test = slice(0, 1200), slice(1200, None)
        generator = torch.Generator().manual_seed(seed)
        wrong = torch.rand(1200, generator=generator) < 0.4
        labels = torch.where(wrong, torch.randint(10, (1200,), generator=generator), y[fit])
        wrong = labels != y[fit]

        def net(at=seed):
            with seeded(at):
                return nn.Sequential(nn.Linear(64, 48), nn.ReLU(), nn.Linear(48, 10))

        def fitted(module, loader, epochs, validate=None, at=seed):
            return train(
                module,
                lambda m, b: each(m, b).mean(),
                loader,
                Schedule(
                    epochs, seed=at, optimiser=lambda m: torch.optim.Adam(m.parameters(), 3e-3)
                ),
                validate=validate,
            )

        # each half is judged by a network that learned the other, wrong labels and all
        difficulty = torch.empty(1200)
        for one, other in ((slice(0, 600), slice(600, 1200)), (slice(600, 1200), slice(0, 600))):
            judge = net(seed + 50)
            fitted(judge, Batches(x[fit][one], labels[one], size=64), 6)
            ordered = Batches(x[fit][other], labels[other], shuffle=False)
            difficulty[other] = item_losses(judge, ordered, each)
        curriculum = Curriculum(difficulty, lambda e: min(0.6, 0.3 + 0.03 * e), labels=labels)
        loaders = {
            "plain": Batches(x[fit], labels, size=64),
            "curriculum": SampledBatches(x[fit], labels, sampler=curriculum, size=64),
        }
        for name, loader in loaders.items():
            done = fitted(
                net(), loader, 16,
                validate=lambda m, x=x[test], y=y[test]: float(functional.cross_entropy(m(x), y)),
            )  # fmt: skip
            reached[name].append(min(record["validation"] for record in done.history))
        wrong_used.append(float(wrong[curriculum.order(15)].float().mean()))
        assert float(wrong.float().mean()) > 0.3
    # measured 0.65 and 0.4; 0.36 of the labels wrong, and 0.08 of those that were used
    assert all(b < a - 0.1 for a, b in zip(*reached.values(), strict=True))
    assert max(wrong_used) < 0.15
