"""Peers, each in a virtual environment of its own, reached over a pipe.

Environments are kept in ``$ISTHMUS_CACHE/bench/venvs`` (``~/.cache/isthmus/bench/venvs``).  A peer
that cannot be installed or imported raises `Absent` with the reason.  Set
``ISTHMUS_BENCH_TORCH_INDEX`` (for example to ``https://download.pytorch.org/whl/cpu``) where plain
``pip install torch`` would bring a CUDA build.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Absent, Stopwatch

HERE = Path(__file__).parent
TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    """A distribution, the module it installs, and what its environment needs first."""

    name: str
    module: str
    python: tuple[int, int] = (3, 11)
    torch: bool = False
    fits: bool = True
    slow: bool = False
    why_not: str = ""
    also: tuple[str, ...] = ()
    """What it imports and does not declare."""
    purpose: str = ""
    requirement: str = ""
    """What pip is asked for, if it is not the name alone."""

    @property
    def worker(self) -> Path:
        prefix = f"{self.purpose}_" if self.purpose else ""
        return HERE / "workers" / f"{prefix}{self.name.replace('-', '_')}.py"


PEERS = {
    peer.name: peer
    for peer in (
        Peer("isotrieve", "isotrieve"),
        Peer("rebasis", "rebasis", python=(3, 12)),
        Peer("embspec", "embspec"),
        Peer("latentis", "latentis", torch=True, also=("transformers",)),
        Peer("rat-embed", "rat"),
        Peer("mini-vec2vec", "mini_vec2vec", python=(3, 12), slow=True),
        Peer(
            "embedding-adapters", "embedding_adapters", torch=True, fits=False,
            why_not="no public fit(X, Y): loads pretrained adapters for named models only",
        ),
        Peer(
            "vec2vec", "vec2vec", fits=False,
            why_not="the PyPI project of this name is a dimension reducer (matrix2vec), "
            "not the unpaired translator",
        ),
    )
}  # fmt: skip

_NOT_ON_PYPI = "not on PyPI"

SIMILARITY_PEERS = {
    peer.name: peer
    for peer in (
        Peer("latentis", "latentis", torch=True, also=("transformers",), purpose="similarity"),
        Peer("pytorch-cka", "cka", torch=True, purpose="similarity"),
        Peer(
            "torch-cka", "torch_cka", torch=True, also=("tqdm", "matplotlib"), purpose="similarity"
        ),
        Peer("repsim", "repsim", purpose="similarity"),
        Peer("rsatoolbox", "rsatoolbox", purpose="similarity"),
        Peer("resi", "resi", fits=False, why_not=_NOT_ON_PYPI),
        Peer("netrep", "netrep", fits=False, why_not=_NOT_ON_PYPI),
        Peer("platonic-rep", "platonic_rep", fits=False, why_not=_NOT_ON_PYPI),
        Peer("anatome", "anatome", fits=False, why_not=_NOT_ON_PYPI),
    )
}


MIGRATION_PEERS = {
    f"migration-{peer.name}": peer
    for peer in (
        Peer("rebasis", "rebasis", python=(3, 12), requirement="rebasis[lancedb]==0.1.0"),
        Peer("vecshift", "vecshift", requirement="vecshift==0.4.0"),
        Peer("embedflow", "embedflow", requirement="embedflow[faiss]==0.8.0"),
    )
}


def cache_folder() -> Path:
    root = os.environ.get("ISTHMUS_CACHE")
    return (Path(root) if root else Path.home() / ".cache" / "isthmus") / "bench"


def _interpreter(needed: tuple[int, int]) -> str:
    """This interpreter where it is new enough, else the first newer one that runs."""
    if sys.version_info[:2] >= needed:
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for minor in range(needed[1], needed[1] + 4):
        name = f"python{needed[0]}.{minor}"
        found = [shutil.which(name), *sorted(pyenv.glob(f"*/bin/{name}"))]
        for candidate in filter(None, found):
            runs = subprocess.run([candidate, "-c", "import ensurepip"], capture_output=True)
            if runs.returncode == 0:
                return str(candidate)
    raise Absent(f"needs Python ≥ {needed[0]}.{needed[1]}; none found")


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or ["no message"])[-1][:200]


def _pip(python: Path, *arguments: str) -> None:
    command = [str(python), "-m", "pip", "install", "--quiet", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise Absent(f"pip could not install {arguments[-1]}: {_last_line(done.stderr)}")


@functools.cache
def environment(name: str) -> Path:
    """The interpreter of the peer's environment, made on first use."""
    peer = PEERS.get(name) or SIMILARITY_PEERS.get(name) or MIGRATION_PEERS[name]
    folder = cache_folder() / "venvs" / name
    python = folder / "bin" / "python"
    ready = folder / "ready"
    if not ready.exists() or ready.read_text() != " ".join(peer.also):
        shutil.rmtree(folder, ignore_errors=True)
        base = _interpreter(peer.python)
        print(f"installing {name} into {folder}", file=sys.stderr, flush=True)
        subprocess.run([base, "-m", "venv", str(folder)], check=True)
        if peer.torch:
            index = os.environ.get("ISTHMUS_BENCH_TORCH_INDEX")
            _pip(python, *(["--index-url", index] if index else []), TORCH)
        _pip(python, peer.requirement or name, *peer.also)
        ready.write_text(" ".join(peer.also))
    with tempfile.TemporaryDirectory() as empty:
        probe = subprocess.run(
            [str(python), "-c", f"import {peer.module}"], capture_output=True, text=True, cwd=empty
        )
    if probe.returncode != 0:
        raise Absent(f"installed, but does not import: {_last_line(probe.stderr)}")
    return python


