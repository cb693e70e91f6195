"""One network made of the front of another: a cut in each, and a fitted map between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.same_inputs import check_same_inputs
from isthmus.nn.stitching.cut import Back, Front, check_finite, same_outputs
from isthmus.nn.stitching.fold import fold_into_back, fold_into_front
from isthmus.nn.stitching.joining_map import Joint, JointFit, best_joint
from isthmus.nn.stitching.joining_plan import Extent, JoiningPlan, plan_joint
from isthmus.nn.stitching.options import StitchOptions
from isthmus.nn.stitching.teachers import FromCut, Teachers, answers
from isthmus.progress import Progress, silent
from isthmus.spaces.pairs import Pairs
from isthmus.training.batches import length_of
from isthmus.training.loop import Trained, train
from isthmus.training.modes import evaluation_mode
from isthmus.training.schedule import Schedule

__all__ = ["Stitched", "joined", "stitch", "updated", "wanted_plans"]


class Stitched(nn.Module):
    """The front of one network, a map, and the back of another, as one network.

    Args:
        front: up to the cut.
        joint: the map.
        back: from the cut on.
        items: that the map was fitted on.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> joined = stitch(net, "1", net, "1", [data])
        >>> joined(data).shape, joined.items
        (torch.Size([50, 2]), 50)
    """

    def __init__(self, front: Front, joint: Joint, back: Back, items: int) -> None:
        super().__init__()
        self.front, self.joint, self.back, self.items = front, joint, back, items
        # ready for use; the networks keep the mode that they are in
        self.training = joint.training = False

    def forward(self, batch: Any) -> Any:
        """What the back makes of the front's activation of a batch.

        Outside training both networks run in evaluation mode, whatever mode they are left in.
        """
        if self.training or not (self.front.model.training or self.back.model.training):
            return self._run(batch)
        with evaluation_mode(self.front), evaluation_mode(self.back):
            return self._run(batch)

    def _run(self, batch: Any) -> Any:
        given, given_back = self.front.given(batch), self.back.given(batch)
        source = self.front.of(given)

        def mapped(own: Tensor | None) -> Tensor:
            grid = None if own is None else self.joint.plan.target.grid_of(own)
            return self.joint(
                source, Extent(self.front.mask(given), self.back.mask(given_back), grid)
            )

        return self.back.of(mapped, given_back)

    def fold(self, example: Any) -> Stitched:
        """The same network with the map made part of the layer before or after it, where exact.

        The layer is copied with the network that holds it; the networks given to `stitch` stay as
        they are.  The result is compared with this network on ``example`` and returned only if it
        agrees to rounding; otherwise this network is returned, whose ``joint.folded`` is false.

        Args:
            example: a batch.
        """
        for fold in (fold_into_front, fold_into_back):
            made = fold(self.front, self.joint, self.back, example)
            if made is not None:
                folded = Stitched(*made, self.items)
                if _agree(self, folded, example):
                    return folded
        return self

    def finetune(
        self,
        batches: Iterable[Any],
        schedule: Schedule | None = None,
        *,
        loss: Callable[[Any, Any], Tensor] | None = None,
        teachers: str = "back",
        passes: int | None = None,
        rate: float = 0.03,
        validation: Iterable[Any] | None = None,
        progress: Progress = silent,
    ) -> Trained:
        """Train the map alone; both networks stay as they are.

        Args:
            batches: as given to `stitch`, or with labels where ``loss`` knows what to do with them.
            schedule: of the training, 10 epochs unless given, over all that is kept where something
                is; Adam at ``rate`` where it names no optimiser.
            loss: of the output and the batch; unless given, the output imitates the teachers, so
                that no labels are needed.
            teachers: ``back``: the squared error against what the back's own network makes of the
                batch.  ``both``, where both networks score the same classes: the divergence from
                the mean of their probabilities, which is a better teacher than either.
            passes: run both networks over the batches this many times beforehand, keep their
                activations at the cut and their answers in memory, and train on those: each step is
                then the map and the back alone.  Batches that are augmented anew in every pass are
                kept in as many versions.  Not with a ``loss`` of one's own.
            rate: of Adam, relative to the map's root mean square entry; it falls to 0 along half a
                cosine where the number of batches is known.
            validation: batches by which the best state is kept, the closed form included.
            progress: told about batches.

        Raises:
            InputError: for a folded map, which has nothing of its own to train, networks that do
                not score the same classes, or ``passes`` where a step needs the batch itself.
            DivergedError: as `train`.
        """
        if self.joint.folded:
            raise InputError(
                "the map is folded into a layer and cannot be trained alone",
                mend="Fine-tune first, then fold",
            )
        schedule = schedule or Schedule(10)
        taught = Teachers(self.front, self.back, teachers)
        module: nn.Module = self
        held: Iterable[Any] | None = None if validation is None else list(validation)
        if passes is not None:
            if passes < 1:
                raise InputError(f"{passes} passes", where="passes", mend="Give 1 or more")
            if loss is not None:
                raise InputError(
                    "a loss of one's own reads the batch", where="passes", mend="Leave passes away"
                )
            keep = partial(taught.kept, seed=schedule.seed, progress=progress)
            batches = keep(batches, passes)
            held = None if held is None else keep(held, 1)
            module = FromCut(self.joint, self.back)
        trainable = [p for p in self.parameters() if p.requires_grad]
        own = list(self.joint.parameters())
        for parameter in self.parameters():
            parameter.requires_grad_(False)
        for parameter in own:
            parameter.requires_grad_(True)

        def optimiser(_: nn.Module) -> torch.optim.Optimizer:
            sizes = [float(p.detach().square().mean().sqrt()) or 1.0 for p in own]
            return torch.optim.Adam(
                [{"params": [p], "lr": rate * s} for p, s in zip(own, sizes, strict=True)]
            )

        def of_batch(network: nn.Module, batch: Any) -> Tensor:
            if passes is not None:
                return taught.loss(network(batch[0]), batch[1])
            output = network(batch)
            return (
                taught.loss(output, taught.wanted(batch)) if loss is None else loss(output, batch)
            )

        # a rate that falls is part of the steps named here, not of an optimiser of one's own
        own_schedule = (
            replace(schedule, optimiser=optimiser).falling(length_of(batches))
            if schedule.optimiser is None
            else schedule
        )

        def validate(network: nn.Module) -> float:
            values = [float(of_batch(network, batch)) for batch in held or ()]
            return sum(values) / len(values)

        try:
            return train(
                module,
                of_batch,
                batches,
                own_schedule,
                validate=None if held is None else validate,
                progress=progress,
            )
        finally:
            for parameter in self.parameters():
                parameter.requires_grad_(False)
            for parameter in trainable:
                parameter.requires_grad_(True)

    def __repr__(self) -> str:
        return (
            f"Stitched({type(self.front.model).__name__} up to '{self.front.layer}' → "
            f"{type(self.back.model).__name__} after '{self.back.layer}', {self.joint!r}, "
            f"{self.items:,} items)"
        )


def stitch(
    front: nn.Module,
    front_layer: str,
    back: nn.Module,
    back_layer: str,
    batches: Iterable[Any] | Pairs,
    options: StitchOptions | None = None,
    *,
    example: Any = None,
    progress: Progress = silent,
) -> Stitched:
    """Join ``front`` up to ``front_layer`` to ``back`` from the output of ``back_layer`` on.

    The map takes the front's output to what the back itself has at its cut, by ridge regression
    over all positions of all items, in one pass of bounded memory; no labels are needed.  Grids of
    other sizes are resampled, tokens that make a square are read as an image where the other side
    is one, and a classification token has a map of its own.

    Args:
        front: any network.
        front_layer: its last layer that is kept.
        back: any network.
        back_layer: its layer whose output is supplied.
        batches: calibration items for both, read once; about 1,000 items serve.  Or `Pairs` of what
            the two layers returned, where both return one vector per item.
        options: how the networks are read at their cuts, and what kind of map joins them.
        example: with `Pairs`, a batch of two items or more, by which the cuts are checked.
        progress: told about batches.

    Returns:
        A network whose output is the back's; both networks are used as they are, in evaluation
        mode, and not copied.

    Raises:
        InputError: for an unknown layer (naming those that are near), shapes that cannot be
            bridged, a cut that a skip connection goes round, activations that are not finite, or
            fewer than three items.

    Source: Lenc and Vedaldi 2015; Bansal, Nakkiran and Barak 2021.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
        >>> data = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
        >>> joined = stitch(net, "1", net, "1", [data])  # a network on itself answers as it does
        >>> bool(torch.allclose(joined(data), net(data), atol=1e-2))
        True
    """
    options = options or StitchOptions()
    (prepare, prepare_back), (part, part_back) = options.prepare, options.part
    first = Front(front, front_layer, prepare=prepare, part=part)
    if isinstance(batches, Pairs):
        if example is None:
            raise InputError("Pairs hold no batch to check the cuts by", mend="Give example=")
        shown: Iterable[Any] = [example]
    else:
        shown = batches
    second: Back | None = None
    fits: list[JointFit] = []
    total = length_of(shown)
    device = torch.device("cpu")
    with evaluation_mode(front), evaluation_mode(back), torch.no_grad():
        for number, batch in enumerate(shown, start=1):
            if second is None and prepare is prepare_back is None:
                check_same_inputs(front, back, batch)
            given = first.given(batch)
            source = first.of(given)
            check_finite(source, f"front, layer {front_layer}")
            if second is None:
                second = Back(back, back_layer, batch, prepare=prepare_back, part=part_back)
            given_back = second.given(batch)
            target = second.target(given_back)
            check_finite(target, f"back, layer {back_layer}")
            device = target.device
            extent = Extent(first.mask(given), second.mask(given_back))
            if not fits:
                layouts = first.layout, second.layout
                plans = plan_joint(source, target, layouts, options.prefix)
                plans = wanted_plans(plans, options.how, extent)
                names = front_layer, back_layer
                fits = [JointFit(plan, options.seed, names) for plan in plans]
            if isinstance(batches, Pairs):
                _check_vectors(source, target, batches)
                break
            fits = updated(fits, source, target, extent)
            progress("calibrate", number, total)
    if second is None:
        raise InputError("there are no batches to fit the map on", where="the calibration")
    if isinstance(batches, Pairs):
        for rows in batches.batches(progress=progress):
            # PyTorch wants memory that it could write to, though nothing here does
            sides = (torch.from_numpy(np.require(s, requirements=["W"])) for s in (rows.x, rows.y))
            x, y = sides
            fits[0].update(x, y)
    joint = joined(fits, options).to(device)
    return Stitched(first, joint, second, fits[0].items)


def joined(fits: list[JointFit], options: StitchOptions) -> Joint:
    """The best of the fitted maps, as the options have it."""
    joint = best_joint(fits, options.alpha)
    if options.rectify is not None:
        joint.rectified = options.rectify
    return joint


def updated(fits: list[JointFit], source: Tensor, target: Tensor, extent: Extent) -> list[JointFit]:
    """The fits that could take a batch; batches of another size leave those of one size away.

    Raises:
        InputError: where none could.
    """
    kept: list[JointFit] = []
    refused: InputError | None = None
    for fit in fits:
        try:
            fit.update(source, target, extent)
            kept.append(fit)
        except InputError as error:
            refused = error
    if not kept and refused is not None:
        raise refused
    return kept


def wanted_plans(plans: list[JoiningPlan], how: str | None, extent: Extent) -> list[JoiningPlan]:
    """The plans of the kind that is asked for; all of them where none is.

    Args:
        plans: of a cut.
        how: the kind.
        extent: where it holds a mask, items have lengths of their own, and no map of all positions
            at once is tried unless it is asked for.

    Raises:
        InputError: for a kind that this cut does not have.
    """
    if how is None:
        padded = extent.own is not None or extent.wanted is not None
        lengths = [plan for plan in plans if not (padded and plan.how == "flat")]
        return lengths or plans
    kinds = ["window" if plan.window else plan.how for plan in plans]
    if how not in kinds:
        raise InputError(
            f"this cut has no map '{how}'",
            where="how",
            mend=f"Choose from {', '.join(dict.fromkeys(kinds))}",
        )
    return [plan for plan, kind in zip(plans, kinds, strict=True) if kind == how]


def _check_vectors(source: Tensor, target: Tensor, pairs: Pairs) -> None:
    for activation, width, side in (
        (source, pairs.dim_x, "front"),
        (target, pairs.dim_y, "back"),
    ):
        if tuple(activation.shape[1:]) != (width,):
            raise InputError(
                f"the {side}'s layer returns {tuple(activation.shape[1:])} per item, and the pairs "
                f"hold vectors of {width}",
                where="the calibration",
                mend="Give batches of items instead",
            )


def _agree(a: nn.Module, b: nn.Module, example: Any) -> bool:
    with evaluation_mode(a), evaluation_mode(b), torch.no_grad():
        try:
            return same_outputs(answers(a(example)), answers(b(example)), slack=1e-7)
        except (RuntimeError, ValueError):
            return False
