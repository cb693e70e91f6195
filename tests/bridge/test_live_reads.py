"""What a fit reads of a live index, and what it holds: every row once, and never all of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder
from tests.databases import KINDS, url_of

from isthmus.bridge import ModelChange, fit_sample, sample_store
from isthmus.stores import ScanBatch, Store, create_store, open_store

N, DIM, PAIRS = 2000, 256, 300
# Chroma's own, of how it stores its configuration
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Counted:
    """A store that counts how often each row is read, and gives everything else on."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read: Counter[Any] = Counter()
        self.asked: Counter[Any] = Counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def scan(self, **options: Any) -> Iterator[ScanBatch]:
        for batch in self._store.scan(**options):
            self.read.update(batch.ids.tolist())
            yield batch

    def fetch(self, ids: Any, *, column: str) -> Any:
        self.read.update(np.asarray(ids).tolist())
        return self._store.fetch(ids, column=column)

    def texts(self, ids: Any) -> Any:
        self.asked.update(np.asarray(ids).tolist())
        return self._store.texts(ids)

    def filled(self, column: str) -> int:
        raise AssertionError("a column is counted by reading it")

    def search(self, *_: Any, **__: Any) -> Any:
        raise AssertionError("a search without an index reads every row")


@pytest.fixture(scope="module")
def models() -> ModelChange:
    return ModelChange(new=HashedEncoder("new", 16), old=HashedEncoder("old", DIM))


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 200, size=4)) for _ in range(N)]


@pytest.fixture(scope="module")
def rows(texts: list[str]) -> np.ndarray:
    return HashedEncoder("old", DIM).encode(texts)


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "qdrant":
        # its folders are slow
        return url_of("qdrant", tmp_path, request).replace(f"{tmp_path}/db", ":memory:")
    return url_of(request.param, tmp_path, request)


def fill(url: str, rows: np.ndarray, texts: list[str]) -> Store:
    ids = np.array([f"d{n:05d}" for n in range(len(rows))])
    return create_store(url, ids, {"old": rows}, payload={"text": texts})


def test_a_fit_reads_each_row_once(
    url: str, models: ModelChange, rows: np.ndarray, texts: list[str]
) -> None:
    n = 600
    with fill(url, rows[:n], texts[:n]) as store:
        counted: Any = Counted(store)
        sample = sample_store(counted, models, pairs=PAIRS)
        bridge = fit_sample(sample, models, recipe="procrustes")
    assert sample.count == n and bridge.evidence is not None
    assert len(counted.read) == n and set(counted.read.values()) == {1}
    # the texts of those that were sampled, and of the few to spare
    assert PAIRS <= len(counted.asked) <= 1.2 * PAIRS and set(counted.asked.values()) == {1}


def read_of_files() -> int:
    """Bytes that this process has read so far, as the kernel counts."""
    found = re.search(r"rchar: (\d+)", Path("/proc/self/io").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("url", ["lancedb", "parquet"], indirect=True)
def test_the_kernel_counts_the_vectors_once(
    url: str, models: ModelChange, rows: np.ndarray, texts: list[str]
) -> None:
    fill(url, rows, texts).close()
    read: list[int] = []
    for _ in range(2):  # the first time code is read too
        with open_store(url) as store:
            before = read_of_files()
            sample_store(store, models, pairs=PAIRS)
            read.append(read_of_files() - before)
    assert 1 <= read[1] / rows.nbytes < 1.5, read


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_the_server_counts_the_rows_once(
    url: str, models: ModelChange, rows: np.ndarray, texts: list[str]
) -> None:
    import psycopg

    fill(url, rows, texts).close()
    server, _, table = url.partition("#")
    with psycopg.connect(server, autocommit=True) as sql:
        # as the server does by itself after a while: counting reads the index alone from then on
        sql.execute(f"vacuum analyze {table}")

        def given() -> int:
            found = sql.execute(
                "select seq_tup_read + idx_tup_fetch from pg_stat_user_tables where relname = %s",
                (table,),
            ).fetchone()
            assert found is not None
            return found[0]

        before = given()
        with open_store(url) as store:
            sample_store(store, models, pairs=PAIRS)
        # what a connection read is told when it ends
        assert N + PAIRS <= wait_for(lambda: given() - before, N) <= N + 1.2 * PAIRS


def wait_for(value: Callable[[], int], least: int) -> int:
    """The value once it is at least ``least`` and no longer changes."""
    import time

    last = -1
    for _ in range(100):
        now = value()
        if now >= least and now == last:
            return now
        last = now
        time.sleep(0.05)
    return last


PROGRAM = """
import numpy as np
from isthmus.bridge import ModelChange, sample_store
from isthmus.encoders import CallableEncoder
from isthmus.stores import open_store

def new(texts):
    return np.array([[len(text), int(text), 1.0] for text in texts])

models = ModelChange(new=CallableEncoder(new, name="new", revision="1", dim=3))
with open_store(sys.argv[1]) as store:
    assert len(sample_store(store, models, pairs=1000)) == 1000
"""


def test_what_is_held_does_not_grow_with_the_table(tmp_path: Path, peak_megabytes: Any) -> None:
    pytest.importorskip("lancedb")
    rng = np.random.default_rng(0)
    held: dict[int, float] = {}
    for n in (12_500, 50_000):
        url = f"lancedb://{tmp_path}/{n}#docs"
        rows = rng.standard_normal((n, 384), dtype=np.float32)
        create_store(
            url, np.arange(n), {"old": rows}, payload={"text": [str(i) for i in range(n)]}
        ).close()
        held[n] = peak_megabytes(PROGRAM, url)
    # the vectors of the larger table alone are 77 MB, and 58 MB more than the others
    assert held[50_000] - held[12_500] < 40 and held[50_000] < 400, held
