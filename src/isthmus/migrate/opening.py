"""The store of a plan, opened at its old vectors, or at the new ones once those are gone."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

from isthmus.errors import InputError
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.plan import Plan
from isthmus.stores import Store, open_store
from isthmus.stores.address import parse

__all__ = ["begun_here", "dropped_old", "open_planned"]


def open_planned(plan: Plan, url: str | None = None) -> Store:
    """Open the store of a plan, whose old vectors ``clean`` may have dropped.

    Args:
        plan: of a migration, begun or not.
        url: where the store is now; where the plan says by default.

    Raises:
        InputError: as `open_store`.

    Example:
        >>> from pathlib import Path
        >>> from isthmus.migrate import Plan
        >>> from isthmus.migrate.opening import open_planned
        >>> with open_planned(Plan.load(Path("plan.json"))) as store:
        ...     store.describe().columns["old"].dim
        8
    """
    url = url or plan.target.store
    try:
        return open_store(url)
    except InputError:
        address = parse(url) if "://" in url else None
        if address is None or address.column is None:
            raise
        *table, column = address.parts
        if column != plan.target.old_column:
            raise
        parts = (*table, plan.target.new_column)
        place = address.raw.partition("#")[0]
        named = replace(
            address, parts=parts, raw=f"{place}#{'.'.join(quote(p, safe='') for p in parts)}"
        )
        try:
            store = open_store(named.raw)
        except InputError:
            store = None
        if store is None:
            raise
        if not dropped_old(plan, store):
            store.close()
            raise
        return store


def begun_here(plan: Plan, store: Store) -> bool:
    """Whether the newest migration of this store is this plan's, and neither over nor given up."""
    journal = Journal(store.ledger("journal"))
    over = (State.CLEANED, State.ROLLED_BACK)
    return journal.plan == plan.digest and journal.state not in over


def dropped_old(plan: Plan, store: Store) -> bool:
    """Whether this plan's migration was cleaned, or began to be, and its old vectors dropped."""
    journal = Journal(store.ledger("journal"))
    cleaned = [e for e in journal.mine if (e.event, e.state) == ("begin", State.CLEANED)]
    return journal.plan == plan.digest and any(e.data.get("drop_old") for e in cleaned)
