"""A migration from beginning to end on every kind of store, refused where it must be."""

from __future__ import annotations

import re
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.databases import url_of
from tests.migrate.conftest import (
    KINDS,
    NEW_DIM,
    OLD_DIM,
    N,
    encoder,
    filled,
    opened,
    plan_of,
    reading,
    state_of,
    text_of,
)

from isthmus.encoders import CallableEncoder
from isthmus.encoders.retry import Refused
from isthmus.errors import (
    GateError,
    InputError,
    ModelChangedError,
    ServiceError,
    StoreChangedError,
    UnsupportedError,
    WrongSpaceError,
)
from isthmus.migrate import Limits, LiveSearch, Migration, Models, State
from isthmus.migrate.backfill import Backfill, Swept
from isthmus.migrate.filling import pause_file
from isthmus.migrate.opening import open_planned
from isthmus.migrate.plan import AskedQueries
from isthmus.stores import Index, open_store
from isthmus.stores.beside import BesideStore, holder_of, version_of
from isthmus.stores.pgvector import indexes

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def unit(row: bytes) -> np.ndarray:
    found = np.frombuffer(row, np.float32).astype(np.float64)
    return found / np.linalg.norm(found)


def check_new(url, models, ids):
    """Every item has the true new vector of its text, and nothing else has one."""
    held = state_of(url)
    assert set(held["new"]) == set(ids) == set(held["text"])
    names = sorted(ids)
    rows = models.new.encode([held["text"][i] for i in names])
    for name, row in zip(names, rows, strict=True):
        np.testing.assert_allclose(unit(held["new"][name]), unit(row.tobytes()), atol=1e-6)


def test_from_the_plan_to_the_way_back(url, path, models):
    before = state_of(url)
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=25)) == State.FULL
        status = migration.status()
        assert (status.filled, status.count, status.encoded) == (N, N, N)
        assert status.money == pytest.approx(sum(len(text_of(i)) for i in range(N)) / 4e6, rel=1e-9)
        assert migration.store.alias(plan.target.alias) == plan.target.alias_old
    check_new(url, models, range(N))
    assert state_of(url)["vector"] == before["vector"]
    with opened(plan, path, models) as migration:
        gain = migration.cut_over()
        assert gain is not None
        assert migration.store.alias(plan.target.alias) == plan.target.alias_new
        assert migration.state == State.CUT_OVER
    with opened(plan, path, models) as migration:
        restored = migration.rollback()
        assert restored.untouched == N
        assert restored.encoded == restored.mapped == restored.deleted == restored.added == 0
        assert migration.store.alias(plan.target.alias) == plan.target.alias_old
        assert (migration.status().filled, migration.status().encoded) == (0, N)
    with opened(plan, path, models) as migration:
        told = migration.status()
        # what it has cost is not undone
        assert (told.encoded, told.money, told.seconds_left) == (N, status.money, None)
    after = state_of(url)
    assert after["vector"] == before["vector"]
    assert "new" not in after


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_known_by_what_is_written(request, tmp_path, path, models, kind):
    """The same letters in two ways of writing are two items, and each gets its vector."""
    ids = [f"{word} {i}" for i in range(6) for word in ("caf\u00e9", "cafe\u0301")]
    url = filled(url_of(kind, tmp_path, request), models, ids=ids)
    before = state_of(url)
    plan = plan_of(url, models, queries=AskedQueries())
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=5)) == State.FULL
    check_new(url, models, ids)
    with opened(plan, path, models) as migration:
        migration.cut_over()
        migration.rollback()
    assert state_of(url)["vector"] == before["vector"]


def test_rows_that_come_change_and_go_are_followed(url, path, models):
    plan = plan_of(url, models)
    new = [text_of(1000 + i) for i in range(3)]
    with opened(plan, path, models) as migration:
        migration.run()
        store = migration.store
        store.add(
            np.array([1000, 1001, 1002]), {"vector": models.old.encode(new)},
            {"text": new, "rank": [0, 0, 0]},
        )  # fmt: skip
        edited = [text_of(5, edition=1)]
        store.add(np.array([5]), {"vector": models.old.encode(edited)},
                  {"text": edited, "rank": [5]})  # fmt: skip
        store.delete(np.array([7, 8]))
    ids = [i for i in range(N) if i not in (7, 8)] + [1000, 1001, 1002]
    with opened(plan, path, models) as migration:
        assert migration.run(resume=True) == State.FULL
        check_new(migration.store, models, ids)
        store = migration.store
        # behind the run's back, before the cut-over
        more = [text_of(2000)]
        store.add(np.array([2000]), {"vector": models.old.encode(more)},
                  {"text": more, "rank": [1]})  # fmt: skip
        migration.cut_over()
    check_new(url, models, [*ids, 2000])


