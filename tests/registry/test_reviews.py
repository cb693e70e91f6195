"""The audit log: what people decided is kept in order, cannot be changed, and counts once each."""

from __future__ import annotations

from pathlib import Path

import pytest

from isthmus.errors import InputError, RegistryError
from isthmus.registry import Registry, standing

from .conftest import Make


def test_the_last_decision_of_each_person_counts(registry: Registry, make: Make) -> None:
    one, two = (registry.publish(make(n), "table").version for n in (1, 2))
    registry.approve("table", one, by="ann", reason="I looked")
    registry.approve("table", one[:8], by="bob")
    registry.approve("table", one, by="  Ann ", decision="reject", reason="the worst group")
    registry.approve("table", "latest", by="ann")
    reviews = registry.reviews(f"table@sha256:{one}")
    assert [(r.by, r.decision) for r in reviews] == [
        ("  Ann ", "reject"),
        ("bob", "approve"),
        ("ann", "approve"),
    ]
    assert {who: r.decision for who, r in standing(reviews, one).items()} == {
        "ann": "reject",
        "bob": "approve",
    }
    assert [r.sequence for r in registry.reviews(f"table@sha256:{two}")] == [4]
    assert registry.gc(older_than=0).objects == 0
    assert len(registry.verify()) == 2


def test_what_is_not_approved_needs_a_reason(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    for decision in ("reject", "request changes"):
        with pytest.raises(InputError, match="needs a reason"):
            registry.approve("table", "latest", decision=decision, reason=" ")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no decision"):
        registry.approve("table", "latest", decision="maybe")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nobody"):
        registry.approve("table", "latest", by=" ")
    with pytest.raises(RegistryError, match="no such version"):
        registry.approve("table", "0" * 64)
    assert registry.reviews("table") == []


def test_a_changed_decision_is_found(registry: Registry, make: Make) -> None:
    registry.publish(make(1), "table")
    for by in ("ann", "bob"):
        registry.approve("table", "latest", by=by)
    for place in sorted((Path(registry.url) / "audit/table").iterdir()):
        content = place.read_bytes()
        place.write_bytes(content.replace(b"approve", b"reject"))
        with pytest.raises(InputError, match="changed after it was written"):
            registry.verify()
        place.unlink()
        with pytest.raises(InputError, match="missing"):
            registry.reviews("table")
        place.write_bytes(content)
    assert len(registry.reviews("table")) == 2
