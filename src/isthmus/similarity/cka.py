"""Centred kernel alignment of linear kernels, from moments: as it is, and without its bias."""

from __future__ import annotations

import numpy as np

from isthmus.errors import InputError
from isthmus.similarity.kernel_sums import KernelSums, squared_norm
from isthmus.similarity.measure import ROTATION, Computed, MomentMeasure
from isthmus.similarity.null import debiased_null, kernel_null
from isthmus.similarity.paired_moments import PairedMoments

__all__ = ["DECLARED", "debiased_cka", "linear_cka"]


def linear_cka(sums: KernelSums) -> float:
    """``‖Sxy‖² / (‖Sxx‖ ‖Syy‖)`` in [0, 1]; the RV coefficient under another name.

    Kornblith et al. 2019.  Biased upwards where n is not much larger than the widths.
    """
    return sums.xy / sums.xx**0.5 / sums.yy**0.5


def debiased_cka(sums: KernelSums) -> float:
    """CKA from the unbiased HSIC of Song et al. (2012, eq. 5); 0 on average without relation.

    For centred rows the kernels' rows sum to nothing, and eq. 5 becomes
    ``n(n−3) HSIC₁ = tr KL − n/(n−2) Σ K_ii L_ii + tr K tr L / ((n−1)(n−2))``.  It may be negative,
    and is not clamped.

    Raises:
        InputError: with fewer than 4 rows, weighted rows, or moments without ``fourth``.
    """
    n = sums.n
    if n < 4:
        raise InputError(
            f"debiased CKA is not defined for {n:g} rows", mend="Give 4 or more; better hundreds"
        )
    if sums.quartic_xx is None or sums.quartic_xy is None or sums.quartic_yy is None:
        raise InputError("debiased CKA needs moments that keep 'fourth'")
    if not np.isfinite([sums.quartic_xx, sums.quartic_xy, sums.quartic_yy]).all():
        raise InputError(
            "fourth powers of the vectors overflow",
            mend="Scale them down, or give them in float64",
        )

    def hsic(products: float, quartic: float, left: float, right: float) -> float:
        return products - n / (n - 2) * quartic + left / (n - 1) * right / (n - 2)

    own_x = hsic(sums.xx, sums.quartic_xx, sums.trace_x, sums.trace_x)
    own_y = hsic(sums.yy, sums.quartic_yy, sums.trace_y, sums.trace_y)
    if own_x <= 1e-6 * sums.xx or own_y <= 1e-6 * sums.yy:
        raise InputError(
            "the rows of a side are equally far from each other, so debiased CKA is 0 / 0"
        )
    cross = hsic(sums.xy, sums.quartic_xy, sums.trace_x, sums.trace_y)
    return cross / own_x**0.5 / own_y**0.5


def _linear(moments: PairedMoments) -> Computed:
    sums = moments.sums
    value = linear_cka(sums)
    third_x, third_y = moments.thirds
    shapes = sums.shape("x", third_x), sums.shape("y", third_y)
    null, warnings = moments.null(
        kernel_null(moments.rows, *shapes, value), shapes, lambda sides: squared_norm(sides.cross)
    )
    return Computed(
        value,
        null,
        moments.interval_of_sums(value, linear_cka, by_length=True),
        [*warnings, *moments.lengths_told],
    )


def _debiased(moments: PairedMoments) -> Computed:
    if moments.weighted:
        raise InputError("debiased CKA is not defined for weighted rows")
    sums = moments.sums
    value = debiased_cka(sums)
    third_x, third_y = moments.thirds
    null, warnings = moments.null(
        debiased_null(moments.rows, third_x, third_y, value),
        (sums.shape("x", third_x), sums.shape("y", third_y)),
        # what of HSIC₁ depends on the order of the rows, over n²
        lambda sides: squared_norm(sides.cross) - sides.lengths / (sides.rows.rows - 2),
    )
    return Computed(value, null, moments.interval_of_sums(value, debiased_cka), warnings)


DECLARED = (
    MomentMeasure(
        name="linear_cka",
        words="linear CKA",
        definition="cka.linear.biased",
        formula="|Sxy|^2 / (|Sxx| |Syy|), Frobenius norms; the RV coefficient of Escoufier",
        source="Kornblith et al. 2019, arXiv 1905.00414; Robert and Escoufier 1976",
        higher_is_closer=True,
        low=0.0,
        high=1.0,
        at_identity=1.0,
        invariances=ROTATION,
        compute=_linear,
        aliases=("cka", "rv"),
        debiased="debiased_cka",
    ),
    MomentMeasure(
        name="debiased_cka",
        words="debiased CKA",
        definition="cka.linear.debiased",
        formula="HSIC1(X, Y) / sqrt(HSIC1(X, X) HSIC1(Y, Y)), the unbiased estimator; "
        "never clamped",
        biased=False,
        source="Song et al. 2012, JMLR 13, eq. 5; Nguyen et al. 2021, arXiv 2010.15327",
        higher_is_closer=True,
        low=-1.0,
        high=1.0,
        at_identity=1.0,
        invariances=ROTATION,
        compute=_debiased,
    ),
)
