"""Whether a consumer written against one contract can accept the vectors of another.

The *consumer* is the contract somebody's code was written against, the *producer* the contract of
the vectors it is offered.  `CLAUSES` lists every rule; `check_compatible` answers with all that
are violated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from isthmus.errors import ContractError
from isthmus.spaces.contract import (
    NORM_TOLERANCE,
    FaultMode,
    Response,
    Space,
)
from isthmus.spaces.versions import Bump, SemanticVersion, next_version

__all__ = [
    "CLAUSES",
    "Bump",
    "Clause",
    "Compatibility",
    "SemanticVersion",
    "Violation",
    "check_compatible",
    "next_version",
    "required_bump",
]


@dataclass(frozen=True)
class Violation:
    """One clause that a producer breaks."""

    clause: str
    expected: str
    found: str
    why: str

    def __str__(self) -> str:
        return f"{self.clause}: expected {self.expected}, found {self.found} ({self.why})"


@dataclass(frozen=True)
class Clause:
    """One rule of compatibility.

    ``check(consumer, producer)`` returns None if it is kept, else what was expected and found.
    """

    name: str
    rule: str
    """What is allowed."""
    why: str
    """What goes wrong otherwise."""
    check: Callable[[Space, Space], tuple[str, str] | None]


@dataclass(frozen=True)
class Compatibility:
    """The answer of `check_compatible`; true in a condition if compatible."""

    consumer: str
    producer: str
    violations: tuple[Violation, ...]

    @property
    def compatible(self) -> bool:
        """Whether no clause is violated."""
        return not self.violations

    def __bool__(self) -> bool:
        return self.compatible

    def __str__(self) -> str:
        if self.compatible:
            return f"a consumer of {self.consumer} can accept {self.producer}"
        head = f"a consumer of {self.consumer} cannot accept {self.producer}:"
        return "\n".join([head, *(f"  {violation}" for violation in self.violations)])

    def require(self) -> None:
        """Do nothing if compatible.

        Raises:
            ContractError: listing every violated clause.
        """
        if not self.compatible:
            raise ContractError(
                "; ".join(str(violation) for violation in self.violations),
                where=f"{self.producer} offered to a consumer of {self.consumer}",
                mend="Use vectors that keep the contract, or a bridge into this space",
            )


# ---- the version -------------------------------------------------------------------------------


def _major(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, offered = (
        SemanticVersion.parse(consumer.version),
        SemanticVersion.parse(producer.version),
    )
    if wanted.major == offered.major:
        return None
    return f"{wanted.major}.x", producer.version


def _minor(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, offered = (
        SemanticVersion.parse(consumer.version),
        SemanticVersion.parse(producer.version),
    )
    if wanted.major != offered.major:
        return None
    if wanted.major == 0:
        kept = wanted.minor == offered.minor
        return None if kept else (f"0.{wanted.minor}.x", producer.version)
    kept = offered.minor >= wanted.minor
    return None if kept else (f"{wanted.major}.{wanted.minor} or later", producer.version)


def _prerelease(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, offered = (
        SemanticVersion.parse(consumer.version),
        SemanticVersion.parse(producer.version),
    )
    if not offered.prerelease:
        return None
    if wanted.prerelease and wanted.core == offered.core and offered >= wanted:
        return None
    expected = f"a release, or {consumer.version} or later" if wanted.prerelease else "a release"
    return expected, producer.version


# ---- what is encoded, and by what --------------------------------------------------------------


def _same(field: str) -> Callable[[Space, Space], tuple[str, str] | None]:
    """The field must be equal."""

    def check(consumer: Space, producer: Space) -> tuple[str, str] | None:
        wanted, offered = getattr(consumer, field), getattr(producer, field)
        return None if wanted == offered else (_shown(wanted), _shown(offered))

    return check


def _same_if_named(field: str) -> Callable[[Space, Space], tuple[str, str] | None]:
    """The field must be equal, where the consumer names it."""
    same = _same(field)
    return lambda consumer, producer: (
        None if getattr(consumer, field) is None else same(consumer, producer)
    )


def _shown(value: object) -> str:
    return "unspecified" if value is None else str(value)


def _layer(consumer: Space, producer: Space) -> tuple[str, str] | None:
    if consumer.layer == producer.layer:
        return None
    return consumer.layer or "the final output", producer.layer or "the final output"


# ---- the numbers -------------------------------------------------------------------------------


def _metric(consumer: Space, producer: Space) -> tuple[str, str] | None:
    alike = {consumer.metric, producer.metric} == {"cosine", "dot"} and producer.normalised
    if consumer.metric == producer.metric or alike:
        return None
    return consumer.metric, producer.metric


_WIDTH = {"float16": 16, "float32": 32, "float64": 64}


def _dtype(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, offered = _WIDTH[consumer.dtype], _WIDTH[producer.dtype]
    if wanted == offered or (offered < wanted and consumer.faults.wrong_dtype != "reject"):
        return None
    narrower = "" if consumer.faults.wrong_dtype == "reject" else " or narrower"
    return f"{consumer.dtype}{narrower}", producer.dtype


def _normalised(consumer: Space, producer: Space) -> tuple[str, str] | None:
    if producer.normalised or not consumer.normalised:
        return None
    return "unit norm", "any norm"


_Interval = tuple[float, float]


def _within(inner: _Interval, outer: _Interval) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _interval(interval: _Interval) -> str:
    return f"{interval[0]:g} to {interval[1]:g}"


def _norms(space: Space) -> _Interval:
    if space.normalised:
        return 1 - NORM_TOLERANCE, 1 + NORM_TOLERANCE
    low, high = space.ranges.norm_min, space.ranges.norm_max
    return (0.0 if low is None else low), (float("inf") if high is None else high)


def _norm_range(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, offered = _norms(consumer), _norms(producer)
    if consumer.normalised or _within(offered, wanted):
        return None
    return f"norms from {_interval(wanted)}", f"norms from {_interval(offered)}"


def _components(space: Space) -> list[_Interval]:
    # No component of a unit vector is larger than its norm.
    most = 1 + NORM_TOLERANCE if space.normalised else float("inf")
    low = space.ranges.component_min or (-most,) * space.dim
    high = space.ranges.component_max or (most,) * space.dim
    return [(max(a, -most), min(b, most)) for a, b in zip(low, high, strict=True)]


def _component_range(consumer: Space, producer: Space) -> tuple[str, str] | None:
    if consumer.dim != producer.dim or not consumer.ranges.bounds_components:
        return None
    pairs = zip(_components(consumer), _components(producer), strict=True)
    broken = [(i, w, o) for i, (w, o) in enumerate(pairs) if not _within(o, w)]
    if not broken:
        return None
    i, wanted, offered = broken[0]
    more = f" ({len(broken)} components differ so)" if len(broken) > 1 else ""
    return f"component {i} from {_interval(wanted)}", f"from {_interval(offered)}{more}"


# ---- the faults --------------------------------------------------------------------------------

_STRENGTH: dict[Response, int] = {"flag": 0, "repair": 1, "reject": 2}


def _response(space: Space, mode: FaultMode) -> Response | None:
    """What becomes of such rows in ``space``; None where they are no fault there."""
    own: Response | None = getattr(space.faults, mode)
    if mode == "zero" and own is None:
        return space.faults.not_normalised  # a row of zeros has no unit norm either
    return own


def _fault(mode: FaultMode) -> Callable[[Space, Space], tuple[str, str] | None]:
    def check(consumer: Space, producer: Space) -> tuple[str, str] | None:
        wanted, offered = _response(consumer, mode), _response(producer, mode)
        if wanted is None:
            return None
        if offered is None:
            # Where unit norm is required, the clause on that has said so already.
            unsaid = mode == "zero" and consumer.faults.zero is not None
            return (wanted, "such rows are no fault") if unsaid else None
        return None if _STRENGTH[offered] >= _STRENGTH[wanted] else (wanted, offered)

    return check


def _range_fault(consumer: Space, producer: Space) -> tuple[str, str] | None:
    wanted, own, unit = (
        consumer.faults.out_of_range,
        producer.faults.out_of_range,
        producer.faults.not_normalised,
    )
    if wanted is None:
        return None
    # A bound that the producer does not set is kept, if at all, by its unit norm.
    unset = consumer.ranges.bounds_norms or any(
        getattr(consumer.ranges, side) is not None and getattr(producer.ranges, side) is None
        for side in ("component_min", "component_max")
    )
    offered = own or wanted
    if unset and unit is not None and (own is None or _STRENGTH[unit] < _STRENGTH[own]):
        offered = unit
    return None if _STRENGTH[offered] >= _STRENGTH[wanted] else (wanted, offered)


def _fault_clauses() -> Iterator[Clause]:
    rows: dict[FaultMode, str] = {
        "wrong_dtype": "of another dtype",
        "non_finite": "with NaN or infinite components",
        "zero": "of zeros",
        "not_normalised": "without unit norm",
        "out_of_range": "outside the ranges",
    }
    for mode, which in rows.items():
        yield Clause(
            f"faults.{mode}",
            f"rows {which} are answered at least as strictly: reject, then repair, then flag",
            f"rows {which} would reach a consumer that counts on not meeting them",
            _range_fault if mode == "out_of_range" else _fault(mode),
        )


_VERSION_CLAUSES = (
    Clause(
        "version.major",
        "the major version is equal",
        "a new major version breaks consumers of the former",
        _major,
    ),
    Clause(
        "version.minor",
        "the producer's minor version is equal or later; below 1.0 it is equal",
        "an earlier minor version lacks promises the consumer relies on, and below 1.0 any other "
        "minor version may break it",
        _minor,
    ),
    Clause(
        "version.prerelease",
        "the producer is a release, or a later pre-release of the consumer's own version",
        "a pre-release may still change",
        _prerelease,
    ),
)

CLAUSES: tuple[Clause, ...] = (
    Clause(
        "name",
        "the name is equal",
        "vectors of different spaces cannot be compared",
        _same("name"),
    ),
    *_VERSION_CLAUSES,
    Clause(
        "model",
        "the model is equal, where the consumer names one",
        "another model's vectors mean something else",
        _same_if_named("model"),
    ),
    Clause(
        "revision",
        "the revision is equal, where the consumer names one",
        "other weights give other vectors",
        _same_if_named("revision"),
    ),
    Clause(
        "layer",
        "the layer is equal; none named is the final output",
        "another layer's vectors mean something else",
        _layer,
    ),
    Clause(
        "modality",
        "the modality is equal, where the consumer names one",
        "the consumer was not made for what these vectors encode",
        _same_if_named("modality"),
    ),
    Clause("dim", "the width is equal", "the vectors do not fit", _same("dim")),
    Clause(
        "metric",
        "the metric is equal; cosine and dot are interchangeable if the producer normalises",
        "scores would have another meaning and another order",
        _metric,
    ),
    Clause(
        "dtype",
        "the producer's dtype is equal, or narrower unless the consumer rejects other dtypes",
        "converting to a narrower dtype loses digits and may overflow",
        _dtype,
    ),
    Clause(
        "normalised",
        "the producer normalises, where the consumer requires it",
        "scores of rows without unit norm are wrong by their norm",
        _normalised,
    ),
    Clause(
        "ranges.norm",
        "the producer's norms lie within the consumer's bounds",
        "norms outside the bounds would be treated as faults",
        _norm_range,
    ),
    Clause(
        "ranges.component",
        "the producer's components lie within the consumer's bounds",
        "components outside the bounds would be treated as faults",
        _component_range,
    ),
    *_fault_clauses(),
)
"""Every rule of compatibility, in the order in which violations are listed."""


def check_compatible(consumer: Space, producer: Space) -> Compatibility:
    """Whether a consumer written against one contract can accept vectors of the other.

    Quantiles and the mean describe and are not compared.  Compatibility is reflexive and not
    symmetric.

    Example:
        >>> written_for = Space(name="docs", version="1.2.0", dim=384, metric="cosine")
        >>> offered = written_for.revise(dim=768)
        >>> found = check_compatible(written_for, offered)
        >>> [violation.clause for violation in found.violations]
        ['dim']
    """
    return Compatibility(
        f"{consumer.name} {consumer.version}",
        f"{producer.name} {producer.version}",
        _violations(CLAUSES, consumer, producer),
    )


def _violations(
    clauses: tuple[Clause, ...], consumer: Space, producer: Space
) -> tuple[Violation, ...]:
    violations: list[Violation] = []
    for clause in clauses:
        found = clause.check(consumer, producer)
        if found is not None:
            violations.append(Violation(clause.name, *found, clause.why))
    return tuple(violations)


# ---- the version a change requires -------------------------------------------------------------


def required_bump(old: Space, new: Space) -> Bump:
    """The least version bump that the change from ``old`` to ``new`` requires.

    Major if a consumer of ``old`` could not accept ``new``; minor if a consumer of ``new`` could
    not accept ``old``, so that something was promised in addition; patch for any other change;
    none if nothing but the version differs.  Below 1.0, where the minor version is the breaking
    one, major becomes minor and minor becomes patch.
    """
    clauses = tuple(clause for clause in CLAUSES if clause not in _VERSION_CLAUSES)
    below_one = SemanticVersion.parse(old.version).major == 0
    if _violations(clauses, old, new):
        return "minor" if below_one else "major"
    if _violations(clauses, new, old):
        return "patch" if below_one else "minor"
    return "none" if old == new.revise(version=old.version) else "patch"
