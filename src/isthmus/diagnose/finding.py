"""One thing that was found, in numbers and in words."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from isthmus.evaluate.probes import ProbeResult

__all__ = ["Finding", "Severity", "ranked"]


class Severity(StrEnum):
    """What a finding asks for.

    Example:
        >>> Severity("warning") is Severity.WARNING
        True
    """

    CRITICAL = "critical"
    """Nothing built on these data can be trusted before it is mended."""
    WARNING = "warning"
    """Something breaks unless the remedy is applied."""
    NOTE = "note"
    """Good to know."""


_ORDER = list(Severity)


class Finding(ProbeResult):
    """A fault or a difference, with what to do about it.

    Example:
        >>> found = Finding(
        ...     name="offset", severity=Severity.NOTE, side="both", value=0.2, threshold=0.05,
        ...     measure="mean shift", meaning="the means differ", remedy="centre both sides",
        ... )
        >>> str(found).splitlines()[0]
        'note: offset: the means differ'
    """

    name: str
    """A stable word for it, such as ``rotation``."""
    severity: Severity
    side: str
    """The name of the side it concerns, or ``both``."""
    value: float
    """What was measured."""
    threshold: float
    """What it was judged by."""
    measure: str
    """What `value` is."""
    meaning: str
    """In plain words."""
    remedy: str
    low: float | None = None
    """Where chance matters, the interval of `value`."""
    high: float | None = None

    def __str__(self) -> str:
        interval = "" if self.low is None else f" [{self.low:.3g}, {self.high:.3g}]"
        side = "" if self.side == "both" else f" ({self.side})"
        return (
            f"{self.severity}: {self.name}{side}: {self.meaning}\n"
            f"  {self.measure} {self.value:.4g}{interval}, threshold {self.threshold:.4g}\n"
            f"  remedy: {self.remedy}"
        )


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The gravest first; otherwise in the order given."""
    return tuple(sorted(findings, key=lambda f: _ORDER.index(f.severity)))
