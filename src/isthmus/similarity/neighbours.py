"""Do the two spaces agree about who is near whom: nearest neighbours, without an (n, n) matrix."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Floats, Indices
from isthmus.errors import InputError
from isthmus.evaluate.search import top_k
from isthmus.similarity.measure import ANGLES, Computed, RowMeasure
from isthmus.similarity.row_sample import RowSample, rows_given
from isthmus.spaces.scratch import blocks

__all__ = ["DECLARED", "Neighbourhoods", "cknna", "knn_jaccard", "mutual_knn", "nearest"]


_BLOCK = 4096


def nearest(rows: Floats, k: int, name: str = "x") -> Indices:
    """The ``k`` nearest other rows of each of ``rows (n, d)`` by cosine: ``(n, k)``, nearest first.

    Rows of unit length are taken about their mean and compared by distance, which orders them as
    the cosine does: a common mean far larger than the spread costs no precision.  Equal rows are
    ordered by their index.  Memory is that of `top_k` and two float32 copies of the rows.

    Raises:
        InputError: for a ``k`` that n − 1 rows cannot fill, or a row of zeros.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import nearest
        >>> nearest(np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]]), 1).ravel().tolist()
        [1, 0, 1]
    """
    rows = rows_given(rows, name)
    n, d = rows.shape
    if not 1 <= k < n:
        raise InputError(
            f"{k} neighbours were asked for, and each of the {n} rows has {n - 1} others",
            where="k",
            mend=f"Choose k between 1 and {n - 1}",
        )
    norms, centre = _directions(rows, name)
    # −‖u − v‖²/2 = ⟨u, v⟩ − ‖v‖²/2 − ‖u‖²/2, whose last term does not change a row's order
    queries = np.ones((n, d + 1), np.float32)
    for part in blocks(n, _BLOCK):
        queries[part, :d] = rows[part].astype(np.float64, copy=False) / norms[part, None] - centre
    items = queries.copy()
    items[:, d] = -0.5 * np.einsum("ij,ij->i", items[:, :d], items[:, :d])
    return top_k(queries, items, k, metric="dot", exclude=np.arange(n)).indices


def shared(a: Indices, b: Indices) -> NDArray[np.int64]:
    """How many items two lists ``(n, k)`` of distinct items have in common, row by row."""
    both = np.sort(np.concatenate([a, b], axis=1), axis=1)
    return (both[:, 1:] == both[:, :-1]).sum(axis=1)


def mutual_knn(x: Floats, y: Floats, k: int = 10) -> float:
    """Mean share of the ``k`` nearest of each row that both spaces have in common, in [0, 1].

    Huh et al. 2024.  Without relation it is ``k / (n − 1)`` on average, exactly.  The value
    depends on n and k: compare only values of the same two.

    Raises:
        InputError: as `nearest`, or for sides of unequal numbers of rows.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import mutual_knn
        >>> x = np.random.default_rng(0).standard_normal((100, 8))
        >>> round(mutual_knn(x, 2 * x[:, ::-1], k=5), 6)
        1.0
    """
    return Neighbourhoods.of(x, y, k, kernels=False).mutual_knn()


def knn_jaccard(x: Floats, y: Floats, k: int = 10) -> float:
    """Mean of ``|A ∩ B| / |A ∪ B|`` of the ``k`` nearest in both spaces, in [0, 1].

    Raises:
        InputError: as `mutual_knn`.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import knn_jaccard
        >>> x = np.random.default_rng(0).standard_normal((100, 8))
        >>> round(knn_jaccard(x, 2 * x[:, ::-1], k=5), 6)
        1.0
    """
    return Neighbourhoods.of(x, y, k, kernels=False).knn_jaccard()


def cknna(x: Floats, y: Floats, k: int = 10) -> float:
    """Centred kernel alignment summed over mutual nearest neighbours only.

    With unit rows, ``K̄_ij = ⟨x_i, x_j⟩ − mean_l ⟨x_i, x_l⟩`` and N(i) the ``k`` nearest,
    ``Σ K̄_ij L̄_ij / √(ΣK̄² ΣL̄²)``, the sums over j in both N(i), and in each side's own.  Huh et
    al. 2024, appendix A; their code differs from it (it applies the unbiased HSIC to the masked
    kernels).

    Raises:
        InputError: as `mutual_knn`.

    Example:
        >>> import numpy as np
        >>> from isthmus.similarity import cknna
        >>> x = np.random.default_rng(0).standard_normal((100, 8))
        >>> round(cknna(x, 2 * x[:, ::-1], k=5), 6)
        1.0
    """
    return Neighbourhoods.of(x, y, k).cknna()


@dataclass(frozen=True)
class Neighbourhoods:
    """The nearest rows in two spaces, with their centred kernel values.

    Lists may be longer than ``k``: what is beyond serves where rows are left out.

    Attributes:
        x: indices in x ``(n, at least k)``, nearest first.
        y: indices in y, likewise.
        kernel_x: centred kernel of x at its indices.
        kernel_y: centred kernel of y at its indices.
        k: the size of a neighbourhood.
    """

    x: Indices
    y: Indices
    kernel_x: NDArray[np.float64]
    kernel_y: NDArray[np.float64]
    k: int

    @classmethod
    def of(
        cls, x: Floats, y: Floats, k: int, *, spare: int = 0, kernels: bool = True
    ) -> Neighbourhoods:
        """From ``x (n, dx)`` and ``y (n, dy)``.

        Raises:
            InputError: as `nearest`, or for sides of unequal numbers of rows.
        """
        x, y = rows_given(x, "x"), rows_given(y, "y")
        if len(x) != len(y):
            raise InputError(f"the sides have {len(x)} and {len(y)} rows; they must pair")
        longer = max(k, min(k + spare, len(x) - 1))
        near_x, near_y = nearest(x, longer, "x"), nearest(y, longer, "y")
        values = [
            _centred_kernel(rows, near) if kernels else np.empty((len(near), 0))
            for rows, near in ((x, near_x), (y, near_y))
        ]
        return cls(near_x, near_y, values[0], values[1], k)

    def mutual_knn(self) -> float:
        """See the function of this name."""
        return float(shared(self.x[:, : self.k], self.y[:, : self.k]).mean()) / self.k

    def knn_jaccard(self) -> float:
        """See the function of this name."""
        common = shared(self.x[:, : self.k], self.y[:, : self.k])
        return float((common / (2 * self.k - common)).mean())

    def cknna(self) -> float:
        """See the function of this name."""
        k = self.k
        # one key for each pair of a row and an item
        rows = np.arange(len(self.x))[:, None] * (1 + max(int(self.x.max()), int(self.y.max())))
        keys_x, keys_y = ((rows + near[:, :k]).ravel() for near in (self.x, self.y))
        values_x, values_y = (v[:, :k].ravel() for v in (self.kernel_x, self.kernel_y))
        _, in_x, in_y = np.intersect1d(keys_x, keys_y, assume_unique=True, return_indices=True)
        own = float(values_x @ values_x) * float(values_y @ values_y)
        if own <= 0:
            raise InputError("neighbours are no nearer than the mean row: no CKNNA")
        return float(values_x[in_x] @ values_y[in_y]) / own**0.5

    def permuted(self, order: Indices) -> Neighbourhoods:
        """Row ``order[i]`` of y in the place of row i."""
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return Neighbourhoods(
            self.x, place[self.y[order]], self.kernel_x, self.kernel_y[order], self.k
        )

    def without(self, block: slice) -> Neighbourhoods:
        """The neighbourhoods of the rows outside ``block``, among themselves.

        Kernels stay centred as they were.  The spare neighbours move up; a list that runs out of
        them ends in items that are nobody's.
        """
        kept = np.ones(len(self.x), dtype=bool)
        kept[block] = False
        place = np.where(kept, np.cumsum(kept) - 1, -1)

        def moved_up(
            near: Indices, values: NDArray[np.float64]
        ) -> tuple[Indices, NDArray[np.float64]]:
            near, values = place[near[kept]], values[kept]
            first = np.argsort(near < 0, axis=1, kind="stable")[:, : self.k]
            near = np.take_along_axis(near, first, axis=1)
            if values.size:
                values = np.where(near < 0, 0.0, np.take_along_axis(values, first, axis=1))
            return near, values

        (x, kernel_x), (y, kernel_y) = (
            moved_up(self.x, self.kernel_x),
            moved_up(self.y, self.kernel_y),
        )
        # a missing neighbour must match nothing, least of all another missing one
        n = int(kept.sum())
        x = np.where(x < 0, n + np.arange(x.shape[1]), x)
        y = np.where(y < 0, n + x.shape[1] + np.arange(y.shape[1]), y)
        return Neighbourhoods(x, y, kernel_x, kernel_y, self.k)


def _centred_kernel(rows: Floats, near: Indices) -> NDArray[np.float64]:
    """``⟨u_i, u_j − ū⟩`` of unit rows at the neighbours j of each i, in float64."""
    n = len(rows)
    norms, centre = _directions(rows, "rows")
    values = np.empty(near.shape)
    step = max(1, (1 << 22) // (near.shape[1] * rows.shape[1]))
    for part in blocks(n, step):
        unit = rows[part].astype(np.float64) / norms[part, None]
        others = near[part]
        neighbours = rows[others].astype(np.float64) / norms[others][..., None] - centre
        values[part] = np.einsum("nd,nkd->nk", unit, neighbours)
    return values


def _directions(rows: Floats, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Norms ``(n,)`` and the mean of the unit rows ``(d,)``.

    In float64 also where rows are float32: beside a large common mean, the error of a float32 norm
    would be larger than what tells the rows apart.
    """
    norms = np.empty(len(rows))
    centre = np.zeros(rows.shape[1])
    for part in blocks(len(rows), _BLOCK):
        wide = rows[part].astype(np.float64, copy=False)
        norms[part] = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        if (norms[part] == 0).any():
            raise InputError(
                "a row of zeros has no direction, so no neighbours by cosine",
                where=f"{name}, row {part.start + int(np.argmin(norms[part]))}",
                mend="Drop such rows from both sides",
            )
        if not np.isfinite(norms[part]).all():
            place = part.start + int(np.argmin(np.isfinite(norms[part])))
            raise InputError(
                "the row is not finite, or its squares overflow float64",
                where=f"{name}, row {place}",
                mend="Repair or drop it, or scale the vectors down",
            )
        centre += (1 / norms[part]) @ wide
    return norms, centre / len(rows)


