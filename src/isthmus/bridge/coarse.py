"""A bridge where no pair is known: coarse, unverified, and refused by every gate."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import version

import numpy as np

from isthmus.adapters.scarce.unpaired import LABEL, align_unpaired
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.provenance import Guess, Provenance
from isthmus.evaluate.evaluation import Evaluation
from isthmus.evaluate.gates import GateResult, check_gates
from isthmus.numeric import Array, to_numpy
from isthmus.progress import Progress, silent
from isthmus.spaces.contract import Space
from isthmus.spaces.profile import Profile

__all__ = ["align", "check_bridge"]

_SAMPLE = 4000


def align(
    x: Array,
    y: Array,
    *,
    source: str = "new",
    target: str = "old",
    seed: int = 0,
    progress: Progress = silent,
) -> Bridge:
    """A query bridge between two sets of vectors of which no pair is known, under cosine.

    For a first look where the texts are lost. A handful of known pairs is worth more
    (`isthmus.adapters.scarce.few_pairs`), and a few hundred make a bridge that can be judged.

    Args:
        x: source vectors ``(nx, dx)``.
        y: target vectors ``(ny, dy)``, in any order.
        source: name of the source space.
        target: name of the target space.
        seed: of the samples.
        progress: told after every start.

    Raises:
        InputError: as `align_unpaired`, where the check of the cycle is at chance.

    Example:
        >>> import numpy as np
        >>> from isthmus.bridge import align
        >>> x, y = np.random.default_rng(0).standard_normal((2, 40, 4)).astype(np.float32)
        >>> align(x, y)
        Traceback (most recent call last):
            ...
        isthmus.errors.InputError: x: 40 rows are too few to match by how they lie: 200 are...
    """
    found = align_unpaired(x, y, cosine=True, seed=seed, progress=progress)
    profiles = [Profile.of_rows(_sampled(rows, seed), unit=True) for rows in (x, y)]
    return Bridge(
        kind="query",
        source=Space.from_profile(profiles[0], source, "cosine"),
        target=Space.from_profile(profiles[1], target, "cosine"),
        chain=found.chain.rounded(),
        provenance=Provenance(guess=Guess(label=LABEL, seed=seed, isthmus=version("isthmus"))),
        source_profile=profiles[0],
        target_profile=profiles[1],
    )


def _sampled(rows: Array, seed: int) -> np.ndarray:
    host = to_numpy(rows)
    order = np.random.default_rng(seed).permutation(len(host))[:_SAMPLE]
    return np.asarray(host[np.sort(order)], dtype=np.float32)


def check_bridge(
    bridge: Bridge, evaluation: Evaluation, conditions: Iterable[str]
) -> list[GateResult]:
    """The gates of an evaluation, and one that no unverified bridge passes.

    Example:
        >>> import numpy as np
        >>> import isthmus
        >>> from isthmus.bridge import check_bridge
        >>> old = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
        >>> bridge = isthmus.fit(isthmus.Pairs(old[:, ::-1].copy(), old), recipe="procrustes")
        >>> [gate.passed for gate in check_bridge(bridge, bridge.evidence, ["retention >= 0.9"])]
        [False]
    """
    results = list(check_gates(evaluation, conditions))
    for guess in bridge.provenance.guesses[:1]:
        results.append(GateResult("fitted on known pairs", False, guess.label))
    return results
