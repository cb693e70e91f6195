from __future__ import annotations

import os
import subprocess
import sys
import traceback

import numpy as np
import pytest
from tests.stores.conformance import DIM, Conformance, gaussian, ids_of, read_all

from isthmus.errors import InputError, StoreUnavailableError
from isthmus.stores import create_store, open_store
from isthmus.stores.address import parse
from isthmus.stores.qdrant import QdrantStore
from isthmus.stores.qdrant.settings import settings_of

qdrant_client = pytest.importorskip("qdrant_client")
SERVER = os.environ.get("ISTHMUS_QDRANT_URL")
"""A running server as ``qdrant://host:6333``: the same suite then runs against it as well."""

PLACES = [":memory:", *([SERVER.removeprefix("qdrant://")] if SERVER else [])]


class TestQdrant(Conformance):
    stored_normalised = True
    quick = False

    @pytest.fixture(params=PLACES)
    def make(self, request, numbers):
        made = []

        def make(ids, vectors, payload=None, metric="cosine"):
            url = f"qdrant://{request.param}#docs{next(numbers)}"
            made.append(create_store(url, ids, vectors, payload, metric=metric))
            return made[-1]

        yield make
        for store in made:
            store._client.delete_collection(store.describe().name)
            store.close()

    def targets(self, store):
        """Names of collections that exist: Qdrant's aliases stand for no other."""
        name = store.describe().name
        models = qdrant_client.models
        store._client.create_collection(
            f"{name}_2", vectors_config={"v": models.VectorParams(size=2, distance="Dot")}
        )
        return name, f"{name}_2"


@pytest.fixture
def client():
    return qdrant_client.QdrantClient(":memory:")


def opened(client, name, url="qdrant://:memory:"):
    return QdrantStore(client, name, parse(f"{url}#{name}"), local=True)


def foreign(client, ids, vectors, **config):
    models = qdrant_client.models
    client.create_collection(
        "theirs", vectors_config=models.VectorParams(size=DIM, distance="Dot", **config)
    )
    client.upsert(
        "theirs",
        [
            models.PointStruct(id=i, vector=row.tolist(), payload={"content": f"text {i}", "n": 1})
            for i, row in zip(ids, vectors, strict=True)
        ],
    )


@pytest.mark.parametrize("kind", ["int", "uuid"])
def test_a_collection_of_somebody_else(client, kind):
    ids = ids_of(kind, 6) + 3 if kind == "int" else ids_of(kind, 6)
    rows = gaussian(6)
    foreign(client, ids.tolist(), rows)
    store = opened(client, "theirs")
    said = store.describe()
    assert (said.key, said.text_field, list(said.columns)) == (kind, "content", ["vector"])
    assert store.filled("vector") == 6
    np.testing.assert_array_equal(store.fetch(ids, column="vector").vectors, rows)
    assert sorted(read_all(store, column="vector", batch=4)["ids"].tolist()) == sorted(ids.tolist())
    assert store.search(rows[:1] * 9, 1, column="vector").found.all()
    assert store.put(ids[:1], rows[1:2], column="vector") == 1
    assert store.texts(ids[:1]) == [f"text {ids[0]}"]
    with pytest.raises(InputError, match="no vector column 'old'"):
        store.filled("old")


@pytest.mark.parametrize("first", ["int", "uuid"])
def test_ids_of_two_kinds_are_refused(client, first):
    ids = [7, *ids_of("uuid", 3).tolist()]
    foreign(client, ids if first == "int" else ids[::-1], gaussian(4))
    store = opened(client, "theirs")
    with pytest.raises(InputError, match="some points have integers for ids and others have not"):
        read_all(store, column="vector")


def test_an_item_without_the_id_that_the_others_carry(client):
    store = create_store("qdrant://:memory:#t", ids_of("str", 70), {"v": gaussian(70)})
    point = qdrant_client.models.PointStruct(
        id="ffffffff-ffff-ffff-ffff-ffffffffffff", vector={"v": [1.0] * DIM}, payload={}
    )
    store._client.upsert("t", [point])
    with pytest.raises(InputError, match=r"point ffffffff.* carries no id|carries no id"):
        read_all(store)


def test_the_same_id_is_the_same_point_everywhere():
    """The names of points are part of the format: they must never change."""
    store = create_store("qdrant://:memory:#t", np.array(["a"]), {"v": gaussian(1)})
    (point,) = store._client.scroll("t")[0]
    assert point.id == "7995d25f-4aea-56fb-866c-26dc158f5c15"
    assert point.payload == {"_isthmus_id": "a"}


def test_a_password_in_the_url_is_refused():
    with pytest.raises(InputError, match="is not read.*QDRANT_API_KEY") as told:
        open_store("qdrant://me:hunter2@127.0.0.1:1#c")
    assert "hunter2" not in str(told.value)


