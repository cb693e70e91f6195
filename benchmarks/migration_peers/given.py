"""The rows that every tool moves: real texts by two real models, encoded once, then looked up."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Given", "encoder_over_http", "given", "random_rows"]

QUERIES = 500
MODELS = ("old", "new")


@dataclass(frozen=True)
class Given:
    """Vectors of documents and queries by both models, in files; a text is its row's number."""

    folder: Path
    rows: int

    def documents(self, model: str) -> np.ndarray:
        """``(n, d)``."""
        return np.load(self.folder / f"{model}.npy")

    def queries(self, model: str) -> np.ndarray:
        """``(nq, d)``; query i is answered by document i."""
        return np.load(self.folder / f"q_{model}.npy")

    def ids(self) -> list[str]:
        """The ids of the documents."""
        return [f"doc-{i:08d}" for i in range(self.rows)]

    def recall(self, asked: np.ndarray, documents: np.ndarray) -> float:
        """The share of queries whose document is among the first ten, by cosine."""
        found = unit(asked) @ unit(np.nan_to_num(documents)).T
        best = np.argsort(-found, axis=1)[:, :10]
        return float((best == np.arange(len(asked))[:, None]).any(axis=1).mean())


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length one; zeros stay."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-30)


def given(folder: Path, rows: int) -> Given:
    """The first texts of the demo's corpus, by its two models."""
    from isthmus.demo.corpus import load_corpus
    from isthmus.encoders import CachedEncoder, all_minilm_l6_int8, paraphrase_minilm_l3

    corpus = load_corpus(rows)
    encoders = CachedEncoder(paraphrase_minilm_l3()), CachedEncoder(all_minilm_l6_int8())
    for model, encoder in zip(MODELS, encoders, strict=True):
        np.save(folder / f"{model}.npy", encoder.encode(corpus.documents))
        asked = encoder.encode(list(corpus.queries[:QUERIES]), kind="query")
        np.save(folder / f"q_{model}.npy", asked)
    return Given(folder, rows)


def random_rows(folder: Path, rows: int, dim: int) -> Given:
    """Rows without a meaning, as many as are wanted; there are no queries."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for model in MODELS:
        np.save(folder / f"{model}.npy", rng.standard_normal((rows, dim), dtype=np.float32))
    return Given(folder, rows)


@contextmanager
def encoder_over_http(of: Given) -> Generator[str]:
    """An endpoint as OpenAI's, that looks the new model's vectors up; its address.

    It answers in base64 whoever asks for that, and in numbers all others, as OpenAI's does.
    """
    new = of.documents("new")

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
            packed = asked.get("encoding_format") == "base64"
            written = base64_of if packed else np.ndarray.tolist
            found = [
                {"object": "embedding", "index": i, "embedding": written(new[row_of(text)])}
                for i, text in enumerate(texts)
            ]
            body = json.dumps(
                {"object": "list", "data": found, "model": asked["model"],
                 "usage": {"prompt_tokens": len(texts), "total_tokens": len(texts)}}
            ).encode()  # fmt: skip
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: Any) -> None:
            del format, arguments

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()


def base64_of(row: np.ndarray) -> str:
    """Little-endian float32."""
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def row_of(text: str) -> int:
    """The row that a text names; texts of a probe name none, and get the first."""
    found = re.fullmatch(r"\d+", text.strip())
    return int(found[0]) if found else 0
