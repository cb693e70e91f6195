"""From the evidence to a search: what is recommended is run."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus import fit
from isthmus.bridge import Bridge
from isthmus.errors import ContractError, InputError, WrongSpaceError
from isthmus.evaluate.arms import ARMS
from isthmus.stores import MemoryStore
from isthmus.ways import Columns, Recall, Way


def test_every_arm_of_the_evidence_has_its_way(bridge: Bridge) -> None:
    assert bridge.evidence is not None
    assert set(bridge.ways) == set(bridge.evidence.arms) - {"control"}
    assert set(bridge.evidence.absent) | set(bridge.evidence.arms) == set(ARMS)
    for name, way in bridge.ways.items():
        price = bridge.evidence.arms[name].price
        assert price is not None
        assert price.encodings <= way.price.encodings
        if name != "old":
            assert price.old_query == way.recall.old_query


def test_a_loaded_bridge_has_the_ways_and_recommends_the_same(
    bridge: Bridge, tmp_path: Any
) -> None:
    bridge.save(tmp_path / "one")
    again = Bridge.load(tmp_path / "one")
    assert again.ways == bridge.ways
    assert again.recommended == bridge.recommended is not None
    assert bridge.evidence is not None and bridge.recommended is not None
    assert bridge.recommended == (
        bridge.evidence.recommended,
        bridge.ways[bridge.evidence.recommended or ""],
    )


def test_the_recommended_way_runs_on_a_store(bridge: Bridge, upgrade: Any) -> None:
    items, queries = (pairs.head(600) for pairs in upgrade)
    store = MemoryStore(vectors={"old": items.y})
    mapped = bridge.search(store, "bridge")(queries.x, 5)
    expected = store.search(np.asarray(bridge.transform(queries.x)), 5, column="old")
    np.testing.assert_array_equal(mapped.ids, expected.ids)
    assert mapped.price.new_queries == 600 and mapped.price.old_queries == 0
    name, way = bridge.recommended or ("", Way())
    if way.rescore is None and way.part is None:
        found = bridge.search(store)({"new": queries.x, "old": queries.y}, 5)
        named = bridge.search(store, name)({"new": queries.x, "old": queries.y}, 5)
        np.testing.assert_array_equal(found.ids, named.ids)


@pytest.mark.parametrize(("way", "model"), [("bridge", "new"), ("old", "old")])
@pytest.mark.parametrize("fault", [0.0, np.nan])
def test_a_search_holds_its_queries_against_the_contract(
    way: str, model: str, fault: float, bridge: Bridge, upgrade: Any
) -> None:
    items, queries = (pairs.head(40) for pairs in upgrade)
    search = bridge.search(MemoryStore(vectors={"old": items.y}), way)
    rows = (queries.x if model == "new" else queries.y).copy()
    search(rows, 3)
    rows[7] = fault
    with pytest.raises(ContractError, match=rf"queries, {model}, row 7"):
        search(rows, 3)
    assert search.guards[model].report.rows == 40


def test_trust_comes_with_the_answer(trusted: Bridge, upgrade: Any) -> None:
    items, queries = (pairs.head(300) for pairs in upgrade)
    store = MemoryStore(vectors={"vector": items.y})
    answer = trusted.search(store, "bridge")(queries.x, 3)
    assert answer.trust is not None and trusted.trust is not None
    scores = store.search(np.asarray(trusted.transform(queries.x)), 2, column="vector").scores
    margin = trusted.trust.after_search(trusted.trust(queries.x), scores)
    np.testing.assert_allclose(answer.trust, margin, rtol=1e-5)
    # a single result is trusted as much as the first of many
    first = trusted.search(store, "bridge")(queries.x, 1)
    np.testing.assert_array_equal(first.ids, answer.ids[:, :1])
    np.testing.assert_allclose(first.trust, answer.trust, rtol=1e-6)
    # the old and the mapped query mixed have other scores: the vector alone is what is known
    mixed = trusted.search(store, Way(recall=Recall(kind="mixed", alpha=0.5)))(
        {"new": queries.x, "old": queries.y}, 3
    )
    np.testing.assert_allclose(mixed.trust, trusted.trust(queries.x), rtol=1e-6)
    old = trusted.search(store, Way(recall=Recall(kind="old")))(queries.y, 3)
    assert old.trust is None
    # asked for or not, what another process receives holds it
    again = trusted.search(store, "bridge")(queries.x, 3)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(again)).trust, answer.trust)


def test_queries_of_another_model_are_refused(
    bridge: Bridge, upgrade: Any, make_world: Any
) -> None:
    items, queries = (pairs.head(300) for pairs in upgrade)
    store = MemoryStore(vectors={"old": items.y})
    other = make_world(seed=50)
    foreign = other.seen("x", other.latent(300))
    with pytest.raises(WrongSpaceError, match="do not come from new"):
        bridge.search(store, "bridge")(foreign, 3)
    mixed = bridge.unproven().search(store, Way(recall=Recall(kind="mixed", alpha=0.5)))
    with pytest.raises(WrongSpaceError, match="queries, old"):
        mixed({"new": queries.x, "old": other.seen("y", other.latent(300))}, 3)


def test_a_corpus_bridge_searches_what_it_mapped(make_world: Any) -> None:
    world = make_world()
    z = world.latent(900)
    items, queries = world.pairs(z), world.pairs(world.near(z))
    bridge = fit(items, queries=queries, kind="corpus")
    stored, asked = items.head(900), queries.head(900)
    mapped = np.asarray(bridge.transform(stored.x))
    store = MemoryStore(vectors={"old": stored.x, "bridged": mapped})
    answer = bridge.search(store, "bridge")(asked.y, 1)
    expected = store.search(asked.y, 1, column="bridged")
    np.testing.assert_array_equal(answer.ids, expected.ids)
    bare = MemoryStore(vectors={"old": stored.x})
    with pytest.raises(InputError, match="a corpus bridge maps no queries"):
        bridge.search(bare, "bridge", columns=Columns("old"))(asked.y, 1)


def test_a_way_that_is_not_there(bridge: Bridge, upgrade: Any) -> None:
    store = MemoryStore(vectors={"old": upgrade[0].head(300).y})
    with pytest.raises(InputError, match="no way 'magic'"):
        bridge.search(store, "magic")
    nothing = replace(bridge, evidence=None)
    assert nothing.recommended is None
    with pytest.raises(InputError, match="it was not evaluated"):
        nothing.search(store)
    assert bridge.evidence is not None
    kept = bridge.evidence.model_copy(update={"recommended": None, "verdict": "keep the old model"})
    with pytest.raises(InputError, match="keep the old model"):
        replace(bridge, evidence=kept).search(store)
