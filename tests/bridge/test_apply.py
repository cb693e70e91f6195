"""Files through a bridge."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.bridge import Bridge, apply, check_canary, fit
from isthmus.errors import InputError, OutputError, WrongSpaceError
from isthmus.spaces.pairs import Pairs
from isthmus.spaces.readers import open_vectors
from isthmus.spaces.writers import open_writer


@pytest.fixture
def rows(world: Any) -> np.ndarray:
    return world.seen("x", world.latent(5000))  # more than one block


@pytest.mark.parametrize("suffix", [".npy", ".safetensors", ".parquet"])
def test_the_output_holds_the_mapped_rows_and_their_ids(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path, suffix: str
) -> None:
    ids = np.arange(5000) * 3
    out = tmp_path / f"out{suffix}"
    told: list[Any] = []
    assert apply(bridge, rows, out, ids=ids, progress=lambda *t: told.append(t)) == 5000
    found = open_vectors(out)
    np.testing.assert_allclose(found.rows(0, 5000), bridge.transform(rows), atol=1e-6)
    np.testing.assert_array_equal(found.ids, ids)
    assert told[-1] == ("apply", 5000, 5000)


def test_without_ids_the_output_has_none(bridge: Bridge, rows: np.ndarray, tmp_path: Path) -> None:
    apply(bridge, rows, tmp_path / "out.npy")
    assert [file.name for file in tmp_path.iterdir()] == ["out.npy"]
    assert np.load(tmp_path / "out.npy").dtype == np.float32


def test_the_input_is_not_touched_and_is_no_output(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "x.npy"
    np.save(path, rows)
    before = path.read_bytes()
    apply(bridge, path, tmp_path / "out.npy")
    assert path.read_bytes() == before
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="the output is an input, which would be lost"):
            apply(bridge, path, path, overwrite=overwrite)
    assert path.read_bytes() == before


@pytest.mark.parametrize("row", [0, 4096, 4999])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0])
def test_a_bad_row_is_named_and_nothing_is_left(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path, row: int, bad: float
) -> None:
    rows[row] = bad
    with pytest.raises(InputError, match=f"vectors, row {row}: the row"):
        apply(bridge, rows, tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())


def test_a_file_of_nothing_but_bad_rows(bridge: Bridge, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="row 0: the row holds nan"):
        apply(bridge, np.full((300, 24), np.nan, np.float32), tmp_path / "out.npy")


def test_another_model_is_refused_wherever_it_begins(
    bridge: Bridge, rows: np.ndarray, world: Any, tmp_path: Path
) -> None:
    mixed = rows.copy()
    mixed[2000:] = np.roll(rows[2000:], 1, axis=1)
    with pytest.raises(WrongSpaceError, match="do not come from new"):
        apply(bridge, mixed, tmp_path / "out.npy")
    with pytest.raises(WrongSpaceError, match="it runs the other way"):
        apply(bridge.unproven(), world.seen("y", world.latent(400)), tmp_path / "out.npy")
    with pytest.raises(InputError, match="row 0: the vectors are 23 wide, expected 24"):
        apply(bridge, rows[:, 1:], tmp_path / "out.npy")
    assert not list(tmp_path.iterdir())
    apply(bridge, mixed, tmp_path / "out.npy", check=False)
    assert (tmp_path / "out.npy").exists()


def test_canaries_encoded_again_are_compared_by_id(world: Any, tmp_path: Path) -> None:
    z = world.latent(800)
    x, y = world.seen("x", z), world.seen("y", z)
    names = np.array([f"i{n}" for n in range(800)])
    bridge = fit(Pairs(x, y, ids=names))
    assert bridge.canary is not None
    few = np.array([names.tolist().index(i) for i in bridge.canary.ids])
    for name, ids, rows in (("same", names[few], x[few]), ("other", names[few], x[few[::-1]])):
        np.save(tmp_path / f"{name}.npy", rows)
        (tmp_path / f"{name}.ids.txt").write_text("\n".join(ids))
    check_canary(bridge, tmp_path / "same.npy")
    with pytest.raises(WrongSpaceError, match=f"canary '{names[few[0]]}'"):
        check_canary(bridge, tmp_path / "other.npy")
    (tmp_path / "other.ids.txt").write_text("\n".join(f"no {i}" for i in range(len(few))))
    with pytest.raises(InputError, match="none of the ids is a canary's"):
        check_canary(bridge, tmp_path / "other.npy")
    with pytest.raises(InputError, match="no ids"):
        check_canary(bridge, x[few])
    # a query may have the id of its document: the ids of the rows themselves prove nothing
    apply(bridge, x[::-1].copy(), tmp_path / "c.npy", ids=names)


def test_an_output_that_cannot_be_is_refused_before_work(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path
) -> None:
    told: list[Any] = []
    (tmp_path / "folder.npy").mkdir()
    for name, error, message in (
        ("out.csv", InputError, r"not written as '\.csv'"),
        ("missing/out.npy", OutputError, "missing does not exist"),
        ("folder.npy", OutputError, "exists already"),
    ):
        with pytest.raises(error, match=message):
            apply(bridge, rows, tmp_path / name, progress=lambda *t: told.append(t))
    with pytest.raises(OutputError, match="a folder has this name"):
        apply(bridge, rows, tmp_path / "folder.npy", overwrite=True)
    assert not told


@pytest.mark.parametrize("large", [1e38, 3e38])
def test_weights_that_are_finite_but_too_large_write_no_infinity(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path, large: float
) -> None:
    from dataclasses import replace

    from isthmus.adapters.chain import Affine, Chain

    matrix = np.full((bridge.source.dim, bridge.target.dim), large)
    huge = replace(bridge, chain=Chain([Affine(matrix)]))
    with pytest.raises(InputError, match=r"row \d+: the bridge maps this row to a number that is"):
        apply(huge, 100 * rows, tmp_path / "out.npy", check=False)
    assert not list(tmp_path.iterdir())
    # large and finite is written
    some = replace(bridge, chain=Chain([Affine(1e30 * np.eye(bridge.source.dim))]))
    assert apply(some, rows, tmp_path / "out.npy", check=False) == len(rows)


@pytest.mark.parametrize("engine", [None, "threads:2"])
@pytest.mark.parametrize("name", ["new.parquet", "new.jsonl", "new.npy"])
def test_ids_are_written_as_they_were(
    bridge: Bridge, rows: np.ndarray, tmp_path: Path, name: str, engine: str | None
) -> None:
    """A database knows an item by what is written; files of two systems are paired all the same."""
    composed = [f"caf\u00e9 {i}" for i in range(20)]
    decomposed = [unicodedata.normalize("NFD", one) for one in composed]
    path, out = tmp_path / name, tmp_path / ("out" if engine else "out.parquet")
    if name.endswith(".jsonl"):
        lines = [
            json.dumps({"id": one, "vector": row.tolist()})
            for one, row in zip(decomposed, rows[:20], strict=True)
        ]
        path.write_text("\n".join(lines), "utf-8")
    else:
        with open_writer(path, rows.shape[1], n=20) as writer:
            writer.write(rows[:20], decomposed)
    apply(bridge, path, out, engine=engine)
    found = open_vectors(out)
    assert found.written_ids is not None and found.written_ids.tolist() == decomposed
    assert found.ids is not None and found.ids.tolist() == composed
    paired = Pairs(rows[19::-1], open_vectors(out), ids=composed[::-1])
    np.testing.assert_array_equal(paired.source.rows(0, 20)[::-1], rows[:20])
