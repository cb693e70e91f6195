"""An encoder whose texts are divided over the workers of an engine, each with the model loaded."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from threadpoolctl import threadpool_limits

from isthmus.array_types import Embeddings
from isthmus.encoders import CachedEncoder, Encoder, Kind
from isthmus.encoders.checks import check_texts
from isthmus.encoders.open_encoder import open_encoder, open_model
from isthmus.encoders.protocol import gathered
from isthmus.errors import InputError, WrongSpaceError
from isthmus.progress import Progress, silent
from isthmus.scale.engine import PooledEngine

__all__ = ["DividedEncoder", "open_divided"]

_MOST = 64  # texts of one part: what is encoded again where a worker dies
_LEAST = 8
_PARTS = 4  # for each worker, so that none waits long for the last

_UNDIVIDED = {
    "openai": "an endpoint has workers of its own, and is asked by one process, which keeps one "
    "account of what is spent",
    "vectors": "its vectors are looked up, and nothing is encoded",
}


def open_divided(spelling: str, engine: PooledEngine, *, progress: Progress = silent) -> Encoder:
    """The encoder that ``spelling`` names, whose documents the workers of ``engine`` encode.

    What was encoded is kept by the process that asks, in the one cache that `open_encoder` gives
    it; a text that is known there is sent to nobody.  Queries, and a handful of texts, are encoded
    where they are asked.

    Args:
        spelling: see `open_encoder`; each worker opens it too, so that files lie in the same place.
        engine: has the workers; it stays the caller's to close.
        progress: as of `open_encoder`.

    Raises:
        InputError: for a model behind a URL, or vectors that are there already.
        IsthmusError: as `open_encoder`.

    Example:
        >>> from isthmus.scale import open_engine
        >>> with open_engine("threads:2") as engine:
        ...     open_divided("vectors:new.npy", engine)
        Traceback (most recent call last):
        isthmus.errors.InputError: vectors:new.npy: workers cannot take a share of it: ...
    """
    why = _UNDIVIDED.get(spelling.partition(":")[0])
    if why is not None:
        raise InputError(
            f"workers cannot take a share of it: {why}", where=spelling, mend="Leave --engine out"
        )
    opened = open_encoder(spelling, progress=progress)
    if isinstance(opened, CachedEncoder):
        return CachedEncoder(DividedEncoder(opened.encoder, spelling, engine), opened.cache)
    return DividedEncoder(opened, spelling, engine)


class DividedEncoder:
    """A model of this process, and the same one in each worker, which encode documents together.

    A part whose worker dies is encoded by another.  Vectors are handed out part by part
    (`InBatches`), so that a cache loses none of what was finished.

    Args:
        encoder: the model, opened here.
        spelling: how the workers open it.
        engine: has the workers.
    """

    def __init__(self, encoder: Encoder, spelling: str, engine: PooledEngine) -> None:
        self._here, self._engine, self._spelling = encoder, engine, spelling
        self.name, self.revision, self.dim = encoder.name, encoder.revision, encoder.dim
        self.workers = engine.workers

    def __repr__(self) -> str:
        return f"DividedEncoder({self._here!r}, workers={self.workers})"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`.

        Raises:
            WrongSpaceError: where a worker opens another model under this spelling.
            EngineError: for texts that fail twice, or where the engine is gone.
        """
        return gathered(self, self.batches(texts, kind=kind), len(texts), progress)

    def batches(
        self, texts: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[slice, Embeddings]]:
        """See `InBatches.batches`."""
        check_texts(texts)
        if kind == "query" or len(texts) <= _LEAST:
            yield slice(0, len(texts)), self._here.encode(texts, kind=kind)
            return
        size = min(_MOST, max(_LEAST, -(-len(texts) // (_PARTS * self.workers))))
        parts = [_Share(i, tuple(texts[i : i + size])) for i in range(0, len(texts), size)]
        encode = _Encode(self._spelling, kind, self.revision, _here())
        for index, found in self._engine.each(parts, encode):
            first = parts[index].first
            yield slice(first, first + len(found)), found


@dataclass(frozen=True)
class _Share:
    """Some consecutive texts."""

    first: int
    texts: tuple[str, ...]

    def __str__(self) -> str:
        return f"texts {self.first:,} to {self.first + len(self.texts) - 1:,}"


@dataclass(frozen=True)
class _Encode:
    """Encodes texts in a worker, by a model that it opens once."""

    spelling: str
    kind: Kind
    revision: str
    caller: tuple[str, int]
    """The host and process that asked."""

    def __call__(self, share: _Share) -> Embeddings:
        return self._model().encode(share.texts, kind=self.kind)

    def _model(self) -> Encoder:
        known: tuple[str, Encoder] | None = getattr(_OPENED, "model", None)
        if known is not None and (known[0], known[1].revision) == (self.spelling, self.revision):
            return known[1]
        model = open_model(self.spelling)
        if model.revision != self.revision:
            raise WrongSpaceError(
                f"the worker on {socket.gethostname()} opens another model by this name",
                where=self.spelling,
                mend="Put the same files in the same place on every machine",
            )
        if _here() != self.caller:
            # PyTorch would begin a thread a processor, in every worker
            threadpool_limits(1, user_api="openmp")
        _OPENED.model = (self.spelling, model)
        return model


_OPENED: Any = threading.local()  # of one thread, since some models cannot be shared by two


def _here() -> tuple[str, int]:
    return socket.gethostname(), os.getpid()
