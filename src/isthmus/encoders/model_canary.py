"""A few texts with the vectors that a model gave them: is it still the same model?

A name does not say which weights answer: a provider may put another model, another precision or
another prefix behind it.  A recorded canary needs no bridge and no index; checking it encodes 3 to
10 texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from isthmus.encoders.cached import CachedEncoder
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Encoder, Kind
from isthmus.errors import InputError
from isthmus.files import atomic_file, canonical_json
from isthmus.inputs import read_input

__all__ = ["FEWEST_TEXTS", "MOST_TEXTS", "CanaryCheck", "ModelCanary"]

FEWEST_TEXTS, MOST_TEXTS = 3, 10
_MOST_BYTES = 64 * 2**20
_WIDEST = 1 << 16
_LEAST_ROUNDING = 1e-3
"""Relative distance below which two runs of one model in float16 or float32 stay; its int8 copy
moves vectors by 0.02 or more."""
_REPEATS = 3.0
"""A model that does not repeat itself exactly is granted this much of what it was seen to move."""
_KINDS: tuple[Kind, ...] = ("document", "query")

_Row = Annotated[tuple[float, ...], Field(min_length=1, max_length=_WIDEST)]
_Rows = Annotated[tuple[_Row, ...], Field(min_length=FEWEST_TEXTS, max_length=MOST_TEXTS)]


@dataclass(frozen=True)
class CanaryCheck:
    """How far a model's vectors lie from the recorded ones.

    Example:
        >>> check = CanaryCheck("mine", "mine", 0.001, {"document": (0.0, 0.0004)})
        >>> check.same, str(check)
        (True, 'the same model: vectors move by up to 0.0004 of their length, 0.001 is stated')
    """

    model: str
    recorded: str
    rounding: float
    distances: dict[str, tuple[float, ...] | None]
    """By kind, of each text the distance of the two vectors, relative to the recorded one's length;
    None where they differ in width."""

    @property
    def same(self) -> bool:
        """Whether every vector lies within the stated rounding of the recorded one."""
        return all(d is not None and max(d) <= self.rounding for d in self.distances.values())

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "same": self.same,
            "model": self.model,
            "recorded": self.recorded,
            "rounding": self.rounding,
            "distances": {k: None if d is None else list(d) for k, d in self.distances.items()},
        }

    def __str__(self) -> str:
        if any(d is None for d in self.distances.values()):
            return f"another model: the vectors of {self.model} have another width"
        worst = max(max(d) for d in self.distances.values() if d is not None)
        found = f"vectors move by up to {worst:.2g} of their length, {self.rounding:.2g} is stated"
        if self.same:
            return f"the same model: {found}"
        moved = [k for k, d in self.distances.items() if d is not None and max(d) > self.rounding]
        which = "" if len(moved) == len(self.distances) else f" (texts encoded as {moved[0]})"
        return f"another model: {found}{which}"


class ModelCanary(BaseModel):
    """Texts, and the vectors that one model gives them as documents and as queries.

    Example:
        >>> from isthmus.encoders import PrecomputedEncoder
        >>> rows = np.random.default_rng(0).standard_normal((5, 8)).astype("float32")
        >>> canary = ModelCanary.record(PrecomputedEncoder(rows, name="m"), ["0", "3", "4"])
        >>> canary.check(PrecomputedEncoder(rows * np.float32(1.00001), name="m")).same
        True
        >>> canary.check(PrecomputedEncoder(rows[::-1].copy(), name="m")).same
        False
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)

    format: Annotated[int, Field(ge=1, le=1)] = 1
    model: Annotated[str, Field(min_length=1, max_length=1000)]
    revision: Annotated[str, Field(max_length=10_000)]
    """What the encoder said of its weights; told, not compared: the vectors decide."""
    rounding: Annotated[float, Field(gt=0, le=1)]
    """The largest distance, relative to the recorded vector's length, of the same model."""
    texts: Annotated[tuple[str, ...], Field(min_length=FEWEST_TEXTS, max_length=MOST_TEXTS)]
    documents: _Rows
    queries: _Rows | None
    """None where queries are encoded as documents are."""

    @model_validator(mode="after")
    def _whole(self) -> ModelCanary:
        for rows in (self.documents, self.queries or self.documents):
            if len(rows) != len(self.texts) or len({len(row) for row in rows}) != 1:
                raise ValueError("there is one vector of the same width for each text")
            if not all(any(row) for row in rows):
                raise ValueError("no recorded vector is zero")
        return self

    @classmethod
    def record(
        cls, encoder: Encoder, texts: Sequence[str], *, rounding: float | None = None
    ) -> ModelCanary:
        """Encode the texts, one by one and all at once, and remember the vectors.

        Args:
            encoder: the model; nothing is read from a cache.
            texts: 3 to 10, different ones.
            rounding: the largest relative distance of vectors of the same model; by default 0.001,
                or three times what this model moved between its two runs, if that is more.

        Raises:
            InputError: for fewer or more texts, equal ones, or vectors that are zero.
        """
        texts = list(texts)
        check_texts(texts)
        different = len(set(texts))
        if not FEWEST_TEXTS <= different <= MOST_TEXTS or different != len(texts):
            raise InputError(
                f"a canary has {FEWEST_TEXTS} to {MOST_TEXTS} different texts, got {different}",
                where="texts",
                mend="Give a few texts such as those that are encoded in production",
            )
        found: dict[Kind, NDArray[np.float64]] = {
            kind: _encoded(encoder, texts, kind) for kind in _KINDS
        }
        moved = 0.0
        for kind, rows in found.items():
            alone = np.concatenate([_encoded(encoder, [text], kind) for text in texts])
            if not np.linalg.norm(rows, axis=1).all():
                raise InputError("a vector is zero", where=f"vectors of encoder '{encoder.name}'")
            moved = max(moved, float(_distances(alone, rows).max()))
        alike = np.array_equal(found["query"], found["document"])
        if rounding is not None and not 0 < rounding <= 1:
            raise InputError(f"a rounding lies between 0 and 1, got {rounding}", where="rounding")
        return cls(
            model=encoder.name,
            revision=encoder.revision,
            rounding=rounding or min(1.0, max(_LEAST_ROUNDING, float(f"{_REPEATS * moved:.3g}"))),
            texts=tuple(texts),
            documents=_listed(found["document"]),
            queries=None if alike else _listed(found["query"]),
        )

    def check(self, encoder: Encoder) -> CanaryCheck:
        """Encode the texts again and compare; nothing is read from a cache.

        Raises:
            IsthmusError: whatever the encoder raises.
        """
        known = {"document": self.documents, "query": self.queries or self.documents}
        distances: dict[str, tuple[float, ...] | None] = {}
        for kind in _KINDS:
            expected = np.array(known[kind], np.float32).astype(np.float64)
            seen = _encoded(encoder, self.texts, kind)
            distances[kind] = (
                tuple(float(f"{d:.3g}") for d in _distances(seen, expected))
                if seen.shape == expected.shape
                else None
            )
        return CanaryCheck(encoder.name, self.model, self.rounding, distances)

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write canonical JSON to ``path``, whole or not at all.

        Raises:
            OutputError: if it exists and ``overwrite`` is false, or cannot be written.
        """
        with atomic_file(Path(path), overwrite=overwrite) as draft:
            draft.write_text(canonical_json(self.model_dump(mode="json")) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> ModelCanary:
        """Read what `save` wrote.

        Raises:
            InputError: for anything else.
        """
        try:
            content = read_input(Path(path), _MOST_BYTES)
        except FileNotFoundError as error:
            raise InputError("there is no canary here", where=str(path)) from error
        try:
            return cls.model_validate_json(content)
        except ValidationError as error:
            fault: Any = error.errors()[0]
            told = ".".join(map(str, fault["loc"])) or "the file"
            raise InputError(
                f"this is no canary ({told}: {fault['msg']})",
                where=str(path),
                mend="Record one: isthmus canary record",
            ) from error


def _encoded(encoder: Encoder, texts: Sequence[str], kind: Kind) -> NDArray[np.float64]:
    asked = encoder.encoder if isinstance(encoder, CachedEncoder) else encoder
    found = asked.encode(texts, kind=kind)
    checked = check_encoded(found, rows=len(texts), dim=asked.dim, name=asked.name)
    return checked.astype(np.float64)


def _distances(seen: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """Of each row ``(n, d)`` the distance, relative to the length of the expected one."""
    moved = np.linalg.norm(seen - expected, axis=1)
    return np.asarray(moved / np.linalg.norm(expected, axis=1), np.float64)


def _listed(rows: NDArray[np.float64]) -> tuple[tuple[float, ...], ...]:
    """Numbers of nine digits, which name every float32."""
    return tuple(tuple(float(f"{value:.9g}") for value in row) for row in rows)
