"""An encoder that keeps what it encoded, and encodes each text once however many ask for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.encoders.cache import VectorCache, text_key
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Encoder, InBatches, Kind
from isthmus.locks import ForkLock
from isthmus.progress import Progress, silent

__all__ = ["CHUNK_ROWS", "CachedEncoder"]

CHUNK_ROWS = 1024
"""Texts that are encoded, and so can be lost, at once, by an encoder that is not `InBatches`."""


@dataclass(eq=False)
class _Flight:
    """What one caller is encoding now, and others wait for."""

    landed: threading.Event = field(default_factory=threading.Event)
    vectors: dict[bytes, Embeddings] = field(default_factory=dict)


class _Flights:
    """Which texts are being encoded in this process, and by whom."""

    def __init__(self) -> None:
        self._lock = ForkLock()
        self._of: dict[bytes, _Flight] = {}

    def board(self, keys: Sequence[bytes]) -> tuple[_Flight, list[bytes], dict[bytes, _Flight]]:
        """A new flight with the keys that no other has, those keys, and the flights of the rest."""
        flight, others = _Flight(), dict[bytes, _Flight]()
        own: list[bytes] = []
        with self._lock:
            for key in keys:
                taken = self._of.get(key)
                if taken is None:
                    self._of[key] = flight
                    own.append(key)
                else:
                    others[key] = taken
        return flight, own, others

    def land(self, flight: _Flight, keys: Sequence[bytes]) -> None:
        """End a flight; what it did not bring is free to be encoded by those who waited."""
        with self._lock:
            for key in keys:
                del self._of[key]
        flight.landed.set()


_FLIGHTS = _Flights()  # keys tell models apart, so that one table serves all encoders


class CachedEncoder:
    """An encoder whose vectors are kept, so that no text is encoded twice.

    Concurrent callers of one process that want the same text wait for the one that encodes it;
    vectors of an encoder that is `InBatches` are kept batch by batch, others in parts of
    `CHUNK_ROWS` texts, so that a killed run resumes where it was.

    Args:
        encoder: its ``name``, ``revision`` and ``dim`` identify the model.
        cache: by default, a `VectorCache` in the user's cache folder.

    Raises:
        OutputError: if the cache folder cannot be written.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import CallableEncoder
        >>> asked = []
        >>> def encode(texts):
        ...     asked.extend(texts)
        ...     return np.array([[len(t), 1.0] for t in texts])
        >>> model = CallableEncoder(encode, name="lengths", revision="1", dim=2)
        >>> kept = CachedEncoder(model, VectorCache(Path("cache")))
        >>> _ = kept.encode(["a", "bb"])
        >>> kept.encode(["bb", "ccc"]).tolist(), asked
        ([[2.0, 1.0], [3.0, 1.0]], ['a', 'bb', 'ccc'])
    """

    def __init__(self, encoder: Encoder, cache: VectorCache | None = None) -> None:
        self.encoder = encoder
        self.cache = VectorCache() if cache is None else cache
        self.name = encoder.name
        self.revision = encoder.revision
        self.dim = encoder.dim

    def __repr__(self) -> str:
        return f"CachedEncoder({self.encoder!r})"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`; texts that are known count as done at once.

        Raises:
            InputError: if a text or a vector is unusable.
            OutputError: if the cache cannot be written.
        """
        check_texts(texts)
        keys = [text_key(self.encoder, text, kind) for text in texts]
        rows_of: dict[bytes, list[int]] = {}
        for row, key in enumerate(keys):
            rows_of.setdefault(key, []).append(row)
        vectors = np.empty((len(texts), self.dim), np.float32)
        done = 0

        def arrived(found: dict[bytes, Embeddings]) -> None:
            nonlocal done
            for key, vector in found.items():
                vectors[rows_of[key]] = vector
                done += len(rows_of[key])
            if found:
                progress(f"encoding with {self.name}", done, len(texts))

        unique = list(rows_of)
        size = 8 * CHUNK_ROWS if isinstance(self.encoder, InBatches) else CHUNK_ROWS
        for start in range(0, len(unique), size):
            wanted = unique[start : start + size]
            while wanted:
                flight, own, others = _FLIGHTS.board(wanted)
                try:
                    known = self.cache.read(own, self.dim)
                    flight.vectors.update(known)
                    arrived(known)
                    missing = [key for key in own if key not in known]
                    for fresh in self._encoded(
                        missing, [texts[rows_of[key][0]] for key in missing], kind
                    ):
                        flight.vectors.update(fresh)
                        arrived(fresh)
                finally:
                    _FLIGHTS.land(flight, own)
                # only after one's own have landed, so that two callers never wait for each other
                wanted = []
                for key, other in others.items():
                    other.landed.wait()
                    if key in other.vectors:
                        arrived({key: other.vectors[key]})
                    else:
                        wanted.append(key)
        return vectors

    def _encoded(
        self, keys: Sequence[bytes], texts: Sequence[str], kind: Kind
    ) -> Iterator[dict[bytes, Embeddings]]:
        """The vectors of texts that are not known, each part kept before it is handed on."""
        if not texts:
            return
        for rows, found in self._parts(texts, kind):
            part = keys[rows]
            checked = check_encoded(
                found, rows=len(part), dim=self.dim, name=self.name, texts=texts[rows]
            )
            # zeros may be a server's mishap, and would be given out for ever
            some: NDArray[np.bool_] = np.any(checked, axis=1)
            kept = [key for key, good in zip(part, some.tolist(), strict=True) if good]
            self.cache.write(kept, checked[some])
            yield dict(zip(part, checked, strict=True))

    def _parts(self, texts: Sequence[str], kind: Kind) -> Iterator[tuple[slice, Embeddings]]:
        if isinstance(self.encoder, InBatches):
            yield from self.encoder.batches(texts, kind=kind)
        else:
            yield slice(0, len(texts)), self.encoder.encode(texts, kind=kind)
