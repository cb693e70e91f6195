"""Tuning on what both networks returned beforehand: the same descent, fewer runs, bad input."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("sklearn")

from digit_networks import accuracy, calibration, digits, trained  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

from isthmus.errors import InputError  # noqa: E402
from isthmus.nn.look.weights_digest import weights_digest  # noqa: E402
from isthmus.nn.stitching.options import StitchOptions  # noqa: E402
from isthmus.nn.stitching.stitched import stitch  # noqa: E402
from isthmus.nn.stitching.teachers import Teachers  # noqa: E402
from isthmus.training.augment import Warp  # noqa: E402
from isthmus.training.batches import Batches  # noqa: E402
from isthmus.training.loop import seeded  # noqa: E402
from isthmus.training.schedule import Schedule  # noqa: E402

FEATURES = StitchOptions(how="features")


def small():
    """Two networks that score two classes, and rows."""
    with seeded(0):
        front, back = (
            nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Dropout(0.5), nn.Linear(6, 2))
            for _ in range(2)
        )
        x = torch.randn(120, 4)
    return front, back, x


class Counted(nn.Module):
    """Counts the rows that a network is run on."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.rows = inner, 0

    def forward(self, x):
        self.rows += len(x)
        return self.inner(x)


class Noisy(Batches):
    def __iter__(self):
        return (x + 0.1 * torch.randn(x.shape) for x in super().__iter__())


@pytest.mark.parametrize("who", ["back", "both"])
def test_what_is_wanted_is_what_the_networks_answer_in_evaluation(who):
    front, back, x = small()
    made = stitch(front, "1", back, "1", [x])
    front.train()
    back.train()
    kept = Teachers(made.front, made.back, who).kept(
        [x[:70], x[70:]], 2, seed=0, progress=lambda *_: None
    )
    assert front.training and back.training
    activations, wanted = kept.tensors
    front.eval()
    back.eval()
    with torch.no_grad():
        torch.testing.assert_close(activations, front[1](front[0](torch.cat([x, x]))))
        expected = back(torch.cat([x, x]))
        if who == "both":
            expected = (front(torch.cat([x, x])).softmax(1) + expected.softmax(1)) / 2
    torch.testing.assert_close(wanted, expected)
    assert kept.size == 70 and not wanted.requires_grad
    teachers = Teachers(made.front, made.back, who)
    least = expected.log() if who == "both" else expected
    assert float(teachers.loss(least, wanted)) == pytest.approx(0, abs=1e-6)
    assert float(teachers.loss(least + torch.eye(2).repeat(120, 1), wanted)) > 0.01


def test_the_networks_run_once_for_every_pass_and_never_in_a_step():
    front, back, x = small()
    front, back = Counted(front.eval()), Counted(back.eval())
    made = stitch(front, "inner.1", back, "inner.1", [x])
    told = []
    front.rows = back.rows = 0
    before = [weights_digest(net) for net in (front, back)]
    done = made.finetune(
        Noisy(x[:100], size=20),
        Schedule(6),
        teachers="both",
        passes=3,
        validation=[x[100:]],
        progress=lambda *event: told.append(event),
    )
    assert front.rows == 3 * 100 + 20
    # the back runs behind the cut on one stored item in every step, and on the validation
    assert back.rows == 3 * 100 + 20 + 6 * 15 + 7
    assert done.epochs == 6
    assert [weights_digest(net) for net in (front, back)] == before
    assert ("run both networks", 15, 15) in told
    assert ("train", 6 * 15, 6 * 15) in told
    assert all(p.requires_grad for p in made.parameters())


def test_every_pass_sees_the_batches_anew_and_a_seed_repeats_it():
    front, back, x = small()
    made = stitch(front.eval(), "1", back.eval(), "1", [x])
    teachers = Teachers(made.front, made.back, "both")

    def kept(seed):
        found = teachers.kept(Noisy(x, size=40), 2, seed=seed, progress=lambda *_: None)
        return found.tensors[0]

    one, again, other = kept(0), kept(0), kept(1)
    assert torch.equal(one, again) and not torch.equal(one, other)
    assert not torch.equal(one[:120].sort(0).values, one[120:].sort(0).values)


def test_tuning_on_kept_passes_gains_what_tuning_on_the_networks_gains():
    class Warped(Batches):
        warp = Warp(turn=5, stretch=0.08, shear=0.05, move=0.7)

        def __iter__(self):
            return (self.warp(images) for images in super().__iter__())

    networks = {"A": trained("plain", 16, 0), "C": trained("residual", 12, 2)}
    x = digits()[0][:1000]
    made = stitch(networks["C"], "one", networks["A"], "2", calibration(), FEATURES)
    start = accuracy(made)
    batches = Warped(x[:900], size=50)
    done = made.finetune(
        batches, Schedule(1), teachers="both", passes=4, rate=0.01, validation=[x[900:]]
    )
    assert done.best_epoch == 1
    assert accuracy(made) > start + 0.03


def test_bad_passes_are_refused():
    front, back, x = small()
    made = stitch(front, "1", back, "1", [x])
    with pytest.raises(InputError, match="0 passes"):
        made.finetune([x], passes=0)
    with pytest.raises(InputError, match="reads the batch"):
        made.finetune([x], passes=1, loss=lambda output, batch: functional.mse_loss(output, output))
    with pytest.raises(InputError, match="no batches to train"):
        made.finetune([], passes=1)

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 2)

        def forward(self, rows, mask):
            return self.two(self.one(rows) * mask)

    with seeded(1):
        masked = Masked()
    batch = {"rows": x, "mask": (torch.arange(120) % 3 > 0).float()[:, None]}
    made = stitch(masked, "one", masked, "one", [batch])
    assert made.back.follows_batch
    with pytest.raises(InputError, match="Leave passes away"):
        made.finetune([batch], passes=1)
    # what was refused has frozen nothing
    assert all(p.requires_grad for p in made.parameters())
    made.finetune([batch], Schedule(1))
