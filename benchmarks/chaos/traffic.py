"""A migration while an application adds, edits and deletes items, and somebody reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.chaos.index import NEW_DIM, N, contents, copied, models, planned, reading, text_of
from benchmarks.chaos.trial import ENDED, LIMITS, Outcome, child, to_the_end, waited
from isthmus.migrate.backfill import Limits
from isthmus.migrate.migration import Migration
from isthmus.stores import open_store

__all__ = ["traffic"]


def traffic(kind: str, folder: Path, seconds: float) -> Outcome:
    """Migrate and cut over while items come, change and go, and somebody reads."""
    from isthmus.migrate.serving import LiveSearch

    url, path, _ = copied(kind, folder, 50_000)
    stop = folder / "stop"
    stop.unlink(missing_ok=True)

    def application() -> None:
        """Fifty writes a second by the old model, as if nothing were going on."""
        old = models().old
        assert old is not None
        rng, number, written = np.random.default_rng(1), 10_000, 0
        with open_store(url) as store:
            while not stop.exists():
                began = time.monotonic()
                number += 1
                texts = [text_of(number)]
                store.add(np.array([number]), {"vector": old.encode(texts)}, {"text": texts})
                if written % 3 == 1:
                    edited = int(rng.integers(N // 2, N))
                    texts = [text_of(edited, edition=number)]
                    store.add(np.array([edited]), {"vector": old.encode(texts)}, {"text": texts})
                if written % 3 == 2 and number > 10_010:
                    store.delete(np.array([number - 5]))
                written += 1
                time.sleep(max(0.0, 0.04 - (time.monotonic() - began)))
        (folder / "written").write_text(str(written * 5 // 3))

    def reader() -> None:
        """Asks for items that nobody touches, by their texts."""
        plan = planned(url, path)
        both = models()
        rng = np.random.default_rng(2)
        asked = lost = short = 0
        with open_store(url) as store:
            search = LiveSearch(plan, store, new=both.new, old=both.old, refresh=0.2)
            while not stop.exists():
                wanted = int(rng.integers(0, N // 2))
                model: Any = ("new", "old")[asked % 2]
                found = search([text_of(wanted)], 10, model=model)
                asked += 1
                lost += wanted not in found.ids[0].tolist()
                short += bool((found.scores == -np.inf).any())
        (folder / "read").write_text(f"{asked} {lost} {short}")

    with _running(application), _running(reader):
        time.sleep(0.5)
        until = time.monotonic() + seconds
        slow = Limits(batch=5, rate=max(5.0, 2 * N / seconds))

        def migrate() -> None:
            plan = planned(url, path)
            with open_store(url) as store:
                migration = Migration(plan, path, store, models())
                migration.run(slow)
                while time.monotonic() < until:
                    migration.run(LIMITS, resume=True)
                    time.sleep(0.2)
                migration.cut_over()

        to_the_end(migrate, kind)
        time.sleep(1.0)
        stop.touch()

    def look() -> None:
        plan = planned(url, path)
        with open_store(url) as store:
            migration = Migration(plan, path, store, models())
            migration._filling().settle()  # what was written since the cut-over
        held = contents(url)
        assert set(held["new"]) == set(held["text"]), "an id lacks its new vector, or is gone"
        names = sorted(held["new"])
        true = reading(NEW_DIM, 2)([held["text"][name] for name in names])
        for name, row in zip(names, true, strict=True):
            found = np.frombuffer(held["new"][name], np.float32)
            cosine = found @ row / np.linalg.norm(found) / np.linalg.norm(row)
            assert cosine > 1 - 1e-6, f"item {name} has the vector of another text"

    code = waited(child(look))
    assert code == ENDED, f"{kind}: after the traffic"
    asked, lost, short = map(int, (folder / "read").read_text().split())
    assert not lost and not short, f"{kind}: {lost} of {asked} reads missed, {short} were short"
    written = (folder / "written").read_text()
    return Outcome(
        kind, f"{written} writes of an application in {seconds:g} s", 0, 1, asked,
        said="every id once, every new vector that of the text at the end",
    )  # fmt: skip


@contextmanager
def _running(work: Callable[[], None]) -> Iterator[None]:
    pid = child(work)
    try:
        yield
    finally:
        code = waited(pid)
        assert code == ENDED, f"a process beside the migration ended with {code}"
