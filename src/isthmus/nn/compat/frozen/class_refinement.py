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
import scipy.linalg
import scipy.optimize
from numpy.typing import NDArray

from isthmus.adapters.chain import Affine
from isthmus.adapters.steps.spectral_ball import departure, gradient_of_departure, within_ball
from isthmus.errors import InputError
from isthmus.moments import Moments, SecondMoments
from isthmus.moments.groups import GroupSums
from isthmus.nn.compat.frozen.class_joint_maps import PairedClassMeans, about_zero, class_joint_maps
from isthmus.nn.compat.frozen.joint_maps import JointMaps
from isthmus.numeric import Array, to_numpy
from isthmus.spaces.row_checks import check_vectors
from isthmus.threads import single_thread

__all__ = ["class_maps", "refine_maps"]

Matrix = NDArray[np.float64]
Rows = NDArray[np.float32]

_WHITEN = 1e-2
"""Floor of the spectrum that is made white, relative to its mean."""
_ROUGHLY = 1e-3
"""Tolerance of a start that is refined anyway."""
_BLOCK = 1024
_WALL = 10.0
"""Weight of the squared departure beyond λ; what is left of it is taken away at the end."""


def class_maps(
    new: Array,
    old: Array,
    labels: NDArray[Any],
    lam: float = 0.25,
    *,
    relative: bool = True,
    **options: Any,
) -> JointMaps:
    """Both λ maps between two frozen models from labelled pairs: in closed form, then refined.

    Args:
        new: vectors of the new model ``(n, new)``.
        old: of the old one ``(n, old)``, row i the same item.
        labels: the class of each item ``(n,)``.
        lam: bound on the departure of the backward map from orthogonality.
        relative: whether it is a multiple of ``√new``.
        options: of `refine_maps`.

    Raises:
        InputError: as `class_joint_maps` and `refine_maps`.
    """
    new, old = (check_vectors(rows, where=side) for rows, side in ((new, "new"), (old, "old")))
    moments = Moments.of(new, old).second()
    classes = GroupSums(new.shape[1], old.shape[1])
    classes.update(labels, new, old)
    maps = class_joint_maps(moments, classes, lam, relative=relative, tolerance=_ROUGHLY)
    return refine_maps(maps, moments, classes, new, old, labels, **options)


