"""Running a network on a batch, and the mode that its parts are in while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

from torch import nn

__all__ = ["call_model", "evaluation_mode"]


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
    """Run the model: a tensor is its argument, a tuple its arguments, a mapping its keywords."""
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)
