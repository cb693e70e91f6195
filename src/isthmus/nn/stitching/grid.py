"""Every cut of two networks: what the stitched network loses, beside what predicts it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from isthmus.errors import InputError
from isthmus.files import canonical_json
from isthmus.nn.look.pooling import pool_rows
from isthmus.nn.look.same_inputs import check_same_inputs
from isthmus.nn.stitching.cut import Back, Front, activations_of
from isthmus.nn.stitching.joining_map import JointFit
from isthmus.nn.stitching.joining_plan import Extent, plan_joint
from isthmus.nn.stitching.options import StitchOptions
from isthmus.nn.stitching.stitched import Stitched, joined, updated, wanted_plans
from isthmus.progress import Progress, silent
from isthmus.similarity import GridMoments, similarity_grid
from isthmus.training.batches import prepared, rows_in
from isthmus.training.modes import call_model, evaluation_mode
from isthmus.training.names import find_modules

__all__ = ["CutResult", "StitchGrid", "stitch_grid"]

LayerNames = str | Iterable[str]


@dataclass(frozen=True)
class CutResult:
    """A pair of layers at which two networks were joined, and what came of it.

    Attributes:
        front: the layer that ends the front.
        back: the layer that begins the back.
        loss: of the stitched network.
        explained: share of the variance at the back's cut that the map supplies on held-out items.
        cka: debiased CKA of the two layers, pooled over positions.
        how: kind of the map; where the shapes cannot be bridged, why.
    """

    front: str
    back: str
    loss: float
    explained: float
    cka: float
    how: str


@dataclass(frozen=True)
class StitchGrid:
    """All cuts of two networks.

    Attributes:
        cuts: in the order of the layers.
        own: loss of the back's own network, which a cut can hope for.
        other: loss of the front's own network, where it answers the same question.
        items: that the maps were fitted on.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = [torch.randn(50, 4, generator=torch.Generator().manual_seed(0))]
        >>> found = stitch_grid(
        ...     net, net, data, layers=("1", "1"), evaluation=data,
        ...     loss=lambda output, batch: (output - net(batch)).square().mean(),
        ... )
        >>> [(cut.front, cut.back, cut.loss < 0.01) for cut in found.done]
        [('1', '1', True)]
    """

    cuts: tuple[CutResult, ...]
    own: float
    other: float
    items: int

    @property
    def done(self) -> list[CutResult]:
        """The cuts whose shapes could be bridged."""
        return [cut for cut in self.cuts if math.isfinite(cut.loss)]

    def predicts(self, measure: str) -> float:
        """Spearman's rank correlation of ``cka`` or ``explained`` with a small loss."""
        from scipy.stats import spearmanr

        done = self.done
        values = [float(getattr(cut, measure)) for cut in done]
        if len(set(values)) < 2 or len({cut.loss for cut in done}) < 2:
            return math.nan
        return float(spearmanr(values, [-cut.loss for cut in done]).statistic)

    @property
    def best(self) -> CutResult:
        """The cut with the least loss."""
        if not self.done:
            raise InputError("no two layers could be bridged")
        return min(self.done, key=lambda cut: cut.loss)

    def to_json(self) -> str:
        """The grid as canonical JSON."""
        return canonical_json(
            {
                "items": self.items,
                "own": _plain(self.own),
                "other": _plain(self.other),
                "cuts": [{k: _plain(v) for k, v in asdict(cut).items()} for cut in self.cuts],
            }
        )

    def __str__(self) -> str:
        lines = [
            f"fitted on {self.items:,} items; loss of the back's own network {self.own:.4g}, of "
            f"the front's {self.other:.4g}",
            "loss      explained  CKA     cut",
        ]
        for cut in self.cuts:
            name = f"{cut.front} → {cut.back}"
            if math.isfinite(cut.loss):
                lines.append(
                    f"{cut.loss:<8.4g}  {cut.explained:<9.3f}  {cut.cka:<6.3f}  {name} ({cut.how})"
                )
            else:
                lines.append(f"{'-':<8}  {'-':<9}  {cut.cka:<6.3f}  {name}: {cut.how}")
        for name, measure in (("CKA", "cka"), ("explained variance", "explained")):
            lines.append(
                f"rank correlation of {name} with a small loss: {self.predicts(measure):.2f}"
            )
        return "\n".join(lines)


