"""What a test asserts of contracts, vectors and bridges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from isthmus.bridge import Bridge
    from isthmus.spaces.contract import Space
    from isthmus.spaces.pairs import Pairs

__all__ = ["assert_compatible", "assert_no_regression"]

Offered: TypeAlias = "Space | Bridge | str | Path"
Paired: TypeAlias = "Pairs | tuple[Any, Any]"


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
    __tracebackhide__ = True  # pytest shows the line of the test
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


def assert_no_regression(
    before: Bridge | str | Path,
    after: Bridge | str | Path,
    pairs: Paired,
    *,
    queries: Paired | None = None,
    qrels: Mapping[Any, Sequence[Any]] | None = None,
    primary: str | None = None,
    margin: float = 0.01,
) -> None:
    """Assert that the recommended way of a new version is not worse than that of the former.

    A paired test of non-inferiority, the one of ``isthmus evaluate --against``: both ways answer
    the same queries, which the new version was not fitted on, and a loss beyond the margin must be
    ruled out by the lower end of the interval of their difference.

    Args:
        before: the bridge in use, or its folder.
        after: the bridge that is to follow, or its folder.
        pairs: the same items in both spaces, with labels where there are no queries; or
            ``(old, new)``: files, arrays or anything else that `isthmus.Pairs` takes.
        queries: separate queries, likewise.
        qrels: for each query id the ids of the items that answer it; without it the item of the
            same id does.
        primary: the metric; by default that of an evaluation.
        margin: the loss that is still called none, in units of the metric.

    Raises:
        AssertionError: with both means and the interval of their difference.
        InputError: for a folder that holds no bridge, bridges between other spaces, and where
            nothing says what is relevant.
        WrongSpaceError: for vectors of other models.

    Example:
        >>> import numpy as np
        >>> from isthmus import Pairs, fit
        >>> rng = np.random.default_rng(0)
        >>> old = rng.standard_normal((900, 8))
        >>> bridge = fit(Pairs(old[:, ::-1].copy(), old), recipe="procrustes")
        >>> fresh = rng.standard_normal((400, 8))
        >>> items = fresh, fresh[:, ::-1].copy()
        >>> assert_no_regression(bridge, bridge, items, queries=items)
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    from isthmus.bridge import Bridge
    from isthmus.bridge.held_out_samples import Queries
    from isthmus.bridge.regress import regress

    old, new = (b if isinstance(b, Bridge) else Bridge.load(b) for b in (before, after))
    asked = None if queries is None else Queries(_pairs(queries, new), qrels)
    found = regress(new, old, _pairs(pairs, new), asked, primary=primary, margin=margin)
    if not found.passed:
        raise AssertionError(str(found))


def _pairs(given: Paired, bridge: Bridge) -> Pairs:
    """In the direction of a bridge, compared as its source is."""
    from isthmus.spaces.pairs import Pairs

    if isinstance(given, Pairs):
        return given
    old, new = given
    sides = (new, old) if bridge.kind == "query" else (old, new)
    return Pairs(*sides, metric=bridge.source.metric)