def refine_maps(
    maps: JointMaps,
    moments: SecondMoments,
    classes: GroupSums,
    new: Array,
    old: Array,
    labels: NDArray[Any],
    *,
    temperature: float = 0.15,
    contrast: float = 1.0,
    forward_weight: float = 1.0,
    backward_weight: float = 0.5,
    class_weight: float = 2.0,
    eta: float = 0.7,
    iterations: int = 16,
    most_rows: int = 15_000,
    seed: int = 0,
) -> JointMaps:
    """The same maps, better at telling classes apart, with offsets.

    An offset is not bound by λ, as in the paper: it takes a mean away that all items share.

    Args:
        maps: of `class_joint_maps`; ``maps.lam`` stays the bound.
        moments: what they were fitted to.
        classes: sums of the same rows by class.
        new: ``(n, new)``, some or all of the rows.
        old: ``(n, old)``, row i the same item.
        labels: ``(n,)``, as given to ``classes``.
        temperature: τ > 0.
        contrast: weight ≥ 0 of the first two terms.
        forward_weight: w₁ ≥ 0.
        backward_weight: w₂ ≥ 0.
        class_weight: w₃ ≥ 0.
        eta: η in [0, 1]; nearer to 1, classes gather and single neighbours are lost.
        iterations: of L-BFGS, at most.
        most_rows: rows that the contrast of F is taken over, drawn with ``seed``; a third of them
            for B, which λ keeps from fitting them too well.
        seed: of the draw.

    Raises:
        InputError: for rows that do not pair, are of other widths or not finite, parameters out of
            range, labels that ``classes`` does not hold, or a single class.
    """
    _check(temperature, (contrast, forward_weight, backward_weight, class_weight), eta, iterations)
    if len({len(new), len(old), len(labels)}) > 1 or not len(new):
        raise InputError(f"{len(new)} new and {len(old)} old rows, {len(labels)} labels")
    wide = moments.require("xy").shape
    new, old = (
        to_numpy(check_vectors(rows, dim=width, where=side))
        for rows, width, side in ((new, wide[0], "new"), (old, wide[1], "old"))
    )
    means = PairedClassMeans.of(moments, classes)
    if iterations == 0:
        return maps
    drawn = np.random.default_rng(seed).permutation(len(new))[:most_rows]
    fewer = drawn[: -(-most_rows // 3)]
    codes = means.codes(labels)
    with single_thread:
        x = _Side.of(new[fewer], moments, "x", means.x, codes[fewer], whiten=False)
        y = _Side.of(old[drawn], moments, "y", means.y, codes[drawn], whiten=True)
        weights = (forward_weight, backward_weight, class_weight)
        objective = _Objective(
            x, y, x.crossed(moments, y), means.share, means.within_x(moments), maps.lam,
            temperature, contrast, weights, eta,
        )  # fmt: skip
        begin = [
            side.inside(np.asarray(affine.matrix), np.asarray(affine.offset))
            for side, affine in ((x, maps.backward), (y, maps.forward))
        ]
        found: Any = scipy.optimize.minimize(
            objective, np.concatenate([part.ravel() for part in begin]), jac=True,
            method="L-BFGS-B", options={"maxiter": iterations},
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


def _check(temperature: float, weights: tuple[float, ...], eta: float, iterations: int) -> None:
    good = temperature > 0 and all(0 <= w < np.inf for w in weights) and 0 <= eta <= 1
    if not good or iterations < 0:
        raise InputError(
            f"a temperature of {temperature}, weights of {weights}, an eta of {eta} and "
            f"{iterations} iterations",
            where="refine_maps",
            mend="The first must be positive, the others 0 or more, and eta at most 1",
        )


@dataclass(frozen=True, eq=False)
class _Side:
    """Rows of one model with a constant behind them, which an offset is the image of."""

    rows: Rows
    """``(n, d + 1)``"""
    codes: NDArray[np.int64]
    """The class of each."""
    constant: float
    square: Matrix
    """Mean of the outer products of all rows, ``(d + 1, d + 1)``."""
    means: Matrix
    """Of the classes, ``(classes, d + 1)``."""
    frame: Matrix | None
    """From the coordinates of the descent to these; None where it is a factor alone."""
    factor: float

    @classmethod
    def of(
        cls,
        rows: NDArray[Any],
        moments: SecondMoments,
        name: str,
        means: Matrix,
        codes: NDArray[np.int64],
        *,
        whiten: bool,
    ) -> _Side:
        mean = moments.mean_x if name == "x" else moments.mean_y
        width = len(mean)
        raw = about_zero(moments, name + name)
        spread = float(np.trace(raw))
        if not spread > 0:
            raise InputError(f"all rows of {name} are zero", where="refine_maps")
        constant = (spread / width) ** 0.5
        joined = np.append(mean, constant)
        square = np.outer(joined, joined)
        square[:width, :width] = raw
        behind = np.full((len(rows), 1), constant, np.float32)
        frame = None
        if whiten:
            values, vectors = scipy.linalg.eigh(square)
            floor = _WHITEN * float(values.mean())
            frame = vectors * np.sqrt(spread / (np.maximum(values, 0.0) + floor))
        return cls(
            np.hstack([np.asarray(rows, np.float32), behind]),
            codes,
            constant,
            square,
            np.hstack([means, np.full((len(means), 1), constant)]),
            frame,
            width**0.5,
        )

    def crossed(self, moments: SecondMoments, other: _Side) -> Matrix:
        """Mean of the outer products of these rows with the other side's."""
        mean = np.append(moments.mean_x, self.constant), np.append(moments.mean_y, other.constant)
        found = np.outer(*mean)
        found[:-1, :-1] = about_zero(moments, "xy")
        return found

    def affine(self, joined: Matrix) -> tuple[Matrix, Matrix]:
        """Matrix and offset."""
        return joined[:-1], self.constant * joined[-1]

    def inside(self, matrix: Matrix, offset: Matrix) -> Matrix:
        """A map in the coordinates of the descent."""
        joined = np.vstack([matrix, np.asarray(offset)[None] / self.constant])
        if self.frame is None:
            return joined / self.factor
        return scipy.linalg.solve(self.frame, joined)

    def outside(self, inner: Matrix) -> Matrix:
        """The map ``(d + 1, c)`` itself."""
        return inner * self.factor if self.frame is None else self.frame @ inner

    def pulled(self, gradient: Matrix) -> Matrix:
        """A gradient in the coordinates of the descent."""
        return gradient * self.factor if self.frame is None else self.frame.T @ gradient


@dataclass(eq=False)
class _Objective:
    """The loss and its gradient for both maps, flat, in the coordinates of the descent."""

    x: _Side
    y: _Side
    cross: Matrix
    share: Matrix
    within: Matrix
    radius: float
    temperature: float
    contrast: float
    weights: tuple[float, float, float]
    eta: float

    def __post_init__(self) -> None:
        self.spread = float(np.trace(self.y.square[:-1, :-1]))

    def outside(self, flat: Matrix) -> tuple[Matrix, Matrix]:
        """B and F with their offsets behind them."""
        rows = len(self.x.square), len(self.y.square)
        both = flat.reshape(sum(rows), -1)
        return self.x.outside(both[: rows[0]]), self.y.outside(both[rows[0] :])

    def __call__(self, flat: Matrix) -> tuple[float, Matrix]:
        b, f = self.outside(flat)
        image = self.x.means @ b
        length = np.maximum(np.linalg.norm(image, axis=1, keepdims=True), 1e-300)
        directions = image / length
        value, gradient_b, gradient_f, turn = self._squares(b, f, directions)
        if self.contrast:
            for side, joined, gradient in ((self.x, b, gradient_b), (self.y, f, gradient_f)):
                loss, of_map, of_directions = _contrast(
                    side.rows, joined, directions, side.codes, self.temperature
                )
                value += self.contrast * loss
                gradient += self.contrast * of_map
                turn += self.contrast * of_directions
        turn -= np.einsum("ij,ij->i", turn, directions)[:, None] * directions
        gradient_b += self.x.means.T @ (turn / length)
        over = departure(b[:-1]) - self.radius
        if over > 0:
            value += _WALL * over**2
            gradient_b[:-1] += 2.0 * _WALL * over * gradient_of_departure(b[:-1])
        parts = self.x.pulled(gradient_b), self.y.pulled(gradient_f)
        return value, np.concatenate([part.ravel() for part in parts])

    def _squares(
        self, b: Matrix, f: Matrix, directions: Matrix
    ) -> tuple[float, Matrix, Matrix, Matrix]:
        """The squared terms, and their gradients by B, by F and by the directions."""
        forward, backward, scatter = (w / self.spread for w in self.weights)
        keep, drawn = 1.0 - self.eta, self.eta * self.spread**0.5
        ab, cf = self.x.square @ b, self.y.square @ f
        mf, mb = self.cross @ f, self.cross.T @ b
        class_f, class_b = self.share * (self.y.means @ f), self.share * (self.x.means @ b)
        value = forward * (
            float(np.vdot(f, cf)) + keep**2 * float(np.vdot(b, ab)) + drawn**2
            - 2.0 * keep * float(np.vdot(f, mb))
            - 2.0 * drawn * float(np.vdot(class_f - keep * class_b, directions))
        )  # fmt: skip
        pulled = self.share * directions
        of_f = 2.0 * forward * (cf - keep * mb - drawn * (self.y.means.T @ pulled))
        of_b = 2.0 * forward * keep * (keep * ab - mf + drawn * (self.x.means.T @ pulled))
        turn = 2.0 * forward * drawn * (keep * class_b - class_f)
        width = len(self.y.square) - 1
        first = self.cross[:, :width]
        value += backward * self._backward(b, ab)
        of_b[:, :width] += 2.0 * backward * (ab[:, :width] - first)
        spread = self.within @ b[:-1]
        value += scatter * float(np.vdot(b[:-1], spread))
        of_b[:-1] += 2.0 * scatter * spread
        return value, of_b, of_f, turn

    def _backward(self, b: Matrix, ab: Matrix) -> float:
        width = len(self.y.square) - 1
        apart = float(np.vdot(b[:, :width], ab[:, :width] - 2.0 * self.cross[:, :width]))
        return apart + self.spread

    def errors(self, b: Matrix, f: Matrix) -> tuple[float, float]:
        """``L_B`` and ``L_F``."""
        ab = self.x.square @ b
        forward = np.vdot(b, ab) - 2.0 * np.vdot(f, self.cross.T @ b)
        forward += np.vdot(f, self.y.square @ f)
        return max(self._backward(b, ab), 0.0), max(float(forward), 0.0)


def _contrast(
    rows: Rows,
    joined: Matrix,
    directions: Matrix,
    codes: NDArray[np.int64],
    temperature: float,
) -> tuple[float, Matrix, Matrix]:
    """Mean of ``−log softmax(cos / τ)``; its gradients by the map and by the directions."""
    value, of_map, of_directions = 0.0, np.zeros(joined.shape), np.zeros(directions.shape)
    single = joined.astype(np.float32), directions.astype(np.float32)
    # blocks add up in float64, and need no memory that grows with the rows
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        losses = _contrast_block(rows[part], *single, codes[part], temperature)
        value += losses[0]
        of_map += losses[1]
        of_directions += losses[2]
    return value / len(rows), of_map / len(rows), of_directions / len(rows)


def _contrast_block(
    rows: Rows, joined: Rows, directions: Rows, codes: NDArray[np.int64], temperature: float
) -> tuple[float, Rows, Rows]:
    """The same, summed over rows."""
    mapped = rows @ joined
    length = np.sqrt(np.einsum("ij,ij->i", mapped, mapped))
    inverse = (1.0 / np.maximum(length, 1e-12))[:, None]
    cosine = mapped @ directions.T
    cosine *= inverse
    share = cosine * np.float32(1.0 / temperature)
    share -= share.max(axis=1, keepdims=True)
    each = np.arange(len(rows))
    own = share[each, codes]
    np.exp(share, out=share)
    total = share.sum(axis=1, keepdims=True)
    value = float((np.log(total[:, 0]) - own).sum(dtype=np.float64))
    share /= total
    share[each, codes] -= 1.0
    share *= np.float32(1.0 / temperature) * inverse
    # a cosine does not change along the row itself
    along = np.einsum("ij,ij->i", share, cosine)[:, None] * inverse
    of_directions = share.T @ mapped
    of_map = (rows.T @ share) @ directions
    mapped *= along
    of_map -= rows.T @ mapped
    return value, of_map, of_directions