@pytest.mark.parametrize("late", [[], [3000]], ids=["nobody writes", "a row"])
def test_what_is_written_just_before_the_swap_is_followed_and_nothing_else_is_read_again(
    url, path, models, monkeypatch, late
):
    plan = plan_of(url, models)
    passes: list[int] = []
    real = Backfill.sweep

    def counted(work: Backfill) -> Swept:
        passes.append(1)
        return real(work)

    monkeypatch.setattr(Backfill, "sweep", counted)
    with opened(plan, path, models) as migration:
        migration.run()
        store = migration.store
        counts_versions = version_of(store, "vector") is not None
        assert counts_versions == url.startswith("lancedb")
        passes.clear()
        swap = store.swap_alias

        def write_and_swap(*names):
            texts = [text_of(i) for i in late]
            if late:
                store.add(np.array(late), {"vector": models.old.encode(texts)},
                          {"text": texts, "rank": late})  # fmt: skip
            swap(*names)

        monkeypatch.setattr(store, "swap_alias", write_and_swap)
        migration.cut_over()
        # one pass before the swap; behind it another, and one that finds nothing
        assert len(passes) == (3 if late else 1 if counts_versions else 2)
        check_new(store, models, [*range(N), *late])


def test_an_edit_behind_the_back_of_the_store_is_followed(url, path, models):
    """The text changes and both vectors stay: only what a vector was made from can tell."""
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        text = text_of(5, edition=1)
        rows = {c: migration.store.fetch(np.array([5]), column=c).vectors
                for c in ("vector", "new")}  # fmt: skip
        first = getattr(migration.store, "first", None)
        if first is None:
            migration.store.add(np.array([5]), rows, {"text": [text], "rank": [5]})
        else:
            first.add(np.array([5]), {"vector": rows["vector"]}, {"text": [text], "rank": [5]})
        assert migration.run(resume=True) == State.FULL
        assert migration.status().encoded == N + 1
    check_new(url, models, range(N))


@pytest.mark.parametrize("kind", ["lancedb", "postgresql"])
def test_new_vectors_get_the_index_of_the_old_ones(request, tmp_path, path, models, kind):
    url = filled(url_of(kind, tmp_path, request), models, 300)
    options = (("m", "6"), ("ef_construction", "40"), ("num_bits", "8"))
    like = Index("IvfHnswSq", options) if kind == "lancedb" else Index("hnsw", options[:1])
    with open_store(url) as store:
        store.build_index("vector", like)
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=50, share=0.5)) == State.FILLING
        assert migration.store.index_of("new") is None
        assert migration.run(resume=True) == State.FULL
        assert migration.store.index_of("new") == like
        assert f"index of the new vectors: {like}, built in" in str(migration.status())
        migration.cut_over()
        seen = migration.store.search(models.new.encode([text_of(7)]), 1, column="new")
        assert seen.ids.tolist() == [[7]]
        assert migration.rollback().untouched == 300


def test_an_index_that_cannot_be_is_told(request, tmp_path, path, models, monkeypatch):
    url = filled(url_of("postgresql", tmp_path, request), models, N)
    with open_store(url) as store:
        store.build_index("vector", Index("hnsw"))
    plan = plan_of(url, models)
    monkeypatch.setattr(indexes, "_INDEX_DIMS", {False: NEW_DIM - 1, True: NEW_DIM - 1})
    with opened(plan, path, models) as migration:
        assert migration.run() == State.FULL
        assert "index of the new vectors: none, an index takes" in str(migration.status())


