"""From an empty column to a full one: what queries found most first, then pass after pass."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from isthmus.bridge import Bridge
from isthmus.errors import InputError, StoreChangedError
from isthmus.migrate.backfill import Backfill, Limits, PauseRequest
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.marks import Marks
from isthmus.migrate.models import Models
from isthmus.migrate.new_index import index_new_vectors
from isthmus.migrate.plan import Plan
from isthmus.migrate.sources import MappedSource, Source, TextSource
from isthmus.progress import Progress
from isthmus.stores import Store
from isthmus.stores.beside import version_of
from isthmus.ways.fill_order import FillOrder

__all__ = ["Filling", "pause_file"]

_PASSES = 50


def pause_file(plan: Path) -> Path:
    """The file beside a plan that asks its run to pause."""
    return plan.with_name(f"{plan.name}.pause")


@dataclass(frozen=True)
class Filling:
    """Fills the new column of a plan.

    Attributes:
        plan: that is carried out.
        path: of the plan; `pause_file` of it asks to pause.
        store: with both columns.
        journal: kept at the store.
        marks: what each new vector was made from.
        models: the encoders.
        limits: what may be used.
        progress: told about items.
    """

    plan: Plan
    path: Path
    store: Store
    journal: Journal
    marks: Marks
    models: Models
    limits: Limits
    progress: Progress

    def run(self) -> None:
        """Go on until every item has its new vector, or a limit is reached.

        Raises:
            InputError: where an item has nothing that a new vector could be made of.
            StoreChangedError: where rows change faster than they are encoded.
        """
        if self.journal.state != State.FILLING:
            # not begun, or full, and what came since is to be followed
            with self.journal.step(State.FILLING, self.plan.digest):
                pass
        began = time.monotonic()
        work = self._backfill()
        why: str | None = None
        try:
            self._first(work)
            without = self._passes(work)
        except PauseRequest as pause:
            why, without = pause.why, []
        seconds = time.monotonic() - began
        self.journal.write(
            "note", State.FILLING, self.plan.digest, kind="run", filled=work.filled,
            seconds=round(seconds, 3), rate=round(work.filled / seconds, 1) if seconds else None,
            paused=why,
        )  # fmt: skip
        if why is not None:
            return
        if without:
            raise InputError(
                f"{len(without):,} item(s) have {self._lacking}, the first '{without[0]}'",
                where=self.store.url,
                mend="Give them one, or delete them, and resume",
            )
        index_new_vectors(self.plan, self.store, self.journal, self.progress)
        with self.journal.step(State.FULL, self.plan.digest) as found:
            found["filled"] = self.store.filled(self.plan.target.new_column)

    def settle(self, settled: str | None = None) -> str | None:
        """Follow what was written since the last pass, before and behind the cut-over.

        Args:
            settled: what this returned before; where the old collection is still of that version,
                nobody has written to it, and nothing is read.

        Returns:
            The version of the old collection for which each item was seen to have its new vector;
            None where that is not known.

        Raises:
            InputError: where an item has nothing that a new vector could be made of.
        """
        if settled is not None and settled == self._old_version():
            return settled
        work = self._backfill()
        for _ in range(3):
            version = self._old_version()
            done = work.sweep()
            if done.without_text:
                raise InputError(
                    f"item '{done.without_text[0]}' has {self._lacking}",
                    where=self.store.url,
                    mend="Give it one, or delete it, and try again",
                )
            if done.quiet:
                return version
        return None

    def _old_version(self) -> str | None:
        """Of the old collection, where it has one of its own and counts its versions."""
        return version_of(self.store, self.plan.target.old_column)

    @property
    def _lacking(self) -> str:
        """What an item lacks that no new vector can be made of."""
        return "no text to encode" if self.plan.mapped_by is None else "no old vector to map"

    def _first(self, work: Backfill) -> None:
        """What earlier queries found most comes first; a resumed run skips what is done."""
        if self.plan.popular:
            order = FillOrder(ids=self.plan.popular, queries=len(self.plan.queries.texts))
            work.fill(order.array(self.store.describe().key))

    def _passes(self, work: Backfill) -> list[Any]:
        """Until one finds nothing to do, or only what came while it ran."""
        for _ in range(_PASSES):
            done = work.sweep()
            # the few that came in during a pass are followed by the pass before the cut-over
            if done.quiet or done.encoded + done.copied + done.removed < max(
                100, 0.001 * done.seen
            ):
                return done.without_text
        raise StoreChangedError(
            f"after {_PASSES} passes there is still much to do: rows change faster than they are "
            "encoded",
            where=self.store.url,
            mend="Raise --rate, or let the application write both vectors (dual_write)",
        )

    def _backfill(self) -> Backfill:
        limits, new = self.limits, self.models.new
        assert new is not None
        target = self.plan.target
        source: Source = TextSource(
            new, target.text_field, canaries=self.plan.canaries, price=self.plan.estimated.price
        )
        mapped_by = self.plan.mapped_by
        if mapped_by is not None:
            mapped_by.check()
            source = MappedSource(Bridge.load(mapped_by.path), self.store, target.old_column)
        until = None if limits.seconds is None else time.monotonic() + limits.seconds
        if limits.share is not None:
            # a share is met to a twentieth
            limits = replace(limits, batch=max(1, min(limits.batch, target.count // 20)))
        rewrites = target.store.partition("://")[0] in ("faiss", "parquet", "file")
        if rewrites:
            limits = replace(limits, batch=max(limits.batch, target.count // 8))
        return Backfill(
            self.store,
            target.new_column,
            source,
            self.marks,
            limits=limits,
            between=self._between(limits, until),
            progress=self.progress,
            rewrites=rewrites,
        )

    def _between(self, limits: Limits, until: float | None) -> Callable[[int | None], None]:
        """What raises `PauseRequest` once a limit is reached; the store is asked once a batch.

        Whoever was overtaken by another process writes nothing more.
        """
        looked = -1

        def look(filled: int | None) -> None:
            nonlocal looked
            self.journal.check_still_mine()
            if filled is None:
                return
            if pause_file(self.path).exists():
                raise PauseRequest("isthmus migrate pause asked for it")
            if until is not None and time.monotonic() >= until:
                raise PauseRequest("the time that --until names has come")
            if limits.share is not None and filled != looked:
                looked = filled
                there = self.store.filled(self.plan.target.new_column)
                if there >= limits.share * self.store.count():
                    share = f"{limits.share:.3g} of the index is filled"
                    raise PauseRequest(f"{share}, as --until asks")

        return look
