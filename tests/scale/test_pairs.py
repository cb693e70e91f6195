"""Pairs in parts are the pairs of one process, however they are cut and whatever the order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather
from pyarrow import parquet as pq
from tests.scale.conftest import same_bridge

import isthmus
from isthmus import Bridge, Pairs, compare, fit
from isthmus.bridge import Fitting, SampleSizes, assess
from isthmus.diagnose import diagnose
from isthmus.errors import EngineError, InputError
from isthmus.scale import Labels, PartedPairs, joining, listing, open_engine, open_pairs
from isthmus.scale.engine import PooledEngine
from isthmus.scale.reading import rebatched
from isthmus.spaces.writers import open_writer

SIZES = SampleSizes(test=80, validation=80, gallery=300, validation_gallery=200)
CUTS = st.lists(st.integers(1, 1499), max_size=6)


@pytest.fixture(scope="module")
def engine() -> Iterator[PooledEngine]:
    with open_engine("threads:3") as running:
        yield running


def _fit(pairs: Pairs) -> Bridge:
    return fit(pairs, recipe="linear", fitting=Fitting(sizes=SIZES))


@pytest.fixture(scope="module")
def alone(world: Any) -> Bridge:
    from isthmus import open_vectors

    new, old = (open_vectors(rows, ids=world.ids) for rows in (world.new, world.old))
    return _fit(Pairs(new, old))


def test_blocks_of_one_size_are_not_copied() -> None:
    rows = np.arange(40.0).reshape(10, 4)
    found = [part for _, part in rebatched(iter([(None, rows[:8]), (None, rows[8:])]), 4)]
    np.testing.assert_array_equal(np.concatenate(found), rows)
    assert [(len(part), np.shares_memory(part, rows)) for part in found] == [
        (4, True), (4, True), (2, True)
    ]  # fmt: skip


def test_no_block_of_a_part_is_a_remnant(tmp_path: Path, engine: PooledEngine) -> None:
    """Blocks of what is mapped at once, read as such: two rows more were a row group."""
    rows = np.random.default_rng(0).standard_normal((9000, 384), dtype=np.float32)
    bridge = fit(Pairs(rows[:600], rows[:600]), recipe="procrustes")
    with open_writer(tmp_path / "new.parquet", 384) as writer:
        writer.write(rows)
    isthmus.apply(bridge, tmp_path / "new.parquet", tmp_path / "out", engine=engine, check=False)
    with pq.ParquetFile(tmp_path / "out" / "new.parquet") as file:
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sum(sizes) == 9000
    assert set(sizes[:-1]) == {bridge.row_map.block_rows}


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("side", ["source", "target"])
def test_labels_go_with_their_rows(
    shuffle: bool, side: Any, engine: PooledEngine, world: Any, write: Any, tmp_path: Path
) -> None:
    order = np.random.default_rng(3).permutation(len(world.ids)) if shuffle else np.arange(1500)
    new = write(tmp_path / "new", world.new, world.ids, [400, 900])
    old = write(tmp_path / "old", world.old[order], world.ids[order], [700])
    classes = np.array([f"class {i % 40}" for i in range(1500)])
    given = Labels(classes if side == "source" else classes[order], side)
    pairs = open_pairs(new, old, engine=engine, labels=given)
    assert pairs.has_labels
    expected = dict(zip(world.ids.tolist(), classes.tolist(), strict=True))
    for batch in [*pairs.batches(300), pairs.head(30), pairs.sample(200, seed=1)]:
        assert batch.labels is not None
        assert batch.labels.tolist() == [expected[i] for i in batch.ids.tolist()]
    whole = Pairs(new, old, labels=expected)
    found, alone = (
        fit(p, recipe="procrustes", fitting=Fitting(sizes=SIZES)) for p in (pairs, whole)
    )
    assert found.evidence is not None and alone.evidence is not None
    assert found.evidence.arms["new"] == alone.evidence.arms["new"]
    with pytest.raises(InputError, match=r"labels: the labels have shape \(3,\), expected"):
        open_pairs(new, old, engine=engine, labels=Labels(classes[:3]))


@given(cuts=st.tuples(CUTS, CUTS), shuffle=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=4)
def test_however_rows_are_cut_and_ordered_the_bridge_is_the_same(
    cuts: tuple[list[int], list[int]],
    shuffle: bool,
    seed: int,
    engine: PooledEngine,
    alone: Bridge,
    world: Any,
    write: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    order = np.random.default_rng(seed).permutation(len(world.ids)) if shuffle else slice(None)
    new = write(folder / "new", world.new, world.ids, cuts[0], groups=400)
    old = write(folder / "old", world.old[order], world.ids[order], cuts[1], groups=300)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "_PART_BYTES", 4 * 12 * 250)
        patch.setattr(joining, "_BUCKET_BYTES", 4 * 12 * 400)
        patch.setattr(joining, "_RUN_BYTES", 4 * 12 * 100)
        patch.setattr("isthmus.scale.pairs._RUN_BYTES", 4 * 24 * 500)
        pairs = open_pairs(new, old, engine=engine)
        assert len(pairs.parts) > 1
        same_bridge(_fit(pairs), alone)


@pytest.fixture(scope="module")
def parted(
    world: Any, write: Any, tmp_path_factory: pytest.TempPathFactory, engine: PooledEngine
) -> tuple[PartedPairs, Pairs]:
    """Both sides without ids, cut differently; in parts and in one."""
    folder = tmp_path_factory.mktemp("parted")
    new = write(folder / "new", world.new, None, [200, 900])
    old = write(folder / "old", world.old, None, [1, 700, 1300])
    return open_pairs(new, old, engine=engine), Pairs(str(new), str(old))


def test_rows_without_ids_are_numbered_through(parted: tuple[PartedPairs, Pairs]) -> None:
    pairs, whole = parted
    for mine, theirs in zip(_joined(pairs.batches(128)), _joined(whole.batches(512)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    np.testing.assert_array_equal(pairs.head(300).x, whole.head(300).x)
    np.testing.assert_array_equal(pairs.ids_at(np.array([900, 3])), [900, 3])
    assert "1,500 x 12→12, cosine, by position" in repr(pairs)


def _joined(batches: Any) -> list[np.ndarray]:
    held = list(batches)
    return [np.concatenate([getattr(b, name) for b in held]) for name in ("ids", "x", "y")]


def test_samples_splits_and_parts_of_them_are_the_same(
    parted: tuple[PartedPairs, Pairs],
) -> None:
    pairs, whole = parted
    shares = {"fit": 0.7, "test": 0.3}
    split, other = pairs.split(shares, seed=3), whole.split(shares, seed=3)
    assert split.counts == other.counts
    for mine, theirs in (
        (pairs.sample(100, seed=1), whole.sample(100, seed=1)),
        (split["test"].sample(50, seed=1), other["test"].sample(50, seed=1)),
    ):
        assert mine.digest() == theirs.digest()
    for mine, theirs in zip(
        _joined(split["test"].batches(64)), _joined(other["test"].batches()), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)


def test_a_comparison_a_diagnosis_and_an_evaluation_are_the_same(
    parted: tuple[PartedPairs, Pairs],
) -> None:
    pairs, whole = parted
    mine, theirs = (compare(p, measures=["linear_cka", "procrustes"]) for p in parted)
    for name in ("linear_cka", "procrustes"):
        assert mine[name].value == pytest.approx(theirs[name].value, abs=1e-6)
    first, second = diagnose(pairs, sample=300), diagnose(whole, sample=300)
    assert first.recipe == second.recipe
    assert [f.kind for f in first.findings] == [f.kind for f in second.findings]
    bridge = _fit(whole)
    same_bridge(_fit(pairs), bridge)
    judged = [assess(bridge, p, sizes=SIZES) for p in parted]
    assert judged[0].verdict == judged[1].verdict


def test_string_ids_are_found_where_they_are_asked_for(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, [700])
    old = write(tmp_path / "old", world.old[::-1], world.ids[::-1], [100])
    pairs = open_pairs(new, old, engine=engine)
    places = np.array([5, 1400, 0])
    whole = _joined(pairs.batches())
    np.testing.assert_array_equal(pairs.ids_at(places), whole[0][places])
    row = {name: i for i, name in enumerate(world.ids.tolist())}
    order = [row[name] for name in whole[0].tolist()]
    np.testing.assert_array_equal(whole[1], world.new[order])
    np.testing.assert_array_equal(whole[2], world.old[order])
    same = open_pairs(new, write(tmp_path / "o", world.old, world.ids, [9]), engine=engine)
    np.testing.assert_array_equal(same.ids_at(places), world.ids[places])


def test_only_common_items_are_paired(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new[:1000], world.ids[:1000], [10])
    old = write(tmp_path / "old", world.old[400:], world.ids[400:], [10])
    pairs = open_pairs(new, old, engine=engine)
    assert (len(pairs), pairs.unmatched_source, pairs.unmatched_target) == (600, 400, 500)
    assert set(_joined(pairs.batches())[0].tolist()) == set(world.ids[400:1000].tolist())
    other = write(tmp_path / "other", world.old[:5], np.array(list("abcde")))
    with pytest.raises(InputError, match="no id in common"):
        open_pairs(new, other, engine=engine)


def test_processes_give_the_same_bridge(
    world: Any, write: Any, tmp_path: Path, alone: Bridge
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, [300, 800])
    old = write(tmp_path / "old", world.old, world.ids, [300, 1100])
    with open_engine("processes:2") as engine:
        same_bridge(_fit(open_pairs(new, old, engine=engine)), alone)


# ---- bad input -----------------------------------------------------------------------------------


def test_two_equal_ids_in_different_parts_are_named(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    ids = world.ids.copy()
    ids[1200] = ids[17]
    new = write(tmp_path / "new", world.new, ids, [500, 1000])
    old = write(tmp_path / "old", world.old, world.ids, [500])
    with pytest.raises(
        InputError, match=rf"part-2\.parquet, row 200: the id '{ids[17]}' occurs twice, first in "
    ) as error:
        open_pairs(new, old, engine=engine)
    assert "part-0.parquet, row 17" in str(error.value)


def test_a_folder_of_two_widths_is_refused(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, None, [700])
    narrow = write(tmp_path / "narrow", world.new[:9, :5], None)
    (narrow / "part-0.parquet").rename(new / "part-9.parquet")
    with pytest.raises(InputError, match=r"part-9\.parquet: the vectors have 5 numbers, .* 12"):
        open_pairs(new, new, engine=engine)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_tables_without_rows_are_passed_over_as_in_one_process(
    world: Any, tmp_path: Path, engine: PooledEngine, form: str
) -> None:
    for number, (start, stop) in enumerate([(0, 0), (0, 4), (4, 4), (4, 9)]):
        rows = pa.array(world.new[start:stop].reshape(-1))
        table = pa.table({"v": pa.FixedSizeListArray.from_arrays(rows, world.new.shape[1])})
        written: Any = pq.write_table if form == "parquet" else feather.write_feather
        written(table, str(tmp_path / f"{number}.{form}"))
    pairs = open_pairs(tmp_path, tmp_path, engine=engine)
    assert (len(pairs), len(pairs.parts)) == (9, 2)
    whole = Pairs(str(tmp_path), str(tmp_path))
    np.testing.assert_array_equal(pairs.head(9).x, whole.head(9).x)
    for file in tmp_path.glob("[13].*"):
        file.unlink()
    with pytest.raises(InputError, match="there are no rows"):
        open_pairs(tmp_path, tmp_path, engine=engine)


def test_an_unreadable_part_is_named(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, None, [700])
    (new / "part-1.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match=r"part-1\.parquet: not a readable Parquet file"):
        open_pairs(new, new, engine=engine)


def test_a_part_that_changed_since_is_named(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, None, [700])
    pairs = open_pairs(new, new, engine=engine)
    write(tmp_path / "new", world.new[::-1], None, [700])
    with pytest.raises(InputError, match=r"part-\d\.parquet: the part has changed since"):
        pairs.sample(10, seed=0)


def test_the_first_row_that_cannot_be_used_is_named(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    rows = world.new.copy()
    rows[1203, 4] = np.nan
    new = write(tmp_path / "new", rows, None, [700], groups=100)
    pairs = open_pairs(new, new, engine=engine)
    with pytest.raises(InputError, match=r"part-1\.parquet, row 503: .* NaN|row 503"):
        pairs.sample(10, seed=0)


@pytest.mark.parametrize(
    ("ids", "says"),
    [("ids.npy", "a file of ids beside many files"), ("name", "no column 'name'")],
)
def test_ids_that_cannot_be_read_by_parts(
    ids: str, says: str, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, [700])
    with pytest.raises(InputError, match=says):
        open_pairs(new, new, engine=engine, ids=ids)


def test_other_sources_are_refused_in_a_sentence(
    world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, None, [700])
    few = write(tmp_path / "few", world.new[:9], None)
    some = write(tmp_path / "some", world.new[:9], np.arange(9))
    (some / "part-0.parquet").rename(new.parent / "mixed.parquet")
    for old, says in (
        (few, "are paired by position"),
        (world.old, "an engine reads files"),
        (tmp_path / "nothing", "does not exist"),
        (tmp_path / "some", "no Parquet, Arrow or other file"),
    ):
        with pytest.raises(InputError, match=says):
            open_pairs(new, old, engine=engine)


def test_workers_elsewhere_need_a_folder_that_all_see(
    world: Any, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, [700])
    old = write(tmp_path / "old", world.old[::-1], world.ids[::-1])
    with open_engine("threads:1") as engine:
        monkeypatch.setattr(engine, "here", False)
        with pytest.raises(InputError, match=r"\?scratch=/shared/folder"):
            open_pairs(new, old, engine=engine)
        (tmp_path / "shared").mkdir()
        engine.scratch = tmp_path / "shared"
        pairs = open_pairs(new, old, engine=engine)
        assert list((tmp_path / "shared").iterdir())
        assert len(pairs) == 1500
        del pairs
        assert not list((tmp_path / "shared").iterdir())


def test_an_engine_that_is_not_there_is_no_input(world: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", world.new)
    with pytest.raises((EngineError, InputError), match="is no engine"):
        open_pairs(tmp_path / "a.npy", tmp_path / "a.npy", engine="spark")


def test_rows_without_a_partner_on_both_sides_are_counted(
    engine: PooledEngine, world: Any, write: Any, tmp_path: Path
) -> None:
    new = write(tmp_path / "new", world.new[:1400], world.ids[:1400], [400])
    old = write(tmp_path / "old", world.old[200:], world.ids[200:], [700])
    pairs = open_pairs(new, old, engine=engine)
    assert isinstance(pairs, PartedPairs) and len(pairs) == 1200
    assert (pairs.unmatched_source, pairs.unmatched_target) == (200, 100)
    assert pairs.notices == () and "200 source and 100 target rows" in repr(pairs)
