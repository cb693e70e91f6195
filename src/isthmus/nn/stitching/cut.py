"""A network cut at a layer: the part up to its output, and the part from there on.

Neither part is a copy: both run the network itself with a hook in place, so that any module can be
cut, whatever its ``forward`` does.  The part after the cut runs what lies before it on one stored
item, whose result nobody reads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.layout import Axes, LayerAxes
from isthmus.nn.look.outputs import replace_tensor, tensor_of
from isthmus.nn.look.pooling import mask_of
from isthmus.training.batches import map_tensors, prepared, rows_in, tensors_in
from isthmus.training.modes import as_written, call_model, evaluation_mode, taken_by
from isthmus.training.names import layer_name

__all__ = ["Back", "Cut", "Front", "activations_of", "check_finite", "same_outputs"]

_AGREE = 1e-4
"""Relative difference of outputs up to which they are the same but for rounding."""


class _Reached(Exception):
    """Carries the output of the layer at which a run is to end."""

    def __init__(self, output: Tensor) -> None:
        super().__init__()
        self.output = output


class Cut(nn.Module):
    """A layer of a network, and how the network is run.

    Args:
        model: any module.
        layer: the name of one of its layers, or a pattern that one matches.
        prepare: turns a batch into what the model takes.
        part: of an output with several parts, the one that is meant.

    Activations that cross the cut have their items first, also where the layer puts the steps of
    sequences before them.

    Raises:
        InputError: for a layer that is not there.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        *,
        prepare: Callable[[Any], Any] | None = None,
        part: str | int | None = None,
    ) -> None:
        super().__init__()
        self.model, self.layer = model, layer_name(model, layer)
        self.prepare, self.part = prepare, part
        self.axes: Axes | None = None

    @property
    def module(self) -> nn.Module:
        """The layer itself."""
        return self.model.get_submodule(self.layer)

    def look(self, given: Any) -> Axes:
        """Where the items and features of the layer's output lie, found at the first batch.

        Args:
            given: what the network takes of a batch.
        """
        if self.axes is None:
            looked = LayerAxes(self.model, {self.layer: self.module}, self.part)
            found: list[Axes] = []

            def before(_: nn.Module, args: Any, kwargs: Any) -> None:
                looked.before(args, kwargs)

            def after(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
                made = tensor_of(output, self.layer, self.part)
                found.append(looked.of(self.layer, made, (args, kwargs)))
                raise _Reached(made)

            handles = [
                self.model.register_forward_pre_hook(before, with_kwargs=True),
                self.module.register_forward_hook(after, with_kwargs=True),
            ]
            try:
                with evaluation_mode(self.model), torch.no_grad():
                    call_model(self.model, given)
            except _Reached:
                pass
            finally:
                for handle in handles:
                    handle.remove()
            if not found:
                raise InputError(
                    f"the layer '{self.layer}' did not run",
                    where="layers",
                    mend="Name a layer that the model calls for this batch",
                )
            self.axes = found[0].whole_items(self.layer)
        return self.axes

    @property
    def layout(self) -> str:
        """Where the features of what crosses the cut lie, once `look` has seen a batch."""
        return Axes().layout if self.axes is None else self.axes.layout

    def given(self, batch: Any) -> Any:
        """What the network takes of a batch."""
        return taken_by(self.model, prepared(batch, self.prepare))

    def mask(self, given: Any) -> Tensor | None:
        """That of padding at the layer, among what the network takes of a batch."""
        return mask_of(given, self.model, self.layer)

    def whole(self, batch: Any) -> Any:
        """What the network itself makes of a batch."""
        return call_model(self.model, self.given(batch))


class Front(Cut):
    """The network up to the output of ``layer``; the rest of it does not run.

    Raises:
        InputError: as `Cut`; from ``forward``, for a layer that does not run.
    """

    def forward(self, batch: Any) -> Tensor:
        """The layer's output for a batch."""
        return self.of(self.given(batch))

    def of(self, given: Any) -> Tensor:
        """The layer's output for what the network takes of a batch."""
        reached: list[Tensor] = []
        axes = self.look(given)

        def stop(_: nn.Module, __: Any, output: Any) -> None:
            reached.append(axes.items_first(tensor_of(output, self.layer, self.part)))
            # an export follows every module to its end, and drops what nobody reads
            if not torch.compiler.is_exporting():
                raise _Reached(reached[0])

        handle = self.module.register_forward_hook(stop)
        try:
            with as_written(self.model):
                call_model(self.model, given)
        except _Reached as found:
            return found.output
        finally:
            handle.remove()
        if reached:
            return reached[0]
        raise InputError(
            f"the layer '{self.layer}' did not run",
            where="layers",
            mend="Name a layer that the model calls for this batch",
        )


class Back(Cut):
    """The network from the output of ``layer`` on.

    Where nothing but the batch's masks goes round the cut, what lies before it runs on one stored
    item; where masks do, on the batch itself.

    Args:
        model: any module.
        layer: the name of the layer whose output is supplied.
        example: a batch of two items or more.
        prepare: turns a batch into what the model takes.
        part: of an output with several parts, the one that is replaced.

    Raises:
        InputError: for a layer that is not there or runs twice, an example of one item, or a
            network in which the content of the input goes round the cut, as a skip connection does.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str,
        example: Any,
        *,
        prepare: Callable[[Any], Any] | None = None,
        part: str | int | None = None,
    ) -> None:
        super().__init__(model, layer, prepare=prepare, part=part)
        given = self.given(example)
        self.look(given)
        self._example = map_tensors(lambda t: t[:1].detach().clone() if t.ndim else t, given)
        with evaluation_mode(model), torch.no_grad():
            self.follows_batch = self._goes_round(given)

    def target(self, given: Any) -> Tensor:
        """What the network itself has at the cut, for what it takes of a batch."""
        front = Front(self.model, self.layer, part=self.part)
        front.axes = self.axes
        return front.of(given)

    def forward(
        self, activation: Tensor | Callable[[Tensor | None], Tensor], batch: Any = None
    ) -> Any:
        """The network's output when the layer's is ``activation``.

        Args:
            activation: in the shape of the layer's output; or what makes it of what the network
                itself has there for this batch, which is None where the batch is not followed.
            batch: read only where ``follows_batch``.
        """
        if self.follows_batch and batch is None:
            raise InputError(
                "this network needs the batch too: its masks go round the cut",
                where=f"layer {self.layer}",
                mend="Give the batch",
            )
        return self.of(activation, self.given(batch) if self.follows_batch else None)

    def of(self, activation: Tensor | Callable[[Tensor | None], Tensor], given: Any) -> Any:
        """The same, of what the network takes of a batch."""
        if not self.follows_batch:
            if not isinstance(activation, Tensor):
                activation = activation(None)
            device = activation.device
            given = map_tensors(lambda t: t.to(device), self._example)
        return self._run(given, activation)

    def with_model(self, model: nn.Module) -> Back:
        """The same cut of a changed copy of the network, which is not looked at again."""
        made = copy.copy(self)
        # a shallow copy shares the table of parts with what it was copied from
        made._modules = {"model": model}
        return made

    def _run(self, given: Any, activation: Tensor | Callable[[Tensor | None], Tensor]) -> Any:
        runs: list[int] = []

        def supply(_: nn.Module, __: Any, output: Any) -> Any:
            runs.append(1)
            own = tensor_of(output, self.layer, self.part)
            axes = self.axes or Axes()
            crossing = (
                activation if isinstance(activation, Tensor) else activation(axes.items_first(own))
            )
            crossing = axes.as_made(crossing)
            return replace_tensor(output, crossing.to(own.dtype), self.layer, self.part)

        handle = self.module.register_forward_hook(supply)
        try:
            with as_written(self.model):
                output = call_model(self.model, given)
        finally:
            handle.remove()
        if len(runs) != 1:
            raise InputError(
                f"the layer '{self.layer}' ran {len(runs)} times in one pass",
                where="layers",
                mend="Cut at a layer that runs once",
            )
        return output

    def _goes_round(self, given: Any) -> bool:
        """Whether the output depends on the batch's masks beyond the cut."""
        count = rows_in(given)
        if count < 2:
            raise InputError(
                f"the example has {count} items; two are needed to see what goes round the cut",
                where=f"layer {self.layer}",
            )
        activation = self.target(given)
        check_finite(activation, f"back, layer {self.layer}")
        # copies: what comes after the cut may change it in place
        own = self._run(given, activation.clone())
        # the same cut, with another content before it
        other = _other_content(given)
        if not same_outputs(own, self._run(other, activation.clone())):
            raise InputError(
                "the content of the input reaches the output round the cut, by a skip connection "
                "or a second branch",
                where=f"layer {self.layer}",
                mend="Cut after the layer where the branches join",
            )
        try:
            return not same_outputs(own, self._run(self._example, activation.clone()))
        except (RuntimeError, ValueError, IndexError):
            # shapes taken from the input: what lies before the cut must see as many items
            return True


def activations_of(cuts: Mapping[str, Cut], batch: Any) -> tuple[dict[str, Tensor], Any]:
    """Activations at cuts of one network, by name, and its output, from one run of it.

    Without cuts nothing is run, and the output is None.
    """
    found: dict[str, Tensor] = {}
    output = None

    def keep(name: str, cut: Cut, _: nn.Module, __: Any, output: Any) -> None:
        # what runs later may change it in place
        made = tensor_of(output, cut.layer, cut.part)
        found[name] = (made if cut.axes is None else cut.axes.items_first(made)).clone()

    for cut in cuts.values():
        cut.look(cut.given(batch))
    with ExitStack() as stack:
        for name, cut in cuts.items():
            hook = partial(keep, name, cut)
            stack.callback(cut.module.register_forward_hook(hook).remove)
        if cuts:
            output = next(iter(cuts.values())).whole(batch)
    return found, output


def check_finite(activation: Tensor, where: str) -> None:
    """Refuse an activation with NaN or infinity.

    Raises:
        InputError: naming the layer.
    """
    if not bool(torch.isfinite(activation).all()):
        raise InputError(
            "an activation is NaN or infinite",
            where=where,
            mend="Look at the weights and at the input of this network",
        )


def _other_content(given: Any, name: str = "") -> Any:
    """The batch with its items exchanged, masks and scalars left in place."""
    if isinstance(given, Tensor):
        return given if "mask" in name or not given.ndim else given.roll(1, 0)
    if isinstance(given, Mapping):
        return {key: _other_content(value, str(key)) for key, value in given.items()}
    if isinstance(given, tuple | list):
        return tuple(_other_content(value) for value in given)
    return given


def same_outputs(a: Any, b: Any, slack: float = 0.0) -> bool:
    """Whether two nested outputs hold the same tensors but for rounding.

    Args:
        a: an output.
        b: another.
        slack: absolute difference that is allowed beside the relative one.
    """
    first, second = list(tensors_in(a)), list(tensors_in(b))
    if [t.shape for t in first] != [t.shape for t in second]:
        return False
    return all(
        _same(x, y, slack)
        for x, y in zip(first, second, strict=True)
        if x.numel() and x.is_floating_point()
    )


def _same(x: Tensor, y: Tensor, slack: float) -> bool:
    finite = x.isfinite()
    # masked scores are infinite in the same places
    if not torch.equal(finite, y.isfinite()):
        return False
    if not torch.allclose(x[~finite], y[~finite], equal_nan=True):
        return False
    x, y = x[finite], y[finite]
    if not x.numel():
        return True
    return float((x - y).abs().max()) <= _AGREE * (float(x.abs().max()) + 1e-12) + slack
