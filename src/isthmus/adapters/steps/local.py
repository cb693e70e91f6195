"""Local maps: clusters of the source have their own map each, held near the map of all.

k-means of the source rows routes every row to experts.  With ``W₀, b₀`` the global map, and ``A``,
``M``, ``x̄`` and ``r̄`` an expert's own covariances, mean row and mean residual, its map is the ridge
towards ``W₀``::

    W = (A + αI)⁻¹ (M + αW₀)        b = b₀ + r̄ s̄/(s̄ + α) − x̄ (W − W₀)

with ``α = shrinkage · s̄ · n / (k n_j)``: the same evidence against the global map is asked of every
expert, so those with few of the n rows stay nearer to it.  ``s̄`` is the mean eigenvalue of the
source covariance; the offset is shrunk as if it belonged to a constant feature of that variance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Stage
from isthmus.adapters.chain.routed_map import RoutedMap, shares
from isthmus.adapters.kmeans import kmeans
from isthmus.adapters.steps.base import FitRows, Refinement, Value
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.progress import Progress, silent
from isthmus.scipy_later import linalg
from isthmus.spaces.sample import sampled
from isthmus.spaces.split import fold_of
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["Local", "Router", "held_out_errors"]


_EXPERTS = (2, 4, 8, 16, 32, 64)
_USUAL = 16
"""Experts up to which every number is tried; more only while the error falls."""
_FALLS = 0.01
_SHRINKAGES: Matrix = np.logspace(-1, 2, 4)
_FIRMER = (100.0, 10.0, 1.0)
"""Times the shrinkage that squared error wants: retrieval often wants more."""
_NUMBERS_KEPT = 2
_PAIRS_AN_EXPERT = 10
_ITERATIONS = 15  # regions need no exact borders
_CLUSTERED_ROWS = 16_384
_CROSS_VALIDATED_ROWS = 2048
_FOLDS = 5
_SKETCHED = 32  # directions of the residual: 0.5 % of its error, and a tenth of the work
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Router:
    """Scores ``x R + r`` of k centroids: the nearest one scores highest.

    Rows that all have unit length are compared by angle, others by distance.
    """

    matrix: Matrix
    """``R (dx, k)``"""
    offset: Matrix
    """``r (k,)``"""
    temperature: float
    """Median distance of the best score from the next: the scale on which experts blend."""
    nearest: int

    @classmethod
    def of(cls, x: NDArray[Any], experts: int, nearest: int, seed: int) -> Router:
        """k-means of the rows ``x (n, dx)``; fewer experts where fewer rows are distinct."""
        centroids = kmeans(x, experts, seed=seed, iterations=_ITERATIONS).centroids.astype(
            np.float64
        )
        lengths = np.linalg.norm(x.astype(np.float64), axis=1)
        if np.abs(lengths - 1).max() < _UNIT_TOLERANCE:
            centroids /= np.maximum(np.linalg.norm(centroids, axis=1, keepdims=True), 1e-12)
            offset = np.zeros(len(centroids))
        else:
            offset = -0.5 * np.einsum("ij,ij->i", centroids, centroids)
        matrix = np.ascontiguousarray(centroids.T)
        temperature = 1.0
        if len(centroids) > 1:
            best = -np.sort(-(x @ matrix + offset), axis=1)[:, :2]
            temperature = max(float(np.median(best[:, 0] - best[:, 1])), 1e-6)
        return cls(matrix, offset, temperature, min(nearest, len(centroids)))

    def __len__(self) -> int:
        return len(self.offset)

    def weights(self, x: NDArray[Any]) -> Matrix:
        """How much of each row ``x (n, dx)`` every expert has: ``(n, k)``, rows sum to 1."""
        scores = x.astype(np.float64) @ self.matrix + self.offset
        order = np.argsort(-scores, axis=1)[:, : self.nearest]
        found = np.zeros_like(scores)
        taken = shares(np, -np.sort(-scores, axis=1), self.nearest, self.temperature)
        np.put_along_axis(found, order, 1.0 if self.nearest == 1 else taken, axis=1)
        return found


class Local(Refinement):
    """Experts for regions of the source space, shrunk towards the map of the whole.

    That map must aim at the targets themselves: behind ``csa``, whose images lie elsewhere, experts
    undo what it gains.

    Args:
        experts: regions; 1 is the global map itself.
        shrinkage: how strongly an expert with its even share of the rows is held to the global map,
            in units of the mean eigenvalue of the source covariance.
        nearest: experts that share a row.  With 1 the map jumps at the borders of regions; with
            more it does not, and a call costs as many products.
        seed: of the k-means.

    ``auto`` compares 2, 4, 8 and 16 experts, and up to 64 while the error falls, by
    cross-validation under the global map as it is, over strengths that reach as far, and leaves the
    two best numbers, with the best shrinkage, ten times and a hundred times as strong a
    one, to held-out retrieval, together with the global map alone.

    Example:
        >>> import numpy as np
        >>> from isthmus.adapters.chain import Affine, Chain
        >>> from isthmus.spaces.sample import Batch
        >>> x = np.random.default_rng(0).standard_normal((400, 2))
        >>> rows = [Batch(np.arange(400), x, np.abs(x))]
        >>> whole = Affine(np.zeros((2, 2)), np.abs(x).mean(axis=0))
        >>> bent = Chain([Local(experts=8, shrinkage=0.1).refine(whole, rows)])
        >>> error = np.square(bent(x) - np.abs(x)).mean()
        >>> bool(error < 0.5 * np.abs(x).var(axis=0).mean())
        True
    """

    name = "local"
    automatic = frozenset({"experts", "shrinkage"})

    def __init__(
        self, experts: int = 4, shrinkage: float = 10.0, nearest: int = 2, seed: int = 0
    ) -> None:
        self.experts = experts
        self.shrinkage = shrinkage
        self.nearest = nearest
        self.seed = seed

    @classmethod
    @override
    def expanded(
        cls, parameters: Mapping[str, Value], base: Affine, rows: FitRows
    ) -> list[dict[str, Value]]:
        """Every ``auto`` replaced, the global map first."""
        given = {**cls().get_params(), **parameters}
        if "auto" not in given.values():
            return [dict(parameters)]
        sample = sampled(rows, _CROSS_VALIDATED_ROWS, seed=int(given["seed"]))
        x, seed = sample.x, int(given["seed"])
        residual = _sketch(sample.y - _image(base, x), seed)
        numbers: Sequence[int] = [int(given["experts"])] if given["experts"] != "auto" else _EXPERTS
        spread = float(np.einsum("ij,ij->", residual, residual)) / len(x) or 1.0
        tried: list[tuple[float, int, float]] = []
        for experts in numbers:
            if experts > _USUAL and not _still_falls(tried, spread):
                break
            if experts == 1 or not x.var(axis=0).any():
                continue
            if given["experts"] == "auto" and not _affordable(experts, len(x)):
                continue
            if len(x) < _CROSS_VALIDATED_ROWS:
                _check(experts, len(x))
            router = Router.of(x, experts, int(given["nearest"]), seed)

            def errors_of(some: Matrix, router: Router = router) -> Matrix:
                return held_out_errors(x, residual, router, some.tolist(), sample.ids) / spread

            if given["shrinkage"] == "auto":
                strengths, errors = widened(errors_of, _SHRINKAGES, f"local, {experts} experts")
            else:
                strengths = np.array([_positive(given["shrinkage"])])
                errors = errors_of(strengths)
            best = int(np.argmin(errors))
            tried.append((float(errors[best]), experts, float(f"{strengths[best]:.3g}")))
        kept = sorted(sorted(tried)[:_NUMBERS_KEPT], key=lambda t: t[1])
        found: list[dict[str, Value]] = []
        if given["experts"] == "auto" or not kept:
            number = 1 if given["experts"] == "auto" else given["experts"]
            strength = 1.0 if given["shrinkage"] == "auto" else given["shrinkage"]
            found.append({**parameters, "experts": number, "shrinkage": strength})
        for _, experts, strength in kept:
            for factor in _FIRMER if given["shrinkage"] == "auto" else (1.0,):
                value = float(f"{strength * factor:.3g}")
                found.append({**parameters, "experts": experts, "shrinkage": value})
        return found

    @override
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The experts, fitted on their own moments.

        Returns:
            A `RoutedMap`, or ``base`` itself for one expert and for rows that are all equal.

        Raises:
            InputError: for more experts than a tenth of the pairs, and for parameters out of range.
        """
        shrinkage = _positive(self.shrinkage)
        if self.experts < 1 or self.nearest < 1:
            raise InputError(
                f"local maps need at least one expert, got experts={self.experts} and "
                f"nearest={self.nearest}"
            )
        if self.experts == 1:
            return base
        x = sampled(rows, _CLUSTERED_ROWS, seed=self.seed).x
        _check(self.experts, len(x))
        scale = float(x.var(axis=0, dtype=np.float64).mean())
        router = Router.of(x, self.experts, self.nearest, self.seed)
        if len(router) == 1 or scale == 0:
            return base
        own = [moments for _, moments in _own_moments(rows, router)]
        total = sum(m.n for m in own)
        matrices, offsets = [], []
        for moments in own:
            penalty = shrinkage * scale * total / len(own)
            expert = _expert(moments.second(), base, penalty, scale)
            matrices.append(expert.matrix)
            offsets.append(expert.offset)
            progress("fit the local maps", len(matrices), len(own))
        return RoutedMap(
            router=router.matrix.astype(np.float32),
            router_offset=router.offset.astype(np.float32),
            matrices=np.stack(matrices).astype(np.float32),
            offsets=np.stack(offsets).astype(np.float32),
            temperature=float(np.float32(router.temperature)),
            nearest=router.nearest,
        )