def test_rows_since_the_cut_over_have_an_old_vector_after_the_way_back(url, path, models):
    plan = plan_of(url, models)
    before = state_of(url)
    with opened(plan, path, models) as migration:
        migration.run()
        migration.cut_over()
        store = migration.store
        added, edited = text_of(3000), text_of(9, edition=2)
        second, column = holder_of(store, "new")
        # an application of the new model alone, on the collection that the alias stands for
        for name, text in ((3000, added), (9, edited)):
            second.add(
                np.array([name]), {column: models.new.encode([text])},
                {"text": [text], "rank": [name]},
            )  # fmt: skip
        second.delete(np.array([11]))
    with opened(plan, path, models) as migration:
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        assert search([added, edited], 1).ids.tolist() == [[3000], [9]]
        restored = migration.rollback()
    assert restored.added == 1
    assert restored.encoded + restored.written >= 1
    after = state_of(url)
    assert set(after["vector"]) == {*range(N), 3000} - {11}
    for name, text in ((3000, added), (9, edited)):
        assert after["text"][name] == text
        np.testing.assert_allclose(
            unit(after["vector"][name]), unit(models.old.encode([text])[0].tobytes()), atol=1e-6
        )
    untouched = set(range(N)) - {9, 11}
    assert all(after["vector"][i] == before["vector"][i] for i in untouched)


@pytest.mark.parametrize("written", [None, "old", "new"])
def test_only_what_was_written_to_is_looked_through_before_the_swap(
    lance, path, models, monkeypatch, written
):
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.run()
        migration.cut_over()
    with opened(plan, path, models) as migration:
        store = migration.store
        collection, model = {
            "old": (store.first, models.old),
            "new": (store.second.store, models.new),
        }[written or "old"]
        if written is not None:
            text = text_of(9, edition=2)
            collection.add(
                np.array([9]), {collection.column: model.encode([text])},
                {"text": [text], "rank": [9]},
            )  # fmt: skip
        looked: list[str] = []
        for name in ("differing", "lacking_ids"):
            real = getattr(BesideStore, name)

            def watched(self, *given, name=name, real=real):
                if self.alias(plan.target.alias) == plan.target.alias_new:
                    looked.append(name)
                return real(self, *given)

            monkeypatch.setattr(BesideStore, name, watched)
        restored = migration.rollback()
    expected = {None: [], "old": ["lacking_ids"], "new": ["differing", "lacking_ids"]}[written]
    assert sorted(set(looked)) == expected
    assert restored.untouched == N - (written is not None)


def test_the_old_vectors_are_served_before_they_are_proven(url, path, models):
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        migration.cut_over()

        class Killed(Exception):
            pass

        def told(stage, _done, _of):
            if stage == "restoring":
                raise Killed

        migration.progress = told
        with pytest.raises(Killed):
            migration.rollback()
    with opened(plan, path, models) as migration:
        store = migration.store
        assert store.alias(plan.target.alias) == plan.target.alias_old
        with pytest.raises(StoreChangedError, match="a rollback was begun"):
            migration.clean(drop_old=True)
        # the application is on the old vectors again, and what it writes is not undone
        text = text_of(9, edition=3)
        vector = models.old.encode([text])
        store.add(np.array([9]), {"vector": vector}, {"text": [text], "rank": [1]})
        restored = migration.rollback()
        assert (restored.untouched, restored.written, restored.encoded) == (N - 1, 1, 0)
        assert restored.seconds is not None
    after = state_of(url)
    assert after["text"][9] == text
    np.testing.assert_allclose(unit(after["vector"][9]), unit(vector[0].tobytes()), atol=1e-6)
    assert "new" not in after


def test_a_run_that_was_paused_goes_on(lance, path, models):
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=10, share=0.5)) == State.FILLING
        assert 30 <= migration.status().filled < N
        assert "--until" in (migration.status().paused or "")
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(max_money=0), resume=True) == State.FILLING
        assert "money" in (migration.status().paused or "")

        class Pausing:
            name, revision, dim = models.new.name, models.new.revision, models.new.dim

            def encode(self, texts, *, kind="document", progress=None):
                pause_file(path).touch()
                return models.new.encode(texts)

        migration.models = replace(migration.models, new=Pausing())
        migration.plan = migration.plan
        assert migration.run(Limits(batch=5), resume=True) == State.FILLING
        assert "pause" in (migration.status().paused or "")
    with opened(plan, path, models) as migration:
        with pytest.raises(StoreChangedError, match="not full"):
            migration.cut_over()
        assert migration.run(Limits(rate=1e6), resume=True) == State.FULL
        assert migration.status().encoded == N
    check_new(lance, models, range(N))


