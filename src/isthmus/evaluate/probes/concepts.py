"""Whether a direction that stands for a concept in one space stands for it in the other."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.errors import InputError
from isthmus.evaluate.probes.result import ProbeResult
from isthmus.plain_text import plain_line

__all__ = ["Concept", "ConceptStability", "auc", "concept_stability"]

_MOST_CONCEPTS = 20
_FEWEST = 5


class Concept(ProbeResult):
    """One class of items, told from all others by one direction."""

    name: str
    items: int
    native: float
    """AUC on held-out rows of the space where the direction was learned; chance is 0.5."""
    transferred: float
    """AUC on the same items, mapped from the other space."""
    cosine: float
    """Cosine of the direction that the held-out rows have in the target with the one that the same
    items, mapped, have: 1 where the concept points the same way."""


class ConceptStability(ProbeResult):
    """Class-mean directions learned in the target space and used on mapped source rows."""

    concepts: tuple[Concept, ...]
    """The most frequent first."""
    source: str
    """Where the classes come from: ``labels`` or ``clusters``."""

    @property
    def native(self) -> float:
        """Mean AUC in the target space itself."""
        return float(np.mean([c.native for c in self.concepts]))

    @property
    def transferred(self) -> float:
        """Mean AUC on mapped rows."""
        return float(np.mean([c.transferred for c in self.concepts]))

    @property
    def kept(self) -> float:
        """What the transfer keeps of the margin above chance, in ``[0, 1]`` and rarely beyond."""
        above = self.native - 0.5
        return (self.transferred - 0.5) / above if above > 0 else 0.0

    def __str__(self) -> str:
        names = [plain_line(c.name)[:30] for c in self.concepts]
        width = max(map(len, names))
        lines = [
            f"directions of {len(self.concepts)} concepts: AUC {self.native:.3f} in the target, "
            f"{self.transferred:.3f} through the bridge"
        ]
        lines += [
            f"  {name:<{width}}  {c.native:.3f} -> {c.transferred:.3f}, cosine "
            f"{c.cosine:.3f} ({c.items:,} items)"
            for name, c in zip(names, self.concepts, strict=True)
        ]
        return "\n".join(lines)


def concept_stability(
    target: NDArray[np.floating],
    mapped: NDArray[np.floating],
    labels: NDArray[Any],
    held_out: NDArray[np.bool_],
    *,
    source: str = "labels",
) -> ConceptStability | None:
    """Learn a direction per class in ``target`` and test it on ``mapped``.

    The direction of a class is the mean of its training rows less the mean of the others.

    Args:
        target: rows ``(n, d)`` of the target space.
        mapped: the same items mapped from the source space, ``(n, d)``; held-out rows must not
            have been used in the fit of the map.
        labels: ``(n,)``.
        held_out: ``(n,)``, the rows tested on.
        source: where the labels come from.

    Returns:
        None where no class has five rows on both sides of the split, and five others.

    Raises:
        InputError: for shapes that do not belong together.
    """
    n = len(target)
    if mapped.shape != target.shape or labels.shape != (n,) or held_out.shape != (n,):
        raise InputError(
            f"target {target.shape}, mapped {mapped.shape}, labels {labels.shape} and held_out "
            f"{held_out.shape} do not belong together"
        )
    train, test = ~held_out, held_out
    names, member, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    rows, total = target[train].astype(np.float64), int(train.sum())
    everything = rows.sum(axis=0)
    concepts: list[Concept] = []
    for c in np.argsort(-sizes, kind="stable"):
        inside = member == c
        counts = [int((inside & part).sum()) for part in (train, test)]
        others = [int((~inside & part).sum()) for part in (train, test)]
        if min(*counts, *others) < _FEWEST or len(concepts) == _MOST_CONCEPTS:
            continue
        mine = rows[inside[train]].sum(axis=0)
        direction = mine / counts[0] - (everything - mine) / (total - counts[0])
        seen = [_direction(side[test], inside[test]) for side in (target, mapped)]
        concepts.append(
            Concept(
                name=str(names[c]),
                items=int(sizes[c]),
                native=auc(target[test] @ direction, inside[test]),
                transferred=auc(mapped[test] @ direction, inside[test]),
                cosine=_cosine(*seen),
            )
        )
    return ConceptStability(concepts=tuple(concepts), source=source) if concepts else None


def _direction(rows: NDArray[np.floating], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    return rows[inside].mean(axis=0, dtype=np.float64) - rows[~inside].mean(
        axis=0, dtype=np.float64
    )


def _cosine(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    lengths = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(one @ other) / lengths if lengths > 0 else 0.0


def auc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counted half (Mann-Whitney)."""
    n = int(positive.sum())
    others = len(positive) - n
    if n == 0 or others == 0:
        raise InputError("both positives and negatives are needed")
    from scipy.stats import rankdata  # takes half a second to import

    ranks = rankdata(scores)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * others))
