"""Vectors made elsewhere, looked up by id: of the new model, of the old one, or of both."""

from __future__ import annotations

import numpy as np
import pytest
from tests.migrate.conftest import N, opened, plan_of, state_of, text_of

from isthmus.encoders import Encoder, PrecomputedEncoder
from isthmus.migrate import Models, State
from isthmus.migrate.plan import AskedQueries, Canaries, Plan
from isthmus.stores.beside import holder_of

ADDED = 3000
BY_ID = ["new", "old", "both"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def looked_up(encoder: Encoder | None, seed: int = 0) -> PrecomputedEncoder:
    """Its vectors of the items, and of the one that is added, in a file of vectors and ids."""
    assert encoder is not None
    ids = [*range(N), ADDED]
    rows = encoder.encode([text_of(i, seed) for i in ids])
    return PrecomputedEncoder(np.asarray(rows), ids=ids, name="elsewhere")


def mixed(models: Models, by_id: str) -> Models:
    return Models(
        models.new if by_id == "old" else looked_up(models.new),
        models.old if by_id == "new" else looked_up(models.old),
    )


def planned(url: str, models: Models, by_id: str) -> Plan:
    """Of the models that read texts: a plan with vectors by id has nothing to encode again."""
    kept = {} if by_id == "old" else {"canaries": Canaries()}
    return plan_of(url, models, queries=AskedQueries(), **kept)


@pytest.mark.parametrize("by_id", BY_ID)
def test_what_is_written_behind_the_cut_over_is_there_after_the_way_back(url, path, models, by_id):
    mine = mixed(models, by_id)
    plan = planned(url, models, by_id)
    before = state_of(url)
    with opened(plan, path, mine) as migration:
        assert migration.run() == State.FULL
        migration.cut_over()
        second, column = holder_of(migration.store, "new")
        rows = models.new.encode([text_of(i) for i in (9, 10, ADDED)])
        edited = text_of(9, edition=2)
        second.add(
            np.array([9, 10, ADDED]), {column: rows},
            {"text": [edited, text_of(10), text_of(ADDED)], "rank": [9, 777, 1]},
        )  # fmt: skip
        second.delete(np.array([11]))
    with opened(plan, path, mine) as migration:
        restored = migration.rollback()
        first = getattr(migration.store, "first", migration.store)
        normalises = first.describe().column(first.column).stored_normalised
        ranks = [item["rank"] for item in first.payload(np.array([9, 10, ADDED]), ["rank"])]
    after = state_of(url)
    assert ranks == [9, 777, 1]
    assert after["text"] == {
        **{i: text_of(i) for i in (*range(N), ADDED) if i != 11}, 9: edited,
    }  # fmt: skip
    # an edit of the payload alone leaves the old vector what it is
    same = set(range(N)) - {9, 11}
    assert {i: after["vector"][i] for i in same} == {i: before["vector"][i] for i in same}
    wanted = models.old.encode([edited if by_id == "new" else text_of(9), text_of(ADDED)])
    for name, row in zip((9, ADDED), wanted, strict=True):
        held = np.frombuffer(after["vector"][name], np.float32)
        np.testing.assert_allclose(
            held / np.linalg.norm(held), row / np.linalg.norm(row), atol=1e-6
        )
    # what is normalised as it is written may have been rounded once more
    assert N - 2 - normalises <= restored.untouched <= N - 2
    assert (restored.added, restored.deleted) == (1, 1)
    assert restored.written == 0


def test_an_edit_of_the_first_collection_that_was_not_followed_is_kept(lance, path, models):
    mine = mixed(models, "new")
    plan = planned(lance, models, "new")
    with opened(plan, path, mine) as migration:
        migration.run()
        migration.cut_over()
        store = migration.store
        for collection, edition in ((store.first, 1), (store.second.store, 2)):
            rows = collection.fetch(np.array([5]), column=collection.column).vectors
            collection.add(np.array([5]), {collection.column: rows},
                           {"text": [text_of(5, edition)], "rank": [5]})  # fmt: skip
        migration.rollback()
    assert state_of(lance)["text"][5] == text_of(5, 1)


def test_without_an_old_model_an_edit_of_the_payload_needs_no_vector(lance, path, models):
    alone = Models(looked_up(models.new))
    plan = planned(lance, models, "new").model_copy(update={"old": None}).signed()
    before = state_of(lance)
    with opened(plan, path, alone) as migration:
        migration.run()
        migration.cut_over()
        second, column = holder_of(migration.store, "new")
        rows = models.new.encode([text_of(10)])
        second.add(np.array([10]), {column: rows}, {"text": [text_of(10)], "rank": [777]})
        restored = migration.rollback()
        assert migration.store.payload(np.array([10]), ["rank"]) == [{"rank": 777}]
    assert state_of(lance)["vector"] == before["vector"]
    assert (restored.untouched, restored.mapped, restored.encoded) == (N, 0, 0)
