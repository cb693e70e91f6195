from __future__ import annotations

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from isthmus.array_types import Embeddings
from isthmus.encoders import VectorCache
from isthmus.errors import InputError, OutputError

KEYS = [bytes([n]) * 32 for n in range(10)]


@pytest.fixture
def rows(rng: np.random.Generator) -> Embeddings:
    return rng.normal(size=(10, 384)).astype(np.float32)


def test_vectors_come_back_bit_for_bit(tmp_path: Path, rows: Embeddings) -> None:
    cache = VectorCache(tmp_path)
    cache.write(KEYS, rows)
    for reader in (cache, VectorCache(tmp_path)):
        found = reader.read([KEYS[7], b"absent", KEYS[2]], 384)
        assert list(found) != [] and set(found) == {KEYS[7], KEYS[2]}
        np.testing.assert_array_equal(found[KEYS[7]], rows[7])
        np.testing.assert_array_equal(found[KEYS[2]], rows[2])


def test_a_vector_of_another_width_is_absent(tmp_path: Path, rows: Embeddings) -> None:
    cache = VectorCache(tmp_path)
    cache.write(KEYS, rows)
    assert cache.read(KEYS, 383) == {}


def file_of(folder: Path) -> Path:
    (file,) = folder.glob("vectors-*.sqlite")
    return file


@pytest.mark.parametrize("damage", ["flip", "cut", "half", "empty", "text"])
def test_a_damaged_file_loses_vectors_and_never_gives_wrong_ones(
    tmp_path: Path, rows: Embeddings, damage: str
) -> None:
    subprocess.run(  # in a process of its own, whose end leaves one whole file
        [
            sys.executable,
            "-c",
            "import sys, numpy as np; from pathlib import Path;"
            "from isthmus.encoders import VectorCache;"
            "rows = np.load(sys.argv[2]);"
            "VectorCache(Path(sys.argv[1])).write([bytes([n]) * 32 for n in range(10)], rows)",
            str(tmp_path / "cache"),
            str(_saved(tmp_path, rows)),
        ],
        check=True,
    )
    file = file_of(tmp_path / "cache")
    good = file.read_bytes()
    place = good.index(rows[4].tobytes()[:64]) + 20
    file.write_bytes(
        {
            "flip": good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :],
            "cut": good[:-1],
            "half": good[: len(good) // 2],
            "empty": b"",
            "text": b"this is not a database, and never was one" * 1000,
        }[damage]
    )
    cache = VectorCache(tmp_path / "cache")
    found = cache.read(KEYS, 384)
    assert KEYS[4] not in found or damage == "cut"
    for key, vector in found.items():
        np.testing.assert_array_equal(vector, rows[KEYS.index(key)])
    if damage == "flip":
        assert len(found) == 9
    cache.write(KEYS, rows)
    np.testing.assert_array_equal(cache.read(KEYS, 384)[KEYS[4]], rows[4])
    np.testing.assert_array_equal(VectorCache(cache.folder).read(KEYS, 384)[KEYS[4]], rows[4])


@pytest.mark.parametrize(
    "change",
    ["content = 7", "content = 'text'", "content = zeroblob(9)", "used = 'then'"],
)
def test_values_of_other_types_are_absent(tmp_path: Path, rows: Embeddings, change: str) -> None:
    keys = [bytes([i]) * 32 for i in range(len(rows))]
    VectorCache(tmp_path).write(keys, rows)
    with sqlite3.connect(file_of(tmp_path)) as connection:
        connection.execute(f"UPDATE vectors SET {change} WHERE rowid = 1")
    found = VectorCache(tmp_path).read(keys, rows.shape[1])
    assert found.keys() == set(keys[1:])


def _saved(folder: Path, rows: Embeddings) -> Path:
    path = folder / "rows.npy"
    np.save(path, rows)
    return path


def test_the_least_recently_used_go_when_the_bound_is_passed(tmp_path: Path) -> None:
    now = [0.0]
    cache = VectorCache(tmp_path, most_bytes=2_000_000, clock=lambda: now[0])
    row = np.zeros((1, 2048), np.float32)  # 8 kB
    for n in range(200):
        now[0] += 100
        cache.write([n.to_bytes(32, "big")], row)
        assert cache.read([(3).to_bytes(32, "big")], 2048) or n < 3  # used again and again
    kept = [n for n in range(200) if cache.read([n.to_bytes(32, "big")], 2048)]
    assert kept[0] == 3
    assert kept[1:] == list(range(kept[1], 200))
    assert 80 < len(kept) < 200
    written_at_once = 1_000_000  # what SQLite keeps beside the file until it is merged
    size = sum(f.stat().st_size for f in tmp_path.iterdir() if f.suffix == ".sqlite")
    assert size < 2_000_000 + written_at_once


_WRITER = """
import sys, numpy as np
from pathlib import Path
from isthmus.encoders import VectorCache
me = int(sys.argv[2])
cache = VectorCache(Path(sys.argv[1]))
for n in range(60):
    keys = [(1000 * n + k).to_bytes(32, "big") for k in range(5)]
    cache.write(keys, np.full((5, 16), n, np.float32))
    assert all((v == n).all() for v in cache.read(keys, 16).values())
print(len(cache.read([(1000 * n).to_bytes(32, "big") for n in range(60)], 16)))
"""


def test_processes_share_a_folder(tmp_path: Path) -> None:
    running = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(tmp_path), str(n)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(3)
    ]
    ends = [process.communicate() for process in running]
    assert ends == [("60\n", "")] * 3
    assert len(VectorCache(tmp_path)) == 300


def test_a_process_killed_while_writing_leaves_whole_vectors(tmp_path: Path) -> None:
    endless = _WRITER.replace("range(60)", "range(10**6)").replace(
        "    assert", "    print(n, flush=True)\n    assert"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", endless, str(tmp_path), "0"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 20:
        pass
    process.kill()
    process.communicate()
    cache = VectorCache(tmp_path)
    assert len(cache) >= 100 and len(cache) % 5 == 0
    for n in range(20):
        (vector,) = cache.read([(1000 * n).to_bytes(32, "big")], 16).values()
        assert (vector == n).all()


def test_threads_share_an_instance(tmp_path: Path) -> None:
    cache = VectorCache(tmp_path)

    def work(n: int) -> int:
        keys = [(10 * n + k).to_bytes(32, "big") for k in range(10)]
        cache.write(keys, np.full((10, 8), n, np.float32))
        return len(cache.read(keys, 8))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(50))) == [10] * 50


def test_an_older_file_is_removed_once_it_has_a_successor(tmp_path: Path, rows: Embeddings) -> None:
    (tmp_path / "vectors-1.sqlite").write_bytes(b"old" * 5000)
    cache = VectorCache(tmp_path)
    cache.write(KEYS, rows)
    assert file_of(tmp_path).name == "vectors-2.sqlite"


def test_a_folder_that_cannot_be_used_names_the_variable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="ISTHMUS_CACHE"):
        VectorCache(tmp_path / "file")
    (tmp_path / "taken" / "vectors-1.sqlite").mkdir(parents=True)
    with pytest.raises(OutputError, match="ISTHMUS_CACHE"):
        VectorCache(tmp_path / "taken")


def test_a_bound_that_is_not_positive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="most_bytes"):
        VectorCache(tmp_path, most_bytes=0)
