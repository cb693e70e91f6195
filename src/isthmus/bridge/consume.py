"""A consumer of vectors, judged with a bridge before it on rows that no map has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from isthmus.adapters.cross_fitted import mapped_rows
from isthmus.bridge.assess import may_share_items, split_of
from isthmus.bridge.bridge import Bridge
from isthmus.bridge.head_bridge import fit_head_bridge
from isthmus.bridge.held_out_samples import FIT, PARTS, TEST, VALIDATION
from isthmus.errors import InputError
from isthmus.evaluate.bootstrap import Resampling
from isthmus.evaluate.consumers import OWN, ConsumerReport, judge_consumer
from isthmus.spaces.pairs import Pairs

__all__ = ["Consumed", "consume"]

_MOST_ROWS = 20_000


@dataclass(frozen=True)
class Consumed:
    """What became of a consumer."""

    report: ConsumerReport
    head_bridge: Bridge | None = None
    """Fitted on rows of the fit, where it was asked for; the arm ``head bridge`` of the report."""


def consume(
    bridge: Bridge,
    estimator: Any,
    pairs: Pairs,
    *,
    retrained: Any = None,
    head_bridge: bool = False,
    resampling: Resampling | None = None,
) -> Consumed:
    """Judge a consumer of the target's vectors with the bridge before it.

    Arms: ``own``, the vectors of the target that it was made on; ``bridge``, mapped vectors;
    ``naive``, source vectors as they are, where they are as wide; ``head bridge``, a map made for
    this consumer (`fit_head_bridge`); ``retrained``, another consumer on the source vectors.  Rows
    that the bridge was fitted on are left out, as far as they can be recognised.

    Args:
        bridge: maps source vectors into the space that the consumer eats.
        estimator: a classifier, regressor or clustering.
        pairs: the same items in both spaces, with their answers as labels where they are known.
        retrained: a consumer that was made on source vectors.
        head_bridge: whether to fit one, on the rows that the bridge was fitted on.
        resampling: of the intervals.

    Raises:
        InputError: where no row is left, and as `judge_consumer` and `fit_head_bridge`.
        WrongSpaceError: for vectors of other models than the bridge's.
    """
    resampling = resampling or Resampling()
    first = pairs.head(256)
    bridge.recognise(first.x, where=pairs.source.name)
    bridge.recognise_target(first.y, where=pairs.target.name)
    fits = bridge.provenance.fits
    if may_share_items(bridge, fits, pairs):
        split, unseen = split_of(fits, pairs), bridge.unseen_map()
    else:
        shares = dict(zip(PARTS, (0.5, 0.0, 0.5) if head_bridge else (0.0, 0.0, 1.0), strict=True))
        split, unseen = pairs.split(shares, seed=resampling.seed), bridge.chain
    if not len(split[PARTS[TEST]]):
        raise InputError(
            "every row was seen by the fit, and none is left to judge on",
            mend="Give pairs that the bridge was not fitted on",
        )
    test = split[PARTS[TEST]].sample(_MOST_ROWS, seed=resampling.seed)
    arms: dict[str, NDArray[Any]] = {OWN: test.y, "bridge": mapped_rows(unseen, test.ids, test.x)}
    if test.x.shape[1] == test.y.shape[1]:
        arms["naive"] = test.x
    made = None
    if head_bridge:
        # where every pair was fitted on, those that chose are apart from those that judge
        part = PARTS[FIT] if len(split[PARTS[FIT]]) else PARTS[VALIDATION]
        fitted = split[part].sample(_MOST_ROWS, seed=resampling.seed)
        made = fit_head_bridge(
            bridge, estimator, fitted.x, fitted.y, fitted.labels, seed=resampling.seed
        )
        arms["head bridge"] = made.chain(test.x)
    others = {} if retrained is None else {"retrained": (retrained, test.x)}
    report = judge_consumer(estimator, arms, test.labels, others=others, resampling=resampling)
    return Consumed(report, made)
