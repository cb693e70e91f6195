"""Vectors that were made elsewhere, by the id of what they belong to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isthmus.array_types import Embeddings
from isthmus.encoders.checks import check_encoded, check_texts
from isthmus.encoders.protocol import Encoder, Kind
from isthmus.errors import InputError
from isthmus.progress import Progress, silent
from isthmus.spaces.readers import IdSource, VectorSource, open_vectors
from isthmus.spaces.scratch import blocks
from isthmus.spaces.text_ids import composed_text

__all__ = ["PrecomputedEncoder", "encode_items"]


class PrecomputedEncoder:
    """Looks vectors up by id: its "texts" are the ids of items or queries, as strings.

    Args:
        documents: vectors of items: anything `open_vectors` reads, with ids; without ids a row's
            id is its number.
        queries: vectors of queries, by ids of their own; by default, those of the items.
        ids: ids of the items, where they are not in the file.
        name: by default, what the file is called.

    Raises:
        InputError: if a side cannot be read, or the widths differ.

    Example:
        >>> import numpy as np
        >>> known = PrecomputedEncoder(np.eye(2, dtype="float32"), ids=["a", "b"], name="m")
        >>> known.encode(["b"]).tolist()
        [[0.0, 1.0]]
    """

    def __init__(
        self,
        documents: VectorSource,
        *,
        queries: VectorSource | None = None,
        ids: IdSource | None = None,
        name: str | None = None,
        progress: Progress = silent,
    ) -> None:
        sides = {"document": open_vectors(documents, ids=ids, progress=progress)}
        sides["query"] = (
            sides["document"] if queries is None else open_vectors(queries, progress=progress)
        )
        if sides["query"].dim != sides["document"].dim:
            raise InputError(
                f"the queries have {sides['query'].dim} dimensions, the items "
                f"{sides['document'].dim}",
                where=sides["query"].name,
                mend="Give vectors of one model",
            )
        self._sides = sides
        self._rows = {kind: _rows_by_id(side.ids, side.n) for kind, side in sides.items()}
        self.name = name or Path(sides["document"].name).stem
        self.dim = sides["document"].dim
        digest = hashlib.sha256()
        for side in dict.fromkeys(sides.values()):
            for part in blocks(side.n):
                digest.update(np.ascontiguousarray(side.rows(part.start, part.stop)).data)
                if side.ids is not None:
                    digest.update("\0".join(map(str, side.ids[part].tolist())).encode())
        self.revision = f"sha256:{digest.hexdigest()}"

    def __repr__(self) -> str:
        return f"PrecomputedEncoder({self.name!r}, dim={self.dim})"

    def encode(
        self, texts: Sequence[str], *, kind: Kind = "document", progress: Progress = silent
    ) -> Embeddings:
        """The vectors of the ids ``texts``, as items or as queries.

        Raises:
            InputError: naming the first id that has no vector.
        """
        check_texts(texts)
        known, side = self._rows[kind], self._sides[kind]
        try:
            rows = np.array([known[composed_text(text)] for text in texts], np.int64)
        except KeyError as error:
            raise InputError(
                f"there is no vector for the id {error}",
                where=side.name,
                mend="Give a file with a vector for every id that is asked for",
            ) from None
        # in the order of the file, so that a mapped one is read forwards
        order = np.argsort(rows)
        vectors = np.empty((len(rows), self.dim), np.float32)
        vectors[order] = side.take(rows[order]) if len(rows) else vectors
        progress(f"reading {self.name}", len(texts), len(texts))
        return check_encoded(vectors, rows=len(texts), dim=self.dim, name=self.name)


def encode_items(
    encoder: Encoder,
    ids: Sequence[Any],
    texts: Sequence[str],
    *,
    kind: Kind = "document",
    progress: Progress = silent,
) -> Embeddings:
    """Vectors of items known by id and text, from encoders that read either.

    Args:
        encoder: a `PrecomputedEncoder` gets the ids, any other the texts.
        ids: ``(n,)``.
        texts: ``(n,)``; not looked at for a `PrecomputedEncoder`.
        kind: What the texts are used for.
        progress: Told the number of texts encoded so far.

    Example:
        >>> np.save("docs.npy", np.eye(3, dtype=np.float32))
        >>> known = PrecomputedEncoder("docs.npy")
        >>> encode_items(known, [1], ["not looked at"]).tolist()
        [[0.0, 1.0, 0.0]]
    """
    by_id = isinstance(encoder, PrecomputedEncoder)
    return encoder.encode([str(i) for i in ids] if by_id else texts, kind=kind, progress=progress)


def _rows_by_id(ids: NDArray[Any] | None, n: int) -> dict[str, int]:
    names = range(n) if ids is None else ids.tolist()
    return {str(name): row for row, name in enumerate(names)}