@pytest.mark.parametrize("kind", ["lancedb", "parquet"])
@pytest.mark.parametrize("how", ["pause", "until"])
def test_a_run_that_waits_for_its_rate_heeds_what_asks_it_to_stop(
    request, tmp_path, path, models, kind, how
):
    plan = plan_of(filled(url_of(kind, tmp_path, request), models, N), models)
    asked = threading.Timer(1.0, pause_file(path).touch)
    began = time.monotonic()
    with opened(plan, path, models) as migration:
        if how == "pause":
            asked.start()
        until = 2.0 if how == "until" else None
        assert migration.run(Limits(rate=0.02, seconds=until)) == State.FILLING
        assert how in (migration.status().paused or "")
    asked.cancel()
    assert time.monotonic() - began < 15


def test_a_rate_is_met_evenly(lance, path, models):
    plan = plan_of(lance, models)
    sent: list[tuple[float, int]] = []

    class Noting:
        name, revision, dim = models.new.name, models.new.revision, models.new.dim

        def encode(self, texts, *, kind="document", progress=None):
            sent.append((time.monotonic(), len(texts)))
            return models.new.encode(texts)

    with opened(plan, path, replace(models, new=Noting())) as migration:
        assert migration.run(Limits(rate=4)) == State.FULL
    # with each batch a text of the plan is encoded again
    assert [size for _, size in sent[-3:]] == [21, 21, 21]
    gaps = np.diff([at for at, _ in sent[-3:]])
    assert ((gaps > 4) & (gaps < 7)).all(), gaps
    check_new(lance, models, range(N))


def test_popular_items_come_first(lance, path, models):
    plan = plan_of(lance, models, popular=(41, 3, 12), order=("popularity", "scan"))
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=3, share=0.05))
        held = state_of(migration.store)
        assert set(held["new"]) == {41, 3, 12}
        assert migration.run(resume=True) == State.FULL
    check_new(lance, models, range(N))


def test_a_partial_cut_over_leaves_the_alias(lance, path, models):
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=10, share=0.5))
        migration.cut_over(partial=True)
        assert migration.state == State.CUT_OVER
        assert migration.store.alias(plan.target.alias) == plan.target.alias_old
        with pytest.raises(StoreChangedError, match="wholly"):
            migration.clean()
        search = LiveSearch(plan, migration.store, new=models.new, old=models.old, refresh=0)
        assert search.way().joins
        with pytest.raises(StoreChangedError, match="cut over in part, not full") as told:
            migration.cut_over(partial=True)
        assert "migrate resume" in str(told.value)
        assert "--partial" not in str(told.value)
        migration.rollback()


@pytest.mark.parametrize("kind", ["lancedb", "postgresql"])
def test_after_a_partial_cut_over_what_is_said_to_work_works(request, tmp_path, path, models, kind):
    url = filled(url_of(kind, tmp_path, request), models, N)
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=10, share=0.5))
        migration.cut_over(partial=True)
        assert migration.in_part
        with pytest.raises(StoreChangedError, match="resume, or back with isthmus migrate rollb"):
            migration.clean()
        # again in part, then all of it
        assert migration.run(Limits(batch=10, share=0.7), resume=True) == State.FILLING
        migration.cut_over(partial=True)
        assert migration.run(resume=True) == State.FULL
        migration.cut_over()
        assert not migration.in_part
        assert migration.store.alias(plan.target.alias) == plan.target.alias_new
        with pytest.raises(StoreChangedError, match="over: it is cut over.*nothing to cut over"):
            migration.cut_over()
    check_new(url, models, range(N))
    with opened(plan, path, models) as migration:
        assert migration.rollback().untouched == N


