"""The way back: every item has an old vector, and untouched ones are proven to be as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.bridge import Bridge
from isthmus.encoders import Encoder, PrecomputedEncoder, encode_items
from isthmus.errors import InputError
from isthmus.migrate.marks import Marks, hashes_of, row_hashes
from isthmus.migrate.plan import Plan
from isthmus.progress import Progress, silent
from isthmus.stores import Ids, Store
from isthmus.stores.beside import BesideStore

__all__ = ["BackTo", "Originals", "Restored", "restore_old", "summed_up"]


class Originals(NamedTuple):
    """What is remembered of the items: of their old vectors at first, and of their new ones."""

    old: Marks
    """Hashes of old vectors and of the texts then; empty where none were taken."""
    new: Marks
    """Hashes of the texts that new vectors were made from."""


class BackTo(NamedTuple):
    """What makes old vectors: the old model of texts, or a bridge of new vectors."""

    old: Encoder | None
    bridge: Bridge | None


@dataclass(frozen=True)
class Restored:
    """What a rollback found and did.

    Attributes:
        untouched: items whose old vector is, bit for bit, what it was before the migration.
        written: items whose old vector the application wrote since.
        encoded: items that were added or edited since and got an old vector of the old model.
        mapped: those that got one by the bridge, because the old model is gone.
        deleted: items that are gone since.
        added: items that came since.
    """

    untouched: int = 0
    written: int = 0
    encoded: int = 0
    mapped: int = 0
    deleted: int = 0
    added: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        parts = [f"{self.untouched:,} items have, bit for bit, the vectors they had"]
        for number, what in (
            (self.added, "were added since"),
            (self.deleted, "were deleted since"),
            (self.written, "had their old vector written by others since"),
            (self.encoded, "were encoded by the old model"),
            (self.mapped, "were mapped by the bridge, for the old model is gone"),
        ):
            if number:
                parts.append(f"{number:,} {what}")
        return "; ".join(parts)


def summed_up(
    store: Store, column: str, fields: Sequence[str], originals: Marks, progress: Progress = silent
) -> str:
    """Note a hash of every old vector and its text; returns one digest of them all.

    The digest does not depend on the order of the items.
    """
    total, count = 0, store.count()
    done = 0
    for part in store.scan(column=column, fields=fields):
        assert part.vectors is not None and part.present is not None
        vectors = row_hashes(part.vectors, part.present)
        texts = hashes_of(part.payload[fields[0]]) if fields else np.ones_like(vectors)
        originals.note(part.ids, vectors, texts)
        for name, value in zip(part.ids.tolist(), vectors.tolist(), strict=True):
            digest = hashlib.blake2b(f"{name}\0{value}".encode(), digest_size=16).digest()
            total = (total + int.from_bytes(digest, "little")) % 2**128
        done += len(part)
        progress("summing up the old vectors", done, count)
    return f"{total:032x}"


def restore_old(
    store: Store,
    plan: Plan,
    known: Originals,
    back_to: BackTo,
    *,
    moved: bool,
    progress: Progress = silent,
) -> Restored:
    """Give every item an old vector, and compare those that nobody touched with what they were.

    Args:
        store: with both columns.
        plan: that is undone.
        known: what is remembered of the items.
        back_to: what makes old vectors.
        moved: whether applications have read and written the new vectors.
        progress: told about items.

    Raises:
        InputError: where an item lacks an old vector and nothing can make one.
    """
    target = plan.target
    if moved and isinstance(store, BesideStore):
        _copied_back(store, plan, known.new, back_to)
    fields = [] if target.text_field is None else [target.text_field]
    untouched = written = encoded = mapped = added = seen = 0
    count = store.count()
    for part in store.scan(column=target.old_column, fields=fields):
        assert part.vectors is not None and part.present is not None
        first = known.old.of(part.ids)
        now = row_hashes(part.vectors, part.present)
        texts = list(part.payload[fields[0]]) if fields else [None] * len(part)
        text = hashes_of(texts) if fields else np.ones_like(now)
        same = part.present & (now == first.first)
        # edited, and the vector is still that of the text before
        stale = same & (text != first.second) & (first.second != 0)
        lacks = ~part.present | stale
        new = first.first == 0
        added += int(new.sum())
        untouched += int((same & ~stale).sum())
        written += int((part.present & ~same & ~new).sum())
        if lacks.any():
            asked = [str(t or "") for t, it in zip(texts, lacks.tolist(), strict=True) if it]
            rows = _old_vectors(store, plan, part.ids[lacks], asked, back_to)
            store.put(part.ids[lacks], rows, column=target.old_column)
            back = store.fetch(part.ids[lacks], column=target.old_column)
            if not np.allclose(back.vectors[back.present], rows[back.present], atol=1e-5):
                raise InputError("old vectors came back otherwise than put", where=store.url)
            encoded += int(lacks.sum()) * (back_to.old is not None)
            mapped += int(lacks.sum()) * (back_to.old is None)
        seen += len(part)
        progress("restoring", seen, count)
    gone = len(known.old) - (seen - added) if len(known.old) else 0
    return Restored(untouched, written, encoded, mapped, gone, added)


def _old_vectors(
    store: Store,
    plan: Plan,
    ids: Ids,
    texts: list[str],
    back_to: BackTo,
) -> NDArray[np.float32]:
    """Old vectors ``(n, d)`` of items: encoded, else mapped from the new ones."""
    old, bridge = back_to
    if old is not None:
        if not isinstance(old, PrecomputedEncoder):
            blank = next(
                (i for i, t in zip(ids.tolist(), texts, strict=True) if not t.strip()), None
            )
            if blank is not None:
                raise InputError(
                    f"item '{blank}' has no text to encode",
                    where=store.url,
                    mend="Give it a text, or delete it, and try again",
                )
        return encode_items(old, ids.tolist(), texts)
    new = store.fetch(ids, column=plan.target.new_column)
    if bridge is None or bridge.kind != "query" or not new.present.all():
        raise InputError(
            f"{len(ids):,} items were added or edited since and have no old vector, the first "
            f"'{ids[0]}'",
            where=store.url,
            mend="Give the old encoder with --old",
        )
    return np.asarray(bridge.transform(new.vectors), dtype=np.float32)


def _copied_back(store: BesideStore, plan: Plan, marks: Marks, back_to: BackTo) -> None:
    """What was added, edited or deleted in the second collection is so in the first."""
    field = plan.target.text_field
    for part, differs in store.differing():
        if not differs.any():
            continue
        ids = part.ids[differs]
        texts = (
            [None] * len(part) if field is None else list(part.payload[field])
        )  # fmt: skip
        mine = [t for t, it in zip(texts, differs.tolist(), strict=True) if it]
        if field is not None:
            # an item that was edited in the first, and not yet followed, keeps that edit
            held = [item.get(field) for item in store.first.payload(ids, [field])]
            made_from = marks.of(ids).first
            followed = (hashes_of(held) == made_from) | np.array([h is None for h in held])
            ids = ids[followed]
            keep = followed.tolist()
            mine = [t for t, it in zip(mine, keep, strict=True) if it]
        else:
            keep = [True] * len(ids)
        if not len(ids):
            continue
        rows = _old_vectors(store, plan, ids, [str(t or "") for t in mine], back_to)
        chosen = np.flatnonzero(differs)[np.array(keep, dtype=np.bool_)].tolist()
        payload = {name: [values[i] for i in chosen] for name, values in part.payload.items()}
        store.first.add(ids, {store.column: rows}, payload)
    # what was deleted there is deleted here; but a collection that is gone was not emptied by hand
    if store.filled(plan.target.new_column):
        for part in store.scan(column=plan.target.new_column):
            assert part.present is not None
            gone = ~part.present & (marks.of(part.ids).first != 0)
            if gone.any():
                store.first.delete(part.ids[gone])
