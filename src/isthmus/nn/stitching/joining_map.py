"""The map across a cut: one matrix for all positions, fitted from moments in closed form."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from isthmus.adapters.steps.ridge import RidgePath, relative_errors
from isthmus.errors import InputError
from isthmus.moments import FoldMoments, SecondMoments
from isthmus.nn.stitching.joining_plan import Extent, JoiningPlan
from isthmus.numeric import to_numpy
from isthmus.strengths import widened

__all__ = ["Joint", "JointFit", "best_joint"]

STRENGTHS = np.logspace(-6, 1, 15)
"""Ridge strengths tried, relative to the mean eigenvalue."""

_FOLDS = 4
_MARGIN = 0.01
"""Share of the error by which a larger map must be better to be taken."""
_KEEP = ("square", "xx", "xy", "yy")


class JointFit:
    """Accumulates the moments of one plan; `solve` makes the map.

    Args:
        plan: how one activation becomes the other.
        seed: of the folds by which the strength is chosen.
        layers: names of both, for errors.
    """

    def __init__(
        self, plan: JoiningPlan, seed: int = 0, layers: tuple[str, str] = ("", "")
    ) -> None:
        self.plan, self._seed, self._layers = plan, seed, layers
        self._grid: FoldMoments | None = None
        self._prefix: FoldMoments | None = None
        self.items, self._rows = 0, 0
        self._lowest, self._zeros = math.inf, 0

    def update(self, source: Tensor, target: Tensor, extent: Extent | None = None) -> None:
        """Add the activations of a batch of items.

        Args:
            source: of the front.
            target: of the back; batches may be padded to different lengths.
            extent: which positions are there; those that are padding are left away.

        Raises:
            InputError: for shapes other than planned, or values that are not finite.
        """
        if len(source) != len(target):
            raise InputError(
                f"the front has {len(source)} items and the back {len(target)}; they must pair",
                where="the calibration",
            )
        ids = np.arange(self.items, self.items + len(source))
        extent = extent or Extent()
        wanted_prefix, wanted = self.plan.outputs(target)
        if self.plan.how == "features" and self.plan.target.grid:
            extent = replace(extent, grid=tuple(wanted.shape[2:]))
        prefix, grid = self.plan.inputs(source, extent)
        there = self.plan.rows_there(extent, target)
        self.items += len(source)
        self._lowest = min(self._lowest, float(target.min()))
        self._zeros += int((target == 0).sum())
        repeated = np.repeat(ids, math.prod(wanted.shape[2:]))
        x, y = _rows(_windows(grid, self.plan.window)), _rows(wanted)
        if there is not None:
            kept = there.flatten().to(target.device)
            repeated = repeated[kept.cpu().numpy()]
            kept = kept if isinstance(x, Tensor) else kept.cpu().numpy()
            x, y = x[kept], y[kept]
        self._rows += len(repeated)
        if self._grid is None:
            self._grid = FoldMoments(x.shape[1], y.shape[1], _FOLDS, keep=_KEEP, seed=self._seed)
        self._grid.update(repeated, x, y)
        if prefix is not None and wanted_prefix is not None:
            if self._prefix is None:
                self._prefix = FoldMoments(
                    prefix.shape[1], wanted_prefix.shape[1], _FOLDS, keep=_KEEP, seed=self._seed
                )
            self._prefix.update(ids, prefix, wanted_prefix)

    @property
    def size(self) -> int:
        """Numbers of the map."""
        if self._grid is None:
            return 0
        return self._grid.folds[0].dx * self._grid.folds[0].dy

    @property
    def rectified(self) -> bool:
        """Whether the target is never below zero and often exactly there, as after a ReLU."""
        return self._lowest == 0 and self._zeros > 0

    def solve(self, alpha: float | None = None) -> Joint:
        """The map with the least squared error on held-out items.

        Args:
            alpha: ridge strength relative to the mean eigenvalue; chosen over the folds unless
                given.

        Raises:
            InputError: without items, with fewer than three, or for a layer that returns the same
                for every item.
        """
        if self._grid is None or self.items < 3:
            raise InputError(
                f"{self.items} calibration items are too few",
                where="the calibration",
                mend="Some hundred items serve",
            )
        self._check_alive(self._grid.second())
        found = _ridge(self._grid, alpha)
        prefix = None if self._prefix is None else _ridge(self._prefix, alpha)
        return Joint(
            self.plan,
            found.weight,
            found.bias,
            None if prefix is None else (prefix.weight, prefix.bias),
            rectified=self.rectified,
            explained=1 - found.left,
            error=found.left * found.variance * self._rows / self.items,
            alpha=found.alpha,
        )

    def _check_alive(self, whole: SecondMoments) -> None:
        for side, mean, variance in (
            (f"front, layer {self._layers[0]}", whole.mean_x, whole.variance_x),
            (f"back, layer {self._layers[1]}", whole.mean_y, whole.variance_y),
        ):
            # what is left of the squares of equal numbers by rounding
            if float(variance.sum()) <= 1e-12 * float(mean @ mean):
                raise InputError(
                    "the layer returns the same for every item: it is dead",
                    where=side,
                    mend="Cut at another layer, or look at the weights and the input of this one",
                )


def best_joint(fits: list[JointFit], alpha: float | None = None) -> Joint:
    """The map with the least held-out error, a larger one only where it is clearly better."""
    chosen: Joint | None = None
    for fit in sorted(fits, key=lambda fit: fit.size):
        joint = fit.solve(alpha)
        if chosen is None or joint.error < (1 - _MARGIN) * chosen.error:
            chosen = joint
    if chosen is None:
        raise InputError("there are no batches to fit the map on", where="the calibration")
    return chosen


class _Ridge(NamedTuple):
    """A map, and how good it is."""

    weight: Tensor
    """``(dy, dx)``"""
    bias: Tensor
    left: float
    """Share of the variance that it leaves on held-out items."""
    variance: float
    alpha: float


def _ridge(folds: FoldMoments, alpha: float | None) -> _Ridge:
    splits = folds.splits()
    if alpha is None:
        strengths, errors = widened(
            lambda some: relative_errors(splits, some), STRENGTHS, "the map across the cut"
        )
    else:
        strengths = np.array([alpha])
        errors = relative_errors(splits, strengths)
    best = int(np.argmin(errors))
    whole = folds.second()
    matrix = RidgePath.of(whole).map(float(strengths[best]))
    offset = whole.mean_y - whole.mean_x @ matrix
    return _Ridge(
        weight=_tensor(matrix.T),
        bias=_tensor(offset),
        left=float(errors[best]),
        variance=float(whole.variance_y.sum()),
        alpha=float(strengths[best]),
    )


def _tensor(array: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _windows(grid: Tensor, window: tuple[int, ...]) -> Tensor:
    """Each position with its neighbours' features: ``(n, d, ...)`` to ``(n, d · k, ...)``."""
    if not window:
        return grid
    flat = grid.ndim == 3
    kernel = (1, *window) if flat else window
    patches = functional.unfold(
        grid[:, :, None] if flat else grid, kernel, padding=tuple(size // 2 for size in kernel)
    )
    return patches.unflatten(2, tuple(grid.shape[2:]))


def _rows(grid: Tensor) -> Any:
    """``(n, d, ...)`` as one row per position; moments are taken where the rows are."""
    rows = grid.movedim(1, -1).flatten(0, -2) if grid.ndim > 2 else grid
    rows = rows.float().contiguous()
    return rows if rows.device.type != "cpu" else to_numpy(rows)


class Joint(nn.Module):
    """What lies between the two parts: resampling, one affine map, and the sign of the target.

    Args:
        plan: how one activation becomes the other.
        weight: ``(dy, dx)``; None where a layer beside it holds the map.
        bias: ``(dy,)``, or None with the weight.
        prefix: weight and bias of the tokens before the grid.
        rectified: whether negative results are set to 0, as the target's activation function does.
        explained: share of the target's variance supplied on held-out items.
        error: the rest of it, summed over the positions of an item.
        alpha: strength that was chosen.
    """

    def __init__(
        self,
        plan: JoiningPlan,
        weight: Tensor | None,
        bias: Tensor | None,
        prefix: tuple[Tensor, Tensor] | None = None,
        *,
        rectified: bool = False,
        explained: float = math.nan,
        error: float = math.nan,
        alpha: float = math.nan,
    ) -> None:
        super().__init__()
        self.plan = plan
        self.weight = None if weight is None else nn.Parameter(weight)
        self.bias = None if bias is None else nn.Parameter(bias)
        self.prefix_weight = None if prefix is None else nn.Parameter(prefix[0])
        self.prefix_bias = None if prefix is None else nn.Parameter(prefix[1])
        self.rectified, self.explained, self.error = rectified, explained, error
        self.alpha = alpha

    @property
    def folded(self) -> bool:
        """Whether the map has become part of a layer beside it."""
        return self.weight is None

    def forget_map(self, features: int) -> Joint:
        """Without the map, because a layer beside it holds it now; only resampling is left.

        Args:
            features: of what arrives now.
        """
        return Joint(
            replace(self.plan, source=replace(self.plan.source, features=features)),
            None,
            None,
            rectified=self.rectified,
            explained=self.explained,
            error=self.error,
            alpha=self.alpha,
        )

    def forward(self, activation: Tensor, extent: Extent | None = None) -> Tensor:
        """The target's activation, of items of any size where the map is one of each position."""
        if self.weight is not None:
            activation = activation.to(self.weight.dtype)
        prefix, grid = self.plan.inputs(activation, extent)
        mapped = grid
        if self.weight is not None:
            if grid.ndim == 2:
                mapped = functional.linear(grid, self.weight, self.bias)
            else:
                window = self.plan.window or (1,) * (grid.ndim - 2)
                kernel = self.weight.unflatten(1, (-1, *window))
                convolve: Any = functional.conv1d if grid.ndim == 3 else functional.conv2d
                padding = tuple(size // 2 for size in window)
                mapped = convolve(grid, kernel, self.bias, padding=padding)
        if self.rectified:
            mapped = mapped.clamp_min(0)
        target = self.plan.target
        if self.plan.how == "flat":
            return self._unflattened(mapped)
        before = None
        if prefix is not None and self.prefix_weight is not None:
            before = functional.linear(prefix, self.prefix_weight, self.prefix_bias)
            before = before.unflatten(1, (target.prefix, target.features))
        return target.join(before, mapped)

    def _unflattened(self, rows: Tensor) -> Tensor:
        target = self.plan.target
        if not target.grid:
            return rows
        if target.layout == "channels":
            return rows.unflatten(1, (target.features, *target.grid))
        count = target.prefix + target.positions
        if target.square or len(target.grid) == 1:
            return rows.unflatten(1, (count, target.features))
        return rows.unflatten(1, (*target.grid, target.features))

    def __repr__(self) -> str:
        kind = "folded" if self.folded else f"{self.plan.kind} map"
        return (
            f"Joint({self.plan.source} → {self.plan.target}, {kind}"
            f"{', rectified' if self.rectified else ''}, explained {self.explained:.3f})"
        )