def test_after_cleaning_there_is_no_way_back(url, path, models):
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        with pytest.raises(StoreChangedError, match="wholly"):
            migration.clean()
        migration.cut_over()
        before = migration.status()
        beside = isinstance(migration.store, BesideStore)
        if beside:
            with pytest.raises(UnsupportedError, match="cannot be dropped alone"):
                migration.clean(drop_old=True)
            assert migration.status() == before
        migration.clean(drop_old=not beside)
        with pytest.raises(StoreChangedError, match="no way back"):
            migration.rollback()
        with pytest.raises(StoreChangedError, match="over"):
            migration.run(resume=True)
        search = LiveSearch(plan, migration.store, new=models.new, refresh=0)
        assert search([text_of(3)], 1).ids.tolist() == [[3]]
        after = migration.status()
    # as a process of its own finds it
    with open_planned(plan, url if beside else f"{url}.vector") as store:
        assert ("vector" in store.describe().columns) == beside
        migration = Migration(plan, path, store, models)
        assert replace(migration.status(), journal=after.journal) == after
        assert (after.state, after.filled, after.encoded) == (State.CLEANED, N, N)
        assert (before.encoded, before.money) == (after.encoded, after.money)
        search = LiveSearch(plan, migration.store, new=models.new, refresh=0)
        assert search([text_of(3)], 1).ids.tolist() == [[3]]


def test_a_column_that_somebody_else_dropped_is_not_taken_for_cleaned(
    request, tmp_path, path, models
):
    url = filled(url_of("postgresql", tmp_path, request), models, N)
    plan = plan_of(url, models)
    with opened(plan, path, models) as migration:
        migration.run()
        migration.cut_over()
        migration.clean()
        migration.store.drop_column("vector")
    with pytest.raises(InputError, match="vector"), open_planned(plan) as store:
        Migration(plan, path, store, models)
    with pytest.raises(InputError, match="'vector'"), open_planned(plan, f"{url}.vector"):
        pass


# -- refused, and nothing half-done --------------------------------------------------------------


def refused(plan, path, models, error, match, *, resume=False, **options):
    before = state_of(plan.target.store)
    with pytest.raises(error, match=match), opened(plan, path, models, **options) as migration:
        migration.run(resume=resume)
    after = state_of(plan.target.store)
    assert before == after


def test_a_second_run_a_copy_and_another_folder(lance, path, models, tmp_path):
    plan = plan_of(lance, models)
    refused(plan, path, models, InputError, "nothing to resume", resume=True)
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=10, share=0.3))
        with (
            migration._claim.at_work(),
            pytest.raises(StoreChangedError, match="at work"),
            opened(plan, path, models) as second,
        ):
            second.run(resume=True)
    refused(plan, path, models, StoreChangedError, "begun before")
    (tmp_path / "elsewhere").mkdir()
    other = tmp_path / "elsewhere" / "plan.json"
    for _ in range(2):  # neither the refusal nor a look at it makes that folder the home
        refused(plan, other, models, StoreChangedError, "is run from", resume=True)
        with opened(plan, other, models) as copy:
            assert copy.status().state == State.FILLING
            with pytest.raises(StoreChangedError, match="is run from"):
                copy.rollback()
    changed = plan.model_copy(update={"verdict": "another"}).signed()
    refused(changed, tmp_path / "p2.json", models, StoreChangedError, "another migration")
    with opened(plan, other, models, take_over=True) as migration:
        assert migration.run(resume=True) == State.FULL
    with opened(plan, other, models) as migration:  # it was taken over from here
        assert migration.run(resume=True) == State.FULL
    with opened(plan, path, models) as migration:
        migration.cut_over()
    refused(plan, path, models, StoreChangedError, "is over", resume=True)


def test_what_a_store_that_was_restored_is_told_to_do_works(lance, path, models, tmp_path):
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=10, share=0.4))
    folder = Path(lance.removeprefix("lancedb://").partition("#")[0])
    shutil.copytree(folder, tmp_path / "backup")
    with opened(plan, path, models) as migration:
        migration.run(resume=True)
        migration.cut_over()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "backup", folder)
    parted = pytest.raises(StoreChangedError, match="they part at entry")
    with parted as told, opened(plan, path, models):
        pass
    (copy,) = re.findall(r"remove (\S+) and look", str(told.value))
    Path(copy).unlink()
    with opened(plan, path, models) as migration:
        assert migration.status().state == State.FILLING
        assert migration.run(resume=True) == State.FULL
    check_new(lance, models, range(N))


