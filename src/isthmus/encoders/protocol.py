"""What an encoder must do to be usable here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.progress import Progress, silent

__all__ = ["Encoder", "InBatches", "Kind", "gathered"]

Kind: TypeAlias = Literal["query", "document"]
"""What a text is used for; models trained with prefixes encode the two differently."""


class Encoder(Protocol):
    """A model that turns texts into vectors.

    An encoder is deterministic: a text's vector does not depend on the texts encoded with it, on
    their order or on the size of the batches, up to the rounding of float32.

    Example:
        >>> class Lengths:
        ...     name, revision, dim = "lengths", "1", 2
        ...     def encode(self, texts, *, kind="document", progress=None):
        ...         return np.array([[len(text), 1] for text in texts], np.float32)
        >>> encoder: Encoder = Lengths()
        >>> encoder.encode(["abc"], kind="query").tolist()
        [[3.0, 1.0]]
    """

    @property
    def name(self) -> str:
        """The model's name, as people know it."""
        ...

    @property
    def revision(self) -> str:
        """A text that differs whenever the vectors may differ: weights, vocabulary, options."""
        ...

    @property
    def dim(self) -> int:
        """The width of the vectors."""
        ...

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """Vectors ``(len(texts), dim)``, float32, finite, in the order of the texts.

        Args:
            texts: Any number of texts, none of them blank.
            kind: What the texts are used for.
            progress: Told the number of texts encoded so far.

        Raises:
            InputError: if a text is not a string, is blank, or cannot be encoded; it names the
                first offending row.
        """
        ...


@runtime_checkable
class InBatches(Protocol):
    """An encoder that hands out finished batches as they come, so that a failure loses none.

    Worth it where encoding costs money or fails half-way: a cache keeps every batch at once.

    Example:
        >>> from isthmus.encoders import CallableEncoder, InBatches
        >>> lengths = CallableEncoder(
        ...     lambda texts: [[len(t), 1] for t in texts], name="lengths", revision="1", dim=2
        ... )
        >>> isinstance(lengths, InBatches)
        False
    """

    def batches(
        self, texts: Sequence[str], *, kind: Kind = "document"
    ) -> Iterator[tuple[slice, Embeddings]]:
        """Parts of ``texts`` and their vectors, in any order, together all of them.

        Raises:
            IsthmusError: for a failure, after every batch that was still under way.
        """
        ...


def gathered(
    encoder: Encoder, batches: Iterator[tuple[slice, Embeddings]], n: int, progress: Progress
) -> Embeddings:
    """The ``n`` vectors of the ``batches`` of an encoder that is `InBatches`, in their order."""
    vectors = np.empty((n, encoder.dim), np.float32)
    done = 0
    for rows, found in batches:
        vectors[rows] = found
        done += len(found)
        progress(f"encoding with {encoder.name}", done, n)
    return vectors
