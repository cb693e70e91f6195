"""A plan for an index whose texts are gone: its old vectors are mapped, if that finds more."""

from __future__ import annotations

import time
from pathlib import Path

from isthmus.bridge import Bridge, StoreSample
from isthmus.bridge.check_encoder import check_encoder
from isthmus.encoders import Encoder
from isthmus.errors import GateError, InputError
from isthmus.migrate.curve import Curve
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import Collection

__all__ = ["MAPPED", "check_mapped", "corpus_bridge", "map_rate"]

MAPPED = (
    "THE TEXTS ARE GONE: THE NEW VECTORS ARE THE OLD ONES MAPPED BY A BRIDGE, NOT WHAT THE NEW "
    "MODEL WOULD MAKE OF THE TEXTS."
)


def corpus_bridge(
    held: Collection,
    place: str | Path | None,
    new: Encoder,
    old: Encoder | None,
    log: QueryLog | None,
) -> Bridge | None:
    """The corpus bridge that was given; None for a bridge of queries, or none at all.

    Raises:
        InputError: where the texts are there, or nothing could show that mapped vectors find more
            than the old model.
        WrongSpaceError: for a bridge of other models.
    """
    if place is None or (given := Bridge.load(place)).kind != "corpus":
        return None
    where = held.where or held.name
    if held.has_texts:
        raise InputError(
            "this is a corpus bridge, and the items have texts, of which the new model makes true "
            "vectors",
            where=str(place),
            mend="Give a bridge of queries, or none",
        )
    if old is None or log is None:
        raise InputError(
            "the texts of the items are gone, and nothing says whether mapped vectors find more "
            "than the old model",
            where=where,
            mend="Give --old and --queries with clicks",
        )
    check_encoder(given, new, "new")
    check_encoder(given, old, "old")
    return given


def map_rate(bridge: Bridge, sample: StoreSample) -> float:
    """Vectors a second that the bridge maps."""
    began = time.monotonic()
    bridge.transform(sample.old)
    return len(sample) / max(time.monotonic() - began, 1e-6)


def check_mapped(curve: Curve, where: str) -> None:
    """Refuse mapped vectors that are not shown to find more than the old model.

    Raises:
        GateError: unless the interval of the gain of a full index lies above 0.
    """
    if not curve.points or curve.kept is None:
        raise GateError(
            "the queries are too few to show whether mapped vectors find more than the old model",
            where=where,
            mend="Give more queries whose answers the bridge was not fitted on; until then keep "
            "the old model",
        )
    _, value, gain = curve.points[-1]
    if gain.low is None or gain.low <= 0:
        raise GateError(
            f"vectors mapped by the bridge are not shown to find more than the old model: "
            f"{value:.3f} against {curve.kept:.3f}, gain {gain}",
            where=where,
            mend="Keep the old model, or find the texts again",
        )
