"""Out-of-fold maps: each row is mapped by a fit that has not seen its item."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.chain import Chain
from isthmus.artefact import Packed, Tensors, prefixed
from isthmus.spaces.split import Copies, fold_of, hash_ids

__all__ = ["CrossFitted", "FittedMap", "mapped_rows"]

_MOST_FOLDS = 50
_BESIDE = "fewer", "nested"
"""Maps that are kept beside those of the folds, one for each."""


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
    """The seed of the hash of the ids that assigns the folds."""
    copied: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """Hashes of the ids ``(m,)``, ascending, of items that are in the fold of one they copy."""
    copied_fold: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    """Their folds ``(m,)``."""
    copied_first: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, np.uint64))
    """The hashes of the ids of those ``(m,)``."""
    fewer: CrossFitted | None = None
    """For each fold the map of the same recipe that was fitted without the next fold either: what
    these find less says what the map of all pairs finds more."""
    nested: CrossFitted | None = None
    """For each fold the map of the recipe that the queries of all other folds chose, where that is
    another for some: what these find less is the luck of a recipe with who chose it."""

    @classmethod
    def apart(cls, chains: Sequence[Chain], seed: int, copies: Copies) -> Self:
        """Maps of folds that copies were kept in one of."""
        hashes = hash_ids(copies.ids)
        order = np.argsort(hashes)
        folds = fold_of(copies.first[order], len(chains), seed)
        return cls(tuple(chains), seed, hashes[order], folds, hash_ids(copies.first[order]))

    def folds(self, ids: NDArray[Any]) -> NDArray[np.int64]:
        """The fold of each of the ids ``(n,)``."""
        folds = fold_of(ids, len(self.chains), self.seed)
        if len(self.copied):
            row, copy = self._copies(hash_ids(ids))
            folds[row] = self.copied_fold[copy]
        return folds

    def groups(self, ids: NDArray[Any]) -> NDArray[np.int64] | None:
        """A number for each set of the ids whose items are copies of each other ``(n,)``, -1 of the
        others; None where none are."""
        if not len(self.copied):
            return None
        leaders = hash_ids(ids)
        row, copy = self._copies(leaders)
        leaders[row] = self.copied_first[copy]
        _, group, counts = np.unique(leaders, return_inverse=True, return_counts=True)
        return np.where(counts[group] > 1, group, -1)

    def _copies(self, hashes: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Which of some ids are of copies, and where those stand in ``copied``."""
        at = np.minimum(np.searchsorted(self.copied, hashes), len(self.copied) - 1)
        row = np.flatnonzero(self.copied[at] == hashes)
        return row, at[row]

    def mapped(self, ids: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
        """Rows ``(n, dx)`` with the ids of their items ``(n,)``, each behind its fold's map."""
        folds = self.folds(ids)
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
        return self._each(Chain.rounded)

    @property
    def multiplied(self) -> CrossFitted:
        """The same maps with axes merged, as of `Chain`."""
        return self._each(lambda chain: chain.multiplied)

    def _each(self, changed: Callable[[Chain], Chain]) -> CrossFitted:
        chains = tuple(map(changed, self.chains))
        own = {id(chain): other for chain, other in zip(self.chains, chains, strict=True)}

        def each(maps: CrossFitted | None) -> CrossFitted | None:
            if maps is None:
                return None
            of_theirs = [own[id(c)] if id(c) in own else changed(c) for c in maps.chains]
            return replace(maps, chains=tuple(of_theirs))

        return replace(self, chains=chains, fewer=each(self.fewer), nested=each(self.nested))

    def pack(self) -> Packed:
        """JSON and tensors from which `unpack` makes the same maps."""
        packed = [chain.pack() for chain in self.chains]
        tensors: dict[str, NDArray[Any]] = {}
        for k, (_, own) in enumerate(packed):
            tensors |= prefixed(str(k), own)
        content: dict[str, Any] = {
            "seed": self.seed,
            "chains": [described for described, _ in packed],
        }
        if len(self.copied):
            # hashes fill 64 bits, which not every reader of JSON holds in a number
            names, first = (map(str, of.tolist()) for of in (self.copied, self.copied_first))
            told = zip(self.copied_fold.tolist(), first, strict=True)
            content["copies"] = {name: list(one) for name, one in zip(names, told, strict=True)}
        for name in _BESIDE:
            maps: CrossFitted | None = getattr(self, name)
            if maps is None:
                continue
            content[name] = []
            for k, (chain, own) in enumerate(zip(maps.chains, self.chains, strict=True)):
                # what is the fold's own map is not written twice
                described, theirs = (None, {}) if chain is own else chain.pack()
                content[name].append(described)
                tensors |= prefixed(name, prefixed(str(k), theirs))
        return content, tensors

    @classmethod
    def unpack(cls, described: Mapping[str, Any], tensors: Tensors, dx: int, dy: int) -> Self:
        """What `pack` gave, for maps of rows of ``dx`` dimensions to ``dy``.

        Raises:
            KeyError, TypeError, ValueError: for anything that `pack` does not give.
        """
        if (
            set(described) - {"copies", *_BESIDE} != {"seed", "chains"}
            or type(described["seed"]) is not int
        ):
            raise ValueError(f"maps of folds have a seed and chains, found {sorted(described)}")
        found = list(described["chains"])
        if not 2 <= len(found) <= _MOST_FOLDS:
            raise ValueError(f"maps of {len(found)} folds")
        chains = [Chain.unpack(c, tensors.under(str(k)), dx, dy) for k, c in enumerate(found)]
        beside: dict[str, list[Chain]] = {}
        for name in _BESIDE:
            if name not in described:
                continue
            maps, theirs = list(described[name]), tensors.under(name)
            if len(maps) != len(found):
                raise ValueError(f"{len(maps)} maps '{name}' beside {len(found)}")
            beside[name] = [
                own if c is None else Chain.unpack(c, theirs.under(str(k)), dx, dy)
                for k, (c, own) in enumerate(zip(maps, chains, strict=True))
            ]
        copies = sorted(
            (int(name), fold, int(first))
            for name, (fold, first) in described.get("copies", {}).items()
        )
        if not all(type(fold) is int and 0 <= fold < len(found) for _, fold, _ in copies):
            raise ValueError("copies in folds that are not there")
        copied = np.array([name for name, _, _ in copies], np.uint64)
        folds = np.array([fold for _, fold, _ in copies], np.int64)
        of_first = np.array([first for _, _, first in copies], np.uint64)
        known = cls(tuple(chains), described["seed"], copied, folds, of_first)
        others = {name: replace(known, chains=tuple(maps)) for name, maps in beside.items()}
        return replace(known, **others)


FittedMap = Chain | CrossFitted
"""A map, or one for every fold."""


def mapped_rows(mapping: FittedMap, ids: NDArray[Any], rows: NDArray[Any]) -> NDArray[Any]:
    """Rows ``(n, dx)`` of known ids ``(n,)`` behind a map."""
    return mapping.mapped(ids, rows) if isinstance(mapping, CrossFitted) else mapping(rows)