@functools.cache
def version(name: str) -> str:
    code = f"from importlib.metadata import version; print(version({name!r}))"
    done = subprocess.run(
        [str(environment(name)), "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


class Worker:
    """A peer's process: it holds the arrays, and fits or maps when told to."""

    def __init__(self, peer: Peer | str, folder: Path) -> None:
        peer = PEERS[peer] if isinstance(peer, str) else peer
        name = peer.name
        if peer.why_not == _NOT_ON_PYPI:
            raise Absent(peer.why_not)
        python = environment(name)
        if not peer.fits:
            raise Absent(peer.why_not)
        self.name = name
        self._process = subprocess.Popen(
            [str(python), "-P", str(HERE / "worker.py"), str(peer.worker)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=folder,
            stderr=(folder / f"{name}.stderr").open("w"),
        )  # fmt: skip
        self._folder = folder

    def ask(self, do: str, **rest: Any) -> dict[str, Any]:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        print(json.dumps({"do": do, **rest}), file=stdin, flush=True)
        line = stdout.readline()
        if not line:
            stderr = (self._folder / f"{self.name}.stderr").read_text()
            raise Absent(f"{self.name} stopped: {_last_line(stderr)}")
        answer = json.loads(line)
        if "error" in answer:
            raise Absent(f"{self.name}: {answer['error']}")
        return answer

    def load(self, x: Path, y: Path) -> list[str]:
        """Give it the training arrays; returns the names of its methods."""
        return self.ask("load", x=str(x), y=str(y))["methods"]

    def fit(self, method: str) -> Stopwatch:
        return lambda: float(self.ask("fit", method=method)["cpu"])

    def value(self, method: str) -> float:
        """What the last run of a measure gave."""
        return float(self.ask("value", method=method)["value"])

    def mapped(self, method: str, x: Path, y: Path) -> tuple[np.ndarray, np.ndarray | None]:
        """Held-out rows mapped by the last fit, and the gallery where the method maps that too."""
        out = self._folder / f"{self.name}.mapped.npy"
        gallery = self._folder / f"{self.name}.gallery.npy"
        answer = self.ask(
            "map", method=method, x=str(x), y=str(y), out=str(out), gallery=str(gallery)
        )
        return np.load(out), np.load(gallery) if answer["maps_gallery"] else None

    def close(self) -> None:
        stdin = self._process.stdin
        if stdin is not None:
            stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            # it has answered: on a busy machine it only takes long to leave
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
