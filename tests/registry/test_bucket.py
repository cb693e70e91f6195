"""A registry in a bucket, on a real HTTP server that speaks S3."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("moto")
pytest.importorskip("s3fs")

from benchmarks.registry_kills import killed_writers
from benchmarks.s3_server import s3_bucket, s3_server, s3_settings
from isthmus.errors import InputError, RegistryError
from isthmus.registry import Registry
from isthmus.registry.storage import open_storage

from .conftest import Make, check_like_a_folder

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    for name, value in s3_settings(endpoint).items():
        monkeypatch.setenv(name, value)
    return s3_bucket()


def test_killed_writers_leave_a_whole_registry(bucket: str, tmp_path: Path) -> None:
    # python -m benchmarks.registry_kills --s3 does a hundred
    found = killed_writers(f"s3://{bucket}/registry", tmp_path, kills=8, longest=1.5)
    assert found.during >= 1
    assert found.moves > 2


def test_the_same_registry_as_in_a_folder(bucket: str, make: Make, tmp_path: Path) -> None:
    place = f"{bucket}/team/registry"
    registry = check_like_a_folder(f"s3://{place}", f"s3://{place}", make, tmp_path / "out")
    # the bytes are those of the registry in a folder
    local = Registry.open(tmp_path / "local", create=True)
    first = registry.list("table")[0].digest
    assert local.publish(tmp_path / "artefact-1", "table").version == first


def test_what_is_missing_or_too_large(bucket: str, make: Make, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="no registry here"):
        Registry.open(f"s3://{bucket}/nothing")
    with pytest.raises(RegistryError, match="the server refuses|no registry here"):
        Registry.open(f"s3://no{bucket}/nothing", create=True)
    registry = Registry.open(f"s3://{bucket}", create=True)
    entry = registry.publish(make(1), "table")
    storage = open_storage(registry.url)
    held = storage.get("refs/table/latest", 10_000)
    assert held is not None and held.content == entry.content
    assert storage.swap("refs/table/latest", held.tag, b" " * 100_000)
    assert not storage.swap("refs/table/latest", held.tag, b"late")
    assert not storage.swap("refs/table/latest", None, b"late")
    with pytest.raises(InputError, match="larger than"):
        registry.show("table")
    storage.delete("refs/table/latest")
    assert not storage.swap("refs/table/latest", held.tag, b"late")
    assert storage.swap("refs/table/latest", None, held.content)
    blob = registry.show("table").version.files["CARD.md"].sha256
    storage.delete(f"blobs/sha256/{blob}")
    with pytest.raises(InputError, match="missing from the registry"):
        registry.pull("table", tmp_path / "out")
    assert not (tmp_path / "out").exists()


RACE = """
import sys
from pathlib import Path
from isthmus.registry import Registry

registry, place, first = Registry.open(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
for n in range(first, first + 8):
    registry.publish(place / f"artefact-{n}", "table", by=f"client {first}")
"""


def test_two_clients_race(bucket: str, make: Make, tmp_path: Path) -> None:
    registry = Registry.open(f"s3://{bucket}/race", create=True)
    for n in range(16):
        make(n)
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", RACE, registry.url, str(tmp_path), str(first)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for first in (0, 8)
    ]
    for client in clients:
        assert client.stdout is not None and client.stdout.readline() == b"ready\n"
    for client in clients:
        client.communicate(b"go\n", timeout=120)
        assert client.returncode == 0
    log = registry.log("table", "latest")
    assert [entry.sequence for entry in log] == list(range(16, 0, -1))
    assert len({entry.version for entry in log}) == 16
    assert len(registry.verify()) == 16
