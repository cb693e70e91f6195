"""A live index moved to a new model: run, paused, resumed, cut over, rolled back, cleaned."""

from __future__ import annotations

import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus.bridge import Bridge
from isthmus.errors import GateError, InputError, StoreChangedError, UnsupportedError
from isthmus.evaluate.bootstrap import Estimate
from isthmus.migrate.backfill import TOKEN, Backfill, Limits, PauseRequest
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.marks import Marks
from isthmus.migrate.models import Models, check_models
from isthmus.migrate.plan import Plan
from isthmus.migrate.plan_checks import check_granted
from isthmus.migrate.quality import compare
from isthmus.migrate.restore import BackTo, Restored, WayBack, summed_up
from isthmus.migrate.sources import MappedSource, Source, TextSource
from isthmus.migrate.status import Status
from isthmus.progress import Progress, silent
from isthmus.stores import Indexed, Store
from isthmus.stores.beside import BesideStore, with_second_column
from isthmus.ways.fill_order import FillOrder
from isthmus.ways.way import Way

__all__ = ["Migration", "pause_file"]

_PASSES = 50


def pause_file(plan: Path) -> Path:
    """The file beside a plan that asks its run to pause."""
    return plan.with_name(f"{plan.name}.pause")


@dataclass
class Migration:
    """Carries out a plan on a store.

    Args:
        plan: what to do.
        path: of the plan; the mirror of the journal stands beside it.
        store: opened at the collection of the plan.
        models: the encoders.
        progress: told about items.
        take_over: go on with a migration that was begun on another machine or in another folder.

    Raises:
        InputError: for a store that is not the plan's.
        StoreChangedError: for a journal that was edited.
    """

    plan: Plan
    path: Path
    store: Store
    models: Models = field(default_factory=Models)
    progress: Progress = silent
    take_over: bool = False

    def __post_init__(self) -> None:
        target = self.plan.target
        held = self.store.describe()
        column = held.columns.get(target.old_column)
        if held.name != target.collection or column is None or column.dim != target.old_dim:
            raise InputError(
                f"the plan was made for {target.collection}.{target.old_column}, {target.old_dim} "
                f"wide; this is {held.name} with {', '.join(held.columns) or 'no vectors'}",
                where=self.store.url,
                mend="Open the store of the plan, or plan anew",
            )
        self.store = with_second_column(self.store, target.new_column)
        if target.new_column not in self.store.describe().columns and isinstance(
            self.store, BesideStore
        ):
            self.store.add_column(target.new_column, target.new_dim, metric=target.metric)
        mirror = self.path.with_name(f"{self.path.name}.journal")
        self._had_mirror = mirror.exists()
        self.journal = Journal(self.store.ledger("journal"), mirror)
        self._lead()

    def _lead(self) -> None:
        if isinstance(self.store, BesideStore):
            target = self.plan.target
            self.store.leads = self.store.alias(target.alias) == target.alias_new

    @property
    def _mine(self) -> bool:
        return self.journal.plan == self.plan.digest

    @property
    def state(self) -> State | None:
        """The state that this plan has reached; None if it was not begun."""
        return self.journal.state if self._mine else None

    @cached_property
    def bridge(self) -> Bridge | None:
        """The bridge of the plan, unchanged since."""
        if self.plan.bridge is None:
            return None
        self.plan.bridge.check()
        return Bridge.load(self.plan.bridge.path)

    @cached_property
    def marks(self) -> Marks:
        """What each new vector was made from."""
        return Marks(self.store.ledger("marks"))

    @cached_property
    def originals(self) -> Marks:
        """Hashes of the old vectors, and of the texts they belong to, as they were at first."""
        return Marks(self.store.ledger("originals"))

    # -- looking ---------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where it stands."""
        target = self.plan.target
        count, there = self.store.count(), target.new_column in self.store.describe().columns
        filled = self.store.filled(target.new_column) if there and self._mine else 0
        totals = self.marks.totals if self._mine else {}
        price = self.plan.estimated.price
        runs = list(self.journal.notes("run")) if self._mine else []
        rate = runs[-1].get("rate") if runs else None
        stopped = runs[-1].get("paused") if runs and self.state == State.FILLING else None
        return Status(
            self.state,
            self.journal.begun if self._mine else None,
            count,
            filled,
            int(totals.get("encoded", 0)),
            None if price is None else totals.get("characters", 0.0) / TOKEN / 1e6 * price,
            rate,
            (count - filled) / rate if rate else None,
            stopped,
            tuple(dict(q) for q in self.journal.notes("quality")) if self._mine else (),
            self._indexed() if self._mine else None,
            self.journal.where,
        )

    # -- running ---------------------------------------------------------------------------------

    def run(self, limits: Limits | None = None, *, resume: bool = False) -> State:
        """Go on until every item has its new vector, or a limit is reached.

        Raises:
            StoreChangedError: if another process runs it, it was begun and is not to be resumed, it
                is over, or the store is not as it was.
            InputError: for an encoder, a text or a bridge that is not the plan's.
        """
        check_granted(self.store)
        with self._at_work():
            self._check_may_run(resume=resume)
            if not resume:
                with self.journal.step(State.PLANNED, self.plan.digest, **self._begun_as()):
                    pass
            chosen = limits or Limits()
            check_models(self.plan, self.store, self._models(chosen))
            self._check_alias()
            pause_file(self.path).unlink(missing_ok=True)
            if not self._reached(State.PREPARED):
                self._prepare()
            if not self._reached(State.BRIDGING):
                self._bridge()
            self._fill(chosen)
        assert self.state is not None
        return self.state

    @contextmanager
    def _at_work(self) -> Generator[None]:
        """Nobody else is, and the journal is as it was read."""
        with self.store.ledger("journal").held():
            fresh = Journal(self.store.ledger("journal"))
            if len(fresh.entries) != len(self.journal.entries):
                raise StoreChangedError(
                    "another process has written to the journal meanwhile",
                    where=self.journal.where,
                    mend="Look at isthmus migrate status, and try again",
                )
            yield

    def _reached(self, state: State) -> bool:
        return self._mine and self.journal.reached(state)

    def _begun_as(self) -> dict[str, Any]:
        target = self.plan.target
        old = self.plan.old
        return {
            "home": self._home(),
            "spaces": {
                target.old_column: None if old is None else [old.name, old.revision],
                target.new_column: [self.plan.new.name, self.plan.new.revision],
            },
            "bridge": None if self.plan.bridge is None else self.plan.bridge.digest,
            "mapped_by": None if self.plan.mapped_by is None else self.plan.mapped_by.digest,
        }

    def _home(self) -> str:
        return f"{socket.gethostname()}:{self.path.resolve()}"

    def _check_may_run(self, *, resume: bool) -> None:
        journal, where = self.journal, self.journal.where
        over = (State.CLEANED, State.ROLLED_BACK, None)
        if not self._mine:
            if journal.mine and journal.state not in over:
                raise StoreChangedError(
                    f"another migration of this collection is under way (plan "
                    f"{(journal.plan or '')[:12]}, {journal.state})",
                    where=where,
                    mend="Finish it, or roll it back, before you begin this one",
                )
            if any(e.plan == self.plan.digest for e in journal.entries):
                raise StoreChangedError(
                    "this plan was carried out before", where=where, mend="Plan anew"
                )
            if resume:
                raise InputError(
                    "there is nothing to resume: this plan was not begun",
                    where=where,
                    mend="Begin it with isthmus migrate run",
                )
            self._check_not_there()
            return
        state = journal.state
        if state in (State.CUT_OVER, State.CLEANED, State.ROLLED_BACK):
            raise StoreChangedError(
                f"this migration is over: it is {state}",
                where=where,
                mend="There is nothing to run; isthmus migrate status shows it",
            )
        if not resume:
            raise StoreChangedError(
                f"this migration was begun before and is {state or 'not yet planned'}",
                where=where,
                mend="Go on with isthmus migrate resume",
            )
        self._check_home()

    def _check_home(self) -> None:
        home = str(self.journal.mine[0].data.get("home"))
        if not self._had_mirror and not self.take_over and home != self._home():
            raise StoreChangedError(
                f"this migration is run from {home}",
                where=self.journal.where,
                mend="Go on there; or, if that place is lost, here with --take-over",
            )

    def _check_not_there(self) -> None:
        """Refuse a column that somebody else filled."""
        name = self.plan.target.new_column
        found = self.store.filled(name) if name in self.store.describe().columns else 0
        if found:
            raise InputError(
                f"'{name}' holds {found:,} vectors already",
                where=self.store.url,
                mend="Name another with --new-column when you plan, or remove it",
            )

    def _check_alias(self) -> None:
        target = self.plan.target
        found = self.store.alias(target.alias)
        if self._mine and self.journal.begun == State.CUT_OVER:
            raise StoreChangedError(
                "a cut-over was begun here and not finished",
                where=self.journal.where,
                mend="Finish it with isthmus migrate cutover, or go back with isthmus migrate "
                "rollback",
            )
        expected = (None, target.alias_old)
        if found not in expected:
            raise StoreChangedError(
                f"the alias '{target.alias}' stands for '{found}'",
                where=self.store.url,
                mend="Somebody else moved it; look before you go on",
            )

    def _prepare(self) -> None:
        target = self.plan.target
        with self.journal.step(State.PREPARED, self.plan.digest) as found:
            self.marks.erase()
            self.originals.erase()
            fields = [] if target.text_field is None else [target.text_field]
            found["old_sum"] = summed_up(
                self.store, target.old_column, fields, self.originals, self.progress
            )
            self.store.add_column(target.new_column, target.new_dim, metric=target.metric)
            if self.store.alias(target.alias) is None:
                self.store.swap_alias(target.alias, None, target.alias_old)

    def _bridge(self) -> None:
        with self.journal.step(State.BRIDGING, self.plan.digest) as found:
            bridge = self.bridge
            found["served_by"] = str(Way(recall=self.plan.serving.recall))
            found["bridge"] = None if self.plan.bridge is None else self.plan.bridge.digest
            new = self._models().new
            if bridge is not None and new is not None:
                from isthmus.bridge.check_encoder import check_encoder

                check_encoder(bridge, new, "new")

    def _fill(self, limits: Limits) -> None:
        if not self._reached(State.FILLING):
            with self.journal.step(State.FILLING, self.plan.digest):
                pass
        elif self.state != State.FILLING:
            # full, and what came since is to be followed
            with self.journal.step(State.FILLING, self.plan.digest):
                pass
        began = time.monotonic()
        work = self._backfill(limits)
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
        self._index()
        with self.journal.step(State.FULL, self.plan.digest) as found:
            found["filled"] = self.store.filled(self.plan.target.new_column)

    def _indexed(self) -> str | None:
        """What was built on the new vectors, or why nothing was."""
        for note in reversed(list(self.journal.notes("index"))):
            if note["without"] is not None:
                return f"none, {note['without']}"
            return f"{note['index']}, built in {note['seconds']:.1f} s"
        return None

    def _index(self) -> None:
        """Give the new vectors the index that the old ones have, where stores do not by themselves.

        Once they are there: an index that is there before is entered by every batch.
        """
        target = self.plan.target
        if not isinstance(self.store, Indexed):
            return
        like = self.store.index_of(target.old_column)
        if like is None or self.store.index_of(target.new_column) is not None:
            return
        self.progress(f"building an index ({like}) of the new vectors", 0, 1)
        began = time.monotonic()
        try:
            self.store.build_index(target.new_column, like)
            why = None
        except UnsupportedError as error:
            why = error.what
        self.progress(f"building an index ({like}) of the new vectors", 1, 1)
        self.journal.write(
            "note", State.FILLING, self.plan.digest, kind="index", index=str(like), without=why,
            seconds=round(time.monotonic() - began, 3),
        )  # fmt: skip

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

    def _backfill(self, limits: Limits) -> Backfill:
        new = self._models(limits).new
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
        if target.store.partition("://")[0] in ("faiss", "parquet", "file"):
            # each put writes the whole file anew
            limits = replace(limits, batch=max(limits.batch, target.count // 8))
        return Backfill(
            self.store,
            target.new_column,
            source,
            self.marks,
            limits=limits,
            between=lambda filled: self._between(limits, until),
            progress=self.progress,
        )

    def _models(self, limits: Limits | None = None) -> Models:
        """The encoders, asked again where they fail."""
        limits = limits or Limits()
        return self.models.patient(limits.attempts, limits.first_delay)

    def _between(self, limits: Limits, until: float | None) -> None:
        if pause_file(self.path).exists():
            raise PauseRequest("isthmus migrate pause asked for it")
        if until is not None and time.monotonic() >= until:
            raise PauseRequest("the time that --until names has come")
        if limits.share is not None:
            filled = self.store.filled(self.plan.target.new_column)
            if filled >= limits.share * self.store.count():
                raise PauseRequest(f"{limits.share:.3g} of the index is filled, as --until asks")

    # -- cutting over ----------------------------------------------------------------------------

    def cut_over(self, *, partial: bool = False) -> Estimate | None:
        """Move the alias to the new vectors in one step, once the gate holds on the live index.

        Returns:
            The gain over the old model on the plan's queries; None where it has none.

        Raises:
            StoreChangedError: if not every item has its new vector and ``partial`` is false.
            GateError: if the finish is measured below keeping the old model.
            InputError: if the bridge is not the one that was applied.
        """
        with self._at_work():
            self._check_begun()
            state = self.state
            if state not in (State.FULL, State.FILLING) or (state == State.FILLING and not partial):
                raise StoreChangedError(
                    f"the index is {state}, not full: some items have no new vector",
                    where=self.journal.where,
                    mend="Go on with isthmus migrate resume; or with --partial search both columns "
                    "as they are from now on",
                )
            partial = state == State.FILLING
            check_models(self.plan, self.store, self._models())
            if self.journal.begun != State.CUT_OVER:
                self._check_alias()
            for applied in (self.plan.bridge, self.plan.mapped_by):
                if applied is not None:
                    applied.check()
            if not partial:
                self._settle()
            gain = self.judge("before the cut-over", partial=partial)
            target = self.plan.target
            with self.journal.step(State.CUT_OVER, self.plan.digest, partial=partial) as found:
                found["partial"] = partial
                began = time.monotonic()
                if not partial and self.store.alias(target.alias) != target.alias_new:
                    self.store.swap_alias(target.alias, target.alias_old, target.alias_new)
                found["seconds"] = round(time.monotonic() - began, 4)
            if not partial:
                # what was written between the last pass and the swap
                self._settle()
            self._lead()
            return gain

    def _check_begun(self) -> None:
        if not self._mine:
            raise InputError(
                "this plan was not begun",
                where=self.journal.where,
                mend="Begin it with isthmus migrate run",
            )
        self._check_home()

    def _settle(self) -> None:
        work = self._backfill(Limits())
        for _ in range(3):
            done = work.sweep()
            if done.without_text:
                raise InputError(
                    f"item '{done.without_text[0]}' has {self._lacking}",
                    where=self.store.url,
                    mend="Give it one, or delete it, and try again",
                )
            if done.quiet:
                return

    def judge(self, at: str, *, partial: bool = False) -> Estimate | None:
        """Ask the plan's queries on the live index, of both models, and record what they found.

        Raises:
            GateError: if the new model is measured below the old one.
        """
        asked = self.plan.queries
        if not asked.texts or self.models.new is None or partial:
            return None
        found = compare(self.plan, self.store, self._models())
        self.journal.write(
            "note", self.state or State.PLANNED, self.plan.digest, kind="quality", at=at,
            metric=asked.metric, new=found.new, old=found.old, gain=str(found.gain),
        )  # fmt: skip
        if found.gain.high is not None and found.gain.high < 0:
            raise GateError(
                f"on this index the new model is measured below the old one: {asked.metric} "
                f"{found.new:.3f} against {found.old:.3f}, gain {found.gain}",
                where=self.store.url,
                mend="Keep the old model: isthmus migrate rollback",
            )
        return found.gain

    # -- going back, and ending ------------------------------------------------------------------

    def rollback(self) -> Restored:
        """Let the alias stand for the old vectors again, each item having one.

        Rows that were added since the cut-over are encoded by the old model; where it is gone,
        their new vectors are mapped by the bridge.  Then the alias moves.  Untouched rows are
        checked bit by bit once the old vectors are served again: a migration never writes one, so
        what the check finds decides nothing.

        Raises:
            StoreChangedError: if it was cleaned, rolled back already, or not begun.
            InputError: where rows lack an old vector and nothing can make one.
        """
        began = time.monotonic()
        with self._at_work():
            self._check_begun()
            if self.state in (State.CLEANED, State.ROLLED_BACK):
                raise StoreChangedError(
                    f"this migration is {self.state}: there is no way back"
                    if self.state == State.CLEANED
                    else "this migration was rolled back already",
                    where=self.journal.where,
                    mend="Plan a migration the other way",
                )
            # a rollback that was killed has perhaps dropped the new vectors already
            begun = self.journal.mine[-1].state == State.ROLLED_BACK
            known = list(self.journal.notes("restored")) if begun else []
            with self.journal.step(State.ROLLED_BACK, self.plan.digest) as found:
                restored = Restored(**known[-1]["rows"]) if known else self._restored(began)
                found |= restored.as_json()
                self.store.drop_column(self.plan.target.new_column)
            self.marks.erase()
            return restored

    def _restored(self, began: float) -> Restored:
        """The old vectors, complete, served and proven; both columns are still there."""
        target, rolled = self.plan.target, State.ROLLED_BACK
        back = WayBack(
            self.store,
            self.plan,
            BackTo(self._models().old, self.bridge),
            progress=self.progress,
        )
        moved = self.store.alias(target.alias) == target.alias_new
        if moved:
            # where it has moved back, what applications wrote to the first collection is newer
            back.complete(self.marks if isinstance(self.store, BesideStore) else None)
            self.journal.write("note", rolled, self.plan.digest, kind="completed", made=back.made)
            self.store.swap_alias(target.alias, target.alias_new, target.alias_old)
        if isinstance(self.store, BesideStore):
            self.store.leads = False
        seconds = round(time.monotonic() - began, 4)
        done = 0 if moved else sum(int(note["made"]) for note in self.journal.notes("completed"))
        restored = replace(back.prove(self.originals, before=done), seconds=seconds)
        self.journal.write(
            "note", rolled, self.plan.digest, kind="restored", rows=restored.as_json()
        )
        return restored

    def clean(self, *, drop_old: bool = False) -> None:
        """End the migration: from here on there is no way back.

        Args:
            drop_old: also remove the old vectors.

        Raises:
            StoreChangedError: if it is not cut over, or only in part.
        """
        with self._at_work():
            self._check_begun()
            if self.journal.begun == State.ROLLED_BACK:
                raise StoreChangedError(
                    "a rollback was begun here and not finished",
                    where=self.journal.where,
                    mend="Finish it with isthmus migrate rollback",
                )
            if self.state != State.CUT_OVER or self.journal.data(State.CUT_OVER).get("partial"):
                raise StoreChangedError(
                    f"the index is {self.state}, and only what is wholly cut over can be cleaned",
                    where=self.journal.where,
                    mend="See isthmus migrate status",
                )
            target = self.plan.target
            with self.journal.step(State.CLEANED, self.plan.digest, drop_old=drop_old):
                self.originals.erase()
                self.marks.erase()
                if drop_old and not isinstance(self.store, BesideStore):
                    self.store.drop_column(target.old_column)
