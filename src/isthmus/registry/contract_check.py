"""A consumer's pinned contract against what a producer offers: its contract, and its vectors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus import artefact
from isthmus.bridge import Bridge
from isthmus.errors import ContractError, InputError
from isthmus.registry.aliases import Found
from isthmus.spaces.compatibility import CLAUSES, check_compatible, required_bump
from isthmus.spaces.contract import Space
from isthmus.spaces.enforce import FaultyRows, faults_of
from isthmus.spaces.versions import SemanticVersion, next_version

__all__ = ["bump_kept", "contract_kept", "contract_of", "vectors_kept"]


def contract_of(path: str | Path) -> tuple[Space, Bridge | None]:
    """The contract in a JSON file, or that of a bridge's output, with the bridge.

    Raises:
        ContractError, InputError: for a path that holds neither.
    """
    place = Path(path)
    if not place.is_dir():
        return Space.load(place), None
    kind = artefact.kind_at(place)
    if kind != "bridge":
        raise InputError(f"a {kind} states no contract", where=str(path))
    bridge = Bridge.load(place)
    return bridge.target, bridge


def contract_kept(consumer: Space, producer: Space) -> list[Found]:
    """Whether a producer's contract keeps every clause that a consumer relies on.

    Example:
        >>> pinned = Space(name="docs", version="1.2.0", dim=384, metric="cosine")
        >>> [found.condition for found in contract_kept(pinned, pinned.revise(dim=768))]
        ['dim']
        >>> contract_kept(pinned, pinned.revise(version="1.3.0"))[0].passed
        True
    """
    result = check_compatible(consumer, producer)
    if result.compatible:
        told = f"{result.producer} offered to a consumer of {result.consumer}"
        return [Found.of(f"all {len(CLAUSES)} clauses of the contract", True, told)]
    return [
        Found.of(v.clause, False, f"expected {v.expected}, found {v.found}: {v.why}")
        for v in result.violations
    ]


def bump_kept(before: Space, after: Space) -> Found:
    """Whether a producer's version moved as far as its change of the contract requires.

    A pre-release may change what its release will promise, and counts as moved as far as it will.

    Example:
        >>> rc = Space(name="docs", version="2.0.0-rc.1", dim=384, metric="cosine")
        >>> bump_kept(rc, rc.revise(version="2.0.0", dim=768)).passed
        True
        >>> bump_kept(rc, rc.revise(version="2.0.0-rc.1+build.7", dim=768)).passed
        False
    """
    needed = required_bump(before, after)
    old, new = SemanticVersion.parse(before.version), SemanticVersion.parse(after.version)
    least = SemanticVersion.parse(next_version(before.version, needed))
    moved = new > old and new.core >= least.core
    passed = moved if needed != "none" else new >= old
    told = f"{before.version} became {after.version}"
    return Found.of(f"the version moves by {needed} or more", passed, told)


def vectors_kept(consumer: Space, batches: Iterable[NDArray[Any]], where: str) -> list[Found]:
    """Whether live vectors keep a contract: width, dtype, faults, ranges.

    Rows that the contract flags or repairs are told, and pass.

    Args:
        consumer: the contract.
        batches: of rows ``(n, d)``.
        where: what they are called.
    """
    seen, tallies = 0, dict[str, tuple[str, int, int, str]]()
    for rows, faulty in _faults(consumer, batches, where):
        if isinstance(faulty, ContractError):
            return [Found.of("width and dtype of the vectors", False, str(faulty))]
        for fault in faulty:
            known = tallies.get(fault.fault)
            count = fault.count + (0 if known is None else known[1])
            first, detail = (seen + fault.first_row, fault.detail) if known is None else known[2:]
            tallies[fault.fault] = fault.response, count, first, detail
        seen += len(rows)
    if not seen:
        return [Found.of("there are vectors", False, f"none in {where}")]
    if not tallies:
        return [Found.of("no vector breaks the contract", True, f"{seen:,} vectors of {where}")]
    return [
        Found.of(
            f"no vector is {fault.replace('_', ' ')}",
            response != "reject",
            f"{count:,} of {seen:,}, which the contract says to {response}; row {first} {detail}",
        )
        for fault, (response, count, first, detail) in tallies.items()
    ]


def _faults(
    consumer: Space, batches: Iterable[NDArray[Any]], where: str
) -> Iterator[tuple[NDArray[Any], tuple[FaultyRows, ...] | ContractError]]:
    for batch in batches:
        rows = np.asarray(batch)
        try:
            yield rows, faults_of(rows, consumer, where=where)
        except ContractError as error:
            yield rows, error
            return