def test_rows_that_had_no_vector_at_first_are_neither_new_nor_gone(lance, path, models):
    import lancedb

    database = lancedb.connect(lance.removeprefix("lancedb://").partition("#")[0])
    rows = database.open_table("docs").to_arrow()
    bare = [row | ({"vector": None} if row["id"] in (3, 40) else {}) for row in rows.to_pylist()]
    database.create_table("docs", bare, rows.schema, mode="overwrite", on_bad_vectors="null")
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.run()
        migration.cut_over()
        restored = migration.rollback()
    told = restored.untouched, restored.encoded, restored.added, restored.deleted, restored.written
    assert told == (N - 2, 2, 0, 0, 0)


@pytest.mark.parametrize("cut", [False, True])
def test_a_collection_that_was_made_anew_at_another_width(lance, path, models, cut):
    import lancedb

    database = lancedb.connect(lance.removeprefix("lancedb://").partition("#")[0])
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.run()
        if cut:
            migration.cut_over()
    rows = [{"id": i, "vector": [1.0] * (OLD_DIM + 1), "text": text_of(i)} for i in range(9)]
    database.create_table("docs", rows, mode="overwrite")
    told = "made anew since. .* isthmus migrate " + ("clean" if cut else "rollback")
    with opened(plan, path, models) as migration:
        assert migration.status().state == (State.CUT_OVER if cut else State.FULL)
        for refused in (lambda: migration.run(resume=True), migration.cut_over):
            with pytest.raises(StoreChangedError, match=told):
                refused()
        if cut:
            with pytest.raises(StoreChangedError, match=told):
                migration.rollback()
            migration.clean()
        else:
            assert migration.rollback().left_alone == 9
        assert migration.store.alias(plan.target.alias) == ("docs__new" if cut else "docs")
    # what applications read is left; of what nobody read nothing is
    assert ("docs__new" in database.table_names()) is cut
    assert database.open_table("docs").count_rows() == 9


def test_wrong_encoders(lance, path, models):
    plan = plan_of(lance, models)
    for wrong, match in (
        (Models(encoder(NEW_DIM + 1, 2, "wider"), models.old), "dimensions"),
        (Models(encoder(NEW_DIM, 77, "other"), models.old), "not the new model"),
        (Models(models.new, encoder(OLD_DIM, 78, "wrong")), "not those of wrong"),
    ):
        refused(plan, path, wrong, WrongSpaceError, match)
        # nothing was begun that another plan would have to wait for
        with opened(plan, path, models) as migration:
            assert (migration.state, migration.journal.entries) == (None, [])
    with opened(plan, path, models) as migration:
        migration.run(Limits(batch=10, share=0.3))
    for wrong in (Models(encoder(NEW_DIM, 77, "other")), Models(models.new, encoder(8, 78, "w"))):
        refused(plan, path, wrong, WrongSpaceError, "not the new model|not those of w", resume=True)
    other = plan.model_copy(update={"verdict": "another"}).signed()
    refused(other, path.with_name("b.json"), models, StoreChangedError, "another migration")


def test_a_migration_that_did_nothing_yet_tells_so_on_its_way_back(url, path, models):
    plan = plan_of(url, models)
    before = state_of(url)

    class Killed(Exception):
        pass

    def told(stage, _done, _of):
        raise Killed

    for number in range(2):
        with opened(plan, path.with_name(f"{number}.json"), models) as migration:
            if number:  # killed before it was prepared; of some items more is known
                migration.progress = told
            else:
                migration._prepare = lambda: told("", 0, 0)
            with pytest.raises(Killed):
                migration.run()
        with opened(plan, path.with_name(f"{number}.json"), models) as migration:
            restored = migration.rollback()
        assert (restored.left_alone, restored.untouched, restored.added) == (N, 0, 0)
        assert str(restored) == "nothing had been done to the 60 items yet"
        assert state_of(url) == before
        plan = plan.model_copy(update={"verdict": "another"}).signed()