def _still_falls(tried: Sequence[tuple[float, int, float]], spread: float) -> bool:
    """Whether the last number of experts is the best, by more than a hundredth of its error."""
    if len(tried) < 2 or spread <= 0:
        return False
    last, others = tried[-1][0], [error for error, _, _ in tried[:-1]]
    return min(others) - last > _FALLS * last


def _affordable(experts: int, pairs: int) -> bool:
    return experts * _PAIRS_AN_EXPERT <= pairs


def _check(experts: int, pairs: int) -> None:
    if not _affordable(experts, pairs):
        raise InputError(
            f"{experts} experts cannot be fitted on {pairs} pairs: each needs "
            f"{_PAIRS_AN_EXPERT} at the least",
            where="local",
            mend=f"Use at most {max(pairs // _PAIRS_AN_EXPERT, 1)} experts, or give more pairs",
        )


def _positive(value: Any) -> float:
    if isinstance(value, (bool, str)) or not 0 < value < np.inf:
        raise InputError(f"the shrinkage of local maps must be positive, got {value}")
    return float(value)


def _image(base: Affine, x: NDArray[Any]) -> Matrix:
    moved = base.apply_linear(x.astype(np.float64))
    return moved if base.offset is None else moved + base.offset


def _sketch(residual: Matrix, seed: int) -> Matrix:
    """A few random orthogonal directions of wide rows; their sum of squares is that of all."""
    wide = residual.shape[1]
    if wide <= _SKETCHED:
        return residual
    drawn = np.random.default_rng(seed).standard_normal((wide, _SKETCHED))
    with single_thread:
        directions = linalg.qr(drawn, mode="economic")[0]
    return residual @ directions * (wide / _SKETCHED) ** 0.5


