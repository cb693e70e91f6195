from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder

from isthmus.bridge.fitting import CROSS_FITTED
from isthmus.bridge.store_sample import LARGER, ModelChange, StoreSample, sample_store
from isthmus.encoders import PrecomputedEncoder
from isthmus.errors import InputError, WrongSpaceError
from isthmus.spaces.query_log import QueryLog
from isthmus.stores import MemoryStore, ScanBatch

N = 600


class Watched(MemoryStore):
    """Counts how often each row is read."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.read: list[Any] = []
        self.batch = 70

    def scan(self, **options: Any) -> Iterator[ScanBatch]:
        for batch in super().scan(**{**options, "batch": self.batch}):
            self.read.extend(batch.ids.tolist())
            yield batch

    def fetch(self, ids: Any, *, column: str) -> Any:
        self.read.extend(np.asarray(ids).tolist())
        return super().fetch(ids, column=column)


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 200, size=4)) for _ in range(N)]


@pytest.fixture
def models() -> ModelChange:
    return ModelChange(new=HashedEncoder("new", 10), old=HashedEncoder("old", 8))


@pytest.fixture
def make(texts: list[str]) -> Callable[..., Watched]:
    rows = HashedEncoder("old", 8).encode(texts)

    def build(ids: Any = None, **payload: Any) -> Watched:
        return Watched(
            np.arange(N) if ids is None else ids, {"v": rows}, payload={"text": texts, **payload}
        )

    return build


def log_of(clicked: dict[str, list[str]], texts: list[str], weights: Any = None) -> QueryLog:
    return QueryLog(
        np.array([f"q{n}" for n in range(len(texts))]),
        tuple(texts),
        np.ones(len(texts)) if weights is None else np.asarray(weights, dtype=np.float64),
        clicked,
    )


def test_vectors_of_both_models_belong_to_the_same_items(
    make: Callable[..., Watched], models: ModelChange, texts: list[str]
) -> None:
    store = make()
    found = sample_store(store, models, pairs=100)
    assert len(found) == 100 and found.count == N and found.notes == ()
    assert found.texts == tuple(texts[i] for i in found.ids)
    np.testing.assert_array_equal(found.old, HashedEncoder("old", 8).encode(list(found.texts)))
    np.testing.assert_array_equal(found.new, HashedEncoder("new", 10).encode(list(found.texts)))
    for kind, dims in (("query", (10, 8)), ("corpus", (8, 10))):
        pairs = found.pairs(kind)
        assert (pairs.dim_x, pairs.dim_y) == dims and pairs.metric == "cosine"
    assert found.query_pairs("query") is None


def test_each_row_is_read_once_and_only_what_is_needed_is_encoded(
    make: Callable[..., Watched], models: ModelChange, texts: list[str]
) -> None:
    store = make()
    log = log_of({"q0": ["3"], "q1": ["5", "3"]}, ["asked once", "asked twice", "never clicked"])
    found = sample_store(store, models, pairs=100, log=log)
    assert sorted(store.read) == list(range(N))
    assert isinstance(models.new, HashedEncoder) and isinstance(models.old, HashedEncoder)
    assert sorted(models.new.seen) == sorted([*found.texts, "asked once", "asked twice"])
    assert len(models.old.seen) == 16 + 2
    assert len(found) == 102
    assert {3, 5} <= set(found.ids.tolist())


def test_the_sample_is_the_same_for_any_order_of_the_rows(
    models: ModelChange, texts: list[str]
) -> None:
    rows = HashedEncoder("old", 8).encode(texts)

    def drawn(order: np.ndarray, batch: int, seed: int = 0) -> StoreSample:
        store = Watched(order, {"v": rows[order]}, payload={"text": [texts[i] for i in order]})
        store.batch = batch
        return sample_store(store, models, pairs=80, seed=seed)

    one = drawn(np.arange(N), 70)
    other = drawn(np.random.default_rng(1).permutation(N), 13)
    np.testing.assert_array_equal(one.ids, other.ids)
    np.testing.assert_array_equal(one.new, other.new)
    assert set(drawn(np.arange(N), 70, seed=1).ids.tolist()) != set(one.ids.tolist())


def test_a_store_smaller_than_the_sample_is_taken_whole(
    make: Callable[..., Watched], models: ModelChange
) -> None:
    found = sample_store(make(), models, pairs=10_000)
    assert sorted(found.ids.tolist()) == list(range(N))


@pytest.mark.parametrize(
    "ids", [None, np.array([f"doc {n}" for n in range(N)])], ids=["int", "str"]
)
def test_clicks_are_answers(
    make: Callable[..., Watched], models: ModelChange, ids: Any, texts: list[str]
) -> None:
    name = (lambda n: str(n)) if ids is None else (lambda n: f"doc {n}")
    log = log_of(
        {"q0": [name(7)], "q1": [name(9), "elsewhere"], "q2": ["elsewhere"]}, ["a b", "c", "d"]
    )
    found = sample_store(make(ids), models, pairs=50, log=log)
    assert found.queries is not None and found.queries.ids.tolist() == ["q0", "q1"]
    stored = (lambda n: n) if ids is None else name
    assert found.clicked == {"q0": [stored(7)], "q1": [stored(9)]}
    assert found.notes == ("1 clicked ids are not in the index, or have no text",)
    queries = found.query_pairs("query")
    assert queries is not None
    np.testing.assert_array_equal(queries.target.rows(0, 2), found.old_queries)
    np.testing.assert_array_equal(
        found.new_queries, HashedEncoder("new", 10).encode(["a b", "c"], kind="query")
    )
    with pytest.raises(InputError, match="none of the 1 clicked ids"):
        sample_store(make(ids), models, log=log_of({"q0": ["elsewhere"]}, ["a"]))


def test_queries_are_sampled_by_how_often_they_are_asked(
    make: Callable[..., Watched], models: ModelChange
) -> None:
    names = [f"query number {n}" for n in range(200)]
    weights = np.where(np.arange(200) < 100, 50.0, 1.0)
    log = log_of({f"q{n}": ["1"] for n in range(200)}, names, weights)
    found = sample_store(make(), models, pairs=50, log=log, most_queries=80)
    assert found.queries is not None and len(found.queries) == 80
    often = sum(int(name[1:]) < 100 for name in found.queries.ids)
    assert 70 <= often < 80


def test_items_without_text_or_vector_are_left_out(models: ModelChange, texts: list[str]) -> None:
    rows = HashedEncoder("old", 8).encode(texts)
    gone: list[str | None] = [
        None if n % 5 == 0 else " " if n % 5 == 1 else t for n, t in enumerate(texts)
    ]
    store = MemoryStore(np.arange(N), {"v": rows}, payload={"text": gone})
    store.add_column("half", 8)
    store.put(np.arange(0, N, 2), rows[::2], column="half")
    found = sample_store(store, models, pairs=10_000)
    assert sorted(found.ids.tolist()) == [n for n in range(N) if n % 5 > 1]
    assert found.notes == ("240 of 600 sampled items have no text and are left out",)
    half = sample_store(store, models, pairs=10_000, column="half")
    assert half.count == 300 and set((half.ids % 2).tolist()) == {0}


class TestOldEncoder:
    def test_another_model_is_refused(self, make: Callable[..., Watched]) -> None:
        wrong = ModelChange(new=HashedEncoder("new", 10), old=HashedEncoder("wrong", 8))
        with pytest.raises(WrongSpaceError, match=r"not those of wrong: .* cosine of -?0\.\d+"):
            sample_store(make(), wrong, pairs=100)
        assert not wrong.new.seen  # type: ignore[attr-defined]

    def test_another_width_is_refused_before_the_store_is_read(
        self, make: Callable[..., Watched]
    ) -> None:
        store = make()
        with pytest.raises(InputError, match="old has 9 dimensions, the stored vectors 8"):
            sample_store(store, ModelChange(HashedEncoder("new", 10), HashedEncoder("old", 9)))
        assert not store.read

    def test_texts_that_were_edited_are_said(self, models: ModelChange, texts: list[str]) -> None:
        rows = HashedEncoder("old", 8).encode(texts)
        edited = [f"other w{n}" if n % 4 == 0 else t for n, t in enumerate(texts)]
        store = MemoryStore(np.arange(N), {"v": rows}, payload={"text": edited})
        (note,) = sample_store(store, models, pairs=100).notes
        assert "of 16 stored texts have another vector now" in note

    def test_a_store_that_scales_its_vectors_is_recognised(
        self, models: ModelChange, texts: list[str]
    ) -> None:
        rows = HashedEncoder("old", 8).encode(texts) * np.linspace(1, 9, N)[:, None]
        store = MemoryStore(np.arange(N), {"v": rows.astype(np.float32)}, payload={"text": texts})
        assert sample_store(store, models, pairs=100).notes == ()

    def test_without_it_there_are_no_queries(
        self, make: Callable[..., Watched], models: ModelChange
    ) -> None:
        alone = ModelChange(models.new)
        assert sample_store(make(), alone, pairs=50).queries is None
        with pytest.raises(InputError, match="Give --old"):
            sample_store(make(), alone, log=log_of({"q0": ["1"]}, ["a"]))


def test_precomputed_vectors_need_no_texts(texts: list[str]) -> None:
    old, new = HashedEncoder("old", 8).encode(texts), HashedEncoder("new", 10).encode(texts)
    store = MemoryStore([f"d{n}" for n in range(N)], {"v": old})
    encoder = PrecomputedEncoder(new, ids=[f"d{n}" for n in range(N)], name="new")
    found = sample_store(store, ModelChange(encoder), pairs=40)
    np.testing.assert_array_equal(found.new, new[[int(i[1:]) for i in found.ids.tolist()]])
    with pytest.raises(InputError, match="texts of the items are gone"):
        sample_store(store, ModelChange(HashedEncoder("new", 10)))


def test_bad_input(make: Callable[..., Watched], models: ModelChange) -> None:
    with pytest.raises(InputError, match="1 pairs are too few"):
        sample_store(make(), models, pairs=1)
    with pytest.raises(InputError, match="vector column"):
        sample_store(make(), models, column="w")
    with pytest.raises(InputError, match="no query has clicks"):
        sample_store(make(), models, log=log_of({}, ["a"]))
    empty = MemoryStore(np.arange(3), payload={"text": ["a", "b", "c"]})
    empty.add_column("v", 8)
    with pytest.raises(InputError, match="0 of 0 items have a vector and a text"):
        sample_store(empty, models)


_FIT = """
import numpy as np
from isthmus.bridge.store_sample import ModelChange, sample_store
from isthmus.encoders import CallableEncoder
from isthmus.stores import MemoryStore
rows = np.load(sys.argv[1], mmap_mode="r")
store = MemoryStore(
    np.arange(len(rows)), {"v": rows}, payload={"text": [f"text {n}" for n in range(len(rows))]}
)
before = peak
new = CallableEncoder(
    lambda texts: np.random.default_rng(len(texts)).normal(size=(len(texts), 384)),
    name="new", revision="1", dim=384,
)
found = sample_store(store, ModelChange(new), pairs=4000)
assert (len(found), found.count) == (4000, len(rows))
"""


@pytest.mark.slow
def test_a_store_of_200_000_rows_is_sampled_in_bounded_memory(
    tmp_path: Path,
    peak_megabytes: Callable[..., float],
    write_repeated: Callable[[Path, np.ndarray, int], None],
) -> None:
    path = tmp_path / "rows.npy"
    write_repeated(path, np.random.default_rng(0).normal(size=(1000, 384)), 200_000)
    assert peak_megabytes(_FIT, path) < 400


@pytest.mark.parametrize(
    ("count", "answers", "others", "all_judge"),
    [
        (10_000, 500, 2000, True),  # a fourth of the index, and the answers are part of it
        (10_000, 0, 4000, False),  # without queries nothing is judged on the index
        (4000, 1000, 3000, False),  # too little would be left to fit on: all of the index
        (100_000, 1000, 4000, True),
        (100_000, 3000, 2000, True),  # 5,000 pairs are the most of which none is spared
        (100_000, 4800, 4000, False),
    ],
)
def test_by_default_a_sample_is_so_small_that_no_query_need_be_held_out(
    count: int, answers: int, others: int, all_judge: bool
) -> None:
    rows = np.random.default_rng(0).standard_normal((count, 4)).astype(np.float32)
    names = [str(i) for i in range(count)]
    store = MemoryStore(np.array(names), {"v": rows})
    models = ModelChange(
        PrecomputedEncoder(rows, name="new", ids=names),
        PrecomputedEncoder(rows, name="old", ids=names),
    )
    log = None
    if answers:
        few = names[: min(answers, 1000)]
        each = -(-answers // len(few))
        clicked = {few[i]: names[i * each : min((i + 1) * each, answers)] for i in range(len(few))}
        log = QueryLog(np.array(list(clicked)), tuple(few), np.ones(len(few)), clicked)
    found = sample_store(store, models, log=log)
    assert len(found) == answers + others
    assert all_judge == (log is not None and len(found) <= min(CROSS_FITTED, found.count // LARGER))
    # what is asked for is what is sampled
    assert len(sample_store(store, models, log=log, pairs=300)) == answers + 300
