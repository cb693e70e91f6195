"""Semantic versions: their order, and the next one (semver.org, version 2.0.0)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import total_ordering
from typing import Literal, Self

from isthmus.errors import InputError

__all__ = ["VERSION_PATTERN", "Bump", "SemanticVersion", "next_version"]

Bump = Literal["none", "patch", "minor", "major"]

VERSION_PATTERN = (
    r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)"
    r"(?:-((?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*))?"
    r"(?:\+([0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*))?$"
)
"""The regular expression of Semantic Versioning 2.0.0."""


@total_ordering
@dataclass(frozen=True, eq=False)
class SemanticVersion:
    """A semantic version, ordered by precedence: build metadata do not count (semver.org, §11)."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``1.2.0-rc.1+build``.

        Raises:
            InputError: if it is not a semantic version.
        """
        found = re.fullmatch(VERSION_PATTERN[1:-1], text)
        if found is None:
            raise InputError(f"'{text}' is not a semantic version such as '1.2.0' or '2.0.0-rc.1'")
        major, minor, patch, prerelease, _ = found.groups()
        return cls(
            int(major), int(minor), int(patch), tuple(prerelease.split(".") if prerelease else ())
        )

    @property
    def core(self) -> tuple[int, int, int]:
        """Major, minor and patch."""
        return self.major, self.minor, self.patch

    def _key(self) -> tuple[object, ...]:
        # A release follows its pre-releases; numbers order as numbers and before words.
        marks = tuple((0, int(m), "") if m.isdigit() else (1, 0, m) for m in self.prerelease)
        return *self.core, not self.prerelease, marks

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SemanticVersion) and self._key() == other._key()

    def __lt__(self, other: SemanticVersion) -> bool:
        return self._key() < other._key()

    def __hash__(self) -> int:
        return hash(self._key())


def next_version(version: str, bump: Bump) -> str:
    """The version after ``bump``; a pre-release becomes its release if that is bump enough.

    Raises:
        InputError: if ``version`` is not a semantic version.
    """
    now = SemanticVersion.parse(version)
    if bump == "none":
        return version
    major, minor, patch = now.core
    waiting = bool(now.prerelease)
    if bump == "major":
        released = waiting and minor == patch == 0
        major, minor, patch = (major if released else major + 1), 0, 0
    elif bump == "minor":
        released = waiting and patch == 0
        minor, patch = (minor if released else minor + 1), 0
    else:
        patch = patch if waiting else patch + 1
    return f"{major}.{minor}.{patch}"
