"""The new model's vectors of items that a cascade asks for: found, kept, or encoded now."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from isthmus.encoders import CachedEncoder, Encoder, PrecomputedEncoder
from isthmus.encoders.cache import text_key
from isthmus.stores import Ids, Store
from isthmus.stores.refusals import texts_gone

__all__ = ["ItemRows", "ItemSource", "ItemVectors", "KnownItems", "Origin"]


class Origin(IntEnum):
    """Where the vector of an item came from."""

    NOT_RESCORED = -2
    """It was not asked for: the rule had not come to it."""
    NOT_AFFORDED = -1
    """Encoding it would have passed the bound: there is no vector."""
    NO_TEXT = 0
    """The store holds no text of it: there is no vector, and there will be none."""
    COLUMN = 1
    """It was re-embedded before."""
    KEPT = 2
    """An earlier query had it encoded."""
    ENCODED = 3
    """It was encoded now."""


class ItemRows(NamedTuple):
    """Rows ``(n, d)`` float32 and the `Origin` of each ``(n,)``."""

    rows: NDArray[Any]
    origin: NDArray[np.int64]


class ItemSource(Protocol):
    """Gives the new model's vectors of items."""

    def of(self, ids: Ids, most: int | None = None) -> ItemRows:
        """The vectors of distinct ``ids (n,)``, of which at most ``most`` are encoded now.

        Where that is not enough, the first ones are encoded.
        """
        ...


@dataclass(eq=False)
class KnownItems:
    """An encoder that looks up known vectors: row i of ``rows`` is the item of id i.

    What an evaluation encodes with: the vector of an item is what it would be if it were encoded.

    Example:
        >>> import numpy as np
        >>> from isthmus.ways import KnownItems
        >>> items = KnownItems(np.eye(3, dtype=np.float32))
        >>> items.of(np.array([2])).rows.tolist()
        [[0.0, 0.0, 1.0]]
    """

    rows: NDArray[Any]
    ahead: NDArray[np.bool_] | None = None
    """Items ``(ng,)`` that were re-embedded before."""

    def __post_init__(self) -> None:
        self._kept = np.zeros(len(self.rows), dtype=np.bool_)

    def of(self, ids: Ids, most: int | None = None) -> ItemRows:
        """See `ItemSource.of`."""
        origin = np.where(self._kept[ids], int(Origin.KEPT), int(Origin.ENCODED))
        if self.ahead is not None:
            origin[self.ahead[ids]] = Origin.COLUMN
        fresh = np.flatnonzero(origin == Origin.ENCODED)
        if most is not None:
            origin[fresh[most:]] = Origin.NOT_AFFORDED
            fresh = fresh[:most]
        self._kept[ids[fresh]] = True
        return ItemRows(self.rows[ids], origin)


class ItemVectors:
    """Item vectors of a live store: from its second column, from the cache, or encoded from texts.

    What is encoded is kept: in the second column where the store has one and may be written, and in
    the cache of the encoder, a `isthmus.encoders.VectorCache` on the disk by revision and text.
    Several threads may ask at once; no text is encoded twice.

    Args:
        store: holds the texts.
        encoder: the new model.
        column: with the vectors of items that were re-embedded; None where there is none.
        write: whether what is encoded is put into ``column``.

    Raises:
        InputError: if the store holds no texts and the encoder needs them.

    Example:
        >>> import numpy as np
        >>> from isthmus.encoders import CallableEncoder
        >>> from isthmus.stores import MemoryStore
        >>> from isthmus.ways import ItemVectors
        >>> rows = {"old": np.ones((1, 2), np.float32)}
        >>> store = MemoryStore(["a"], rows, payload={"text": ["abc"]})
        >>> lengths = CallableEncoder(
        ...     lambda texts: [[len(t), 1] for t in texts], name="lengths", revision="1", dim=2
        ... )
        >>> ItemVectors(store, lengths).of(np.array(["a"])).rows.tolist()
        [[3.0, 1.0]]
    """

    def __init__(
        self, store: Store, encoder: Encoder, *, column: str | None = None, write: bool = True
    ) -> None:
        self._by_id = isinstance(encoder, PrecomputedEncoder)
        held = store.describe()
        if not self._by_id and not held.has_texts:
            raise texts_gone(
                held,
                "nothing can be encoded from them",
                "Name the payload field that holds them, as in ?text=FIELD, or choose a way that "
                "rescores nothing",
            )
        if self._by_id or isinstance(encoder, CachedEncoder):
            self._encoder = encoder
        else:
            self._encoder = CachedEncoder(encoder)
        self._store, self._column = store, column
        self._write = write and column is not None and held.capabilities.writable

    def of(self, ids: Ids, most: int | None = None) -> ItemRows:
        """See `ItemSource.of`."""
        rows = np.full((len(ids), self._encoder.dim), np.nan, dtype=np.float32)
        origin = np.full(len(ids), int(Origin.NO_TEXT))
        if self._column is not None:
            held = self._store.fetch(ids, column=self._column)
            rows[held.present] = held.vectors[held.present]
            origin[held.present] = Origin.COLUMN
        left = np.flatnonzero(origin == Origin.NO_TEXT)
        if not len(left):
            return ItemRows(rows, origin)
        texts = self._texts(ids[left])
        there = [i for i, text in enumerate(texts) if text is not None and text.strip()]
        left, asked = left[there], [texts[i] or "" for i in there]
        known = self._kept(asked)
        for place, vector in known.items():
            rows[left[place]] = vector
            origin[left[place]] = Origin.KEPT
        fresh = [i for i in range(len(asked)) if i not in known]
        if most is not None:
            origin[left[fresh[most:]]] = Origin.NOT_AFFORDED
            fresh = fresh[:most]
        if fresh:
            places = left[fresh]
            rows[places] = self._encoder.encode([asked[i] for i in fresh], kind="document")
            origin[places] = Origin.ENCODED
            if self._write and self._column is not None:
                self._store.put(ids[places], rows[places], column=self._column)
        return ItemRows(rows, origin)

    def _texts(self, ids: Ids) -> list[str | None]:
        return [str(i) for i in ids.tolist()] if self._by_id else self._store.texts(ids)

    def _kept(self, texts: list[str]) -> dict[int, NDArray[np.float32]]:
        """ItemRows that were encoded before, by place."""
        if not isinstance(self._encoder, CachedEncoder) or not texts:
            return {}
        keys = [text_key(self._encoder.encoder, text, "document") for text in texts]
        known = self._encoder.cache.read(keys, self._encoder.dim)
        return {i: known[key] for i, key in enumerate(keys) if key in known}