# ---- the measures ------------------------------------------------------------------------------


def _near(sample: RowSample) -> Neighbourhoods:
    # a tenth of the neighbours are left out at a time, by chance seldom half
    return Neighbourhoods.of(sample.x, sample.y, sample.k, spare=sample.k + 5)


def _without_blocks(sample: RowSample) -> dict[int, Neighbourhoods]:
    near = sample.shared(_near)
    return {block.start: near.without(block) for block in sample.blocks}


def _overlap(
    statistic: Callable[[Neighbourhoods], float],
    by_chance: Callable[[RowSample], float] | None,
    sample: RowSample,
) -> Computed:
    """A statistic of neighbourhoods; ``by_chance`` is its exact mean without relation."""
    near = sample.shared(_near)
    value = statistic(near)
    null = sample.permuted(
        lambda order: statistic(near.permuted(order)),
        value,
        None if by_chance is None else by_chance(sample),
    )
    interval = None
    if sample.rows - max(b.stop - b.start for b in sample.blocks) > sample.k:
        without = sample.shared(_without_blocks)
        interval = sample.interval(value, lambda block: statistic(without[block.start]))
    return Computed(value, null, interval, details={"k": float(sample.k)})


def _share_by_chance(sample: RowSample) -> float:
    return sample.k / (sample.rows - 1)


