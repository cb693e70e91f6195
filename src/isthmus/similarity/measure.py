"""What one similarity measure is: its definition, direction, range, invariances and computation.

Each family of measures (`cka`, `cca`, `procrustes`, ...) declares its own beside its formula, and
`catalogue` lists the families.  The property tests are generated from these declarations, so that
a declaration that is not true fails.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from isthmus.similarity.null import Null

if TYPE_CHECKING:
    from isthmus.similarity.paired_moments import PairedMoments
    from isthmus.similarity.row_sample import RowSample

__all__ = [
    "ANGLES",
    "COORDINATES",
    "INVARIANCES",
    "LINEAR",
    "PATTERN",
    "ROTATION",
    "Basis",
    "Computed",
    "Invariance",
    "Measure",
    "MomentMeasure",
    "RowMeasure",
]

Invariance = Literal[
    "permutation", "isotropic_scaling", "translation", "orthogonal", "invertible_linear"
]
"""What may be done to the vectors of one side without changing the value.

``permutation`` reorders the dimensions, ``isotropic_scaling`` multiplies all rows by one positive
number, ``translation`` adds one vector to all rows, ``orthogonal`` rotates and reflects, and
``invertible_linear`` multiplies by any invertible matrix.
"""

INVARIANCES: tuple[Invariance, ...] = (
    "permutation",
    "isotropic_scaling",
    "translation",
    "orthogonal",
    "invertible_linear",
)

Basis = Literal["moments", "rows"]
"""Computed from the moments of all rows, or from a bounded sample of the rows themselves."""

ROTATION: frozenset[Invariance] = frozenset(
    ("permutation", "isotropic_scaling", "translation", "orthogonal")
)
LINEAR: frozenset[Invariance] = ROTATION | frozenset[Invariance](("invertible_linear",))
COORDINATES: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling", "translation"))
ANGLES: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling", "orthogonal"))
PATTERN: frozenset[Invariance] = frozenset(("permutation", "isotropic_scaling"))


@dataclass
class Computed:
    """What the computation of a measure returns."""

    value: float
    null: Null
    interval: tuple[float, float] | None = None
    """Cut to the range of the measure by who reports it."""
    warnings: list[str] = field(default_factory=list)
    details: dict[str, float] = field(default_factory=dict)
    z: float | None = None
    """Standard deviations of the null by which the value is closer than chance; None where that
    is the distance of the value from the mean of ``null``."""


@dataclass(frozen=True, kw_only=True)
class Measure:
    """The declaration of one measure; declare a `MomentMeasure` or a `RowMeasure`.

    Attributes:
        name: what `compare` calls it.
        words: what people call it, in reports.
        definition: identifies the formula and its constants; another formula gets another id.
        formula: in one line; X, Y are centred rows, S their products, A, M, C those divided by n.
        source: where it was published.
        higher_is_closer: the direction.
        low: least value; None where there is no bound.
        high: largest value; None where there is no bound.
        at_identity: the value of two equal sides.
        invariances: transformations of either side that do not change the value.
        preparation: what is done to the rows first.
        symmetric: whether the sides may be exchanged.
        aliases: other names under which it can be asked for.
        debiased: the name of the measure that estimates the same without the bias of few rows.
        biased: whether few rows shift the value: its interval is then one of the value at this
            number of rows, not of that of all rows there could be.

    Example:
        >>> from isthmus.similarity import MEASURES
        >>> cka = MEASURES["linear_cka"]
        >>> cka.basis, cka.high, "invertible_linear" in cka.invariances, cka.debiased
        ('moments', 1.0, False, 'debiased_cka')
    """

    basis: ClassVar[Basis]

    name: str
    words: str
    definition: str
    formula: str
    source: str
    higher_is_closer: bool
    low: float | None
    high: float | None
    at_identity: float
    invariances: frozenset[Invariance]
    preparation: str
    symmetric: bool = True
    aliases: tuple[str, ...] = ()
    debiased: str | None = None
    biased: bool = True


@dataclass(frozen=True, kw_only=True)
class MomentMeasure(Measure):
    """A measure that follows from the moments of all rows.

    Attributes:
        compute: the value with its null, and its interval where the moments are kept by fold.
    """

    basis: ClassVar[Basis] = "moments"

    compute: Callable[[PairedMoments], Computed]
    preparation: str = "all rows, centred"


@dataclass(frozen=True, kw_only=True)
class RowMeasure(Measure):
    """A measure that needs the rows themselves, and takes a bounded sample of them.

    Attributes:
        compute: the value with its null and its interval.
    """

    basis: ClassVar[Basis] = "rows"

    compute: Callable[[RowSample], Computed]
