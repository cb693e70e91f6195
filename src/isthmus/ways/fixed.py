"""The ways of every evaluation, whose parameters nothing has to choose."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from isthmus.errors import InputError
from isthmus.evaluate.rescore import default_depth
from isthmus.evaluate.trial import Trial
from isthmus.ways.depth import FixedDepth
from isthmus.ways.way import Recall, Rescore, Way

__all__ = ["FixedWays", "fixed_ways"]


@dataclass(frozen=True, eq=False)
class FixedWays:
    """Every way of an evaluation by the name of its arm, and why an arm is absent."""

    ways: Mapping[str, Way]
    absent: Mapping[str, str]
    rescored: int | None


def fixed_ways(trial: Trial, rescore_depth: int | None = None) -> FixedWays:
    """The ways of every evaluation, whose parameters nothing has to choose.

    Raises:
        InputError: for more items to rescore than a query can find.
    """
    ways = {"old": Way(recall=Recall(kind="old"))}
    absent: dict[str, str] = {}
    width_new, width_old = trial.query_new.shape[1], trial.gallery_old.shape[1]
    if width_new == width_old:
        ways["naive"] = Way(recall=Recall(kind="naive"))
    else:
        absent["naive"] = f"new queries have width {width_new}, the old gallery {width_old}"
    ways["bridge"] = Way()
    depth = None
    if trial.gallery_new is None:
        absent |= dict.fromkeys(["rescore", "new"], trial.without_new)
    else:
        depth = default_depth(trial.n_gallery) if rescore_depth is None else rescore_depth
        if not 1 <= depth <= trial.n_searchable:
            raise InputError(
                f"cannot rescore {depth} of {trial.n_searchable} gallery items",
                where="rescore_depth",
            )
        ways["rescore"] = Way(rescore=Rescore(depth=FixedDepth(k=depth)))
        ways["new"] = Way(recall=Recall(kind="new"))
    ways["control"] = Way()
    return FixedWays(ways, absent, depth)
