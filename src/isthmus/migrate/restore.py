"""The way back: every item has an old vector, and untouched ones are proven to be as they were."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import compress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from isthmus.adapters.steps.ridge import Ridge
from isthmus.bridge import Bridge
from isthmus.bridge.store_sample import Transforms
from isthmus.encoders import Encoder, PrecomputedEncoder, encode_items
from isthmus.errors import InputError
from isthmus.migrate.marks import Hashes, Marks, hashes_of, payload_hashes, row_hashes
from isthmus.migrate.models import median_cosine
from isthmus.migrate.plan import Plan
from isthmus.migrate.read_back import came_back
from isthmus.progress import Progress, silent
from isthmus.stores import Ids, ScanBatch, Store
from isthmus.stores.beside import BesideStore
from isthmus.stores.id_set import lacking_ids

__all__ = ["BackTo", "Restored", "WayBack", "summed_up"]

_PAIRS = 5000
"""Items with both vectors that a map back is fitted, or tried, on."""
_TRIED = 5  # one in so many is not fitted on
_ALPHA = 1e-4


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
        mapped: those that got one mapped from their new vector, because the old model or their
            text is gone.
        deleted: items that are gone since.
        added: items that came since.
        cosine: of mapped old vectors with true ones, the median among items that have both; None
            where nothing was mapped.
        seconds: until the old vectors were served again; the comparison comes behind that.
        left_alone: items of a migration that was given up before it had done anything to them, so
            that there is nothing to compare with.

    Example:
        >>> from isthmus.migrate import Restored
        >>> print(Restored(untouched=1200, deleted=3))
        1,200 items have, bit for bit, the vectors they had; 3 were deleted since
    """

    untouched: int = 0
    written: int = 0
    encoded: int = 0
    mapped: int = 0
    deleted: int = 0
    added: int = 0
    cosine: float | None = None
    seconds: float | None = None
    left_alone: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        if self.left_alone:
            return f"nothing had been done to the {self.left_alone:,} items yet"
        parts = [f"{self.untouched:,} items have, bit for bit, the vectors they had"]
        for number, what in (
            (self.added, "were added since"),
            (self.deleted, "were deleted since"),
            (self.written, "had their old vector written by others since"),
            (self.encoded, "were encoded by the old model"),
            (self.mapped, "were mapped from their new vectors, for nothing could encode them"),
        ):
            if number:
                parts.append(f"{number:,} {what}")
        if self.cosine is not None:
            parts.append(
                f"mapped vectors have a median cosine of {self.cosine:.3f} with true ones, among "
                "items that have both"
            )
        if self.seconds is not None:
            parts.append(f"the old vectors were served again after {self.seconds:.2f} s")
        return "; ".join(parts)


def summed_up(
    store: Store, column: str, fields: Sequence[str], originals: Marks, progress: Progress = silent
) -> tuple[str, int]:
    """Note a hash of every old vector and its text.

    Returns:
        One digest of them all, which does not depend on the order of the items; and the number of
        items that have no old vector.
    """
    total, count = 0, store.count()
    done = lacking = 0
    for part in store.scan(column=column, fields=fields):
        assert part.vectors is not None and part.present is not None
        vectors = row_hashes(part.vectors, part.present)
        texts = hashes_of(part.payload[fields[0]]) if fields else np.ones_like(vectors)
        originals.note(part.ids, vectors, texts)
        for name, value in zip(part.ids.tolist(), vectors.tolist(), strict=True):
            digest = hashlib.blake2b(f"{name}\0{value}".encode(), digest_size=16).digest()
            total = (total + int.from_bytes(digest, "little")) % 2**128
        lacking += int((~part.present).sum())
        done += len(part)
        progress("summing up the old vectors", done, count)
    return f"{total:032x}", lacking