DECLARED = (
    RowMeasure(
        name="mutual_knn",
        words="mutual nearest neighbours",
        definition="mutual-knn.cosine",
        formula="mean share of common items among the k nearest of each row by cosine",
        source="Huh et al. 2024, arXiv 2405.07987",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=ANGLES,
        preparation="seeded sample, rows of unit length",
        compute=partial(_overlap, Neighbourhoods.mutual_knn, _share_by_chance),
    ),
    RowMeasure(
        name="knn_jaccard",
        words="Jaccard of nearest neighbours",
        definition="knn-jaccard.cosine",
        formula="mean of |A and B| / |A or B|, A and B the k nearest of each row by cosine",
        source="Wang et al. 2020, ACL; Klabunde et al. 2023, arXiv 2305.06329",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=ANGLES,
        preparation="seeded sample, rows of unit length",
        compute=partial(_overlap, Neighbourhoods.knn_jaccard, None),
    ),
    RowMeasure(
        name="cknna",
        words="CKNNA",
        definition="cknna.cosine",
        formula="CKA summed over mutual nearest neighbours only, rows of the kernel centred",
        source="Huh et al. 2024, arXiv 2405.07987, appendix A",
        higher_is_closer=True,
        low=-1.0,
        high=1.0,
        at_identity=1.0,
        invariances=ANGLES,
        preparation="seeded sample, rows of unit length, kernel rows centred",
        compute=partial(_overlap, Neighbourhoods.cknna, None),
    ),
)
