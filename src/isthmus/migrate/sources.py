"""What new vectors are made from: the texts of the items, or their saved old vectors.

A source names what it reads of each item by a hash, so that a vector made from something else than
the item holds now is known, and nothing is mapped twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import Bridge
from isthmus.encoders import Encoder, PrecomputedEncoder, encode_items
from isthmus.encoders.checks import check_encoded
from isthmus.errors import ModelChangedError
from isthmus.migrate.marks import Hashes, hashes_of, row_hashes
from isthmus.migrate.models import SAME, median_cosine
from isthmus.migrate.plan import Canaries
from isthmus.stores import Ids, Store

__all__ = ["MappedSource", "Material", "Source", "TextSource"]


class Material(NamedTuple):
    """What new vectors of ``n`` items are made from.

    Attributes:
        hashes: ``(n,)``; 0 where an item has nothing to make a vector from.
        rows: ``n`` texts, or old vectors ``(n, d)``.
        texts: whether ``hashes`` are those of the items' texts.
    """

    hashes: Hashes
    rows: Any
    texts: bool = False


class Source(Protocol):
    """Reads what a vector is made from, and makes it."""

    price: float | None
    """The price of a million tokens; None where nothing is paid."""

    def read(self, ids: Ids, payload: Mapping[str, Sequence[Any]]) -> Material:
        """What the vectors of ``ids (n,)`` are made from, as the store holds it now."""
        ...

    def vectors(
        self, ids: Ids, material: Material, some: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], int]:
        """The new vectors of those of a mask, and the characters that were encoded for them."""
        ...

    def characters(self, material: Material, some: NDArray[np.bool_]) -> int:
        """The characters that `vectors` would encode."""
        ...


class TextSource:
    """New vectors are encoded from texts; each batch proves that the model is still the plan's.

    Args:
        encoder: of the new model.
        text_field: of the payload; not needed by an encoder that looks vectors up by id.
        canaries: texts with the vectors that the plan remembers; one of them is encoded with every
            batch, so that nothing of another model is written, however late it came.
        price: of a million tokens.
    """

    def __init__(
        self,
        encoder: Encoder,
        text_field: str | None = None,
        *,
        canaries: Canaries | None = None,
        price: float | None = None,
    ) -> None:
        self._encoder, self._text, self.price = encoder, text_field, price
        self._by_id = isinstance(encoder, PrecomputedEncoder)
        self._canaries = canaries or Canaries()
        self._known = self._canaries.vectors if self._canaries.texts else None
        self._turn = 0

    def read(self, ids: Ids, payload: Mapping[str, Sequence[Any]]) -> Material:
        """See `Source.read`; of blank texts the hash is 0."""
        if self._by_id:
            names = [str(i) for i in ids.tolist()]
            return Material(hashes_of(names), names)
        assert self._text is not None
        # blank texts have nothing to make a vector from, as those that are null
        texts = [None if t is None or not (s := str(t)).strip() else s for t in payload[self._text]]
        return Material(hashes_of(texts), texts, True)

    def characters(self, material: Material, some: NDArray[np.bool_]) -> int:
        """See `Source.characters`."""
        return 0 if self._by_id else sum(map(len, _of(material.rows, some)))

    def vectors(
        self, ids: Ids, material: Material, some: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], int]:
        """See `Source.vectors`.

        Raises:
            InputError: for another width, or values that are not finite.
            ModelChangedError: where a canary has another vector than the plan remembers.
            ServiceError: where the encoder fails.
        """
        texts, canary = _of(material.rows, some), self._canary()
        found = encode_items(self._encoder, ids[some].tolist(), [*texts, *canary])
        rows = check_encoded(
            found, rows=len(texts) + len(canary), dim=self._encoder.dim, name=self._encoder.name,
            texts=None if self._by_id else [*texts, *canary],
        )  # fmt: skip
        if canary:
            self._check(rows[-1:])
        return rows[: len(texts)], 0 if self._by_id else sum(map(len, texts))

    def _canary(self) -> list[str]:
        if self._known is None or self._by_id:
            return []
        return [self._canaries.texts[self._turn % len(self._known)]]

    def _check(self, row: NDArray[np.float32]) -> None:
        assert self._known is not None
        place = self._turn % len(self._known)
        self._turn += 1
        cosine = median_cosine(row, self._known[place : place + 1])
        if cosine < SAME:
            raise ModelChangedError(
                f"another model answers than the plan's: a text encoded again has a cosine of "
                f"{cosine:.3f} with what the plan remembers; nothing of this batch was written",
                where=self._encoder.name,
                mend="Give the model of the plan, with its prefixes, and resume",
            )


class MappedSource:
    """New vectors are mapped from the saved old ones by a corpus bridge: the texts are gone.

    Args:
        bridge: from old vectors to new ones.
        store: that holds the old vectors, which a migration never changes.
        column: of theirs.
    """

    price: float | None = None

    def __init__(self, bridge: Bridge, store: Store, column: str) -> None:
        self._bridge, self._store, self._column = bridge, store, column

    def read(self, ids: Ids, payload: Mapping[str, Sequence[Any]]) -> Material:
        """See `Source.read`; the hash is that of the old vector's bytes."""
        found = self._store.fetch(ids, column=self._column)
        return Material(row_hashes(found.vectors, found.present), found.vectors)

    def characters(self, material: Material, some: NDArray[np.bool_]) -> int:
        """See `Source.characters`; none."""
        return 0

    def vectors(
        self, ids: Ids, material: Material, some: NDArray[np.bool_]
    ) -> tuple[NDArray[np.float32], int]:
        """See `Source.vectors`."""
        rows = np.asarray(self._bridge.transform(material.rows[some]), dtype=np.float32)
        where = "the corpus bridge"
        return check_encoded(rows, rows=len(rows), dim=rows.shape[1], name=where), 0


def _of(texts: Sequence[str | None], some: NDArray[np.bool_]) -> list[str]:
    """The texts of a mask."""
    if some.all() and None not in texts:
        return list(texts)  # type: ignore[arg-type]
    return [text or "" for text, wanted in zip(texts, some.tolist(), strict=True) if wanted]
