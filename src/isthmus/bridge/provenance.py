"""Where a bridge comes from: a fit and what it read, a guess without pairs, or other bridges."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from isthmus.bridge.held_out_samples import PARTS, SampleSizes
from isthmus.bridge.weighting import Weighting

__all__ = ["FitRecord", "Guess", "Provenance", "SampledEvidence"]


_Hash = Annotated[int, Field(ge=0, lt=2**64)]
_Part = Annotated[int, Field(ge=0, lt=len(PARTS))]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SampledEvidence(_Record):
    """The primary metric of each arm on the sampled items, where the evidence is of the index."""

    metric: str
    gallery: int = Field(ge=1)
    """Items that each arm searched among."""
    arms: dict[str, float | None]


class FitRecord(_Record):
    """What a bridge was fitted on, and with what."""

    pairs: int = Field(ge=2)
    fit_rows: int = Field(ge=0)
    """Rows that the map was fitted on, documents and queries."""
    shares: dict[str, float]
    """The share of each part of the pairs; a hash of the id says which part an item is in."""
    moved: dict[_Hash, _Part] | None = None
    """The part of items that are in another than the hash of their id says, since they are copies
    of others or answer a query with them, by that hash."""
    folds: int = Field(ge=1)
    cross_fitted: bool = False
    """Whether every pair was fitted on, and the evidence is of maps of the other folds."""
    chosen_by: str = ""
    """What decided between maps."""
    seed: int
    fit_on_queries: bool
    weighting: Weighting = None
    prior: Provenance | None = None
    """The provenance of the running bridge that this one stays near."""
    data_sha256: str
    """Digest of a sample of the pairs: equal data have equal digests."""
    sizes: SampleSizes
    isthmus: str
    numpy: str
    scipy: str
    sampled_evidence: SampledEvidence | None = None


class Guess(_Record):
    """A bridge between vectors of which no pair is known."""

    label: str
    seed: int
    isthmus: str


class Provenance(_Record):
    """Exactly one of: a fit, a guess, the bridge that was inverted, those that were composed.

    A bridge that was put together by hand has none of them.

    Example:
        >>> guess = Provenance(guess=Guess(label="coarse", seed=0, isthmus="0.1.0"))
        >>> Provenance(composed_of=(guess, Provenance())).guesses[0].label
        'coarse'
    """

    fit: FitRecord | None = None
    guess: Guess | None = None
    inverse_of: Provenance | None = None
    composed_of: tuple[Provenance, ...] = ()

    @model_validator(mode="after")
    def _one(self) -> Provenance:
        given = (self.fit, self.guess, self.inverse_of, self.composed_of or None)
        if sum(part is not None for part in given) > 1:
            raise ValueError("a bridge is fitted, guessed, inverted or composed")
        return self

    @property
    def _behind(self) -> tuple[Provenance, ...]:
        return self.composed_of if self.inverse_of is None else (self.inverse_of,)

    @property
    def fits(self) -> tuple[FitRecord, ...]:
        """Every fit behind the bridge: one, unless it was composed."""
        own = () if self.fit is None else (self.fit,)
        return own + tuple(fit for part in self._behind for fit in part.fits)

    @property
    def guesses(self) -> tuple[Guess, ...]:
        """Every guess behind the bridge."""
        own = () if self.guess is None else (self.guess,)
        return own + tuple(guess for part in self._behind for guess in part.guesses)

    def to_json(self) -> dict[str, Any]:
        """Plain values, without what is not known."""
        return self.model_dump(mode="json", exclude_none=True, exclude_unset=True)
