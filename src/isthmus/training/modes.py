"""Running a network on a batch, and the mode that its parts are in while it runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, Self

from torch import Tensor, nn

from isthmus.errors import InputError

__all__ = ["call_model", "evaluation_mode", "taken_by"]

_BESIDE = ("label", "labels", "target", "targets", "y", "index", "idx", "id", "ids")
"""What a loader puts beside the input, and a network need not take."""


class evaluation_mode:
    """Every part of the model in evaluation mode, and afterwards as it was, part by part."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self._modes: list[tuple[nn.Module, bool]] = []

    def __enter__(self) -> Self:
        self._modes = [(part, part.training) for part in self.model.modules()]
        self.model.eval()
        return self

    def __exit__(self, *_: object) -> None:
        for part, training in self._modes:
            part.training = training


def call_model(model: nn.Module, batch: Any) -> Any:
    """Run the model: a tensor is its argument, a tuple its arguments, a mapping its keywords.

    Labels beside the input are left away where the model does not take them, as `taken_by` says.

    Raises:
        InputError: as `taken_by`.
    """
    given = taken_by(model, batch)
    if isinstance(given, Mapping):
        return model(**given)
    if isinstance(given, tuple | list):
        return model(*given)
    return model(given)


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
