"""What every store must do: one suite, run on each of them by a class that says how to make one."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from isthmus.errors import InputError, StoreChangedError, UnsupportedError
from isthmus.evaluate.search import top_k
from isthmus.stores import Store

DIM = 8
UNICODE = [
    "Ελλάδα", "naïve café", "北京", "emoji 🦉", "quote ' \" ; --", "a/b\\c", "x" * 200,
    "cafe\u0301, as macOS writes it", "\u1112\u1161\u11ab",
]  # fmt: skip

Make = Callable[..., Store]
"""``make(ids, vectors, payload=None, metric="cosine", dtype="float32")``: a store that holds them,
with the columns of ``vectors``, a mapping of names to arrays."""


def gaussian(n: int, dim: int = DIM, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


def ids_of(kind: str, n: int) -> np.ndarray:
    if kind == "int":
        return np.arange(n, dtype=np.int64) * 7 - 3
    if kind == "uuid":
        return np.array([str(uuid.UUID(int=(i * 2**100 + i) % 2**128)) for i in range(n)])
    if kind == "unicode":
        return np.array([f"{UNICODE[i % len(UNICODE)]}{i}" for i in range(n)])
    return np.array([f"doc-{i:06d}" for i in range(n)])


def read_all(store: Store, **options: Any) -> dict[str, Any]:
    """Everything that a scan yields, joined."""
    batches = list(store.scan(**options))
    return {
        "ids": np.concatenate([b.ids for b in batches]) if batches else np.empty(0, np.str_),
        "vectors": [b.vectors for b in batches],
        "payload": [b.payload for b in batches],
        "cursors": [b.cursor for b in batches],
        "sizes": [len(b) for b in batches],
    }


class Conformance:
    """Subclasses give the fixture ``make`` and may change what a store declares it cannot keep."""

    second_column = True
    writable = True
    aliases = True
    stored_normalised = False
    rounded = False
    column = "vec"

    @pytest.fixture(params=["int", "str", "uuid", "unicode"])
    def kind(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def made(self, make: Make, n: int, kind: str = "str", **options: Any) -> Any:
        ids, rows = ids_of(kind, n), gaussian(n)
        payload = {
            "text": [f"text of {i}" for i in range(n)],
            "rank": list(range(n)),
        }
        return make(ids, {self.column: rows}, payload=payload, **options), ids, rows

    def same(self, found: np.ndarray, put: np.ndarray) -> None:
        """What comes back is what was put, or its unit vector where the store says so."""
        if self.stored_normalised:
            put = put / np.linalg.norm(put, axis=1, keepdims=True)
            np.testing.assert_allclose(found, put, atol=2e-7)
        elif self.rounded:
            np.testing.assert_allclose(found, put, rtol=1e-6, atol=1e-7)
        else:
            np.testing.assert_array_equal(found, put)

    # -- what it says of itself ------------------------------------------------------------------

    def test_describes_itself(self, make: Make, kind: str):
        store, ids, _ = self.made(make, 5, kind)
        said = store.describe()
        assert (store.count(), store.filled(self.column)) == (5, 5)
        assert set(said.columns) == {self.column}
        column = said.column(self.column)
        assert (column.dim, column.dtype) == (DIM, "float32")
        assert column.metric == "cosine"
        assert column.stored_normalised is self.stored_normalised
        assert column.rounded is self.rounded
        assert said.key == ("int" if kind == "int" else said.key)
        assert (said.key == "int") is (ids.dtype.kind == "i")
        assert {"text", "rank"} <= set(said.fields)
        assert said.text_field == "text"
        assert said.has_texts
        assert store.column == self.column
        assert said.capabilities.second_column is self.second_column
        assert said.capabilities.aliases is self.aliases

    def test_no_rows(self, make: Make):
        store = make(np.empty(0, np.str_), {self.column: np.empty((0, DIM), np.float32)})
        assert store.count() == 0
        assert store.filled(self.column) == 0
        assert list(store.scan(column=self.column)) == []
        hits = store.search(gaussian(2), 3, column=self.column)
        assert hits.ids.shape == hits.scores.shape == (2, 3)
        assert not hits.found.any()

    def test_one_row(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 1, kind)
        hits = store.search(rows, 3, column=self.column)
        assert hits.found.tolist() == [[True, False, False]]
        assert hits.ids[0, 0] == ids[0]
        assert hits.scores[0, 0] == pytest.approx(1, abs=1e-5)
        assert hits.scores.dtype == np.float32
        (batch,) = store.scan(column=self.column)
        self.same(batch.vectors, rows)

    def test_texts_that_are_gone_are_a_fact(self, make: Make):
        store = make(ids_of("str", 3), {self.column: gaussian(3)}, payload=None)
        assert store.describe().text_field is None
        assert not store.describe().has_texts
        with pytest.raises(InputError, match="holds no texts"):
            store.texts(ids_of("str", 1))

    # -- search ----------------------------------------------------------------------------------

    @pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
    def test_search_is_the_exact_one(self, make: Make, metric: str):
        ids, rows, queries = ids_of("str", 300), gaussian(300), gaussian(7, seed=1)
        store = make(ids, {self.column: rows}, metric=metric)
        assert store.describe().column(self.column).metric == metric
        hits = store.search(queries, 10, column=self.column)
        exact = top_k(queries, rows, 10, metric=metric)
        np.testing.assert_array_equal(hits.ids, ids[exact.indices])
        np.testing.assert_allclose(hits.scores, exact.scores, rtol=1e-4, atol=1e-5)
        assert (np.diff(hits.scores, axis=1) <= 0).all()

    def test_search_among_some(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 50, kind)
        some = np.concatenate([ids[[40, 3, 17, 22, 9]], ids_of(kind, 60)[55:]])
        hits = store.search(gaussian(3, seed=1), 8, column=self.column, only=some)
        exact = top_k(gaussian(3, seed=1), rows[[3, 9, 17, 22, 40]], 5)
        np.testing.assert_array_equal(hits.ids[:, :5], ids[[3, 9, 17, 22, 40]][exact.indices])
        assert hits.found.sum(axis=1).tolist() == [5, 5, 5]
        nothing = store.search(rows[:1], 2, column=self.column, only=ids[:0])
        assert not nothing.found.any()

    def test_more_than_there_are(self, make: Make):
        store, ids, rows = self.made(make, 4)
        hits = store.search(rows[:2], 10, column=self.column)
        assert hits.ids.shape == (2, 10)
        assert hits.found.sum(axis=1).tolist() == [4, 4]
        assert sorted(hits.ids[0, :4].tolist()) == sorted(ids.tolist())
        assert (hits.ids[:, 4:] == "").all()

    def test_ties_are_decided_the_same_way_every_time(self, make: Make):
        ids = ids_of("str", 40)
        rows = np.repeat(gaussian(4), 10, axis=0)
        store = make(ids, {self.column: rows})
        first = store.search(rows[:1], 10, column=self.column)
        assert set(first.ids[0]) == set(ids[:10])
        assert (first.scores == first.scores[0, 0]).all()
        assert first.ids[0].tolist() == sorted(first.ids[0].tolist())
        for _ in range(3):
            again = store.search(rows[:1], 10, column=self.column)
            np.testing.assert_array_equal(again.ids, first.ids)

    def test_no_queries(self, make: Make):
        store, _, _ = self.made(make, 3)
        hits = store.search(np.empty((0, DIM), np.float32), 2, column=self.column)
        assert hits.ids.shape == (0, 2)

    @pytest.mark.parametrize(
        ("queries", "message"),
        [
            (gaussian(2, DIM + 1), f"width {DIM + 1}.*has {DIM}"),
            (np.full((2, DIM), np.nan, np.float32), "row 0.*not finite"),
            (gaussian(2)[0], "shape"),
        ],
    )
    def test_refuses_queries_that_cannot_be(self, make: Make, queries, message):
        store, _, _ = self.made(make, 3)
        with pytest.raises(InputError, match=message):
            store.search(queries, 2, column=self.column)

    def test_refuses_a_k_below_one(self, make: Make):
        store, _, rows = self.made(make, 3)
        with pytest.raises(InputError, match="k is 0"):
            store.search(rows, 0, column=self.column)

    # -- reading ---------------------------------------------------------------------------------

    def test_round_trip_is_exact(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 30, kind)
        rows_found = store.fetch(ids[::-1], column=self.column)
        assert rows_found.present.all()
        np.testing.assert_array_equal(rows_found.ids, ids[::-1])
        self.same(rows_found.vectors, rows[::-1])
        whole = read_all(store, column=self.column, fields=["text", "rank"])
        order = np.argsort(whole["ids"])
        np.testing.assert_array_equal(whole["ids"][order], np.sort(ids))
        self.same(np.concatenate(whole["vectors"])[order], rows[np.argsort(ids)])
        ranks = [r for p in whole["payload"] for r in p["rank"]]
        assert [ids[r] for r in ranks] == whole["ids"].tolist()
        texts = [t for p in whole["payload"] for t in p["text"]]
        assert texts == [f"text of {r}" for r in ranks]

    def test_fetch_names_what_is_absent(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 5, kind)
        asked = np.concatenate([ids[[2]], ids_of(kind, 9)[8:], ids[[0]], ids[[2]]])
        found = store.fetch(asked, column=self.column)
        assert found.present.tolist() == [True, False, True, True]
        assert np.isnan(found.vectors[1]).all()
        self.same(found.vectors[[0, 2, 3]], rows[[2, 0, 2]])

    def test_an_id_is_what_is_written_and_nothing_else(self, make: Make):
        """Letters that look alike are two items; neither is taken for the other."""
        ids, rows = np.array(["caf\u00e9", "cafe\u0301", "plain"]), gaussian(3)
        store = make(ids, {self.column: rows}, payload={"text": ["a", "b", "c"]})
        assert sorted(read_all(store)["ids"].tolist()) == sorted(ids.tolist())
        self.same(store.fetch(ids, column=self.column).vectors, rows)
        assert store.texts(ids) == ["a", "b", "c"]
        assert store.search(rows[[1]], 1, column=self.column).ids.tolist() == [[ids[1]]]
        assert store.search(rows[[0]], 3, column=self.column, only=ids[[1]]).ids[0, 0] == ids[1]
        if self.writable:
            assert store.put(ids[[1]], rows[[2]], column=self.column) == 1
            self.same(store.fetch(ids, column=self.column).vectors, rows[[0, 2, 2]])
            assert store.delete(ids[[0]]) == 1
            assert store.fetch(ids, column=self.column).present.tolist() == [False, True, True]

    def test_payload_and_texts(self, make: Make, kind: str):
        store, ids, _ = self.made(make, 5, kind)
        asked = np.concatenate([ids[[3]], ids_of(kind, 9)[8:], ids[[1]]])
        assert store.texts(asked) == ["text of 3", None, "text of 1"]
        assert store.payload(asked, ["rank"]) == [{"rank": 3}, {}, {"rank": 1}]
        assert store.payload(asked)[0] == {"rank": 3, "text": "text of 3"}
        assert store.texts(asked[:0]) == []

    def test_a_scan_can_be_taken_up_anywhere(self, make: Make, kind: str):
        store, ids, _ = self.made(make, 23, kind)
        whole = read_all(store, column=self.column, batch=5)
        assert whole["sizes"] == [5, 5, 5, 5, 3]
        assert sorted(whole["ids"].tolist()) == sorted(ids.tolist())
        for i, cursor in enumerate(whole["cursors"]):
            rest = read_all(store, after=cursor, batch=4)
            assert rest["ids"].tolist() == whole["ids"][5 * (i + 1) :].tolist()

    def test_a_scan_without_a_column_reads_no_vectors(self, make: Make):
        store, ids, _ = self.made(make, 6)
        (batch,) = store.scan()
        assert batch.vectors is None
        assert batch.present is None
        assert dict(batch.payload) == {}
        assert sorted(batch.ids.tolist()) == sorted(ids.tolist())

    def test_unknown_names(self, make: Make):
        store, ids, rows = self.made(make, 3)
        asks: list[Callable[[], Any]] = [
            lambda: store.search(rows, 1, column="vex"),
            lambda: store.fetch(ids, column="vex"),
            lambda: list(store.scan(column="vex")),
            lambda: store.filled("vex"),
            lambda: store.describe().column("vex"),
        ]
        if self.writable:
            asks.append(lambda: store.put(ids, rows, column="vex"))
        for ask in asks:
            with pytest.raises(InputError, match="no vector column 'vex'.*Did you mean 'vec'"):
                ask()
        with pytest.raises(InputError, match="no payload field 'txt'.*Did you mean 'text'"):
            list(store.scan(fields=["txt"]))
        with pytest.raises(InputError, match="no payload field 'txt'"):
            store.payload(ids, ["txt"])

    def test_ids_of_the_wrong_kind(self, make: Make):
        store, _, _ = self.made(make, 3)
        with pytest.raises(InputError, match="integers.*'str'"):
            store.fetch(np.array([1, 2]), column=self.column)

    # -- writing ---------------------------------------------------------------------------------

    def test_put_changes_one_column_of_some_items(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 20, kind)
        new = gaussian(5, seed=3)
        for _ in range(2):  # twice is once
            assert store.put(ids[[4, 2, 11, 0, 19]], new, column=self.column) == 5
        expected = rows.copy()
        expected[[4, 2, 11, 0, 19]] = new
        self.same(store.fetch(ids, column=self.column).vectors, expected)
        assert store.texts(ids[[2]]) == ["text of 2"]
        assert store.count() == 20
        hits = store.search(new[:1], 1, column=self.column)
        assert hits.ids[0, 0] == ids[4]

    def test_put_makes_no_items(self, make: Make):
        store, ids, _ = self.made(make, 4)
        more = ids_of("str", 6)
        assert store.put(more[3:], gaussian(3, seed=2), column=self.column) == 1
        assert store.count() == 4
        assert not store.fetch(more[4:], column=self.column).present.any()
        assert store.put(ids[:0], gaussian(0), column=self.column) == 0

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda ids, rows: (ids[[0, 1, 0]], rows), "occurs twice"),
            (lambda ids, rows: (ids, gaussian(3, DIM + 2)), f"width {DIM + 2}"),
            (lambda ids, rows: (ids, rows[:2]), r"\(3, 8\)"),
            (lambda ids, rows: (ids, np.where(np.eye(3, DIM) > 0, np.inf, rows)), "not finite"),
            (lambda ids, rows: (ids, np.zeros((3, DIM), np.float32)), "zero vector"),
            (lambda ids, rows: (np.arange(3), rows), "integers"),
        ],
    )
    def test_what_cannot_be_put_changes_nothing(self, make: Make, change, message):
        store, ids, rows = self.made(make, 3)
        bad_ids, bad_rows = change(ids, gaussian(3, seed=5))
        for write in (
            lambda: store.put(bad_ids, bad_rows, column=self.column),
            lambda: store.add(bad_ids, {self.column: bad_rows}),
        ):
            with pytest.raises(InputError, match=message):
                write()
        self.same(store.fetch(ids, column=self.column).vectors, rows)

    def test_add_makes_and_replaces(self, make: Make, kind: str):
        store, _, rows = self.made(make, 4, kind)
        more = ids_of(kind, 6)
        new = gaussian(3, seed=4)
        store.add(more[[5, 1, 4]], {self.column: new}, {"text": ["f", "b", "e"], "rank": [5, 9, 4]})
        assert store.count() == 6
        found = store.fetch(more, column=self.column)
        self.same(found.vectors, np.stack([rows[0], new[1], rows[2], rows[3], new[2], new[0]]))
        assert store.texts(more[[1, 5, 0]]) == ["b", "f", "text of 0"]
        assert sorted(read_all(store)["ids"].tolist()) == sorted(more.tolist())

    def test_deleted_items_are_gone(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 10, kind)
        assert store.delete(ids[[2, 7]]) == 2
        assert store.delete(ids[[2]]) == 0
        assert store.count() == 8
        assert store.filled(self.column) == 8
        found = store.fetch(ids, column=self.column)
        assert np.flatnonzero(~found.present).tolist() == [2, 7]
        assert ids[2] not in store.search(rows[[2]], 8, column=self.column).ids
        assert store.put(ids[[2]], rows[[2]], column=self.column) == 0
        assert sorted(read_all(store)["ids"].tolist()) == sorted(np.delete(ids, [2, 7]).tolist())

    def test_a_scan_keeps_what_stays_while_others_come_and_go(self, make: Make):
        store, ids, _ = self.made(make, 40)
        scan = store.scan(column=self.column, batch=10)
        seen = list(next(scan).ids)
        others = [i for i in ids if i not in seen]
        store.delete(np.array([seen[3], others[-1]]))
        store.add(np.array(["a-first", "zz-last"]), {self.column: gaussian(2, seed=8)})
        store.put(np.array(others[:2]), gaussian(2, seed=9), column=self.column)
        seen += [i for batch in scan for i in batch.ids]
        stayed = set(ids) - {seen[3], others[-1]}
        assert len(seen) == len(set(seen))
        assert stayed <= set(seen)

    # -- columns ---------------------------------------------------------------------------------

    def test_a_column_of_another_width_fills_step_by_step(self, make: Make, kind: str):
        store, ids, rows = self.made(make, 20, kind)
        if not self.second_column:
            with pytest.raises(UnsupportedError, match=r"column"):
                store.add_column("new", 3)
            return
        store.add_column("new", 3, metric="cosine")
        store.add_column("new", 3, metric="cosine")  # the same again
        with pytest.raises(InputError, match="exists already, with width 3"):
            store.add_column("new", 4)
        assert store.filled("new") == 0
        assert not store.search(gaussian(1, 3), 5, column="new").found.any()
        new = gaussian(6, 3, seed=2)
        assert store.put(ids[5:11], new, column="new") == 6
        assert store.filled("new") == 6
        assert store.describe().column("new") == replace(
            store.describe().column("new"), dim=3, metric="cosine", dtype="float32"
        )
        hits = store.search(gaussian(2, 3, seed=4), 20, column="new")
        assert hits.found.sum(axis=1).tolist() == [6, 6]
        exact = top_k(gaussian(2, 3, seed=4), new, 6)
        np.testing.assert_array_equal(hits.ids[:, :6], ids[5:11][exact.indices])
        found = store.fetch(ids, column="new")
        assert np.flatnonzero(found.present).tolist() == list(range(5, 11))
        self.same(found.vectors[5:11], new)
        whole = {
            i: (v, p)
            for b in store.scan(column="new", batch=6)
            for i, v, p in zip(b.ids.tolist(), b.vectors, b.present, strict=True)
        }
        assert sum(p for _, p in whole.values()) == 6
        assert all(np.isnan(v).all() for v, p in whole.values() if not p)
        # the first column is as it was
        self.same(store.fetch(ids, column=self.column).vectors, rows)
        store.drop_column("new")
        store.drop_column("new")
        assert set(store.describe().columns) == {self.column}
        self.same(store.fetch(ids, column=self.column).vectors, rows)

    # -- aliases ---------------------------------------------------------------------------------

    def targets(self, store: Store) -> tuple[str, str]:
        """Two names that an alias can stand for."""
        return store.describe().name, store.describe().name + "_2"

    def test_an_alias_moves_only_from_where_it_is_believed_to_be(self, make: Make):
        store, _, _ = self.made(make, 3)
        a, b = self.targets(store)
        if not self.aliases:
            with pytest.raises(UnsupportedError):
                store.swap_alias("live", None, a)
            return
        assert store.alias("live") is None
        store.swap_alias("live", None, a)
        assert store.alias("live") == a
        for wrong in (None, b):
            with pytest.raises(StoreChangedError, match="the alias 'live' stands for"):
                store.swap_alias("live", wrong, b)
        assert store.alias("live") == a
        store.swap_alias("live", a, b)
        assert store.alias("live") == b
        store.swap_alias("live", b, None)
        assert store.alias("live") is None

    def test_one_of_many_moves_an_alias(self, make: Make):
        if not self.aliases:
            return
        store, _, _ = self.made(make, 3)
        a, b = self.targets(store)
        store.swap_alias("live", None, a)
        won: list[int] = []

        def move(i: int) -> None:
            try:
                store.swap_alias("live", a, b)
            except StoreChangedError:
                return
            won.append(i)

        _together([lambda i=i: move(i) for i in range(4)])
        assert len(won) == 1
        assert store.alias("live") == b

    # -- many at once ----------------------------------------------------------------------------

    def test_readers_side_by_side(self, make: Make):
        store, ids, rows = self.made(make, 60)
        expected = store.search(rows[:8], 5, column=self.column)

        def read() -> None:
            for _ in range(3):
                hits = store.search(rows[:8], 5, column=self.column)
                np.testing.assert_array_equal(hits.ids, expected.ids)
                self.same(store.fetch(ids, column=self.column).vectors, rows)
                assert len(read_all(store, batch=7)["ids"]) == 60

        _together([read] * 4)

    def test_readers_beside_a_writer(self, make: Make):
        store, ids, rows = self.made(make, 60)

        def write() -> None:
            for _ in range(5):
                store.put(ids[:20], rows[:20], column=self.column)

        def read() -> None:
            for _ in range(5):
                hits = store.search(rows[:20], 1, column=self.column)
                assert hits.ids[:, 0].tolist() == ids[:20].tolist()

        _together([write, read, read])

    def test_reading_many(self, make: Make):
        store, ids, rows = self.made(make, 2100, "int")
        whole = read_all(store, column=self.column, batch=500)
        assert whole["sizes"] == [500, 500, 500, 500, 100]
        np.testing.assert_array_equal(np.sort(whole["ids"]), ids)
        self.same(store.fetch(ids, column=self.column).vectors, rows)

    @pytest.mark.slow
    def test_a_hundred_thousand_rows(self, make: Make):
        if not self.quick:
            return
        n = 100_000
        ids, rows = ids_of("int", n), gaussian(n, 16)
        store = make(ids, {self.column: rows})
        whole = read_all(store, column=self.column)
        order = np.argsort(whole["ids"])
        np.testing.assert_array_equal(whole["ids"][order], ids)
        self.same(np.concatenate(whole["vectors"])[order], rows)
        hits = store.search(rows[:5], 10, column=self.column)
        np.testing.assert_array_equal(hits.ids, ids[top_k(rows[:5], rows, 10).indices])
        assert store.put(ids[::2], rows[::-2], column=self.column) == n // 2
        self.same(store.fetch(ids[:100:2], column=self.column).vectors, rows[::-2][:50])

    quick = True


def _together(tasks: Sequence[Callable[[], None]]) -> None:
    """Run all at the same time; the first failure of any of them is raised."""
    failures: list[BaseException] = []

    def run(task: Callable[[], None]) -> None:
        try:
            task()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(task,)) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