def _own_moments(rows: FitRows, router: Router) -> Iterator[tuple[int, Moments]]:
    """The moments of the rows of each expert, each row by its weight, in one pass."""
    own: list[Moments] = []
    for batch in rows:
        if not own:
            dx, dy = batch.x.shape[1], batch.y.shape[1]
            own = [Moments(dx, dy, keep={"xx", "xy"}) for _ in range(len(router))]
        weights = router.weights(batch.x)
        for j, moments in enumerate(own):
            mine = np.flatnonzero(weights[:, j])
            if len(mine):
                moments.update(batch.x[mine], batch.y[mine], weights=weights[mine, j])
    yield from enumerate(own)


def _expert(own: SecondMoments, base: Affine, penalty: float, scale: float) -> Affine:
    """The ridge towards ``base``; ``penalty`` is on sums, so it is divided by the rows."""
    alpha = penalty / own.n
    start = base.apply_linear(np.eye(len(own.mean_x)))
    covariance = own.require("xx")
    pulled = covariance + alpha * np.eye(len(covariance))
    with single_thread:
        change = linalg.solve(
            pulled, own.require("xy") - covariance @ start, assume_a="pos", overwrite_a=True
        )
    apart = own.mean_y - base.apply_to_mean(own.mean_x)
    shift = scale / (scale + alpha) * apart - own.mean_x @ change
    return Affine(start + change, shift if base.offset is None else base.offset + shift)


def held_out_errors(
    x: NDArray[Any],
    residual: Matrix,
    router: Router,
    shrinkages: Sequence[float],
    ids: NDArray[Any],
) -> Matrix:
    """Mean squared error of held-out rows for each shrinkage ``(len(shrinkages),)``.

    Exact for the routing and the global map as they are: with ``H`` the hat matrix of an expert,
    the residuals of a fold that was left out are ``(I − H_ff)⁻¹ (r − H r)_f``.

    Args:
        x: source rows ``(n, dx)``.
        residual: what the global map leaves of the target ``(n, dy)``.
        router: weights of the experts.
        shrinkages: to compare.
        ids: ``(n,)``, deciding the folds.
    """
    folds = fold_of(ids, _FOLDS)
    weights = router.weights(x)
    scale = float(x.var(axis=0, dtype=np.float64).mean())
    left = np.zeros((len(shrinkages), *residual.shape), dtype=np.float32)
    for j in range(len(router)):
        mine = np.flatnonzero(weights[:, j])
        if not len(mine):
            continue
        root = np.sqrt(weights[mine, j])
        features = _features(x[mine], root, scale)
        targets = residual[mine] * root[:, None]
        gram = features.T @ features
        for i, shrinkage in enumerate(shrinkages):
            penalty = shrinkage * scale * len(x) / len(router)
            with single_thread:
                lower = linalg.cholesky(gram + penalty * np.eye(len(gram)), lower=True)
                half = linalg.solve_triangular(lower, features.T, lower=True)  # H = halfᵀhalf
                error = targets - half.T @ (half @ targets)
            for fold in range(_FOLDS):
                here = np.flatnonzero(folds[mine] == fold)
                own = half[:, here]
                with single_thread:
                    out = linalg.solve(np.eye(len(here)) - own.T @ own, error[here], assume_a="pos")
                left[i, mine[here]] += root[here, None] * out
    return np.einsum("aij,aij->a", left, left, dtype=np.float64) / len(x)


def _features(x: NDArray[Any], root: Matrix, scale: float) -> Matrix:
    """Rows about their weighted mean beside a constant, times the roots of their weights."""
    square = root**2
    centred = x - square @ x / square.sum()
    return root[:, None] * np.column_stack([centred, np.full(len(x), scale**0.5)])
