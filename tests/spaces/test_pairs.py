"""Pairs: the right rows side by side, each time anew, in flat memory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isthmus.errors import InputError
from isthmus.spaces.pairs import Batch, Pairs
from isthmus.spaces.readers import open_vectors
from isthmus.spaces.sample import Sampler
from isthmus.spaces.split import assign_parts

SHARES = {"fit": 0.6, "validation": 0.25, "test": 0.15}


def _rows(numbers: np.ndarray, dim: int) -> np.ndarray:
    """Rows from which the number of the item can be read back."""
    rows = np.ones((len(numbers), dim), np.float32)
    rows[:, 0] = numbers
    return rows


def _side(numbers: np.ndarray, dim: int, text: bool = False) -> Any:
    ids = np.char.add("item ", numbers.astype(str)) if text else numbers
    return open_vectors(_rows(numbers, dim), ids=ids, name=f"side {dim}")


def _joined(batches: Any) -> Batch:
    batches = list(batches)
    labels = [batch.labels for batch in batches if batch.labels is not None]
    return Batch(
        *(
            np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("ids", "x", "y")
        ),
        labels=np.concatenate(labels) if labels else None,
    )


NUMBERS = st.lists(st.integers(0, 60), min_size=1, max_size=50, unique=True)


@given(NUMBERS, NUMBERS, st.booleans(), st.integers(1, 20))
def test_items_meet_by_id(source: list[int], target: list[int], text: bool, size: int) -> None:
    a, b = np.array(source), np.array(target)
    common = [value for value in source if value in set(target)]
    if not common:
        with pytest.raises(InputError, match="side 2 and side 3 have no id in common"):
            Pairs(_side(a, 2, text), _side(b, 3, text))
        return
    pairs = Pairs(_side(a, 2, text), _side(b, 3, text), labels=a * 7)
    whole = _joined(pairs.batches(size))
    assert whole.x[:, 0].tolist() == whole.y[:, 0].tolist() == common
    assert whole.ids.tolist() == ([f"item {i}" for i in common] if text else common)
    assert whole.labels is not None and whole.labels.tolist() == [7 * i for i in common]
    assert len(pairs) == len(common)
    assert pairs.unmatched_source == len(source) - len(common)
    assert pairs.unmatched_target == len(target) - len(common)
    assert (pairs.dim_x, pairs.dim_y) == (2, 3)


def test_equal_ids_need_no_index() -> None:
    order = np.random.default_rng(0).permutation(100)
    pairs = Pairs(_side(order, 2), _side(order.copy(), 3))
    assert pairs._source_rows is None and pairs._target_rows is None
    assert np.shares_memory(pairs.head(5).ids, pairs.source.ids)


@pytest.mark.parametrize("which", ["neither", "source", "target", "shared"])
def test_without_ids_on_both_sides_rows_meet_by_position(which: str) -> None:
    numbers = np.arange(40)
    named = {"neither": (0, 0), "source": (1, 0), "target": (0, 1), "shared": (1, 1)}[which]
    sides: list[Any] = [
        _side(numbers[::-1].copy(), dim) if has and which != "shared" else _rows(numbers, dim)
        for has, dim in zip(named, (2, 3), strict=True)
    ]
    shared = np.arange(100, 140)
    pairs = Pairs(*sides, ids=shared if which == "shared" else None)
    whole = _joined(pairs.batches(7))
    assert whole.ids.tolist() == {
        "neither": list(range(40)),
        "shared": list(range(100, 140)),
    }.get(which, list(range(39, -1, -1)))
    assert len(whole.x) == len(whole.y) == 40
    np.testing.assert_array_equal(whole.x, open_vectors(sides[0]).rows(0, 40))
    np.testing.assert_array_equal(whole.y, open_vectors(sides[1]).rows(0, 40))


def test_ids_for_both_sides_overrule_their_own() -> None:
    numbers = np.arange(10)
    pairs = Pairs(_side(numbers, 2), _side(numbers[::-1].copy(), 3), ids=[f"{i}" for i in numbers])
    assert pairs.head(2).ids.tolist() == ["0", "1"]
    assert pairs.head(2).y[:, 0].tolist() == [9, 8]


def test_sides_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="source has 3 rows and target has 4"):
        Pairs(_rows(np.arange(3), 2), _rows(np.arange(4), 2))
    with pytest.raises(InputError, match=r"side 2 are integers, those of side 3 are strings.*Conv"):
        Pairs(_side(np.arange(3), 2), _side(np.arange(3), 3, text=True))
    with pytest.raises(InputError, match="the id 1 occurs twice"):
        Pairs(_rows(np.arange(3), 2), _rows(np.arange(3), 2), ids=np.array([1, 2, 1]))
    metric: Any = "manhattan"
    with pytest.raises(InputError, match="unknown metric 'manhattan'"):
        Pairs(_rows(np.arange(3), 2), _rows(np.arange(3), 2), metric=metric)


def test_batches_have_the_asked_size_and_can_be_read_again() -> None:
    numbers = np.arange(1, 1001)
    pairs = Pairs(_side(numbers, 2), _side(np.random.default_rng(0).permutation(numbers), 3))
    assert [len(b) for b in pairs.batches(300)] == [300, 300, 300, 100]
    part = pairs.split(SHARES)["fit"]
    assert {len(b) for b in list(part.batches(100))[:-1]} == {100}
    for source in (pairs, part):
        once, again = _joined(source.batches(64)), _joined(source.batches(501))
        assert once.digest() == again.digest()
        assert len(once) == len(source)
    for stream in (pairs.batches(0), part.batches(0)):
        with pytest.raises(InputError, match="size=0"):
            next(stream)


@given(st.integers(1, 200), st.integers(0, 5), st.booleans())
def test_parts_partition_the_pairs_by_the_hash_of_the_id(n: int, seed: int, text: bool) -> None:
    numbers = np.random.default_rng(n).permutation(n)
    pairs = Pairs(_side(numbers, 2, text), _side(np.arange(n), 3, text), metric="l2")
    split = pairs.split(SHARES, seed=seed)
    seen: list[Any] = []
    for position, (name, part) in enumerate(split.items()):
        rows = [row for batch in part.batches(16) for row in batch.ids.tolist()]
        assert len(part) == len(rows) == split.counts[name]
        if rows:
            assert (assign_parts(np.array(rows), SHARES, seed) == position).all()
        seen += rows
    assert sorted(seen) == sorted(pairs.ids_at(slice(0, n)).tolist())
    for batch, parts in split.batches_with_parts(32):
        np.testing.assert_array_equal(parts, assign_parts(batch.ids, SHARES, seed))


def test_more_items_move_no_item_to_another_part() -> None:
    few, many = np.arange(500), np.random.default_rng(0).permutation(800)
    before = Pairs(_side(few, 2), _side(few, 3), metric="l2").split(SHARES)
    after = Pairs(_side(many, 2), _side(many, 3), metric="l2").split(SHARES)
    for name, part in before.items():
        assert set(_joined(part.batches()).ids) <= set(_joined(after[name].batches()).ids)


def test_one_pass_serves_the_sums_of_one_part_and_a_sample_of_another() -> None:
    numbers = np.arange(1, 2001)
    pairs = Pairs(_side(numbers, 2), _side(numbers[::-1].copy(), 3), labels=numbers % 5)
    split = pairs.split(SHARES, seed=3)
    total, sampler = 0.0, Sampler(50, seed=1)
    for batch, parts in split.batches_with_parts(128):
        total += float(batch.select(parts == 0).x[:, 0].sum())
        sampler.update(batch.select(parts == 2))
    assert total == _joined(split["fit"].batches()).x[:, 0].sum()
    assert sampler.sample().digest() == split["test"].sample(50, seed=1).digest()


def test_a_sample_does_not_depend_on_the_order_of_the_rows() -> None:
    numbers = np.arange(1, 3001)
    shuffled = np.random.default_rng(0).permutation(numbers)
    pairs = Pairs(_side(numbers, 2, text=True), _side(shuffled, 3, text=True))
    other = Pairs(_side(shuffled, 2, text=True), _side(numbers, 3, text=True))
    sample = pairs.sample(100, seed=4)
    assert len(np.unique(sample.ids)) == 100
    assert sample.digest() == other.sample(100, seed=4).digest()
    assert sample.digest() != pairs.sample(100, seed=5).digest()
    np.testing.assert_array_equal(sample.x[:, 0], sample.y[:, 0])
    np.testing.assert_array_equal(sample.ids[:10], pairs.sample(10, seed=4).ids)
    assert len(pairs.sample(10_000, seed=0)) == 3000
    with pytest.raises(InputError, match="size=0"):
        pairs.sample(0, seed=0)
    with pytest.raises(InputError, match=r"no row to sample from.*"):
        pairs.split({"all": 1.0, "none": 0.0})["none"].sample(3, seed=0)


def test_the_digest_names_the_data() -> None:
    numbers = np.arange(1, 101)
    pairs = Pairs(_side(numbers, 2), _side(numbers, 3))
    digest = pairs.digest(pairs.sample(20, seed=0))
    again = Pairs(_side(numbers[::-1].copy(), 2), _side(numbers, 3))
    assert digest == again.digest(again.sample(20, seed=0))
    assert re.fullmatch("[0-9a-f]{64}", digest)
    fewer = Pairs(_side(numbers[:99], 2), _side(numbers, 3))
    assert digest != fewer.digest(pairs.sample(20, seed=0))


def test_labels_follow_their_items() -> None:
    source, target = np.array([5, 6, 7, 8]), np.array([8, 6, 5])
    words = np.array(["five", "six", "seven", "eight"], dtype=object)
    for labels in (words, words.tolist(), dict(zip(source.tolist(), words, strict=True))):
        batch = Pairs(_side(source, 2), _side(target, 3), labels=labels).head(9)
        assert batch.ids.tolist() == [5, 6, 8]
        assert batch.labels is not None
        assert batch.labels.tolist() == ["five", "six", "eight"]
    with pytest.raises(InputError, match=r"labels have shape \(3,\), expected \(4,\)"):
        Pairs(_side(source, 2), _side(target, 3), labels=[1, 2, 3])
    with pytest.raises(InputError, match="no label for id 6"):
        Pairs(_side(source, 2), _side(target, 3), labels={5: "five"})
    with pytest.raises(InputError, match="labels have dtype object"):
        Pairs(_side(source, 2), _side(target, 3), labels=np.array([1, "a", None, 2], dtype=object))


@pytest.mark.parametrize("by_id", [False, True])
@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "nan"), (np.inf, "inf"), (0.0, "all zeros")]
)
def test_the_file_and_row_of_an_unusable_vector_are_named(
    tmp_path: Path, by_id: bool, value: float, message: str
) -> None:
    rows = np.ones((100, 4), np.float32)
    rows[[61, 80]] = value
    path = tmp_path / "new.npy"
    np.save(path, rows)
    if by_id:
        np.save(tmp_path / "new.ids.npy", np.arange(100)[::-1])
    old = open_vectors(np.ones((100, 3)), ids=np.arange(100) if by_id else None)
    pairs = Pairs(old, path)
    read = 0
    with pytest.raises(InputError, match=rf"new\.npy, row {80 if by_id else 61}: .*{message}"):
        for batch in pairs.batches(10):
            read += len(batch)
    assert read == (10 if by_id else 60)
    with pytest.raises(InputError, match=r"new\.npy, row (61|80): "):
        pairs.sample(100, seed=0)
    if value == 0:
        assert sum(len(b) for b in Pairs(old, path, metric="dot").batches(10)) == 100


def test_the_row_inside_one_of_many_files_is_named(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for k in range(3):
        rows = [[1.0, 2.0]] * 10
        if k == 2:
            rows[4] = [np.nan, 1.0]
        pq.write_table(
            pa.table({"v": pa.array(rows, pa.list_(pa.float32()))}), tmp_path / f"{k}.pq"
        )
    pairs = Pairs(np.ones((30, 2)), tmp_path)
    with pytest.raises(InputError, match=r"2\.pq, row 4: the row holds nan"):
        list(pairs.batches())


def test_progress_is_told() -> None:
    told: list[Any] = []
    pairs = Pairs(np.ones((10, 2)), np.ones((10, 2)))
    list(pairs.batches(4, progress=lambda *news: told.append(news)))
    assert told == [("reading pairs", done, 10) for done in (4, 8, 10)]


def test_they_say_what_they_are() -> None:
    pairs = Pairs(_side(np.arange(5), 2), _side(np.arange(2, 9), 3), labels=np.zeros(5))
    assert repr(pairs) == (
        "Pairs(side 2 → side 3, 3 x 2→3, cosine, by id, 2 source and 4 target rows unmatched, "
        "labelled)"
    )
    assert repr(Pairs(np.ones((2, 1)), np.ones((2, 1)))) == (
        "Pairs(source → target, 2 x 1→1, cosine, by position)"
    )
    split = pairs.split({"a": 0.5, "b": 0.5})
    assert repr(split["b"]).startswith("SplitPart('b', 0.5 of Pairs(")
    assert list(split) == ["a", "b"] and len(split) == 2
    assert (split["a"].dim_x, split["a"].dim_y) == (2, 3)


def test_shares_are_judged_at_once() -> None:
    with pytest.raises(InputError, match="sum to 1"):
        Pairs(np.ones((2, 1)), np.ones((2, 1))).split({"fit": 0.5})


def _anonymous_megabytes() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    pytest.skip("this system does not count anonymous memory")


@pytest.mark.parametrize("how", ["all", "part", "with parts", "sample"])
def test_memory_stays_flat(tmp_path: Path, how: str) -> None:
    # 400 MB and 100 MB that need no disk: the files are holes, all zeros
    n = 500_000
    for name, dim in (("x.npy", 200), ("y.npy", 50)):
        with (tmp_path / name).open("wb") as file:
            header = {"descr": "<f4", "fortran_order": False, "shape": (n, dim)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + 4 * n * dim)
    pairs = Pairs(tmp_path / "x.npy", tmp_path / "y.npy", metric="l2")
    split = pairs.split({"fit": 0.9, "test": 0.1})
    streams = {
        "all": lambda: pairs.batches(),
        "part": lambda: split["test"].batches(),
        "with parts": lambda: split.batches_with_parts(),
        "sample": lambda: iter([pairs.sample(1000, seed=0)]),
    }
    before, highest = _anonymous_megabytes(), 0.0
    for _ in streams[how]():
        highest = max(highest, _anonymous_megabytes() - before)
    assert highest < 40


def test_wide_unsigned_ids_join_with_narrow_ones() -> None:
    rows = np.eye(3, dtype=np.float32)
    wide = np.array([5, 2**63 + 1, 7], dtype=np.uint64)
    pairs = Pairs(open_vectors(rows, ids=np.array([7, 9, 5])), open_vectors(rows, ids=wide))
    assert pairs.head().ids.tolist() == [7, 5]
    np.testing.assert_array_equal(pairs.head().y, rows[[2, 0]])
    with pytest.raises(InputError, match="are integers, those of .* are strings"):
        Pairs(open_vectors(rows, ids=[1, 2, 3]), open_vectors(rows, ids=["1", "2", "x"]))


def test_ids_can_be_declined() -> None:
    rows = np.eye(3, dtype=np.float32)
    a, b = open_vectors(rows, ids=["a", "b", "c"]), open_vectors(rows, ids=["c", "d", "e"])
    assert len(Pairs(a, b)) == 1
    assert len(Pairs(a, b, ids=False)) == 3


def test_a_column_of_ids_that_was_not_used_is_said(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    for name, n in (("old", 30), ("new", 30), ("more", 31)):
        rows = np.random.default_rng(0).standard_normal((n, 3)).tolist()
        table = {"doc_id": list(range(n)), "v": pa.array(rows, pa.list_(pa.float32()))}
        pq.write_table(pa.table(table), tmp_path / f"{name}.parquet")
    old, new, more = (tmp_path / f"{name}.parquet" for name in ("old", "new", "more"))
    assert "--ids doc_id" in Pairs(new, old).notices[0]
    assert Pairs(new, old, ids="doc_id").notices == ()
    with pytest.raises(InputError, match="has 31, .*--ids doc_id"):
        Pairs(new, more)
