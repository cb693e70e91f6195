"""Static encoders: the mean of one vector per token, without a network."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from isthmus.array_types import Embeddings
from isthmus.encoders.checks import check_encoded, check_texts, opening_of
from isthmus.encoders.protocol import Kind
from isthmus.encoders.tokenizer import load_tokenizer
from isthmus.errors import InputError
from isthmus.inputs import read_whole
from isthmus.progress import Progress, silent
from isthmus.spaces.formats.contents import reading

__all__ = ["StaticEncoder"]

_WINDOW = 4096  # texts whose tokens are held at once


class StaticEncoder:
    """The mean of a text's token vectors, scaled to unit length.

    Args:
        table: A safetensors file with one tensor ``(vocabulary, dim)``.
        tokenizer: See `load_tokenizer`; no special tokens are added.
        name: The model's name.

    Raises:
        MissingExtraError: if the package tokenizers is not installed.
        InputError: if a file cannot be loaded, or the table is not one matrix.

    Example:
        >>> from safetensors.numpy import save_file
        >>> from tokenizers import Tokenizer
        >>> from tokenizers.models import WordLevel
        >>> Tokenizer(WordLevel({"ab": 0, "cd": 1}, unk_token="ab")).save("tokenizer.json")
        >>> save_file({"table": np.eye(2, dtype=np.float32)}, "table.safetensors")
        >>> files = Path("table.safetensors"), Path("tokenizer.json")
        >>> StaticEncoder(*files, name="two words").encode(["cd"]).tolist()
        [[0.0, 1.0]]
    """

    def __init__(self, table: str | Path, tokenizer: str | Path, *, name: str) -> None:
        table, tokenizer = Path(table), Path(tokenizer)
        with reading(table, "safetensors"):
            content = read_whole(table)
            tensors = list(load(content).values())
        if len(tensors) != 1 or tensors[0].ndim != 2:
            raise InputError(
                f"the tensors have the shapes {[tensor.shape for tensor in tensors]}",
                where=str(table),
                mend="Give a file with one matrix of token vectors",
            )
        self.name = name
        self._table = tensors[0].astype(np.float32)
        self.dim = int(self._table.shape[1])
        self._tokenizer = load_tokenizer(tokenizer)
        digest = hashlib.sha256(hashlib.sha256(content).digest() + read_whole(tokenizer))
        self.revision = f"sha256:{digest.hexdigest()}"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """See `Encoder.encode`; queries and documents are encoded alike, rows have unit norm.

        Raises:
            InputError: also if a text holds no token of the vocabulary.
        """
        check_texts(texts)
        vectors = np.empty((len(texts), self.dim), np.float32)
        for start in range(0, len(texts), _WINDOW):
            encodings = self._tokenizer.encode_batch(
                list(texts[start : start + _WINDOW]), add_special_tokens=False
            )
            for row, encoding in enumerate(encodings, start=start):
                if not encoding.ids:
                    raise InputError(
                        "a text holds no token of the vocabulary",
                        where=f"text '{opening_of(texts[row])}'",
                        mend="Drop the row",
                    )
                mean = self._table[encoding.ids].mean(axis=0, dtype=np.float64)
                vectors[row] = mean / max(np.linalg.norm(mean), np.finfo(np.float64).tiny)
            progress(f"encoding with {self.name}", start + len(encodings), len(texts))
        return check_encoded(vectors, rows=len(texts), dim=self.dim, name=self.name)
