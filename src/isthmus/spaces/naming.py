"""What two spaces are called where both are spoken of, so that they are told apart."""

from __future__ import annotations

from isthmus.spaces.contract import Space

__all__ = ["told_apart"]


def told_apart(one: Space, other: Space) -> tuple[str, str]:
    """The names of two spaces, with what distinguishes them behind where they share one.

    Example:
        >>> old = Space(name="m", revision="1", dim=8, metric="cosine")
        >>> told_apart(old, old.revise(revision="2"))
        ('m@1', 'm@2')
        >>> told_apart(old, old.revise(name="n"))
        ('m', 'n')
    """
    if one.name != other.name:
        return one.name, other.name
    for mine, theirs in (
        (one.revision, other.revision),
        (one.model, other.model),
        (one.version, other.version),
        (f"{one.dim}d", f"{other.dim}d"),
    ):
        if mine != theirs:
            return _with(one.name, mine), _with(other.name, theirs)
    return one.name, other.name


def _with(name: str, part: str | None) -> str:
    return name if part is None else f"{name}@{part}"
