"""An encoder for tests that counts what it encodes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders import Kind
from isthmus.progress import Progress, silent


class Counting:
    """Counts the texts it encodes, and dies after a given number of calls."""

    dim = 3

    def __init__(self, *, name: str = "m", revision: str = "1", calls_left: int = 99) -> None:
        self.name = name
        self.revision = revision
        self.calls_left = calls_left
        self.seen: list[str] = []
        self._lock = threading.Lock()

    @property
    def encoded(self) -> int:
        return len(self.seen)

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        with self._lock:
            if self.calls_left == 0:
                raise KeyboardInterrupt
            self.calls_left -= 1
            self.seen.extend(texts)
        sign = -1 if kind == "query" else 1
        return np.array([[sign, len(t), float(t.split()[-1])] for t in texts], np.float32)
