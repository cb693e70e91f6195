"""A linear probe that was learned in one space and is asked through a bridge."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from isthmus.array_types import Values
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Estimate, Resampling
from isthmus.evaluate.paired_outcomes import PairedOutcomes
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.strengths import widened
from isthmus.threads import single_thread

__all__ = ["LabelledRows", "LinearProbe", "RidgeProbe", "learn_probe", "linear_probe"]

STRENGTHS = np.logspace(-4, 4, 9)
"""Strengths of the ridge, relative to the mean variance of a coordinate times the rows."""
_MOST_CLASSES = 1000


class LabelledRows(NamedTuple):
    """Vectors ``(n, d)`` and the class of each ``(n,)``."""

    rows: NDArray[Any]
    labels: NDArray[Any]


class LinearProbe(ProbeResult):
    """Accuracies of probes on rows that neither they nor the bridge were fitted on.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> labels = rng.integers(0, 3, 600)
        >>> rows = np.eye(3)[labels] + 0.3 * rng.standard_normal((600, 3))
        >>> known, asked = (LabelledRows(rows[p], labels[p]) for p in (slice(300), slice(300, 600)))
        >>> found = linear_probe(known, asked, rows[300:] + 0.01)
        >>> found.change.value, found.own.value > 0.8
        (0.0, True)
    """

    classes: int
    learned_on: int
    """Rows that the probe was learned from."""
    rows: int
    """Rows that it was asked about."""
    chance: float
    """Share of the most frequent class among them."""
    own: Estimate
    """Accuracy on the target's own vectors."""
    bridged: Estimate
    """Accuracy of the same probe on mapped vectors of the same items."""
    change: Estimate
    """Bridged less own, item by item."""
    agreement: Estimate
    """Share of items of which it says the same."""
    source: Estimate | None = None
    """Accuracy of a probe that was learned on the source's vectors: what they hold at all."""

    def __str__(self) -> str:
        told = [
            f"linear probe of {self.classes} classes, learned on {self.learned_on:,} rows of the "
            f"target, asked about {self.rows:,} (chance {self.chance:.3f})",
            f"  on the target's own vectors: {self.own}",
            f"  through the bridge:          {self.bridged}",
            f"  change {self.change}, agreement {self.agreement}",
        ]
        if self.source is not None:
            told.append(f"  one learned on the source:   {self.source}")
        return "\n".join(told)


class RidgeProbe(NamedTuple):
    """``x ↦ classes[argmax(x @ weights + offset)]``."""

    classes: NDArray[Any]
    weights: Values
    """``(d, c)``"""
    offset: Values
    """``(c,)``"""
    strength: float
    """The strength of the ridge that was chosen."""

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The class of each of ``rows (n, d)``."""
        return self.classes[np.argmax(rows @ self.weights + self.offset, axis=1)]


def learn_probe(known: LabelledRows) -> RidgeProbe:
    """Least squares on one column a class, the ridge by leave-one-out error.

    Raises:
        InputError: for fewer than two classes, more than a thousand, and shapes that do not fit.
    """
    rows = np.asarray(known.rows, dtype=np.float64)
    if rows.ndim != 2 or known.labels.shape != (len(rows),):
        raise InputError(f"rows of shape {rows.shape} for labels of shape {known.labels.shape}")
    classes, member = np.unique(known.labels, return_inverse=True)
    if not 2 <= len(classes) <= _MOST_CLASSES:
        raise InputError(
            f"a probe tells 2 to {_MOST_CLASSES:,} classes apart, and there are {len(classes):,}",
            where="labels",
        )
    n = len(rows)
    wanted = np.zeros((n, len(classes)))
    wanted[np.arange(n), member] = 1
    middle, share = rows.mean(axis=0), wanted.mean(axis=0)
    centred, told = rows - middle, wanted - share
    with single_thread:
        values, vectors = scipy.linalg.eigh(centred.T @ centred)
    values = np.maximum(values, 0.0)
    turned = centred @ vectors
    against = turned.T @ told
    scale = max(float(values.mean()), np.finfo(np.float64).tiny)

    def error(strength: float) -> float:
        shrunk = 1.0 / (values + strength)
        hat = 1.0 / n + np.square(turned) @ shrunk
        missed = told - turned @ (shrunk[:, None] * against)
        return float(np.square(missed / np.maximum(1.0 - hat, 1e-9)[:, None]).sum())

    whole = max(float(np.square(told).sum()), 1e-300)
    tried, errors = widened(
        lambda some: np.array([error(float(s) * scale) for s in some]) / whole,
        STRENGTHS, "the linear probe",
    )  # fmt: skip
    strength = float(tried[int(np.argmin(errors))]) * scale
    weights = vectors @ (against / (values + strength)[:, None])
    return RidgeProbe(classes, weights, share - middle @ weights, strength)


def linear_probe(
    known: LabelledRows,
    asked: LabelledRows,
    mapped: NDArray[Any],
    *,
    source: tuple[LabelledRows, NDArray[Any]] | None = None,
    resampling: Resampling | None = None,
) -> LinearProbe:
    """Learn a probe in the target space and ask it about mapped rows.

    Args:
        known: rows of the target to learn from.
        asked: other rows of the target.
        mapped: the same items as ``asked``, mapped from the source ``(n, d)``; none was used in the
            fit of the map.
        source: to compare with, the items of ``known`` and of ``asked`` by the source.
        resampling: of the intervals.

    Raises:
        InputError: as `learn_probe`, and for rows that do not belong together.
    """
    if mapped.shape != asked.rows.shape or not len(mapped):
        raise InputError(f"mapped rows of shape {mapped.shape} for rows of {asked.rows.shape}")
    probe = learn_probe(known)
    said = [probe(asked.rows), probe(mapped)]
    if source is not None:
        said.append(learn_probe(source[0])(source[1]))
    right = [answers == asked.labels for answers in said]
    columns = [*right, said[0] == said[1]]
    outcomes = PairedOutcomes(np.column_stack(columns).astype(np.float64), resampling)
    _, counts = np.unique(asked.labels, return_counts=True)
    return LinearProbe(
        classes=len(probe.classes),
        learned_on=len(known.rows),
        rows=len(mapped),
        chance=float(counts.max() / len(mapped)),
        own=outcomes.mean(0),
        bridged=outcomes.mean(1),
        change=outcomes.difference(1, 0),
        agreement=outcomes.mean(len(columns) - 1),
        source=None if source is None else outcomes.mean(2),
    )
