"""How long work reports how far it is, without knowing who listens."""

from __future__ import annotations

from typing import Protocol

__all__ = ["Progress", "silent"]


class Progress(Protocol):
    """A listener: called with the name of the task, the rows done and the rows in all, if known."""

    def __call__(self, task: str, done: int, total: int | None, /) -> None:  # noqa: D102
        ...


def silent(task: str, done: int, total: int | None, /) -> None:
    """The listener that listens to nothing."""
