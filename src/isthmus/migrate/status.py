"""Where a migration stands, for people and programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from isthmus.migrate.journal import State

__all__ = ["Status"]


@dataclass(frozen=True)
class Status:
    """Where a migration stands.

    Attributes:
        state: reached last; None where nothing was begun.
        begun: a state that was begun and not reached.
        count: items of the index, and ``filled`` those with a new vector.
        encoded: items that were encoded, again or for the first time.
        money: spent so far; None where the plan names no price.
        rate: items a second of the last run; None before there was one.
        seconds_left: at that rate.
        paused: why the last run stopped; None if it did not.
        quality: what each judgement on the live index said, by state.
        index: what was built on the new vectors, or why nothing was; None where nothing is to be.
        journal: where the journal is.

    Example:
        >>> from isthmus.migrate import State, Status
        >>> status = Status(
        ...     State.FILLING, None, count=200, filled=50, encoded=50, money=None, rate=10.0,
        ...     seconds_left=15.0, paused=None, quality=(), index=None, journal="db",
        ... )
        >>> status.as_json()["state"]
        'filling'
    """

    state: State | None
    begun: State | None
    count: int
    filled: int
    encoded: int
    money: float | None
    rate: float | None
    seconds_left: float | None
    paused: str | None
    quality: tuple[dict[str, Any], ...]
    index: str | None
    journal: str

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "state": None if self.state is None else self.state.value,
            "begun": None if self.begun is None else self.begun.value,
            "items": self.count,
            "filled": self.filled,
            "encoded": self.encoded,
            "money": self.money,
            "rate": self.rate,
            "seconds_left": self.seconds_left,
            "paused": self.paused,
            "quality": list(self.quality),
            "index": self.index,
            "journal": self.journal,
        }

    def __str__(self) -> str:
        said = "nothing was begun" if self.state is None else f"state: {self.state.value}"
        if self.begun is not None:
            said += f" ({self.begun.value} was begun and is not reached)"
        share = self.filled / self.count if self.count else 0.0
        lines = [said, f"filled: {self.filled:,} of {self.count:,} items ({share:.1%})"]
        lines.append(f"new vectors made so far: {self.encoded:,}")
        if self.money is not None:
            lines[-1] += f", {self.money:.4g} spent"
        if self.rate:
            lines.append(f"rate of the last run: {self.rate:,.0f} items a second")
            if self.seconds_left:
                lines[-1] += f", {self.seconds_left:,.0f} s left"
        if self.paused is not None:
            lines.append(f"paused: {self.paused}")
        if self.index is not None:
            lines.append(f"index of the new vectors: {self.index}")
        for point in self.quality:
            lines.append(
                f"{point['metric']} on the live index, {point['at']}: {point['new']:.3f} with the "
                f"new model, {point['old']:.3f} with the old one, gain {point['gain']}"
            )
        lines.append(f"journal: {self.journal}")
        return "\n".join(lines)
