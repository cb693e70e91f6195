"""Running a network on a batch, and the mode that its parts are in while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from isthmus.errors import InputError

__all__ = ["ModelCall", "as_written", "call_model", "evaluation_mode", "taken_by"]

ModelCall = Callable[[nn.Module, Any], Any]
"""How a model is run on a batch."""

_BESIDE = ("label", "labels", "target", "targets", "y", "index", "idx", "id", "ids")
"""What a loader puts beside the input, and a network need not take."""


class evaluation_mode:
    """Every part of the model in evaluation mode, and afterwards as it was, part by part.

    Parts that are compiled run `as_written`.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._modes: list[tuple[nn.Module, bool]] = []
        self._written: AbstractContextManager[None] | None = None

    def __enter__(self) -> Self:
        self._modes = [(part, part.training) for part in self.model.modules()]
        self._written = as_written(self.model)
        self._written.__enter__()
        self.model.eval()
        return self

    def __exit__(self, *_: object) -> None:
        for part, training in self._modes:
            part.training = training
        if self._written is not None:
            self._written.__exit__(None, None, None)


@contextmanager
def as_written(model: nn.Module) -> Generator[None]:
    """What `torch.compile` made of the model, or of parts of it, runs uncompiled.

    Compiling would trace the hooks that look into a network, or leave them out.
    """
    # the question is not asked of all: the compiler takes seconds to import
    compiled = any(
        vars(part).get("_compiled_call_impl") is not None or hasattr(part, "_orig_mod")
        for part in model.modules()
    )
    if not compiled or torch.compiler.is_compiling():
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


def call_model(model: nn.Module, batch: Any) -> Any:
    """Run the model: a tensor is its argument, a tuple its arguments, a mapping its keywords.

    Labels beside the input are left away where the model does not take them, as `taken_by` says.

    Raises:
        InputError: as `taken_by`, and where the model fails on numbers of a kind that it does not
            hold; whatever else it raises is passed on.
    """
    given = taken_by(model, batch)
    try:
        return _called(model, given)
    except (RuntimeError, TypeError, NotImplementedError) as error:
        misfit = _misfit(model, given)
        if misfit is None:
            raise
        what, mend = misfit
        raise InputError(f"the network does not run: {what}", where="batch", mend=mend) from error


def _called(model: nn.Module, given: Any) -> Any:
    if isinstance(given, Mapping):
        return model(**given)
    if isinstance(given, tuple | list):
        return model(*given)
    return model(given)


def _misfit(model: nn.Module, given: Any) -> tuple[str, str] | None:
    """Why a batch and a network do not go together, and what to do; None where it is not that."""
    weights = list(model.parameters())
    if any(weight.is_meta for weight in weights):
        return "its weights are on the device meta, which holds none", "Load its weights first"
    values = list(given.values()) if isinstance(given, Mapping) else given
    parts: list[Any] = [values] if not isinstance(values, tuple | list) else [*values]
    if any(isinstance(part, np.ndarray) for part in parts):
        return "the batch holds arrays of numpy", "Give tensors, as torch.from_numpy(rows).float()"
    tensors = [part for part in parts if isinstance(part, Tensor)]
    for tensor in tensors:
        devices = {weight.device for weight in weights}
        if devices and tensor.device not in devices:
            where = next(iter(devices))
            return f"it is on {where}, the batch on {tensor.device}", f"Move one: .to('{where}')"
    held = {weight.dtype for weight in weights if weight.is_floating_point()}
    for tensor in tensors:
        if tensor.is_floating_point() and held and tensor.dtype not in held:
            kind = next(iter(held))
            return f"it holds {kind}, the batch {tensor.dtype}", f"Convert one: .to({kind})"
    return None


def taken_by(model: nn.Module, batch: Any) -> Any:
    """A batch without the labels that a loader put beside the input.

    Left away are the last parts of a tuple that the model's ``forward`` has no argument for, or
    that hold one number per item where the argument may be left away; and of a mapping what is
    called a label or an index and is no argument.

    Raises:
        InputError: for a batch that the model cannot take, naming what it takes.
    """
    if not isinstance(batch, Mapping | tuple | list):
        return batch
    named = list(inspect.signature(model.forward).parameters.values())
    places = [p for p in named if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    takes = f"{type(model).__name__}.forward takes {', '.join(p.name for p in named) or 'nothing'}"
    mend = "Say with prepare= (of Taps: call=) what of a batch the network takes"
    if isinstance(batch, Mapping):
        if any(p.kind is p.VAR_KEYWORD for p in named):
            return batch
        known = {p.name for p in named}
        unknown = [name for name in batch if name not in known]
        strange = [str(name) for name in unknown if str(name).lower() not in _BESIDE]
        if strange:
            raise InputError(f"{takes}, and the batch holds {', '.join(strange)} too", mend=mend)
        return batch if not unknown else {n: v for n, v in batch.items() if n in known}
    if any(p.kind is p.VAR_POSITIONAL for p in named):
        return batch
    needed = sum(p.default is p.empty for p in places)
    if len(batch) < max(needed, 1):
        raise InputError(f"{takes}, and the batch has {len(batch)} parts", mend=mend)
    given = tuple(batch)[: len(places)]
    while len(given) > max(needed, 1) and _is_label(given[0], given[-1]):
        given = given[:-1]
    return given


def _is_label(first: Any, part: Any) -> bool:
    """One number for each item of an input that has more of them."""
    if not isinstance(first, Tensor) or not isinstance(part, Tensor):
        return False
    return part.ndim == 1 and first.ndim >= 2 and len(part) == len(first)
