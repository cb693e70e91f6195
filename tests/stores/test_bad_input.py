"""What cannot be, at every kind of store: one sentence, what is near named, nothing half-done."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from tests.bridge.hashed_encoders import HashedEncoder
from tests.databases import KINDS, url_of

from isthmus.bridge import ModelChange, sample_store
from isthmus.encoders import CallableEncoder
from isthmus.errors import InputError, IsthmusError, WrongSpaceError
from isthmus.stores import create_store, open_store

N, DIM = 40, 16
# Chroma's own, of how it stores its configuration
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(f"w{w}" for w in rng.integers(0, 200, size=4)) for _ in range(N)]


@pytest.fixture(params=KINDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, texts: list[str]) -> str:
    """A collection of ``docs`` with a column ``vector`` and texts."""
    made = url_of(request.param, tmp_path, request)
    rows = HashedEncoder("old", DIM).encode(texts)
    create_store(made, np.arange(N), {"vector": rows}, {"text": texts}).close()
    return made


def misspelt(url: str) -> str:
    """Another collection than there is, by two letters."""
    before, docs, after = url.rpartition("docs")
    assert docs
    return f"{before}dosc{after}"


def files_of(folder: Path) -> set[Path]:
    return {
        f.relative_to(folder) for f in folder.rglob("*") if f.is_file() and "lock" not in f.name
    }


def one_sentence(error: BaseException) -> str:
    text = str(error)
    assert text and "\n" not in text and "Traceback" not in text
    return text


def test_names_that_are_not_there(url: str, tmp_path: Path) -> None:
    before = files_of(tmp_path)
    with pytest.raises(InputError) as refused:
        open_store(misspelt(url))
    assert "docs" in one_sentence(refused.value).replace("dosc", "")
    column = f"{url}.vectr" if "#" in url else f"{url}#vectr"
    with pytest.raises(InputError) as refused:
        open_store(column)
    assert "'vector'" in one_sentence(refused.value) or " vector" in str(refused.value)
    with pytest.raises(InputError) as refused:
        open_store(f"x{url}")
    one_sentence(refused.value)
    assert files_of(tmp_path) == before  # looking makes nothing


def broken(texts: list[str]) -> np.ndarray:
    return np.full((len(texts), DIM), np.nan)


ENCODERS: dict[str, tuple[Callable[[], ModelChange], str]] = {
    "another width": (
        lambda: ModelChange(HashedEncoder("new", 12), HashedEncoder("old", DIM + 1)),
        f"{DIM + 1} dimensions",
    ),
    "another model": (
        lambda: ModelChange(HashedEncoder("new", 12), HashedEncoder("other", DIM)),
        "are not those of other",
    ),
    "NaN": (
        lambda: ModelChange(CallableEncoder(broken, name="broken", revision="1", dim=DIM)),
        "broken",
    ),
}


def test_encoders_that_do_not_belong_to_the_index(url: str, tmp_path: Path) -> None:
    with open_store(url) as store:
        before = files_of(tmp_path)
        for models, said in ENCODERS.values():
            with pytest.raises((InputError, WrongSpaceError)) as refused:
                sample_store(store, models(), pairs=30)
            assert said in one_sentence(refused.value)
        assert store.count() == store.filled("vector") == N
        assert files_of(tmp_path) == before


def test_rows_that_cannot_be_put_leave_everything_as_it_was(url: str) -> None:
    with open_store(url) as store:
        held = store.fetch(np.arange(N), column="vector").vectors
        rows = np.ones((3, DIM), np.float32)
        tried = {
            "wide": (np.arange(3), np.ones((3, DIM + 1), np.float32)),
            "nan": (np.arange(3), np.where(np.eye(3, DIM) > 0, np.nan, rows)),
            "zero": (np.arange(3), np.zeros((3, DIM), np.float32)),
            "doubled": (np.array([1, 1, 2]), rows),
            "strings": (np.array(["a", "b", "c"]), rows),
        }
        for ids, given in tried.values():
            with pytest.raises(InputError) as refused:
                store.put(ids, given, column="vector")
            one_sentence(refused.value)
        np.testing.assert_array_equal(store.fetch(np.arange(N), column="vector").vectors, held)


def test_texts_that_are_gone(
    request: pytest.FixtureRequest, tmp_path: Path, texts: list[str]
) -> None:
    rows = HashedEncoder("old", DIM).encode(texts)
    models = ModelChange(HashedEncoder("new", 12))
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        bare = url_of(kind, tmp_path / kind, request)
        with create_store(bare, np.arange(N), {"vector": rows}, {"rank": list(range(N))}) as store:
            with pytest.raises(IsthmusError) as refused:
                sample_store(store, models, pairs=30)
            assert "texts of the items are gone, or are in one of its fields, rank" in one_sentence(
                refused.value
            )


def _client_writes(kind: str, folder: Path, ids: list[str]) -> str:
    """A collection of ``ids`` that the engine's own client wrote; its URL."""
    rows = np.eye(len(ids), 4, dtype=np.float32)
    if kind == "chroma":
        chromadb = pytest.importorskip("chromadb", reason="needs chromadb")
        client = chromadb.PersistentClient(
            str(folder / "db"), chromadb.Settings(anonymized_telemetry=False)
        )
        client.create_collection("docs").add(ids=ids, embeddings=rows)
        return f"chroma://{folder}/db#docs"
    if kind == "sqlite":
        with closing(sqlite3.connect(folder / "docs.db")) as made, made:
            made.execute("create table docs (id text primary key, vector blob)")
            both = zip(ids, map(bytes, rows), strict=True)
            made.executemany("insert into docs values (?, ?)", both)
        return f"sqlite://{folder}/docs.db?metric=cosine#docs"
    pa = pytest.importorskip("pyarrow", reason="needs pyarrow")
    vectors = pa.FixedSizeListArray.from_arrays(rows.ravel(), 4)
    table = pa.table({"id": ids, "vector": vectors})
    if kind == "parquet":
        pytest.importorskip("pyarrow.parquet").write_table(table, folder / "docs.parquet")
        return f"parquet://{folder}/docs.parquet"
    lancedb = pytest.importorskip("lancedb", reason="needs lancedb")
    lancedb.connect(folder / "db").create_table("docs", table)
    return f"lancedb://{folder}/db#docs"


@pytest.mark.parametrize(
    ("kind", "odd", "told"),
    [
        *(
            (kind, odd, "null")
            for kind in ("lancedb", "chroma", "parquet", "sqlite")
            for odd in ("a\0b", "a\0")
        ),
        *((kind, "", "an id is empty") for kind in ("lancedb", "parquet", "sqlite")),
    ],
)
def test_an_id_at_which_arrays_would_cut_is_refused(tmp_path, kind, odd, told):
    url = _client_writes(kind, tmp_path, ["a", odd, "c"])
    with pytest.raises(InputError, match=f"docs.*{told}"), open_store(url) as store:
        list(store.scan())
