"""What the norms, components and mean of healthy rows look like."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from isthmus.errors import InputError

__all__ = ["MEAN_FIRST", "NORM_TOLERANCE", "QUANTILES", "MeasuredRanges", "Ranges", "require"]

MEAN_FIRST = 8
"""How many components of the mean vector a contract keeps."""

QUANTILES = (0.0, 0.001, 0.01, 0.5, 0.99, 0.999, 1.0)
"""Shares of the rows whose greatest length is described."""

NORM_TOLERANCE = 1e-3
"""Relative tolerance of every statement about norms.

Storing a row in float16 moves its norm by up to 2⁻¹¹ ≈ 0.0005, which must not count as a fault.
"""


@dataclass(frozen=True, eq=False)
class MeasuredRanges:
    """Numbers of healthy rows, measured elsewhere, of which a contract's ranges are made.

    Example:
        >>> MeasuredRanges(norm_quantiles={0.0: 2.0, 1.0: 4.0}).norm_slack
        2.0
    """

    norm_quantiles: Mapping[float, float] | None = None
    """Share of the rows to the greatest norm among them."""
    norm_slack: float = 2.0
    """The norm bounds are the least quantile divided by it and the greatest times it."""
    mean: Sequence[float] | NDArray[Any] | None = None
    """The mean vector ``(dim,)``; its norm and first components are kept."""
    component_min: Sequence[float] | NDArray[Any] | None = None
    """Enforced least value of each component ``(dim,)``."""
    component_max: Sequence[float] | NDArray[Any] | None = None
    """Enforced greatest value of each component ``(dim,)``."""

    def __post_init__(self) -> None:
        if not self.norm_slack >= 1:
            raise InputError(f"norm_slack is {self.norm_slack}, expected 1 or more")


def require(condition: bool, message: str) -> None:
    """Refuse a contract, in the way that pydantic expects of a validator."""
    if not condition:
        raise ValueError(message)


def _plain(value: float) -> float:
    return value + 0.0  # −0.0 becomes 0.0: equal contracts must have equal bytes


Number = Annotated[float, Field(allow_inf_nan=False), AfterValidator(_plain)]
Positive = Annotated[Number, Field(ge=0)]


class Ranges(BaseModel):
    """What the norms, components and mean of healthy rows look like.

    The bounds are enforced, by `isthmus.spaces.guard`; the quantiles and the mean describe.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    norm_min: Positive | None = None
    """Least norm of a row, enforced."""
    norm_max: Positive | None = None
    """Greatest norm of a row, enforced."""
    component_min: tuple[Number, ...] | None = None
    """Least value of each component ``(dim,)``, enforced."""
    component_max: tuple[Number, ...] | None = None
    """Greatest value of each component ``(dim,)``, enforced."""
    norm_quantiles: tuple[tuple[Number, Positive], ...] | None = None
    """Pairs ``(q, norm)``: a share ``q`` of the rows has a norm of at most ``norm``."""
    mean_norm: Positive | None = None
    """Norm of the mean vector: how far from the origin the cloud sits."""
    mean_first: Annotated[tuple[Number, ...], Field(max_length=MEAN_FIRST)] | None = None
    """The first components of the mean vector, at most eight: a digest that survives rounding."""

    @property
    def bounds_norms(self) -> bool:
        """Whether a norm can be out of range."""
        return self.norm_min is not None or self.norm_max is not None

    @property
    def bounds_components(self) -> bool:
        """Whether a component can be out of range."""
        return self.component_min is not None or self.component_max is not None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.norm_min is not None and self.norm_max is not None:
            require(
                self.norm_min <= self.norm_max,
                f"norm_min {self.norm_min:g} is greater than norm_max {self.norm_max:g}",
            )
        if self.component_min is not None and self.component_max is not None:
            require(
                len(self.component_min) == len(self.component_max),
                f"component_min has {len(self.component_min)} numbers and component_max "
                f"{len(self.component_max)}",
            )
            for i, (low, high) in enumerate(
                zip(self.component_min, self.component_max, strict=True)
            ):
                require(low <= high, f"component {i}: the minimum {low:g} exceeds {high:g}")
        for (p, low), (q, high) in itertools.pairwise(self.norm_quantiles or ()):
            require(p < q and low <= high, "norm_quantiles must rise, in the share and the norm")
        for q, _ in self.norm_quantiles or ():
            require(0 <= q <= 1, f"norm_quantiles: the share {q:g} is not between 0 and 1")
        return self
