"""Two models that agree on what texts mean and not on the axes, for tests without weights."""

from __future__ import annotations

import hashlib

import numpy as np

from isthmus.encoders import CallableEncoder

MEANING = 12


def meaning(text: str) -> np.ndarray:
    """Words have random directions; a text is their sum."""
    rows = [
        np.random.default_rng(
            int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
        ).normal(size=MEANING)
        for word in text.split()
    ]
    return np.sum(rows, axis=0)


class HashedEncoder(CallableEncoder):
    """Meanings seen through a random linear map of its own; counts what it encodes."""

    def __init__(self, name: str, dim: int, *, noise: float = 0.05) -> None:
        seed = int.from_bytes(name.encode(), "little") % 2**32
        axes = np.random.default_rng(seed).normal(size=(MEANING, dim)) / np.sqrt(MEANING)
        self.seen: list[str] = []

        def encode(texts: list[str]) -> np.ndarray:
            self.seen.extend(texts)
            rows = [meaning(text) for text in texts]
            own = [meaning(f"{name}:{text}") for text in texts]  # what this model alone sees
            found = (np.array(rows) + noise * np.array(own)) @ axes
            return found / np.linalg.norm(found, axis=1, keepdims=True)

        super().__init__(encode, name=name, revision="1", dim=dim)
