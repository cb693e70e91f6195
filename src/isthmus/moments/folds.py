"""Cross-validation from one pass: a set of moments per fold."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.errors import InputError
from isthmus.moments.accumulator import EVERYTHING, Moments
from isthmus.moments.covariances import SecondMoments
from isthmus.moments.kinds import joined_apart
from isthmus.moments.row_blocks import room_for
from isthmus.moments.translation import add_outer
from isthmus.numeric import Array
from isthmus.scipy_later import linalg
from isthmus.spaces.split import fold_of
from isthmus.tensors import Tensors

__all__ = ["FoldMoments", "KindsApart"]

_KIND = "set of fold moments"


class FoldMoments:
    """One `Moments` per cross-validation fold, the fold decided by a hash of the item's id.

    The training moments of a fold are the total minus the fold, so K-fold cross-validation of any
    linear map costs one pass over the data.

    Example:
        >>> import numpy as np
        >>> from isthmus import FoldMoments
        >>> x, y = np.random.default_rng(0).standard_normal((2, 1000, 3))
        >>> folds = FoldMoments.of(x, y, folds=5)
        >>> train, held_out = folds.splits()[0]
        >>> round(train.n + held_out.n)
        1000
    """

    def __init__(
        self, dx: int, dy: int, folds: int = 5, *, keep: Iterable[str] = EVERYTHING, seed: int = 0
    ) -> None:
        if folds < 2:
            raise InputError(f"cross-validation needs at least 2 folds, got {folds}")
        self.seed = seed
        self.folds: list[Moments] = [Moments(dx, dy, keep=keep) for _ in range(folds)]
        self.apart: KindsApart | None = None
        """The same rows with documents and queries centred apart, where there are both."""

    @classmethod
    def of(
        cls,
        x: Array,
        y: Array,
        folds: int = 5,
        *,
        ids: NDArray[Any] | None = None,
        keep: Iterable[str] = EVERYTHING,
        seed: int = 0,
    ) -> Self:
        """The fold moments of two whole arrays; ids default to the row numbers."""
        new = cls(x.shape[1], y.shape[1], folds, keep=keep, seed=seed)
        new.update(np.arange(x.shape[0]) if ids is None else ids, x, y)
        return new

    def update(
        self, ids: NDArray[Any], x: Array, y: Array, *, weights: Array | None = None
    ) -> Self:
        """Add paired rows with their ``ids (n,)``; otherwise as `Moments.update`."""
        assigned = fold_of(ids, len(self.folds), self.seed)
        order = np.argsort(assigned, kind="stable")
        edges = np.searchsorted(assigned[order], np.arange(len(self.folds) + 1))
        room = room_for(x, y, int(np.diff(edges).max()))
        for k, fold in enumerate(self.folds):
            rows = order[edges[k] : edges[k + 1]]
            if len(rows):
                fold.update_rows(x, y, rows, weights=weights, room=room)
        return self

    def without(self, other: FoldMoments) -> FoldMoments:
        """These moments without rows that were added here and to ``other``."""
        left = FoldMoments(1, 1, len(self.folds), seed=self.seed)
        left.folds = [mine - theirs for mine, theirs in zip(self.folds, other.folds, strict=True)]
        return left

    @property
    def n(self) -> float:
        """Sum of the weights of all folds."""
        return sum(fold.n for fold in self.folds)

    @property
    def total(self) -> Moments:
        """The moments of all folds together."""
        total = self.folds[0].copy()
        for fold in self.folds[1:]:
            total += fold
        return total

    def second(self) -> SecondMoments:
        """The second moments of all folds together."""
        return self.total.second()

    @property
    def used(self) -> list[int]:
        """The folds that have rows, but not all."""
        whole = self.n
        return [k for k, fold in enumerate(self.folds) if 0 < fold.n < whole]

    def splits(self) -> list[tuple[SecondMoments, SecondMoments]]:
        """Of each fold with rows, the second moments of its training rows and of its own rows.

        The training rows are all others: ``C_train = (N C − n_f C_f − (n_f N / n) δδᵀ) / n`` with
        ``δ`` the fold's mean less the mean of all, and ``n = N − n_f``.
        """
        whole = self.total.second()
        held_out = [fold.second() for fold in self.folds if 0 < fold.n < whole.n]
        return [(_without(whole, part), part) for part in held_out]

    def second_without(self, left_out: Collection[int]) -> SecondMoments:
        """The second moments of all other folds.

        Raises:
            InputError: where those hold no rows.
        """
        kept = [fold for k, fold in enumerate(self.folds) if k not in left_out]
        total = kept[0].copy()
        for fold in kept[1:]:
            total += fold
        return total.second()

    def __iadd__(self, other: Self) -> Self:
        if len(self.folds) != len(other.folds) or self.seed != other.seed:
            raise InputError(
                f"fold moments with {len(self.folds)} folds and seed {self.seed} do not join with "
                f"{len(other.folds)} folds and seed {other.seed}"
            )
        for mine, theirs in zip(self.folds, other.folds, strict=True):
            mine += theirs
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a folder.

        Raises:
            OutputError: where it exists and ``overwrite`` is false, or the disk refuses.
        """
        artefact.write(Path(path), _KIND, *self.pack(), overwrite=overwrite)

    def pack(self) -> artefact.Packed:
        """JSON and tensors from which `unpack` makes the same moments."""
        packed = [fold.pack() for fold in self.folds]
        content = {"seed": self.seed, "folds": [described for described, _ in packed]}
        tensors = {
            name: tensor
            for k, (_, own) in enumerate(packed)
            for name, tensor in artefact.prefixed(str(k), own).items()
        }
        return content, tensors

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            InputError: if the folder holds no moments in folds, or is damaged.
        """
        with artefact.read(Path(path), _KIND) as stored:
            return cls.unpack(stored.content, stored.tensors)

    @classmethod
    def unpack(cls, content: Mapping[str, Any], tensors: Tensors) -> Self:
        """What `pack` gave.

        Raises:
            KeyError, TypeError, ValueError: for anything else.
        """
        folds = [
            Moments.unpack(described, tensors.under(str(k)))
            for k, described in enumerate(content["folds"])
        ]
        if len({(fold.dx, fold.dy, fold.keep) for fold in folds}) != 1:
            raise ValueError("the folds are of different widths, or keep different sums")
        first = folds[0]
        new = cls(first.dx, first.dy, len(folds), keep=first.keep, seed=int(content["seed"]))
        new.folds = folds
        return new


@dataclass(frozen=True, eq=False)
class KindsApart:
    """Fold moments of documents and of queries, read as moments about the mean of each kind.

    Queries are shorter than the documents they ask for and lie elsewhere in a space, so that one
    mean for both makes a direction of the difference of the kinds.

    Example:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).standard_normal((2, 100, 3))
        >>> both = KindsApart(FoldMoments.of(x, y), FoldMoments.of(x + 5, y + 2))
        >>> (both.second().mean_x - x.mean(axis=0)).round(6)
        array([5., 5., 5.])
    """

    items: FoldMoments
    queries: FoldMoments
    maps_queries: bool = True
    """Whether queries are what the map will map; else the items."""

    @property
    def used(self) -> list[int]:
        """The folds that have rows of both kinds, but not all of a kind."""
        whole = self.items.n, self.queries.n
        return [
            k
            for k, folds in enumerate(zip(self.items.folds, self.queries.folds, strict=True))
            if all(0 < fold.n < n for fold, n in zip(folds, whole, strict=True))
        ]

    def splits(self) -> list[tuple[SecondMoments, SecondMoments]]:
        """Of each fold with rows of both kinds, the moments of its training rows and its own."""
        kinds = [(kind.second(), kind.folds) for kind in (self.items, self.queries)]
        found: list[tuple[SecondMoments, SecondMoments]] = []
        for k in self.used:
            own = [folds[k].second() for _, folds in kinds]
            train = [_without(whole, part) for (whole, _), part in zip(kinds, own, strict=True)]
            found.append((self._joined(*train), self._joined(*own)))
        return found

    def second(self) -> SecondMoments:
        """The moments of all folds."""
        return self._joined(self.items.second(), self.queries.second())

    def second_without(self, left_out: Collection[int]) -> SecondMoments:
        """The moments of all other folds; `InputError` where those hold no rows of a kind."""
        return self._joined(
            self.items.second_without(left_out), self.queries.second_without(left_out)
        )

    def _joined(self, items: SecondMoments, queries: SecondMoments) -> SecondMoments:
        return joined_apart(items, queries, maps_queries=self.maps_queries)


def _without(whole: SecondMoments, part: SecondMoments) -> SecondMoments:
    """The moments of the rows of ``whole`` that are not in ``part``."""
    n = whole.n - part.n
    grown, taken, between = whole.n / n, part.n / n, part.n * whole.n / n**2
    apart = {"x": part.mean_x - whole.mean_x, "y": part.mean_y - whole.mean_y}

    def covariance(a: str, b: str) -> NDArray[np.float64] | None:
        mine: NDArray[np.float64] | None = getattr(whole, a + b)
        theirs: NDArray[np.float64] | None = getattr(part, a + b)
        if mine is None or theirs is None:
            return None
        left = mine * grown
        # in place: five folds of these are as dear as the pass over a small data set
        axpy: Any = linalg.get_blas_funcs("axpy", dtype=np.float64)
        axpy(theirs.reshape(-1), left.reshape(-1), a=-taken)
        return add_outer(left, -between, apart[a], apart[b])

    def variance(index: int, side: str) -> NDArray[np.float64] | None:
        mine, theirs = whole.variances[index], part.variances[index]
        if mine is None or theirs is None:
            return None
        return mine * grown - theirs * taken - between * apart[side] ** 2

    return SecondMoments(
        n=n,
        mean_x=whole.mean_x - taken * apart["x"],
        mean_y=whole.mean_y - taken * apart["y"],
        variances=(variance(0, "x"), variance(1, "y")),
        xx=covariance("x", "x"),
        xy=covariance("x", "y"),
        yy=covariance("y", "y"),
    )
