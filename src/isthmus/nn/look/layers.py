"""Every layer of one network against every layer of another, in one pass over the data."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from isthmus.adapters.steps.ridge import RidgePath
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.files import canonical_json
from isthmus.nn.look.pooling import Pool
from isthmus.nn.look.same_inputs import check_same_inputs
from isthmus.nn.look.taps import Taps
from isthmus.progress import Progress, silent
from isthmus.similarity import Grid, GridMoments, similarity_grid
from isthmus.strengths import widened
from isthmus.training.batches import length_of, prepared

__all__ = ["LayerComparison", "LayerMeasuring", "LayerReading", "Stitch", "compare_layers"]


_STRENGTHS = np.logspace(-5, 2, 22)
_SAME = 1 - 1e-4  # of CKA: both layers hold one thing, turned and scaled
_SHOWN = 5


@dataclass(frozen=True)
class Stitch:
    """A place where the front of one network could be joined to the back of another.

    Attributes:
        front: the last layer that is kept of the first network.
        back: the layer of the second whose output is supplied.
        explained: share of the variance of ``back`` that a linear map of ``front`` supplies for
            fresh items; below 0 when it is worse than the mean.
        cka: debiased CKA of the two layers.
        p: that so close a pair is found by chance among all pairs.
    """

    front: str
    back: str
    explained: float
    cka: float
    p: float


@dataclass(frozen=True)
class LayerComparison:
    """How alike all pairs of layers are.

    Attributes:
        grid: the measures that were asked for, of all pairs, with their nulls.
        explained: ``(L₁, L₂)``, as in `Stitch`.
        moments: the streamed moments, from which any linear map of any pair can be fitted.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
        >>> data = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> few = LayerMeasuring(permutations=19)
        >>> found = compare_layers(net, net, [data], layers_x="*", layers_y="*", measuring=few)
        >>> found.explained.shape, bool((found.explained.diagonal() > 0.9).all())
        ((3, 3), True)
    """

    grid: Grid
    explained: Matrix
    moments: GridMoments

    @property
    def matches(self) -> list[tuple[str, str, float, float]]:
        """For each layer of the first network its closest of the second by debiased CKA.

        The value and the p-value corrected for having looked at all pairs.
        """
        return self.grid.best("debiased_cka")

    def stitches(self, most: int = _SHOWN) -> list[Stitch]:
        """Where to cut: for each layer of the second network the front that explains it best.

        Best first; cuts at layers that resemble each other by no more than chance, of which
        nothing is explained, or that hold the same thing, so that a cut there changes nothing, are
        left away.
        """
        cka, p = self.grid.values["debiased_cka"], self.grid.p_max["debiased_cka"]
        found: list[Stitch] = []
        for j, back in enumerate(self.grid.names_y):
            fronts = np.where(cka[:, j] >= _SAME, -np.inf, self.explained[:, j])
            i = int(np.argmax(fronts))
            if p[i, j] < 0.05 and fronts[i] > 0:
                found.append(
                    Stitch(
                        self.grid.names_x[i],
                        back,
                        float(self.explained[i, j]),
                        float(cka[i, j]),
                        float(p[i, j]),
                    )
                )
        return sorted(found, key=lambda cut: -cut.explained)[:most]

    def to_json(self) -> str:
        """Canonical JSON of the grid, the matches and the cuts."""
        return canonical_json(
            {
                "grid": json.loads(self.grid.to_json()),
                # JSON has no infinity; where nothing is established there is nothing to say
                "explained": [
                    [value if np.isfinite(value) else None for value in line]
                    for line in self.explained.tolist()
                ],
                "matches": self.matches,
                "stitches": [vars(cut) for cut in self.stitches()],
            }
        )

    def __str__(self) -> str:
        lines = [str(self.grid), "", "closest layers (debiased CKA, p corrected for all pairs)"]
        lines += [f"  {a} ~ {b}  {value:.3f}  p {p:.3f}" for a, b, value, p in self.matches]
        cuts = self.stitches()
        lines += ["", "cuts, by the share of variance that a linear map supplies"]
        lines += [
            f"  {cut.front} → {cut.back}  {cut.explained:.3f}  (CKA {cut.cka:.3f})" for cut in cuts
        ] or ["  none: no two layers resemble each other by more than chance"]
        return "\n".join(lines)


@dataclass(frozen=True)
class LayerReading:
    """How a batch is put to two networks, and how the rows of their layers are taken.

    Example:
        >>> LayerReading(pool="first").prepare is None
        True
    """

    prepare: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None
    """Turns a batch into what each network takes, where that differs (a tokenizer, an image size);
    unless given both take the batch as it is."""
    pool: Pool = "mean"
    """How positions become a row, as in `Taps`."""
    taps: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Further options of `Taps`, for both networks."""


@dataclass(frozen=True)
class LayerMeasuring:
    """By which measures pairs of layers are compared, and what chance does among so many.

    Example:
        >>> LayerMeasuring().sample
        256
    """

    measures: Iterable[str] = ("linear_cka", "debiased_cka", "procrustes")
    """The measures of the grid, out of `isthmus.similarity.MEASURES`: ``svcca``, ``mean_cca``,
    ``pwcca``, ``rsa`` and more; debiased CKA is always among them.  Those that need the rows
    themselves, ``rsa`` among them, are of the sampled items."""
    sample: int = 256
    """Items held for the null of the closest pair."""
    permutations: int = 100
    """How often the sampled items are permuted for the null."""
    seed: int = 0
    """Seed of the sample and of the permutations."""


