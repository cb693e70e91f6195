"""Mutated files of every format end in one sentence or are read: never in a raw error."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from isthmus.errors import IsthmusError
from isthmus.spaces.readers import open_vectors

ROWS = np.random.default_rng(5).standard_normal((40, 8)).astype(np.float32)
TIMES = 150
"""Mutations of each kind; ``python -m tests.spaces.formats.test_damaged 20000`` tries more."""


def _npy(version: tuple[int, int]) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        with (folder / "a.npy").open("wb") as file:
            np.lib.format.write_array(file, ROWS, version=version)
        return folder / "a.npy"

    return write


def _npz(folder: Path) -> Path:
    np.savez(folder / "a.npz", ids=np.arange(40), vectors=ROWS)
    return folder / "a.npz"


def _npz_compressed(folder: Path) -> Path:
    np.savez_compressed(folder / "a.npz", ids=np.array([f"d{i}" for i in range(40)]), vectors=ROWS)
    return folder / "a.npz"


def _safetensors(folder: Path) -> Path:
    save_file({"ids": np.arange(40), "vectors": ROWS}, folder / "a.safetensors")
    return folder / "a.safetensors"


def _table(folder: Path, suffix: str) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table(
        {"id": [f"d{i}" for i in range(40)], "x": pa.array(ROWS.tolist(), pa.list_(pa.float32()))}
    )
    path = folder / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.ipc.new_file(path, table.schema) as writer:
            writer.write_table(table)
    return path


def _parquet(folder: Path) -> Path:
    return _table(folder, ".parquet")


def _arrow(folder: Path) -> Path:
    return _table(folder, ".arrow")


def _jsonl(folder: Path) -> Path:
    lines = [json.dumps({"id": i, "embedding": row.tolist()}) for i, row in enumerate(ROWS)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    return folder / "a.jsonl"


def _csv(folder: Path) -> Path:
    out = io.StringIO("id,embedding\n")
    out.seek(0, 2)
    for i, row in enumerate(ROWS):
        out.write(f'{i},"{json.dumps(row.tolist())}"\n')
    (folder / "a.csv").write_text(out.getvalue())
    return folder / "a.csv"


def _word2vec(folder: Path) -> Path:
    lines = [f"w{i} {' '.join(map(str, row.tolist()))}" for i, row in enumerate(ROWS)]
    (folder / "a.vec").write_text("40 8\n" + "\n".join(lines))
    return folder / "a.vec"


WRITERS = [
    *(_npy(version) for version in ((1, 0), (2, 0), (3, 0))),
    *(_npz, _npz_compressed, _safetensors, _parquet, _arrow, _jsonl, _csv, _word2vec),
]


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content with bytes changed, cut, doubled, or numbers made very large."""
    changed = bytearray(content)
    head = min(len(changed), 256) if rng.random() < 0.6 else len(changed)
    match int(rng.integers(5)):
        case 0:
            for place in rng.integers(head, size=int(rng.integers(1, 6))):
                changed[place] = int(rng.integers(256))
        case 1:
            del changed[int(rng.integers(head)) :]
        case 2:
            start = int(rng.integers(head))
            del changed[start : start + int(rng.integers(1, 40))]
        case 3:
            start = int(rng.integers(head))
            changed[start:start] = changed[start : start + int(rng.integers(1, 40))]
        case _:
            place = int(rng.integers(head))
            changed[place] = int(rng.choice(list(b"0123456789\x00\xff-.e[]{}(),:'\"TLnu")))
    return bytes(changed)


def raw_error(path: Path) -> BaseException | None:
    """What reading the file raised, unless it is an error made on purpose."""
    try:
        vectors = open_vectors(path)
        vectors.rows(0, vectors.n)
    except IsthmusError:
        return None
    except Exception as error:
        return error
    return None


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damaged_files_end_in_one_sentence(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    path = write(tmp_path)
    good = path.read_bytes()
    assert open_vectors(path).n == 40
    rng = np.random.default_rng(0)
    for number in range(TIMES):
        path.write_bytes(mutated(good, rng))
        error = raw_error(path)
        assert error is None, f"mutation {number}: {type(error).__name__}: {error}"
