"""What similarity is worth without any relation of the rows: null distributions.

The null of a pair of spaces is the value when the rows of one side are permuted.  Its mean and
variance are exact in closed form for everything that is an inner product of kernels; for nuclear
norms (Procrustes, the CCA family) they follow from random matrix theory at the true n, without a
single row or a single factorisation more.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from scipy.special import gammaincc, ndtr

from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.threads import single_thread

__all__ = [
    "KernelShape",
    "NormLaw",
    "Null",
    "chance_warning",
    "debiased_null",
    "gaussian_null",
    "kernel_null",
    "nuclear_norm_law",
    "permutation_null",
    "third_moment_ratio",
    "uneven",
]

_Spectrum = tuple[Matrix, NDArray[np.intp]]
"""Distinct eigenvalues, and how often each occurs."""

_FEW = 8
"""Up to this rank the law of large matrices gives way to draws, which then cost nothing."""
_DRAWS = 1000

_CHANCE_MATTERS = 0.1


class Null(BaseModel):
    """The value where the rows of one side are shuffled: what luck gives.

    ``p`` is the probability that luck comes at least as close as the value.

    Example:
        >>> import numpy as np
        >>> from isthmus import compare
        >>> x, y = np.random.default_rng(0).standard_normal((2, 300, 6))  # no relation
        >>> null = compare(x, y, measures="linear_cka")["linear_cka"].null
        >>> 0 < null.mean < 0.1, null.method
        (True, 'permutations, closed form')
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    mean: float
    sd: float
    p: float
    method: str


_DRAWN = re.compile(r"(\d+) (?:permutations|drawn rotations)")


def least_p(method: str) -> float | None:
    """The least p that a null which was drawn can show, 1/(draws + 1); None for a closed form.

    Example:
        >>> least_p("99 permutations"), least_p("rotations, large-n law")
        (0.01, None)
    """
    drawn = _DRAWN.search(method)
    return None if drawn is None else 1 / (1 + int(drawn[1]))


def p_text(p: float, method: str) -> str:
    """A p as people read it: at its floor with the sign that says so.

    Example:
        >>> p_text(0.01, "99 permutations"), p_text(1e-9, "closed form"), p_text(0.034, "")
        ('≤ 0.01', '< 0.001', '0.034')
    """
    floor = least_p(method)
    if floor is not None and p <= floor * (1 + 1e-9):
        return f"≤ {floor:.2g}"
    return "< 0.001" if p < 1e-3 else f"{p:.2g}"


def chance_warning(level: float, debiased: str | None = None) -> tuple[str, ...]:
    """What to say of a measure that ends at 1 and is at ``level`` by luck alone.

    ``debiased`` names the measure that is free of this, if there is one.
    """
    if level < _CHANCE_MATTERS:
        return ()
    remedy = "" if debiased is None else f"; {debiased} is 0 there"
    return (f"chance alone reaches {level:.2f} of 1 with so few rows{remedy}",)


# ---- inner products of kernels -----------------------------------------------------------------


@dataclass(frozen=True)
class KernelShape:
    """What the permutation null needs to know of one side's centred kernel ``K (n, n)``.

    Attributes:
        beta: ``(tr K)² / ‖K‖²``, between 1 and the rank: the effective dimension.
        delta: ``Σ K_ii² / ‖K‖²``; None takes the value of normally distributed rows.
        third: ``tr K³ / ‖K‖³``: how skewed the null is.
        top: the largest ``K_ii`` of the rows at hand, for a projection the leverage of a row.
    """

    beta: float
    delta: float | None
    third: float
    top: float = 0.0

    @classmethod
    def of_weights(
        cls, weights: Matrix, *, delta: float | None = None, top: float = 0.0
    ) -> KernelShape:
        """The shape of a kernel whose eigenvalues are ``weights (r,)``."""
        own = float((weights**2).sum())
        return cls(
            float(weights.sum()) ** 2 / own, delta, float((weights**3).sum()) / own**1.5, top
        )