class WayBack:
    """Gives every item an old vector, and compares those that nobody touched with what they were.

    `complete` comes before the alias moves and looks at what lacks an old vector alone; `prove`
    reads every old vector and may take as long as it likes, for a migration never writes one.

    Args:
        store: with both columns.
        plan: that is undone.
        back_to: what makes old vectors.
        progress: told about items.
    """

    def __init__(
        self, store: Store, plan: Plan, back_to: BackTo, *, progress: Progress = silent
    ) -> None:
        self._store, self._plan, self._progress = store, plan, progress
        self._maker = _OldVectors(store, plan, back_to)
        self._kept: set[Any] = set()
        target = plan.target
        self._fields = [] if target.text_field is None else [target.text_field]

    @property
    def made(self) -> int:
        """Items that were given an old vector by this."""
        return len(self._maker.made)

    def complete(self, marks: Marks | None, *, whole: bool = False) -> None:
        """Give an old vector to every item that has none.

        Args:
            marks: of the new vectors, where applications have written to a second collection.
            whole: whether it is known that each item of the first collection has one.

        Raises:
            InputError: where nothing can make one.
        """
        store, old = self._store, self._plan.target.old_column
        if marks is not None and isinstance(store, BesideStore):
            self._kept = _copied_back(store, self._plan, marks, self._maker)
        if whole:
            return
        for ids in lacking_ids(store, old):
            texts = self._store.texts(ids) if self._fields else [None] * len(ids)
            self._put(ids, [t or "" for t in texts])

    def _put(self, ids: Ids, texts: list[str]) -> None:
        store, old = self._store, self._plan.target.old_column
        rows = self._maker.of(ids, texts)
        store.put(ids, rows, column=old)
        back = store.fetch(ids, column=old)
        kept_as = store.describe().column(old)
        if not came_back(back.vectors, rows, kept_as)[back.present].all():
            raise InputError("old vectors came back otherwise than put", where=store.url)

    def prove(
        self, originals: Marks, *, before: int = 0, followed: Marks | None = None
    ) -> Restored:
        """Compare each old vector with what it was at first; those of edited items are made anew.

        Args:
            originals: hashes of the old vectors, and of the texts then.
            before: items that a way back which was cut short had given an old vector.
            followed: hashes of the texts that the new vectors had at the cut-over; an item that
                came after ``originals`` and has another text now was edited since.

        Raises:
            InputError: where an item lacks an old vector and nothing can make one.
        """
        store, target = self._store, self._plan.target
        copied = self._maker.made | self._kept
        untouched = written = added = seen = 0
        count = store.count()
        for part in store.scan(column=target.old_column, fields=self._fields):
            assert part.vectors is not None and part.present is not None
            first = originals.of(part.ids)
            now = row_hashes(part.vectors, part.present)
            texts = list(part.payload[self._fields[0]]) if self._fields else [None] * len(part)
            text = hashes_of(texts) if self._fields else np.ones_like(now)
            same = part.present & (now == first.first)
            # edited, and the vector is still that of the text before
            stale = same & (text != first.second) & (first.second != 0)
            # what had no vector at first was there too, with its text
            new = (first.first == 0) & (first.second == 0)
            added += int(new.sum())
            untouched += int((same & ~stale).sum())
            ours = np.array([i in copied for i in part.ids.tolist()], dtype=np.bool_)
            if followed is not None and self._maker.reads:
                stale |= (first.first == 0) & ~ours & _edited(followed, part.ids, text)
            lacks = ~part.present | stale
            written += int((part.present & ~same & ~new & ~ours).sum())
            if lacks.any():
                asked = [str(t or "") for t, it in zip(texts, lacks.tolist(), strict=True) if it]
                self._put(part.ids[lacks], asked)
            seen += len(part)
            self._progress("restoring", seen, count)
        gone = len(originals) - (seen - added) if len(originals) else 0
        made = self.made + before
        encoded, mapped = (made, 0) if self._maker.encodes else (0, made)
        return Restored(
            untouched, max(0, written - before), encoded, mapped, gone, added, self._maker.cosine
        )


def _edited(followed: Marks, ids: Ids, texts: Hashes) -> NDArray[np.bool_]:
    """Which items have another text than the one that their new vector was made from."""
    known = followed.of(ids).first
    by_id = hashes_of([str(name) for name in ids.tolist()])
    return (known != 0) & (known != by_id) & (known != texts)


