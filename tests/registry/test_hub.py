"""Bridges on the Hugging Face Hub: a real client against a local server of its endpoints."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus import Bridge, Pairs, Space, fit
from isthmus.bridge import Fitting
from isthmus.errors import InputError, RegistryError
from isthmus.registry.hub import model_card, push

from .conftest import Make

hub = pytest.importorskip("huggingface_hub")

MAIN = "from isthmus.cli.app import main; main()"

pytestmark = pytest.mark.real


class Hub:
    """Repositories in memory, behind the endpoints that a push calls."""

    def __init__(self) -> None:
        self.address = ""
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.commits: list[dict[str, Any]] = []

    def answer(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        parts = path.partition("?")[0].strip("/").split("/")
        if parts == ["api", "repos", "create"]:
            told = json.loads(body)
            name = f"{told['organization']}/{told['name']}"
            if name.startswith("forbidden/"):
                return 403, {"error": "no rights here"}
            self.files.setdefault(name, {})
            self.private[name] = told.get("visibility") == "private" or bool(told.get("private"))
            return 200, {"url": f"{self.address}/{name}", "name": name, "id": name}
        if parts == ["api", "validate-yaml"]:
            return 200, {"errors": [], "warnings": []}
        name, action = "/".join(parts[2:4]), parts[4]
        if action == "preupload":
            asked = json.loads(body)["files"]
            told = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in asked
            ]
            return 200, {"files": told}
        assert action == "commit", path
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "header":
                self.commits.append(line["value"])
            else:
                content = base64.b64decode(line["value"]["content"])
                self.files[name][line["value"]["path"]] = content
        return 200, {
            "success": True, "commitOid": "0" * 40, "commitUrl": f"{self.address}/{name}/commit/0"
        }  # fmt: skip


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = self.headers.get("Content-Length")
            if length is None:
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(length))
            code, told = state.answer(self.path, body)
            answer = json.dumps(told).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("HF_ENDPOINT", state.address)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
    monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 8)).astype(np.float32)
    source, target = (
        Space(name=name, version="1.0.0", dim=8, metric="cosine", model=model)
        for name, model in (("new", "st:team/new-model"), ("old", "team/old-model"))
    )
    place = tmp_path_factory.mktemp("saved") / "b"
    pairs = Pairs(x, x[:, ::-1].copy())
    fit(pairs, recipe="procrustes", fitting=Fitting(source=source, target=target)).save(place)
    return place


def test_a_push_is_a_model_repository_that_a_bridge_is_loaded_from(
    served: Hub, saved: Path, tmp_path: Path
) -> None:
    address = push(saved, "team/bridge", private=True, license="apache-2.0", message="the first")
    assert address == f"{served.address}/team/bridge/commit/0"
    assert served.private == {"team/bridge": True}
    assert [commit["summary"] for commit in served.commits] == ["the first"]
    files = served.files["team/bridge"]
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        if name != "README.md":
            assert content == (saved / name).read_bytes()
    rows = np.random.default_rng(1).standard_normal((5, 8)).astype(np.float32)
    again = Bridge.load(tmp_path)
    np.testing.assert_array_equal(again.transform(rows), Bridge.load(saved).transform(rows))
    # as the Hub's own reader of model cards has it
    card = hub.ModelCard(files["README.md"].decode())
    assert card.data.library_name == "isthmus"
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == ["team/new-model", "team/old-model"]
    assert "bridge" in card.data.tags
    assert card.text.strip() == (saved / "CARD.md").read_text().strip()


def test_the_command_pushes(served: Hub, saved: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MAIN, "push", str(saved), "team/b", "--json"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "repository": "team/b", "commit": f"{served.address}/team/b/commit/0"
    }  # fmt: skip


def test_what_cannot_be_pushed_is_one_sentence(served: Hub, saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="Hub refuses"):
        push(saved, "forbidden/b")
    with pytest.raises(InputError, match="no name of a repository"):
        push(saved, "a/b/c/d")
    (tmp_path / "x").mkdir()
    with pytest.raises(InputError):
        push(tmp_path / "x", "team/b")
    assert served.files.keys() <= {"team/b"}


def test_an_artefact_without_a_card_has_a_sentence(make: Make) -> None:
    place = make(1)
    (place / "CARD.md").rename(place.with_name("card"))
    card = hub.ModelCard(model_card(place, "table"))
    assert card.data.tags[1] == "table"
    assert "base_model" not in card.data.to_dict()