def kernel_null(n: int, x: KernelShape, y: KernelShape, value: float) -> Null:
    """The permutation null of ``tr KL / (‖K‖ ‖L‖)`` for centred kernels: CKA, RV, Yanai's GCD.

    Mean and variance are exact (Kazi-Aoual, Hitier, Sabatier and Lebreton 1995; Josse, Pagès and
    Husson 2008); the tail is that of the gamma distribution with the limiting skewness
    ``√8 · tr K³/‖K‖³ · tr L³/‖L‖³``.

    Args:
        n: number of rows, 4 or more for the exact variance.
        x: the shape of one side.
        y: the shape of the other.
        value: whose ``p`` is asked.
    """
    mean = (x.beta * y.beta) ** 0.5 / (n - 1)
    free_x, free_y = max(n - 1 - x.beta, 0.0), max(n - 1 - y.beta, 0.0)
    variance = 2 * free_x * free_y / ((n + 1) * (n - 1) ** 2 * (n - 2))
    if n > 3 and x.delta is not None and y.delta is not None:
        # both factors hold 1/free, which cancels: a flat kernel has no variance at all
        variance += _excess(n, x) * _excess(n, y) / (n * (n + 1) * (n - 1) * (n - 2) * (n - 3))
    sd = max(variance, 0.0) ** 0.5
    skew = 8**0.5 * x.third * y.third
    return Null(mean=mean, sd=sd, p=_upper_tail(value, mean, sd, skew), method=_EXACT)


_EXACT = "permutations, closed form"
_UNEVEN = 0.25
"""Share of the variance of a kernel's null: more than this from single rows is unevenness."""


def uneven(n: int, x: KernelShape, y: KernelShape) -> bool:
    """Whether single rows weigh so much on both sides that closed forms of nulls are not trusted.

    The exact variance of `kernel_null` has a part that rows of normal distribution do not have;
    it is compared with the rest.
    """
    if n <= 3 or x.delta is None or y.delta is None:
        return False
    rest = 2 * max(n - 1 - x.beta, 0.0) * max(n - 1 - y.beta, 0.0)
    part = _excess(n, x) * _excess(n, y) * (n - 1) / (n * (n - 3))
    return part > _UNEVEN * rest and _excess(n, x) > 0


def _excess(n: int, shape: KernelShape) -> float:
    """``n(n+1) δ − (n−1)(β+2)``: 0 where row norms spread as those of normal rows."""
    delta = 0.0 if shape.delta is None else shape.delta
    return n * (n + 1) * delta - (n - 1) * (shape.beta + 2)


def debiased_null(n: int, third_x: float, third_y: float, value: float) -> Null:
    """The permutation null of debiased CKA: mean 0 and variance ``2 / (n (n − 3))``, both exact.

    They depend on n alone: the U-centred kernels have a zero diagonal and zero row sums, and
    permuting one of them averages to this whatever their entries (Székely and Rizzo 2013 find the
    same degrees of freedom ``n (n − 3) / 2`` for distance correlation).
    """
    sd = (2 / (n * (n - 3))) ** 0.5
    p = _upper_tail(value, 0.0, sd, 8**0.5 * third_x * third_y)
    return Null(mean=0.0, sd=sd, p=p, method=_EXACT)


def third_moment_ratio(s: Matrix) -> float:
    """``tr S³ / ‖S‖³`` of a symmetric positive ``s (d, d)``: 1 for rank one, ``1/√d`` for a ball.

    In float32: it shapes a tail and is no result.
    """
    norm = float(np.linalg.norm(s))
    if norm == 0:
        return 0.0
    scaled = np.empty(s.shape, np.float32)
    np.multiply(s, 1 / norm, out=scaled, casting="same_kind")
    # of a symmetric matrix also its square, at half the work
    return float(np.vdot(scaled @ scaled.T, scaled))


def _upper_tail(value: float, mean: float, sd: float, skew: float) -> float:
    """Probability beyond ``value``, of the Pearson type III (shifted gamma) distribution."""
    if sd <= 1e-9 * max(abs(mean), 1e-9):
        return 1.0 if value <= mean + 1e-9 else 0.0
    z = (value - mean) / sd
    if abs(skew) < 1e-4:
        return float(ndtr(-z))
    shape = 4 / skew**2
    return float(gammaincc(shape, max(shape + z * shape**0.5, 0.0)))


# ---- nuclear norms -----------------------------------------------------------------------------


@dataclass(frozen=True)
class NormLaw:
    """Mean and standard deviation of a nuclear norm under random rotation; normal in the limit.

    ``draws`` are values drawn from it where the matrices are too small for the limit.
    """

    mean: float
    sd: float
    draws: NDArray[np.float64] | None = None

    def upper_tail(self, value: float) -> float:
        """Probability of a norm of at least ``value``."""
        if self.draws is None:
            return _upper_tail(value, self.mean, self.sd, 0.0)
        return float((1 + np.count_nonzero(self.draws >= value)) / (1 + len(self.draws)))

    def null(self, mean: float, sd: float, p: float) -> Null:
        """The null of a value made of the norm, saying how it was found."""
        drawn = self.draws
        method = "rotations, large-n law" if drawn is None else f"{len(drawn)} drawn rotations"
        return Null(mean=mean, sd=sd, p=p, method=method)


