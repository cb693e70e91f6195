"""Parts that are not local files: objects of a real S3 server, key ranges of a real store."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.scale.killed_apply import killed_apply

pytest.importorskip("moto")
pytest.importorskip("s3fs")
pytest.importorskip("lancedb")

from benchmarks.s3_server import s3_server, s3_settings
from isthmus import Pairs, apply, fit, open_vectors
from isthmus.errors import InputError, OutputError
from isthmus.scale import listing, open_engine, open_pairs
from isthmus.scale.engine import PooledEngine
from isthmus.stores import create_store, open_store

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def engine() -> Iterator[PooledEngine]:
    with open_engine("threads:2") as running:
        yield running


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    """A bucket of a server that speaks S3, as a file system."""
    with s3_server() as address, pytest.MonkeyPatch.context() as patch:
        for name, value in s3_settings(address).items():
            patch.setenv(name, value)
        from s3fs import S3FileSystem

        system = S3FileSystem(skip_instance_cache=True)
        system.call_s3("create_bucket", Bucket="vectors")
        yield system


def test_objects_of_a_bucket_are_parts(
    bucket: Any, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, [500, 900], groups=200)
    bucket.put(str(new), "vectors/a/new", recursive=True)
    np.save(tmp_path / "old.npy", world.old[:700])
    np.save(tmp_path / "more.npy", world.old[700:])
    bucket.put_file(str(tmp_path / "old.npy"), "vectors/a/old/0.npy")
    bucket.put_file(str(tmp_path / "more.npy"), "vectors/a/old/1.npy")
    pairs = open_pairs("s3://vectors/a/new:embedding", "s3://vectors/a/old/*.npy", engine=engine)
    assert (len(pairs), len(pairs.parts)) == (1500, 3)
    whole = list(pairs.batches(8192))
    np.testing.assert_array_equal(np.concatenate([b.x for b in whole]), world.new)
    np.testing.assert_array_equal(np.concatenate([b.y for b in whole]), world.old)
    assert np.concatenate([b.ids for b in whole]).tolist() == world.ids.tolist()
    bridge = fit(Pairs(world.new, world.old), recipe="procrustes")
    assert apply(bridge, "s3://vectors/a/new", tmp_path / "out", engine=engine) == 1500
    names = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert names == ["_manifest.json", "part-0.parquet", "part-1.parquet", "part-2.parquet"]
    # into the bucket, resumed and brought up to date
    url = "s3://vectors/a/mapped"
    assert apply(bridge, "s3://vectors/a/new", url, engine=engine) == 1500
    written = sorted(name.rpartition("/")[2] for name in bucket.find("vectors/a/mapped"))
    assert written == names
    np.testing.assert_array_equal(
        np.concatenate([b.x for b in open_pairs(url, tmp_path / "out", engine=engine).batches()]),
        open_vectors(tmp_path / "out").rows(0, 1500),
    )
    with pytest.raises(OutputError, match="the output exists already"):
        apply(bridge, "s3://vectors/a/new", url, engine=engine)
    before = bucket.modified("vectors/a/mapped/part-0.parquet")
    bucket.rm_file("vectors/a/mapped/part-1.parquet")
    assert apply(bridge, "s3://vectors/a/new", url, engine=engine, overwrite=True) == 1500
    bucket.invalidate_cache()
    assert bucket.modified("vectors/a/mapped/part-0.parquet") == before
    assert bucket.exists("vectors/a/mapped/part-1.parquet")
    with pytest.raises(OutputError, match="which no earlier run wrote there"):
        apply(bridge, new, "s3://vectors/a/old", engine=engine)
    # another content under the same name
    bucket.put_file(str(new / "part-1.parquet"), "vectors/a/new/part-0.parquet")
    with pytest.raises(InputError, match=r"s3://vectors/a/new/part-0\.parquet: .* has changed"):
        pairs.sample(5, seed=0)
    with pytest.raises(InputError, match="no Parquet, Arrow or other file"):
        open_pairs("s3://vectors/none", "s3://vectors/a/new", engine=engine)


def test_a_run_into_a_bucket_that_is_killed_is_resumed(
    bucket: Any, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, range(0, 1500, 30))
    bucket.put(str(new), "vectors/b/new", recursive=True)
    bridge = fit(Pairs(world.new, world.old), recipe="procrustes")
    bridge.save(tmp_path / "bridge")
    url, root = "s3://vectors/b/mapped", "vectors/b/mapped"

    def there() -> dict[str, Any]:
        bucket.invalidate_cache()
        found = bucket.find(root, detail=True) if bucket.exists(root) else {}
        return {name.removeprefix(f"{root}/"): told for name, told in found.items()}

    def results() -> dict[str, Any]:
        return {name: told for name, told in there().items() if name.startswith("part-")}

    killed_apply(
        tmp_path, tmp_path / "bridge", "s3://vectors/b/new", url, lambda: len(results()) >= 5
    )
    left = results()
    assert 5 <= len(left) < 50 and "_manifest.json" not in there()
    noted = {
        note["file"]
        for name in there()
        if name.startswith("_parts/")
        and "file" in (note := json.loads(bucket.cat_file(f"{root}/{name}")))
    }
    assert noted
    assert apply(bridge, "s3://vectors/b/new", url, engine=engine) == 1500
    # what was written down as finished stays as it was
    for name in noted:
        assert results()[name]["LastModified"] == left[name]["LastModified"]
    assert set(there()) == {"_manifest.json", *(f"part-{i}.parquet" for i in range(50))}
    apply(bridge, new, tmp_path / "out", engine=engine)
    for name in results():
        assert bucket.cat_file(f"{root}/{name}") == (tmp_path / "out" / name).read_bytes()


def test_key_ranges_of_a_store_are_parts(
    world: Any, tmp_path: Path, engine: PooledEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_KEY_RANGE", 400)
    url = f"lancedb://{tmp_path / 'db'}#docs"
    ids = list(world.ids)
    create_store(url, ids, {"new": world.new, "old": world.old}).close()
    pairs = open_pairs(f"{url}.new", f"{url}.old", engine=engine)
    assert (len(pairs), len(pairs.parts)) == (1500, 4)
    row = {name: i for i, name in enumerate(ids)}
    for batch in pairs.batches(300):
        here = [row[name] for name in batch.ids.tolist()]
        np.testing.assert_array_equal(batch.x, world.new[here])
        np.testing.assert_array_equal(batch.y, world.old[here])
    bridge = fit(Pairs(world.new, world.old), recipe="procrustes")
    assert apply(bridge, f"{url}.new", tmp_path / "out", engine=engine) == 1500
    store = open_store(f"{url}.new")
    first = next(pairs.batches(300)).ids[:1]
    store.delete(first)
    store.close()
    # later ranges are read from the version of their cursor
    with pytest.raises(InputError, match=r"db#docs\.new, rows 0 to 399: the store has changed"):
        list(pairs.batches(300))


def test_arrow_files_and_arrays_are_read_like_parquet(
    world: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    import pyarrow as pa

    for number, rows in enumerate((slice(0, 600), slice(600, 1500))):
        flat = pa.array(world.new[rows].reshape(-1))
        columns = {"id": pa.array(world.ids[rows]),
                   "embedding": pa.FixedSizeListArray.from_arrays(flat, 12)}  # fmt: skip
        table = pa.table(columns)
        (tmp_path / "new").mkdir(exist_ok=True)
        place = str(tmp_path / "new" / f"{number}.arrow")
        with pa.OSFile(place, "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=250)
    np.savez(tmp_path / "old.npz", vectors=world.old, ids=world.ids)
    pairs = open_pairs(tmp_path / "new", tmp_path / "old.npz", engine=engine)
    whole = list(pairs.batches(8192))
    np.testing.assert_array_equal(np.concatenate([b.x for b in whole]), world.new)
    np.testing.assert_array_equal(np.concatenate([b.y for b in whole]), world.old)
    assert np.concatenate([b.ids for b in whole]).tolist() == world.ids.tolist()


def test_half_precision_is_widened(world: Any, tmp_path: Path, engine: PooledEngine) -> None:
    np.save(tmp_path / "half.npy", world.new.astype(np.float16))
    np.save(tmp_path / "double.npy", world.old.astype(np.float64))
    pairs = open_pairs(tmp_path / "half.npy", tmp_path / "double.npy", engine=engine)
    batch = pairs.head(20)
    assert (batch.x.dtype, batch.y.dtype) == (np.float32, np.float64)
    np.testing.assert_array_equal(batch.x, world.new[:20].astype(np.float16).astype(np.float32))
