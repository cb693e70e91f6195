"""How a linear layer's inputs become integers: ranges seen in calibration, evened out by columns.

A few columns of a transformer's activations are far larger than the others, and would take all the
steps of one scale.  Dividing every column by a factor, and multiplying the weight's by it, changes
no product and shares the difficulty between both (SmoothQuant, Xiao et al. 2023, eqs. 3 and 4).
How far to go is chosen for each layer by the error of its output, as Lin et al. (AWQ, 2024,
section 3.2) do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["STEPS", "InputRanges", "InputRounding", "best_rounding", "rounded_rows"]

LARGEST = 127
"""The largest code of a weight."""
STEPS = 127
"""Steps of the range of an input: two products of such a step with a code fit 16 bits, in which
many processors add them."""
_KEPT_ROWS = 512
_STRENGTHS = (0.5, 0.6, 0.7, 0.8, 0.9)
_SMALLEST = 0.01
"""Relative to the largest column: one that was silent in calibration may speak later."""


class InputRounding(NamedTuple):
    """``round(x * columns + zero)``, cut to 0…127, stands for ``x``.

    Attributes:
        columns: what each input is multiplied by, ``(inputs,)`` float32.
        factors: what each input was divided by, and each column of the weight multiplied by.
        zero: the integer of 0.
        step: between two integers, after the division.
    """

    columns: Tensor
    factors: Tensor
    zero: int
    step: float


@dataclass
class InputRanges:
    """The least and largest value of every input of a layer, and some rows of the first batch."""

    rows: Tensor | None = None
    first: int = 0
    low: Tensor | None = None
    high: Tensor | None = None

    def add(self, x: Tensor) -> None:
        """Take in a batch ``(..., inputs)``."""
        rows = x.detach().reshape(-1, x.shape[-1]).float()
        if not len(rows):
            return
        low, high = rows.amin(0), rows.amax(0)
        if self.rows is None or self.low is None or self.high is None:
            self.first = len(rows)
            self.rows = rows[:: max(1, len(rows) // _KEPT_ROWS)].clone()
            self.low, self.high = low, high
        else:
            self.low, self.high = torch.minimum(self.low, low), torch.maximum(self.high, high)


def rounded_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Codes −127…127 of a matrix as float, and the scale of each row: ``(out, in)``, ``(out,)``."""
    scales = weight.abs().amax(1).float() / LARGEST
    safe = torch.where(scales > 0, scales, torch.ones_like(scales))
    return torch.round(weight.float() / safe[:, None]).clamp(-LARGEST, LARGEST), scales


def best_rounding(ranges: InputRanges, weight: Tensor) -> InputRounding | None:
    """The factors whose rounded product is nearest to the true one on the rows kept.

    Args:
        ranges: of the inputs.
        weight: ``(out, in)``.

    Returns:
        None for inputs that were all zero, or not finite: there is no range then.
    """
    rows, low, high = ranges.rows, ranges.low, ranges.high
    if rows is None or low is None or high is None:
        return None
    largest = torch.maximum(-low, high)
    top = float(largest.max())
    if not 0 < top < float("inf"):
        return None
    weight = weight.detach().float()
    size = weight.abs().amax(0)
    size = size.clamp(min=float(size.max().clamp(min=1e-30)) * _SMALLEST)
    largest = largest.clamp(min=top * _SMALLEST)
    true = rows @ weight.T
    tried = [torch.ones_like(largest)]
    tried += [largest**strength / size ** (1 - strength) for strength in _STRENGTHS]
    best: tuple[float, InputRounding] | None = None
    for factors in tried:
        own = _of(factors, low, high)
        codes, scales = rounded_rows(weight * factors)
        whole = torch.round(rows * own.columns + own.zero).clamp(0, STEPS) - own.zero
        error = float(((whole @ codes.T) * (scales * own.step) - true).square().sum())
        if best is None or error < best[0]:
            best = error, own
    assert best is not None
    return best[1]


def _of(factors: Tensor, low: Tensor, high: Tensor) -> InputRounding:
    # 0 is among the integers, so that padding and silent inputs are exact
    least = min(0.0, float((low / factors).min()))
    most = max(0.0, float((high / factors).max()))
    step = (most - least) / STEPS
    return InputRounding(1 / (factors * step), factors, round(-least / step), step)
