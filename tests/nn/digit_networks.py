"""Small networks trained on scikit-learn's digits, for the tests of what happens inside them."""

from functools import lru_cache

import torch
from sklearn.datasets import load_digits
from torch import nn

from isthmus.training.batches import Batches
from isthmus.training.loop import seeded, train
from isthmus.training.schedule import Schedule


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x):
        return x + torch.relu(self.norm(self.conv(x)))


def plain(width=16):
    """Convolutions; layers 2, 5 and 8 end a stage."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width), nn.ReLU(),
        nn.Conv2d(2 * width, 2 * width, 3, padding=1, stride=2), nn.BatchNorm2d(2 * width),
        nn.ReLU(), nn.Flatten(), nn.Linear(8 * width, 10),
    )  # fmt: skip


class Joined(nn.Module):
    """A residual network with named stages."""

    def __init__(self, width=12):
        super().__init__()
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.one = nn.Sequential(Residual(width), nn.MaxPool2d(2))
        self.two = nn.Sequential(Residual(width), nn.MaxPool2d(2))
        self.head = nn.Linear(width * 4, 10)

    def forward(self, x):
        return self.head(self.two(self.one(self.stem(x))).flatten(1))


class Transformer(nn.Module):
    """A vision transformer over patches of 2 × 2, with a class token."""

    def __init__(self, width=32):
        super().__init__()
        self.patch = nn.Conv2d(1, width, 2, stride=2)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.place = nn.Parameter(torch.randn(1, 17, width) * 0.1)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 64, dropout=0.0, batch_first=True)
            for _ in range(2)
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x):
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.place
        for block in self.blocks:
            x = block(x)
        return self.head(x[:, 0])


@lru_cache
def digits():
    """Images ``(n, 1, 8, 8)`` and labels, for training and for testing."""
    data = load_digits()
    x = torch.from_numpy(data.images).float()[:, None] / 16
    y = torch.from_numpy(data.target).long()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train_rows, test_rows = order[:1200], order[1200:]
    return x[train_rows], y[train_rows], x[test_rows], y[test_rows]


@lru_cache
def trained(kind, width, seed=0, epochs=6):
    x, y, _, _ = digits()
    with seeded(seed):
        net = {"plain": plain, "residual": Joined, "transformer": Transformer}[kind](width)
    train(
        net,
        lambda m, batch: nn.functional.cross_entropy(m(batch[0]), batch[1]),
        Batches(x, y, size=64, seed=seed),
        Schedule(epochs, optimiser=lambda m: torch.optim.Adam(m.parameters(), 3e-3), seed=seed),
    )
    return net.eval()


def accuracy(net, x=None, y=None):
    if x is None:
        _, _, x, y = digits()
    with torch.no_grad():
        return float((net(x).argmax(1) == y).float().mean())


def calibration(size=250):
    x, _, _, _ = digits()
    return list(x[:1000].split(size))
