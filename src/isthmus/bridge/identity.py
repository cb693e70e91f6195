"""Is this the model the bridge was fitted on?  Fingerprints tell by statistics, a canary by items.

Embedding models leave almost no variance in some directions, and those directions are the model's
own.  Vectors of any other model of the same width, rotated, permuted or simply different, spread
over them evenly: tens of times the variance the right model puts there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.artefact import Packed
from isthmus.errors import WrongSpaceError
from isthmus.tensors import Tensors
from isthmus.threads import single_thread

__all__ = ["Canary", "Fingerprint"]

_DIRECTIONS = 64
_FEWEST_ROWS = 40
_CLEAR = 4.0
"""Rows of another model must stand out by this factor for the fingerprint to be used."""
_ROWS_LOOKED_AT = 256
_LARGEST_SCORE = 1e6


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The directions in which a space hardly varies, and how much it varies there.

    The score of rows is the median over rows of the mean of ``((x − mean) · u_j)² / λ_j``: about 1
    for rows like those of the fit, ``foreign`` on average for a space that ignores them.
    """

    mean: NDArray[np.float32]
    """``(d,)``"""
    directions: NDArray[np.float32]
    """``u_j / √λ_j`` as columns ``(d, m)``, those of the smallest λ."""
    typical: float
    """The score of rows of this space that the directions were not computed from."""
    foreign: float
    """The expected score of unrelated rows of the same spread."""
    unit: bool
    """Rows are compared after division by their length."""

    @classmethod
    def of(cls, rows: NDArray[Any], *, unit: bool) -> Fingerprint | None:
        """The fingerprint of a sample ``(n, d)``; None for fewer than 40 rows or constant ones."""
        n, d = rows.shape
        if n < _FEWEST_ROWS:
            return None
        prepared = _prepared(rows, unit)
        fit, held = prepared[: n * 4 // 5], prepared[n * 4 // 5 :]
        mean = fit.mean(axis=0, dtype=np.float64)
        centred = (fit - mean.astype(fit.dtype)).astype(np.float32, copy=False)
        covariance = (centred.T @ centred).astype(np.float64) / len(fit)
        with single_thread:
            values, vectors = scipy.linalg.eigh(covariance, driver="evd")
        average = float(values.mean())
        if not average > 0:
            return None
        m = max(1, min(_DIRECTIONS, d // 6))
        kept = np.maximum(values[:m], 1e-3 * average)
        scaled = (vectors[:, :m] / np.sqrt(kept)).astype(np.float32)
        draft = cls(mean.astype(np.float32), scaled, 1.0, float((average / kept).mean()), unit)
        return cls(draft.mean, scaled, draft._median(held), draft.foreign, unit)

    def pack(self) -> Packed:
        """JSON and tensors from which `unpack` makes the same fingerprint."""
        described = {"typical": self.typical, "foreign": self.foreign, "unit": self.unit}
        return described, {"mean": self.mean, "directions": self.directions}

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors, dim: int) -> Fingerprint:
        """What `pack` gave, of a space of ``dim`` dimensions.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        scores = {name: float(described[name]) for name in ("typical", "foreign")}
        if not all(0 < score < _LARGEST_SCORE for score in scores.values()):
            raise ValueError(f"the scores of a fingerprint lie above 0, found {scores}")
        if not isinstance(described["unit"], bool):
            raise TypeError("'unit' of a fingerprint is true or false")
        directions = tensors.take("directions", (dim, None))
        return cls(tensors.take("mean", (dim,)), directions, **scores, unit=described["unit"])

    @property
    def conclusive(self) -> bool:
        """Whether rows of another model would stand out at all."""
        return self.foreign > _CLEAR * self.typical

    def score(self, rows: NDArray[Any]) -> float:
        """The score of rows ``(n, d)``; at most 256 of them are looked at."""
        step = max(1, len(rows) // _ROWS_LOOKED_AT)
        return self._median(_prepared(rows[::step], self.unit))

    def is_foreign(self, rows: NDArray[Any]) -> bool:
        """Whether rows are nearer to those of another model: past the geometric middle."""
        return self.conclusive and self.score(rows) > (self.typical * self.foreign) ** 0.5

    def _median(self, prepared: NDArray[np.float32]) -> float:
        with single_thread:
            projected = (prepared - self.mean) @ self.directions
        return (
            float(np.median(np.einsum("ij,ij->i", projected, projected)))
            / (self.directions.shape[1])
        )


def _prepared(rows: NDArray[Any], unit: bool) -> NDArray[np.float32]:
    rows = np.asarray(rows, dtype=np.float32)
    if not unit:
        return rows
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    length[length == 0] = 1
    return rows / length[:, None]


@dataclass(frozen=True, eq=False)
class Canary:
    """A few items with their vectors in both spaces, to be re-encoded where a model is served.

    The same name does not mean the same model: another server's weights, pooling or quantisation
    show at once when it encodes items whose vectors are known.
    """

    ids: tuple[Any, ...]
    source: NDArray[np.float32]
    """``(k, dx)``"""
    target: NDArray[np.float32]
    """``(k, dy)``"""
    items: tuple[str, ...] | None = None
    """The items themselves, where they are texts that may be stored."""
    named: bool = True
    """Whether ``ids`` name items; row numbers name nothing outside the data of the fit."""

    def pack(self) -> Packed:
        """JSON and tensors from which `unpack` makes the same canaries."""
        items = None if self.items is None else list(self.items)
        described = {"ids": list(self.ids), "items": items, "named": self.named}
        return described, {"source": self.source, "target": self.target}

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors, dx: int, dy: int) -> Canary:
        """What `pack` gave, of spaces of ``dx`` and ``dy`` dimensions.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        ids, items, named = (described[name] for name in ("ids", "items", "named"))
        if not isinstance(ids, list) or not all(type(i) in (int, str, float) for i in ids):
            raise TypeError("the ids of canaries are numbers or texts")
        if items is not None and not (
            len(items) == len(ids) and all(isinstance(item, str) for item in items)
        ):
            raise ValueError("there is one text for each canary, or none at all")
        if not isinstance(named, bool):
            raise TypeError("'named' of canaries is true or false")
        source, target = (
            tensors.take(side, (len(ids), dim)) for side, dim in (("source", dx), ("target", dy))
        )
        return cls(tuple(ids), source, target, None if items is None else tuple(items), named)

    def check(self, vectors: Mapping[Any, NDArray[Any]], *, least: float = 0.95) -> float:
        """Compare re-encoded source vectors, by id, with those of the fit.

        Args:
            vectors: id → vector ``(dx,)``; ids that are no canaries are ignored.
            least: the smallest cosine accepted.

        Returns:
            The smallest cosine seen, or 1.0 where no id is a canary's.

        Raises:
            WrongSpaceError: naming the first canary whose vector differs.
        """
        smallest = 1.0
        for name, expected in zip(self.ids, self.source, strict=True):
            if name not in vectors:
                continue
            seen = np.asarray(vectors[name], dtype=np.float64).reshape(-1)
            if seen.shape != expected.shape:
                raise WrongSpaceError(
                    f"the vector is {len(seen)} wide, the bridge expects {len(expected)}",
                    where=f"canary {name!r}",
                )
            scale = float(np.linalg.norm(seen) * np.linalg.norm(expected))
            cosine = float(seen @ expected) / scale if scale > 0 else 0.0
            if not cosine >= least:
                raise WrongSpaceError(
                    f"its vector has cosine {cosine:.3f} with the one the bridge was fitted on, "
                    f"expected at least {least}",
                    where=f"canary {name!r}",
                    mend="Serve the very model, revision, pooling and prefix of the fit, "
                    "or fit a new bridge",
                )
            smallest = min(smallest, cosine)
        return smallest

    def verify(
        self, encode: Callable[[Sequence[str]], NDArray[Any]], *, least: float = 0.95
    ) -> float:
        """Re-encode the items with ``encode(texts) -> (n, dx)`` and compare.

        Raises:
            WrongSpaceError: as `check`, or if the items were not stored.
        """
        if self.items is None:
            raise WrongSpaceError(
                "the bridge stores no canary items",
                mend="Fit with canary_items=, or use check() with vectors by id",
            )
        found = np.asarray(encode(self.items))
        return self.check(dict(zip(self.ids, found, strict=True)), least=least)
