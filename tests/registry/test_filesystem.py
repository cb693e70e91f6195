"""A registry in file systems of fsspec: memory is written, any other is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from isthmus.errors import InputError, RegistryError
from isthmus.registry import Registry
from isthmus.registry.folder import Folder
from isthmus.registry.storage import open_storage

from .conftest import Make, number_in


def memory() -> str:
    return f"memory://registry-{os.urandom(6).hex()}"


def test_the_same_registry_as_in_a_folder(make: Make, tmp_path: Path) -> None:
    url = memory()
    registry = Registry.open(url, create=True)
    versions = [registry.publish(make(n), "table").version for n in (1, 2, 3)]
    for version in versions:
        registry.promote(f"table@sha256:{version}", "production")
    registry.deprecate(f"table@sha256:{versions[1]}", "wrong model")
    assert registry.rollback("table", "production").version == versions[0]
    registry = Registry.open(url)
    assert [release.digest for release in registry.list("table")] == versions
    registry.pull("table@production", tmp_path / "out")
    assert number_in(tmp_path / "out") == 1
    assert len(registry.verify()) == 3
    assert registry.gc(older_than=0).objects == 0
    storage = open_storage(url)
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    storage.put(f"blobs/sha256/{empty}", b"")
    assert registry.gc(older_than=3600).objects == 0
    assert registry.gc(older_than=0).objects == 1
    storage.delete(f"blobs/sha256/{empty}")
    with pytest.raises(InputError, match="changed while it was published"):
        storage.put("blobs/sha256/" + 64 * "0", b"other")


def test_threads_race_in_memory(make: Make) -> None:
    registry = Registry.open(memory(), create=True)
    places = [make(n) for n in range(16)]
    running = [
        threading.Thread(
            target=lambda own: [registry.publish(p, "table") for p in own], args=(places[part::4],)
        )
        for part in range(4)
    ]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    log = registry.log("table", "latest")
    assert [entry.sequence for entry in log] == list(range(16, 0, -1))
    assert len({entry.version for entry in log}) == 16


@pytest.fixture
def served(registry: Registry) -> Iterator[str]:
    """The registry's folder on a web server, which lists its folders as pages."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=registry.url))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_web_server_is_read_and_not_written(
    registry: Registry, served: str, make: Make, tmp_path: Path
) -> None:
    pytest.importorskip("aiohttp")
    versions = [registry.publish(make(n), "table").version for n in (1, 2)]
    for version in versions:
        registry.promote(f"table@sha256:{version}", "production")
    elsewhere = Registry.open(served)
    assert [release.digest for release in elsewhere.list("table")] == versions
    elsewhere.pull("table@production", tmp_path / "out")
    assert number_in(tmp_path / "out") == 2
    assert len(elsewhere.verify()) == 2
    for change in (
        lambda: elsewhere.rollback("table", "production"),
        lambda: elsewhere.publish(make(3), "table"),
        lambda: elsewhere.promote(f"table@sha256:{versions[0]}", "production"),
    ):
        with pytest.raises(RegistryError, match="can be read and not written"):
            change()
    assert len(registry.list("table")) == 2


def test_a_local_url_is_a_folder(registry: Registry) -> None:
    for protocol in ("file", "local"):
        assert isinstance(open_storage(f"{protocol}://{registry.url}"), Folder)


def test_what_is_no_file_system_is_refused() -> None:
    with pytest.raises(RegistryError, match="a registry is no 'nothing://'"):
        Registry.open("nothing://here")
    with pytest.raises(RegistryError, match="no registry here"):
        Registry.open(memory())