def nuclear_norm_law(a: Matrix, b: Matrix, n: int, *, seed: int = 0, nodes: int = 128) -> NormLaw:
    """The nuclear norm of ``diag(a)^½ W diag(b)^½``, W a block of a random rotation of n − 1 axes.

    It is the law of ``‖XᵀPY‖_*`` for centred rows X and Y with ``a`` and ``b`` the eigenvalues of
    ``XᵀX`` and ``YᵀY``, when the permutation P is taken as a random rotation orthogonal to the
    constant vector; with eigenvalues 1 it is the law of the sum of canonical correlations.

    With ``w_a``, ``w_b`` the subordination functions, ``τ = tr_N a/(a + w_a) = tr_N b/(b + w_b)``
    and ``t = w_a w_b τ/(1 − τ)`` (the S-transform of a free product, Voiculescu 1987), the mean is
    ``(2N/π) ∫ √t dτ`` and the covariance of ``log det`` at t₁, t₂ is ``2 |log k|`` with
    ``k = (w_a1 − w_a2)(w_b1 − w_b2) / ((t₁ − t₂)(y₁ − y₂))``, ``y = (1 − τ)/τ`` (second-order
    freeness: Collins, Mingo, Śniady and Speicher 2007; doubled for real matrices, with a quarter
    of it off the mean).  Checked in the tests against drawn rotations and real permutations.

    Args:
        a: positive eigenvalues ``(p,)`` of one side, p ≤ n − 1.
        b: positive eigenvalues ``(q,)`` of the other.
        n: number of rows.
        seed: of the draws that serve small p and q.
        nodes: of the quadrature.
    """
    if len(a) > len(b):
        a, b = b, a
    scale = float(a.mean() * b.mean()) ** 0.5
    a, b = a / a.mean(), b / b.mean()
    if len(a) <= _FEW and len(b) <= _FEW:
        drawn = scale * _drawn_norms(a, b, n - 1, seed)
        return NormLaw(float(drawn.mean()), float(drawn.std()), drawn)
    mean, sd = _limit_law(a, b, n - 1, nodes)
    return NormLaw(scale * mean, scale * sd)


def _limit_law(a: Matrix, b: Matrix, size: int, nodes: int) -> tuple[float, float]:
    # equal eigenvalues, such as the ones of whitened sides, are computed with once
    a_of, b_of = (np.unique(values, return_counts=True) for values in (a, b))
    low, high = np.log(1e-4 * a.min()), np.log(1e8 * a.max())
    points, weights = np.polynomial.legendre.leggauss(nodes)
    w_a = np.exp((high - low) / 2 * points + (high + low) / 2)
    weights = weights * (high - low) / 2  # of d log w_a
    tau, tau_slope = _transform(a_of, w_a, size)
    w_b = _inverse_transform(b_of, tau, size)
    slope_b = tau_slope / _transform(b_of, w_b, size)[1]
    # τ = 1 is reached where both sides fill the space, up to rounding
    tau = np.minimum(tau, 1 - 1e-12)
    y = (1 - tau) / tau
    slope_y = -tau_slope / (tau * (1 - tau))
    t, slope_t = w_a * w_b / y, 1 + slope_b - slope_y
    # beyond the last node t ∝ 1/τ
    tail = 2 * tau[-1] * t[-1] ** 0.5
    mean = 2 * size / np.pi * (float(weights @ (np.sqrt(t) * -tau_slope)) + float(tail))

    def apart(values: Matrix, slope: Matrix | float) -> Matrix:
        """Differences of all pairs, and on the diagonal the derivative by log w_a."""
        differences = values[:, None] - values
        np.fill_diagonal(differences, values * slope)
        return differences

    with np.errstate(divide="ignore", invalid="ignore"):
        kernel = apart(w_a, 1.0) * apart(w_b, slope_b) / (apart(t, slope_t) * apart(y, slope_y))
        covariance = 2 * np.abs(np.log(np.abs(kernel)))
    covariance = np.where(np.isfinite(covariance), covariance, 0.0)
    measure = weights * slope_t * np.sqrt(t)
    off_mean = -float(measure @ np.diagonal(covariance)) / (8 * np.pi)
    variance = float(measure @ covariance @ measure) / (4 * np.pi**2)
    return mean + off_mean, variance**0.5


