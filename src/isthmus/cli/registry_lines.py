"""Versions of a registry, moves of its aliases and reviews, each told in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isthmus.registry import Entry, Release, Review

__all__ = ["entry_line", "release_line", "review_line", "short_value", "verified_line"]


def entry_line(entry: Entry) -> str:
    """A move of an alias."""
    note = f": {entry.note}" if entry.note else ""
    return f"{entry.sequence} {entry.action} {entry.version[:12]} {entry.at} by {entry.by}{note}"


def review_line(review: Review) -> str:
    """What one person decided."""
    reason = f": {review.reason}" if review.reason else ""
    return f"{review.decision} {review.version[:12]} {review.at} by {review.by}{reason}"


def release_line(release: Release) -> str:
    """A version among others."""
    words = [f"{release.name}@sha256:{release.digest[:12]}", release.version.kind]
    words += [release.published.at, f"by {release.published.by}", *release.aliases]
    if release.deprecated is not None:
        words.append(f"(deprecated: {release.deprecated.reason})")
    return "  ".join(words)


def verified_line(release: Release) -> str:
    """A version of which every byte was read."""
    signed = f", signed by {', '.join(release.signers)}" if release.signers else ""
    return f"whole: {release.name}@sha256:{release.digest} {release.version.kind}{signed}"


def short_value(value: object) -> str:
    """A value of a contract, as far as a line holds it."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
