"""One command of isthmus's migration on the rows that the other tools move, in its own process."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from isthmus.encoders import CallableEncoder, OpenAiEncoder
from isthmus.migrate.migration import Migration
from isthmus.migrate.models import Models
from isthmus.migrate.plan import Plan
from isthmus.stores import open_store


def models(place: Path) -> Models:
    """Both models, a text being the number of its row: the new one behind the endpoint that the
    other tools ask, the old one looked up."""
    old = np.load(place / "old.npy", mmap_mode="r")
    asked = OpenAiEncoder("minilm", os.environ["ENCODER"], folder=place)
    return Models(
        CallableEncoder(asked.encode, name="new", revision="1", dim=asked.dim),
        CallableEncoder(
            lambda texts: np.asarray(old[[int(t) for t in texts]]),
            name="old", revision="1", dim=old.shape[1],
        ),
    )  # fmt: skip


def main() -> None:
    """``run``, ``resume``, ``cutover`` or ``rollback``, the index, and the folder of its plan."""
    what, url, place = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    path = place / "plan.json"
    with open_store(url) as store:
        migration = Migration(Plan.load(path), path, store, models(place))
        if what in ("run", "resume"):
            migration.run(resume=migration.state is not None or migration.journal.begun is not None)
        elif what == "cutover":
            migration.cut_over()
        else:
            migration.rollback()


if __name__ == "__main__":
    main()