def test_nobody_answers_and_no_secret_is_told(monkeypatch):
    monkeypatch.setenv("QDRANT_API_KEY", "hunter2")
    with pytest.warns(UserWarning), pytest.raises(StoreUnavailableError) as told:
        open_store("qdrant://127.0.0.1:1#docs")
    assert "hunter2" not in "".join(traceback.format_exception(told.value))


def test_names_that_do_not_exist():
    with pytest.raises(InputError, match="no collection 'docs'.*There are: none"):
        open_store("qdrant://:memory:#docs")
    with pytest.raises(InputError, match="not clear which collection"):
        open_store("qdrant://:memory:")


def test_a_folder_that_is_open_elsewhere(tmp_path):
    url = f"qdrant://{tmp_path}/db#docs"
    with create_store(url, np.arange(3), {"v": gaussian(3)}):
        script = f"from isthmus.stores import open_store; open_store({url!r})"
        command = [sys.executable, "-c", script]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    told = [line for line in done.stderr.splitlines() if "StoreUnavailableError" in line][-1]
    assert "Qdrant lets one process have a folder at a time" in told
    assert "start a Qdrant server" in told


def test_a_second_collection_keeps_its_vectors_as_the_first(client):
    models = qdrant_client.models
    kept = models.VectorParams(
        size=3, distance="Dot", on_disk=True, datatype="float16",
        hnsw_config=models.HnswConfigDiff(m=32),
        quantization_config=models.BinaryQuantization(binary=models.BinaryQuantizationConfig()),
    )  # fmt: skip
    client.create_collection("docs", vectors_config={"v": kept})
    store = opened(client, "docs")
    told = "HNSW m=32, HNSW ef_construct=100, binary quantisation, float16 vectors, vectors on disk"
    assert store.kept_like() == told
    store.make_neighbour("docs__new", np.array(["a"]), {"new": np.ones((1, 5))}, {}, "cosine")
    (made,) = client.get_collection("docs__new").config.params.vectors.values()
    assert made == kept.model_copy(update={"size": 5, "distance": "Cosine"})


SERVERS_ANSWER = {
    "status": "green", "optimizer_status": "ok", "points_count": 3, "segments_count": 1,
    "config": {
        "params": {
            "vectors": {"v": {"size": 3, "distance": "Cosine", "datatype": "uint8"}},
            "shard_number": 2, "replication_factor": 1, "on_disk_payload": True,
        },
        "hnsw_config": {
            "m": 24, "ef_construct": 77, "full_scan_threshold": 10000, "on_disk": True,
            "max_indexing_threads": 2,
        },
        "optimizer_config": {
            "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000,
            "default_segment_number": 0, "indexing_threshold": 500, "flush_interval_sec": 5,
        },
        "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0},
        "quantization_config": {"scalar": {"type": "int8", "quantile": 0.99}},
    },
    "payload_schema": {
        "kind": {"data_type": "keyword", "points": 3},
        "text": {"data_type": "text", "points": 3,
                 "params": {"type": "text", "tokenizer": "word"}},
    },
}  # fmt: skip
"""As a server tells of a collection: the engine of the client keeps no such settings."""


def test_settings_of_a_server_are_taken_over():
    models = qdrant_client.models
    found = settings_of(models.CollectionInfo.model_validate(SERVERS_ANSWER), "v")
    assert found.collection["shard_number"] == 2
    assert found.collection["on_disk_payload"] is True
    assert found.collection["hnsw_config"].model_dump(exclude_none=True) == {
        "m": 24, "ef_construct": 77, "full_scan_threshold": 10000, "on_disk": True,
        "max_indexing_threads": 2,
    }  # fmt: skip
    assert found.collection["optimizers_config"].indexing_threshold == 500
    assert found.collection["quantization_config"].scalar.quantile == 0.99
    assert found.payload["kind"] == "keyword"
    assert found.payload["text"].tokenizer == "word"
    # bytes are not for vectors of any model
    assert found.vectors({"new": 5}, "dot")["new"].model_dump(exclude_none=True) == {
        "size": 5, "distance": "Dot",
    }  # fmt: skip
    assert str(found) == (
        "HNSW m=24, HNSW ef_construct=77, scalar quantisation, vectors on disk, payload on disk, "
        "indexes of the fields kind, text"
    )


def test_vectors_that_cannot_be_searched_are_named(client):
    models = qdrant_client.models
    client.create_collection(
        "docs",
        vectors_config={
            "far": models.VectorParams(size=2, distance="Manhattan"),
            "many": models.VectorParams(
                size=2, distance="Dot",
                multivector_config=models.MultiVectorConfig(comparator="max_sim"),
            ),
        },
    )  # fmt: skip
    said = "'far' compares by Manhattan distance, 'many' compares by several vectors an item"
    with pytest.raises(InputError, match=said):
        opened(client, "docs").describe()
