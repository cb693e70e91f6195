"""Activations of named layers, taken while a model runs, and nothing left behind in it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from isthmus.errors import InputError
from isthmus.nn.look.item_rows import check_rows
from isthmus.nn.look.layout import LayerAxes
from isthmus.nn.look.outputs import tensor_of
from isthmus.nn.look.pooling import POOLS, Pool, mask_of, masks_in_order, pool_rows
from isthmus.training.modes import call_model, evaluation_mode
from isthmus.training.names import find_modules

__all__ = ["Taps"]

REPEATS = ("error", "first", "last", "mean", "each")
"""What to do with a layer that runs more than once in a pass."""


class Taps:
    """Rows of named layers for every batch that a model sees inside ``with``.

    The model runs in evaluation mode and without gradients, so that dropout and batch statistics do
    not enter; on leaving, also through an error, the hooks are gone and every part is back in its
    own mode.  Activations are pooled as they are made, so that none is kept whole.

    Args:
        model: any module.
        layers: names or patterns, as `find_modules` takes them.
        pool: how the positions of an item become its row, out of `POOLS` or a function.
        part: of an output with several parts, the key or position that is meant.
        layout: where features lie once items come first: ``channels`` (second axis), ``tokens``
            (last axis) or ``auto``, by evidence: the layer's kind, and which axes of its output
            change where the network runs on another number of items or on another size.
        repeats: of a layer that runs several times in a pass, as a shared one does: ``error``, the
            ``first``, the ``last``, their ``mean``, or ``each`` as ``name#1``, ``name#2``, ...
        call: how to run the model on a batch; unless given a tensor is its argument, a tuple its
            arguments, a mapping its keyword arguments.

    Raises:
        InputError: for a layer that is not there, naming those that are near.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> with Taps(model, ["0", "2"]) as taps:
        ...     rows = taps(torch.ones(5, 4))
        >>> {name: tuple(row.shape) for name, row in rows.items()}
        {'0': (5, 8), '2': (5, 2)}
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Iterable[str],
        *,
        pool: Pool = "mean",
        part: str | int | None = None,
        layout: str = "auto",
        repeats: str = "error",
        call: Callable[[nn.Module, Any], Any] | None = None,
    ) -> None:
        if not callable(pool) and pool not in POOLS:
            raise InputError(
                f"there is no pooling '{pool}'", where="pool", mend=f"Choose from {POOLS}"
            )
        if repeats not in REPEATS:
            raise InputError(
                f"repeats cannot be '{repeats}'", where="repeats", mend=f"Choose from {REPEATS}"
            )
        if layout not in ("auto", "channels", "tokens"):
            raise InputError(
                f"there is no layout '{layout}'",
                where="layout",
                mend="Choose from auto, channels, tokens",
            )
        if isinstance(model, torch.jit.ScriptModule):
            raise InputError(
                "a scripted network runs no hooks, by which layers are read",
                where="model",
                mend="Give the network that it was scripted from",
            )
        self.model = model
        self.modules = find_modules(model, layers)
        self.pool, self.part, self.layout, self.repeats = pool, part, layout, repeats
        self.call = call or call_model
        self._axes = LayerAxes(model, self.modules, part)
        self._mode = evaluation_mode(model)
        self._handles: list[Any] = []
        self._taken: dict[str, list[Tensor]] = {}
        self._mask: Tensor | None = None
        self._batch: Any = None
        self._masks: dict[str, Tensor | None] = {}
        self._first: dict[str, Tensor] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The layers, in the order of the model."""
        return tuple(self.modules)

    def __enter__(self) -> Self:
        if self._handles:
            raise InputError("these taps are open already", mend="Make new ones")
        self._mode.__enter__()
        self._handles = [
            self.model.register_forward_pre_hook(self._before, with_kwargs=True),
            *(
                module.register_forward_hook(self._hook(name), with_kwargs=True)
                for name, module in self.modules.items()
            ),
        ]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles, self._taken, self._masks = [], {}, {}
        self._mode.__exit__()

    def __call__(self, batch: Any, *, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Run the model on ``batch`` and return the rows of every layer.

        Args:
            batch: what the model takes: a mapping of named arguments, a tuple of several, or one.
            mask: ``(n, positions)``, true where there is no padding; unless given the mask among
                what the model is given, by name or in order (`mask_of`).

        Raises:
            InputError: outside ``with``, for a layer that does not run or runs twice, and for
                outputs that are not activations.
        """
        if not self._handles:
            raise InputError(
                "the taps are not open", mend="Use them inside 'with Taps(...) as taps'"
            )
        self._taken, self._mask, self._batch = {}, mask, batch
        try:
            with torch.no_grad():
                self.call(self.model, batch)
        finally:
            self._mask = self._batch = None
        return self.take()

    def take(self) -> dict[str, Tensor]:
        """The rows of the last pass, for those who run the model themselves; they are forgotten.

        Raises:
            InputError: for a layer that did not run, or ran more often than ``repeats`` allows.
        """
        taken, self._taken, self._masks = self._taken, {}, {}
        first, self._first = self._first, {}
        missing = [name for name in self.modules if name not in taken]
        if missing:
            raise InputError(
                f"the layer '{missing[0]}' did not run",
                where="layers",
                mend="Name a layer that the model calls for this batch"
                if taken
                else "Run the model on a batch first",
            )
        rows: dict[str, Tensor] = {}
        for name in self.modules:
            if self.pool != "positions":
                for time, made in enumerate(taken[name]):
                    check_rows(made, self._axes.counts, None if time else first.get(name), name)
            rows.update(self._joined(name, taken[name]))
        return rows

    def _before(self, _: nn.Module, args: Any, kwargs: Any) -> None:
        self._axes.before(args, kwargs)
        given = {**masks_in_order(self.model, args), **kwargs}
        if isinstance(self._batch, Mapping):
            given = self._batch  # of which `call` may have left the mask away
        self._masks = {
            name: mask_of(given, self.model, name) if self._mask is None else self._mask
            for name in self.modules
        }

    def _hook(self, name: str) -> Callable[[nn.Module, Any, Any, Any], None]:
        def hook(_: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # a pass that the user makes may record gradients
            with torch.no_grad():
                activation = tensor_of(output, name, self.part).detach()
                axes = self._axes.of(name, activation, (args, kwargs))
                activation = axes.items_first(activation)
                layout = axes.layout if self.layout == "auto" else self.layout
                shown = self._masks.get(name)
                rows = pool_rows(activation, layout, self.pool, shown, name)
                first = self._axes.of_first(name, axes)
                if first is not None and self.pool != "positions":
                    mask = None if shown is None else shown[:1]
                    self._first.setdefault(name, pool_rows(first, layout, self.pool, mask, name))
                # the model may go on to change the tensor in place
                shared = (
                    rows.untyped_storage().data_ptr() == activation.untyped_storage().data_ptr()
                )
                self._taken.setdefault(name, []).append(rows.clone() if shared else rows)

        return hook

    def _joined(self, name: str, rows: list[Tensor]) -> dict[str, Tensor]:
        if len(rows) == 1 or self.repeats == "first":
            return {name: rows[0]}
        if self.repeats == "last":
            return {name: rows[-1]}
        if self.repeats == "each":
            return {f"{name}#{time}": row for time, row in enumerate(rows, start=1)}
        shapes = {tuple(row.shape) for row in rows}
        if self.repeats == "mean" and len(shapes) == 1:
            return {name: torch.stack(rows).mean(0)}
        raise InputError(
            f"the layer '{name}' ran {len(rows)} times in one pass"
            + ("" if self.repeats == "error" else " with rows of different shapes"),
            where="layers",
            mend="Say which is meant with repeats='first', 'last', 'mean' or 'each'",
        )
