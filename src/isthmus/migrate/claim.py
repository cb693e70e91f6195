"""Whose a migration is: a second runner, another folder and another plan are refused."""

from __future__ import annotations

import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from isthmus.errors import InputError, StoreChangedError
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.plan import Plan
from isthmus.stores import Namespaced, Store

__all__ = ["Claim"]


@dataclass(frozen=True)
class Claim:
    """What a plan may do to a store, by the journal that is kept there.

    Attributes:
        plan: that is carried out.
        path: of the plan.
        store: of the plan.
        journal: kept at the store.
        take_over: go on with what was begun on another machine or in another folder.
        made_anew: what the collection is now, if it was made anew since this was begun.
    """

    plan: Plan
    path: Path
    store: Store
    journal: Journal
    take_over: bool
    made_anew: str | None = None

    @property
    def mine(self) -> bool:
        """Whether the journal's newest migration is of this plan."""
        return self.journal.plan == self.plan.digest

    @property
    def over(self) -> bool:
        """Whether nothing is left to fill: cut over wholly, cleaned or rolled back."""
        state = self.journal.state if self.mine else None
        return state in (State.CUT_OVER, State.CLEANED, State.ROLLED_BACK) and not self.in_part

    @property
    def in_part(self) -> bool:
        """Whether it is cut over in part: the alias stays, and filling may go on."""
        cut = self.mine and self.journal.state == State.CUT_OVER
        return cut and bool(self.journal.data(State.CUT_OVER).get("partial"))

    @property
    def home(self) -> str:
        """The machine and the file that the plan is run from."""
        return f"{socket.gethostname()}:{self.path.resolve()}"

    @contextmanager
    def at_work(self) -> Generator[None]:
        """Nobody else is at work, and the journal is as it was read.

        Raises:
            StoreChangedError: if another process has written to it.
        """
        with self.store.ledger("journal").held():
            self.journal.check_still_mine()
            yield

    def check_may_run(self, *, resume: bool) -> None:
        """See that this plan may be begun, or gone on with where ``resume`` says so.

        Raises:
            StoreChangedError: if another migration is under way, or this one was begun or is over.
            InputError: if there is nothing to resume, or the new column is filled by others.
        """
        journal, where = self.journal, self.journal.where
        over = (State.CLEANED, State.ROLLED_BACK, None)
        if not self.mine:
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
        if self.over:
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

    def check_begun(self) -> None:
        """See that this plan was begun, from here.

        Raises:
            InputError: if it was not begun.
            StoreChangedError: if it is run from elsewhere.
        """
        if not self.mine:
            raise InputError(
                "this plan was not begun",
                where=self.journal.where,
                mend="Begin it with isthmus migrate run",
            )
        self._check_home()

    def check_not_made_anew(self) -> None:
        """Refuse a collection that was made anew at another width since the migration began.

        Where it is cut over, applications may have written to the new vectors alone: a rollback
        would drop them.

        Raises:
            StoreChangedError: saying how to end the migration.
        """
        if self.made_anew is not None:
            over = self.store.alias(self.plan.target.alias) == self.plan.target.alias_new
            raise StoreChangedError(
                f"{self.made_anew}: it was made anew since",
                where=self.store.url,
                mend="End this migration, which leaves both collections as they are, with isthmus "
                "migrate clean"
                if over
                else "Give this migration up, which leaves the collection as it is, with isthmus "
                "migrate rollback",
            )

    def check_alias(self) -> None:
        """See that the alias stands for the old vectors, or for nothing yet.

        Raises:
            StoreChangedError: if it stands for something else, or a cut-over was begun.
        """
        target = self.plan.target
        found = self.store.alias(target.alias)
        if self.mine and self.journal.begun == State.CUT_OVER:
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

    def _check_home(self) -> None:
        home = str(self.journal.mine[0].data.get("home"))
        if not self.journal.kept_here and not self.take_over and home != self.home:
            raise StoreChangedError(
                f"this migration is run from {home}",
                where=self.journal.where,
                mend="Go on there; or, if that place is lost, here with --take-over",
            )

    def _check_not_there(self) -> None:
        """Refuse a column that somebody else filled."""
        name = self.plan.target.new_column
        if isinstance(self.store, Namespaced):
            self.store.check_names(name, self.plan.target.alias)
        found = self.store.filled(name) if name in self.store.describe().columns else 0
        if found:
            raise InputError(
                f"'{name}' holds {found:,} vectors already",
                where=self.store.url,
                mend="Name another with --new-column when you plan, or remove it",
            )