def test_a_store_that_is_in_the_new_space_already(request, tmp_path, path, models):
    swapped = Models(encoder(OLD_DIM, 1, "old model"), models.old)
    url = filled(url_of("lancedb", tmp_path, request), models, N)
    plan = plan_of(url, models)
    target = plan.target.model_copy(update={"new_dim": OLD_DIM})
    plan = plan.model_copy(update={"target": target, "canaries": type(plan.canaries)()}).signed()
    refused(plan, path, swapped, WrongSpaceError, "already")


def test_a_plan_for_another_store(lance, path, models, request, tmp_path):
    plan = plan_of(lance, models)
    other = filled(f"lancedb://{tmp_path}/db#others", models, 5)
    with open_store(other) as store, pytest.raises(InputError, match="the plan was made for"):
        Migration(plan, path, store, models)


def test_a_table_of_the_same_name_that_is_found_before_the_plans(request, path, models, postgres):
    import psycopg

    url = filled(url_of("postgresql", None, request), models, 5)
    plan, name = plan_of(url, models), url.partition("#")[2]
    with psycopg.connect(postgres, autocommit=True) as sql:
        sql.execute("create schema postgres")
        try:
            sql.execute(f"create table postgres.{name} (like public.{name} including all)")
            with open_store(url) as store, pytest.raises(InputError, match=rf"postgres\.{name}"):
                Migration(plan, path, store, models)
        finally:
            sql.execute("drop schema postgres cascade")


def test_a_column_that_somebody_filled(lance, path, models):
    plan = plan_of(lance, models)
    with opened(plan, path, models) as migration:
        migration.store.put(np.arange(3), np.ones((3, NEW_DIM), np.float32), column="new")
    refused(plan, path, models, InputError, "holds 3 vectors already")


def test_an_alias_that_somebody_moved(lance, path, models):
    plan = plan_of(lance, models)
    with open_store(lance) as store:
        store.swap_alias(plan.target.alias, None, "docs.elsewhere")
    refused(plan, path, models, StoreChangedError, "stands for 'docs.elsewhere'")


def test_an_encoder_that_fails_now_and_then(lance, path, models):
    calls = 0

    def flaky(texts):
        nonlocal calls
        calls += 1
        if calls % 5 != 0 and calls > 2:
            raise ConnectionError("no answer")
        return reading(NEW_DIM, 2)(texts)

    plan = plan_of(lance, models)
    failing = Models(CallableEncoder(flaky, name="new model", revision="2", dim=NEW_DIM), None)
    with opened(plan, path, failing) as migration:
        migration.run(Limits(batch=20, first_delay=0, attempts=8))
        assert migration.state == State.FULL
    check_new(lance, models, range(N))


@pytest.mark.parametrize("fault", ["nan", "width", "zero", "refused", "always"])
def test_an_encoder_that_gives_what_cannot_be_stored(lance, path, models, fault):
    calls = 0

    def broken(texts):
        nonlocal calls
        calls += 1
        rows = reading(NEW_DIM, 2)(texts)
        if calls > 3:
            if fault == "always":
                raise ConnectionError("no answer")
            if fault == "refused":
                raise Refused(f"the text '{texts[0]}': the server answered 400")
            if fault == "nan":
                rows[0, 0] = np.nan
            elif fault == "zero":
                rows[0] = 0
            else:
                rows = rows[:, :-1]
        return rows

    plan = plan_of(lance, models)
    broken_models = Models(
        CallableEncoder(broken, name="new model", revision="2", dim=NEW_DIM), models.old
    )
    with opened(plan, path, broken_models) as migration:
        limits = Limits(batch=10, first_delay=0, attempts=3)
        if fault == "always":
            assert migration.run(limits) == State.FILLING
            assert "failed 3 times" in (migration.status().paused or "")
        else:
            # it says which item, or text, and is not tried again
            told = r"item '\d+' is zero" if fault == "zero" else "|".join(map(text_of, range(N)))
            width = fault == "width"
            with pytest.raises((InputError, Refused), match="shape" if width else told):
                migration.run(limits)
            assert calls == 4
    kept = len(state_of(lance).get("new", {}))
    assert kept < N
    with opened(plan, path, models) as migration:
        assert migration.run(resume=True) == State.FULL
    check_new(lance, models, range(N))