def _transform(spectrum: _Spectrum, w: Matrix, size: int) -> tuple[Matrix, Matrix]:
    """``Σ v/(v + w) / N`` and its derivative by log w, for each ``w``."""
    values, counts = spectrum
    share = values / (values + w[:, None])
    return share @ counts / size, -(share * (1 - share)) @ counts / size


def _inverse_transform(spectrum: _Spectrum, tau: Matrix, size: int) -> Matrix:
    """``w`` with ``Σ v/(v + w) / N = τ``: Newton's method on log w, kept inside a bracket."""
    values, counts = spectrum
    upper = np.log(values @ counts / (size * tau))
    lower = np.full_like(upper, np.log(values.min()) - 60.0)
    log_w = upper.copy()
    for _ in range(100):
        found, slope = _transform(spectrum, np.exp(log_w), size)
        gap = found - tau
        upper, lower = np.where(gap < 0, log_w, upper), np.where(gap >= 0, log_w, lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            move = gap / slope
        # what has arrived stays: a last move by rounding may lead out of the bracket
        arrived = (np.abs(move) < 1e-12) | (np.abs(gap) < 1e-15 * tau)
        step = log_w - move
        halved = np.where((step > lower) & (step < upper), step, (lower + upper) / 2)
        log_w = np.where(arrived, log_w, halved)
        if arrived.all():
            break
    return np.exp(log_w)


def _drawn_norms(a: Matrix, b: Matrix, size: int, seed: int) -> NDArray[np.float64]:
    """Nuclear norms for drawn blocks of rotations of ``size`` axes.

    ``W = G (GᵀG + S)^-½`` with G normal ``(p, q)`` and S Wishart of ``size − p`` degrees: any root
    serves, because a Cholesky root differs by a rotation that W does not notice.
    """
    p, q = len(a), len(b)
    rng = np.random.default_rng(seed)
    g = rng.standard_normal((_DRAWS, p, q))
    if size - p < q:
        whole = np.linalg.qr(rng.standard_normal((_DRAWS, size, size)))
        signs = np.sign(np.diagonal(whole.R, axis1=1, axis2=2))
        w = (whole.Q * signs[:, None, :])[:, :p, :q]
    else:
        bartlett = np.tril(rng.standard_normal((_DRAWS, q, q)), -1)
        for i in range(q):
            bartlett[:, i, i] = np.sqrt(rng.chisquare(size - p - i, _DRAWS))
        root = np.linalg.cholesky(g.transpose(0, 2, 1) @ g + bartlett @ bartlett.transpose(0, 2, 1))
        w = np.linalg.solve(root, g.transpose(0, 2, 1)).transpose(0, 2, 1)
    norms = np.linalg.svd(np.sqrt(a)[:, None] * w * np.sqrt(b), compute_uv=False)
    return norms.sum(axis=1)


def gaussian_null(mean: float, sd: float, value: float, *, higher_is_closer: bool = True) -> Null:
    """A normal null of known mean and standard deviation."""
    sign = 1.0 if higher_is_closer else -1.0
    p = _upper_tail(sign * value, sign * mean, sd, 0.0)
    return Null(mean=mean, sd=sd, p=p, method="rotations, large-n law")


# ---- permutations ------------------------------------------------------------------------------


def permutation_null(
    statistic: Callable[[NDArray[np.int64]], float],
    rows: int,
    value: float,
    *,
    permutations: int = 100,
    seed: int = 0,
    higher_is_closer: bool = True,
    mean: float | None = None,
) -> Null:
    """The null of ``statistic`` from seeded permutations of the rows of one side.

    Args:
        statistic: the value when row i of one side meets row ``order[i]`` of the other.
        rows: how many there are to permute.
        value: whose ``p`` is asked: ``(1 + as close or closer) / (1 + permutations)``.
        permutations: how many are drawn.
        seed: of the permutations.
        higher_is_closer: the direction of the measure.
        mean: where it is known exactly.

    Raises:
        InputError: without any permutation.
    """
    if permutations < 1:
        raise InputError("at least one permutation is needed", where="permutations")
    rng = np.random.default_rng(seed)
    with single_thread:
        drawn = np.array([statistic(rng.permutation(rows)) for _ in range(permutations)])
    sign = 1.0 if higher_is_closer else -1.0
    closer = int(np.count_nonzero(sign * drawn >= sign * value - 1e-12))
    return Null(
        mean=float(drawn.mean()) if mean is None else mean,
        sd=float(drawn.std()),
        p=(1 + closer) / (1 + permutations),
        method=f"{permutations} permutations",
    )
