"""What a bridge carries over for linear readers: a probe and the directions of concepts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from isthmus.bridge.bridge import Bridge
from isthmus.bridge.unseen_rows import unseen_rows
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.probes import ConceptStability, LinearProbe, concept_stability, linear_probe
from isthmus.evaluate.probes.linear import LabelledRows
from isthmus.spaces.pairs import Pairs

__all__ = ["Probed", "probe"]


@dataclass(frozen=True)
class Probed:
    """What linear readers of the target make of mapped vectors."""

    linear: LinearProbe
    concepts: ConceptStability | None
    """None where no class has five rows to learn from and five to judge on."""

    def as_dict(self) -> dict[str, Any]:
        """The result as JSON."""
        concepts = None if self.concepts is None else self.concepts.model_dump(mode="json")
        return {"linear": self.linear.model_dump(mode="json"), "concepts": concepts}

    def __str__(self) -> str:
        told = "no class has enough rows for a direction of its own"
        return f"{self.linear}\n{told if self.concepts is None else self.concepts}"


def probe(bridge: Bridge, pairs: Pairs, *, resampling: Resampling | None = None) -> Probed:
    """Learn a linear probe and concept directions in the target space; ask both through a bridge.

    They are learned on rows that the bridge may have been fitted on, and asked about rows that
    neither has seen.  A probe learned in the source space stands beside, for what is there to keep.

    Args:
        bridge: maps source vectors into the space of the probe.
        pairs: the same items in both spaces, with their classes as labels.
        resampling: of the intervals.

    Raises:
        InputError: without labels, with fewer than two classes, and as `unseen_rows`.
        WrongSpaceError: for vectors of other models than the bridge's.

    Example:
        >>> from isthmus import fit
        >>> rng = np.random.default_rng(0)
        >>> classes = rng.integers(0, 3, 1500)
        >>> old = np.eye(8)[classes] + 0.3 * rng.standard_normal((1500, 8))
        >>> pairs = Pairs(old[:, ::-1].copy(), old, labels=classes)
        >>> found = probe(fit(pairs, recipe="procrustes"), pairs)
        >>> abs(found.linear.change.value) < 0.02, found.concepts.concepts[0].cosine > 0.99
        (True, True)
    """
    resampling = resampling or Resampling()
    rows = unseen_rows(bridge, pairs, learn=True, seed=resampling.seed)
    known, asked = rows.known, rows.asked
    assert known is not None
    if known.labels is None or asked.labels is None:
        raise InputError("a probe is learned from classes", where="labels", mend="Give labels")
    linear = linear_probe(
        LabelledRows(known.y, known.labels),
        LabelledRows(asked.y, asked.labels),
        rows.mapped,
        source=(LabelledRows(known.x, known.labels), asked.x),
        resampling=resampling,
    )
    held_out = np.arange(len(known) + len(asked)) >= len(known)
    concepts = concept_stability(
        np.concatenate([known.y, asked.y]),
        # of the rows to learn from nothing mapped is read
        np.concatenate([known.y, rows.mapped]),
        np.concatenate([known.labels, asked.labels]),
        held_out,
    )
    return Probed(linear, concepts)
