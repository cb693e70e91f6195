"""A linear map trained to tell each answer from the others, starting from a fitted one.

The gradient of the contrastive loss of a linear map is three matrix products, so no framework is
needed, and a fit without PyTorch has the same maps as one with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings, Matrix
from isthmus.errors import DivergedError, InputError
from isthmus.progress import Progress, silent
from isthmus.threads import single_thread

__all__ = ["Contrast", "polish_map"]


_DECAYS = (0.9, 0.999)  # of Adam's two means (Kingma and Ba 2015)
_FLOOR = 1e-12


@dataclass(frozen=True)
class Contrast:
    """How a linear map is trained by contrast.

    Raises:
        InputError: for a rate or temperature that is not between 0 and 1, or no epoch.

    Example:
        >>> Contrast(epochs=5).batch
        128
    """

    epochs: int = 3
    temperature: float = 0.05
    rate: float = 0.01
    """The size of a step of Adam, relative to the root mean square of the entries of the map."""
    batch: int = 128
    answers: int = 1024
    """Answers that a batch is told from at most; a fresh draw for every batch where there are
    more."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("rate", "temperature"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise InputError(
                    f"the {name} of training lies between 0 and 1, got {value}",
                    mend="A rate of 0.01 and a temperature of 0.05 suit most maps",
                )
        if self.epochs < 1:
            raise InputError(f"training a map needs 1 epoch or more, got {self.epochs}")


def polish_map(
    matrix: Matrix,
    offset: Matrix,
    asked: Embeddings,
    answers: Embeddings,
    answer: NDArray[np.int64],
    contrast: Contrast | None = None,
    *,
    progress: Progress = silent,
) -> tuple[Matrix, Matrix]:
    """Lower the contrastive loss of ``x ↦ x @ matrix + offset`` by steps on the matrix alone.

    For a row ``x`` and its answer ``y``, with ``z`` the mapped row at unit length and the answers
    at unit length as well, the loss is ``−log softmax(z · Y / temperature)`` at ``y`` (InfoNCE, van
    den Oord, Li and Vinyals 2018).  The image of the mean row stays where it is.

    Args:
        matrix: ``(dx, dy)`` to start from.
        offset: ``(dy,)``.
        asked: source rows ``(n, dx)``.
        answers: distinct target rows ``(m, dy)``.
        answer: of each source row its row of ``answers``, ``(n,)``.
        contrast: epochs, rate, temperature and seed.
        progress: told after every epoch.

    Returns:
        The matrix and the offset after the last epoch.

    Raises:
        DivergedError: where the loss stops being finite.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> x = rng.standard_normal((200, 3)).astype(np.float32)
        >>> y, own = x * np.float32([1, 2, 3]), np.arange(200)
        >>> matrix, offset = polish_map(np.eye(3), np.zeros(3), x, y, own, Contrast(epochs=2))
        >>> matrix.shape, offset.shape
        ((3, 3), (3,))
    """
    contrast = contrast or Contrast()
    rng = np.random.default_rng(contrast.seed)
    centre = asked.mean(axis=0, dtype=np.float64)
    image = (offset + centre @ matrix).astype(np.float32)
    x = (asked - centre).astype(np.float32)
    y = answers / np.maximum(np.linalg.norm(answers, axis=1, keepdims=True), _FLOOR)
    adam = _Adam(matrix, contrast.rate)
    # what overflows is found below
    with single_thread, np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for epoch in range(contrast.epochs):
            for rows, shown in _batches(rng, answer, len(y), contrast):
                here = np.searchsorted(shown, answer[rows])
                gradient = _gradient(
                    x[rows], adam.weight, image, y[shown], here, contrast.temperature
                )
                adam.step(gradient)
            if not np.isfinite(adam.weight).all():
                raise DivergedError(
                    f"the map is not finite any more in epoch {epoch + 1}",
                    where="training",
                    mend="Lower the rate, or raise the temperature",
                )
            progress("train the map", epoch + 1, contrast.epochs)
    trained = adam.weight.astype(np.float64)
    return trained, image - centre @ trained


def _batches(
    rng: np.random.Generator, answer: NDArray[np.int64], n_answers: int, contrast: Contrast
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Of each batch of an epoch, its rows and the answers that they are told from, ascending."""
    order = rng.permutation(len(answer))
    for start in range(0, len(order), contrast.batch):
        rows = order[start : start + contrast.batch]
        if n_answers <= contrast.answers:
            yield rows, np.arange(n_answers)
            continue
        drawn = rng.choice(n_answers, contrast.answers, replace=False)
        yield rows, np.union1d(drawn, answer[rows])


def _gradient(
    x: Embeddings,
    weight: Embeddings,
    image: Embeddings,
    y: Embeddings,
    own: NDArray[np.int64],
    temperature: float,
) -> Embeddings:
    """The gradient of the mean loss of a batch by the matrix ``(dx, dy)``."""
    mapped = x @ weight + image
    length = np.maximum(np.linalg.norm(mapped, axis=1, keepdims=True), np.float32(_FLOOR))
    unit = mapped / length
    scores = unit @ y.T
    scores /= np.float32(temperature)
    scores -= scores.max(axis=1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=1, keepdims=True)
    scores[np.arange(len(x)), own] -= 1
    pull = scores @ y
    # the part along the mapped row changes its length alone
    pull -= unit * np.einsum("ij,ij->i", pull, unit)[:, None]
    pull /= length * np.float32(temperature * len(x))
    return x.T @ pull


class _Adam:
    """Adam (Kingma and Ba 2015) on one matrix, with steps relative to the size of its entries."""

    def __init__(self, start: Matrix, rate: float) -> None:
        self.weight: Embeddings = start.astype(np.float32)
        size = float(np.sqrt(np.mean(np.square(start)))) or 1.0
        self._rate = rate * size
        self._mean = np.zeros_like(self.weight)
        self._square = np.zeros_like(self.weight)
        self._room = np.empty_like(self.weight), np.empty_like(self.weight)
        self._steps = 0

    def step(self, gradient: Embeddings) -> None:
        self._steps += 1
        first, second = (np.float32(decay) for decay in _DECAYS)
        mean, square = self._room
        np.subtract(gradient, self._mean, out=mean)
        mean *= 1 - first
        self._mean += mean
        np.multiply(gradient, gradient, out=square)
        square -= self._square
        square *= 1 - second
        self._square += square
        np.divide(self._mean, 1 - _DECAYS[0] ** self._steps, out=mean)
        np.divide(self._square, 1 - _DECAYS[1] ** self._steps, out=square)
        # relative to the largest, so that the scale of the loss does not matter
        floor = 1e-8 * float(np.sqrt(square.max(initial=0.0))) + 1e-30
        np.sqrt(square, out=square)
        square += np.float32(floor)
        mean *= np.float32(self._rate)
        mean /= square
        self.weight -= mean
