"""The loss of the refined maps and its gradient: squares from moments, contrast from rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.adapters.steps.spectral_ball import departure, gradient_of_departure
from isthmus.array_types import Embeddings, Matrix
from isthmus.errors import InputError
from isthmus.moments import SecondMoments
from isthmus.nn.compat.frozen.class_sums import about_zero
from isthmus.nn.compat.frozen.held import Held

__all__ = ["ClassObjective", "FramedRows", "RefinementTerms"]


_WHITEN = 1e-2
"""Floor of the spectrum that is made white, relative to its mean."""
_BLOCK = 1024
_WALL = 10.0
"""Weight of the squared departure beyond λ; what is left of it is taken away at the end."""


@dataclass(frozen=True)
class RefinementTerms:
    """The weights of the loss of `isthmus.nn.compat.refine_maps`, and how long it is minimised."""

    temperature: float = 0.15
    """τ > 0."""
    contrast: float = 1.0
    """Weight ≥ 0 of the first two terms."""
    forward_weight: float = 1.0
    """w₁ ≥ 0."""
    backward_weight: float = 0.5
    """w₂ ≥ 0."""
    class_weight: float = 2.0
    """w₃ ≥ 0."""
    eta: float = 0.7
    """η in [0, 1]; nearer to 1, classes gather and single neighbours are lost."""
    iterations: int = 16
    """The largest number of iterations of L-BFGS."""
    most_rows: int = 15_000
    """Rows that the contrast of F is taken over; a third of them for B, which λ keeps from fitting
    them too well."""

    def __post_init__(self) -> None:
        weights = (self.contrast, *self.weights)
        good = self.temperature > 0 and all(0 <= w < np.inf for w in weights)
        if not good or not 0 <= self.eta <= 1 or self.iterations < 0:
            raise InputError(
                f"a temperature of {self.temperature}, weights of {weights}, an eta of {self.eta} "
                f"and {self.iterations} iterations",
                where="refine_maps",
                mend="The first must be positive, the others 0 or more, and eta at most 1",
            )

    @property
    def weights(self) -> tuple[float, float, float]:
        """w₁, w₂ and w₃."""
        return self.forward_weight, self.backward_weight, self.class_weight


@dataclass(frozen=True, eq=False)
class FramedRows:
    """Rows of one model with a constant behind them, which an offset is the image of."""

    rows: Embeddings
    """``(n, d + 1)``"""
    codes: NDArray[np.int64]
    """The class of each."""
    constant: float
    square: Matrix
    """Mean of the outer products of all rows, ``(d + 1, d + 1)``."""
    means: Matrix
    """Means of the classes, ``(classes, d + 1)``."""
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
    ) -> FramedRows:
        """Rows ``(n, d)`` of the side ``name`` (x or y) of the moments.

        Args:
            rows: some of the rows.
            moments: of all.
            name: of the side.
            means: of the classes ``(classes, d)``.
            codes: the class of each row ``(n,)``.
            whiten: descend in coordinates in which the spectrum of all rows is level.

        Raises:
            InputError: if all rows are zero.
        """
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

    def crossed(self, moments: SecondMoments, other: FramedRows) -> Matrix:
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
class ClassObjective:
    """The loss and its gradient for both maps, flat, in the coordinates of the descent."""

    x: FramedRows
    y: FramedRows
    cross: Matrix
    share: Matrix
    within: Matrix
    radius: float
    terms: RefinementTerms
    held: Held | None = None

    def __post_init__(self) -> None:
        self.spread = float(np.trace(self.y.square[:-1, :-1]))

    def outside(self, flat: Matrix) -> tuple[Matrix, Matrix]:
        """B and F with their offsets behind them."""
        rows = len(self.x.square), len(self.y.square)
        both = flat.reshape(sum(rows), -1)
        return self.x.outside(both[: rows[0]]), self.y.outside(both[rows[0] :])

    def __call__(self, flat: Matrix) -> tuple[float, Matrix]:
        """The loss, and its gradient by ``flat``."""
        b, f = self.outside(flat)
        image = self.x.means @ b
        length = np.maximum(np.linalg.norm(image, axis=1, keepdims=True), 1e-300)
        directions = image / length
        value, gradient_b, gradient_f, turn = self._squares(b, f, directions)
        if self.terms.contrast:
            for side, joined, gradient in ((self.x, b, gradient_b), (self.y, f, gradient_f)):
                loss, of_map, of_directions = _contrast(
                    side.rows, joined, directions, side.codes, self.terms.temperature
                )
                value += self.terms.contrast * loss
                gradient += self.terms.contrast * of_map
                turn += self.terms.contrast * of_directions
        turn -= np.einsum("ij,ij->i", turn, directions)[:, None] * directions
        gradient_b += self.x.means.T @ (turn / length)
        if self.held is not None:
            kept, of_kept = self.held.loss(b[:-1])
            value += kept / self.spread
            gradient_b[:-1] += of_kept / self.spread
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
        forward, backward, scatter = (w / self.spread for w in self.terms.weights)
        keep, drawn = 1.0 - self.terms.eta, self.terms.eta * self.spread**0.5
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
    rows: Embeddings,
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
    rows: Embeddings,
    joined: Embeddings,
    directions: Embeddings,
    codes: NDArray[np.int64],
    temperature: float,
) -> tuple[float, Embeddings, Embeddings]:
    """The class-contrast term of a block of rows, summed over the rows."""
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