def test_an_item_without_text_is_named(lance, path, models):
    plan = plan_of(lance, models)
    with open_store(lance) as store:
        store.add(np.array([77]), {"vector": np.ones((1, OLD_DIM), np.float32)},
                  {"text": [" "], "rank": [0]})  # fmt: skip
    with opened(plan, path, models) as migration:
        with pytest.raises(InputError, match="no text to encode, the first '77'"):
            migration.run()
        migration.store.delete(np.array([77]))
        assert migration.run(resume=True) == State.FULL


def test_a_finish_below_the_old_model_is_refused(lance, path, models):
    plan = plan_of(lance, models)
    far = plan.queries.model_copy(update={"texts": tuple(text_of(900 + i) for i in range(12))})
    plan = plan.model_copy(update={"queries": far}).signed()
    # without the old model, what it reached before is what counts
    alone = Models(models.new)
    with opened(plan, path, alone) as migration:
        migration.run()
        with pytest.raises(GateError, match="measured below the old one"):
            migration.cut_over()
        assert migration.state == State.FULL
        assert migration.store.alias(plan.target.alias) == plan.target.alias_old
        assert migration.status().quality[0]["new"] < 1


def test_a_bridge_that_was_changed_is_refused(lance, path, models, tmp_path):
    from isthmus.migrate.plan import Artefact

    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "bridge.json").write_text("{}")
    plan = plan_of(lance, models, bridge=Artefact.at(tmp_path / "b", "query"))
    (tmp_path / "b" / "bridge.json").write_text("{ }")
    with (
        opened(plan, path, models) as migration,
        pytest.raises(InputError, match="not the one that was planned with"),
    ):
        migration.run()
    with opened(plan_of(lance, models), path, models) as migration:  # another one may begin
        assert migration.run() == State.FULL


@pytest.mark.parametrize("share", [0.2, 0.6])
def test_an_encoder_that_fails_a_share_of_its_calls(lance, path, models, share):
    rng = np.random.default_rng(0)

    def failing(texts):
        if rng.random() < share:
            raise ConnectionError("no answer")
        return reading(NEW_DIM, 2)(texts)

    plan = plan_of(lance, models)
    found = Models(CallableEncoder(failing, name="new model", revision="2", dim=NEW_DIM), None)
    limits = Limits(batch=10, first_delay=0, attempts=3)
    state = None
    for number in range(100):
        with opened(plan, path, found) as migration:
            try:
                state = migration.run(limits, resume=migration.state is not None)
            except ServiceError:  # before the first batch: nothing was begun that cannot go on
                assert number < 50
        if state == State.FULL:
            break
    assert state == State.FULL
    check_new(lance, models, range(N))


def test_another_model_that_answers_in_the_midst_of_a_run_writes_nothing(lance, path, models):
    calls = 0

    def changing(texts):
        nonlocal calls
        calls += 1
        return reading(NEW_DIM, 2 if calls <= 3 else 77)(texts)

    plan = plan_of(lance, models)
    found = Models(CallableEncoder(changing, name="new model", revision="2", dim=NEW_DIM), None)
    with (
        opened(plan, path, found) as migration,
        pytest.raises(ModelChangedError, match="another model answers"),
    ):
        migration.run(Limits(batch=10, first_delay=0))
    held = state_of(lance)
    assert 0 < len(held["new"]) < N
    for name, row in held["new"].items():
        (true,) = models.new.encode([held["text"][name]])
        np.testing.assert_allclose(unit(row), unit(true.tobytes()), atol=1e-6)
    with opened(plan, path, models) as migration:
        assert migration.run(resume=True) == State.FULL
    check_new(lance, models, range(N))


def test_a_run_of_so_many_seconds_does_not_ask_the_clock_of_the_day(
    lance, path, models, monkeypatch
):
    plan = plan_of(lance, models)
    monkeypatch.setattr("time.time", lambda: 0.0)
    with opened(plan, path, models) as migration:
        assert migration.run(Limits(batch=5, seconds=0)) == State.FILLING
        assert "--until" in (migration.status().paused or "")
        assert migration.run(Limits(seconds=600), resume=True) == State.FULL
