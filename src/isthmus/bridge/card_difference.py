"""What differs between the cards of two bridges, such as two versions of one name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from isthmus.bridge.bridge import Bridge
from isthmus.spaces.contract import Space

__all__ = ["CardChange", "card_difference"]


class CardChange(NamedTuple):
    """One statement that differs; None where a card does not make it."""

    section: str
    what: str
    before: str | None
    after: str | None


def card_difference(before: Bridge, after: Bridge) -> tuple[CardChange, ...]:
    """Every statement of two cards that differs, in the order of the card.

    Example:
        >>> import numpy as np, isthmus
        >>> rows = np.random.default_rng(0).standard_normal((400, 8)).astype("float32")
        >>> pairs = isthmus.Pairs(rows[:, ::-1].copy(), rows)
        >>> one, other = (isthmus.fit(pairs, recipe=r) for r in ("procrustes", "ridge(alpha=1)"))
        >>> [c.after for c in card_difference(one, other) if c.what == "recipe"]
        ['ridge(alpha=1.0, power=1.0)']
    """
    old, new = dict(_statements(before)), dict(_statements(after))
    return tuple(
        CardChange(*key, old.get(key), new.get(key))
        for key in [*old, *(k for k in new if k not in old)]
        if old.get(key) != new.get(key)
    )


def _statements(bridge: Bridge) -> Iterator[tuple[tuple[str, str], str]]:
    evidence = bridge.evidence
    if evidence is None:
        yield ("what to do", "verdict"), "not evaluated"
    else:
        arm = evidence.arms[evidence.judged]
        yield ("what to do", "verdict"), str(evidence.verdict)
        yield ("what to do", "judged way"), evidence.judged
        yield ("what to do", evidence.primary), str(arm.metrics[evidence.primary])
        for what, found in (
            ("minus the old model", arm.to_old),
            ("retention", arm.retention),
            ("price", arm.price),
        ):
            if found is not None:
                yield ("what to do", what), str(found)
    for side, space in (("source", bridge.source), ("target", bridge.target)):
        for what, value in _contract(space):
            yield ("contracts", f"{side} {what}"), value
    fit = bridge.provenance.fit
    if fit is not None:
        for what in ("pairs", "fit_rows", "seed", "data_sha256", "isthmus"):
            yield ("data and method", what.replace("_", " ")), str(getattr(fit, what))
    yield ("data and method", "recipe"), str(bridge.recipe or "composed or inverted")
    if evidence is None:
        return
    yield ("evidence", "queries"), f"{evidence.n_queries:,}"
    yield ("evidence", "items"), f"{evidence.n_gallery:,}"
    for name in evidence.shown:
        yield ("evidence", name), str(evidence.arms[name].metrics[evidence.primary])
    for name, why in evidence.absent.items():
        yield ("evidence", f"no {name}"), why
    if evidence.fairness is not None:
        for group in evidence.fairness.groups:
            yield ("groups", group.name), f"{group.change} ({group.n_queries:,} queries)"
    if evidence.robustness is not None:
        for condition in evidence.robustness.conditions:
            yield ("robustness", condition.name), str(condition.change)


def _contract(space: Space) -> Iterator[tuple[str, str]]:
    for what in ("name", "version", "model", "revision", "dim", "metric", "normalised"):
        yield what, str(getattr(space, what))
