"""Out-of-fold maps: each row is mapped by a fit that has not seen its item."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.artefact import Packed, Tensors, prefixed
from isthmus.spaces.split import fold_of

__all__ = ["CrossFitted", "Mapped", "mapped_rows"]

_MOST_FOLDS = 50


@dataclass(frozen=True, eq=False)
class CrossFitted:
    """One map for each fold of the items, fitted on all other folds.

    Example:
        >>> twice = CrossFitted((Chain(), Chain()))
        >>> twice.mapped(np.arange(2), np.ones((2, 3))).shape
        (2, 3)
    """

    chains: tuple[Chain, ...]
    seed: int = 0
    """Of the folds, which a hash of the ids decides."""

    def mapped(self, ids: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """Rows ``(n, dx)`` with the ids of their items ``(n,)``, each behind its fold's map."""
        folds = fold_of(ids, len(self.chains), self.seed)
        out: NDArray[Any] | None = None
        for k, chain in enumerate(self.chains):
            own = np.flatnonzero(folds == k)
            if not len(own):
                continue
            part = chain(rows[own])
            if out is None:
                out = np.empty((len(rows), part.shape[1]), part.dtype)
            out[own] = part
        return self.chains[0](rows) if out is None else out

    def rounded(self) -> CrossFitted:
        """The same maps with weights as files hold them."""
        return CrossFitted(tuple(chain.rounded() for chain in self.chains), self.seed)

    def pack(self) -> Packed:
        """JSON and tensors from which `unpack` makes the same maps."""
        packed = [chain.pack() for chain in self.chains]
        tensors: dict[str, NDArray[Any]] = {}
        for k, (_, own) in enumerate(packed):
            tensors |= prefixed(str(k), own)
        return {"seed": self.seed, "chains": [described for described, _ in packed]}, tensors

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors, dx: int, dy: int) -> Self:
        """What `pack` gave, for maps of rows of ``dx`` dimensions to ``dy``.

        Raises:
            KeyError, TypeError, ValueError: for anything that `pack` does not give.
        """
        if set(described) != {"seed", "chains"} or not isinstance(described["seed"], int):
            raise ValueError(f"maps of folds have a seed and chains, found {sorted(described)}")
        found = list(described["chains"])
        if not 2 <= len(found) <= _MOST_FOLDS:
            raise ValueError(f"maps of {len(found)} folds")
        chains = [Chain.unpack(c, tensors.under(str(k)), dx, dy) for k, c in enumerate(found)]
        return cls(tuple(chains), described["seed"])


Mapped = Chain | CrossFitted
"""A map, or one for every fold."""


def mapped_rows(mapping: Mapped, ids: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Rows ``(n, dx)`` of known ids ``(n,)`` behind a map."""
    return mapping.mapped(ids, rows) if isinstance(mapping, CrossFitted) else mapping(rows)
