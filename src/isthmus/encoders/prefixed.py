"""Prefixes for models that were trained to tell queries from documents by their first words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from isthmus.array_types import Embeddings
from isthmus.encoders.cached import CHUNK_ROWS
from isthmus.encoders.checks import check_texts
from isthmus.encoders.protocol import Encoder, InBatches, Kind
from isthmus.progress import Progress, silent

__all__ = ["PrefixedEncoder"]


class PrefixedEncoder:
    """An encoder that reads ``query: how do rivers meet`` where ``how do rivers meet`` is asked.

    Args:
        encoder: what encodes the longer texts.
        query: stands before every query, as it is: a space at its end is not added.
        document: stands before every document.

    Example:
        >>> import numpy as np
        >>> from isthmus.encoders import CallableEncoder
        >>> lengths = CallableEncoder(
        ...     lambda texts: np.array([[len(t)] for t in texts]), name="len", revision="1", dim=1
        ... )
        >>> PrefixedEncoder(lengths, query="query: ").encode(["abc"], kind="query").tolist()
        [[10.0]]
    """

    def __init__(self, encoder: Encoder, *, query: str = "", document: str = "") -> None:
        self.encoder = encoder
        self._prefixes = {"query": query, "document": document}
        self.name = encoder.name
        self.dim = encoder.dim
        self.revision = f"{encoder.revision}, query={query!r}, document={document!r}"

    def __repr__(self) -> str:
        return f"PrefixedEncoder({self.encoder!r}, {self._prefixes})"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`."""
        return self.encoder.encode(self._longer(texts, kind), kind=kind, progress=progress)

    def batches(
        self, texts: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[slice, Embeddings]]:
        """See `InBatches.batches`; parts of `CHUNK_ROWS`, where the encoder hands out none."""
        longer = self._longer(texts, kind)
        if isinstance(self.encoder, InBatches):
            yield from self.encoder.batches(longer, kind=kind)
        else:
            for start in range(0, len(longer), CHUNK_ROWS):
                rows = slice(start, min(start + CHUNK_ROWS, len(longer)))
                yield rows, self.encoder.encode(longer[rows], kind=kind)

    def _longer(self, texts: Sequence[str], kind: Kind) -> list[str]:
        check_texts(texts)
        return [self._prefixes[kind] + text for text in texts]
