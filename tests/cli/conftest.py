"""Files of two models, a bridge between them, and the command line in this process."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isthmus.cli.app import main
from isthmus.cli.json_schemas import json_schema, known_schemas

N, D = 1500, 24


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    def refused(self, *texts: str) -> None:
        """One line that begins with "error:", and holds these texts; exit code 2, no result."""
        assert self.code == 2, self
        assert not self.out
        lines = [line for line in self.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err
        assert "Warning" not in self.err
        for text in texts:
            assert text in lines[0], lines[0]


Cli = Callable[..., Done]


@cache
def _schema(command: str) -> Any:
    jsonschema = pytest.importorskip("jsonschema")
    return jsonschema.Draft202012Validator(json_schema(command, closed=True))


def held_to_schema(arguments: list[str], out: str) -> None:
    """Whatever any test has a command print as JSON is what its closed schema says."""
    named = [a for a in arguments if not a.startswith("-")]
    command = next(
        (c for c in (" ".join(named[:2]), named[0]) if c in known_schemas()),
        "error",  # bad usage, before any command ran
    )
    try:
        printed = [json.loads(out)]
    except ValueError:
        printed = [json.loads(line) for line in out.splitlines()]
    for result in printed:
        told = isinstance(result, dict) and result.keys() == {"error"}
        _schema("error" if told else command).validate(result)


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*arguments: object) -> Done:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["isthmus", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "100")
        with pytest.raises(SystemExit) as left:
            main()
        found = capsys.readouterr()
        if "--json" in arguments:
            held_to_schema([str(a) for a in arguments], found.out)
        return Done(int(left.value.code or 0), found.out, found.err)

    return run


@pytest.fixture
def posted() -> Iterator[tuple[str, list[Any]]]:
    """A server that keeps what is posted to it."""
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            got.append(json.loads(self.rfile.read(length)))
            self.send_response(500 if "fails" in self.path else 204)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


def make(seed: int = 0, n: int = N, d: int = D, noise: float = 0.15) -> dict[str, np.ndarray]:
    """Items and a query about each, by two models with decaying spectra."""
    models, rng = np.random.default_rng(7), np.random.default_rng(seed)
    spectrum = np.arange(1, d + 1) ** -0.75
    bases = {m: np.linalg.qr(models.standard_normal((d, d)))[0] for m in ("old", "new")}
    means = {m: models.standard_normal(d) * 0.6 / d**0.5 for m in ("old", "new")}
    items = rng.standard_normal((n, d))
    latent = {"": items, "q_": items + 0.3 * rng.standard_normal((n, d))}
    return {
        f"{kind}{model}": (
            ((z + noise * (model == "old") * rng.standard_normal(z.shape)) * spectrum)
            @ bases[model]
            + means[model]
        ).astype(np.float32)
        for kind, z in latent.items()
        for model in ("old", "new")
    }


@pytest.fixture(scope="session")
def make_upgrade() -> Callable[..., dict[str, np.ndarray]]:
    return make


@pytest.fixture(scope="session")
def data() -> dict[str, np.ndarray]:
    return make()


@pytest.fixture
def here(tmp_path: Path, data: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with ``old.npy``, ``new.npy``, ``q_old.npy`` and ``q_new.npy``; we are in it."""
    for name, rows in data.items():
        np.save(tmp_path / f"{name}.npy", rows)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def fitted(data: dict[str, np.ndarray]) -> Any:
    from isthmus import Pairs, fit

    return fit(Pairs(data["new"], data["old"]), queries=Pairs(data["q_new"], data["q_old"]))


@pytest.fixture
def bridge(here: Path, fitted: Any) -> Path:
    """``my.bridge``, a query bridge beside the files it was fitted on."""
    fitted.save(here / "my.bridge")
    return here / "my.bridge"


@pytest.fixture
def queries() -> tuple[str, ...]:
    return ("--queries-old", "q_old.npy", "--queries-new", "q_new.npy")
