"""What a test asserts of contracts, vectors and bridges."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.evaluate import Estimate, Evaluation
    from isthmus.spaces.contract import Space

__all__ = ["assert_compatible", "assert_no_regression"]

Offered: TypeAlias = "Space | Bridge | str | Path"
Judged: TypeAlias = "Evaluation | Bridge | str | Path"


def assert_compatible(
    consumer: Space | str | Path, producer: Offered, *, vectors: Any = None
) -> None:
    """Assert that a consumer's pinned contract is kept.

    Args:
        consumer: the contract, or its JSON file.
        producer: a contract or its file; or a bridge or its folder, whose output is meant.
        vectors: rows ``(n, d)`` that are to keep the contract too; of a bridge, rows that it maps.

    Raises:
        AssertionError: naming every clause that is broken, and every fault of the vectors.
        ContractError, InputError: for files that hold no contract.

    Example:
        >>> from isthmus import Space
        >>> pinned = Space(name="docs", version="1.2.0", dim=384, metric="cosine")
        >>> assert_compatible(pinned, pinned.revise(version="1.4.1"))
    """
    from isthmus.bridge import Bridge
    from isthmus.registry.contract_check import contract_kept, contract_of, vectors_kept
    from isthmus.spaces.contract import Space

    pinned = consumer if isinstance(consumer, Space) else Space.load(consumer)
    if isinstance(producer, Bridge):
        offered, bridge = producer.target, producer
    elif isinstance(producer, Space):
        offered, bridge = producer, None
    else:
        offered, bridge = contract_of(producer)
    found = contract_kept(pinned, offered)
    if vectors is not None:
        rows = vectors if bridge is None else bridge.transform(vectors)
        found += vectors_kept(pinned, [rows], "vectors")
    broken = [f"{f.condition}: {f.found}" for f in found if not f.passed]
    if broken:
        raise AssertionError("the contract is broken\n" + "\n".join(broken))


def assert_no_regression(before: Judged, after: Judged, *, margin: float = 0.01) -> None:
    """Assert that the recommended way of a new version is not worse than that of the former.

    Both were judged by the same metric.  What is judged is the difference of the two estimates, of
    which the lower end of the interval may not lie below ``-margin``.  The two are treated as
    independent, which is careful where they were judged on the same queries.

    Args:
        before, after: evaluations, or bridges or their folders.
        margin: the loss that is still called none, in units of the primary metric.

    Raises:
        AssertionError: with both estimates.
        InputError: for a folder that holds no bridge.
    """
    old, new = _evaluation(before), _evaluation(after)
    if (old.evidence_kind, old.primary) != (new.evidence_kind, new.primary):
        raise AssertionError(
            f"they cannot be compared: {old.primary} by {old.evidence_kind}, and {new.primary} by "
            f"{new.evidence_kind}"
        )
    if old.recommended is not None and new.recommended is None:
        raise AssertionError(
            f"the former version recommends '{old.recommended}', the new one nothing: {new.reason}"
        )
    a, b = (found.arms[found.judged].metrics[found.primary] for found in (old, new))
    low = _low(a, b)
    if low is None or low < -margin:
        told = "no interval" if low is None else f"{low:+.3f} or more"
        raise AssertionError(
            f"{old.primary} was {a} ({old.judged}) and is {b} ({new.judged}): the difference may "
            f"be {told}, allowed is {-margin:+.3f}"
        )


def _evaluation(judged: Judged) -> Evaluation:
    from isthmus.bridge import Bridge
    from isthmus.evaluate import Evaluation

    if isinstance(judged, Evaluation):
        return judged
    bridge = judged if isinstance(judged, Bridge) else Bridge.load(judged)
    if bridge.evidence is None:
        raise AssertionError("a bridge without evidence cannot be compared")
    return bridge.evidence


def _low(before: Estimate, after: Estimate) -> float | None:
    if before.value is None or after.value is None or after.low is None or before.high is None:
        return None
    spread = ((after.value - after.low) ** 2 + (before.high - before.value) ** 2) ** 0.5
    return after.value - before.value - spread
