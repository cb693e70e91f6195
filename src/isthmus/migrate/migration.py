"""A live index moved to a new model: run, paused, resumed, cut over, rolled back, cleaned."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from isthmus.bridge import Bridge
from isthmus.errors import GateError, InputError, StoreChangedError, UnsupportedError
from isthmus.evaluate.bootstrap import Estimate
from isthmus.migrate.backfill import TOKEN, Limits
from isthmus.migrate.claim import Claim
from isthmus.migrate.filling import Filling, pause_file
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.marks import Marks
from isthmus.migrate.models import Models, check_models
from isthmus.migrate.new_index import told_index
from isthmus.migrate.opening import begun_here, dropped_old
from isthmus.migrate.plan import Plan
from isthmus.migrate.plan_checks import check_granted
from isthmus.migrate.quality import compare
from isthmus.migrate.restore import BackTo, Restored, WayBack, summed_up
from isthmus.migrate.status import Status
from isthmus.progress import Progress, silent
from isthmus.stores import Store
from isthmus.stores.beside import BesideStore, version_of, with_second_column
from isthmus.ways.way import Way

__all__ = ["Migration"]


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

    Example:
        >>> from pathlib import Path
        >>> from isthmus.encoders import open_encoder
        >>> from isthmus.migrate import Limits, Migration, Models, Plan
        >>> from isthmus.stores import open_store
        >>> models = Models(*(open_encoder(f"static:{m}.safetensors") for m in ("new", "old")))
        >>> with open_store("lancedb://db#docs.old") as store:
        ...     path = Path("plan.json")  # what isthmus plan wrote
        ...     migration = Migration(Plan.load(path), path, store, models)
        ...     print(migration.run(Limits(share=0.5)), migration.run(resume=True))
        ...     print(migration.rollback().untouched)
        filling full
        60
    """

    plan: Plan
    path: str | Path
    store: Store
    models: Models = field(default_factory=Models)
    progress: Progress = silent
    take_over: bool = False

    def __post_init__(self) -> None:
        target = self.plan.target
        held = self.store.describe()
        column = held.columns.get(target.old_column)
        here = held.place == target.place
        gone = column is None and here and dropped_old(self.plan, self.store)
        wrong = not gone and (column is None or column.dim != target.old_dim)
        made_for = (
            f"the plan was made for {target.place}.{target.old_column}, {target.old_dim} wide; "
            f"this is {held.place} with "
            + (", ".join(f"{name} ({c.dim})" for name, c in held.columns.items()) or "no vectors")
        )
        made_anew = made_for if wrong and here and begun_here(self.plan, self.store) else None
        if not here or (wrong and made_anew is None):
            raise InputError(
                made_for, where=self.store.url, mend="Open the store of the plan, or plan anew"
            )
        self.store = with_second_column(self.store, target.new_column)
        if target.new_column not in self.store.describe().columns and isinstance(
            self.store, BesideStore
        ):
            self.store.add_column(target.new_column, target.new_dim, metric=target.metric)
        self._place = Path(self.path)
        mirror = self._place.with_name(f"{self._place.name}.journal")
        self.journal = Journal(self.store.ledger("journal"), mirror)
        self._claim = Claim(
            self.plan, self._place, self.store, self.journal, self.take_over, made_anew
        )
        self._lead()

    def _lead(self) -> None:
        if isinstance(self.store, BesideStore):
            target = self.plan.target
            self.store.leads = self.store.alias(target.alias) == target.alias_new

    @property
    def state(self) -> State | None:
        """The state that this plan has reached; None if it was not begun."""
        return self.journal.state if self._claim.mine else None

    @property
    def in_part(self) -> bool:
        """Whether it is cut over in part, so that filling may go on."""
        return self._claim.in_part

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
        return Marks(self.store.ledger("marks"), self.store.ledger("originals"))

    @cached_property
    def originals(self) -> Marks:
        """Hashes of the old vectors, and of the texts they belong to, as they were at first."""
        return Marks(self.store.ledger("originals"))

    # -- looking ---------------------------------------------------------------------------------

    def status(self) -> Status:
        """Where it stands."""
        target = self.plan.target
        count, there = self.store.count(), target.new_column in self.store.describe().columns
        filled = self.store.filled(target.new_column) if there and self._claim.mine else 0
        totals = self._totals()
        price = self.plan.estimated.price
        runs = list(self.journal.notes("run")) if self._claim.mine else []
        rate = runs[-1].get("rate") if runs else None
        stopped = runs[-1].get("paused") if runs and self.state == State.FILLING else None
        return Status(
            self.state,
            self.journal.begun if self._claim.mine else None,
            count,
            filled,
            int(totals.get("encoded", 0)),
            None if price is None else totals.get("characters", 0.0) / TOKEN / 1e6 * price,
            rate,
            max(count - filled, 0) / rate if rate and self.state != State.ROLLED_BACK else None,
            stopped,
            tuple(dict(q) for q in self.journal.notes("quality")) if self._claim.mine else (),
            told_index(self.journal) if self._claim.mine else None,
            self.journal.where,
        )

    def _totals(self) -> dict[str, float]:
        """What was made and sent; what is over has no marks, and its journal knows."""
        if not self._claim.mine:
            return {}
        return dict(self.marks.totals or self._journal_totals())

    def _journal_totals(self) -> dict[str, float]:
        return next((dict(e.data["totals"]) for e in self.journal.mine if "totals" in e.data), {})

    # -- running ---------------------------------------------------------------------------------

    def run(self, limits: Limits | None = None, *, resume: bool = False) -> State:
        """Go on until every item has its new vector, or a limit is reached.

        Raises:
            StoreChangedError: if another process runs it, it was begun and is not to be resumed, it
                is over, or the store is not as it was.
            InputError: for an encoder, a text or a bridge that is not the plan's.
        """
        check_granted(self.store)
        with self._claim.at_work():
            self._claim.check_not_made_anew()
            self._claim.check_may_run(resume=resume)
            chosen = limits or Limits()
            check_models(self.plan, self.store, self._models(chosen))
            self._claim.check_alias()
            if not self._reached(State.BRIDGING):
                self._check_bridge()
            if resume:
                # whoever ran it before and is not held back by a lock stops at its next batch
                self.journal.write(
                    "note", self.state or State.PLANNED, self.plan.digest, kind="resumed",
                    home=self._claim.home,
                )  # fmt: skip
            else:
                # what is refused has not begun, and leaves the way free for another plan
                with self.journal.step(State.PLANNED, self.plan.digest, **self._begun_as()):
                    pass
            pause_file(self._place).unlink(missing_ok=True)
            if not self._reached(State.PREPARED):
                self._prepare()
            if not self._reached(State.BRIDGING):
                self._bridge()
            self._filling(chosen).run()
        assert self.state is not None
        return self.state

    def _reached(self, state: State) -> bool:
        return self._claim.mine and self.journal.reached(state)

    def _begun_as(self) -> dict[str, Any]:
        target = self.plan.target
        old = self.plan.old
        return {
            "home": self._claim.home,
            "spaces": {
                target.old_column: None if old is None else [old.name, old.revision],
                target.new_column: [self.plan.new.name, self.plan.new.revision],
            },
            "bridge": None if self.plan.bridge is None else self.plan.bridge.digest,
            "mapped_by": None if self.plan.mapped_by is None else self.plan.mapped_by.digest,
        }

    def _prepare(self) -> None:
        target = self.plan.target
        with self.journal.step(State.PREPARED, self.plan.digest) as found:
            self.marks.erase()
            self.originals.erase()
            fields = [] if target.text_field is None else [target.text_field]
            # before they are read: what is written meanwhile counts as written since
            found["old_version"] = version_of(self.store, target.old_column)
            found["old_sum"], found["lacking"] = summed_up(
                self.store, target.old_column, fields, self.originals, self.progress
            )
            self.journal.check_still_mine()
            self.store.add_column(target.new_column, target.new_dim, metric=target.metric)
            if self.store.alias(target.alias) is None:
                self.store.swap_alias(target.alias, None, target.alias_old)

    def _as_it_was(self, column: str, state: State, name: str) -> bool:
        """Whether nobody wrote to the collection of ``column`` since ``state``, so far as known."""
        then = self.journal.data(state).get(name)
        return then is not None and then == version_of(self.store, column)

    def _check_bridge(self) -> None:
        """Refuse a bridge that was changed since, or that does not read the new model's vectors."""
        bridge, new = self.bridge, self._models().new
        if bridge is not None and new is not None:
            from isthmus.bridge.check_encoder import check_encoder

            check_encoder(bridge, new, "new")

    def _bridge(self) -> None:
        with self.journal.step(State.BRIDGING, self.plan.digest) as found:
            found["served_by"] = str(Way(recall=self.plan.serving.recall))
            found["bridge"] = None if self.plan.bridge is None else self.plan.bridge.digest

    def _filling(self, limits: Limits | None = None) -> Filling:
        chosen = limits or Limits()
        return Filling(
            self.plan,
            self._place,
            self.store,
            self.journal,
            self.marks,
            self._models(chosen),
            chosen,
            self.progress,
        )

    def _models(self, limits: Limits | None = None) -> Models:
        """The encoders, asked again where they fail."""
        limits = limits or Limits()
        return self.models.patient(limits.attempts, limits.first_delay)

    # -- cutting over ----------------------------------------------------------------------------

    def cut_over(self, *, partial: bool = False) -> Estimate | None:
        """Move the alias to the new vectors in one step, once the gate holds on the live index.

        ``partial`` leaves the alias, and what is filled is searched with the rest; filling may go
        on later (`run`), and a whole cut-over follow.

        Returns:
            The gain over the old model on the plan's queries; None where it has none.

        Raises:
            StoreChangedError: if not every item has its new vector and ``partial`` is false.
            GateError: if the finish is measured below keeping the old model.
            InputError: if the bridge is not the one that was applied.
        """
        with self._claim.at_work():
            self._claim.check_begun()
            self._claim.check_not_made_anew()
            state = self.state
            if self._claim.over:
                raise StoreChangedError(
                    f"this migration is over: it is {state}",
                    where=self.journal.where,
                    mend="There is nothing to cut over; isthmus migrate status shows it",
                )
            if state not in (State.FULL, State.FILLING) or (state == State.FILLING and not partial):
                partly = "; or with --partial search both columns as they are from now on"
                raise StoreChangedError(
                    f"the index is {state}{' in part' if self._claim.in_part else ''}, not full: "
                    "some items have no new vector",
                    where=self.journal.where,
                    mend="Go on with isthmus migrate resume"
                    + (partly if state == State.FILLING and not partial else ""),
                )
            partial = state == State.FILLING
            check_models(self.plan, self.store, self._models())
            if self.journal.begun != State.CUT_OVER:
                self._claim.check_alias()
            for applied in (self.plan.bridge, self.plan.mapped_by):
                if applied is not None:
                    applied.check()
            settled = None if partial else self._filling().settle()
            gain = self.judge("before the cut-over", partial=partial)
            target = self.plan.target
            with self.journal.step(State.CUT_OVER, self.plan.digest, partial=partial) as found:
                found["partial"] = partial
                began = time.monotonic()
                if not partial and self.store.alias(target.alias) != target.alias_new:
                    # of a swap that was killed it is not known what was written behind it
                    found["new_version"] = version_of(self.store, target.new_column)
                    self.store.swap_alias(target.alias, target.alias_old, target.alias_new)
                found["seconds"] = round(time.monotonic() - began, 4)
            if not partial:
                # what was written between the last pass and the swap
                self._filling().settle(settled)
            self._lead()
            return gain

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
        with self._claim.at_work():
            self._claim.check_begun()
            if self.state in (State.CLEANED, State.ROLLED_BACK):
                raise StoreChangedError(
                    f"this migration is {self.state}: there is no way back"
                    if self.state == State.CLEANED
                    else "this migration was rolled back already",
                    where=self.journal.where,
                    mend="Plan a migration the other way",
                )
            if self.store.alias(self.plan.target.alias) == self.plan.target.alias_new:
                self._claim.check_not_made_anew()
            # a rollback that was killed has perhaps dropped the new vectors already
            begun = self.journal.mine[-1].state == State.ROLLED_BACK
            known = list(self.journal.notes("restored")) if begun else []
            with self.journal.step(State.ROLLED_BACK, self.plan.digest) as found:
                restored = Restored(**known[-1]["rows"]) if known else self._restored(began)
                found |= {**restored.as_json(), "totals": self._totals()}
                self.store.drop_column(self.plan.target.new_column)
            self.marks.erase()
            return restored

    def _restored(self, began: float) -> Restored:
        """The old vectors, complete, served and proven; both columns are still there."""
        target, rolled = self.plan.target, State.ROLLED_BACK
        if not self._reached(State.PREPARED) or self._claim.made_anew is not None:
            # of what the old vectors were nothing is known, or not of all of them
            return Restored(left_alone=self.store.count())
        back = WayBack(
            self.store,
            self.plan,
            BackTo(self._models().old, self.bridge),
            progress=self.progress,
        )
        moved = self.store.alias(target.alias) == target.alias_new
        if moved:
            # where it has moved back, what applications wrote to the first collection is newer
            unwritten = self._as_it_was(target.new_column, State.CUT_OVER, "new_version")
            first_whole = self._as_it_was(target.old_column, State.PREPARED, "old_version")
            back.complete(
                self.marks if isinstance(self.store, BesideStore) and not unwritten else None,
                whole=first_whole and self.journal.data(State.PREPARED).get("lacking") == 0,
            )
            self.journal.write("note", rolled, self.plan.digest, kind="completed", made=back.made)
            self.store.swap_alias(target.alias, target.alias_new, target.alias_old)
        if isinstance(self.store, BesideStore):
            self.store.leads = False
        seconds = round(time.monotonic() - began, 4)
        done = 0 if moved else sum(int(note["made"]) for note in self.journal.notes("completed"))
        # with the cut-over applications went on by the new model, and edits left old vectors alone
        since = self._reached(State.CUT_OVER) and not self._claim.in_part
        restored = replace(
            back.prove(self.originals, before=done, followed=self.marks if since else None),
            seconds=seconds,
        )
        self.journal.write(
            "note", rolled, self.plan.digest, kind="restored", rows=restored.as_json()
        )
        return restored

    def clean(self, *, drop_old: bool = False) -> None:
        """End the migration: from here on there is no way back.

        Args:
            drop_old: also remove the old vectors.

        Raises:
            UnsupportedError: for ``drop_old`` where the old vectors are the collection itself;
                nothing was done then.
            StoreChangedError: if it is not cut over, or only in part.
        """
        with self._claim.at_work():
            self._claim.check_begun()
            if self.journal.begun == State.ROLLED_BACK:
                raise StoreChangedError(
                    "a rollback was begun here and not finished",
                    where=self.journal.where,
                    mend="Finish it with isthmus migrate rollback",
                )
            if self.state != State.CUT_OVER or self._claim.in_part:
                raise StoreChangedError(
                    f"the index is {self.state}, and only what is wholly cut over can be cleaned",
                    where=self.journal.where,
                    mend="Go on with isthmus migrate resume, or back with isthmus migrate rollback"
                    if self._claim.in_part
                    else "See isthmus migrate status",
                )
            if drop_old and isinstance(self.store, BesideStore):
                raise UnsupportedError(
                    "the old vectors are the collection itself, which holds the items and what is "
                    "kept of the migration: they cannot be dropped alone",
                    where=self.store.url,
                    mend="Leave --drop-old out",
                )
            kept: dict[str, Any] = {"drop_old": drop_old, "totals": self._totals()}
            with self.journal.step(State.CLEANED, self.plan.digest, **kept):
                self.marks.erase()
                self.originals.erase()
                if drop_old:
                    self.store.drop_column(self.plan.target.old_column)
