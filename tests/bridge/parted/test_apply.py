"""Files through a bridge: what one process writes, resumed where it was, whole at every moment."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.scale.killed_apply import killed_apply

from isthmus import Bridge, Pairs, apply, fit, open_vectors
from isthmus.errors import InputError, OutputError, WrongSpaceError
from isthmus.scale import open_engine
from isthmus.scale.engine import PooledEngine


@pytest.fixture(scope="module")
def engine() -> Iterator[PooledEngine]:
    with open_engine("threads:2") as running:
        yield running


@pytest.fixture(scope="module")
def bridge(world: Any) -> Bridge:
    return fit(Pairs(world.new, world.old), recipe="procrustes")


def _whole(folder: Path) -> Any:
    return open_vectors(folder)


@pytest.mark.parametrize("with_ids", [True, False])
def test_the_parts_hold_what_one_process_writes(
    with_ids: bool, bridge: Bridge, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    ids = world.ids if with_ids else None
    new = write(tmp_path / "new", world.new, ids, [300, 301, 1100], groups=200)
    assert apply(bridge, new, tmp_path / "out", engine=engine) == 1500
    apply(bridge, new, tmp_path / "one.parquet")
    found, expected = _whole(tmp_path / "out"), open_vectors(tmp_path / "one.parquet")
    np.testing.assert_allclose(found.rows(0, 1500), expected.rows(0, 1500), atol=1e-5)
    if with_ids:
        assert found.ids.tolist() == expected.ids.tolist()
    names = [f"part-{i}.parquet" for i in range(4)]
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == ["_manifest.json", *names]
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    assert (manifest["rows"], [p["file"] for p in manifest["parts"]]) == (1500, names)


def test_arrays_are_cut_into_ranges_and_carry_their_ids(
    bridge: Bridge, world: Any, tmp_path: Path, engine: PooledEngine, monkeypatch: Any
) -> None:
    monkeypatch.setattr("isthmus.scale.listing._PART_BYTES", 4 * 12 * 400)
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "a.npy", world.new)
    (tmp_path / "new" / "a.ids.txt").write_text("\n".join(world.ids.tolist()))
    assert apply(bridge, tmp_path / "new", tmp_path / "out", engine=engine) == 1500
    found = _whole(tmp_path / "out")
    np.testing.assert_allclose(found.rows(0, 1500), bridge.chain(world.new), atol=1e-5)
    assert found.ids.tolist() == world.ids.tolist()


def test_it_goes_on_where_it_was(
    bridge: Bridge, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    rows = world.new.copy()
    rows[1300] = np.inf
    new = write(tmp_path / "new", rows, None, [500, 1000])
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"part-2\.parquet, row 300"):
        apply(bridge, new, out, engine=engine, check=False)
    assert not (out / "_manifest.json").exists()
    finished = {f.name: f.stat().st_mtime_ns for f in out.glob("part-*.parquet")}
    assert "part-2.parquet" not in finished
    write(tmp_path / "mended", world.new, None, [500, 1000])
    (tmp_path / "mended" / "part-2.parquet").rename(new / "part-2.parquet")
    assert apply(bridge, new, out, engine=engine) == 1500
    for name, when in finished.items():
        assert (out / name).stat().st_mtime_ns == when
    np.testing.assert_allclose(_whole(out).rows(0, 1500), bridge.chain(world.new), atol=1e-5)


def test_a_finished_folder_is_brought_up_to_date(
    bridge: Bridge, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, None, [500, 1000])
    out = tmp_path / "out"
    apply(bridge, new, out, engine=engine)
    with pytest.raises(OutputError, match="exists already"):
        apply(bridge, new, out, engine=engine)
    before = {f.name: f.stat().st_mtime_ns for f in out.glob("part-*.parquet")}
    write(tmp_path / "more", world.new[::-1], None, [700])
    (tmp_path / "more" / "part-1.parquet").rename(new / "part-1.parquet")
    (new / "part-2.parquet").unlink()
    assert apply(bridge, new, out, engine=engine, overwrite=True) == 1300
    after = {f.name: f.stat().st_mtime_ns for f in out.glob("part-*.parquet")}
    assert sorted(after) == ["part-0.parquet", "part-1.parquet"]
    assert before["part-0.parquet"] == after["part-0.parquet"]
    assert before["part-1.parquet"] != after["part-1.parquet"]
    other = fit(Pairs(world.old, world.new), recipe="procrustes")
    apply(other, new, out, engine=engine, overwrite=True, check=False)
    assert (out / "part-0.parquet").stat().st_mtime_ns != before["part-0.parquet"]


def test_foreign_vectors_and_foreign_folders_are_refused(
    bridge: Bridge, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    old = write(tmp_path / "old", world.old, None, [500])
    with pytest.raises(WrongSpaceError):
        apply(bridge, old, tmp_path / "out", engine=engine)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    new = write(tmp_path / "new", world.new)
    with pytest.raises(OutputError, match="holds other files"):
        apply(bridge, new, tmp_path / "full", engine=engine)


def test_a_killed_run_leaves_whole_files_and_is_resumed(
    bridge: Bridge, world: Any, write: Any, tmp_path: Path, engine: PooledEngine
) -> None:
    new = write(tmp_path / "new", world.new, world.ids, range(0, 1500, 30))
    bridge.save(tmp_path / "bridge")
    out = tmp_path / "out"
    killed_apply(tmp_path, tmp_path / "bridge", new, out, lambda: any(out.glob("part-*.parquet")))
    for file in out.glob("part-*.parquet"):
        open_vectors(file)
    assert apply(bridge, new, out, engine=engine) == 1500
    np.testing.assert_allclose(_whole(out).rows(0, 1500), bridge.chain(world.new), atol=1e-5)
    assert _whole(out).ids.tolist() == world.ids.tolist()
