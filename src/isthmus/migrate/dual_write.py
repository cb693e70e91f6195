"""An application that writes both vectors of what it adds, while an index is moved (dual write)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from isthmus.encoders import Encoder
from isthmus.errors import InputError
from isthmus.migrate.plan import Plan
from isthmus.stores import Ids, Store
from isthmus.stores.beside import with_second_column

__all__ = ["DualWriter"]


class DualWriter:
    """Adds, edits and deletes items with the vectors of both models.

    An item is then searchable by either model from its first moment on, before and after the
    cut-over.  The run of the migration looks at such items once more, from the cache of its
    encoder, and needs no word of what was written here.

    Args:
        plan: of the migration.
        store: opened at the collection of the plan.
        old: encoder of the old model.
        new: encoder of the new model.

    Raises:
        InputError: for a new encoder of another width.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import DualWriter, Plan
        >>> from isthmus.stores import open_store
        >>> plan = Plan.load(Path("plan.json"))  # what isthmus plan wrote
        >>> old, new = (open_encoder(f"static:{m}.safetensors") for m in ("old", "new"))
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     writer = DualWriter(plan, store, old=old, new=new)
        ...     writer.add([60, 61], {"text": ["bar kond", "milt baps"]})
        ...     print(writer.delete([61]), store.count())
        1 61
    """

    def __init__(self, plan: Plan, store: Store, *, old: Encoder, new: Encoder) -> None:
        target = plan.target
        if (old.dim, new.dim) != (target.old_dim, target.new_dim):
            raise InputError(
                f"the encoders make {old.dim} and {new.dim} dimensions, the plan has "
                f"{target.old_dim} and {target.new_dim}",
                mend="Give the models of the plan",
            )
        self._target = target
        self._store = with_second_column(store, target.new_column)
        self._store.add_column(target.new_column, target.new_dim, metric=target.metric)
        self._old, self._new = old, new

    def add(self, ids: Ids | Sequence[Any], payload: Mapping[str, Sequence[Any]]) -> None:
        """Add items, or replace those that have these ids.

        Args:
            ids: ``(n,)``.
            payload: of each field ``n`` values; the plan's field of texts must be among them.

        Raises:
            InputError: without texts.
        """
        field = self._target.text_field
        if field is None or field not in payload:
            raise InputError(
                "items are encoded from their texts, and there are none",
                where="payload",
                mend=f"Give the field '{field or 'text'}'",
            )
        texts = list(payload[field])
        vectors = {
            self._target.old_column: self._old.encode(texts, kind="document"),
            self._target.new_column: self._new.encode(texts, kind="document"),
        }
        self._store.add(np.asarray(ids), vectors, payload)

    def delete(self, ids: Ids | Sequence[Any]) -> int:
        """Remove items; returns how many were held."""
        return self._store.delete(np.asarray(ids))
