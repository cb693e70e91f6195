"""What carries over from one network to another: similarity, probes, stitches, teaching, reuse."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.arrays import Array
from benchmarks.study.structure_networks import GRID, Network
from isthmus.adapters import Ridge
from isthmus.similarity import compare

__all__ = ["Items", "Side", "joined", "similarity", "stitched", "transferred_probe"]

ALPHA = 1e-3
Items = tuple[Tensor, Tensor]
"""Images and labels."""


@dataclass(frozen=True, eq=False)
class Side:
    """A trained network, with what it makes of the calibration and of the test images."""

    network: Network
    features: Array
    """Of the training images ``(n, d)``, in whose first rows the calibration images are."""
    test_features: Array
    grid: Array
    """Channels at every position of the cut, of the calibration images ``(n · positions, c)``."""

    @classmethod
    @torch.no_grad()
    def of(cls, network: Network, train: Tensor, test: Tensor, calibration: int) -> Side:
        front = network.front(train[:calibration])
        return cls(
            network,
            network.embed(train).numpy(),
            network.embed(test).numpy(),
            front.permute(0, 2, 3, 1).flatten(0, 2).numpy(),
        )

    def accuracy(self, items: Items) -> float:
        return scored(self.network, items)[1]


def similarity(one: Side, other: Side, labels: Array, *, permute: int | None = None) -> dict:
    """Debiased CKA of the test features, as they are and within classes.

    Without the class means nothing is left that both networks were told by their labels.
    """
    x, y = one.test_features, other.test_features
    if permute is not None:
        y = y[np.random.default_rng(permute).permutation(len(y))]
    values = {"cka": _cka(x, y)}
    if permute is None:
        values["cka within classes"] = _cka(_centred(x, labels), _centred(y, labels))
    return values


def transferred_probe(
    one: Side,
    other: Side,
    train: Array,
    test: Array,
    calibration: int,
    *,
    permute: int | None = None,
) -> float:
    """Accuracy of a linear probe of one network's features on those of the other, mapped."""
    target = np.eye(train.max() + 1, dtype=np.float32)[train]
    probe = Ridge(ALPHA).fit(one.features, target)
    rows = _order(calibration, permute)
    to_one = Ridge(ALPHA).fit(other.features[:calibration], one.features[:calibration][rows])
    found = probe.transform(to_one.transform(other.test_features)).argmax(axis=1)
    return float((found == test).mean())


def joined(front: Side, back: Side, *, permute: int | None = None) -> nn.Sequential:
    """The front of one network, a 1 × 1 convolution solved on the calibration images, the back."""
    x, y = front.grid, back.grid
    if permute is not None:
        # whole images are permuted: positions still correspond
        images = len(y) // GRID**2
        y = y.reshape(images, GRID**2, -1)[_order(images, permute)].reshape(len(y), -1)
    ridge = Ridge(ALPHA).fit(x, y)
    between = nn.Conv2d(x.shape[1], y.shape[1], 1)
    with torch.no_grad():
        between.weight.copy_(torch.from_numpy(ridge.matrix_.T[:, :, None, None].copy()))
        between.bias.copy_(torch.from_numpy(ridge.offset_))  # type: ignore[union-attr]
    # copies, so that what is trained on afterwards is not the network that was measured
    other = copy.deepcopy(back.network)
    whole = nn.Sequential(front.network.front, between, other.back, other.features, other.head)
    return whole.eval()


def stitched(front: Side, back: Side, items: Items, *, permute: int | None = None) -> Array:
    """Loss and accuracy of the joined network, nothing of it trained."""
    return np.array(scored(joined(front, back, permute=permute), items))


@torch.no_grad()
def scored(network: nn.Module, items: Items) -> tuple[float, float]:
    logits = network(items[0])
    right = (logits.argmax(dim=1) == items[1]).float().mean()
    return float(functional.cross_entropy(logits, items[1])), float(right)


def _cka(x: Array, y: Array) -> float:
    value = compare(x, y, measures="debiased_cka")["debiased_cka"].value
    assert value is not None
    return value


def _centred(x: Array, labels: Array) -> Array:
    out = x.copy()
    for label in np.unique(labels):
        out[labels == label] -= x[labels == label].mean(axis=0)
    return out


def _order(n: int, permute: int | None) -> Array:
    return np.arange(n) if permute is None else np.random.default_rng(permute).permutation(n)