def compare_layers(
    x: nn.Module,
    y: nn.Module,
    batches: Iterable[Any],
    *,
    layers_x: str | Iterable[str],
    layers_y: str | Iterable[str],
    reading: LayerReading | None = None,
    measuring: LayerMeasuring | None = None,
    progress: Progress = silent,
) -> LayerComparison:
    """Run both networks once over the data and compare all pairs of their layers.

    Held are the moments of every pair and some rows of every layer, never the activations of
    the data; products run where the activations are.

    Args:
        x: the first network.
        y: the second.
        batches: of the same items for both.
        layers_x: names or patterns of the first network's layers.
        layers_y: of the second's.
        reading: how a batch is put to the networks, and how rows are taken.
        measuring: measures, and the sample and permutations that say what is chance.
        progress: told about batches, pairs and permutations.

    Raises:
        InputError: for unknown layers, an empty ``batches``, a layer whose output is constant or
            not finite, or networks that see different numbers of items.

    Source: linear CKA, Kornblith et al. 2019; unbiased estimator, Song et al. 2012; max-T,
    Westfall and Young 1993.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 6), nn.Tanh())
        >>> data = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> few = LayerMeasuring(permutations=19)
        >>> found = compare_layers(net, net, [data], layers_x="*", layers_y="0", measuring=few)
        >>> found.grid.names_x, found.grid.names_y
        (('0', '1'), ('0',))
    """
    moments = GridMoments()
    reading, measuring = reading or LayerReading(), measuring or LayerMeasuring()
    kept = _Sample(measuring.sample, measuring.seed)
    first, second = reading.prepare or (None, None)
    total = length_of(batches)
    with (
        Taps(x, layers_x, pool=reading.pool, **reading.taps) as tap_x,
        Taps(y, layers_y, pool=reading.pool, **reading.taps) as tap_y,
    ):
        for number, batch in enumerate(batches, start=1):
            if number == 1 and reading.prepare is None:
                check_same_inputs(x, y, batch)
            rows_x, rows_y = tap_x(prepared(batch, first)), tap_y(prepared(batch, second))
            moments.update(rows_x, rows_y)
            kept.add(rows_x, rows_y)
            progress("batches", number, total)
    if not moments.n:
        raise InputError("there are no batches to run the networks on")
    grid = similarity_grid(
        moments,
        measures=dict.fromkeys(("debiased_cka", *measuring.measures)),
        # permuting fewer items than this says nothing
        rows=kept.rows if kept.size >= 8 else None,
        permutations=measuring.permutations,
        seed=measuring.seed,
        progress=progress,
    )
    explained = np.array([_explained(moments, a, grid.names_y) for a in grid.names_x])
    return LayerComparison(grid, explained, moments)


def _explained(moments: GridMoments, front: str, backs: Iterable[str]) -> list[float]:
    """Share of the variance of each back that the best ridge map of the front supplies.

    The error on fresh items is estimated by generalised cross-validation (Golub, Heath and Wahba
    1979), which also chooses the strength.
    """
    names = list(backs)
    # of all pairs with one front the first side is the same: it is decomposed once
    path = RidgePath.of(moments.second(front, names[0]))
    shares: list[float] = []
    for back in names:
        pair = moments.second(front, back)
        energy = np.square(path.vectors.T @ pair.require("xy")).sum(axis=1)
        total = float(pair.variance_y.sum())

        def errors_of(
            strengths: Matrix, energy: Matrix = energy, total: float = total, n: float = pair.n
        ) -> Matrix:
            scale = path.filter(strengths)
            left = total - (2 * scale - scale**2 * path.values) @ energy
            free = 1 - (1 + scale @ path.values) / n
            error = np.where(free > 0, left / np.square(np.maximum(free, 1e-12)), np.inf)
            return error / total

        _, errors = widened(errors_of, _STRENGTHS, f"the map from {front} to {back}")
        shares.append(1 - float(errors.min()))
    return shares


class _Sample:
    """A uniform sample of items, the same ones of every layer (reservoir sampling, Vitter 1985)."""

    def __init__(self, most: int, seed: int) -> None:
        if most < 0:
            raise InputError(f"a sample has 0 rows or more, got {most}")
        self.most, self.seen, self.size = most, 0, 0
        self._rng = np.random.default_rng(seed)
        self.rows: tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]]] = ({}, {})

    def add(self, x: Mapping[str, Tensor], y: Mapping[str, Tensor]) -> None:
        count = len(next(iter(x.values())))
        slots = np.full(count, -1)
        for item in range(count):
            place = self.seen if self.seen < self.most else int(self._rng.integers(self.seen + 1))
            slots[item] = place if place < self.most else -1
            self.seen += 1
        self.size = min(self.seen, self.most)
        chosen = np.flatnonzero(slots >= 0)
        for held, given in zip(self.rows, (x, y), strict=True):
            for name, rows in given.items():
                picked = rows[chosen.tolist()].cpu().numpy()
                old = held.get(name)
                grown = np.empty((self.size, rows.shape[1]), dtype=picked.dtype)
                if old is not None:
                    grown[: len(old)] = old
                # in order, so that of two items for one slot the later stays
                for slot, row in zip(slots[chosen], picked, strict=True):
                    grown[slot] = row
                held[name] = grown