def stitch_grid(
    front: nn.Module,
    back: nn.Module,
    batches: Sequence[Any],
    *,
    layers: tuple[LayerNames, LayerNames],
    loss: Callable[[Any, Any], Any],
    evaluation: Sequence[Any],
    options: StitchOptions | None = None,
    progress: Progress = silent,
) -> StitchGrid:
    """Stitch at every pair of layers and measure the loss of each stitched network.

    Args:
        front: the network whose beginning is kept.
        back: the network whose end is kept.
        batches: calibration items, read once for each layer of the front.
        layers: names or patterns of the front's layers, and of the back's.
        loss: of an output and a batch of ``evaluation``, the mean over its items; lower is better.
            An accuracy serves as ``1 − accuracy``.
        evaluation: other items, with labels where ``loss`` reads them.
        options: how the networks are read at their cuts, and what kind of map joins them.
        progress: told about cuts.

    Raises:
        InputError: for unknown layers, or no batches.  Layers that cannot be bridged are entries
            of the result with the reason.

    Example:
        >>> from torch import nn
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = [torch.randn(50, 4, generator=torch.Generator().manual_seed(0))]
        >>> found = stitch_grid(
        ...     net, net, data, layers=(["0", "1"], "1"), evaluation=data,
        ...     loss=lambda output, batch: (output - net(batch)).square().mean(),
        ... )
        >>> [(cut.front, cut.back) for cut in found.cuts]
        [('0', '1'), ('1', '1')]
    """
    if not len(batches) or not len(evaluation):
        raise InputError("there are no batches to fit the maps on, or to measure the loss on")
    options = options or StitchOptions()
    (prepare, prepare_back), (part, part_back) = options.prepare, options.part
    names = [list(find_modules(net, of)) for net, of in zip((front, back), layers, strict=True)]
    if prepare is prepare_back is None:
        check_same_inputs(front, back, batches[0])
    results: list[CutResult] = []
    total = len(names[0]) * len(names[1])
    with evaluation_mode(front), evaluation_mode(back), torch.no_grad():
        ends: dict[str, Back | str] = {}
        for name in names[1]:
            try:
                ends[name] = Back(back, name, batches[0], prepare=prepare_back, part=part_back)
            except InputError as error:
                ends[name] = error.what
        own = _mean(lambda b: call_model(back, prepared(b, prepare_back)), loss, evaluation)
        other = _mean(lambda b: call_model(front, prepared(b, prepare)), loss, evaluation)
        items = 0
        for row, layer in enumerate(names[0]):
            start: Front | None = None
            try:
                start = Front(front, layer, prepare=prepare, part=part)
                made = _row(start, ends, batches, options)
            except InputError as error:
                # a layer that cannot be cut at leaves the others
                made = [(name, None, math.nan, error.what, 0) for name in ends]
            for column, (name, joint, cka, reason, count) in enumerate(made):
                items = max(items, count)
                end = ends[name]
                if start is None or joint is None or isinstance(end, str):
                    results.append(CutResult(layer, name, math.nan, math.nan, cka, reason))
                else:
                    stitched = Stitched(start, joint, end, count)
                    value = _mean(stitched, loss, evaluation)
                    results.append(CutResult(layer, name, value, joint.explained, cka, reason))
                progress("cuts", row * len(names[1]) + column + 1, total)
    return StitchGrid(tuple(results), own, other, items)


def _row(
    start: Front,
    ends: dict[str, Back | str],
    batches: Sequence[Any],
    options: StitchOptions,
) -> list[tuple[str, Any, float, str, int]]:
    """The maps of one layer of the front to all layers of the back, from one pass."""
    fits: dict[str, list[JointFit]] = {}
    reasons: dict[str, str] = {name: end for name, end in ends.items() if isinstance(end, str)}
    backs = {name: end for name, end in ends.items() if isinstance(end, Back)}
    moments = {name: GridMoments() for name in backs}
    for batch in batches:
        given = start.given(batch)
        source, own = start.of(given), start.mask(given)
        targets, _ = activations_of(backs, batch)
        for name, target in targets.items():
            if name in reasons:
                continue
            try:
                end = backs[name]
                extent = Extent(own, end.mask(end.given(batch)))
                layouts = start.layout, backs[name].layout
                if name not in fits:
                    plans = plan_joint(source, target, layouts, options.prefix)
                    plans = wanted_plans(plans, options.how, extent)
                    layers = start.layer, name
                    fits[name] = [JointFit(plan, options.seed, layers) for plan in plans]
                fits[name] = updated(fits[name], source, target, extent)
                moments[name].update(
                    {"front": _pooled(source, layouts[0], extent.own)},
                    {"back": _pooled(target, layouts[1], extent.wanted)},
                )
            except InputError as error:
                reasons[name] = error.what
    rows: list[tuple[str, Any, float, str, int]] = []
    for name in ends:
        if name in reasons:
            rows.append((name, None, math.nan, reasons[name], 0))
        else:
            try:
                joint = joined(fits[name], options)
            except InputError as error:
                rows.append((name, None, math.nan, error.what, 0))
                continue
            cka = _cka(moments[name])
            rows.append((name, joint, cka, joint.plan.kind, fits[name][0].items))
    return rows


def _cka(moments: GridMoments) -> float:
    """Debiased CKA; NaN of fewer than the four items that it needs."""
    if moments.n < 4:
        return math.nan
    grid = similarity_grid(moments, measures=("debiased_cka",))
    return float(grid.values["debiased_cka"][0, 0])


def _pooled(activation: Any, layout: str, mask: Any) -> Any:
    fits = mask is not None and activation.ndim == 3 and mask.shape == activation.shape[:2]
    return pool_rows(activation, layout, "mean", mask if fits else None, "cut")


def _mean(
    run: Callable[[Any], Any], loss: Callable[[Any, Any], Any], batches: Sequence[Any]
) -> float:
    """Mean loss over items; NaN where the network does not answer what the loss asks."""
    sum_, count = 0.0, 0
    for batch in batches:
        try:
            value = float(loss(run(batch), batch))
        except (RuntimeError, ValueError, TypeError, IndexError):
            return math.nan
        sum_, count = sum_ + value * rows_in(batch), count + rows_in(batch)
    return sum_ / count if count else math.nan


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
