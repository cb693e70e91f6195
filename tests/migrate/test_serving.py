"""Queries answered at every moment of a migration: by both models, and always k results."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from tests.databases import url_of
from tests.migrate.conftest import filled, opened, plan_of, text_of

from isthmus.bridge import Fitting, fit
from isthmus.errors import InputError
from isthmus.evaluate import Judging
from isthmus.migrate import DualWriter, Limits, LiveSearch, State
from isthmus.migrate.plan import Artefact, Serving
from isthmus.spaces.pairs import Pairs
from isthmus.stores import open_store
from isthmus.ways.way import Join, Recall, ScoreMatch

N = 300
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def bridges(tmp_path_factory, models):
    """From new queries to old vectors, and back."""
    folder = tmp_path_factory.mktemp("bridges")
    texts = [text_of(i) for i in range(N)]
    old, new = models.old.encode(texts), models.new.encode(texts)
    judging = Judging(resamples=200)
    for name, kind, pairs in (
        ("forth", "query", Pairs(new, old, metric="cosine")),
        ("back", "corpus", Pairs(old, new, metric="cosine")),
    ):
        fit(pairs, kind=kind, recipe="ridge", judging=judging, fitting=Fitting()).save(
            folder / name
        )
    return Artefact.at(folder / "forth", "query"), Artefact.at(folder / "back", "corpus")


@pytest.fixture(params=["lancedb", "postgresql"])
def plan(request, tmp_path, models, bridges):
    url = filled(url_of(request.param, tmp_path, request), models, N)
    serving = Serving(
        recall=Recall(kind="bridge"),
        joins=((0.1, Join(match=ScoreMatch(), weight=0.3)),),
    )
    return plan_of(url, models, bridge=bridges[0], back=bridges[1], serving=serving)


def test_both_models_are_answered_at_every_fill_level(plan, tmp_path, models):
    texts = [text_of(i) for i in range(40)]
    asked = {"new": models.new.encode(texts), "old": models.old.encode(texts)}
    right = np.arange(40)
    ways = []

    def check(search, *, least):
        for queries in (texts, {"new": asked["new"]}, {"old": asked["old"]}):
            found = search(queries, 10)
            assert found.ids.shape == (40, 10)
            assert (found.scores > -np.inf).all()
            assert all(len(set(row)) == 10 for row in found.ids.tolist())
            share = (found.ids == right[:, None]).any(axis=1).mean()
            assert share >= least, (str(search.way()), share)
        # the old vectors are searched exactly until they are left
        if not search.standing().moved:
            assert (search({"old": asked["old"]}, 1).ids[:, 0] == right).all()
        ways.append(str(search.way()))

    with opened(plan, tmp_path / "plan.json", models) as migration:
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        check(search, least=0.2)
        for share in (0.05, 0.3, 0.6):
            migration.run(Limits(batch=15, share=share), resume=share != 0.05)
            assert search.standing().share == pytest.approx(share, abs=0.06)
            check(search, least=0.2)
        migration.run(resume=True)
        assert migration.state == State.FULL
        check(search, least=0.6)
        migration.cut_over()
        check(search, least=0.2)
        assert (search({"new": asked["new"]}, 1).ids[:, 0] == right).all()
        migration.rollback()
        check(search, least=0.2)
    assert ways[0] == ways[-1] == "new queries through the bridge"
    # below the first join nothing is joined
    assert ways[1] == ways[0]
    assert all("re-embedded" in way for way in ways[2:5])
    assert ways[5] == "new queries on re-embedded items"


def test_what_comes_after_the_cut_over_is_found_before_it_has_a_new_vector(plan, tmp_path, models):
    serving = Serving(recall=Recall(kind="old"), joins=((0.0, Join()),))
    plan = plan.model_copy(update={"serving": serving}).signed()
    with opened(plan, tmp_path / "plan.json", models) as migration:
        migration.run()
        migration.cut_over()
        text = text_of(9000)
        migration.store.add(
            np.array([9000]), {"vector": models.old.encode([text])},
            {"text": [text], "rank": [0]},
        )  # fmt: skip
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        assert search.way().joins
        assert search([text], 1).ids.tolist() == [[9000]]
        assert search({"old": models.old.encode([text])}, 1).ids.tolist() == [[9000]]


def test_an_application_that_writes_both_vectors(plan, tmp_path, models):
    with (
        opened(plan, tmp_path / "plan.json", models) as migration,
        open_store(plan.target.store) as store,
    ):
        writer = DualWriter(plan, store, old=models.old, new=models.new)
        with pytest.raises(InputError, match="encoded from their texts"):
            writer.add([1], {"rank": [0]})
        migration.run()
        migration.cut_over()
        text = text_of(9001)
        writer.add([9001], {"text": [text], "rank": [0]})
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        assert search.way().recall.kind == "new"
        assert search([text], 1).ids.tolist() == [[9001]]
        restored = migration.rollback()
        assert restored.added == 1
        assert restored.encoded == 0
        # the column is gone, and whoever searches or deletes goes on
        assert search({"old": models.old.encode([text])}, 1).ids.tolist() == [[9001]]
        assert writer.delete([9001]) == 1
    with pytest.raises(InputError, match="dimensions"), open_store(plan.target.store) as store:
        DualWriter(plan, store, old=models.new, new=models.old)


@pytest.mark.parametrize("looked", [False, True])
@pytest.mark.parametrize("asks", ["new", "old"])
def test_a_reader_that_has_not_seen_the_way_back_yet_is_answered(
    plan, tmp_path, models, asks, looked
):
    with opened(plan, tmp_path / "plan.json", models) as migration:
        migration.run()
        migration.cut_over()
        with open_store(plan.target.store) as store:
            search = LiveSearch(plan, store, new=models.new, old=models.old, refresh=3600)
            assert search([text_of(3)], 1).ids.tolist() == [[3]]
            assert search([text_of(3)], 5, model=asks).ids.shape == (1, 5)
            assert search.way().recall.kind == "new"
            migration.rollback()
            if looked:  # another question has had the store see which columns are left
                assert plan.target.new_column not in store.describe().columns
            found = search([text_of(3)], 5, model=asks)
            assert -1 not in found.ids
            assert search.way().recall.kind != "new"


def test_a_reader_that_has_not_seen_a_migration_in_part_undone_is_answered(plan, tmp_path, models):
    with opened(plan, tmp_path / "plan.json", models) as migration:
        migration.run(Limits(share=0.5))
        with open_store(plan.target.store) as store:
            search = LiveSearch(plan, store, new=models.new, old=models.old, refresh=3600)
            assert search([text_of(3)], 5).ids.shape == (1, 5)
            assert search.way().joins
            with pytest.raises(InputError, match="expected 12"):
                search({"new": np.ones((1, 3), np.float32)}, 5)
            migration.rollback()
            assert plan.target.new_column not in store.describe().columns
            found = search([text_of(3)], 5, model="new")
            assert -1 not in found.ids
            with pytest.raises(InputError, match="expected 12"):
                search({"new": np.ones((1, 3), np.float32)}, 5)


def test_one_reader_looks_and_the_others_go_on_meanwhile(plan, tmp_path, models, monkeypatch):
    with opened(plan, tmp_path / "plan.json", models) as migration:
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        before = search.standing()
        inside, go_on, looks = threading.Event(), threading.Event(), []
        looked = search._looked

        def slowly(known):
            looks.append(known)
            inside.set()
            assert go_on.wait(30)
            return looked(known)

        monkeypatch.setattr(search, "_looked", slowly)
        migration.run()
        thread = threading.Thread(target=search.standing)
        thread.start()
        assert inside.wait(30)
        # answered, by what was known, while the other looks
        assert search.standing() is before
        assert (search([text_of(3)], 3).ids != -1).all()
        assert len(looks) == 1
        go_on.set()
        thread.join()
        assert search._standing is not None
        assert search._standing[1].state == State.FULL