class _OldVectors:
    """Makes old vectors of items that lack one: encoded from texts, else mapped from new ones."""

    def __init__(self, store: Store, plan: Plan, back_to: BackTo) -> None:
        self._store, self._plan, self._bridge = store, plan, back_to.bridge
        old = back_to.old
        looked_up = isinstance(old, PrecomputedEncoder)
        able = looked_up or plan.target.text_field is not None
        self._old = old if able else None
        self.encodes = self._old is not None
        self.reads = self.encodes and not looked_up
        """Whether they are encoded from texts."""
        self.made: set[Any] = set()
        """Ids of items that got one."""
        self.cosine: float | None = None
        """Of mapped vectors with the true ones: the median among items that have both."""

    def of(self, ids: Ids, texts: list[str]) -> NDArray[np.float32]:
        """Old vectors ``(n, d)`` of items.

        Raises:
            InputError: where nothing can make one.
        """
        found = self._of(ids, texts)
        self.made |= set(ids.tolist())
        return found

    def _of(self, ids: Ids, texts: list[str]) -> NDArray[np.float32]:
        store, old = self._store, self._old
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
        new = store.fetch(ids, column=self._plan.target.new_column)
        if not new.present.all() or self._back is None:
            raise InputError(
                f"{len(ids):,} items were added or edited since and have no old vector, the first "
                f"'{ids[0]}'",
                where=store.url,
                mend="Give the old encoder with --old",
            )
        return np.asarray(self._back.transform(new.vectors), dtype=np.float32)

    @cached_property
    def _back(self) -> Transforms | None:
        """From new vectors to old ones: the bridge of queries; where new ones were mapped, their
        map undone, as it is learned from items that have both."""
        undone = self._plan.mapped_by is not None
        bridge = self._bridge
        if not undone and (bridge is None or bridge.kind != "query"):
            return None
        old, new = self._both()
        tried = np.arange(len(old)) % _TRIED == 0
        if undone:
            if len(old) < _TRIED:
                return None
            back: Transforms = Ridge(alpha=_ALPHA).fit(new[~tried], old[~tried])
        else:
            assert bridge is not None
            back = bridge
        if tried.any():
            self.cosine = median_cosine(np.asarray(back.transform(new[tried])), old[tried])
        return back

    def _both(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Old and new vectors of some items that have both."""
        target = self._plan.target
        mine: list[NDArray[np.float32]] = [np.empty((0, target.old_dim), np.float32)]
        theirs: list[NDArray[np.float32]] = [np.empty((0, target.new_dim), np.float32)]
        for part in self._store.scan(column=target.old_column):
            assert part.vectors is not None and part.present is not None
            new = self._store.fetch(part.ids, column=target.new_column)
            both = part.present & new.present
            mine.append(part.vectors[both])
            theirs.append(new.vectors[both])
            if sum(map(len, mine)) >= _PAIRS:
                break
        return np.concatenate(mine)[:_PAIRS], np.concatenate(theirs)[:_PAIRS]


def _copied_back(store: BesideStore, plan: Plan, marks: Marks, maker: _OldVectors) -> set[Any]:
    """What was added, edited or deleted in the second collection is so in the first.

    Returns:
        Ids of items whose other fields were edited, and which were written with the old vector that
        they had; a database that normalises may have rounded it once more.
    """
    field = plan.target.text_field
    written: set[Any] = set()
    # the fields that were noted when the second collection was filled
    fields: tuple[str, ...] = store.first.describe().fields
    noted = fields if field is None or field in fields else (*fields, field)

    def suspect(part: ScanBatch) -> NDArray[np.bool_]:
        return marks.of(part.ids).second != payload_hashes(part.payload, len(part), field)

    for part, differs in store.differing(suspect):
        if not differs.any():
            continue
        same_text = np.zeros(len(part), dtype=np.bool_)
        if field is not None:
            ids = part.ids[differs]
            held = store.first.payload(ids, noted)
            texts = [item.get(field) for item in held]
            theirs = compress(part.payload[field], differs.tolist())
            same_text[differs] = [
                mine is not None and mine == other
                for mine, other in zip(texts, theirs, strict=True)
            ]
            # an item that was edited in the first, and not yet followed, keeps that edit
            differs[differs] = _followed(marks, ids, held, noted, field)
        kept, made = differs & same_text, differs & ~same_text
        if kept.any():
            # the text is the one that the old vector belongs to
            old = store.first.fetch(part.ids[kept], column=store.column)
            made[kept] = ~old.present
            kept[kept] = old.present
            _put_back(store, part, kept, old.vectors[old.present])
            written |= set(part.ids[kept].tolist())
        if made.any():
            asked = [None] * len(part) if field is None else part.payload[field]
            rows = maker.of(part.ids[made], [str(t or "") for t in compress(asked, made.tolist())])
            _put_back(store, part, made, rows)
    # what was deleted there is deleted here; but a collection that is gone was not emptied by hand
    if store.filled(plan.target.new_column):
        for ids in store.lacking_ids(plan.target.new_column):
            gone = marks.of(ids).first != 0
            if gone.any():
                store.first.delete(ids[gone])
    return written


def _followed(
    marks: Marks, ids: Ids, held: Sequence[Mapping[str, Any]], noted: Sequence[str], field: str
) -> NDArray[np.bool_]:
    """Whether what the first collection holds is what the second was filled from, or nothing."""
    known, texts = marks.of(ids), [item.get(field) for item in held]
    payload = {name: [item.get(name) for item in held] for name in noted}
    return (
        (hashes_of(texts) == known.first)
        # a vector that was looked up by id was not made from the text
        | (payload_hashes(payload, len(ids), field) == known.second)
        | np.array([text is None for text in texts], dtype=np.bool_)
    )


def _put_back(
    store: BesideStore, part: ScanBatch, some: NDArray[np.bool_], rows: NDArray[np.float32]
) -> None:
    payload = {name: list(compress(values, some.tolist())) for name, values in part.payload.items()}
    store.first.add(part.ids[some], {store.column: rows}, payload)
