"""A map of few pairs, fitted again on rows of two unpaired pools that it matches by itself.

With fifty pairs a map of hundreds of dimensions has far more freedom than evidence.  Vectors that
nobody paired supply it: all old vectors exist already, and new ones of items or queries cost no
judgement.  Rows of the pools are matched under the map so far, and the map is fitted again on the
known pairs and the matches together (see `isthmus.adapters.scarce.pseudo_pairs`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from isthmus.adapters.chain import Affine, Stage
from isthmus.adapters.scarce.pseudo_pairs import (
    Matched,
    averaged_neighbours,
    mutual_neighbours,
    until_stable,
)
from isthmus.adapters.steps.base import FitRows, Refinement, Value, asked_rows, pools_of
from isthmus.array_types import Matrix
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.sample import sampled

__all__ = ["MatchPools"]


_MOST_KNOWN = 4000
_ROUNDS = 10
_FLOOR = 1e-12


class MatchPools(Refinement):
    """Match rows of unpaired pools under the map, fit a rotation on pairs and matches, repeat.

    The known pairs, documents and queries each about their own mean, weigh as much as all matches.

    Args:
        mutual: go on from averaged neighbours with mutual nearest ones, which are right where the
            same items are in both pools; ``auto`` tries both.
        neighbours: how many nearest rows are averaged.
        rounds: of matching, at most.

    Raises:
        InputError: in ``refine``, where there are no pools.
    """

    name = "match_pools"
    automatic = frozenset({"mutual"})

    def __init__(
        self, mutual: bool | str = True, neighbours: int = 10, rounds: int = _ROUNDS
    ) -> None:
        self.mutual = mutual
        self.neighbours = neighbours
        self.rounds = rounds

    @classmethod
    @override
    def expanded(
        cls, parameters: Mapping[str, Value], base: Affine, rows: FitRows
    ) -> list[dict[str, Value]]:
        """Both ways of matching, where that was left open."""
        if parameters.get("mutual") != "auto":
            return [dict(parameters)]
        return [{**parameters, "mutual": mutual} for mutual in (False, True)]

    @override
    def refine(self, base: Affine, rows: FitRows, *, progress: Progress = silent) -> Stage:
        """The map after the last round: ``x ↦ x W + b`` with a (semi-)orthogonal W, scaled.

        The image of the mean query (or row, where there are no queries) stays where it is.
        """
        pools = pools_of(rows)
        if pools is None:
            raise InputError(
                f"'{self.name}' matches rows of two unpaired pools, and none were given",
                mend="Give --pool-old and --pool-new, or Fitting(pools=...)",
            )
        if self.neighbours < 1 or self.rounds < 1:
            raise InputError(
                f"at least 1 neighbour and 1 round are needed, got {self.neighbours} and "
                f"{self.rounds}",
                where=self.name,
            )
        known, centre = _known(rows)
        x, y = (_centred(side) for side in (pools.source, pools.target))
        start, offset = base.dense(x.shape[1])
        matrix, _, _ = until_stable(
            start,
            x,
            lambda mapped: averaged_neighbours(x, y, mapped, y, k=self.neighbours),
            known,
            rounds=self.rounds,
        )
        if self.mutual:
            matrix, _, _ = until_stable(
                matrix,
                x,
                lambda mapped: mutual_neighbours(x, y, mapped, y),
                known,
                rounds=self.rounds,
            )
        matrix = matrix * (_length(x @ start) / max(_length(x @ matrix), _FLOOR))
        return Affine(matrix, offset + centre @ (start - matrix))


def _known(rows: FitRows) -> tuple[Matched, Matrix]:
    """The known pairs as a Procrustes map needs them, and the mean of the rows it will map."""
    kinds = [list(getattr(rows, "items", rows)), list(asked_rows(rows))]
    crosses: list[Matrix] = []
    pairs, centre = 0, np.zeros(0)
    for batches in kinds:
        if not any(len(batch) for batch in batches):
            continue
        known = sampled(batches, _MOST_KNOWN, seed=0)
        x, y = np.asarray(known.x, np.float64), np.asarray(known.y, np.float64)
        centre = x.mean(axis=0)
        crosses.append((x - centre).T @ (y - y.mean(axis=0)))
        pairs += len(known)
    if not crosses:
        raise InputError("there is no known pair to start from", where=MatchPools.name)
    return Matched(np.sum(crosses, axis=0), pairs), centre


def _centred(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return (rows - rows.mean(axis=0, dtype=np.float64)).astype(np.float32)


def _length(rows: Matrix) -> float:
    return float(np.sqrt(np.mean(np.square(rows))))
