"""Items whose vectors are known: is this the very model the bridge was fitted on?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.artefact import Packed
from isthmus.errors import WrongSpaceError
from isthmus.tensors import Tensors

__all__ = ["Canary"]


@dataclass(frozen=True, eq=False)
class Canary:
    """A few items with their vectors in both spaces, to be re-encoded where a model is served.

    The same name does not mean the same model: another server's weights, pooling or quantisation
    show at once when it encodes items whose vectors are known.

    Example:
        >>> vectors = np.eye(2, dtype=np.float32)
        >>> Canary(("doc-1", "doc-2"), source=vectors, target=vectors).named
        True
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
