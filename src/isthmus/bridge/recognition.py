"""Whether vectors come from the models that a bridge joins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from isthmus.errors import WrongSpaceError
from isthmus.spaces.contract import Space
from isthmus.spaces.naming import told_apart
from isthmus.spaces.profile import Profile

__all__ = ["Recognition"]


@dataclass(frozen=True)
class Recognition:
    """The two spaces of a bridge, and what tells their vectors from those of other models."""

    source: Space
    target: Space
    source_profile: Profile | None
    target_profile: Profile | None

    def check_source(self, rows: NDArray[Any], where: str) -> None:
        """Compare source rows ``(n, dx)`` with the fingerprint of the source.

        Raises:
            WrongSpaceError: if they come from another model, or from the target side.
        """
        mine, other = self.source_profile, self.target_profile
        if mine is None or mine.typical is None or not mine.is_foreign(rows):
            return
        source, target = told_apart(self.source, self.target)
        reversed_ = (
            other is not None
            and other.conclusive
            and other.dim == rows.shape[1]
            and not other.is_foreign(rows)
        )
        raise WrongSpaceError(
            f"these vectors look like {target}, the target of this bridge: it runs the other way"
            if reversed_
            else f"these vectors do not come from {source}: they put "
            f"{mine.score(rows) / mine.typical:.0f} times the usual variance into the "
            "directions that model leaves empty",
            where=where,
            mend="Use the inverse bridge, or pass the source vectors"
            if reversed_
            else "Encode with the model the bridge was fitted on, or fit a new bridge",
        )

    def check_target(self, rows: NDArray[Any], where: str) -> None:
        """Compare target rows ``(n, dy)`` with the fingerprint of the target.

        Raises:
            WrongSpaceError: if they come from another model.
        """
        if self.target_profile is not None and self.target_profile.is_foreign(rows):
            _, target = told_apart(self.source, self.target)
            raise WrongSpaceError(
                f"these vectors do not come from {target}, the target of this bridge",
                where=where,
                mend="Give the sides in the order of the fit",
            )

    def check_follows(self, rows: NDArray[Any], first: str) -> None:
        """Compare target rows of a first bridge with the source of the one that is to follow.

        Raises:
            WrongSpaceError: if they come from another model; ``first`` names theirs.
        """
        if self.source_profile is not None and self.source_profile.is_foreign(rows):
            raise WrongSpaceError(
                f"the first bridge ends in {first}, whose vectors do not look like "
                f"{self.source.name}, the source of the second",
                where="compose",
            )
