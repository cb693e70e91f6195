"""Two cards, statement by statement."""

from __future__ import annotations

from dataclasses import replace

from isthmus.bridge import Bridge
from isthmus.bridge.card import card
from isthmus.bridge.card_difference import card_difference


def test_a_bridge_does_not_differ_from_itself(bridge: Bridge) -> None:
    assert card_difference(bridge, bridge.unproven()) == ()


def test_every_statement_that_differs_is_told(bridge: Bridge) -> None:
    assert bridge.evidence is not None
    worse = bridge.evidence.model_copy(update={"n_queries": 7, "recommended": None})
    renamed = bridge.source.model_copy(update={"model": "acme/next"})
    other = replace(bridge, evidence=worse, source=renamed)
    told = {(c.section, c.what): (c.before, c.after) for c in card_difference(bridge, other)}
    assert told["contracts", "source model"] == (str(bridge.source.model), "acme/next")
    assert told["evidence", "queries"] == (f"{bridge.evidence.n_queries:,}", "7")
    if bridge.evidence.recommended not in (None, "bridge"):
        assert told["what to do", "judged way"] == (bridge.evidence.recommended, "bridge")
    none = replace(bridge, evidence=None)
    gone = {c.what: c for c in card_difference(bridge, none)}
    assert gone["verdict"].after == "not evaluated"
    assert gone["items"].after is None


def test_the_recommended_way_stands_first_and_undoing_it_is_told(bridge: Bridge) -> None:
    text = card(bridge)
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings[:2] == ["What to do", "Intended use"]
    for named in ("Contracts", "Data and method", "Evidence", "Where it fails", "Limits",
                  "How to roll back", "Provenance"):  # fmt: skip
        assert named in headings
    evidence = bridge.evidence
    assert evidence is not None
    if evidence.recommended is not None:
        assert f"| recommended | `{evidence.recommended}` |" in text
