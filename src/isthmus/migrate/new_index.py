"""The index of the new vectors: of the kind and with the options that the old ones have."""

from __future__ import annotations

import time

from isthmus.errors import UnsupportedError
from isthmus.migrate.journal import Journal, State
from isthmus.migrate.plan import Plan
from isthmus.progress import Progress
from isthmus.stores import Indexed, Store

__all__ = ["index_new_vectors", "told_index"]


def index_new_vectors(plan: Plan, store: Store, journal: Journal, progress: Progress) -> None:
    """Give the new vectors the index that the old ones have, where stores do not by themselves.

    Once they are there: an index that is there before is entered by every batch.  What was built,
    or why nothing was, is noted in the journal.
    """
    target = plan.target
    if not isinstance(store, Indexed):
        return
    like = store.index_of(target.old_column)
    if like is None or store.index_of(target.new_column) is not None:
        return
    progress(f"building an index ({like}) of the new vectors", 0, 1)
    began = time.monotonic()
    try:
        store.build_index(target.new_column, like)
        why = None
    except UnsupportedError as error:
        why = error.what
    progress(f"building an index ({like}) of the new vectors", 1, 1)
    journal.write(
        "note", State.FILLING, plan.digest, kind="index", index=str(like), without=why,
        seconds=round(time.monotonic() - began, 3),
    )  # fmt: skip


def told_index(journal: Journal) -> str | None:
    """What was built on the new vectors, or why nothing was; None where nothing was noted."""
    for note in reversed(list(journal.notes("index"))):
        if note["without"] is not None:
            return f"none, {note['without']}"
        return f"{note['index']}, built in {note['seconds']:.1f} s"
    return None
