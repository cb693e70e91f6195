from __future__ import annotations

import itertools
import socket
import sqlite3
import subprocess
import sys
import time
import traceback
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of, read_all

from isthmus.errors import InputError, OutputError, StoreUnavailableError, UnsupportedError
from isthmus.stores import create_store, open_store
from isthmus.stores.beside import BesideStore

chromadb = pytest.importorskip("chromadb")
# Chroma's own modules warn on import and in use
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

ROWS = gaussian(6)


class Chroma(Conformance):
    second_column = False
    rounded = True
    quick = False


class TestChromaFolder(Chroma):
    @pytest.fixture
    def make(self, tmp_path):
        numbers = itertools.count()
        made = []

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"chroma://{tmp_path}/db#docs{next(numbers)}"
            made.append(create_store(url, ids, vectors, payload, metric=metric))
            return made[-1]

        yield make
        for store in made:
            store.close()


class Server:
    """Chroma's own server, started for real."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._folder = folder
        self.start()

    def start(self) -> None:
        command = Path(sys.executable).with_name("chroma")
        self._process = subprocess.Popen(
            [command, "run", "--path", self._folder, "--host", "127.0.0.1", "--port",
             str(self.port)],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        for _ in range(300):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v2/heartbeat"):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the Chroma server did not start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    running = Server(tmp_path_factory.mktemp("chroma"))
    yield running
    running.stop()


class TestChromaServer(Chroma):
    aliases = False

    @pytest.fixture
    def make(self, server, numbers):
        made = []

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"chroma://127.0.0.1:{server.port}#docs{next(numbers)}"
            made.append(create_store(url, ids, vectors, payload, metric=metric))
            return made[-1]

        yield make
        for store in made:
            store.close()


def test_a_collection_of_somebody_else(tmp_path):
    client = chromadb.PersistentClient(str(tmp_path), chromadb.Settings(anonymized_telemetry=False))
    theirs = client.create_collection("theirs", embedding_function=None)
    theirs.add(
        ids=list("abcdef"), embeddings=ROWS, documents=[f"text {i}" for i in range(6)],
        metadatas=[{"rank": i} for i in range(6)],
    )  # fmt: skip
    with open_store(f"chroma://{tmp_path}") as store:
        said = store.describe()
        assert (said.name, said.key, said.text_field) == ("theirs", "str", "text")
        column = said.column("vector")
        assert (column.dim, column.metric, store.filled("vector")) == (DIM, "l2", 6)
        assert not column.exact
        np.testing.assert_array_equal(
            store.fetch(np.array(["c"]), column="vector").vectors, ROWS[2:3]
        )
        assert store.payload(np.array(["b"])) == [{"rank": 1, "text": "text 1"}]


def test_what_chroma_does_not_keep(tmp_path):
    ids = ids_of("str", 6)
    with create_store(f"chroma://{tmp_path}#docs", ids, {"v": ROWS}, {"n": range(6)}) as store:
        with pytest.raises(InputError, match="no item without a vector"):
            store.add(ids[:1], {})
        with pytest.raises(InputError, match="'n' holds a dict"):
            store.add(ids[:1], {"v": ROWS[:1]}, {"n": [{"a": 1}]})
    with pytest.raises(UnsupportedError, match="one vector of each item"):
        create_store(f"chroma://{tmp_path}#more", ids, {"v": ROWS, "w": ROWS})


def test_an_alias_opens_what_it_stands_for(tmp_path):
    ids = ids_of("str", 6)
    create_store(f"chroma://{tmp_path}#one", ids, {"v": ROWS}).close()
    with create_store(f"chroma://{tmp_path}#two", ids[:2], {"v": ROWS[:2]}) as store:
        store.swap_alias("live", None, "two")
        assert open_store(f"chroma://{tmp_path}#live").count() == 2
        with pytest.raises(InputError, match="name of a collection"):
            store.swap_alias("one", None, "two")


def test_names_that_do_not_exist(tmp_path):
    url = f"chroma://{tmp_path}#docs"
    create_store(url, ids_of("str", 6), {"v": ROWS}).close()
    with pytest.raises(InputError, match="no collection 'dosc'. Did you mean 'docs'"):
        open_store(f"chroma://{tmp_path}#dosc")
    with pytest.raises(InputError, match="no vector column 'w'"):
        open_store(f"{url}.w")
    with pytest.raises(InputError, match="no Chroma database in"):
        open_store(f"chroma://{tmp_path}/nowhere#docs")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(InputError, match="'tenant' is not known .* default tenant"):
        open_store(f"chroma://{tmp_path}?tenant=acme#docs")
    with pytest.raises(OutputError, match="exists already"):
        create_store(url, ids_of("str", 6), {"v": ROWS})


def test_a_password_in_the_url_is_refused():
    with pytest.raises(InputError, match="is not read.*CHROMA_TOKEN") as told:
        open_store("chroma://me:hunter2@127.0.0.1:1#c")
    assert "hunter2" not in str(told.value)


def test_nobody_answers_and_no_secret_is_told(monkeypatch):
    monkeypatch.setenv("CHROMA_TOKEN", "hunter2")
    with pytest.raises(StoreUnavailableError) as told:
        open_store("chroma://127.0.0.1:1#docs")
    assert "hunter2" not in "".join(traceback.format_exception(told.value))


def test_a_server_that_goes_away_and_comes_back(tmp_path):
    server = Server(tmp_path)
    try:
        url = f"chroma://127.0.0.1:{server.port}#docs"
        ids = ids_of("int", 6)
        store = create_store(url, ids, {"v": ROWS}, metric="dot")
        scan = store.scan(column="v", batch=2)
        first = next(scan)
        server.stop()
        for ask in (
            lambda: next(scan),
            store.count,
            lambda: store.search(ROWS, 1, column="v"),
            lambda: store.put(ids, -ROWS, column="v"),
            lambda: open_store(url),
        ):
            with pytest.raises(StoreUnavailableError):
                ask()
        server.start()
        rest = read_all(store, column="v", after=first.cursor, batch=2)
        assert sorted([*first.ids, *rest["ids"]]) == ids.tolist()
        np.testing.assert_array_equal(store.fetch(ids, column="v").vectors, ROWS)
        store.close()
    finally:
        server.stop()


def test_the_index_of_a_second_collection_is_built_as_the_first_ones(tmp_path):
    hnsw = {"space": "l2", "max_neighbors": 9, "ef_construction": 77, "ef_search": 55}
    with create_store(f"chroma://{tmp_path}#other", ["a"], {"v": np.ones((1, 2))}) as other:
        made = other._client.create_collection(
            "docs", configuration={"hnsw": hnsw}, embedding_function=None
        )
        made.add(ids=["a", "b"], embeddings=np.eye(2).tolist(), documents=["x", "y"])
    with open_store(f"chroma://{tmp_path}#docs") as store:
        told = "HNSW max_neighbors=9, HNSW ef_construction=77, HNSW ef_search=55"
        assert store.kept_like() == told
        second = BesideStore(store, "new")
        second.add_column("new", 3, metric="cosine")
        second.put(np.array(["a"]), np.ones((1, 3), np.float32), column="new")
        assert second.second.store.kept_like() == told
        assert second.describe().column("new").metric == "cosine"


@pytest.mark.parametrize("kind", ["lancedb", "chroma"])
def test_letters_that_a_name_cannot_have_are_refused(tmp_path, kind):
    pytest.importorskip({"chroma": "chromadb"}.get(kind, kind))
    url = f"{kind}://{tmp_path}#docs"
    with create_store(url, ["a", "b"], {"v": np.eye(2)}, {"text": ["x", "y"]}) as store:
        BesideStore(store, "new-1.2_b").check_names("new-1.2_b", "live")
        with pytest.raises(InputError, match="would be called 'docs__neü 2', and such names"):
            BesideStore(store, "neü 2").check_names("neü 2", "live")


def test_items_that_are_held_just_so_are_not_written_again(tmp_path):
    """Their graph would be relinked, and neighbours be lost to every search by later additions."""
    ids, rows, name = ids_of("int", 6), ROWS[:, :5] * 40, "rank"
    payload = {"text": [f"text {i}" for i in ids], name: list(range(6))}
    folder = tmp_path / "db"
    store = create_store(f"chroma://{folder}#docs", ids[:5], {"vector": rows[:5]}, _of(payload, 5))

    def written() -> int:
        with sqlite3.connect(folder / "chroma.sqlite3") as database:
            return database.execute("select max(seq_id) from embeddings_queue").fetchone()[0]

    before = written()
    store.add(ids[:5], {"vector": rows[:5]}, _of(payload, 5))
    assert store.put(ids[:5], rows[:5], column="vector") == 5
    assert written() == before
    store.add(ids, {"vector": rows}, payload)
    assert written() == before + 1
    payload["text"][1], payload[name][2] = "edited", 7
    rows[3, 2] += 1e-3
    store.add(ids, {"vector": rows}, payload)
    assert written() == before + 4
    assert store.payload(ids[1:3]) == [
        {"text": "edited", name: 1},
        {"text": "text 11", name: 7},
    ]
    np.testing.assert_allclose(store.fetch(ids, column="vector").vectors, rows, rtol=1e-6)
    rows[4, 0] += 1e-3
    assert store.put(ids, rows, column="vector") == 6
    assert written() == before + 5
    np.testing.assert_allclose(store.fetch(ids, column="vector").vectors, rows, rtol=1e-6)
    store.close()


def _of(payload, n):
    return {name: values[:n] for name, values in payload.items()}
