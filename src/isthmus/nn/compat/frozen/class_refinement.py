"""Both maps of `class_joint_maps` refined with the contrastive loss, which needs rows.

With ``z = B(x)``, ``v = F(y)``, the classes c of the rows and ``p_c`` the direction of the mean z
of a class, this minimises over affine B and F::

    E[−log softmax_c(cos(v, p_c) / τ)] + E[−log softmax_c(cos(z, p_c) / τ)]
    + (w₁ ‖v − ((1 − η) z + η s p_c)‖² + w₂ ‖z[:d] − y‖² + w₃ ‖z − z̄_c‖²) / s²

with ``s² = E‖y‖²`` and the matrix of B within λ of orthogonality.  The first two terms stand for
the supervised contrastive loss of arXiv:2509.16664, with the means of classes in place of the other
rows of a batch; there are as many of them as classes, so that a step sees every row.  The squared
terms follow from the moments of all rows.  Sixteen steps of L-BFGS reach what Adam on batches
needs a hundred times more for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.spectral_ball import departure, within_ball
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import class_joint_maps
from isthmus.nn.compat.frozen.class_objective import ClassObjective, FramedRows, RefinementTerms
from isthmus.nn.compat.frozen.class_sums import PairedClassMeans
from isthmus.nn.compat.frozen.held import Held
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.numeric import Array, to_numpy
from isthmus.spaces.row_checks import check_vectors
from isthmus.threads import single_thread

__all__ = ["LabelledPairs", "class_maps", "refine_maps"]


_ROUGHLY = 1e-3
"""Tolerance of a start that is refined anyway."""


def class_maps(
    new: Array,
    old: Array,
    labels: NDArray[Any],
    lam: float = 0.25,
    *,
    relative: bool = True,
    terms: RefinementTerms | None = None,
    seed: int = 0,
) -> JointMaps:
    """Both λ maps between two frozen models from labelled pairs: in closed form, then refined.

    Args:
        new: vectors of the new model ``(n, new)``.
        old: of the old one ``(n, old)``, row i the same item.
        labels: the class of each item ``(n,)``.
        lam: bound on the departure of the backward map from orthogonality.
        relative: whether it is a multiple of ``√new``.
        terms: of the refinement; `RefinementTerms` if not given.
        seed: of the rows that its contrast is taken over.

    Raises:
        InputError: as `class_joint_maps` and `refine_maps`.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((200, 6))
        >>> new = old @ np.linalg.qr(rng.standard_normal((6, 6)))[0]
        >>> maps = class_maps(new, old, old[:, 0] > 0)
        >>> maps.backward.matrix.shape, bool(maps.departure <= maps.lam + 1e-6)
        ((6, 6), True)
    """
    new, old = (check_vectors(rows, where=side) for rows, side in ((new, "new"), (old, "old")))
    moments = Moments.of(new, old).second()
    classes = GroupSums(new.shape[1], old.shape[1])
    classes.update(labels, new, old)
    maps = class_joint_maps(moments, classes, lam, relative=relative, tolerance=_ROUGHLY)
    rows = LabelledPairs(new, old, labels)
    return refine_maps(maps, moments, classes, rows, terms=terms, seed=seed)


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """Rows of two models and the classes of their items."""

    new: Array
    """``(n, new)``"""
    old: Array
    """``(n, old)``, row i the same item."""
    labels: NDArray[Any]
    """``(n,)``"""


def refine_maps(
    maps: JointMaps,
    moments: SecondMoments,
    classes: GroupSums,
    rows: LabelledPairs,
    *,
    terms: RefinementTerms | None = None,
    held: Held | None = None,
    seed: int = 0,
) -> JointMaps:
    """The same maps, better at telling classes apart, with offsets.

    An offset is not bound by λ, as in the paper: it takes a mean away that all items share.

    Args:
        maps: of `class_joint_maps`; ``maps.lam`` stays the bound.
        moments: what they were fitted to.
        classes: sums of the same rows by class.
        rows: some or all of them, with the labels that ``classes`` was given.
        terms: of the loss; `RefinementTerms` if not given.
        held: rows whose cosines are to be kept.
        seed: of the draw.

    Raises:
        InputError: for rows that do not pair, are of other widths or not finite, parameters out of
            range, labels that ``classes`` does not hold, or a single class.
    """
    terms = RefinementTerms() if terms is None else terms
    new, old, labels = rows.new, rows.old, rows.labels
    if len({len(new), len(old), len(labels)}) > 1 or not len(new):
        raise InputError(f"{len(new)} new and {len(old)} old rows, {len(labels)} labels")
    wide = moments.require("xy").shape
    new, old = (
        to_numpy(check_vectors(given, dim=width, where=side))
        for given, width, side in ((new, wide[0], "new"), (old, wide[1], "old"))
    )
    means = PairedClassMeans.of(moments, classes)
    if terms.iterations == 0:
        return maps
    drawn = np.random.default_rng(seed).permutation(len(new))[: terms.most_rows]
    fewer = drawn[: -(-terms.most_rows // 3)]
    codes = means.codes(labels)
    with single_thread:
        x = FramedRows.of(new[fewer], moments, "x", means.x, codes[fewer], whiten=False)
        y = FramedRows.of(old[drawn], moments, "y", means.y, codes[drawn], whiten=True)
        objective = ClassObjective(
            x, y, x.crossed(moments, y), means.share, means.within_x(moments), maps.lam, terms,
            held,
        )  # fmt: skip
        begin = [
            side.inside(np.asarray(affine.matrix), np.asarray(affine.offset))
            for side, affine in ((x, maps.backward), (y, maps.forward))
        ]
        found: Any = scipy.optimize.minimize(
            objective, np.concatenate([part.ravel() for part in begin]), jac=True,
            method="L-BFGS-B", options={"maxiter": terms.iterations},
        )  # fmt: skip
        b, f = objective.outside(np.asarray(found.x))
        matrix, offset = x.affine(b)
        matrix = within_ball(matrix, maps.lam)
        b = np.vstack([matrix, b[-1:]])
        forward_matrix, forward_offset = y.affine(f)
        backward_error, forward_error = objective.errors(b, f)
    return replace(
        maps,
        backward=Affine(matrix, offset),
        forward=Affine(forward_matrix, forward_offset),
        departure=departure(matrix),
        backward_error=backward_error,
        forward_error=forward_error,
    )
