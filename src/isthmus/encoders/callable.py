"""Any function from texts to vectors, as an encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from isthmus.array_types import Embeddings
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Kind
from isthmus.errors import InputError
from isthmus.progress import Progress, silent

__all__ = ["CallableEncoder"]


class CallableEncoder:
    """A function ``list of texts -> array (n, dim)`` with its inputs and outputs checked.

    Args:
        function: Called with lists of at most ``batch_size`` texts.
        name: The model's name.
        revision: Must be changed whenever the function's vectors change: the cache and the
            contracts go by it.
        dim: The width of the vectors.
        query_function: Called for queries instead, for models that encode them differently.
        batch_size: Texts per call.

    Example:
        >>> import numpy as np
        >>> lengths = CallableEncoder(
        ...     lambda texts: np.array([[len(t), 1.0] for t in texts]),
        ...     name="lengths", revision="1", dim=2,
        ... )
        >>> lengths.encode(["a", "abc"]).tolist()
        [[1.0, 1.0], [3.0, 1.0]]
    """

    def __init__(
        self,
        function: Callable[[list[str]], Any],
        *,
        name: str,
        revision: str,
        dim: int,
        query_function: Callable[[list[str]], Any] | None = None,
        batch_size: int = 256,
    ) -> None:
        for parameter, value in (("dim", dim), ("batch_size", batch_size)):
            if value < 1:
                raise InputError(
                    f"{value} is too small", where=parameter, mend="Give a positive number"
                )
        self._functions = {"document": function, "query": query_function or function}
        self.name = name
        self.revision = revision
        self.dim = dim
        self.batch_size = batch_size

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`.

        Raises:
            InputError: if a text cannot be encoded, or the function returns anything but finite
                numbers of shape ``(n, dim)``.
        """
        check_texts(texts)
        vectors = np.empty((len(texts), self.dim), np.float32)
        function = self._functions[kind]
        for start in range(0, len(texts), self.batch_size):
            batch = list(texts[start : start + self.batch_size])
            stop = start + len(batch)
            vectors[start:stop] = check_encoded(
                function(batch), rows=len(batch), dim=self.dim, name=self.name, texts=batch
            )
            progress(f"encoding with {self.name}", stop, len(texts))
        return vectors
